"""The finding: a few sentences made from the cube's numbers, and from the comparison's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import ndtr, ndtri

from acecausal.comparison import answering
from acecausal.comparison.compare import beyond, shared, unlike
from acecausal.report import cells, facts, words
from acecausal.report.drawing import Q

#: Below this certainty that one attribute comes before the next, the first sentence says that it may.
CERTAIN = 0.9


def mean_square(effect: np.ndarray, se: np.ndarray) -> tuple[float, float]:
    """Estimate the mean of true effects' squares, and the standard error of that.

    Parameters
    ----------
    effect, se : numpy.ndarray, shape (n,)
        Estimates, taken as normal and independent, and their standard errors.

    Returns
    -------
    square, square_se : float
        mean(effect^2 - se^2), which sampling noise does not raise, and the root of sum(4 se^2 (effect^2 - se^2) +
        2 se^4) / n^2, each term at least 2 se^4: without bias for its variance.
    """
    excess = effect**2 - se**2
    variance = 4 * se**2 * np.clip(excess, 0, None) + 2 * se**4
    return float(excess.mean()), float(np.sqrt(variance.sum()) / len(excess))


def root(square: float, square_se: float, confidence: float = 0.95) -> tuple[float, float, float]:
    """Give the root of a mean square, at least 0, and its interval's limits."""
    half = float(ndtri((1 + confidence) / 2)) * square_se
    low, middle, high = (float(np.sqrt(max(number, 0.0))) for number in (square - half, square, square + half))
    return middle, low, high


def typical_effects(cube: xr.Dataset) -> dict[str, tuple[float, float]]:
    """Give the `mean_square` of each attribute's effects in context ``all``, over countries, contrasts and values.

    Attributes without an effect are left out; the largest come first.
    """
    part = cells.everyone(cube)
    there = cells.scored(part)
    treatment = part["treatment"].values.astype(str)
    sizes = {}
    for name in dict.fromkeys(treatment):
        chosen = there & (treatment == name)[None, :, None]
        if chosen.any():
            sizes[str(name)] = mean_square(part["effect"].values[chosen], part["effect_se"].values[chosen])
    return dict(sorted(sizes.items(), key=lambda pair: -pair[1][0]))


def sentences(cube: xr.Dataset) -> list[str]:
    """Say which attribute moves the answers most, where the largest effects are, and how many are more than noise."""
    part = cells.everyone(cube)
    there, tested = cells.scored(part), cells.tested(part)
    names = words.Names(cube)
    if not tested.any():
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
    sure = tested & (part["q_value"].values < Q)
    unordered = tested & cells.nominal(part)[:, None].T
    said = []
    if there.any():
        said += _most(cube, names, any_sure=bool((sure & there).any()))
        among = sure & there if (sure & there).any() else there
        size = np.where(among, np.abs(part["effect"].values), -1.0)
        said.append(_largest(part, names, _place(size), sure=bool((sure & there).any())))
    if unordered.any():
        among = sure & unordered if (sure & unordered).any() else unordered
        size = np.where(among[..., None], np.nan_to_num(np.abs(part["shift"].values), nan=-1.0), -1.0)
        said.append(_largest_shift(part, names, _place(size), sure=bool((sure & unordered).any())))
    counted = [(there, "estimated effect", "s"), (unordered, "test", "s of values without an order")]
    numbers = [
        f"{int((sure & kind).sum()):,} of {words.count(int(kind.sum()), one, one + more)}"
        for kind, one, more in counted
        if kind.any()
    ]
    one = len(numbers) == 1 and numbers[0].startswith("1 of")
    said.append(f"{words.join(numbers)} on whole populations {'has' if one else 'have'} q < {Q}.")
    return said


def _place(size: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(size)), size.shape))


