"""CSV files: every row held against the header, the needed columns as codes."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd

from acecausal.errors import DataError
from acecausal.survey.csv_faults import check_swallowed, misfit, only_row_names
from acecausal.survey.csv_header import begin, opened
from acecausal.survey.spelling import spell

#: Cells of a column of numbers with decimal commas: no thousands, no lists.
DECIMAL = re.compile(r"\s*(-?\d+(,\d+)?|NA|NaN|nan|)\s*")
#: Bytes that are parsed at once. A row must fit, so the next size is tried where one does not.
BLOCKS = (1 << 22, 1 << 26, (1 << 31) - 1)


def read_csv(path: Path, columns: Sequence[str], encoding: str | None) -> pd.DataFrame:
    """Read columns as codes; texts stay texts: a level called "None", a country called "NA" are no empty cells.

    Raises
    ------
    DataError
        If a row has not as many cells as the header, for whatever reason but plain row names, or a quoted cell has
        swallowed rows.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow

    for block in BLOCKS:
        with opened(path, encoding) as stream:
            header, rest = begin(path, stream)
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
                raise misfit(path, encoding, header) or error from error
            break
    commas = header.separator != ","
    found = {number: _column(table.column(number), commas=commas) for number in dict.fromkeys(taken)}
    if header.row_names and not (_increasing(found["0"]) and only_row_names(path, encoding, header)):
        raise misfit(path, encoding, replace(header, row_names=False)) or DataError("cannot be read", param=str(path))
    if feed.quoted and feed.lines > table.num_rows:
        check_swallowed(path, encoding, header)
    return pd.DataFrame({name: found[number] for name, number in zip(columns, wanted, strict=True)})


def _column(column: object, *, commas: bool) -> pd.Categorical:
    """Spell a column; with `commas`, those that can only be decimal are read as points."""
    whole = column.unify_dictionaries().combine_chunks()  # type: ignore[attr-defined]
    parts = whole.chunks if hasattr(whole, "chunks") else [whole]
    numbers = [part.indices.fill_null(-1).to_numpy(zero_copy_only=False) for part in parts]
    texts = parts[0].dictionary.to_pylist()
    if commas and any("," in text for text in texts) and all(map(DECIMAL.fullmatch, texts)):
        texts = [text.replace(",", ".") for text in texts]
    return spell(np.concatenate(numbers).astype(np.intp), texts)


def _numbered(width: int) -> list[str]:
    return list(map(str, range(width)))


def _skip_blank(row: object) -> str:
    text: str = row.text  # type: ignore[attr-defined]
    return "error" if text.strip() else "skip"


class _Bytes(io.RawIOBase):
    """Text as UTF-8 bytes; how many lines it has, and whether any quote."""

    def __init__(self, first: str, rest: TextIO) -> None:
        while not first.strip() and (more := rest.read(1 << 20)):
            first += more
        self.first, self.rest, self.ends, self.begun, self.quoted = first, rest, 0, False, False
        self.empty = not first.strip()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        text, self.first = self.first or self.rest.read(size), ""
        self.ends += text.count("\n")
        if "\r" in text:  # a pair that is cut between two texts counts twice: no harm
            self.ends += text.count("\r") - text.count("\r\n")
        self.begun = text[-1] not in "\r\n" if text else self.begun
        self.quoted = self.quoted or '"' in text
        return text.encode()

    @property
    def lines(self) -> int:
        return self.ends + self.begun


def _increasing(column: pd.Categorical) -> bool:
    """Whether cells are the names that R gives rows: whole numbers that increase, some rows left out."""
    if not all(re.fullmatch(r"\d{1,18}", text) for text in column.categories):
        return False
    numbers = np.array([int(text) for text in column.categories])[column.codes]
    return bool((np.diff(numbers) > 0).all())
