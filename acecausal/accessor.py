"""What ``cube.ace`` offers: tables under broom's column names, pooled effects, forest plots."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import ndtri

from acecausal import schema
from acecausal.errors import AceError, CubeError, unknown

if TYPE_CHECKING:
    import altair as alt


@xr.register_dataset_accessor("ace")
class AceAccessor:
    """Tables and pictures of a cube.

    Parameters
    ----------
    cube : xarray.Dataset
        A cube, or a selection that keeps the dimensions country, attribute, value and persona.
    """

    def __init__(self, cube: xr.Dataset) -> None:
        self._cube = cube

    def table(self, by: str = "effect", *, all_edges: bool = False) -> pd.DataFrame:
        """List the cube's estimates, in the cube's order, under the column names of R's broom.

        Parameters
        ----------
        by : {'effect', 'option'}
            One row per cell, with its effect on the 0..1 score (missing for nominal values), or one row per cell and
            option, with its shift in probability.
        all_edges : bool
            Whether to list every existing edge of the lattice, or only those with status ok.

        Returns
        -------
        pandas.DataFrame
            country, attribute, value, context: labels of the cube; term: the contrast again, where broom's readers look
            for it; option, option_label (`by` option only); estimate, std.error; statistic (estimate / std.error),
            p.value, q.value (`by` effect only); conf.low, conf.high: pointwise interval at the cube's level; band.low,
            band.high (`by` option only): band that holds all options of the cell at once; n: respondents of the
            context, n_baseline, n_treated: those of the arms; status. What a cube does not have is no column: a
            model's has neither errors nor arms.

        Raises
        ------
        AceError
            If `by` is something else.
        CubeError
            If it is no cube, or a dimension is gone.

        Notes
        -----
        The pointwise interval of a shift has the critical value of its cell's effect, half the effect's interval over
        its standard error. A nominal value has no effect: its cells take the largest critical value that another value
        has in the same country, contrast and context, and the normal one where there is none.
        """
        if by not in ("effect", "option"):
            raise unknown("by", by, ("effect", "option"))
        cube = self._checked()
        status = cube["status"].values
        keep = status != schema.NOT_APPLICABLE if all_edges else status == schema.OK
        if by == "effect":
            at = np.nonzero(keep)
            columns = _labels(cube, at) | _effects(cube, at)
        else:
            in_scale = cube["option"].values <= cube["n_options"].values[:, None]
            at = np.nonzero(keep[..., None] & in_scale[:, None])
            columns = _labels(cube, at[:4]) | _shifts(cube, at)
        columns |= {"n": cube["n"].values[at[0], at[2], at[3]]}
        columns |= {name: cube[name].values[at[:4]] for name in ("n_baseline", "n_treated") if name in cube}
        columns["status"] = np.array(schema.STATUS, dtype=object)[status[at[:4]]]
        return pd.DataFrame(columns)

    def significant(self, q: float = 0.05) -> pd.DataFrame:
        """List the effects with a q-value below `q`, the largest first.

        Parameters
        ----------
        q : float
            False discovery rate within the family named in the cube's attrs, above 0 and at most 1.

        Raises
        ------
        AceError
            If `q` is out of range.
        CubeError
            If it is a model's cube: it has no q-values.
        """
        if not 0 < q <= 1:
            raise AceError("out of range", param="q", expected="above 0, at most 1", got=q)
        self._checked(survey=True)
        rows = self.table()
        rows = rows[rows["q.value"] < q]
        return rows.sort_values("estimate", key=np.abs, ascending=False, kind="stable", ignore_index=True)

    def pooled(self, min_countries: int = 2) -> xr.Dataset:
        """Pool the effects over countries; see `acecausal.pooling.pooled`."""
        from acecausal.pooling import pooled

        return pooled(self._cube, min_countries)

    def forest(self, value: str, attribute: str, context: str = "all", *, width: int = 700) -> alt.LayerChart:
        """Draw one effect country by country with intervals, and below them the pooled one.

        Parameters
        ----------
        value, attribute, context : str
            Labels of the cube; `attribute` is a contrast, as ``gender:female``.
        width : int
            Pixels.

        Returns
        -------
        altair.LayerChart
            A point per country, filled where q is below 0.05; the diamond spans the pooled effect's interval, the
            dashed line the prediction interval for a further country.

        Raises
        ------
        AceError
            If a name is unknown, the value is nominal, or the context fixes the contrast's attribute.
        CubeError
            If it is a model's cube.
        """
        cube = self._checked(survey=True)
        for dim, label in (("value", value), ("attribute", attribute), ("persona", context)):
            if label not in cube[dim].values:
                raise unknown("context" if dim == "persona" else dim, label, cube[dim].values)
        part = cube.sel(value=[value], attribute=[attribute], persona=[context])
        if part["scale"].item() == "nominal":
            raise AceError("is nominal: it has no score, hence no effect", param="value", got=value)
        if (part["status"] == schema.NOT_APPLICABLE).all():
            raise AceError(
                "no such edge in the lattice",
                param="context",
                expected=f"one that leaves {part['treatment'].item()} open, within the lattice's depth",
                got=context,
            )
        return _forest(part, width)

    def _checked(self, *, survey: bool = False) -> xr.Dataset:
        """Return the cube, if it is one (of a survey) with all its dimensions."""
        cube = self._cube
        if "kind" not in cube.attrs or "status" not in cube:
            raise CubeError("not an acecausal cube", param="ace", hint="cubes come from estimate, elicit and open_cube")
        for dim in schema.EDGE:
            if dim not in cube.dims:
                raise CubeError(
                    "missing", param=f"dimension {dim}", hint=f"select with a list, as in cube.sel({dim}=[...])"
                )
        if survey and cube.attrs["kind"] != "survey":
            raise CubeError("has no standard errors", param="cube", expected="a survey cube", got="a model cube")
        return cube


# --- tables -----------------------------------------------------------------------------------------------------------


def _labels(cube: xr.Dataset, at: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    names = dict(zip(("country", "attribute", "value", "context"), schema.EDGE, strict=True))
    columns = {name: cube[dim].values[where] for (name, dim), where in zip(names.items(), at, strict=True)}
    return columns | {"term": columns["attribute"]}


def _effects(cube: xr.Dataset, at: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    estimate = cube["effect"].values[*at]
    if "effect_se" not in cube:
        return {"estimate": estimate}
    se = cube["effect_se"].values[*at]
    interval = cube["effect_interval"].values[*at]
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = estimate / se
    return {
        "estimate": estimate,
        "std.error": se,
        "statistic": statistic,
        "p.value": cube["p_value"].values[*at],
        "conf.low": interval[:, 0],
        "conf.high": interval[:, 1],
        "q.value": cube["q_value"].values[*at],
    }


def _shifts(cube: xr.Dataset, at: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    estimate = cube["shift"].values[*at]
    columns = {
        "option": cube["option"].values[at[4]],
        "option_label": cube["option_label"].values[at[2], at[4]],
        "estimate": estimate,
    }
    if "shift_se" not in cube:
        return columns
    se = cube["shift_se"].values[*at]
    columns["std.error"] = se
    half = _critical(cube)[*at[:4]] * se
    columns |= {"conf.low": estimate - half, "conf.high": estimate + half}
    if "shift_critical" in cube:
        half = cube["shift_critical"].values[*at[:4]] * se
        columns |= {"band.low": estimate - half, "band.high": estimate + half}
    return columns


def _critical(cube: xr.Dataset) -> np.ndarray:
    """Read the two-sided critical values off the effects' intervals, shape of `effect`."""
    se, interval = cube["effect_se"].values, cube["effect_interval"].values
    own = np.divide(interval[..., 1] - interval[..., 0], 2 * se, out=np.full(se.shape, np.nan), where=se > 0)
    others = np.fmax.reduce(own, axis=schema.EDGE.index("value"), keepdims=True)
    normal = ndtri((1 + float(cube.attrs.get("confidence", 0.95))) / 2)
    return np.where(np.isfinite(own), own, np.where(np.isfinite(others), others, normal))


