"""Codebooks drafted from a file's names, labels and codes: guesses, each marked as one, for somebody to read.

Every column of the file stands in the draft, if only under `unused` with the reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from acecausal.errors import DataError
from acecausal.survey.codes import code_key
from acecausal.survey.column_facts import MOST_OPTIONS, Column, one_line, read_columns
from acecausal.survey.countries import iso_countries
from acecausal.survey.level_words import level_name, level_names, phrase, told_order
from acecausal.survey.meanings import number_of, says_nothing
from acecausal.survey.readers import Labels, read_labels
from acecausal.survey.roles import ATTRIBUTES, DESIGN, by_range, coding_of, give_roles, scale_of

#: Options that stand last, whatever the order of the others.
PINNED = re.compile(
    r"(an)?other\b(?!.*\bthan\b)|(none|neither|all|both) of (these|the|them)|some(thing| ?one) else", re.IGNORECASE
)
#: What Qualtrics' exports hold beside the answers: a file with several of these is one of its.
QUALTRICS = re.compile(
    r"(Start|End|Recorded)Date|Status|IPAddress|Progress|Duration \(in seconds\)|Finished|ResponseI[dD]"
    r"|ExternalReference|Recipient(Last|First)Name|RecipientEmail|Location(Latitude|Longitude)|DistributionChannel"
    r"|UserLanguage|Q_(RecaptchaScore|RelevantID\w*|Duplicate\w*|BallotBoxStuffing|DataPolicyViolations|Unanswered\w*"
    r"|TotalDuration|Language|Device\w*|Browser\w*|Terminate\w*|AmbiguousTextPresent|StraightliningCount)"
)
#: Where ages and years of education are cut, if each part has a twentieth of the people, and how levels are worded:
#: label, phrase; up to, between, and from.
CUTS = {"age": (30, 50), "education": (12, 16)}
BANDS = {
    "age": (
        ("under {b}", "under {b} years old"),
        ("{a} to {last}", "{a} to {last} years old"),
        ("{a} and over", "{a} or older"),
    ),
    "education": (
        ("less than {b} years", "with less than {b} years of education"),
        ("{a} to {last} years", "with {a} to {last} years of education"),
        ("{a} years and more", "with {a} or more years of education"),
    ),
}
#: What ages and years of education can be: the rest is no answer.
POSSIBLE = {"age": (10, 110), "education": (0, 40)}
#: Bands of a scale with more steps than options.
DEGREES = ("very low", "low", "middle", "high", "very high")
#: What a kind of attribute is called, where that is not its name.
LABELS = {"marital": "marital status", "orientation": "sexual orientation"}
#: Attributes that personas specify by default.
LATTICE = 3
#: What nobody can guess; a country that is not known.
FILL_IN, UNKNOWN = "fill in", "XXX"
#: What F and M stand for in a column of sexes.
SEXES = {"f": "female", "m": "male"}


def draft(source: str | Path, *, encoding: str | None = None) -> str:
    """Draft a codebook, as YAML with a comment at every guess.

    Parameters
    ----------
    source : path
        A .sav or .dta file with labels; or another that `read_table` reads, whose codes have to speak for themselves.
    encoding : str, optional
        As for `read_table`.

    Returns
    -------
    str
        Loads with `acecausal.survey.codebook.load_codebook`; what nobody can guess says "fill in".

    Raises
    ------
    DataError
        If the file cannot be read, or nothing in it looks like an attribute, or like a question.
    """
    labels = read_labels(source, encoding=encoding)
    unread = _unread(labels)
    columns = read_columns(source, labels, unread, encoding)
    give_roles(columns, labels.weight)
    values = [column for column in columns if column.role == "value"]
    attributes = _in_order([column for column in columns if column.role == "attribute"])
    covariates = [column for column in columns if column.role == "covariate"]
    if not attributes or not values:
        raise DataError(
            "nothing looks like an attribute" if not attributes else "nothing looks like a question",
            param=str(source),
            expected=f"columns named or labelled as {', '.join(ATTRIBUTES)}"
            if not attributes else f"columns of 2 to {MOST_OPTIONS} codes",
            hint="write the codebook by hand: acecausal codebooks show wvs-sample shows one",
        )  # fmt: skip
    name = level_name(Path(str(source)).stem) or "draft"
    names = level_names(column.kind or column.name for column in attributes)
    design = [column for role in ("weight", *DESIGN) for column in columns if column.role == role]
    found = {column.role for column in design}
    lines = [
        f"# Drafted from {one_line(Path(str(source)).name)}. Every guess is marked; nothing was verified.",
        *(["# The first cell of each row is taken for a row name: the header is one shorter."] * labels.row_names),
        "codebook: 1",
        f"name: {name}",
        f"title: {_quoted(name)}  # {FILL_IN}",
        f"source: {_quoted(Path(str(source)).name)}  # {FILL_IN}: who collected the data",
        f'licence: "unknown"  # {FILL_IN}: who may have the file',
        *_country_lines(next((column for column in columns if column.role == "country"), None)),
        *(f"{column.role}: {{column: {_quoted(column.name)}}}  # guess: {column.why}" for column in design),
        *([] if "weight" in found else ["# no weight found: everybody counts the same"]),
        f"lattice: [{', '.join(map(_quoted, names[:LATTICE]))}]  # guess: what personas say; the rest is held fixed",
        "attributes:",
        *(line for n, column in zip(names, attributes, strict=True) for line in _attribute_lines(n, column)),
        *(["covariates:  # numbers that are held fixed: guess"] if covariates else []),
        *(line for n, c in zip(_unique(covariates), covariates, strict=True) for line in _covariate_lines(n, c)),
        "values:",
        *_values_lines(values),
        *_unused_lines(unread, columns),
    ]
    return "\n".join(lines) + "\n"


def _unread(labels: Labels) -> dict[str, str]:
    """Say of the columns that are not read why."""
    names = [name for name in labels.columns if name.strip()]
    found = {name: "without a name: numbers of the rows, it seems" for name in labels.columns if not name.strip()}
    found |= dict.fromkeys(labels.nested, "lists or mappings")
    qualtrics = [name for name in names if QUALTRICS.fullmatch(name)]
    if len(qualtrics) > 2:
        own = [name for name in qualtrics if name.lower() != "responseid"]
        found |= dict.fromkeys(own, "what Qualtrics puts beside the answers")
    return found | {name: "stands twice in the header" for name, count in Counter(names).items() if count > 1}


def _in_order(attributes: Sequence[Column]) -> list[Column]:
    """Put what most people ask for first: gender, age, education, and so on."""
    kinds = list(ATTRIBUTES)
    return sorted(attributes, key=lambda c: kinds.index(c.kind) if c.kind else len(kinds))


# --- lines ------------------------------------------------------------------------------------------------------------


def _country_lines(column: Column | None) -> list[str]:
    if column is None:
        return [
            f"# No column looks like the country. {FILL_IN}, as only: {{GBR: {{label: Great Britain}}}}, or name it.",
            f"countries: {{only: {{{UNKNOWN}: {{label: {FILL_IN}}}}}}}",
        ]
    coding = coding_of(column)
    lines = ["countries:", f"  column: {_quoted(column.name)}  # guess: {column.why}"]
    lines += [f"  # {column.emptied}"] if column.emptied else []
    if coding:
        known = {code_key(code) for spec in iso_countries(coding).values() for code in spec["codes"]}
        strange = [key for key in column.counts if key not in known]
        lines.append(f"  coding: {coding}  # guess: the codes are those of ISO 3166")
    else:
        strange = list(dict.fromkeys([*column.codes, *column.missing]))
    if strange:
        lines.append("  levels:")
        told = [column.labels.get(key, key) for key in strange]
        for key, label, name in zip(strange, told, level_names(told, keep=True), strict=True):
            lines.append(f"    {_quoted(name)}: {{codes: [{_quoted(key)}], label: {_quoted(label)}}}")
    return lines


def _attribute_lines(name: str, column: Column) -> list[str]:
    about = LABELS.get(column.kind, column.kind) or column.words
    lines = [f"  {_quoted(name)}:", f"    column: {_quoted(column.name)}  # guess: {column.why}"]
    lines.append(f"    label: {_quoted(about)}")
    if by_range(column, column.kind):
        return lines + _band_lines(column)
    lines += _missing_lines(column, column.missing)
    called = _called(column)
    names = level_names(called)
    often = max(range(len(called)), key=lambda i: column.counts.get(column.codes[i], 0))
    first = 0 if column.numbers or len(called) == 2 else often
    why = "the most frequent" if first else "the first"
    numbers = f"  # {FILL_IN}: what the codes say" if _unworded(column) else ""
    lines += [f"    baseline: {_quoted(names[first])}  # guess: {why}", f"    levels:{numbers}"]
    for key, label, level in zip(column.codes, called, names, strict=True):
        worded, found = phrase(column.kind, about, label)
        parts = f"codes: [{_quoted(key)}], label: {_quoted(label)}, phrase: {_quoted(worded)}"
        lines.append(f"      {_quoted(level)}: {{{parts}}}  # {'guess' if found else f'{FILL_IN}: a phrase'}")
    return lines


def _band_lines(column: Column) -> list[str]:
    """Cut ages or years of education into three levels."""
    low, high = POSSIBLE[column.kind]
    outside = [key for key in column.codes if not low <= (number_of(key) or 0) <= high]
    outside += _codes_above(column) if column.kind == "age" else []
    told = [(number_of(key) or 0.0, column.counts.get(key, 0)) for key in column.codes if key not in outside]
    cuts = _cuts(told, CUTS[column.kind])
    lines = _missing_lines(
        column, column.missing | dict.fromkeys(outside, f"outside {low} to {high}, or apart from all others")
    )
    ends = list(zip((low, *cuts), (*cuts, high + 1), strict=True))
    words = [BANDS[column.kind][0], *[BANDS[column.kind][1]] * (len(ends) - 2), BANDS[column.kind][2]]
    named = []
    fraction = 0.0 if all(number.is_integer() for number, _ in told) else 0.999  # 17.917 years are under 18
    for (a, b), (label, worded) in zip(ends, words, strict=True):
        last = b - 1
        said = label.format(a=a, b=b, last=last)
        top = f"{last:g}" if b > high else f"{last + fraction:g}"
        level = f"range: [{a}, {top}], label: {_quoted(said)}, phrase: {_quoted(worded.format(a=a, b=b, last=last))}"
        named.append((level_name(said), level))
    return [
        *lines,
        f"    baseline: {_quoted(named[0][0])}  # guess",
        "    levels:  # guess: these cuts",
        *(f"      {_quoted(name)}: {{{level}}}  # guess" for name, level in named),
    ]


def _codes_above(column: Column) -> list[str]:
    """Find 97 to 99 where hardly anybody is nearly as old: archives' codes of no answer."""
    ages = {number: key for key in column.codes if (number := number_of(key)) is not None and number <= 99}
    high, rest = [age for age in ages if age >= 97], [age for age in ages if age < 97]
    return [ages[age] for age in high] if high and rest and min(high) - max(rest) > 3 else []


