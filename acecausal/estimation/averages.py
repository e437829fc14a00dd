"""From scores of respondents to shifts in a context, their covariances, and what forbids to believe them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from acecausal.cube import schema
from acecausal.estimation import few_psus
from acecausal.estimation.inference import Crossed, Design
from acecausal.estimation.problem import Problem, Scores
from acecausal.estimation.replicates import Replicates
from acecausal.estimation.sample import Sample

#: A standard error below this is rounding (forests leave 1e-6), not what people differ by: that takes 1e9 of them.
NO_ERROR = 1e-5


def covariance_of(
    design: Design | Crossed | Replicates,
    estimate: np.ndarray,
    influence: np.ndarray,
    rows: np.ndarray,
    again: np.ndarray | None,
) -> np.ndarray:
    """Estimate covariances (blocks, k, k): by influence values, or by the estimates `again` under replicate weights."""
    if isinstance(design, Replicates):
        assert again is not None
        return design.covariance(again, estimate)
    return design.covariance(influence, rows)


@dataclass(frozen=True, slots=True)
class Few:
    """Factors of influence values, shape (rows here, values), and degrees of freedom, shape (values,)."""

    any: bool
    factor: np.ndarray
    df: np.ndarray


def few_psus_of(
    sample: Sample,
    rows: np.ndarray,
    here: np.ndarray,
    problem: Problem,
    scores: Scores,
    some: np.ndarray,
    psus: np.ndarray,
) -> Few:
    """Correct for few PSUs in an arm, for the values `some`; `psus` is the smaller arm's number of them, per value.

    Of raters crossed with items, and under replicate weights, only the degrees of freedom.
    """
    crossed = isinstance(sample.design, Crossed)
    design = sample.design.rater if isinstance(sample.design, Crossed) else sample.design
    few = some & (psus < (few_psus.MANY if design.single else few_psus.MANY_FOR_DF))
    found = Few(bool(few.any()), np.ones((len(here), int(some.sum()))), np.full(int(some.sum()), np.inf))
    if not found.any:
        return found
    # the plain difference compares whole arms, all others arms within cells
    cell = problem.cell[here] if len(scores.means) == 1 else np.zeros(len(here), dtype=int)
    known: dict[bytes, tuple[np.ndarray, float]] = {}
    for j in np.flatnonzero(few):
        inside = scores.inside[here, j]
        if inside.tobytes() not in known and isinstance(design, Replicates):
            degrees = design.effective_degrees(rows[here], problem.arm[here], cell, inside)
            known[inside.tobytes()] = np.ones(len(here)), degrees
        elif inside.tobytes() not in known:
            assert isinstance(design, Design)
            both = np.flatnonzero(inside & (problem.arm[here] >= 0))
            present, number = np.unique(design.psu[rows[here[both]]], return_inverse=True)
            weight = problem.weight[here]
            small = few_psus.small_sample(
                number,
                problem.arm[here[both]],
                cell[both],
                weight[both],
                np.bincount(cell[inside], weight[inside], int(cell.max()) + 1),
                design.form(present),
            )
            factor = np.ones(len(here))
            if psus[j] < few_psus.MANY and not crossed:
                factor[both] = small.factor[number]
                factor *= np.sqrt(small.scale)
            known[inside.tobytes()] = factor, small.df
        place = int(some[:j].sum())
        found.factor[:, place], found.df[place] = known[inside.tobytes()]
    return replace(found, any=False) if crossed or isinstance(design, Replicates) else found


def shifts_of(scores: Scores, here: np.ndarray, weight: np.ndarray, some: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average the scores over the rows `here`, for the values `some`.

    Returns
    -------
    shift : numpy.ndarray, shape (values, options)
    influence : numpy.ndarray, shape (rows, values, options)
        A view of an array that runs over the rows fastest, as covariances want it.
    """
    shift: np.ndarray | float = 0.0
    influence: np.ndarray | float = 0.0
    for mean in scores.means:
        w = (weight[here, None] * mean.rows[here]).T[some]
        w /= w.sum(axis=1, keepdims=True)
        part = np.take(mean.by_option if some.all() else mean.by_option[some], here, axis=2)
        part *= w[:, None]
        average = part.sum(axis=2)
        part -= average[:, :, None] * w[:, None]
        shift = shift + mean.sign * average
        influence = influence + part if mean.sign > 0 else influence - part
    return np.asarray(shift), np.asarray(influence).transpose(2, 0, 1)


def failures(shift: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Say why estimates may not stand, shape (values,): a reason of the schema, 0 where they may.

    Where nobody within the arms differs from the others there is no honest interval, and where one weight outweighs all
    others the result can be none that a difference of probabilities can be.
    """
    score = schema.scores(shift.shape[1])
    effect_se = np.sqrt(np.clip(covariance @ score @ score, 0, None))
    most = 1 + 1e-9
    possible = np.isfinite(covariance).all(axis=(1, 2)) & (np.abs(shift) <= most).all(axis=1)
    possible &= np.abs(shift @ score) <= most
    return np.select([~possible, ~(effect_se >= NO_ERROR)], [schema.IMPOSSIBLE_NUMBER, schema.CONSTANT_ANSWERS], 0)


def census(
    design: Design | Crossed | Replicates, failed: np.ndarray, influence: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Say whose answers vary although the standard error is 0: whole strata were asked, shape (values,), bool."""
    constant = failed == schema.CONSTANT_ANSWERS
    if not isinstance(design, Design) or not constant.any() or not design.fraction.any():
        return np.zeros(len(failed), dtype=bool)
    sampled = replace(design, fraction=np.zeros_like(design.fraction))
    spread = sampled.variance(influence @ schema.scores(influence.shape[2]), rows)
    return np.asarray(constant & (spread >= 1e-24))
