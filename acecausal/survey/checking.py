"""Does a file say what a codebook expects? Columns, codes and labels, compared before anything is estimated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from acecausal.cube.check_questions import check_values
from acecausal.cube.files import spelling
from acecausal.cube.lattice import Lattice
from acecausal.errors import DataError
from acecausal.survey.codebook import Codebook, load_codebook, shipped_codebooks
from acecausal.survey.data import belonging, from_table, in_domain, values_there
from acecausal.survey.findings import (
    Finding,
    contents,
    declared,
    doubled,
    held_in,
    meanings,
    weights,
)
from acecausal.survey.readers import LABELLED, Labels, read_labels, read_table
from acecausal.survey.unfilled import unfilled


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
    labelled = [path for path in paths if str(path).lower().endswith(LABELLED)]
    columns = {finding.column for finding in found if finding.severity == "error"}
    found += [f for _, f in _against_each_other(labelled, codebook, encoding) if f.column not in columns]
    found += [*unfilled(codebook), *_unasked(codebook)]
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
    labelled = [path for path in paths if str(path).lower().endswith(LABELLED)]
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
    read = {column: held_in(None, labels, column, listed.get(column, ())) for column in present}
    return list(meanings(read, book))


def _against_each_other(
    paths: Sequence[str | Path], book: Codebook, encoding: str | None
) -> list[tuple[str | Path, Finding]]:
    """Find codes that have changed places between files, in whatever language they label them."""
    found: list[tuple[str | Path, Finding]] = []
    before: dict[str, tuple[str | Path, dict[str, str]]] = {}
    for path in paths:
        labels = read_labels(path, encoding=encoding)
        for column, about in _parts(book).items():
            own = held_in(None, labels, column).labels
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
    try:
        book = book.in_file(labels.columns, str(path))
    except DataError as error:
        yield Finding("error", "", "replicates", error.message, str(error.expected), str(error.got), error.hint)
        return
    yield from _left_out(labels.columns, book)
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
    read = {column: held_in(table[column], labels, column, listed.get(column, ())) for column in present}
    found = [*_row_names(labels), *contents(read, book), *meanings(read, book)]
    if book.weight and book.weight.column in table:
        found += weights(table, book)
    found += [*doubled(table, book), *declared(labels, present)]
    yield from found
    if not any(finding.severity == "error" for finding in (*absent, *found)):
        yield from _refused(whole, book, str(path))


def _left_out(columns: Sequence[str], book: Codebook) -> Iterator[Finding]:
    """Report columns that are numbered like the replicate weights and are none: a list that stops too soon."""
    named = book.replicates.named if book.replicates else ()
    stems = {stem for name in named if (stem := name.rstrip("0123456789").casefold()) != name.casefold()}
    used = {name.casefold() for name in book.columns}
    more = [
        n
        for n in columns
        if n.casefold() not in used and n.rstrip("0123456789").casefold() in stems and n[-1].isdigit()
    ]
    if more:
        yield Finding(
            "warning", more[0], "replicates", "columns numbered like replicate weights are not among them",
            f"{len(named)}: {named[0]} to {named[-1]}", f"{len(more)} more: {more[0]} to {more[-1]}",
            "a pattern takes them all, as rw*",
        )  # fmt: skip


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
        name, _, about = re.sub("^, columns? ", "", error.param.removeprefix(source)).partition(" (")
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
            f"codebook {better} has more of its columns here" if better else values_there(names, book),
        )  # fmt: skip
    optional = {column for part in book.design if part.absent_in for column in part.columns}
    for column in absent:
        if not (wholesale and column in gone):
            yield Finding(
                "warning" if column in optional else "error", column, parts[column], "is no column of the file",
                hint="name the values to take with --values, or take it out of the codebook"
                if parts[column].startswith("value ") else "",
            )  # fmt: skip


def _parts(book: Codebook) -> dict[str, str]:
    """Say what each column of the codebook is taken for."""
    found = dict.fromkeys(book.countries.columns, "country")
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
    for column in book.replicates.named if book.replicates else ():
        found.setdefault(column, "replicates")
    return found


def _better(names: set[str], book: Codebook) -> str:
    """Name the shipped codebook most of whose columns are in the file, if it is another one that fits."""

    def share(other: Codebook) -> float:
        columns = [column.lower() for column in other.columns]
        return sum(column in names for column in columns) / len(columns)

    fits = {name: share(load_codebook(name)) for name in shipped_codebooks() if name != book.name}
    best = max(fits, key=fits.__getitem__)
    return best if fits[best] > max(share(book), 0.5) else ""
