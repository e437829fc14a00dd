"""What the page shows of a cube: which pictures, how many of them, with captions, legends and alternative text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import altair as alt
import numpy as np
import xarray as xr
from markupsafe import Markup

from acecausal.report import cells, figures, heatmap, svg, words
from acecausal.report import drawing as d

DESK, PHONE, PANEL = 720, 350, 340

FOREST_VALUES = 4
FOREST_COUNTRIES = 24
FOREST_CONTRASTS = 12
HEAT_ROWS = 120
HEAT_VALUES = 30
HEAT_COUNTRIES = 30
HEAT_CONTRASTS = 9
RESPONSE_VALUES = 4
RESPONSE_COUNTRIES = 6
RESPONSE_PERSONAS = 24
VERSUS_POINTS = 1500


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing in its two widths.

    Attributes
    ----------
    title : str
    wide, narrow : markupsafe.Markup
        `narrow` is empty where one drawing serves both.
    broad : bool
        It may be broader than its place, and is scrolled there rather than shrunk.
    """

    title: str
    wide: Markup
    narrow: Markup = field(default_factory=Markup)
    broad: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """Panels that are read together.

    Attributes
    ----------
    title : str
    panels : list of Panel
    caption : str
        How to read it.
    legend : list of (shape, css colour, opacity, text)
    """

    title: str
    panels: list[Panel]
    caption: str
    legend: list[tuple[str, str, float, str]]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, what is left out, and figures."""

    key: str
    title: str
    intro: str
    figures: list[Figure]


def _both(make: Callable[[int], alt.LayerChart], alt_text: str, *, broad: bool = False) -> Panel:
    """Draw a picture for the desk and for the phone."""
    return Panel("", svg.render(make(DESK), alt_text), svg.render(make(PHONE), alt_text), broad)


def _one(title: str, chart: alt.LayerChart, alt_text: str, *, broad: bool = False) -> Panel:
    return Panel(title, svg.render(chart, alt_text), broad=broad)


def effect_sections(cube: xr.Dataset, models: d.Models) -> list[Section]:
    """Draw the forest plots and the heat map."""
    return [_forests(cube, models), _heat(cube)]


def _limits(*parts: tuple[int, int, str, str]) -> str:
    """Say what is shown of how much: (shown, all, singular, plural)."""
    cut = [f"{shown} of {words.count(n, one, many)}" for shown, n, one, many in parts if shown < n]
    return (
        f"Shown: {words.join(cut)}, those with the strongest evidence (smallest p-value); the tables have all."
        if cut
        else ""
    )


def _forests(cube: xr.Dataset, models: d.Models) -> Section:
    names = words.Names(cube)
    scored = [v for v in cells.by_evidence(cube, "value") if str(cube["scale"].values[v]) != "nominal"]
    values = scored[:FOREST_VALUES]
    countries = cells.top(cube, "country", FOREST_COUNTRIES)
    contrasts = cells.top(cube, "attribute", FOREST_CONTRASTS)
    intro = _limits(
        (len(values), len(scored), "value", "values"),
        (len(countries), cube.sizes["country"], "country", "countries"),
        (len(contrasts), cube.sizes["attribute"], "contrast", "contrasts"),
    )
    if not values:
        intro = "All values of this cube are nominal: their options have no order, so that there is no score to move."
    made = [_forest(cube, names, int(v), contrasts, countries, models, first=v == values[0]) for v in values]
    return Section("effects", "What moves the answers, and where", intro, made)


def _forest(
    cube: xr.Dataset,
    names: words.Names,
    value: int,
    contrasts: np.ndarray,
    countries: np.ndarray,
    models: d.Models,
    *,
    first: bool,
) -> Figure:
    domain = figures.effect_domain(cube, value, models)
    level = f"{100 * float(cube.attrs.get('confidence', 0.95)):g} %"

    def chart(shown: Any, width: int) -> alt.LayerChart:
        return figures.forest(
            cube, value, contrasts=shown, countries=countries, models=models, width=width, domain=domain
        )

    alt_text = (
        f"Forest plot of effects on “{names.questions[value]}” in context all, with {level} intervals, "
        f"{words.count(len(contrasts), 'contrast')} in {words.count(len(countries), 'country', 'countries')}. "
        f"The numbers are in the table of effects."
    )
    if len(countries) <= 6:
        panels = [_both(lambda width: chart(contrasts, width), alt_text)]
    else:
        panels = [_one("", chart([a], PANEL), f"{names.contrast(int(a))}. {alt_text}") for a in contrasts]
    low, high = names.options[value][0], names.options[value][-1]
    caption = (
        f"Each dot is the effect of a contrast on everybody in a country (context all), the line its {level} interval. "
        f"Right of zero: towards “{high}”; left: towards “{low}”."
    )
    if first:
        caption += " An effect of 1 would be a move from one end of the scale to the other."
    legend = [
        ("dot", "accent", 1.0, f"q < {d.Q}"),
        ("ring", "muted", 1.0, f"q ≥ {d.Q}: noise can explain it"),
    ]
    labels = [words.clean(label) for label in models]
    if len(labels) > 1:
        legend.append(("hollow", "contrast", 1.0, f"model: {words.join(labels[:-1])}"))
    if labels:
        legend.append(("diamond", "contrast", 1.0, f"model: {labels[-1]}"))
    return Figure(names.questions[value], panels, caption, legend)


def _heat(cube: xr.Dataset) -> Section:
    part = cells.everyone(cube)
    effect = np.abs(part["effect"].values[cells.scored(part)])
    largest = float(np.quantile(effect, 0.98)) if effect.size else 0.0
    values, countries = np.arange(cube.sizes["value"]), np.arange(cube.sizes["country"])
    contrasts = [int(a) for a in cells.top(cube, "attribute", HEAT_CONTRASTS)]
    if len(values) * len(countries) <= HEAT_ROWS:
        panels = [_heat_whole(cube, contrasts, largest)]
    else:
        values, countries = cells.top(cube, "value", HEAT_VALUES), cells.top(cube, "country", HEAT_COUNTRIES)
        panels = [_heat_of(cube, a, values, countries, largest) for a in contrasts]
    caption = (
        "The effect of each contrast on the mean score (0..1) of everybody in a country. The stronger the colour, the "
        "larger the effect; pale cells are estimates that noise can explain, cells with a sign were not estimated."
    )
    intro = _limits(
        (len(values), cube.sizes["value"], "value", "values"),
        (len(countries), cube.sizes["country"], "country", "countries"),
        (len(contrasts), cube.sizes["attribute"], "contrast", "contrasts"),
    )
    figure = Figure("", panels, caption, _heat_legend(cells.reasons(part), largest))
    return Section("map", "All effects at a glance", intro, [figure])


_HEAT_ALT = "Heat map of effects in context all: {}. The numbers are in the table of effects."


def _heat_whole(cube: xr.Dataset, contrasts: list[int], largest: float) -> Panel:
    """Draw every country of every value in a row of its own."""
    rows = [(c, v) for v in range(cube.sizes["value"]) for c in range(cube.sizes["country"])]
    return _both(
        lambda width: heatmap.heatmap(cube, rows=rows, columns=contrasts, largest=largest, width=width),
        _HEAT_ALT.format("countries in rows, contrasts in columns"),
        broad=True,
    )


def _heat_of(cube: xr.Dataset, contrast: int, values: np.ndarray, countries: np.ndarray, largest: float) -> Panel:
    """Draw one contrast: values in rows, countries in columns."""
    title = words.Names(cube).contrast(contrast)
    rows = [(None, int(v)) for v in values]
    columns = [(contrast, int(c)) for c in countries]
    chart = heatmap.heatmap(cube, rows=rows, columns=columns, largest=largest, width=PANEL)
    return _one(title, chart, f"{title}. " + _HEAT_ALT.format("values in rows, countries in columns"), broad=True)


def _heat_legend(reasons: np.ndarray, largest: float) -> list[tuple[str, str, float, str]]:
    legend = []
    if (reasons == "ok").any():
        legend += [
            ("square", "accent", 0.95, f"{words.signed(largest)} or more"),
            ("square", "contrast", 0.95, f"{words.signed(-largest)} or less"),
            ("square", "accent", 0.15, f"pale: q ≥ {d.Q}"),
        ]
    signs = [(sign, sense) for kind, (sense, sign) in words.STATUS_TEXT.items() if (reasons == kind).any()]
    return legend + [("sign", sign, 1.0, sense) for sign, sense in signs]


def response_section(cube: xr.Dataset) -> Section:
    """Draw the responses of everybody and of each group by one attribute."""
    names = words.Names(cube)
    values = [int(v) for v in cells.by_evidence(cube, "value")[:RESPONSE_VALUES]]
    countries = cells.top(cube, "country", RESPONSE_COUNTRIES)
    coarse = np.flatnonzero(cube["granularity"].values <= 1)
    personas = coarse[:RESPONSE_PERSONAS]
    made = []
    for v in values:
        alt_text = "Responses to “{}” in {}, one bar per persona, percent per option: {}."
        panels = [
            _one(
                names.countries[c],
                figures.responses(cube, v, int(c), personas=personas, width=PANEL),
                alt_text.format(names.questions[v], names.countries[c], "; ".join(names.options[v])),
            )
            for c in countries
        ]
        paint = figures.option_paint(len(names.options[v]))
        variables = {d.ACCENT: "accent", d.CONTRAST: "contrast", d.MUTED: "muted"}
        legend = [
            ("square", variables[colour], opacity, label)
            for (colour, opacity), label in zip(paint, names.options[v], strict=True)
        ]
        caption = "Percent of each answer among everyone and among each group; on the right, how many people answered."
        if v == values[0]:
            caption += " These are levels: groups differ for many reasons, so two bars that differ are not an effect."
        made.append(Figure(names.questions[v], panels, caption, legend))
    intro = _limits(
        (len(values), cube.sizes["value"], "value", "values"),
        (len(countries), cube.sizes["country"], "country", "countries"),
        (len(personas), len(coarse), "persona", "personas"),
    )
    return Section("responses", "What people answer", intro, made)


def versus_sections(human: xr.Dataset, models: d.Models, comparisons: Mapping[str, Mapping[str, Any]]) -> list[Section]:
    """Draw model against human effects, one panel per model on the same axes."""
    if not models:
        return []
    pairs = {label: figures.versus_points(human, model, VERSUS_POINTS) for label, model in models.items()}
    numbers = [abs(p[name]) for points, _ in pairs.values() for p in points for name in ("effect", "model")]
    reach = min(1.05 * max(numbers, default=0.1) + 0.005, 1.0)
    panels = []
    for label, (points, n_pairs) in pairs.items():
        effect = comparisons[label]["effect"]
        slope = effect["slope"]
        alt_text = (
            f"Scatter of the effects of model {words.clean(label)} against people's, {n_pairs} edges, "
            f"slope {words.plain(slope)}, correlation {words.plain(effect['correlation'])}."
        )

        def chart(width: int, points: d.Rows = points, slope: float | None = slope) -> alt.LayerChart:
            return figures.versus(points, slope=slope, domain=(-reach, reach), width=width)

        title = f"{words.clean(label)}: slope {words.plain(slope)}, skill {words.plain(effect['skill'])}"
        panels.append(Panel(title, svg.render(chart(480), alt_text), svg.render(chart(PHONE), alt_text)))
    caption = (
        "Each dot is one edge of the lattice (a contrast within a context, for one value in one country): across, the "
        "effect in people with its interval; up, the effect in the model. On the dashed diagonal the model moves as "
        "people do; on the flat line through zero it ignores the persona. The solid line has the slope corrected for "
        "the sampling error of people's effects."
    )
    legend = [
        ("dot", "accent", 0.9, f"q < {d.Q} in people"),
        ("dot", "muted", 0.5, f"q ≥ {d.Q}"),
        ("line", "contrast", 1.0, "corrected slope"),
        ("dash", "ink", 1.0, "model = people"),
    ]
    shown, most = max(len(points) for points, _ in pairs.values()), max(n for _, n in pairs.values())
    intro = (
        f"Shown: the {shown:,} of {most:,} edges that are known best (smallest standard error)." if shown < most else ""
    )
    return [Section("models", "Does the model move the same way?", intro, [Figure("", panels, caption, legend)])]
