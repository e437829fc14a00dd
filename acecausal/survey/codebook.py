"""Codebooks: what the columns of a survey file mean."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    model_validator,
)

from acecausal.cube.files import Value
from acecausal.cube.lattice import Attribute, Level
from acecausal.errors import CodebookError, unknown
from acecausal.plain_yaml import read_yaml
from acecausal.survey.countries import CODINGS, Coding, iso_countries


def _check_code(code: object) -> object:
    if not isinstance(code, bool | str | int | float) or (isinstance(code, float) and not math.isfinite(code)):
        raise ValueError(f"{code!r}: a code is a text, true or false, or a finite number")
    return code


Code = Annotated[bool | str | int | float, BeforeValidator(_check_code)]

#: Texts that are whole numbers, written plainly: no exponent, leading zero, sign + or underscore.
_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0+)?")


def code_key(code: object) -> str:
    """Bring a code to one spelling, so that 1, 1.0, "1", "1.0" and "1 " are the same code in every file format.

    Blanks around a text are stripped, and its letters composed (NFC). Only plain whole numbers are made one; "007",
    "1e3" and "+1" are texts, and stay as they are. Truth values are ``true`` and ``false``.
    """
    if isinstance(code, bool | np.bool_):
        return str(bool(code)).lower()
    if isinstance(code, float | np.floating) and float(code).is_integer():
        return str(int(code))  # all digits, where str() would write an exponent
    text = str(code).strip()
    whole = _WHOLE.fullmatch(text)
    if whole:  # exact, however long: identifiers can have more digits than a float holds
        return "0" if whole[1] == "-0" else whole[1]
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def number(key: str) -> float | None:
    """Read a code as a number; None where it is none, or not finite."""
    if "_" in key or not key.isascii():  # Python reads 1_0 as ten, and the digits of every script
        return None
    try:
        found = float(key)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][\w.+-]*", name):
        raise ValueError(f"{name!r} must be letters, digits and _ . + - only: it becomes part of labels")
    return name


Name = Annotated[str, AfterValidator(_check_name)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Missing:
    """The codes that say nothing: those listed, and every number below `below`."""

    codes: frozenset[str] = frozenset()
    below: float | None = None

    def __contains__(self, key: str) -> bool:
        if key in self.codes:
            return True
        if self.below is None:
            return False
        found = number(key)
        return found is not None and found < self.below


class RowsSpec(_Part):
    """What is meant in a column: some codes, or a closed range of numbers."""

    codes: tuple[Code, ...] = ()
    range: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.codes) == (self.range is not None):
            raise ValueError("needs either codes or a range")
        if self.range is not None and not self.range[0] <= self.range[1]:
            raise ValueError(f"range {list(self.range)} is upside down")
        return self

    def __str__(self) -> str:
        if self.range is not None:
            return "..".join(f"{end:g}" for end in self.range)
        return ",".join(map(code_key, self.codes))


class LevelSpec(RowsSpec):
    """A level by the codes that mean it, or by a closed range of numbers."""

    label: str
    phrase: str = ""


class AskSpec(_Part):
    """The check question that asks for an attribute, and how each level answers it; by its phrase if none is given."""

    question: str
    answers: dict[Name, str] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_labels([self.question])
        _check_labels(list(self.answers.values()))
        return self


class AttributeSpec(_Part):
    """A demographic variable: its column, its levels in order, its baseline, what causes it, and how it is asked."""

    column: str
    label: str
    baseline: Name
    levels: dict[Name, LevelSpec] = Field(min_length=2)
    missing: tuple[Code, ...] = ()
    missing_below: FiniteFloat | None = None
    parents: tuple[Name, ...] = ()
    ask: AskSpec | None = None
    unverified: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.ask and self.ask.answers and set(self.ask.answers) != set(self.levels):
            raise ValueError(f"ask.answers are of {list(self.ask.answers)}, not of the levels {list(self.levels)}")
        if self.baseline not in self.levels:
            raise ValueError(f"baseline {self.baseline!r} is not one of the levels {list(self.levels)}")
        if len({level.range is None for level in self.levels.values()}) > 1:
            raise ValueError("levels by codes and levels by range cannot be mixed")
        ranges = sorted(level.range for level in self.levels.values() if level.range)
        for (_, high), (low, _) in pairwise(ranges):
            if low <= high:
                raise ValueError(f"ranges overlap between {low} and {high}")
        _check_unique([code for level in self.levels.values() for code in level.codes], self.missing)
        _check_labels([level.phrase or level.label for level in self.levels.values()])
        return self


class OptionSpec(_Part):
    """One option: its label and the codes that mean it; pinned: it keeps its place in every order, as "Other" does."""

    label: str
    codes: tuple[Code, ...] = Field(min_length=1)
    pinned: bool = False


class ValueSpec(_Part):
    """One survey question: its column, wording, topic, scale, and options in order of meaning."""

    column: str
    question: str
    topic: str
    scale: Literal["ordinal", "binary", "nominal"]
    options: tuple[OptionSpec, ...] = Field(min_length=2, max_length=26)
    missing: tuple[Code, ...] = ()
    missing_below: FiniteFloat | None = None
    unverified: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.scale == "binary" and len(self.options) != 2:
            raise ValueError(f"a binary value has 2 options, not {len(self.options)}")
        _check_unique([code for option in self.options for code in option.codes], self.missing)
        _check_labels([option.label for option in self.options])
        return self


class CountrySpec(_Part):
    """A country by the codes that mean it."""

    codes: tuple[Code, ...] = Field(min_length=1)
    label: str
    region: str = ""


class CountriesSpec(_Part):
    """The column that says the country, and the countries.

    With a `coding` the countries are those of ISO 3166, named by their alpha-3 codes; `levels` adds the survey's own,
    or says better what a name or a code means.
    """

    column: str
    coding: Coding | None = None
    levels: dict[Name, CountrySpec] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _coded(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or raw.get("coding") not in CODINGS:
            return raw
        own = raw.get("levels") or {}
        if not isinstance(own, dict):  # as what is below, told by the fields' own checks
            return raw
        listed = [spec.get("codes") for spec in own.values() if isinstance(spec, dict)]
        taken = {code_key(code) for codes in listed if isinstance(codes, list | tuple) for code in codes}
        standard = iso_countries(raw["coding"])
        left = {
            k: spec for k, spec in standard.items() if k not in own and taken.isdisjoint(map(code_key, spec["codes"]))
        }
        return raw | {"levels": left | own}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_unique([code for country in self.levels.values() for code in country.codes], ())
        return self


class CovariateSpec(_Part):
    """A numeric column to adjust for that is no attribute of the lattice, and how somebody's number is put into words.

    phrase: "aged {value}"; without it a model cannot be told.
    """

    column: str
    label: str
    missing: tuple[Code, ...] = ()
    phrase: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.phrase:
            _check_labels([self.phrase])
            if self.phrase.count("{value}") != 1:
                raise ValueError(f"phrase {self.phrase!r} must hold {{value}} once: it is where the number stands")
        return self

    def worded(self, number: float) -> str:
        """Put a number into the phrase."""
        return self.phrase.replace("{value}", f"{number:.15g}")


class DesignColumn(_Part):
    """A weight, stratum, PSU, fpc, id or rater column, and the countries whose data do not have it.

    fpc: as in R's svydesign, the number of PSUs of the stratum in the population, or (all up to 1) the share of them
    that was sampled. id: who the respondent is; unique within a country. rater: who gave the rating that the row holds,
    where respondents stand on many rows; unique within a country. note: when to take this column, when another.
    """

    column: str
    absent_in: tuple[Name, ...] = ()
    note: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)


class GroupColumn(DesignColumn):
    """A column that tells groups or people apart; its codes may start anew within each code of another one."""

    within: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column, self.within) if self.within else (self.column,)


class ItemColumn(GroupColumn):
    """The column of what was rated.

    random: items were given to raters at random, whatever the raters' attributes. Otherwise raters are compared within
    items.
    """

    random: bool = False


class Codebook(_Part):
    """What the columns of a survey file mean.

    Raises
    ------
    pydantic.ValidationError
        With every violation at once; `load_codebook` turns it into one CodebookError.
    """

    codebook: Literal[1]
    name: Name
    title: str
    source: str
    licence: str
    countries: CountriesSpec
    attributes: dict[Name, AttributeSpec] = Field(min_length=1)
    values: dict[Name, ValueSpec] = Field(min_length=1)
    covariates: dict[Name, CovariateSpec] = {}
    weight: DesignColumn | None = None
    stratum: GroupColumn | None = None
    psu: GroupColumn | None = None
    fpc: DesignColumn | None = None
    id: GroupColumn | None = None
    rater: GroupColumn | None = None
    item: ItemColumn | None = None
    missing: tuple[Code, ...] = ()
    missing_below: FiniteFloat | None = None
    rows: dict[str, RowsSpec] = {}
    domain: dict[str, RowsSpec] = {}
    lattice: tuple[Name, ...] = ()
    unverified: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, attribute in self.attributes.items():
            strange = set(attribute.parents) - set(self.attributes) - set(self.covariates)
            if strange:
                raise ValueError(f"attributes.{name}.parents: {sorted(strange)} are neither attributes nor covariates")
        for parts in (self.attributes, self.values):
            for name, part in parts.items():
                listed = part.levels.values() if isinstance(part, AttributeSpec) else part.options
                codes = {code_key(code) for entry in listed for code in entry.codes}
                missing = self.missing_codes(part)
                gone = sorted(code for code in codes if code in missing)
                if gone:
                    raise ValueError(f"{name}: codes {gone} are listed, and missing everywhere")
        both = set(self.attributes) & set(self.covariates)
        if both:
            raise ValueError(f"{sorted(both)} are attributes and covariates at once")
        for design in self.design:
            strange = set(design.absent_in) - set(self.countries.levels)
            if strange:
                raise ValueError(f"absent_in: {sorted(strange)} are not countries of this codebook")
        strange = set(self.lattice) - set(self.attributes)
        if strange:
            raise ValueError(f"lattice: {sorted(strange)} are not attributes of this codebook")
        if len(set(self.lattice)) < len(self.lattice):
            raise ValueError("lattice: an attribute is named twice")
        shared = self.sharing(self.lattice or self.attributes)
        if shared:
            raise ValueError(f"lattice: {' and '.join(shared)} are of one column, name those to take by default")
        self._check_ratings()
        return self

    def _check_ratings(self) -> None:
        if self.item and not self.rater:
            raise ValueError("item needs rater: the column that says who gave the rating")
        for name in ("psu", "id"):
            if self.rater and getattr(self, name):
                raise ValueError(f"rater and {name} cannot both be given: the rater is the respondent, and the PSU")
        if self.item and self.fpc:
            raise ValueError("item and fpc cannot both be given: items have no finite population here")

    @property
    def design(self) -> tuple[DesignColumn, ...]:
        """The columns of weight, stratum, PSU, fpc, id, rater and item that there are."""
        parts = (self.weight, self.stratum, self.psu, self.fpc, self.id, self.rater, self.item)
        return tuple(filter(None, parts))

    @cached_property
    def sha256(self) -> str:
        """Hash of the content, independent of layout and comments."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def columns(self) -> list[str]:
        """Every column that must be read, each once."""
        parts = (self.attributes, self.values, self.covariates)
        columns = [spec.column for part in parts for spec in part.values()]
        design = [column for part in self.design for column in part.columns]
        return list(dict.fromkeys([self.countries.column, *self.rows, *self.domain, *columns, *design]))

    def missing_codes(self, part: AttributeSpec | ValueSpec | CovariateSpec | None = None) -> Missing:
        """Say what is missing in the column of this part; a `missing_below` of its own holds instead of the book's."""
        own = part.missing if part else ()
        below = getattr(part, "missing_below", None)
        codes = frozenset(map(code_key, (*self.missing, *own)))
        return Missing(codes, self.missing_below if below is None else below)

    def sharing(self, attributes: Iterable[str]) -> tuple[str, ...]:
        """Give the first two of these attributes that are of one column, if there are any."""
        seen: dict[str, str] = {}
        for name in attributes:
            first = seen.setdefault(self.attributes[name].column, name)
            if first != name:
                return first, name
        return ()

    def unverified_parts(self, attributes: Iterable[str], values: Iterable[str]) -> list[str]:
        """List what is marked as unverified: the whole codebook, or which of these attributes and values."""
        if self.unverified:
            return ["the whole codebook"]
        return [f"attribute {name}" for name in attributes if self.attributes[name].unverified] + [
            f"value {name}" for name in values if self.values[name].unverified
        ]

    def with_rows(self, rows: Mapping[str, Mapping[str, object]]) -> Codebook:
        """Say anew which rows belong, by column: ``{"year": {"range": (2018, 2022)}}``, or ``codes`` instead.

        Raises
        ------
        CodebookError
            For codes and range at once, or a range that is upside down.
        """
        return _validated(self.model_dump() | {"rows": {**self.rows, **rows}}, "rows")

    def with_domain(self, domain: Mapping[str, Mapping[str, object]]) -> Codebook:
        """Say anew which part of the sample is studied, in the form of `with_rows`.

        Raises
        ------
        CodebookError
            For codes and range at once, or a range that is upside down.
        """
        return _validated(self.model_dump() | {"domain": {**self.domain, **domain}}, "domain")

    @property
    def listed(self) -> dict[str, set[str]]:
        """The codes of levels and options, by column."""
        found: dict[str, set[str]] = {}
        for attribute in self.attributes.values():
            codes = [code for level in attribute.levels.values() for code in level.codes]
            found.setdefault(attribute.column, set()).update(map(code_key, codes))
        for value in self.values.values():
            codes = [code for option in value.options for code in option.codes]
            found.setdefault(value.column, set()).update(map(code_key, codes))
        return found

    def only(self, values: Iterable[str]) -> Codebook:
        """Give the codebook of these values alone, so that no other value's column need be in the file.

        Attributes cannot be left out like this: those that are not in the lattice are held fixed.

        Raises
        ------
        AceError
            For a name that is not in the codebook.
        """
        asked = list(values)
        for name in asked:
            if name not in self.values:
                raise unknown("values", name, self.values)
        return self.model_copy(update={"values": {name: s for name, s in self.values.items() if name in asked}})

    def attribute(self, name: str) -> Attribute:
        """Give the attribute as the lattice wants it; a level without a phrase is worded by its label."""
        spec = self.attributes[name]
        question, answers = (spec.ask.question, spec.ask.answers) if spec.ask else ("", {})
        levels = tuple(
            Level(n, level.label, level.phrase or f"{spec.label}: {level.label}", answers.get(n, ""))
            for n, level in spec.levels.items()
        )
        return Attribute(name, spec.label, levels, spec.baseline, question)

    def value(self, name: str) -> Value:
        """Give the value as the cube wants it."""
        spec = self.values[name]
        labels = tuple(option.label for option in spec.options)
        pinned = tuple(option.pinned for option in spec.options)
        return Value(name, spec.question, spec.topic, spec.scale, labels, pinned if any(pinned) else ())


