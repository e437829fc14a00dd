"""What a file's columns are guessed to be: attribute, value, covariate, of the design, or unused for a reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from acecausal.survey.codes import code_key
from acecausal.survey.column_facts import MOST_OPTIONS, Column, one_line
from acecausal.survey.countries import CODINGS, Coding, iso_countries
from acecausal.survey.meanings import number_of

#: What attributes are called, in names and in labels: anywhere in the labels of those below, else at their beginning,
#: since "State of the economy" is no region.
ATTRIBUTES = {
    "gender": (r"\b(sex|gender)\b|^(is )?(fe)?male$|^(wo)?man$", r"\b(sex|gender)\b|\b(fe)?male$"),
    "age": (r"\b(age|agea|agegroup|agecat)\b", r"\bage\b"),
    "education": (
        r"\b(educ\w*|edu|e?isced\w*|degree|schooling|college\w*|university|edulvl\w*|eduyrs)\b",
        r"educ|\bdegree\b|isced|schooling|university",
    ),
    "residence": (
        r"\b(sub)?urban|\brural|urbrur|residence|settlement|domicil|xnorcsiz|(town|place|city) ?size",
        r"\burban|\brural|urbrur|residence|size of (town|place|settlement)|settlement",
    ),
    "marital": (r"\bmarit|\bmarstat|civil status|\bmarried\b", r"marital|civil status"),
    "religion": (r"\breligion\b|\brelig(grp)?\b|denom", r"\breligio(n|us denomination)|denomination"),
    "race": (r"\b(race\w?|raceth\w*|ethnic\w*)\b", r"(race|ethnic)"),
    "hispanic": (r"hispanic|latino", r"(hispanic|latino)"),
    "region": (
        r"^(region|state|province|district|county|bundesland)( of (residence|interview))?$",
        r"(region|state|province|district|county)( of (residence|interview))?$",
    ),
    "employment": (
        r"\b(un)?employ|\buempla|wrkstat|empstat|work(ing)? status|labou?r (force|market)",
        r"(employment|work(ing)?|labou?r (force|market)) (status|situation)|main activity",
    ),
    "orientation": (r"\borientation$", r"(sexual )?orientation$"),
    "language": (
        r"language|\blang\b|engnat|mother tongue",
        r"(mother tongue|language (of|at)|native (speaker|english))",
    ),
    "migration": (
        r"citizen|brncntr|foreign ?born|nativity|migration background",
        r"(citizen|born in (the )?country|migration background)",
    ),
}
ANYWHERE = ("gender", "age", "education", "residence", "marital", "religion")
#: What a label speaks of is not what it is.
OPINION = r"spending|state of|trust|confiden|quality|government|should|importan|opinion|satisf|\bjob\b"
NOT_OF_THE_RESPONDENT = r"father|mother|parent|partner|spouse|wife|husband|birth|born|origin"
DESIGN = {
    "stratum": r"\bstrat(um|a|id|ification)?\d*\b",
    "psu": r"\bpsu\b|primary sampling|\bcluster\b|\bvpsu\b",
    "id": r"respondent.{0,8}(id|number)|\b(id|idno|caseid|respid|responseid|response id|uid)\b",
}
WEIGHT = r"weight(?!ed)|wght|wgt|wtss|\bwts?|wt\b|\bpond|\bpspw|gewicht|\bpeso\b|poids"
BODY = r"kilo|\bkg\b|pound|\blbs?\b|body|birth|\blos(e|s|ing)\b|height"
COUNTRY = (
    r"(^| )(country|cntry|nation|ccode|isocntry)( (code|name|id|no|num(ber)?|iso|label|\w?\d+))?$|\bs003\b|\w+ccode$"
)
COUNTRY_LABEL = (
    r"(country|nation)\b(?! of (birth|origin)).{0,24}$|.*country of (interview|survey|residence)|.*country code"
)
INCOME = r"income|\bincom|\bf?aminc|\b[hr]+inc|\binc\b|earnings|salary|\bwages?\b"
COUNTS = (
    r"^(children|childs|kids|(family|hh|household) ?size|familysize|hhsize|hompop)$|^number of (people|persons|chil)"
)
YEARS = r"\b(yrs?|years?)|yrs\b"
TIME = r"^(year|wave|round|essround|month|day|date)\b"
GRADED = re.compile(
    r"agree|important|very|much|often|never|always|trust|confiden|good|bad\b|satisf|likely|great|strong|happy|interest"
    r"|\bmore\b|\bless\b|too little|too much|about right|high|low\b|definitely|probably|justif|best|worst",
    re.IGNORECASE,
)
SEXES = {"male", "female", "man", "woman", "men", "women", "m", "f"}
#: A level has people, and there are not too many; a covariate is known of most people, who are left out otherwise.
MOST_LEVELS = 26
KNOWN = 0.8
#: So many numbered columns that could each be the weight are replicates of it.
SERIES = 8


def give_roles(columns: Sequence[Column], weighted_by: str = "") -> None:
    """Say of each column what it is drafted as (`role`, `kind`) and why; nothing is left without.

    Parameters
    ----------
    columns : sequence of Column
    weighted_by : str
        The column that the file itself is weighted by, or ''.
    """
    rows = max((column.rows for column in columns), default=0)
    for column in columns:
        if not column.counts:
            _put(column, "unused", why="empty")
    _country(columns)
    _weight(columns, weighted_by)
    _replicates(columns)
    for role, pattern in DESIGN.items():
        _first(role, pattern, [column for column in _free(columns) if _of_design(role, column)])
    for column in _free(columns):
        if len(column.counts) == 1:
            _put(column, "unused", why=f"everybody has {next(iter(column.counts))!r}")
    for kind, (by_name, by_label) in ATTRIBUTES.items():
        _attribute(kind, by_name, by_label, columns)
    for column in _free(columns):
        _rest(column, rows)


def coding_of(column: Column) -> Coding | None:
    """Name the ISO 3166 coding that knows nine tenths of the column's codes, if one does."""
    for coding in CODINGS:
        known = {code_key(code) for spec in iso_countries(coding).values() for code in spec["codes"]}
        if column.counts and sum(key in known for key in column.counts) >= 0.9 * len(column.counts):
            return coding
    return None


