"""What a file's columns hold, for drafts: codes, labels, counts, and which codes are guessed to be no answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from acecausal.survey.cells import counts_of
from acecausal.survey.meanings import number_of, silent_codes
from acecausal.survey.readers import Labels, read_table

#: A question has at most so many answers.
MOST_OPTIONS = 11
#: A code at the end of a scale that so few people have, and its neighbour so many times as many, is a guess.
FEW, TIMES = 2, 20


@dataclass(slots=True)
class Column:
    """A column: its codes as in the file, labels of them, how often the file has each; what it declares missing.

    Attributes
    ----------
    name, label : str
    labels : dict of str to str
        By code; codes as `code_key` spells them, here and below.
    counts : dict of str to int
    declared : list of str
        What the file declares missing.
    said, measure : str
        The same in words; what an SPSS file says of the scale.
    empty : dict of str to int
        Texts that are read as an empty cell, as NA, and how often the file has each.
    codes : list of str
        Those that are answers, in order.
    missing : dict of str to str
        Those that are guessed to be none, with the reason.
    role, kind, why : str
        What the column is drafted as, which of these, and the reason for it; empty until `roles` are given.
    """

    name: str
    label: str
    labels: dict[str, str]
    counts: dict[str, int]
    declared: list[str] = field(default_factory=list)
    said: str = ""
    empty: dict[str, int] = field(default_factory=dict)
    measure: str = ""
    codes: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    role: str = ""
    kind: str = ""
    why: str = ""

    def __post_init__(self) -> None:
        """Guess which codes are no answers, and why."""
        every = dict.fromkeys([*self.labels, *self.counts])
        self.missing = dict.fromkeys(self.declared, "declared missing in the file")
        worded = {} if self.labels else {key: key for key in every if number_of(key) is None}  # texts are their labels
        left = {key: self.labels.get(key, worded.get(key, "")) for key in every if key not in self.missing}
        silent = silent_codes(left)
        self.missing |= dict.fromkeys(silent, "by the label")
        told = [n for key in self.labels if key not in self.missing and (n := number_of(key)) is not None]
        apart = _apart([key for key in every if key not in self.missing], self.labels)
        # where labels that say nothing are understood, the others are answers; and so is what most people say
        understood = any(self.labels.get(key) for key in silent)
        apart = [
            key for key in apart
            if not self.labels.get(key) or not (understood or 2 * self.counts.get(key, 0) > self.rows)
        ]  # fmt: skip
        for key in self.counts:  # 98 on a scale from 0 to 10, say
            number = number_of(key)
            if told and key not in self.labels and number is not None and not min(told) <= number <= max(told):
                apart.append(key)
        self.missing |= {key: "apart from the others" for key in apart if key not in self.missing}
        self.missing |= dict.fromkeys(self._strays(), "hardly anybody has it, and everybody its neighbour")
        self.codes = sorted((key for key in every if key not in self.missing), key=_order)

    @property
    def words(self) -> str:
        """The name in words, lower case."""
        apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.name)
        return re.sub(r"[\W_]+", " ", apart).strip().casefold()

    @property
    def label_words(self) -> str:
        """The label in words, lower case."""
        return " ".join(re.sub(r"[^\w'?]+", " ", self.label.replace("_", " ")).split()).casefold()

    @property
    def rows(self) -> int:
        """How many rows are not empty."""
        return sum(self.counts.values())

    @property
    def numbers(self) -> list[float]:
        """The codes as numbers, in order; none where one is a text."""
        found = [number for key in self.codes if (number := number_of(key)) is not None]
        return found if len(found) == len(self.codes) else []

    @property
    def emptied(self) -> str:
        """Say in words which texts are read as an empty cell; nothing where none is."""
        rows = " and ".join(f"{key} in {count:,} rows" for key, count in self.empty.items() if key)
        return f"{rows} counts as empty, unless it is listed" if rows else ""

    @property
    def unlabelled(self) -> bool:
        """Whether no code that is an answer has a label."""
        return not any(self.labels.get(key) for key in self.codes)

    def called(self) -> list[str]:
        """Call each code something different: its label, or itself where there is none or two are the same."""
        told = [one_line(self.labels.get(key, "")) or key for key in self.codes]
        often = Counter(told)
        return [text if often[text] == 1 else f"{text} ({key})" for key, text in zip(self.codes, told, strict=True)]

    def _strays(self) -> list[str]:
        """Find a lone 0.5 before a scale from 1, a lone 7.5 or 9 after its end: slips, or codes of no answer."""
        left = [key for key in self.counts if key not in self.missing and not self.labels.get(key)]
        scale = {number: key for key in left if (number := number_of(key)) is not None}
        if len(scale) < 5 or len(scale) > 26:
            texts = [key for key in self.counts if key not in self.missing and number_of(key) is None]
            lone = [key for number, key in scale.items() if _conventional(number) and self.counts[key] <= FEW]
            return lone if len(texts) > 1 and len(lone) == len(scale) and self.rows > TIMES * FEW else []
        order = sorted(scale)

        def lonely(end: float, next_to: float) -> bool:
            count = self.counts[scale[end]]
            return count <= FEW and TIMES * count <= self.counts[scale[next_to]]

        found = []
        if lonely(order[0], order[1]) and order[1] in (0.0, 1.0):
            found.append(scale[order[0]])
        if lonely(order[-1], order[-2]) and (_conventional(order[-1]) or not order[-1].is_integer()):
            found.append(scale[order[-1]])
        return found


def read_columns(source: str | Path, labels: Labels, apart: Container[str], encoding: str | None) -> list[Column]:
    """Read the columns of a file but for those apart, and those without a name.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    named = dict.fromkeys(name for name in labels.columns if name.strip() and name not in apart)
    table = read_table(source, list(named), encoding=encoding)
    # SPSS itself calls everything with few codes nominal: only where something is ordinal did somebody say which
    measures = labels.measures if "ordinal" in labels.measures.values() else {}
    found = []
    for name in table.columns:
        counts, empty = counts_of(table[name])
        told = labels.values.get(name, {})
        declared = labels.declared(name, (*told, *counts))
        column = Column(name, labels.variables.get(name, ""), told, counts, declared, labels.shown(name), empty)
        column.measure = measures.get(name, "")
        found.append(column)
    return found


