"""The first picture: which attribute moves answers most in which country, and whether models follow."""

from __future__ import annotations

from functools import cache

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from acecausal.comparison import heeding
from acecausal.report import cells, facts, finding, forest, parts, tables, words
from acecausal.report import drawing as d

COUNTRIES, ATTRIBUTES = 20, 6


def table(cube: xr.Dataset, models: d.Models) -> pd.DataFrame:
    """Reckon the typical size of each attribute's effects on everybody, country by country.

    Parameters
    ----------
    cube : xarray.Dataset
        A survey cube.
    models : mapping of str to xarray.Dataset

    Returns
    -------
    pandas.DataFrame
        country, attribute; people: root of the mean of (effect^2 - se^2) over the attribute's contrasts and all values,
        in context ``all``, at least 0, on the 0..1 score, and its interval (`finding.mean_square`); m0, m1, ...:
        people's size times the slope of the model's effects on people's, sum(model people) / sum(people^2 - se^2) over
        the cells that both have, missing where the latter is not above 0; r0, r1, ...: root mean square of the model's
        effects, whichever way they go; effects: how many; sure: how many of them have a q-value below 0.05.
    """
    part = cube.sel(persona=["all"])
    confidence = float(cube.attrs.get("confidence", 0.95))
    there = cells.scored(part)
    effect, noise = part["effect"].values, part["effect_se"].values ** 2
    others = [facts.like(model, part) for model in models.values()]
    treatment = part["treatment"].values.astype(str)
    made = []
    for c, country in enumerate(part["country"].values.astype(str)):
        for name in dict.fromkeys(treatment):
            chosen = np.zeros_like(there)
            chosen[c, treatment == name] = there[c, treatment == name]
            if not chosen.any():
                continue
            square = finding.mean_square(effect[chosen], np.sqrt(noise[chosen]))
            size, low, high = finding.root(*square, confidence)
            row = {"country": country, "attribute": name, "people": size, "people_low": low, "people_high": high}
            for i, model in enumerate(others):
                both = chosen & np.isfinite(model)
                room = float((effect[both] ** 2 - noise[both]).sum())
                slope = float((effect[both] * model[both]).sum()) / room if room > 0 else np.nan
                row[f"m{i}"] = slope * size if size > 0 else np.nan
                row[f"r{i}"] = float(np.sqrt((model[both] ** 2).mean())) if both.any() else np.nan
            sure = int((chosen & (part["q_value"].values < d.Q)).sum())
            made.append(row | {"effects": int(chosen.sum()), "sure": sure})
    letters = [f"{letter}{i}" for letter in "mr" for i in range(len(others))]
    columns = ["country", "attribute", "people", "people_low", "people_high", *letters, "effects", "sure"]
    return pd.DataFrame(made, columns=columns)


def renamed(models: d.Models) -> dict[str, str]:
    """Name the models' columns of `table`."""
    return forest.renamed(models) | {f"r{i}": f"size of its effects: {label}" for i, label in enumerate(models)}


def _unheeded(model: xr.Dataset) -> set[str]:
    """Name the attributes with a contrast that the model does not take in."""
    return {contrast.partition(":")[0] for contrast in heeding.unheeded(model)}


@cache
def chart(n_columns: int, width: int, left: int, models: tuple[str, ...], reach: tuple[float, float]) -> d.Spec:
    """Draw a bar per country and attribute, and a mark where the model would put its end.

    Parameters
    ----------
    n_columns : int
    width, left : int
        Pixels of the whole and of the labels at the left.
    models : tuple of str
        Labels of the models (fields m0, m1, ..., and r0, r1, ...).
    reach : tuple of float
        Range of each column's axis; it holds 0.
    """
    low, high = reach
    wide = width > 500
    plot = width - left - 8
    step = plot / n_columns
    room = step - (46 if wide else 12)
    scale = alt.Scale(domain=[0, plot], nice=False, zero=False)

    def at(number: str) -> str:
        return f"{step:.2f} * datum.x + {room:.2f} * (clamp({number}, {low}, {high}) - {low}) / {high - low}"

    def x(field: str) -> alt.X:
        return alt.X(field, scale=scale).axis(None)

    count = range(len(models))
    data = d.base().transform_calculate(
        left=f"{step:.2f} * datum.x - 5",
        right=f"{step:.2f} * datum.x + {room + 5:.2f}",
        zero=at("0"),
        end=at("datum.people"),
        strength="datum.first ? 0.9 : datum.sure > 0 ? 0.42 : 0.16",
        paint=f"datum.first ? '{d.ACCENT}' : '{d.MUTED}'",
        number="format(datum.people, '.2f')",
        **{f"p{i}": f"isValid(datum.m{i}) ? {at(f'datum.m{i}')} : null" for i in count},
        **{f"o{i}": f"!isValid(datum.m{i}) && isValid(datum.r{i}) ? {at(f'datum.r{i}')} : null" for i in count},
    )
    tip = d.tooltip(("label", "country"), ("attribute", "attribute"), ("people", "people"), *d.model_tip(models))
    ground = data.mark_bar(height={"band": 0.84}, fill=d.SOFT).encode(x=x("left:Q"), x2="right:Q", y=d.y())
    bars = data.mark_bar(height={"band": 0.62}, cornerRadiusEnd=2).encode(
        x=x("zero:Q"),
        x2="end:Q",
        y=d.y(),
        fill=alt.Fill("paint:N", scale=None),
        opacity=alt.Opacity("strength:Q", scale=None),
        tooltip=tip,
    )
    zero = data.mark_tick(color=d.MUTED, thickness=1, orient="vertical", size=d.ROW + 3).encode(x=x("zero:Q"), y=d.y())
    numbers = data.mark_text(fontSize=10, align="left", baseline="middle", dx=4, color=d.MUTED).encode(
        x=x("right:Q"), y=d.y(), text="number:N"
    )
    heads = (
        data.transform_filter("datum.head")
        .mark_text(
            fontSize=d.SIZE,
            align="left",
            baseline="bottom",
            fontWeight=600,
            limit=step - 4,
            lineHeight=12,
            dy=0 if wide else -12,
            color=d.INK,
        )
        .encode(x=x("left:Q"), y=alt.YValue(-5), text="name:N")
    )
    labels = data.transform_filter("datum.last").mark_text(
        fontSize=d.SIZE, align="right", baseline="middle", dx=-10, limit=left - 12, clip=False, color=d.INK
    )
    layers = [
        ground,
        zero,
        bars,
        *d.marks(data, models, x, tip, at="o", opacity=0.4),
        *d.marks(data, models, x, tip, at="p"),
        *([numbers] if wide else []),
        heads,
        labels.encode(x=alt.XValue(0), y=d.y(), text="label:N"),
    ]
    return d.finish(alt.layer(*layers), width, alt.Step(d.ROW + 3), (left, 8, 34, 4))


