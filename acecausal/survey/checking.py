"""Does a file say what a codebook expects? Columns, codes and labels, compared before anything is estimated."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from acecausal.cube.check_questions import check_values
from acecausal.cube.files import spelling
from acecausal.cube.lattice import Lattice
from acecausal.errors import DataError
from acecausal.survey.cells import EMPTY, no_number
from acecausal.survey.codebook import (
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
from acecausal.survey.copies import COPIES, copies_hint, count_copies
from acecausal.survey.countries import customary
from acecausal.survey.data import belonging, from_table, in_domain
from acecausal.survey.readers import Labels, read_labels, read_table
from acecausal.survey.wording import contradictions, says_nothing, silent_codes


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which a file and a codebook disagree.

    Attributes
    ----------
    severity : {'error', 'warning', 'note'}
        Whether `estimate` would stop or give wrong numbers, whether somebody should look, or whether it is only told.
    column : str
        As the codebook spells it; '' for what concerns the whole file.
    about : str
        What the codebook takes the column for, as ``value trust``.
    what, expected, got, hint : str
    """

    severity: Literal["error", "warning", "note"]
    column: str
    about: str
    what: str
    expected: str = ""
    got: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a file: how often each code occurs, empty cells apart; what the file calls them; what it drops."""

    counts: dict[str, int]
    labels: dict[str, str]
    declared: frozenset[str]

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
        As for `acecausal.survey.data.read_survey`; looked at one by one.
    codebook : Codebook
    encoding : str, optional
        As for `acecausal.survey.readers.read_table`.

    Returns
    -------
    list of Finding
        Errors first, then warnings; none if all agrees, the files declare nothing missing, and the codebook words a
        check question for each attribute.

    Raises
    ------
    DataError
        If a file cannot be read at all.
    """
    paths = [sources] if isinstance(sources, str | Path) else list(sources)
    found = [finding for path in paths for finding in _check_file(path, codebook, encoding)]
    labelled = [path for path in paths if str(path).lower().endswith((".sav", ".zsav", ".dta"))]
    columns = {finding.column for finding in found if finding.severity == "error"}
    found += [f for _, f in _against_each_other(labelled, codebook, encoding) if f.column not in columns]
    found += _unasked(codebook)
    return sorted(found, key=lambda finding: ("error", "warning", "note").index(finding.severity))


def _unasked(book: Codebook) -> Iterator[Finding]:
    """Report the check questions that nobody worded, as they are drafted."""
    unasked = [name for name, spec in book.attributes.items() if spec.ask is None]
    if unasked:
        shown = check_values(Lattice.over([book.attribute(unasked[0])]))[0]
        yield Finding(
            "note", "", f"attributes {', '.join(unasked)}", "no check question, one is drafted: a guess",
            "ask: {question: ..., answers: {level: ...}}", f"{shown.question} {' / '.join(shown.options)}",
            "word it as one would ask people, in the codebook",
        )  # fmt: skip


def compare_labels(
    sources: str | Path | Sequence[str | Path],
    codebook: Codebook,
    *,
    differ: Literal["stop", "ok"] = "stop",
    encoding: str | None = None,
) -> list[str]:
    """Hold the labels of SPSS and Stata files, and what these declare missing, against a codebook; no data are read.

    Parameters
    ----------
    sources : path, or sequence of them
        Each is looked at by itself. Files of other kinds have no labels, and are passed over.
    codebook : Codebook
    differ : {'stop', 'ok'}
        Whether labels that contradict the codebook are an error.
    encoding : str, optional
        As for `acecausal.survey.readers.read_table`.

    Returns
    -------
    list of str
        What contradicts, a sentence each.

    Raises
    ------
    DataError
        If a label contradicts the codebook and `differ` is 'stop', or a file cannot be read.
    """
    paths = [sources] if isinstance(sources, str | Path) else list(sources)
    labelled = [path for path in paths if str(path).lower().endswith((".sav", ".zsav", ".dta"))]
    found = [(path, finding) for path in labelled for finding in _label_findings(path, codebook, encoding)]
    columns = {finding.column for _, finding in found}  # of which enough is said
    found += [pair for pair in _against_each_other(labelled, codebook, encoding) if pair[1].column not in columns]
    told = [
        f"{path}, column {f.column} ({f.about}): {f.what} (codebook {f.expected}, file {f.got})" for path, f in found
    ]
    if differ == "stop" and any(finding.severity == "error" for _, finding in found):
        shown = [text for text, (_, finding) in zip(told, found, strict=True) if finding.severity == "error"]
        raise DataError(
            "labels that contradict the codebook",
            param=", ".join(dict.fromkeys(str(path) for path, finding in found if finding.severity == "error")),
            got="\n    ".join(["", *shown[:8], *([f"and {len(shown) - 8} more"] if len(shown) > 8 else [])]),
            hint="mend the codebook, or the file whose codes differ; if it is the labels that are wrong, say "
            "--labels-differ ok",
        )
    return told


