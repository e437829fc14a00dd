"""The transfer matrix: each cell is what the separate commands say, whatever was cut off on the way."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner

from acecausal.comparison import holdout
from acecausal.cube import schema
from acecausal.cube.files import open_cube, write_cube
from acecausal.errors import AceError
from acecausal.estimation.estimate import estimate
from align.training import transfer as module
from align.training.lattice_trainer import LatticeTrainer
from align.training.transfer import groups_of, transfer
from cli import main

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

FEW = 2  # examples


@pytest.fixture(scope="module")
def two(small):
    """Two countries, so that a matrix takes seconds."""
    return small.isel(country=[1, 3])


@pytest.fixture(scope="module")
def quick(recipe):
    """One short pass, in one way; `interview` is kept back."""
    return recipe.model_copy(update={"passes": 2})


@pytest.fixture(scope="module")
def done(tiny_model, two, quick, tmp_path_factory):
    folder = tmp_path_factory.mktemp("transfer") / "run"
    return folder, transfer(tiny_model, two, quick, folder, over="country", examples=FEW)


def invoke(*args) -> str:
    result = CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_cell__is_align_elicit_and_compare_by_hand(done, tiny_model, two, quick, tmp_path):
    """Oracle: the separate commands, asked in the kept wordings; exact."""
    _, matrix = done
    asked, trained = two["country"].values.astype(str).tolist()
    cube, recipe = tmp_path / "human.zarr", tmp_path / "recipe.yaml"
    write_cube(two, cube)
    recipe.write_text(json.dumps(quick.model_dump(mode="json")))
    adapter, answers = tmp_path / "adapter", tmp_path / "after.zarr"
    invoke("align", "--model", tiny_model, "--cube", cube, "--recipe", recipe, "--hold-out", f"country={asked}",
           "-o", adapter)  # fmt: skip
    ways = {wording.label.split()[k] for k in (1,) for wording in quick.kept_wordings}
    orders = [part for order in sorted(ways) for part in ("--order", order)]
    invoke("elicit", "--model", tiny_model, "--adapter", adapter, "--like", cube, "--template", "interview",
           "--marks", "digits", *orders, "-o", answers)  # fmt: skip
    for about in (asked, trained):
        other = trained if about == asked else asked
        result = json.loads(invoke("compare", cube, answers, "--hold-out", f"country={other}", "--json"))
        (group,) = (g for g in result["groups"] if (g["by"], g["key"]) == ("held_out", "trained"))
        cell = matrix.sel(row=f"trained on {trained}", asked=about)
        for part in ("effect", "level"):
            for measure in ("skill", "distance", "null", "ceiling", "cells"):
                assert cell[f"{part}_{measure}"].item() == group[part][measure], (about, part, measure)
        assert bool(cell["own"]) == (about == trained)


def test_matrix__rows_and_what_is_known_of_them(done, two):
    folder, matrix = done
    first, second = two["country"].values.astype(str).tolist()
    assert matrix["row"].values.tolist() == [
        "untrained", f"examples of {first}", f"examples of {second}", f"trained on {first}", f"trained on {second}",
    ]  # fmt: skip
    assert matrix["own"].values.tolist() == [[False, False], *[[True, False], [False, True]] * 2]
    skill = matrix["effect_skill"].values
    assert np.isfinite(skill).all()
    assert len(np.unique(skill)) == skill.size  # no row or column stands for another
    for name in ("null", "ceiling", "cells"):  # of people alone
        for part in ("effect", "level"):
            assert (matrix[f"{part}_{name}"] == matrix[f"{part}_{name}"][0]).all()
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["transfer.json", "untrained.zarr", "trained-1-norway", "trained-2-usa"]
        + [f"{method}-{place}.zarr" for method in ("examples", "trained") for place in ("1-norway", "2-usa")]
    )
    for name, place in (("examples-1-norway", "in Norway"), ("examples-2-usa", "in the United States")):
        *shown, asked = open_cube(folder / f"{name}.zarr").attrs["prompt_example"].split("\n\n")
        assert len(shown) == FEW
        assert all(place in one for one in shown)
        assert "in Norway" in asked  # the first country, of which the example is


def test_resume__cut_off_twice_ends_at_the_same_table(done, tiny_model, two, quick, tmp_path, monkeypatch):
    """Property: cut off in a training and before its asking, nothing is done twice, and every number is the same."""
    _, whole = done
    run, trained = tmp_path / "run", []
    plain_train, plain_loss = module.train, LatticeTrainer.compute_loss

    def counted(*args, **kwargs):
        trained.append((args[4].name, kwargs["resume"]))
        return plain_train(*args, **kwargs)

    def killed(self, *args, **kwargs):
        if len(trained) == 2 and self.state.global_step == 1:
            raise KeyboardInterrupt
        return plain_loss(self, *args, **kwargs)

    def unasked(backend, *args, **kwargs):
        raise KeyboardInterrupt

    def go(**more):
        return transfer(tiny_model, two, quick, run, over="country", examples=0, **more)

    monkeypatch.setattr(module, "train", counted)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LatticeTrainer, "compute_loss", killed)
        go()
    assert (run / "trained-1-norway.zarr").exists()
    assert not (run / "trained-2-usa.zarr").exists()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "elicit", unasked)
        go(resume=True)
    assert not (run / "trained-2-usa.zarr").exists()
    steps = []
    found = go(resume=True, progress=lambda at, of: steps.append((at, of)))
    assert trained == [("trained-1-norway", False), ("trained-2-usa", False), ("trained-2-usa", True)]
    assert steps[-1] == (300, 300)
    xr.testing.assert_identical(found, whole.isel(row=whole["method"].values != "examples"))


def test_command__table_picture_and_other_settings(done, tiny_model, two, quick, tmp_path):
    """The command goes on with what Python began: all is done, so that the table is its numbers, unrounded."""
    folder, matrix = done
    cube, recipe = tmp_path / "human.zarr", tmp_path / "recipe.yaml"
    write_cube(two, cube)
    recipe.write_text(json.dumps(quick.model_dump(mode="json")))
    args = ["transfer", "--model", tiny_model, "--cube", cube, "--recipe", recipe, "-o", folder]
    same = [*args, "--over", "country", "--examples", FEW]
    printed = invoke(*same, "--resume")
    corner = matrix["effect_skill"].sel(row="trained on USA", asked="USA").item()
    assert f"{corner:.2f}*" in printed
    listed = pd.read_csv(folder / "transfer.csv", keep_default_na=False).set_index(["method", "group", "asked"])
    assert len(listed) == matrix["own"].size
    for row in matrix["row"].values:
        for about in matrix["asked"].values:
            cell = matrix.sel(row=row, asked=about)
            line = listed.loc[cell["method"].item(), cell["group"].item(), about]
            assert float(line["effect_skill"]) == cell["effect_skill"].item()
            assert float(line["level_distance"]) == cell["level_distance"].item()
            assert line["own"] == cell["own"].item()
    first = (folder / "transfer.csv").read_bytes()
    picture = (folder / "transfer.svg").read_text("utf-8")
    for text in ("Effect skill", "Level skill", "trained on USA", "examples of Norway", "untrained", f">{corner:.2f}<"):
        assert text in picture or text.replace("-", "−") in picture, text
    invoke(*same, "--resume")
    assert (folder / "transfer.csv").read_bytes() == first

    def refused(*more) -> str:
        result = CliRunner().invoke(main, [str(arg) for arg in (*args, *more)])
        assert result.exit_code == 1
        assert result.stderr.count("Error:") == 1
        return result.stderr

    said = refused("--over", "country", "--examples", FEW + 1, "--passes", 3, "--resume")
    assert "is another run" in said
    assert "a different examples, recipe" in said
    assert "--resume goes on" in refused("--over", "country")
    (folder / "notes.txt").write_text("mine")
    assert "notes.txt" in refused("--over", "country", "--force")
    (folder / "notes.txt").unlink()
    assert (folder / "trained-2-usa" / "adapter_model.safetensors").exists()


def test_groups__each_sees_itself_alone(small):
    """Oracle: the personas' own names."""
    for attribute, held in groups_of(small, "attribute").items():
        response, effect = holdout.masks(held, small)
        personas = small["persona"].values[~response[0, 0]].astype(str)
        assert set(personas) == {"all", *(p for p in small["persona"].values if p.startswith(f"{attribute}=")
                                          and "," not in p)}  # fmt: skip
        _, contrast, _, context = np.nonzero(~effect & (small["status"].values == schema.OK))
        assert set(small["treatment"].values[contrast]) == {attribute}
        assert set(small["persona"].values[context]) == {"all"}
    seen = {group: holdout.masks(held, small)[0] for group, held in groups_of(small, "country").items()}
    for c, country in enumerate(small["country"].values):
        assert not seen[str(country)][c].any()
        assert seen[str(country)][np.arange(4) != c].all()


