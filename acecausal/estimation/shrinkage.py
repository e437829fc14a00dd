"""Empirical-Bayes versions of responses and shifts: small cells borrow from coarser personas and from other countries.

From the coarsest granularity to the finest, a cell is predicted from all coarser personas that it belongs to (no
interaction beyond theirs), corrected by how far the other countries are from that prediction, and its own deviation
from the prediction counts by how reliable it is. How much deviations truly vary is learnt for each value from all its
cells of the same attributes, with a look at the other values (`mixture`). Where answers have scores, the mean score and
what it leaves of the distribution are shrunk apart from each other: noise in directions in which nothing happens says
nothing about the score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from acecausal.cube import schema
from acecausal.cube.files import Value
from acecausal.cube.lattice import Lattice
from acecausal.estimation.mixture import variances

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
    scored = np.array([value.scale != "nominal" for value in values])
    shrunk = shrink_responses(arrays["response"], arrays["n_eff"], scored, lattice)
    arrays["response_shrunk"], arrays["response_shrunk_se"] = shrunk
    shift, shift_se, effect_se = shrink_shifts(arrays["shift"], arrays["shift_se"], arrays["effect_se"], lattice)
    arrays["shift_shrunk"], arrays["shift_shrunk_se"], arrays["effect_shrunk_se"] = shift, shift_se, effect_se
    arrays["effect_shrunk"] = np.full(effect_se.shape, np.nan)
    for v, value in enumerate(values):
        if value.scale != "nominal":
            n_options = len(value.options)
            arrays["effect_shrunk"][:, :, v] = shift[:, :, v, :, :n_options] @ schema.scores(n_options)


def shrink_responses(
    response: np.ndarray, n_eff: np.ndarray, scored: np.ndarray, lattice: Lattice
) -> tuple[np.ndarray, np.ndarray]:
    """Shrink responses.

    Parameters
    ----------
    response : numpy.ndarray, shape (countries, values, personas, options)
        Shares; NaN where nobody answered and beyond a value's options.
    n_eff : numpy.ndarray, shape (countries, values, personas)
        Kish effective sizes.
    scored : numpy.ndarray of bool, shape (values,)
        Whether a value's options have scores (it is not nominal).
    lattice : Lattice

    Returns
    -------
    shrunk, se : numpy.ndarray, shape of `response`
        NaN where `response` is; shares lie in [0, 1] and sum to 1.

    Notes
    -----
    The mean score and what it leaves of the distribution are shrunk apart from each other. The sampling variance of a
    share is p (1 - p) / n_eff with p as predicted from coarser personas: a cell's own share says nothing about its
    error when all five respondents agree. The persona `all` stays as it is, and so does a country's value without it,
    since nothing is there to predict from. See `_shrink` for the rest.
    """
    there = np.isfinite(response)
    some = there.any(axis=-1)
    use = some & some[:, :, :1]
    per_person = np.where(use, 1 / np.maximum(n_eff, 1e-9), np.nan)
    shares = np.where(there, response, 0.0)
    axis = _Axis.of(there, scored)
    mean, rest = axis.split(shares)

    def scales(mean: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Variances of one person's score, and of what it leaves, at a prediction."""
        p = np.clip(axis.join(mean, rest), 0, 1)
        p /= np.maximum(p.sum(axis=-1, keepdims=True), 1e-9)
        of_score = (p * axis.score[:, None] ** 2).sum(axis=-1) - (p * axis.score[:, None]).sum(axis=-1) ** 2
        left = 1 - (p**2).sum(axis=-1) - of_score * axis.length2[:, None]
        return np.maximum(of_score, 1e-3), np.maximum(left, 1e-3)

    parts = [
        _Part(mean, np.where(axis.scored[:, None], per_person, np.nan)),
        _Part(rest, np.where(axis.more[:, None], per_person, np.nan)),
    ]
    _shrink(parts, lattice, scales)
    shrunk = np.where(use[..., None], np.clip(axis.join(parts[0].shrunk, parts[1].shrunk), 0, 1), shares)
    shrunk = np.where(there, shrunk, 0.0)
    total = shrunk.sum(axis=-1, keepdims=True)
    shrunk = np.divide(shrunk, total, out=np.full_like(shrunk, np.nan), where=there & (total > 0))
    predicted = np.where(use[..., None], axis.join(parts[0].told, parts[1].told), shares)
    predicted[:, :, 0] = shares[:, :, 0]
    predicted = np.clip(predicted, 0, 1)
    variance = predicted * (1 - predicted) / np.maximum(n_eff, 1e-9)[..., None]
    along = scales(*axis.split(predicted))[0] / np.maximum(n_eff, 1e-9)
    return shrunk, np.where(there, np.sqrt(axis.spread(variance, along, parts[0].kept, parts[1].kept)), np.nan)


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
        NaN where `shift` is; shifts sum to 0.
    effect_se : numpy.ndarray, shape of `effect_se`
        Standard error of the score-weighted shrunk shift.

    Notes
    -----
    Each contrast on its own; the effect on the score and what it leaves of the shift are shrunk apart from each other.
    In the context `all` they are drawn towards the other countries' mean, and, as far as that says nothing, towards 0.
    See `_shrink`.
    """
    shrunk, se, of_effect = np.full_like(shift, np.nan), np.full_like(shift, np.nan), np.full_like(effect_se, np.nan)
    for t in range(shift.shape[1]):
        there = np.isfinite(shift[:, t])
        some = there.any(axis=-1)
        axis = _Axis.of(there, (np.isfinite(effect_se[:, t]) | ~some).all(axis=(0, 2)))
        variance = np.where(there, np.nan_to_num(shift_se[:, t]) ** 2, 0.0)
        along = np.where(some & axis.scored[:, None], effect_se[:, t] ** 2, 0.0)
        left = np.maximum(variance.sum(axis=-1) - along * axis.length2[:, None], 0.0)
        effect, rest = axis.split(np.where(there, shift[:, t], 0.0))
        parts = [
            _Part(effect, np.where(some & axis.scored[:, None], along, np.nan)),
            _Part(rest, np.where(some & axis.more[:, None], left, np.nan)),
        ]
        _shrink(parts, lattice)
        shrunk[:, t] = np.where(there, axis.join(parts[0].shrunk, parts[1].shrunk), np.nan)
        se[:, t] = np.where(
            np.isfinite(shift_se[:, t]) & there,
            np.sqrt(axis.spread(variance, along, parts[0].kept, parts[1].kept)),
            np.nan,
        )
        of_effect[:, t] = np.sqrt(parts[0].kept) * effect_se[:, t]
    return shrunk, se, of_effect


@dataclass(frozen=True)
class _Axis:
    """The direction of the score among a value's options, and what is orthogonal to it.

    Attributes
    ----------
    scored, more : numpy.ndarray of bool, shape (values,)
        Whether there is a score, and whether anything is left beside it.
    score : numpy.ndarray, shape (values, options)
        Centred; 0 where there is none.
    direction : numpy.ndarray, shape (values, options)
        What a change of the score by 1 along the scale is of the options: sums to 0.
    length2 : numpy.ndarray, shape (values,)
        Its squared length.
    """

    scored: np.ndarray
    more: np.ndarray
    score: np.ndarray
    direction: np.ndarray
    length2: np.ndarray

    @classmethod
    def of(cls, there: np.ndarray, scored: np.ndarray) -> _Axis:
        n_options = there.any(axis=(0, 2)).sum(axis=-1)
        scored = scored & (n_options > 1)
        score, direction = np.zeros((2, *there.shape[1::2]))
        for v in np.flatnonzero(scored):
            k = n_options[v]
            score[v, :k] = schema.scores(k) - schema.scores(k).mean()
            direction[v, :k] = score[v, :k] / (score[v, :k] @ score[v, :k])
        return cls(scored, (n_options > 2) | ~scored, score, direction, (direction**2).sum(axis=-1))

    def split(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Split numbers (C, V, P, K) into their score (C, V, P, 1), and what it leaves (C, V, P, K)."""
        score = (numbers * self.score[:, None]).sum(axis=-1, keepdims=True)
        return score, numbers - score * self.direction[:, None]

    def join(self, score: np.ndarray, rest: np.ndarray) -> np.ndarray:
        return rest + score * self.direction[:, None]

    def spread(self, variance: np.ndarray, along: np.ndarray, kept: np.ndarray, kept_rest: np.ndarray) -> np.ndarray:
        """Put options' variances together from what is kept of either part.

        Score and rest count as uncorrelated within an option, which is right in the sum over a value's options.
        """
        along = along[..., None] * self.direction[:, None] ** 2
        left = np.where(self.more[:, None, None], np.maximum(variance - along, 0.0), 0.0)
        total, wanted = left.sum(axis=-1), np.maximum(variance.sum(axis=-1) - along.sum(axis=-1), 0.0)
        left *= np.divide(wanted, total, out=np.zeros_like(total), where=total > 0)[..., None]
        share = np.divide(along, along + left, out=np.zeros_like(along), where=along + left > 0)
        return np.asarray(variance * (kept[..., None] * share + kept_rest[..., None] * (1 - share)))


