"""Drafts: they load, say what was guessed, and the road runs on them."""

from __future__ import annotations

import struct

import numpy as np
import pandas as pd
import pyreadstat
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from survey_files import write_survey

from acecausal.errors import DataError
from acecausal.estimation.estimate import estimate
from acecausal.estimation.plan import make_plan
from acecausal.survey import drafting
from acecausal.survey.checking import check
from acecausal.survey.codebook import load_codebook
from acecausal.survey.data import read_survey
from acecausal.survey.drafting import draft
from acecausal.survey.readers import read_labels
from acecausal.survey.sav_header import weight_variable
from cli import main


def survey(tmp_path, suffix: str):
    """A file with labels as an archive would give it, and columns that are none of a codebook's business."""
    rng = np.random.default_rng(0)
    n = 400
    table = pd.DataFrame(
        {
            "respid": np.arange(n) + 1.0,
            "cntry": rng.choice([276.0, 578.0], n),
            "v_sex": rng.choice([1.0, 2.0, 9.0], n, p=[0.48, 0.48, 0.04]),
            "age": rng.integers(18, 90, n).astype(float),
            "educ": rng.choice([1.0, 2.0, 3.0], n),
            "pweight": rng.uniform(0.5, 2, n),
            "q1": rng.choice([1.0, 2.0, 3.0, 4.0, 8.0], n),
            "q2": rng.choice(np.arange(11.0), n),
            "q3": rng.choice([1.0, 2.0], n),
            "q4": rng.choice([1.0, 2.0, 3.0], n),
            "minutes": rng.uniform(5, 90, n),
        }
    )
    labels = {
        "v_sex": {1: "Male", 2: "Female", 9: "Refused"},
        "educ": {1: "Primary: up to 8 years", 2: "Secondary", 3: "Tertiary # any"},
        "q1": {1: "Agree strongly", 2: "Agree", 3: "Disagree", 4: "Disagree strongly", 8: "Don't know"},
        "q2": {0: "Not at all", 10: "Completely"},
        "q3": {1: 'Yes, "always"', 2: "No"},
        "q4": {1: "Car", 2: "Train", 3: "Bicycle"},
    }
    names = {
        "cntry": "Country of interview",
        "q1": "Most people\ncan be trusted: yes or no?",
        "q2": "Trust in police",
        "q4": "How",
    }
    path = tmp_path / f"made up{suffix}"
    write = pyreadstat.write_sav if suffix == ".sav" else pyreadstat.write_dta
    write(table, path, variable_value_labels=labels, column_labels=names)
    return path


@pytest.mark.parametrize("suffix", [".sav", ".dta"])
def test_draft__of_a_labelled_file(tmp_path, suffix):
    path = survey(tmp_path, suffix)
    text = draft(path)
    (tmp_path / "book.yaml").write_text(text, encoding="utf-8")
    book = load_codebook(tmp_path / "book.yaml")
    assert (book.countries.column, book.countries.coding) == ("cntry", "iso-numeric")
    assert {name: a.column for name, a in book.attributes.items()} == {
        "gender": "v_sex",
        "age": "age",
        "education": "educ",
    }
    assert list(book.attributes["gender"].levels) == ["male", "female"]
    assert book.attributes["gender"].missing == ("9",)
    assert (book.weight.column, book.id.column) == ("pweight", "respid")
    assert {name: v.scale for name, v in book.values.items()} == {
        "q1": "ordinal", "q2": "ordinal", "q3": "binary", "q4": "nominal",
    }  # fmt: skip
    assert [o.label for o in book.values["q1"].options] == ["Agree strongly", "Agree", "Disagree", "Disagree strongly"]
    assert book.values["q1"].missing == ("8",)
    assert book.values["q1"].question == "Most people can be trusted: yes or no?"
    assert [o.label for o in book.values["q2"].options] == ["Not at all", *map(str, range(1, 10)), "Completely"]
    assert [o.label for o in book.values["q3"].options] == ['Yes, "always"', "No"]
    for line in text.splitlines():  # whatever was guessed says so
        if line.strip().startswith(("scale:", "baseline:", "weight:", "id:", "coding:")):
            assert "# guess" in line
    *left, drafted = check(path, book)
    assert [(f.severity, f.about) for f in left] == [("warning", "values q3"), ("warning", "attributes education")]
    assert (drafted.severity, drafted.about) == ("note", "attributes gender, age, education")
    assert drafted.got.startswith("Which of these describes you? ")
    read = read_survey(path, book)
    cube = estimate(read, make_plan(read, attributes=["gender"], values=["q1"]))
    assert int((cube["status"] == 0).sum()) == 2


