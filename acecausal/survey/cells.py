"""Cells of a column: codes to positions, texts to numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from acecausal.errors import DataError
from acecausal.survey.codes import Missing, code_key, number
from acecausal.survey.countries import customary
from acecausal.survey.spelling import is_time

#: Spellings of an empty cell, unless the codebook lists them as codes.
EMPTY = frozenset({"", "nan", "NaN", "NA", "<NA>", "None", "NaT"})


def empty_among(keys: Iterable[str]) -> frozenset[str]:
    """Give the spellings of an empty cell in a column of these codes: "None" is none of them among words.

    Beside "Some" and "A lot" it is an answer, in all likelihood; beside 1 and 2 it is Python's word for nothing.
    """
    words = any(number(key) is None for key in keys if key not in EMPTY)
    return EMPTY - {"None"} if words else EMPTY


def counts_of(cells: pd.Series) -> tuple[dict[str, int], dict[str, int]]:
    """Count the cells of each code, and those of each text that stands for an empty cell."""
    counts: dict[str, int] = {}
    for code, count in cells.value_counts(dropna=True).items():
        key = code_key(code)
        counts[key] = counts.get(key, 0) + int(count)
    return counts, {key: counts.pop(key) for key in sorted(empty_among(counts) & counts.keys()) if counts[key]}


def positions_of(column: pd.Series, codes: Mapping[str, int], missing: Missing, where: str) -> np.ndarray:
    """Map each cell's code to a position, -1 where missing; a code that is neither listed nor missing is an error."""
    numbers, keys = codes_of(column, where)
    empty = empty_among(keys)
    strange = [key for key in keys if key not in codes and key not in missing and key not in empty]
    if strange:
        counts = {key: int((numbers == keys.index(key)).sum()) for key in strange[:8]}
        raise DataError(
            "codes that the codebook does not list",
            param=where,
            expected=", ".join(list(codes)[:30]) + (f" ... ({len(codes)} in all)" if len(codes) > 30 else ""),
            got=", ".join(f"{key!r} ({count} rows)" for key, count in counts.items())
            + (f" and {len(strange) - 8} more" if len(strange) > 8 else ""),
            hint=customary(strange) or _spelling(strange, codes)
            or "list them under the level, option or country they mean, or under missing",
        )  # fmt: skip
    # whole numbers of 32 bits: people calculate with positions, and 128 levels are no oddity
    lookup = np.array([*(codes.get(key, -1) if key not in missing else -1 for key in keys), -1], dtype=np.int32)
    return lookup[numbers]


def _spelling(strange: Sequence[str], codes: Mapping[str, int]) -> str:
    """Say which listed code one looks like that is another text."""
    for key in strange:
        found = number(key)
        like = next((code for code in codes if found is not None and number(code) == found), None)
        if like is not None:
            return f"{key!r} is another text than {like!r}: list it as it is written, in quotes"
        like = next((code for code in codes if code.casefold() == key.casefold()), None)
        if like is not None:
            return f"{key!r} is another text than {like!r}: list it too"
    return ""


def codes_of(column: pd.Series, where: str) -> tuple[np.ndarray, list[str]]:
    """Give the position of each cell's code, -1 where empty, and the codes; a date is none."""
    numbers, uniques = pd.factorize(column)
    keys = list(uniques)
    for key in keys:
        if is_time(key):
            raise DataError(
                "holds dates or times",
                param=where,
                expected="codes or numbers",
                got=str(key),
                hint="turn the column into codes or numbers, as years, or name another column",
            )
    return numbers, keys


def numbers_of(column: pd.Series, missing: Missing, where: str, *, weight: bool = False) -> np.ndarray:
    """Read each cell's number, NaN where missing; a text that is no number is an error."""
    numbers, keys = codes_of(column, where)
    lookup = np.full(len(keys) + 1, np.nan)
    strange = []
    for position, key in enumerate(keys):
        if key in missing or key in EMPTY:
            continue
        found = number(key)
        if found is None:
            strange.append(key)
        else:
            lookup[position] = found
    if strange:
        raise DataError(
            "not numbers", param=where, got=", ".join(map(repr, strange[:8])), hint=no_number(strange, weight=weight)
        )
    return lookup[numbers]


