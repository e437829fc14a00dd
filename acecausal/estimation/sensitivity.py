"""How strong an unobserved confounder must be to explain an effect away."""

from __future__ import annotations

import numpy as np

from acecausal.cube import schema


def e_value(effect: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Compute E-values of differences of means.

    Parameters
    ----------
    effect : numpy.ndarray
        In units of the score.
    deviation : numpy.ndarray, same shape
        Standard deviation of the score given the arm and all that is held fixed.

    Returns
    -------
    numpy.ndarray, same shape, at least 1
        With the risk ratio approximated as exp(0.91 |effect| / deviation): RR + sqrt(RR (RR - 1)). NaN where that is
        beyond all numbers, as where all that is held fixed determines the answer.

    References
    ----------
    VanderWeele and Ding (2017), Annals of Internal Medicine 167(4), 268-274.
    """
    with np.errstate(all="ignore"):
        ratio = np.exp(0.91 * np.abs(effect) / deviation)
        value = ratio + np.sqrt(ratio * (ratio - 1))
    return np.where(np.isfinite(value), value, np.nan)


def robustness_value(partial_f2: np.ndarray) -> np.ndarray:
    """Compute the share of the residual variance of both attribute and answer that a confounder must explain.

    Parameters
    ----------
    partial_f2 : numpy.ndarray
        Cohen's f2 of the attribute with the answer, R2 / (1 - R2), at least 0.

    Returns
    -------
    numpy.ndarray, same shape, in [0, 1)
        (sqrt(f^4 + 4 f^2) - f^2) / 2; NaN where f2 is not finite.

    References
    ----------
    Cinelli and Hazlett (2020), Making sense of sensitivity, JRSS B 82(1), 39-67.
    """
    f2 = np.where(np.isfinite(partial_f2), partial_f2, np.nan)
    # as it stands in the paper it loses all digits, and turns negative, where f2 is large
    return np.asarray(2 / (1 + np.sqrt(1 + 4 / np.where(f2 > 0, f2, 1.0))) * (f2 > 0) + 0 * f2)


def strongest_observed(
    columns: np.ndarray, answer: np.ndarray, answered: np.ndarray, arm: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Measure the strongest observed variable by the yardstick of the robustness value.

    Returns
    -------
    numpy.ndarray, shape (V,)
        The largest geometric mean, over the columns, of their squared correlations with arm and with answer; 0 without
        columns.
    """
    if not columns.shape[1]:
        return np.zeros(answer.shape[1])
    w = weight[:, None] * (answered & (arm >= 0)[:, None])
    w = w / w.sum(axis=0)
    treated = (arm == 1).astype(float)

    def moments(x: np.ndarray, y: np.ndarray) -> np.ndarray:  # (n, q), (n, V) -> (q, V)
        return np.asarray(x.T @ (w * y) - (x.T @ w) * (w * y).sum(axis=0))

    everywhere = np.broadcast_to(treated[:, None], answer.shape)
    variance = columns.T**2 @ w - (columns.T @ w) ** 2
    of_answer = (w * answer**2).sum(axis=0) - (w * answer).sum(axis=0) ** 2
    of_arm = treated @ w - (treated @ w) ** 2
    product = moments(columns, answer) ** 2 * moments(columns, everywhere) ** 2
    below = variance**2 * of_answer * of_arm
    squared = np.divide(product, below, out=np.zeros_like(product), where=below > 1e-15)
    return np.asarray(np.sqrt(squared.max(axis=0)))


def verdict(value: np.ndarray, at_limit: np.ndarray, strongest: np.ndarray) -> np.ndarray:
    """Word whether a confounder as strong as the strongest observed variable would explain the effect away.

    Parameters
    ----------
    value, at_limit : numpy.ndarray, shape (V,)
        Robustness value of the estimate, and of the interval's limit nearer to zero (0 if the interval holds zero).
    strongest : numpy.ndarray, shape (V,)
        From `strongest_observed`.

    Returns
    -------
    numpy.ndarray, shape (V,), int
        consistent: not even the limit; inconsistent: even the estimate, though the interval excludes zero; undecided
        else.
    """
    against = (value < strongest) & (at_limit > 0)
    speaks_for = (at_limit > strongest) & (strongest > 0)
    return np.select([speaks_for, against], [schema.CONSISTENT, schema.INCONSISTENT], schema.UNDECIDED)
