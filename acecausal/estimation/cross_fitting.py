"""Predictions of answers and arm, for each respondent by learners that have not seen them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from acecausal.estimation.nuisances import Nuisance, apart, fitted, seeded
from acecausal.estimation.problem import N_FOLDS, Problem


@dataclass(frozen=True)
class Part:
    """The rows that a value is estimated on, as learners want them.

    They stand in the order of their keys, since trees depend on order; covariates have mean 0 and variance 1, since
    what is penalised depends on their unit.

    Attributes
    ----------
    rows : numpy.ndarray, shape (m,), int
        Positions among the problem's rows.
    cells : numpy.ndarray, shape (m, cells at hand)
        Indicators.
    cv : list of (numpy.ndarray, numpy.ndarray)
        The folds, as positions in `rows` to train and to test on.
    controls, mean, spread : numpy.ndarray
        The problem's covariates, and what they are scaled by.
    """

    rows: np.ndarray
    cells: np.ndarray
    cv: list[tuple[np.ndarray, np.ndarray]]
    controls: np.ndarray
    mean: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, problem: Problem, fold: np.ndarray) -> Part:
        """Select the rows that have a fold, shape (n,), -1 for none."""
        rows = np.flatnonzero(fold >= 0)
        rows = rows[np.argsort(problem.key[rows], kind="stable")]
        cells = np.eye(problem.indicators.shape[1])[problem.cell[rows]]
        mean, spread = problem.controls[rows].mean(axis=0), problem.controls[rows].std(axis=0)
        spread = np.where(spread > 1e-12 * (1 + np.abs(mean)), spread, np.inf)
        cv = [(np.flatnonzero(fold[rows] != f), np.flatnonzero(fold[rows] == f)) for f in range(N_FOLDS)]
        return cls(rows, cells[:, cells.any(axis=0)], cv, problem.controls, mean, spread)

    def scaled(self, rows: np.ndarray) -> np.ndarray:
        """Scale the covariates of rows as those that are estimated on, shape (rows, covariates)."""
        return np.asarray((self.controls[rows] - self.mean) / self.spread)

    @property
    def features(self) -> np.ndarray:
        """What is predicted from, shape (m, features): cells, then covariates."""
        return np.concatenate([self.cells, self.scaled(self.rows)], axis=1)


@dataclass(frozen=True, slots=True)
class Predicted:
    """Predictions for the values of one set of respondents.

    Attributes
    ----------
    values : numpy.ndarray, shape (U,), int
        Positions among the problem's values.
    part : Part
    answers : tuple of numpy.ndarray, shape (m, U, K)
        Of the options; over them they sum to 1. One array; or, by arm, two: had everybody been at the baseline, and
        treated.
    arm : numpy.ndarray, shape (m,)
        Probability of the treated arm, in [0, 1].
    """

    values: np.ndarray
    part: Part
    answers: tuple[np.ndarray, ...]
    arm: np.ndarray


def predictions(problem: Problem, nuisance: Nuisance, *, by_arm: bool = False) -> Iterator[Predicted]:
    """Predict answers and arm in each fold from the others.

    Parameters
    ----------
    problem : Problem
    nuisance : Nuisance
    by_arm : bool
        Whether answers are predicted from the arm too.

    Notes
    -----
    Values that the same people answered share the arm's fit. One fit predicts all options of a value; of all these
    values together only where the learner's outputs do not depend on one another (`apart`): a tree's splits do, and a
    value's numbers must not depend on its company. Learners that predict one option at a time (boosting) may predict
    options that do not sum to 1: what is over is taken off the options by their shares of the answers, so that one
    that nobody chose keeps its 0. That makes of shifts d the shifts d - share sum(d).
    """
    answers, of_arm = (seeded(learner, problem.seed) for learner in (nuisance.answers, nuisance.arm))
    fold = problem.folds[0]
    some = np.flatnonzero((fold >= 0).any(axis=0))
    _, group = np.unique(fold[:, some], axis=1, return_inverse=True)
    n_options = problem.outcomes.shape[2]
    for g in range(int(group.max(initial=-1)) + 1):
        values = some[np.ravel(group) == g]
        part = Part.of(problem, fold[:, values[0]])
        rows, features = part.rows, part.features
        arm, weight = problem.arm[rows], problem.weight[rows]
        sides = [np.full(len(rows), side) for side in (0, 1)] if by_arm else [None]
        seen = np.column_stack([features, arm]) if by_arm else features
        asked = [features if side is None else np.column_stack([features, side]) for side in sides]
        share = np.average(problem.outcomes[rows[:, None], values], axis=0, weights=weight)
        treated = np.empty(len(rows))
        found = [np.empty((len(rows), len(values), n_options)) for _ in asked]
        together = [np.arange(len(values))] if apart(answers) else list(np.arange(len(values))[:, None])
        for train, test in part.cv:
            model = fitted(of_arm, features[train], arm[train], weight[train])
            treated[test] = model.predict_proba(features[test])[:, 1]
            for some_values in together:
                target = problem.outcomes[rows[train]][:, values[some_values]].reshape(len(train), -1)
                model = fitted(answers, seen[train], target, weight[train])
                for numbers, x in zip(found, asked, strict=True):
                    guess = model.predict(x[test]).reshape(len(test), len(some_values), n_options)
                    numbers[test[:, None], some_values] = (
                        guess - (guess.sum(axis=2, keepdims=True) - 1) * share[some_values]
                    )
        yield Predicted(values, part, tuple(found), treated)
