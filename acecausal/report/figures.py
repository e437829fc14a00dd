"""Forest plot, responses, and model against people: pure functions from cubes to Altair charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import xarray as xr

from acecausal.report import cells, words
from acecausal.report import drawing as d


def effect_domain(cube: xr.Dataset, value: int, models: d.Models | None = None) -> d.Domain:
    """Find the range of the effects' intervals of one value in context ``all``; it always holds 0.

    An interval wider than three times the largest effect does not stretch it.
    """
    part = cells.everyone(cube).isel(value=value)
    effect = part["effect"].values[cells.scored(part)]
    bounds = part["effect_interval"].values[cells.scored(part)].ravel()
    others = [
        m["effect"].sel(persona="all", value=cube["value"][value]).values.ravel() for m in (models or {}).values()
    ]
    points = np.concatenate([effect, *others, [0.0]])
    points = points[np.isfinite(points)]
    reach = 3 * max(float(np.abs(points).max()), 0.02)
    low, high = np.concatenate([bounds, points]).min(), np.concatenate([bounds, points]).max()
    low, high = max(float(low), -reach), min(float(high), reach)
    pad = 0.04 * max(high - low, 0.02)
    return low - pad, high + pad


def forest(
    cube: xr.Dataset,
    value: int,
    *,
    contrasts: Sequence[int] | np.ndarray,
    countries: Sequence[int] | np.ndarray,
    models: d.Models | None = None,
    width: int = 700,
    domain: d.Domain | None = None,
) -> alt.LayerChart:
    """Draw the effects of one value in context ``all`` with their intervals, contrast by contrast, country by country.

    Parameters
    ----------
    cube : xarray.Dataset
        A survey cube.
    value : int
        Position of the value.
    contrasts, countries : sequence of int
        Positions of what is shown; each contrast is a block of rows, one row per country.
    models : mapping of str to xarray.Dataset, optional
        Model cubes; their effects are drawn as diamonds, the last one's filled.
    width : int
        Pixels; above 500 the interval is written out beside each row.
    domain : tuple of float, optional
        Range of the axis, by default from `effect_domain`.
    """
    wide = width > 500
    low, high = domain or effect_domain(cube, value, models)
    labels = words.Names(cube).countries
    left = d.label_width([labels[c] for c in countries], 190 if wide else 132)
    right = 160 if wide else 46
    heads, rows, marks = _forest_rows(cube, value, contrasts, countries, models or {}, left, wide)
    for row in rows:
        row["low"], row["high"] = max(row.get("low", 0.0), low), min(row.get("high", 0.0), high)
    n_rows = len(heads) + len(rows)
    ok = [row for row in rows if "effect" in row]
    x = alt.X("effect:Q").scale(domain=[low, high], nice=False, zero=False)
    axis = x.axis(labelExpr=d.SIGNED, tickCount=5 if wide else 4, title="effect on the score (0..1)")
    zeros = [{"effect": 0.0, "top": row["y"] - 0.5, "bottom": row["y"] + 0.5} for row in ok]
    zero = (
        alt.Chart(d.data(zeros))
        .mark_rule(color=d.INK, strokeWidth=1)
        .encode(x=x, y=d.y(n_rows, "top"), y2=alt.Y2("bottom:Q"))
    )
    intervals = (
        alt.Chart(d.data(ok))
        .mark_rule(strokeWidth=2.25, strokeCap="round")
        .encode(
            x=alt.X("low:Q"),
            x2=alt.X2("high:Q"),
            y=d.y(n_rows),
            stroke=alt.Stroke("colour:N", scale=None),
            strokeOpacity=alt.StrokeOpacity("opacity:Q", scale=None),
        )
    )
    points = (
        alt.Chart(d.data(ok))
        .mark_point(size=52, opacity=1, strokeWidth=1.75)
        .encode(x=axis, y=d.y(n_rows), fill=alt.Fill("fill:N", scale=None), stroke=alt.Stroke("colour:N", scale=None))
    )
    diamonds = (
        alt.Chart(d.data(marks))
        .mark_point(shape="diamond", size=58, opacity=1, strokeWidth=1.5, stroke=d.CONTRAST)
        .encode(x=x, y=d.y(n_rows), fill=alt.Fill("fill:N", scale=None))
    )
    layers = [
        zero,
        intervals,
        points,
        diamonds,
        d.text(heads, n_rows, 0, -left, align="left", fontWeight=600, color=d.INK),
        d.text(rows, n_rows, 0, -10, align="right", color=d.INK),
        d.text(ok, n_rows, "width", right, field="numbers", align="right", color=d.INK),
        d.text([r for r in rows if "missing" in r], n_rows, 0, 6, field="missing", align="left", color=d.MUTED),
    ]
    return d.finish(alt.layer(*layers), width, n_rows * d.ROW, left, right, top=4, bottom=38)


def _forest_rows(
    cube: xr.Dataset,
    value: int,
    contrasts: Sequence[int] | np.ndarray,
    countries: Sequence[int] | np.ndarray,
    models: d.Models,
    left: int,
    wide: bool,
) -> tuple[d.Rows, d.Rows, d.Rows]:
    names = words.Names(cube)
    part = cells.everyone(cube).isel(value=value)
    reason = cells.reasons(part)
    heads: d.Rows = []
    rows: d.Rows = []
    marks: d.Rows = []
    y = 0
    for a in contrasts:
        for line in words.wrap(names.contrast(int(a)), (500 if wide else 320) / d.SIZE, 2):
            heads.append({"y": y + 0.5, "label": line})
            y += 1
        for c in countries:
            row: dict[str, Any] = {"y": y + 0.5, "label": words.shorten(names.countries[c], (left - 12) / d.SIZE)}
            rows.append(row)
            if reason[c, a] != "ok":
                row["missing"] = words.STATUS_TEXT[reason[c, a]][0]
            else:
                cell = part.isel(country=c, attribute=a)
                low, high = (float(bound) for bound in cell["effect_interval"].values)
                sure = float(cell["q_value"]) < d.Q
                row |= {"effect": float(cell["effect"]), "low": low, "high": high}
                row |= {"colour": d.ACCENT if sure else d.MUTED, "fill": d.ACCENT if sure else d.PAPER}
                row |= {"opacity": 0.85 if sure else 0.6}
                number = words.signed(row["effect"])
                row["numbers"] = f"{number}  [{words.signed(low)}, {words.signed(high)}]" if wide else number
                marks += _model_marks(models, cube, int(a), value, int(c), y)
            y += 1
    return heads, rows, marks


def _model_marks(models: d.Models, cube: xr.Dataset, attribute: int, value: int, country: int, y: int) -> d.Rows:
    at = {"country": country, "attribute": attribute, "value": value}
    labels = {dim: cube[dim].values[position] for dim, position in at.items()} | {"persona": "all"}
    marks: d.Rows = []
    for i, model in enumerate(models.values()):
        if all(label in model[dim].values for dim, label in labels.items()):
            effect = float(model["effect"].sel(labels))
            if np.isfinite(effect):
                last = i == len(models) - 1
                marks.append({"y": y + 0.5, "effect": effect, "fill": d.CONTRAST if last else "transparent"})
    return marks


def option_paint(n_options: int) -> list[tuple[str, float]]:
    """Colour and opacity per option: from the contrast colour over a neutral middle to the accent colour."""
    paint = []
    for position in np.linspace(-1, 1, n_options):
        strength = round(0.2 + 0.75 * abs(float(position)), 3)
        colour = d.MUTED if abs(position) < 1e-9 else (d.ACCENT if position > 0 else d.CONTRAST)
        paint.append((colour, 0.22 if abs(position) < 1e-9 else strength))
    return paint


def responses(
    cube: xr.Dataset, value: int, country: int, *, personas: Sequence[int] | np.ndarray, width: int = 350
) -> alt.LayerChart:
    """Draw the responses of one value in one country as stacked bars, one bar per persona.

    Parameters
    ----------
    cube : xarray.Dataset
    value, country : int
        Positions.
    personas : sequence of int
        Positions of the personas, one row each.
    width : int
        Pixels.
    """
    names = words.Names(cube)
    left, right = d.label_width([names.personas[p] for p in personas], 158), 40
    paint = option_paint(int(cube["n_options"].values[value]))
    part = cube.isel(value=value, country=country)
    segments: d.Rows = []
    labels: d.Rows = []
    counts: d.Rows = []
    for y, persona in enumerate(personas):
        share = part["response"].values[persona]
        n = int(part["n"].values[persona])
        labels.append({"y": y + 0.5, "label": words.shorten(names.personas[persona], (left - 10) / d.SIZE)})
        counts.append({"y": y + 0.5, "label": f"{n:,}"})
        if not n:
            continue
        edges = np.concatenate([[0.0], np.cumsum(share[: len(paint)])])
        for (colour, opacity), low, high in zip(paint, edges[:-1], edges[1:], strict=True):
            percent = f"{100 * (high - low):.0f}"
            fits = (high - low) * (width - left - right) >= 18
            segment: dict[str, Any] = {
                "x": float(low),
                "x2": float(high),
                "top": y + 0.08,
                "bottom": y + 0.92,
                "y": y + 0.5,
            }
            segment |= {"fill": colour, "opacity": opacity, "middle": float(low + high) / 2}
            segment |= {"label": percent if fits else "", "colour": d.ON_COLOUR if opacity > 0.62 else d.INK}
            segments.append(segment)
    n_rows = len(labels)
    x = alt.X("x:Q").scale(domain=[0, 1], nice=False).axis(None)
    bars = (
        alt.Chart(d.data(segments))
        .mark_rect(stroke=d.PAPER, strokeWidth=1)
        .encode(
            x=x,
            x2=alt.X2("x2:Q"),
            y=d.y(n_rows, "top"),
            y2=alt.Y2("bottom:Q"),
            fill=alt.Fill("fill:N", scale=None),
            fillOpacity=alt.FillOpacity("opacity:Q", scale=None),
        )
    )
    percents = (
        alt.Chart(d.data([s for s in segments if s["label"]]))
        .mark_text(fontSize=10, baseline="middle")
        .encode(
            x=alt.X("middle:Q").axis(None),
            y=d.y(n_rows),
            text=alt.Text("label:N"),
            color=alt.Color("colour:N", scale=None),
        )
    )
    layers = [
        bars,
        percents,
        d.text(labels, n_rows, 0, -8, align="right", color=d.INK),
        d.text(counts, n_rows, "width", right - 2, align="right", color=d.MUTED),
    ]
    return d.finish(alt.layer(*layers), width, n_rows * d.ROW, left, right, top=2, bottom=2)


def versus_points(human: xr.Dataset, model: xr.Dataset, limit: int) -> tuple[d.Rows, int]:
    """Pair model with human effects over every edge that both have.

    Returns
    -------
    points : list of dict
        effect, low, high (people), model, sure (q below 0.05); at most `limit`, those of the smallest standard error.
    n_pairs : int
        How many pairs there are.
    """
    human, model = xr.align(human, model, join="inner", exclude=("option", "bound"))
    there = cells.scored(human) & np.isfinite(model["effect"].values)
    se = human["effect_se"].values[there]
    keep = np.argsort(se, kind="stable")[:limit]
    interval = human["effect_interval"].values[there]
    columns = [
        human["effect"].values[there],
        interval[:, 0],
        interval[:, 1],
        model["effect"].values[there],
        human["q_value"].values[there] < d.Q,
    ]
    names = ("effect", "low", "high", "model", "sure")
    points = [dict(zip(names, row, strict=True)) for row in zip(*(c[keep].tolist() for c in columns), strict=True)]
    return points, len(se)


def versus(points: d.Rows, *, slope: float | None, domain: d.Domain, width: int = 480) -> alt.LayerChart:
    """Draw model effects against people's, with people's intervals, the diagonal, and the corrected slope.

    Parameters
    ----------
    points : list of dict
        From `versus_points`.
    slope : float or None
        Slope through the origin, corrected for sampling error.
    domain : tuple of float
        Range of both axes.
    width : int
        Pixels; the chart is square but for its margins.
    """
    low, high = domain
    left, right, top, bottom = 46, 14, 26, 40
    side = width - left - right
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    dense = len(points) > 400
    shown = [
        {
            **point,
            "low": max(point["low"], low),
            "high": min(point["high"], high),
            "colour": d.ACCENT if point["sure"] else d.MUTED,
            "opacity": (0.55 if point["sure"] else 0.2) if dense else (0.95 if point["sure"] else 0.5),
            "bar": (0.14 if point["sure"] else 0.06) if dense else (0.4 if point["sure"] else 0.2),
        }
        for point in sorted(points, key=lambda point: point["sure"])
        if low <= point["effect"] <= high and low <= point["model"] <= high
    ]
    x = alt.X("effect:Q", scale=scale).axis(labelExpr=d.SIGNED, tickCount=5, title="people's effect")
    y = alt.Y("model:Q", scale=scale).axis(
        labelExpr=d.SIGNED,
        tickCount=5,
        title="model's effect",
        titleAngle=0,
        titleAlign="left",
        titleBaseline="bottom",
        titleX=-left,
        titleY=-8,
    )
    lines = [alt.Chart(d.data([{"effect": 0.0}])).mark_rule(color=d.LINE).encode(x=alt.X("effect:Q", scale=scale))]
    lines += [alt.Chart(d.data([{"model": 0.0}])).mark_rule(color=d.LINE).encode(y=alt.Y("model:Q", scale=scale))]
    diagonal = [{"effect": end, "model": end} for end in (low, high)]
    lines += [alt.Chart(d.data(diagonal)).mark_line(color=d.INK, strokeDash=[4, 3], strokeWidth=1).encode(x=x, y=y)]
    if slope is not None:
        ends = [{"effect": end, "model": slope * end} for end in _slope_ends(slope, low, high)]
        lines += [alt.Chart(d.data(ends)).mark_line(color=d.CONTRAST, strokeWidth=2.25).encode(x=x, y=y)]
    bars = (
        alt.Chart(d.data(shown))
        .mark_rule(strokeWidth=1)
        .encode(
            x=alt.X("low:Q", scale=scale),
            x2=alt.X2("high:Q"),
            y=y,
            stroke=alt.Stroke("colour:N", scale=None),
            strokeOpacity=alt.StrokeOpacity("bar:Q", scale=None),
        )
    )
    dots = (
        alt.Chart(d.data(shown))
        .mark_point(size=22 if dense else 36, filled=True, strokeWidth=0)
        .encode(x=x, y=y, color=alt.Color("colour:N", scale=None), opacity=alt.Opacity("opacity:Q", scale=None))
    )
    return d.finish(alt.layer(lines[0], lines[1], bars, dots, *lines[2:]), width, side, left, right, top, bottom)


def _slope_ends(slope: float, low: float, high: float) -> tuple[float, float]:
    """Cut the slope's line to the square."""
    if slope == 0:
        return low, high
    left, right = sorted((low / slope, high / slope))
    return max(low, left), min(high, right)
