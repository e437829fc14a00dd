"""What a column of a file says against a codebook: codes, labels, numbers, weights, ids."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from acecausal.survey.cells import EMPTY, FAR_OFF, counts_of, far_off, no_number
from acecausal.survey.codebook import Codebook
from acecausal.survey.codes import Missing, code_key, number
from acecausal.survey.copies import COPIES, copies_hint, count_copies
from acecausal.survey.countries import customary
from acecausal.survey.meanings import contradictions, says_nothing, silent_codes
from acecausal.survey.readers import Labels
from acecausal.survey.specs import AttributeSpec, LevelSpec, OptionSpec, ValueSpec


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which a file and a codebook disagree.

    Attributes
    ----------
    severity : {'error', 'warning', 'note'}
        Whether `estimate` would stop or give wrong numbers, whether somebody should look, or whether it is only told.
    column : str
        As the codebook spells it; '' for what concerns the whole file.
    about : str
        What the codebook takes the column for, as ``value trust``.
    what, expected, got, hint : str
    """

    severity: Literal["error", "warning", "note"]
    column: str
    about: str
    what: str
    expected: str = ""
    got: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A column of a file: how often each code occurs, empty cells apart; what the file calls them; what it drops."""

    counts: dict[str, int]
    labels: dict[str, str]
    declared: frozenset[str]

    def shown(self, keys: Sequence[str], most: int = 6) -> str:
        told = [
            f"{key}{f' {self.labels[key]!r}' if key in self.labels else ''} ({self.counts.get(key, 0)} rows)"
            for key in keys[:most]
        ]
        return ", ".join(told) + (f" and {len(keys) - most} more" if len(keys) > most else "")


def held_in(cells: pd.Series | None, labels: Labels, name: str, listed: Collection[str] = ()) -> Held:
    """Describe a column; without its cells, by its labels alone."""
    counts = {} if cells is None else counts_of(cells)[0]
    same = [column for column in labels.columns if column.lower() == name.lower()]
    spelled = name if name in same else same[0] if same else name
    own = labels.values.get(spelled, {})
    return Held(
        dict(sorted(counts.items(), key=_by_number)), own, frozenset(labels.declared(spelled, (*own, *counts, *listed)))
    )


def _by_number(item: tuple[str, int]) -> tuple[bool, float, str]:
    try:
        return False, float(item[0]), ""
    except ValueError:
        return True, 0.0, item[0]


def contents(read: Mapping[str, Held], book: Codebook) -> Iterator[Finding]:
    """Compare codes, column by column."""
    for where in book.countries.columns:
        if where in read:
            yield from _country(where, read[where], book)
    for kind, specs in (("attribute", book.attributes), ("value", book.values)):
        for name, spec in specs.items():
            if spec.column in read:
                yield from _coded(f"{kind} {name}", spec, read[spec.column], book.missing_codes(spec))
    for name, covariate in book.covariates.items():
        if covariate.column in read:
            column, missing = read[covariate.column], book.missing_codes(covariate)
            yield from _numeric(f"covariate {name}", covariate.column, column, missing, [])
            yield from _far_off(f"covariate {name}", covariate.column, column, missing)


def meanings(read: Mapping[str, Held], book: Codebook) -> Iterator[Finding]:
    """Compare labels, and what is declared missing, column by column."""
    for where in book.countries.columns:
        if where in read:
            yield from _country_labels(where, read[where], book)
    for kind, specs in (("attribute", book.attributes), ("value", book.values)):
        for name, spec in specs.items():
            if spec.column in read and _ranges(spec):
                yield from _silent_numbers(f"{kind} {name}", spec.column, read[spec.column], book.missing_codes(spec))
            elif spec.column in read:
                yield from _meant(f"{kind} {name}", spec, read[spec.column])
    for name, covariate in book.covariates.items():
        if covariate.column in read:
            missing = book.missing_codes(covariate)
            yield from _silent_numbers(f"covariate {name}", covariate.column, read[covariate.column], missing)


def _country(name: str, column: Held, book: Codebook) -> Iterator[Finding]:
    known = {code_key(code) for country in book.countries.levels.values() for code in country.codes}
    missing = book.missing_codes()
    strange = [key for key in column.counts if key not in known and key not in missing]
    if strange:
        yield Finding(
            "error", name, "country", "country codes that the codebook does not know",
            f"{len(known)} codes, as {', '.join(sorted(known)[:6])}", column.shown(strange),
            customary(strange) or "add them under countries.levels, or list them under missing",
        )  # fmt: skip


def _coded(about: str, spec: AttributeSpec | ValueSpec, column: Held, missing: Missing) -> Iterator[Finding]:
    name = spec.column
    entries: list[tuple[str, LevelSpec | OptionSpec]]
    entries = list(spec.levels.items()) if isinstance(spec, AttributeSpec) else [("", o) for o in spec.options]
    if not any(key not in missing for key in column.counts):
        yield Finding("warning", name, about, "nobody has an answer here")
        return
    ranges = _ranges(spec)
    if ranges:
        yield from _numeric(about, name, column, missing, ranges)
        return
    place = {code_key(code): i for i, (_, entry) in enumerate(entries) for code in entry.codes}
    strange = [key for key in column.counts if key not in place and key not in missing]
    if strange:
        yield _unlisted(about, name, column, place, strange, missing)
    unused = [key for key in place if not column.counts.get(key)]
    if unused:
        yield Finding("warning", name, about, "codes that never occur", got=", ".join(unused))
    for key, label in column.labels.items():
        if label and key in missing and column.counts.get(key) and not says_nothing(label, soft=True):
            yield Finding(
                "warning", name, about, f"code {key} is missing in the codebook, and has a label in the file",
                "a label such as \"don't know\"", f"{label!r} ({column.counts[key]} rows)",
                "if it is an answer, list it among the options",
            )  # fmt: skip


def _meant(about: str, spec: AttributeSpec | ValueSpec, column: Held) -> Iterator[Finding]:
    entries: list[tuple[str, LevelSpec | OptionSpec]]
    entries = list(spec.levels.items()) if isinstance(spec, AttributeSpec) else [("", o) for o in spec.options]
    place = {code_key(code): i for i, (_, entry) in enumerate(entries) for code in entry.codes}
    named = [entry.label for _, entry in entries]
    scored = isinstance(spec, ValueSpec) and spec.scale != "nominal"
    silent = set(silent_codes({key: column.labels[key] for key in place if column.labels.get(key)}))
    left = {}
    for key, i in place.items():
        label = column.labels.get(key, "")
        if key in column.declared:
            yield Finding(
                "error" if scored else "warning", spec.column, about,
                f"code {key} is listed in the codebook, and declared missing in the file",
                repr(named[i]), repr(label) if label else "without a label",
                "list it under missing; what an option or level lists is taken for an answer",
            )  # fmt: skip
        elif key in silent and not says_nothing(named[i], soft=True):
            yield Finding(
                "error" if says_nothing(label) else "warning", spec.column, about,
                f"code {key} is an answer in the codebook, and says nothing in the file",
                repr(named[i]), repr(label), "list it under missing",
            )  # fmt: skip
        elif label:
            left[key] = label
    wordings = [(level, entry.label, getattr(entry, "phrase", "")) for level, entry in entries]
    for key, i, other in contradictions(wordings, place, left):
        yield Finding(
            "error", spec.column, about, f"code {key} means something else in the file",
            repr(named[i]), repr(left[key]),
            f"looks like {named[other]!r}: mend the order of the codes, or take another codebook",
        )  # fmt: skip


def _ranges(spec: AttributeSpec | ValueSpec) -> list[tuple[float, float]]:
    """The ranges that a column's numbers may lie in; none if it holds codes."""
    if isinstance(spec, ValueSpec):
        return [spec.range] if spec.range else []
    return [level.range for level in spec.levels.values() if level.range]