def scale_of(column: Column) -> str:
    """Guess whether the answers have an order."""
    if len(column.codes) == 2:
        return "binary"
    if column.measure in ("ordinal", "nominal"):
        return column.measure
    told = [column.labels[key] for key in column.codes if key in column.labels]
    if len(told) == len(column.codes) > 3 and told == sorted(told, key=str.casefold):
        return "nominal"  # numbered by the alphabet, as the levels of an R factor are: that is no order
    if column.numbers and (len(told) < len(column.codes) or any(map(GRADED.search, told))):
        return "ordinal"
    return "nominal"


def by_range(column: Column, kind: str) -> bool:
    """Whether levels are ranges: ages, and years of education, that are numbers without labels."""
    numeric = bool(column.numbers) and column.unlabelled
    long = len(column.codes) > MOST_OPTIONS and max(column.numbers, default=0) >= 16
    years = long or re.search(YEARS, f"{column.words} {column.label_words}") is not None
    return numeric and ((kind == "age" and _ages(column)) or (kind == "education" and years))


def _ages(column: Column) -> bool:
    """Whether these can be ages, and neither groups numbered from 1 nor years of birth."""
    told = {number: column.counts.get(key, 0) for key, number in zip(column.codes, column.numbers, strict=True)}
    return sum(count for age, count in told.items() if 10 <= age <= 110) > 0.8 * sum(told.values())


# --- one by one -------------------------------------------------------------------------------------------------------


def _put(column: Column, role: str, *, kind: str = "", why: str = "") -> None:
    column.role, column.kind, column.why = role, kind, why or column.why


def _free(columns: Sequence[Column]) -> list[Column]:
    return [column for column in columns if not column.role]


