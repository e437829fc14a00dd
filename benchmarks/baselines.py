"""What recovery is held against that needs neither training nor a model: rules of thumb."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from sklearn.feature_extraction.text import TfidfVectorizer

from acecausal.comparison import holdout
from acecausal.cube import files as cubes
from acecausal.cube.functional import effect_functional, effects_of
from align.elicitation.examples import seen


def as_cube(people: xr.Dataset, response: np.ndarray, model: str) -> xr.Dataset:
    """Make a model's cube of responses, shape as the survey cube's; where they are missing it says nothing."""
    there = np.isfinite(response[..., 0])
    arrays = {
        "response": response,
        "n": there.astype(int),
        "option_mass": np.where(there, 1.0, np.nan),
        **effects_of(response, effect_functional(people), people),
    }
    parts = cubes.countries_of(people), cubes.values_of(people), cubes.lattice_of(people)
    return cubes.build("model", *parts, arrays, {"model": model})


def by_average(people: xr.Dataset, held_out: holdout.HoldOut) -> xr.Dataset:
    """Answer for a held-out country as the others do on average, and for a held-out question as people do on others.

    For held-out personas what their attributes, one by one, add to everybody's answers: nothing, if an attribute was
    never seen. Nothing is learnt: the rule costs nothing, and a model that is no better has learnt no more.
    """
    lattice, found = cubes.lattice_of(people), seen(people, held_out)
    one = [
        np.flatnonzero((lattice.granularity == 1) & (lattice.codes[:, a] >= 0)) for a in range(lattice.codes.shape[1])
    ]
    for p in np.flatnonzero(np.isnan(found[..., 0]).all(axis=(0, 1))):
        added = found[:, :, 0].copy()
        for a in np.flatnonzero(lattice.codes[p] >= 0):
            (single,) = one[a][lattice.codes[one[a], a] == lattice.codes[p, a]]
            added += np.nan_to_num(found[:, :, single] - found[:, :, 0])
        clipped = added.clip(min=0)
        total = np.nansum(clipped, axis=-1, keepdims=True)  # a question has fewer options than the longest
        found[:, :, p] = np.divide(clipped, total, out=np.full(clipped.shape, np.nan), where=total > 0)
    found = _filled(found, 0)
    for v, like in _unseen(people, found):
        found[:, v] = found[:, like].mean(axis=1)
    return as_cube(people, found, "average")


def by_nearest(people: xr.Dataset, held_out: holdout.HoldOut) -> xr.Dataset:
    """Answer a held-out question as people answer the one that reads most like it; all else as `by_average`.

    Most like: the cosine of tf-idf word counts, among the questions with as many options. Nothing is learnt.
    """
    found = by_average(people, held_out)["response"].values.copy()
    words = TfidfVectorizer().fit_transform(people["question"].values.astype(str))
    alike = (words @ words.T).toarray()
    for v, like in _unseen(people, seen(people, held_out)):
        found[:, v] = found[:, max(like, key=lambda w, v=v: alike[v, w])]
    return as_cube(people, found, "nearest")


def by_words(people: xr.Dataset, held_out: holdout.HoldOut) -> xr.Dataset:
    """Regress how far personas move the score on the words of the questions; all else as `by_average`.

    Ridge regression on tf-idf word counts, country by country and persona by persona, over the questions that were
    seen, with one penalty for all, by leave-one-out. A held-out question gets the average answer of the others, tilted
    until its score is moved as far. No model, but more than a rule of thumb: it learns, and from nothing but words.
    """
    found = by_average(people, held_out)["response"].values.copy()
    before, options = seen(people, held_out), people["n_options"].values
    unseen = np.array([v for v, _ in _unseen(people, before)], dtype=int)
    ordered = people["scale"].values != "nominal"
    known = np.flatnonzero(np.isfinite(before[..., 0]).any(axis=(0, 2)) & ordered)
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    words.fit(people["question"].values[known].astype(str))
    counts = words.transform(people["question"].values.astype(str))
    kernel = (counts @ counts.T).toarray() + 1.0
    at = np.arange(found.shape[-1]) / np.maximum(options - 1, 1)[:, None]  # the score of each option
    score = np.where(np.isfinite(before), before * at[:, None], 0.0).sum(axis=-1)  # (country, value, persona)
    score = np.where(np.isfinite(before[..., 0]), score, np.nan)
    moved = score - score[..., :1]
    penalty = min(10.0 ** np.arange(-2, 2.1, 0.5), key=lambda penalty: _left_out(kernel, moved, known, penalty))
    for v in unseen[ordered[unseen]]:
        base = found[:, v, :1]
        mean = (base * at[v]).sum(axis=-1, keepdims=True, where=np.isfinite(base))
        spread = (base * (at[v] - mean) ** 2).sum(axis=-1, keepdims=True, where=np.isfinite(base))
        for c in range(len(found)):
            for p in range(1, found.shape[2]):
                w = known[np.isfinite(moved[c, known, p])]
                if len(w) < 2:
                    continue
                weights = np.linalg.solve(kernel[np.ix_(w, w)] + penalty * np.eye(len(w)), moved[c, w, p])
                tilted = base[c, 0] * (1 + kernel[v, w] @ weights * (at[v] - mean[c, 0]) / spread[c, 0])
                found[c, v, p] = tilted.clip(min=0) / np.nansum(tilted.clip(min=0))
    return as_cube(people, found, "words")


def _left_out(kernel: np.ndarray, moved: np.ndarray, known: np.ndarray, penalty: float) -> float:
    """Sum the squared errors of leave-one-out, over countries and personas."""
    total = 0.0
    for numbers in moved[:, known].transpose(0, 2, 1).reshape(-1, len(known)):
        w = np.flatnonzero(np.isfinite(numbers))
        if len(w) > 1 and numbers[w].any():
            inverse = np.linalg.inv(kernel[np.ix_(known[w], known[w])] + penalty * np.eye(len(w)))
            total += float(((inverse @ numbers[w] / np.diag(inverse)) ** 2).sum())
    return total


def _unseen(people: xr.Dataset, found: np.ndarray) -> Iterator[tuple[int, list[int]]]:
    """List questions of which nothing was seen, each with those that were seen and have as many options."""
    options, there = people["n_options"].values, np.isfinite(found[..., 0]).any(axis=(0, 2))
    for v in np.flatnonzero(~there):
        like = np.flatnonzero(there & (options == options[v])).tolist()
        if like:
            yield int(v), like


def _filled(response: np.ndarray, axis: int) -> np.ndarray:
    """Put the mean along an axis where all options are missing."""
    there = np.isfinite(response)
    total = np.where(there, response, 0.0).sum(axis=axis, keepdims=True)
    count = there.sum(axis=axis, keepdims=True)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return np.where(there[..., :1], response, np.broadcast_to(mean, response.shape))
