"""Drafts that once estimated something false without a word: each was found by somebody who tried to mislead them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from acecausal.errors import DataError
from acecausal.plain_yaml import read_yaml
from acecausal.survey.codebook import Codebook
from acecausal.survey.data import read_survey
from acecausal.survey.drafting import draft

RNG = np.random.default_rng(0)
N = 400
ANSWER, URBAN = RNG.integers(1, 6, N), RNG.integers(0, 2, N)
INCOME = RNG.lognormal(0, 0.5, N)


def drafted(tmp_path, columns: dict, labels: dict | None = None) -> dict:
    """Draft a codebook of a file of these columns; with labels of variables it is Stata's."""
    table = pd.DataFrame({"q": ANSWER, "urban": URBAN, **columns})
    path = tmp_path / ("a.dta" if labels else "a.csv")
    if labels:
        table.to_stata(path, write_index=False, variable_labels=labels)
    else:
        table.to_csv(path, index=False)
    return read_yaml(draft(path), "draft")


@pytest.mark.parametrize(
    ("name", "label", "codes"),
    [
        ("male", "1=male, 0=female", {"male": "1", "female": "0"}),
        ("gender", "Gender (0 female, 1 male)", {"male": "1", "female": "0"}),
        ("gender", "Gender: 0 = male 1 = female", {"male": "0", "female": "1"}),
        ("gender", "Gender (male=1, female=0)", {"male": "1", "female": "0"}),
        ("sex", "Sex: Female = 0, Male = 1", {"male": "1", "female": "0"}),
        ("sex", "Sex, woman 1", {"male": "0", "female": "1"}),
        ("female", "Female (1=yes, 0=no)", {"male": "0", "female": "1"}),
        ("male", "Male dummy (1 = male)", {"male": "1", "female": "0"}),
        ("female", "sex", {"male": "0", "female": "1"}),
        ("male", "sex", {"male": "1", "female": "0"}),
        ("gender", "male or female", {"0": "0", "1": "1"}),
    ],
)
def test_gender__is_not_turned_round(tmp_path, name, label, codes):
    found = drafted(tmp_path, {name: RNG.integers(0, 2, N)}, {name: label})["attributes"]["gender"]["levels"]
    told = {level: spec["codes"][0] for level, spec in found.items()}
    assert told == codes


@pytest.mark.parametrize(
    "words",
    [
        ("Very dissatisfied", "Slightly dissatisfied", "Fairly satisfied", "Extremely satisfied"),
        ("Very unsafe", "Not very safe", "Fairly safe", "Extremely safe"),
        ("Very bad", "Somewhat good", "Extremely good"),
    ],
)
def test_scales__that_change_their_pole_are_not_put_in_order(tmp_path, words):
    value = drafted(tmp_path, {"opinion": np.array(words)[RNG.integers(0, len(words), N)]})["values"]["opinion"]
    assert value["scale"] != "ordinal"


def test_texts__that_are_no_answers(tmp_path):
    words = np.array(["Never", "Sometimes", "Always", "Don't know", "Refused"])[RNG.integers(0, 5, N)]
    gender = np.array(["Male", "Female", "Prefer not to say"])[RNG.integers(0, 3, N)]
    book = drafted(tmp_path, {"how_often": words, "gender": gender})
    assert [o["label"] for o in book["values"]["how_often"]["options"]] == ["Never", "Sometimes", "Always"]
    assert list(book["attributes"]["gender"]["levels"]) == ["female", "male"]


def test_minus_one__before_a_scale_from_nought_is_no_answer(tmp_path):
    value = drafted(tmp_path, {"lr": RNG.integers(-1, 11, N)})["values"]["lr"]
    assert "-1" in value["missing"]
    assert not any("-1" in option["codes"] for option in value["options"])


def test_ages__that_are_codes(tmp_path):
    age = np.where(RNG.random(N) < 0.15, 99, RNG.integers(18, 86, N))
    assert drafted(tmp_path, {"age": age})["attributes"]["age"]["missing"] == ["99"]
    old = RNG.integers(18, 100, N)
    assert "missing" not in drafted(tmp_path, {"age": old})["attributes"]["age"]


@pytest.mark.parametrize("name", ["agegroup", "age"])
def test_ages__that_are_none(tmp_path, name):
    codes = RNG.integers(1, 7, N) if name == "agegroup" else RNG.integers(1930, 2005, N)
    book = drafted(tmp_path, {name: codes})
    assert "range" not in str(book.get("attributes", {}).get("age", ""))


@pytest.mark.parametrize(
    "columns",
    [
        {"weight": RNG.normal(75, 12, N).round(1)},
        {"wt": RNG.normal(75, 12, N).round(1), "ht": RNG.normal(170, 9, N).round(1)},
        {"relative_income": INCOME / INCOME.mean()},
        {"trust_weighted": RNG.uniform(0.1, 5, N)},
    ],
    ids=["kilograms", "wt and ht", "income", "score"],
)
def test_weights__that_are_none(tmp_path, columns):
    assert "weight" not in drafted(tmp_path, columns)


