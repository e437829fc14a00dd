"""OpinionQA's and GlobalOpinionQA's rows as VITAL and Modular Pluralism have them: one a question and group. Only in.

Each row holds question, options, attribute, gold_distribution and id; attribute is NAME_level or a country. Facts of
the form: the files of github.com/anudeex/VITAL (arXiv 2502.13775) and github.com/BunsenFeng/modular_pluralism (arXiv
2406.15951). OpinionQA's shares are plain ratios, so the people behind them can be had back (see
`acecausal.exchange.respondents`), and its ids number the rows of the whole data set, in which those of a question stand
together. Some of its options were torn at a comma, wrapped in quotes or read as missing, and lost their people.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from acecausal.errors import DataError
from acecausal.exchange.choices import Choices, Imported, Log
from acecausal.exchange.opinionqa_groups import FIRST_NATION, NATION, ORDERS, SEX, WORDS, everybody, nation
from acecausal.exchange.respondents import decimals_of, fewest_people, most_people
from acecausal.exchange.rows import Row, gather, to_cube
from acecausal.exchange.scales import ordered
from acecausal.exchange.subpop import COUNTRY
from acecausal.exchange.text import parse_json, part, read_rows, shares, shown, slug
from acecausal.survey.drafting import PINNED
from acecausal.survey.meanings import says_nothing, silent_codes

#: The country of rows whose groups are countries: name and label.
WORLD = ("World", "the world")
#: So many answers of groups, and none of them this option: its people are lost.
_MANY = 1000
#: How an option looks that was quoted, or read as missing.
_SPOILT = re.compile(r"['\"].*|none|n/?a|nan|null", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Raw:
    """A row as it is written: `attribute` is "" for a country; `shares` may miss 1 by rounding."""

    where: str
    id: int | str | None
    text: str
    question: str
    options: tuple[str, ...]
    attribute: str
    group: str
    shares: tuple[float, ...]


def read(path: Path, choices: Choices) -> Imported:
    """Read rows: a list in JSON, or one object per line.

    Raises
    ------
    DataError
        For a file that cannot be read; for countries, or shares that are no ratios of counts, without a number of
        respondents; for a row that is wrong (which may be passed over).
    """
    log, digest, raws = Log(choices.keep_going), hashlib.sha256(), list[_Raw]()
    for where, text in read_rows(path):
        digest.update(text.encode())
        try:
            raw = _raw(parse_json(text, where), where)
            if raws and bool(raw.attribute) != bool(raws[0].attribute):
                raise DataError(
                    "attribute is of another kind than in the first row", param=where,
                    expected="NAME_level" if raws[0].attribute else "a country", got=shown(raw.group),
                )  # fmt: skip
            raws.append(raw)
        except DataError as error:
            log.problem(error)
    words, orders = WORDS, ORDERS
    if nations := bool(raws) and not raws[0].attribute:
        if choices.respondents is None:
            raise DataError(
                "the rows hold no number of respondents", param=shown(path), expected="--respondents N",
                hint="shares of countries are rounded percentages; most of these surveys asked about 1,000 people each",
            )  # fmt: skip
        found = {group: nation(group, log) for group in dict.fromkeys(raw.group for raw in raws)}
        raws = [replace(raw, attribute=NATION, group=found[raw.group][0]) for raw in raws]
        words = {(NATION, level): worded for level, worded in found.values()}
        orders = {NATION: sorted({level for level, _ in found.values()}, key=lambda x: (x != FIRST_NATION, x))}
    elif choices.respondents is None:
        raws = _counted(raws, log)
    rows = _rows(raws, choices, log)
    names = dict.fromkeys(name for row in rows for name in row.levels)
    attributes = [*(name for name in orders if name in names), *(name for name in names if name not in orders)]
    groups = gather(
        rows, attributes, choices, log, source=shown(path), words=words,
        orders={name: order for name, order in orders.items() if name in names},
    )  # fmt: skip
    everybody(groups, NATION if nations else SEX, log)
    if nations and FIRST_NATION not in orders[NATION] and NATION in groups.untold:
        first = orders[NATION][0]
        log.noted[
            f"no {FIRST_NATION}: effects are moves away from {first}, the first by name (--baseline takes another)"
        ] = 1
    about = {"title": "OpinionQA rows", "source": shown(path.name), "data_sha256": digest.hexdigest()}
    if choices.respondents is None:
        about["n_lower_bound"] = "n is the fewest people that can have the shares: theirs, or a fraction of theirs"
    return Imported(to_cube(groups, choices, log, about), dict(log.noted), log.problems)


# --- rows as they are written -----------------------------------------------------------------------------------------


def _raw(raw: object, where: str) -> _Raw:
    text = part(raw, "question", str, where)
    options = part(raw, "options", list, where)
    if not options or not all(isinstance(label, str) and label.strip() for label in options):
        raise DataError("options are no texts", param=where, expected="one text each", got=shown(repr(options)[:60]))
    numbers = part(raw, "gold_distribution", list, where)
    shares(numbers, len(options), where)
    body, _, listed = text.strip().removesuffix("Answer:").partition("\nOptions:")
    question = body.strip().removeprefix("Question:").strip()
    if not question:
        raise DataError("question is empty", param=where, expected="a text", got=shown(repr(text)[:60]))
    lettered = " ".join(f"{letter}. {label}" for letter, label in zip(string.ascii_uppercase, options, strict=False))
    if listed and len(options) <= len(string.ascii_uppercase) and listed.split() != lettered.split():
        raise DataError(
            "the question lists other options than the row", param=where, expected=shown(lettered[:200]),
            got=shown(" ".join(listed.split())[:200]),
        )  # fmt: skip
    attribute = part(raw, "attribute", str, where).strip()
    name, underscore, level = attribute.partition("_")
    if not name.strip() or (underscore and not level.strip()):
        raise DataError("attribute is none", param=where, expected="NAME_level or a country", got=shown(attribute))
    number = raw.get("id") if isinstance(raw, dict) else None
    known = number if isinstance(number, int | str) and not isinstance(number, bool) and number != "" else None
    found = tuple(max(float(x), 0.0) for x in numbers)
    attribute, group = (name, level) if underscore else ("", name)
    return _Raw(where, known, text, question, tuple(options), attribute, group, found)


def _counted(raws: Sequence[_Raw], log: Log) -> list[_Raw]:
    """Put counts of people in the place of shares."""
    decimals, found = decimals_of(x for raw in raws for x in raw.shares), []
    for raw in raws:
        n = fewest_people(raw.shares, decimals)
        if n is not None:
            found.append(replace(raw, shares=tuple(float(round(n * share)) for share in raw.shares)))
            continue
        most = most_people(decimals)
        told = f"those of up to {most} people, as far as the decimals tell ({decimals})"
        log.problem(
            DataError(
                "shares are no ratios of counts", param=raw.where,
                expected=told if most else f"more decimals: {decimals} tell nothing of how many people there are",
                got=shown(", ".join(map(repr, raw.shares))[:200]), hint="weighted or rounded shares: --respondents N",
            )
        )  # fmt: skip
    text = "groups whose respondents were had back from their shares (the fewest possible, a lower bound)"
    log.noted[text] += len(found)
    return found


# --- rows as a cube takes them ----------------------------------------------------------------------------------------


def _rows(raws: Sequence[_Raw], choices: Choices, log: Log) -> list[Row]:
    """Make rows, question by question; those that must be left out are named."""
    rows, left = list[Row](), defaultdict[str, list[str]](list)
    for name, asked in _askings(raws, log).items():
        options = asked[0].options
        answers = [options[k] for k in _answers(options)]
        chosen = Counter[str]()
        for raw in asked:
            chosen.update(dict(zip(raw.options, raw.shares, strict=True)))
        if choices.respondents:
            chosen = Counter({label: count * choices.respondents for label, count in chosen.items()})
        nobody = [label for label in answers if not chosen[label]]
        if len(answers) < 2:
            left["one option only"].append(name)
            continue
        if asked[0].attribute != NATION and any(chosen.total() >= _MANY or _torn(x, options) for x in nobody):
            left["nobody chose one of the options, so that its people are lost"].append(name)
            continue
        if nobody:
            log.noted["questions with an option that nobody chose"] += 1
        if (ordered(answers) or [0]) != sorted(ordered(answers) or [0]):
            log.noted["questions whose options are listed out of their order (brought into it)"] += 1
        if re.search(r"___|\(survey country\)", asked[0].question, re.IGNORECASE):
            log.noted["questions with a gap for a name (models are asked them as they stand)"] += 1
        rows += [_row(name, raw, choices) for raw in asked]
    for why, names in left.items():
        log.noted[f"questions left out ({why}): {', '.join(names)}"] = len(names)
    if empty := sum(not row.n for row in rows):
        log.noted["groups of whom nobody answered (left out)"] += empty
    return [row for row in rows if row.n]


def _askings(raws: Sequence[_Raw], log: Log) -> dict[str, list[_Raw]]:
    """Put the rows of a question together, under its name: q and the smallest id of its rows.

    Asked again in another survey it is another question: by their ids, rows of other questions stand between. If most
    questions are scattered, ids do not number the rows, and a question is what has the same words.
    """
    found: dict[str, list[list[_Raw]]] = defaultdict(list)
    if all(isinstance(raw.id, int) for raw in raws):
        for text, together in groupby(sorted(raws, key=_id), key=lambda raw: raw.text):
            found[text].append(list(together))
    again = sum(len(runs) > 1 for runs in found.values())
    if not found or 2 * again > len(found):
        alike = defaultdict[str, list[_Raw]](list)
        for raw in raws:
            alike[raw.text].append(raw)
        found, again = {text: [run] for text, run in alike.items()}, 0
    if again:
        log.noted["questions asked in several surveys, by the ids of their rows (each time one of its own)"] += again
    place = {raw.where: at for at, raw in enumerate(raws)}
    runs = [sorted(run, key=lambda raw: place[raw.where]) for runs in found.values() for run in runs]
    named: dict[str, list[_Raw]] = {}
    for number, run in enumerate(sorted(runs, key=lambda run: place[run[0].where]), 1):
        ids = [raw.id for raw in run]
        name = slug(ids[0]) if isinstance(ids[0], str) else f"q{number if None in ids else min(map(_id, run))}"
        if name not in named:
            named[name] = run
            continue
        log.problem(
            DataError(
                "two questions have the same id", param=run[0].where,
                expected=f"another than {shown(name)}, which is: {shown(named[name][0].question[:60])}",
                got=shown(run[0].question[:60]),
            )
        )  # fmt: skip
    return named


def _id(raw: _Raw) -> int:
    return raw.id if isinstance(raw.id, int) else 0


def _row(name: str, raw: _Raw, choices: Choices) -> Row:
    answers = _answers(raw.options)
    order = ordered([raw.options[k] for k in answers])
    if choices.keep_refusals and len(answers) < len(raw.options):
        kept, nominal = list(range(len(raw.options))), True
    else:
        kept, nominal = [answers[k] for k in order or range(len(answers))], order is None and len(answers) > 2
    people = sum(raw.shares[k] for k in kept)
    return Row(
        raw.where,
        WORLD if raw.attribute == NATION else (choices.country or COUNTRY,) * 2,
        "opinionqa",
        name,
        raw.question,
        tuple(raw.options[k] for k in kept),
        nominal,
        {raw.attribute: raw.group},
        [raw.shares[k] / people if people else 0.0 for k in kept],
        round(people * choices.respondents / sum(raw.shares)) if choices.respondents else round(people),
        tuple(k not in answers or bool(PINNED.match(raw.options[k])) for k in kept) if nominal else (),
    )


def _answers(options: Sequence[str]) -> list[int]:
    """Find the options that are answers; if hardly one is, those that may be one ("Have not heard") are too."""
    silent = silent_codes({str(k): label for k, label in enumerate(options)})
    found = [k for k in range(len(options)) if str(k) not in silent]
    return found if len(found) > 1 else [k for k, label in enumerate(options) if not says_nothing(label)]


def _torn(label: str, options: Sequence[str]) -> bool:
    """Say whether an option looks as if it had been torn, quoted, or read as missing."""
    return bool(_SPOILT.fullmatch(label)) or (label[0].islower() and options[0][0].isupper())
