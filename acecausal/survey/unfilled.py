"""What of a codebook is still as a draft leaves it: a model, or a reader, could not make sense of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from acecausal.survey.codebook import Codebook
from acecausal.survey.findings import Finding
from acecausal.survey.meanings import number_of


def unfilled(book: Codebook) -> Iterator[Finding]:
    """Warn of questions that are names of columns, options and levels that are bare numbers, phrases that are none.

    Yields
    ------
    Finding
        One of each kind, with all the names.
    """

    def named(parts: list[str], kind: str, what: str, hint: str, got: str) -> Iterator[Finding]:
        if parts:
            shown = ", ".join(parts[:8]) + (f" and {len(parts) - 8} more" if len(parts) > 8 else "")
            yield Finding("warning", "", f"{kind} {shown}", what, got=got, hint=hint)

    strange = [n for n, country in book.countries.levels.items() if n == "XXX" or country.label.strip() == "fill in"]
    yield from named(
        strange, "country", "is not filled in", "say which: countries: {only: {GBR: {label: Great Britain}}}",
        ", ".join(book.countries.levels[name].label for name in strange),
    )  # fmt: skip
    asked = [n for n, spec in book.values.items() if _plain(spec.question) in (_plain(spec.column), _plain(n))]
    yield from named(
        asked, "values", "questions that are names of columns", "ask as people were asked: question: ...",
        ", ".join(repr(book.values[name].question) for name in asked[:3]),
    )  # fmt: skip
    ends = {name: (spec.options[0].label, spec.options[-1].label) for name, spec in book.values.items() if spec.options}
    bare = [name for name, labels in ends.items() if any(number_of(label) is not None for label in labels)]
    yield from named(
        bare, "values", "options that are bare numbers", "say what they mean, at least at both ends of the scale",
        "; ".join(" ... ".join(map(repr, ends[name])) for name in bare[:3]),
    )  # fmt: skip
    levels = [(name, level) for name in book.attributes for level in book.attribute(name).levels]
    phrases = [(name, level.phrase) for name, level in levels if _no_phrase(level.phrase, level.label)]
    yield from named(
        list(dict.fromkeys(name for name, _ in phrases)), "attributes", "phrases that say nothing in a sentence",
        "write what stands after \"a person who is\", as: phrase: with a university degree",
        "; ".join(repr(phrase) for _, phrase in phrases[:3]),
    )  # fmt: skip


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())


def _no_phrase(phrase: str, label: str) -> bool:
    """Whether a phrase is "attribute: level", or a number."""
    return bool(re.fullmatch(rf"[^:]+: {re.escape(label)}", phrase)) or number_of(phrase) is not None
