"""Heat maps: effects by country and question, a panel per contrast; or by country and contrast for one question."""

from __future__ import annotations

from functools import cache
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from acecausal.report import cells, facts, parts, tables, words
from acecausal.report import drawing as d

VALUES, COUNTRIES, CONTRASTS = 30, 30, 9
_TIP = (
    *(("country_label", "country"), ("contrast_label", "contrast"), ("question", "question")),
    *d.EFFECT_TIP[3:],
)


def rows(frame: pd.DataFrame, names: words.Names, cube: xr.Dataset, *, across: str) -> d.Rows:
    """Lay effects out in rows and columns.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `facts.effects`.
    names : words.Names
    cube : xarray.Dataset
        The cube the frame is from.
    across : {'country', 'contrast'}
        What the columns are; the rows are values, or countries where there are several.
    """
    labels = {
        "country": dict(zip(cube["country"].values.astype(str), names.countries, strict=True)),
        "value": dict(zip(cube["value"].values.astype(str), names.short, strict=True)),
        "contrast": {
            str(label): [names.attribute(a), treated, f"vs {baseline}"]
            for a, (label, (treated, baseline)) in enumerate(
                zip(cube["attribute"].values, names.contrasts, strict=True)
            )
        },
    }
    down = "value" if across == "country" or cube.sizes["country"] == 1 else "country"
    places = {dim: {key: i for i, key in enumerate(dict.fromkeys(frame[dim]))} for dim in (across, down)}
    return [
        row
        | {"x": places[across][row[across]], "y": places[down][row[down]]}
        | {"label": labels[down][row[down]], "head": labels[across][row[across]]}
        | {"sign": "" if row["status"] == "ok" else words.STATUS_TEXT[row["status"]][1]}
        for row in names.labelled(frame).to_dict("records")
    ]


@cache
def chart(n_columns: int, largest: float, left: int, width: int, *, lines: int = 0) -> d.Spec:
    """Draw a heat map.

    Parameters
    ----------
    n_columns : int
    largest : float
        Absolute effect that gets the full colour.
    left, width : int
        Pixels of the row labels and of the whole; many columns make it wider.
    lines : int
        Lines of the column heads; 0 sets them aslant.
    """
    aslant = not lines
    right = 44 if aslant else 8
    step = min(max((width - left - right) / n_columns, 20 if aslant else 52), 46 if aslant else 120)
    scaled = f"min(abs(datum.estimate) / {max(largest, 1e-9)}, 1)"
    data = d.base().transform_calculate(
        opacity=f"{d.SURE} ? 0.25 + 0.7 * {scaled} : 0.03 + 0.2 * {scaled}",
        ink=f"{d.SURE} ? ({scaled} > 0.53 ? '{d.ON_COLOUR}' : '{d.INK}') : '{d.MUTED}'",
        number=f"{d.THERE} ? format(datum.estimate, '+.2f') : datum.sign",
    )
    x = alt.X("x:O").axis(None).scale(paddingInner=0.08, paddingOuter=0.04)
    y = alt.Y("y:O").axis(None).scale(paddingInner=0.08, paddingOuter=0.04)
    there = data.transform_filter(d.THERE)
    tip = d.tooltip(*_TIP)
    squares = there.mark_rect(cornerRadius=2).encode(
        x=x,
        y=y,
        fill=alt.condition("datum.estimate > 0", alt.value(d.ACCENT), alt.value(d.CONTRAST)),
        fillOpacity=alt.FillOpacity("opacity:Q", scale=None),
        tooltip=tip,
    )
    empty = data.transform_filter(f"!{d.THERE}").mark_rect(cornerRadius=2, fill=d.SOFT).encode(x=x, y=y, tooltip=tip)
    shown = data if step >= 40 else data.transform_filter(f"!{d.THERE}")
    numbers = shown.mark_text(fontSize=d.SIZE, baseline="middle").encode(
        x=x,
        y=y,
        text="number:N",
        color=alt.Color("ink:N", scale=None),
    )
    heads = data.transform_filter("datum.y == 0")
    if aslant:
        head = heads.mark_text(fontSize=d.SIZE, angle=300, align="left", baseline="middle", limit=86, color=d.INK)
    else:
        style: dict[str, Any] = {
            "fontSize": d.SIZE,
            "baseline": "bottom",
            "lineHeight": 13,
            "dy": -13 * (lines - 1),
            "limit": step - 4,
        }
        head = heads.mark_text(**style, color=d.INK)
    labels = data.transform_filter("datum.x == 0").mark_text(
        fontSize=d.SIZE, baseline="middle", align="right", dx=-8, limit=left - 10, clip=False, color=d.INK
    )
    layers = [
        squares,
        empty,
        numbers,
        head.encode(x=x, y=alt.YValue(-5), text="head:N"),
        labels.encode(x=alt.XValue(0), y=y, text="label:N"),
    ]
    total = int(left + right + step * n_columns)
    return d.finish(alt.layer(*layers), total, alt.Step(d.ROW + 3), (left, right, 78 if aslant else 13 * lines + 10, 4))


