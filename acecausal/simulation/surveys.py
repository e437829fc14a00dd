"""Surveys drawn of simulated worlds: for tests, for benchmarks, and for trying a design before paying for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from acecausal.simulation.truth import truth
from acecausal.simulation.world import AGE_SHARE, AGES, NAMES, STRATUM, World, check_range, scaled_age
from acecausal.survey.data import Survey

#: Standard deviation of a PSU's (uniform) random effect on the share of the high answer, and on the first attribute.
CLUSTER_ANSWER, CLUSTER_ATTRIBUTE = 0.12, 0.2


def draw(
    world: World,
    respondents: int,
    seed: int,
    *,
    weights: bool = False,
    clusters: int = 0,
    strata: int = 1,
    nonresponse: float = 0.0,
) -> Survey:
    """Draw a survey. Whatever the design, its weighted shares and effects estimate those of `truth`.

    Parameters
    ----------
    world : World
    respondents : int
        Per country.
    seed : int
    weights : bool
        Selection by age and the second attribute (or the first, if it is alone); weights are inverse probabilities.
        Without them the effects of the first attribute that are averaged over the second are biased, if they differ.
    clusters : int
        PSUs per country, in which both answers and the first attribute are alike; 0 for a simple random sample. With
        30 respondents per PSU the design effect of a mean answer is 2 to 3. Respondents per PSU vary.
    strata : int
        PSUs (or respondents) are drawn from this many strata, whose answers differ.
    nonresponse : float
        Share of answers missing, 0 to 0.95: completely at random and apart for each value, since anything else would
        change whom the effects are about.

    Returns
    -------
    Survey

    Raises
    ------
    AceError
        For a number out of range.
    """
    check_range("respondents", (respondents,), 1)
    check_range("clusters", (clusters,), 0)
    check_range("strata", (strata,), 1, clusters or respondents)
    check_range("nonresponse", (nonresponse,), 0, 0.95)
    rng = np.random.default_rng(seed)
    n = respondents * world.countries
    country = np.repeat(np.arange(world.countries), respondents)
    psu = np.arange(n)
    on_answer = on_first = np.zeros(n)
    if clusters:
        uniform = rng.uniform(-np.sqrt(3), np.sqrt(3), (2, clusters * world.countries))  # of standard deviation 1
        on_answer, on_first = uniform[0] * CLUSTER_ANSWER, uniform[1] * min(CLUSTER_ATTRIBUTE, _first_room(world))

    # whoever is not selected is drawn anew, PSU and all: only so are the weights the inverse of the selection
    codes = np.zeros((n, len(world.levels) + 1), dtype=int)
    chance = np.ones(n)
    todo = np.arange(n)
    while len(todo):
        if clusters:
            psu[todo] = rng.integers(0, clusters, len(todo)) + country[todo] * clusters
        found = draw_people(world, on_first[psu[todo]], rng)
        kept = np.ones(len(todo), dtype=bool)
        if weights:
            chance[todo] = _selection(found)
            kept = rng.random(len(todo)) < chance[todo]
        codes[todo] = found
        todo = todo[~kept]

    unit = psu % (clusters or respondents)
    high = world.high_share(country, codes) + on_answer[psu, None]
    high += _between_strata(clusters or respondents, strata)[unit, None]
    values = {}
    for v, (low_law, high_law) in enumerate(zip(world.low, world.high, strict=True)):
        luck = rng.random(n)
        answer = np.where(rng.random(n) < high[:, v], draw_options(high_law, luck), draw_options(low_law, luck))
        if nonresponse:
            answer[rng.random(n) < nonresponse] = -1
        values[f"value{v}"] = answer
    fraction = rng.uniform(-5, 5, n) if world.curved else np.zeros(n)
    return Survey(
        world.codebook(weights=weights, strata=strata > 1, clusters=clusters > 0),
        country,
        {name: codes[:, a] for a, name in enumerate(NAMES[: len(world.levels)])},
        values,
        {"age": AGES[codes[:, -1]] + fraction} if world.covariate else {},
        weight=1 / chance,
        stratum=unit % strata,
        psu=psu,
        data_sha256=f"simulated with seed {seed}",
    )


def simulate(
    world: World | None = None, respondents: int = 1500, seed: int = 0, **design: Any
) -> tuple[Survey, xr.Dataset]:
    """Draw a survey of a world, by default of `World.make()`; return it with the true direct effects.

    `design` are keywords of `draw`.
    """
    world = world or World.make()
    return draw(world, respondents, seed, **design), truth(world)


def draw_people(world: World, on_first: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw people from PSUs that move the first attribute off its baseline by `on_first`, shape (n,); return codes."""
    n = len(on_first)
    codes = np.zeros((n, len(world.levels) + 1), dtype=int)
    codes[:, -1] = draw_options(AGE_SHARE, rng.random(n))
    for a in range(len(world.levels)):
        share = world.level_share(a, codes)
        if a == 0:
            rest = share[:, 1:] / share[:, 1:].sum(axis=1, keepdims=True)
            share += on_first[:, None] * np.concatenate([np.full((n, 1), -1.0), rest], axis=1)
        codes[:, a] = (rng.random(n)[:, None] > share.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return codes


def _first_room(world: World) -> float:
    """Largest standard deviation of a PSU's (uniform) effect on the first attribute that needs no clipping at any age.

    Clipping one side would move its share in the population.
    """
    codes = np.zeros((len(AGES), len(world.levels) + 1), dtype=int)
    codes[:, -1] = range(len(AGES))
    baseline = world.level_share(0, codes)[:, 0]
    return float(0.8 * min(baseline.min(), 1 - baseline.max()) / np.sqrt(3))


def _selection(codes: np.ndarray) -> np.ndarray:
    """Probability of being selected under unequal weights, 0.19 to 0.95, shape (n,)."""
    by = min(1, codes.shape[1] - 2)
    return np.asarray(0.35 + 0.2 * scaled_age(codes[:, -1]) + 0.4 * (codes[:, by] > 0))


def _between_strata(units: int, strata: int) -> np.ndarray:
    """What the stratum of a unit (PSU or respondent) adds to the share of the high answer; over all units 0."""
    depth = np.linspace(-STRATUM, STRATUM, strata) if strata > 1 else np.zeros(1)
    added = depth[np.arange(units) % strata]
    return np.asarray(added - added.mean())


def draw_options(law: np.ndarray, luck: np.ndarray) -> np.ndarray:
    """Positions drawn from a law by uniform numbers."""
    return np.searchsorted(law.cumsum()[:-1], luck, side="right")
