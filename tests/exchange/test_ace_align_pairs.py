"""ACE-Align's training pairs: a round trip, the published wording, and rows that are wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from exchange_files import aligned, noisy_model

from acecausal.comparison.compare import compare
from acecausal.cube import schema
from acecausal.errors import DataError
from acecausal.exchange import export_cube, import_cube
from acecausal.exchange.choices import Choices


def test_pairs__round_trip(imported, tmp_path):
    """What is at an edge with ten people at both ends comes back, the rest is not there. atol 1e-12."""
    cube = imported.cube
    lost = export_cube("ace-align-pairs", cube, tmp_path / "rows.jsonl")
    assert lost[1] == "responses of personas at no edge with 10 people at both ends"
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    enough = cube["n_baseline"].where(cube["status"] != schema.NOT_APPLICABLE, 0) >= 10
    assert len(rows) == int((enough & (cube["n_treated"] >= 10)).sum())
    assert set(rows[0]) >= {"options", "group_A", "group_B"}
    prompt = rows[0]["group_A"]["prompt_text"]
    assert prompt.startswith("You are a man, living in Japan.\n")
    assert "Options (scale from 1 to 11):\n1: 0\n" in prompt
    back = aligned(import_cube("ace-align-pairs", tmp_path / "rows.jsonl").cube, cube)
    there = (back["n"] > 0).values
    assert (cube["n"].values[~there] == 1).all()
    np.testing.assert_array_equal(back["n"].values[there], cube["n"].values[there])
    np.testing.assert_allclose(back["response"].values[there], cube["response"].values[there], atol=1e-12)
    np.testing.assert_array_equal(back["question"].values, cube["question"].values)


def test_pairs__published_wording_and_what_is_wrong(tmp_path):
    def row(first="You are a male currently living in an urban area in Great Britain.", **extra):
        persona = [first, first.replace("a male", "a female").replace("male male", "male")]
        groups = [
            {
                "prompt_text": f"{text} You have not completed a college education, and you are married.\nPlease "
                "answer.\n\nQuestion: Is [COUNTRY] rich?\n\nOptions (scale from 1 to 3):\n1: Yes\n\nAnswer:\n",
                "p_real": {"1": 0.5, "2": 0.25, "3": 0.25},
                "mode_option": 1,
            }
            | extra
            for text in persona
        ]
        return {"options": {"1": "Yes", "2": "Hm", "3": "No"}, "group_A": groups[0], "group_B": groups[1]}

    path = tmp_path / "train.jsonl"

    def read(*rows, **choices):
        path.write_text("\n\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
        return import_cube("ace-align-pairs", path, Choices(**{"respondents": 50, **choices}))

    with pytest.raises(DataError, match="two levels"):  # only gender differs
        read(row())
    other = row()
    for group in (other["group_A"], other["group_B"]):
        for old, new in (("an urban", "a rural"), ("have not", "have"), ("are married", "are not married")):
            group["prompt_text"] = group["prompt_text"].replace(old, new)
    cube = read(row(), other).cube
    assert cube["country"].values.tolist() == ["great_britain"]
    assert cube["treatment"].values.tolist() == ["gender", "education", "residence", "marital_status"]
    assert (cube["n"].values > 0).sum() == 4
    level = compare(cube, noisy_model(cube))["level"]  # nobody is in all: there is no marginal, hence no null
    assert (level["cells"], level["null"], level["distance"]) == (0, None, None)
    bare = [{**part, "options": [1, 2, 3]} for part in (row(), other)]
    assert read(*bare).cube["option_label"].values.tolist() == [["Yes", "2", "3"]]  # the prompt words the first only
    with pytest.raises(DataError, match="--respondents"):
        read(row(), respondents=None)
    for wrong, says in (
        (row(p_real={"1": 0.4, "2": 0.6, "3": 0.0}), "mode_option is not what most"),
        (row(prompt_text="Who are you?"), "the prompt cannot be read"),
        (row(first="Imagine a male of Great Britain."), "persona or country cannot be read"),
        (row(sample_count="many"), "sample_count is no number"),
        ({"options": {}}, "group_A is missing"),
        ("[1]", "is no object"),
        ("{", "cannot be read"),
        (row(p_real={"1": 0.6, "2": 0.2, "3": 0.2}), "other answers elsewhere"),
    ):
        with pytest.raises(DataError, match=says) as caught:
            read(row(), other, wrong)
        assert f"{path}, row 5" in str(caught.value)
        found = read(row(), other, wrong, keep_going=True)
        assert len(found.problems) == 1
        xr.testing.assert_equal(found.cube["response"], cube["response"])


def test_pairs__options_go_by_their_words(imported, tmp_path):
    """Oracle: the same rows, all options in one order. atol 1e-15."""
    path = tmp_path / "rows.jsonl"
    export_cube("ace-align-pairs", imported.cube, path)
    expected = import_cube("ace-align-pairs", path).cube
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for number, row in enumerate(rows):
        if number % 2:
            continue
        codes, labels = list(row["options"]), list(row["options"].values())
        row["options"] = dict(zip(codes, reversed(labels), strict=True))
        for group in (row["group_A"], row["group_B"]):
            group["p_real"] = dict(zip(codes, reversed(group["p_real"].values()), strict=True))
            group["mode_option"] = len(codes) + 1 - group["mode_option"]
            head, _, _ = group["prompt_text"].partition("\n1: ")
            group["prompt_text"] = "\n".join([head, *(f"{k}: {label}" for k, label in row["options"].items()), "", ""])
    for unnamed in (False, True):
        for row in rows if unnamed else ():
            del row["question_id"]
        path.write_text("\n".join(map(json.dumps, rows)))
        turned = import_cube("ace-align-pairs", path).cube
        assert turned.sizes == expected.sizes
        flipped = turned["option_label"].values[:, 0] != expected["option_label"].values[:, 0]
        for v, flip in enumerate(flipped):
            k = int(expected["n_options"][v])
            order = slice(None, None, -1) if flip else slice(None)
            got = turned["response"].values[:, v, :, :k][..., order]
            np.testing.assert_allclose(got, expected["response"].values[:, v, :, :k], rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("1: Not", "1: Very", "lists another option under the code"),
        ("(scale from 1 to 3)", "(scale from 1 to 5)", "differ in number"),
        ("You are a man,", "You are a female,", "speak of different people"),
    ],
)
def test_pairs__prompt_that_contradicts_its_row(imported, tmp_path, old, new, says):
    path = tmp_path / "rows.jsonl"
    export_cube("ace-align-pairs", imported.cube, path)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    at = next(k for k, row in enumerate(rows) if old in row["group_A"]["prompt_text"])
    rows[at]["group_A"]["prompt_text"] = rows[at]["group_A"]["prompt_text"].replace(old, new)
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=says) as caught:
        import_cube("ace-align-pairs", path)
    assert f"row {at + 1}, group_A" in str(caught.value)
