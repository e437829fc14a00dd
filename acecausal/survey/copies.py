"""Rows that stand in a table more often than chance explains: copies, where no column says who a respondent is."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import poisson

#: What is said of them, before their number.
COPIES = "rows equal to an earlier one in every column read, more than chance explains"
#: Chance may bring so many times as many as is expected, and more than that so seldom; so many columns are looked at.
SAFETY, SELDOM, COLUMNS = 3.0, 0.01, 16


def count_copies(table: pd.DataFrame) -> int:
    """Count the rows equal to an earlier one, if they are more than chance explains.

    Of a coarse table many rows are equal by nature. How many pairs, the table itself says: where A pairs of rows are
    equal and B more are equal but for column j, A is about B m / (1 - m), with m the share of pairs of rows that are
    equal in column j, if that column is independent of the others; copies add to A and hardly to B. Columns that follow
    from others let expect too little, so the largest of all columns' expectations holds.

    Parameters
    ----------
    table : pandas.DataFrame
        A row per respondent; an empty cell is a code like another.

    Returns
    -------
    int
        0 where chance explains them.
    """
    if len(table) < 2 or not table.shape[1]:
        return 0
    codes = [pd.factorize(table[name], use_na_sentinel=False)[0] for name in table]
    hashes = [_random(int(column.max()) + 1, seed)[column] for seed, column in enumerate(codes)]
    whole = np.add.reduce(hashes)  # wraps around, as meant
    pairs = _pairs(whole)
    if not pairs:
        return 0
    odds = np.array([_odds(column) for column in codes])
    varied = np.flatnonzero(odds > 0)
    if len(varied) < 3:  # year and wave, say: nothing that a row could differ in besides
        return 0
    varied = varied[np.argsort(odds[varied], kind="stable")]
    chosen = varied[np.unique(np.linspace(0, len(varied) - 1, min(COLUMNS, len(varied))).round().astype(int))]
    near = np.array([_pairs(whole - hashes[j]) - pairs for j in chosen])
    # three pairs are what may be behind none seen (95 %)
    expected = max(float((near / odds[chosen]).max()), float((near.sum() + 3) / odds[chosen].sum()))
    rows = int(pd.Series(whole).duplicated().sum())
    return rows if poisson.sf(rows - 1, SAFETY * expected) < SELDOM else 0


def copies_hint(table: pd.DataFrame) -> str:
    """Say what to do about rows of one id: copies are alike in all columns, and other people, or waves, are not.

    Parameters
    ----------
    table : pandas.DataFrame
        The rows whose id stands in more than one.

    Returns
    -------
    str
    """
    if len(table.drop_duplicates()) * 2 <= len(table):
        return "the rows are copies of each other: remove them"
    return (
        "the rows differ, so they are no copies: name the column that tells respondents apart, or in which the ids "
        "begin anew (id: {column: ..., within: year}); or, where people answered in several waves, take one wave with "
        "rows:, or name the person under psu: in place of id:, so that errors allow for it"
    )


def _random(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(2**64, size=size, dtype=np.uint64)


def _pairs(keys: np.ndarray) -> float:
    """Count the pairs of equal keys."""
    counts = np.unique(keys, return_counts=True)[1].astype(float)
    return float((counts * (counts - 1) / 2).sum())


def _odds(codes: np.ndarray) -> float:
    """Say how many pairs of rows differ in a column for each that is equal there."""
    counts = np.bincount(codes).astype(float)
    equal = float((counts * (counts - 1)).sum())
    return (len(codes) * (len(codes) - 1) - equal) / equal if equal else float(len(codes) ** 2)
