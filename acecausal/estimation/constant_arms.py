"""An arm in which everybody says the same has no variance of its own, which does not mean that it is known exactly."""

from __future__ import annotations

import numpy as np

from acecausal.estimation.balance import kish

#: A spread below this is rounding.
NO_SPREAD = 1e-12


def arm_shares(
    outcomes: np.ndarray, inside: np.ndarray, arm: np.ndarray, weight: np.ndarray, there: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average each arm's answers in several contexts at once.

    Parameters
    ----------
    outcomes : numpy.ndarray, shape (n, V, K)
        Who chose which option of which value, 0 or 1; or how much of either end of a range a number is.
    inside : numpy.ndarray, shape (n, V), bool
        Who is compared.
    arm : numpy.ndarray, shape (n,), int
        0 baseline, 1 treated, anything else neither.
    weight : numpy.ndarray, shape (n,)
    there : numpy.ndarray, shape (C, n), bool
        Who belongs to which context.

    Returns
    -------
    shares : numpy.ndarray, shape (2, C, V, K)
        By arm; 0 of nobody.
    between : numpy.ndarray, shape (2, C, V)
        Mean product of the two ends' parts: what numbers vary less than answers at the ends would; 0 of options.
    sizes : numpy.ndarray, shape (2, C, V)
        Kish's effective sizes.
    """
    n, n_values, n_options = outcomes.shape
    members = np.concatenate([there & (arm == side) for side in (0, 1)]).astype(float)
    weighted = weight[:, None] * inside
    chosen = (members @ (outcomes * weighted[:, :, None]).reshape(n, -1)).reshape(2, -1, n_values, n_options)
    total, square = ((members @ part).reshape(2, -1, n_values) for part in (weighted, weighted**2))
    shares = np.divide(chosen, total[..., None], out=np.zeros_like(chosen), where=total[..., None] > 0)
    between = np.zeros_like(total)
    if n_options == 2:
        both = (members @ (outcomes.prod(axis=2) * weighted)).reshape(total.shape)
        between = np.divide(both, total, out=between, where=total > 0)
    return shares, between, kish(total.ravel(), square.ravel()).reshape(total.shape)


def unseen_variance(
    shares: np.ndarray,
    sizes: np.ndarray,
    averages: np.ndarray,
    variance: np.ndarray,
    between: np.ndarray | None = None,
) -> np.ndarray:
    """Reckon the variance that a difference of means has, and its sample does not show, where an arm is constant.

    Nobody of 40 who says yes is no proof that of their kind nobody does: the sandwich finds no variance in that arm,
    and with a rare answer rejects a true null in half of all samples. What is put in its stead is the larger of two:
    the other arm's variance at this arm's size, as under no effect, and the variance of Agresti and Caffo's share, one
    answer in n + 2 being the one furthest off. Where both arms are constant there is nothing to say.

    Parameters
    ----------
    shares : numpy.ndarray, shape (2, V, K)
        Of the options in each arm.
    sizes : numpy.ndarray, shape (2, V)
        Effective numbers of respondents in each arm.
    averages : numpy.ndarray, shape (S, K)
        What is averaged, as numbers of the options: the score, or 1 for one option and 0 for the others.
    variance : numpy.ndarray, shape (V, S)
        Of the differences, as estimated.
    between : numpy.ndarray, shape (2, V), optional
        As `arm_shares` gives it; 0 of options.

    Returns
    -------
    numpy.ndarray, shape (V, S)
        To be added to `variance`; 0 where both arms vary.

    References
    ----------
    Agresti and Caffo (2000), Simple and effective confidence intervals for proportions and differences of proportions,
    The American Statistician 54(4), 280-288.
    """
    means = shares @ averages.T
    spread = shares @ (averages**2).T - means**2
    if between is not None:  # of a number s, a (1 - s) + b s has so much smaller squares than a and b at the ends
        spread -= between[..., None] * (averages[:, -1] - averages[:, 0]) ** 2
    seen = np.asarray((shares > 0).any(axis=0))
    added = np.zeros_like(variance)
    for side in (0, 1):
        own, other = sizes[side][:, None], sizes[1 - side][:, None]
        alone = (spread[side] < NO_SPREAD) & (spread[1 - side] >= NO_SPREAD) & (own > 0)
        off = np.abs(averages - means[side][:, :, None]) * seen[:, None]
        one = 1 / (own + 2)
        least = off.max(axis=2) ** 2 * one * (1 - one) / (own + 2)
        alike = variance * np.divide(other, own, out=np.zeros_like(own), where=own > 0)
        added = np.where(alone, np.maximum(alike, least), added)
    return added
