"""Files against codebooks: what is planted is found, and nothing where all agrees."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pandas as pd
import pyreadstat
import pytest
from click.testing import CliRunner
from survey_files import write_survey

from acecausal.cube.files import open_cube
from acecausal.errors import DataError
from acecausal.survey.checking import check, compare_labels
from acecausal.survey.codebook import Codebook, load_codebook, shipped_codebooks
from acecausal.survey.codes import code_key
from acecausal.survey.copies import COPIES
from acecausal.survey.data import read_survey
from acecausal.survey.specs import AttributeSpec, ValueSpec
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
    ask: {question: "Are you?", answers: {female: A woman, male: A man}}
    levels:
      male: {codes: [1], label: men, phrase: a man}
      female: {codes: [2], label: women, phrase: a woman}
  age:
    column: AGE
    label: age
    baseline: young
    ask: {question: "How old are you?"}
    levels:
      young: {range: [15, 39], label: under 40, phrase: under 40}
      old: {range: [40, 110], label: 40 and over, phrase: 40 or older}
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


@pytest.mark.parametrize(
    ("part", "column", "cells", "about", "what"),
    [
        ({"stratum": {"column": "G"}}, "G", [1, None], "stratum", "is missing"),
        ({"psu": {"column": "G"}}, "G", [None, 1], "psu", "is missing"),
        ({"weight": {"column": "G", "absent_in": ["SWE"]}}, "G", [1, -1], "weight", "missing or negative"),
        ({"weight": {"column": "G", "absent_in": ["SWE"]}}, "G", [1, None], "weight", "missing or negative"),
        ({"fpc": {"column": "G"}}, "G", [0, 5], "fpc", ""),
    ],
)
def test_what_estimate_stops_at_is_found(tmp_path, book, part, column, cells, about, what):
    """Oracle: `read_survey` itself, which stops at each of them."""
    book = Codebook.model_validate(book.model_dump() | part)
    data = table().assign(**{column: np.tile(np.array(cells, dtype=float), 20)})
    told = found(tmp_path, book, data)
    assert [(severity, name) for severity, name, _ in told] == [("error", column)]
    assert what in told[0][2]
    with pytest.raises(DataError, match=rf"column {column} \({about}"):
        read_survey(tmp_path / "data.sav", book)


@pytest.mark.parametrize(
    ("word", "hint"),
    [("1,5", "decimal commas"), ("n/a", "write a number in every row"), ("1_000", "separators of thousands")],
)
def test_weights__that_are_no_numbers_are_named(tmp_path, book, word, hint):
    """The finding is what `read_survey` says; an empty cell, once the hint, is no weight either."""
    book = Codebook.model_validate(book.model_dump() | {"weight": {"column": "W"}})
    table().assign(W=[word, *["1.5"] * 39]).to_csv(tmp_path / "a.csv", index=False)
    (finding,) = [f for f in check(tmp_path / "a.csv", book) if f.column == "W"]
    with pytest.raises(DataError, match=hint) as caught:
        read_survey(tmp_path / "a.csv", book)
    assert (finding.what, finding.got, finding.hint) == (caught.value.message, repr(word), caught.value.hint)


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
    "an age that says nothing": (
        change("AGE", 20.0, 99.0), LABELS | {"AGE": {99: "Don't know"}}, "error", "AGE",
        "numbers in the codebook that say nothing in the file |  | 99 \"Don't know\" | list them under missing",
    ),
    "weight": (change("W", 3.0, -1.0), LABELS, "error", "W", "missing, negative or infinite | positive numbers, or 0"),
    "doubled": (change("ID", 2.0, 1.0), LABELS, "error", "ID", "respondents stand twice"),
    "absent": (table().drop(columns="TRUST"), LABELS, "error", "TRUST", "is no column of the file"),
    "a soft word": (
        table(), relabel("TRUST", _4="Not sure"), "warning", "TRUST", "code 4 is an answer in the codebook",
    ),
    "country label": (
        table().assign(CNTRY=lambda t: t.CNTRY.map({"NO": "DE", "DE": "NO"})),
        LABELS | {"CNTRY": {"DE": "Norway", "NO": "Germany"}}, "error", "CNTRY", "means something else in the file",
    ),
    "text among ages": (
        table().astype({"AGE": int}).astype({"AGE": str}).replace({"AGE": {"20": "90+"}}),
        LABELS, "error", "AGE", "write numbers, as 90 for '90+'",
    ),
    "waves": (
        pd.concat([table(), table().assign(TRUST=lambda t: 5 - t.TRUST.clip(upper=4))]), LABELS, "error", "ID",
        "respondents stand twice |  | 40 rows too many | the rows differ, so they are no copies",
    ),
    "never": (table().query("TRUST != 4"), LABELS, "warning", "TRUST", "codes that never occur |  | 4"),
    "empty": (table().assign(TRUST=8.0), LABELS, "warning", "TRUST", "nobody has an answer here"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_planted__is_found(name, tmp_path, book):
    data, labels, severity, column, what = PLANTED[name]
    findings = found(tmp_path, book, data, labels)
    assert any(s == severity and c == column and what in told for s, c, told in findings), findings
    assert {c for s, c, _ in findings if s == "error"} <= {column}  # and no false alarm elsewhere


def declared(tmp_path, book, labels=LABELS, scale: str = "ordinal", **ranges) -> list[tuple[str, str, str]]:
    path = tmp_path / "declared.sav"
    pyreadstat.write_sav(table(), path, variable_value_labels=labels, missing_ranges=ranges)
    raw = book.model_dump()
    raw["values"]["trust"]["scale"] = scale
    found = check(path, Codebook.model_validate(raw))
    return [(f.severity, f.column, " | ".join((f.what, f.expected, f.got, f.hint))) for f in found]


def test_declared_missing__and_listed(tmp_path, book):
    """What the file takes for no answer, and the codebook for one: codes and ranges, of options and levels."""
    ((severity, column, told), (noted, _, shown)) = declared(tmp_path, book, TRUST=[4.0])
    assert (severity, column) == ("error", "TRUST")
    assert "code 4 is listed in the codebook, and declared missing in the file | 'Disagree strongly'" in told
    assert (noted, "4 'Strongly disagree' in TRUST" in shown) == ("note", True)
    found = declared(tmp_path, book, TRUST=[{"lo": 3.5, "hi": 9.0}], scale="nominal")
    assert [(severity, column) for severity, column, _ in found] == [("warning", "TRUST"), ("note", "")]
    assert "3.5 to 9, 4 'Strongly disagree', 8 \"Can't choose\" in TRUST" in found[1][2]
    found = declared(tmp_path, book, {}, SEX=[2.0])
    assert ("warning", "SEX") in [(severity, column) for severity, column, _ in found]
    # what the codebook does not list is only told
    assert [severity for severity, _, _ in declared(tmp_path, book, TRUST=[8.0], SEX=[9.0])] == ["note", "note"]


def test_declared_missing__in_stata(tmp_path, book):
    path = tmp_path / "tags.dta"
    data = table().astype({"TRUST": object})
    data.loc[3, "TRUST"] = "d"
    labels = {"TRUST": {1: "Strongly agree", "d": "Don't know"}}
    pyreadstat.write_dta(data, path, missing_user_values={"TRUST": ["d"]}, variable_value_labels=labels)
    assert [(f.severity, f.got) for f in check(path, book)] == [("note", '.d "Don\'t know" in TRUST')]
    raw = book.model_dump()
    raw["values"]["trust"]["options"][0]["codes"] = [4, ".d"]
    told = compare_labels(path, Codebook.model_validate(raw), differ="ok")
    assert [".d is listed in the codebook, and declared missing" in text for text in told] == [True]


@pytest.fixture
def two_files(tmp_path):
    """Two countries' files; in the second the answers run the other way, and so do their labels."""
    paths = [str(tmp_path / "one.dta"), str(tmp_path / "two.dta")]
    rng = np.random.default_rng(0)
    for path, turned in zip(paths, (False, True), strict=True):
        data = pd.concat([table()] * 10).assign(ID=np.arange(400.0) + 1000 * turned)
        data["TRUST"] = rng.integers(1, 5, 400).astype(float)
        labels = [LABELS["TRUST"][code] for code in (1, 2, 3, 4)]
        labels = dict(zip((1, 2, 3, 4), reversed(labels) if turned else labels, strict=True))
        pyreadstat.write_dta(data, path, variable_value_labels={"SEX": LABELS["SEX"], "TRUST": labels})
    return paths


