"""What people who had not built it found: each a small input, with the right value."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from worlds import average, problem

from acecausal.comparison.compare import compare
from acecausal.cube import schema
from acecausal.cube.files import build, countries_of, lattice_of, values_of
from acecausal.cube.functional import effect_functional, effects_of
from acecausal.estimation.estimate import estimate
from acecausal.estimation.estimators import ESTIMATORS
from acecausal.estimation.linear_dml import linear_dml
from acecausal.estimation.problem import Problem
from acecausal.simulation.surveys import draw
from acecausal.simulation.truth import truth
from acecausal.simulation.world import World


@pytest.mark.parametrize("name", ["linear-dml", "dr", "forest-dml"])
def test_units_of_covariates__mean_nothing(name):
    """Property: a covariate in millionths gives the same effects. atol 1e-6; of a forest, whose cuts round, 1e-4."""
    p = problem(n=800, cells=2, values=1, missing=0, covariates=2)
    small = dataclasses.replace(p, covariates=p.covariates * [1e-6, 1e3])
    everybody = np.arange(800)
    plain, other = (average(ESTIMATORS[name](part), p.weight, everybody) for part in (p, small))
    np.testing.assert_allclose(plain, other, atol=1e-4 if name == "forest-dml" else 1e-6)


def test_forest__does_not_depend_on_the_order_of_rows():
    """Property. atol 1e-9."""
    p = problem(n=500, cells=2, values=1, missing=0)
    order = np.random.default_rng(0).permutation(500)
    parts = ("outcomes", "answered", "arm", "cell", "covariates", "weight", "key")
    turned = dataclasses.replace(p, **{name: getattr(p, name)[order] for name in parts})
    plain, other = (ESTIMATORS["forest-dml"](part).means[0].numbers for part in (p, turned))
    np.testing.assert_allclose(plain[order], other, atol=1e-9)


@pytest.mark.slow
def test_many_controls__errors_are_as_long_as_the_spread():
    """Monte Carlo: 300 people, 30 covariates that do nothing, 400 draws: errors over spread between .93 and 1.10."""
    found = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        yes = rng.random(300) < 0.5
        p = Problem(
            outcomes=np.stack([~yes, yes], axis=1)[:, None].astype(float),
            answered=np.ones((300, 1), dtype=bool),
            arm=rng.integers(0, 2, 300),
            cell=np.zeros(300, dtype=int),
            covariates=rng.normal(size=(300, 30)),
            weight=np.ones(300),
            key=rng.integers(0, 2**63, 300).astype(np.uint64),
            seed=0,
        )
        score = linear_dml(p).means[0].numbers[:, 0, 1]
        found.append((score.mean(), score.std() / np.sqrt(300)))
    effects, errors = np.array(found).T
    assert 0.93 < np.sqrt((errors**2).mean()) / effects.std() < 1.10


def test_clustered_levels__the_truth_has_skill():
    """Truth: a model that answers as the population does is as far from people as the ceiling says, also in clusters.

    With Kish's size alone it was 1.4 times as far. And n_eff is below it where neighbours are alike.
    """
    skills = []
    for seed in range(4):
        world = World.make(countries=2, values=3, seed=seed)
        survey = draw(world, 1500, seed, clusters=15)
        human = estimate(survey, depth=1)
        lattice, values = lattice_of(human), values_of(human)
        response = truth(world)["response"].sel(persona=human["persona"].values).values
        arrays = {
            "response": response, "n": np.ones(response.shape[:3], dtype=int),
            "option_mass": np.ones(response.shape[:3]), **effects_of(response, effect_functional(human), human),
        }  # fmt: skip
        model = build("model", countries_of(human), values, lattice, arrays, {})
        found = compare(human, model)["level"]
        skills.append((found["distance"], found["ceiling"]))
        assert float((human["n_eff"] / human["n"]).sel(persona="all").max()) < 0.8
    distance, ceiling = np.mean(skills, axis=0)
    assert 0.85 < distance / ceiling < 1.2


def test_missing_level_in_one_country__with_psus_the_others_are_estimated():
    """No person of a level in one country, in a clustered survey: statuses there, numbers elsewhere."""
    survey = draw(World.make(countries=2, values=1, levels=[2, 3], seed=1), 1200, 1, clusters=40)
    gone = (survey.country == 0) & (survey.attributes["education"] == 2)
    education = np.where(gone, -1, survey.attributes["education"])
    cube = estimate(dataclasses.replace(survey, attributes=survey.attributes | {"education": education}))
    cell = cube.sel(attribute="education:level2", persona="all").isel(value=0)
    assert cell["status"].values.tolist() == [schema.TOO_FEW, schema.OK]


def test_refuters__do_not_depend_on_the_order_of_rows_nor_on_company():
    """Property: with ids the draws are those of the people, in any order and without the other country. atol 1e-9."""
    survey = draw(World.make(countries=2, values=1, seed=2), 600, 1, strata=3)
    survey = dataclasses.replace(survey, identity=np.random.default_rng(0).permutation(1200).astype(np.uint64))
    order = np.random.default_rng(1).permutation(1200)
    alone = np.flatnonzero(survey.country == 1)
    cubes = []
    for rows in (np.arange(1200), order, alone):
        cut = dataclasses.replace(
            survey,
            **{name: getattr(survey, name)[rows] for name in ("country", "weight", "stratum", "psu", "identity")},
            **{
                name: {key: array[rows] for key, array in getattr(survey, name).items()}
                for name in ("attributes", "values", "covariates")
            },
        )
        names = [survey.country_names[1]]
        cubes.append(estimate(cut, countries=names, depth=1, refute=2)["refutation_draw"].values)
    for other in cubes[1:]:
        np.testing.assert_allclose(cubes[0], other, atol=1e-9)
