"""Overlap and balance of two arms, on plain arrays."""

from __future__ import annotations

import numpy as np

#: Propensities are kept this far from 0 and 1 when weighting by their inverse.
MIN_PROPENSITY = 0.01


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
