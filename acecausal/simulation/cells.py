"""Cells of a survey cube with known truth, drawn as counts: what shrinkage is judged on, and knows nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from acecausal.cube import schema
from acecausal.cube.files import Value
from acecausal.cube.lattice import Attribute, Lattice, Level


@dataclass(frozen=True)
class Cells:
    """One draw: the arrays that shrinkage reads, and what is true of them.

    Attributes
    ----------
    values, lattice
        What the arrays run over; the contrast is that of the first attribute, which has two levels as all have.
    arrays : dict
        response, n_eff, shift, shift_se, effect, effect_se in the schema's dimension order.
    truth : dict
        response, shift, effect.
    """

    values: tuple[Value, ...]
    lattice: Lattice
    arrays: dict[str, np.ndarray]
    truth: dict[str, np.ndarray]


@dataclass(frozen=True)
class Scene:
    """Fixed truths from which `draw` draws people.

    Parameters
    ----------
    size : numpy.ndarray, shape (countries, values, contexts)
        Effect of the first attribute in each finest context, in standard errors of the effect in the context `all` of a
        country with `people` respondents. The number of contexts is 2 to the number of other attributes.
    options : tuple of int
        Number of options of each value.
    nominal : tuple of bool, optional
        Which values have no score; there one option gains what all others lose.
    people : tuple of int, optional
        Respondents of each value in every country; 1,000 by default.
    seed : int
        Of baseline distributions, of how the other attributes move answers, and of how people are spread over cells.
    """

    size: np.ndarray
    options: tuple[int, ...]
    nominal: tuple[bool, ...] = ()
    people: tuple[int, ...] = ()
    seed: int = 0

    def draw(self) -> Callable[[np.random.Generator], Cells]:
        """Fix the truth, and give a function that draws people from it."""
        rng = np.random.default_rng(self.seed)
        countries, n_values, contexts = self.size.shape
        others = int(np.log2(contexts))
        levels = (Level("low", "low", "low"), Level("high", "high", "high"))
        lattice = Lattice.over([Attribute(f"a{i}", f"a{i}", levels, "low") for i in range(others + 1)])
        nominal = self.nominal or (False,) * n_values
        people = np.array(self.people or (1000,) * n_values)
        values = tuple(
            Value(f"v{i}", "?", "t", "nominal" if flat else "binary" if k == 2 else "ordinal", tuple("abcdefghijk"[:k]))
            for i, (k, flat) in enumerate(zip(self.options, nominal, strict=True))
        )
        most = max(self.options)
        arms = np.array([-0.5, 0.5])[:, None]  # leaves are arm by context, as the lattice's finest personas are
        code = (np.arange(contexts)[:, None] >> np.arange(others)[::-1]) & 1
        share = np.zeros((countries, n_values, 2, contexts, most))
        for v, k in enumerate(self.options):
            score = np.eye(k)[1] if nominal[v] else schema.scores(k)
            base = rng.dirichlet(np.full(k, 5.0), countries)
            spread = base @ score**2 - (base @ score) ** 2
            main = rng.normal(0, 0.3, others) + rng.normal(0, 0.1, (countries, others))
            tilt = (main @ (code.T - 0.5))[:, None, :] / np.sqrt(spread)[:, None, None]
            # an exponential tilt by b moves the mean score by b times its variance; two arms differ by their noises
            effect = self.size[:, v] * np.sqrt(4 * spread / people[v])[:, None]
            tilt = tilt + arms * (effect / spread[:, None])[:, None]
            weight = base[:, None, None] * np.exp(tilt[..., None] * score)
            share[:, v, ..., :k] = weight / weight.sum(axis=-1, keepdims=True)
        spread_out = rng.dirichlet(np.full(contexts, 8.0), (countries, n_values, 2))
        n = np.maximum(np.round(spread_out * people[:, None, None] / 2), 25).astype(int)
        finest = lattice.granularity == others + 1
        inside = lattice.match(lattice.codes[finest]).reshape(-1, 2, contexts).astype(float)
        open_ = np.flatnonzero(lattice.codes[:, 0] < 0)
        known = np.arange(most) < np.array(self.options)[:, None]
        score = np.zeros((n_values, most))
        for v, k in enumerate(self.options):
            score[v, :k] = np.nan if nominal[v] else schema.scores(k)

        def summary(shares: np.ndarray) -> dict[str, np.ndarray]:
            total = np.einsum("pal,cval->cvp", inside, n)
            response = np.einsum("pal,cval,cvalk->cvpk", inside, n, shares) / total[..., None]
            shift = np.full((countries, 1, n_values, len(lattice.personas), most), np.nan)
            part = inside[open_, 0]
            within = part * n.sum(axis=2)[:, :, None]
            within = within / within.sum(axis=-1, keepdims=True)
            shift[:, 0, :, open_] = np.einsum("cvpl,cvlk->pcvk", within, shares[:, :, 1] - shares[:, :, 0])
            one = shares * (1 - shares)
            mean = np.einsum("cvalk,vk->cval", shares, score)
            of_score = np.einsum("cvalk,vk->cval", shares, score**2) - mean**2
            se, effect_se = np.full(shift.shape, np.nan), np.full(shift.shape[:-1], np.nan)
            se[:, 0, :, open_] = np.sqrt(np.einsum("cvpl,cvalk,cval->pcvk", within**2, one, 1 / (n - 1)))
            effect_se[:, 0, :, open_] = np.sqrt(np.einsum("cvpl,cval,cval->pcv", within**2, of_score, 1 / (n - 1)))
            blank = ~known[:, None]
            return {
                "response": np.where(blank, np.nan, response),
                "n_eff": total,
                "shift": np.where(blank, np.nan, shift),
                "shift_se": np.where(blank, np.nan, se),
                "effect": np.einsum("ctvpk,vk->ctvp", shift, score),
                "effect_se": effect_se,
            }

        truth = summary(share)

        def once(rng: np.random.Generator) -> Cells:
            counts = rng.multinomial(n, share)
            return Cells(values, lattice, summary(counts / n[..., None]), truth)

        return once


def scenes() -> dict[str, Scene]:
    """Describe the worlds in which shrinkage is judged; fixed truths, the larger numbers being hard on it."""
    rng = np.random.default_rng(1)
    scale = (5, 5, 5, 7, 7, 10, 10, 10)

    def spread(mean: np.ndarray, interaction: float) -> np.ndarray:
        return np.asarray(mean[..., None] + interaction * rng.normal(size=(*mean.shape, 4)))

    found = {
        "along the scale": Scene(spread(rng.normal(0, 2, (1, 8)) + rng.normal(0, 1.5, (6, 8)), 1.0), scale),
        "along the scale, one country": Scene(spread(rng.normal(0, 2, (1, 8)), 1.0), scale),
        "no effects": Scene(np.zeros((6, 8, 4)), scale),
    }
    for countries in (1, 6):
        for size in (1.5, 3.0, 6.0, 12.0):
            effect = np.zeros((countries, 4, 4))
            effect[:, 2] = size
            found[f"one of four values, {size:g} se, {countries} countries"] = Scene(effect, (5,) * 4)
    varies = np.zeros((6, 4, 4))
    varies[:, 2] = 8 * np.array([1, -1, 1, -1, 0.5, -0.5])[:, None]
    found["one of four values varies over countries"] = Scene(varies, (10,) * 4)
    for size in (2.0, 4.0, 10.0):
        effect = np.zeros((8, 6, 4)) + rng.normal(0, 1, (1, 6, 1))
        effect[0] += size * np.array([1, -1, 1, 1, -1, 1])[:, None]
        found[f"an outlying country, {size:g} se"] = Scene(effect, (5, 5, 5, 5, 10, 10))
    for size in (6.0, 24.0):
        effect = np.zeros((6, 6, 4))
        effect[0, 0, 1] = size
        found[f"an outlying cell, {size:g} se"] = Scene(effect, (5, 5, 5, 5, 10, 10))
    mixed, nominal, people = (
        (5, 4, 2, 10, 5, 3, 2, 7),
        (False, True, False, False, True, False, False, False),
        (1000, 1000, 1000, 4000, 2000, 400, 400, 1000),
    )
    one = np.array([[0, 6, 0, 0, 0, 0, 8.0, 0]]) + np.zeros((3, 8))
    found |= {
        "heavy tails": Scene(spread(rng.standard_t(2, (6, 12)), 0.5), (5,) * 12),
        "heavy tails, one country": Scene(spread(rng.standard_t(2, (1, 12)), 0.5), (5,) * 12),
        "mixed scales": Scene(spread(rng.normal(0, 2, (1, 8)) + rng.normal(0, 1, (5, 8)), 1.0), mixed, nominal, people),
        "mixed scales, two values": Scene(spread(one, 0.0), mixed, nominal, people),
        "one value, one country": Scene(spread(np.array([[2.0]]), 1.0), (5,)),
        "one value": Scene(spread(rng.normal(2, 2, (6, 1)), 1.0), (5,)),
        "thirty countries": Scene(spread(rng.normal(0, 1, (1, 4)) + rng.normal(0, 1, (30, 4)), 0.5), (5,) * 4),
        "noise of many sizes": Scene(
            spread(rng.normal(0, 2, (4, 6)), 1.0), (5,) * 6, (), (300, 300, 1000, 1000, 8000, 8000)
        ),
        "strong interactions": Scene(spread(rng.normal(0, 1, (3, 6)), 4.0), (5,) * 6),
    }
    return found
