"""The picture of a transfer matrix: how good a model is on each group, by what it was given of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import xarray as xr

from acecausal.report import drawing as d
from acecausal.report import svg, words

PARTS = {"effect": "Effect skill", "level": "Level skill"}
#: Pixels of a cell, and of column heads, which are set aslant.
STEP, ROW, HEAD = 46, 22, 86


def draw(matrix: xr.Dataset) -> alt.HConcatChart:
    """Draw effect skill, and level skill beside it: a row for each model, a column for each group asked about.

    Parameters
    ----------
    matrix : xarray.Dataset
        ``effect_skill``, ``level_skill`` and ``own`` (row, asked); see `align.training.transfer.transfer`. Framed cells
        are a model's own group.
    """
    charts = [_panel(matrix, part, title, labels=not number) for number, (part, title) in enumerate(PARTS.items())]
    whole = alt.hconcat(*charts, spacing=36).configure(font=d.FONTS).configure_view(stroke=None)
    return alt.HConcatChart.from_dict(d.on_white(whole.to_dict()))


def write(matrix: xr.Dataset, path: Path, suffix: str) -> None:
    """Write the picture to a file, as .svg or .png."""
    said = (
        f"Effect skill and level skill by {matrix.attrs['over']}: models in rows, groups asked about in columns, a "
        "model's own group framed"
    )
    svg.write(draw(matrix).to_dict(), said, path, suffix)


def rows(matrix: xr.Dataset, part: str) -> d.Rows:
    """Give a row per cell: its place, its labels, its skill."""
    skill, own = matrix[f"{part}_skill"].values, matrix["own"].values
    labels, heads = ([words.clean(str(label)) for label in matrix[dim].values] for dim in ("row", "asked"))
    return [
        d.plain({"x": x, "y": y, "row": labels[y], "asked": heads[x], "skill": skill[y, x], "own": bool(own[y, x])})
        for y, x in np.ndindex(skill.shape)
    ]


def _panel(matrix: xr.Dataset, part: str, title: str, *, labels: bool) -> alt.LayerChart | alt.FacetChart:
    made = rows(matrix, part)
    width, height = STEP * matrix.sizes["asked"], ROW * matrix.sizes["row"]
    data = alt.Chart(alt.Data(values=made)).transform_calculate(
        strength="isValid(datum.skill) ? 0.06 + 0.84 * min(abs(datum.skill), 1) : 0",
        ink=f"isValid(datum.skill) && abs(datum.skill) > 0.7 ? '{d.ON_COLOUR}' : '{d.INK}'",
        number="isValid(datum.skill) ? format(datum.skill, abs(datum.skill) < 100 ? '.2f' : '.0f') : '-'",
    )
    x = alt.X("x:O").axis(None).scale(paddingInner=0.06, paddingOuter=0.03)
    y = alt.Y("y:O").axis(None).scale(paddingInner=0.08, paddingOuter=0.04)
    layers: list[alt.Chart] = [
        data.mark_rect(cornerRadius=2).encode(
            x=x, y=y,
            fill=alt.condition("datum.skill > 0", alt.value(d.ACCENT), alt.value(d.CONTRAST)),
            fillOpacity=alt.FillOpacity("strength:Q", scale=None),
        ),
        data.transform_filter("datum.own").mark_rect(cornerRadius=2, filled=False, strokeWidth=2).encode(
            x=x, y=y, stroke=alt.value(d.INK)
        ),
        data.mark_text(fontSize=d.SIZE, baseline="middle").encode(
            x=x, y=y, text="number:N", color=alt.Color("ink:N", scale=None)
        ),
        data.transform_filter("datum.y == 0")
        .mark_text(fontSize=d.SIZE, angle=300, align="left", baseline="middle", limit=HEAD, color=d.INK)
        .encode(x=x, y=alt.YValue(-6), text="asked:N"),
    ]  # fmt: skip
    if labels:
        mark: dict[str, Any] = {"fontSize": d.SIZE, "baseline": "middle", "align": "right", "dx": -8, "limit": 210}
        layers.append(
            data.transform_filter("datum.x == 0").mark_text(**mark, color=d.INK).encode(
                x=alt.XValue(0), y=y, text="row:N"
            )
        )  # fmt: skip
    head = alt.TitleParams(
        title, subtitle="asked about", anchor="start", fontSize=12, subtitleFontSize=d.SIZE, frame="group", offset=10,
    )  # fmt: skip
    return alt.layer(*layers).properties(width=width, height=height, title=head)