def one_line(text: str) -> str:
    """Put a label on one line, without what YAML's comments may not hold."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def _apart(codes: list[str], labels: Mapping[str, str]) -> list[str]:
    """Find 8 and 9 after a scale from 1 to 5, 77 to 99 after one from 0 to 10, -2 and -1 before one: no answers.

    Whatever their labels are, in any language; but where some codes have labels, these have one, and so has the end of
    the scale. The gap is wider than any within the scale.
    """
    numbers = sorted({number for key in codes if (number := number_of(key)) is not None and number.is_integer()})
    for first in range(2, min(len(numbers), MOST_OPTIONS + 1)):
        scale, above = numbers[:first], numbers[first:]
        if _stands_off(scale, above[0] - scale[-1]) and all(map(_conventional, above)):
            found = above
            break
    else:
        scale, found = numbers, []
    below = [number for number in scale if number < 0]
    scale = [number for number in scale if number >= 0]
    before = len(scale) > 2 and scale[0] in (0.0, 1.0) and len(below) <= 3  # -1 before a scale from 0
    off = len(scale) > 1 and (before or _stands_off(scale, scale[0] - below[-1])) if below else False
    if off and -below[0] != scale[-1]:
        found = [*below, *found]
    names = {number: key for key in codes if (number := number_of(key)) is not None}
    keys = [names[number] for number in found]
    labelled = {key for key in codes if labels.get(key)}
    if labelled and not labelled >= {*keys, names[scale[-1]]}:
        return []
    return keys


def _stands_off(scale: Sequence[float], gap: float) -> bool:
    return gap > max([1.0, *(later - earlier for earlier, later in pairwise(scale))])


def _conventional(number: float) -> bool:
    """Say whether archives use a number for no answer: 6 to 9, 66, 77, 88, 90 to 99, 666, 990 to 999 and so on."""
    return number.is_integer() and bool(re.fullmatch(r"([6-9])\1*|9+\d", f"{number:.0f}"))


def _order(key: str) -> tuple[bool, float, str]:
    number = number_of(key)
    return number is None, number or 0.0, key
