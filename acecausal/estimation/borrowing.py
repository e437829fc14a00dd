"""Cells that borrow, granularity by granularity: from coarser personas, and from the same cells of other countries."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from acecausal.cube.lattice import Lattice
from acecausal.estimation.mixture import variances
from acecausal.estimation.nested import Subset, covariance_of, leave_open, passed_down, quadratic, subsets_of

#: Fewest deviations from which to learn how much they vary; with fewer, nothing is shrunk.
MIN_CELLS = 3

#: Least sampling variance of a deviation, as a share of its cell's: covariances between cells are approximate.
LEAST_NOISE = 0.02

#: How far a cell may be moved, in its own standard errors: `LIMIT`, or, where a value has many cells of the same
#: attributes, which tell how much they vary, `LIMIT_PER_CELL` times their number. A cell that is moved by D standard
#: errors has at most 1 + D^2 times the mean squared error.
LIMIT, LIMIT_PER_CELL = 0.2, 0.15

#: By how many standard errors a country's squared deviations must exceed what its values' do before all of its cells
#: count as more variable.
BEYOND = 0.5


class Part:
    """Numbers that are shrunk on their own: cells of K numbers each.

    Attributes
    ----------
    numbers : numpy.ndarray, shape (C, V, P, K)
        Finite.
    s2 : numpy.ndarray, shape (C, V, P)
        Sampling variance of a cell, summed over its numbers; NaN where there is no cell. Of shares in units of one
        person's variance.
    predicted : numpy.ndarray, shape (C, V, P, K)
        From coarser personas alone (of granularity 0: 0).
    added : numpy.ndarray, shape (C, V, P, K)
        What a cell adds to that.
    kept : numpy.ndarray, shape (C, V, P)
        Mean squared error of the shrunk cell over s2; 1 where there is no cell.
    rows, missed : dict
        What cells add, as weights over `subsets_of(attributes)`: of the raw cells, and of what was missed of the truth.
    free : numpy.ndarray, shape (C, V, P)
        Variance of a cell's true deviation about what is borrowed.
    """

    def __init__(self, numbers: np.ndarray, s2: np.ndarray) -> None:
        self.numbers, self.s2 = numbers, s2
        self.predicted, self.added = np.zeros(numbers.shape), np.zeros(numbers.shape)
        self.kept, self.free = np.ones(s2.shape), np.zeros(s2.shape)
        self.rows: dict[Subset, np.ndarray] = {}
        self.missed: dict[Subset, np.ndarray] = {}

    @property
    def told(self) -> np.ndarray:
        """What coarser personas tell; where there is no cell to shrink, its numbers."""
        return np.where(np.isfinite(self.s2)[..., None], self.predicted, self.numbers)

    @property
    def shrunk(self) -> np.ndarray:
        return np.where(np.isfinite(self.s2)[..., None], self.predicted + self.added, self.numbers)


Scales = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def shrink(parts: list[Part], lattice: Lattice, scales: Scales | None = None) -> None:
    """Shrink the parts of cells, granularity by granularity.

    Parameters
    ----------
    parts : list of Part
        Of a score and the rest.
    lattice : Lattice
    scales : callable, optional
        Given if the numbers are shares: variances of one person at the parts' predictions. Granularity 0 then stays as
        it is.

    Notes
    -----
    A cell y is predicted by the sum of what all coarser personas that it belongs to add to their own predictions. Its
    deviation d = y - prediction is replaced by o + k (d - o), which is what it adds: o is b times the
    precision-weighted mean deviation of the same cell in the other countries, b the weighted regression coefficient in
    [0, 1] over all cells of the same attributes. Coarser cells hold the cell's own respondents, so the prediction
    shares noise with y. What a cell adds is a known linear function of its country's raw cells; with their sampling
    covariances this gives v, the sampling variance of the prediction, and c, its covariance with y, and

        k = (t + v - c) / (t + v - 2 c + s2),    t = tau2 + u + x

    minimises the mean squared error of the result. tau2 is the variance of the true deviation about o (it has a
    posterior distribution, see `mixture`; k is its mean over that), u the variance of o, and x that of what
    shrinking the coarser cells has missed of the truth, tracked in the same way. For an independent prediction k is the
    usual A / (A + s2), A the variance of the truth about it. Where a whole country deviates more than its values do,
    tau2 grows (`_apart`), and no cell moves further than `LIMIT` says (limited translation), however well it is thought
    to be predicted.
    The mean squared error is (1 - k)^2 t, plus the sampling variance of the shrunk cell, plus the posterior variance of
    k times (d - o)^2, plus the square of what the limit keeps from being moved; at least 1 - limit of the raw one.

    References
    ----------
    Efron and Morris (1972), JASA 67(337), 130-139 (limited translation); Efron and Morris (1975), JASA 70(350),
    311-319; Fay and Herriot (1979), JASA 74(366), 269-277; Morris (1983), JASA 78(381), 47-55; Paule and Mandel (1982),
    J. Res. NBS 87(5), 377-385. A relative of multilevel regression and poststratification (Gelman and Little 1997).
    """
    place = {tuple(row): i for i, row in enumerate(lattice.codes.tolist())}
    specified = lattice.codes >= 0
    within = np.zeros(len(lattice.codes), dtype=int)  # a cell's number among those of the same attributes
    for attributes in dict.fromkeys(map(tuple, specified.tolist())):  # coarser ones come first
        fixed = tuple(int(a) for a in np.flatnonzero(attributes))
        cells = np.flatnonzero((specified == attributes).all(axis=1))
        within[cells] = np.arange(len(cells))
        subsets = subsets_of(fixed)
        at = {part: leave_open(lattice.codes[cells], part, place) for part in subsets}
        for part in parts:
            for above in subsets[:-1]:
                part.predicted[:, :, cells] += part.added[:, :, at[above]]
        scale: Sequence[np.ndarray] = [np.ones((*part.s2.shape[:2], len(cells))) for part in parts]
        if scales is not None:
            scale = scales(*(part.told[:, :, cells] for part in parts))
        for part, unit in zip(parts, scale, strict=True):
            _level(part, fixed, cells, at, within, unit, learns=scales is None or bool(fixed))


def _level(
    part: Part,
    fixed: Subset,
    cells: np.ndarray,
    at: dict[Subset, np.ndarray],
    within: np.ndarray,
    scale: np.ndarray,
    *,
    learns: bool,
) -> None:
    """Shrink the cells that specify the attributes `fixed`."""
    subsets, s2 = list(at), part.s2
    shape = (*s2.shape[:2], len(cells))
    here = np.isfinite(s2[:, :, cells])
    if not here.any():
        part.rows[fixed], part.missed[fixed] = np.zeros((2, *shape, len(subsets)))
        part.missed[fixed][..., -1] = 1.0
        return
    weights, misses = (passed_down(passed, subsets, at, within, shape) for passed in (part.rows, part.missed))
    inherited = np.zeros(shape)
    for j, above in enumerate(subsets[:-1]):
        inherited += misses[..., j] ** 2 * part.free[:, :, at[above]]
    covariance = covariance_of(subsets, {above: s2[:, :, at[above]] for above in subsets})
    own = np.where(here, s2[:, :, cells], 0.0)
    v, c = quadratic(weights, covariance), (weights * covariance[-1]).sum(axis=-1)
    noise = np.where(here, np.maximum(own - 2 * c + v, LEAST_NOISE * own), np.nan)
    deviation = np.where(here[..., None], part.numbers[:, :, cells] - part.predicted[:, :, cells], 0.0)
    others, k, learning = np.zeros(deviation.shape), here.astype(float), np.zeros(shape)
    least: float | np.ndarray = 0.0
    if learns and (noise > 0).sum() >= MIN_CELLS:  # NaN is not
        others, doubt, grid, posterior, group = _learn(deviation, noise + inherited, scale)
        squared = ((deviation - others) ** 2).sum(axis=-1) / scale
        extra = _apart(squared, noise + inherited + doubt + group[:, None])[:, None, None]
        part.free[:, :, cells] = posterior @ grid + doubt + extra
        k, learning = _share(grid, posterior, doubt + inherited + extra, noise, v - c, squared)
        limit = np.maximum(LIMIT, LIMIT_PER_CELL * here.sum(axis=(0, 2)))[:, None]
        limited = np.where(here, _limited(k, squared, own, limit), 0.0)
        learning += (limited - k) ** 2 * squared
        k, least = limited, np.maximum(1 - limit, 0.0) * own

    part.added[:, :, cells] = others + k[..., None] * np.where(here[..., None], deviation - others, 0.0)
    part.rows[fixed], part.missed[fixed] = -k[..., None] * weights, -k[..., None] * misses
    part.rows[fixed][..., -1], part.missed[fixed][..., -1] = k, 1 - k
    error = (1 - k) ** 2 * (part.free[:, :, cells] + inherited) + learning
    error += quadratic(weights + part.rows[fixed], covariance)
    # where what is known of a value does not let a cell be moved, it does not make it much more certain either
    error = np.maximum(error, least)
    part.kept[:, :, cells] = np.divide(error, own, out=np.ones(shape), where=own > 0)


def _share(
    grid: np.ndarray, posterior: np.ndarray, more: np.ndarray, noise: np.ndarray, gap: np.ndarray, squared: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give the share k of each deviation to keep, and the error from not knowing its variance.

    Parameters
    ----------
    grid, posterior : numpy.ndarray, shapes (G,), (C, V, cells, G)
        Variances of true deviations, and how much each counts.
    more, noise, gap, squared : numpy.ndarray, shape (C, V, cells)
        What is added to these variances; sampling variance of observed deviations (NaN where there is no cell); v - c;
        squared observed deviations.
    """
    here = np.isfinite(noise)
    mean, square = np.zeros(noise.shape), np.zeros(noise.shape)
    for t, weight in zip(grid, np.moveaxis(posterior, -1, 0), strict=True):
        total = np.where(here, t + more + noise, 0.0)
        k = np.divide(t + more + gap, total, out=np.ones(noise.shape), where=total > 0)
        k = np.where(here, np.clip(k, 0, 1), 0.0)
        mean += weight * k
        square += weight * k**2
    # cells without noise have no posterior, and stay as they are
    mean = np.where(here & (noise == 0), 1.0, mean)
    return mean, np.where(here & (noise > 0), np.maximum(square - mean**2, 0.0) * squared, 0.0)