def test_draft__of_a_shipped_codebooks_file(tmp_path):
    """An archive's file: attributes found by their labels alone, and every question of the codebook is drafted."""
    known = load_codebook("issp2014")
    path = tmp_path / "za.sav"
    write_survey(path, known, 300)
    text = draft(path)
    (tmp_path / "book.yaml").write_text(text, encoding="utf-8")
    book = load_codebook(tmp_path / "book.yaml")
    assert {"gender", "age", "education", "marital"} <= set(book.attributes)
    for name in ("gender", "marital"):
        assert book.attributes[name].column == known.attributes[name].column
    assert {v.column for v in known.values.values()} <= {v.column for v in book.values.values()}


def test_draft__without_labels_and_without_country(tmp_path):
    path = tmp_path / "plain.csv"
    pd.DataFrame({"sex": ["m", "f"] * 30, "q": [1, 2, 3] * 20, "text": [f"t{i}" for i in range(60)]}).to_csv(
        path, index=False
    )
    text = draft(path)
    (tmp_path / "book.yaml").write_text(text)
    book = load_codebook(tmp_path / "book.yaml")
    assert "countries: {only: {XXX: {label: fill in}}}" in text
    assert book.unused == {"text": "60 different texts"}
    assert list(book.values) == ["q"]
    assert list(book.attributes["gender"].levels) == ["female", "male"]


def drafted(tmp_path, table: pd.DataFrame, suffix: str = ".sav", **about):
    """Write a file of these columns beside a country and a sex, draft, and load what was drafted."""
    path = tmp_path / f"data{suffix}"
    n = len(table)
    table = table.assign(cntry=578.0, sex=1.0 + np.arange(n) % 2)
    if suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        write = pyreadstat.write_sav if suffix == ".sav" else pyreadstat.write_dta
        write(table, path, **about)
    text = draft(path)
    (tmp_path / "book.yaml").write_text(text, encoding="utf-8")
    return path, text, load_codebook(tmp_path / "book.yaml")


def answers(*codes: float, n: int = 60) -> pd.DataFrame:
    return pd.DataFrame({"q": np.resize(np.array(codes, dtype=float), n)})


ENDS = {1: "stimme gar nicht zu", 5: "stimme voll zu"}


@pytest.mark.parametrize(
    ("codes", "labels", "missing"),
    [
        (range(1, 6), ENDS | {8: "weiß nicht", 9: "keine Angabe"}, ["8", "9"]),
        ([1, 2, 3, 4, 5, 8, 9], ENDS | {8: "No sabe", 9: "No contesta"}, ["8", "9"]),
        ([1, 3, 4, 5, 8, 9], ENDS | {8: "не знаю", 9: "отказ"}, ["8", "9"]),
        ([*range(11), 77, 88, 99], {0: "a", 10: "b", 77: "refus", 88: "ne sait pas", 99: "sans"}, ["77", "88", "99"]),
        ([-9, -1, 1, 2, 3, 4], {-9: "k. A.", -1: "weiß nicht", 1: "nie", 4: "immer"}, ["-9", "-1"]),
        ([1, 2, 8], {1: "ja", 2: "nein", 8: "weiß nicht"}, ["8"]),
        ([1, 2, 3, 4, 7, 8, 9], {}, ["7", "8", "9"]),
        ([1, 2, 3, 4, 97, 98, 99], {}, ["97", "98", "99"]),
        # and where there is no gap, or none but those of every scale, or no custom of archives
        (range(1, 10), {1: "links", 9: "rechts"}, []),
        ([1, 2, 3, 4, 5, 6, 9], {1: "links", 9: "rechts"}, []),
        ([-2, -1, 1, 2], {-2: "sehr dagegen", -1: "dagegen", 1: "dafür", 2: "sehr dafür"}, []),
        ([-1, 0, 1], {}, []),
        ([1, 3, 5, 7, 9], {}, []),
        ([1, 2, 3, 10, 20], {1: "a", 2: "b", 3: "c", 10: "d", 20: "e"}, []),
        ([0, 5, 10], {0: "nie", 10: "immer"}, []),
    ],
)
def test_gap__is_the_sign_of_no_answer(tmp_path, codes, labels, missing):
    """Whatever the language; oracle: lists by hand."""
    _, text, book = drafted(tmp_path, answers(*codes), variable_value_labels={"q": labels} if labels else {})
    assert list(book.values["q"].missing) == missing
    listed = {str(code) for option in book.values["q"].options for code in option.codes}
    assert listed == {str(code) for code in {*codes, *labels}} - {*missing}
    assert not missing or "apart from the others" in next(line for line in text.splitlines() if "  missing:" in line)


