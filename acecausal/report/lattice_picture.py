"""The lattice of one question in one country: personas as dots, effects as arcs between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr
from scipy.optimize import isotonic_regression

from acecausal.cube.files import lattice_of
from acecausal.report import cells, facts, forest, parts, tables, words
from acecausal.report import drawing as d

#: Most personas that are drawn; finer ones are left to the table.
PERSONAS = 44
#: Rows between two numbers, the height of their letters.
ROOM = 0.68
#: Pixels that arcs and their numbers take at the right of a column's dots, and dots at the right of their labels.
ARCS, DOT = 90, 8
#: Pixels of a label that can be told from others.
LEGIBLE = 60
_TIP = (("label", "who"), ("mean", "mean score"), ("n", "people"))


@dataclass(frozen=True, slots=True)
class Places:
    """Where the drawn personas and edges of a lattice stand.

    Attributes
    ----------
    personas : numpy.ndarray of int
        Positions in the cube.
    column, row : numpy.ndarray
        Granularity, and place from the top in rows, of each of them.
    edges : numpy.ndarray, shape (edges, 4), int
        Contrast and context (positions in the cube), and the two personas' places in `personas`.
    beside : numpy.ndarray, shape (edges,)
        In rows, where the number of an arc is written: near its middle, clear of the others of its column.
    depth, height : int
        Largest granularity, and rows.
    labels : tuple of float
        Width of the widest label of each column, with a mean score, in pixels.
    """

    personas: np.ndarray
    column: np.ndarray
    row: np.ndarray
    edges: np.ndarray
    beside: np.ndarray
    depth: int
    height: int
    labels: tuple[float, ...]


def places(cube: xr.Dataset, most_depth: int = 3) -> Places:
    """Lay the cube's lattice out: a column per granularity, as many as give no more than `PERSONAS` personas."""
    granularity = cube["granularity"].values
    depth = 1
    while depth < min(granularity.max(), most_depth) and (granularity <= depth + 1).sum() <= PERSONAS:
        depth += 1
    chosen = np.flatnonzero(granularity <= depth)
    columns = granularity[chosen]
    sizes = np.bincount(columns)
    height = int(sizes.max())
    order = np.concatenate([np.arange(size) for size in sizes])  # personas are ordered by granularity
    row = order * (height / sizes[columns]) + (height / sizes[columns] - 1) / 2
    label = {text: i for i, text in enumerate(cube["persona"].values[chosen].astype(str))}
    context = {text: i for i, text in enumerate(cube["persona"].values.astype(str))}
    contrast = {text: i for i, text in enumerate(cube["attribute"].values.astype(str))}
    lattice = lattice_of(cube)
    edges = []
    for a, s, low, high in lattice.edges:
        names = (lattice.contrast_labels[a], lattice.personas[s], lattice.personas[low], lattice.personas[high])
        if names[2] in label and names[3] in label and names[0] in contrast and names[1] in context:
            edges.append((contrast[names[0]], context[names[1]], label[names[2]], label[names[3]]))
    found = np.array(edges, dtype=int).reshape(-1, 4)
    beside = _apart(columns[found[:, 2]], row[found[:, 2:]].mean(axis=1))
    texts = [f"{text} 0.00" for text in words.Names(cube).personas]
    widths = [
        8 + d.SIZE * max((words.width_of(texts[p]) for p in chosen[columns == column]), default=0.0)
        for column in range(depth + 1)
    ]
    return Places(chosen, columns, row, found, beside, depth, height, tuple(widths))


def fitting(cube: xr.Dataset, width: int) -> Places:
    """Lay the lattice out with as many columns as have room for legible labels, up to four."""
    for depth in (3, 2):
        at = places(cube, depth)
        room, _ = _columns(at.labels, width)
        if all(got >= min(LEGIBLE, wanted) for got, wanted in zip(room, at.labels, strict=True)):
            return at
    return places(cube, 1)


