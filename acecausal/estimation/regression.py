"""Weighted least squares on the same cells: a cross-check of the estimators, and what sensitivity is measured by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acecausal.estimation.problem import Problem


@dataclass(frozen=True, slots=True)
class Regression:
    """What the regressions of all values leave.

    Attributes
    ----------
    effect : numpy.ndarray, shape (V,)
        The cells' effects on the score, averaged over the people spoken for; NaN where no cell has one.
    deviation : numpy.ndarray, shape (V,)
        Standard deviation of what is left of the score after arm, cells and controls.
    spread : numpy.ndarray, shape (V,)
        Variance of what is left of the arm after cells and controls.
    """

    effect: np.ndarray
    deviation: np.ndarray
    spread: np.ndarray


def regress(problem: Problem, score: np.ndarray, inside: np.ndarray) -> Regression:
    """Regress each value's score on arm, cells and controls, the arm's effect free in each cell.

    Parameters
    ----------
    problem : Problem
    score : numpy.ndarray, shape (n, V)
        Anything where not answered.
    inside : numpy.ndarray, shape (n, V), bool
        Whom the estimate speaks for; those of both arms are regressed.

    Returns
    -------
    Regression

    Notes
    -----
    One regression per value, by group means: the controls' slopes are those within arms of cells; effects are the arms'
    differences in what the controls leave of the score. No folds, no sums shared between values: nothing of
    `linear_dml` but the data.
    """
    n_cells = problem.indicators.shape[1]
    found = np.full((3, score.shape[1]), np.nan)
    for v in range(score.shape[1]):
        people = np.flatnonzero(inside[:, v])
        rows = people[problem.arm[people] >= 0]
        if not len(rows):
            continue
        cell, arm, weight = problem.cell[rows], problem.arm[rows], problem.weight[rows]
        block, controls = cell * 2 + arm, problem.controls[rows]
        answer = score[rows, v]
        left = answer - controls @ slopes(answer, controls, block, weight)
        means, size = _means(left, block, weight, 2 * n_cells)
        both = np.minimum(size[::2], size[1::2]) > 0
        population = np.bincount(problem.cell[people], problem.weight[people], n_cells) * both
        if not population.any():
            continue
        error = (left - means[block])[both[cell]]
        arms = (arm == 1).astype(float)
        arms = arms - controls @ slopes(arms, controls, cell, weight)
        arms -= _means(arms, cell, weight, n_cells)[0][cell]
        found[:, v] = (
            population @ (means[1::2] - means[::2]) / population.sum(),
            np.sqrt(np.average(error**2, weights=weight[both[cell]])),
            np.average(arms**2, weights=weight),
        )
    return Regression(*found)


def _means(numbers: np.ndarray, group: np.ndarray, weight: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Average by group, 0 where there is nobody; and weigh the groups."""
    size = np.bincount(group, weight, count)
    sums = np.bincount(group, weight * numbers, count)
    return np.divide(sums, size, out=np.zeros(count), where=size > 0), size


def slopes(numbers: np.ndarray, controls: np.ndarray, group: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Regress on controls with an intercept for each group; a control that does not vary within them has slope 0.

    Numbers of shape (n, k) have slopes of shape (controls, k).
    """
    found = np.zeros((controls.shape[1], *numbers.shape[1:]))
    if not controls.shape[1]:
        return found
    count, root = int(group.max()) + 1, np.sqrt(weight)
    columns = np.stack([column - _means(column, group, weight, count)[0][group] for column in controls.T], axis=1)
    scale = np.sqrt((columns**2).mean(axis=0))
    varies = scale > 1e-9 * (1 + np.abs(controls).max(axis=0))
    scaled = columns[:, varies] / scale[varies] * root[:, None]
    found[varies] = (np.linalg.lstsq(scaled, (numbers.T * root).T, rcond=1e-8)[0].T / scale[varies]).T
    return found
