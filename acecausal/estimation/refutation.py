"""Attempts to refute: the same estimator on data in which the answer is known.

DoWhy's refuters, for all values at once, with the weights and the design carried along. DoWhy's own p-value is not
reported: it raises false alarms at few draws and none at many. Instead, the mean of the draws with its standard error
is held against the standard error of the estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import stats

from acecausal.cube import schema
from acecausal.estimation.estimators import Estimator
from acecausal.estimation.problem import Problem, Scores

#: Share of the respondents that the refuter `subset` keeps.
SUBSET = 0.8
#: Fewest respondents of a stratum among whom placebo arms are exchanged; smaller strata are put together.
MIN_STRATUM = 10


def draws(
    problem: Problem,
    rows: np.ndarray,
    arm: np.ndarray,
    stratum: np.ndarray,
    estimator: Estimator,
    n_draws: int,
    *,
    respondent: np.ndarray | None = None,
    item_share: Callable[[np.ndarray], np.ndarray | None] | None = None,
) -> np.ndarray:
    """Re-estimate the effect over everybody under each refuter.

    Parameters
    ----------
    problem : Problem
    rows : numpy.ndarray, shape (n,), int
        Where the problem's respondents stand in the sample.
    arm, stratum : numpy.ndarray, shape (sample,), int
        Of the whole sample, so that a respondent's draws do not depend on which values are estimated together.
    estimator : callable
    n_draws : int
    respondent : numpy.ndarray, shape (sample,), int, optional
        Number 0.. of the respondent of each row, where some stand on several rows: all their rows are changed alike.
    item_share : callable, optional
        Gives the problem's item_share, for the whole sample, from arms.

    Returns
    -------
    numpy.ndarray, shape (values, 3, draws)
        placebo: the effect with the arms exchanged at random among the respondents of a stratum (truth: 0).
        random_common_cause: the change of the effect when a random covariate is adjusted for (truth: 0).
        subset: the change when a random fifth of the respondents is left out (truth: 0).
    """
    rng = np.random.default_rng(problem.seed)
    estimate = overall(estimator(problem), problem.weight)
    first, of = np.arange(len(arm)), np.arange(len(arm))
    if respondent is not None:
        _, first, of = np.unique(respondent, return_index=True, return_inverse=True)
    groups = _pooled(stratum[first], arm[first] >= 0)
    n = len(first)
    found = np.empty((problem.outcomes.shape[1], 3, n_draws))
    for d in range(n_draws):
        placebo = arm[first]
        for group in groups:
            placebo[group] = rng.permutation(placebo[group])
        placebo = placebo[of]
        share = item_share(placebo) if item_share else None
        noise = rng.normal(size=(n, 1))[of][rows]
        kept = (rng.permutation(n) < SUBSET * n)[of][rows]
        changed = (
            replace(problem, arm=placebo[rows], item_share=None if share is None else share[rows]),
            replace(problem, covariates=np.concatenate([problem.covariates, noise], axis=1)),
            replace(
                problem, answered=problem.answered & kept[:, None], outcomes=problem.outcomes * kept[:, None, None]
            ),
        )
        for r, variant in enumerate(changed):
            found[:, r, d] = overall(estimator(variant), problem.weight)
    found[:, 1:] -= estimate[:, None, None]
    return found


def overall(scores: Scores, weight: np.ndarray) -> np.ndarray:
    """Average the scores over everybody: the effect in the context all, shape (values,); NaN where nobody is inside."""
    score = schema.scores(scores.means[0].numbers.shape[2])
    effect = np.zeros(scores.inside.shape[1])
    for mean in scores.means:
        w = weight[:, None] * mean.rows
        total = w.sum(axis=0)
        weighted = np.einsum("nv,nvk,k->v", w, mean.numbers, score, optimize=True)
        effect += mean.sign * np.divide(weighted, total, out=np.full_like(total, np.nan), where=total > 0)
    return effect


def summary(found: np.ndarray, se: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Judge the draws of each value and refuter.

    Parameters
    ----------
    found : numpy.ndarray, shape (values, refuters, draws)
        What should be 0.
    se : numpy.ndarray, shape (values,)
        Standard error of the estimate, the yardstick.

    Returns
    -------
    mean, mean_se : numpy.ndarray, shape (values, refuters)
    verdict : numpy.ndarray, shape (values, refuters), int
        By the 95 % interval of the mean. consistent: it lies within one standard error of the estimate from 0;
        inconsistent: it lies outside; undecided: neither, or fewer than two draws that could be computed.
    """
    there = np.isfinite(found)
    count = there.sum(axis=2)
    enough = count > 1
    mean = np.where(there, found, 0).sum(axis=2) / np.maximum(count, 1)
    square = np.where(there, found - mean[:, :, None], 0) ** 2
    mean_se = np.sqrt(square.sum(axis=2) / np.maximum(count - 1, 1) / np.maximum(count, 1))
    half = stats.t.ppf(0.975, np.maximum(count - 1, 1)) * mean_se
    margin = se[:, None]
    verdict = np.select(
        [~enough, np.abs(mean) + half <= margin, np.abs(mean) - half > margin],
        [schema.UNDECIDED, schema.CONSISTENT, schema.INCONSISTENT],
        schema.UNDECIDED,
    )
    return np.where(count > 0, mean, np.nan), np.where(enough, mean_se, np.nan), verdict


def _pooled(stratum: np.ndarray, inside: np.ndarray) -> list[np.ndarray]:
    """Group the positions inside by stratum; strata that are too small to exchange anything in become one group."""
    _, number = np.unique(stratum, return_inverse=True)
    size = np.bincount(number[inside], minlength=int(number.max(initial=0)) + 1)
    group = np.where(size[number] >= MIN_STRATUM, number, -1)
    found = [np.flatnonzero(inside & (group == g)) for g in np.unique(group[inside])]
    return sorted(found, key=lambda members: int(members[0]))  # what a stratum is called decides no draw
