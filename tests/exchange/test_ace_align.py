"""ACE-Align's tree: the counts it was written from come back, its published traps are counted, and round trips."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from exchange_files import aligned, counts_of, plant

from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.errors import AceError, DataError
from acecausal.estimation.estimate import estimate
from acecausal.exchange import export_cube, import_cube
from acecausal.exchange.choices import Choices
from acecausal.exchange.rows import ANOTHER_ORDER, parse_baselines
from acecausal.simulation.surveys import simulate
from acecausal.simulation.world import World


@pytest.fixture(scope="module")
def designed() -> xr.Dataset:
    """Direct effects under a design."""
    survey, _ = simulate(World.make(values=2), respondents=600, clusters=30, weights=True)
    return estimate(survey)


# --- in ---------------------------------------------------------------------------------------------------------------


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


def test_options__go_by_their_words(tmp_path, imported):
    """Oracle: the same tree with the options of one country as they were. What a country lists the other way round, in
    capitals or in any order, has the same shares under the same words. atol 1e-15."""
    folder = plant(tmp_path / "eval")
    rng = np.random.default_rng(0)
    for path in (folder / "nigeria").rglob("*_real.json"):
        rows = json.loads(path.read_text())
        for row in rows:
            codes = list(row["options"])
            there = [codes[k] for k in rng.permutation(len(codes))]
            row["options"] = {
                code: row["options"][other].upper() + " " for code, other in zip(codes, there, strict=True)
            }
            row["p_real"] = {code: row["p_real"][other] for code, other in zip(codes, there, strict=True)}
        path.write_text(json.dumps(rows))
    found = import_cube("ace-align", folder)
    assert found.noted[ANOTHER_ORDER] > 20
    for name in ("response", "shift", "effect", "effect_se", "p_value"):
        np.testing.assert_allclose(found.cube[name], imported.cube[name], rtol=0, atol=1e-15, err_msg=name)
    np.testing.assert_array_equal(found.cube["option_label"], imported.cube["option_label"])


def test_options__of_other_words_are_refused(tmp_path):
    folder = plant(tmp_path / "eval")
    for path in (folder / "nigeria").rglob("work_real.json"):
        path.write_text(path.read_text().replace('"A bit"', '"Somewhat"'))
    with pytest.raises(DataError, match=r"other options elsewhere(.|\n)*Not \| A bit \| Very(.|\n)*Not \| Somewhat"):
        import_cube("ace-align", folder)
    found = import_cube("ace-align", folder, Choices(keep_going=True))
    assert len(found.problems) == 8
    assert (found.cube["n"].sel(country="nigeria", value="work.v1") == 0).all()


def test_statements__used_or_contradicted(tmp_path):
    """What a row says of itself: attributes_used, category, the country's label, the question."""

    def read(change):
        folder = plant(tmp_path / str(len(list(tmp_path.iterdir()))))
        for path in (folder / "japan" / "1_attributes" / "gender").iterdir():
            rows = json.loads(path.read_text())
            change(rows[-1])
            path.write_text(json.dumps(rows))
        return import_cube("ace-align", folder)

    assert read(lambda row: row.update(attributes_used=["gender"])).problems == []
    with pytest.raises(DataError, match="not those of attributes_used"):
        read(lambda row: row.update(attributes_used=["education"]))
    with pytest.raises(DataError, match="another label elsewhere"):
        read(lambda row: row["demographics"].update(country="Peru"))
    noted = read(lambda row: row.update(question_text="Other?")).noted
    assert noted["rows whose question is worded otherwise than in the first (its wording is kept)"] == 2
    with pytest.raises(DataError, match="the group comes twice"):
        read(lambda row: row["demographics"].update(gender="Male"))


# --- out, and back ----------------------------------------------------------------------------------------------------


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