class _Part:
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
        What cells add, as weights over `_subsets(attributes)`: of the raw cells, and of what was missed of the truth.
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


def _shrink(parts: list[_Part], lattice: Lattice, scales: Scales | None = None) -> None:
    """Shrink the parts of cells, granularity by granularity.

    Parameters
    ----------
    parts : list of _Part
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
        subsets = _subsets(fixed)
        at = {part: _leave_open(lattice.codes[cells], part, place) for part in subsets}
        for part in parts:
            for above in subsets[:-1]:
                part.predicted[:, :, cells] += part.added[:, :, at[above]]
        scale: Sequence[np.ndarray] = [np.ones((*part.s2.shape[:2], len(cells))) for part in parts]
        if scales is not None:
            scale = scales(*(part.told[:, :, cells] for part in parts))
        for part, unit in zip(parts, scale, strict=True):
            _level(part, fixed, cells, at, within, unit, learns=scales is None or bool(fixed))


def _level(
    part: _Part,
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
    weights, misses = (_passed_down(passed, subsets, at, within, shape) for passed in (part.rows, part.missed))
    inherited = np.zeros(shape)
    for j, above in enumerate(subsets[:-1]):
        inherited += misses[..., j] ** 2 * part.free[:, :, at[above]]
    covariance = _covariance(subsets, {above: s2[:, :, at[above]] for above in subsets})
    own = np.where(here, s2[:, :, cells], 0.0)
    v, c = _quadratic(weights, covariance), (weights * covariance[-1]).sum(axis=-1)
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
    error += _quadratic(weights + part.rows[fixed], covariance)
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
