"""Words and numbers for readers: labels of contrasts and personas, shortened and cleaned; numbers with their signs."""

from __future__ import annotations

import math
import textwrap
import unicodedata
from collections.abc import Iterable
from functools import cached_property
from itertools import takewhile

import pandas as pd
import xarray as xr

from acecausal.cube.lattice import Lattice

#: What each status means to a reader, and the sign that stands for it in pictures.
STATUS_TEXT = {
    "not_applicable": ("no such edge in the lattice", "·"),
    "not_asked": ("question not asked", "–"),
    "too_few": ("too few people in an arm", "○"),
    "no_overlap": ("the two arms are not comparable (no overlap)", "×"),
    "failed": ("the estimate failed", "!"),
    "no_score": ("no order, so no score: its options' shifts are shown apart", "≈"),
}

_BIDI = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C}


def why(status: str) -> str:
    """Say why a cell has no effect; nothing where it has one."""
    return "" if status == "ok" else STATUS_TEXT[status][0]


def clean(text: object) -> str:
    """Take out of a label what no page should carry: control characters, lone surrogates, direction overrides.

    A label in a right-to-left script is isolated, so that it leaves the order of the words around it alone.
    """
    raw = str(text)
    if not raw.isprintable():
        raw = "".join(" " if _unwanted(char) else char for char in raw if ord(char) not in _BIDI)
    raw = raw.strip()
    if not raw.isascii() and any(unicodedata.bidirectional(char) in ("R", "AL") for char in raw):
        return f"\u2068{raw}\u2069"
    return raw


