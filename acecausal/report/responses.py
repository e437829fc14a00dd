"""Responses: what people answer, persona by persona, as diverging stacked bars."""

from __future__ import annotations

from functools import cache, partial

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from acecausal.report import cells, parts, tables, words
from acecausal.report import drawing as d

VALUES, COUNTRIES, PERSONAS = 4, 6, 24
_IN_TURN, _PALER = (d.ACCENT, d.MUTED, d.CONTRAST), (0.8, 0.45, 0.22)


def paint(n_options: int, scale: str) -> list[tuple[str, float]]:
    """Colour and opacity per option: from the contrast colour over a neutral middle to the accent colour.

    Options without an order take colours in turn, which go from nothing to nothing; a mean has one.
    """
    if scale == "continuous":
        return [(d.ACCENT, 0.575)]
    if scale == "nominal":
        return [(_IN_TURN[k % 3], _PALER[k // 3 % len(_PALER)]) for k in range(n_options)]
    found = []
    for position in np.linspace(-1, 1, n_options):
        strength = round(0.2 + 0.75 * abs(float(position)), 3)
        colour = d.MUTED if abs(position) < 1e-9 else (d.ACCENT if position > 0 else d.CONTRAST)
        found.append((colour, 0.22 if abs(position) < 1e-9 else strength))
    return found


def options(names: words.Names, value: int) -> list[str]:
    """Name what a bar is made of: the options, or of numbers their mean."""
    found = names.ranges[value]
    return names.options[value] if found is None else [", in ".join(filter(None, ["mean", found[2]]))]


def table(cube: xr.Dataset, value: int, country: int, personas: np.ndarray | list[int]) -> pd.DataFrame:
    """List shares: country, value, persona, option_label, option (1..K), share (0..1), n (people who answered).

    Of numbers one row per persona: the share is how far up their range the mean is, and `mean` is the number.
    """
    names = words.Names(cube)
    found, labels = names.ranges[value], options(names, value)
    part = cube.isel(value=value, country=country, persona=list(personas))
    share = part["response"].values[:, : len(labels)] if found is None else part["response"].values[:, 1:2]
    frame = pd.DataFrame(
        {
            "country": str(cube["country"].values[country]),
            "value": str(cube["value"].values[value]),
            "persona": np.repeat(part["persona"].values.astype(str), len(labels)),
            "option_label": np.tile(labels, part.sizes["persona"]),
            "option": np.tile(np.arange(1, len(labels) + 1), part.sizes["persona"]),
            "share": share.ravel(),
            "n": np.repeat(part["n"].values, len(labels)),
        }
    )
    if found is None:
        return frame
    low, high, _ = found
    return frame.assign(mean=np.round(low + frame["share"] * (high - low), words.decimals(high - low)))


def rows(frame: pd.DataFrame, labels: list[str], n_options: int, scale: str) -> d.Rows:
    """Lay shares out as segments: to the left of 0 the lower half of the options, half of a middle one.

    Nominal options have no order, and a mean (one segment, from `table`) no other half: their bars start at 0.
    """
    made = []
    colours = paint(n_options, scale)
    middle = (n_options - 1) / 2
    centred = scale in ("ordinal", "binary")
    weight = np.clip(middle + 0.5 - np.arange(n_options), 0, 1) if centred else np.zeros(n_options)
    for y, label in enumerate(labels):
        bar = frame.iloc[y * n_options : (y + 1) * n_options]
        share = np.nan_to_num(bar["share"].to_numpy(dtype=float))
        edges = np.concatenate([[0.0], np.cumsum(share)]) - share @ weight
        for k, row in enumerate(bar.to_dict("records")):
            there = row["n"] > 0
            made.append(
                {
                    **row,
                    "text": f"{row['mean']:,.15g}" if scale == "continuous" else f"{100 * row['share']:.0f}",
                    **{"y": y, "label": label, "first": k == 0, "low": edges[k] if there else 0.0},
                    **{"high": edges[k + 1] if there else 0.0, "colour": colours[k][0], "opacity": colours[k][1]},
                }
            )
    return made


@cache
def chart(width: int, left: int) -> d.Spec:
    """Draw stacked bars, what they stand for where it fits, and the number of people at the right."""
    right = 44
    pixels = width - left - right
    data = d.base().transform_calculate(
        middle="(datum.low + datum.high) / 2",
        written="datum.high - datum.low >= " + str(round(36 / pixels, 3)) + " ? datum.text : ''",
        ink=f"datum.opacity > 0.62 ? '{d.ON_COLOUR}' : '{d.INK}'",
        people="datum.n > 0 ? format(datum.n, ',') : 'nobody'",
    )
    x = alt.X("low:Q").scale(nice=False, zero=True).axis(None)
    tip = d.tooltip(("label", "who"), ("option_label", "answer"), ("share", "share"), ("n", "people"))
    first = data.transform_filter("datum.first")
    layers = [
        data.mark_rect(stroke=d.PAPER, strokeWidth=1, height={"band": 0.84}).encode(
            x=x,
            x2="high:Q",
            y=d.y(),
            fill=alt.Fill("colour:N", scale=None),
            fillOpacity=alt.FillOpacity("opacity:Q", scale=None),
            tooltip=tip,
        ),
        d.line(0, color=d.INK, strokeWidth=0.75, opacity=0.4).encode(x=alt.XDatum(0, type="quantitative").axis(None)),
        data.mark_text(fontSize=10, baseline="middle").encode(
            x=alt.X("middle:Q").axis(None), y=d.y(), text="written:N", color=alt.Color("ink:N", scale=None)
        ),
        first.mark_text(
            fontSize=d.SIZE, baseline="middle", align="right", dx=-8, limit=left - 10, clip=False, color=d.INK
        ).encode(x=alt.XValue(0), y=d.y(), text="label:N"),
        first.mark_text(
            fontSize=d.SIZE, baseline="middle", align="right", dx=right - 2, clip=False, color=d.MUTED
        ).encode(x=alt.XValue("width"), y=d.y(), text="people:N"),
    ]
    return d.finish(alt.layer(*layers), width, alt.Step(d.ROW), (left, right, 2, 2))


def _alone(made: d.Rows, width: int) -> d.Spec:
    return d.fill(chart(width, d.side([row["label"] for row in made], width)), rows=made)


def section(cube: xr.Dataset) -> parts.Section:
    """Show the responses of everybody and of each group by one attribute."""
    names = words.Names(cube)
    values = [int(v) for v in cells.by_evidence(cube, "value")[:VALUES]]
    countries = cells.top(cube, "country", COUNTRIES)
    coarse = np.flatnonzero(cube["granularity"].values <= 1)
    personas = coarse[:PERSONAS]
    labels = [names.personas[p] for p in personas]
    left = d.label_width(labels, 150)
    alone = len(countries) == 1
    made = []
    for v in values:
        k, scale = len(options(names, v)), names.scales[v]
        frames = [table(cube, v, int(c), personas) for c in countries]
        how = (
            "percent per option"
            if names.ranges[v] is None
            else "the mean, from the lowest number there can be to the highest"
        )
        alt_text = f"Responses to “{{}}” in {{}}, one bar per persona, {how}: {{}}."
        panels = [
            parts.both(
                "",
                partial(_alone, rows(frame, labels, k, scale)),
                alt_text.format(names.questions[v], names.countries[c], "; ".join(names.options[v])),
            )
            if alone
            else parts.Panel(
                names.countries[c],
                alt_text.format(names.questions[v], names.countries[c], "; ".join(names.options[v])),
                d.fill(chart(d.PANEL, left), rows=rows(frame, labels, k, scale)),
            )
            for c, frame in zip(countries, frames, strict=True)
        ]
        caption = "Percent of each answer" if names.ranges[v] is None else f"Mean, from {' to '.join(names.options[v])}"
        caption += ", by group; at the right, how many answered."
        if v == values[0]:
            caption += " Levels, not effects: groups differ for many reasons."
        numbers = tables.of(pd.concat(frames), f"responses-{v}.csv", limit=400)
        made.append(parts.Figure(names.questions[v], panels, caption, legend(options(names, v), scale), numbers))
    intro = parts.limits(
        (len(values), cube.sizes["value"], "value", "values"),
        (len(countries), cube.sizes["country"], "country", "countries"),
        (len(personas), len(coarse), "persona", "personas"),
    )
    return parts.Section("responses", "What people answer", intro, made)


def legend(options: list[str], scale: str) -> list[parts.Key]:
    """Give every option its colour."""
    variables = {d.ACCENT: "accent", d.CONTRAST: "contrast", d.MUTED: "muted"}
    pairs = zip(paint(len(options), scale), options, strict=True)
    return [("square", variables[colour], opacity, label) for (colour, opacity), label in pairs]