def _cuts(told: Sequence[tuple[float, int]], usual: tuple[int, int]) -> list[int]:
    """Cut at the usual places, if each part has a twentieth of the people; else at whole numbers near the thirds."""
    total = sum(count for _, count in told)

    def share(low: float, high: float) -> float:
        return sum(count for number, count in told if low <= number < high) / total

    a, b = usual
    if min(share(-1, a), share(a, b), share(b, 999)) >= 0.05:
        return [a, b]
    shares = {cut: share(-1, cut) for cut in sorted({int(number) for number, _ in told})[1:] or [a]}
    thirds = [min(shares, key=lambda cut, part=part: abs(shares[cut] - part)) for part in (1 / 3, 2 / 3)]  # type: ignore[misc]
    return sorted(set(thirds))


def _covariate_lines(name: str, column: Column) -> list[str]:
    listed = [key for key in column.missing if not re.fullmatch(r"\.[a-z]", key)]
    gone = f", missing: [{', '.join(map(_quoted, listed))}]" if listed else ""
    label = one_line(column.label) or column.words
    why = "; ".join(filter(None, (column.why, column.emptied)))
    return [f"  {_quoted(name)}: {{column: {_quoted(column.name)}, label: {_quoted(label)}{gone}}}  # {why}"]


def _values_lines(values: Sequence[Column]) -> list[str]:
    """Write the values; options that nobody labelled once where several have the same, for them to be filled in."""
    options = [_option_lines(column) for column in values]
    shared = Counter(tuple(lines) for column, lines in zip(values, options, strict=True) if _unworded(column))
    anchors: dict[tuple[str, ...], str] = {}
    lines = []
    for name, column, listed in zip(_unique(values), values, options, strict=True):
        lines += _value_head(name, column)
        about, *entries = listed
        key = tuple(listed)
        if key in anchors:
            lines.append(f"    options: *{anchors[key]}  # guess: the codes say the same; else a list of its own")
            continue
        if shared[key] > 1:
            anchors[key] = f"scale_{len(anchors) + 1}"
            about = f"    options: &{anchors[key]}  # {FILL_IN}: what the codes say, once for {shared[key]} questions"
        lines += [about, *entries]
    return lines


