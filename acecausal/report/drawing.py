"""What all pictures share: colours, sizes, margins, and how facts reach a chart.

A chart is a Vega-Lite specification (written with Altair), a function of sizes only. Its facts are the data set `rows`,
put in by `fill`; so the same chart is drawn into the page, shown in a notebook, and fed with other rows by the
page's script. Widths are pixels (a phone's or a desk's), text has 11 px, colours are CSS variables with a fallback, so
that the page decides about light and dark.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import xarray as xr

from acecausal.report import words

INK = "var(--ink, #1c1d1f)"
MUTED = "var(--muted, #6b6f76)"
LINE = "var(--line, #dcdcd8)"
SOFT = "var(--soft, #f0f0ec)"
ACCENT = "var(--accent, #1f5fa8)"
CONTRAST = "var(--contrast, #c0512b)"
ON_COLOUR = "var(--on-colour, #ffffff)"
PAPER = "var(--paper, #ffffff)"

DESK, PHONE, PANEL = 720, 350, 340
#: Of the marks of models but the last.
SHAPES = ("diamond", "square", "triangle-up", "triangle-down", "triangle-right")
#: What texts are measured and set in; the page's style sheet names the same.
FONTS = "Arial, Liberation Sans, DejaVu Sans, sans-serif"

#: How much wider than in the first of them a text can be in the last; static pictures are measured in the first.
WIDER = 1.15

#: Opacity of a model's mark where the model does not take in who it is told to be.
UNHEEDED = 0.35

#: Effects with a q-value below this are drawn as more than noise.
Q = 0.05
ROW = 19
SIZE = 11
#: Vega expressions: is this a row with an effect, and one that is more than noise?
THERE = "isValid(datum.estimate)"
SURE = f"datum.q_value < {Q}"
SIGNED = "datum.value == 0 ? '0' : format(datum.value, '+.2~f')"

Row = dict[str, Any]
Rows = list[Row]
#: A Vega-Lite specification.
Spec = dict[str, Any]
Models = Mapping[str, xr.Dataset]


def label_width(labels: Iterable[str], most: int) -> int:
    """Reserve pixels for the row labels."""
    longest = max(map(words.width_of, labels), default=0.0)
    return int(min(max(longest * SIZE + 22, 60), most))


def side(labels: Iterable[str], width: int) -> int:
    """Reserve pixels for row labels: at most a third of a phone, 210 on a desk."""
    return label_width(labels, 210 if width > 500 else 124)


def base(**data: str) -> alt.Chart:
    """Start a layer over the data set `rows` (or another name)."""
    return alt.Chart(alt.NamedData(name=data.get("name", "rows")))


def y(field: str = "y") -> alt.Y:
    """Place rows from the top, one band each, in the order of their numbers."""
    return alt.Y(f"{field}:O").axis(None).scale(paddingInner=0, paddingOuter=0)


def line(at: float, **style: Any) -> alt.Chart:
    """Rule a vertical line, once, at a number of the x axis."""
    return base().transform_aggregate(rows="count()").mark_rule(**style).encode(x=alt.XDatum(at, type="quantitative"))


def text(x: float | str, dx: float, field: str, *, where: str = "", limit: float = 0, **style: Any) -> alt.Chart:
    """Write one text per row, at a place counted in pixels from the plot's left or right edge."""
    mark: dict[str, Any] = {"fontSize": SIZE, "baseline": "middle", "dx": dx, "clip": False, "align": "left"} | style
    layer = base().transform_filter(where) if where else base()
    chart = layer.mark_text(**mark | ({"limit": limit} if limit else {}))
    return chart.encode(x=alt.XValue(x), y=y(), text=alt.Text(f"{field}:N"))


def tooltip(*fields: tuple[str, str]) -> list[alt.Tooltip]:
    """Say what is shown on hovering: (field, title); numbers with three digits."""
    numbers = {"estimate", "conf_low", "conf_high", "share", "model", "slope", "mean", "people", "other"}
    shown = []
    for field, title in fields:
        form = "+.3f" if field in {"estimate", "conf_low", "conf_high"} else ".3f"
        if field in numbers or re.fullmatch(r"m\d+", field):
            shown.append(alt.Tooltip(f"{field}:Q", title=title, format=form))
        elif field in {"q_value", "p_value"}:
            shown.append(alt.Tooltip(f"{field}:Q", title=title, format=".2~g"))
        elif field.startswith("n"):
            shown.append(alt.Tooltip(f"{field}:Q", title=title, format=","))
        else:
            shown.append(alt.Tooltip(f"{field}:N", title=title))
    return shown


