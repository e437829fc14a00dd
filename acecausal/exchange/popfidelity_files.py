"""facets.yaml and questions.yaml of popfidelity: what a cell's id says, and what was asked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from acecausal.errors import DataError
from acecausal.exchange.choices import Log
from acecausal.exchange.text import read_number, read_text, shown
from acecausal.plain_yaml import read_yaml

#: What stands in a cell's id where an attribute is left open.
OPEN = "*"
COUNTRY = "country"
#: What stands there where a level is not known, unless facets.yaml says what does.
MISSING = frozenset({"", "NA", "nan", "NaN", "None", "<NA>"})
#: No cell's id is longer.
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Facets:
    """What facets.yaml says of a cell's id.

    Attributes
    ----------
    names : list of str
        Families.
    levels : dict of str to list of str
        Family to its levels in order, where they are listed.
    pattern : re.Pattern or None
        Of the whole id, a named group per family; without one the id is joined by ``|``, in the order of `names`.
    derive : dict of str to (str, dict of str to str)
        Family to the group that it is made of, and how.
    missing : frozenset of str
        What stands for a level that is not known.
    """

    names: list[str]
    levels: dict[str, list[str]] = field(default_factory=dict)
    pattern: re.Pattern[str] | None = None
    derive: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    missing: frozenset[str] = MISSING


def levels_of(cell: str, facets: Facets, where: str) -> dict[str, str] | None:
    """Read a cell's id: family to level, without families that it leaves open; None if a level is missing.

    Raises
    ------
    DataError
        If the id has another form, or a level that its family does not have.
    """
    if facets.pattern:
        match = facets.pattern.fullmatch(cell) if len(cell) <= _LONGEST else None
        if not match:
            raise DataError(
                "cell_id does not match labels.pattern of facets.yaml", param=where,
                expected=shown(facets.pattern.pattern), got=shown(cell),
            )  # fmt: skip
        found = {name: level for name, level in match.groupdict().items() if level is not None}
        for name, (source, mapping) in facets.derive.items():
            if source in found:
                found[name] = mapping.get(found[source], found[source])
        found = {name: found[name] for name in (*facets.names, COUNTRY) if name in found}
    else:
        parts = cell.split("|")
        if len(parts) != len(facets.names):
            raise DataError(
                "cell_id has another number of parts", param=where, expected=shown("|".join(facets.names)),
                got=shown(cell),
            )  # fmt: skip
        found = dict(zip(facets.names, parts, strict=True))
    found = {name: level for name, level in found.items() if level != OPEN}
    for name, level in found.items():
        known = facets.levels.get(name)
        if level in facets.missing and level not in (known or ()):
            return None
        if known and level not in known:
            raise DataError(
                f"cell_id has no level of {shown(name)} in its place", param=where, expected=shown(", ".join(known)),
                got=shown(f"{level}, in {cell}"),
                hint="facets.yaml names the families in the order of the parts, or says it in labels.pattern",
            )  # fmt: skip
    return found


def _yaml(path: Path, key: str) -> tuple[dict[str, Any], list[Any]]:
    """Read a specification, and the list that it is about."""
    raw = read_yaml(read_text(path), shown(path), DataError, texts=True)
    if not isinstance(raw, dict) or not isinstance(raw.get(key), list):
        raise DataError(f"{key} is missing", param=shown(path), expected=f"a list {key}")
    if raw.get("schema_version", "1") != "1":
        raise DataError(
            "is of another version", param=shown(path), expected="schema_version 1", got=shown(raw["schema_version"])
        )
    return raw, raw[key]


def _texts(item: Any, what: str, where: str) -> list[str]:
    """Take a list of texts, each once."""
    if not isinstance(item, list) or not all(isinstance(text, str) for text in item) or len(set(item)) < len(item):
        raise DataError(f"{what} are not as they should be", param=where, expected="a list of texts, each once")
    return item


def read_facets(path: Path) -> Facets | None:
    """Read facets.yaml, if it is there.

    Raises
    ------
    DataError
        If it is not as popfidelity has it, or its pattern cannot be used.
    """
    if not path.exists():
        return None
    where = shown(path)
    raw, entries = _yaml(path, "families")
    levels = {}
    given = [entry.get("name") if isinstance(entry, dict) else entry for entry in entries]
    names = _texts(given, "the names of families", where)
    for name, entry in zip(names, entries, strict=True):
        if isinstance(entry, dict) and entry.get("levels"):
            levels[name] = _texts(entry["levels"], f"levels of {shown(name)}", where)
    labels = raw.get("labels") or {}
    if not isinstance(labels, dict):
        raise DataError("labels is no mapping", param=where, expected="labels: {pattern: ...}")
    derive = {}
    for name, rule in _mapping(labels.get("derive"), "labels.derive", where).items():
        how = _mapping(rule, f"labels.derive.{shown(name)}", where)
        derive[name] = (str(how.get("from")), _mapping(how.get("map"), f"labels.derive.{shown(name)}.map", where))
    pattern = _pattern(labels.get("pattern"), where)
    if pattern:
        without = [name for name in names if name not in pattern.groupindex and name not in derive]
        if without:
            raise DataError(
                "labels.pattern does not say where a family stands", param=where,
                expected=f"(?P<{shown(without[0])}>...)", got=shown(pattern.pattern),
            )  # fmt: skip
    missing = frozenset(_texts(raw["missing"], "missing", where)) if raw.get("missing") else MISSING
    return Facets(names, levels, pattern, derive, missing)


def _mapping(item: Any, what: str, where: str) -> dict[str, Any]:
    if not isinstance(item or {}, dict):
        raise DataError(f"{what} is no mapping", param=where, expected="a mapping", got=shown(item))
    return item or {}


def _pattern(text: Any, where: str) -> re.Pattern[str] | None:
    if not text or text in ("~", "null"):
        return None
    # a repeated group can take exponential time, and no id needs one
    if not isinstance(text, str) or re.search(r"\)[*+{]", text):
        raise DataError(
            "labels.pattern is none that is read here", param=where,
            expected="a regular expression without repeated groups", got=shown(text),
        )  # fmt: skip
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise DataError("labels.pattern is no regular expression", param=where, got=shown(error)) from None


def read_questions(path: Path, log: Log) -> dict[str, dict[str, Any]]:
    """Read ids to text, ordinal, and the options' labels in order; nothing if it is not there.

    Raises
    ------
    DataError
        If it is not as popfidelity has it.
    """
    found: dict[str, dict[str, Any]] = {}
    if not path.exists():
        return found
    for number, entry in enumerate(_yaml(path, "questions")[1]):
        where = f"{shown(path)}, question {number}"
        if not isinstance(entry, dict) or "id" not in entry or not isinstance(entry.get("options"), list):
            raise DataError("a question is not as it should be", param=where, expected="id, options")
        options = [option if isinstance(option, dict) else {"label": option} for option in entry["options"]]
        labels = _texts([option.get("label") for option in options], "options", where)
        places = [read_number(str(o.get("position", k)), "position", "a number", where) for k, o in enumerate(options)]
        if any(not b > a for a, b in pairwise(places)):
            raise DataError("positions do not increase", param=where, expected="1, 2, ...", got=places)
        if len({round(b - a, 9) for a, b in pairwise(places)}) > 1:
            log.noted["questions whose options are unevenly spaced (taken as even)"] += 1
        ordinal = entry.get("ordinal", "true")
        if str(ordinal).lower() not in ("true", "false"):
            raise DataError(
                "ordinal is neither true nor false", param=where, expected="true or false", got=shown(ordinal)
            )
        text = entry.get("text") or entry["id"]
        for name, item in (("id", entry["id"]), ("text", text)):
            if not isinstance(item, str):
                raise DataError(f"{name} is no text", param=where, expected="a text", got=type(item).__name__)
        if entry["id"] in found:
            raise DataError("the question stands twice", param=where, expected="each id once", got=shown(entry["id"]))
        found[entry["id"]] = {"text": text, "ordinal": str(ordinal).lower() == "true", "options": labels}
    return found