def figure(cube: xr.Dataset, values: np.ndarray) -> tuple[str, parts.Figure]:
    """Show the effects on everybody at a glance; what is left out in words, and the figure.

    A panel per contrast with values by countries; of one value or one country a single panel, contrasts across.
    """
    names = words.Names(cube)
    part = cells.everyone(cube)
    everyone = cells.context_all(cube)
    effect = np.abs(part["effect"].values[cells.scored(part)])
    largest = float(np.quantile(effect, 0.98)) if effect.size else 0.0
    contrasts = cells.top(cube, "attribute", CONTRASTS)
    countries = cells.top(cube, "country", COUNTRIES)
    frame = facts.effects(cube, country=countries, attribute=contrasts, value=values, persona=everyone)
    one_country = cube.sizes["country"] == 1
    if len(values) == 1 or one_country:
        made = rows(frame, names, cube, across="contrast")
        lines = max(len(row["head"]) for row in made)
        labels = [names.short[v] for v in values] if one_country else [names.countries[c] for c in countries]
        down = "questions" if one_country else "countries"
        panels = [
            parts.both(
                "",
                lambda width: d.fill(
                    chart(len(contrasts), largest, d.side(labels, width), width, lines=lines), rows=made
                ),
                _ALT.format(f"{down} in rows, contrasts in columns"),
                broad=True,
            )
        ]
    else:
        panels = []
        for a in contrasts:
            title = names.contrast(int(a))
            made = rows(frame[frame["contrast"] == str(cube["attribute"].values[a])], names, cube, across="country")
            picture = d.fill(chart(len(countries), largest, 190, d.PANEL), rows=made)
            alt_text = f"{title}. " + _ALT.format("questions in rows, countries in columns")
            panels.append(parts.Panel(title, alt_text, picture, broad=True))
    caption = "Effects on everybody's mean score (0..1). Pale: noise can explain it; a sign: not estimated."
    intro = parts.limits(
        (len(values), int((~cells.nominal(cube)).sum()), "value", "values with a score"),
        (len(countries), cube.sizes["country"], "country", "countries"),
        (len(contrasts), cube.sizes["attribute"], "contrast", "contrasts"),
    )
    legend = _legend(cells.reasons(part)[:, :, values], largest)
    title = names.questions[values[0]] if len(values) == 1 and not one_country else ""
    return intro, parts.Figure(title, panels, caption, legend, tables.of(frame, "effects-at-a-glance.csv"))


_ALT = "Heat map of effects among everyone: {}. The numbers are in the table below."


def _legend(reasons: np.ndarray, largest: float) -> list[parts.Key]:
    legend: list[parts.Key] = []
    if (reasons == "ok").any():
        legend += [
            ("square", "accent", 0.95, f"{words.signed(largest)} or more"),
            ("square", "contrast", 0.95, f"{words.signed(-largest)} or less"),
            ("square", "accent", 0.15, f"pale: q ≥ {d.Q}"),
        ]
    signs = [(sign, sense) for kind, (sense, sign) in words.STATUS_TEXT.items() if (reasons == kind).any()]
    return legend + [("sign", sign, 1.0, sense) for sign, sense in signs]
