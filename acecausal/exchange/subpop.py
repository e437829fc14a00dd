"""SubPOP's rows (Suh et al., ACL 2025): the answers of groups that one attribute makes. Only in.

Each line holds qkey, attribute, group, question, options, ordinal, responses and refusal_rate. Facts of the form: the
rows of github.com/JosephJeesungSuh/subpop. Options beyond the responses (Refused) are no answers; ordinal places the
options, -1 marks one outside the order, and equal places say that there is none. The shares are weighted, and no number
of respondents is given.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np

from acecausal.errors import DataError
from acecausal.exchange.association import pool
from acecausal.exchange.choices import Choices, Imported, Log
from acecausal.exchange.rows import Row, gather, to_cube
from acecausal.exchange.text import parse_json, part, read_lines, shares, shown

#: How options that are no answers are called.
_REFUSAL = re.compile(r"\b(refus|no answer|don.?t know|dk\b|not sure|skipped|not applicable)", re.IGNORECASE)
#: SubPOP's groups are of the United States.
COUNTRY = "United States"


def read(path: Path, choices: Choices) -> Imported:
    """Read rows; only attributes whose baseline is named get shifts.

    Raises
    ------
    DataError
        For a file that cannot be read, or without a number of respondents; for a row that is wrong (which may be passed
        over).
    """
    if choices.respondents is None:
        raise DataError(
            "the rows hold no number of respondents", param=shown(path), expected="--respondents N",
            hint="the smallest group's size is a cautious choice; standard errors follow from it",
        )  # fmt: skip
    log, digest, rows = Log(choices.keep_going), hashlib.sha256(), []
    for number, line in read_lines(path):
        digest.update(line.encode())
        where = f"{shown(path)}, row {number}"
        try:
            rows.append(_row(parse_json(line, where), where, choices, log))
        except DataError as error:
            log.problem(error)
    attributes = list(dict.fromkeys(name for row in rows for name in row.levels))
    groups = gather(rows, attributes, choices, log, source=shown(path))
    fewest = int(np.argmin([len(attribute.levels) for attribute in groups.lattice.attributes]))
    pool(groups.response, groups.n, groups.lattice, [0], over=fewest)
    log.noted[f"respondents taken to stand behind each group ({choices.respondents})"] = len(rows)
    log.noted[f"levels of {attributes[fewest]} of which the persona all is the plain mean"] = len(
        groups.lattice.attributes[fewest].levels
    )
    if groups.untold:
        named = ", ".join(groups.untold)
        log.noted[f"attributes without a baseline, hence without shifts (--baseline ATTRIBUTE=GROUP): {named}"] = len(
            groups.untold
        )
    blind = [groups.lattice.attributes[attributes.index(name)].name for name in groups.untold]
    about = {"title": "SubPOP rows", "source": shown(path.name), "data_sha256": digest.hexdigest()}
    return Imported(to_cube(groups, choices, log, about, blind), dict(log.noted), log.problems)


def _row(raw: Any, where: str, choices: Choices, log: Log) -> Row:
    labels = [str(label) for label in part(raw, "options", list, where)]
    responses = part(raw, "responses", list, where)
    if len(responses) > len(labels):
        raise DataError("more shares than options", param=where, expected=len(labels), got=len(responses))
    _check_beyond(labels, len(responses), where, log)
    found = shares(responses, len(responses), where)
    places = part(raw, "ordinal", list, where) if raw.get("ordinal") is not None else [1] * len(found)
    if len(places) != len(found) or not all(isinstance(p, int | float) for p in places):
        raise DataError("ordinal is no list of places", param=where, expected=f"{len(found)} numbers", got=places)
    ordered = [k for k, place in enumerate(places) if place != -1]
    if len(ordered) >= 2 and len({places[k] for k in ordered}) == len(ordered):
        if len(ordered) < len(found):
            log.noted["rows with options outside the order (left out of the shares)"] += 1
        kept, nominal = sorted(ordered, key=lambda k: places[k]), False
    else:
        kept, nominal = list(range(len(found))), True
        log.noted["rows whose options have no order (ordinal is missing or holds ties): shifts, but no effects"] += 1
    total = sum(found[k] for k in kept)
    if len(kept) < 2 or total <= 0:
        raise DataError("nobody chose an option that counts", param=where, expected="two options or more", got=found)
    country = choices.country or COUNTRY
    return Row(
        where,
        (country, country),
        "subpop",
        str(part(raw, "qkey", (str, int), where)),
        part(raw, "question", str, where),
        tuple(labels[k] for k in kept),
        nominal,
        {str(part(raw, "attribute", str, where)): str(part(raw, "group", (str, int, float), where))},
        [found[k] / total for k in kept] if len(kept) < len(found) else [found[k] for k in kept],
        choices.respondents or 1,
    )


def _check_beyond(labels: list[str], n_shares: int, where: str, log: Log) -> None:
    """Shares go with options by their place, so what has no share must be the refusals, at the end."""
    beyond = labels[n_shares:]
    answers = [label for label in beyond if not _REFUSAL.search(label)]
    if answers and (len(beyond) > 1 or any(_REFUSAL.search(label) for label in labels[:n_shares])):
        raise DataError(
            "options and shares differ in number", param=where, expected=f"{n_shares} options, then refusals",
            got=shown(" | ".join(labels)),
        )  # fmt: skip
    for label in beyond:
        log.noted[f"rows whose last options have no share ({shown(label)}: taken as no answer)"] += 1
