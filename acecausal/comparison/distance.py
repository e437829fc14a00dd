"""How far two distributions or shifts are apart, and how far noise alone takes them."""

from __future__ import annotations

import numpy as np

#: Mean of |x| for a standard normal x.
ABS_NORMAL = np.sqrt(2 / np.pi)


def distribution_distance(p: np.ndarray, q: np.ndarray, n_options: int, scale: str) -> np.ndarray:
    """Distance of two distributions, or of two shifts, over the options.

    Parameters
    ----------
    p, q : numpy.ndarray, shape (..., options)
        Only the first `n_options` columns count.
    scale : {'ordinal', 'binary', 'nominal'}

    Returns
    -------
    numpy.ndarray, shape (...)
        Earth mover's distance over the scale's length (ordinal, binary), or total variation (nominal); 0..1 for
        distributions.
    """
    gap = (p - q)[..., :n_options]
    if scale == "nominal":
        return np.abs(gap).sum(axis=-1) / 2
    return np.abs(gap.cumsum(axis=-1)[..., :-1]).sum(axis=-1) / (n_options - 1)


def expected_distance(option_se: np.ndarray, cumulative_se: np.ndarray, n_options: int, scale: str) -> np.ndarray:
    """Distance that sampling error alone leads one to expect: the ceiling's distance.

    Parameters
    ----------
    option_se, cumulative_se : numpy.ndarray, shape (..., options)
        Standard errors per option, and of the sums over options 1..k.

    Returns
    -------
    numpy.ndarray, shape (...)
        From E|x| = sqrt(2/pi) se for a normal error x, option by option; no independence is needed.
    """
    if scale == "nominal":
        return ABS_NORMAL * option_se[..., :n_options].sum(axis=-1) / 2
    return ABS_NORMAL * cumulative_se[..., : n_options - 1].sum(axis=-1) / (n_options - 1)
