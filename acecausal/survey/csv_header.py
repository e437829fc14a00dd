"""What stands before the rows of a CSV file: Excel's line of the separator, the header, its further rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TextIO

from acecausal.errors import DataError
from acecausal.survey.encodings import marked, unpacked

SEPARATORS = (",", ";", "\t")
#: Lines of one record of the header: more are an open quote.
HEADER_LINES = 100
#: Qualtrics' header is three records.
RECORDS = 3
#: Columns of dates in Qualtrics' files, and how those of SurveyMonkey begin.
DATES = ("StartDate", "EndDate", "RecordedDate")
IDS = (r"Respondent ?ID", r"Collector ?ID")
#: How files begin that are something else, whatever they are called.
OTHERS = {
    b"PK\x03\x04": "a ZIP file, or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
}


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the rows.

    Attributes
    ----------
    names : list of str
        Of the columns, without blanks around them.
    separator : str
    labels : dict of str to str
        The texts of questions by column, where Qualtrics put them below the names.
    row_names : bool
        Whether each row begins with a name of its own that the header lacks, as R's write.table has it; so far as the
        first row tells.
    lines : int
        How many lines stand before the rows.
    """

    names: list[str]
    separator: str
    labels: dict[str, str] = field(default_factory=dict)
    row_names: bool = False
    lines: int = 1

    @property
    def width(self) -> int:
        """Cells of a row."""
        return len(self.names) + self.row_names


@dataclass(frozen=True, slots=True)
class _Record:
    """A record: its cells and lines; whether its quotes are closed, and closed where a cell ends."""

    cells: list[str]
    lines: int
    closed: bool
    sound: bool


@contextmanager
def opened(path: Path, encoding: str | None) -> Iterator[TextIO]:
    """Open a file of text, packed by gzip or not; a mark at its beginning says its encoding, whatever was asked for.

    Raises
    ------
    DataError
        If it is something else by its first bytes.
    """
    with unpacked(path) as stream:
        begin = stream.read(4)
    for sign, what in OTHERS.items():
        if begin.startswith(sign):
            raise DataError(
                "is no text", param=str(path), expected=f"a {path.suffix.lower()} file", got=what,
                hint="unpack it, or save it as CSV",
            )  # fmt: skip
    with unpacked(path) as raw, io.TextIOWrapper(raw, marked(begin) or encoding or "utf-8", newline="") as stream:
        yield stream


def csv_header(path: Path, encoding: str | None) -> Header:
    """Read what stands before the rows.

    Raises
    ------
    DataError
        If the file is empty, or a quote in the header is not closed there.
    """
    with opened(path, encoding) as stream:
        return begin(path, stream)[0]


def begin(path: Path, stream: TextIO) -> tuple[Header, str]:
    """Read the header, and the text that was read behind it."""
    csv.field_size_limit((1 << 31) - 1)  # a cell may be long: its length says nothing
    before, first = _skip_blank(stream)
    told = re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE)
    if told:
        more, first = _skip_blank(stream)
        before += 1 + more
    if not first:
        raise DataError("is empty", param=str(path))
    lines = [first, *islice(stream, RECORDS * HEADER_LINES)]

    def fits(separator: str) -> tuple[bool, bool, bool, int]:
        head = _record(lines, separator)
        row = _record(lines[head.lines :], separator)
        count = len(head.cells)
        return count > 1, head.closed and head.sound, count == len(row.cells), count

    separator = told[1] if told else max(SEPARATORS, key=fits)
    head = _record(lines, separator)
    if not head.closed or (head.lines > 1 and not head.sound):
        raise DataError(
            "a quote in the header is not closed", param=str(path), expected="a closing quote where the cell ends",
            got=f"line {before + 1}: {' '.join(_opening(head.cells).split())[:60]!r} ...",
            hint="close the quote, or write a quote inside a text twice",
        )  # fmt: skip
    names = [name.strip() for name in head.cells]
    if any("\0" in name for name in names):
        raise DataError(
            "names in the header hold NUL", param=str(path), got=repr(names[0][:20]),
            hint="UTF-16 that does not say so is read with --encoding utf-16-le, or utf-16-be",
        )  # fmt: skip
    second = _record(lines[head.lines :], separator)
    third = _record(lines[head.lines + second.lines :], separator)
    more, labels = _more_rows(names, second.cells, third.cells)
    if more:
        taken = head.lines + second.lines + (third.lines if more > 1 else 0)
        return Header(names, separator, labels, lines=before + taken), "".join(lines[taken:])
    quoted = rf'"(?:[^"]|"")*"(?:{re.escape(separator)}"(?:[^"]|"")*")*\s*'
    row_names = (
        len(second.cells) == len(names) + 1
        and re.fullmatch(quoted, "".join(lines[: head.lines])) is not None
        and re.match(r'"\d+"', lines[head.lines]) is not None
    )
    return Header(names, separator, row_names=row_names, lines=before + head.lines), "".join(lines[head.lines :])


def _more_rows(names: Sequence[str], second: Sequence[str], third: Sequence[str]) -> tuple[int, dict[str, str]]:
    """Say how many rows of the header stand below the names, as some programs write them, and what they ask.

    Qualtrics' are texts and import ids, one of them maybe left out: texts are no dates. SurveyMonkey's say "Response"
    and the like, and leave the respondent's id empty.
    """
    labels = {name: " ".join(text.split()) for name, text in zip(names, second, strict=False) if text.strip()}
    for more, cells in ((1, second), (2, third)):
        if len(cells) == len(names) and all(re.fullmatch(r'\s*\{\s*"ImportId".*\}\s*', cell, re.S) for cell in cells):
            return more, labels if more == 2 else {}
    if len(second) != len(names):
        return 0, {}
    dates = [cell for name, cell in zip(names, second, strict=True) if name in DATES]
    if len(dates) > 1 and all(re.fullmatch(r"\s*[^\d\s][^\d]*", cell) for cell in dates):
        return 1, labels
    monkey = all(re.fullmatch(id_, name) for id_, name in zip(IDS, names, strict=False)) and not any(second[:2])
    return int(monkey and bool(labels) and not any(text.isdecimal() for text in labels.values())), {}


def sound(lines: Sequence[str], separator: str) -> bool:
    """Whether the quotes of a record are closed, and closed where a cell ends."""
    try:
        next(csv.reader(lines, delimiter=separator, strict=True), None)
    except csv.Error:
        return False
    return True


def _skip_blank(stream: TextIO) -> tuple[int, str]:
    """Give the number of blank lines, and the first that is none; '' at the end."""
    blank = 0
    while (line := stream.readline()) and not line.strip():
        blank += 1
    return blank, line


def _record(lines: Sequence[str], separator: str) -> _Record:
    """Read one record: a line, or several where a quote that begins a cell is open."""
    lines = lines[:HEADER_LINES]
    reader = csv.reader([*lines, ""], delimiter=separator)  # which it takes where a quote is open at the last line
    cells = next(reader)
    count = min(reader.line_num, len(lines))
    return _Record(cells, count, reader.line_num <= len(lines), sound(lines[:count], separator))


def _opening(cells: Sequence[str]) -> str:
    """Give the cell whose quote runs over lines."""
    return next((cell for cell in cells if "\n" in cell or "\r" in cell), cells[-1])
