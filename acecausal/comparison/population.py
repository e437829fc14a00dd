"""Effects among the people of several countries together: each country counts by its population."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from acecausal.errors import AceError, DataError


@dataclass(frozen=True, slots=True)
class Together:
    """Effects among everybody in several countries, each an array of the input's shape without the pooled axis.

    Attributes
    ----------
    effect, se : numpy.ndarray
        Mean over people and its standard error; missing for k = 0.
    lower, upper : numpy.ndarray
        Interval of the mean.
    covered : numpy.ndarray
        Share of all the people of whom there are estimates, 0..1.
    k : numpy.ndarray, int
        Number of estimates.
    """

    effect: np.ndarray
    se: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    covered: np.ndarray
    k: np.ndarray


def together(
    effect: np.ndarray, se: np.ndarray, degrees: np.ndarray, people: np.ndarray, axis: int = 0, confidence: float = 0.95
) -> Together:
    """Average independent estimates along an axis by the people that they are of.

    Parameters
    ----------
    effect, se : numpy.ndarray, of one shape
        Estimates and their positive standard errors; where either (or `people`) is NaN there is no estimate.
    degrees : numpy.ndarray, of that shape
        Degrees of freedom of the standard errors; may be infinite.
    people : numpy.ndarray, of that shape
        How many people each is of, not negative, in any unit.
    axis : int
        Axis to average over.
    confidence : float
        Level of the intervals, in (0, 1).

    Returns
    -------
    Together

    Notes
    -----
    With shares a = people / sum(people) over what has an estimate: sum(a effect), variance V = sum(a^2 se^2), the
    interval that of t with Satterthwaite's V^2 / sum((a^2 se^2)^2 / degrees) degrees of freedom. How much countries
    differ is no error here: these are all there are.

    References
    ----------
    Satterthwaite (1946), Biometrics Bulletin 2(6), 110-114. Cochran (1977), Sampling techniques, section 5.4.
    """
    if not 0 < confidence < 1:
        raise AceError("out of range", param="confidence", expected="between 0 and 1", got=confidence)
    effect, se, degrees, people = (
        np.moveaxis(np.asarray(numbers, dtype=float), axis, 0) for numbers in (effect, se, degrees, people)
    )
    there = np.isfinite(effect) & np.isfinite(se) & ~np.isnan(people)
    if (se[there] <= 0).any():
        raise AceError("not positive", param="se", expected="standard errors above 0")
    if not ((people[there] >= 0) & np.isfinite(people[there])).all():
        raise AceError("out of range", param="people", expected="finite numbers, not negative")
    some = np.where(there, people, 0.0)
    total = some.sum(axis=0)
    share = np.divide(some, total, out=np.zeros_like(some), where=total > 0)
    k = (there & (some > 0)).sum(axis=0)
    each = (share * np.where(there, se, 0.0)) ** 2
    variance = each.sum(axis=0)
    few = (each**2 / np.where(there, degrees, 1.0)).sum(axis=0)
    df = np.divide(variance**2, few, out=np.full(variance.shape, np.inf), where=few > 0)
    mean = np.where(k > 0, (share * np.where(there, effect, 0.0)).sum(axis=0), np.nan)
    error = np.where(k > 0, np.sqrt(variance), np.nan)
    half = stats.t.isf((1 - confidence) / 2, df) * error
    everyone = np.where(np.isfinite(people), people, 0.0).sum(axis=0)
    covered = np.divide(total, everyone, out=np.full(total.shape, np.nan), where=everyone > 0)
    return Together(mean, error, mean - half, mean + half, np.where(k > 0, covered, np.nan), k)


def of_countries(population: Mapping[str, float], countries: Sequence[str]) -> np.ndarray:
    """Find the population of each country, shape (countries,).

    Raises
    ------
    AceError
        If one is missing, or is no positive number. Countries that are not asked for are passed over.
    """
    missing = [country for country in countries if country not in population]
    if missing:
        raise AceError(
            "countries without a population", param="population", expected=", ".join(countries),
            got=", ".join(map(str, population)) or "none", hint=f"missing: {', '.join(missing)}",
        )  # fmt: skip
    found = np.array([float(population[country]) for country in countries])
    for country, number in zip(countries, found, strict=True):
        if not (math.isfinite(number) and number > 0):
            raise AceError("is no population", param=f"population of {country}", expected="above 0", got=number)
    return found


def read_population(path: str | Path) -> dict[str, float]:
    """Read a CSV file with the columns country and population, in any unit.

    Raises
    ------
    DataError
        If it cannot be read, lacks a column, names a country twice, or holds what is no number.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as opened:
            rows = csv.DictReader(opened)
            if not {"country", "population"} <= set(rows.fieldnames or ()):
                raise DataError(
                    "lacks a column", param=str(path), expected="country,population",
                    got=",".join(rows.fieldnames or ()) or "nothing",
                )  # fmt: skip
            found: dict[str, float] = {}
            for row in rows:
                country, text = (row["country"] or "").strip(), (row["population"] or "").strip()
                if country in found:
                    raise DataError("a country stands twice", param=f"{path}, line {rows.line_num}", got=country)
                try:
                    found[country] = float(text)
                except ValueError:
                    raise DataError(
                        "is no number", param=f"{path}, line {rows.line_num}, population", expected="as 5421000",
                        got=text or "an empty cell",
                    ) from None  # fmt: skip
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("cannot be read", param=str(path), got=str(error)) from None
    return found
