"""Codebooks drafted from a file's names, labels and codes: guesses, each marked as one, for somebody to read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import yaml

from acecausal.errors import DataError
from acecausal.survey.cells import EMPTY
from acecausal.survey.codes import code_key
from acecausal.survey.countries import CODINGS, Coding, iso_countries
from acecausal.survey.meanings import number_of, says_nothing, silent_codes
from acecausal.survey.readers import Labels, read_labels, read_table

#: What columns are called, by what they hold; looked for in name and label.
ATTRIBUTES = {
    "gender": r"\b(sex|gender)\b",
    "age": r"\b(age|agea)\b",
    "education": r"educ|\bdegree\b|isced|schooling|university",
    "residence": r"\burban|\brural|urbrur|residence|size of (town|place|settlement)|settlement",
    "marital": r"marital|\bmarit|civil status",
    "religion": r"\breligio(n|us denomination)|denomination|\brelig\b",
}
DESIGN = {
    "weight": r"weight|wght|\bwt\b",
    "stratum": r"\bstrat",
    "psu": r"\bpsu\b|primary sampling|\bcluster\b",
    "id": r"respondent.{0,8}(id|number)|\b(id|idno|caseid|respid|responseid|uid)\b",
}
COUNTRY = r"\b(country|cntry|nation)\b|_country"
GRADED = re.compile(
    r"agree|important|very|much|often|never|always|trust|confiden|good|bad\b|satisf|likely|great|strong|happy|interest"
    r"|\bmore\b|\bless\b|too little|too much|about right|high|low\b|definitely|probably|justif|best|worst",
    re.IGNORECASE,
)
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
#: Ages are cut here; a question has at most so many answers.
AGES = (
    ("under_30", 10.0, 29.9, "under 30"),
    ("30_to_49", 30.0, 49.9, "30 to 49"),
    ("50_plus", 50.0, 110.0, "50 and over"),
)
MOST_OPTIONS = 11


@dataclass(slots=True)
class _Column:
    """A column: its codes as in the file, labels of them, how often the file has each; what it declares missing."""

    name: str
    label: str
    labels: dict[str, str]
    counts: dict[str, int]
    declared: list[str] = field(default_factory=list)
    said: str = ""
    measure: str = ""
    why: str = ""
    role: str = ""
    codes: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Guess which codes are no answers, and why."""
        every = dict.fromkeys([*self.labels, *self.counts])
        self.missing = dict.fromkeys(self.declared, "declared missing in the file")
        left = {key: self.labels.get(key, "") for key in every if key not in self.missing}
        self.missing |= dict.fromkeys(silent_codes(left), "by the label")
        told = [n for key in self.labels if key not in self.missing and (n := number_of(key)) is not None]
        apart = _apart([key for key in every if key not in self.missing], self.labels)
        for key in self.counts:  # 98 on a scale from 0 to 10, say
            number = number_of(key)
            if told and key not in self.labels and number is not None and not min(told) <= number <= max(told):
                apart.append(key)
        self.missing |= {key: "apart from the others" for key in apart if key not in self.missing}
        self.codes = sorted((key for key in every if key not in self.missing), key=_order)

    @property
    def text(self) -> str:
        return f"{self.name} {self.label}".replace("_", " ").casefold()

    def numeric(self) -> bool:
        return all(number_of(key) is not None for key in self.codes)


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
        Loads with `acecausal.survey.codebook.load_codebook`; where no country was found, its column is to be filled in.

    Raises
    ------
    DataError
        If the file cannot be read, or nothing in it looks like an attribute, or like a question.
    """
    labels = read_labels(source, encoding=encoding)
    exported = _exports(labels.columns)
    twice = [name for name, count in Counter(labels.columns).items() if count > 1]
    columns = _columns(source, labels, {*labels.nested, *exported, *twice}, encoding)
    country = _country(columns)
    for role, pattern in DESIGN.items():
        _give(role, pattern, columns)
    for role, pattern in ATTRIBUTES.items():
        _give(role, pattern, columns)
    values = [column for column in columns if not column.role and _is_question(column)]
    attributes = [column for column in columns if column.role in ATTRIBUTES and len(column.codes) > 1]
    if not attributes or not values:
        raise DataError(
            "nothing looks like an attribute" if not attributes else "nothing looks like a question",
            param=str(source),
            expected=f"columns named or labelled as {', '.join(ATTRIBUTES)}"
            if not attributes else f"columns of 2 to {MOST_OPTIONS} codes",
            hint="write the codebook by hand: acecausal codebooks show wvs-sample shows one",
        )  # fmt: skip
    name = _name(Path(str(source)).stem) or "draft"
    lines = [
        f"# Drafted from {_line(Path(str(source)).name)}. Every guess is marked; nothing was verified.",
        *(
            f"# Left out: {_line(', '.join(names))} ({why})."
            for names, why in (
                (labels.nested, "lists or mappings"),
                (exported, "what Qualtrics puts beside the answers"),
                (twice, "names that stand twice"),
            )
            if names
        ),
        *(["# The first cell of each row is taken for a row name: the header is one shorter."] * labels.row_names),
        "codebook: 1",
        f"name: {name}",
        f"title: {_quoted(name)}  # fill in",
        f"source: {_quoted(Path(str(source)).name)}  # fill in: who collected the data",
        'licence: "unknown"  # fill in: who may have the file',
        *_country_lines(country),
        *(
            line
            for column in columns
            if column.role in DESIGN
            for line in [f"{column.role}: {{column: {_quoted(column.name)}}}  # guess: {_said(column)}"]
        ),
        "attributes:",
        *(line for column in attributes for line in _attribute_lines(column)),
        "values:",
        *(line for name, column in zip(_unique(values), values, strict=True) for line in _value_lines(name, column)),
    ]
    return "\n".join(lines) + "\n"


# --- what a column is -------------------------------------------------------------------------------------------------


def _columns(source: str | Path, labels: Labels, apart: Container[str], encoding: str | None) -> list[_Column]:
    # a column without a name is one of row numbers, as R and pandas write it: nothing that a codebook could name
    named = dict.fromkeys(name for name in labels.columns if name.strip() and name not in apart)
    table = read_table(source, list(named), encoding=encoding)
    # SPSS itself calls everything with few codes nominal: only where something is ordinal did somebody say which
    measures = labels.measures if "ordinal" in labels.measures.values() else {}
    found = []
    for name in table.columns:
        counts: dict[str, int] = {}
        for code, count in table[name].value_counts(dropna=True).items():
            key = code_key(code)
            if key not in EMPTY:
                counts[key] = counts.get(key, 0) + int(count)
        told = labels.values.get(name, {})
        column = _Column(name, labels.variables.get(name, ""), told, counts, labels.declared(name, (*told, *counts)))
        column.said, column.measure = labels.shown(name), measures.get(name, "")
        if name == labels.weight:
            column.role, column.why = "weight", "the file is weighted by it"
        found.append(column)
    return found


def _exports(names: Iterable[str]) -> list[str]:
    """Name the columns that Qualtrics puts beside the answers, but for who the respondent is."""
    found = [name for name in names if QUALTRICS.fullmatch(name)]
    return [name for name in found if name.lower() != "responseid"] if len(found) > 2 else []


def _give(role: str, pattern: str, columns: list[_Column]) -> None:
    """Give a role that no column has to the first that is called so: by its name if one is, else by its label."""
    if any(column.role == role for column in columns):
        return
    fits = [column for column in columns if not column.role and column.counts and _could_be(role, column)]
    for text in (lambda c: c.name.replace("_", " ").casefold(), lambda c: c.text):
        named = [column for column in fits if re.search(pattern, text(column))]
        if named:
            named[0].role = role
            return


def _could_be(role: str, column: _Column) -> bool:
    rows = sum(column.counts.values())
    if role == "weight":
        numbers = [number_of(key) for key in column.counts]
        lowest = min((-1.0 if number is None else number for number in numbers), default=-1.0)
        # people of weight 0 are outside the sample; a column of 0 and 1 is rather a question
        return not column.labels and (lowest > 0 or (lowest == 0 and len(numbers) > 2))
    if role == "id":
        return len(column.counts) == rows
    if role in ("stratum", "psu"):
        return 1 < len(column.counts) < rows
    if role == "age" and len(column.codes) > MOST_OPTIONS:
        return column.numeric()
    return 2 <= len(column.codes) <= 26


def _country(columns: list[_Column]) -> _Column | None:
    named = [column for column in columns if column.counts and re.search(COUNTRY, column.text)]
    for column in sorted(named, key=lambda c: not _coding(c)):
        column.role = "country"
        return column
    return None


def _coding(column: _Column) -> Coding | None:
    """Name the ISO 3166 coding that knows nine tenths of the column's codes, if one does."""
    for coding in CODINGS:
        known = {code_key(code) for spec in iso_countries(coding).values() for code in spec["codes"]}
        if column.counts and sum(key in known for key in column.counts) >= 0.9 * len(column.counts):
            return coding
    return None


