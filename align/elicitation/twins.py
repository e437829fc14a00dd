"""A model's effects by profiles: real people, each with the treated attribute at every level (counterfactual twins)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import t as student

from acecausal.cube import schema
from acecausal.cube.files import countries_of, values_of
from acecausal.cube.functional import at_edges, effect_functional, laid_out
from acecausal.cube.profiled import BY_PROFILES, profiles_of
from align.elicitation.asking import ask_texts
from align.elicitation.backends import Backend
from align.elicitation.profiles import FEWEST, Casting, People, Profiles
from align.prompting.prompts import compose
from align.prompting.wordings import Wording

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Average:
    """Means over people drawn, of some groups of them.

    Attributes
    ----------
    mean : numpy.ndarray, shape (wordings, groups, numbers)
    variance : numpy.ndarray, shape (groups, numbers)
        Of the mean over wordings, as others might have been drawn; 0 where everybody was taken.
    df : numpy.ndarray, shape (groups,)
        Degrees of freedom of the variance: draws less one.
    """

    mean: np.ndarray
    variance: np.ndarray
    df: np.ndarray


def average(numbers: np.ndarray, times: np.ndarray, groups: np.ndarray, *, everybody: bool) -> Average:
    """Average over people drawn.

    Parameters
    ----------
    numbers : numpy.ndarray, shape (wordings, people, numbers)
        Missing where a model gave none: then the means of that person's groups are missing too.
    times : numpy.ndarray, shape (people,)
        How often each was drawn, or weights.
    groups : numpy.ndarray, shape (groups, people), bool
    everybody : bool
        Whether all there are were taken: nothing was left to chance.
    """
    weight = groups * times
    total = weight.sum(axis=1)
    lost = groups @ np.isnan(numbers).any(axis=0).astype(float) > 0
    known = np.nan_to_num(numbers)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(lost, np.nan, (weight @ known) / total[:, None])
        both = known.mean(axis=0)
        apart = both - np.average(both, axis=0, weights=times)  # near 0, so that squares lose no digits
        first, second = (weight @ apart**power / total[:, None] for power in (1, 2))
        variance = np.where(lost, np.nan, np.clip(second - first**2, 0, None) / (total - 1)[:, None])
    if everybody:
        return Average(mean, np.where(np.isnan(variance), np.nan, 0.0), np.full(len(groups), np.inf))
    return Average(mean, variance, total - 1)


class Twins:
    """Asks a model as real people, question by question, and makes effects of what it says.

    Parameters
    ----------
    profiles : Profiles
    like : xarray.Dataset
        People's cube.
    wordings : sequence of Wording

    Raises
    ------
    CubeError, DataError, AceError
        See `align.elicitation.profiles.Casting`.

    Notes
    -----
    For contrast t in context s it is the mean over people x who match s of response(x, treated) - response(x,
    baseline), x with all that the estimand holds fixed; for association the mean of response(x) over those at the
    treated level less that over those at the baseline level. People are those that the estimate speaks for. The error
    of the mean over wordings and that of the mean over people add up: what a wording does to a single person is
    counted in both, which is a little too much rather than too little. Degrees of freedom are Welch's.
    """

    def __init__(self, profiles: Profiles, like: xr.Dataset, wordings: Sequence[Wording]) -> None:
        self.profiles, self.like, self.wordings = profiles, like, wordings
        self.casting = Casting(profiles, like)
        self.rows = effect_functional(like).rows
        self.values, self.countries = values_of(like), countries_of(like)
        shape = (len(self.countries), len(self.values), len(self.rows))
        width = max(len(value.options) for value in self.values) + 1  # the score comes last
        self.moved = np.full((len(wordings), *shape, width), np.nan)
        self.variance = np.full((*shape, width), np.nan)
        self.df = np.full(shape, np.inf)
        self.known = np.zeros(shape, dtype=bool)
        self.prompts = self.lost = 0
        self.digest = hashlib.sha256()

    def ask(self, backend: Backend, c: int, v: int) -> None:
        """Ask one question in one country, of everybody who was drawn for it."""
        country, value, lattice = self.countries[c], self.values[v], self.casting.lattice
        people = {a.name: self.casting.draw(c, v, a.name) for a in lattice.attributes}
        personas = list(dict.fromkeys(text for drawn in people.values() for text in drawn.personas.ravel()))
        if not personas:
            return
        texts = [[compose(country, value, persona, wording) for persona in personas] for wording in self.wordings]
        asked = ask_texts(backend, texts, f"{country.name}, {value.name}", self.digest)
        self.prompts, self.lost = self.prompts + len(personas), self.lost + asked.lost
        width = len(value.options)
        score = np.full(width, np.nan) if value.scale == "nominal" else schema.scores(width)
        answers = np.concatenate([asked.response, (asked.response @ score)[..., None]], axis=-1)
        number = {persona: i for i, persona in enumerate(personas)}
        for drawn in people.values():
            at = np.array([[number[text] for text in level] for level in drawn.personas], dtype=int)
            self._fill(c, v, drawn, answers, at)

    def _fill(self, c: int, v: int, drawn: People, answers: np.ndarray, at: np.ndarray) -> None:
        """Fill in the edges of an attribute's contrasts.

        Parameters
        ----------
        answers : numpy.ndarray, shape (wordings, personas, options and score)
        at : numpy.ndarray, shape (levels, people), int
            Whose answer each person's is.
        """
        lattice = self.casting.lattice
        columns = [*range(answers.shape[-1] - 1), -1]
        share = self.like["share"].values[c, v]
        for t, contrast in enumerate(lattice.contrasts):
            rows = np.flatnonzero(self.rows[:, 0] == t)
            if lattice.attributes[contrast.attribute].name != drawn.treatment or not len(rows) or not len(drawn.rows):
                continue
            context, *ends = self.rows[rows, 1:].T
            here = lattice.match(drawn.codes)[context] & drawn.met[contrast.treated]
            ways = contrast.baseline, contrast.treated
            if self.like.attrs["estimand"] == "association":
                groups = [here & (drawn.level == level) for level in ways]
                low, high = (average(answers[:, at[0]], drawn.times, arm, everybody=drawn.everybody) for arm in groups)
                found = Average(high.mean - low.mean, high.variance + low.variance, np.minimum(high.df, low.df))
                told = np.isfinite(share[ends]).all(axis=0)
            else:
                groups = [here]
                apart = answers[:, at[ways[1]]] - answers[:, at[ways[0]]]
                found = average(apart, drawn.times, here, everybody=drawn.everybody)
                told = np.isfinite(share[context])
            people = np.min([self.profiles.survey.count(drawn.rows, group.T) for group in groups], axis=0)
            known = told & (people >= FEWEST)
            self.known[c, v, rows], self.df[c, v, rows] = known, found.df
            self.moved[:, c, v, rows[:, None], columns] = np.where(known[:, None], found.mean, np.nan)
            self.variance[c, v, rows[:, None], columns] = np.where(known[:, None], found.variance, np.nan)

    def effects(self) -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]]]:
        """Make the cube's variables of effects: of the mean over wordings, with their errors, and in each wording."""
        each = [at_edges(moved[..., :-1], self.known, self.rows, self.like) for moved in self.moved]
        arrays = at_edges(self.moved.mean(axis=0)[..., :-1], self.known, self.rows, self.like)
        several = len(self.moved) > 1
        if several or self.variance[np.isfinite(self.variance)].any():
            between = self.moved.var(axis=0, ddof=1) / len(self.moved) if several else np.zeros_like(self.variance)
            variance = between + self.variance
            parts = ((between[..., -1], max(len(self.moved) - 1, 1)), (self.variance[..., -1], self.df))
            spread = sum(part**2 / freedom for part, freedom in parts)
            df = np.divide(variance[..., -1] ** 2, spread, out=np.full_like(self.df, np.inf), where=spread > 0)
            se = np.sqrt(variance)
            reach = student.ppf(0.5 + CONFIDENCE / 2, df) * se[..., -1]
            arrays["shift_se"] = laid_out(se[..., :-1], self.rows, self.like, np.nan)
            arrays["effect_se"] = laid_out(se[..., -1], self.rows, self.like, np.nan)
            half = laid_out(reach, self.rows, self.like, np.nan)
            arrays["effect_interval"] = np.stack([arrays["effect"] - half, arrays["effect"] + half], axis=-1)
        return arrays, each

    def attrs(self) -> dict[str, Any]:
        """Say how it was done; nothing of anybody."""
        return {
            "model_effect": BY_PROFILES,
            "profiles": self.profiles.number,
            "profiles_seed": self.profiles.seed,
            "profiles_of": profiles_of(self.like),
            "profiles_untold": self.casting.untold,
            "profiles_codebook_sha256": self.casting.book.sha256,
            "profiles_prompts": self.prompts,
            "profiles_sha256": self.digest.hexdigest(),
            "confidence": CONFIDENCE,
        }
