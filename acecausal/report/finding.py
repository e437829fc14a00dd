"""The finding: a few sentences made from the cube's numbers, and from the comparison's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from acecausal.comparison import agreement, heeding
from acecausal.comparison.compare import beyond, shared, unlike
from acecausal.report import cells, words
from acecausal.report.drawing import Q


def typical_effects(cube: xr.Dataset) -> dict[str, float]:
    """Typical size of each attribute's effects in context ``all``, the sampling error taken off.

    Returns
    -------
    dict of str to float
        Per attribute the root of the mean of (effect^2 - se^2) over countries, contrasts and values, at least 0;
        attributes without an effect are left out.
    """
    part = cells.everyone(cube)
    there = cells.scored(part)
    excess = part["effect"].values ** 2 - part["effect_se"].values ** 2
    treatment = part["treatment"].values.astype(str)
    sizes = {}
    for name in dict.fromkeys(treatment):
        chosen = there & (treatment == name)[None, :, None]
        if chosen.any():
            sizes[str(name)] = float(np.sqrt(max(excess[chosen].mean(), 0.0)))
    return sizes


def sentences(cube: xr.Dataset) -> list[str]:
    """Say which attribute moves the answers most, where the largest effect is, and how many are more than noise."""
    part = cells.everyone(cube)
    there = cells.scored(part)
    names = words.Names(cube)
    if not there.any():
        why = cells.reasons(part)
        counts = {k: int((why == k).sum()) for k in words.STATUS_TEXT if (why == k).any()}
        listed = words.join(f"{words.STATUS_TEXT[kind][0]} ({number:,})" for kind, number in counts.items())
        if (why[why != "not_asked"] == "no_score").all():
            return [
                "These questions have no order, so there is no score to move; what people answer is below.",
                f"By cells: {listed}.",
            ]
        return [
            "Nothing can be said about the whole population of any country: no effect could be estimated.",
            f"Why, by cells: {listed}.",
        ]
    causal = cube.attrs.get("estimand") != "association"
    sure = there & (part["q_value"].values < Q)
    said = [*_most(cube, names, causal=causal, any_sure=bool(sure.any()))]
    effect = part["effect"].values
    among = sure if sure.any() else there
    at = np.unravel_index(np.argmax(np.where(among, np.abs(effect), -1.0)), effect.shape)
    said.append(_largest(part, names, at, sure=bool(sure.any())))
    n_all, n_sure = int(there.sum()), int(sure.sum())
    said.append(
        f"{n_sure:,} of {words.count(n_all, 'estimated effect')} on whole populations "
        f"{'has' if n_sure == 1 else 'have'} q < {Q}."
    )
    return said


def _most(cube: xr.Dataset, names: words.Names, *, causal: bool, any_sure: bool) -> list[str]:
    sizes = typical_effects(cube)
    first, *rest = sorted(sizes, key=lambda name: -sizes[name])
    if not any_sure or sizes[first] < 0.005:
        return [] if any_sure else [f"No effect stands out from sampling noise once all are counted (q < {Q})."]
    largest = f"{sizes[first]:.2f}"
    firsts = [first, *(name for name in rest if f"{sizes[name]:.2f}" == largest)]
    others = [f"{names.attributes[name]} {sizes[name]:.2f}" for name in rest if name not in firsts]
    one = len(firsts) == 1
    verb = ("moves" if one else "move") + " answers"
    if not causal:
        verb = ("goes" if one else "go") + " with differences in answers"
    label = words.join(names.attributes[name] for name in firsts)
    head = f"{label[:1].upper()}{label[1:]} {verb}{' most' if others else ''}"
    tail = f" ({', '.join(others[:3])})" if others else ""
    return [f"{head}: typically by {largest} of the 0..1 score scale{tail}."]


def _largest(part: xr.Dataset, names: words.Names, at: tuple[Any, ...], *, sure: bool) -> str:
    country, attribute, value = (int(i) for i in at)
    cell = part.isel(country=country, attribute=attribute, value=value)
    effect = float(cell["effect"])
    low, high = (words.signed(float(bound)) for bound in cell["effect_interval"].values)
    level = 100 * float(part.attrs.get("confidence", 0.95))
    treated, baseline = names.contrasts[attribute]
    options = names.options[value]
    towards = f", towards “{words.excerpt(options[-1 if effect > 0 else 0], 60)}”" if effect else ""
    moves = (
        "goes with a mean score that is different"
        if part.attrs.get("estimand") == "association"
        else "moves the mean score"
    )
    head = (
        "The largest effect that is more than noise"
        if sure
        else "The largest estimate, which noise can explain among so many,"
    )
    return (
        f"{head} is in {names.countries[country]}: “{treated}” instead of “{baseline}” {moves} by "
        f"{words.signed(effect)} ({level:.0f} % interval {low} to {high}){towards}, on "
        f"“{words.excerpt(names.questions[value], 160)}”"
    )


def verdicts(comparisons: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say for each model how its effects relate to people's."""
    said = []
    for label, result in comparisons.items():
        effect, level = result["effect"], result["level"]
        slope, skill = effect["slope"], effect["skill"]
        if slope is None and skill is None:
            said.append(f"Model “{words.clean(label)}” cannot be judged: people's effects are lost in noise.")
            continue
        parts = []
        interval = effect["slope_interval"]
        if slope is not None:
            around = f" ({words.plain(interval[0])} to {words.plain(interval[1])})" if interval else ""
            parts.append(f"its effects are {words.plain(slope)} times people's{around}")
        parts.append(f"skill on effects {words.plain(skill)}, on levels {words.plain(level['skill'])}")
        said.append(f"Model “{words.clean(label)}” {_follows(skill, slope, interval)}: {'; '.join(parts)}.")
    return said


def remarks(
    human: xr.Dataset, models: Mapping[str, xr.Dataset], comparisons: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Say of which models the effects are not quite like for like, or nearer to the sample than the truth would be."""
    return [
        f"{words.clean(label)}: {line}."
        for label, model in models.items()
        for line in (*unlike(*shared(human, model)), *beyond(comparisons[label]))
    ]


def wordings(models: Mapping[str, xr.Dataset]) -> list[str]:
    """Say of each model what it takes in of who it is told to be, and what does not hold when asked in another way."""
    return [
        f"{words.clean(label)}: {words.clean(said)}."
        for label, model in models.items()
        for said in (*agreement.warnings(model), heeding.summary(model), *heeding.warnings(model))
        if said
    ]


def _follows(skill: float | None, slope: float | None, interval: list[float] | None) -> str:
    """Put skill and slope of a model's effects into words; a skill far above 1 comes of noise, not of a good model."""
    if skill is None or slope is None or skill > 1.25:
        return "cannot be judged well, since people's effects here are little more than noise"
    if round(skill, 2) <= 0 or slope <= 0:
        return "does not move as people do"
    if interval and interval[0] > 1:
        return "moves the same way as people, but further"
    return "moves as people do in part" if skill < 0.5 else "moves much as people do"
