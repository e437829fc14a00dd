"""Annotator data: raters stand on many rows, one for each item they rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from acecausal.errors import DataError


def check_raters(
    country: np.ndarray,
    rater: np.ndarray,
    item: np.ndarray | None,
    constant: Mapping[str, np.ndarray],
    names: Mapping[str, pd.Series],
    where: str,
) -> None:
    """Check that each rater is one person, and rates an item once.

    Parameters
    ----------
    country, rater : numpy.ndarray, shape (n,), int
        A rater is one within a country.
    item : numpy.ndarray, shape (n,), int, optional
    constant : mapping of str to numpy.ndarray, shape (n,), int
        What a rater brings along, by the name to use in messages: attributes, and the stratum.
    names : mapping of {'country', 'rater', 'item'} to pandas.Series, length n
        How to name a row's country, rater and item in messages.
    where : str
        The file and its column of raters, for messages.

    Raises
    ------
    DataError
        If something constant differs between a rater's rows, or a rater rates an item twice; it names the first four.
    """
    of = pd.DataFrame({"country": country, "rater": rater})
    names = {part: column.reset_index(drop=True) for part, column in names.items()}
    for name, codes in constant.items():
        differs = codes != pd.Series(codes).groupby([of["country"], of["rater"]]).transform("first").to_numpy()
        if differs.any():
            raise DataError(
                f"differs between the rows of one rater: {name}",
                param=where,
                expected="raters who are the same person in all their rows (missing everywhere, or nowhere)",
                got=_examples(of[differs], names, ("rater",)),
                hint="raters are unique within a country; mend the rows, or name the column that tells raters apart",
            )
    if item is not None:
        twice = of.assign(item=item).duplicated()
        if twice.any():
            raise DataError(
                "raters rate an item twice",
                param=where,
                expected="one row per rater and item",
                got=f"{int(twice.sum())} rows too many: " + _examples(of[twice], names, ("rater", "item")),
                hint="remove the copies; judgements of several kinds are values of one row",
            )


def item_means(columns: np.ndarray, item: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Average columns, shape (n, q), over the ratings of each row's item, by weight: shape (n, q); 0 without weight.

    Who rated an item, as shares of attributes, is all that adjusting for the item needs: least squares with these means
    gives the effect within items, as if each item had an intercept (Mundlak 1978, Econometrica 46(1), 69-85). The
    item's mean rating would not do: it measures the item with error, and is itself moved by who rated it.
    """
    _, number = np.unique(item, return_inverse=True)
    total = np.bincount(number, weight)
    means = np.empty(columns.shape)
    for j, column in enumerate(columns.T):
        sums = np.bincount(number, weight * column)
        means[:, j] = np.divide(sums, total, out=np.zeros(len(total)), where=total > 0)[number]
    return means


def intraclass(influence: np.ndarray, weight: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Estimate how alike the answers within a unit are.

    Parameters
    ----------
    influence : numpy.ndarray, shape (values, options, n)
        Of the shares of a value's options.
    weight : numpy.ndarray, shape (values, n)
        0 where not answered.
    unit : numpy.ndarray, shape (n,), int

    Returns
    -------
    numpy.ndarray, shape (values,)
        Intraclass correlation in [0, 1], over all options: what makes the expected square of the units' sums of
        influence values what it is, relative to that of single ones. 0 where no unit has two answers.
    """
    single = (weight**2).sum(axis=1)
    pairs = _pair_products(weight, unit) / single
    square = (influence**2).sum(axis=(1, 2))
    excess = _pair_products(influence.reshape(-1, len(unit)), unit).reshape(influence.shape[:2]).sum(axis=1)
    there = (pairs > 1e-9) & (square > 0)
    return np.clip(np.divide(excess, square * pairs, out=np.zeros(len(pairs)), where=there), 0, 1)


def effective_answers(weight: np.ndarray, units: Sequence[np.ndarray], alike: Sequence[np.ndarray]) -> np.ndarray:
    """Compute how many independent answers a share is worth, shape (values,).

    Parameters
    ----------
    weight : numpy.ndarray, shape (values, n)
        Summing to 1 over the rows.
    units : sequence of numpy.ndarray, shape (n,), int
        Within which answers are alike: raters, and items. None: Kish's effective size.
    alike : sequence of numpy.ndarray, shape (values,)
        Their intraclass correlations.

    References
    ----------
    Kish (1965), Survey sampling; Gabler, Haeder and Lahiri (1999), A model based justification of Kish's formula for
    design effects for weighting and clustering, Survey Methodology 25(1), 105-106.
    """
    square = (weight**2).sum(axis=1)
    return np.asarray(
        1 / (square + sum(r * _pair_products(weight, unit) for unit, r in zip(units, alike, strict=True)))
    )


def _pair_products(numbers: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Sum the products of all ordered pairs of different rows of one unit; numbers of shape (m, n), result (m,)."""
    _, number = np.unique(unit, return_inverse=True)
    squares = np.array([(np.bincount(number, row) ** 2).sum() for row in numbers])
    return np.asarray(squares - (numbers**2).sum(axis=1))


def _examples(rows: pd.DataFrame, names: Mapping[str, pd.Series], parts: tuple[str, ...]) -> str:
    """Name up to four raters (and items) of these rows."""
    found = [" ".join(f"{part} {names[part][i]}" for part in parts) + f" in {names['country'][i]}" for i in rows.index]
    distinct = list(dict.fromkeys(found))
    return ", ".join(distinct[:4]) + (" ..." if len(distinct) > 4 else "")