def _value_head(name: str, column: Column) -> list[str]:
    scale = (
        "continuous" if column.kind == "rating" else "ordinal" if _told(column) or _banded(column) else scale_of(column)
    )
    asked = one_line(column.label)
    guess = "guess: the column's label" if asked else f"{FILL_IN}: as it is to be asked"
    why = ": the file says so" if scale == column.measure else ": by the words" if _told(column) else ""
    return [
        f"  {_quoted(name)}:",
        f"    column: {_quoted(column.name)}",
        f"    question: {_quoted(asked or column.name)}  # {guess}",
        f'    topic: "all"  # {FILL_IN}',
        f"    scale: {'binary' if len(column.codes) == 2 else scale}  # guess{why}",
        *_missing_lines(column, column.missing),
    ]


def _option_lines(column: Column) -> list[str]:
    called, order = _called(column), _told(column)
    if column.kind == "rating":
        return ["    range: [0, 100]  # guess: a rating; a model is asked to choose, so of people alone"]
    if _banded(column):
        ends = f"[{column.numbers[0]:g}, {column.numbers[-1]:g}]"
        about = f"guess: five parts; or, for people alone, no options but scale: continuous, range: {ends}"
        return [f"    options:  # {about}", *_bands(column)]
    if order:
        about = "  # guess: in the order that the words tell"
    elif _unworded(column):
        about = f"  # {FILL_IN}: what the codes say, from the least to the most"
    elif scale_of(column) == "ordinal":
        about = "  # guess: in the order of the codes; turn around if low codes mean more"
    else:
        about = "  # guess: in the order of the codes" if len(called) == 2 else ""
    return [f"    options:{about}"] + [
        f"      - {{label: {_quoted(called[i])}, codes: [{_quoted(column.codes[i])}]{_pinned(called[i])}}}"
        for i in order or range(len(called))
    ]


