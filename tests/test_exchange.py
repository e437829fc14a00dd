"""Other programs' formats: round trips, closed forms, the published traps, and files that are wrong."""

from __future__ import annotations

import json
import os
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from test_comparison import as_model

from acecausal import cube as cubes
from acecausal import schema
from acecausal.association import associations, pool
from acecausal.comparison import compare, distribution_distance
from acecausal.cube import Value, open_cube, write_cube
from acecausal.errors import AceError, CubeError, DataError
from acecausal.estimation import estimate
from acecausal.exchange import EXPORTS, IMPORTS, export_cube, import_cube
from acecausal.exchange.choices import Choices
from acecausal.exchange.rows import parse_baselines
from acecausal.exchange.text import file_name, slug
from acecausal.lattice import Attribute, Lattice, Level
from acecausal.protocol import ace_align
from acecausal.report.page import render
from acecausal.simulate import World, simulate
from align.targets import make_targets
from cli import main

ATTRIBUTES = {"gender": ["Male", "Female"], "education": ["No_College", "College"]}
FOUR = {"1": "Family or relative", "2": "Close friend", "3": "Someone else I know", "4": "No one"}
#: Topic, id, wording, options: coded from 0 to 2 and 0 to 10, without an order, with placeholders.
QUESTIONS = [
    ("work", "v1", "How proud are you of [COUNTRY]?", {"1": "Not", "2": "A bit", "3": "Very"}),
    ("work", "v2", "Do you feel [COUNTRY NATIONALITY]?", {"0": "No", "1": "Partly", "2": "Yes"}),
    ("trust", "v1", "How far do you trust the courts?", {str(k): f"{k}" for k in range(11)}),
    ("trust", "Q3", "Who would help you first?", FOUR),
]


def run(*args: object, code: int = 0):
    result = CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def counts_of(country: str, seed: int = 0) -> dict[tuple[str, str], np.ndarray]:
    """People per question, gender, education and option."""
    rng = np.random.default_rng([seed, *country.encode()])
    found = {}
    for topic, name, _, options in QUESTIONS:
        found[topic, name] = rng.integers(8, 60, size=(2, 2, len(options)))
    found["work", "v1"][1, 1] = [1, 0, 0]  # a group of one person
    return found