def test_gap__the_effect_keeps_its_sign(tmp_path):
    """Women agree more and know less often: with 8 and 9 at the top of the scale the effect would be of the other sign.

    Oracle: the difference of means among those who answered, by hand.
    """
    rng = np.random.default_rng(0)
    sex = 1 + np.arange(2000) % 2
    table = pd.DataFrame({"q": np.clip(np.round(3 - 0.6 * (sex == 2) + rng.normal(size=2000)), 1, 5)})
    table["q"] = table["q"].mask((sex == 2) & (rng.random(2000) < 0.4), 8.0)
    path, _, book = drafted(tmp_path, table, variable_value_labels={"q": ENDS | {8: "weiß nicht"}})
    cube = estimate(read_survey(path, book), estimand="association")
    told = table["q"].where(table["q"] < 8)
    by_hand = (told[sex == 2].mean() - told[sex == 1].mean()) / 4
    assert by_hand < -0.1 < 0 < table["q"][sex == 2].mean() - table["q"][sex == 1].mean()
    assert float(cube["effect"].sel(persona="all").squeeze()) == pytest.approx(by_hand, abs=1e-9)


def test_declared__is_no_option(tmp_path):
    labels = {"q": {1: "Never", 2: "Often", 3: "Always", 5: "Complicated"}}
    path, text, book = drafted(tmp_path, answers(1, 2, 3, 5), variable_value_labels=labels, missing_ranges={"q": [5.0]})
    assert [option.label for option in book.values["q"].options] == ["Never", "Often", "Always"]
    assert "    # declared missing in the file: 5 'Complicated'" in text.splitlines()
    found = [(finding.severity, finding.about) for finding in check(path, book)]
    assert found == [
        ("warning", "values q"), ("warning", "attributes gender"), ("note", "the file"), ("note", "attributes gender"),
    ]  # fmt: skip
    table = answers(1, 2, 3).astype({"q": object})
    table.loc[::7, "q"] = "c"
    path, text, book = drafted(
        tmp_path, table, ".dta", missing_user_values={"q": ["c"]},
        variable_value_labels={"q": {1: "Never", 2: "Often", 3: "Always", "c": "Complicated"}},
    )  # fmt: skip
    assert [option.label for option in book.values["q"].options] == ["Never", "Often", "Always"]
    assert "    # declared missing in the file: .c 'Complicated'" in text.splitlines()
    assert book.values["q"].missing == ()


def test_soft_words__are_missing_at_the_ends_and_marked(tmp_path):
    labels = {"q": {1: "Agree", 2: "Not sure", 3: "Disagree", 4: "Prefer not to say"}}
    _, text, book = drafted(tmp_path, answers(1, 2, 3, 4), variable_value_labels=labels)
    assert [option.label for option in book.values["q"].options] == ["Agree", "Not sure", "Disagree"]
    assert '    missing: ["4"]  # guess: 4 Prefer not to say by the label' in text.splitlines()
    labels = {"q": {1: "Pay taxes", 2: "Refuse to pay taxes", 3: "Not sure"}}
    _, _, book = drafted(tmp_path, answers(1, 2, 3), variable_value_labels=labels)
    assert [option.label for option in book.values["q"].options] == ["Pay taxes", "Refuse to pay taxes"]


