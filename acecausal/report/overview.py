"""The first picture: which attribute moves answers most in which country, and whether models follow."""

from __future__ import annotations

from functools import cache

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

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
        in context ``all``, at least 0, on the 0..1 score; m0, m1, ...: people's size times the slope of the model's
        effects on people's, sum(model people) / sum(people^2 - se^2) over the cells that both have, missing where the
        latter is not above 0; effects: how many; sure: how many of them have a q-value below 0.05.
    """
    part = cube.sel(persona=["all"])
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
            own = float((effect[chosen] ** 2 - noise[chosen]).mean())
            size = np.sqrt(max(own, 0.0))
            row = {"country": country, "attribute": name, "people": size}
            for i, model in enumerate(others):
                both = chosen & np.isfinite(model)
                room = float((effect[both] ** 2 - noise[both]).sum())
                slope = float((effect[both] * model[both]).sum()) / room if room > 0 else np.nan
                row[f"m{i}"] = slope * size if size > 0 else np.nan
            sure = int((chosen & (part["q_value"].values < d.Q)).sum())
            made.append(row | {"effects": int(chosen.sum()), "sure": sure})
    columns = ["country", "attribute", "people", *(f"m{i}" for i in range(len(others))), "effects", "sure"]
    return pd.DataFrame(made, columns=columns)


@cache
def chart(n_columns: int, width: int, left: int, models: int, reach: tuple[float, float]) -> d.Spec:
    """Draw a bar per country and attribute, and a diamond where the model would put its end.

    Parameters
    ----------
    n_columns : int
    width, left : int
        Pixels of the whole and of the labels at the left.
    models : int
        Number of models (fields m0, m1, ...).
    reach : tuple of float
        Range of each column's axis; it holds 0.
    """
    low, high = reach
    plot = width - left - 8
    step = plot / n_columns
    room = step - (34 if width > 500 else 10)
    scale = alt.Scale(domain=[0, plot], nice=False, zero=False)

    def at(number: str) -> str:
        return f"{step:.2f} * datum.x + {room:.2f} * (clamp({number}, {low}, {high}) - {low}) / {high - low}"

    data = d.base().transform_calculate(
        zero=at("0"),
        end=at("datum.people"),
        strength="datum.first ? 0.9 : datum.sure > 0 ? 0.42 : 0.16",
        paint=f"datum.first ? '{d.ACCENT}' : '{d.MUTED}'",
        number="format(datum.people, '.2f')",
    )
    tip = d.tooltip(
        ("label", "country"),
        ("attribute", "attribute"),
        ("people", "people"),
        *((f"m{i}", f"model {i + 1}") for i in range(models)),
    )
    x = alt.X("zero:Q", scale=scale).axis(None)
    bars = data.mark_bar(height={"band": 0.62}, cornerRadiusEnd=2).encode(
        x=x,
        x2="end:Q",
        y=d.y(),
        fill=alt.Fill("paint:N", scale=None),
        opacity=alt.Opacity("strength:Q", scale=None),
        tooltip=tip,
    )
    zero = data.mark_tick(color=d.LINE, thickness=1, orient="vertical", size=d.ROW + 3).encode(x=x, y=d.y())
    marks = [
        data.transform_filter(f"isValid(datum.m{i})")
        .transform_calculate(m=at(f"datum.m{i}"))
        .mark_point(shape="diamond", size=46, opacity=1, strokeWidth=1.5, stroke=d.CONTRAST)
        .encode(
            x=alt.X("m:Q", scale=scale).axis(None),
            y=d.y(),
            tooltip=tip,
            fill=alt.value(d.CONTRAST if i == models - 1 else "transparent"),
        )
        for i in range(models)
    ]
    numbers = data.transform_calculate(
        far=f"min({step:.2f} * (datum.x + 1) - 32, max(datum.end, "
        + ", ".join(["datum.end", *(f"isValid(datum.m{i}) ? {at(f'datum.m{i}')} : 0" for i in range(models))])
        + "))"
    ).mark_text(fontSize=10, align="left", baseline="middle", dx=7, color=d.MUTED)
    heads = (
        data.transform_filter("datum.head")
        .mark_text(
            fontSize=d.SIZE,
            align="left",
            baseline="bottom",
            fontWeight=600,
            limit=step - 4,
            lineHeight=12,
            dy=-12 if width < 500 else 0,
            color=d.INK,
        )
        .encode(x=x, y=alt.YValue(-5), text="name:N")
    )
    labels = data.transform_filter("datum.last").mark_text(
        fontSize=d.SIZE, align="right", baseline="middle", dx=-8, limit=left - 10, clip=False, color=d.INK
    )
    layers = [
        zero,
        bars,
        *marks,
        *([numbers.encode(x=alt.X("far:Q", scale=scale).axis(None), y=d.y(), text="number:N")] if width > 500 else []),
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
    sizes = finding.typical_effects(cube)
    attributes = sorted(sizes, key=lambda name: -sizes[name])
    marks = frame[[f"m{i}" for i in range(len(models))]].to_numpy(dtype=float)
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
                    "name": words.wrap(names.attributes[row["attribute"]], em, 2),
                }
                made.append({**row, **extra, "first": 0 < largest == row["people"] and row["sure"] > 0, "last": i == 0})
        seen: set[int] = set()
        for row in made:
            row["head"] = row["x"] not in seen
            seen.add(row["x"])
        return made

    def picture(width: int) -> d.Spec:
        most = min(len(attributes), ATTRIBUTES if width > 500 else 4)
        made = rows(most, (width - 110) / most / d.SIZE)
        left = d.side([row["label"] for row in made], width)
        return d.fill(chart(most, width, left, len(models), (low, high)), rows=made)

    first = attributes[0]
    alt_text = (
        f"Typical size of each attribute's effects by country; over all countries {names.attributes[first]} has the "
        f"largest, {sizes[first]:.2f}. The numbers are in the table below."
    )
    moves = words.causal(
        cube,
        "an attribute typically moves the answers of everybody",
        "the answers of an attribute's groups typically differ",
    )
    caption = (
        f"The length of a bar says how far {moves} in a country, on the 0..1 score, sampling noise taken off; "
        "coloured: the one that matters most there, if it is more than noise; pale: noise can explain it."
    )
    legend: list[parts.Key] = [
        ("square", "accent", 0.9, "people: the strongest attribute"),
        ("square", "muted", 0.42, "the others"),
    ]
    if models:
        caption += (
            " A diamond at the bar's end: the model moves as far as people and the same way; at the bar's start: not "
            "at all; left of it: the other way. No diamond: people's effects there are noise, so there is nothing to "
            "follow. Diamonds further out than the axis stand at its ends."
        )
        legend += parts.model_legend(models)
    left_out = len(set(frame["country"])) - len(countries)
    if left_out > 0:
        caption += f" {words.count(left_out, 'country', 'countries')} more are in the table."
    numbers = tables.of(frame, "typical-effects.csv", rename=forest.renamed(models))
    panel = parts.both("", picture, alt_text)
    return parts.Figure("", [panel], caption, legend, numbers)
