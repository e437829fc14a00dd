"""Warnings of a model's cube are the same wherever the cube is read: by elicit, compare, show and the report."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from acecausal.comparison import answering
from acecausal.cube.files import write_cube
from acecausal.report.finding import wordings
from acecausal.simulation.truth import truth
from acecausal.simulation.world import World
from cli.main import main


@pytest.fixture
def model():
    return truth(World.make(countries=2, values=2), depth=1)


FAULTS = {
    "something that is no option": lambda cube: cube.assign(option_mass=cube["option_mass"] * 0 + 0.3),
    "check questions, the model puts most": lambda cube: cube.assign_attrs(checks_option_mass=0.2),
    "listed no option of 7 prompts": lambda cube: cube.assign_attrs(prompts_missing=7),
    "listed no option of 3 check questions": lambda cube: cube.assign_attrs(checks_missing=3),
    "after 5 prompts": lambda cube: cube.assign_attrs(short_lists=5),
    "put in for them is 20.0%": lambda cube: cube.assign(imputed_share=cube["option_mass"] * 0 + 0.2),
    "nearly every answer is certain": lambda cube: cube.assign(
        response=cube["response"] * 0 + np.eye(cube.sizes["option"])[0]
    ),
    "digits do not stand for their options": lambda cube: cube.assign_attrs(marks='["digits"]', order_agreement=-0.9),
}


def test_warnings__none_of_a_good_model(model):
    assert answering.warnings(model) == []


@pytest.mark.parametrize("said", FAULTS)
def test_warnings__everywhere(model, tmp_path, said):
    cube = FAULTS[said](model)
    assert sum(said in text for text in answering.warnings(cube)) == 1
    assert sum(said in text for text in wordings({"m": cube})) == 1
    write_cube(cube, tmp_path / "m.nc")
    shown = CliRunner().invoke(main, ["show", str(tmp_path / "m.nc")], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    assert shown.stderr.count(said) == 1