def test_measures__of_an_spss_file(tmp_path):
    """Somebody said what is ordinal: then nominal is meant too; where all is nominal SPSS said so itself."""
    table = answers(1, 2, 3).assign(party=lambda t: t.q, other=lambda t: t.q)
    labels = {name: {1: "rosso", 2: "verde", 3: "nero"} for name in ("q", "party")}
    labels["other"] = {1: "Agree", 2: "Agree a little", 3: "Disagree"}
    measures = {"q": "ordinal", "party": "nominal", "other": "nominal"}
    _, text, book = drafted(tmp_path, table, variable_value_labels=labels, variable_measure=measures)
    assert {name: value.scale for name, value in book.values.items()} == measures
    assert "    scale: ordinal  # guess: the file says so" in text
    everything = dict.fromkeys(measures, "nominal")
    _, _, book = drafted(tmp_path, table, variable_value_labels=labels, variable_measure=everything)
    assert {name: value.scale for name, value in book.values.items()} == {
        "q": "nominal", "party": "nominal", "other": "ordinal",
    }  # fmt: skip


@pytest.mark.parametrize("compress", [{}, {"row_compress": True}, {"compress": True}])
def test_weight_by__of_an_spss_file(tmp_path, compress):
    """The file's own weight, whatever it is called. Oracle: its number, written where the format's description says."""
    table = answers(1, 2, 3).assign(text="x" * 300, factor_of_design=0.5, weight_of_person=np.resize([0.705, 0.8], 60))
    path = tmp_path / "data.sav"
    labels = {"variable_value_labels": {"q": {1: "a", 2: "b", 3: "c" * 100}}, "column_labels": {"q": "A question"}}
    drafted(tmp_path, table, missing_ranges={"q": [{"lo": -9, "hi": -1}, 9.0]}, note="two lines", **labels, **compress)
    assert read_labels(path).weight == ""
    assert 'weight: {column: "weight_of_person"}' in draft(path)  # by its name
    whole = path.read_bytes()
    # q is number 1, the text takes 38 numbers of 8 bytes in two parts (255 and 45), 32 + 6
    for number, name in (
        (1, "q"),
        (2, "text"),
        (40, "factor_of_design"),
        (41, "weight_of_person"),
        (44, ""),
        (-1, ""),
    ):
        path.write_bytes(whole[:76] + struct.pack("<i", number) + whole[80:])
        assert read_labels(path).weight == name
    path.write_bytes(whole[:76] + struct.pack("<i", 40) + whole[80:])
    assert 'weight: {column: "factor_of_design"}  # guess: the file is weighted by it' in draft(path)
    for cut in (60, 150, 176, 190, 400, len(whole) // 2):  # a damaged dictionary names nothing, and raises nothing
        path.write_bytes(whole[:cut])
        assert weight_variable(path) in ("", "factor_of_design")


def test_pinned__what_stands_last(tmp_path):
    labels = {1: "Car", 2: "Train", 3: "Other", 4: "None of these", 5: "Something else", 6: "Other than by car"}
    _, text, book = drafted(tmp_path, answers(*labels), variable_value_labels={"q": labels})
    assert [option.label for option in book.values["q"].options if option.pinned] == [
        "Other", "None of these", "Something else",
    ]  # fmt: skip
    assert text.count("pinned: true") == 3


def test_names_that_stand_twice__are_left_out(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("country,sex,zz,trust,zz\n" + "NO,1,4,1,5\nNO,2,4,2,5\n" * 5)
    text = draft(path)
    assert yaml.safe_load(text)["unused"] == {"zz": "stands twice in the header"}
    assert 'column: "trust"' in text


def test_nameless_columns__are_row_numbers(tmp_path):
    """As R's write.csv and pandas' to_csv leave them, once or twice."""
    table = pd.DataFrame({"country": ["NO", "PL"] * 30, "sex": [1, 1, 2, 2] * 15, "q": [1, 2, 3] * 20})
    for header in (",country,sex,q", ",,country,sex,q"):
        lines = [f"{i},{'' if header[1] != ',' else f'{i},'}{row}" for i, row in
                 enumerate(table.to_csv(index=False).splitlines()[1:])]  # fmt: skip
        path = tmp_path / "rows.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        (tmp_path / "book.yaml").write_text(draft(path))
        assert list(load_codebook(tmp_path / "book.yaml").values) == ["q"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [({"x": [1, 2] * 9}, "nothing looks like an attribute"), ({"sex": [1, 2] * 9}, "nothing looks like a question")],
)
def test_draft__of_nothing(tmp_path, columns, said):
    path = tmp_path / "x.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    with pytest.raises(DataError, match=said):
        draft(path)


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=300))
def test_quoted__reads_back_as_it_was(text):
    """Property: quotes, colons, hashes, any script."""
    assert yaml.safe_load(f"a: {drafting._quoted(text)}  # guess") == {"a": text}


