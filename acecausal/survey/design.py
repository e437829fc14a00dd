"""What the sample's design says of each row: weight, stratum, PSU, who it is, and the share of PSUs that was drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd

from acecausal.errors import DataError
from acecausal.survey.cells import EMPTY, codes_of, numbers_of
from acecausal.survey.codebook import Codebook
from acecausal.survey.codes import Missing
from acecausal.survey.copies import copies_hint
from acecausal.survey.specs import DesignColumn, GroupColumn


def weights_of(table: pd.DataFrame, codebook: Codebook, country: np.ndarray, source: str) -> np.ndarray:
    """Give the weights; 0 is for people outside the sample, whom the caller sets aside."""
    if codebook.weight is None:
        return np.ones(len(table))
    where = f"{source}, column {codebook.weight.column} (weight)"
    absent = np.isin(country, _country_positions(codebook, codebook.weight))
    weight = np.ones(len(table))
    weight[~absent] = numbers_of(table.loc[~absent, codebook.weight.column], Missing(), where, weight=True)
    bad = ~(weight >= 0)
    if bad.any():
        raise DataError(
            "weights that are missing or negative",
            param=where,
            got=f"{int(bad.sum())} of {len(weight)} rows",
            hint="a country without weights is named under weight.absent_in; rows of weight 0 are set aside: give it "
            "to those that do not belong to the sample",
        )
    return weight


def units_of(
    table: pd.DataFrame,
    part: GroupColumn | None,
    codebook: Codebook,
    country: np.ndarray,
    name: str,
    source: str,
    default: np.ndarray | None = None,
) -> np.ndarray:
    """Number the strata, PSUs, raters or items, shape (n,), int; `default` where the codebook or a country has none."""
    codes = np.zeros(len(table), dtype=np.int64) if default is None else default.astype(np.int64)
    if part is None:
        return codes
    there = ~np.isin(country, _country_positions(codebook, part))
    numbers = np.zeros(int(there.sum()), dtype=np.int64)
    empty = np.zeros(len(numbers), dtype=bool)
    said: set[str] = set()
    for column in part.columns:
        found, keys = codes_of(table.loc[there, column], f"{source}, column {column} ({name})")
        gone = [i for i, key in enumerate(keys) if key in EMPTY]
        empty |= np.isin(found, [-1, *gone])
        said |= {keys[i] for i in gone if keys[i]}
        numbers = pd.factorize(numbers * (len(keys) + 1) + found)[0]
    if empty.any():
        raise _missing(f"{source}, column {' or '.join(part.columns)} ({name})", int(empty.sum()), name, said)
    codes[there] = numbers + codes.max(initial=0) + 1
    return codes


def _missing(where: str, rows: int, name: str, said: set[str]) -> DataError:
    """Build the error for empty cells of a design column; `said`: texts that were taken for them."""
    texts = " or ".join(map(repr, sorted(said)))
    return DataError(
        "is missing",
        param=where,
        got=f"{rows} rows" + (f", {texts} being read as an empty cell" if said else ""),
        hint=f"a country without it is named under {name}.absent_in"
        + (f"; if {texts} is a code here, write another one in the file" if said else ""),
    )


def identities_of(table: pd.DataFrame, codebook: Codebook, country: np.ndarray, source: str) -> np.ndarray | None:
    """Hash the respondents' ids; one that is missing, or (of no rater) stands twice in a country, is an error."""
    part, name = (codebook.rater, "rater") if codebook.rater else (codebook.id, "id")
    if part is None:
        return None
    within = part.within
    where = f"{source}, column {part.column} ({name})"
    there = ~np.isin(country, _country_positions(codebook, part))
    identity = np.arange(len(table), dtype=np.uint64)
    codes_of(table.loc[there, part.column], where)  # a date is none
    ids = table.loc[there, part.column].astype(object).to_numpy()
    empty = pd.isna(ids) | np.isin(ids.astype(str), list(EMPTY))
    if empty.any():
        raise _missing(where, int(empty.sum()), name, {text for text in ids[empty] if isinstance(text, str) and text})
    whole = pd.DataFrame({"country": country[there], "id": ids})
    if within:
        whole["within"] = table.loc[there, within].astype(object).to_numpy()
        ids = ids + "@" + whole["within"].astype(str).to_numpy(dtype=object)
    identity[there] = pd.util.hash_array(ids)
    if codebook.rater:
        return identity
    twice = whole.duplicated().to_numpy()
    if twice.any():
        names = list(codebook.countries.levels)
        examples = dict.fromkeys(f"{ids[i]} in {names[country[there][i]]}" for i in np.flatnonzero(twice)[:4])
        raise DataError(
            "respondents stand twice",
            param=where,
            expected=f"ids that are unique within a country{f' and {within}' if within else ''}",
            got=f"{int(twice.sum())} rows too many: {', '.join(examples)}" + (" ..." if twice.sum() > 4 else ""),
            hint=copies_hint(table.loc[there].loc[whole.duplicated(keep=False).to_numpy()]),
        )
    return identity