def _label_findings(path: str | Path, book: Codebook, encoding: str | None) -> list[Finding]:
    labels = read_labels(path, encoding=encoding)
    names = {name.lower() for name in labels.columns}
    listed = book.listed
    present = [column for column in _parts(book) if column.lower() in names]
    read = {column: _column(None, labels, column, listed.get(column, ())) for column in present}
    return list(_meanings(read, book))


def _against_each_other(
    paths: Sequence[str | Path], book: Codebook, encoding: str | None
) -> list[tuple[str | Path, Finding]]:
    """Find codes that have changed places between files, in whatever language they label them."""
    found: list[tuple[str | Path, Finding]] = []
    before: dict[str, tuple[str | Path, dict[str, str]]] = {}
    for path in paths:
        labels = read_labels(path, encoding=encoding)
        for column, about in _parts(book).items():
            own = _column(None, labels, column).labels
            first, theirs = before.setdefault(column, (path, own))
            keys = [key for key in own if key in theirs]
            for one in keys:
                for other in keys:
                    here, there = spelling(own[one]), spelling(theirs[other])
                    if one < other and here == there and spelling(own[other]) == spelling(theirs[one]) != here:
                        text = f"codes {one} and {other} have changed places between files"
                        was, got = f"{theirs[one]!r}, {theirs[other]!r} in {first}", f"{own[one]!r}, {own[other]!r}"
                        found.append((path, Finding("error", column, about, text, was, got, "mend one of the files")))
    return found


def _check_file(path: str | Path, book: Codebook, encoding: str | None) -> Iterator[Finding]:
    labels = read_labels(path, encoding=encoding)
    names = {name.lower() for name in labels.columns}
    parts = _parts(book)
    absent = list(_absent(names, parts, book))
    yield from absent
    present = [column for column in parts if column.lower() in names]
    if not present:
        return
    try:
        table = whole = read_table(path, present, listed=book.listed, encoding=encoding)
    except DataError as error:
        if "twice" not in error.message:
            raise
        yield Finding(
            "error", error.param.rpartition("column ")[2], "", error.message, got=str(error.got), hint=error.hint
        )
        return
    try:
        if {*book.rows, *book.domain} <= set(present):
            table = belonging(table, book, {}, str(path))
            table = table[in_domain(table, book, {}, str(path))]
    except DataError as error:
        yield Finding(
            "error",
            ", ".join([*book.rows, *book.domain]),
            "rows or domain",
            error.message,
            str(error.expected),
            str(error.got),
            error.hint,
        )
        return
    listed = book.listed
    read = {column: _column(table[column], labels, column, listed.get(column, ())) for column in present}
    found = [*_row_names(labels), *_contents(read, book), *_meanings(read, book)]
    if book.weight and book.weight.column in table:
        found += _weights(table, book)
    found += [*_doubled(table, book), *_declared(labels, present)]
    yield from found
    if not any(finding.severity == "error" for finding in (*absent, *found)):
        yield from _refused(whole, book, str(path))