def test_compare_labels__each_file_by_itself(two_files, book):
    assert compare_labels(two_files[0], book) == []
    with pytest.raises(DataError, match="labels that contradict the codebook") as caught:
        compare_labels(two_files, book)
    assert caught.value.param == two_files[1]
    told = compare_labels(two_files, book, differ="ok")
    assert len(told) == 4
    assert all(text.startswith(f"{two_files[1]}, column TRUST (value trust): code ") for text in told)
    assert compare_labels([*two_files, "no.csv"], book.only(["trust"]), differ="ok") == told  # has no labels


@pytest.mark.slow
def test_estimate__stops_at_labels_and_records_what_was_overridden(two_files, book, tmp_path):
    args = ["estimate", *two_files, "--codebook", str(tmp_path / "small.yaml"), "--attributes", "gender"]
    out = tmp_path / "out.nc"
    stopped = CliRunner().invoke(main, [*args, "-o", str(out)])
    assert (stopped.exit_code, out.exists()) == (1, False)
    assert stopped.stderr.count("means something else in the file") == 4
    assert "--labels-differ ok" in stopped.stderr
    assert CliRunner().invoke(main, [*args, "--dry-run"]).exit_code == 1
    done = CliRunner().invoke(main, [*args, "-o", str(out), "--labels-differ", "ok"])
    assert done.exit_code == 0, done.output
    assert done.stderr.count("warning: ") == 4
    with open_cube(out) as cube:
        assert json.loads(cube.attrs["labels_differ"]) == compare_labels(two_files, book, differ="ok")
    args[1:3] = two_files[:1]
    assert CliRunner().invoke(main, [*args, "-o", str(tmp_path / "one.nc")]).exit_code == 0
    with open_cube(tmp_path / "one.nc") as cube:
        assert cube.attrs["labels_differ"] == "[]"


