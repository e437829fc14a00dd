"""popfidelity's cells: one row per cell, question and option, with questions.yaml and facets.yaml beside.

Columns cell_id, question, option, share, and n and source where known. facets.yaml names the families, their levels in
order, and the pattern by which a cell's id is read (without one, an id joins one level per family by ``|``);
questions.yaml gives the wording and order of options. Facts of the form: popfidelity 0.1.2
(PyPI, Apache-2.0), whose reader the tests put the files before.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml

from acecausal.cube import files as cubes
from acecausal.errors import AceError, DataError
from acecausal.exchange import losses, output
from acecausal.exchange.ace_align import combinations_of
from acecausal.exchange.association import pool
from acecausal.exchange.choices import Choices, Imported, Log
from acecausal.exchange.popfidelity_files import COUNTRY, OPEN, Facets, levels_of, read_facets, read_questions
from acecausal.exchange.rows import Row, gather, to_cube
from acecausal.exchange.text import read_number, read_text, shares, shown, whole

_COLUMNS = ("cell_id", "question", "option", "share")


def read(path: Path, choices: Choices) -> Imported:
    """Read a folder, or one CSV with questions.yaml and facets.yaml beside it, if they are there.

    Coarser personas are pooled from the cells.

    Raises
    ------
    DataError
        For files that cannot be read, or that do not name the parts of a cell's id; for a cell that is wrong (which may
        be passed over).
    """
    log = Log(choices.keep_going)
    table = _table(path)
    text = read_text(table)
    cells = _cells(text, table, choices, log)
    facets = read_facets(table.with_name("facets.yaml"))
    if choices.attributes:
        if facets:
            log.noted["files facets.yaml that were not read (--attributes names the parts of cell_id)"] += 1
        facets = Facets(list(choices.attributes), missing=frozenset({""}))
    if not facets:
        raise DataError(
            "the parts of cell_id have no names", param=shown(table), expected="facets.yaml beside it",
            hint="--attributes NAME,NAME names them",
        )  # fmt: skip
    questions = read_questions(table.with_name("questions.yaml"), log)
    orders = {name: list(q["options"]) for name, q in questions.items()}
    listed: dict[str, list[list[str]]] = {}
    for (question, _), found in cells.items():
        if question not in questions:
            listed.setdefault(question, []).append(list(found))
    for question, lists in listed.items():
        order = merged_order(lists)
        if order is None:  # which of two options is more is nowhere said
            order = list(dict.fromkeys(option for one in lists for option in one))
            questions[question] = {"options": order, "ordinal": False}
            log.noted["questions whose rows do not tell the order of the options (taken as nominal)"] += 1
        orders[question] = order
    undescribed = len(listed)
    if undescribed:
        log.noted["questions that no questions.yaml describes (their options are in the order of the rows)"] += (
            undescribed
        )
    rows = []
    for (question, cell), found in cells.items():
        try:
            where = next(iter(found.values()))[2]
            levels = levels_of(cell, facets, where)
            if levels is None:
                log.noted["answers of cells with a level that is missing (left out)"] += 1
                continue
            rows.append(_row(question, levels, found, questions.get(question, {}), orders[question], choices))
        except DataError as error:
            log.problem(error)
    attributes = [name for name in facets.names if name != COUNTRY]
    rows = [row for row in rows if row.n]
    orders_of = {name: order for name, order in facets.levels.items() if name != COUNTRY}
    groups = gather(rows, attributes, choices, log, source=shown(table), orders=orders_of)
    finest = groups.n[:, :, groups.lattice.granularity == groups.lattice.depth]
    if absent := int(((finest == 0) & finest.any(axis=2, keepdims=True)).sum()):
        log.noted["combinations of levels that have no cell (coarser personas are pooled without them)"] += absent
    coarser = np.flatnonzero(groups.lattice.granularity < groups.lattice.depth).tolist()
    pool(groups.response, groups.n, groups.lattice, coarser)
    digest = hashlib.sha256(text.encode()).hexdigest()
    about = {"title": "popfidelity cells", "source": shown(table.name), "data_sha256": digest}
    return Imported(to_cube(groups, choices, log, about), dict(log.noted), log.problems)


def merged_order(lists: Sequence[Sequence[str]]) -> list[str] | None:
    """Find the one order that all lists of options keep; None if they contradict each other or leave a choice.

    A row whose share is 0 may be left out, so that no list need hold all options.
    """
    before: dict[str, set[str]] = {option: set() for one in lists for option in one}
    for one in lists:
        for earlier, later in pairwise(one):
            before[later].add(earlier)
    sorter, order = TopologicalSorter(before), list[str]()
    try:
        sorter.prepare()
    except CycleError:
        return None
    while sorter.is_active():
        ready = sorter.get_ready()
        if len(ready) > 1:
            return None
        order += ready
        sorter.done(*ready)
    return order


def write(cube: xr.Dataset, path: Path, *, force: bool = False) -> list[str]:
    """Write the finest personas' responses, every number with all its digits; returns what the cells do not hold."""
    survey = cube.attrs["kind"] == "survey"
    lattice, values = cubes.lattice_of(cube), cubes.values_of(cube)
    names = [COUNTRY, *(re.sub(r"\W", "_", a.name) for a in lattice.attributes)]
    if len(set(names)) < len(names):
        raise AceError("two families would get the same name", param="export", got=", ".join(names))
    finest = [p for attributes, part in combinations_of(lattice) if len(attributes) == lattice.depth for p in part]
    response, n = cube["response"].values, cube["n"].values
    source = "survey" if survey else str(cube.attrs.get("model", "model"))
    with output.beside(path, force=force) as folder:
        folder.mkdir()
        with (folder / f"{'survey' if survey else 'model'}_cells.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*_COLUMNS, "n", "source"])
            for v, value in enumerate(values):
                for c, country in enumerate(cube["country"].values):
                    for p in finest:
                        if n[c, v, p]:
                            levels = [
                                a.levels[x].name if x >= 0 else OPEN
                                for a, x in zip(lattice.attributes, lattice.codes[p].tolist(), strict=True)
                            ]
                            cell = "|".join([str(country), *levels])
                            for k, option in enumerate(value.options):
                                share = repr(float(response[c, v, p, k]))
                                writer.writerow([cell, value.name, option, share, int(n[c, v, p]), source])
        _dump(
            folder / "questions.yaml",
            {
                "questions": [
                    {"id": v.name, "text": v.question, "ordinal": v.scale != "nominal", "options": list(v.options)}
                    for v in values
                ]
            },
        )
        levels = [
            [str(c) for c in cube["country"].values],
            *([a.baseline, *(name for name in a.level_names if name != a.baseline)] for a in lattice.attributes),
        ]
        opened = [[], *([OPEN] * (lattice.depth < len(lattice.attributes)) for _ in lattice.attributes)]
        _dump(
            folder / "facets.yaml",
            {
                "families": [
                    {"name": name, "levels": [*there, *star]}
                    for name, there, star in zip(names, levels, opened, strict=True)
                ],
                "labels": {"pattern": "^" + r"\|".join(f"(?P<{name}>[^|]+)" for name in names) + "$"},
            },
        )
    found = ["personas that specify less: an import pools them from the finest", "topics, and labels of countries"]
    if survey:
        return [*found, *losses.lost(cube, kept=("nominal",))]
    return [*found, "shifts and effects", "the probability on the options together"]


def _dump(path: Path, content: Mapping[str, Any]) -> None:
    text = yaml.safe_dump({"schema_version": 1, **content}, sort_keys=False, allow_unicode=True, width=1000)
    path.write_text(text, encoding="utf-8")


# --- reading ----------------------------------------------------------------------------------------------------------


def _table(path: Path) -> Path:
    if not path.exists():
        raise DataError("does not exist", param=shown(path), expected="a folder or a .csv file")
    if not path.is_dir():
        return path
    for name in ("survey_cells.csv", "cells.csv"):
        if (path / name).exists():
            return path / name
    raise DataError("holds no cells", param=shown(path), expected="survey_cells.csv or cells.csv")


def _cells(
    text: str, path: Path, choices: Choices, log: Log
) -> dict[tuple[str, str], dict[str, tuple[float, str, str]]]:  # fmt: skip
    """Read the table: question and cell, to option, to share, n as text, and where it stands."""
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        there = list(reader.fieldnames or [])
        lines = [(reader.line_num, line) for line in reader]
    except csv.Error as error:
        raise DataError(
            "cannot be read", param=f"{shown(path)}, line {reader.line_num}", expected="CSV", got=error
        ) from None
    twice = [name for name in there if there.count(name) > 1]
    if twice:
        raise DataError("a column stands twice", param=shown(path), expected="each once", got=shown(twice[0]))
    missing = [name for name in _COLUMNS if name not in there]
    if missing:
        raise DataError(
            "columns are missing",
            param=shown(path),
            expected=", ".join(_COLUMNS),
            got=shown(", ".join(there) or "nothing"),
        )
    sources = list(dict.fromkeys(line["source"] or "" for _, line in lines)) if "source" in there else []
    source = choices.source or ("survey" if "survey" in sources else sources[0] if len(sources) == 1 else "")
    if sources and source not in sources:
        raise DataError(
            "which source?", param=shown(path), expected=shown(", ".join(sources)), got=choices.source or "several",
            hint="--source NAME",
        )  # fmt: skip
    found: dict[tuple[str, str], dict[str, tuple[float, str, str]]] = {}
    for number, line in lines:
        where = f"{shown(path)}, line {number}"
        if sources and (line["source"] or "") != source:
            continue
        try:
            if any(line[name] is None for name in _COLUMNS):
                raise DataError("is too short", param=where, expected=f"{len(there)} columns")
            if None in line:
                raise DataError(
                    "has more cells than the header", param=where, expected=f"{len(there)} cells",
                    got=len(there) + len(line[None]), hint="a text that holds a comma stands in quotes",
                )  # fmt: skip
            share = read_number(line["share"], "share", "0..1", where)
            options = found.setdefault((line["question"], line["cell_id"]), {})
            if line["option"] in options:
                raise DataError("the cell lists the option twice", param=where, got=shown(line["option"]))
            options[line["option"]] = (share, line.get("n") or "", where)
        except DataError as error:
            log.problem(error)
    return found


def _row(
    question: str,
    levels: Mapping[str, str],
    found: Mapping[str, tuple[float, str, str]],
    about: Mapping[str, Any],
    order: list[str],
    choices: Choices,
) -> Row:
    where = next(iter(found.values()))[2]
    levels = dict(levels)
    country = levels.pop(COUNTRY, choices.country)
    if not country:
        raise DataError("the cells name no country", param=where, expected="a part of cell_id", hint="--country NAME")
    unknown = [option for option in found if option not in order]
    if unknown:
        raise DataError(
            "the question has no such option", param=where, expected=shown(", ".join(order)), got=shown(unknown[0])
        )
    if len(order) < 2:
        raise DataError("too few options", param=where, expected="two or more", got=len(order))
    counts = {count for _, count, _ in found.values()}
    if len(counts) > 1:
        raise DataError(
            "n differs within a cell", param=where, expected="one number", got=shown(", ".join(sorted(counts)))
        )
    count = counts.pop()
    n = read_number(count, "n", "a number of people", where) if count else choices.respondents
    if n is None:
        raise DataError(
            "the cells hold no number of respondents", param=where, expected="a column n",
            hint="--respondents N says how many stand behind each cell",
        )  # fmt: skip
    text = str(about.get("text", question))
    return Row(
        where,
        (country, country),
        "popfidelity",
        question,
        text.replace("{options}", " or ".join(order)),
        tuple(order),
        not about.get("ordinal", True),
        levels,
        shares([found[option][0] if option in found else 0.0 for option in order], len(order), where),
        whole(n, "n", where),
    )