def test_command__writes_and_does_not_overwrite(tmp_path):
    path, out = survey(tmp_path, ".sav"), tmp_path / "book.yaml"
    done = CliRunner().invoke(main, ["codebooks", "new", str(path), "-o", str(out)])
    assert (done.exit_code, done.stdout) == (0, "")
    assert out.read_text(encoding="utf-8") == CliRunner().invoke(main, ["codebooks", "new", str(path)]).stdout
    again = CliRunner().invoke(main, ["codebooks", "new", str(path), "-o", str(out)])
    assert (again.exit_code, "exists already" in again.stderr) == (1, True)


def people() -> pd.DataFrame:
    row = np.arange(300)
    return pd.DataFrame({"sex": 1 + row % 2, "q1": 1 + row % 3})


def test_weight__may_hold_zeros(tmp_path):
    """People of weight 0 are outside the sample; a column of 0 and 1 is no weight, whatever it is called."""
    table = people().assign(lose_weight=np.arange(300) % 2, wt=np.where(np.arange(300) < 9, 0, 1.5))
    table["wt"] += np.arange(300) % 7 * (table["wt"] > 0)
    table.to_csv(tmp_path / "a.csv", index=False)
    assert 'weight: {column: "wt"}' in draft(tmp_path / "a.csv")


QUALTRICS = (
    *("StartDate", "EndDate", "Status", "IPAddress", "Progress", "Duration (in seconds)", "Finished", "RecordedDate"),
    *("RecipientLastName", "LocationLatitude", "DistributionChannel", "UserLanguage", "Q_RecaptchaScore"),
)


@pytest.mark.parametrize("suffix", [".csv", ".sav"])
def test_qualtrics__what_stands_beside_the_answers_is_no_question(tmp_path, suffix):
    table = people()
    table["ResponseId"] = [f"R_{i}" for i in range(len(table))]
    beside = {name: np.arange(len(table)) % 3 for name in QUALTRICS if suffix == ".csv" or name.isidentifier()}
    table = table.assign(**beside)
    path = tmp_path / f"a{suffix}"
    table.to_csv(path, index=False) if suffix == ".csv" else pyreadstat.write_sav(table, path)
    text = draft(path)
    book = yaml.safe_load(text)
    assert set(book["values"]) == {"q1"}
    assert book["id"]["column"] == "ResponseId"
    assert book["unused"] == dict.fromkeys(beside, "what Qualtrics puts beside the answers")
    # one such name alone is somebody's own column
    table = people().assign(Status=np.arange(300) % 3)
    table.to_csv(tmp_path / "b.csv", index=False)
    assert set(yaml.safe_load(draft(tmp_path / "b.csv"))["values"]) == {"q1", "status"}


def test_nested_columns__are_left_out(tmp_path):
    table = people()
    table["tags"], table["meta"] = [["a"]] * len(table), [{"x": 1}] * len(table)
    table.to_parquet(tmp_path / "a.parquet")
    text = draft(tmp_path / "a.parquet")
    assert yaml.safe_load(text)["unused"] == dict.fromkeys(("tags", "meta"), "lists or mappings")
    assert set(yaml.safe_load(text)["values"]) == {"q1"}
