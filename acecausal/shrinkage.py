"""Empirical-Bayes versions of responses and shifts: small cells borrow from coarser personas and from other countries.

From the coarsest granularity to the finest, a cell is predicted from all coarser personas that it belongs to (no
interaction beyond theirs), corrected by how far the other countries are from that prediction, and its own deviation
from the prediction counts by how reliable it is. How much deviations truly vary is learnt from all cells of the same
attributes, over countries and values.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from acecausal import schema
from acecausal.cube import Value
from acecausal.lattice import Lattice

#: Fewest deviations from which to learn how much they vary; with fewer, nothing is shrunk.
MIN_CELLS = 3

#: Least sampling variance of a deviation, as a share of its cell's: covariances between cells are approximate.
LEAST_NOISE = 0.02

Subset = tuple[int, ...]


def fill_shrunk(arrays: dict[str, np.ndarray], values: Sequence[Value], lattice: Lattice) -> None:
    """Add the empirical-Bayes versions of responses, shifts and effects to a survey cube's arrays.

    Parameters
    ----------
    arrays : dict
        With response, n_eff, shift, shift_se and effect_se, all countries together, in the schema's dimension order.
    values, lattice
        What the arrays run over.
    """
    shrunk = shrink_responses(arrays["response"], arrays["n_eff"], lattice)
    arrays["response_shrunk"], arrays["response_shrunk_se"] = shrunk
    shift, shift_se, effect_se = shrink_shifts(arrays["shift"], arrays["shift_se"], arrays["effect_se"], lattice)
    arrays["shift_shrunk"], arrays["shift_shrunk_se"], arrays["effect_shrunk_se"] = shift, shift_se, effect_se
    arrays["effect_shrunk"] = np.full(effect_se.shape, np.nan)
    for v, value in enumerate(values):
        if value.scale != "nominal":
            n_options = len(value.options)
            arrays["effect_shrunk"][:, :, v] = shift[:, :, v, :, :n_options] @ schema.scores(n_options)


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
    The sampling variance of a share is p (1 - p) / n_eff with p as predicted from coarser personas: a cell's own share
    says nothing about its error when all five respondents agree. The persona `all` stays as it is, and so does a
    country's value without it, since nothing is there to predict from. See `_shrink` for the rest.
    """
    there = np.isfinite(response)
    some = there.any(axis=-1)
    per_person = 1 / np.maximum(n_eff, 1e-9)
    shares = np.where(there, response, 0.0)
    shrunk, predicted, kept = _shrink(shares, np.where(some & some[:, :, :1], per_person, np.nan), lattice, shares=True)
    shrunk = np.where(some[:, :, :1, None], np.clip(np.where(there, shrunk, 0.0), 0, 1), shares)
    total = shrunk.sum(axis=-1, keepdims=True)
    shrunk = np.divide(shrunk, total, out=np.full_like(shrunk, np.nan), where=there & (total > 0))
    predicted = np.clip(np.where(some[:, :, :1, None], predicted, shares), 0, 1)
    variance = predicted * (1 - predicted) * (kept * per_person)[..., None]
    return shrunk, np.where(there, np.sqrt(variance), np.nan)


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
        Standard error of the score-weighted shrunk shift: it falls by the same factor as those of the shifts.

    Notes
    -----
    Each contrast on its own. In the context `all` a shift is drawn towards the other countries' mean, and, as far as
    that says nothing, towards 0. See `_shrink`.
    """
    shrunk, factor = np.full_like(shift, np.nan), np.ones(effect_se.shape)
    for t in range(shift.shape[1]):
        there = np.isfinite(shift[:, t])
        total = np.where(there.any(axis=-1), np.nansum(shift_se[:, t] ** 2, axis=-1), np.nan)
        found, _, kept = _shrink(np.where(there, shift[:, t], 0.0), total, lattice, shares=False)
        shrunk[:, t] = np.where(there, found, np.nan)
        factor[:, t] = np.sqrt(kept)
    return shrunk, factor[..., None] * shift_se, factor * effect_se


def _shrink(
    numbers: np.ndarray, s2: np.ndarray, lattice: Lattice, *, shares: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shrink cells of K numbers each, granularity by granularity.

    Parameters
    ----------
    numbers : numpy.ndarray, shape (C, V, P, K)
        Finite.
    s2 : numpy.ndarray, shape (C, V, P)
        Sampling variance of a cell, summed over its numbers; NaN where there is no cell. If `shares`, of one with
        summed variance 1 per person.
    lattice : Lattice
    shares : bool
        Whether the numbers are shares: variances are then in proportion to 1 - sum(p^2), p the prediction, and
        granularity 0 stays as it is.

    Returns
    -------
    shrunk, predicted : numpy.ndarray, shape (C, V, P, K)
        The latter from coarser personas alone (of granularity 0: the numbers themselves if `shares`, else 0).
    kept : numpy.ndarray, shape (C, V, P)
        Mean squared error of the shrunk cell over s2; 1 where there is no cell.

    Notes
    -----
    A cell y is predicted by the sum of what all coarser personas that it belongs to add to their own predictions. Its
    deviation d = y - prediction is replaced by o + k (d - o), which is what it adds: o is b times the
    precision-weighted mean deviation of the same cell in the other countries, b the weighted regression coefficient in
    [0, 1] over all cells of the same attributes. Coarser cells hold the cell's own respondents, so the prediction
    shares noise with y. What a cell adds is a known linear function of its country's raw cells; with their sampling
    covariances this gives v, the sampling variance of the prediction, and c, its covariance with y, and

        k = (t + v - c) / (t + v - 2 c + s2),    t = tau2 + u + x

    minimises the mean squared error of the result. tau2 is the variance of true deviations about o (Paule and Mandel's
    estimate), u the variance of o, and x that of what shrinking the coarser cells has missed of the truth, tracked in
    the same way. For an independent prediction k is the usual B = A / (A + s2), A the variance of the truth about it.
    The mean squared error is (1 - k)^2 t, plus the sampling variance of the shrunk cell, plus what tau2's own error
    adds (Prasad and Rao's term, 2 var(tau2) (1 - k)^2 / (t + v - 2 c + s2)).

    References
    ----------
    Efron and Morris (1975), JASA 70(350), 311-319; Fay and Herriot (1979), JASA 74(366), 269-277; Morris (1983), JASA
    78(381), 47-55; Paule and Mandel (1982), J. Res. NBS 87(5), 377-385; Prasad and Rao (1990), JASA 85(409),
    163-171. A relative of multilevel regression and poststratification (Gelman and Little 1997).
    """
    added, predicted, kept = np.zeros(numbers.shape), np.zeros(numbers.shape), np.ones(s2.shape)
    there = np.isfinite(s2)
    place = {tuple(row): i for i, row in enumerate(lattice.codes.tolist())}
    specified = lattice.codes >= 0
    within = np.zeros(len(lattice.codes), dtype=int)  # a cell's number among those of the same attributes
    # what cells add, as weights over `_subsets(attributes)`: of the raw cells, and of what was missed of the truth
    rows: dict[Subset, np.ndarray] = {}
    missed: dict[Subset, np.ndarray] = {}
    free = np.zeros(s2.shape)  # variance of a cell's true deviation about what is borrowed
    for attributes in dict.fromkeys(map(tuple, specified.tolist())):  # coarser ones come first
        fixed = tuple(int(a) for a in np.flatnonzero(attributes))
        cells = np.flatnonzero((specified == attributes).all(axis=1))
        within[cells] = np.arange(len(cells))
        subsets = _subsets(fixed)
        at = {part: _leave_open(lattice.codes[cells], part, place) for part in subsets}
        shape = (*s2.shape[:2], len(cells))
        weights, misses = (_passed_down(passed, subsets, at, within, shape) for passed in (rows, missed))
        inherited = np.zeros(shape)
        for j, part in enumerate(subsets[:-1]):
            predicted[:, :, cells] += added[:, :, at[part]]
            inherited += misses[..., j] ** 2 * free[:, :, at[part]]

        covariance = _covariance(subsets, {part: s2[:, :, at[part]] for part in subsets})
        here = there[:, :, cells]
        own = np.where(here, s2[:, :, cells], 0.0)
        v, c = _quadratic(weights, covariance), (weights * covariance[-1]).sum(axis=-1)
        noise = np.where(here, np.maximum(own - 2 * c + v, LEAST_NOISE * own), np.nan)
        deviation = np.where(here[..., None], numbers[:, :, cells] - predicted[:, :, cells], 0.0)
        scale = np.ones(shape)
        if shares:
            scale = np.maximum(1 - (np.clip(predicted[:, :, cells], 0, 1) ** 2).sum(axis=-1), 1e-3)
        learnt = None if shares and not fixed else _learn(deviation, noise + inherited, scale)
        others, k, learning = np.zeros(deviation.shape), here.astype(float), np.zeros(shape)
        if learnt is not None:
            tau2, others, doubt, unsure = learnt
            free[:, :, cells] = tau2 + doubt
            k, learning = _share(tau2 + doubt + inherited, noise, v - c, unsure)

        added[:, :, cells] = others + k[..., None] * np.where(here[..., None], deviation - others, 0.0)
        rows[fixed], missed[fixed] = -k[..., None] * weights, -k[..., None] * misses
        rows[fixed][..., -1], missed[fixed][..., -1] = k, 1 - k
        error = (1 - k) ** 2 * (free[:, :, cells] + inherited) + learning
        error += _quadratic(weights + rows[fixed], covariance)
        kept[:, :, cells] = np.divide(error, own, out=np.ones(shape), where=own > 0)
    shrunk = predicted + added
    if shares:
        predicted[:, :, 0] = numbers[:, :, 0]
    return shrunk, predicted, kept


