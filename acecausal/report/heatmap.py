"""The heat map: a pure function from a cube to an Altair chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import xarray as xr

from acecausal.report import cells, words
from acecausal.report import drawing as d

#: Empty share of a cell at each side.
GAP = 0.04


def heatmap(
    cube: xr.Dataset,
    *,
    rows: Sequence[tuple[int, int] | tuple[None, int]],
    columns: Sequence[int | tuple[int, int]],
    largest: float,
    width: int = 700,
) -> alt.LayerChart:
    """Draw effects in context ``all`` as a heat map.

    Parameters
    ----------
    cube : xarray.Dataset
        A survey cube.
    rows : sequence of (country or None, value)
        Positions. With None the columns give the country; otherwise they are contrasts, and rows are grouped by value.
    columns : sequence of int, or of (contrast, country)
        Positions of contrasts, or pairs where `rows` leave the country open.
    largest : float
        Absolute effect that gets the full colour.
    width : int
        Pixels; many columns make the chart wider than that.
    """
    names = words.Names(cube)
    by_country = rows[0][0] is None
    left = 190 if by_country else (170 if width > 500 else 112)
    right = 8
    least = 20 if by_country else 46
    step = max((width - left - right) / len(columns), least)
    step = min(step, 46.0 if by_country else 110.0)
    placed, heads, labels = _heat_places(names, rows, by_country, left, grouped=cube.sizes["value"] > 1)
    squares, texts = _heat_cells(cube, placed, columns, largest, numbers=step >= 40)
    n_rows = len(placed) + len(heads)
    tops = _heat_columns(names, columns, step)
    n_lines = max((len(top["label"]) for top in tops), default=1)
    x = alt.X("left:Q").scale(domain=[0, len(columns)], nice=False).axis(None)
    x_mid = alt.X("x:Q").scale(domain=[0, len(columns)], nice=False).axis(None)
    cell = (
        alt.Chart(d.data(squares))
        .mark_rect(cornerRadius=2)
        .encode(
            x=x,
            x2=alt.X2("right:Q"),
            y=d.y(n_rows, "top"),
            y2=alt.Y2("bottom:Q"),
            fill=alt.Fill("fill:N", scale=None),
            fillOpacity=alt.FillOpacity("opacity:Q", scale=None),
            stroke=alt.Stroke("stroke:N", scale=None),
        )
    )
    numbers = (
        alt.Chart(d.data(texts))
        .mark_text(fontSize=d.SIZE, baseline="middle")
        .encode(x=x_mid, y=d.y(n_rows), text=alt.Text("label:N"), color=alt.Color("colour:N", scale=None))
    )
    if by_country:
        top_text = alt.Chart(d.data([{**top, "label": top["label"][0]} for top in tops])).mark_text(
            fontSize=d.SIZE, angle=300, align="left", baseline="middle", color=d.INK
        )
        top_margin = 74
    else:
        top_text = alt.Chart(d.data(tops)).mark_text(
            fontSize=d.SIZE, align="center", baseline="bottom", color=d.INK, lineHeight=13, dy=-13 * (n_lines - 1)
        )
        top_margin = 13 * n_lines + 10
    layers = [
        cell,
        numbers,
        top_text.encode(x=x_mid, y=alt.YValue(-5), text=alt.Text("label:N")),
        d.text(heads, n_rows, 0, -left, align="left", fontWeight=600, color=d.INK),
        d.text(labels, n_rows, 0, -8, align="right", color=d.INK),
    ]
    total = left + right + step * len(columns)
    return d.finish(
        alt.layer(*layers), int(total), n_rows * (d.ROW + 3), left, right + (40 if by_country else 0), top_margin, 4
    )


def _heat_places(
    names: words.Names,
    rows: Sequence[tuple[int, int] | tuple[None, int]],
    by_country: bool,
    left: int,
    *,
    grouped: bool,
) -> tuple[list[tuple[int, int | None, int]], d.Rows, d.Rows]:
    placed: list[tuple[int, int | None, int]] = []
    heads: d.Rows = []
    labels: d.Rows = []
    y, last = 0, None
    for country, value in rows:
        if not by_country and grouped and value != last:
            heads.append({"y": y + 0.5, "label": words.shorten(names.questions[value], 330 / d.SIZE)})
            y, last = y + 1, value
        text = names.questions[value] if country is None else names.countries[country]
        labels.append({"y": y + 0.5, "label": words.shorten(text, (left - 10) / d.SIZE)})
        placed.append((y, country, value))
        y += 1
    return placed, heads, labels


def _heat_columns(names: words.Names, columns: Sequence[int | tuple[int, int]], step: float) -> d.Rows:
    tops: d.Rows = []
    for i, column in enumerate(columns):
        if isinstance(column, tuple):
            lines = [words.shorten(names.countries[column[1]], 6.4)]
        else:
            treated, baseline = names.contrasts[column]
            em = (step - 4) / d.SIZE
            lines = [*words.wrap(treated, em, 2), *words.wrap(f"vs {baseline}", em, 2)]
        tops.append({"x": i + 0.5, "label": lines})
    return tops


def _heat_cells(
    cube: xr.Dataset,
    placed: Sequence[tuple[int, int | None, int]],
    columns: Sequence[int | tuple[int, int]],
    largest: float,
    *,
    numbers: bool,
) -> tuple[d.Rows, d.Rows]:
    part = cells.everyone(cube)
    reason, effect, q = cells.reasons(part), part["effect"].values, part["q_value"].values
    squares: d.Rows = []
    texts: d.Rows = []
    for y, row_country, value in placed:
        for i, column in enumerate(columns):
            attribute, country = column if isinstance(column, tuple) else (column, row_country)
            at = (country, attribute, value)
            why = str(reason[at])
            square: dict[str, Any] = {"left": i + GAP, "right": i + 1 - GAP, "top": y + GAP, "bottom": y + 1 - GAP}
            text: dict[str, Any] = {"x": i + 0.5, "y": y + 0.5}
            if why != "ok":
                square |= {"fill": "none", "opacity": 0.0, "stroke": d.LINE}
                text |= {"label": words.STATUS_TEXT[why][1], "colour": d.MUTED}
            else:
                number, sure = float(effect[at]), bool(q[at] < d.Q)
                strength = min(abs(number) / largest, 1.0) if largest > 0 else 0.0
                opacity = round(0.25 + 0.7 * strength if sure else 0.03 + 0.2 * strength, 3)
                square |= {"fill": d.ACCENT if number > 0 else d.CONTRAST, "opacity": opacity, "stroke": "none"}
                colour = d.ON_COLOUR if opacity > 0.62 else (d.INK if sure else d.MUTED)
                text |= {"label": words.signed(number) if numbers else "", "colour": colour}
            squares.append(square)
            texts.append(text)
    return squares, [text for text in texts if text["label"]]
