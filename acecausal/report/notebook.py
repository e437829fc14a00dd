"""The page's pictures standing alone, as Altair charts with a title: for notebooks and for files."""

from __future__ import annotations

import altair as alt
import numpy as np
import xarray as xr

from acecausal.comparison.compare import compare, shared
from acecausal.comparison.pooling import pooled
from acecausal.report import drawing as d
from acecausal.report import facts, lattice_picture, words
from acecausal.report import forest as forests
from acecausal.report import heatmap as heatmaps
from acecausal.report import versus as scatter


def titled(spec: d.Spec, lines: list[str]) -> d.Spec:
    """Put a title above a chart, wrapped to its width, and take it out of the page's colours."""
    width = spec["width"] + spec["padding"]["left"] + spec["padding"]["right"]
    text = [part for line in lines if line for part in words.wrap(line, (width - 20) / 12, 3)]
    title = {"text": text, "anchor": "start", "frame": "bounds", "fontSize": 12, "lineHeight": 15, "offset": 8}
    padding = spec["padding"] | {"top": spec["padding"]["top"] + 15 * len(text) + 14}
    return d.on_white({**spec, "title": title, "padding": padding})


def _alone(spec: d.Spec, lines: list[str]) -> alt.LayerChart:
    return alt.LayerChart.from_dict(titled(spec, lines))


def forest(part: xr.Dataset, width: int) -> alt.LayerChart:
    """Draw the only effect of `part` (one value, contrast and context) per country, and its pooled mean."""
    names = words.Names(part)
    total = pooled(part).isel(attribute=0, value=0, persona=0) if part.sizes["country"] > 1 else None
    rows = forests.rows(names.labelled(facts.effects(part)), names.countries, total)
    left = d.side([row["label"] for row in rows], width)
    spread = rows[-1]["spread"] if rows[-1]["kind"] == "pooled" else ""
    title = [f"{names.contrast(0)}, among {names.personas[0]}", names.questions[0], spread]
    return _alone(d.fill(forests.chart(width, left), rows=rows), title)


def heatmap(part: xr.Dataset, width: int) -> alt.LayerChart:
    """Draw the effects of the only contrast and context of `part`, values by countries."""
    names = words.Names(part)
    effect = np.abs(part["effect"].values[np.isfinite(part["effect"].values)])
    largest = float(np.quantile(effect, 0.98)) if effect.size else 0.0
    rows = heatmaps.rows(facts.effects(part), names, part, across="country")
    spec = heatmaps.chart(part.sizes["country"], largest, d.side(names.short, width), width)
    return _alone(d.fill(spec, rows=rows), [f"{names.contrast(0)}, among {names.personas[0]}"])


def lattice(part: xr.Dataset, width: int) -> alt.LayerChart:
    """Draw the lattice of the only value and country of `part`."""
    names = words.Names(part)
    at = lattice_picture.fitting(part, width)
    dots, arcs = lattice_picture.rows(part, at, 0, 0)
    effect = np.abs([arc["estimate"] for arc in arcs if np.isfinite(arc["estimate"])])
    largest = float(np.max(effect)) if len(effect) else 0.0
    spec = d.fill(lattice_picture.chart(at, width, largest), rows=dots, arcs=arcs)
    return _alone(spec, [f"{names.questions[0]} ({names.countries[0]})"])


def versus(human: xr.Dataset, model: xr.Dataset, width: int) -> alt.LayerChart:
    """Draw model against human effects."""
    effect = compare(human, model)["effect"]
    frame = scatter.pairs(*shared(human, model))[: scatter.POINTS]
    reach = scatter.reach_of([frame])
    spec = scatter.chart(width, reach, dense=len(frame) > 400)
    rows = words.Names(human).labelled(frame).to_dict("records")
    filled = d.fill(spec, rows=rows, lines=scatter.lines(effect["slope"], -reach, reach))
    text = f"slope {words.plain(effect['slope'])}, correlation {words.plain(effect['correlation'])}"
    return _alone(filled, [f"{text}, skill {words.plain(effect['skill'])}"])
