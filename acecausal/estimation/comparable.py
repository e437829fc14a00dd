"""Whether the two arms of a contrast can be compared at all: how many there are, and whether they meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acecausal.cube import schema
from acecausal.estimation import balance
from acecausal.estimation.estimators import ASSOCIATION
from acecausal.estimation.problem import MIN_CELL_ARM
from acecausal.estimation.sample import Sample

#: An estimate must speak for at least this weighted share of the context's respondents.
MIN_OVERLAP = 0.5
#: Fewest people, in effective size, that weighting by the inverse propensity may leave of an arm.
MIN_EFFECTIVE = 10.0
#: Largest standardised difference that it may leave between the arms.
MAX_DIFFERENCE = 1.0
#: Most of an arm's weight that one person may carry.
MAX_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Comparable:
    """How a contrast's arms meet, by a logistic regression of the arm on all that is held fixed.

    Attributes
    ----------
    propensity : numpy.ndarray, shape (n,)
        Of the whole sample; NaN where the treatment or what is held fixed is not known.
    effective, difference : numpy.ndarray, shape (personas,)
        The smaller arm's effective size, and the largest standardised difference, after weighting by the inverse
        propensity; NaN for what is no context, or has an arm without people.
    reason : numpy.ndarray, shape (personas,), int
        Why nothing honest can be said there, one of `schema.REASONS`; 0 where it can.
    """

    propensity: np.ndarray
    effective: np.ndarray
    difference: np.ndarray
    reason: np.ndarray


def compare_arms(sample: Sample, contrast: int, columns: np.ndarray) -> Comparable:
    """Judge overlap and balance of a contrast in each of its contexts.

    Parameters
    ----------
    sample : Sample
    contrast : int
    columns : numpy.ndarray, shape (n, q)
        What is held fixed, from `Sample.adjusted`.

    Returns
    -------
    Comparable

    Notes
    -----
    Propensities are judged as if the arms were of the same size (odds over the odds of the arm's share): that few
    people are of a rare religion does not make them incomparable. The plain difference holds nothing fixed, so nothing
    speaks against it.
    """
    plan, personas = sample.plan, len(sample.plan.lattice.personas)
    found = Comparable(
        np.full(len(sample.survey), np.nan),
        np.full(personas, np.nan),
        np.full(personas, np.nan),
        np.zeros(personas, dtype=np.int64),
    )
    rows = np.flatnonzero(sample.complete(plan.treatment(contrast)))
    problem = sample.comparison(contrast, rows)
    found.propensity[rows] = propensity = balance.propensity(
        problem.arm, problem.indicators, problem.controls, problem.weight
    )
    size = np.bincount(problem.cell * 3 + problem.arm + 1, minlength=3 * problem.indicators.shape[1])
    meet = np.minimum(size[1::3], size[2::3])[problem.cell] >= MIN_CELL_ARM
    low, high = schema.PROPENSITY_RANGE
    for context in plan.contexts(contrast):
        here = np.flatnonzero(sample.matched[context][rows] & meet & (problem.arm >= 0))
        arm, weight = problem.arm[here], problem.weight[here]
        if len(np.unique(arm)) < 2:
            continue
        even = balance.at_even_shares(propensity[here], np.average(arm, weights=weight))
        balanced = balance.inverse_propensity(arm, propensity[here], weight)
        arms = np.stack([arm == side for side in (0, 1)], axis=1)
        effective = balance.effective_size(balanced, arms).min()
        differences = np.abs(balance.standardised_differences(columns[rows[here]], arm, balanced))
        difference = differences[np.isfinite(differences)].max(initial=0.0)
        found.effective[context], found.difference[context] = effective, difference
        if plan.estimator != ASSOCIATION:
            met = np.average((even >= low) & (even <= high), weights=weight)
            found.reason[context] = (
                schema.ARMS_APART if met < MIN_OVERLAP
                else schema.UNBALANCED if difference > MAX_DIFFERENCE or effective < MIN_EFFECTIVE
                else schema.NO_REASON
            )  # fmt: skip
    return found


def arm_problems(
    sample: Sample, rows: np.ndarray, arms: Sequence[np.ndarray], min_arm: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count two arms, and say what is wrong with them.

    Parameters
    ----------
    sample : Sample
    rows : numpy.ndarray, shape (m,), int
        Positions in the sample.
    arms : sequence of two numpy.ndarray, shape (m, values), bool
        Who is in each arm.
    min_arm : int
        Fewest respondents, in number and in effective size.

    Returns
    -------
    sizes, psus : numpy.ndarray, shape (2, values), int
        Respondents and PSUs of each arm.
    reason : numpy.ndarray, shape (values,), int
        One of `schema.REASONS`; 0 if nothing is wrong.
    """
    weight, who = sample.survey.weight[rows], sample.survey.respondent
    if who is not None:  # a rater's ratings are one person's
        _, first, number = np.unique(who[rows], return_index=True, return_inverse=True)
    sizes, psus, effective, largest = [], [], [], []
    for arm in arms:
        sizes.append(sample.survey.count(rows, arm))
        psus.append(sample.design.count_psus(arm, rows))
        people = weight[:, None] * arm
        if who is not None:
            people = np.stack([np.bincount(number, column, len(first)) for column in people.T], axis=1)
        total = people.sum(axis=0)
        effective.append(balance.kish(total, (people**2).sum(axis=0)))
        highest = people.max(axis=0, initial=0)
        largest.append(np.divide(highest, total, out=np.zeros(len(total)), where=total > 0))
    few = [np.min(sizes, axis=0) < min_arm, np.min(effective, axis=0) < min_arm - 1e-9, np.min(psus, axis=0) < 2]
    few.insert(1, np.max(largest, axis=0) > MAX_SHARE)
    reasons = [schema.FEW_PEOPLE, schema.ONE_PERSON, schema.FEW_EFFECTIVE, schema.FEW_PSUS]
    return np.stack(sizes), np.stack(psus), np.select(few, reasons, schema.NO_REASON)
