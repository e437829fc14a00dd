"""Skill before and after: of every group of cells, on levels and on effects; and equity, how far groups are apart."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from acecausal.comparison.compare import compare, shared
from acecausal.report import drawing as d
from acecausal.report import parts, tables, words

Comparisons = Mapping[str, Mapping[str, Any]]
#: Groups that are drawn, in the order of the page, with what their keys are; values are left to the table.
KINDS = {
    "held_out": "In training or held out",
    "granularity": "By number of attributes of a persona",
    "region": "By region",
    "country": "By country",
    "attribute": "By attribute",
}
_KEYS = {"held_out": "held out", "trained": "in training"}
_LOWEST = -2.0


def table(comparisons: Comparisons) -> pd.DataFrame:
    """List skills: by, key, part (level or effect), model, skill, distance, null, ceiling, slope, cells."""
    made = [
        {
            **{"by": group["by"], "key": str(group["key"]), "part": part, "model": label},
            **{name: group[part][name] for name in ("skill", "distance", "null", "ceiling")},
            "slope": group[part].get("slope"),
            "cells": group[part]["cells"],
        }
        for label, result in comparisons.items()
        for group in result["groups"]
        for part in ("level", "effect")
    ]
    columns = ["by", "key", "part", "model", "skill", "distance", "null", "ceiling", "slope", "cells"]
    frame = pd.DataFrame(made, columns=columns)
    return frame.astype(dict.fromkeys(columns[4:9], float))


@cache
def chart(width: int, left: int, models: tuple[str, ...], title: str) -> d.Spec:
    """Draw the skills of models (labels; fields m0, m1, ...), a row per group; lines at null (0) and ceiling (1)."""
    right = 16
    scale = alt.Scale(domain=[_LOWEST - 0.15, 1.15], nice=False, zero=False)
    axis = alt.Axis(values=[-2, -1, 0, 1], format="~f", title=title)
    data = d.base().transform_calculate(
        **{f"s{i}": f"isValid(datum.m{i}) ? clamp(datum.m{i}, {_LOWEST}, 1.15) : null" for i in range(len(models))}
    )
    tip = d.tooltip(("label", "group"), *d.model_tip(models))
    lines = [d.line(0, color=d.INK), d.line(1, color=d.MUTED, strokeDash=[4, 3])]
    ways = [
        data.transform_filter(f"isValid(datum.m{i}) && isValid(datum.m{i + 1})")
        .mark_rule(color=d.CONTRAST, opacity=0.45, strokeWidth=1.5)
        .encode(x=alt.X(f"s{i}:Q", scale=scale, axis=axis), x2=f"s{i + 1}:Q", y=d.y())
        for i in range(len(models) - 1)
    ]
    marks = d.marks(data, models, lambda field: alt.X(field, scale=scale, axis=axis), tip, at="s")
    layers = [*lines, *ways, *marks, d.text(0, -10, "label", align="right", limit=left - 12, color=d.INK)]
    return d.finish(alt.layer(*layers), width, alt.Step(d.ROW), (left, right, 4, 38))


def figure(human: xr.Dataset, comparisons: Comparisons) -> parts.Figure:
    """Show skill by kind of group, levels and effects apart."""
    frame = table(comparisons)
    names = words.Names(human)
    shown = {
        "country": dict(zip(human["country"].values.astype(str), names.countries, strict=True)),
        "attribute": names.attributes,
        "held_out": _KEYS,
    }
    panels = []
    for by, what in KINDS.items():
        keys = list(dict.fromkeys(frame.loc[frame["by"] == by, "key"]))[:24]
        if len(keys) < 2:
            continue
        labels = [words.clean(shown.get(by, {}).get(key, key)) for key in keys]
        left = d.label_width(labels, 130)
        for part, title in (("level", "skill on levels"), ("effect", "skill on effects")):
            here = frame[(frame["by"] == by) & (frame["part"] == part)]
            rows = []
            for y, (key, label) in enumerate(zip(keys, labels, strict=True)):
                row: d.Row = {"y": y, "label": label}
                for i, model in enumerate(comparisons):
                    found = here.loc[(here["key"] == key) & (here["model"] == model), "skill"]
                    row[f"m{i}"] = float(found.iloc[0]) if len(found) else None
                rows.append(row)
            alt_text = f"{what}: {title} of {words.join(words.clean(m) for m in comparisons)}. See the table below."
            drawn = d.fill(chart(d.PANEL, left, tuple(comparisons), title), rows=rows)
            panels.append(parts.Panel(what, alt_text, drawn))
    legend: list[parts.Key] = [
        *parts.model_legend(comparisons),
        ("line", "ink", 1.0, "0: no better than the null"),
        ("dash", "muted", 1.0, "1: as good as the survey's noise allows"),
    ]
    caption = (
        "Skill is 1 − (distance − ceiling) / (null − ceiling). The null of levels is the country's average answer, "
        f"that of effects no effect at all. Skills below {words.plain(_LOWEST, 0)} stand at the left edge; where "
        "nothing is drawn the data cannot tell, or a model was not trained."
    )
    return parts.Figure("Skill by group", panels, caption, legend, tables.of(frame, "skill.csv"))


def equity(human: xr.Dataset, models: d.Models, comparisons: Comparisons) -> tables.Table | None:
    """Reckon how far groups are apart, on the values that were asked in all countries only.

    Returns
    -------
    Table or None
        By model, kind of group (country, region, attribute) and part: best and worst group, the gap of their skills,
        and the standard deviation over groups; None if no value was asked everywhere, or no kind has two groups.
    """
    made = []
    for label, model in models.items():
        people, other = shared(human, model)
        asked = (people["n"].values[:, :, 0] > 0).all(axis=0)
        if not asked.any():
            continue
        fair = compare(people.isel(value=asked), other.isel(value=asked)) if not asked.all() else comparisons[label]
        groups = fair["groups"]
        for by in ("region", "country", "attribute"):
            for part, what in (("level", "levels"), ("effect", "effects")):
                skill = {g["key"]: g[part]["skill"] for g in groups if g["by"] == by and g[part]["skill"] is not None}
                if len(skill) < 2:
                    continue
                best, worst = max(skill, key=lambda k: skill[k]), min(skill, key=lambda k: skill[k])
                numbers = {"best skill": skill[best], "worst skill": skill[worst], "gap": skill[best] - skill[worst]}
                spread = {
                    "sd": float(np.std(list(skill.values()), ddof=1)),
                    "groups": len(skill),
                    "values": int(asked.sum()),
                }
                words_of = {"model": label, "by": by, "skill on": what, "best": best, "worst": worst}
                made.append(words_of | numbers | spread)
    return tables.of(pd.DataFrame(made), "equity.csv") if made else None