def _unwanted(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or ord(char) in (0xFFFE, 0xFFFF)


def width_of(text: str) -> float:
    """Estimate a text's width in em, set in a sans-serif face."""
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> float:
    if unicodedata.combining(char) or ord(char) in _BIDI:
        return 0.0
    if unicodedata.east_asian_width(char) in "WF":
        return 1.0
    if char in "ijl.,:;'|!()[]ftr ":
        return 0.36
    if char in "mwMW—@%шщжюмфШЩЖЮМФ":
        return 0.95
    return 0.72 if char.isupper() else 0.61


def shorten(text: str, em: float) -> str:
    """Cut a text to a width in em; an ellipsis says that something was cut."""
    if width_of(text) <= em:
        return text
    kept, used = [], 1.0
    for char in text:
        used += _char_width(char)
        if used > em:
            break
        kept.append(char)
    return "".join(kept).rstrip() + "…"


def wrap(text: str, em: float, lines: int) -> list[str]:
    """Break a text into at most `lines` lines of a width in em; the last one is cut if need be."""
    if width_of(text) <= em:
        return [text]
    parts = textwrap.wrap(text, max(int(em / 0.56), 4), break_long_words=False) or [""]
    if len(parts) > lines:
        parts = [*parts[: lines - 1], " ".join(parts[lines - 1 :])]
    return [shorten(part, em) for part in parts]


def excerpt(text: str, characters: int = 90) -> str:
    """Cut a question at a word for use within a sentence."""
    if len(text) <= characters:
        return text
    head = text[:characters].rsplit(" ", 1)[0]
    return head.rstrip(" ,.;:") + "…"


def decimals(span: float) -> int:
    """Say how many decimals numbers within a range of this width need for a thousandth of it."""
    return max(0, 3 - math.floor(math.log10(span)))


def distinct(texts: Iterable[str], keys: Iterable[str], stem: int = 30) -> list[str]:
    """Cut off what texts have in common at their beginning, by whole words, so that they differ where they are read.

    Parameters
    ----------
    texts, keys : iterable of str
        Texts, and what names each; the key comes first where texts are equal.
    stem : int
        Shorter beginnings in common are left.
    """
    texts, keys = [str(text) for text in texts], [str(key) for key in keys]
    families: dict[str, list[int]] = {}
    for i, text in enumerate(texts):
        families.setdefault(text[:stem], []).append(i)
    made = list(texts)
    for members in families.values():
        pairs = zip(min(texts[i] for i in members), max(texts[i] for i in members), strict=False)
        shared = "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        cut = shared.rfind(" ") + 1
        if len(members) > 1 and cut > stem:
            for i in members:
                made[i] = "…" + texts[i][cut:] if texts[i][cut:] else texts[i]
    return [f"{key}: {text}" if made.count(text) > 1 else text for key, text in zip(keys, made, strict=True)]


def signed(number: float, digits: int = 2) -> str:
    """Write a number with its sign and a real minus: +0.08, −0.12, 0.00."""
    if not math.isfinite(number):
        return "–"
    text = f"{number:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def plain(number: float | None, digits: int = 2) -> str:
    """Write a number with a real minus; a missing one is a dash."""
    if number is None or not math.isfinite(number):
        return "–"
    text = f"{number:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def small(p: float) -> str:
    """Write a p- or q-value."""
    if not math.isfinite(p):
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def causal(cube: xr.Dataset, said: str, otherwise: str = "") -> str:
    """Say something that is true of causal effects only; otherwise that these are differences between groups."""
    if cube.attrs.get("estimand") != "association":
        return said
    return otherwise or "These are differences between groups, adjusted for nothing: not causal."


def capital(text: str) -> str:
    """Begin a sentence with a text."""
    return text[:1].upper() + text[1:]


def join(words: Iterable[str]) -> str:
    """Join words as in a sentence: a, b and c."""
    *head, last = list(words)
    return f"{', '.join(head)} and {last}" if head else last


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Write a number with its noun."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


class Names:
    """Labels for readers, read from a cube as they are asked for.

    Parameters
    ----------
    cube : xarray.Dataset
        A valid cube.

    Attributes
    ----------
    countries, questions : list of str
        Label per country, wording per value.
    attributes : dict of str to str
        Attribute name to its label.
    contrasts : list of tuple of str
        (treated, baseline) labels per contrast.
    personas : list of str
        Text per persona, `everyone` for ``all``; one level stands with its attribute.
    options : list of list of str
        Option labels per value.
    """

    def __init__(self, cube: xr.Dataset) -> None:
        self._cube = cube
        self._lattice = Lattice.from_json(cube.attrs["lattice"])
        self.attributes = {a.name: clean(a.label or a.name) for a in self._lattice.attributes}

    @cached_property
    def countries(self) -> list[str]:
        return [clean(label) for label in self._cube["country_label"].values]

    @cached_property
    def questions(self) -> list[str]:
        return [clean(text) for text in self._cube["question"].values]

    @cached_property
    def short(self) -> list[str]:
        """Questions for places where only their beginning can be read: a stem that several share is cut off."""
        return [clean(text) for text in distinct(self._cube["question"].values, self._cube["value"].values)]

    @cached_property
    def contrasts(self) -> list[tuple[str, str]]:
        pairs = {}
        for label, contrast in zip(self._lattice.contrast_labels, self._lattice.contrasts, strict=True):
            levels = self._lattice.attributes[contrast.attribute].levels
            treated, baseline = (levels[code] for code in (contrast.treated, contrast.baseline))
            pairs[label] = (clean(treated.label or treated.name), clean(baseline.label or baseline.name))
        return [pairs[str(label)] for label in self._cube["attribute"].values]

    @cached_property
    def personas(self) -> list[str]:
        texts = {"all": "everyone"}
        for label, row in zip(self._lattice.personas[1:], self._lattice.codes[1:], strict=True):
            named = zip(self._lattice.attributes, row, strict=True)
            levels = [(self.attributes[a.name], clean(a.levels[code].label)) for a, code in named if code >= 0]
            texts[label] = ": ".join(levels[0]) if len(levels) == 1 else " · ".join(level for _, level in levels)
        return [texts[str(label)] for label in self._cube["persona"].values]

    @cached_property
    def options(self) -> list[list[str]]:
        columns = (self._cube[name].values for name in ("option_label", "n_options"))
        return [[clean(label) for label in labels[: int(k)]] for labels, k in zip(*columns, strict=True)]

    @cached_property
    def scales(self) -> list[str]:
        return [str(scale) for scale in self._cube["scale"].values]

    @cached_property
    def ranges(self) -> list[tuple[float, float, str] | None]:
        """The lowest and highest number of each value that is continuous, and their unit."""
        if "low" not in self._cube.coords:
            return [None] * self._cube.sizes["value"]
        columns = (*(self._cube[name].values.tolist() for name in ("low", "high", "unit")), self.scales)
        return [
            (low, high, clean(unit)) if scale == "continuous" else None
            for low, high, unit, scale in zip(*columns, strict=True)
        ]

    def moved(self, value: int, effect: float) -> str:
        """Write an effect in the unit of a continuous value, "+5.2 points"; "" of other values."""
        if (found := self.ranges[value]) is None:
            return ""
        low, high, unit = found
        return f"{signed(effect * (high - low), decimals(high - low))} {unit}".strip()

    def labelled(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Put beside the keys of a table of effects what readers call them.

        Parameters
        ----------
        frame : pandas.DataFrame
            With the columns country, contrast, value, context, as from `facts.rows`.

        Returns
        -------
        pandas.DataFrame
            With country_label, contrast_label, question and context_label besides.
        """
        made = {
            "country_label": ("country", "country", self.countries),
            "contrast_label": ("contrast", "attribute", [self.contrast(a) for a in range(len(self.contrasts))]),
            "question": ("value", "value", self.questions),
            "context_label": ("context", "persona", self.personas),
        }
        labels = {
            name: frame[column].map(dict(zip(self._cube[dim].values.astype(str), texts, strict=True)))
            for name, (column, dim, texts) in made.items()
        }
        return frame.assign(**labels)

    def contrast(self, position: int) -> str:
        """Write a contrast as `gender: women, against men`."""
        treated, baseline = self.contrasts[position]
        return f"{self.attribute(position)}: {treated}, against {baseline}"

    def instead(self, position: int) -> str:
        """Write a contrast as part of a sentence: `gender “women” instead of “men”`."""
        treated, baseline = self.contrasts[position]
        return f"{self.attribute(position)} “{treated}” instead of “{baseline}”"

    def attribute(self, position: int) -> str:
        """Name the attribute of a contrast."""
        return self.attributes[str(self._cube["treatment"].values[position])]
