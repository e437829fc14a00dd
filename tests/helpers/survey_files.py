"""Survey files as an archive would give them, made up: a codebook's columns, codes and labels, answers by chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyreadstat

from acecausal.survey.codebook import Codebook
from acecausal.survey.specs import LevelSpec, OptionSpec, RowsSpec

MISSING_SHARE = 0.04
OUTSIDE_SHARE = 0.1


def write_survey(
    path: Path,
    book: Codebook,
    n: int,
    seed: int = 0,
    *,
    countries: Sequence[str] = (),
    labels: Mapping[str, Mapping[float, str]] | None = None,
) -> pd.DataFrame:
    """Write a .sav or .dta file of n respondents; every code of every column occurs about equally often.

    Codes that mean missing occur too. In .sav files those of the attributes are declared user-missing, as archives do;
    the values' are plain numbers. A tenth of the rows is not among those that the codebook's `rows` mean.

    Parameters
    ----------
    path : Path
    book : Codebook
    n, seed : int
    countries : sequence of str, optional
        By default the first two of the codebook.
    labels : mapping, optional
        By column and code: value labels in the file that are not the codebook's.

    Returns
    -------
    pandas.DataFrame
        The codes, as drawn; the oracle of what a reader must find.
    """
    rng = np.random.default_rng(seed)
    table = draw(book, n, rng, countries)
    attributes = {spec.column for spec in book.attributes.values()}
    named = {column: dict(codes) for column, codes in _labels(book).items()}
    for column, codes in (labels or {}).items():
        named.setdefault(column, {}).update(codes)
    if path.suffix == ".dta":
        named = {column: {int(code): label for code, label in codes.items()} for column, codes in named.items()}
        pyreadstat.write_dta(table, path, variable_value_labels=named)
    else:
        gone = {column: _missing(book, column) for column in attributes}
        ranges = {
            column: [{"lo": -9, "hi": -1}] if book.missing_below is not None else codes[:3]
            for column, codes in gone.items()
            if codes
        }
        pyreadstat.write_sav(table, path, variable_value_labels=named, missing_ranges=ranges)
    return table


def draw(book: Codebook, n: int, rng: np.random.Generator, countries: Sequence[str] = ()) -> pd.DataFrame:
    """Draw the codes of all columns, shape (n, columns)."""
    columns: dict[str, np.ndarray] = {}
    for parts in (book.attributes, book.values):
        for part in parts.values():
            entries = part.levels.values() if parts is book.attributes else part.options
            codes = [code for entry in entries for code in _codes(entry)]
            columns[part.column] = rng.choice(codes, n)
    for column in columns:
        missing = _missing(book, column)
        if missing:
            hit = rng.random(n) < MISSING_SHARE
            columns[column] = np.where(hit, rng.choice(missing, n), columns[column])
    for part in (book.stratum, book.psu):
        if part is not None:
            columns[part.column] = rng.integers(1, 9, n)
    if book.weight is not None:
        columns[book.weight.column] = rng.uniform(0.3, 3, n)
    if book.id is not None:
        columns[book.id.column] = np.arange(1, n + 1)
    for column, rows in book.rows.items():
        inside = _codes(rows)
        outside = [max(inside) + 1, min(inside) - 1]
        hit = rng.random(n) < OUTSIDE_SHARE
        columns[column] = np.where(hit, rng.choice(outside, n), rng.choice(inside, n))
    if book.countries.column not in columns:
        levels = book.countries.levels
        codes = [levels[name].codes[0] for name in countries or list(levels)[:2]]
        columns[book.countries.column] = rng.choice([float(c) if str(c).isdecimal() else c for c in codes], n)
    table = pd.DataFrame(columns)
    return table.astype({name: float for name in table if table[name].dtype.kind in "iu"})


def _codes(spec: RowsSpec | OptionSpec) -> list[int]:
    """List the codes of a level, an option or of rows; of a range every whole number, of an age those of adults."""
    if isinstance(spec, OptionSpec) or spec.range is None:
        return [int(code) for code in spec.codes]
    low, high = spec.range
    if isinstance(spec, LevelSpec):
        low, high = max(low, 18), min(high, 89)
    return list(range(int(np.ceil(low)), int(high) + 1))


def _missing(book: Codebook, column: str) -> list[int]:
    specs = [spec for parts in (book.attributes, book.values) for spec in parts.values() if spec.column == column]
    codes = [int(code) for spec in specs for code in (*spec.missing, *book.missing)]
    return list(dict.fromkeys([*codes, *([-1, -2, -5] if book.missing_below is not None else [])]))


def _labels(book: Codebook) -> dict[str, dict[int, str]]:
    """Give the value labels by column and code; of two attributes of one column those of the finer."""
    named: dict[str, dict[int, str]] = {}
    for attribute in book.attributes.values():
        codes = {code: level.label for level in attribute.levels.values() for code in level.codes}
        named[attribute.column] = {int(code): label for code, label in codes.items()}
    for value in book.values.values():
        named[value.column] = {int(code): option.label for option in value.options for code in option.codes}
    return {column: codes for column, codes in named.items() if codes}