def no_number(strange: Sequence[str], *, weight: bool = False) -> str:
    """Say what may have been meant by texts that are no numbers."""
    if all(re.fullmatch(r"-?\d+,\d+", key) for key in strange):
        return "decimal commas: write points"
    if any(re.search(r"\d", key) for key in strange):
        return (
            "write numbers, as 90 for '90+'; only what says nothing is listed under missing"
            if not weight
            else ("write numbers, without units or separators of thousands")
        )
    return "write a number in every row" if weight else "list them under missing, if they say nothing"


def bands_of(column: pd.Series, ranges: Sequence[tuple[float, float]], missing: Missing, where: str) -> np.ndarray:
    """Map each cell's number to the range that holds it, -1 where missing; one outside every range is an error."""
    numbers = numbers_of(column, missing, where)
    positions = np.full(len(numbers), -1, dtype=np.int32)
    for position, (low, high) in enumerate(ranges):
        positions[(numbers >= low) & (numbers <= high)] = position
    outside = ~np.isnan(numbers) & (positions < 0)
    if outside.any():
        raise DataError(
            "numbers outside every level's range",
            param=where,
            expected=" ".join(f"{low:g}-{high:g}" for low, high in ranges),
            got=", ".join(f"{x:g}" for x in np.unique(numbers[outside])[:8]) + f" ({int(outside.sum())} rows)",
            hint="widen a range; list under missing only codes that say nothing",
        )
    return positions


#: What is said of them, before their number of rows.
FAR_OFF = "far off all other numbers (a code that says nothing belongs under missing)"
#: Numbers so many quartile ranges from the median, and so many times as far as all others, are taken for codes.
FAR, FARTHER, CODES = 10.0, 5.0, 3


def far_off(numbers: np.ndarray) -> np.ndarray:
    """Find numbers that lie far off all others, as 99999999 among incomes does: an undeclared code, in all likelihood.

    Parameters
    ----------
    numbers : numpy.ndarray, shape (n,), float
        NaN where missing.

    Returns
    -------
    numpy.ndarray
        At most three different numbers, those furthest off first: ten quartile ranges and more from the median, and
        five times as far as the next. Empty if there are none, or if half of all are one number.
    """
    known = numbers[np.isfinite(numbers)]
    if not len(known):
        return known
    low, median, high = np.quantile(known, [0.25, 0.5, 0.75])
    different = np.unique(known)
    different = different[np.argsort(-np.abs(different - median), kind="stable")]
    apart = np.abs(different - median)
    for count in range(min(CODES, len(different) - 1), 0, -1):
        if high > low and apart[count - 1] > FAR * (high - low) and apart[count - 1] > FARTHER * apart[count]:
            return different[:count]
    return different[:0]


def scores_of(column: pd.Series, span: tuple[float, float], missing: Missing, where: str) -> np.ndarray:
    """Map each cell's number to where it is between the ends of a range, 0 to 1, and -1.0 where missing.

    One outside the range is an error.
    """
    low, high = span
    numbers = numbers_of(column, missing, where)
    outside = (numbers < low) | (numbers > high)
    if outside.any():
        raise DataError(
            "numbers outside the range",
            param=where,
            expected=f"{low:g} to {high:g}",
            got=", ".join(f"{x:g}" for x in np.unique(numbers[outside])[:8]) + f" ({int(outside.sum())} rows)",
            hint="widen the range; list under missing only codes that say nothing",
        )
    known = np.isfinite(numbers)
    return np.where(known, np.clip((np.where(known, numbers, low) - low) / (high - low), 0.0, 1.0), -1.0)
