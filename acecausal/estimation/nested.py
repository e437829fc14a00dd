"""The cells that hold one cell: which coarser personas these are, and how far they share its people."""

from __future__ import annotations

from itertools import combinations

import numpy as np

#: Positions of attributes in the lattice, ascending.
Subset = tuple[int, ...]


def passed_down(
    rows: dict[Subset, np.ndarray],
    subsets: list[Subset],
    at: dict[Subset, np.ndarray],
    within: np.ndarray,
    shape: tuple[int, ...],
) -> np.ndarray:
    """Add up the coarser cells' rows, each over its own subsets, as rows over `subsets`, shape (C, V, cells, G)."""
    total = np.zeros((*shape, len(subsets)))
    for part in subsets[:-1]:
        total[..., [subsets.index(p) for p in subsets_of(part)]] += rows[part][:, :, within[at[part]]]
    return total


def subsets_of(fixed: Subset) -> list[Subset]:
    """List all subsets of some attributes, the empty one first, the whole last."""
    return [part for size in range(len(fixed) + 1) for part in combinations(fixed, size)]


def leave_open(codes: np.ndarray, keep: Subset, place: dict[Subset, int]) -> np.ndarray:
    """Find the personas that specify only the attributes `keep` of each row of `codes`."""
    coarser = np.full_like(codes, -1)
    coarser[:, list(keep)] = codes[:, list(keep)]
    return np.array([place[tuple(row)] for row in coarser.tolist()])


def covariance_of(subsets: list[Subset], s2: dict[Subset, np.ndarray]) -> np.ndarray:
    """Sampling covariances between the raw cells that hold one cell.

    Parameters
    ----------
    subsets : list of tuple of int, length G
        The attributes that these cells specify.
    s2 : dict
        Their sampling variances, each of shape (C, V, cells); NaN where there is none.

    Returns
    -------
    numpy.ndarray, shape (G, C, V, cells, G)
        0 where a cell is missing.

    Notes
    -----
    Means over n_a and n_b people, n_ab of them in both, have covariance n_ab / (n_a n_b) times the variance of a
    person; with variances in place of numbers, s2_a s2_b / s2_ab. Where the intersection has no estimate, attributes
    are taken as independent, which gives the variance of the cell that specifies what both specify.
    """
    shape = s2[()].shape
    found = np.zeros((len(subsets), *shape, len(subsets)))
    for i, a in enumerate(subsets):
        for j, b in enumerate(subsets[: i + 1]):
            both = s2[tuple(sorted({*a, *b}))]
            shared = np.divide(s2[a] * s2[b], both, out=s2[tuple(sorted({*a} & {*b}))].copy(), where=both > 0)
            found[i, ..., j] = found[j, ..., i] = np.nan_to_num(np.minimum(shared, np.minimum(s2[a], s2[b])))
    return found


def quadratic(weights: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Variance of weighted sums: weights (C, V, cells, G) and covariance (G, C, V, cells, G) to (C, V, cells)."""
    total = np.zeros(weights.shape[:-1])
    for i, row in enumerate(covariance):
        total += weights[..., i] * (weights * row).sum(axis=-1)
    return np.maximum(total, 0.0)