def _silent_numbers(about: str, name: str, column: Held, missing: Missing) -> Iterator[Finding]:
    """Report numbers that the file labels as no answer, and that would be reckoned with: 99 for "don't know"."""
    silent = [key for key, label in column.labels.items() if key not in missing and number(key) is not None]
    silent = [key for key in silent if key not in column.declared and says_nothing(column.labels[key])]
    if silent:
        yield Finding(
            "error", name, about, "numbers in the codebook that say nothing in the file",
            got=", ".join(f"{key} {column.labels[key]!r}" for key in silent[:6]), hint="list them under missing",
        )  # fmt: skip


def _country_labels(where: str, column: Held, book: Codebook) -> Iterator[Finding]:
    levels = book.countries.levels
    place = {code_key(code): i for i, level in enumerate(levels.values()) for code in level.codes}
    wordings = [(name, level.label) for name, level in levels.items()]
    labels = [level.label for level in levels.values()]
    for key, i, other in contradictions(wordings, place, column.labels, same=True):
        yield Finding(
            "error", where, "country", f"code {key} means something else in the file",
            repr(labels[i]), repr(column.labels[key]), f"looks like {labels[other]!r}: mend countries.levels",
        )  # fmt: skip


def declared(labels: Labels, present: Sequence[str]) -> Iterator[Finding]:
    """Say what the file declares missing, columns with the same codes together."""
    columns = defaultdict(list)
    lowered = {name.lower(): name for name in labels.columns}
    for name in present:
        spelled = name if name in labels.columns else lowered[name.lower()]
        shown = labels.shown(spelled)
        if shown:
            columns[shown].append(name)
    for shown, names in columns.items():
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        yield Finding(
            "note", "", "the file", "codes that the file declares missing, and that are read so unless they are listed",
            got=f"{shown} in {', '.join(names[:4])}{more}",
        )  # fmt: skip