def test_estimate__warns_of_copies(tmp_path):
    rng = np.random.default_rng(0)
    asked = {f"q{i}": rng.integers(1, 3, 400) for i in range(30)}
    data = pd.DataFrame({"CNTRY": "NO", "SEX": rng.integers(1, 3, 400), **asked})
    text = BOOK.replace("weight: {column: W}\nid: {column: ID}\n", "")
    text = text[: text.index("  age:")] + "values:\n" + "".join(
        f"  {name}: {{column: {name}, question: Q, topic: t, scale: binary, options: [{{label: a, codes: [1]}}, "
        "{label: b, codes: [2]}]}\n" for name in asked
    )  # fmt: skip
    (tmp_path / "many.yaml").write_text(text)
    path, out = tmp_path / "a.csv", tmp_path / "out.nc"
    pd.concat([data, data.iloc[:20]]).to_csv(path, index=False)
    (finding,) = check(path, load_codebook(tmp_path / "many.yaml"))
    assert (finding.severity, finding.what, finding.got) == ("warning", COPIES, "20 rows")
    args = ["estimate", str(path), "--codebook", str(tmp_path / "many.yaml"), "--values", "q0,q1", "-o", str(out)]
    assert COPIES not in CliRunner().invoke(main, args).stderr  # of three columns equal rows are natural
    many = [*args[:4], "--depth", "1", "-o", str(tmp_path / "many.nc")]
    assert f"warning: {COPIES} 20" in CliRunner().invoke(main, many).stderr


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


def test_files__that_contradict_each_other_in_a_language_the_codebook_does_not_speak(tmp_path):
    """Codes that have changed places between two files are found whatever the codebook's words are."""

    book = write_book(tmp_path, {1: "Nie", 2: "Selten", 3: "Immer"})
    table = pd.DataFrame({"cntry": [1.0, 1, 1, 1], "sex": [1.0, 2, 1, 2], "q1": [1.0, 2, 3, 3]})
    for name, labels in (
        ("a", {1: "Never", 2: "Rarely", 3: "Always"}),
        ("b", {1: "Always", 2: "Rarely", 3: "Never"}),
        ("c", {1: "never", 2: "Rarely ", 3: "Always"}),
    ):
        pyreadstat.write_sav(table, str(tmp_path / f"{name}.sav"), variable_value_labels={"q1": labels})
    with pytest.raises(DataError, match="have changed places between files"):
        compare_labels([tmp_path / "a.sav", tmp_path / "b.sav"], book)
    assert any("changed places" in finding.what for finding in check([tmp_path / "a.sav", tmp_path / "b.sav"], book))
    assert compare_labels([tmp_path / "a.sav", tmp_path / "c.sav"], book) == []