def _share(t: np.ndarray, noise: np.ndarray, gap: np.ndarray, unsure: float) -> tuple[np.ndarray, np.ndarray]:
    """Give the share k of each deviation to keep, and the error from not knowing tau2.

    Parameters
    ----------
    t, noise, gap : numpy.ndarray, shape (C, V, cells)
        Variance of true deviations, sampling variance of observed ones (NaN where there is no cell), and v - c.
    unsure : float
        Sampling variance of tau2.
    """
    here = np.isfinite(noise)
    total = np.where(here, t + noise, 0.0)
    k = np.divide(t + gap, total, out=np.ones(noise.shape), where=total > 0)
    k = np.where(here, np.clip(k, 0, 1), 0.0)
    return k, 2 * unsure * np.divide((1 - k) ** 2, total, out=np.zeros(noise.shape), where=total > 0)


def _passed_down(
    rows: dict[Subset, np.ndarray],
    subsets: list[Subset],
    at: dict[Subset, np.ndarray],
    within: np.ndarray,
    shape: tuple[int, ...],
) -> np.ndarray:
    """Add up the coarser cells' rows, each over its own subsets, as rows over `subsets`, shape (C, V, cells, G)."""
    total = np.zeros((*shape, len(subsets)))
    for part in subsets[:-1]:
        total[..., [subsets.index(p) for p in _subsets(part)]] += rows[part][:, :, within[at[part]]]
    return total


