"""The page: what is drawn and listed of the cubes, put into one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import xarray as xr
from markupsafe import Markup

from acecausal.comparison import compare as comparison
from acecausal.comparison.coherence import by_granularity
from acecausal.cube.advice import advice
from acecausal.errors import CubeError
from acecausal.report import (
    cells,
    diagnostics,
    explorer,
    facts,
    finding,
    forest,
    heatmap,
    lattice_picture,
    methods,
    option_shifts,
    overview,
    parts,
    responses,
    skills,
    svg,
    tables,
    versus,
    words,
    world,
)
from acecausal.report import drawing as d

#: Rows of the table over all contexts that the page carries as CSV (about 4 MB).
ROWS_IN_CSV = 20_000


def check(human: xr.Dataset, models: Mapping[str, xr.Dataset]) -> None:
    """Refuse cubes of the wrong kind, and people's without the context ``all`` or any value."""
    if "all" not in human["persona"].values:
        raise CubeError(
            "missing", param="persona all", hint="report a cube with all its personas, or select by --value"
        )
    if not human.sizes["value"]:
        raise CubeError("the cube has no values", param="HUMAN")
    for label, cube, kind in [("HUMAN", human, "survey"), *((name, cube, "model") for name, cube in models.items())]:
        if cube.attrs["kind"] != kind:
            raise CubeError("is a cube of another kind", param=label, expected=kind, got=cube.attrs["kind"])


def compared(human: xr.Dataset, models: d.Models) -> dict[str, dict[str, Any]]:
    """Compare every model with people."""
    return {label: comparison.compare(human, model) for label, model in models.items()}


def render(human: xr.Dataset, models: Mapping[str, xr.Dataset]) -> str:
    """Make the page's text; see `output.write_report`."""
    comparisons = compared(human, models)
    chosen, left_out = tables.contexts(human, ROWS_IN_CSV)
    moved = facts.unordered(human)
    overall, finer = (_estimated(human, which) for which in (human["persona"].values == "all", chosen))
    script = files(__package__).joinpath("report.js").read_text("utf-8")
    explore = explorer.content(human, models)
    scripts = [explorer.bundle(), script] if explore else [script]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            draw=svg.render,
            title=words.clean(human.attrs.get("title") or "Effects on survey answers"),
            attrs={name: words.clean(value) for name, value in human.attrs.items()},
            lead=finding.sentences(human),
            verdicts=[
                *finding.verdicts(comparisons),
                *finding.remarks(human, models, comparisons),
                *finding.wordings(models),
            ],
            first=overview.figure(human, models),
            explore=explore,
            pictures=explorer.pictures(human, models),
            sections=sections(human, models, comparisons),
            effects=tables.of(overall, "effects.csv"),
            all_contexts=tables.of(finer, "effects-all-contexts.csv") if len(finer) > len(overall) else None,
            shifts=tables.of(moved, "shifts.csv") if len(moved) else None,
            left_out=left_out,
            not_estimated=tables.not_estimated(human),
            advice=[words.clean(text) for text in advice(human)],
            terms=words.causal(human, "It is causal only under the graph above."),
            status_text={kind: text for kind, (text, _) in words.STATUS_TEXT.items()},
            methods=methods.paragraphs(human),
            provenance={"people": methods.provenance(human)}
            | {words.clean(label): methods.provenance(model) for label, model in models.items()},
            css=Markup(files(__package__).joinpath("report.css").read_text("utf-8")),
            scripts=[Markup(text) for text in scripts],
            hashes=[explorer.digest(text) for text in scripts],
        )
    )


def sections(human: xr.Dataset, models: d.Models, comparisons: Mapping[str, Mapping[str, Any]]) -> list[parts.Section]:
    """Draw everything that stands on the page without a script, in its order."""
    made = [*effects(human, models), responses.section(human)]
    at = lattice_picture.strongest(human)
    if at is not None:
        made.append(
            parts.Section(
                "lattice",
                "One question, all personas",
                "",
                [lattice_picture.figure(human, *at, models)],
            )
        )
    if models:
        figures = [versus.figure(human, models, comparisons), skills.figure(human, comparisons)]
        listed = [("Levels and effects compared", comparison_table(comparisons))]
        coherent = coherence_table(human, models)
        if coherent is not None:
            listed.append(("Coherence: distance of coarse personas' answers from the mixture of the finest", coherent))
        fair = skills.equity(human, models, comparisons)
        if fair is not None:
            listed.append(("Equity: how far groups are apart, on values asked in every country", fair))
        made.append(parts.Section("models", "Does the model move the same way?", "", figures, listed))
    trust = diagnostics.section(human)
    return [*made, trust] if trust else made


