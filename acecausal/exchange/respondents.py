"""How many people stand behind shares that are plain ratios: the fewest that can have them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np

#: Most people that are tried, and how often a share that is no ratio may pass for one of as many (see `most_people`).
MOST, BY_CHANCE = 100_000, 0.01
#: What dividing and adding leave of a number that is written with all its digits.
_ROUNDING = 1e-14


def decimals_of(numbers: Iterable[float]) -> int:
    """Count the decimals that numbers are written with, the most of any of them."""
    # as written: repr is the shortest text that reads back as the same number
    return max((-int(Decimal(repr(float(x))).as_tuple().exponent) for x in numbers), default=0)


def most_people(decimals: int) -> int:
    """Say up to how many people shares with so many decimals tell.

    A number that is no ratio comes within half a unit of the last decimal of one with a denominator up to n by chance,
    with a probability of about n^2 times that half unit.
    """
    return min(MOST, int(np.sqrt(BY_CHANCE / _half_unit(decimals))))


def fewest_people(shares: Sequence[float], decimals: int) -> int | None:
    """Find the smallest number of people whose answers have these shares.

    Parameters
    ----------
    shares : sequence of float
        Of the options; ratios of counts, written with `decimals` decimals.
    decimals : int
        The last that was written is rounded.

    Returns
    -------
    int or None
        The smallest n for which n times each share is a whole number within the decimals: n people, or a multiple of
        them, so a lower bound. None if no number of people up to `most_people` has these shares.
    """
    numbers, half, most = np.asarray(shares, dtype=float), _half_unit(decimals), most_people(decimals)
    start, length = 1, 1024
    while start <= most:
        n = np.arange(start, min(start + length, most + 1), dtype=float)
        people = n[:, None] * numbers
        whole = (np.abs(people - people.round()) <= n[:, None] * half).all(axis=1)
        if whole.any():
            return int(n[whole.argmax()])
        start, length = start + length, 16 * length
    return None


def _half_unit(decimals: int) -> float:
    return max(0.5 * 10.0**-decimals, _ROUNDING)
