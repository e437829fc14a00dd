"""Overlap and balance of two arms, on plain arrays."""

from __future__ import annotations

import warnings

import numpy as np

#: Propensities are kept this far from 0 and 1 when weighting by their inverse.
MIN_PROPENSITY = 0.01


def propensity(arm: np.ndarray, cells: np.ndarray, controls: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Estimate the probability of the treated arm against the baseline arm by a logistic regression.

    For diagnostics, whatever the estimator: a straight line leaves 0..1 where arms hardly meet, and is cut off there.

    Parameters
    ----------
    arm : numpy.ndarray, shape (n,), int
        0 baseline, 1 treated; others get a probability but do not count.
    cells : numpy.ndarray, shape (n, C)
        Indicators of the cells.
    controls : numpy.ndarray, shape (n, p)
    weight : numpy.ndarray, shape (n,)

    Returns
    -------
    numpy.ndarray, shape (n,)
        In (0, 1); NaN if one of the arms is empty.
    """
    from sklearn.linear_model import LogisticRegression

    rows = arm >= 0
    if len(np.unique(arm[rows])) < 2:
        return np.full(len(arm), np.nan)
    if not controls.shape[1]:  # saturated: the shares themselves, a little drawn in as the penalty below does
        sums = [cells.T @ (weight * (arm == side)) for side in (0, 1)]
        share = (sums[1] + 1e-9) / (sums[0] + sums[1] + 2e-9)
        return np.asarray(np.clip(cells @ share, 1e-6, 1 - 1e-6))
    spread = controls[rows].std(axis=0)
    scaled = (controls - controls[rows].mean(axis=0)) / np.where(spread > 1e-9, spread, np.inf)
    features = np.concatenate([cells, scaled], axis=1)
    model = LogisticRegression(C=1e4, fit_intercept=False, solver="newton-cholesky", max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # arms that are apart have no finite solution: that is what is looked for
        model.fit(features[rows], arm[rows], sample_weight=weight[rows] / weight[rows].mean())
    return np.asarray(model.predict_proba(features)[:, 1])


def at_even_shares(probability: np.ndarray, share: float) -> np.ndarray:
    """Carry propensities over to arms of the same size: odds over the odds of the treated arm's share."""
    treated, baseline = probability * (1 - share), (1 - probability) * share
    return np.asarray(treated / (treated + baseline))


def effective_size(weight: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Kish's effective size of domains; weight of shape (n,), rows of shape (n, domains), bool; 0 of nobody."""
    return kish(weight @ rows, weight**2 @ rows)


def kish(total: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Kish's effective size from sums of weights, shape (k,), and of their squares; 0 of nobody."""
    return np.divide(total**2, square, out=np.zeros(len(total)), where=square > 0)


def standardised_differences(columns: np.ndarray, arm: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Compare the arms' means in units of their standard deviation.

    Parameters
    ----------
    columns : numpy.ndarray, shape (n, q)
    arm : numpy.ndarray, shape (n,), int
        0 baseline, 1 treated; others do not count.
    weight : numpy.ndarray, shape (n,)

    Returns
    -------
    numpy.ndarray, shape (q,)
        Treated minus baseline, over the root of the mean of the two variances; NaN where an arm is empty or nothing
        varies.

    References
    ----------
    Austin (2009), Statistics in Medicine 28(25), 3083-3107.
    """
    if not all((arm == side).any() for side in (0, 1)):
        return np.full(columns.shape[1], np.nan)
    means, variances = [], []
    for side in (0, 1):
        part, w = columns[arm == side], weight[arm == side]
        means.append(np.average(part, axis=0, weights=w))
        variances.append(np.average((part - means[-1]) ** 2, axis=0, weights=w))
    spread = np.sqrt((variances[0] + variances[1]) / 2)
    return np.divide(means[1] - means[0], spread, out=np.full(len(spread), np.nan), where=spread > 1e-9)


def inverse_propensity(arm: np.ndarray, propensity: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weigh each respondent by the inverse probability of the arm they are in, shape (n,); `propensity` in [0, 1]."""
    kept = np.clip(propensity, MIN_PROPENSITY, 1 - MIN_PROPENSITY)
    return np.asarray(weight / np.where(arm == 1, kept, 1 - kept))


def weighted_quantiles(numbers: np.ndarray, weight: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Find the smallest number that at least a share `level` of the weight does not exceed; NaN for no numbers."""
    if not len(numbers):
        return np.full(len(levels), np.nan)
    order = np.argsort(numbers, kind="stable")
    below = np.cumsum(weight[order]) / weight.sum()
    position = np.searchsorted(below, np.asarray(levels) - 1e-12)
    return np.asarray(numbers[order][np.minimum(position, len(numbers) - 1)])