def effects(human: xr.Dataset, models: d.Models) -> list[parts.Section]:
    """Draw the effects on the values with most evidence, the map of the strongest effect, and the heat map."""
    unordered = cells.nominal(human)
    ranked = [int(v) for v in cells.by_evidence(human, "value")]
    scored = [v for v in ranked if not unordered[v]]
    countries = cells.top(human, "country", forest.COUNTRIES)
    contrasts = cells.top(human, "attribute", forest.CONTRASTS)
    several = human.sizes["country"] > 1
    most = forest.VALUES if several else forest.PANELS
    figures = []
    if not several and scored:
        figures.append(forest.by_contrast(human, models, contrasts=contrasts, values=scored[:most]))
    for v in scored[:most] if several else []:
        figures.append(forest.figure(human, v, models, contrasts=contrasts, countries=countries))
    moved = [v for v in ranked if unordered[v]][: forest.VALUES]
    drawn = [figure for figure in (option_shifts.figure(human, v, models) for v in moved) if figure]
    figures = [*drawn, *figures] if ranked and unordered[ranked[0]] else [*figures, *drawn]
    if several and len(scored) > 1:
        figures.append(
            forest.by_question(
                human,
                int(cells.by_evidence(human, "attribute")[0]),
                models,
                values=np.array(scored[: forest.QUESTIONS]),
                countries=cells.top(human, "country", forest.PANELS),
            )
        )
    shown = len(scored[:most]) + len(drawn)
    intro = parts.limits(
        (shown, len(scored) + int(unordered.sum()), "value", "values"),
        (len(contrasts), human.sizes["attribute"], "contrast", "contrasts"),
    )
    title = words.causal(human, "What moves the answers, and where", "What goes with differences in answers, and where")
    made = [parts.Section("effects", title if several else title.removesuffix(", and where"), intro, figures)]
    if several and scored:
        strongest = int(cells.by_evidence(human, "attribute")[0])
        placed = world.figure(human, scored[0], strongest)
        if placed:
            made.append(parts.Section("world", "On the map", "", [placed]))
    if scored:
        left_out, figure = heatmap.figure(human, np.sort(scored[: heatmap.VALUES]))
        made.append(parts.Section("map", "All effects at a glance", left_out, [figure]))
    return made


def _estimated(cube: xr.Dataset, personas: np.ndarray) -> pd.DataFrame:
    """List the estimated effects in some contexts (a mask), in the cube's order."""
    return facts.rows(cube, np.nonzero(cells.scored(cube) & personas)).drop(columns="status")


_MEASURES: tuple[tuple[str, str, str, int], ...] = (
    ("level", "score", "Score, 100 (1 − distance)", 1),
    ("level", "distance", "Level distance", 3),
    ("level", "null", "· null (country's marginal)", 3),
    ("level", "ceiling", "· ceiling (sampling noise)", 3),
    ("level", "skill", "Level skill", 2),
    ("level", "cells", "Responses compared", 0),
    ("effect", "distance", "Shift distance", 3),
    ("effect", "null", "· null (no effect)", 3),
    ("effect", "ceiling", "· ceiling (sampling noise)", 3),
    ("effect", "skill", "Effect skill", 2),
    ("effect", "slope", "Slope of effects, noise taken off", 2),
    ("effect", "slope_interval", "· 95 % interval", 2),
    ("effect", "correlation", "Correlation, noise taken off", 2),
    ("effect", "sign_agreement", "Same sign, where q < 0.05", 2),
    ("effect", "coverage", "Inside the human interval", 2),
    ("effect", "cells", "Shifts compared", 0),
)


def comparison_table(comparisons: Mapping[str, Mapping[str, Any]]) -> tables.Table:
    """Set level and effect comparison side by side, one column per model."""
    rows = [
        [text, *(_shown(result[part][name], digits) for result in comparisons.values())]
        for part, name, text, digits in _MEASURES
    ]
    return tables.Table(("measure", *(words.clean(label) for label in comparisons)), rows, 1)


def coherence_table(human: xr.Dataset, models: d.Models) -> tables.Table | None:
    """Set the models' coherence side by side, a row per granularity; None if people's cube has no shares."""
    found = {
        words.clean(label): {
            row["granularity"]: row["distance"] for row in by_granularity(*comparison.shared(human, m))
        }
        for label, m in models.items()
    }
    numbers = sorted({number for distances in found.values() for number in distances})
    if not numbers:
        return None
    rows = [[str(number), *(_shown(distances.get(number), 4) for distances in found.values())] for number in numbers]
    return tables.Table(("attributes of the persona", *found), rows, 1)


def _shown(number: Any, digits: int) -> str:
    if number is None:
        return "–"
    if isinstance(number, list | tuple):
        return " to ".join(words.plain(bound, digits) for bound in number)
    return f"{number:,}" if digits == 0 else words.plain(float(number), digits)


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("acecausal.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
