"""The evaluation tree of ACE-Align (arXiv 2601.12962): responses of subgroups, one file per combination and topic.

``COUNTRY/K_attributes/COMBINATION/TOPIC_real.json`` is a list of objects with question_id, question_text, category,
options {code: label}, demographics {attribute: level, and country}, p_real {code: share} and sample_count. Facts of the
layout: the files and ``data/README.md`` of github.com/Wells-Luo/ACE-Align at commit 2949e3e.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from acecausal.comparison.compare import MIN_RESPONDENTS
from acecausal.cube import files as cubes
from acecausal.cube.files import Value
from acecausal.cube.lattice import Lattice
from acecausal.errors import AceError, DataError
from acecausal.exchange import losses, output
from acecausal.exchange.association import pool
from acecausal.exchange.choices import Choices, Imported, Log
from acecausal.exchange.rows import Groups, Row, gather, to_cube
from acecausal.exchange.text import file_name, parse_json, part, read_text, shares, shown, whole

_FOLDER = re.compile(r"(\d+)_attributes")
_END = "_real.json"

#: Label and wording in a persona of the levels that the published data have.
WORDS = {
    ("gender", "Male"): ("men", "a man"),
    ("gender", "Female"): ("women", "a woman"),
    ("education", "College"): ("college education", "with a completed college education"),
    ("education", "No_College"): ("no college education", "without a completed college education"),
    ("residence", "Urban"): ("urban area", "living in an urban area"),
    ("residence", "Rural"): ("rural area", "living in a rural area"),
    ("marital_status", "Married"): ("married", "married"),
    ("marital_status", "Not_Married"): ("not married", "not married"),
}

#: Options without an order that the published data give as if they had one (ISSP 2017, social networks).
_NOMINAL = (
    {"family or relative", "close friend", "someone else i know", "no one"},
    {
        "close family member", "more distant family member", "close friend", "neighbour", "someone i work with",
        "someone else", "no one",
    },
)  # fmt: skip

#: What placeholders of the published questions say; [COUNTRY] itself is filled when a model is asked.
_FILLS = {
    "country nationality": "the nationality of [COUNTRY]",
    "nationality": "the nationality of [COUNTRY]",
    "country language": "the language of [COUNTRY]",
    "continent": "the continent of [COUNTRY]",
    "county": "county",
    "religion": "religion",
    "parliament": "the national parliament",
}

#: A question's people, over all groups, from which on an option that nobody chose is worth a note.
_MANY = 100


@dataclass(frozen=True, slots=True)
class _File:
    country: str
    depth: int
    combination: str
    topic: str
    path: Path


def read(path: Path, choices: Choices) -> Imported:
    """Read a tree of countries, or one country's folder.

    Raises
    ------
    DataError
        For what is no such tree; for a file that cannot be read, a row that is wrong, or a combination of attributes
        without its file (which may be passed over).
    """
    log = Log(choices.keep_going)
    files = _files(path, log)
    digest, rows = hashlib.sha256(), []
    asked: dict[tuple[str, str], tuple[list[int], str]] = {}
    for file in files:
        name = shown(file.path)
        try:
            text = read_text(file.path)
            found = parse_json(text, name)
            if not isinstance(found, list):
                raise DataError("is no list", param=name, expected="a JSON list", got=type(found).__name__)
        except DataError as error:
            log.problem(error)
            continue
        digest.update(text.encode())
        for number, raw in enumerate(found):
            try:
                row = _row(raw, file, f"{name}, row {number}", log)
            except DataError as error:
                log.problem(error)
                continue
            if (row.topic, row.question_id) not in asked:
                asked[row.topic, row.question_id] = (options_of(raw, row.where)[0], raw["question_text"])
            if row.n:
                rows.append(row)
            else:
                log.noted["groups without respondents (left out)"] += 1
    attributes = _attributes(rows, files)
    _complete(files, attributes, path, log)
    note_questions(rows, asked, log)
    groups = gather(rows, attributes, choices, log, source=shown(path), words=WORDS)
    pool(groups.response, groups.n, groups.lattice, [0])
    note_groups(groups, log)
    about = {"title": "ACE-Align evaluation tree", "source": shown(path.name), "data_sha256": digest.hexdigest()}
    return Imported(to_cube(groups, choices, log, about), dict(log.noted), log.problems)


def write(cube: xr.Dataset, path: Path, *, force: bool = False) -> list[str]:
    """Write a survey cube as a tree, every number with all its digits; returns what the layout does not hold."""
    cube = losses.people(cube)
    lattice, values = cubes.lattice_of(cube), cubes.values_of(cube)
    topics = _file_names([value.topic for value in values], "topics")
    folders = _file_names([country.name for country in cubes.countries_of(cube)], "countries")
    response, n = cube["response"].values, cube["n"].values
    with output.beside(path, force=force) as folder:
        for c, country in enumerate(cubes.countries_of(cube)):
            for attributes, personas in combinations_of(lattice):
                names = [lattice.attributes[a].name for a in attributes]
                place = folder / folders[country.name] / f"{len(names)}_attributes" / "_".join(names)
                place.mkdir(parents=True, exist_ok=True)
                for topic, name in topics.items():
                    at = [v for v, value in enumerate(values) if value.topic == topic]
                    if not n[c, at].any():
                        continue  # the topic was not asked in this country
                    rows = [
                        {
                            "question_id": values[v].name,
                            "question_text": values[v].question,
                            "category": topic,
                            "options": {str(k): label for k, label in enumerate(values[v].options, 1)},
                            "demographics": {**level_names(lattice, p), "country": country.label},
                            "p_real": coded(response[c, v, p], values[v]),
                            "sample_count": int(n[c, v, p]),
                        }
                        for v in at
                        for p in personas
                        if n[c, v, p]
                    ]
                    text = json.dumps(rows, ensure_ascii=False, indent=2)
                    (place / f"{name}{_END}").write_text(text, encoding="utf-8")
    return ["the persona all: an import pools it from the subgroups of one attribute", *losses.lost(cube, words=WORDS)]


def combinations_of(lattice: Lattice) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """Yield each set of attributes that personas specify, and these personas, baselines first."""
    specified = lattice.codes >= 0
    for size in range(1, lattice.depth + 1):
        for attributes in combinations(range(len(lattice.attributes)), size):
            wanted = np.isin(np.arange(len(lattice.attributes)), attributes)
            personas = np.flatnonzero((specified == wanted).all(axis=1)).tolist()
            yield attributes, sorted(personas, key=lambda p: _baselines_first(lattice, p))


def _baselines_first(lattice: Lattice, persona: int) -> list[tuple[bool, int]]:
    codes = lattice.codes[persona].tolist()
    return [(x != a.baseline_code, x) for x, a in zip(codes, lattice.attributes, strict=True)]


def level_names(lattice: Lattice, persona: int) -> dict[str, str]:
    """Attribute to level of one persona, by their names."""
    codes = lattice.codes[persona].tolist()
    return {a.name: a.levels[x].name for a, x in zip(lattice.attributes, codes, strict=True) if x >= 0}


def coded(response: np.ndarray, value: Value) -> dict[str, float]:
    """Write shares, shape (options,), under the codes 1..K."""
    return {str(k + 1): float(response[k]) for k in range(len(value.options))}


def options_of(raw: Any, where: str) -> tuple[list[int], tuple[str, ...]]:
    """Read options {code: label}: codes and labels, in the order of the codes.

    Raises
    ------
    DataError
        If a code is no whole number, they do not ascend, or there are fewer than two.
    """
    options = part(raw, "options", dict, where)
    try:
        codes = [int(code) for code in options]
    except ValueError:
        raise DataError(
            "an option's code is no number", param=where, expected="whole numbers", got=shown(", ".join(options))
        ) from None
    if len(codes) < 2:
        raise DataError("too few options", param=where, expected="two or more", got=len(codes))
    if any(b <= a for a, b in pairwise(codes)):
        raise DataError(
            "options out of order", param=where, expected=", ".join(map(str, sorted(set(codes)))),
            got=", ".join(map(str, codes)),
        )  # fmt: skip
    return codes, tuple(str(label) for label in options.values())


def distribution_of(raw: Any, codes: list[int], where: str, log: Log) -> list[float]:
    """Read p_real {code: share}; an option that is left out has none.

    Raises
    ------
    DataError
        If it has a code that the options do not have, or is no distribution.
    """
    found = part(raw, "p_real", dict, where)
    wanted = [str(code) for code in codes]
    foreign = [key for key in found if key not in wanted]
    if foreign:
        raise DataError(
            "p_real has options that the question has not", param=where, expected=", ".join(wanted),
            got=shown(", ".join(found)),
        )  # fmt: skip
    if len(found) < len(wanted):
        log.noted["rows that leave out options (taken as nobody's)"] += 1
    return shares([found.get(key, 0.0) for key in wanted], len(wanted), where)


def note_groups(groups: Groups, log: Log) -> None:
    """Count what is odd in the numbers: few people, options that nobody chose."""
    finer = groups.n[:, :, 1:]
    for count, text in (
        (int(((finer > 0) & (finer < MIN_RESPONDENTS)).sum()), f"groups of fewer than {MIN_RESPONDENTS} people"),
        (int((finer == 1).sum()), "groups of one person"),
        (
            int(((groups.response[:, :, 0] == 0).any(axis=-1) & (groups.n[:, :, 0] >= _MANY)).sum()),
            "questions of a country with an option that nobody chose (a shorter scale on a longer one?)",
        ),
    ):
        if count:
            log.noted[text] += count


def note_questions(rows: Sequence[Row], asked: Mapping[tuple[str, str], tuple[list[int], str]], log: Log) -> None:
    """Count what is odd in the questions: codes, missing order, placeholders.

    Parameters
    ----------
    asked : mapping
        Topic and question id to codes and the wording as it stood in the file.
    """
    nominal = {(row.topic, row.question_id) for row in rows if row.nominal}
    for count, text in (
        (sum(codes[0] == 0 for codes, _ in asked.values()), "questions coded from 0 (options are kept by position)"),
        (
            sum(codes[-1] - codes[0] != len(codes) - 1 for codes, _ in asked.values()),
            "questions with gaps between their codes (options are kept by position)",
        ),
        (len(nominal), "questions whose options have no order (taken as nominal, written as if they had one)"),
        (
            sum("[country]" in reworded(text).lower() for _, text in asked.values()),
            "questions with a placeholder for the country (filled when a model is asked)",
        ),
        (sum(reworded(text) != text for _, text in asked.values()), "questions with another placeholder (worded out)"),
        (
            sum(re.search(r"\[[A-Z][A-Z' ]+\]", re.sub(r"\[COUNTRY\]", "", reworded(text), flags=re.I)) is not None
                for _, text in asked.values()),
            "questions with an unknown placeholder (no model can be asked them)",
        ),
    ):  # fmt: skip
        if count:
            log.noted[text] += count


def reworded(question: str) -> str:
    """Word out the placeholders of the published questions, but for [COUNTRY]."""
    text = re.sub(r"\s*\[use [^\]]*\]", "", question, flags=re.IGNORECASE)
    return re.sub(r"\[([^\[\]]*)\]", lambda m: _FILLS.get(m[1].strip().lower(), m[0]), text)


def is_nominal(options: Sequence[str]) -> bool:
    """Whether these are options of the published data that have no order."""
    return {label.strip().lower() for label in options} in _NOMINAL


def _file_names(labels: Sequence[str], what: str) -> dict[str, str]:
    """Name the files of topics or the folders of countries, each its own."""
    found = {label: file_name(label) for label in labels}
    names = [name.lower() for name in found.values()]  # some file systems do not tell cases apart
    if len(set(names)) < len(names):
        twice = next(label for label, name in found.items() if names.count(name.lower()) > 1)
        raise AceError(f"two {what} would get the same file name", param="export", got=shown(twice))
    return found


# --- reading ----------------------------------------------------------------------------------------------------------


def _files(path: Path, log: Log) -> list[_File]:
    if not path.is_dir():
        raise DataError(
            "is no folder" if path.exists() else "does not exist", param=shown(path),
            expected="a folder COUNTRY/K_attributes/COMBINATION/TOPIC_real.json",
        )  # fmt: skip
    one = any(_FOLDER.fullmatch(child.name) for child in path.iterdir())
    countries = [path.resolve()] if one else [child for child in path.iterdir() if child.is_dir()]
    files, others = [], 0
    for file in sorted(found for country in countries for found in country.rglob("*") if found.is_file()):
        country, *folders = file.relative_to(path.resolve().parent if one else path).parts
        depth = _FOLDER.fullmatch(folders[0])
        if depth and len(folders) == 3 and folders[2].endswith(_END):
            files.append(_File(country, int(depth[1]), folders[1], folders[2].removesuffix(_END), file))
        else:
            others += 1
    if not files:
        raise DataError(
            "holds no file of the layout", param=shown(path),
            expected="COUNTRY/K_attributes/COMBINATION/TOPIC_real.json",
            got=f"{others} other files" if others else "an empty folder",
        )  # fmt: skip
    if others:
        log.noted["files that are not of the layout (left alone)"] += others
    return sorted(files, key=lambda f: (f.country, f.depth, f.combination, f.topic))


def _row(raw: Any, file: _File, where: str, log: Log) -> Row:
    codes, labels = options_of(raw, where)
    levels = {str(name): str(level) for name, level in part(raw, "demographics", dict, where).items()}
    label = levels.pop("country", file.country.replace("_", " ").title())
    if len(levels) != file.depth or _split(file.combination, levels) is None:
        raise DataError(
            "demographics are not those of the folder", param=where,
            expected=f"{file.depth} attributes: {shown(file.combination)}", got=shown(", ".join(levels) or "none"),
        )  # fmt: skip
    used = raw.get("attributes_used", list(levels))
    if not isinstance(used, list) or {str(name) for name in used} != set(levels):
        raise DataError(
            "demographics are not those of attributes_used", param=where, expected=shown(used),
            got=shown(", ".join(levels)),
        )  # fmt: skip
    category = str(raw.get("category") or file.topic)
    if file_name(category) != file_name(file.topic):
        log.noted["rows whose category is not the name of their file (the category is kept as topic)"] += 1
    return Row(
        where,
        (file.country, label),
        category,
        str(part(raw, "question_id", (str, int), where)),
        reworded(part(raw, "question_text", str, where)),
        labels,
        is_nominal(labels),
        levels,
        distribution_of(raw, codes, where, log),
        whole(part(raw, "sample_count", (int, float), where), "sample_count", where),
    )


def _split(folder: str, names: Mapping[str, Any] | Sequence[str]) -> list[str] | None:
    """Split the name of a combination into names of attributes, each once; None if it is none of them."""
    if not folder:
        return None
    for name in names:
        if folder == name:
            return [name]
        if folder.startswith(f"{name}_"):
            rest = _split(folder[len(name) + 1 :], [other for other in names if other != name])
            if rest is not None:
                return [name, *rest]
    return None


def _attributes(rows: Sequence[Row], files: Sequence[_File]) -> list[str]:
    """Order the attributes as the folder of the deepest combination names them."""
    names = list(dict.fromkeys(name for row in rows for name in row.levels))
    deepest = max((file for file in files), key=lambda f: f.depth)
    first = _split(deepest.combination, names) or []
    return [*first, *(name for name in names if name not in first)]


def _complete(files: Sequence[_File], attributes: Sequence[str], path: Path, log: Log) -> None:
    """Find combinations of attributes that a country has no file for."""
    depth = max(file.depth for file in files)
    there = {(f.country, f.topic, frozenset(_split(f.combination, attributes) or ())) for f in files}
    for country, topic in sorted({(f.country, f.topic) for f in files}):
        for size in range(1, min(depth, len(attributes)) + 1):
            for combination in combinations(attributes, size):
                if (country, topic, frozenset(combination)) not in there:
                    log.problem(
                        DataError(
                            "a combination is missing", param=f"{shown(path)}, {shown(country)}",
                            expected=shown(f"{size}_attributes/{'_'.join(combination)}/{topic}{_END}"),
                            got="no such file",
                        )
                    )  # fmt: skip
