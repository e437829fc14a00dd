"""CSV files: every row held against the header, the needed columns as codes."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd

from acecausal.errors import DataError
from acecausal.survey.spelling import spell

#: Bytes that are parsed at once. A row must fit, so the next size is tried where one does not.
BLOCKS = (1 << 22, 1 << 26, (1 << 31) - 1)
#: Lines of one header: more are an open quote.
HEADER_LINES = 100


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the rows.

    Attributes
    ----------
    names : list of str
        Of the columns.
    separator : str
    labels : dict of str to str
        The texts of questions by column, where Qualtrics put them below the header.
    row_names : bool
        Whether each row begins with a name of its own that the header lacks, as R's write.table has it.
    records : int
        How many records the header takes.
    """

    names: list[str]
    separator: str
    labels: dict[str, str] = field(default_factory=dict)
    row_names: bool = False
    records: int = 1

    @property
    def width(self) -> int:
        """Cells of a row."""
        return len(self.names) + self.row_names


def csv_header(path: Path, encoding: str | None) -> Header:
    """Read what stands before the rows.

    Raises
    ------
    DataError
        If the file is empty.
    """
    with _opened(path, encoding) as stream:
        return _begin(path, stream)[0]


def read_csv(path: Path, columns: Sequence[str], encoding: str | None) -> pd.DataFrame:
    """Read columns as codes; texts stay texts: a level called "None", a country called "NA" are no empty cells.

    Raises
    ------
    DataError
        If a row has not as many cells as the header, or a quoted cell has swallowed rows.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow

    for block in BLOCKS:
        with _opened(path, encoding) as stream:
            header, rest = _begin(path, stream)
            # by number: names may stand twice
            wanted = [str(header.names.index(name) + header.row_names) for name in columns]
            feed = _Bytes(rest, stream)
            if feed.empty:
                return pd.DataFrame({name: spell(np.zeros(0, dtype=np.intp), []) for name in columns})
            taken = ["0", *wanted] if header.row_names else wanted
            try:
                table = arrow.read_csv(
                    pa.PythonFile(feed, mode="r"),
                    # one thread: no slower than several, and those would hinder processes from being forked
                    arrow.ReadOptions(use_threads=False, block_size=block, column_names=_numbered(header.width)),
                    arrow.ParseOptions(
                        delimiter=header.separator, newlines_in_values=True, invalid_row_handler=_skip_blank
                    ),
                    arrow.ConvertOptions(
                        include_columns=list(dict.fromkeys(taken)),
                        column_types=dict.fromkeys(taken, pa.dictionary(pa.int32(), pa.string())),
                        check_utf8=False,  # it comes from decoded text
                    ),
                )
            except pa.ArrowInvalid as error:
                if "block" in str(error) and block != BLOCKS[-1]:
                    continue
                raise _misfit(path, encoding, header) or error from error
            break
    found = {number: _column(table.column(number)) for number in dict.fromkeys(taken)}
    if header.row_names and not _increasing(found["0"]):
        raise _misfit(path, encoding, Header(header.names, header.separator)) or DataError(param=str(path))
    if feed.lines > table.num_rows + 1:
        _check_swallowed(path, encoding, header)
    return pd.DataFrame({name: found[number] for name, number in zip(columns, wanted, strict=True)})


def _column(column: object) -> pd.Categorical:
    whole = column.unify_dictionaries().combine_chunks()  # type: ignore[attr-defined]
    parts = whole.chunks if hasattr(whole, "chunks") else [whole]
    numbers = [part.indices.fill_null(-1).to_numpy(zero_copy_only=False) for part in parts]
    return spell(np.concatenate(numbers).astype(np.intp), parts[0].dictionary.to_pylist())


def _numbered(width: int) -> list[str]:
    return list(map(str, range(width)))


def _skip_blank(row: object) -> str:
    text: str = row.text  # type: ignore[attr-defined]
    return "error" if text.strip() else "skip"


@contextmanager
def _opened(path: Path, encoding: str | None) -> Iterator[TextIO]:
    if encoding is None:
        with path.open("rb") as begin:
            encoding = "utf-16" if begin.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8"
    with path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="") as stream:
        yield stream


#: What a column that numbers people is called.
NUMBERING = r".*(^|_|\b)(id|idno|nr|no|num|number|case|caseid|resp\w*|serial|row\w*|index|obs)"


class _Bytes(io.RawIOBase):
    """Text as UTF-8 bytes, its lines counted."""

    def __init__(self, first: str, rest: TextIO) -> None:
        self.first, self.rest, self.lines = first or rest.read(1 << 20), rest, 0
        self.empty = not self.first.strip()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        text, self.first = self.first or self.rest.read(size), ""
        self.lines += max(text.count("\n"), text.count("\r"))
        return text.encode()


# --- what stands before the rows --------------------------------------------------------------------------------------


def _begin(path: Path, stream: TextIO) -> tuple[Header, str]:
    """Read the header, and the text that was read behind it."""
    csv.field_size_limit((1 << 31) - 1)  # a cell may be long: its length says nothing
    first = _record(stream)
    if not first.strip():
        raise DataError("is empty", param=str(path))
    outside = re.sub(r'"[^"]*"', "", first)
    separator = max(",;\t", key=outside.count)
    names = next(csv.reader(io.StringIO(first, newline=""), delimiter=separator))
    ahead = [_record(stream), _record(stream)]
    cells = [next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), []) for text in ahead]
    if len(cells[1]) == len(names) and all(re.fullmatch(r'\s*\{\s*"ImportId".*\}\s*', cell, re.S) for cell in cells[1]):
        labels = {name: " ".join(text.split()) for name, text in zip(names, cells[0], strict=False) if text.strip()}
        return Header(names, separator, labels, records=3), ""
    quoted = len(re.findall(r'"[^"]*"', first)) == len(names) and outside.strip() == separator * (len(names) - 1)
    row_names = quoted and len(cells[0]) == len(names) + 1 and bool(re.match(r'"-?\d+"', ahead[0]))
    # a cell too many for another reason: a first column that is the numbering itself, or a separator at the end
    row_names = row_names and not re.fullmatch(NUMBERING, names[0].strip(), re.IGNORECASE) and cells[0][-1] != ""
    return Header(names, separator, row_names=row_names), "".join(ahead)


def _record(stream: TextIO) -> str:
    """Read one record: a line, or several while a quote is open."""
    text = line = stream.readline()
    for _ in range(HEADER_LINES):
        if text.count('"') % 2 == 0 or not line:
            break
        line = stream.readline()
        text += line
    return text


def _increasing(column: pd.Categorical) -> bool:
    """Whether cells are the names that R gives rows: whole numbers that increase, some rows left out."""
    if not all(re.fullmatch(r"\d{1,18}", text) for text in column.categories):
        return False
    numbers = np.array([int(text) for text in column.categories])[column.codes]
    return bool((np.diff(numbers) > 0).all())


# --- what is wrong with a row -----------------------------------------------------------------------------------------


def _records(path: Path, encoding: str | None, header: Header) -> Iterator[tuple[int, int, list[str]]]:
    """Give the rows with their first and last line, blank lines left out."""
    with _opened(path, encoding) as stream:
        reader = csv.reader(stream, delimiter=header.separator)
        before = 0
        for number, cells in enumerate(reader):
            if number >= header.records and any(map(str.strip, cells)):
                yield before + 1, reader.line_num, cells
            before = reader.line_num


def _misfit(path: Path, encoding: str | None, header: Header) -> DataError | None:
    """Build the error for rows that have more or fewer cells than the header; None if there are none."""
    rows = 0
    bad: list[tuple[int, int, list[str]]] = []
    for row in _records(path, encoding, header):
        rows += 1
        if len(row[2]) != header.width:
            bad.append(row)
    if not bad:
        return None
    first, last, cells = bad[0]
    with _opened(path, encoding) as stream:
        text = next(line for number, line in enumerate(stream, 1) if number == first)
    return DataError(
        "rows do not have as many cells as the header",
        param=str(path),
        expected=f"{header.width} cells, as in the header",
        got=f"line {first}: {len(cells)} cells ({len(bad)} of {rows} rows)",
        hint=_cause(text, cells, last - first, header, len(bad) == rows),
    )


def _cause(text: str, cells: Sequence[str], lines: int, header: Header, all_rows: bool) -> str:
    if lines > 1:
        return f"a quote that opens in this line is not closed in it: the cell runs over {lines + 1} lines"
    if '\\"' in text:
        return "a quote inside a quoted text is written twice, not behind a backslash"
    if len(cells) > header.width:
        whole = [re.fullmatch(r"-?\d+", cell.strip()) is not None for cell in cells]
        if (
            all_rows
            and len(cells) == header.width + 1
            and re.fullmatch(r'"?\d+"?', text.partition(header.separator)[0])
        ):
            return (
                "row names without a name in the header (in R, row.names = FALSE), "
                "or a decimal comma that stands unquoted (write points, or separate by semicolons)"
            )
        if header.separator == "," and any(a and b for a, b in pairwise(whole)):
            return (
                "a decimal comma, or a text with a comma, that stands unquoted: write decimal points, or separate "
                "by semicolons"
            )
        return "a text that holds the separator, and is not quoted"
    return "a line that was cut, or a text that holds a line break, and is not quoted"


def _check_swallowed(path: Path, encoding: str | None, header: Header) -> None:
    """Find a quoted cell that looks like rows: an opening quote that was never closed swallows them up to the next one.

    It does where the text before the cell's first line break completes a row, the text after its last begins one, and
    all lines between are rows.
    """
    more = header.width - 1
    if not more:
        return
    for first, last, cells in _records(path, encoding, header):
        if first == last:
            continue
        for position, cell in enumerate(cells):
            lines = cell.splitlines()
            counts = [line.count(header.separator) for line in lines]
            if len(lines) > 1 and [counts[0] + position, *counts[1:-1], counts[-1] + more - position] == [more] * len(
                lines
            ):
                raise DataError(
                    "a quoted cell has swallowed rows",
                    param=str(path),
                    expected="a closing quote in the line of the opening one",
                    got=f"line {first}: a cell that runs to line {last} and looks like rows",
                    hint="close the quote, or write a quote inside a text twice",
                )
