"""What --dry-run says before is what the cube says after."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from acecausal.cube import schema
from acecausal.estimation.estimate import estimate
from acecausal.estimation.forecast import advice, forecast
from acecausal.estimation.plan import make_plan


def test_forecast__thin_cells_are_those_of_the_cube(wvs, human):
    """Oracle: the arm sizes of the estimated cube, by attributes of the context."""
    plan = make_plan(wvs)
    found = forecast(wvs, plan)
    edges = (human["status"] != schema.NOT_APPLICABLE).values
    few = (np.minimum(human["n_baseline"], human["n_treated"]) < 30).values
    assert found.cells == edges.sum()
    assert found.personas == human.sizes["persona"]
    for level, (bad, every) in found.thin.items():
        here = human["granularity"].values == level
        assert (bad, every) == ((few & edges)[..., here].sum(), edges[..., here].sum())
    assert found.arms == [("Sweden", "religion:religious", "none", 15)]
    assert 0 < found.minutes < 5
    assert 0.3 < found.gigabytes < 1
    said = advice(found, plan)
    assert said[0].startswith("Sweden religion:religious: 15 people at most at none")


def test_forecast__counts_people_by_their_weight(wvs):
    """Oracle: the reasons in the estimated cube, of a survey in which some count for hundreds of others."""
    heavy = np.exp(2.5 * np.random.default_rng(0).normal(size=len(wvs)))
    survey = replace(wvs, weight=heavy)
    plan = make_plan(survey)
    cube = estimate(survey, plan)
    people = (schema.FEW_PEOPLE, schema.ONE_PERSON, schema.FEW_EFFECTIVE)
    assert (np.isin(cube["reason"], people[1:])).any()
    for level, (bad, _) in forecast(survey, plan).thin.items():
        here = cube["granularity"].values == level
        assert bad == np.isin(cube["reason"].values, people)[..., here].sum()


def test_forecast__says_how_deep_is_too_deep(wvs):
    plan = make_plan(wvs, attributes=["gender", "degree"], min_arm=400)
    (said,) = [text for text in advice(forecast(wvs, plan), plan) if text.startswith("contexts of")]
    assert "--depth 1" in said
    shallow = make_plan(wvs, attributes=["gender", "degree"], min_arm=400, depth=1)
    assert not [text for text in advice(forecast(wvs, shallow), shallow) if text.startswith("contexts of")]
    assert (estimate(wvs, shallow)["status"] == schema.OK).any()
