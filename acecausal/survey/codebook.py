"""Codebooks: what the columns of a survey file mean, as a whole; where they are found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, FiniteFloat, ValidationError, model_validator

from acecausal.cube.files import Value
from acecausal.cube.lattice import Attribute, Level
from acecausal.errors import CodebookError, unknown
from acecausal.plain_yaml import read_yaml
from acecausal.survey.codes import Code, Missing, code_key
from acecausal.survey.replicates import ReplicatesSpec
from acecausal.survey.specs import (
    AttributeSpec,
    CountriesSpec,
    CovariateSpec,
    DesignColumn,
    GroupColumn,
    ItemColumn,
    Name,
    Part,
    RowsSpec,
    ValueSpec,
)


class Codebook(Part):
    """What the columns of a survey file mean.

    `unused` holds columns of the file that stand for nothing here, each with the reason.

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
    covariates: dict[Name, CovariateSpec] = Field(default_factory=dict)
    weight: DesignColumn | None = None
    stratum: GroupColumn | None = None
    psu: GroupColumn | None = None
    fpc: DesignColumn | None = None
    replicates: ReplicatesSpec | None = None
    id: GroupColumn | None = None
    rater: GroupColumn | None = None
    item: ItemColumn | None = None
    missing: tuple[Code, ...] = ()
    missing_below: FiniteFloat | None = None
    rows: dict[str, RowsSpec] = Field(default_factory=dict)
    domain: dict[str, RowsSpec] = Field(default_factory=dict)
    lattice: tuple[Name, ...] = ()
    unused: dict[str, str] = Field(default_factory=dict)
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
        strange = set(self.unused) & set(self.columns)
        if strange:
            raise ValueError(f"unused: {sorted(strange)} are used")
        self._check_ratings()
        self._check_replicates()
        return self

    def _check_replicates(self) -> None:
        if self.replicates is None:
            return
        if self.weight is None or self.weight.absent_in:
            raise ValueError("replicates needs weight, in every country: the weight that they are replicates of")
        both = [name for name in ("stratum", "psu", "fpc", "rater") if getattr(self, name)]
        if both:
            raise ValueError(f"replicates and {both[0]} cannot both be given: the replicate weights carry the design")

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
        """Every column that must be read, each once, and of replicate weights those that a file was asked for."""
        replicates = self.replicates.named if self.replicates else ()
        return list(dict.fromkeys([*self._single_columns, *replicates]))

    @property
    def _single_columns(self) -> list[str]:
        parts = (self.attributes, self.values, self.covariates)
        columns = [spec.column for part in parts for spec in part.values()]
        design = [column for part in self.design for column in part.columns]
        return [*self.countries.columns, *self.rows, *self.domain, *columns, *design]

    def in_file(self, names: Iterable[str], source: str) -> Codebook:
        """Give the codebook with the columns of replicate weights as a file has them; patterns only match there.

        Parameters
        ----------
        names : iterable of str
            Columns of the file.
        source : str
            The file, for messages.

        Raises
        ------
        DataError
            If a name or pattern finds nothing, or there are not as many as the type must have.
        """
        if self.replicates is None:
            return self
        columns = self.replicates.found(names, self._single_columns, source)
        return self.model_copy(update={"replicates": self.replicates.model_copy(update={"columns": columns})})

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
        return self._taking("rows", {**self.rows, **rows})

    def with_domain(self, domain: Mapping[str, Mapping[str, object]]) -> Codebook:
        """Say anew which part of the sample is studied, in the form of `with_rows`.

        Raises
        ------
        CodebookError
            For codes and range at once, or a range that is upside down.
        """
        return self._taking("domain", {**self.domain, **domain})

    def _taking(self, what: str, columns: Mapping[str, object]) -> Codebook:
        """Say which rows are meant; what was unused until now may be named."""
        left = {name: why for name, why in self.unused.items() if name not in columns}
        return _validated(self.model_dump() | {what: columns, "unused": left}, what)

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
        if spec.range is not None:
            return Value(name, spec.question, spec.topic, spec.scale, spec.ends, range=spec.range, unit=spec.unit)
        labels = tuple(option.label for option in spec.options)
        pinned = tuple(option.pinned for option in spec.options)
        return Value(name, spec.question, spec.topic, spec.scale, labels, pinned if any(pinned) else ())


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
        lines = [f"{'.'.join(map(str, e['loc'])) or 'codebook'}: {_said(e)}" for e in error.errors()]
        raise CodebookError(f"{len(lines)} errors:\n    " + "\n    ".join(lines), param=shown) from error


def _said(error: Mapping[str, Any]) -> str:
    """Say what is wrong; of a text that YAML reads as something else, that quotes help."""
    if error["type"] == "string_type" and isinstance(error["input"], bool | int | float | date | None):
        return f"{error['input']!s} is no text to YAML: put it in quotes, as it is to be read"
    return str(error["msg"])


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
