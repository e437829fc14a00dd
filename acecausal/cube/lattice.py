"""Attributes, contrasts, personas, and the lattice they span."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product

import numpy as np

from acecausal.errors import AceError


@dataclass(frozen=True, slots=True)
class Level:
    """One level of an attribute: its name in labels, its label for readers, its wording in a persona.

    `answer` is what somebody of this level says to the attribute's check question; "" where nobody worded it.
    """

    name: str
    label: str
    phrase: str
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A demographic variable with two or more levels; the first of ``levels`` need not be the baseline.

    `question` is its check question, which asks for it ("Are you a man or a woman?"); "" where nobody worded it.
    """

    name: str
    label: str
    levels: tuple[Level, ...]
    baseline: str
    question: str = ""

    @property
    def level_names(self) -> tuple[str, ...]:
        return tuple(level.name for level in self.levels)

    @property
    def baseline_code(self) -> int:
        return self.level_names.index(self.baseline)


@dataclass(frozen=True, slots=True)
class Contrast:
    """One attribute moved from its baseline level to another level (both as positions)."""

    attribute: int
    baseline: int
    treated: int


@dataclass(frozen=True)
class Lattice:
    """All personas over some attributes, cut at a granularity.

    Parameters
    ----------
    attributes : tuple of Attribute
        The m attributes, in the order in which personas name them.
    depth : int
        Largest number of attributes a persona specifies, 1..m.

    Notes
    -----
    A persona is a row of ``codes``, shape (personas, m): the level's position, or -1 where the persona leaves the
    attribute open. Personas are ordered by granularity, then by attribute, then by level.
    """

    attributes: tuple[Attribute, ...]
    depth: int

    def __post_init__(self) -> None:
        if not self.attributes:
            raise AceError("a lattice needs at least one attribute", param="attributes", got="none")
        if not 1 <= self.depth <= len(self.attributes):
            raise AceError(
                "granularity out of range", param="depth", expected=f"1..{len(self.attributes)}", got=str(self.depth)
            )

    @classmethod
    def over(cls, attributes: Sequence[Attribute], depth: int | None = None) -> Lattice:
        """Span the lattice over `attributes`, by default uncut."""
        return cls(tuple(attributes), len(attributes) if depth is None else depth)

    @cached_property
    def codes(self) -> np.ndarray:
        """Level positions per persona, shape (personas, m), int; -1 where open."""
        choices = [range(-1, len(attribute.levels)) for attribute in self.attributes]
        rows = [row for row in product(*choices) if sum(code >= 0 for code in row) <= self.depth]
        rows.sort(key=lambda row: (sum(code >= 0 for code in row), [code < 0 for code in row], row))
        return np.array(rows, dtype=np.int64)

    @cached_property
    def granularity(self) -> np.ndarray:
        """Number of specified attributes per persona, shape (personas,)."""
        return (self.codes >= 0).sum(axis=1)

    @cached_property
    def personas(self) -> tuple[str, ...]:
        """Labels: ``all``, ``gender=female``, ``gender=female,education=tertiary`` ..."""
        return tuple(
            ",".join(
                f"{attribute.name}={attribute.levels[code].name}"
                for attribute, code in zip(self.attributes, row, strict=True)
                if code >= 0
            )
            or "all"
            for row in self.codes
        )

    @cached_property
    def contrasts(self) -> tuple[Contrast, ...]:
        return tuple(
            Contrast(position, attribute.baseline_code, code)
            for position, attribute in enumerate(self.attributes)
            for code in range(len(attribute.levels))
            if code != attribute.baseline_code
        )

    @cached_property
    def contrast_labels(self) -> tuple[str, ...]:
        """Labels ``attribute:level``, in the order of ``contrasts``."""
        return tuple(
            f"{self.attributes[c.attribute].name}:{self.attributes[c.attribute].levels[c.treated].name}"
            for c in self.contrasts
        )

    @cached_property
    def checked(self) -> tuple[str, ...]:
        """Labels of every level of every attribute, ``gender=female``, attribute by attribute."""
        return tuple(f"{attribute.name}={level}" for attribute in self.attributes for level in attribute.level_names)

    @cached_property
    def edges(self) -> np.ndarray:
        """Edges of the lattice, shape (edges, 4): contrast, context, baseline persona, treated persona.

        An edge exists where the context leaves the contrast's attribute open and both ends lie in the lattice.
        """
        position = {tuple(row): index for index, row in enumerate(self.codes.tolist())}
        rows = []
        for number, contrast in enumerate(self.contrasts):
            for context, row in enumerate(self.codes.tolist()):
                if row[contrast.attribute] >= 0:
                    continue
                low, high = list(row), list(row)
                low[contrast.attribute], high[contrast.attribute] = contrast.baseline, contrast.treated
                if tuple(low) in position:
                    rows.append((number, context, position[tuple(low)], position[tuple(high)]))
        return np.array(rows, dtype=np.int64)

    def match(self, codes: np.ndarray) -> np.ndarray:
        """Say which respondents match which persona.

        Parameters
        ----------
        codes : numpy.ndarray, shape (n, m)
            Level positions per respondent, -1 where missing.

        Returns
        -------
        numpy.ndarray, shape (personas, n), bool
            A respondent whose level is missing matches only personas that leave that attribute open.
        """
        matched = np.ones((len(self.codes), len(codes)), dtype=bool)
        for column in range(len(self.attributes)):
            wanted = self.codes[:, column, None]
            matched &= (wanted < 0) | (wanted == codes[None, :, column])
        return matched

    def to_json(self) -> str:
        """Write the lattice as JSON (kept in the cube's attrs, so that a cube can be elicited from alone)."""
        return json.dumps({"depth": self.depth, "attributes": [asdict(attribute) for attribute in self.attributes]})

    @classmethod
    def from_json(cls, text: str) -> Lattice:
        raw = json.loads(text)
        attributes = tuple(
            Attribute(
                a["name"], a["label"], tuple(Level(**x) for x in a["levels"]), a["baseline"], a.get("question", "")
            )
            for a in raw["attributes"]
        )
        return cls(attributes, raw["depth"])