def _bands(column: Column) -> list[str]:
    numbers = column.numbers
    width = (numbers[-1] - numbers[0]) / len(DEGREES)
    parts: dict[str, list[str]] = {}
    for number, key in zip(numbers, column.codes, strict=True):
        at = min(int((number - numbers[0]) / width + 1e-9), len(DEGREES) - 1)
        parts.setdefault(DEGREES[at], []).append(key)
    return [
        f"      - {{label: {_quoted(f'{name} ({keys[0]} to {keys[-1]})')}, codes: [{', '.join(map(_quoted, keys))}]}}"
        for name, keys in parts.items()
    ]


def _banded(column: Column) -> bool:
    return len(column.codes) > MOST_OPTIONS


def _told(column: Column) -> list[int] | None:
    """Order answers by their words, where the file does not say that they have none."""
    if column.measure == "nominal" or _banded(column):
        return None
    order = told_order(_called(column))
    turned = order is not None and order == list(range(len(order)))[::-1] and len(order) > 2
    return None if turned and column.numbers else order  # codes run the other way, all along: as they are


def _missing_lines(column: Column, missing: Mapping[str, str]) -> list[str]:
    """List what is no answer, with the reasons; Stata's .a to .z are missing without being listed."""
    lines = [f"    # declared missing in the file: {one_line(column.said)}"] if column.said else []
    lines += [f"    # {column.emptied}"] if column.emptied else []
    listed = {key: why for key, why in missing.items() if not re.fullmatch(r"\.[a-z]", key)}
    if listed:
        named = {key: one_line(f"{key} {column.labels.get(key, '')}") for key in listed}
        reasons = [
            f"{', '.join(named[key] for key in listed if listed[key] == why)} {why}"
            for why in dict.fromkeys(listed.values())
        ]
        lines.append(f"    missing: [{', '.join(map(_quoted, listed))}]  # guess: {'; '.join(reasons)}")
    return lines