def _first(role: str, pattern: str, columns: Sequence[Column]) -> None:
    """Give a role to the first that is called so: by its name if one is, else by its label."""
    for text in (lambda c: c.words, lambda c: c.label_words):
        named = [column for column in columns if re.search(pattern, text(column))]
        if named:
            _put(named[0], role, why=_said(named[0]))
            return


def _said(column: Column) -> str:
    return f"labelled {one_line(column.label)[:80]!r}" if column.label else "by its name"


def _country(columns: Sequence[Column]) -> None:
    named = [column for column in _free(columns) if re.search(COUNTRY, column.words)]
    named += [column for column in _free(columns) if column.label and re.match(COUNTRY_LABEL, column.label_words)]
    own = [column for column in named if not re.search(NOT_OF_THE_RESPONDENT, f"{column.words} {column.label_words}")]
    for column in sorted(own, key=lambda c: not coding_of(c))[:1]:
        _put(column, "country", why=_said(column))


def _weight(columns: Sequence[Column], weighted_by: str) -> None:
    """Find the weight by what the file says, by name, by label, by content: positive, with fractions, and mean 1."""
    free = _free(columns)
    high = any(re.search(r"\b(height|ht)\b|bmi\b", column.words) for column in columns)  # then a weight is in kilograms
    could = [column for column in free if column.name == weighted_by or _could_weigh(column)]
    named = [column for column in could if re.search(WEIGHT, column.words)]
    named += [column for column in could if column not in named and re.search(r"weight", column.label_words)]
    bodies = [c for c in named if high or _kilograms(c) or re.search(BODY, f"{c.words} {c.label_words}")]
    ours = [column for column in named if column not in bodies]
    ours.sort(key=lambda c: re.search(r"weight|wgh?t|wt", c.words) is None)
    unlike = rf"{INCOME}|score|index|trust|relative"
    by_content = [column for column in could if column not in bodies and _averages_one(column)
                  and not re.search(unlike, f"{column.words} {column.label_words}")]  # fmt: skip
    chosen = [column for column in could if column.name == weighted_by] or ours or by_content
    if chosen:
        why = "the file is weighted by it" if chosen[0].name == weighted_by else _said(chosen[0])
        if chosen == by_content and not ours and chosen[0].name != weighted_by:
            why = "by what is in it: positive numbers of mean 1"
        _put(chosen[0], "weight", why=why)
    for column in ours:
        if not column.role:
            _put(column, "unused", why=f"another weight, it seems; {chosen[0].name} was taken")
    for column in bodies:
        if not column.role:
            _put(column, "unused", why="rather what somebody weighs than how much they count")


def _replicates(columns: Sequence[Column]) -> None:
    """Find numbered columns of one name that add up to what the weight does: they are not for adjusting."""
    weight = next((column for column in columns if column.role == "weight"), None)
    if weight is None:
        return
    series: dict[str, list[Column]] = {}
    for column in columns:
        stem = column.name.rstrip("0123456789")
        numbered = stem != column.name and len(column.counts) > MOST_LEVELS
        if numbered and column.role in ("", "unused") and _could_replace(column, weight):
            series.setdefault(stem, []).append(column)
    for stem, found in series.items():
        for column in found if len(found) >= SERIES else []:
            _put(column, "unused", why=f'a replicate weight, it seems: replicates: {{columns: "{stem}*", type: ...}}')


def _could_replace(column: Column, weight: Column) -> bool:
    """Whether the column could be the weight under a replicate: as many people in all, about."""
    return _could_weigh(column) and _total(weight) / 3 < _total(column) < 3 * _total(weight)


def _total(column: Column) -> float:
    return sum((number_of(key) or 0.0) * count for key, count in column.counts.items())


def _could_weigh(column: Column) -> bool:
    """Whether these are positive numbers with fractions, or many of them; 0 is outside the sample."""
    numbers = [-1.0 if (number := number_of(key)) is None else number for key in column.counts]
    broken = any(not number.is_integer() for number in numbers) or len(numbers) > MOST_LEVELS
    return not column.labels and min(numbers) >= 0 and len(numbers) > 1 and broken


