"""Plain differences of subgroup distributions, from shares and sample sizes alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from acecausal.cube import schema
from acecausal.cube.files import Value
from acecausal.cube.lattice import Lattice
from acecausal.estimation.constant_arms import unseen_variance
from acecausal.estimation.inference import any_shift, false_discovery, p_values, simultaneous_critical
from acecausal.estimation.shrinkage import fill_shrunk

Arrays = dict[str, np.ndarray]


def associations(
    response: np.ndarray,
    n: np.ndarray,
    values: Sequence[Value],
    lattice: Lattice,
    *,
    min_arm: int = 30,
    confidence: float = 0.95,
    blind: Sequence[int] = (),
) -> Arrays:
    """Compute a survey cube's arrays from the responses of subgroups.

    Parameters
    ----------
    response : numpy.ndarray, shape (countries, values, personas, options)
        Shares; NaN where nobody answered and beyond a value's options.
    n : numpy.ndarray, shape (countries, values, personas), int
        Respondents behind them.
    values, lattice
        What the arrays run over.
    min_arm : int
        Fewest respondents per arm for an estimate.
    confidence : float
        Of intervals and bands.
    blind : sequence of int
        Contrasts without a baseline: no estimate, status not_asked.

    Returns
    -------
    dict of str to numpy.ndarray
        The schema's variables that every survey cube has.

    Notes
    -----
    The two ends of an edge are independent multinomial samples: with shares p and q of n and m people, the shift q - p
    of an option has variance p (1 - p) / n + q (1 - q) / m; sums over options and scores likewise. Intervals are from
    the t distribution with n + m - 1 degrees of freedom. No design is known, so none is reckoned with. An edge with
    nobody at either end is not_asked, with fewer than `min_arm` at one of them too_few, and failed where nobody
    differs from anybody.
    """
    contrast, context, low, high = lattice.edges.T
    shape = (len(response), len(lattice.contrasts), len(values), len(lattice.personas))
    sizes = [n[:, :, end] for end in (low, high)]
    total = sizes[0] + sizes[1]
    ends = [(response[:, :, end], np.maximum(size, 1)) for end, size in zip((low, high), sizes, strict=True)]

    edge: Arrays = {"shift": ends[1][0] - ends[0][0], "n_baseline": sizes[0], "n_treated": sizes[1]}
    edge["shift_se"] = np.sqrt(sum(_spread(p) / m[..., None] for p, m in ends))
    edge["cumulative_shift_se"] = np.sqrt(sum(_spread(p.cumsum(axis=-1)) / m[..., None] for p, m in ends))
    edge["effect"], edge["effect_se"] = np.full((2, *total.shape), np.nan)
    for v, value in enumerate(values):
        k = len(value.options)
        score = schema.scores(k)
        edge["effect"][:, v] = edge["shift"][:, v, :, :k] @ score
        edge["effect_se"][:, v] = np.sqrt(
            sum(np.clip(p[:, v, :, :k] @ score**2 - (p[:, v, :, :k] @ score) ** 2, 0, None) / m[:, v] for p, m in ends)
        )
        edge["cumulative_shift_se"][:, v, :, k - 1] = 0.0  # all options together: the shifts sum to 0

    dark = np.isin(contrast, blind) | (total == 0)
    few = np.minimum(*sizes) < min_arm
    same = ~(edge["effect_se"] >= 1e-12)
    status = np.select(
        [dark, few, same], [schema.NOT_ASKED, schema.TOO_FEW, schema.FAILED], schema.OK
    ).astype(np.int8)  # fmt: skip
    ok = status == schema.OK
    share = np.divide(sizes[1], total, out=np.full(total.shape, np.nan), where=total > 0)
    lowest, highest = schema.PROPENSITY_RANGE
    inside = (share >= lowest) & (share <= highest)
    edge["overlap"] = np.where(total > 0, inside.astype(float), np.nan)

    df = np.maximum(total - 1, 1)
    edge["shift_critical"], joint = np.full((2, *total.shape), np.nan)
    for v, value in enumerate(values):
        there = ok[:, v]
        if not there.any():
            continue
        covariance = _covariance(ends, v, len(value.options), there)
        edge["shift_critical"][:, v][there] = simultaneous_critical(covariance, confidence, df[:, v][there])
        if value.scale == "nominal":
            joint[:, v][there] = _joint(ends, v, covariance, there, df[:, v])
    scored = np.array([value.scale != "nominal" for value in values])[:, None]
    for name in ("shift", "shift_se", "cumulative_shift_se"):
        edge[name] = np.where(ok[..., None], edge[name], np.nan)
    for name in ("effect", "effect_se"):
        edge[name] = np.where(ok & scored, edge[name], np.nan)
    edge["degrees_of_freedom"] = np.where(ok, df, np.nan)
    half = stats.t.ppf(0.5 + confidence / 2, df) * edge["effect_se"]
    edge["effect_interval"] = np.stack([edge["effect"] - half, edge["effect"] + half], axis=-1)
    edge["p_value"] = np.where(scored, p_values(edge["effect"], edge["effect_se"], df), joint)

    arrays: Arrays = {"response": response, "n": n, "n_eff": n.astype(float)}
    arrays["response_se"] = np.sqrt(_spread(response) / np.maximum(n, 1)[..., None])
    for name, part in {**edge, "status": status}.items():
        empty = schema.NOT_APPLICABLE if name == "status" else 0 if part.dtype.kind == "i" else np.nan
        arrays[name] = np.full((*shape, *part.shape[3:]), empty, dtype=part.dtype)
        # the two index arrays stand apart, so numpy puts the edges first
        arrays[name][:, contrast, :, context] = np.moveaxis(part, 2, 0)
    arrays["q_value"] = np.stack([false_discovery(p) for p in arrays["p_value"]])
    fill_shrunk(arrays, values, lattice)
    return arrays


def pool(
    response: np.ndarray, n: np.ndarray, lattice: Lattice, personas: Sequence[int], over: int | None = None
) -> None:
    """Fill coarser personas, in place, with the people of the finer ones.

    Parameters
    ----------
    response : numpy.ndarray, shape (countries, values, personas, options)
    n : numpy.ndarray, shape (countries, values, personas), int
    lattice : Lattice
    personas : sequence of int
        Positions to fill; those that specify more come first, whatever their order here.
    over : int, optional
        The attribute over whose levels to pool; by default the open one that knows most people, country by country and
        value by value (who has no level of an attribute is in none of its subgroups).
    """
    place = {tuple(row): i for i, row in enumerate(lattice.codes.tolist())}
    for persona in sorted(personas, key=lambda p: -lattice.granularity[p]):
        codes = lattice.codes[persona].tolist()
        for a, attribute in enumerate(lattice.attributes):
            if codes[a] >= 0 or over not in (None, a):
                continue
            finer = [place[(*codes[:a], level, *codes[a + 1 :])] for level in range(len(attribute.levels))]
            size = n[:, :, finer]
            total = size.sum(axis=2)
            more = total > n[:, :, persona]
            people = np.where(size[..., None] > 0, size[..., None] * response[:, :, finer], 0.0).sum(axis=2)
            beyond = np.isnan(response[:, :, finer]).all(axis=2)  # options that the value does not have
            shares = np.where(beyond, np.nan, people / np.maximum(total, 1)[..., None])
            response[:, :, persona] = np.where(more[..., None], shares, response[:, :, persona])
            n[:, :, persona] = np.where(more, total, n[:, :, persona])


def _spread(p: np.ndarray) -> np.ndarray:
    """Variance of one person's answer; none where cumulated shares miss 1 by rounding alone."""
    variance = p * (1 - p)
    return np.where(variance < 1e-14, 0.0, variance)  # NaN stays NaN


def _covariance(ends: Sequence[tuple[np.ndarray, np.ndarray]], v: int, k: int, ok: np.ndarray) -> np.ndarray:
    """Covariances of the shifts of one value, for its cells with an estimate, shape (cells, k, k)."""
    covariance = np.zeros((int(ok.sum()), k, k))
    for p, m in ends:
        share = p[:, v, :, :k][ok]
        covariance += (share[:, :, None] * np.eye(k) - share[:, :, None] * share[:, None]) / m[:, v][ok][:, None, None]
    return covariance


def _joint(
    ends: Sequence[tuple[np.ndarray, np.ndarray]], v: int, covariance: np.ndarray, ok: np.ndarray, df: np.ndarray
) -> np.ndarray:
    """p-values of no shift of one value being other than 0, for its cells with an estimate."""
    k = covariance.shape[1]
    shares = np.stack([p[:, v, :, :k][ok] for p, _ in ends])
    sizes = np.stack([m[:, v][ok] for _, m in ends]).astype(float)
    each = np.arange(k)
    unseen = unseen_variance(shares, sizes, np.eye(k), covariance[:, each, each])
    return any_shift(shares[1] - shares[0], covariance, df[ok], unseen)[1]