def _check_unique(codes: list[Code], missing: tuple[Code, ...]) -> None:
    keys = [code_key(code) for code in (*codes, *missing)]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"codes {twice} are listed twice")


def _check_labels(labels: list[str]) -> None:
    """A model is shown these: none may be empty, run over lines, or stand twice."""
    bad = [label for label in labels if not label.strip() or "\n" in label or labels.count(label) > 1]
    if bad:
        raise ValueError(f"{bad[0]!r} is empty, has a line break, or stands twice")


def shipped_codebooks() -> list[str]:
    """Names of the codebooks that come with the package."""
    folder = resources.files("acecausal.survey") / "codebooks"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_codebook(source: str | Path) -> Codebook:
    """Load a codebook by the name of a shipped one, or from a YAML file.

    Raises
    ------
    CodebookError
        If there is none, it is not YAML, or it breaks the codebook's rules (all of them listed).
    """
    text, shown = _read(source)
    raw = read_yaml(text, shown, CodebookError)
    if not isinstance(raw, dict):
        raise CodebookError("not a codebook", param=shown, expected="a YAML mapping", got=type(raw).__name__)
    return _validated(raw, shown)


def _validated(raw: dict[str, Any], shown: str) -> Codebook:
    try:
        return Codebook.model_validate(raw)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'codebook'}: {e['msg']}" for e in error.errors()]
        raise CodebookError(f"{len(lines)} errors:\n    " + "\n    ".join(lines), param=shown) from error


def _read(source: str | Path) -> tuple[str, str]:
    name = str(source)
    if name in shipped_codebooks():
        return (resources.files("acecausal.survey") / "codebooks" / f"{name}.yaml").read_text(encoding="utf-8"), name
    path = Path(source)
    if path.suffix not in (".yaml", ".yml") and not path.exists():
        raise unknown("--codebook", name, shipped_codebooks(), CodebookError)
    try:
        return path.read_text(encoding="utf-8"), name
    except (OSError, UnicodeDecodeError) as error:
        raise CodebookError("cannot be read", param=name, got=str(error)) from error
