"""The training rows of ACE-Align: one edge per line, as two prompts and two distributions.

Each line holds options, and group_A and group_B with prompt_text, p_real {code: share} and mode_option. The layout
names neither question nor persona but in the prompts, and no number of respondents; rows written here also hold
question_id, category, country, and per group demographics and sample_count, which the published training script passes
over.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from acecausal.comparison.compare import MIN_RESPONDENTS
from acecausal.cube import files as cubes
from acecausal.cube.files import Country, Value, matched, spelling
from acecausal.cube.lattice import Lattice
from acecausal.errors import DataError
from acecausal.exchange import losses, output
from acecausal.exchange.ace_align import (
    WORDS,
    coded,
    distribution_of,
    is_nominal,
    level_names,
    note_groups,
    note_questions,
    options_of,
    reworded,
)
from acecausal.exchange.association import pool
from acecausal.exchange.choices import Choices, Imported, Log
from acecausal.exchange.personas import you_are
from acecausal.exchange.rows import Row, gather, to_cube
from acecausal.exchange.text import parse_json, part, read_lines, shown, slug, whole

#: How the published prompts word a level.
_SIGNS = (
    ("gender", "Female", r"You are an? female\b"),
    ("gender", "Male", r"You are an? male\b"),
    ("education", "No_College", r"\bhave not completed a college education\b"),
    ("education", "College", r"\bhave completed a college education\b"),
    ("residence", "Urban", r"\bliving in an urban area\b"),
    ("residence", "Rural", r"\bliving in a rural area\b"),
    ("marital_status", "Not_Married", r"\bare not married\b"),
    ("marital_status", "Married", r"\bare married\b"),
)
_COUNTRY = re.compile(r"\bliving in (?:an? \w+ area in )?(.+?)\.(?: You |$)")


def read(path: Path, choices: Choices) -> Imported:
    """Read training rows; who is asked what is told by the row, else by the published wording of its prompts.

    Raises
    ------
    DataError
        For a file that cannot be read; for a row that is wrong (which may be passed over).
    """
    log, digest = Log(choices.keep_going), hashlib.sha256()
    rows: dict[Any, Row] = {}
    asked: dict[tuple[str, str], tuple[list[int], str]] = {}
    numbers: dict[Any, str] = {}
    for number, line in read_lines(path):
        digest.update(line.encode())
        where = f"{shown(path)}, row {number}"
        try:
            raw = parse_json(line, where)
            for name in ("group_A", "group_B"):
                row, text = _row(raw, name, f"{where}, {name}", choices, numbers, log)
                asked.setdefault((row.topic, row.question_id), text)
                key = (row.country[0], row.topic, row.question_id, tuple(sorted(row.levels.items())))
                first = rows.setdefault(key, row)
                order = matched(first.options, row.options)
                if order is None:
                    raise DataError(
                        "the question has other options elsewhere", param=row.where,
                        expected=f"as in {first.where}: {shown(' | '.join(first.options))}",
                        got=shown(" | ".join(row.options)),
                    )  # fmt: skip
                if (first.shares, first.n) != ([row.shares[k] for k in order], row.n):
                    raise DataError(
                        "the group has other answers elsewhere", param=row.where, expected=f"as in {first.where}",
                        got=", ".join(f"{share:.4g}" for share in row.shares),
                    )  # fmt: skip
        except DataError as error:
            log.problem(error)
    kept = list(rows.values())
    attributes = list(dict.fromkeys(name for row in kept for name in row.levels))
    note_questions(kept, asked, log)
    groups = gather(kept, attributes, choices, log, source=shown(path), words=WORDS)
    pool(groups.response, groups.n, groups.lattice, [0])
    note_groups(groups, log)
    about = {"title": "ACE-Align training rows", "source": shown(path.name), "data_sha256": digest.hexdigest()}
    return Imported(to_cube(groups, choices, log, about), dict(log.noted), log.problems)


def write(cube: xr.Dataset, path: Path, *, force: bool = False) -> list[str]:
    """Write one row per edge with at least ten people at both ends; returns what the rows do not hold."""
    cube = losses.people(cube)
    with output.beside(path, suffixes=(".jsonl",), force=force) as part_path:
        count = output.write_json_lines(_rows(cube), part_path)
        if not count:
            raise DataError("has no edge to write", param="CUBE", expected=f"{MIN_RESPONDENTS} people at both ends")
    return [
        "the persona all: an import pools it from the subgroups of one attribute",
        f"responses of personas at no edge with {MIN_RESPONDENTS} people at both ends",
        "the published wording of prompts: they are in words of this program",
        *losses.lost(cube, words=WORDS),
    ]


def _rows(cube: xr.Dataset) -> Iterator[dict[str, Any]]:
    lattice, values = cubes.lattice_of(cube), cubes.values_of(cube)
    response, n = cube["response"].values, cube["n"].values
    for c, country in enumerate(cubes.countries_of(cube)):
        for v, value in enumerate(values):
            for low, high in lattice.edges[:, 2:].tolist():
                if min(n[c, v, low], n[c, v, high]) < MIN_RESPONDENTS:
                    continue
                yield {
                    "question_id": value.name,
                    "category": value.topic,
                    "country": country.name,
                    "options": {str(k): label for k, label in enumerate(value.options, 1)},
                    **{
                        name: {
                            "prompt_text": _prompt(country, value, lattice, p),
                            "p_real": coded(response[c, v, p], value),
                            "mode_option": int(response[c, v, p, : len(value.options)].argmax()) + 1,
                            "demographics": {**level_names(lattice, p), "country": country.label},
                            "sample_count": int(n[c, v, p]),
                        }
                        for name, p in (("group_A", low), ("group_B", high))
                    },
                }


def _prompt(country: Country, value: Value, lattice: Lattice, persona: int) -> str:
    codes = lattice.codes[persona].tolist()
    phrases = [a.levels[x].phrase for a, x in zip(lattice.attributes, codes, strict=True) if x >= 0]
    options = "\n".join(f"{k}: {label}" for k, label in enumerate(value.options, 1))
    return (
        f"{you_are(', '.join(phrases), country.label)}\n"
        "Answer the survey question below as the person just described would, with the number of one option and "
        f"nothing else.\n\nQuestion: {value.question}\n\nOptions (scale from 1 to {len(value.options)}):\n"
        f"{options}\n\nAnswer:\n"
    )


def _row(
    raw: Any, name: str, where: str, choices: Choices, numbers: dict[Any, str], log: Log
) -> tuple[Row, tuple[list[int], str]]:  # fmt: skip
    """Read one group of a row; also gives the codes, and the question as it stood in the prompt."""
    group = part(raw, name, dict, where)
    prompt = part(group, "prompt_text", str, where)
    _, there, rest = prompt.partition("Question: ")
    question, end, listed = rest.partition("\n\nOptions")
    if not there or not end:
        raise DataError(
            "the prompt cannot be read", param=where, expected="'Question: ...', an empty line, 'Options ...'",
            got=shown(repr(prompt[:60])),
        )  # fmt: skip
    codes, labels = options_of(_with_labels(raw, listed, where), where)
    persona = prompt.partition("\n")[0]
    told = {attribute: level for attribute, level, sign in _SIGNS if re.search(sign, persona)}
    if "demographics" in group:
        levels = {str(a): str(level) for a, level in part(group, "demographics", dict, where).items()}
        label = levels.pop("country", "")
        _same_persona(levels, told, where)
    else:
        levels = told
        found = _COUNTRY.search(persona)
        label = found[1] if found else ""
    label = label or choices.country
    if not levels or not label:
        raise DataError(
            "persona or country cannot be read from the prompt", param=where, expected="the published wording",
            got=shown(repr(prompt.partition("\n")[0][:120])),
            hint="" if label else "--country NAME names the country",
        )  # fmt: skip
    n = group.get("sample_count", choices.respondents)
    if n is None:
        raise DataError(
            "the rows hold no number of respondents", param=where, expected="sample_count",
            hint="--respondents N says how many stand behind each group",
        )  # fmt: skip
    if not isinstance(n, int | float) or not n:
        raise DataError("sample_count is no number of people", param=where, expected="1 or more", got=shown(repr(n)))
    number = numbers.setdefault((question, frozenset(map(spelling, labels))), f"q{len(numbers) + 1}")
    row = Row(
        where,
        (str(raw.get("country", re.sub(r"\s+", "_", label.lower()))), label),
        str(raw.get("category", "train")),
        str(raw.get("question_id", number)),
        reworded(question),
        labels,
        is_nominal(labels),
        levels,
        distribution_of(group, codes, where, log),
        whole(n, "sample_count", where),
    )
    mode = group.get("mode_option")
    if mode is not None and (mode not in codes or row.shares[codes.index(mode)] < max(row.shares) - 1e-9):
        raise DataError(
            "mode_option is not what most people chose", param=where,
            expected=codes[row.shares.index(max(row.shares))], got=shown(repr(mode)),
        )  # fmt: skip
    return row, (codes, question)


def _same_persona(levels: Mapping[str, str], told: Mapping[str, str], where: str) -> None:
    """Hold the published levels that a group names against those that its prompt tells in the published wording."""
    for attribute, level in told.items():
        known = {slug(name).lower() for a, name, _ in _SIGNS if a == attribute}
        named = slug(levels.get(attribute, level)).lower()
        if named in known and named != level.lower():
            raise DataError(
                "demographics and prompt speak of different people", param=where,
                expected=f"{attribute} {level}, as in the prompt", got=shown(levels[attribute]),
            )  # fmt: skip


def _with_labels(raw: Any, listed: str, where: str) -> Any:
    """Hold the options against the prompt's lines ``code: label``, which name those that are a bare list of codes."""
    lines = dict(re.findall(r"^(-?\d+): (.*)$", listed, re.MULTILINE))
    options = raw.get("options")
    count = re.match(r" \(scale from 1 to (\d+)\)", listed)
    if count and isinstance(options, list | dict) and int(count[1]) != len(options):
        raise DataError(
            "options and prompt differ in number", param=where, expected=f"{count[1]}, as in the prompt",
            got=len(options),
        )  # fmt: skip
    if isinstance(options, list):
        return {**raw, "options": {str(code): lines.get(str(code), str(code)) for code in options}}
    for code, label in options.items() if isinstance(options, dict) else ():
        if code in lines and spelling(lines[code]) not in _as_listed(str(label)):
            raise DataError(
                "the prompt lists another option under the code", param=f"{where}, code {shown(code)}",
                expected=shown(lines[code]), got=shown(label),
            )  # fmt: skip
    return raw


def _as_listed(label: str) -> set[str]:
    """How the published prompts may list an option: as it is, without a leading number, or as a point of a scale."""
    first = label.strip().partition("\n")[0]
    return {spelling(text) for text in (first, re.sub(r"^\d+[,.]?\s*", "", first), f"Point {first} on scale")}
