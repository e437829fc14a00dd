"""Weighted means and differences with their influence values, for holding a design against other software."""

from __future__ import annotations

import numpy as np


def weighted_mean(numbers: np.ndarray, weight: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average over some rows.

    Parameters
    ----------
    numbers : numpy.ndarray, shape (n, outcomes)
    weight : numpy.ndarray, shape (n,)
    rows : numpy.ndarray, shape (n,), bool
        At least one True.

    Returns
    -------
    mean : numpy.ndarray, shape (outcomes,)
    influence : numpy.ndarray, shape (n, outcomes)
        0 outside `rows`.
    """
    w = weight[rows, None]
    total = w.sum()
    mean = (w * numbers[rows]).sum(axis=0) / total
    influence = np.zeros_like(numbers)
    influence[rows] = w * (numbers[rows] - mean) / total
    return mean, influence


def weighted_difference(
    numbers: np.ndarray, weight: np.ndarray, baseline: np.ndarray, treated: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Subtract the weighted mean over `baseline` rows from that over `treated` rows; shapes as in `weighted_mean`."""
    low, low_influence = weighted_mean(numbers, weight, baseline)
    high, high_influence = weighted_mean(numbers, weight, treated)
    return high - low, high_influence - low_influence
