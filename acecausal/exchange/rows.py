"""Rows of other programs' files, one per question and group, put together to a cube."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from acecausal.cube import files as cubes
from acecausal.cube.files import Country, Value, matched
from acecausal.cube.lattice import Attribute, Lattice, Level
from acecausal.errors import AceError, DataError, unknown
from acecausal.exchange.association import associations
from acecausal.exchange.choices import Choices, Log
from acecausal.exchange.text import shown, slug


@dataclass(frozen=True, slots=True)
class Row:
    """The answers of one group to one question in one country.

    Attributes
    ----------
    where : str
        File and row, for messages.
    country : tuple of str
        Name and label.
    topic, question_id, question : str
    options : tuple of str
        Labels in order.
    nominal : bool
        Whether they have none.
    levels : dict of str to str
        Attribute to level, as written; only what the group specifies.
    shares : list of float
    n : int
        Respondents, at least 1.
    pinned : tuple of bool
        Whether an option keeps its place when a model is asked in another order; () if none does.
    """

    where: str
    country: tuple[str, str]
    topic: str
    question_id: str
    question: str
    options: tuple[str, ...]
    nominal: bool
    levels: Mapping[str, str]
    shares: list[float]
    n: int
    pinned: tuple[bool, ...] = ()


@dataclass(slots=True)
class Groups:
    """Responses as arrays, under the cube's labels.

    Attributes
    ----------
    response : numpy.ndarray, shape (countries, values, personas, options)
        NaN where there is no row.
    n : numpy.ndarray, shape (countries, values, personas), int
    untold : list of str
        Attributes whose baseline the user did not name, as written.
    """

    countries: list[Country]
    values: list[Value]
    lattice: Lattice
    response: np.ndarray
    n: np.ndarray
    untold: list[str]


ANOTHER_ORDER = (
    "rows that list the options in another order than the first (matched by words; the first's order counts)"
)

#: Attribute and level, as written, to the level's label and its wording in a persona.
Words = Mapping[tuple[str, str], tuple[str, str]]


def gather(
    rows: Sequence[Row],
    attributes: Sequence[str],
    choices: Choices,
    log: Log,
    *,
    source: str,
    words: Words | None = None,
    orders: Mapping[str, Sequence[str]] | None = None,
) -> Groups:
    """Put rows under the labels of a cube.

    Parameters
    ----------
    rows
    attributes : sequence of str
        In the order in which personas name them, as written.
    choices, log
    source : str
        File or folder, for messages.
    words : mapping, optional
        Labels and phrases of levels; by default made from their names.
    orders : mapping, optional
        Attribute to its levels as the files order them; by default levels stand in the order in which they occur.

    Raises
    ------
    DataError
        If there is no row; if an attribute has one level only or two levels get the same name; for a question that
        comes with other options than before or a group that comes twice (which may be passed over). Options are those
        of before if they are the same words, in whatever order; shares go with their words.
    """
    if not rows:
        raise DataError(
            "holds no row that can be used", param=source,
            got=f"{len(log.problems)} problems, the first: {log.problems[0]}" if log.problems else "",
        )  # fmt: skip
    lattice, untold = _lattice(rows, attributes, choices, source, words or {}, orders or {})
    values = _values(rows, choices, log)
    countries = {row.country[0]: Country(slug(row.country[0]), row.country[1], "") for row in reversed(rows)}
    countries = {name: countries[name] for name in dict.fromkeys(row.country[0] for row in rows)}
    _distinct([c.name for c in countries.values()], list(countries), "countries", source)
    labels = Counter(country.label for country in countries.values())
    for label, count in labels.items():
        if count > 1:
            log.noted[f"countries whose label is {shown(label)}"] += count
    shape = (len(countries), len(values), len(lattice.personas))
    width = max(len(value.options) for value in values.values())
    groups = Groups(
        list(countries.values()), list(values.values()), lattice,
        np.full((*shape, width), np.nan), np.zeros(shape, dtype=np.int64), untold,
    )  # fmt: skip
    place = {tuple(codes): p for p, codes in enumerate(lattice.codes.tolist())}
    known = [{slug(level): code for code, level in enumerate(a.level_names)} for a in lattice.attributes]
    at_country = {name: c for c, name in enumerate(countries)}
    at_value = {key: v for v, key in enumerate(values)}
    nominal = {(row.topic, row.question_id): row.nominal for row in reversed(rows)}
    for row in rows:
        if row.country[1] != countries[row.country[0]].label:
            log.problem(
                DataError(
                    "the country has another label elsewhere", param=row.where,
                    expected=shown(countries[row.country[0]].label), got=shown(row.country[1]),
                )
            )  # fmt: skip
            continue
        value = values[row.topic, row.question_id]
        codes = [
            known[a][slug(row.levels[name])] if name in row.levels else -1 for a, name in enumerate(attributes)
        ]  # fmt: skip
        cell = (at_country[row.country[0]], at_value[row.topic, row.question_id], place[tuple(codes)])
        order = matched(value.options, row.options)
        if order is None or row.nominal != nominal[row.topic, row.question_id]:
            log.problem(_other_options(row, value, nominal[row.topic, row.question_id]))
        elif groups.n[cell]:
            log.problem(
                DataError(
                    "the group comes twice", param=row.where,
                    expected=f"one row for {shown(row.question_id)} and {lattice.personas[cell[2]]}",
                    got="a second one",
                )
            )  # fmt: skip
        else:
            if order != list(range(len(order))):
                log.noted[ANOTHER_ORDER] += 1
            if row.question != value.question:
                log.noted["rows whose question is worded otherwise than in the first (its wording is kept)"] += 1
            groups.response[(*cell, slice(len(order)))] = [row.shares[k] for k in order]
            groups.n[cell] = row.n
    return groups


def _other_options(row: Row, value: Value, nominal: bool) -> DataError:
    """Say how a row's options contradict those of its question's first row."""
    if row.nominal != nominal and matched(value.options, row.options) is not None:
        orders = {True: "no order", False: "an order"}
        return DataError(
            "the question's options have an order in one row and none in another", param=row.where,
            expected=f"{orders[nominal]}, as in the first row of {shown(row.question_id)}", got=orders[row.nominal],
        )  # fmt: skip
    return DataError(
        "the question has other options elsewhere", param=row.where,
        expected=f"{len(value.options)} options for {shown(row.question_id)}: {shown(' | '.join(value.options))}",
        got=f"{len(row.options)}: {shown(' | '.join(row.options))}",
    )  # fmt: skip


def to_cube(
    groups: Groups, choices: Choices, log: Log, about: Mapping[str, Any], blind: Sequence[str] = ()
) -> xr.Dataset:
    """Make the cube of associations.

    Parameters
    ----------
    about : mapping
        Provenance that only the reader of the format knows: title, source, ...
    blind : sequence of str
        Attributes (as in the lattice) without baseline: their contrasts get no estimate.
    """
    lattice = groups.lattice
    hidden = [i for i, c in enumerate(lattice.contrasts) if lattice.attributes[c.attribute].name in blind]
    arrays = associations(
        groups.response, groups.n, groups.values, lattice,
        min_arm=choices.min_arm, confidence=choices.confidence, blind=hidden,
    )  # fmt: skip
    attrs = {
        **about,
        "noted": dict(log.noted),
        "estimand": "association",
        "estimator": "association",
        "weights": "none: the files hold shares and sample sizes only",
        "design": {"standard_errors": "independent multinomial samples at both ends of an edge"},
        "confidence": choices.confidence,
        "min_arm": choices.min_arm,
        "q_family": "all estimated effects within each country",
        "passed_over": [str(error) for error in log.problems],
    }
    return cubes.build("survey", groups.countries, groups.values, lattice, arrays, attrs)


def _lattice(
    rows: Sequence[Row],
    attributes: Sequence[str],
    choices: Choices,
    source: str,
    words: Words,
    orders: Mapping[str, Sequence[str]],
) -> tuple[Lattice, list[str]]:
    """Span the lattice over the levels that occur, ordered ones first; and say whose baseline is untold."""
    levels: dict[str, dict[str, None]] = {name: {} for name in attributes}
    for row in rows:
        for name, level in row.levels.items():
            levels[name][level] = None
    for name, order in orders.items():
        levels[name] = {level: None for level in order if level in levels[name]} | levels[name]
    baselines = _baselines(levels, choices.baselines)
    found = []
    for name, there in levels.items():
        if len(there) < 2:
            raise DataError(
                "an attribute needs two levels", param=source, expected=f"two levels of {shown(name)} or more",
                got=shown(", ".join(there) or "none"),
            )  # fmt: skip
        label = name.replace("_", " ")
        names = [slug(level) for level in there]
        _distinct(names, list(there), f"levels of {shown(name)}", source)
        made = tuple(Level(slug(level), *words.get((name, level), wording(label, level))) for level in there)
        found.append(Attribute(slug(name).replace("+", "_"), label, made, slug(baselines.get(name, next(iter(there))))))
    _distinct([a.name for a in found], list(attributes), "attributes", source)
    depth = max(len(row.levels) for row in rows)
    return Lattice.over(found, max(depth, 1)), [name for name in attributes if name not in baselines]


def wording(attribute: str, level: str) -> tuple[str, str]:
    """Label of a level, and how a persona words it, made from their names."""
    label = level.replace("_", " ")
    return label, f"{attribute}: {label}"


def _baselines(levels: Mapping[str, Mapping[str, None]], wanted: Mapping[str, str]) -> dict[str, str]:
    """Match what the user named, as written in the files or as in the cube's labels."""
    found = {}
    for name, level in wanted.items():
        attribute = next((known for known in levels if name in (known, slug(known))), None)
        if attribute is None:
            raise unknown("--baseline", name, levels)
        match = next((known for known in levels[attribute] if level in (known, slug(known))), None)
        if match is None:
            raise unknown(f"--baseline {attribute}", level, levels[attribute])
        found[attribute] = match
    return found