def _unlisted(
    about: str, name: str, column: Held, place: Mapping[str, int], strange: list[str], missing: Missing
) -> Finding:
    hint = "list them under the level or option they mean, or under missing"
    if all(says_nothing(column.labels.get(key, ""), soft=True) for key in strange):
        hint = "they say nothing: list them under missing"
    used = [key for key in column.counts if key not in missing]
    if all(re.fullmatch(r"-?\d+", key) for key in (*used, *place)):
        for by, words in ((1, "lower"), (-1, "higher")):
            if {str(int(key) + by) for key in used} == set(place):
                hint = f"the file counts one {words} than the codebook, {used[0]} to {used[-1]}: mend the codes"
    return Finding(
        "error", name, about, "codes that the codebook does not list", ", ".join(place), column.shown(strange), hint
    )


def _numeric(
    about: str, name: str, column: Held, missing: Missing, ranges: Sequence[tuple[float, float]]
) -> Iterator[Finding]:
    words, outside = [], []
    for key in column.counts:
        if key in missing:
            continue
        found = number(key)
        if found is None:
            words.append(key)
        elif ranges and not any(low <= found <= high for low, high in ranges):
            outside.append(key)
    if words:
        yield Finding("error", name, about, "not numbers", "numbers", column.shown(words), no_number(words))
    if outside:
        whose = "the" if len(ranges) == 1 else "every level's"
        yield Finding(
            "error", name, about, f"numbers outside {whose} range",
            " ".join(f"{low:g}-{high:g}" for low, high in ranges), column.shown(outside),
            "widen a range; list under missing only codes that say nothing",
        )  # fmt: skip


def _far_off(about: str, name: str, column: Held, missing: Missing) -> Iterator[Finding]:
    told = {key: number(key) for key in column.counts if key not in missing}
    known = {key: found for key, found in told.items() if found is not None}
    odd = far_off(np.repeat([*known.values()], [column.counts[key] for key in known])) if known else np.empty(0)
    if len(odd):
        keys = [key for key, found in known.items() if found in odd]
        yield Finding("warning", name, about, f"holds what is {FAR_OFF}", got=column.shown(keys))


def weights(table: pd.DataFrame, book: Codebook) -> Iterator[Finding]:
    """Report weights that are none."""
    assert book.weight is not None
    column = table[book.weight.column]
    weight = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    wrong = ~(weight >= 0) | np.isinf(weight)
    words = [key for key in map(str, column[wrong].dropna().unique()) if key not in EMPTY and number(key) is None]
    bad = int(wrong.sum())
    if words:
        yield Finding(
            "error", book.weight.column, "weight", "not numbers", "numbers",
            ", ".join(map(repr, words[:8])), no_number(words, weight=True),
        )  # fmt: skip
    elif bad and not book.weight.absent_in:
        yield Finding(
            "error", book.weight.column, "weight", "weights that are missing, negative or infinite",
            "positive numbers, or 0 for who is outside the sample", f"{bad} of {len(weight)} rows",
            "0 for who does not belong to the sample; a country without weights is named under weight.absent_in",
        )  # fmt: skip


def doubled(table: pd.DataFrame, book: Codebook) -> Iterator[Finding]:
    """Report respondents who stand twice, and rows that look like copies."""
    if book.rater:  # stands on many rows; `estimate` says what contradicts itself
        return
    if book.id is None:
        copies = count_copies(table)
        if copies:
            yield Finding(
                "warning", "", "the file", COPIES, got=f"{copies} rows",
                hint="remove the copies, or name the column that tells respondents apart under id:",
            )  # fmt: skip
        return
    keys = [*book.countries.columns, *book.id.columns]
    if not set(keys) <= set(table.columns):
        return
    named = table.dropna(subset=list(book.id.columns), how="all")
    twice = named.duplicated(subset=keys)
    if twice.any():
        yield Finding(
            "error", book.id.column, "id", "respondents stand twice", got=f"{int(twice.sum())} rows too many",
            hint=copies_hint(named[named.duplicated(subset=keys, keep=False)]),
        )  # fmt: skip
