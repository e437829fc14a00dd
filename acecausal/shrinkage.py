"""Empirical-Bayes versions of responses and shifts: small cells borrow from coarser personas and from other countries.

From the coarsest granularity to the finest, a cell is predicted from the personas that leave one of its attributes open
(no interaction beyond theirs), corrected by how far the other countries are from that prediction, and its own deviation
from the prediction counts by how reliable it is. How much deviations truly vary is learnt from all cells of the same
attributes, over countries and values.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from acecausal.lattice import Lattice

#: Fewest deviations from which to learn how much they vary; with fewer, nothing is shrunk.
MIN_CELLS = 3


def shrink_responses(response: np.ndarray, n_eff: np.ndarray, lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """Shrink responses.

    Parameters
    ----------
    response : numpy.ndarray, shape (countries, values, personas, options)
        Shares; NaN where nobody answered and beyond a value's options.
    n_eff : numpy.ndarray, shape (countries, values, personas)
        Kish effective sizes.
    lattice : Lattice

    Returns
    -------
    shrunk, se : numpy.ndarray, shape of `response`
        NaN where `response` is; shares lie in [0, 1] and sum to 1.

    Notes
    -----
    The sampling variance of a share is that of the country's marginal, m (1 - m) / n_eff: a cell's own share says
    nothing about its error when all five respondents agree. See `_shrink` for the rest.
    """
    beyond = np.isnan(response).all(axis=(0, 2))  # (values, options)
    marginal = response[:, :, [0]]
    with np.errstate(divide="ignore"):
        per_person = np.clip(marginal * (1 - marginal), 0, None) / n_eff[..., None]
    variance = np.where(np.isfinite(response), per_person, np.nan)
    scale = np.nansum(np.where(np.isfinite(marginal), marginal * (1 - marginal), 0), axis=-1)  # (countries, values, 1)
    shrunk, spread = _shrink(response, variance, np.maximum(scale, 1e-12), lattice, borrow_at_top=False)
    shrunk = np.clip(np.where(beyond[:, None], 0.0, shrunk), 0, 1)
    total = shrunk.sum(axis=-1, keepdims=True)
    shrunk = np.divide(shrunk, total, out=np.full_like(shrunk, np.nan), where=total > 0)
    there = np.isfinite(response)
    return np.where(there, shrunk, np.nan), np.where(there, np.sqrt(spread), np.nan)


def shrink_shifts(
    shift: np.ndarray, shift_se: np.ndarray, effect_se: np.ndarray, lattice: Lattice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shrink shifts.

    Parameters
    ----------
    shift, shift_se : numpy.ndarray, shape (countries, contrasts, values, personas, options)
        NaN where there is no estimate.
    effect_se : numpy.ndarray, shape (countries, contrasts, values, personas)
        NaN also for nominal values.
    lattice : Lattice

    Returns
    -------
    shrunk, se : numpy.ndarray, shape of `shift`
        NaN where `shift` is; shifts sum to 0, since all options of a cell are shrunk alike.
    effect_se : numpy.ndarray, shape of `effect_se`
        Standard error of the score-weighted shrunk shift.

    Notes
    -----
    Each contrast on its own. In the context `all` a shift is drawn towards the other countries' mean. See `_shrink`.
    """
    shrunk, se = np.full_like(shift, np.nan), np.full_like(shift, np.nan)
    of_effect = np.full_like(effect_se, np.nan)
    for t in range(shift.shape[1]):
        # the effect rides along as one more number of the cell: it has the same share of its own deviation
        numbers = np.concatenate([shift[:, t], np.zeros_like(effect_se[:, t, ..., None])], axis=-1)
        variance = np.concatenate([shift_se[:, t] ** 2, effect_se[:, t, ..., None] ** 2], axis=-1)
        found, spread = _shrink(
            numbers, variance, np.ones((len(shift), shift.shape[2], 1)), lattice, borrow_at_top=True, riders=1
        )
        there = np.isfinite(shift[:, t])
        shrunk[:, t] = np.where(there, found[..., :-1], np.nan)
        se[:, t] = np.where(there, np.sqrt(spread[..., :-1]), np.nan)
        of_effect[:, t] = np.where(np.isfinite(effect_se[:, t]), np.sqrt(spread[..., -1]), np.nan)
    return shrunk, se, of_effect


