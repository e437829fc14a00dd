"""Codebooks: the shipped ones hold, and broken ones say everything that is wrong."""

from __future__ import annotations

import copy
import time

import numpy as np
import pytest
import yaml
from minimal_codebook import MINIMAL

from acecausal.errors import AceError, CodebookError
from acecausal.plain_yaml import read_yaml
from acecausal.survey.codebook import load_codebook, shipped_codebooks
from acecausal.survey.codes import code_key, number


def write(tmp_path, raw) -> str:
    path = tmp_path / "book.yaml"
    path.write_text(raw if isinstance(raw, str) else yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return str(path)


def test_shipped__all_load():
    assert {"ess-immigration", "gss-spending", "wvs-sample", "wvs7", "ess11", "gss"} <= set(shipped_codebooks())
    for name in shipped_codebooks():
        book = load_codebook(name)
        assert book.name == name
        assert len(book.sha256) == 64


def test_file__loads_and_hash_ignores_layout(tmp_path):
    book = load_codebook(write(tmp_path, MINIMAL))
    again = load_codebook(
        write(tmp_path, "# a comment\n" + yaml.safe_dump(MINIMAL, default_flow_style=True, sort_keys=False))
    )
    assert book.sha256 == again.sha256
    assert book.attribute("sex").levels[1].phrase == "sex: women"


def test_shipped__each_attribute_has_a_check_question_whose_answers_do_not_begin_one_another():
    """An answer that begins another could not be told from it where a model answers in the options' own words."""
    for name in shipped_codebooks():
        for spec in load_codebook(name).attributes.values():
            assert spec.ask is not None
            assert list(spec.ask.answers) == list(spec.levels)
            for one in spec.ask.answers.values():
                assert [x for x in spec.ask.answers.values() if x.startswith(one)] == [one]


def test_check_question__in_the_levels_order_or_answered_by_phrases(tmp_path):
    raw = change(ASK, {"question": "Which sex?", "answers": {"f": "Female", "m": "Male"}})
    sex = load_codebook(write(tmp_path, raw)).attribute("sex")
    assert (sex.question, [level.answer for level in sex.levels]) == ("Which sex?", ["Male", "Female"])
    sex = load_codebook(write(tmp_path, change(ASK, {"question": "Which sex?"}))).attribute("sex")
    assert (sex.question, [level.answer for level in sex.levels]) == ("Which sex?", ["", ""])


def test_covariate__is_worded_by_its_phrase(tmp_path):
    spec = {"column": "i", "label": "income", "phrase": "earning {value} a month"}
    income = load_codebook(write(tmp_path, change(["covariates"], {"income": spec}))).covariates["income"]
    assert income.worded(1200.0) == "earning 1200 a month"
    assert income.worded(0.5) == "earning 0.5 a month"
    assert income.worded(12345678.0) == "earning 12345678 a month"


def test_columns__of_the_design_are_read_once(tmp_path):
    raw = copy.deepcopy(MINIMAL) | {part: {"column": part} for part in ("weight", "stratum", "psu", "fpc")}
    raw["id"] = {"column": "psu"}  # one respondent per PSU
    book = load_codebook(write(tmp_path, raw))
    assert book.columns == ["c", "s", "t", "weight", "stratum", "psu", "fpc"]


def test_many_errors__all_listed_at_once(tmp_path):
    raw = copy.deepcopy(MINIMAL)
    raw["attributes"]["sex"]["baseline"] = "x"
    raw["values"]["trust"]["scale"] = "ordnal"
    raw["colour"] = "blue"
    with pytest.raises(CodebookError) as caught:
        load_codebook(write(tmp_path, raw))
    text = str(caught.value)
    assert "3 errors" in text
    for part in ("attributes.sex", "baseline 'x'", "values.trust.scale", "colour"):
        assert part in text


def change(path: list, new) -> dict:
    raw = copy.deepcopy(MINIMAL)
    place = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = new
    return raw


LEVELS = ["attributes", "sex", "levels"]
ASK = ["attributes", "sex", "ask"]
BROKEN = {
    "a check question, half answered": (change(ASK, {"question": "Are you?", "answers": {"m": "Yes"}}), "levels"),
    "a check question without words": (change(ASK, {"question": " "}), "empty"),
    "a check question with one answer twice": (
        change(ASK, {"question": "Are you?", "answers": {"m": "Yes", "f": "Yes"}}),
        "stands twice",
    ),
    "one level": (change(LEVELS, {"m": {"codes": [1], "label": "men"}}), "at least 2"),
    "same code twice": (change([*LEVELS, "f", "codes"], [1.0]), "listed twice"),
    "code also missing": (change(["attributes", "sex", "missing"], [2]), "listed twice"),
    "codes and range": (change([*LEVELS, "m", "range"], [0, 1]), "either codes or a range"),
    "mixed": (change([*LEVELS, "m"], {"range": [0, 1], "label": "x"}), "cannot be mixed"),
    "overlap": (
        change(LEVELS, {"m": {"range": [0, 5], "label": "x"}, "f": {"range": [5, 9], "label": "y"}}),
        "overlap",
    ),
    "upside down": (
        change(LEVELS, {"m": {"range": [5, 0], "label": "x"}, "f": {"range": [6, 9], "label": "y"}}),
        "upside down",
    ),
    "name with a colon": (change(["attributes", "a:b"], MINIMAL["attributes"]["sex"]), "becomes part of labels"),
    "a covariate's phrase without its place": (
        change(["covariates"], {"income": {"column": "i", "label": "income", "phrase": "earning {income}"}}),
        "must hold {value} once",
    ),
    "strange parent": (change(["attributes", "sex", "parents"], ["age"]), "neither attributes nor covariates"),
    "binary with three": (
        change(["values", "trust", "options"], [{"label": str(i), "codes": [i]} for i in range(3)]),
        "binary value has 2",
    ),
    "strange country": (change(["weight"], {"column": "w", "absent_in": ["B"]}), "not countries"),
    "strange country of fpc": (change(["fpc"], {"column": "w", "absent_in": ["B"]}), "not countries"),
    "strange country of id": (change(["id"], {"column": "w", "absent_in": ["B"]}), "not countries"),
    "country code twice": (
        change(["countries", "levels"], {k: {"codes": [1], "label": k} for k in "AB"}),
        "listed twice",
    ),
    "missing everywhere and listed": (change(["missing"], [2]), "missing everywhere"),
    "option label twice": (
        change(["values", "trust", "options"], [{"label": "same", "codes": [k]} for k in (1, 2)]),
        "stands twice",
    ),
    "version": (change(["codebook"], 2), "codebook"),
    "listed below missing_below": (change(["values", "trust", "missing_below"], 2), "missing everywhere"),
    "rows without codes": (change(["rows"], {"year": {}}), "rows.year.*either codes or a range"),
    "strange lattice": (change(["lattice"], ["age"]), "lattice.*not attributes"),
    "lattice twice": (change(["lattice"], ["sex", "sex"]), "named twice"),
    "two of one column": (
        change(["attributes", "gender"], MINIMAL["attributes"]["sex"]),
        "sex and gender are of one column",
    ),
    "a coding and one code that is no list": (
        change(
            ["countries"],
            {"column": "c", "coding": "iso-alpha2", "levels": {"A": {"codes": 1, "label": "A"}}},
        ),
        "countries.levels.A.codes",
    ),
    "a coding and levels that are none": (
        change(["countries"], {"column": "c", "coding": "iso-alpha2", "levels": 3}),
        "countries.levels",
    ),
    "strange coding": (change(["countries", "coding"], "iso-number"), "countries.coding"),
    "no countries": (change(["countries"], {"column": "c"}), "needs `column` and `levels`"),
    "two only": (change(["countries"], {"only": {"A": {"label": "a"}, "B": {"label": "b"}}}), "names one country"),
    "only and a column": (change(["countries"], {"only": {"A": {"label": "a"}}, "column": "c"}), "without a column"),
    "only and levels": (
        change(["countries"], {"only": {"A": {"label": "a"}}, "levels": {"B": {"codes": [1], "label": "b"}}}),
        "without a column",
    ),
    "only without a label": (change(["countries"], {"only": {"A": {}}}), "1 errors:\n.*only.A.label"),
    "only a text": (change(["countries"], {"only": "A"}), "countries.only"),
    "unused and used": (change(["unused"], {"c": "not needed"}), "unused: .'c'. are used"),
    "own country code twice": (
        change(
            ["countries"],
            {"column": "c", "coding": "iso-alpha2", "levels": {"A": {"codes": ["NO", "NO"], "label": "A"}}},
        ),
        "listed twice",
    ),
    "weight within": (change(["weight"], {"column": "w", "within": "year"}), "weight.within"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken__says_what(tmp_path, case):
    raw, message = BROKEN[case]
    with pytest.raises(CodebookError, match=message):
        load_codebook(write(tmp_path, raw))


def test_countries__by_a_coding_and_the_surveys_own(tmp_path):
    own = {
        "GBR": {"codes": [826], "label": "Great Britain"},
        "NIR": {"codes": [909], "label": "Northern Ireland"},
        "GDR": {"codes": ["276"], "label": "East Germany"},
    }
    raw = change(["countries"], {"column": "c", "coding": "iso-numeric", "levels": own})
    levels = load_codebook(write(tmp_path, raw)).countries.levels
    assert levels["NOR"].codes == ("578",)
    assert (levels["NOR"].label, levels["NOR"].region) == ("Norway", "Northern Europe")
    assert levels["USA"].label == "the United States"
    assert levels["GBR"].label == "Great Britain"
    assert "DEU" not in levels  # its code means another country here
    assert len(levels) == 249 - 1 + 2
    again = load_codebook(write(tmp_path, raw)).with_rows({"year": {"codes": [1]}})
    assert again.countries.levels == levels


def test_missing_below__the_nearest_holds_and_text_is_no_number(tmp_path):
    raw = change(["missing_below"], 0) | {"missing": ["x"]}
    raw["values"]["trust"]["missing_below"] = -5
    book = load_codebook(write(tmp_path, raw))
    everywhere, trust = book.missing_codes(), book.missing_codes(book.values["trust"])
    assert [code in everywhere for code in ("-1", "-0.5", "0", "1", "x", "-1_0", "nan", "")] == [
        *(True, True, False, False, True),
        *(False, False, False),
    ]
    assert [code in trust for code in ("-1", "-5", "-6", "x")] == [False, False, True, True]


def test_rows__said_anew_give_another_hash(tmp_path):
    book = load_codebook(write(tmp_path, change(["rows"], {"year": {"codes": [2018.0]}, "wave": {"codes": [1, 2]}})))
    assert {column: str(rows) for column, rows in book.rows.items()} == {"year": "2018", "wave": "1,2"}
    other = book.with_rows({"year": {"range": (2018, 2022)}})
    assert {column: str(rows) for column, rows in other.rows.items()} == {"year": "2018..2022", "wave": "1,2"}
    assert other.sha256 != book.sha256
    assert other.columns == ["c", "year", "wave", "s", "t"]
    with pytest.raises(CodebookError, match="upside down"):
        book.with_rows({"year": {"range": (2022, 2018)}})


def test_rows__of_a_column_that_a_draft_left_unused(tmp_path):
    """A draft names the year under `unused`, and says to take rows by it."""
    raw = change(["unused"], {"year": "says when", "other": "no answers"})
    book = load_codebook(write(tmp_path, raw)).with_rows({"year": {"codes": [2012]}})
    assert list(book.unused) == ["other"]
    assert list(load_codebook(write(tmp_path, raw)).with_domain({"year": {"codes": [2012]}}).unused) == ["other"]


def test_unverified__named_where_used(tmp_path):
    raw = change(["attributes", "sex", "unverified"], True)
    raw["values"]["trust"]["unverified"] = True
    book = load_codebook(write(tmp_path, raw))
    assert book.unverified_parts(["sex"], ["trust"]) == ["attribute sex", "value trust"]
    assert book.unverified_parts([], ["trust"]) == ["value trust"]
    assert load_codebook(write(tmp_path, MINIMAL)).unverified_parts(["sex"], ["trust"]) == []
    whole = load_codebook(write(tmp_path, raw | {"unverified": True}))
    assert whole.unverified_parts([], []) == ["the whole codebook"]


def test_not_yaml_not_mapping_not_there(tmp_path):
    with pytest.raises(CodebookError, match="not valid YAML"):
        load_codebook(write(tmp_path, "a: [1"))
    with pytest.raises(CodebookError, match="YAML mapping"):
        load_codebook(write(tmp_path, "- 1"))
    with pytest.raises(CodebookError, match="did you mean 'wvs-sample'"):
        load_codebook("wvs-smaple")
    with pytest.raises(CodebookError, match="cannot be read"):
        load_codebook(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["ask: {question: How old are you?}", "{question: How old?, a: b}", "[a, b: c: d]"])
def test_yaml__a_mark_within_braces_says_what_helps(tmp_path, text):
    """A question mark at the end of a question is what one types first."""
    with pytest.raises(CodebookError, match=r"not valid YAML(.|\n)*within \{\} and \[\] .* is put in quotes"):
        load_codebook(write(tmp_path, text))


def test_code_key__one_spelling():
    """By hand: what is one code, and what stays a text of its own."""
    assert {code_key(c) for c in (1, 1.0, "1", " 1 ", "1.0", "1.00", np.int8(1), np.float32(1))} == {"1"}
    assert {code_key(c) for c in (0, -0.0, "0", "-0", "0.0")} == {"0"}
    assert code_key("-3.0") == code_key(-3) == "-3"
    texts = ["007", "000", "1e3", "1E2", "+1", "1_000", "1.", ".5", "1.50", "--1", "١", "inf", "", "yes"]
    assert [code_key(text) for text in texts] == texts
    assert code_key("\u00a0yes\t") == "yes"
    assert code_key("e\u0301") == code_key("\u00e9") == "\u00e9"
    assert code_key(1.5) == "1.5"
    assert code_key(np.float32(0.1)) == "0.1"
    assert code_key(12345678901234567) != code_key(12345678901234568)  # one and the same as a float
    assert code_key(1e22) == "1" + "0" * 22
    assert code_key(np.uint64(2**64 - 1)) == "18446744073709551615"
    assert [code_key(c) for c in (True, np.False_)] == ["true", "false"]


def test_number__what_is_none():
    assert [number(text) for text in ("1", "-1.5", "1e3", "+2")] == [1, -1.5, 1000, 2]
    assert [number(text) for text in ("1_000", "inf", "nan", "90+", "1,5", "")] == [None] * 6


def test_yaml__norway_is_no_boolean_and_keys_stand_once(tmp_path):
    text = yaml.safe_dump(MINIMAL, sort_keys=False).replace("A:", "NO:", 1).replace("- 1\n", "- no\n", 1)
    book = load_codebook(write(tmp_path, text))
    assert list(book.countries.levels) == ["NO"]
    assert book.countries.levels["NO"].codes == ("no",)
    with pytest.raises(CodebookError, match="'title' stands twice"):
        load_codebook(write(tmp_path, yaml.safe_dump(MINIMAL) + "title: again\n"))


def test_yaml__codes_are_texts_as_they_are_written():
    """YAML 1.1 reads these as 7, 1000, 90, true and a float."""
    for text in ("007", "010", "1_000", "1:30", "yes", "1e3", "+5", "0x1F"):
        assert read_yaml(f"a: {text}", "x") == {"a": text}
    assert read_yaml("a: [0, -12, 1.5, -0.25, true, 0.0001]", "x") == {"a": [0, -12, 1.5, -0.25, True, 1e-4]}


def test_yaml__merge_keys_cost_no_more_than_their_keys():
    """Ten mappings that each merge the one before ten times: 10^9 pairs, were they not made one. Oracle: by hand."""
    lines = ["b0: &b0 {k: 0, k0: 0}"]
    lines += [f"b{i}: &b{i} {{<<: [{', '.join([f'*b{i - 1}'] * 10)}], k: {i}, k{i}: {i}}}" for i in range(1, 10)]
    started = time.perf_counter()
    found = read_yaml("\n".join(lines), "x")
    assert time.perf_counter() - started < 2
    assert found["b9"] == {"k": 9} | {f"k{i}": i for i in range(10)}
    assert read_yaml("a: &a {x: 1, y: 1}\nb: {<<: [{x: 2}, *a], y: 3}", "x")["b"] == {"x": 2, "y": 3}


def test_yaml__pairs_of_escapes_are_one_character():
    """As JSON, which is YAML, writes what lies beyond 16 bits."""
    assert read_yaml('a: "\\ud83d\\ude00"', "x") == {"a": "\U0001f600"}


@pytest.mark.parametrize("code", [".nan", "-.inf", ".inf", "!!binary MQ==", "2024-01-01"])
@pytest.mark.parametrize("where", ["missing", "levels"])
def test_codes__are_texts_truth_values_or_numbers(tmp_path, code, where):
    book = copy.deepcopy(MINIMAL) | {"missing": ["HERE"] if where == "missing" else []}
    if where == "levels":
        book["attributes"]["sex"]["levels"]["m"]["codes"] = ["HERE"]
    text = yaml.safe_dump(book, sort_keys=False).replace("HERE", code)
    with pytest.raises(CodebookError, match="a code is a text, true or false, or a finite number"):
        load_codebook(write(tmp_path, text))


def test_missing_below__is_a_number(tmp_path):
    with pytest.raises(CodebookError, match="missing_below: Input should be a finite number"):
        load_codebook(write(tmp_path, yaml.safe_dump(MINIMAL, sort_keys=False) + "\nmissing_below: .nan\n"))


@pytest.mark.parametrize(
    ("text", "said"),
    {
        "a: 1\nmissing: [9999-99-99]": "line 2, column 11: '9999-99-99' is no timestamp",
        "x: !!int abc": "line 1, column 4: 'abc' is no int",
        "x: !!timestamp abc": "'abc' is no timestamp",
        "x: !!bool abc": "'abc' is no bool",
        "x: " + "[" * 3000 + "]" * 3000: "nested too deeply",
        "x: " + "{a: " * 3000 + "}" * 3000: "nested too deeply",
        "? []\n: 1\n? []\n: 2": "line 1, column 3: a list or mapping as key",
        "a:\n  b: 1\n  b: 2": "line 3, column 3: key 'b' stands twice",
        "a: [1": "line 1, column 6: expected ',' or ']'",
        "a: !!python/object:os.system 1": "could not determine a constructor",
        "a: x\0y": "special characters are not allowed",
        'a: "x\\ud800"': "line 1, column 4: half a character (\\ud800)",
        '"\\udc00": 1': "line 1, column 1: half a character (\\udc00)",
        "x:\n  y: &y {<<: {a: 1}, b: 1, b: 2}\nz: {<<: *y}": "line 2, column 28: key 'b' stands twice",
    }.items(),
)
def test_yaml__what_its_constructor_refuses_is_one_message(text, said):
    with pytest.raises(AceError) as caught:
        read_yaml(text, "book.yaml")
    assert str(caught.value).startswith("book.yaml: not valid YAML\n  got: ")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("title: 2024", "title: 2024 is no text to YAML: put it in quotes"),
        ("title: true", "title: True is no text to YAML: put it in quotes"),
        ("title:", "title: None is no text to YAML: put it in quotes"),
        ("title: 2024-05-01", "title: 2024-05-01 is no text to YAML: put it in quotes"),
    ],
)
def test_yaml__what_it_reads_as_something_else_is_to_be_quoted(tmp_path, line, says):
    text = yaml.safe_dump(MINIMAL | {"title": "T"}, sort_keys=False).replace("title: T", line)
    with pytest.raises(CodebookError, match=says):
        load_codebook(write(tmp_path, text))


def test_yaml__names_of_levels_that_look_like_something_else(tmp_path):
    """45_64, 040 and NO are texts, as they stand; a number is to be quoted."""
    text = yaml.safe_dump(MINIMAL, sort_keys=False)
    levels = "{45_64: {codes: [040], label: NO}, NO: {codes: [NO], label: x}}"
    good = f"attributes: {{a: {{column: a, label: A, baseline: 45_64, levels: {levels}}}}}"
    start, end = text.index("attributes:"), text.index("values:")
    book = load_codebook(write(tmp_path, text[:start] + good + "\n" + text[end:]))
    levels = book.attributes["a"].levels
    assert {name: (spec.codes, spec.label) for name, spec in levels.items()} == {
        "45_64": (("040",), "NO"), "NO": (("NO",), "x"),
    }  # fmt: skip
    with pytest.raises(CodebookError, match="1 is no text to YAML: put it in quotes"):
        load_codebook(write(tmp_path, text[:start] + good.replace("NO: {codes", "1: {codes") + "\n" + text[end:]))