def _values(rows: Sequence[Row], choices: Choices, log: Log) -> dict[tuple[str, str], Value]:
    """Name the questions: by their id, or by topic and id where an id stands in several topics."""
    first: dict[tuple[str, str], Row] = {}
    for row in rows:
        first.setdefault((row.topic, row.question_id), row)
    ids = [slug(question_id) for _, question_id in first]
    shared = {name for name in ids if ids.count(name) > 1}
    if shared:
        log.noted["question ids that stand in several topics (named topic.id)"] += len(shared)
    told = {"--nominal": set(choices.nominal), "--ordinal": set(choices.ordinal)}
    values = {}
    for (topic, question_id), row in first.items():
        name = slug(question_id)
        name = f"{slug(topic)}.{name}" if name in shared else name
        nominal, ordinal = (bool({name, question_id} & set(those)) for those in (choices.nominal, choices.ordinal))
        for those in told.values():
            those -= {name, question_id}
        unordered = nominal or (row.nominal and not ordinal)
        scale = "nominal" if unordered else "binary" if len(row.options) == 2 else "ordinal"
        values[topic, question_id] = Value(name, row.question, topic, scale, row.options, row.pinned)
    names = [value.name for value in values.values()]
    for option, those in told.items():
        if those:
            raise unknown(option, sorted(those)[0], names)
    _distinct(names, [f"{topic} {question_id}" for topic, question_id in values], "questions", "the files")
    return values


def _distinct(names: Sequence[str], written: Sequence[str], what: str, source: str) -> None:
    """Raise if two labels of a cube would be the same."""
    seen: dict[str, str] = {}
    for name, text in zip(names, written, strict=True):
        if name in seen:
            raise DataError(
                f"two {what} get the same name", param=source, expected="names that differ in letters or digits",
                got=shown(f"{seen[name]!r} and {text!r}, both {name}"),
            )  # fmt: skip
        seen[name] = text


def parse_baselines(texts: Sequence[str]) -> dict[str, str]:
    """Read ``gender=Male`` into a mapping.

    Raises
    ------
    AceError
        For another form, or an attribute named twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, level = text.partition("=")
        if not equals or not name or not level or name in found:
            raise AceError("cannot be read", param="--baseline", expected="attribute=level, once each", got=text)
        found[name] = level
    return found
