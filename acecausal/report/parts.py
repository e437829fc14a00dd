"""What a page is made of: sections of figures of panels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from acecausal.report import words
from acecausal.report.drawing import DESK, PHONE, Spec, shape_of
from acecausal.report.tables import Table

#: Shape, CSS colour, opacity, text.
Key = tuple[str, str, float, str]


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart in its two widths.

    Attributes
    ----------
    title : str
    alt_text : str
        What it shows, for those who cannot see it.
    wide, narrow : dict
        Vega-Lite; `narrow` is None where one drawing serves both.
    broad : bool
        It may be broader than its place, and is scrolled there rather than shrunk.
    """

    title: str
    alt_text: str
    wide: Spec
    narrow: Spec | None = None
    broad: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """Panels that are read together.

    Attributes
    ----------
    title : str
    panels : list of Panel
    caption : str
        What it shows, in a line or two.
    legend : list of (shape, css colour, opacity, text)
    numbers : Table or None
        What is drawn, as numbers.
    more : list of (title, Table)
        Further numbers that are drawn.
    how : str
        How to read it, for those who ask.
    """

    title: str
    panels: list[Panel]
    caption: str
    legend: list[Key]
    numbers: Table | None = None
    more: list[tuple[str, Table]] = field(default_factory=list)
    how: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, what is left out, figures, and tables that stand by themselves: (summary, table)."""

    key: str
    title: str
    intro: str
    figures: list[Figure]
    tables: list[tuple[str, Table]] = field(default_factory=list)


def both(title: str, make: Callable[[int], Spec], alt_text: str, *, broad: bool = False) -> Panel:
    """Make a panel for the desk and for the phone."""
    return Panel(title, alt_text, make(DESK), make(PHONE), broad)


def model_legend(labels: Iterable[str]) -> list[Key]:
    """Explain the models' marks."""
    texts = [words.clean(label) for label in labels]
    fill = ["hollow "] * (len(texts) - 1) + [""]
    return [(fill[i] + shape_of(i, len(texts)), "contrast", 1.0, f"model: {text}") for i, text in enumerate(texts)]


def limits(*of: tuple[int, int, str, str]) -> str:
    """Say what is shown of how much: (shown, all, singular, plural)."""
    cut = [f"{shown} of {words.count(n, one, many)}" for shown, n, one, many in of if shown < n]
    return (
        f"Shown: {words.join(cut)}, those with the strongest evidence (smallest p-value); the tables have all."
        if cut
        else ""
    )