def _kilograms(column: Column) -> bool:
    """Whether these can be what people weigh: some 70 kilograms or 160 pounds, nobody many times another's."""
    told = {number: count for key, count in column.counts.items() if (number := number_of(key)) is not None}
    mean = sum(number * count for number, count in told.items()) / max(sum(told.values()), 1)
    return 40 <= mean <= 220 and max(told) < 8 * min(told)


def _averages_one(column: Column) -> bool:
    told = {number: count for key, count in column.counts.items() if (number := number_of(key)) is not None}
    total = sum(number * count for number, count in told.items())
    broken = sum(count for number, count in told.items() if not number.is_integer())
    return len(told) > 10 and abs(total / column.rows - 1) < 0.005 and broken > 0.9 * column.rows and min(told) > 0


def _of_design(role: str, column: Column) -> bool:
    if role == "id":
        return len(column.counts) == column.rows
    if role == "psu" and column.words == "cluster" and len(column.counts) < 10:
        return False  # groups that an analysis found, rather
    return 1 < len(column.counts) < column.rows


def _attribute(kind: str, by_name: str, by_label: str, columns: Sequence[Column]) -> None:
    """Take the first that is called so for the attribute; say of others that are so by name that they are again one."""
    strange = "$." if kind == "migration" else rf"{NOT_OF_THE_RESPONDENT}|income"
    free = [c for c in _free(columns) if not re.search(strange, f"{c.words} {c.label_words}")]
    named = [column for column in free if re.search(by_name, column.words)]
    find = re.search if kind in ANYWHERE else re.match
    asked = [c for c in free if find(by_label, c.label_words) and not re.search(OPINION, c.label_words)]
    if kind == "gender":
        named = [c for c in named if _two_kinds(c)]
        told = [c for c in free if len(c.codes) <= MOST_OPTIONS and {text.casefold() for text in c.called()} <= SEXES]
        asked = [*told, *asked]
    fits = [column for column in named or asked if by_range(column, kind) or 2 <= len(column.codes) <= MOST_LEVELS]

    def doubt(column: Column) -> tuple[bool, bool]:
        return not re.fullmatch(by_name, column.words), len(column.codes) > MOST_OPTIONS and kind != "age"

    for column in sorted(fits, key=doubt)[:1]:
        _put(column, "attribute", kind=kind, why=_said(column))
        for other in named:
            if not other.role:
                _put(other, "unused", why=f"{kind} again, it seems; {column.name} was taken")
    for column in named:
        if not column.role and len(column.codes) > MOST_LEVELS:
            _put(column, "unused", why=f"{kind}, but {len(column.codes)} codes: group them into levels")


def _two_kinds(column: Column) -> bool:
    """Whether bare codes can be of women and men: two of them, each of many people, and hardly anybody else."""
    if column.labels or not column.numbers:
        return True
    most = sorted((column.counts.get(key, 0) for key in column.codes), reverse=True)
    return len(most) > 1 and most[1] >= 0.15 * sum(most) and sum(most[2:]) <= 0.05 * sum(most)


def _rest(column: Column, rows: int) -> None:
    """Say what a column is that is called nothing in particular."""
    words, numbers, count = column.words, column.numbers, len(column.codes)
    unlike_labels = column.unlabelled or count > MOST_OPTIONS
    if re.fullmatch(r"interviewer( (id|no|number|code))?|enumerator", words):
        _put(column, "unused", why="who asked")
    elif re.match(r"(respondent|r|interviewee) (is|has|was) ", column.label_words) and count == 2:
        _put(column, "attribute", why=_said(column))
    elif re.search(INCOME, words) or re.match(rf"(\w+ ){{0,3}}({INCOME})", column.label_words):
        _amount(column, "income", rows)
    elif re.search(COUNTS, words) or re.match(COUNTS, column.label_words):
        _amount(column, "a count", rows)
    elif re.match(TIME, words) and unlike_labels:
        _put(column, "unused", why="says when: name the rows to take under rows:, if the file holds several samples")
    elif count < 2:
        _put(column, "unused", why="nobody says anything else" if count else "no code that says anything")
    elif numbers and column.unlabelled and count == column.rows and _row_numbers(column):
        _put(column, "unused", why="numbers of the rows, it seems")
    elif count > MOST_OPTIONS and _rating(numbers):
        _put(column, "value", kind="rating", why=_said(column))
    elif count > MOST_OPTIONS and not _even(numbers):
        _put(column, "unused", why=_many(column))
    elif numbers and column.unlabelled and _amounts(numbers):
        _put(column, "unused", why="amounts rather than answers: under covariates, or cut into options")
    elif column.labels or count < max(column.rows / 3, 2):
        _put(column, "value", why=_said(column))
    else:
        _put(column, "unused", why=f"{count} codes of {column.rows} rows: hardly anybody says the same")


