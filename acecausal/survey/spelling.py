"""Columns of codes in one spelling: categoricals whose categories are texts as `code_key` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, time, timedelta
from typing import Any

import numpy as np
import pandas as pd

from acecausal.errors import DataError
from acecausal.survey.codes import code_key


def spelled(column: pd.Series, where: str) -> pd.Categorical:
    """Spell a column's codes as codebooks do, all digits kept; None, NaN and the like are empty cells.

    Parameters
    ----------
    column : pandas.Series, of any type
    where : str
        What to call it in messages.

    Raises
    ------
    DataError
        If its cells are lists or mappings.
    """
    try:
        numbers, uniques = pd.factorize(column)
    except TypeError as error:
        raise nested(where) from error
    return spell(numbers, np.asarray(uniques))  # not the index itself: it makes double precision of single


def spell(numbers: np.ndarray, values: Sequence[Any] | np.ndarray) -> pd.Categorical:
    """Build a column from the position of each cell's code, shape (n,), int, -1 where empty, and the codes.

    Dates and times, which are no codes, stay what they are, for the message that says so.
    """
    places: dict[Any, int] = {}
    lookup = np.full(len(values) + 1, -1, dtype=np.intp)
    for position, value in enumerate(values):
        if value is None or value is pd.NA or value != value:  # noqa: PLR0124  NaN and NaT
            continue
        lookup[position] = places.setdefault(value if is_time(value) else code_key(value), len(places))
    return pd.Categorical.from_codes(lookup[numbers], pd.Index(list(places), dtype=object))


def is_time(code: object) -> bool:
    """Whether this is a date, time or duration."""
    return isinstance(code, date | time | timedelta | np.datetime64 | np.timedelta64)


def nested(where: str) -> DataError:
    """Build the error for a column of lists, structs or maps."""
    return DataError(
        "holds lists or mappings", param=where, expected="one code or number per cell",
        hint="spread the column over several, one for each part",
    )  # fmt: skip
