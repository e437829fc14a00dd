"""Means, differences and their uncertainty under a survey design, on plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True, slots=True)
class Design:
    """Strata and PSUs of one country's whole sample.

    Attributes
    ----------
    psu : numpy.ndarray, shape (n,), int
        PSU number 0..P-1 of each respondent.
    stratum : numpy.ndarray, shape (P,), int
        Stratum number 0..H-1 of each PSU.
    """

    psu: np.ndarray
    stratum: np.ndarray

    @classmethod
    def of(cls, stratum: np.ndarray, psu: np.ndarray) -> Design:
        """Number strata and PSUs; a PSU is one within its stratum (the same code in two strata is two PSUs)."""
        pairs, number = np.unique(np.stack([stratum, psu], axis=1), axis=0, return_inverse=True)
        _, stratum_number = np.unique(pairs[:, 0], return_inverse=True)
        return cls(np.ravel(number), np.ravel(stratum_number))

    @property
    def degrees_of_freedom(self) -> int:
        """PSUs minus strata, at least 1."""
        return max(len(self.stratum) - int(self.stratum.max(initial=0)) - 1, 1)

    def variance(self, influence: np.ndarray) -> np.ndarray:
        """Estimate the variance of a statistic from its influence values by Taylor linearisation.

        Parameters
        ----------
        influence : numpy.ndarray, shape (n, outcomes)
            What each respondent adds to the statistic's deviation; 0 for those outside the domain.

        Returns
        -------
        numpy.ndarray, shape (outcomes,)
            With-replacement sampling of PSUs within strata. A stratum with one PSU is centred at the mean of all PSUs
            (R survey's ``lonely.psu="adjust"``).

        References
        ----------
        Binder (1983), On the variances of asymptotically normal estimators from complex surveys, ISR 51(3).
        """
        n_psu = len(self.stratum)
        totals = np.zeros((n_psu, influence.shape[1]))
        np.add.at(totals, self.psu, influence)
        size = np.bincount(self.stratum)
        mean = np.zeros((len(size), influence.shape[1]))
        np.add.at(mean, self.stratum, totals)
        mean /= size[:, None]
        mean[size == 1] = totals.mean(axis=0)
        factor = np.where(size > 1, size / np.maximum(size - 1, 1), 1.0)
        return (factor[self.stratum, None] * (totals - mean[self.stratum]) ** 2).sum(axis=0)


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


def effective_size(weight: np.ndarray) -> float:
    """Compute Kish's effective sample size, (sum w)^2 / sum w^2; 0 for nobody."""
    return float(weight.sum() ** 2 / (weight**2).sum()) if len(weight) else 0.0


def p_values(estimate: np.ndarray, se: np.ndarray, df: float | np.ndarray) -> np.ndarray:
    """Compute two-sided p-values from the t distribution; `se` positive or NaN."""
    return 2 * stats.t.sf(np.abs(estimate / se), df)


def false_discovery(p: np.ndarray) -> np.ndarray:
    """Adjust p-values of one family by Benjamini and Hochberg (1995); NaN in, NaN out, and not counted.

    Parameters
    ----------
    p : numpy.ndarray, any shape

    Returns
    -------
    numpy.ndarray, same shape
    """
    q = np.full(p.shape, np.nan)
    there = np.isfinite(p)
    if there.any():
        q[there] = stats.false_discovery_control(p[there], method="bh")
    return q
