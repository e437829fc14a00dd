"""What all pictures share: colours, sizes, and the parts that charts are put together from.

Every chart has a fixed width in pixels (a phone's or a desk's), text of 11 px, and colours that are CSS variables with
a fallback, so that the page decides about light and dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import altair as alt
import pandas as pd
import xarray as xr

from acecausal.report import words

INK = "var(--ink, #1c1d1f)"
MUTED = "var(--muted, #6b6f76)"
LINE = "var(--line, #dcdcd8)"
ACCENT = "var(--accent, #1f5fa8)"
CONTRAST = "var(--contrast, #c0512b)"
ON_COLOUR = "var(--on-colour, #ffffff)"
PAPER = "var(--paper, #ffffff)"

#: Effects with a q-value below this are drawn as more than noise.
Q = 0.05
ROW = 19
SIZE = 11
SIGNED = "datum.value == 0 ? '0' : format(datum.value, '+.2~f')"

Rows = list[dict[str, Any]]
Models = Mapping[str, xr.Dataset]
Domain = tuple[float, float]


def label_width(labels: Sequence[str], most: int) -> int:
    """Reserve pixels for the row labels."""
    longest = max((words.width_of(label) for label in labels), default=0.0)
    return int(min(max(longest * SIZE + 16, 60), most))


def data(rows: Rows) -> pd.DataFrame:
    """Put rows where Altair takes them without copying them at every step."""
    return pd.DataFrame(rows)


def y(n_rows: int, field: str = "y") -> alt.Y:
    """Place rows from the top, one unit each."""
    return alt.Y(f"{field}:Q").scale(domain=[0, n_rows], reverse=True, nice=False, zero=False).axis(None)


def text(
    rows: Rows,
    n_rows: int,
    x: float | str,
    dx: float,
    *,
    field: str = "label",
    align: Literal["left", "right"] = "left",
    **style: Any,
) -> alt.Chart:
    """Write one text per row, at a place counted in pixels from the plot's left or right edge."""
    mark = alt.Chart(data(rows)).mark_text(fontSize=SIZE, baseline="middle", align=align, dx=dx, clip=False, **style)
    return mark.encode(x=alt.XValue(x), y=y(n_rows), text=alt.Text(f"{field}:N"))


def finish(
    chart: alt.LayerChart | alt.FacetChart, width: int, height: int, left: int, right: int, top: int, bottom: int
) -> alt.LayerChart:
    """Fix the sizes and the look that all pictures share."""
    axis = {"labelFontSize": SIZE, "titleFontSize": SIZE, "titleFontWeight": "normal", "titlePadding": 6}
    colours = {"labelColor": MUTED, "titleColor": MUTED, "gridColor": LINE, "tickColor": LINE, "domain": False}
    return (
        chart.properties(
            width=width - left - right,
            height=height,
            padding={"left": left, "right": right, "top": top, "bottom": bottom},
            autosize=alt.AutoSizeParams(type="none"),
        )
        .configure(aria=False, background="transparent", font="Arial")
        .configure_view(stroke=None)
        .configure_axis(**axis, **colours)
    )