def _shrink(
    numbers: np.ndarray,
    variance: np.ndarray,
    scale: np.ndarray,
    lattice: Lattice,
    *,
    borrow_at_top: bool,
    riders: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Shrink cells of K numbers each, granularity by granularity.

    Parameters
    ----------
    numbers, variance : numpy.ndarray, shape (C, V, P, K)
        NaN where there is nothing; a cell is there if its first number is.
    scale : numpy.ndarray, shape (C, V, 1)
        Deviations are assumed to vary in proportion to it.
    lattice : Lattice
    borrow_at_top : bool
        Whether granularity 0 is drawn towards the other countries.
    riders : int
        So many last numbers of each cell are shrunk with it but do not decide how much.

    Returns
    -------
    shrunk, variance : numpy.ndarray, shape (C, V, P, K)
        Finite everywhere.

    Notes
    -----
    In a cell with sampling variance s2 (summed over its numbers), predicted from coarser personas, the deviation d from
    the prediction has sampling variance f s2, with f the product over its attributes of 1 - s2(parent) / s2: the
    prediction holds part of the cell's own noise. The deviation is drawn towards b times the precision-weighted mean
    deviation of the other countries, and keeps the share B = tau2 / (tau2 + f s2) of what differs from it. tau2 is
    Paule and Mandel's estimate, b the weighted regression coefficient, in [0, 1], over all cells of the same
    attributes. The variance is that of the prediction, plus B f times the cell's own, plus (1 - B)^2 times that of what
    is borrowed.

    References
    ----------
    Fay and Herriot (1979), JASA 74(366), 269-277; Morris (1983), JASA 78(381), 47-55; Paule and Mandel (1982), J. Res.
    NBS 87(5), 377-385. A relative of multilevel regression and poststratification (Gelman and Little 1997).
    """
    own = slice(0, numbers.shape[3] - riders)
    shrunk, spread = np.zeros(numbers.shape), np.zeros(numbers.shape)
    there = np.isfinite(numbers[..., 0])
    filled = np.where(np.isfinite(numbers), numbers, 0.0)
    known = np.where(np.isfinite(variance), variance, 0.0)
    s2 = np.where(there, known[..., own].sum(axis=-1), np.nan)
    place = {tuple(row): i for i, row in enumerate(lattice.codes.tolist())}
    specified = lattice.codes >= 0
    for attributes in dict.fromkeys(map(tuple, specified.tolist())):  # coarser ones come first
        cells = np.flatnonzero((specified == attributes).all(axis=1))
        prior, prior_variance = _prediction(shrunk, spread, lattice.codes[cells], place)
        own_part = np.ones(s2[:, :, cells].shape)
        for a in np.flatnonzero(attributes):
            parents = lattice.codes[cells].copy()
            parents[:, a] = -1
            above = s2[:, :, [place[tuple(row)] for row in parents.tolist()]]
            held = np.divide(above, s2[:, :, cells], out=np.zeros_like(above), where=s2[:, :, cells] > 0)
            own_part *= 1 - np.clip(np.nan_to_num(held), 0, 0.95)
        here = there[:, :, cells]
        deviation = np.where(here[..., None], filled[:, :, cells] - prior, 0.0)
        noise = np.where(here, own_part * s2[:, :, cells] / scale, np.nan)
        top = not any(attributes)
        if top and not borrow_at_top:
            keep, others, doubt = np.ones(here.shape), np.zeros(deviation.shape), np.zeros(here.shape)
        else:
            keep, others, doubt = _keep(deviation, noise, scale, own)
        keep = np.where(here, keep, 0.0)[..., None]
        shrunk[:, :, cells] = prior + others + keep * np.where(here[..., None], deviation - others, 0.0)
        relative = np.where(here, scale / np.where(s2[:, :, cells] > 0, s2[:, :, cells], np.inf), 0.0)[..., None]
        borrowed = (1 - keep) ** 2 * (doubt[..., None] * relative)
        spread[:, :, cells] = prior_variance + (keep * own_part[..., None] + borrowed) * known[:, :, cells]
    return shrunk, spread


def _prediction(
    shrunk: np.ndarray, spread: np.ndarray, codes: np.ndarray, place: dict[tuple[int, ...], int]
) -> tuple[np.ndarray, np.ndarray]:
    """Predict cells from all coarser personas that they belong to, without interaction of all their attributes.

    Returns
    -------
    prediction, variance : numpy.ndarray, shape (C, V, cells, K)
    """
    prediction = np.zeros((*shrunk.shape[:2], len(codes), shrunk.shape[3]))
    variance, largest = np.zeros_like(prediction), np.zeros_like(prediction)
    fixed = np.flatnonzero(codes[0] >= 0)
    for size in range(len(fixed)):
        sign = (-1) ** (len(fixed) - size + 1)
        for kept in combinations(fixed, size):
            coarser = np.full_like(codes, -1)
            coarser[:, list(kept)] = codes[:, list(kept)]
            at = [place[tuple(row)] for row in coarser.tolist()]
            prediction += sign * shrunk[:, :, at]
            variance += sign * spread[:, :, at]
            largest = np.maximum(largest, spread[:, :, at])
    return prediction, np.maximum(variance, largest)


def _keep(
    deviation: np.ndarray, noise: np.ndarray, scale: np.ndarray, own: slice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Learn how much of each cell's deviation to keep, and what to borrow from the other countries.

    Parameters
    ----------
    deviation : numpy.ndarray, shape (C, V, cells, K)
        0 where the cell is not there.
    noise : numpy.ndarray, shape (C, V, cells)
        Sampling variance of the deviation in units of `scale`; NaN where the cell is not there.
    scale : numpy.ndarray, shape (C, V, 1)
    own : slice
        The numbers that decide.

    Returns
    -------
    keep : numpy.ndarray, shape (C, V, cells)
    others : numpy.ndarray, shape (C, V, cells, K)
    doubt : numpy.ndarray, shape (C, V, cells)
        Sampling variance of `others`, in units of `scale`.
    """
    there = np.isfinite(noise)
    if there.sum() < MIN_CELLS:
        return np.ones(noise.shape), np.zeros(deviation.shape), np.zeros(noise.shape)

    def distance(residual: np.ndarray) -> np.ndarray:
        return np.asarray((residual[..., own] ** 2).sum(axis=-1) / scale)

    tau2 = _between(distance(deviation)[there], noise[there])
    weight = np.divide(1.0, noise + tau2, out=np.zeros(noise.shape), where=there & (noise + tau2 > 0))
    weighted = weight[..., None] * deviation
    total = weight.sum(axis=0) - weight
    others = np.divide(
        weighted.sum(axis=0) - weighted, total[..., None], out=np.zeros_like(deviation), where=total[..., None] > 1e-12
    )
    product = (weight[..., None] * others[..., own] * deviation[..., own] / scale[..., None]).sum()
    square = (weight[..., None] * others[..., own] ** 2 / scale[..., None]).sum()
    slope = float(np.clip(product / square, 0, 1)) if square > 0 else 0.0
    others *= slope
    doubt = np.divide(slope**2, total, out=np.zeros_like(total), where=total > 1e-12)
    tau2 = _between(distance(deviation - others)[there], noise[there])
    total_noise = noise + tau2
    keep = np.divide(tau2, total_noise, out=np.ones(noise.shape), where=there & (total_noise > 0))
    return keep, others, doubt


def _between(squares: np.ndarray, noise: np.ndarray) -> float:
    """Solve sum(squares / (tau2 + noise)) = count for tau2 (Paule and Mandel); 0 if noise alone explains them."""
    if (noise <= 0).any():  # a cell without noise: the moment estimate
        return max(float((squares - noise).mean()), 0.0)
    low, high = 0.0, float(squares.max()) * len(squares)
    if (squares / noise).sum() <= len(squares):
        return 0.0
    for _ in range(50):
        middle = (low + high) / 2
        if (squares / (middle + noise)).sum() > len(squares):
            low = middle
        else:
            high = middle
    return high