def _row_numbers(column: Column) -> bool:
    """Whether different numbers are those of the rows: one after the other, or called so (rows that R has picked)."""
    run = column.numbers[-1] - column.numbers[0] == len(column.codes) - 1
    return run or re.fullmatch(r"row ?names?", column.words) is not None


def _amount(column: Column, what: str, rows: int) -> None:
    """Take an amount for a covariate; if it is known of most people, and numbers."""
    if what == "a count":  # eight people are eight people
        for key in [
            key for key, why in column.missing.items() if why.startswith(("apart", "hardly")) and len(key) == 1
        ]:
            del column.missing[key]
            column.codes.append(key)
        column.codes.sort(key=lambda key: number_of(key) or 0.0)
    if not column.numbers or not _rising(column):
        if 2 <= len(column.codes) <= MOST_LEVELS:
            _put(column, "attribute", why=_said(column))
        else:
            _put(column, "unused", why=_many(column))
    elif sum(column.counts.get(key, 0) for key in column.codes) < KNOWN * rows:
        known = sum(column.counts.get(key, 0) for key in column.codes)
        _put(column, "unused", why=f"{what}, but known of {known} of {rows} only: the others would be left out")
    else:
        _put(column, "covariate", why=f"{what}, {_said(column)}")


def _rising(column: Column) -> bool:
    """Whether bands that labels tell rise, or fall, with the codes: 1 "5,200 to 10,400" and 2 "Under 2,600" may not."""
    told = [re.findall(r"\d+(?:[.,]\d{3})*", column.labels.get(key, "")) for key in column.codes]
    ends = [float(re.sub(r"[.,]", "", numbers[-1])) for numbers in told if numbers]
    steps = [later - earlier for earlier, later in pairwise(ends)]
    return len(ends) < 3 or all(step >= 0 for step in steps) or all(step <= 0 for step in steps)


def _many(column: Column) -> str:
    count, numbers = len(column.codes), column.numbers
    if not numbers:
        return f"{count} different texts"
    if all(number.is_integer() for number in numbers):
        return (
            f"{count} different numbers: a covariate, a value (scale: continuous), or grouped into levels or options?"
        )
    return f"{count} different numbers, with fractions: a covariate, or a value (scale: continuous)?"


def _rating(numbers: Sequence[float]) -> bool:
    """Whether these are ratings from 0 to 100, as of a feeling thermometer (whose upper end some files code 97)."""
    return bool(numbers) and numbers[0] == 0 and 97 <= numbers[-1] <= 100 and all(n.is_integer() for n in numbers)


def _even(numbers: Sequence[float]) -> bool:
    """Whether these are the steps of a scale: at most 26, each as far from the next, all of them there."""
    steps = {round(later - earlier, 9) for earlier, later in pairwise(numbers)}
    return len(steps) == 1 and len(numbers) <= MOST_LEVELS


def _amounts(numbers: Sequence[float]) -> bool:
    """Whether numbers are far from even: 0, 2, 5, 20, 50, 100."""
    steps = [later - earlier for earlier, later in pairwise(numbers)]
    return len(steps) > 2 and max(steps) >= 10 * min(steps) and numbers[-1] > MOST_LEVELS