# --- forest plot ------------------------------------------------------------------------------------------------------


def _forest(part: xr.Dataset, width: int) -> alt.LayerChart:
    """Draw the only effect of `part` per country, and its pooled mean where two countries have one."""
    import altair as alt

    from acecausal.pooling import pooled
    from acecausal.report import drawing as d
    from acecausal.report import words

    names = words.Names(part)
    left, right = d.label_width(names.countries, 190), 160
    rows, heads = _country_rows(part), []
    context = "" if part["persona"].item() == "all" else f" ({names.personas[0]})"
    for text in (names.contrast(0) + context, names.questions[0]):
        heads += words.wrap(text, (width - 20) / d.SIZE, 2)
    for y, row in enumerate(rows, len(heads)):
        row |= {"y": y + 0.5, "label": words.shorten(names.countries[y - len(heads)], (left - 12) / d.SIZE)}
    mean = {str(name): array.item() for name, array in pooled(part).data_vars.items()}
    total: d.Rows = []
    if np.isfinite(mean["effect"]):
        below = len(heads) + len(rows) + 1.0  # half a row apart
        total = [{**mean, "y": below, "label": "pooled", "numbers": _numbers(mean)}]
        spread = f"tau {words.plain(mean['tau2'] ** 0.5, 3)}, I2 {100 * mean['i2']:.0f} %"
        same = f"p of no difference between countries {words.small(mean['p_heterogeneity'])}"
        total.append({"y": below + 1, "label": f"{spread}, {same}"})
    n_rows = int(np.ceil(total[-1]["y"])) if total else len(heads) + len(rows)
    ok = [row for row in rows if "effect" in row]
    low, high = _domain(ok + total[:1])
    x = alt.X("effect:Q").scale(domain=[low, high], nice=False, zero=False)
    axis = x.axis(labelExpr=d.SIGNED, tickCount=5, title="effect on the score (0..1)")
    clipped = {
        (start, end): [
            {"y": row["y"], "colour": row.get("colour"), "from": max(row[start], low), "to": min(row[end], high)}
            for row in found
            if np.isfinite(row[start])
        ]
        for start, end, found in (("lower", "upper", ok), ("prediction_lower", "prediction_upper", total[:1]))
    }

    def rules(table: d.Rows, **style: Any) -> alt.Chart:
        mark = alt.Chart(d.data(table)).mark_rule(**style)
        return mark.encode(x=alt.X("from:Q"), x2=alt.X2("to:Q"), y=d.y(n_rows))

    zero = (
        alt.Chart(d.data([{"effect": 0.0, "top": len(heads), "bottom": n_rows - bool(total)}]))
        .mark_rule(color=d.INK)
        .encode(x=x, y=d.y(n_rows, "top"), y2=alt.Y2("bottom:Q"))
    )
    stroke = alt.Stroke("colour:N", scale=None)
    points = (
        alt.Chart(d.data(ok))
        .mark_point(size=52, opacity=1, strokeWidth=1.75)
        .encode(x=axis, y=d.y(n_rows), fill=alt.Fill("fill:N", scale=None), stroke=stroke)
    )
    diamond = (
        alt.Chart(d.data([corner for row in total[:1] for corner in _corners(row, low, high)]))
        .mark_line(interpolate="linear-closed", fill=d.CONTRAST, stroke=d.CONTRAST, strokeWidth=1, strokeJoin="round")
        .encode(x=x, y=d.y(n_rows), order=alt.Order("corner:O"))
    )
    above = [{"y": y + 0.5, "label": line} for y, line in enumerate(heads)]
    layers = [
        zero,
        rules(clipped["lower", "upper"], strokeWidth=2.25, strokeCap="round").encode(stroke=stroke),
        points,
        rules(clipped["prediction_lower", "prediction_upper"], strokeWidth=1.25, strokeDash=[4, 3], color=d.CONTRAST),
        diamond,
        d.text(above, n_rows, 0, -left, fontWeight=600, color=d.INK),
        d.text(rows, n_rows, 0, -10, align="right", color=d.INK),
        d.text(total[:1], n_rows, 0, -10, align="right", fontWeight=600, color=d.INK),
        d.text(total[1:], n_rows, 0, 0, color=d.MUTED),
        d.text(ok + total[:1], n_rows, "width", right, field="numbers", align="right", color=d.INK),
        d.text([row for row in rows if "missing" in row], n_rows, 0, 6, field="missing", color=d.MUTED),
    ]
    chart = d.finish(alt.layer(*layers), width, n_rows * d.ROW, left, right, top=8, bottom=38)
    return _standalone(chart)


