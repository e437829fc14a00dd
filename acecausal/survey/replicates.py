"""Replicate weights: which columns they are, how variances come from them, and whether they fit the weight."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, FiniteFloat, model_validator

from acecausal.errors import DataError
from acecausal.survey.cells import numbers_of
from acecausal.survey.codes import Missing
from acecausal.survey.specs import Part

#: Types whose factors follow from the type, and those that give a PSU back in nearly all replicates.
OWN_FACTORS, JACKKNIFE = ("BRR", "Fay", "JK2", "successive-difference"), ("JK1", "JKn", "JK2")
#: Replicates that change a row's weight by less leave it as it is, up to what raking them does.
CHANGED = 0.1


class ReplicatesSpec(Part):
    """Columns of replicate weights, and how variances come from them; words and rules are those of R's svrepdesign.

    columns: names, or patterns as ``rw*``, one or several; what a pattern finds is ordered by the numbers in the names.
    The variance is scale times the sum of rscales times the squared deviations of the replicates' estimates from their
    mean (mse: from the estimate itself). The weights are whole: the sampling weight is in them.
    """

    columns: str | tuple[str, ...]
    type: Literal["BRR", "Fay", "JK1", "JKn", "JK2", "bootstrap", "successive-difference", "other"]
    rho: float | None = Field(None, ge=0, lt=1)
    scale: float | None = Field(None, gt=0, allow_inf_nan=False)
    rscales: FiniteFloat | tuple[FiniteFloat, ...] | None = None
    mse: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not all(self.named) or not self.named:
            raise ValueError("columns are not named")
        if (self.rho is not None) != (self.type == "Fay"):
            raise ValueError("rho goes with type Fay, and Fay with rho: the share of their weight that rows keep")
        if self.type in OWN_FACTORS and not (self.scale is None and self.rscales is None):
            raise ValueError(f"type {self.type} sets its own scale and rscales: leave them out")
        if self.type == "JKn" and self.rscales is None:
            raise ValueError("type JKn needs rscales: (n - 1)/n for each replicate, n the PSUs of its stratum")
        if self.type == "other" and self.scale is None:
            raise ValueError("type other needs scale")
        listed = self.rscales if isinstance(self.rscales, tuple) else () if self.rscales is None else (self.rscales,)
        if any(factor < 0 for factor in listed) or (listed and not any(listed)):
            raise ValueError("rscales must not be negative, and one must be positive")
        return self

    @property
    def named(self) -> tuple[str, ...]:
        """The names and patterns."""
        return (self.columns,) if isinstance(self.columns, str) else self.columns

    def found(self, names: Iterable[str], taken: Iterable[str], source: str) -> tuple[str, ...]:
        """Find the columns among those of a file.

        Parameters
        ----------
        names : iterable of str
            Columns of the file.
        taken : iterable of str
            Columns that the codebook uses otherwise, as the weight itself. A pattern passes them over.
        source : str
            The file, for messages.

        Raises
        ------
        DataError
            If a name or pattern finds nothing, or the type cannot have so many.
        """
        every, used = list(names), {name.casefold() for name in taken}
        found: dict[str, None] = {}
        for wanted in self.named:
            fits = [name for name in every if name.casefold() == wanted.casefold()]
            if not fits:
                free = (name for name in every if name.casefold() not in used)
                fits = sorted((n for n in free if fnmatchcase(n.casefold(), wanted.casefold())), key=_natural)
            if not fits:
                raise DataError(
                    "no column fits", param=f"{source}, replicates {wanted}",
                    expected="the name of a replicate weight, or a pattern, as rw*", got=", ".join(every[:12]),
                )  # fmt: skip
            found |= dict.fromkeys(fits)
        self._check_count(tuple(found), source)
        return tuple(found)

    def _check_count(self, columns: Sequence[str], source: str) -> None:
        where = f"{source}, replicates {', '.join(self.named[:3])}"
        count, got = len(columns), f"{len(columns)}: {columns[0]} to {columns[-1]}"
        if count < 2:
            raise DataError("too few columns", param=where, expected="2 or more replicate weights", got=got)
        if self.type in ("BRR", "Fay") and count % 4 and count != 2:
            raise DataError(
                f"another number of columns than type {self.type} has", param=where, expected="a multiple of 4",
                got=got, hint="is one missing, or the sampling weight among them? Other replicates have another type",
            )  # fmt: skip
        if isinstance(self.rscales, tuple) and len(self.rscales) != count:
            raise DataError(
                "another number of columns than of rscales", param=where, expected=len(self.rscales), got=got
            )

    def factors(self, count: int) -> tuple[float, np.ndarray]:
        """Give scale and rscales, shape (count,), of so many replicates, as svrepdesign sets them."""
        own = {
            "BRR": 1 / count,
            "Fay": 1 / (count * (1 - (self.rho or 0.0)) ** 2),
            "JK1": (count - 1) / count,
            "bootstrap": 1 / (count - 1),
            "successive-difference": 4 / count,
        }
        scale = own.get(self.type, 1.0) if self.scale is None else self.scale
        return scale, np.broadcast_to(np.array(1.0 if self.rscales is None else self.rscales, dtype=float), count)


def replicates_of(
    table: pd.DataFrame, spec: ReplicatesSpec | None, weight: np.ndarray, source: str
) -> np.ndarray | None:
    """Read the replicate weights.

    Parameters
    ----------
    table : pandas.DataFrame
        Of categoricals; spec names its columns one by one.
    spec : ReplicatesSpec, optional
    weight : numpy.ndarray, shape (n,)
        The sampling weights; rows of weight 0 are outside the sample, and weigh nothing in any replicate.

    Returns
    -------
    numpy.ndarray, shape (n, replicates), optional

    Raises
    ------
    DataError
        If a weight is missing or negative, or they cannot be replicates, of this type, of the sampling weight.
    """
    if spec is None:
        return None
    columns = list(spec.named)
    where = f"{source}, columns {columns[0]} to {columns[-1]} (replicates)"
    sampled = weight > 0
    found = np.zeros((len(table), len(columns)))
    for place, column in enumerate(columns):
        numbers = numbers_of(table[column], Missing(), f"{source}, column {column} (replicates)", weight=True)
        found[sampled, place] = numbers[sampled]
    for what, bad in (("missing", np.isnan(found)), ("negative", found < 0)):
        if bad.any():
            worst = np.flatnonzero(bad.any(axis=0))
            raise DataError(
                f"replicate weights that are {what} where the weight is not", param=where,
                expected="a number, 0 or more, in every row of the sample",
                got=f"{int(bad.any(axis=1).sum())} of {int(sampled.sum())} rows, in {len(worst)} columns, as "
                f"{columns[worst[0]]}", hint="they belong to another file or another part of the sample?",
            )  # fmt: skip
    _check_fit(found[sampled], weight[sampled], spec, columns, where)
    return found


def _check_fit(found: np.ndarray, weight: np.ndarray, spec: ReplicatesSpec, columns: Sequence[str], where: str) -> None:
    """Check that replicates, shape (n, R), can be of this weight and of this type; all are whole weights."""
    total = found.sum(axis=0) / weight.sum()
    far = np.flatnonzero((total < 1 / 3) | (total > 3))
    times = found / weight[:, None]
    odd = np.abs(np.log(np.maximum(times.mean(axis=1), 1e-9))) > np.log(2)
    if len(far) or odd.mean() > 0.1:
        column = int(far[0]) if len(far) else int(np.argmax(np.abs(times - 1).mean(axis=0)))
        raise DataError(
            "replicate weights that are no replicates of the weight", param=where,
            expected="columns that add up to what the weight adds up to, and, row by row, are the weight on average",
            got=f"{columns[column]} adds up to {total[column]:.3g} times the weight; {int(odd.sum())} of {len(odd)} "
            "rows have less than half or more than twice their weight on average",
            hint="is it another weight's, or are they factors that the weight has yet to be multiplied by?",
        )  # fmt: skip
    changed = np.abs(times - 1) > CHANGED
    if not changed.any() and np.allclose(times, 1, atol=1e-9):
        raise DataError("replicate weights that are all the weight itself", param=where, hint="name other columns")
    size = float(np.median(np.abs(times[changed] - 1))) if changed.any() else 0.0
    lowered = float((times < 1 - CHANGED).mean())
    if spec.type in ("BRR", "Fay"):
        usual = 1 - (spec.rho or 0.0)
        if not (0.2 < lowered < 0.8 and 0.75 < size / usual < 4 / 3):
            raise DataError(
                f"replicate weights of another type than {spec.type}", param=where,
                expected=f"about half of all weights in a replicate changed by -{usual:g} and half by +{usual:g} times "
                "themselves", got=f"{100 * lowered:.0f} % lowered; typical change {size:.2f}",
                hint=f"type Fay with rho {1 - size:.2f}?" if 0.2 < lowered < 0.8 and size < 1 else "a jackknife?",
            )  # fmt: skip
    if spec.type in JACKKNIFE and len(columns) > 8 and lowered > 0.3:
        raise DataError(
            f"replicate weights of another type than {spec.type}", param=where,
            expected="few weights lowered in each replicate, those of the PSU that it leaves out",
            got=f"{100 * lowered:.0f} % lowered", hint="balanced half-samples (BRR, Fay), or a bootstrap?",
        )  # fmt: skip


def _natural(name: str) -> list[tuple[int, str]]:
    """Order names by the numbers in them: rw2 before rw10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split("([0-9]+)", name.casefold())]
