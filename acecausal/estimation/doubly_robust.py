"""Augmented inverse-propensity weighting, for all options of a value at once."""

from __future__ import annotations

import numpy as np

from acecausal.estimation.balance import MIN_PROPENSITY
from acecausal.estimation.cross_fitting import predictions
from acecausal.estimation.nuisances import linear
from acecausal.estimation.problem import Problem, Scores


def doubly_robust(problem: Problem) -> Scores:
    """Estimate by augmented inverse-propensity weighting.

    Parameters
    ----------
    problem : Problem
        Without a nuisance answers are regressed linearly on arm, cells and covariates, the arm logistically on cells
        and covariates.

    Returns
    -------
    Scores

    Notes
    -----
    With m(a) a person's answers as predicted, from the other folds, at arm a, and e the arm's probability, within
    [MIN_PROPENSITY, 1 - MIN_PROPENSITY], the score is m(1) - m(0) + t (y - m(1)) / e - (1 - t) (y - m(0)) / (1 - e).
    Its mean in a cell is the effect there, that of people of other levels too, for whom the arms' deviations from it
    count.
    These are the numbers of EconML's LinearDRLearner with X = cell indicators, W = covariates, the same learners and
    these folds, option by option.

    References
    ----------
    Robins, Rotnitzky and Zhao (1994), JASA 89(427), 846-866; Chernozhukov et al. (2018), Econometrics Journal 21(1),
    C1-C68.
    """
    _, inside = problem.folds
    score = np.zeros(problem.outcomes.shape)
    for found in predictions(problem, problem.nuisance or linear(), by_arm=True):
        rows, values = found.part.rows, found.values
        baseline, treated = found.answers
        y = problem.outcomes[rows[:, None], values]
        t = problem.arm[rows, None, None]
        e = np.clip(found.arm, MIN_PROPENSITY, 1 - MIN_PROPENSITY)[:, None, None]
        of_arms = treated - baseline + t * (y - treated) / e - (1 - t) * (y - baseline) / (1 - e)
        for u, v in enumerate(values):
            means = cell_means(of_arms[:, u], problem, rows)
            score[:, v] = means[problem.cell]
            deviation = of_arms[:, u] - score[rows, v]
            score[rows, v] += stretch(problem, inside[:, v], rows)[:, None] * deviation
    return Scores.of(score, inside)


def stretch(problem: Problem, inside: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Say how many people of all levels each of the two arms' speaks for in its cell, by weight, shape (rows,).

    Those of other levels have the arms' effect and no errors of their own: without it averages over everybody would
    take the arms' errors for smaller than they are, by the arms' share.
    """
    n_cells = problem.indicators.shape[1]
    everybody = np.bincount(problem.cell[inside], problem.weight[inside], n_cells)
    arms = np.bincount(problem.cell[rows], problem.weight[rows], n_cells)
    return np.asarray((everybody / np.where(arms > 0, arms, 1.0))[problem.cell[rows]])


def cell_means(numbers: np.ndarray, problem: Problem, rows: np.ndarray) -> np.ndarray:
    """Average numbers of `rows`, shape (rows, K), by weight in each cell, shape (cells, K); 0 where it has none."""
    members = problem.indicators[rows].T * problem.weight[rows]
    total = members.sum(axis=1)
    return np.asarray((members @ numbers) / np.where(total > 0, total, 1.0)[:, None])
