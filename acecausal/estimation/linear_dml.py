"""Double machine learning, for many values at once, each with its own respondents.

The numbers are those of one `econml.dml.LinearDML` per outcome; with linear nuisances the work is that of a few matrix
products for all. Linear regressions need only sums, and the sums over the respondents who answered a value are products
with the 0/1 matrix of who answered what. So a value that some did not answer costs no more than one that all did.
"""

from __future__ import annotations

import numpy as np

from acecausal.estimation.balance import kish
from acecausal.estimation.cross_fitting import predictions
from acecausal.estimation.nuisances import Nuisance
from acecausal.estimation.problem import N_FOLDS, Problem, Scores

#: One person who decides the effect of a cell alone would have leverage 1 and an error that nothing tells.
MAX_LEVERAGE = 0.9
#: Directions of covariates that vary by less within cells, as a share, are rounding.
RANK = 1e-10
#: Most of what a cell's effect rests on that one person may be whose arm is predicted further off than so.
MAX_SHARE, MAX_RESIDUAL = 0.5, 2.0


def linear_dml(problem: Problem) -> Scores:
    """Estimate effects by double machine learning, by default with linear nuisances, saturated in the cells.

    Parameters
    ----------
    problem : Problem
        Shapes below: n respondents, V values, K options, C cells, p covariates.

    Returns
    -------
    Scores
        One score per respondent, value and option; options sum to 0.

    Notes
    -----
    Answers and arm are regressed on cell indicators and covariates (one slope for all cells), in each of 5 folds from
    the others. With the residuals y, t the effect in a cell is sum(w t y) / sum(w t^2), and a respondent's score there
    is effect + W t (y - t effect) / (1 - h) / sum(w t^2), with W the cell's weight and h = w t^2 / sum(w t^2) the
    respondent's leverage, less the cell's mean of the second part: errors of few people in an arm look smaller than
    they are, since the effect was fitted to them (HC3; with 12 to 20 treated in a cell and uneven weights, scores
    without it cover .90, with it .95). A person who is more than half of a cell's sum(w t^2), with |t| > 2, as by a
    covariate far off all others (an undeclared 99999999), decides the effect there alone, without an error, and the
    slopes besides: nothing is told of that value.

    With a nuisance, y and t are what its learners leave of answers and arm; all else is as above, but that errors are
    not lengthened for the noise in slopes.

    References
    ----------
    Chernozhukov et al. (2018), Double/debiased machine learning, Econometrics Journal 21(1), C1-C68; MacKinnon and
    White (1985), Some heteroskedasticity-consistent covariance matrix estimators, Journal of Econometrics 29(3),
    305-325. EconML's LinearDML with X = cell indicators, W = covariates, LinearRegression (or the nuisance's learners,
    and a discrete treatment) for both nuisances and these folds gives the same effects.
    """
    fold, inside = problem.folds
    cell, indicators = problem.cell, problem.indicators
    fit = fold >= 0
    weight = problem.weight[:, None] * fit
    y, t, information, effect = _fitted(problem, weight)
    share = weight * t**2 / information[cell]
    far = np.where(np.abs(t) > MAX_RESIDUAL, share, 0.0)
    by_one = np.asarray((far > MAX_SHARE).any(axis=0))
    people = problem.weight[:, None] * inside
    population = indicators.T @ people
    lever = (population / information)[cell] * t * fit
    lever /= 1 - np.minimum(share, MAX_LEVERAGE)
    if problem.nuisance is None:
        lever *= _nuisance_noise(problem.controls, weight)
    score = effect[cell]
    error = lever[:, :, None] * (y - t[:, :, None] * score)
    size = np.where(population > 0, population, 1.0)[:, :, None]
    centre = (indicators.T @ (people[:, :, None] * error).reshape(len(cell), -1)).reshape(effect.shape) / size
    score += error - centre[cell]
    return Scores.of(score, inside, by_one)


def cell_effects(problem: Problem, weight: np.ndarray) -> np.ndarray:
    """Estimate the cells' effects as `linear_dml` does, under other weights, shape (n,): shape (C, V, K).

    Folds, and who is compared, stay those of the problem; a cell without weight has 0.
    """
    return _fitted(problem, weight[:, None] * (problem.folds[0] >= 0))[3]