def _apart(codes: list[str], labels: Mapping[str, str]) -> list[str]:
    """Find 8 and 9 after a scale from 1 to 5, 77 to 99 after one from 0 to 10, -2 and -1 before one: no answers.

    Whatever their labels are, in any language; but where some codes have labels, these have one, and so has the end of
    the scale. The gap is wider than any within the scale.
    """
    numbers = sorted({number for key in codes if (number := number_of(key)) is not None and number.is_integer()})
    for first in range(2, len(numbers)):
        scale, above = numbers[:first], numbers[first:]
        if _stands_off(scale, above[0] - scale[-1]) and all(map(_conventional, above)) and len(scale) <= MOST_OPTIONS:
            found = above
            break
    else:
        scale, found = numbers, []
    below = [number for number in scale if number < 0]
    scale = [number for number in scale if number >= 0]
    if below and len(scale) > 1 and _stands_off(scale, scale[0] - below[-1]) and -below[0] != scale[-1]:
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
    return bool(re.fullmatch(r"([6-9])\1*|9+\d", f"{number:.0f}"))


def _is_question(column: _Column) -> bool:
    if not 2 <= len(column.codes) <= MOST_OPTIONS or not any(column.counts.get(key) for key in column.codes):
        return False
    return bool(column.labels) or len(column.codes) < max(sum(column.counts.values()) / 3, 2)