def fractions_of(
    table: pd.DataFrame, codebook: Codebook, country: np.ndarray, stratum: np.ndarray, psu: np.ndarray, source: str
) -> np.ndarray | None:
    """Turn fpc, the PSUs of the stratum in the population or the share of them sampled, into sampling fractions."""
    if codebook.fpc is None:
        return None
    where = f"{source}, column {codebook.fpc.column} (fpc)"
    there = ~np.isin(country, _country_positions(codebook, codebook.fpc))
    fraction = np.zeros(len(table))
    given = numbers_of(table.loc[there, codebook.fpc.column], Missing(), where, weight=True)
    if not (given > 0).all():
        raise DataError(
            "is missing, zero or negative",
            param=where,
            got=f"{int((~(given > 0)).sum())} of {len(given)} rows",
            hint="a country without it is named under fpc.absent_in",
        )
    groups = pd.DataFrame({"country": country[there], "stratum": stratum[there], "psu": psu[there], "fpc": given})
    strata = groups.groupby(["country", "stratum"])

    def first(rows: np.ndarray) -> tuple[str, pd.DataFrame]:
        row = int(np.flatnonzero(rows)[0])
        same = (groups[["country", "stratum"]] == groups.loc[row, ["country", "stratum"]]).all(axis=1)
        name = list(codebook.countries.levels)[country[there][row]]
        part = codebook.stratum
        if part is not None and name not in part.absent_in:
            name += f", stratum {table.loc[there, part.column].iloc[row]}"
        return name, groups[same]

    several = strata["fpc"].transform("nunique").to_numpy() > 1
    if several.any():
        name, rows = first(several)
        raise DataError(
            "differs within a stratum",
            param=where,
            expected="one number per stratum",
            got=f"{name}: " + ", ".join(f"{x:g}" for x in rows["fpc"].unique()[:4]),
        )
    highest = groups.groupby("country")["fpc"].transform("max").to_numpy()
    mixed = (highest > 1) & (given < 1)
    if mixed.any():
        raise DataError(
            "numbers of PSUs and shares at once",
            param=where,
            expected="all 1 or more, or all up to 1, within a country",
            got=f"{first(mixed)[0]}: {given[mixed][0]:g}, beside {highest[mixed][0]:g}",
        )
    sampled = strata["psu"].transform("nunique").to_numpy()
    fraction[there] = np.where(highest > 1, sampled / given, given)
    over = fraction[there] > 1
    if over.any():
        raise DataError(
            "fewer PSUs in the population than in the sample",
            param=where,
            got=f"{first(over)[0]}: {given[over][0]:g} in the population, {sampled[over][0]} in the sample",
        )
    return fraction


def _country_positions(codebook: Codebook, part: DesignColumn) -> list[int]:
    return [list(codebook.countries.levels).index(name) for name in part.absent_in]