def _fitted(problem: Problem, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fit, with weights of shape (n, V), 0 outside.

    Returns
    -------
    y, t : numpy.ndarray, shapes (n, V, K), (n, V)
        What is left of answers and arm.
    information : numpy.ndarray, shape (C, V)
        Sums of w t^2; 1 where there are none.
    effect : numpy.ndarray, shape (C, V, K)
    """
    n, n_values, n_options = problem.outcomes.shape
    if problem.nuisance is None:
        # the arm is one outcome more, so that answers and arm are regressed in one go
        arm = np.repeat(problem.arm[:, None, None] == 1, n_values, axis=1)
        joint = np.concatenate([problem.outcomes, arm], axis=2)
        residual = _residuals(joint, problem.folds[0], weight, problem.controls, problem.indicators, problem.cell)
        y, t = residual[:, :, :-1], residual[:, :, -1]
    else:
        y, t = _learnt(problem, problem.nuisance)
    information = problem.indicators.T @ (weight * t**2)
    moment = problem.indicators.T @ (((weight * t)[:, :, None] * y).reshape(n, -1))
    information = np.where(information > 0, information, 1.0)
    return y, t, information, moment.reshape(-1, n_values, n_options) / information[:, :, None]


def _learnt(problem: Problem, nuisance: Nuisance) -> tuple[np.ndarray, np.ndarray]:
    """Subtract what learners predict of answers, shape (n, V, K), and arm, (n, V); 0 outside the fit."""
    y = np.zeros(problem.outcomes.shape)
    t = np.zeros(problem.outcomes.shape[:2])
    for found in predictions(problem, nuisance):
        at = found.part.rows[:, None], found.values
        y[at] = problem.outcomes[at] - found.answers[0]
        t[at] = (problem.arm[found.part.rows] - found.arm)[:, None]
    return y, t


def _nuisance_noise(controls: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Say by how much the noise in p slopes blows up an effect's error, shape (V,): 1 + p / n.

    n is the effective number of people that a fold's slopes were learnt from. Each prediction is off by p / n of the
    residual variance, in answers and arm alike, and alike for all people of a fold: their products do not average out.
    With 60 covariates for 500 people errors without it are 13 % too short.
    """
    if not controls.shape[1] or not weight.any():
        return np.ones(weight.shape[1])
    people = kish(weight.sum(axis=0), (weight**2).sum(axis=0)) * (1 - 1 / N_FOLDS)
    rank = np.linalg.matrix_rank(_standardised(controls, weight.sum(axis=1)))
    return np.asarray(1 + rank / np.maximum(people, 1))


def _inverse(gram: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Invert symmetric matrices, shape (V, p, p), as far as they hold more than rounding.

    `whole`, shape (V,), is what the largest entry was before cell means were taken off: measured by what is left of it,
    a covariate that does not vary within cells would be rounding, and have a slope of rounding over rounding.
    """
    values, vectors = np.linalg.eigh(gram)
    kept = values > RANK * np.maximum(whole, values[:, -1])[:, None]
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=kept)
    return np.asarray((vectors * inverse[:, None, :]) @ vectors.transpose(0, 2, 1))


def _residuals(
    outcomes: np.ndarray,
    fold: np.ndarray,
    weight: np.ndarray,
    covariates: np.ndarray,
    indicators: np.ndarray,
    cell: np.ndarray,
) -> np.ndarray:
    """Subtract from each outcome its prediction from the other folds.

    Parameters
    ----------
    outcomes : numpy.ndarray, shape (n, V, K)
    fold : numpy.ndarray, shape (n, V), int
        -1 outside.
    weight : numpy.ndarray, shape (n, V)
        0 outside.
    covariates : numpy.ndarray, shape (n, p)
    indicators : numpy.ndarray, shape (n, C)
    cell : numpy.ndarray, shape (n,)

    Returns
    -------
    numpy.ndarray, shape (n, V, K)
        Meaningless where `fold` is -1.
    """
    n, n_values, n_options = outcomes.shape
    n_cells, p = indicators.shape[1], covariates.shape[1]
    centred = _standardised(covariates, weight.sum(axis=1))
    by_cell = np.einsum("nc,np->ncp", indicators, centred).reshape(n, -1)
    left, right = np.triu_indices(p)
    products = centred[:, left] * centred[:, right]
    rows = np.concatenate([indicators, by_cell, products], axis=1).T
    answers = np.concatenate([indicators, centred], axis=1).T
    sums, crosses = [], []
    for f in range(N_FOLDS):
        part = weight * (fold == f)
        sums.append(rows @ part)
        crosses.append((answers @ (part[:, :, None] * outcomes).reshape(n, -1)).reshape(-1, n_values, n_options))
    total, total_cross = sum(sums), sum(crosses)

    intercepts, slopes = [], []
    for f in range(N_FOLDS):
        train, cross = total - sums[f], total_cross - crosses[f]
        size = np.where(train[:n_cells] > 0, train[:n_cells], 1.0)
        mean = cross[:n_cells] / size[:, :, None]
        slope = np.zeros((n_values, p, n_options))
        if p:
            of_cell = train[n_cells : n_cells * (1 + p)].reshape(n_cells, p, n_values) / size[:, None]
            covariate_mean = of_cell.transpose(2, 0, 1)
            gram = np.empty((n_values, p, p))
            gram[:, left, right] = gram[:, right, left] = train[n_cells * (1 + p) :].T
            whole = np.einsum("vpp->vp", gram).max(axis=1)
            gram -= np.einsum("cv,vcp,vcq->vpq", size, covariate_mean, covariate_mean, optimize=True)
            within = cross[n_cells:].transpose(1, 0, 2)
            within = within - np.einsum("cv,vcp,cvk->vpk", size, covariate_mean, mean, optimize=True)
            slope = _inverse(gram, whole) @ within
            mean = mean - (covariate_mean @ slope).transpose(1, 0, 2)
        intercepts.append(mean)
        slopes.append(slope)
    value = np.arange(n_values)
    residual = outcomes - np.concatenate(intercepts)[fold * n_cells + cell[:, None], value]
    by_fold = np.stack(slopes)
    for j in range(p):
        residual -= centred[:, j, None, None] * by_fold[fold, value, j]
    return residual


def _standardised(covariates: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Centre and scale, so that sums of squares lose no digits; a constant column becomes 0."""
    if not covariates.shape[1] or not weight.any():
        return np.zeros_like(covariates)
    mean = np.average(covariates, axis=0, weights=weight)
    spread = np.sqrt(np.average((covariates - mean) ** 2, axis=0, weights=weight))
    scale = np.where(spread > 1e-12 * (1 + np.abs(mean)), spread, np.inf)
    return (covariates - mean) / scale
