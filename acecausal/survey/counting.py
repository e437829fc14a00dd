"""Sums and counts over the units that rows belong to, on plain arrays."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def count_distinct(there: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Count the units that have a row in each domain.

    Parameters
    ----------
    there : numpy.ndarray, shape (n, domains), bool
    unit : numpy.ndarray, shape (n,), int
        The unit of each row, as its rater.

    Returns
    -------
    numpy.ndarray, shape (domains,), int
    """
    present, number = np.unique(unit, return_inverse=True)
    return np.asarray((add_up(there.T[:, None].astype(float), number, len(present)) > 0).sum(axis=(1, 2)))


def add_up(numbers: np.ndarray, group: np.ndarray, count: int) -> np.ndarray:
    """Sum numbers, shape (blocks, k, n), by group, shape (n,): shape (blocks, k, count)."""
    (blocks, k, _), n = numbers.shape, len(group)
    membership = sparse.csr_array((np.ones(n), (np.arange(n), group)), (n, count))
    return np.asarray((numbers.reshape(blocks * k, n) @ membership).reshape(blocks, k, count))
