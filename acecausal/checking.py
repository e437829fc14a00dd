"""Does a file say what a codebook expects? Columns, codes and labels, compared before anything is estimated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from acecausal.codebook import (
    AttributeSpec,
    Codebook,
    LevelSpec,
    Missing,
    OptionSpec,
    ValueSpec,
    code_key,
    load_codebook,
    number,
    shipped_codebooks,
)
from acecausal.countries import customary
from acecausal.errors import DataError
from acecausal.readers import Labels, read_labels, read_table
from acecausal.survey import EMPTY, TWICE, belonging, no_number

#: Labels of codes that say nothing.
SAYS_NOTHING = re.compile(
    r"do(n.?t| not) know|dk\b|ca(n.?t|nnot) choose|refus|no answer|not appl|\bnap\b|\biap\b|not asked|not avail|missing"
    r"|skipped|not put|inapplicable",
    re.IGNORECASE,
)
#: Labels contradict a codebook if they resemble another option at least so much, and that much more than their own.
ALIKE, CLEARER = 0.5, 0.25


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which a file and a codebook disagree.

    Attributes
    ----------
    severity : {'error', 'warning'}
        Whether `estimate` would stop or give wrong numbers, or whether it is worth knowing.
    column : str
        As the codebook spells it; '' for what concerns the whole file.
    about : str
        What the codebook takes the column for, as ``value trust``.
    what, expected, got, hint : str
    """

    severity: Literal["error", "warning"]
    column: str
    about: str
    what: str
    expected: str = ""
    got: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a file: how often each code occurs, empty cells apart, and what the file calls the codes."""

    counts: dict[str, int]
    labels: dict[str, str]

    def shown(self, keys: Sequence[str], most: int = 6) -> str:
        told = [
            f"{key}{f' {self.labels[key]!r}' if key in self.labels else ''} ({self.counts.get(key, 0)} rows)"
            for key in keys[:most]
        ]
        return ", ".join(told) + (f" and {len(keys) - most} more" if len(keys) > most else "")


def check(
    sources: str | Path | Sequence[str | Path], codebook: Codebook, *, encoding: str | None = None
) -> list[Finding]:
    """Compare files with a codebook, reading only the columns that it names.

    Parameters
    ----------
    sources : path, or sequence of them
        As for `acecausal.survey.read_survey`; looked at one by one.
    codebook : Codebook
    encoding : str, optional
        As for `acecausal.readers.read_table`.

    Returns
    -------
    list of Finding
        Errors first; none if all agrees.

    Raises
    ------
    DataError
        If a file cannot be read at all.
    """
    paths = [sources] if isinstance(sources, str | Path) else list(sources)
    found = [finding for path in paths for finding in _check_file(path, codebook, encoding)]
    return sorted(found, key=lambda finding: finding.severity != "error")


def _check_file(path: str | Path, book: Codebook, encoding: str | None) -> Iterator[Finding]:
    labels = read_labels(path, encoding=encoding)
    names = {name.lower() for name in labels.columns}
    parts = _parts(book)
    yield from _absent(names, parts, book)
    present = [column for column in parts if column.lower() in names]
    if not present:
        return
    try:
        table = read_table(path, present, listed=book.listed, encoding=encoding)
    except DataError as error:
        if "twice" not in error.message:
            raise
        yield Finding(
            "error", error.param.rpartition("column ")[2], "", error.message, got=str(error.got), hint=error.hint
        )
        return
    try:
        table = belonging(table, book, {}, str(path)) if set(book.rows) <= set(present) else table
    except DataError as error:
        yield Finding(
            "error", ", ".join(book.rows), "rows", error.message, str(error.expected), str(error.got), error.hint
        )
        return
    yield from _contents({column: _column(table[column], labels, column) for column in present}, book)
    if book.weight and book.weight.column in table:
        yield from _weights(table, book)
    yield from _doubled(table, book)


def _absent(names: set[str], parts: Mapping[str, str], book: Codebook) -> Iterator[Finding]:
    """Report the columns that the file lacks: one by one, or, where it is most questions, that it is another file."""
    absent = [column for column in parts if column.lower() not in names]
    values = {spec.column for spec in book.values.values()}
    gone = values & set(absent)
    wholesale = 3 * len(gone) > len(values) and len(gone) > 1
    if wholesale:
        better = _better(names, book)
        yield Finding(
            "error", "", "the file", "looks like another survey, wave or edition than the codebook's",
            f"the columns of {book.title}", f"{len(gone)} of {len(values)} value columns are absent",
            f"codebook {better} has more of its columns here" if better else "take the file that the codebook names",
        )  # fmt: skip
    optional = {column for part in book.design if part.absent_in for column in part.columns}
    for column in absent:
        if not (wholesale and column in gone):
            yield Finding(
                "warning" if column in optional else "error", column, parts[column], "is no column of the file",
                hint="name the values to take with --values, or take it out of the codebook"
                if parts[column].startswith("value ") else "",
            )  # fmt: skip


def _contents(read: Mapping[str, _Column], book: Codebook) -> Iterator[Finding]:
    """Compare codes and labels, column by column."""
    if book.countries.column in read:
        yield from _country(read[book.countries.column], book)
    for kind, specs in (("attribute", book.attributes), ("value", book.values)):
        for name, spec in specs.items():
            if spec.column in read:
                yield from _coded(f"{kind} {name}", spec, read[spec.column], book.missing_codes(spec))
    for name, covariate in book.covariates.items():
        if covariate.column in read:
            column, missing = read[covariate.column], book.missing_codes(covariate)
            yield from _numeric(f"covariate {name}", covariate.column, column, missing, [])


def _parts(book: Codebook) -> dict[str, str]:
    """Say what each column of the codebook is taken for."""
    found = {book.countries.column: "country"}
    for column in book.rows:
        found.setdefault(column, "rows")
    for kind, specs in (("attribute", book.attributes), ("value", book.values), ("covariate", book.covariates)):
        for name, spec in specs.items():
            found.setdefault(spec.column, f"{kind} {name}")
    for kind in ("weight", "stratum", "psu", "fpc", "id", "rater", "item"):
        part = getattr(book, kind)
        for column in part.columns if part else ():
            found.setdefault(column, kind)
    return found


def _better(names: set[str], book: Codebook) -> str:
    """Name the shipped codebook most of whose columns are in the file, if it is another one that fits."""

    def share(other: Codebook) -> float:
        columns = [column.lower() for column in other.columns]
        return sum(column in names for column in columns) / len(columns)

    fits = {name: share(load_codebook(name)) for name in shipped_codebooks() if name != book.name}
    best = max(fits, key=fits.__getitem__)
    return best if fits[best] > max(share(book), 0.5) else ""


def _column(cells: pd.Series, labels: Labels, name: str) -> _Column:
    counts: dict[str, int] = {}
    for code, count in cells.value_counts(dropna=True).items():
        key = code_key(code)
        if key not in EMPTY:
            counts[key] = counts.get(key, 0) + int(count)
    own = next((found for column, found in labels.values.items() if column == name), None)
    if own is None:
        own = next((found for column, found in labels.values.items() if column.lower() == name.lower()), {})
    return _Column(dict(sorted(counts.items(), key=_by_number)), own)


def _by_number(item: tuple[str, int]) -> tuple[bool, float, str]:
    try:
        return False, float(item[0]), ""
    except ValueError:
        return True, 0.0, item[0]


def _country(column: _Column, book: Codebook) -> Iterator[Finding]:
    known = {code_key(code) for country in book.countries.levels.values() for code in country.codes}
    missing = book.missing_codes()
    strange = [key for key in column.counts if key not in known and key not in missing]
    if strange:
        yield Finding(
            "error", book.countries.column, "country", "country codes that the codebook does not know",
            f"{len(known)} codes, as {', '.join(sorted(known)[:6])}", column.shown(strange),
            customary(strange) or "add them under countries.levels, or list them under missing",
        )  # fmt: skip


# --- codes and labels -------------------------------------------------------------------------------------------------


def _coded(about: str, spec: AttributeSpec | ValueSpec, column: _Column, missing: Missing) -> Iterator[Finding]:
    name = spec.column
    entries: list[tuple[str, LevelSpec | OptionSpec]]
    entries = list(spec.levels.items()) if isinstance(spec, AttributeSpec) else [("", o) for o in spec.options]
    if not any(key not in missing for key in column.counts):
        yield Finding("warning", name, about, "nobody has an answer here")
        return
    ranges = [entry.range for _, entry in entries if isinstance(entry, LevelSpec) and entry.range]
    if ranges:
        yield from _numeric(about, name, column, missing, ranges)
        return
    place = {code_key(code): i for i, (_, entry) in enumerate(entries) for code in entry.codes}
    strange = [key for key in column.counts if key not in place and key not in missing]
    if strange:
        yield _unlisted(about, name, column, place, strange, missing)
    unused = [key for key in place if not column.counts.get(key)]
    if unused:
        yield Finding("warning", name, about, "codes that never occur", got=", ".join(unused))
    known = {key: label for key, label in column.labels.items() if label}
    words = [{*_words(level), *_words(entry.label), *_words(getattr(entry, "phrase", ""))} for level, entry in entries]
    plain = [_words(entry.label) for _, entry in entries]
    for key, i in place.items():
        if key not in known:
            continue
        if SAYS_NOTHING.search(known[key]) and not SAYS_NOTHING.search(entries[i][1].label):
            yield Finding(
                "error", name, about, f"code {key} is an answer in the codebook, and says nothing in the file",
                repr(entries[i][1].label), repr(known[key]), "list it under missing",
            )  # fmt: skip
            continue
        alike = [max(_alike(_words(known[key]), some), _alike(_words(known[key]), every))
                 for some, every in zip(plain, words, strict=True)]  # fmt: skip
        other = int(np.argmax(alike))
        if other != i and alike[other] >= ALIKE and alike[other] >= alike[i] + CLEARER:
            yield Finding(
                "error", name, about, f"code {key} means something else in the file",
                repr(entries[i][1].label), repr(known[key]),
                f"looks like {entries[other][1].label!r}: mend the order of the codes, or take another codebook",
            )  # fmt: skip
    for key, label in known.items():
        if key in missing and column.counts.get(key) and not SAYS_NOTHING.search(label):
            yield Finding(
                "warning", name, about, f"code {key} is missing in the codebook, and has a label in the file",
                "a label such as \"don't know\"", f"{label!r} ({column.counts[key]} rows)",
                "if it is an answer, list it among the options",
            )  # fmt: skip


def _unlisted(
    about: str, name: str, column: _Column, place: Mapping[str, int], strange: list[str], missing: Missing
) -> Finding:
    hint = "list them under the level or option they mean, or under missing"
    if all(SAYS_NOTHING.search(column.labels.get(key, "")) for key in strange):
        hint = "they say nothing: list them under missing"
    used = [key for key in column.counts if key not in missing]
    if all(re.fullmatch(r"-?\d+", key) for key in (*used, *place)):
        for by, words in ((1, "lower"), (-1, "higher")):
            if {str(int(key) + by) for key in used} == set(place):
                hint = f"the file counts one {words} than the codebook, {used[0]} to {used[-1]}: mend the codes"
    return Finding(
        "error", name, about, "codes that the codebook does not list", ", ".join(place), column.shown(strange), hint
    )


def _numeric(
    about: str, name: str, column: _Column, missing: Missing, ranges: Sequence[tuple[float, float]]
) -> Iterator[Finding]:
    words, outside = [], []
    for key in column.counts:
        if key in missing:
            continue
        found = number(key)
        if found is None:
            words.append(key)
        elif ranges and not any(low <= found <= high for low, high in ranges):
            outside.append(key)
    if words:
        yield Finding("error", name, about, "not numbers", "numbers", column.shown(words), no_number(words))
    if outside:
        yield Finding(
            "error", name, about, "numbers outside every level's range",
            " ".join(f"{low:g}-{high:g}" for low, high in ranges), column.shown(outside),
            "widen a range, or list them under missing",
        )  # fmt: skip


def _words(text: str) -> set[str]:
    """Words of a label without numbering and endings, so that "1 - Agree strongly" and "strongly agree" are alike."""
    found = re.findall(r"[^\W\d_]+|\d+", text.casefold().replace("'", ""))
    letters = [word for word in found if not word.isdigit()]
    return {word[:6] for word in (letters or found)}


def _alike(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other) if one | other else 0.0


# --- weights and respondents ------------------------------------------------------------------------------------------


def _weights(table: pd.DataFrame, book: Codebook) -> Iterator[Finding]:
    assert book.weight is not None
    weight = pd.to_numeric(table[book.weight.column], errors="coerce").to_numpy(dtype=float)
    bad = int((~(weight >= 0) | np.isinf(weight)).sum())
    if bad and not book.weight.absent_in:
        yield Finding(
            "error", book.weight.column, "weight", "weights that are missing, negative or infinite",
            "positive numbers, or 0 for who is outside the sample", f"{bad} of {len(weight)} rows",
            "mend them, or fill in weight.absent_in",
        )  # fmt: skip


def _doubled(table: pd.DataFrame, book: Codebook) -> Iterator[Finding]:
    if book.rater:  # stands on many rows; `estimate` says what contradicts itself
        return
    keys = [book.countries.column, *book.id.columns] if book.id else list(table.columns)
    if not set(keys) <= set(table.columns):
        return
    twice = int(table.dropna(subset=keys[1:] if book.id else None, how="all").duplicated(subset=keys).sum())
    if twice:
        yield Finding(
            "error" if book.id else "warning", book.id.column if book.id else "", "id" if book.id else "the file",
            "respondents stand twice" if book.id else "rows equal to an earlier one in every column read",
            got=f"{twice} rows too many", hint=TWICE if book.id else "copies, if the columns are many",
        )  # fmt: skip
