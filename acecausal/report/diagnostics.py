"""Can the estimates be trusted: refuters' verdicts, how alike the arms are, and how far they overlap."""

from __future__ import annotations

from functools import cache

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from acecausal.cube import schema
from acecausal.cube.doubts import doubts
from acecausal.report import drawing as d
from acecausal.report import parts, tables, words

#: What each refuter tests, for readers.
REFUTERS = {
    "placebo": "placebo: arms dealt out at random, so the effect should be nil",
    "random_common_cause": "random common cause: one more, meaningless variable held fixed should change nothing",
    "subset": "subset: four fifths of the people should give the same",
    "unobserved_confounder": "unobserved confounder: would one as strong as the strongest observed variable undo it?",
}
_PAINT = {"consistent": (d.ACCENT, 0.75), "undecided": (d.MUTED, 0.4), "inconsistent": (d.CONTRAST, 0.9)}
#: A standardised difference above this is commonly called an imbalance.
IMBALANCE = 0.1


def verdicts(cube: xr.Dataset) -> pd.DataFrame:
    """List the refuters' findings: country, contrast, value, refuter, verdict, refutation, se, draws."""
    at = np.nonzero(cube["refutation_verdict"].values != schema.NOT_RUN)
    dims = ("country", "attribute", "value", "refuter")
    columns = {name: cube[name].values.astype(str)[where] for name, where in zip(dims, at, strict=True)}
    columns["verdict"] = np.array(schema.VERDICTS)[cube["refutation_verdict"].values[at]]
    frame = pd.DataFrame(columns).rename(columns={"attribute": "contrast"})
    return frame.assign(refutation=cube["refutation"].values[at], se=cube["refutation_se"].values[at])


@cache
def _stacked(width: int, left: int) -> d.Spec:
    """Draw counts as stacked shares: rows with x, x2, y, label, paint, opacity, verdict, n."""
    x = alt.X("x:Q").scale(domain=[0, 1], nice=False).axis(None)
    pixels = width - left - 8
    data = d.base().transform_calculate(
        middle="(datum.x + datum.x2) / 2",
        number=f"datum.x2 - datum.x > {26 / pixels:.3f} ? format(datum.n, ',') : ''",
        ink=f"datum.opacity > 0.62 ? '{d.ON_COLOUR}' : '{d.INK}'",
    )
    bars = data.mark_rect(stroke=d.PAPER, height={"band": 0.8}).encode(
        x=x,
        x2="x2:Q",
        y=d.y(),
        fill=alt.Fill("paint:N", scale=None),
        fillOpacity=alt.FillOpacity("opacity:Q", scale=None),
        tooltip=d.tooltip(("label", "contrast"), ("verdict", "verdict"), ("n", "estimates")),
    )
    numbers = data.mark_text(fontSize=10, baseline="middle").encode(
        x=alt.X("middle:Q").axis(None), y=d.y(), text="number:N", color=alt.Color("ink:N", scale=None)
    )
    labels = d.text(0, -8, "label", where="datum.x == 0", align="right", limit=left - 10, color=d.INK)
    return d.finish(alt.layer(bars, numbers, labels), width, alt.Step(d.ROW), (left, 8, 2, 2))


def refutations(cube: xr.Dataset) -> parts.Figure | None:
    """Show the verdicts by refuter and contrast; None if no refuter was run."""
    if "refutation_verdict" not in cube:
        return None
    frame = verdicts(cube)
    if frame.empty:
        return None
    names = words.Names(cube)
    labels = {str(key): names.contrast(a) for a, key in enumerate(cube["attribute"].values)}
    panels = []
    for refuter, here in frame.groupby("refuter", sort=False):
        rows: d.Rows = []
        shown = list(dict.fromkeys(here["contrast"]))[:24]
        for y, contrast in enumerate(shown):
            found = here.loc[here["contrast"] == contrast, "verdict"].value_counts()
            edge = 0.0
            for verdict, (paint, opacity) in _PAINT.items():
                n = int(found.get(verdict, 0))
                if n:
                    far = edge + n / int(found.sum())
                    row = {"x": edge, "x2": far, "y": y, "label": labels[contrast], "n": n, "verdict": verdict}
                    rows.append(row | {"paint": paint, "opacity": opacity})
                    edge = far
        left = d.label_width([labels[contrast] for contrast in shown], 170)
        counts = ", ".join(f"{n} {verdict}" for verdict, n in here["verdict"].value_counts().items())
        alt_text = f"Verdicts of the refuter {refuter}: {counts}. See the table below."
        panels.append(parts.Panel(REFUTERS[str(refuter)], alt_text, d.fill(_stacked(d.PANEL, left), rows=rows)))
    caption = (
        "How many estimates each attempt to refute leaves standing (consistent), speaks against (inconsistent), or "
        "cannot judge (undecided). A consistent verdict is no proof: it is one way of being wrong less."
    )
    legend = [
        ("square", "accent", 0.75, "consistent"),
        ("square", "muted", 0.4, "undecided"),
        ("square", "contrast", 0.9, "inconsistent"),
    ]
    worst = frame.iloc[np.argsort((frame["verdict"] != "inconsistent").to_numpy(), kind="stable")]
    return parts.Figure("Attempts to refute", panels, caption, legend, tables.of(worst, "refutations.csv"))


