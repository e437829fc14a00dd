"""Model against human effects, edge by edge."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from acecausal.report import cells, facts, parts, tables, words
from acecausal.report import drawing as d

POINTS = 1500


def pairs(human: xr.Dataset, model: xr.Dataset) -> pd.DataFrame:
    """Pair effects over every edge that both have.

    Returns
    -------
    pandas.DataFrame
        The columns of `facts.rows` for people's effects, and `model`, the model's; those with the smallest standard
        error first.
    """
    model_effect = facts.like(model, human)
    there = np.nonzero(cells.scored(human) & np.isfinite(model_effect))
    order = np.argsort(human["effect_se"].values[there], kind="stable")
    where = tuple(at[order] for at in there)
    return facts.rows(human, where).assign(model=model_effect[where]).drop(columns="status")


def lines(slope: float | None, low: float, high: float) -> d.Rows:
    """Give the diagonal and the line of the slope through the origin, cut to the square."""
    made = [{"line": "same", "estimate": end, "model": end} for end in (low, high)]
    if slope is not None:
        ends = (low, high)
        if slope:
            left, right = sorted((low / slope, high / slope))
            ends = (max(low, left), min(high, right))
        made += [{"line": "slope", "estimate": end, "model": slope * end} for end in ends]
    return made


@cache
def chart(width: int, reach: float, *, dense: bool) -> d.Spec:
    """Draw points with people's intervals, the diagonal, and the slope; data sets `rows` and `lines`.

    Parameters
    ----------
    width : int
        Pixels; the picture is square but for its margins.
    reach : float
        Both axes go from -reach to reach; an interval is cut there.
    dense : bool
        Many points: smaller and fainter.
    """
    left, right, top, bottom = 46, 14, 26, 40
    scale = alt.Scale(domain=[-reach, reach], nice=False, zero=False)
    data = d.base().transform_calculate(
        low=f"clamp(datum.conf_low, {-reach}, {reach})", high=f"clamp(datum.conf_high, {-reach}, {reach})"
    )
    x = alt.X("estimate:Q", scale=scale).axis(labelExpr=d.SIGNED, tickCount=5, title="people's effect")
    style: dict[str, Any] = {
        "titleAngle": 0,
        "titleAlign": "left",
        "titleBaseline": "bottom",
        "titleX": -left,
        "titleY": -8,
    }
    y = alt.Y("model:Q", scale=scale).axis(labelExpr=d.SIGNED, tickCount=5, title="model's effect", **style)
    colour = alt.condition(d.SURE, alt.value(d.ACCENT), alt.value(d.MUTED))
    faint = ((0.14, 0.06), (0.55, 0.2)) if dense else ((0.4, 0.2), (0.95, 0.5))
    strong = [alt.condition(d.SURE, alt.value(sure), alt.value(other)) for sure, other in faint]
    of = (("country_label", "country"), ("contrast_label", "contrast"), ("question", "question"))
    tip = d.tooltip(*of, *d.EFFECT_TIP[2:7], ("model", "model"))
    given = alt.Chart(alt.NamedData("lines"))
    layers = [
        d.line(0, color=d.LINE),
        d.base()
        .transform_aggregate(rows="count()")
        .mark_rule(color=d.LINE)
        .encode(y=alt.YDatum(0, type="quantitative")),
        data.mark_rule(strokeWidth=1).encode(
            x=alt.X("low:Q", scale=scale), x2="high:Q", y=y, stroke=colour, strokeOpacity=strong[0]
        ),
        data.mark_point(size=22 if dense else 36, filled=True, strokeWidth=0).encode(
            x=x, y=y, color=colour, opacity=strong[1], tooltip=tip
        ),
        given.transform_filter("datum.line == 'same'")
        .mark_line(color=d.INK, strokeDash=[4, 3], strokeWidth=1)
        .encode(x=x, y=y),
        given.transform_filter("datum.line == 'slope'").mark_line(color=d.CONTRAST, strokeWidth=2.25).encode(x=x, y=y),
    ]
    return d.finish(alt.layer(*layers), width, width - left - right, (left, right, top, bottom))


def reach_of(frames: list[pd.DataFrame]) -> float:
    """Find how far the axes go: all effects of people and models, at most 1."""
    largest = [float(frame[["estimate", "model"]].abs().to_numpy().max()) for frame in frames if len(frame)]
    return min(1.05 * max(largest, default=0.1) + 0.005, 1.0)


def figure(human: xr.Dataset, models: d.Models, comparisons: Mapping[str, Mapping[str, Any]]) -> parts.Figure:
    """Show every model against people, a panel each, on the same axes."""
    frames = {label: pairs(human, model) for label, model in models.items()}
    reach = reach_of([frame[:POINTS] for frame in frames.values()])
    names = words.Names(human)
    panels = []
    for label, frame in frames.items():
        effect = comparisons[label]["effect"]
        slope = effect["slope"]
        alt_text = (
            f"Scatter of the effects of model {words.clean(label)} against people's, {len(frame)} edges, "
            f"slope {words.plain(slope)}, correlation {words.plain(effect['correlation'])}."
        )
        dense, points = min(len(frame), POINTS) > 400, names.labelled(frame[:POINTS]).to_dict("records")
        wide, narrow = (
            d.fill(chart(width, reach, dense=dense), rows=points, lines=lines(slope, -reach, reach))
            for width in (480, d.PHONE)
        )
        found = [words.plain(effect[name], 3) for name in ("distance", "null", "ceiling")]
        title = (
            f"{words.clean(label)}: slope {words.plain(slope)}, skill {words.plain(effect['skill'])} "
            f"(distance {found[0]}; null {found[1]}, ceiling {found[2]})"
        )
        panels.append(parts.Panel(title, alt_text, wide, narrow))
    caption = (
        "Each dot is one edge of the lattice (a contrast within a context, for one value in one country): across, the "
        "effect in people with its interval; up, the effect in the model. On the dashed diagonal the model moves as "
        "people do; on the flat line through zero, the null, it ignores the persona. The solid line has the slope "
        "corrected for the sampling error of people's effects. The distance is the mean one of model's and people's "
        "shifts, the null that of a model without effects, the ceiling what sampling noise leaves to a perfect one."
    )
    most = max((len(frame) for frame in frames.values()), default=0)
    if most > POINTS:
        caption += f" Shown: the {POINTS:,} of {most:,} edges that are known best (smallest standard error)."
    legend: list[parts.Key] = [
        ("dot", "accent", 0.9, f"q < {d.Q} in people"),
        ("dot", "muted", 0.5, f"q ≥ {d.Q}"),
        ("line", "contrast", 1.0, "corrected slope"),
        ("dash", "ink", 1.0, "model = people"),
    ]
    listed = [frame[:POINTS].assign(by=label) for label, frame in frames.items()]
    numbers = tables.of(_named(pd.concat(listed)), "model-against-people.csv")
    return parts.Figure("", panels, caption, legend, numbers)


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """Put which model it is before the numbers."""
    first = ["country", "contrast", "value", "context", "by"]
    return frame[[*first, *(name for name in frame if name not in first)]].rename(
        columns={"by": "model", "model": "model's effect"}
    )
