"""The parts of a codebook, each of a column: attributes, values, countries, covariates, the design of the sample."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from acecausal.survey.codes import Code, code_key
from acecausal.survey.countries import CODINGS, Coding, iso_countries


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][\w.+-]*", name):
        raise ValueError(f"{name!r} must be letters, digits and _ . + - only: it becomes part of labels")
    return name


Name = Annotated[str, AfterValidator(_check_name)]


class Part(BaseModel):
    """A part of a codebook: nothing in it is unknown, nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RowsSpec(Part):
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


class AskSpec(Part):
    """The check question that asks for an attribute, and how each level answers it; by its phrase if none is given."""

    question: str
    answers: dict[Name, str] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_labels([self.question])
        _check_labels(list(self.answers.values()))
        return self


class AttributeSpec(Part):
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


class OptionSpec(Part):
    """One option: its label and the codes that mean it; pinned: it keeps its place in every order, as "Other" does."""

    label: str
    codes: tuple[Code, ...] = Field(min_length=1)
    pinned: bool = False


class ValueSpec(Part):
    """One survey question: its column, wording, topic, scale, and options in order of meaning.

    A continuous one has no options, but a range, the lowest and the highest number there can be, and may have a unit.
    """

    column: str
    question: str
    topic: str
    scale: Literal["ordinal", "binary", "nominal", "continuous"]
    options: tuple[OptionSpec, ...] = Field((), max_length=26)
    range: tuple[FiniteFloat, FiniteFloat] | None = None
    unit: str = ""
    missing: tuple[Code, ...] = ()
    missing_below: FiniteFloat | None = None
    unverified: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.scale == "continuous":
            return self._numbers()
        if self.range is not None or self.unit:
            raise ValueError(f"range and unit are for scale: continuous, not {self.scale}")
        if len(self.options) < 2:
            raise ValueError(f"options: 2 or more, not {len(self.options)}; or scale: continuous, with a range")
        if self.scale == "binary" and len(self.options) != 2:
            raise ValueError(f"a binary value has 2 options, not {len(self.options)}")
        _check_unique([code for option in self.options for code in option.codes], self.missing)
        _check_labels([option.label for option in self.options])
        return self

    def _numbers(self) -> Self:
        if self.options:
            raise ValueError("a continuous value has a range and no options: its cells are numbers")
        if self.range is None or not self.range[0] < self.range[1]:
            raise ValueError("a continuous value needs range: [lowest, highest] number that there can be")
        _check_unique([], self.missing)
        _check_labels([self.unit] if self.unit else [])
        return self

    @property
    def ends(self) -> tuple[str, ...]:
        """The ends of a continuous value's range, as text."""
        return tuple(f"{end:.15g} {self.unit}".strip() for end in self.range or ())


class CountrySpec(Part):
    """A country by the codes that mean it."""

    codes: tuple[Code, ...] = Field(min_length=1)
    label: str
    region: str = ""


class OnlySpec(Part):
    """The one country of a survey whose file has no column for it."""

    label: str
    region: str = ""


class CountriesSpec(Part):
    """The column that says the country, and the countries; or the only country there is.

    With a `coding` the countries are those of ISO 3166, named by their alpha-3 codes; `levels` adds the survey's own,
    or says better what a name or a code means. `only` stands alone; `levels` is filled from it.
    """

    column: str | None = None
    coding: Coding | None = None
    only: dict[Name, OnlySpec] = Field(default_factory=dict)
    levels: dict[Name, CountrySpec] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _coded(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        own = raw.get("levels") or {}
        if not isinstance(own, dict):  # as what is below, told by the fields' own checks
            return raw
        only = raw.get("only")
        if isinstance(only, dict) and only and not own:
            levels = {
                name: {"codes": [name], "label": name, **spec} for name, spec in only.items() if isinstance(spec, dict)
            }
            return raw | {"levels": levels}
        if raw.get("coding") not in CODINGS:
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
        if len(self.only) > 1:
            raise ValueError(
                "`only` names one country: several are told apart by a `column`, with `levels` or `coding`"
            )
        if self.only:
            if self.column or self.coding or list(self.levels) != list(self.only):
                raise ValueError("`only` is for a file without a column of the country: no column, coding or levels")
        elif not self.column or not self.levels:
            raise ValueError(
                "needs `column` and `levels` (or `coding`); or, where all are of one country, "
                "`only: {GBR: {label: Great Britain}}`"
            )
        _check_unique([code for country in self.levels.values() for code in country.codes], ())
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The column of the country, if there is one."""
        return (self.column,) if self.column else ()


class CovariateSpec(Part):
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


class DesignColumn(Part):
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