def write_book(folder, options):
    """A codebook of one attribute and one value with these options."""
    path = folder / "small.yaml"
    listed = "".join(f"      - {{label: {label}, codes: [{code}]}}\n" for code, label in options.items())
    path.write_text(
        "codebook: 1\nname: t\ntitle: T\nsource: s\nlicence: l\ncountries:\n  column: cntry\n  levels:\n"
        "    NOR: {codes: [1], label: Norway}\nattributes:\n  gender:\n    column: sex\n    label: gender\n"
        "    baseline: male\n    levels:\n      male: {codes: [1], label: men, phrase: a man}\n"
        "      female: {codes: [2], label: women, phrase: a woman}\n"
        "values:\n  q:\n    column: q1\n    topic: t\n    scale: ordinal\n    question: How often?\n    options:\n"
        + listed
    )
    return load_codebook(path)


def test_unfilled__drafts_are_warned_of(tmp_path):
    """What a draft leaves open, found; filled in, nothing is left."""
    path = tmp_path / "a b.csv"
    rng = np.random.default_rng(0)
    pd.DataFrame(
        {"sex": rng.choice(["m", "f"], 90), "degree": rng.choice(["x", "y"], 90), "q_1": rng.integers(1, 5, 90)}
    ).to_csv(path, index=False)
    out = tmp_path / "b.yaml"
    done = CliRunner().invoke(main, ["codebooks", "new", str(path), "-o", str(out)])
    command = done.stderr.splitlines()[-1].split()
    assert command[:3] == ["acecausal", "codebooks", "check"]
    done = CliRunner().invoke(main, shlex.split(done.stderr.splitlines()[-1])[1:])  # what it says to type next works
    assert done.exit_code == 0
    warned = [line for line in done.stdout.splitlines() if line.startswith("warning")]
    assert [line.partition(": ")[2] for line in warned] == [
        "(country XXX): is not filled in",
        "(values q_1): questions that are names of columns",
        "(values q_1): options that are bare numbers",
        "(attributes education): phrases that say nothing in a sentence",
    ]
    prompt = done.stdout.partition("as a model would get it:")[2]
    assert "Country: fill in\nQuestion: q_1\n- 1\n- 2\n- 3\n- 4\nPerson: a man, education: y\n" in prompt
    text = out.read_text()
    for old, new in (
        ("XXX: {label: fill in}", "NOR: {label: Norway}"), ('question: "q_1"', "question: Do you?"),
        ('label: "1"', "label: no"),
        ('label: "4"', "label: yes"), ("education: x", "without a degree"), ("education: y", "with a degree"),
    ):  # fmt: skip
        text = text.replace(old, new)
    out.write_text(text)
    assert [finding.severity for finding in check(path, load_codebook(out))] == ["note"]
    done = CliRunner().invoke(main, ["codebooks", "check", str(path), "--codebook", str(out)])
    said = done.stderr.splitlines()[-1].strip()
    assert CliRunner().invoke(main, [*shlex.split(said)[1:], "--dry-run"]).exit_code == 0


def test_subset__says_which_values_are_there(tmp_path):
    """A file with few of a codebook's questions: one message, ready to paste. Oracle: the columns written."""
    book = load_codebook("wvs7")
    path = tmp_path / "few.csv"
    kept = list(book.values)[3:6]
    columns = {*book.only(kept).columns}
    pd.DataFrame({column: [1] for column in columns}).to_csv(path, index=False)
    with pytest.raises(DataError, match="lacks the columns of values") as raised:
        read_survey(path, book)
    assert raised.value.hint == f"take those that are: --values {','.join(kept)}"
    assert raised.value.got.startswith(f"{len(book.values) - 3} are not there: ")
    found = [finding for finding in check(path, book) if "another survey" in finding.what]
    assert found[0].hint == raised.value.hint
