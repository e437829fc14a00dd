"""Cells of a column: codes, numbers, dates that are neither, and numbers far off all others."""

from __future__ import annotations

from datetime import date, time, timedelta

import numpy as np
import pandas as pd
import pyreadstat
import pytest
from mini_survey import BOOK, book, table

from acecausal.errors import DataError
from acecausal.survey.cells import FAR_OFF, far_off
from acecausal.survey.checking import check
from acecausal.survey.codebook import Codebook
from acecausal.survey.data import from_table, read_survey


def test_positions__by_hand():
    survey = from_table(table(), BOOK)
    assert survey.country.tolist() == [0, 0, 1, 1]
    assert survey.attributes["sex"].tolist() == [0, 1, 1, -1]
    assert survey.attributes["age"].tolist() == [0, 1, -1, 0]
    assert survey.values["trust"].tolist() == [2, 0, -1, 1]  # options are in order of meaning, not of codes
    np.testing.assert_array_equal(survey.covariates["income"], [1.5, np.nan, np.nan, 2.0])
    assert survey.weight.tolist() == [0.5, 2.0, 1.0, 1.0]
    assert len(set(survey.stratum.tolist())) == 3
    assert survey.lost == {
        "attribute sex missing": 1,
        "attribute age missing": 1,
        "value trust missing": 1,
        "covariate income missing": 2,
    }


DAYS = pd.to_datetime(["2020-01-31", "2021-02-28", None, "2020-01-31"])


#: The column, whose role is to hold country, level by code, level by range, option, covariate, weight.
ROLES = {"c": "country", "s": "attribute sex", "a": "column a", "t": "value trust", "i": "column i", "w": "weight"}


@pytest.mark.parametrize("suffix", ["parquet", "dta", "sav"])
@pytest.mark.parametrize("column", ROLES)
def test_dates__one_clear_error(tmp_path, suffix, column):
    data = table(**{column: DAYS})
    path = tmp_path / f"data.{suffix}"
    write = {"parquet": data.to_parquet, "dta": lambda p: pyreadstat.write_dta(data, p)}
    write.get(suffix, lambda p: pyreadstat.write_sav(data, p))(path)
    with pytest.raises(DataError, match=f"{ROLES[column]}.*: holds dates or times") as caught:
        read_survey(path, BOOK)
    assert "2020-01-31" in str(caught.value)


@pytest.mark.parametrize("cell", [date(2020, 1, 31), time(12, 30), timedelta(days=3), np.timedelta64(3, "D")])
def test_dates__of_every_kind(cell):
    with pytest.raises(DataError, match="holds dates or times"):
        from_table(table(t=pd.Series([cell, 1, 2, 3], dtype=object)), BOOK)


def test_missing_below__numbers_only():
    book = Codebook.model_validate(BOOK.model_dump() | {"missing": [], "missing_below": 0})
    data = table(s=[0, 1, -2, -1], i=[1.5, -999, -1, 2.0], t=[1, -4, "9", 2.0])
    survey = from_table(data, book)
    assert survey.attributes["sex"].tolist() == [0, 1, -1, -1]
    assert survey.values["trust"].tolist() == [2, -1, -1, 1]
    np.testing.assert_array_equal(survey.covariates["income"], [1.5, np.nan, np.nan, 2.0])


def test_country_codes__text_with_zeros_and_floats():
    raw = BOOK.model_dump() | {"countries": {"column": "c", "coding": "iso-numeric"}}
    book = Codebook.model_validate(raw | dict.fromkeys(("weight", "stratum")))
    survey = from_table(table(c=["008", "8", 32.0, 578]), book)
    assert [survey.country_names[i] for i in survey.country] == ["ALB", "ALB", "ARG", "NOR"]


def test_positions__more_levels_and_codes_than_narrow_integers_hold():
    """300 levels, 40,000 PSUs: every one its own; and what is calculated from positions does not wrap around."""
    raw = book(psu="p").model_dump()
    levels = {f"l{k}": {"codes": [k], "label": f"level {k}"} for k in range(300)}
    raw["attributes"] = {"sex": {"column": "s", "label": "s", "baseline": "l0", "levels": levels}}
    rows = np.arange(40_000)
    survey = from_table(pd.DataFrame({"c": "NA", "s": rows % 300, "t": 1, "p": rows}), Codebook.model_validate(raw))
    np.testing.assert_array_equal(survey.attributes["sex"], rows % 300)
    np.testing.assert_array_equal(survey.attributes["sex"] * 300 + 299, rows % 300 * 300 + 299)
    assert len(set(survey.psu.tolist())) == len(rows)


