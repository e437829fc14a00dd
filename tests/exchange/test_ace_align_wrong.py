"""ACE-Align trees that are wrong: what is named, what is passed over, and names that stay in their folder."""

from __future__ import annotations

import json
import os

import pytest
import xarray as xr
from exchange_files import plant, run

from acecausal.cube import schema
from acecausal.cube.files import open_cube
from acecausal.errors import AceError, DataError
from acecausal.exchange import export_cube, import_cube
from acecausal.exchange.choices import Choices
from acecausal.report.page import render


def _sum(row):
    row["p_real"]["1"] += 0.01


def _order(row):
    row["options"] = dict(reversed(row["options"].items()))


def _longer(row):
    row["p_real"]["4"] = 0.0


def _twice(row):
    row["demographics"]["gender"] = "Female"


def _setting(key, item):
    def change(row):
        row[key] = item

    return change


def _one_option(row):
    row["options"], row["p_real"] = {"1": "Yes"}, {"1": 1.0}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_sum, ["do not sum to 1", "got: 1.01"]),
        (_order, ["options out of order", "expected: 1, 2, 3", "got: 3, 2, 1"]),
        (_longer, ["p_real has options", "expected: 1, 2, 3", "got: 1, 2, 3, 4"]),
        (_twice, ["the group comes twice", "v1 and gender=Female"]),
        (_one_option, ["too few options"]),
        (_setting("sample_count", -1), ["no number of people", "-1"]),
        (_setting("sample_count", 2.5), ["no number of people", "2.5"]),
        (_setting("sample_count", True), ["sample_count is of the wrong kind"]),
        (_setting("sample_count", "12"), ["sample_count is of the wrong kind"]),
        (_setting("p_real", {"1": "x"}), ["a share is none", "'x'"]),
        (_setting("p_real", {"1": 1.5, "2": -0.5}), ["a share is none", "1.5"]),
        (_setting("p_real", [1]), ["p_real is of the wrong kind"]),
        (_setting("options", {"a": "x", "b": "y"}), ["code is no number", "a, b"]),
        (_setting("demographics", {"gender": "Male", "age": "old"}), ["not those of the folder", "gender, age"]),
        (lambda row: row.pop("question_text"), ["question_text is missing"]),
    ],
)
def test_wrong_row__named_and_passed_over(tmp_path, change, says):
    folder = plant(tmp_path / "eval", ["japan"])
    path = folder / "japan" / "1_attributes" / "gender" / "work_real.json"
    rows = json.loads(path.read_text())
    change(rows[0])
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError) as caught:
        import_cube("ace-align", folder)
    where = 1 if change is _twice else 0
    for part in (*says, f"{path}, row {where}"):
        assert part in str(caught.value)
    found = import_cube("ace-align", folder, Choices(keep_going=True))
    assert [str(problem) for problem in found.problems] == [str(caught.value)]
    whole = import_cube("ace-align", plant(tmp_path / "whole", ["japan"])).cube
    rest = whole["n"].copy()
    if change is not _twice:
        rest.loc[{"value": "work.v1", "persona": "gender=Male"}] = 0
    else:
        rest.loc[{"value": "work.v1", "persona": "gender=Female"}] = rest.sel(value="work.v1", persona="gender=Male")
        rest.loc[{"value": "work.v1", "persona": "gender=Male"}] = 0
    got = found.cube["n"].sel(persona=rest["persona"].values)
    some = [persona for persona in rest["persona"].values if persona != "all"]
    xr.testing.assert_equal(got.sel(persona=some, value=rest["value"].values), rest.sel(persona=some))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[", "cannot be read"),
        (b"\xff\xfe[]", "UTF-8"),
        (b'{"a": 1}', "is no list"),
        (b'[{"p_real": {"1": NaN}}]', "NaN is no number"),
        (b'[{"p_real": {"1": 0.5, "1": 0.5}}]', "occurs twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[1]", "row 0: is no object"),
    ],
)
def test_wrong_file__named_and_passed_over(tmp_path, content, says):
    folder = plant(tmp_path / "eval", ["japan"])
    path = folder / "japan" / "1_attributes" / "gender" / "work_real.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        import_cube("ace-align", folder)
    assert str(path) in str(caught.value)
    found = import_cube("ace-align", folder, Choices(keep_going=True))
    assert len(found.problems) == 1
    gender = found.cube.sel(value="work.v1", persona="all", attribute="gender:Female")
    assert (gender["status"] == schema.NOT_ASKED).all()