#: What hovering says of an effect.
EFFECT_TIP = (
    *(("label", "of"), ("contrast_label", "contrast"), ("context_label", "among"), ("estimate", "effect")),
    *(("conf_low", "interval from"), ("conf_high", "to"), ("q_value", "q")),
    *(("n_baseline", "people at baseline"), ("n_treated", "people at the other level")),
)


def model_tip(models: Sequence[str]) -> list[tuple[str, str]]:
    """Say what the models' fields m0, m1, ... are called on hovering."""
    return [(f"m{i}", f"model {words.clean(label)}") for i, label in enumerate(models)]


def shape_of(position: int, models: int) -> str:
    """Give a model's mark: the last one's is a diamond (filled), those before differ in shape (and are hollow)."""
    return "diamond" if position == models - 1 else SHAPES[position % len(SHAPES)]


def marks(
    data: alt.Chart,
    models: Sequence[str],
    x: Callable[[str], alt.X],
    tip: list[alt.Tooltip],
    *,
    at: str = "m",
    opacity: float = 1,
) -> list[alt.Chart]:
    """Draw a mark per model, where it has a number; pale where u0, u1, ... says that it does not heed the attribute.

    Parameters
    ----------
    data : altair.Chart
        Rows with a number per model: fields m0, m1, ...
    models : sequence of str
        Labels.
    x : callable
        Makes the place across of a field.
    tip : list of altair.Tooltip
    at : str
        Another letter than m of the fields.
    opacity : float
    """
    return [
        data.transform_filter(f"isValid(datum.{at}{i})")
        .mark_point(shape=shape_of(i, len(models)), size=56, strokeWidth=1.5, stroke=CONTRAST)
        .encode(
            x=x(f"{at}{i}:Q"),
            y=y(),
            fill=alt.value(CONTRAST if i == len(models) - 1 else PAPER),
            opacity=alt.condition(f"datum.u{i}", alt.value(UNHEEDED), alt.value(opacity)),
            tooltip=tip,
        )
        for i in range(len(models))
    ]


def finish(
    chart: alt.LayerChart | alt.FacetChart,
    width: int,
    height: int | alt.Step,
    margins: tuple[int, int, int, int],
) -> Spec:
    """Fix the sizes and the look that all pictures share; margins are left, right, top, bottom."""
    left, right, top, bottom = margins
    axis = {"labelFontSize": SIZE, "titleFontSize": SIZE, "titleFontWeight": "normal", "titlePadding": 6}
    colours = {"labelColor": MUTED, "titleColor": MUTED, "gridColor": LINE, "tickColor": LINE, "domain": False}
    made: Spec = (
        chart.properties(
            width=width - left - right,
            height=height,
            padding={"left": left, "right": right, "top": top, "bottom": bottom},
            autosize=alt.AutoSizeParams(type="none"),
        )
        .configure(aria=False, background="transparent", font=FONTS)
        .configure_view(stroke=None)
        .configure_axis(**axis, **colours)
        .to_dict(validate=False)
    )
    return made


def fill(spec: Spec, **tables: Sequence[Row]) -> Spec:
    """Put facts into a chart: a list of rows per data set; numbers that are not finite become null."""
    return {**spec, "datasets": {name: [plain(row) for row in rows] for name, rows in tables.items()}}


def plain(row: Row) -> Row:
    """Make a row fit for JSON: null for what is not finite, Python's own types for NumPy's."""
    return {name: _plain(entry) for name, entry in row.items()}


def _plain(entry: Any) -> Any:
    if hasattr(entry, "item"):
        entry = entry.item()
    return None if isinstance(entry, float) and not math.isfinite(entry) else entry


def on_white(spec: Spec) -> Spec:
    """Take CSS variables, which a canvas does not know, out of a chart, and put it on white."""
    made: Spec = json.loads(re.sub(r"var\(--[\w-]+, (#\w+)\)", r"\1", json.dumps(spec)))
    made["config"]["background"] = "#ffffff"
    return made