def _most(cube: xr.Dataset, names: words.Names, *, any_sure: bool) -> list[str]:
    """Say which attribute has the largest effects, how sure that is, and how large the others' are."""
    squares = typical_effects(cube)
    confidence = float(cube.attrs.get("confidence", 0.95))
    sizes = {name: root(*square, confidence) for name, square in squares.items()}
    first, *rest = sizes
    if not any_sure or sizes[first][0] < 0.005:
        return [] if any_sure else [f"No effect stands out from sampling noise once all are counted (q < {Q})."]
    certainty = _certainty(squares[first], squares[rest[0]]) if rest else 1.0
    verb = words.causal(cube, "moves answers", "goes with differences in answers")
    if certainty < CERTAIN:
        verb = words.causal(cube, "may move answers", "may go with differences in answers")
    label = words.capital(names.attributes[first])
    middle, low, high = (f"{number:.2f}" for number in sizes[first])
    most = f"{label} {verb}{' most' if rest else ''}: by {middle} of the 0..1 score ({low} to {high})"
    said = [f"{most}, as the root mean square of its effects."]
    if rest:
        ahead = f"{100 * certainty:.0f} %" if certainty < 0.99 else "more than 99 %"
        others = [f"{names.attributes[name]} {sizes[name][0]:.2f} ({_range(sizes[name])})" for name in rest]
        how = f"That {names.attributes[first]} comes before {names.attributes[rest[0]]} is {ahead} certain."
        more = f", and {words.count(len(others) - 3, 'attribute')} less" if len(others) > 3 else ""
        said.append(
            f"Next: {', '.join(others[:3])}{more} ({100 * confidence:g} % intervals, sampling noise taken off). {how}"
        )
    return said


def _range(size: tuple[float, float, float]) -> str:
    return f"{size[1]:.2f} to {size[2]:.2f}"


def _certainty(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Say how probable it is that the first mean square is the larger one, both being normal and independent."""
    apart = float(np.hypot(first[1], second[1]))
    return float(ndtr((first[0] - second[0]) / apart)) if apart > 0 else 1.0


def _largest(part: xr.Dataset, names: words.Names, at: tuple[int, ...], *, sure: bool) -> str:
    country, attribute, value = at
    cell = part.isel(country=country, attribute=attribute, value=value)
    effect = float(cell["effect"])
    low, high = (words.signed(float(bound)) for bound in cell["effect_interval"].values)
    level = 100 * float(part.attrs.get("confidence", 0.95))
    options, unit = names.options[value], names.moved(value, effect)
    towards = (
        f", {unit}" if unit else f", towards “{words.excerpt(options[-1 if effect > 0 else 0], 60)}”" if effect else ""
    )
    moves = words.causal(part, "moves the mean score", "goes with a mean score that is different")
    head = (
        "The largest effect that is more than noise"
        if sure
        else "The largest estimate, which noise can explain among so many,"
    )
    return (
        f"{_in(head, names, country)}: {names.instead(attribute)} {moves} by "
        f"{words.signed(effect)} ({level:.0f} % interval {low} to {high}){towards}, on "
        f"“{words.excerpt(names.questions[value], 160)}”"
    )


def _in(head: str, names: words.Names, country: int) -> str:
    """Say in which country, where there are several."""
    return f"{head} is in {names.countries[country]}" if len(names.countries) > 1 else head.rstrip(",")


def _largest_shift(part: xr.Dataset, names: words.Names, at: tuple[int, ...], *, sure: bool) -> str:
    """Say which option of a value without an order moves most, and how sure it is that its options move at all."""
    country, attribute, value, option = at
    where = tuple(np.array([i]) for i in (country, attribute, value))
    one = part.expand_dims("persona", axis=-1).transpose(..., "persona", "option", "bound", missing_dims="ignore")
    row = facts.shifts(one, (*where, np.array([0]))).iloc[option]
    level = 100 * float(part.attrs.get("confidence", 0.95))
    shift, low, high = (words.signed(100 * float(row[name]), 0) for name in ("estimate", "conf_low", "conf_high"))
    head = (
        "Where answers have no order, the largest shift"
        if sure
        else "Where answers have no order, no shift is more than noise can explain; the largest"
    )
    moves = words.causal(part, "moves", "goes with a different share of")
    return (
        f"{_in(head, names, country)}: {names.instead(attribute)} {moves} "
        f"“{words.excerpt(names.options[value][option], 60)}” by {shift} percentage points ({level:.0f} % interval "
        f"{low} to {high}; all options at once: q {words.small(float(row['q_value'])).replace('<', '< ')}), on "
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
        for said in (*answering.summaries(model), *answering.warnings(model))
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
