"""Estimators that EconML fits, one value after the other. The only module that imports econml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from acecausal.estimation.balance import MIN_PROPENSITY
from acecausal.estimation.problem import N_FOLDS, Problem, Scores

#: Trees of the causal forest; EconML's default.
TREES = 100


def doubly_robust(problem: Problem) -> Scores:
    """Estimate by augmented inverse-propensity weighting: `econml.dr.LinearDRLearner` for each option.

    Answers are regressed on arm, cells and covariates, the arm (logistic) on cells and covariates, cross-fitted on the
    folds of `Problem.folds`. The score is the learner's pseudo-outcome; its mean in a cell is the learner's effect,
    that of people of other levels too, for whom the arms' deviations from it count.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    Scores

    References
    ----------
    Robins, Rotnitzky and Zhao (1994), JASA 89(427), 846-866.
    """
    from econml.dr import LinearDRLearner
    from sklearn.linear_model import LinearRegression

    fold, inside = problem.folds
    n_options = problem.outcomes.shape[2]
    score = np.zeros(problem.outcomes.shape)
    for v in map(int, np.flatnonzero((fold >= 0).any(axis=0))):
        part = _Part.of(problem, fold[:, v])
        rows, covariates = part.rows, part.scaled(part.rows)
        stretch = _stretch(problem, inside[:, v], rows)
        for k in range(n_options - 1):
            model = LinearDRLearner(
                model_propensity=_logistic(),
                model_regression=LinearRegression(),
                min_propensity=MIN_PROPENSITY,
                fit_cate_intercept=False,
                cv=part.cv,
                random_state=problem.seed,
            )
            model.fit(
                problem.outcomes[rows, v, k],
                problem.arm[rows],
                X=part.cells,
                W=covariates if covariates.shape[1] else None,
                sample_weight=problem.weight[rows],
                cache_values=True,
                inference=None,  # standard errors come from the scores, under the survey's design
            )
            pseudo = model._cached_values.nuisances[0]
            of_arms = np.ravel(pseudo[..., 1] - pseudo[..., 0])
            score[:, v, k] = _by_cell(of_arms, problem, rows)
            score[rows, v, k] += stretch * (of_arms - score[rows, v, k])
    score[:, :, -1] = -score[:, :, :-1].sum(axis=2)  # linear regressions: the options' effects sum to 0
    return Scores.of(score, inside)


def forest_dml(problem: Problem) -> Scores:
    """Estimate by a causal forest: one `econml.dml.CausalForestDML` for all options of a value.

    The effect varies freely with cells and covariates. The score is the out-of-bag effect plus its doubly robust
    correction, as in EconML's ``ate_`` and in grf's average_treatment_effect.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    Scores

    References
    ----------
    Athey, Tibshirani and Wager (2019), Generalized random forests, Annals of Statistics 47(2), 1148-1178.
    """
    from econml.dml import CausalForestDML
    from sklearn.linear_model import LinearRegression

    fold, inside = problem.folds
    inside = inside.copy()
    score = np.zeros(problem.outcomes.shape)
    for v in np.flatnonzero((fold >= 0).any(axis=0)):
        part = _Part.of(problem, fold[:, v])
        rows = part.rows
        features = np.concatenate([problem.indicators[rows], part.scaled(rows)], axis=1)
        model = CausalForestDML(
            model_y=LinearRegression(),
            model_t=_logistic(),
            discrete_treatment=True,
            n_estimators=TREES,
            cv=part.cv,
            n_jobs=1,
            random_state=problem.seed,
        )
        model.fit(
            problem.outcomes[rows, v],
            problem.arm[rows],
            X=features,
            sample_weight=problem.weight[rows],
            cache_values=True,
            inference=None,
        )
        y, t = (np.reshape(part, (len(rows), -1)) for part in model.residuals_[:2])
        effect = model.rlearner_model_final_._model.oob_predict(features)[:, :, 0]
        probability = problem.arm[rows] - t[:, 0]
        spread = np.clip(probability * (1 - probability), MIN_PROPENSITY, None)
        stretch = _stretch(problem, inside[:, v], rows)
        corrected = effect + (stretch * t[:, 0] / spread)[:, None] * (y - t * effect)
        others = np.flatnonzero(inside[:, v] & (problem.arm < 0))
        if len(others):
            there = np.concatenate([problem.indicators[others], part.scaled(others)], axis=1)
            score[others, v] = model.const_marginal_effect(there).reshape(len(others), -1)
        score[rows, v] = corrected
        inside[rows[np.isnan(corrected).any(axis=1)], v] = False  # in every tree's own sample
    # EconML grows a forest for each option, so that effects sum to 0 but roughly: the nearest that do exactly
    score -= score.mean(axis=2, keepdims=True)
    return Scores.of(score, inside)


@dataclass(frozen=True)
class _Part:
    """The rows that a value is estimated on, as EconML wants them.

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
    def of(cls, problem: Problem, fold: np.ndarray) -> _Part:
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


def _stretch(problem: Problem, inside: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Say how many people of all levels each of the two arms' speaks for in its cell, by weight, shape (rows,).

    Those of other levels have the arms' effect and no errors of their own: without it averages over everybody would
    take the arms' errors for smaller than they are, by the arms' share.
    """
    n_cells = problem.indicators.shape[1]
    everybody = np.bincount(problem.cell[inside], problem.weight[inside], n_cells)
    arms = np.bincount(problem.cell[rows], problem.weight[rows], n_cells)
    return np.asarray((everybody / np.where(arms > 0, arms, 1.0))[problem.cell[rows]])


def _by_cell(score: np.ndarray, problem: Problem, rows: np.ndarray) -> np.ndarray:
    """Give everybody the weighted mean score of their cell, shape (n,); 0 where the cell has none."""
    weight = problem.weight[rows]
    cell, n_cells = problem.cell[rows], problem.indicators.shape[1]
    total = np.bincount(cell, weight, n_cells)
    mean = np.bincount(cell, weight * np.ravel(score), n_cells) / np.where(total > 0, total, 1.0)
    return np.asarray(mean[problem.cell])


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1e4, max_iter=1000)
