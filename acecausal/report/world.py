"""The world map: one effect, a disc per country on the outline of the land."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import altair as alt
import pandas as pd
import xarray as xr

from acecausal.report import cells, facts, parts, tables, words
from acecausal.report import drawing as d
from acecausal.survey.countries import place, table

_TIP = (("country_label", "country"), *d.EFFECT_TIP[1:])


@cache
def land() -> dict[str, Any]:
    """Give the land as GeoJSON: Natural Earth (public domain), 1:110m, by world-atlas 2.0.2, to half a degree."""
    shape: dict[str, Any] = json.loads(files(__package__).joinpath("land.json").read_text("utf-8"))
    return {"type": "Feature", "geometry": shape}


def places(cube: xr.Dataset) -> list[tuple[float, float] | None]:
    """Place the countries of a cube: latitude and longitude (degrees), or None.

    Regions of one country can be called as countries are (Georgia), and have codes as countries do (CA: California).
    So an alpha-3 code counts by itself, a name by itself, an alpha-2 code if the label or the region is that country's;
    and nothing is placed unless more than half of the cube's countries count.
    """
    columns = (cube[name].values.astype(str) for name in ("country", "country_label", "region"))
    regions = {row["alpha2"]: row["region"] for row in table()}
    found = [
        place(name) if len(name) != 2 or place(name) == place(label) or regions.get(name.upper()) == region else None
        for name, label, region in zip(*columns, strict=True)
    ]
    known = sum(at is not None for at in found)
    return list(found) if 2 * known > len(found) else [None] * len(found)


def rows(frame: pd.DataFrame, cube: xr.Dataset, labels: list[str]) -> tuple[d.Rows, list[str]]:
    """Place the effects of a frame that has one row per country of the cube; those without a place are named apart."""
    made, lost = [], []
    for row, at, shown in zip(frame.to_dict("records"), places(cube), labels, strict=True):
        if at is None:
            lost.append(shown)
            continue
        made.append({**row, "latitude": at[0], "longitude": at[1], "label": shown, "why": words.why(row["status"])})
    return made, lost


@cache
def chart(width: int) -> d.Spec:
    """Draw the map: the area of a disc grows with the absolute effect; hollow ones noise can explain."""
    earth = alt.Chart(alt.NamedData("land")).mark_geoshape(fill=d.SOFT, stroke=d.LINE, strokeWidth=0.6)
    sized = d.base().transform_calculate(
        size=f"{d.THERE} ? abs(datum.estimate) : 0",
        paint=f"!{d.THERE} ? '{d.MUTED}' : datum.estimate > 0 ? '{d.ACCENT}' : '{d.CONTRAST}'",
        fill=f"!{d.THERE} ? '{d.PAPER}' : datum.estimate > 0 ? '{d.ACCENT}' : '{d.CONTRAST}'",
        opacity=f"!{d.THERE} ? 0 : {d.SURE} ? 0.8 : 0.12",
    )
    most = 520 if width > 500 else 230
    discs = sized.mark_circle(strokeWidth=1.5, opacity=1).encode(
        longitude="longitude:Q",
        latitude="latitude:Q",
        size=alt.Size("size:Q", legend=None).scale(domainMin=0, nice=False, rangeMin=24, rangeMax=most),
        fill=alt.Fill("fill:N", scale=None),
        fillOpacity=alt.FillOpacity("opacity:Q", scale=None),
        stroke=alt.Stroke("paint:N", scale=None),
        tooltip=d.tooltip(*_TIP),
    )
    picture = alt.layer(earth, discs).project(type="equalEarth")
    return d.finish(picture, width, int(0.45 * width), (2, 2, 2, 2))


def figure(cube: xr.Dataset, value: int, contrast: int) -> parts.Figure | None:
    """Show one contrast's effect on one value among everyone; None if no country of the cube has a place."""
    names = words.Names(cube)
    everyone = cells.context_all(cube)
    frame = facts.effects(cube, attribute=[contrast], value=[value], persona=everyone)
    made, lost = rows(names.labelled(frame), cube, names.countries)
    if not made:
        return None
    alt_text = (
        f"World map of the effect of {names.contrast(contrast)} on “{names.questions[value]}”, "
        f"{words.count(len(made), 'country', 'countries')}. The numbers are in the table below."
    )
    options = names.options[value]
    caption = f"{names.contrast(contrast)}. The larger a disc, the larger the effect; filled ones are more than noise."
    if lost:
        caption += f" Not on the map: {words.join(lost)}."
    legend: list[parts.Key] = [
        ("dot", "accent", 0.8, f"towards “{options[-1]}”"),
        ("dot", "contrast", 0.8, f"towards “{options[0]}”"),
        ("ring", "muted", 1.0, f"pale: q ≥ {d.Q}; grey: not estimated"),
    ]
    panel = parts.both("", lambda width: d.fill(chart(width), rows=made, land=[land()]), alt_text)
    return parts.Figure(names.questions[value], [panel], caption, legend, tables.of(frame, "effects-on-the-map.csv"))