def test_numbers__hints_that_name_the_way_out():
    for cells, role, hint in (
        (["1,08", "0,5", 1, 1], "w", "decimal commas: write points"),
        (["1.200,5", 1, 1, 1], "w", "without units or separators"),
        (["90+", 20, 30, 40], "a", "as 90 for '90+'"),
        (["old", 20, 30, 40], "a", "list them under missing, if they say nothing"),
    ):
        with pytest.raises(DataError) as caught:
            from_table(table(**{role: cells}), BOOK)
        assert hint in str(caught.value).rpartition("hint: ")[2]


def test_codes__hints_that_name_the_way_out():
    raw = BOOK.model_dump() | {"countries": {"column": "c", "coding": "iso-alpha2"}}
    raw |= dict.fromkeys(("weight", "stratum"))
    with pytest.raises(DataError) as caught:
        from_table(table(c=["UK", "XK", "NO", "EL"]), Codebook.model_validate(raw))
    assert "UK is the United Kingdom" in str(caught.value)
    assert "XK is Kosovo" in str(caught.value)
    assert len(str(caught.value)) < 600
    for text, hint in (
        ("01", "'01' is another text than '1': list it as it is written, in quotes"),
        ("x", "list them"),
    ):
        with pytest.raises(DataError, match=hint):
            from_table(table(t=[text, 3, 9, 2]), BOOK)


def test_truth_values__are_codes():
    raw = BOOK.model_dump()
    raw["values"]["trust"]["options"] = [{"label": "no", "codes": [False]}, {"label": "yes", "codes": [True]}]
    survey = from_table(table(t=[True, False, True, True]), Codebook.model_validate(raw))
    assert survey.values["trust"].tolist() == [1, 0, 1, 1]


@pytest.mark.parametrize("code", [999, 9999, 99999999, -99999])
@pytest.mark.parametrize("rows", [1, 5, 75])
def test_far_off__undeclared_codes_among_numbers(code, rows):
    """Ages with a code that says nothing, of few people or many: found. Ages alone: nothing."""
    ages = np.random.default_rng(0).integers(18, 95, 1500).astype(float)
    assert not len(far_off(ages))
    ages[:rows] = code
    assert far_off(ages).tolist() == [code]
    ages[-2:] = [np.nan, code - 1]
    assert sorted(far_off(ages)) == [code - 1, code]


@pytest.mark.parametrize(("spread", "most"), [(0.5, 0.0), (1.0, 0.005), (1.5, 0.03)])
def test_far_off__hardly_ever_of_incomes(spread, most):
    """Lognormal numbers have long tails, but hardly ever a gap of five times: in so many of 1,000 samples anybody is
    named at most, and two in one of 500. (Of 3,000 samples anybody in .000, .001 and .015, two in none.)"""
    drawn = (np.exp(np.random.default_rng(seed).normal(10, spread, 1500)) for seed in range(1000))
    named = np.array([len(far_off(numbers)) for numbers in drawn])
    assert (named > 0).mean() <= most
    assert (named > 1).mean() <= 0.002


def test_far_off__counts_and_shares_have_no_gap():
    assert not len(far_off(np.array([])))
    assert not len(far_off(np.full(10, np.nan)))
    assert not len(far_off(np.repeat([0.0, 1.0], [990, 10])))  # a rare 1 is no oddity
    assert not len(far_off(np.full(10, 3.0)))


def test_far_off__is_said():
    rows = {"c": ["NA"] * 10, "w": [1] * 10, "h": [1] * 10, "s": [0, 1] * 5, "a": [20, 50] * 5, "t": [1, 2] * 5}
    table = pd.DataFrame(rows | {"i": [10, 20, 30, 40, 50, 60, 70, 80, 90, 99999999]})
    noted = from_table(table, BOOK).noted
    assert noted == noted | {f"income is 99999999, {FAR_OFF}": 1}


def test_far_off__check_warns(tmp_path):
    rows = {"c": ["NA"] * 10, "w": [1] * 10, "h": [1] * 10, "s": [0, 1] * 5, "a": [20, 50] * 5, "t": [1, 2] * 5}
    numbers = [10, 20, 30, 40, 50, 60, 70, 80, 90]
    for name, last, said in (("odd", 99999999, 1), ("even", 100, 0)):
        pd.DataFrame(rows | {"i": [*numbers, last]}).to_csv(tmp_path / f"{name}.csv", index=False)
        found = [finding for finding in check(tmp_path / f"{name}.csv", BOOK) if finding.column == "i"]
        assert [(finding.severity, finding.got) for finding in found] == [("warning", "99999999 (1 rows)")] * said
