"""Inference from few primary sampling units: what the large-sample sandwich leaves out, and its degrees of freedom.

The sandwich takes residuals for errors. With few PSUs in an arm they are much smaller: of two treated PSUs each is
half of the mean that it is held against, so that the sandwich sees half of the variance, and the t distribution of all
PSUs less strata is that of a much better known variance than it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: With at least so many PSUs in both arms the sandwich stays as it is, and with so many its degrees of freedom too.
MANY, MANY_FOR_DF = 20, 50
#: With fewer degrees of freedom no interval is honest and of any use: its spread is without bound, and Satterthwaite's
#: approximation, good from here on (.94 to .98 in simulations), holds too often (2 of 20 PSUs: .998).
MIN_DF = 2.0
#: Most that a PSU's contribution is blown up by, in variances; what is left is made good in the scale.
MOST = 10.0


@dataclass(frozen=True, slots=True)
class SmallSample:
    """What few PSUs do to a variance.

    Attributes
    ----------
    factor : numpy.ndarray, shape (G,)
        By which each PSU's sum of influence values is to be multiplied, at least 1.
    scale : float
        By which the variance of these is to be multiplied.
    df : float
        Degrees of freedom of the result, at least 1.
    """

    factor: np.ndarray
    scale: float
    df: float


def small_sample(
    psu: np.ndarray,
    arm: np.ndarray,
    cell: np.ndarray,
    weight: np.ndarray,
    population: np.ndarray,
    form: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> SmallSample:
    """Correct the design-based variance of an average of the cells' effects for few PSUs.

    Parameters
    ----------
    psu : numpy.ndarray, shape (n,), int
        0..G-1, of the respondents of both arms.
    arm : numpy.ndarray, shape (n,), int
        0 or 1.
    cell : numpy.ndarray, shape (n,), int
        0..C-1; the effect averaged is the difference of the arms' weighted means in each.
    weight : numpy.ndarray, shape (n,)
    population : numpy.ndarray, shape (C,)
        Weight of each cell in the average.
    form : tuple of numpy.ndarray, shapes (G,), (G, H), (G,)
        The design's quadratic form of the PSUs' totals u, sum(c u^2) - |Z' u|^2, as c and Z; and the share of the
        PSU's stratum that was not sampled.

    Returns
    -------
    SmallSample

    Notes
    -----
    The working model has independent errors of one variance (that of CR2 in R's clubSandwich by default). Under it the
    PSUs' totals of influence values, sums of residuals from the arms' means in each cell, have the covariance matrix

        M = D - A S' - S A' + S diag(p^2 q) S',

    with s_gb PSU g's share of the weight of block b (an arm in a cell), q_gb the sum of its squared shares of weight,
    A_gb = p_b^2 q_gb, p_b the cell's share of the population, and D the diagonal matrix of the sums of A: what the
    totals of *errors* would have. A PSU's factor makes good what it lacks, sqrt(D_gg / M_gg), and the scale makes the
    whole form unbiased. Degrees of freedom are Satterthwaite's, 2 E^2 / Var of the form with normal errors.

    References
    ----------
    Bell and McCaffrey (2002), Bias reduction in standard errors for linear regression with multi-stage samples, Survey
    Methodology 28(2), 169-181; Imbens and Kolesar (2016), Robust standard errors in small samples, REStat 98(4),
    701-712; Pustejovsky and Tipton (2018), JBES 36(4), 672-683.
    """
    count, n_cells = int(psu.max()) + 1, len(population)
    block = cell * 2 + arm
    total = np.bincount(block, weight, 2 * n_cells)
    p2 = np.repeat((population / population.sum()) ** 2, 2)
    of_block = weight / total[block]

    def tabulate(numbers: np.ndarray) -> np.ndarray:
        return np.bincount(psu * 2 * n_cells + block, numbers, count * 2 * n_cells).reshape(count, -1)

    used = (total > 0) & (p2 > 0)
    share, square = tabulate(of_block)[:, used], tabulate(of_block**2)[:, used]
    p2 = p2[used]
    errors = square @ p2
    both = p2 * square.sum(axis=0)
    residuals = errors - 2 * (square * share) @ p2 + share**2 @ both
    sound = residuals > errors / MOST
    factor = np.sqrt(np.divide(errors, residuals, out=np.full(count, MOST), where=sound))
    # the factors times M times the factors is diag(d) + K J K'
    d = factor**2 * errors
    k = factor[:, None] * np.concatenate([share, square * p2], axis=1)
    n_blocks = len(p2)
    j = np.block([[np.diag(both), -np.eye(n_blocks)], [-np.eye(n_blocks), np.zeros((n_blocks, n_blocks))]])
    # the design's form B = diag(c) - Z Z' times that is diag(c d) + left @ right'
    c, z, unsampled = form
    left = np.concatenate([c[:, None] * k - z @ (z.T @ k), -z], axis=1)
    right = np.concatenate([k @ j, d[:, None] * z], axis=1)
    trace = (c * d).sum() + (left * right).sum()
    inner = right.T @ left
    squared = ((c * d) ** 2).sum() + 2 * (c * d) @ (left * right).sum(axis=1) + (inner * inner.T).sum()
    wanted = errors @ unsampled
    if not trace > 1e-12 * wanted:
        return SmallSample(factor, 1.0, 1.0)
    return SmallSample(factor, float(wanted / trace), float(max(trace**2 / squared, 1.0)))
