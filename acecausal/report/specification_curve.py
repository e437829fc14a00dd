"""The picture of a specification curve: effects in order, and below each how it was estimated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import xarray as xr

from acecausal.cube import schema
from acecausal.errors import AceError
from acecausal.report import drawing as d
from acecausal.report import svg, words

ASSOCIATION = "association"
#: Cells that one picture shows, at most.
CELLS = 6
PARTS = (("adjustment", "held fixed"), ("estimator", "estimator"), ("weights", "weights"))
WIDTH, HEIGHT, ROW = 620, 170, 16


def draw(curve: xr.Dataset) -> alt.VConcatChart:
    """Draw every cell of a curve, one below the other.

    Parameters
    ----------
    curve : xarray.Dataset
        From `acecausal.estimation.specification.specify`, or a selection that keeps its dimensions.

    Raises
    ------
    AceError
        If it has more than six cells (country, contrast, value) with an effect, or none.
    """
    there = np.isfinite(curve["effect"].values) & (curve["status"].values == schema.OK)
    cells = np.argwhere(there.any(axis=0))
    if not 0 < len(cells) <= CELLS:
        raise AceError(
            "cannot be drawn", param="picture", expected=f"1 to {CELLS} cells (country, contrast, value)",
            got=len(cells), hint="choose some with attributes, values and countries",
        )  # fmt: skip
    whole = alt.vconcat(*(_cell(curve, *cell) for cell in cells.tolist()), spacing=28).configure(font=d.FONTS)
    return alt.VConcatChart.from_dict(d.on_white(whole.to_dict()))


def write(curve: xr.Dataset, path: Path, suffix: str) -> None:
    """Write the picture to a file, as .svg or .png."""
    said = f"Effects in {curve.sizes['specification']} specifications, in order, and how each was estimated"
    svg.write(draw(curve).to_dict(), said, path, suffix)


def _cell(curve: xr.Dataset, country: int, attribute: int, value: int) -> alt.VConcatChart:
    part = curve.isel(country=country, attribute=attribute, value=value)
    effect = np.where(part["status"].values == schema.OK, part["effect"].values, np.nan)
    order = [int(i) for i in np.argsort(effect, kind="stable") if np.isfinite(effect[i])]
    level = 1 - float(curve.attrs["confidence"])
    rows: list[dict[str, Any]] = []
    choices: list[dict[str, Any]] = []
    for rank, s in enumerate(order):
        low, high = part["effect_interval"].values[s].tolist()
        sure = bool(part["p_value"].values[s] < level)
        rows.append({"at": rank, "estimate": float(effect[s]), "low": low, "high": high, "sure": sure})
        choices += [
            {"at": rank, "choice": f"{title}: {_choice(part, name, s)}", "sure": sure}
            for name, title in PARTS
            if name == "adjustment" or len({*curve[name].values.tolist()} - {ASSOCIATION}) > 1
        ]
    label = f"{part['attribute'].item()}, against {part['baseline'].item()}: {part['country_label'].item()}"
    title = alt.TitleParams(
        [words.clean(label), *words.wrap(words.clean(part["question"].item()), 95, 2)],
        anchor="start", fontSize=12, fontWeight="normal", frame="group",
    )  # fmt: skip
    x = alt.X("at:O").axis(None)
    colour = alt.condition("datum.sure", alt.value(d.ACCENT), alt.value(d.MUTED))
    numbers = alt.Chart(alt.Data(values=rows)).properties(width=WIDTH, height=HEIGHT, title=title)
    axis = alt.Y("low:Q").title("effect on the score (0..1)").axis(labelExpr=d.SIGNED, gridColor=d.LINE)
    zero = alt.Chart(alt.Data(values=[{}])).mark_rule(color=d.INK).encode(y=alt.datum(0))
    upper = alt.layer(
        zero,
        numbers.mark_rule(strokeWidth=2).encode(x=x, y=axis, y2="high:Q", color=colour),
        numbers.mark_point(size=46, filled=True, opacity=1).encode(x=x, y=alt.Y("estimate:Q"), color=colour),
    )
    listed = list(dict.fromkeys(one["choice"] for one in sorted(choices, key=lambda one: one["choice"])))
    lower = (
        alt.Chart(alt.Data(values=choices))
        .mark_point(size=36, filled=True, shape="square", opacity=1)
        .encode(
            x=x,
            y=alt.Y("choice:N").sort(listed).title(None).axis(labelLimit=260, grid=True, gridColor=d.LINE),
            color=colour,
        )
        .properties(width=WIDTH, height=ROW * len(listed))
    )
    return alt.vconcat(upper, lower, spacing=4).resolve_scale(x="shared")


def _choice(part: xr.Dataset, name: str, specification: int) -> str:
    text = str(part[name].values[specification])
    return "nothing" if text == ASSOCIATION else words.clean(text)