def test_weights__that_are_some(tmp_path):
    for name in ("weight", "pspwght", "w"):
        weight = RNG.lognormal(0, 0.5, N)
        assert drafted(tmp_path, {name: weight / weight.mean()})["weight"]["column"] == name


def test_names__that_only_hold_a_role(tmp_path):
    columns = {
        "gender_roles": RNG.integers(1, 6, N), "gender": np.array(["m", "f"])[RNG.integers(0, 2, N)],
        "country_direction": RNG.integers(1, 5, N), "strategy": RNG.integers(1, 5, N), "cluster": RNG.integers(1, 5, N),
        "educ": RNG.integers(1, 15, N), "interviewer": RNG.integers(1, 8, N),
    }  # fmt: skip
    book = drafted(tmp_path, columns)
    assert book["attributes"]["gender"]["column"] == "gender"
    assert "only" in book["countries"]
    assert not {"psu", "stratum"} & set(book)
    assert "range" not in str(book["attributes"]["education"])
    assert "interviewer" in book["unused"]


def test_households__of_eight_are_people(tmp_path):
    size = RNG.integers(1, 6, N)
    size[:8] = 8
    assert "missing" not in drafted(tmp_path, {"hhsize": size})["covariates"]["hhsize"]


def test_read_survey__of_what_is_no_survey():
    for data in (None, 5, [], [pd.DataFrame()], pd.Series([1])):
        with pytest.raises(DataError, match="are no survey files"):
            read_survey(data, "wvs-sample")
    with pytest.raises(DataError, match="is no codebook"):
        read_survey(pd.DataFrame(), None)
    with pytest.raises(DataError, match="unknown name"):
        read_survey(pd.DataFrame({0: [1], "x": [2]}), "wvs-sample")


def test_none__is_an_answer_among_words_and_an_empty_cell_among_numbers(tmp_path):
    """Freq, None and Some became Freq and Some; 1, 2 and Python's None are 1 and 2. NA is empty, and that is said."""
    often = RNG.choice(["Freq", "None", "Some"], N)
    children = np.where(RNG.random(N) < 0.1, "None", ANSWER.astype(str))
    country = RNG.choice(["NA", "KE", "NG"], N)
    book = drafted(tmp_path, {"exercise": often, "trust": children, "nation": country})
    told = {name: [option["codes"][0] for option in value["options"]] for name, value in book["values"].items()}
    assert told["exercise"] == ["Freq", "None", "Some"]
    assert told["trust"] == list("12345")
    assert f"NA in {sum(country == 'NA')} rows counts as empty, unless it is listed" in draft(tmp_path / "a.csv")


def test_none__that_the_codebook_does_not_list_is_no_silent_gap(tmp_path):
    path = tmp_path / "a.csv"
    pd.DataFrame({"q": RNG.choice(["Freq", "None", "Some"], N), "sex": URBAN}).to_csv(path, index=False)
    book = read_yaml(
        """
codebook: 1
name: a
title: a
source: a
licence: MIT
countries: {only: {GBR: {label: Great Britain}}}
attributes:
  sex: {column: sex, label: sex, baseline: man, levels: {man: {codes: [0], label: man, phrase: a man},
        woman: {codes: [1], label: woman, phrase: a woman}}}
values:
  q: {column: q, question: "How often?", topic: all, scale: binary,
      options: [{label: Some, codes: [Some]}, {label: Often, codes: [Freq]}]}
""",
        "a book",
    )
    with pytest.raises(DataError, match="codes that the codebook does not list") as caught:
        read_survey(path, Codebook.model_validate(book))
    assert "'None'" in str(caught.value)


def test_ages_with_months__are_all_in_a_band(tmp_path):
    """17.917 years are under 18: bands that ended at 17.9 left such people out, which the check then said."""
    ages = np.round(RNG.uniform(18, 80, N), 3)
    ages[:3] = 29.917, 29.999, 49.95
    levels = drafted(tmp_path, {"age": ages})["attributes"]["age"]["levels"]
    ranges = np.array([level["range"] for level in levels.values()])
    assert ((ages[:, None] >= ranges[:, 0]) & (ages[:, None] <= ranges[:, 1])).sum(axis=1).tolist() == [1] * N


def test_codes_that_several_questions_have__may_mean_something_else(tmp_path):
    """Party, coded 0 to 2 as attitudes are, got the attitudes' words once these were filled in; SA is no place."""
    answers = {name: RNG.integers(0, 3, N) for name in ("health", "party_id")}
    book = drafted(
        tmp_path, {**answers, "region": RNG.choice(["SA", "N", "Lima"], N), "sex": RNG.choice(["M", "F"], N)}
    )
    text = draft(tmp_path / "a.csv")
    assert "options: *scale_1  # guess: the codes say the same; else a list of its own" in text
    phrases = {name: level["phrase"] for name, level in book["attributes"]["region"]["levels"].items()}
    assert phrases == {"sa": "region: SA", "n": "region: N", "lima": "living in Lima"}
    assert [level["label"] for level in book["attributes"]["gender"]["levels"].values()] == ["female", "male"]
