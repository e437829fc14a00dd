"""Empirical-Bayes versions of responses and shifts: small cells borrow from coarser personas and from other countries.

From the coarsest granularity to the finest, a cell is predicted from all coarser personas that it belongs to (no
interaction beyond theirs), corrected by how far the other countries are from that prediction, and its own deviation
from the prediction counts by how reliable it is (`borrowing`). How much deviations truly vary is learnt for each value
from all its cells of the same attributes, with a look at the other values (`mixture`). Where answers have scores, the
mean score and what it leaves of the distribution are shrunk apart from each other: noise in directions in which nothing
happens says nothing about the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acecausal.cube import schema
from acecausal.cube.files import Value
from acecausal.cube.lattice import Lattice
from acecausal.estimation.borrowing import Part, shrink


def fill_shrunk(arrays: dict[str, np.ndarray], values: Sequence[Value], lattice: Lattice) -> None:
    """Add the empirical-Bayes versions of responses, shifts and effects to a survey cube's arrays.

    Parameters
    ----------
    arrays : dict
        With response, response_se, n_eff, shift, shift_se and effect_se, all countries together, in the schema's
        dimension order.
    values, lattice
        What the arrays run over.
    """
    scored = np.array([value.scale != "nominal" for value in values])
    spread = np.ones((len(arrays["response"]), len(values)))
    for v, value in enumerate(values):
        if value.range is not None:
            spread[:, v] = _spread_of_numbers(*(arrays[name][:, v, 0] for name in ("response", "response_se", "n_eff")))
    shrunk = shrink_responses(arrays["response"], arrays["n_eff"], scored, lattice, spread)
    arrays["response_shrunk"], arrays["response_shrunk_se"] = shrunk
    shift, shift_se, effect_se = shrink_shifts(arrays["shift"], arrays["shift_se"], arrays["effect_se"], lattice)
    arrays["shift_shrunk"], arrays["shift_shrunk_se"], arrays["effect_shrunk_se"] = shift, shift_se, effect_se
    arrays["effect_shrunk"] = np.full(effect_se.shape, np.nan)
    for v, value in enumerate(values):
        if value.scale != "nominal":
            n_options = len(value.options)
            arrays["effect_shrunk"][:, :, v] = shift[:, :, v, :, :n_options] @ schema.scores(n_options)


def _spread_of_numbers(response: np.ndarray, se: np.ndarray, n_eff: np.ndarray) -> np.ndarray:
    """Say how much of the variance that answers at the ends would have numbers have, shape (countries,), 0 to 1.

    By what everybody's mean shows; 1, the most it can be, where it shows nothing.
    """
    mean = response[:, 1]
    most = mean * (1 - mean) / np.maximum(n_eff, 1e-9)
    ratio = np.divide(se[:, 1] ** 2, most, out=np.ones(len(mean)), where=most > 0)
    return np.where(np.isfinite(ratio), np.clip(ratio, 1e-6, 1.0), 1.0)


def shrink_responses(
    response: np.ndarray, n_eff: np.ndarray, scored: np.ndarray, lattice: Lattice, spread: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Shrink responses.

    Parameters
    ----------
    response : numpy.ndarray, shape (countries, values, personas, options)
        Shares; NaN where nobody answered and beyond a value's options.
    n_eff : numpy.ndarray, shape (countries, values, personas)
        Kish effective sizes.
    scored : numpy.ndarray of bool, shape (values,)
        Whether a value's options have scores (it is not nominal).
    lattice : Lattice
    spread : numpy.ndarray, shape (countries, values), optional
        Variance of one person's answer over that of an answer at one of two ends; 1 of options, less of numbers.

    Returns
    -------
    shrunk, se : numpy.ndarray, shape of `response`
        NaN where `response` is; shares lie in [0, 1] and sum to 1.

    Notes
    -----
    The mean score and what it leaves of the distribution are shrunk apart from each other. The sampling variance of a
    share is p (1 - p) / n_eff with p as predicted from coarser personas: a cell's own share says nothing about its
    error when all five respondents agree. The persona `all` stays as it is, and so does a country's value without it,
    since nothing is there to predict from. See `acecausal.estimation.borrowing.shrink` for the rest.
    """
    there = np.isfinite(response)
    some = there.any(axis=-1)
    use = some & some[:, :, :1]
    per_person = np.where(use, 1 / np.maximum(n_eff, 1e-9), np.nan)
    shares = np.where(there, response, 0.0)
    axis = _Axis.of(there, scored)
    mean, rest = axis.split(shares)
    narrow = np.ones(response.shape[:2])[..., None] if spread is None else spread[..., None]

    def scales(mean: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Variances of one person's score, and of what it leaves, at a prediction."""
        p = np.clip(axis.join(mean, rest), 0, 1)
        p /= np.maximum(p.sum(axis=-1, keepdims=True), 1e-9)
        of_score = (p * axis.score[:, None] ** 2).sum(axis=-1) - (p * axis.score[:, None]).sum(axis=-1) ** 2
        left = 1 - (p**2).sum(axis=-1) - of_score * axis.length2[:, None]
        return np.maximum(of_score, 1e-3) * narrow, np.maximum(left, 1e-3)

    parts = [
        Part(mean, np.where(axis.scored[:, None], per_person, np.nan)),
        Part(rest, np.where(axis.more[:, None], per_person, np.nan)),
    ]
    shrink(parts, lattice, scales)
    shrunk = np.where(use[..., None], np.clip(axis.join(parts[0].shrunk, parts[1].shrunk), 0, 1), shares)
    shrunk = np.where(there, shrunk, 0.0)
    total = shrunk.sum(axis=-1, keepdims=True)
    shrunk = np.divide(shrunk, total, out=np.full_like(shrunk, np.nan), where=there & (total > 0))
    predicted = np.where(use[..., None], axis.join(parts[0].told, parts[1].told), shares)
    predicted[:, :, 0] = shares[:, :, 0]
    predicted = np.clip(predicted, 0, 1)
    variance = predicted * (1 - predicted) * (narrow / np.maximum(n_eff, 1e-9))[..., None]
    along = scales(*axis.split(predicted))[0] / np.maximum(n_eff, 1e-9)
    return shrunk, np.where(there, np.sqrt(axis.spread(variance, along, parts[0].kept, parts[1].kept)), np.nan)


def shrink_shifts(
    shift: np.ndarray, shift_se: np.ndarray, effect_se: np.ndarray, lattice: Lattice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shrink shifts.

    Parameters
    ----------
    shift, shift_se : numpy.ndarray, shape (countries, contrasts, values, personas, options)
        NaN where there is no estimate.
    effect_se : numpy.ndarray, shape (countries, contrasts, values, personas)
        NaN also for nominal values.
    lattice : Lattice

    Returns
    -------
    shrunk, se : numpy.ndarray, shape of `shift`
        NaN where `shift` is; shifts sum to 0.
    effect_se : numpy.ndarray, shape of `effect_se`
        Standard error of the score-weighted shrunk shift.

    Notes
    -----
    Each contrast on its own; the effect on the score and what it leaves of the shift are shrunk apart from each other.
    In the context `all` they are drawn towards the other countries' mean, and, as far as that says nothing, towards 0.
    See `acecausal.estimation.borrowing.shrink`.
    """
    shrunk, se, of_effect = np.full_like(shift, np.nan), np.full_like(shift, np.nan), np.full_like(effect_se, np.nan)
    for t in range(shift.shape[1]):
        there = np.isfinite(shift[:, t])
        some = there.any(axis=-1)
        axis = _Axis.of(there, (np.isfinite(effect_se[:, t]) | ~some).all(axis=(0, 2)))
        variance = np.where(there, np.nan_to_num(shift_se[:, t]) ** 2, 0.0)
        along = np.where(some & axis.scored[:, None], effect_se[:, t] ** 2, 0.0)
        left = np.maximum(variance.sum(axis=-1) - along * axis.length2[:, None], 0.0)
        effect, rest = axis.split(np.where(there, shift[:, t], 0.0))
        parts = [
            Part(effect, np.where(some & axis.scored[:, None], along, np.nan)),
            Part(rest, np.where(some & axis.more[:, None], left, np.nan)),
        ]
        shrink(parts, lattice)
        shrunk[:, t] = np.where(there, axis.join(parts[0].shrunk, parts[1].shrunk), np.nan)
        se[:, t] = np.where(
            np.isfinite(shift_se[:, t]) & there,
            np.sqrt(axis.spread(variance, along, parts[0].kept, parts[1].kept)),
            np.nan,
        )
        of_effect[:, t] = np.sqrt(parts[0].kept) * effect_se[:, t]
    return shrunk, se, of_effect


@dataclass(frozen=True)
class _Axis:
    """The direction of the score among a value's options, and what is orthogonal to it.

    Attributes
    ----------
    scored, more : numpy.ndarray of bool, shape (values,)
        Whether there is a score, and whether anything is left beside it.
    score : numpy.ndarray, shape (values, options)
        Centred; 0 where there is none.
    direction : numpy.ndarray, shape (values, options)
        What a change of the score by 1 along the scale is of the options: sums to 0.
    length2 : numpy.ndarray, shape (values,)
        Its squared length.
    """

    scored: np.ndarray
    more: np.ndarray
    score: np.ndarray
    direction: np.ndarray
    length2: np.ndarray

    @classmethod
    def of(cls, there: np.ndarray, scored: np.ndarray) -> _Axis:
        n_options = there.any(axis=(0, 2)).sum(axis=-1)
        scored = scored & (n_options > 1)
        score, direction = np.zeros((2, *there.shape[1::2]))
        for v in np.flatnonzero(scored):
            k = n_options[v]
            score[v, :k] = schema.scores(k) - schema.scores(k).mean()
            direction[v, :k] = score[v, :k] / (score[v, :k] @ score[v, :k])
        return cls(scored, (n_options > 2) | ~scored, score, direction, (direction**2).sum(axis=-1))

    def split(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Split numbers (C, V, P, K) into their score (C, V, P, 1), and what it leaves (C, V, P, K)."""
        score = (numbers * self.score[:, None]).sum(axis=-1, keepdims=True)
        return score, numbers - score * self.direction[:, None]

    def join(self, score: np.ndarray, rest: np.ndarray) -> np.ndarray:
        return rest + score * self.direction[:, None]

    def spread(self, variance: np.ndarray, along: np.ndarray, kept: np.ndarray, kept_rest: np.ndarray) -> np.ndarray:
        """Put options' variances together from what is kept of either part.

        Score and rest count as uncorrelated within an option, which is right in the sum over a value's options.
        """
        along = along[..., None] * self.direction[:, None] ** 2
        left = np.where(self.more[:, None, None], np.maximum(variance - along, 0.0), 0.0)
        total, wanted = left.sum(axis=-1), np.maximum(variance.sum(axis=-1) - along.sum(axis=-1), 0.0)
        left *= np.divide(wanted, total, out=np.zeros_like(total), where=total > 0)[..., None]
        share = np.divide(along, along + left, out=np.zeros_like(along), where=along + left > 0)
        return np.asarray(variance * (kept[..., None] * share + kept_rest[..., None] * (1 - share)))