def _unused_lines(unread: Mapping[str, str], columns: Sequence[Column]) -> list[str]:
    reasons = dict(unread) | {column.name: column.why for column in columns if column.role == "unused"}
    if not reasons:
        return []
    lines = [f"  {_quoted(name)}: {_quoted(why)}" for name, why in reasons.items()]
    return ["unused:  # the other columns of the file, and why: move what you need", *lines]


# --- words ------------------------------------------------------------------------------------------------------------


def _called(column: Column) -> list[str]:
    """Call the codes of a column something; 0 and 1, false and true say no and yes, to being female for example."""
    if column.codes not in (["0", "1"], ["false", "true"]) or not column.unlabelled:
        called = column.called()
        letters = [SEXES.get(label.casefold(), "") for label in called] if column.kind == "gender" else []
        return letters if all(letters) and letters else called
    if column.kind == "gender":
        return _sexes(column)
    return ["No", "Yes"]


def _sexes(column: Column) -> list[str]:
    """Call 0 and 1 of a column male and female: as its label says of either code, else by the sex that it names.

    "1=male, 0=female" and "male=1, female=0" read in turns, from whichever comes first. Where both are named, and the
    label says of neither code which it is, nobody knows.
    """
    tokens = re.findall(r"\b(?:[01]|(?:fe)?male|(?:wo)?m[ae]n)\b", column.label.casefold())
    pairs = [set(tokens[k : k + 2]) for k in range(0, len(tokens), 2)]
    told = {}
    if all(len(pair & {"0", "1"}) == 1 for pair in pairs):
        told = {min(pair): max(pair) in ("female", "woman", "women") for pair in pairs if len(pair) == 2}
    if told:
        return ["male", "female"] if told.get("1", not told.get("0")) else ["female", "male"]
    text = f"{column.words} {column.label_words}"
    woman, man = re.search(r"\b(female|wom[ae]n)\b", text), re.search(r"\b(male|m[ae]n)\b", text)
    if bool(woman) == bool(man):
        return column.called()
    return ["male", "female"] if woman else ["female", "male"]


def _unworded(column: Column) -> bool:
    """Whether an end of what people choose from is a number, and no word says what it means."""
    called = _called(column)
    return not _banded(column) and any(number_of(label) is not None for label in (called[0], called[-1]))


def _pinned(label: str) -> str:
    """Say whether an option keeps its place however the others are ordered."""
    return ", pinned: true" if PINNED.match(label) or says_nothing(label, soft=True) else ""


def _quoted(text: str) -> str:
    """Write a YAML string that reads back as it was, whatever is in it."""
    return yaml.dump(text, default_style='"', allow_unicode=True, width=10**9).strip()


def _unique(columns: Iterable[Column]) -> list[str]:
    return level_names(column.name for column in columns)