def differences(cube: xr.Dataset) -> pd.DataFrame:
    """List standardised mean differences between the arms: country, contrast, covariate, before, after weighting."""
    before, after = cube["smd_before"].values, cube["smd_after"].values
    at = np.nonzero(np.isfinite(before))
    dims = ("country", "attribute", "covariate")
    columns = {name: cube[name].values.astype(str)[where] for name, where in zip(dims, at, strict=True)}
    frame = pd.DataFrame(columns).rename(columns={"attribute": "contrast"})
    return frame.assign(before=before[at], after=after[at])


@cache
def _love(width: int, left: int) -> d.Spec:
    """Draw absolute differences before (hollow) and after weighting (filled): rows with before, after, label."""
    data = d.base()
    axis = alt.Axis(tickCount=4, format="~f", title="largest standardised difference of the arms")
    line = d.line(IMBALANCE, color=d.MUTED, strokeDash=[4, 3])
    tip = d.tooltip(("label", "held fixed"), ("before", "before"), ("after", "after"))
    between = data.mark_rule(color=d.MUTED, opacity=0.5).encode(x=alt.X("before:Q"), x2="after:Q", y=d.y())
    dots = [
        data.mark_point(size=46, opacity=1, strokeWidth=1.5, stroke=d.ACCENT, fill=fill).encode(
            x=alt.X(f"{name}:Q", axis=axis).scale(zero=True, nice=False, padding=6), y=d.y(), tooltip=tip
        )
        for name, fill in (("before", d.PAPER), ("after", d.ACCENT))
    ]
    labels = d.text(0, -8, "label", align="right", limit=left - 10, color=d.INK)
    return d.finish(alt.layer(line, between, *dots, labels), width, alt.Step(d.ROW), (left, 14, 2, 38))


def balance(cube: xr.Dataset) -> parts.Figure | None:
    """Show how alike the arms are, before and after weighting; None if the cube does not say."""
    if "smd_before" not in cube:
        return None
    frame = differences(cube)
    if frame.empty:
        return None
    names = words.Names(cube)
    panels: list[parts.Panel] = []
    for a, contrast in enumerate(cube["attribute"].values.astype(str)):
        here = frame[frame["contrast"] == contrast]
        if here.empty or len(panels) == 12:
            continue
        largest = here[["before", "after"]].abs().groupby(here["covariate"], sort=False).max()
        chosen = largest.sort_values("before", ascending=False, kind="stable")[:12]
        labels = [words.clean(name).replace(":", ": ").replace("_", " ") for name in chosen.index]
        rows = [
            {"y": y, "label": label, "before": float(row.before), "after": float(row.after)}
            for y, (label, row) in enumerate(zip(labels, chosen.itertuples(), strict=True))
        ]
        left = d.label_width(labels, 140)
        alt_text = (
            f"{names.contrast(a)}: the largest standardised difference is {chosen['before'].max():.2f} before and "
            f"{chosen['after'].max():.2f} after weighting. See the table below."
        )
        panels.append(parts.Panel(names.contrast(a), alt_text, d.fill(_love(d.PANEL, left), rows=rows)))
    caption = (
        "How much the people of the two arms differ in what is held fixed, in standard deviations, in the country "
        "where they differ most: as they are, and weighted by the inverse propensity. Beyond the dashed line "
        f"({IMBALANCE:g}) arms are often called unlike; the estimate then leans on its model more."
    )
    legend: list[parts.Key] = [("ring", "accent", 1.0, "as they are"), ("dot", "accent", 1.0, "after weighting")]
    return parts.Figure("Balance of the arms", panels, caption, legend, tables.of(frame, "balance.csv"))


def overlap(cube: xr.Dataset) -> tables.Table | None:
    """List by country and contrast how many people have a real chance of either arm; None if the cube does not say."""
    if "overlap" not in cube:
        return None
    part = cube["overlap"].sel(persona="all")
    there = np.isfinite(part.values)
    lowest = np.where(there, part.values, np.inf).min(axis=part.dims.index("value"))
    mean = np.where(there, part.values, 0).sum(axis=2) / np.maximum(there.sum(axis=2), 1)
    at = np.nonzero(np.isfinite(lowest))
    columns = {
        name: cube[name].values.astype(str)[where] for name, where in zip(("country", "attribute"), at, strict=True)
    }
    frame = pd.DataFrame(columns).rename(columns={"attribute": "contrast"})
    frame = frame.assign(**{"lowest share": lowest[at], "mean share": mean[at]})
    for name, title in (("n", "people in the smaller arm"), ("n_psu", "its sampling units")):
        if f"{name}_baseline" in cube:
            arms = [cube[f"{name}_{arm}"].sel(persona="all").values for arm in ("baseline", "treated")]
            smaller = np.where(there, np.minimum(*arms), np.iinfo(np.int64).max)
            frame[title] = smaller.min(axis=part.dims.index("value"))[at]
    return tables.of(frame.sort_values("lowest share", kind="stable"), "overlap.csv") if len(frame) else None


def section(cube: xr.Dataset) -> parts.Section | None:
    """Put the diagnostics together; None if the cube has none."""
    figures = [figure for figure in (refutations(cube), balance(cube)) if figure]
    shared = overlap(cube)
    listed = (
        []
        if shared is None
        else [("Overlap: share of people whose chance of either arm lies within 5 and 95 %", shared)]
    )
    if not figures and not listed:
        return None
    against = doubts(cube)
    if against:
        table = tables.of(pd.DataFrame({"what the checks say against a contrast": against}), "doubts.csv")
        listed.insert(0, ("What speaks against these numbers", table))
    graph = "Effects are causal only under the graph in the methods below. These checks cannot prove it."
    intro = words.causal(cube, graph)
    return parts.Section("trust", "Can these numbers be trusted?", intro, figures, listed)
