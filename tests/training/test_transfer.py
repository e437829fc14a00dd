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
from align.training import transfer as module
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