def _row_names(labels: Labels) -> Iterator[Finding]:
    """Say aloud which columns the cells of a CSV file were put under, where its header leaves that open."""
    if labels.row_names:
        yield Finding(
            "note", "", "the file", "the first cell of each row is taken for a row name",
            got="a header that is one cell shorter than the rows",
            hint="if it is none, every cell stands under its neighbour's name: write a name for each column",
        )  # fmt: skip


def _refused(table: pd.DataFrame, book: Codebook, source: str) -> Iterator[Finding]:
    """Report what `estimate` would still stop at: it is tried."""
    try:
        from_table(table, book, source=source)
    except DataError as error:
        name, _, about = error.param.removeprefix(source).removeprefix(", column ").partition(" (")
        yield Finding(
            "error", name, about.removesuffix(")"), error.message, str(error.expected), str(error.got), error.hint
        )


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
    """Compare codes, column by column."""
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


def _meanings(read: Mapping[str, _Column], book: Codebook) -> Iterator[Finding]:
    """Compare labels, and what is declared missing, column by column."""
    if book.countries.column in read:
        yield from _country_labels(read[book.countries.column], book)
    for kind, specs in (("attribute", book.attributes), ("value", book.values)):
        for name, spec in specs.items():
            if spec.column in read:
                yield from _meant(f"{kind} {name}", spec, read[spec.column])


def _parts(book: Codebook) -> dict[str, str]:
    """Say what each column of the codebook is taken for."""
    found = {book.countries.column: "country"}
    for column in book.rows:
        found.setdefault(column, "rows")
    for column in book.domain:
        found.setdefault(column, "domain")
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


def _column(cells: pd.Series | None, labels: Labels, name: str, listed: Collection[str] = ()) -> _Column:
    """Describe a column; without its cells, by its labels alone."""
    counts: dict[str, int] = {}
    for code, count in () if cells is None else cells.value_counts(dropna=True).items():
        key = code_key(code)
        if key not in EMPTY:
            counts[key] = counts.get(key, 0) + int(count)
    same = [column for column in labels.columns if column.lower() == name.lower()]
    spelled = name if name in same else same[0] if same else name
    own = labels.values.get(spelled, {})
    return _Column(
        dict(sorted(counts.items(), key=_by_number)), own, frozenset(labels.declared(spelled, (*own, *counts, *listed)))
    )


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
    for key, label in column.labels.items():
        if label and key in missing and column.counts.get(key) and not says_nothing(label, soft=True):
            yield Finding(
                "warning", name, about, f"code {key} is missing in the codebook, and has a label in the file",
                "a label such as \"don't know\"", f"{label!r} ({column.counts[key]} rows)",
                "if it is an answer, list it among the options",
            )  # fmt: skip


def _meant(about: str, spec: AttributeSpec | ValueSpec, column: _Column) -> Iterator[Finding]:
    entries: list[tuple[str, LevelSpec | OptionSpec]]
    entries = list(spec.levels.items()) if isinstance(spec, AttributeSpec) else [("", o) for o in spec.options]
    place = {code_key(code): i for i, (_, entry) in enumerate(entries) for code in entry.codes}
    named = [entry.label for _, entry in entries]
    scored = isinstance(spec, ValueSpec) and spec.scale != "nominal"
    silent = set(silent_codes({key: column.labels[key] for key in place if column.labels.get(key)}))
    left = {}
    for key, i in place.items():
        label = column.labels.get(key, "")
        if key in column.declared:
            yield Finding(
                "error" if scored else "warning", spec.column, about,
                f"code {key} is listed in the codebook, and declared missing in the file",
                repr(named[i]), repr(label) if label else "without a label",
                "list it under missing; what an option or level lists is taken for an answer",
            )  # fmt: skip
        elif key in silent and not says_nothing(named[i], soft=True):
            yield Finding(
                "error" if says_nothing(label) else "warning", spec.column, about,
                f"code {key} is an answer in the codebook, and says nothing in the file",
                repr(named[i]), repr(label), "list it under missing",
            )  # fmt: skip
        elif label:
            left[key] = label
    wordings = [(level, entry.label, getattr(entry, "phrase", "")) for level, entry in entries]
    for key, i, other in contradictions(wordings, place, left):
        yield Finding(
            "error", spec.column, about, f"code {key} means something else in the file",
            repr(named[i]), repr(left[key]),
            f"looks like {named[other]!r}: mend the order of the codes, or take another codebook",
        )  # fmt: skip


