"""Files against codebooks: what is planted is found, and nothing where all agrees."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyreadstat
import pytest
from click.testing import CliRunner
from survey_files import write_survey

from acecausal.checking import check
from acecausal.codebook import AttributeSpec, Codebook, ValueSpec, code_key, load_codebook, shipped_codebooks
from cli import main

BOOK = """
codebook: 1
name: small
title: A small survey
source: made up
licence: none
countries: {column: CNTRY, coding: iso-alpha2}
weight: {column: W}
id: {column: ID}
attributes:
  gender:
    column: SEX
    label: gender
    baseline: male
    missing: [9]
    levels:
      male: {codes: [1], label: men}
      female: {codes: [2], label: women}
  age:
    column: AGE
    label: age
    baseline: young
    levels:
      young: {range: [15, 39], label: under 40}
      old: {range: [40, 110], label: 40 and over}
values:
  trust:
    column: TRUST
    question: Can people be trusted?
    topic: trust
    scale: ordinal
    missing: [8]
    options:
      - {label: Disagree strongly, codes: [4]}
      - {label: Disagree, codes: [3]}
      - {label: Agree, codes: [2]}
      - {label: Agree strongly, codes: [1]}
"""
LABELS = {
    "SEX": {1: "Male", 2: "Female", 9: "No answer"},
    "TRUST": {1: "Strongly agree", 2: "Agree", 3: "Disagree", 4: "Strongly disagree", 8: "Can't choose"},
}


@pytest.fixture
def book(tmp_path) -> Codebook:
    (tmp_path / "small.yaml").write_text(BOOK)
    return load_codebook(tmp_path / "small.yaml")


def table() -> pd.DataFrame:
    n = 40
    at = np.arange(n)
    return pd.DataFrame(
        {
            "CNTRY": np.where(at < 20, "NO", "DE"),
            "SEX": np.where(at == 3, 9.0, 1.0 + at % 2),
            "AGE": 20.0 + at,
            "TRUST": np.where(at == 5, 8.0, 1.0 + at % 4),
            "W": 1.0 + at % 3,
            "ID": 1.0 + at,
        }
    )


def found(tmp_path, book, data: pd.DataFrame, labels=LABELS) -> list[tuple[str, str, str]]:
    path = tmp_path / "data.sav"
    pyreadstat.write_sav(data, path, variable_value_labels={c: m for c, m in labels.items() if c in data})
    return [(f.severity, f.column, " | ".join((f.what, f.expected, f.got, f.hint))) for f in check(path, book)]


def test_agreement__finds_nothing(tmp_path, book):
    """Labels in other words are no contradiction."""
    assert found(tmp_path, book, table()) == []
    assert found(tmp_path, book, table().rename(columns=str.lower), {}) == []


def change(column: str, old: object, new: object) -> pd.DataFrame:
    data = table()
    return data.assign(**{column: data[column].replace(old, new)})


def relabel(column: str, **labels: str) -> dict:
    return LABELS | {column: LABELS[column] | {int(code[1:]): label for code, label in labels.items()}}


PLANTED = {
    "unlisted": (change("TRUST", 4.0, 5.0), LABELS, "error", "TRUST", "does not list | 4, 3, 2, 1 | 5 (10 rows)"),
    "counts from 0": (
        table().assign(SEX=np.arange(40.0) % 2), {}, "error", "SEX", "the file counts one lower than the codebook",
    ),
    "says nothing": (
        change("TRUST", 4.0, 7.0), relabel("TRUST", _7="Refused"), "error", "TRUST", "they say nothing: list",
    ),
    "reversed": (
        table(), relabel("TRUST", _1="Strongly disagree", _2="Disagree", _3="Agree", _4="Strongly agree"),
        "error", "TRUST", "code 1 means something else in the file | 'Agree strongly' | 'Strongly disagree'",
    ),
    "swapped": (
        table(), relabel("SEX", _1="Female", _2="Male"), "error", "SEX", "code 1 means something else",
    ),
    "an option that is missing": (
        table(), relabel("TRUST", _3="Don't know"), "error", "TRUST", "code 3 is an answer in the codebook",
    ),
    "a missing code that answers": (
        table(), relabel("TRUST", _8="Neither agree nor disagree"), "warning", "TRUST", "code 8 is missing in",
    ),
    "country": (change("CNTRY", "DE", "XX"), LABELS, "error", "CNTRY", "does not know | 249 codes"),
    "age": (change("AGE", 20.0, 999.0), LABELS, "error", "AGE", "every level's range | 15-39 40-110 | 999 (1 rows)"),
    "weight": (change("W", 3.0, 0.0), LABELS, "error", "W", "zero, negative or infinite | positive numbers | 13"),
    "doubled": (change("ID", 2.0, 1.0), LABELS, "error", "ID", "respondents stand twice"),
    "absent": (table().drop(columns="TRUST"), LABELS, "error", "TRUST", "is no column of the file"),
    "never": (table().query("TRUST != 4"), LABELS, "warning", "TRUST", "codes that never occur |  | 4"),
    "empty": (table().assign(TRUST=8.0), LABELS, "warning", "TRUST", "nobody has an answer here"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_planted__is_found(name, tmp_path, book):
    data, labels, severity, column, what = PLANTED[name]
    findings = found(tmp_path, book, data, labels)
    assert any(s == severity and c == column and what in told for s, c, told in findings), findings
    assert {c for s, c, _ in findings if s == "error"} <= {column}  # and no false alarm elsewhere


def test_columns__that_stand_twice(tmp_path, book):
    path = tmp_path / "twice.csv"
    data = table()
    pd.concat([data, data[["SEX"]]], axis=1).to_csv(path, index=False)
    (finding,) = check(path, book)
    assert (finding.severity, finding.column) == ("error", "SEX")
    assert "stands twice" in finding.what


def test_other_wave__the_codebook_that_fits_is_named(tmp_path):
    path = tmp_path / "ess.sav"
    write_survey(path, load_codebook("ess9"), 60)
    first = check(path, load_codebook("wvs7"))[0]
    assert "another survey, wave or edition" in first.what
    assert "codebook ess" in first.hint


@pytest.mark.parametrize(
    "name", [n for n in shipped_codebooks() if n not in ("wvs-sample", "ess-immigration", "gss-spending")]
)
def test_shipped__a_wrong_code_is_found_and_nothing_else(name, tmp_path):
    """A file made from the codebook has no errors; then one value's code 77.5, and two labels that change places."""
    book = load_codebook(name)
    path = tmp_path / "made.sav"
    write_survey(path, book, 300)
    assert [f for f in check(path, book) if f.severity == "error"] == []
    data, about = pyreadstat.read_sav(path, user_missing=True)
    labels = about.variable_value_labels
    spec = next(v for v in book.values.values() if len(v.options) > 2 and code_key(v.options[0].codes[0]).isdigit())
    low, high = float(spec.options[0].codes[0]), float(spec.options[-1].codes[0])
    labels[spec.column] |= {low: labels[spec.column][high], high: labels[spec.column][low]}
    used = {s.column for s in (*book.attributes.values(), *book.values.values())} - {spec.column}
    other = next(v.column for v in book.values.values() if v.column in used)
    meant = ~data[other].isna()
    for column, rows in book.rows.items():
        meant &= data[column].between(*rows.range) if rows.range else data[column].isin([float(c) for c in rows.codes])
    data.loc[data.index[meant][0], other] = 77.5
    pyreadstat.write_sav(data, path, variable_value_labels=labels)
    errors = [f for f in check(path, book) if f.severity == "error"]
    assert {f.column for f in errors} == {spec.column, other}, errors
    assert any("means something else" in f.what for f in errors if f.column == spec.column)
    assert any("77.5" in f.got for f in errors if f.column == other)


