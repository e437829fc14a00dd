"""How much true deviations vary, where groups of cells may differ in that and single cells may stand out."""

from __future__ import annotations

import numpy as np

#: Points of the grid of variances, from a fiftieth of the least noise to the largest square.
POINTS = 20

#: Share of the prior over scales that is flat whatever the other groups say: however many they are, one that differs is
#: not outvoted.
FLAT = 0.5

#: Degrees of freedom of the t distribution of true deviations within a group.
TAIL = 4


def variances(square: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give each cell a distribution of the variance of its true deviation.

    Parameters
    ----------
    square : numpy.ndarray, shape (C, V, cells)
        Squared observed deviations.
    noise : numpy.ndarray, shape (C, V, cells)
        Their sampling variances, at least one above 0; NaN where there is no cell.

    Returns
    -------
    grid : numpy.ndarray, shape (POINTS,)
    weight : numpy.ndarray, shape (C, V, cells, POINTS)
        Posterior weights of the grid's variances; 0 where there is no cell, or one without noise.
    group : numpy.ndarray, shape (V,)
        Posterior mean of each group's squared scale.

    Notes
    -----
    A value's cells are a group. Their true deviations follow a t distribution, a scale mixture of normal ones, so that
    a cell that stands out is left where it is. The group's scale has a prior on a grid, half of it flat, half learnt
    from all groups (nonparametric maximum likelihood by EM, Laird 1978, with one flat group added). Deviations of
    several numbers are taken as one number with their summed variance, so that they teach less than they could.
    """
    there = np.isfinite(noise) & (noise > 0)
    observed, n = np.where(there, square, 0.0), np.where(there, noise, 1.0)
    low = 0.02 * np.quantile(n[there], 0.05)
    grid = np.geomspace(low, max(observed.max(), 4 * low), POINTS)
    total = n[..., None] + grid
    log = -0.5 * (np.log(total) + observed[..., None] / total)
    cell = np.exp(log - log.max(axis=-1, keepdims=True)) * there[..., None]
    kernel = _kernel(grid)
    marginal = np.maximum(np.where(there[..., None], cell @ kernel.T, 1.0), 1e-300)
    group = np.log(marginal).sum(axis=(0, 2))
    group = np.exp(group - group.max(axis=-1, keepdims=True))
    some = there.any(axis=(0, 2))
    prior = np.full(POINTS, 1 / POINTS)
    for _ in range(30):
        share = prior * group[some]
        share /= share.sum(axis=-1, keepdims=True)
        prior = (share.sum(axis=0) + 1 / POINTS) / (len(share) + 1)
    share = ((1 - FLAT) * prior + FLAT / POINTS) * group
    share /= share.sum(axis=-1, keepdims=True)
    ratio = np.divide(share[:, None], marginal, out=np.zeros_like(marginal), where=marginal > 1e-290)
    cell *= ratio @ kernel
    cell /= np.where(there, cell.sum(axis=-1), 1.0)[..., None]
    return grid, cell, share @ grid


def _kernel(grid: np.ndarray) -> np.ndarray:
    """Distribute cells' variances about their group's, a row for each squared scale: scale2 TAIL / chi2(TAIL)."""
    half = TAIL / 2 * grid[:, None] / (grid * np.sqrt(grid[1] / grid[0]))
    below = np.exp(-half) * (1 + half)  # how likely a cell's variance lies under each upper edge, TAIL being 4
    below[:, -1] = 1
    return np.diff(below, axis=1, prepend=0.0)