def _country_labels(column: _Column, book: Codebook) -> Iterator[Finding]:
    levels = book.countries.levels
    place = {code_key(code): i for i, level in enumerate(levels.values()) for code in level.codes}
    wordings = [(name, level.label) for name, level in levels.items()]
    labels = [level.label for level in levels.values()]
    for key, i, other in contradictions(wordings, place, column.labels, same=True):
        yield Finding(
            "error", book.countries.column, "country", f"code {key} means something else in the file",
            repr(labels[i]), repr(column.labels[key]), f"looks like {labels[other]!r}: mend countries.levels",
        )  # fmt: skip


def _declared(labels: Labels, present: Sequence[str]) -> Iterator[Finding]:
    """Say what the file declares missing, columns with the same codes together."""
    columns = defaultdict(list)
    lowered = {name.lower(): name for name in labels.columns}
    for name in present:
        spelled = name if name in labels.columns else lowered[name.lower()]
        shown = labels.shown(spelled)
        if shown:
            columns[shown].append(name)
    for shown, names in columns.items():
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        yield Finding(
            "note", "", "the file", "codes that the file declares missing, and that are read so unless they are listed",
            got=f"{shown} in {', '.join(names[:4])}{more}",
        )  # fmt: skip


def _unlisted(
    about: str, name: str, column: _Column, place: Mapping[str, int], strange: list[str], missing: Missing
) -> Finding:
    hint = "list them under the level or option they mean, or under missing"
    if all(says_nothing(column.labels.get(key, ""), soft=True) for key in strange):
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
            "widen a range; list under missing only codes that say nothing",
        )  # fmt: skip


# --- weights and respondents ------------------------------------------------------------------------------------------


def _weights(table: pd.DataFrame, book: Codebook) -> Iterator[Finding]:
    assert book.weight is not None
    column = table[book.weight.column]
    weight = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    wrong = ~(weight >= 0) | np.isinf(weight)
    words = [key for key in map(str, column[wrong].dropna().unique()) if key not in EMPTY and number(key) is None]
    bad = int(wrong.sum())
    if words:
        yield Finding(
            "error", book.weight.column, "weight", "not numbers", "numbers",
            ", ".join(map(repr, words[:8])), no_number(words, weight=True),
        )  # fmt: skip
    elif bad and not book.weight.absent_in:
        yield Finding(
            "error", book.weight.column, "weight", "weights that are missing, negative or infinite",
            "positive numbers, or 0 for who is outside the sample", f"{bad} of {len(weight)} rows",
            "0 for who does not belong to the sample; a country without weights is named under weight.absent_in",
        )  # fmt: skip


def _doubled(table: pd.DataFrame, book: Codebook) -> Iterator[Finding]:
    if book.rater:  # stands on many rows; `estimate` says what contradicts itself
        return
    if book.id is None:
        copies = count_copies(table)
        if copies:
            yield Finding(
                "warning", "", "the file", COPIES, got=f"{copies} rows",
                hint="remove the copies, or name the column that tells respondents apart under id:",
            )  # fmt: skip
        return
    keys = [book.countries.column, *book.id.columns]
    if not set(keys) <= set(table.columns):
        return
    named = table.dropna(subset=keys[1:], how="all")
    twice = named.duplicated(subset=keys)
    if twice.any():
        yield Finding(
            "error", book.id.column, "id", "respondents stand twice", got=f"{int(twice.sum())} rows too many",
            hint=copies_hint(named[named.duplicated(subset=keys, keep=False)]),
        )  # fmt: skip