def test_groups__near_duplicates_of_other_topics_are_left_out(plain):
    topics = plain.assign_coords(
        topic=("value", np.array(["work", "home", "home"], dtype=object)),
        question=("value", np.array(["Is paid work good for a man?", "Is paid work good for a woman?",
                                     "Who should cook?"], dtype=object)),
    )  # fmt: skip
    alike = topics.assign_coords(question=("value", topics["question"].values[[0, 0, 2]]))
    assert groups_of(topics, "topic") == {"work": {"topic": ["home"]}, "home": {"topic": ["work"]}}
    with pytest.raises(AceError, match=r"without an estimated effect of their own\n  got: work\n"):
        groups_of(alike, "topic")


@pytest.mark.parametrize("over", ["country", "topic", "attribute", "planet"])
def test_groups__one_alone_or_of_nothing(small, wvs, over):
    if over == "country":
        small = small.isel(country=[0])
    if over == "attribute":
        small = estimate(wvs, attributes=["gender"])
    says = "--over: unknown name" if over == "planet" else f"--over {over}: there is one group alone"
    with pytest.raises(AceError, match=says):
        groups_of(small, over)


def test_refused__before_a_model_is_looked_for(two, quick, tmp_path):
    def go(cube=two, recipe=quick, **more):
        return transfer(tmp_path / "no model", cube, recipe, tmp_path / "run", **{"over": "country"} | more)

    with pytest.raises(AceError, match="keeps no wording back"):
        go(recipe=quick.model_copy(update={"kept_back": ()}))
    with pytest.raises(AceError, match="one group alone"):
        go(cube=two.isel(country=[0]))
    with pytest.raises(AceError, match="examples"):
        go(examples=-1)
    assert not (tmp_path / "run").exists()


def test_folder__no_run_to_go_on_with_and_what_is_not_ours(tiny_model, two, quick, tmp_path):
    def go(**more):
        return transfer(tiny_model, two, quick, tmp_path / "run", over="country", **more)

    with pytest.raises(AceError, match="no run to resume"):
        go(resume=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("x")
    for more in ({}, {"resume": True}, {"force": True}):
        with pytest.raises(AceError, match=r"did not write(.|\n)*thesis"):
            go(**more)
    assert (tmp_path / "run" / "thesis.txt").read_text() == "x"
