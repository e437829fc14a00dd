"""Simulated annotator data: raters of known attributes judge items, with effects that are known exactly."""

from __future__ import annotations

import numpy as np

from acecausal.errors import AceError
from acecausal.simulation.surveys import draw_options, draw_people
from acecausal.simulation.world import AGES, NAMES, World, check_range
from acecausal.survey.codebook import Codebook
from acecausal.survey.data import Survey


def draw_ratings(
    world: World,
    raters: int,
    items: int,
    per_rater: int,
    seed: int,
    *,
    rater: float = 0.12,
    item: float = 0.12,
    slope: float = 0.1,
    steering: float = 0.0,
    nonresponse: float = 0.0,
) -> Survey:
    """Draw raters, and the ratings they give to some of the items. Effects estimate those of `truth`.

    Raters are simple random samples of the world's people. A rater, an item, and the item's effect of the first
    attribute each move the share of the high answer up or down, evenly, so that they leave the mean and move answers
    alike within a rater and within an item.

    Parameters
    ----------
    world : World
    raters : int
        Per country.
    items : int
        The same in all countries.
    per_rater : int
        Different items that a rater rates.
    seed : int
    rater, item : float
        How far a rater, and an item, move the share of the high answer.
    slope : float
        How far an item moves it for those who are off the first attribute's baseline: how much the effect of that
        attribute varies over items.
    steering : float
        How strongly those off the first attribute's baseline are given items that are rated high, and the others items
        that are rated low, in log odds; 0 gives items at random. It moves responses and plain differences off the
        truth.
    nonresponse : float
        Share of ratings missing completely at random, 0 to 0.95.

    Returns
    -------
    Survey

    Raises
    ------
    AceError
        For a number out of range, or if shares would leave 0 to 1.
    """
    check_range("raters", (raters,), 1)
    check_range("items", (items,), 1)
    check_range("per_rater", (per_rater,), 1, items)
    check_range("rater, item, slope, steering", (rater, item, slope, steering), 0)
    check_range("nonresponse", (nonresponse,), 0, 0.95)
    kinds, _ = world.people
    shares = np.stack([world.high_share(np.full(len(kinds), c), kinds) for c in range(world.countries)])
    room = min(shares.min(), 1 - shares.max())
    if rater + item + slope > room:
        raise AceError(
            "shares would leave 0 to 1",
            param="rater, item, slope",
            expected=f"up to {room:.2g} together",
            got=f"{rater + item + slope:.2g}",
            hint="a world without age or with a smaller effect leaves more room",
        )
    rng = np.random.default_rng(seed)
    n_raters = raters * world.countries
    country = np.repeat(np.arange(world.countries), raters)
    codes = draw_people(world, np.zeros(n_raters), rng)
    off = codes[:, 0] > 0
    of_rater, of_item, of_slope = (
        size * rng.choice([-1, 1], count) for size, count in ((rater, n_raters), (item, items), (slope, items))
    )
    # the items with the highest keys are drawn without replacement, by log odds (Gumbel's trick)
    odds = steering * np.sign(of_item) * np.where(off, 0.5, -0.5)[:, None]
    rated = np.argsort(odds + rng.gumbel(size=(n_raters, items)), axis=1)[:, items - per_rater :].ravel()
    who = np.repeat(np.arange(n_raters), per_rater)

    moved = of_rater[who] + of_item[rated] + of_slope[rated] * off[who]
    high = world.high_share(country, codes)[who] + moved[:, None]
    values = {}
    for v, (low_law, high_law) in enumerate(zip(world.low, world.high, strict=True)):
        luck = rng.random(len(who))
        answer = np.where(rng.random(len(who)) < high[:, v], draw_options(high_law, luck), draw_options(low_law, luck))
        answer[rng.random(len(who)) < nonresponse] = -1
        values[f"value{v}"] = answer
    keys = {"rater": {"column": "rater"}, "item": {"column": "item", "random": not steering}}
    return Survey(
        Codebook.model_validate(world.codebook().model_dump() | keys),
        country[who],
        {name: codes[who, a] for a, name in enumerate(NAMES[: len(world.levels)])},
        values,
        {"age": AGES[codes[who, -1]].astype(float)} if world.covariate else {},
        weight=np.ones(len(who)),
        stratum=np.zeros(len(who), dtype=np.int64),
        psu=who,
        data_sha256=f"simulated with seed {seed}",
        identity=who.astype(np.uint64),
        item=rated,
    )
