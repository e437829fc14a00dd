"""What is wrong with the rows of a CSV file: cells against the header, quotes that swallow rows, doubtful row names."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from acecausal.errors import DataError
from acecausal.survey.csv_header import Header, opened, sound

#: Cells that R leaves unquoted: numbers, dates, truth values, gaps.
PLAIN = re.compile(r"|NA|NaN|-?Inf|TRUE|FALSE|-?[\d.][-+:.,\deE ]*")
#: Decimal points for sure: 1.234 may be a thousand, 12.30 a time.
POINT = re.compile(r"-?(0?\.\d+|\d+\.(\d|\d{4,}))([eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class _Row:
    """A row as Python reads it: its first and last line, its cells, its lines."""

    first: int
    last: int
    cells: list[str]
    lines: list[str]


def _rows(path: Path, encoding: str | None, header: Header) -> Iterator[_Row]:
    """Give the rows, blank lines left out."""
    with opened(path, encoding) as stream:
        lines: list[str] = []

        def kept() -> Iterator[str]:
            for line in stream:
                lines.append(line)
                yield line

        for _ in range(header.lines):
            stream.readline()
        reader = csv.reader(kept(), delimiter=header.separator)
        for cells in reader:
            if any(map(str.strip, cells)):
                last = header.lines + reader.line_num
                yield _Row(last - len(lines) + 1, last, cells, list(lines))
            lines.clear()


def misfit(path: Path, encoding: str | None, header: Header) -> DataError | None:
    """Build the error for rows that have more or fewer cells than the header; None if there are none."""
    rows = 0
    bad: list[_Row] = []
    for row in _rows(path, encoding, header):
        rows += 1
        if len(row.cells) != header.width:
            bad.append(row)
    if not bad:
        return None
    first = bad[0]
    return DataError(
        "rows do not have as many cells as the header",
        param=str(path),
        expected=f"{header.width} cells, as in the header",
        got=f"line {first.first}: {len(first.cells)} cells ({len(bad)} of {rows} rows)",
        hint=_cause(bad, header, len(bad) == rows),
    )


def _cause(bad: Sequence[_Row], header: Header, all_rows: bool) -> str:
    row = bad[0]
    text, cells = row.lines[0], row.cells
    if row.last - row.first > 1:
        return f"a quote that opens in this line is not closed in it: the cell runs over {len(row.lines)} lines"
    if '\\"' in text:
        return "a quote inside a quoted text is written twice, not behind a backslash"
    if len(cells) <= header.width:
        return "a line that was cut, or a text that holds a line break, and is not quoted"
    return _cause_of_more(bad, header, all_rows)


def _cause_of_more(bad: Sequence[_Row], header: Header, all_rows: bool) -> str:
    text, cells = bad[0].lines[0], bad[0].cells
    one_more = all(len(other.cells) == header.width + 1 for other in bad)
    if one_more and all(not other.cells[-1].strip() for other in bad):
        return "a separator at the end of each row, which the header lacks: take it away"
    if all_rows and one_more and re.fullmatch(r'"?\d+"?', text.partition(header.separator)[0]):
        return (
            "row names without a name in the header (in R, row.names = FALSE), or a decimal comma or a text with a "
            "comma that stands unquoted (write points, or separate by semicolons)"
        )
    whole = [re.fullmatch(r"-?\d+", cell.strip()) is not None for cell in cells]
    if header.separator == "," and any(a and b for a, b in pairwise(whole)):
        return (
            "a decimal comma, or a text with a comma, that stands unquoted: write decimal points, or separate "
            "by semicolons"
        )
    return "a text that holds the separator, and is not quoted"


def only_row_names(path: Path, encoding: str | None, header: Header) -> bool:
    """Whether nothing but names of rows explains that each row has one cell more than the header.

    What else would: a separator at the end of each row, a text that R would have quoted, or, where commas separate, a
    decimal comma between two whole numbers side by side in every row. The last is none where decimal points stand
    elsewhere; nor where the digits behind it are of unequal number though some end in 0, since zeros are either filled
    up or left out.
    """
    cell = re.compile(rf'(?:^|{re.escape(header.separator)})("(?:[^"]|"")*"|[^"{re.escape(header.separator)}]*)')
    places = range(header.width - 1) if header.separator == "," else ()
    pairs = {place: (set[int](), set[bool]()) for place in places}
    ended, points = True, False
    for row in _rows(path, encoding, header):
        cells = [cell.strip() for cell in cell.findall("".join(row.lines).rstrip("\r\n"))]
        if len(cells) != header.width or not all(text[:1] == '"' or PLAIN.fullmatch(text) for text in cells):
            return False
        ended = ended and cells[-1] in ("", '""')
        points = points or any(map(POINT.fullmatch, cells))
        for place in list(pairs):
            whole, digits = cells[place : place + 2]
            if re.fullmatch(r"-?(0|[1-9]\d*)", whole) and re.fullmatch(r"\d+", digits):
                pairs[place][0].add(len(digits))
                pairs[place][1].add(digits.endswith("0"))
            else:
                del pairs[place]
    split = any(len(lengths) == 1 or True not in noughts for lengths, noughts in pairs.values())
    return not ended and (points or not split)


def check_swallowed(path: Path, encoding: str | None, header: Header) -> None:
    """Find rows inside a quoted cell: an opening quote that was never closed swallows them up to the next quote.

    The next quote opens a text, as a rule, so that something stands behind where the cell ends: then one line that
    looks like a row is enough. Otherwise most of those between its first and last must.

    Raises
    ------
    DataError
        If there are such rows.
    """
    if header.width == 1:
        return
    for row in _rows(path, encoding, header):
        if len(row.lines) == 1:
            continue
        closed = sound(row.lines, header.separator)
        inner = [line for line in (row.lines[1:-1] if closed else row.lines[1:]) if line.strip()]
        alike = sum(_is_row(line, header.separator, row.cells) for line in inner)
        if 2 * alike > len(inner) or (alike and not closed):
            raise DataError(
                "a quoted cell has swallowed rows",
                param=str(path),
                expected="a closing quote in the line of the opening one",
                got=f"line {row.first}: a cell that runs to line {row.last} and looks like rows",
                hint="close the quote, or write a quote inside a text twice",
            )


def _is_row(line: str, separator: str, cells: Sequence[str]) -> bool:
    """Whether a line alone looks like a row: as many cells, and mostly numbers where that row has numbers."""
    own = next(csv.reader([line], delimiter=separator), [])
    filled = [(a, b) for a, b in zip(own, cells, strict=False) if a.strip() and b.strip()]
    return len(own) == len(cells) and 2 * sum(_number(a) == _number(b) for a, b in filled) > len(filled)


def _number(cell: str) -> bool:
    return re.fullmatch(r"\s*[-+]?\d*[.,]?\d+\s*", cell) is not None