def plant(folder: Path, countries=("japan", "nigeria"), seed: int = 0) -> Path:
    """Write a tree in the published layout."""
    for country in countries:
        counts = counts_of(country, seed)
        for size in (1, 2):
            for attributes in combinations(ATTRIBUTES, size):
                place = folder / country / f"{size}_attributes" / "_".join(attributes)
                place.mkdir(parents=True)
                for topic in ("work", "trust"):
                    rows = []
                    for where, name, question, options in QUESTIONS:
                        for levels in product(*(ATTRIBUTES[a] for a in attributes)) if where == topic else ():
                            at = dict(zip(attributes, levels, strict=True))
                            index = tuple(
                                ATTRIBUTES[a].index(at[a]) if a in at else slice(None) for a in ATTRIBUTES
                            )  # fmt: skip
                            people = counts[topic, name][index].reshape(-1, len(options)).sum(axis=0)
                            shares = (people / people.sum()).tolist()
                            rows.append(
                                {
                                    "question_id": name,
                                    "question_text": question,
                                    "category": topic,
                                    "options": options,
                                    "demographics": {**at, "country": country.title()},
                                    "p_real": dict(zip(options, shares, strict=True)),
                                    "sample_count": int(people.sum()),
                                }
                            )
                    (place / f"{topic}_real.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return plant(tmp_path_factory.mktemp("published") / "eval")


@pytest.fixture(scope="module")
def imported(tree):
    return import_cube("ace-align", tree)


@pytest.fixture(scope="module")
def plain() -> xr.Dataset:
    """Associations from microdata without weights or clusters, where nobody's attributes are missing."""
    survey, _ = simulate(
        World.make(countries=2, attributes=2, levels=(2, 3), values=3, options=(2, 5, 4)),
        respondents=700,
        nonresponse=0.05,
    )
    return estimate(survey, estimand="association")


@pytest.fixture(scope="module")
def designed() -> xr.Dataset:
    """Direct effects under a design."""
    survey, _ = simulate(World.make(values=2), respondents=600, clusters=30, weights=True)
    return estimate(survey)


def aligned(cube: xr.Dataset, like: xr.Dataset) -> xr.Dataset:
    """The cube in the order of another one's labels."""
    return cube.sel({dim: like[dim].values for dim in schema.EDGE})


def noisy_model(human: xr.Dataset, seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    answers = np.full(human["response"].shape, np.nan)
    for v, k in enumerate(human["n_options"].values):
        answers[:, v, :, :k] = rng.dirichlet(np.ones(k), size=answers[:, v].shape[:2])
    return as_model(human, answers)


# --- associations -----------------------------------------------------------------------------------------------------


def test_associations__estimate_on_the_microdata(plain, tmp_path):
    """Oracle: `estimate --estimand association` on people. Its design-based variance is the multinomial one times
    N / (N - 1), N the country's sample; everything else is the same number. rtol 1e-11."""
    export_cube("ace-align", plain, tmp_path / "tree")
    back = aligned(import_cube("ace-align", tmp_path / "tree").cube, plain)
    for name in ("status", "n", "n_baseline", "n_treated"):
        np.testing.assert_array_equal(back[name].values, plain[name].values, err_msg=name)
    for name in ("response", "n_eff", "shift", "effect", "response_shrunk"):
        np.testing.assert_allclose(back[name].values, plain[name].values, rtol=1e-11, atol=1e-12, err_msg=name)
    factor = np.sqrt(700 / 699)
    for name in ("response_se", "shift_se", "cumulative_shift_se", "effect_se"):
        np.testing.assert_allclose(factor * back[name], plain[name].values, rtol=1e-9, atol=1e-12, err_msg=name)
    ours, theirs = (cube["effect_interval"].diff("bound").values for cube in (back, plain))
    # the same degrees of freedom where the contrast's arms are the whole context; else ours are fewer
    binary = (back["treatment"] == back["treatment"][0]).values
    assert binary.tolist() == [True, False, False]
    np.testing.assert_allclose(factor * ours[:, binary], theirs[:, binary], rtol=1e-9)
    assert np.nanmin(factor * ours / theirs) > 1 - 1e-9
    assert back.sizes["country"] > 1
    for c in range(back.sizes["country"]):
        p, q = (back[name].values[c] for name in ("p_value", "q_value"))
        there = np.isfinite(p)
        np.testing.assert_allclose(q[there], stats.false_discovery_control(p[there]), rtol=1e-12)
    ok = plain["status"].values == schema.OK
    assert ok.any()
    assert (~ok).any()


@given(
    st.lists(st.lists(st.integers(0, 40), min_size=4, max_size=4), min_size=2, max_size=2),
    st.sampled_from(["ordinal", "nominal"]),
)
@example([[2, 3, 0, 0], [1, 1, 1, 2]], "ordinal")  # five at both ends: just enough
@example([[6, 0, 0, 0], [0, 0, 9, 0]], "ordinal")  # nobody differs from anybody
@example([[0, 0, 0, 0], [0, 0, 0, 0]], "ordinal")
@settings(max_examples=50, deadline=None)
def test_associations__errors_are_those_of_individuals(counts, scale):
    """Oracle: numpy's variance over people written out one by one. rtol 1e-9."""
    counts = np.array(counts)
    n = np.array([counts.sum(), *counts.sum(axis=1)]).reshape(1, 1, 3)
    people = np.stack([counts.sum(axis=0), *counts])
    with np.errstate(invalid="ignore"):
        response = (people / people.sum(axis=1, keepdims=True)).reshape(1, 1, 3, 4)
    attribute = Attribute("g", "g", (Level("a", "a", "a"), Level("b", "b", "b")), "a")
    lattice, value = Lattice.over([attribute]), Value("q", "q", "t", scale, tuple("wxyz"))
    arrays = associations(response, n, [value], lattice, min_arm=5)
    cube = cubes.build("survey", [cubes.Country("c", "c", "")], [value], lattice, arrays, {})  # validates
    cell = cube.isel(country=0, attribute=0, value=0, persona=0)
    low, high = counts.sum(axis=1)
    if low + high == 0:
        assert cell.status == schema.NOT_ASKED
        return
    if min(low, high) < 5:
        assert cell.status == schema.TOO_FEW
        return
    persons = [np.repeat(np.arange(4), row) for row in counts]
    spread = sum(np.var(answers / 3) / len(answers) for answers in persons)
    assert (cell.status == schema.OK) == (spread > 1e-20)
    if spread <= 1e-20:
        return
    np.testing.assert_allclose(cell["shift"].sum(), 0, atol=1e-12)
    for name, hit in (("shift_se", np.equal), ("cumulative_shift_se", np.less_equal)):
        expected = [np.sqrt(sum(np.var(hit(a, k)) / len(a) for a in persons)) for k in range(4)]
        np.testing.assert_allclose(cell[name], expected, rtol=1e-9, atol=1e-12)
    if scale == "ordinal":
        np.testing.assert_allclose(cell["effect_se"], np.sqrt(spread), rtol=1e-9)
        np.testing.assert_allclose(cell["effect"], (persons[1].mean() - persons[0].mean()) / 3, atol=1e-12)


def test_pool__most_people_or_the_named_attribute():
    """By hand: who has no level of an attribute is in none of its groups."""
    attributes = [
        Attribute(name, name, tuple(Level(x, x, x) for x in levels), levels[0])
        for name, levels in (("a", "xy"), ("b", "uvw"))
    ]
    lattice = Lattice.over(attributes, 1)
    n = np.array([0, 10, 30, 20, 20, 20]).reshape(1, 1, 6)
    share = np.array([np.nan, 0.1, 0.5, 0.2, 0.4, 0.9])
    response = np.stack([share, 1 - share, np.full(6, np.nan)], axis=-1).reshape(1, 1, 6, 3)
    over_a, n_a = response.copy(), n.copy()
    pool(response, n, lattice, [0])
    assert n[0, 0, 0] == 60
    np.testing.assert_allclose(response[0, 0, 0], [0.5, 0.5, np.nan], atol=1e-15)
    pool(over_a, n_a, lattice, [0], over=0)
    assert n_a[0, 0, 0] == 40
    np.testing.assert_allclose(over_a[0, 0, 0], [0.4, 0.6, np.nan], atol=1e-15)


# --- ACE-Align: in ----------------------------------------------------------------------------------------------------


def test_tree__numbers_and_labels(imported):
    cube = imported.cube
    assert cube["country"].values.tolist() == ["japan", "nigeria"]
    assert cube["country_label"].values.tolist() == ["Japan", "Nigeria"]
    assert cube["value"].values.tolist() == ["trust.v1", "Q3", "work.v1", "v2"]  # v1 stands in two topics
    assert cube["scale"].values.tolist() == ["ordinal", "nominal", "ordinal", "ordinal"]
    assert cube["attribute"].values.tolist() == ["gender:Female", "education:College"]
    assert cube["question"].sel(value="v2") == "Do you feel the nationality of [COUNTRY]?"
    assert cubes.lattice_of(cube).attributes[0].levels[1].phrase == "a woman"
    for country in ("japan", "nigeria"):
        for (topic, name), people in counts_of(country).items():
            value = {"v1": f"{topic}.v1"}.get(name, name)
            cell = cube.sel(country=country, value=value)
            for persona, part in {
                "all": people,
                "gender=Male": people[0],
                "education=College": people[:, 1],
                "gender=Female,education=No_College": people[1, 0],
            }.items():
                total = part.reshape(-1, part.shape[-1]).sum(axis=0)
                assert cell["n"].sel(persona=persona) == total.sum()
                shares = cell["response"].sel(persona=persona).values[: len(total)]
                np.testing.assert_allclose(shares, total / total.sum(), atol=1e-15)


def test_tree__traps_are_counted(imported):
    assert imported.noted == {
        "questions coded from 0 (options are kept by position)": 2,
        "questions whose options have no order (taken as nominal, written as if they had one)": 1,
        "questions with a placeholder for the country (filled when a model is asked)": 2,
        "questions with another placeholder (worded out)": 1,
        "question ids that stand in several topics (named topic.id)": 1,
        "groups of fewer than 10 people": 2,
        "groups of one person": 2,
    }
    assert json.loads(imported.cube.attrs["noted"]) == imported.noted
    assert imported.problems == []
    thin = imported.cube.sel(value="work.v1", attribute="education:College", persona="gender=Female")
    assert (thin["status"] == schema.TOO_FEW).all()


def test_tree__gaps_unchosen_left_out_and_unknown_placeholders(tree, tmp_path):
    folder = plant(tmp_path / "eval", ["japan"])
    for path in folder.rglob("work_real.json"):
        rows = json.loads(path.read_text())
        for row in rows:
            if row["question_id"] == "v1":
                row["options"] = {"1": "Not", "2": "A bit", "4": "Never chosen"}
                row["p_real"] = {"1": row["p_real"]["1"], "2": 1 - row["p_real"]["1"]}
                row["question_text"] = "Do you trust [PARTY X]? [LEADER]"
        path.write_text(json.dumps(rows))
    (folder / "japan" / "notes.txt").write_text("x")
    noted = import_cube("ace-align", folder).noted
    assert noted["questions with gaps between their codes (options are kept by position)"] == 1
    assert noted["questions of a country with an option that nobody chose (a shorter scale on a longer one?)"] == 1
    assert noted["rows that leave out options (taken as nobody's)"] == 8
    assert noted["questions with an unknown placeholder (no model can be asked them)"] == 1
    assert noted["files that are not of the layout (left alone)"] == 1


def test_tree__one_country_alone_gives_the_same_cells(tree, imported):
    alone = import_cube("ace-align", tree / "nigeria").cube
    xr.testing.assert_equal(alone["shift"], imported.cube["shift"].sel(country=["nigeria"]))


def test_baseline__turns_the_contrast(tree, imported):
    turned = import_cube("ace-align", tree, Choices(baselines=parse_baselines(["gender=Female"]))).cube
    one, other = turned.sel(attribute="gender:Male"), imported.cube.sel(attribute="gender:Female")
    np.testing.assert_allclose(one["effect"], -other.sel(persona=one["persona"].values)["effect"], atol=1e-15)
    for wrong in (["colour=red"], ["gender=none"], ["gender"], ["gender=Male", "gender=Female"]):
        with pytest.raises(AceError, match="--baseline"):
            import_cube("ace-align", tree, Choices(baselines=parse_baselines(wrong)))
    with pytest.raises(AceError, match="--nominal"):
        import_cube("ace-align", tree, Choices(nominal=("v9",)))
    assert import_cube("ace-align", tree, Choices(nominal=("v2",))).cube["scale"].sel(value="v2") == "nominal"


def test_choices__out_of_range():
    for wrong in ({"min_arm": 1}, {"confidence": 1.0}, {"respondents": 0}):
        with pytest.raises(AceError, match="out of range"):
            Choices(**wrong)


# --- ACE-Align: what is wrong -----------------------------------------------------------------------------------------


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


@given(st.text(min_size=1))
@settings(max_examples=200, deadline=None)
def test_names__are_safe_and_stay(text):
    name, file = slug(text), file_name(text)
    assert not set(name) & set(",=:/ \n")
    assert slug(name) == name
    assert "/" not in file
    assert file not in (".", "..", "")
    assert file_name(file) == file


# --- ACE-Align: out, and back -----------------------------------------------------------------------------------------


def test_round_trip__loses_what_it_says_and_nothing_else(designed, tmp_path):
    lost = export_cube("ace-align", designed, tmp_path / "tree")
    assert [text.split(":")[0] for text in lost] == [
        "the persona all",
        "the effects (direct)",
        "weights",
        "standard errors under the design",
        "labels of levels and their wording in personas",
        "diagnostics",
    ]
    back = aligned(import_cube("ace-align", tmp_path / "tree").cube, designed)
    for name in ("country_label", "question", "topic", "scale", "n_options", "option_label", "treated", "baseline"):
        np.testing.assert_array_equal(back[name].values, designed[name].values, err_msg=name)
    told = designed["granularity"].values > 0
    np.testing.assert_array_equal(back["n"].values[:, :, told], designed["n"].values[:, :, told])
    np.testing.assert_allclose(
        back["response"].values[:, :, told], designed["response"].values[:, :, told], rtol=0, atol=1e-12
    )
    with pytest.raises(AceError, match="exists already"):
        export_cube("ace-align", designed, tmp_path / "tree", force=True)


def test_round_trip__of_what_was_imported_loses_only_what_is_derived(imported, tmp_path):
    lost = export_cube("ace-align", imported.cube, tmp_path / "tree")
    assert [text.split(":")[0] for text in lost] == ["the persona all", "that options have no order"]
    back = import_cube("ace-align", tmp_path / "tree").cube
    for name in imported.cube.data_vars:
        one, other = aligned(back, imported.cube)[name].values, imported.cube[name].values
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12, err_msg=name)


def test_round_trip__baseline_that_is_not_the_first_level(tree, tmp_path):
    cube = import_cube("ace-align", tree, Choices(baselines={"gender": "Female", "education": "College"})).cube
    lost = export_cube("ace-align", cube, tmp_path / "tree")
    assert any("order of levels" in text and "gender, education" in text for text in lost)
    back = import_cube("ace-align", tmp_path / "tree").cube
    assert back["attribute"].values.tolist() == ["gender:Male", "education:No_College"]
    np.testing.assert_allclose(aligned(back, cube)["effect"], cube["effect"], atol=1e-12)


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


# --- the published table ----------------------------------------------------------------------------------------------


def published_table(folder: Path, answers) -> dict[int, dict[str, float]]:
    """Reckon the table from the files, row by row; `answers` gives the model's shares for a row."""
    table: dict[int, dict[str, float]] = {}
    for country in sorted(p.name for p in folder.iterdir()):
        for size in range(1, 5):
            files = []
            for path in sorted((folder / country / f"{size}_attributes").glob("*/*_real.json")):
                enough, everybody = [], []
                for row in json.loads(path.read_text(encoding="utf-8")):
                    total, behind = 0.0, 0.0
                    for people, model in zip(row["p_real"].values(), answers(country, row), strict=True):
                        behind += people - model
                        total += abs(behind)
                    emd = total / (len(row["p_real"]) - 1)
                    everybody.append(emd)
                    if row["sample_count"] >= 10:
                        enough.append(emd)
                if everybody:
                    files.append(sum(enough or everybody) / len(enough or everybody))
            if files:
                table.setdefault(size, {})[country] = 100 * (1 - sum(files) / len(files))
    return table


def test_protocol__loop_over_the_exported_files(imported, plain, tmp_path):
    """Oracle: a plain loop over the JSON tree. atol 1e-12, on 0..100."""
    small = plain.copy(deep=True)
    small["n"].values[:] = np.random.default_rng(0).integers(0, 14, size=small["n"].shape)
    for number, human in enumerate((imported.cube, plain, small)):
        model = noisy_model(human, number)
        export_cube("ace-align", human, tmp_path / str(number))

        def answers(country, row, model=model):
            levels = [f"{a}={x}" for a, x in row["demographics"].items() if a != "country"]
            at = {"country": country, "value": row["question_id"], "persona": ",".join(levels)}
            return model["response"].sel(at).values[: len(row["options"])].tolist()

        expected = published_table(tmp_path / str(number), answers)
        result = ace_align(human, model)
        assert {row["granularity"] for row in result["rows"]} == set(expected)
        for row in result["rows"]:
            assert row["countries"] == pytest.approx(expected[row["granularity"]], abs=1e-12)
            assert row["mean"] == pytest.approx(np.mean(list(row["countries"].values())), abs=1e-12)


def test_protocol__thin_files_count_whole_and_command(imported, tmp_path):
    human = imported.cube.copy(deep=True)
    few = human["n"].sel(value=["work.v1", "v2"], persona="gender=Male").copy() * 0 + 3
    human["n"].loc[{"value": ["work.v1", "v2"], "persona": "gender=Male"}] = few
    human["n"].loc[{"value": ["work.v1", "v2"], "persona": "gender=Female"}] = few
    model = noisy_model(human)
    result = ace_align(human, model)
    assert (result["thin"], result["files"]) == (2, 12)  # one topic, one combination, two countries
    write_cube(imported.cube, tmp_path / "h.zarr")
    write_cube(model, tmp_path / "m.zarr")
    printed = json.loads(
        run("compare", tmp_path / "h.zarr", tmp_path / "m.zarr", "--protocol", "ace-align", "--json").stdout
    )  # fmt: skip
    assert printed == ace_align(imported.cube, model)
    text = run("compare", tmp_path / "h.zarr", tmp_path / "m.zarr", "--protocol", "ace-align").stdout
    assert f"{printed['rows'][0]['mean']:.2f}" in text
    run(
        "compare", tmp_path / "h.zarr", tmp_path / "m.zarr", "--protocol", "ace-align", "--hold-out", "value=v2", code=2
    )


# --- popfidelity ------------------------------------------------------------------------------------------------------


def test_levels__popfidelity_measures():
    """Oracle: popfidelity 0.1.2 (`oracles/levels.py` made the numbers). atol 1e-12."""
    found = json.loads((Path(__file__).parent / "oracles" / "levels.json").read_text(encoding="utf-8"))
    assert found["made_by"] == {"popfidelity": "0.1.2"}
    for case in found["cases"]:
        people, model = np.array(case["people"]), np.array(case["model"])
        for name, scale in (("nemd", "ordinal"), ("total_variation", "nominal")):
            ours = distribution_distance(people, model, people.shape[1], scale)
            np.testing.assert_allclose(ours, case[name], rtol=0, atol=1e-12)


def test_cells__round_trip(plain, imported, tmp_path):
    for number, cube in enumerate((plain, imported.cube)):
        folder = tmp_path / str(number)
        lost = export_cube("popfidelity", cube, folder)
        assert lost[0].startswith("personas that specify less")
        table = pd.read_csv(folder / "survey_cells.csv", keep_default_na=False)
        assert table.columns.tolist() == ["cell_id", "question", "option", "share", "n", "source"]
        sums = table.groupby(["question", "cell_id"])["share"].sum()
        np.testing.assert_allclose(sums, 1, atol=1e-12)
        back = aligned(import_cube("popfidelity", folder).cube, cube)
        np.testing.assert_array_equal(back["n"].values, cube["n"].values)
        np.testing.assert_allclose(back["response"].values, cube["response"].values, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(back["scale"].values, cube["scale"].values)
        np.testing.assert_array_equal(back["question"].values, cube["question"].values)
        np.testing.assert_allclose(back["shift"].values, cube["shift"].values, rtol=0, atol=1e-12)


def test_cells__of_a_model_and_of_a_cut_lattice(plain, tmp_path):
    model = noisy_model(plain)
    lost = export_cube("popfidelity", model, tmp_path / "m")
    assert "shifts and effects" in lost
    table = pd.read_csv(tmp_path / "m" / "model_cells.csv")
    assert table["source"].unique().tolist() == ["model"]
    survey, _ = simulate(World.make(attributes=3, levels=(2, 2, 3), values=1, options=3), respondents=400)
    cut = estimate(survey, estimand="association", depth=2)
    export_cube("popfidelity", cut, tmp_path / "cut")
    back = aligned(import_cube("popfidelity", tmp_path / "cut").cube, cut)
    np.testing.assert_allclose(back["response"].values, cut["response"].values, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("cell_id,question", "cell,question", "columns are missing"),
        ("0.25", "nan", "a share is none"),
        ("0.25", "x", "share is no number"),
        ("0.25", "0.5", "do not sum to 1"),
        ("a|x,q,no,0.75,40", "a|x,q,no,0.75,41", "n differs within a cell"),
        ("a|x,q,no", "a|x,q,yes", "lists the option twice"),
        ("b|x,", "b,", "another number of parts"),
        ("40", "4.5", "no number of people"),
        ("a|x,q,no,0.75,40", "a|x,q", "is too short"),
    ],
)
def test_cells__what_is_wrong(tmp_path, old, new, says):
    path = tmp_path / "cells.csv"
    text = "cell_id,question,option,share,n\na|x,q,yes,0.25,40\na|x,q,no,0.75,40\nb|x,q,yes,0.5,60\nb|x,q,no,0.5,60\n"
    text += "a|z,q,yes,0.5,60\na|z,q,no,0.5,60\n"
    choices = {"attributes": ("first", "second"), "country": "Utopia"}
    path.write_text(text)
    assert import_cube("popfidelity", path, Choices(**choices)).cube["n"].sel(persona="first=a") == 100
    with pytest.raises(DataError, match="--country"):
        import_cube("popfidelity", path, Choices(attributes=("first", "second")))
    with pytest.raises(DataError, match="--attributes"):
        import_cube("popfidelity", path, Choices(country="Utopia"))
    path.write_text(text.replace(old, new))
    with pytest.raises(DataError, match=says) as caught:
        import_cube("popfidelity", path, Choices(**choices))
    assert "cells.csv" in str(caught.value)


def test_cells__sources(tmp_path):
    path = tmp_path / "cells.csv"
    rows = ["cell_id,question,option,share,source"]
    for source, share in (("survey", 0.25), ("M1", 0.5)):
        rows += [f"{cell},q,{o},{s},{source}" for cell in "ab" for o, s in (("yes", share), ("no", 1 - share))]
    path.write_text("\n".join(rows))
    choices = {"attributes": ("g",), "country": "Utopia", "respondents": 40}
    assert import_cube("popfidelity", path, Choices(**choices)).cube["response"].values[0, 0, 1, 0] == 0.25
    other = import_cube("popfidelity", path, Choices(**choices, source="M1")).cube
    assert other["response"].values[0, 0, 1, 0] == 0.5
    with pytest.raises(DataError, match="which source"):
        import_cube("popfidelity", path, Choices(**choices, source="M2"))
    with pytest.raises(DataError, match="--respondents"):
        import_cube("popfidelity", path, Choices(**choices | {"respondents": None}))


# --- SubPOP -----------------------------------------------------------------------------------------------------------


def subpop_rows(**changed) -> list[dict]:
    base = {
        "question": "Should more be spent on roads?",
        "options": ["Less", "Same", "More", "Refused"],
        "ordinal": [1.0, 2.0, 3.0],
        "refusal_rate": 0.01,
    }
    groups = [("SEX", "Male", 0.3), ("SEX", "Female", 0.2), ("INCOME", "$100,000 or more", 0.1), ("INCOME", "x/y", 0.4)]
    groups += [("INCOME", "Less", 0.1)]
    return [
        {"qkey": "roads", "attribute": a, "group": g, **base, "responses": [p, 0.5, 0.5 - p], **changed}
        for a, g, p in groups
    ]


def read_subpop(path: Path, rows: list, **choices):
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return import_cube("subpop", path, Choices(**{"respondents": 400, **choices}))


def test_subpop__shifts_only_from_a_named_baseline(tmp_path):
    path = tmp_path / "a.jsonl"
    found = read_subpop(path, subpop_rows(), baselines={"SEX": "Female"})
    cube = found.cube
    assert cube["persona"].values.tolist()[:3] == ["all", "SEX=Male", "SEX=Female"]
    assert "INCOME=_100_000_or_more" in cube["persona"].values
    assert cube["option_label"].values.tolist() == [["Less", "Same", "More"]]
    status = cube["status"].sel(persona="all", value="roads").squeeze()
    assert status.sel(attribute="SEX:Male") == schema.OK
    assert (status.sel(attribute=["INCOME:x_y", "INCOME:Less"]) == schema.NOT_ASKED).all()
    shift = cube["shift"].sel(attribute="SEX:Male", persona="all").values.ravel()
    np.testing.assert_allclose(shift, [0.1, 0, -0.1], atol=1e-12)
    marginal = cube["response"].sel(persona="all").values.ravel()
    np.testing.assert_allclose(marginal, [0.25, 0.5, 0.25], atol=1e-12)  # of SEX, which has the fewest levels
    assert any("INCOME" in text and "--baseline ATTRIBUTE=GROUP" in text for text in found.noted)
    with pytest.raises(DataError, match="--respondents"):
        read_subpop(path, subpop_rows(), respondents=None)


@pytest.mark.parametrize(
    ("ordinal", "labels", "scale"),
    [
        ([3, 2, 1], ["More", "Same", "Less"], "ordinal"),
        ([1, 1, 1], ["Less", "Same", "More"], "nominal"),
        ([1, -1, 2], ["Less", "More"], "binary"),
        (None, ["Less", "Same", "More"], "nominal"),
    ],
)
def test_subpop__order_of_options(tmp_path, ordinal, labels, scale):
    cube = read_subpop(tmp_path / "a.jsonl", subpop_rows(ordinal=ordinal)).cube
    assert cube["option_label"].values.tolist() == [labels]
    assert cube["scale"].values.tolist() == [scale]
    male = dict(zip(labels, cube["response"].sel(persona="SEX=Male").values.ravel(), strict=True))
    left = 0.5 if -1 in (ordinal or []) else 1.0
    assert male["Less"] == pytest.approx(0.3 / left, abs=1e-12)


def test_subpop__what_is_wrong(tmp_path):
    for changed, says in (
        ({"responses": [0.2] * 5}, "more shares than options"),
        ({"responses": [0.5, 0.2, 0.2]}, "do not sum to 1"),
        ({"ordinal": [1, 2]}, "ordinal is no list of places"),
        ({"ordinal": "up"}, "ordinal is of the wrong kind"),
        ({"group": None}, "group is of the wrong kind"),
    ):
        rows = subpop_rows()
        rows[1] |= changed
        with pytest.raises(DataError, match=says) as caught:
            read_subpop(tmp_path / "a.jsonl", rows)
        assert "a.jsonl, row 2" in str(caught.value)
    with pytest.raises(DataError, match="is empty"):
        read_subpop(tmp_path / "a.jsonl", [])
    with pytest.raises(DataError, match="is a folder"):
        import_cube("subpop", tmp_path, Choices(respondents=1))
    with pytest.raises(DataError, match="get the same name"):
        read_subpop(tmp_path / "a.jsonl", [*subpop_rows(), subpop_rows(group="x y")[3]])


# --- the rest ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_broom__is_the_table_of_the_cube(imported, tmp_path, suffix):
    write_cube(imported.cube, tmp_path / "h.nc")
    result = run("export", "broom", tmp_path / "h.nc", "-o", tmp_path / f"a{suffix}")
    assert "cells of nominal values" in result.stderr
    path = tmp_path / f"a{suffix}"
    found = pd.read_parquet(path) if suffix == ".parquet" else pd.read_csv(path)
    expected = imported.cube.ace.table().dropna(subset=["estimate"])
    pd.testing.assert_frame_equal(found, expected.reset_index(drop=True), check_exact=True, check_dtype=False)
    assert {"term", "estimate", "std.error", "statistic", "p.value", "conf.low", "conf.high", "country"} <= set(found)
    assert not found.isna().any(axis=None)
    run("export", "broom", tmp_path / "h.nc", "-o", path, code=1)
    run("export", "broom", tmp_path / "h.nc", "-o", path, "--force")
    run("export", "broom", tmp_path / "h.nc", "-o", tmp_path / "a.xlsx", code=1)


def test_downstream__takes_an_imported_cube(imported, tmp_path):
    model = noisy_model(imported.cube)
    result = compare(imported.cube, model)
    assert result["level"]["cells"] == int((imported.cube["n"] >= 10).sum())
    assert np.isfinite(result["level"]["null"])
    assert np.isfinite(result["effect"]["ceiling"])
    assert len(make_targets(imported.cube, source="association")) == 8
    assert len(make_targets(imported.cube, source="shrunk")) == 8
    assert "Association" in render(imported.cube, {"model": model}).title()
    partial = read_subpop(tmp_path / "a.jsonl", subpop_rows(), baselines={"SEX": "Male"}).cube
    assert compare(partial, noisy_model(partial))["level"]["cells"] == 6


def test_models__are_not_written_as_people(imported, tmp_path):
    model = noisy_model(imported.cube)
    for name in ("ace-align", "ace-align-pairs"):
        with pytest.raises(CubeError, match="is a model's cube"):
            export_cube(name, model, tmp_path / "x.jsonl")
    assert list(tmp_path.iterdir()) == []
    export_cube("broom", model, tmp_path / "m.csv")
    assert "std.error" not in pd.read_csv(tmp_path / "m.csv").columns


def test_help__says_what_each_format_holds():
    for command, formats in (("import", IMPORTS), ("export", EXPORTS)):
        text = run(command, "--help").output
        for name in formats:
            assert f"{name}: " in text