def _apart(squares: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Variance to be added to all deviations of a country that vary more than is expected, shape (C,).

    It solves sum(squares / (expected + added)) = count + BEYOND sqrt(2 count), as Paule and Mandel's estimate does
    without the second term.
    """
    there = np.isfinite(expected) & (expected > 0)
    observed, base = np.where(there, squares, 0.0), np.where(there, expected, 1.0)
    count = there.sum(axis=(1, 2))
    wanted = count + BEYOND * np.sqrt(2.0 * count)
    low, high = np.zeros(len(count)), observed.max(axis=(1, 2))

    def over(added: np.ndarray) -> np.ndarray:
        return np.asarray((observed / (base + added[:, None, None])).sum(axis=(1, 2)) > wanted)

    some = over(low)
    for _ in range(20):
        middle = (low + high) / 2
        up = over(middle)
        low, high = np.where(up, middle, low), np.where(up, high, middle)
    return np.where(some, high, 0.0)


def _limited(k: np.ndarray, squared: np.ndarray, own: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Raise shares so that no cell moves further than `limit` standard errors."""
    furthest = np.divide(limit * np.sqrt(own), np.sqrt(squared), out=np.full(own.shape, np.inf), where=squared > 0)
    return np.maximum(k, 1 - furthest)


def _learn(
    deviation: np.ndarray, noise: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
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
    others : numpy.ndarray, shape (C, V, cells, K)
    doubt : numpy.ndarray, shape (C, V, cells)
        Variance of `others`, in units of `scale`.
    grid, posterior, group : numpy.ndarray, shapes (G,), (C, V, cells, G), (V,)
        Variances of the true deviations about `others`, in units of `scale`; how much each counts; each value's own.
    """
    there = np.isfinite(noise)

    def squares(residual: np.ndarray) -> np.ndarray:
        return np.asarray((residual**2).sum(axis=-1) / scale)

    grid, posterior, group = variances(squares(deviation), noise)
    if len(noise) == 1:
        return np.zeros(deviation.shape), np.zeros(noise.shape), grid, posterior, group
    count = np.maximum(there.sum(axis=(0, 2), keepdims=True), 1)
    variance = noise + (posterior @ grid).sum(axis=(0, 2), keepdims=True) / count
    weight = np.divide(1.0, variance, out=np.zeros(noise.shape), where=there & (variance > 0))
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
    return others, doubt, *variances(squares(deviation - others), noise + doubt)
