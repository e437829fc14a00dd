"""Estimators: arrays in, one score per respondent out. The only module that imports econml.

A score is a number per respondent whose weighted mean over the respondents of a context is the effect there, and
whose deviations from that mean give its standard error. So contexts, weights, strata and clusters are all applied
afterwards, without refitting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

N_FOLDS = 5
#: Fewest respondents per arm that a cell needs to enter a fit: one for each fold.
MIN_CELL_ARM = N_FOLDS


@dataclass(frozen=True, slots=True)
class Scores:
    """What a fit leaves behind.

    Attributes
    ----------
    score : numpy.ndarray, shape (n, outcomes)
        NaN for respondents whose cell lacks one of the arms; they are outside the estimate.
    propensity : numpy.ndarray, shape (n,)
        Cross-fitted probability of the treated arm against the baseline arm; NaN where `score` is.
    """

    score: np.ndarray
    propensity: np.ndarray


Estimator = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, int], Scores]


def linear_dml(
    outcomes: np.ndarray, arm: np.ndarray, cell: np.ndarray, covariates: np.ndarray, weight: np.ndarray, seed: int
) -> Scores:
    """Estimate effects by double machine learning with linear nuisances, saturated in the cells.

    Parameters
    ----------
    outcomes : numpy.ndarray, shape (n, outcomes)
        Usually the options of several values, one-hot; their effects then sum to 0 within each value.
    arm : numpy.ndarray, shape (n,), int
        0 baseline, 1 treated, -1 another level of the same attribute (counts in the population averaged over, not in
        the fit).
    cell : numpy.ndarray, shape (n,), int
        The combination of the other attributes; the effect is free in each.
    covariates : numpy.ndarray, shape (n, p)
        Adjusted for linearly; p may be 0.
    weight : numpy.ndarray, shape (n,)
        Positive.
    seed : int
        For the folds.

    Returns
    -------
    Scores

    Notes
    -----
    One `econml.dml.LinearDML` fit for all outcomes, features = cell indicators, folds stratified by cell and arm. With
    residuals y, t from the nuisances, the effect in a cell is sum(w t y) / sum(w t^2), and a respondent's score there
    is effect + W t (y - t effect) / sum(w t^2) with W the cell's weight.

    References
    ----------
    Chernozhukov et al. (2018), Double/debiased machine learning, Econometrics Journal 21(1), C1-C68.
    """
    from econml.dml import LinearDML
    from sklearn.linear_model import LinearRegression
    from sklearn.model_selection import StratifiedKFold

    n, n_outcomes = outcomes.shape
    score = np.full((n, n_outcomes), np.nan)
    propensity = np.full(n, np.nan)
    inside, cells = _comparable(arm, cell)
    if not len(cells):
        return Scores(score, propensity)
    fit = inside & (arm >= 0)
    number = np.searchsorted(cells, cell[fit])
    indicators = np.eye(len(cells))[number]
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed).split(number, 2 * number + arm[fit])
    model = LinearDML(
        model_y=LinearRegression(),
        model_t=LinearRegression(),
        fit_cate_intercept=False,
        cv=list(folds),
        random_state=seed,
    )
    model.fit(
        outcomes[fit],
        arm[fit].astype(float),
        X=indicators,
        W=covariates[fit] if covariates.shape[1] else None,
        sample_weight=weight[fit],
        cache_values=True,
        inference=None,  # standard errors come from the scores, under the survey's design
    )
    effect = np.reshape(model.const_marginal_effect(np.eye(len(cells))), (len(cells), n_outcomes))
    y_residual, t_residual = (np.reshape(part, (fit.sum(), -1)) for part in model.residuals_[:2])
    w = weight[fit, None]
    information = np.bincount(number, (w * t_residual**2).ravel(), len(cells))
    population = np.bincount(np.searchsorted(cells, cell[inside]), weight[inside], len(cells))
    moment = t_residual * (y_residual - t_residual * effect[number])
    score[inside] = effect[np.searchsorted(cells, cell[inside])]
    score[fit] += (population / information)[number, None] * moment
    propensity[fit] = arm[fit] - t_residual.ravel()
    share = np.bincount(number, w.ravel() * arm[fit], len(cells)) / np.bincount(number, w.ravel(), len(cells))
    rest = inside & (arm < 0)
    propensity[rest] = share[np.searchsorted(cells, cell[rest])]
    return Scores(score, propensity)


ESTIMATORS: dict[str, Estimator] = {"linear-dml": linear_dml}


def cell_propensity(arm: np.ndarray, cell: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Give each respondent the weighted share of the treated arm in their cell, shape (n,)."""
    _, number = np.unique(cell, return_inverse=True)
    fit = arm >= 0
    treated = np.bincount(number[fit], (weight * arm)[fit], number.max() + 1)
    total = np.bincount(number[fit], weight[fit], number.max() + 1)
    share = np.divide(treated, total, out=np.zeros_like(total), where=total > 0)
    return share[number]


def _comparable(arm: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the cells that hold at least MIN_CELL_ARM respondents of both arms.

    Returns
    -------
    inside : numpy.ndarray, shape (n,), bool
    cells : numpy.ndarray, sorted cell numbers
    """
    cells, number = np.unique(cell, return_inverse=True)
    sizes = np.stack([np.bincount(number[arm == side], minlength=len(cells)) for side in (0, 1)])
    enough: np.ndarray = sizes.min(axis=0) >= MIN_CELL_ARM
    return enough[number], cells[enough]