def _subsets(fixed: Subset) -> list[Subset]:
    """List all subsets of some attributes, the empty one first, the whole last."""
    return [part for size in range(len(fixed) + 1) for part in combinations(fixed, size)]


def _leave_open(codes: np.ndarray, keep: Subset, place: dict[Subset, int]) -> np.ndarray:
    """Find the personas that specify only the attributes `keep` of each row of `codes`."""
    coarser = np.full_like(codes, -1)
    coarser[:, list(keep)] = codes[:, list(keep)]
    return np.array([place[tuple(row)] for row in coarser.tolist()])


def _covariance(subsets: list[Subset], s2: dict[Subset, np.ndarray]) -> np.ndarray:
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


def _quadratic(weights: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Variance of weighted sums: weights (C, V, cells, G) and covariance (G, C, V, cells, G) to (C, V, cells)."""
    total = np.zeros(weights.shape[:-1])
    for i, row in enumerate(covariance):
        total += weights[..., i] * (weights * row).sum(axis=-1)
    return np.maximum(total, 0.0)


def _learn(
    deviation: np.ndarray, noise: np.ndarray, scale: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray, float] | None:
    """Learn how much deviations truly vary, and what the other countries say about them.

    Parameters
    ----------
    deviation : numpy.ndarray, shape (C, V, cells, K)
        0 where there is no cell.
    noise : numpy.ndarray, shape (C, V, cells)
        Sampling variance of the deviation in units of `scale`; NaN where there is no cell.
    scale : numpy.ndarray, shape (C, V, cells)

    Returns
    -------
    tau2 : float
        Variance of the true deviations about `others`, in units of `scale`.
    others : numpy.ndarray, shape (C, V, cells, K)
    doubt : numpy.ndarray, shape (C, V, cells)
        Variance of `others`, in units of `scale`.
    unsure : float
        Sampling variance of tau2, as if each deviation were one number: at least the true one.

    Or None, if there are fewer than `MIN_CELLS` deviations to learn from.
    """
    there = np.isfinite(noise)
    if there.sum() < MIN_CELLS:
        return None

    def squares(residual: np.ndarray) -> np.ndarray:
        return np.asarray((residual**2).sum(axis=-1) / scale)

    tau2 = _between(squares(deviation)[there], noise[there])
    weight = np.divide(1.0, noise + tau2, out=np.zeros(noise.shape), where=there & (noise + tau2 > 0))
    weighted = weight[..., None] * deviation
    # summed over the others, not as the sum less one's own, which cancels where one country weighs nearly everything
    others, total = np.zeros(deviation.shape), np.zeros(noise.shape)
    for c in range(len(noise)):
        rest = np.arange(len(noise)) != c
        others[c], total[c] = weighted[rest].sum(axis=0), weight[rest].sum(axis=0)
    others = np.divide(others, total[..., None], out=np.zeros_like(others), where=total[..., None] > 0)
    precision = (weight / scale)[..., None]
    square = (precision * others**2).sum()
    slope = float(np.clip((precision * others * deviation).sum() / square, 0, 1)) if square > 0 else 0.0
    others *= slope
    doubt = np.divide(slope**2, total, out=np.zeros_like(total), where=total > 0)
    tau2 = _between(squares(deviation - others)[there], (noise + doubt)[there])
    precision = 1 / np.maximum(tau2 + (noise + doubt)[there], 1e-300)
    return tau2, others, doubt, float(2 * len(precision) / precision.sum() ** 2)


def _between(squares: np.ndarray, noise: np.ndarray) -> float:
    """Solve sum(squares / (tau2 + noise)) = count for tau2 (Paule and Mandel); 0 if noise alone explains them."""

    def too_small(tau2: float) -> bool:
        variance = tau2 + noise
        ratio = np.divide(squares, variance, out=np.where(squares > 0, np.inf, 0.0), where=variance > 0)
        return bool(ratio.sum() > len(squares))

    low, high = 0.0, float(squares.max())  # at which no ratio is over 1
    if not too_small(low):
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if too_small(middle) else (low, middle)
    return high