def figure(cube: xr.Dataset, models: d.Models) -> parts.Figure | None:
    """Show which attribute matters most where; None if nothing has an effect."""
    frame = table(cube, models)
    if frame.empty:
        return None
    names = words.Names(cube)
    label = dict(zip(cube["country"].values.astype(str), names.countries, strict=True))
    countries = [str(cube["country"].values[c]) for c in cells.top(cube, "country", COUNTRIES)]
    ignored = {label: _unheeded(model) for label, model in models.items() if _unheeded(model)}
    marked = dict.fromkeys(set().union(*ignored.values()), f" {heeding.MARK}")
    sizes = {name: finding.root(*square)[0] for name, square in finding.typical_effects(cube).items()}
    attributes = list(sizes)
    marks = frame[[f"{letter}{i}" for letter in "mr" for i in range(len(models))]].to_numpy(dtype=float)
    high = max(float(frame["people"].max()), 0.02)
    found = marks[np.isfinite(marks)]
    if found.size:
        high = min(max(high, float(np.quantile(found, 0.98))), 2 * high)
    low = max(min(0.0, float(found.min()) if found.size else 0.0), -0.5 * high)

    def rows(most: int, em: float) -> d.Rows:
        shown = attributes[:most]
        made = []
        for y, country in enumerate([c for c in countries if (frame["country"] == c).any()]):
            here = frame[(frame["country"] == country) & frame["attribute"].isin(shown)]
            largest = here["people"].max()
            for i, row in enumerate(here.to_dict("records")):
                x = shown.index(row["attribute"])
                extra = {
                    "x": x,
                    "y": y,
                    "label": label[country],
                    "name": words.wrap(names.attributes[row["attribute"]] + marked.get(row["attribute"], ""), em, 2),
                }
                made.append({**row, **extra, "first": 0 < largest == row["people"] and row["sure"] > 0, "last": i == 0})
        seen: set[int] = set()
        for row in made:
            row["head"] = row["x"] not in seen
            seen.add(row["x"])
        return made

    def picture(width: int) -> d.Spec:
        most = min(len(attributes), ATTRIBUTES if width > 500 else 4)
        made = rows(most, (width - 110) / most / d.SIZE / 1.1)  # heads are bold
        left = d.side([row["label"] for row in made], width)
        return d.fill(chart(most, width, left, tuple(models), (low, high)), rows=made)

    first = attributes[0]
    alt_text = (
        f"Root mean square of each attribute's effects by country; over all countries {names.attributes[first]} has "
        f"the largest, {sizes[first]:.2f}. The numbers are in the table below."
    )
    moves = words.causal(
        cube,
        "an attribute's effects on everybody's answers",
        "the differences between an attribute's groups",
    )
    caption = f"Bars: the root mean square of {moves}, on the 0..1 score. Pale: noise can explain it."
    how = (
        "The root mean square is taken over an attribute's contrasts and all values that have a score; sampling noise "
        "is taken off. Coloured: the attribute that matters most there, if it is more than noise."
    )
    legend: list[parts.Key] = [
        ("square", "accent", 0.9, "people: the strongest attribute"),
        ("square", "muted", 0.42, "the others"),
    ]
    if models:
        caption += " A model's mark at the bar's end: it moves as far as people and the same way."
        how += (
            " A model's mark at the bar's start: not at all; left of it: the other way. A pale mark: people's effects "
            "there are noise, so there is nothing to follow; it stands at the root mean square of the model's own "
            "effects, whichever way they go. Marks further out than the axis stand at its ends."
        )
        legend += parts.model_legend(models)
    if ignored:
        told = words.join(words.clean(label) for label in ignored)
        caption += f" {heeding.MARK} not taken in by {told}: told so, a model hardly says so when asked."
    left_out = len(set(frame["country"])) - len(countries)
    if left_out > 0:
        how += f" {words.count(left_out, 'country', 'countries')} more are in the table."
    numbers = tables.of(frame, "typical-effects.csv", rename=renamed(models))
    panel = parts.both("", picture, alt_text)
    return parts.Figure("", [panel], caption, legend, numbers, how=how)
