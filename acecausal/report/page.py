"""The page: what is drawn and listed of the cubes, put into one self-contained HTML file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import xarray as xr
from markupsafe import Markup

from acecausal import comparison
from acecausal.cube import replace
from acecausal.errors import AceError, CubeError
from acecausal.report import finding, methods, pictures, tables, words

#: Rows of a table that stand on the page; its CSV has all of them.
ROWS_SHOWN = 200
#: Rows of the table over all contexts that the page carries as CSV (about 6 MB).
ROWS_IN_CSV = 30_000


def write_report(human: xr.Dataset, models: Mapping[str, xr.Dataset], path: str | Path) -> Path:
    """Write the effect report: one HTML file that needs no network and no script.

    Parameters
    ----------
    human : xarray.Dataset
        A survey cube.
    models : mapping of str to xarray.Dataset
        Model cubes by the label they get on the page, in the order of the page; may be empty.
    path : path
        What stands there is replaced; the page is written beside it first.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    CubeError
        If `human` is not a survey cube, one of `models` is not a model cube, or they share nothing.
    AceError
        If `path` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise AceError("is a folder", param=str(path), expected="the name of an HTML file")
    page = render(human, models)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        beside.write_bytes(page.encode("utf-8", "replace"))
        replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def render(human: xr.Dataset, models: Mapping[str, xr.Dataset]) -> str:
    """Make the page's text; see `write_report`."""
    for label, cube, kind in [("HUMAN", human, "survey"), *((name, cube, "model") for name, cube in models.items())]:
        if cube.attrs["kind"] != kind:
            raise CubeError("is a cube of another kind", param=label, expected=kind, got=cube.attrs["kind"])
    comparisons = {label: comparison.compare(human, model) for label, model in models.items()}
    everyone = [int(np.flatnonzero(human["persona"].values == "all")[0])]
    chosen, left_out = tables.contexts(human, ROWS_IN_CSV)
    overall, finer = tables.tidy(human, everyone), tables.tidy(human, chosen)
    more = len(finer) > len(overall)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=words.clean(human.attrs.get("title") or "Effects on survey answers"),
            attrs={name: words.clean(value) for name, value in human.attrs.items()},
            lead=finding.sentences(human),
            verdicts=finding.verdicts(comparisons),
            sections=[
                *pictures.effect_sections(human, models),
                pictures.response_section(human),
                *pictures.versus_sections(human, models, comparisons),
            ],
            comparison=comparison_table(comparisons),
            groups=group_tables(comparisons),
            effects=tables.effects(overall, ROWS_SHOWN, "effects.csv"),
            all_contexts=tables.effects(finer, ROWS_SHOWN, "effects-all-contexts.csv") if more else None,
            left_out=left_out,
            not_estimated=tables.not_estimated(human),
            status_text={kind: text for kind, (text, _) in words.STATUS_TEXT.items()},
            methods=methods.paragraphs(human),
            provenance={"people": methods.provenance(human)}
            | {words.clean(label): methods.provenance(model) for label, model in models.items()},
            css=Markup(files(__package__).joinpath("report.css").read_text("utf-8")),
        )
    )


_MEASURES: tuple[tuple[str, str, str, int], ...] = (
    ("level", "score", "Level score, 100 (1 − distance)", 1),
    ("level", "distance", "Level distance", 3),
    ("level", "null", "· of the null (the country's marginal)", 3),
    ("level", "ceiling", "· of the ceiling (sampling noise alone)", 3),
    ("level", "skill", "Level skill", 2),
    ("level", "cells", "Responses compared", 0),
    ("effect", "distance", "Shift distance", 3),
    ("effect", "null", "· of the null (no effect at all)", 3),
    ("effect", "ceiling", "· of the ceiling (sampling noise alone)", 3),
    ("effect", "skill", "Effect skill", 2),
    ("effect", "slope", "Slope of model on human effects", 2),
    ("effect", "slope_interval", "· 95 % interval", 2),
    ("effect", "correlation", "Correlation of effects", 2),
    ("effect", "sign_agreement", "Same sign, where q < 0.05", 2),
    ("effect", "coverage", "Inside the human interval", 2),
    ("effect", "cells", "Shifts compared", 0),
)


def comparison_table(comparisons: Mapping[str, Mapping[str, Any]]) -> tables.Table | None:
    """Set level and effect comparison side by side, one column per model."""
    if not comparisons:
        return None
    rows = [
        [text, *(_shown(result[part][name], digits) for result in comparisons.values())]
        for part, name, text, digits in _MEASURES
    ]
    return tables.Table(("measure", *(words.clean(label) for label in comparisons)), rows, 1)


def group_tables(comparisons: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, tables.Table]]:
    """Set the skills of every group side by side: one table per kind of group."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for label, result in comparisons.items():
        for group in result.get("groups", []):
            found.setdefault(str(group["by"]), {}).setdefault(str(group["key"]), {})[label] = group
    parts = (("level", "skill"), ("effect", "skill"), ("effect", "slope"))
    heads = [
        f"{words.clean(label)}: {part} {name}" if name == "skill" else f"{words.clean(label)}: slope"
        for label in comparisons
        for part, name in parts
    ]
    order = sorted(found, key=lambda by: by != "held_out")
    made = []
    for by in order:
        keys = list(found[by].items())[:60]
        rows = [
            [
                words.clean(key),
                *(
                    _shown(by_label[label][part][name], 2) if label in by_label else "–"
                    for label in comparisons
                    for part, name in parts
                ),
            ]
            for key, by_label in keys
        ]
        left = len(found[by]) - len(keys)
        note = f"{left} more are in the output of compare --json." if left else ""
        made.append((by.replace("_", " "), tables.Table((by.replace("_", " "), *heads), rows, 1, note)))
    return made


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