def test_missing_combination__error_or_not_asked_and_exit_code_3(tmp_path):
    folder = plant(tmp_path / "eval")
    (folder / "nigeria" / "2_attributes" / "gender_education" / "trust_real.json").unlink()
    result = run("import", "ace-align", folder, "-o", tmp_path / "a.zarr", code=1)
    for part in ("a combination is missing", "nigeria", "2_attributes/gender_education/trust_real.json"):
        assert part in result.stderr
    assert not (tmp_path / "a.zarr").exists()
    result = run("import", "ace-align", folder, "--keep-going", "-o", tmp_path / "a.zarr", code=3)
    assert "1 problems were passed over" in result.stderr
    assert "passed over: " in result.stderr
    cube = open_cube(tmp_path / "a.zarr")
    cell = cube.sel(attribute="gender:Female", persona="education=College", value="Q3")
    assert cell["status"].sel(country="nigeria") == schema.NOT_ASKED
    assert cell["status"].sel(country="japan") == schema.OK
    assert len(json.loads(cube.attrs["passed_over"])) == 1


def test_wrong_folder__says_what_was_expected(tmp_path):
    empty, file = tmp_path / "empty", tmp_path / "file"
    empty.mkdir()
    file.write_text("x")
    for path, says in ((empty, "an empty folder"), (file, "is no folder"), (tmp_path / "none", "does not exist")):
        with pytest.raises(DataError, match=says):
            import_cube("ace-align", path)
    (empty / "x").mkdir()
    (empty / "x" / "y.json").write_text("[]")
    with pytest.raises(DataError, match="1 other files"):
        import_cube("ace-align", empty)
    with pytest.raises(AceError, match="format"):
        import_cube("excel", empty)


def test_other_options_elsewhere__error_or_passed_over(tmp_path):
    folder = plant(tmp_path / "eval")
    for path in (folder / "nigeria").rglob("work_real.json"):
        rows = json.loads(path.read_text())
        for row in rows:
            if row["question_id"] == "v1":
                row["options"]["4"] = "Do not care"
        path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match="other options elsewhere"):
        import_cube("ace-align", folder)
    found = import_cube("ace-align", folder, Choices(keep_going=True))
    assert len(found.problems) == 8
    assert (found.cube["n"].sel(country="nigeria", value="work.v1") == 0).all()


@pytest.mark.slow
def test_odd_names__stay_in_their_folder_and_are_told_apart(tmp_path):
    folder = plant(tmp_path / "eval", ["japan"])
    odd = [os.fsdecode(b"caf\xe9\x1b[31m"), "<b>[red]x", "a\nb"]
    for path in folder.rglob("trust_real.json"):
        rows = json.loads(path.read_text())
        for number, name in enumerate(odd):
            for row in rows:
                row["category"] = f"topic {number}"
                row["options"] = {key: f"<script>[bold]{label}" for key, label in row["options"].items()}
            path.with_name(f"{name}_real.json").write_text(json.dumps(rows))
        path.unlink()
    cube = import_cube("ace-align", folder).cube
    assert cube.sizes["value"] == 8
    assert "<script>[bold]No one" in cube["option_label"].values
    page = render(cube, {})
    assert "<script>[" not in page
    run("import", "ace-align", folder, "-o", tmp_path / "a.nc")
    broken = next(path for path in folder.rglob("*_real.json") if "\x1b" in path.name)
    broken.write_text("[")
    shown = run("import", "ace-align", folder, "-o", tmp_path / "b.nc", code=1).stderr
    assert "\x1b" not in shown
    assert "\\x1b[31m" in shown


def test_topics__that_leave_the_folder_do_not(imported, tmp_path):
    cube = imported.cube.assign_coords(topic=("value", ["../../up", "../../up", "/etc/x", "/etc/x"]))
    export_cube("ace-align", cube, tmp_path / "a" / "tree")
    assert {path.name for path in tmp_path.iterdir()} == {"a"}
    assert sorted(p.name for p in (tmp_path / "a" / "tree" / "japan" / "1_attributes" / "gender").iterdir()) == [
        "_._.._up_real.json",
        "_etc_x_real.json",
    ]
    back = import_cube("ace-align", tmp_path / "a" / "tree").cube
    assert set(back["topic"].values) == {"../../up", "/etc/x"}
    clash = imported.cube.assign_coords(topic=("value", ["a/b", "a/b", "a:b", "a:b"]))
    with pytest.raises(AceError, match="same file name"):
        export_cube("ace-align", clash, tmp_path / "b")
    assert not (tmp_path / "b").exists()