def _scale(column: _Column) -> str:
    if len(column.codes) == 2:
        return "binary"
    if column.measure in ("ordinal", "nominal"):
        return column.measure
    told = [column.labels[key] for key in column.codes if key in column.labels]
    if column.numeric() and (len(told) < len(column.codes) or any(map(GRADED.search, told))):
        return "ordinal"
    return "nominal"


# --- lines ------------------------------------------------------------------------------------------------------------


def _country_lines(column: _Column | None) -> list[str]:
    if column is None:
        return [
            "countries:  # fill in: no column looks like the country",
            "  column: FILL_IN",
            "  levels:",
            "    XXX: {codes: [1], label: fill in}",
        ]
    coding = _coding(column)
    lines = ["countries:", f"  column: {_quoted(column.name)}  # guess: {_said(column)}"]
    if coding:
        known = {code_key(code) for spec in iso_countries(coding).values() for code in spec["codes"]}
        strange = [key for key in column.counts if key not in known]
        lines.append(f"  coding: {coding}  # guess: the codes are those of ISO 3166")
    else:
        strange = sorted(dict.fromkeys([*column.labels, *column.counts]), key=_order)
    if strange:
        lines.append("  levels:")
        told = [column.labels.get(key, key) for key in strange]
        for key, label, name in zip(strange, told, _names(told, keep=True), strict=True):
            lines.append(f"    {_quoted(name)}: {{codes: [{_quoted(key)}], label: {_quoted(label)}}}")
    return lines


def _attribute_lines(column: _Column) -> list[str]:
    lines = [f"  {column.role}:", f"    column: {_quoted(column.name)}  # guess: {_said(column)}"]
    lines.append(f"    label: {_quoted(column.role)}")
    by_range = column.role == "age" and len(column.codes) > MOST_OPTIONS
    missing = dict(column.missing)
    if by_range:
        outside = [key for key in column.codes if not AGES[0][1] <= (number_of(key) or 0) <= AGES[-1][2]]
        missing |= dict.fromkeys(outside, "outside the ages")
    lines += _missing_lines(column, missing)
    if by_range:
        lines += [f"    baseline: {_quoted(AGES[0][0])}  # guess", "    levels:  # guess: these cuts"]
        lines += [
            f'      {_quoted(n)}: {{range: [{low:g}, {high:g}], label: "{label}"}}' for n, low, high, label in AGES
        ]
        return lines
    told = _distinct(column)
    names = _names(told)
    lines += [f"    baseline: {_quoted(names[0])}  # guess: the first", "    levels:"]
    return lines + [
        f"      {_quoted(name)}: {{codes: [{_quoted(key)}], label: {_quoted(label)}}}"
        for key, label, name in zip(column.codes, told, names, strict=True)
    ]