def test_command__exit_codes_and_json(tmp_path, book):
    path = tmp_path / "data.sav"
    pyreadstat.write_sav(change("TRUST", 4.0, 5.0), path)
    args = ["codebooks", "check", str(path), "--codebook", str(tmp_path / "small.yaml")]
    done = CliRunner().invoke(main, args)
    assert done.exit_code == 1
    assert "error: column TRUST (value trust): codes that the codebook does not list" in done.stdout
    assert "1 errors, 1 warnings" in done.stderr
    told = json.loads(CliRunner().invoke(main, [*args, "--json"]).stdout)
    assert told[0]["column"] == "TRUST"
    pyreadstat.write_sav(table(), path)
    assert CliRunner().invoke(main, args).exit_code == 0


def test_command__list_and_show():
    listed = CliRunner().invoke(main, ["codebooks", "list"]).stdout
    assert all(name in listed for name in shipped_codebooks())
    book = load_codebook("wvs7")
    shown = CliRunner().invoke(main, ["codebooks", "show", "wvs7"]).stdout
    for spec in (*book.attributes.values(), *book.values.values()):
        assert isinstance(spec, AttributeSpec | ValueSpec)
        assert f"[{spec.column}]" in shown
    as_json = CliRunner().invoke(main, ["codebooks", "show", "wvs7", "--json"]).stdout
    assert Codebook.model_validate_json(as_json) == book
    wrong = CliRunner().invoke(main, ["codebooks", "show", "wvs8"])
    assert (wrong.exit_code, "did you mean 'wvs7'" in wrong.stderr) == (1, True)