def _country_rows(part: xr.Dataset) -> list[dict[str, Any]]:
    """Describe the points: effect, interval and colours per country, or why there is none."""
    from acecausal.report import drawing as d
    from acecausal.report import words

    rows: list[dict[str, Any]] = []
    for c in range(part.sizes["country"]):
        cell = part.isel(country=c, attribute=0, value=0, persona=0)
        status = schema.STATUS[int(cell["status"])]
        if status != "ok":
            rows.append({"missing": words.STATUS_TEXT[status][0]})
            continue
        lower, upper = (float(bound) for bound in cell["effect_interval"].values)
        row: dict[str, Any] = {"effect": float(cell["effect"]), "lower": lower, "upper": upper}
        sure = float(cell["q_value"]) < d.Q
        row |= {"colour": d.ACCENT if sure else d.MUTED, "fill": d.ACCENT if sure else d.PAPER}
        rows.append(row | {"numbers": _numbers(row)})
    return rows


def _numbers(row: dict[str, float]) -> str:
    from acecausal.report.words import signed

    return f"{signed(row['effect'])}  [{signed(row['lower'])}, {signed(row['upper'])}]"


def _domain(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Find the axis' range: all limits and 0, but none further out than three times the largest effect."""
    if not rows:
        return -0.1, 0.1
    effects = [row["effect"] for row in rows]
    reach = 3 * max([abs(effect) for effect in effects] + [0.02])
    names = ("lower", "upper", "prediction_lower", "prediction_upper")
    limits = [row[name] for row in rows for name in names if np.isfinite(row.get(name, np.nan))]
    low, high = max(min([*limits, 0.0]), -reach), min(max([*limits, 0.0]), reach)
    pad = 0.04 * max(high - low, 0.02)
    return low - pad, high + pad


def _corners(row: dict[str, float], low: float, high: float) -> list[dict[str, float]]:
    """Place the diamond's corners: the interval's limits, and above and below the mean."""
    places = [(row["lower"], 0.0), (row["effect"], -0.32), (row["upper"], 0.0), (row["effect"], 0.32)]
    return [{"corner": i, "effect": min(max(x, low), high), "y": row["y"] + dy} for i, (x, dy) in enumerate(places)]


def _standalone(chart: alt.LayerChart) -> alt.LayerChart:
    """Make a chart of the report stand outside its page: no CSS variables, which a canvas does not know, and fonts."""
    import altair as alt

    text = re.sub(r"var\(--[\w-]+, (#\w+)\)", r"\1", chart.to_json(validate=False))
    spec = json.loads(text)
    spec["config"] |= {"font": "Arial, Liberation Sans, DejaVu Sans, sans-serif", "background": "#ffffff"}
    return alt.LayerChart.from_dict(spec)