def _value_lines(name: str, column: _Column) -> list[str]:
    scale = _scale(column)
    order = {
        "ordinal": "  # guess: in the order of the codes; turn around if low codes mean more",
        "binary": "  # guess: in the order of the codes",
        "nominal": "",
    }[scale]
    lines = [
        f"  {_quoted(name)}:",
        f"    column: {_quoted(column.name)}",
        f"    question: {_quoted(_line(column.label) or column.name)}  # fill in: as it is to be asked",
        '    topic: "all"  # fill in',
        f"    scale: {scale}  # guess" + (": the file says so" if scale == column.measure else ""),
    ]
    lines += [*_missing_lines(column, column.missing), f"    options:{order}"]
    return lines + [
        f"      - {{label: {_quoted(label)}, codes: [{_quoted(key)}]{', pinned: true' if _pinned(label) else ''}}}"
        for key, label in zip(column.codes, _distinct(column), strict=True)
    ]


def _missing_lines(column: _Column, missing: Mapping[str, str]) -> list[str]:
    """List what is no answer, with the reasons; Stata's .a to .z are missing without being listed."""
    lines = [f"    # declared missing in the file: {_line(column.said)}"] if column.said else []
    listed = {key: why for key, why in missing.items() if not re.fullmatch(r"\.[a-z]", key)}
    if listed:
        named = {key: _line(f"{key} {column.labels.get(key, '')}") for key in listed}
        reasons = [
            f"{', '.join(named[key] for key in listed if listed[key] == why)} {why}"
            for why in dict.fromkeys(listed.values())
        ]
        lines.append(f"    missing: [{', '.join(map(_quoted, listed))}]  # guess: {'; '.join(reasons)}")
    return lines


def _pinned(label: str) -> bool:
    """Say whether an option keeps its place however the others are ordered."""
    return bool(PINNED.match(label)) or says_nothing(label, soft=True)


# --- words ------------------------------------------------------------------------------------------------------------


def _said(column: _Column) -> str:
    """Why a column was taken for something, as a comment."""
    if column.why:
        return column.why
    return f"labelled {_line(column.label)[:80]!r}" if column.label else "by its name"


def _quoted(text: str) -> str:
    """Write a YAML string that reads back as it was, whatever is in it."""
    return yaml.dump(text, default_style='"', allow_unicode=True, width=10**9).strip()


def _line(text: str) -> str:
    """Put a label on one line, without what YAML's comments may not hold."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def _distinct(column: _Column) -> list[str]:
    """Label the codes, each differently: by the code itself where there is no label, or where two are the same."""
    told = [_line(column.labels.get(key, "")) or key for key in column.codes]
    return [
        label if told.count(label) == 1 else f"{label} ({key})" for key, label in zip(column.codes, told, strict=True)
    ]


def _name(text: str) -> str:
    return re.sub(r"\W+", "_", text.strip().lower(), flags=re.ASCII).strip("_")[:40]


def _names(labels: Iterable[str], *, keep: bool = False) -> list[str]:
    """Name levels after their labels, each differently; `keep`: as they are, where they can be names."""
    found: list[str] = []
    for position, label in enumerate(labels):
        plain = keep and re.fullmatch(r"[A-Za-z0-9_]+", label)
        name = label if plain else _name(label) or f"level_{position}"
        found.append(name if name not in found else f"{name}_{position}")
    return found


def _unique(columns: list[_Column]) -> list[str]:
    return _names(column.name for column in columns)


def _order(key: str) -> tuple[bool, float, str]:
    number = number_of(key)
    return number is None, number or 0.0, key
