"""Shifts option by option, of values whose options have no order: a panel per contrast, or per country."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from acecausal.report import cells, facts, forest, parts, tables, words
from acecausal.report import drawing as d

PANELS = 6
#: A picture is often shown without its caption, and its lines are longer than the intervals of single options.
AXIS = "shift in probability (bands hold all at once)"


def rows(frame: pd.DataFrame, models: d.Models) -> d.Rows:
    """Lay the shifts of one cell out (from `facts.shifts`), one row per option; the line is the band of all options."""
    band = frame.assign(conf_low=frame["band_low"], conf_high=frame["band_high"])
    return forest.rows(band, [words.clean(label) for label in frame["option_label"]], models=models)


def figure(cube: xr.Dataset, value: int, models: d.Models) -> parts.Figure | None:
    """Show how the shares of one value's options move: of one country by contrast, of several by country.

    Of several countries the contrast of smallest p-value is shown. None if nothing was estimated.
    """
    names = words.Names(cube)
    everyone = cells.context_all(cube)[0]
    part = cells.everyone(cube).isel(value=value)
    p = np.where(cells.tested(cells.everyone(cube))[:, :, value], part["p_value"].values, np.inf)
    if not np.isfinite(p).any():
        return None
    several = cube.sizes["country"] > 1
    contrast = int(np.unravel_index(int(p.argmin()), p.shape)[1])
    p = np.where(np.arange(p.shape[1]) == contrast, p, np.inf) if several else p
    chosen = sorted(divmod(int(at), p.shape[1]) for at in np.argsort(p.ravel(), kind="stable")[:PANELS])
    chosen = [at for at in chosen if np.isfinite(p[at])]
    frames = [facts.shifts(cube, tuple(np.array([at]) for at in (c, a, value, everyone)), models) for c, a in chosen]
    laid = [rows(names.labelled(frame), models) for frame in frames]
    options = names.options[value]
    drawn = forest.chart(d.PANEL, d.side(options, d.PANEL), tuple(models), forest.reach(laid, len(models)), AXIS)
    level = f"{100 * float(cube.attrs.get('confidence', 0.95)):g} %"
    panels = []
    for (c, a), made in zip(chosen, laid, strict=True):
        q = words.small(float(made[0]["q_value"]))
        title = f"{names.countries[c] if several else names.contrast(a)} (q {q.replace('<', '< ')})"
        alt_text = (
            f"{names.contrast(a)}: shifts of the options of “{names.questions[value]}” among everyone in "
            f"{names.countries[c]}, with {level} bands. The numbers are in the table below."
        )
        panels.append(parts.Panel(title, alt_text, d.fill(drawn, rows=made)))
    caption = f"How far {names.contrast(contrast)} moves the share of each answer" if several else "How far each "
    caption += "." if several else "contrast moves the share of each answer."
    how = (
        "The options of this question have no order, so there is no score. Dots: change of an option's share among "
        "everybody, 0.1 is ten percentage points; the shifts of a panel sum to 0. Lines: a band that holds all options "
        f"of the panel at once with {level}. q: of no option moving at all (Wald test over the options)."
    )
    counted = (int(np.isfinite(p).sum()), "country", "countries") if several else (p.shape[1], "contrast", "contrasts")
    how += " " + parts.limits((len(panels), *counted))
    numbers = tables.of(pd.concat(frames, ignore_index=True), f"shifts-{value}.csv", rename=forest.renamed(models))
    return parts.Figure(names.questions[value], panels, caption, forest.legend(models), numbers, how=how.strip())