def _apart(column: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Move the arcs' middles (in rows) no further than needed for `ROOM` between any two of a column."""
    placed = middle.astype(float)
    for one in np.unique(column):
        here = np.flatnonzero(column == one)
        here = here[np.argsort(middle[here], kind="stable")]
        steps = ROOM * np.arange(len(here))
        placed[here] = isotonic_regression(middle[here] - steps).x + steps  # the closest that keeps the order
    return placed


def geometry(cube: xr.Dataset, at: Places) -> tuple[d.Rows, d.Rows]:
    """Give dots and arcs without numbers: what is alike for every question and country of a cube."""
    names = words.Names(cube)
    dots = [
        {"persona": str(cube["persona"].values[p]), "label": names.personas[p], "column": int(c), "row": float(r)}
        for p, c, r in zip(at.personas, at.column, at.row, strict=True)
    ]
    arcs = [
        {
            "edge": number,
            "column": int(at.column[low]),
            "from": float(at.row[low]),
            "to": float(at.row[high]),
            "beside": round(float(at.beside[number]), 3),
            "contrast": str(cube["attribute"].values[a]),
            "context": str(cube["persona"].values[s]),
            "label": f"{names.contrast(int(a))}, among {names.personas[s]}",
        }
        for number, (a, s, low, high) in enumerate(at.edges)
    ]
    return dots, arcs


def means(cube: xr.Dataset, at: Places, value: int, country: int) -> np.ndarray:
    """Give the personas' mean scores; NaN for nominal values or nobody."""
    k = int(cube["n_options"].values[value])
    share = cube["response"].values[country, value][at.personas, :k]
    nominal = str(cube["scale"].values[value]) == "nominal"
    return np.full(len(share), np.nan) if nominal else np.asarray(share @ np.linspace(0, 1, k))


def effects(cube: xr.Dataset, at: Places, value: int, country: int, models: d.Models | None = None) -> pd.DataFrame:
    """List the edges' effects in their order, see `facts.rows`; of a model's cube `estimate` and `q_value` (0) only."""
    here = (np.full(len(at.edges), country), at.edges[:, 0], np.full(len(at.edges), value), at.edges[:, 1])
    if cube.attrs["kind"] == "survey":
        return facts.rows(cube, here, models)
    effect = cube["effect"].values[here]
    return pd.DataFrame({"estimate": effect, "q_value": np.where(np.isfinite(effect), 0.0, np.nan)})


def rows(cube: xr.Dataset, at: Places, value: int, country: int) -> tuple[d.Rows, d.Rows]:
    """Give dots with mean scores and arcs with effects."""
    dots, arcs = geometry(cube, at)
    mean, frame = means(cube, at, value, country), effects(cube, at, value, country)
    n = cube["n"].values[country, value][at.personas]
    dots = [dot | {"mean": m, "n": int(k)} for dot, m, k in zip(dots, mean, n, strict=True)]
    return dots, [arc | row for arc, row in zip(arcs, frame.to_dict("records"), strict=True)]


def _columns(labels: Sequence[float], width: int) -> tuple[list[float], list[float]]:
    """Share a width among columns: the room of each one's labels, cut alike if need be, and where its dots stand."""
    gaps = np.where(np.arange(len(labels) - 1) == 0, DOT, ARCS)  # everybody is one persona, no arc
    free = width - ARCS - gaps.sum() - DOT * len(labels)
    everyone = min(labels[0] * np.clip(free / sum(labels), 1.0, d.WIDER), 100.0)
    finer = np.array(labels[1:], dtype=float)
    finer *= min(d.WIDER, max(free - everyone, 1.0) / max(finer.sum(), 1.0))
    room = [float(everyone), *finer.tolist()]
    steps = np.array(room) + DOT + np.concatenate([[0], gaps])
    return room, np.cumsum(steps).round(1).tolist()


def chart(at: Places, width: int, largest: float) -> d.Spec:
    """Draw dots with their mean scores, and an arc per edge: its colour the direction, its width the size.

    Parameters
    ----------
    at : Places
    width : int
        Pixels.
    largest : float
        Absolute effect of the widest arc.
    """
    room, across = _columns(at.labels, width)
    place = f"{across}[datum.column]"
    scale_x = alt.Scale(domain=[0, width], nice=False, zero=False)
    scale_y = alt.Scale(domain=[-1.2, at.height - 0.4], reverse=True, nice=False, zero=False)
    dots = d.base().transform_calculate(
        x=place,
        text="isValid(datum.mean) ? datum.label + ' ' + format(datum.mean, '.2f') : datum.label",
    )
    share = f"min(abs(datum.estimate) / {max(largest, 1e-9)}, 1)"
    arcs = (
        d.base(name="arcs")
        .transform_filter(d.THERE)
        .transform_calculate(
            x=place,
            middle="(datum.from + datum.to) / 2",
            bulge="16 + min(7 * abs(datum.to - datum.from), 46)",
            size=f"0.75 + 4.5 * {share}",
            paint=f"datum.estimate > 0 ? '{d.ACCENT}' : '{d.CONTRAST}'",
            opacity=f"{d.SURE} ? 0.85 : 0.16",
        )
    )
    curve = (
        arcs.transform_fold(["from", "middle", "to"], as_=["corner", "y"])
        .transform_calculate(px="datum.x + (datum.corner == 'middle' ? 1.5 * datum.bulge : 4)")
        .mark_line(interpolate="basis", strokeCap="round")
        .encode(
            x=alt.X("px:Q", scale=scale_x).axis(None),
            y=alt.Y("y:Q", scale=scale_y).axis(None),
            detail="edge:N",
            order=alt.Order("y:Q"),
            stroke=alt.Stroke("paint:N", scale=None),
            strokeWidth=alt.StrokeWidth("size:Q", scale=None),
            strokeOpacity=alt.StrokeOpacity("opacity:Q", scale=None),
            tooltip=d.tooltip(*d.EFFECT_TIP[:1], *d.EFFECT_TIP[3:]),
        )
    )
    shown = arcs.transform_filter(f"datum.column <= 1 || {d.SURE} && {share} > 0.5").transform_calculate(
        px="datum.x + 1.05 * datum.bulge + 2"
    )
    written = shown.mark_text(fontSize=10, align="left", baseline="middle").encode(
        x=alt.X("px:Q", scale=scale_x).axis(None),
        y=alt.Y("beside:Q", scale=scale_y).axis(None),
        text=alt.Text("estimate:Q", format="+.2f"),
        color=alt.condition(d.SURE, alt.value(d.INK), alt.value(d.MUTED)),
    )
    point = dots.mark_point(size=26, filled=True, color=d.INK, opacity=1).encode(
        x=alt.X("x:Q", scale=scale_x).axis(None), y=alt.Y("row:Q", scale=scale_y).axis(None), tooltip=d.tooltip(*_TIP)
    )
    labels = [
        dots.transform_filter(f"datum.column == {g}")
        .mark_text(
            fontSize=d.SIZE, align="right", baseline="middle", dx=1 - DOT, limit=room[g], color=d.INK, clip=False
        )
        .encode(x=alt.X("x:Q", scale=scale_x).axis(None), y=alt.Y("row:Q", scale=scale_y).axis(None), text="text:N")
        for g in range(at.depth + 1)
    ]
    height = int((at.height + 1) * (d.ROW - 2))
    return d.finish(alt.layer(curve, point, *labels, written), width, height, (8, 0, 2, 2))


def figure(cube: xr.Dataset, value: int, country: int, models: d.Models) -> parts.Figure:
    """Show the lattice of one question in one country, for people and for models."""
    names = words.Names(cube)
    at, phone = places(cube, 2), places(cube, 1)
    _, arcs = rows(cube, at, value, country)
    frame = effects(cube, at, value, country, models)
    effect = frame["estimate"].to_numpy(dtype=float)
    largest = float(np.nanmax(np.abs(effect))) if np.isfinite(effect).any() else 0.0

    def panel(title: str, part: xr.Dataset, v: int, c: int, who: str) -> parts.Panel:
        def picture(width: int) -> d.Spec:
            shown = at if width > 500 else phone
            dots, arcs = rows(part, shown, v, c)
            return d.fill(chart(shown, width, largest), rows=dots, arcs=arcs)

        alt_text = (
            f"Lattice of “{names.questions[value]}” in {names.countries[country]}, {who}: "
            f"{words.count(len(at.personas), 'persona')}, {words.count(len(arcs), 'effect')} as arcs. The numbers "
            "are in the table below."
        )
        return parts.both(title, picture, alt_text)

    panels = [panel("people", cube, value, country, "people")]
    dots = pd.DataFrame(
        {
            "persona": cube["persona"].values[at.personas].astype(str),
            "people": cube["n"].values[country, value][at.personas],
            "mean score": means(cube, at, value, country),
        }
    )
    for label, model in models.items():
        sub = _same(model, cube, value, country)
        if sub is not None:
            text = words.clean(label)
            panels.append(panel(f"model: {text}", sub, 0, 0, f"model {text}"))
            dots[f"model: {label}"] = means(sub, at, 0, 0)
    caption = (
        "Dots are personas with the mean score of their answers (0..1), a column per number of attributes; on a phone "
        "the first two. An arc joins two personas that differ in one attribute: it is the effect of that attribute "
        "among those who share the rest, which need not be the difference of the two means. Its colour is the "
        "direction, its width the size; pale arcs noise can explain."
    )
    legend: list[parts.Key] = [
        ("line", "accent", 0.9, f"towards “{names.options[value][-1]}”"),
        ("line", "contrast", 0.9, f"towards “{names.options[value][0]}”"),
        ("line", "muted", 0.3, f"pale: q ≥ {d.Q}"),
    ]
    title = f"{names.questions[value]} ({names.countries[country]})"
    arcs_table = tables.of(frame, "effects-in-the-lattice.csv", rename=forest.renamed(models))
    dots_table = ("Mean scores of the personas", tables.of(dots, "means-in-the-lattice.csv"))
    return parts.Figure(title, panels, caption, legend, arcs_table, [dots_table])


def _same(model: xr.Dataset, cube: xr.Dataset, value: int, country: int) -> xr.Dataset | None:
    """Cut a model's cube to one question and country, laid out like people's; None if it was not asked."""
    wanted = {"country": cube["country"].values[[country]], "value": cube["value"].values[[value]]}
    if not all(np.isin(labels, model[dim].values).all() for dim, labels in wanted.items()):
        return None
    labels = wanted | {dim: cube[dim].values for dim in ("attribute", "persona")}
    part = model[["response", "effect", "n"]].reindex(labels)
    k = int(cube["n_options"].values[value])
    if part.sizes["option"] < k:
        return None
    part["n"] = part["n"].fillna(0).astype(int)
    return part.assign_attrs(kind="model", lattice=cube.attrs["lattice"])


def strongest(cube: xr.Dataset) -> tuple[int, int] | None:
    """Choose value and country with the most effects that are more than noise; None if nothing has an effect."""
    there = cells.scored(cube)
    if not there.any():
        return None
    sure = (there & (cube["q_value"].values < d.Q)).sum(axis=(1, 3)) * 1000 + there.sum(axis=(1, 3))  # country, value
    country, value = np.unravel_index(int(sure.argmax()), sure.shape)
    return int(value), int(country)
