"""Forest plots: one effect country by country, or one country's effects question by question."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from acecausal.comparison import heeding
from acecausal.comparison.pooling import pooled
from acecausal.report import cells, facts, parts, tables, words
from acecausal.report import drawing as d

VALUES, COUNTRIES, CONTRASTS = 4, 16, 6
#: Rows, and panels, of the pictures of one contrast on many questions.
QUESTIONS, PANELS = 14, 6


def rows(
    frame: pd.DataFrame, labels: Sequence[str], total: xr.Dataset | None = None, models: d.Models | None = None
) -> d.Rows:
    """Lay effects out, one row each, and the pooled effect below them.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `facts.effects`.
    labels : sequence of str
        What stands beside each row.
    total : xarray.Dataset, optional
        One cell of `pooling.pooled`; left out where fewer than two countries have an estimate.
    models : mapping of str to xarray.Dataset, optional
        Whose effects the frame holds: where one does not heed the attribute, `u0`, `u1`, ... says so.

    Returns
    -------
    list of dict
        The frame's columns, `y`, `label`, `kind` (``one`` or ``pooled``), and `why` where there is no estimate.
    """
    made = []
    ignored = [heeding.unheeded(model) for model in (models or {}).values()]
    for i, (label, row) in enumerate(zip(labels, frame.to_dict("records"), strict=True)):
        heed = {f"u{m}": row["contrast"] in contrasts for m, contrasts in enumerate(ignored)}
        made.append({**row, **heed, "y": i, "label": label, "kind": "one", "why": words.why(row["status"])})
    if total is not None and np.isfinite(total["effect"].item()) and int(total["k"]) > 1:
        names = {"estimate": "effect", "conf_low": "lower", "conf_high": "upper"}
        numbers = {name: total[of].item() for name, of in names.items()}
        ends = {"further_low": total["prediction_lower"].item(), "further_high": total["prediction_upper"].item()}
        spread = f"I² {100 * total['i2'].item():.0f} %, tau {words.plain(total['tau2'].item() ** 0.5, 3)}"
        made.append(
            {**numbers, **ends, "y": len(made), "label": "pooled", "kind": "pooled", "why": "", "spread": spread}
        )
    return made


@cache
def chart(
    width: int,
    left: int,
    models: tuple[str, ...] = (),
    domain: tuple[float, float] | None = None,
    axis_title: str = "effect on the score (0..1)",
) -> d.Spec:
    """Draw points with intervals, the pooled effect's diamond, and models' diamonds.

    Parameters
    ----------
    width, left : int
        Pixels of the whole, and of the labels at the left; above 500 the numbers are written out at the right.
    models : tuple of str
        Labels of the models, whose effects are the fields m0, m1, ...
    domain : tuple of float, optional
        Range of the axis, so that charts side by side can be compared; by default that of the rows.
    axis_title : str

    Notes
    -----
    By default the axis holds all intervals and 0, but none is drawn further out than three times the largest effect.
    """
    wide = width > 500
    right = 170 if wide else 50
    ends = {f"{name}_drawn": name for name in ("conf_low", "conf_high", "further_low", "further_high")}
    lowest, highest = domain or ("-3 * datum.reach", "3 * datum.reach")
    largest = " , ".join(["abs(datum.estimate)", *(f"abs(datum.m{i})" for i in range(len(models)))])
    everything = (
        d.base()
        .transform_calculate(size=f"max(0.01, {largest})")
        .transform_joinaggregate(reach="max(size)")
        .transform_calculate(
            **{drawn: f"clamp(datum.{name}, {lowest}, {highest})" for drawn, name in ends.items()},
            numbers=(
                f"{d.THERE} ? format(datum.estimate, '+.2f')"
                + (
                    " + '  [' + format(datum.conf_low, '+.2f') + ', ' + format(datum.conf_high, '+.2f') + ']'"
                    if wide
                    else ""
                )
                + " : ''"
            ),
        )
    )
    there, own = everything.transform_filter(d.THERE), everything.transform_filter(f"{d.THERE} && datum.kind == 'one'")
    total = everything.transform_filter("datum.kind == 'pooled'")
    scale: dict[str, Any] = {"nice": False, "zero": True, "padding": 8}
    scale |= {"domain": list(domain)} if domain else {}
    x = alt.X("estimate:Q").scale(**scale)
    axis = x.axis(labelExpr=d.SIGNED, labelOverlap=True, tickCount=5 if wide else 3, title=axis_title)
    colour = alt.condition(d.SURE, alt.value(d.ACCENT), alt.value(d.MUTED))
    tip = d.tooltip(*d.EFFECT_TIP, *d.model_tip(models))
    unsaid = everything.transform_filter("datum.why != ''")
    layers = [
        d.line(0, color=d.INK),
        # words in the place of an estimate do not run into the line
        unsaid.mark_rect(fill=d.PAPER).encode(x=alt.XValue(0), x2=alt.XValue("width"), y=d.y()),
        own.mark_rule(strokeWidth=2.25, strokeCap="round").encode(
            x=alt.X("conf_low_drawn:Q"), x2="conf_high_drawn:Q", y=d.y(), stroke=colour, tooltip=tip
        ),
        own.mark_point(size=52, opacity=1, strokeWidth=1.75).encode(
            x=axis,
            y=d.y(),
            fill=alt.condition(d.SURE, alt.value(d.ACCENT), alt.value(d.PAPER)),
            stroke=colour,
            tooltip=tip,
        ),
        total.transform_filter("isValid(datum.further_low)")
        .mark_rule(strokeWidth=1.25, strokeDash=[4, 3], color=d.ACCENT)
        .encode(x=alt.X("further_low_drawn:Q"), x2="further_high_drawn:Q", y=d.y()),
        total.transform_fold(["conf_low_drawn", "estimate", "conf_high_drawn"], as_=["corner", "at"])
        .mark_trail(color=d.ACCENT)
        .encode(
            x=alt.X("at:Q"),
            y=d.y(),
            size=alt.condition("datum.corner == 'estimate'", alt.value(12), alt.value(0.5)),
            order=alt.Order("at:Q"),
        ),
        *d.marks(own, models, alt.X, tip),
        d.text(0, -10, "label", align="right", limit=left - 12, color=d.INK),
        d.text(0, 6, "why", where="datum.why != ''", color=d.MUTED, limit=width - left - 8),
        there.mark_text(fontSize=d.SIZE, baseline="middle", align="right", dx=right, clip=False, color=d.INK).encode(
            x=alt.XValue("width"), y=d.y(), text="numbers:N"
        ),
    ]
    return d.finish(alt.layer(*layers), width, alt.Step(d.ROW), (left, right, 4, 38))


def figure(
    cube: xr.Dataset, value: int, models: d.Models, *, contrasts: np.ndarray, countries: np.ndarray
) -> parts.Figure:
    """Show the effects of one value on everybody: a panel per contrast, a row per country, pooled below."""
    names = words.Names(cube)
    everyone = cells.context_all(cube)
    labels = [names.countries[c] for c in countries]
    level = f"{100 * float(cube.attrs.get('confidence', 0.95)):g} %"
    means = pooled(cube.isel(value=[value], persona=everyone)) if cube.sizes["country"] > 1 else None
    laid, shown = [], []
    for a in contrasts:
        frame = facts.effects(cube, models, country=countries, attribute=[a], value=[value], persona=everyone)
        total = None if means is None else means.isel(attribute=int(a), value=0, persona=0)
        made = rows(names.labelled(frame), labels, total, models)
        laid.append(made)
        shown.append(frame)
        if made[-1]["kind"] == "pooled":
            names_of = {name: frame[name].iloc[0] for name in ("contrast", "value", "context")}
            mean = {name: made[-1][name] for name in ("estimate", "conf_low", "conf_high")}
            shown.append(pd.DataFrame([{"country": "pooled", **names_of, **mean, "status": made[-1]["spread"]}]))
    left = d.side([*labels, "pooled"], d.PANEL)
    drawn = chart(d.PANEL, left, tuple(models), reach(laid, len(models)))
    n = cube.sizes["country"]
    among = words.count(n, "country", "countries")
    among = f"{len(countries)} of {among}" if len(countries) < n else among
    panels = []
    for a, made in zip(contrasts, laid, strict=True):
        title = names.contrast(int(a))
        if made[-1]["kind"] == "pooled":
            title += f" ({made[-1]['spread']})"
        alt_text = (
            f"{names.contrast(int(a))}: effects on “{names.questions[value]}” among everyone, with {level} intervals, "
            f"in {among}. The numbers are in the table below."
        )
        panels.append(parts.Panel(title, alt_text, d.fill(drawn, rows=made)))
    options = names.options[value]
    caption = f"Right of zero: towards “{options[-1]}”; left: towards “{options[0]}”."
    how = (
        f"Each dot is the effect of a contrast on everybody in a country (context all), the line its {level} interval. "
        "An effect of 1 would be a move from one end of the scale to the other."
    )
    if means is not None:
        how += (
            " The flat diamond spans the interval of the mean over countries, the dashed line what to expect of a "
            "further country (cut where it goes further than the picture); I² is the share of the spread that sampling "
            "noise does not explain, tau the standard deviation of the true effects."
        )
    if len(countries) < n:
        how += (
            f" Shown: {among}, those with the strongest evidence (smallest p-value); the pooled effect is that of all. "
            "The table of all effects has the others, and report --country draws them."
        )
    listed = pd.concat(shown, ignore_index=True)
    whole = dict.fromkeys(("n_baseline", "n_treated"), "Int64")  # pooled rows have none
    numbers = tables.of(listed.astype(whole), f"effects-{value}.csv", rename=renamed(models))
    return parts.Figure(names.questions[value], panels, caption, legend(models), numbers, how=how)


def by_contrast(cube: xr.Dataset, models: d.Models, *, contrasts: np.ndarray, values: Sequence[int]) -> parts.Figure:
    """Show the effects on everybody in the only country: a panel per value, a row per contrast."""
    names = words.Names(cube)
    labels = [f"{names.attribute(int(a))}: {names.contrasts[int(a)][0]}" for a in contrasts]
    frames = [
        facts.effects(cube, models, attribute=contrasts, value=[v], persona=cells.context_all(cube)) for v in values
    ]
    laid = [rows(names.labelled(frame), labels, models=models) for frame in frames]
    width = d.PANEL if len(values) > 1 else d.DESK
    drawn = chart(width, d.label_width(labels, width // 2), tuple(models), reach(laid, len(models)))
    level = f"{100 * float(cube.attrs.get('confidence', 0.95)):g} %"
    panels = [
        parts.Panel(
            names.questions[v],
            f"Effects of {words.count(len(labels), 'contrast')} on “{names.questions[v]}” among everyone, with {level} "
            "intervals. The numbers are in the table below.",
            d.fill(drawn, rows=made),
        )
        for v, made in zip(values, laid, strict=True)
    ]
    how = (
        f"Each dot is the effect of a level, against the baseline level ({_baselines(names, contrasts)}), on everybody "
        f"(context all), the line its {level} interval. An effect of 1 would be a move from one end of the scale to "
        "the other. Right of zero is towards: "
        + "; ".join(f"“{names.options[v][-1]}” ({names.short[v]})" for v in values)
        + "."
    )
    numbers = tables.of(pd.concat(frames, ignore_index=True), "effects.csv", rename=renamed(models))
    caption = "Right of zero: towards the question's last answer; left: towards its first."
    return parts.Figure("", panels, caption, legend(models), numbers, how=how)


def _baselines(names: words.Names, contrasts: np.ndarray) -> str:
    return "; ".join(dict.fromkeys(f"{names.attribute(int(a))}: {names.contrasts[int(a)][1]}" for a in contrasts))


def by_question(
    cube: xr.Dataset, contrast: int, models: d.Models, *, values: np.ndarray, countries: np.ndarray
) -> parts.Figure:
    """Show one contrast on everybody: a panel per country, a row per value."""
    names = words.Names(cube)
    labels = [names.short[v] for v in values]
    frames = [
        facts.effects(cube, models, country=[c], attribute=[contrast], value=values, persona=cells.context_all(cube))
        for c in countries
    ]
    laid = [rows(names.labelled(frame), labels, models=models) for frame in frames]
    drawn = chart(d.PANEL, d.side(labels, d.PANEL), tuple(models), reach(laid, len(models)))
    level = f"{100 * float(cube.attrs.get('confidence', 0.95)):g} %"
    panels = [
        parts.Panel(
            names.countries[c],
            f"{names.contrast(contrast)}: effects among everyone in {names.countries[c]}, with {level} intervals, on "
            f"{words.count(len(labels), 'question')}. The numbers are in the table below.",
            d.fill(drawn, rows=made),
        )
        for c, made in zip(countries, laid, strict=True)
    ]
    caption = "Right of zero: towards the question's last answer; left: towards its first."
    how = (
        f"One contrast, question by question: each dot is its effect on everybody in a country, the line its {level} "
        "interval."
    )
    cut = parts.limits((len(panels), cube.sizes["country"], "country", "countries"))
    numbers = tables.of(pd.concat(frames, ignore_index=True), "effects-by-question.csv", rename=renamed(models))
    return parts.Figure(names.contrast(contrast), panels, caption, legend(models), numbers, how=f"{how} {cut}".strip())


def legend(models: d.Models) -> list[parts.Key]:
    """Explain filled and hollow dots, and the models' marks."""
    pale: parts.Key = ("diamond", "contrast", d.UNHEEDED, "pale: the model does not take in being told so")
    return [
        ("dot", "accent", 1.0, f"q < {d.Q}"),
        ("ring", "muted", 1.0, f"q ≥ {d.Q}: noise can explain it"),
        *parts.model_legend(models),
        *([pale] if any(heeding.unheeded(model) for model in models.values()) else []),
    ]


def reach(laid: Sequence[d.Rows], models: int) -> tuple[float, float]:
    """Find one axis for several charts: all intervals and 0, none further out than three times the largest effect."""
    everything = [row for made in laid for row in made]
    names = ["estimate", *(f"m{i}" for i in range(models))]
    points = np.array([row.get(name, np.nan) for row in everything for name in names], dtype=float)
    ends = np.array([row.get(name, np.nan) for row in everything for name in ("conf_low", "conf_high")], dtype=float)
    most = 3 * max(float(np.nanmax(np.abs(points), initial=0.0)), 0.01)
    ends = np.clip(np.concatenate([ends, points, [0.0]]), -most, most)
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    pad = 0.04 * max(high - low, 0.02)
    return low - pad, high + pad


def renamed(models: d.Models) -> dict[str, str]:
    """Name the models' columns by their labels."""
    return {f"m{i}": f"model: {label}" for i, label in enumerate(models)}
