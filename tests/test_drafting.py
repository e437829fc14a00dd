"""Drafts: they load, say what was guessed, and the road runs on them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyreadstat
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from survey_files import write_survey

from acecausal import drafting
from acecausal.checking import check
from acecausal.codebook import load_codebook
from acecausal.drafting import draft
from acecausal.errors import DataError
from acecausal.estimation import estimate
from acecausal.plan import make_plan
from acecausal.survey import read_survey
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
    assert check(path, book) == []
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
    assert "fill in: no column looks like the country" in text
    assert list(book.values) == ["q"]
    assert list(book.attributes["gender"].levels) == ["f", "m"]


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
