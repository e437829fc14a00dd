"""A model that answers exactly as the population does is found to do so: skill 1, slope 1, whatever the estimand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import xarray as xr
from models_as_people import as_model

from acecausal.comparison.coherence import by_granularity, coherence
from acecausal.comparison.compare import beyond, compare, differences, shared
from acecausal.cube import schema
from acecausal.cube.files import lattice_of
from acecausal.cube.functional import effect_functional, mixture_functional
from acecausal.estimation.estimate import estimate
from acecausal.simulation.surveys import draw
from acecausal.simulation.truth import ESTIMANDS, truth
from acecausal.simulation.world import World


@cache
def world(seed: int = 2) -> World:
    """Attributes that hang together much, the first of which moves the answers most: estimands are far apart."""
    drawn = World.make(attributes=3, values=5, options=(2, 2, 3, 2, 2), covariate=False, heterogeneity=0.3, seed=seed)
    main = tuple(size * part for size, part in zip((3.2, 0.6, 0.6), drawn.main, strict=True))
    wide = replace(drawn, main=main, on_previous=np.array([0, 0.75, 0.75]))
    codes, share = wide.people
    high = wide.high_share(np.zeros(len(codes), dtype=int), codes)
    assert ((high > 0) & (high < 1)).all()
    assert share.sum() == pytest.approx(1)
    return wide


@cache
def people(estimand: str) -> xr.Dataset:
    return estimate(draw(world(), 20000, 0), estimand=estimand)


def plainly(human: xr.Dataset) -> xr.Dataset:
    """The same people's cube as before it had shares: models are scored by plain differences."""
    return human.drop_vars("share")


def at_random(human: xr.Dataset, seed: int) -> xr.Dataset:
    """A model of random answers."""
    answers = np.random.default_rng(seed).uniform(0.1, 1, human["response"].shape)
    answers = np.where(human["response"].isnull(), np.nan, answers)
    return as_model(human, answers / np.nansum(answers, axis=-1, keepdims=True))


def everybody(result: dict) -> dict:
    (found,) = [g["effect"] for g in result["groups"] if (g["by"], g["key"]) == ("granularity", "0")]
    return found


@pytest.mark.parametrize("estimand", ESTIMANDS)
def test_perfect_model__skill_and_slope_are_one(estimand):
    """Truth: the world's responses, by enumeration; only they are given to the model, the functional is the survey's.

    Tolerance: errors of 20,000 people among 15 cells (context all) are .02 to .03 in skill and slope, twice that in
    skill over all contexts; plain differences are off by .5 and more where something is held fixed.
    """
    human = people(estimand)
    model = as_model(human, truth(world())["response"].values)
    result = compare(human, model)
    assert everybody(result)["skill"] == pytest.approx(1, abs=0.06)
    assert everybody(result)["slope"] == pytest.approx(1, abs=0.06)
    assert result["effect"]["skill"] == pytest.approx(1, abs=0.12)
    assert result["effect"]["slope"] == pytest.approx(1, abs=0.06)
    assert beyond(result) == []
    assert differences(human, model) == []
    before = everybody(compare(plainly(human), model))["skill"]
    assert before > 0.9 if estimand == "association" else before < 0.55


@pytest.mark.parametrize("estimand", ESTIMANDS)
def test_functional__is_the_world_s(estimand):
    """Truth: the world's own effects by enumeration, every edge that they have; shares are those of 20,000 people.

    atol .012: what a share is off by moves a mean of differences of up to a half.
    """
    found = as_model(people(estimand), truth(world())["response"].values)
    true = truth(world(), estimand=estimand)
    there = (true["status"].values == schema.OK) & (found["status"].values == schema.OK)
    assert there.sum() >= 0.95 * (true["status"].values == schema.OK).sum()
    assert (found["status"].values == schema.NOT_APPLICABLE).tolist() == (
        true["status"].values == schema.NOT_APPLICABLE
    ).tolist()
    np.testing.assert_allclose(found["shift"].values[there], true["shift"].values[there], atol=0.012)


def test_estimands__are_far_apart():
    """The test above could not tell functionals apart if the effects were alike."""
    effect = {name: truth(world(), estimand=name)["effect"].sel(persona="all").values for name in ESTIMANDS}
    for one, other in (("direct", "total"), ("direct", "association"), ("total", "association")):
        assert np.abs(effect[one] - effect[other]).mean() > 0.25 * np.abs(effect[one]).mean()


def test_copy_of_the_sample__is_no_success():
    """A model that answers as the sample did, noise and all: skill above 1, and said to be so."""
    human = people("direct")
    result = compare(human, as_model(human, human["response"].values))
    assert result["effect"]["skill"] > 1
    said = beyond(result)
    assert [line.split(":")[0] for line in said] == ["levels", "effects"]
    assert all("better than the ceiling" in line for line in said)


def test_errors_of_wordings__go_by_the_same_functional():
    """Closed form: of two wordings half their difference. atol 1e-12."""
    human = people("direct")
    each = [at_random(human, seed) for seed in (0, 1)]
    model = each[0].copy()
    model["wording_response"] = xr.concat([one["response"] for one in each], "wording")
    model["response"] = model["wording_response"].mean("wording")
    found = shared(human, model)[1]
    for name in ("shift", "effect"):
        apart = np.abs(each[0][name].values - each[1][name].values) / 2
        np.testing.assert_allclose(found[f"{name}_se"].values, apart, atol=1e-12)


# --- what cannot be held fixed ----------------------------------------------------------------------------------------


def test_differences__say_what_no_persona_states():
    """A covariate, a cut lattice, no shares: one line each."""
    survey = draw(World.make(attributes=3, values=1), 2000, 0)
    human = estimate(survey, depth=2)
    model = as_model(human, truth(World.make(attributes=3, values=1), depth=2)["response"].values)
    (line,) = differences(human, model)
    assert line == (
        "not held fixed in the model, since no persona states it (elicit --profiles asks as real people): age and more "
        "than 1 of 2 attributes at a time "
        "(gender, education, residence)"
    )
    assert "plain differences of two personas" in differences(plainly(human), model)[0]
    raw = estimate(survey, estimand="association", depth=2)
    assert differences(raw, as_model(raw, model["response"].values)) == []


def test_cut_lattice__the_mean_over_what_can_be_held():
    """Oracle: a loop over labels. Of two other attributes one at a time, by its shares. atol 1e-12."""
    human = estimate(draw(world(), 4000, 1), depth=2)
    rng = np.random.default_rng(0)
    response = rng.dirichlet(np.ones(2), (1, 1, len(human["persona"])))
    one = human.isel(value=[0], option=slice(2))
    found = as_model(one, response)["shift"].sel(attribute="gender:level1", persona="all").values[0, 0, 1]
    answer = dict(zip(human["persona"].values.tolist(), response[0, 0, :, 1].tolist(), strict=True))
    share = dict(zip(human["persona"].values.tolist(), one["share"].values[0, 0].tolist(), strict=True))
    means = []
    for other in ("education", "residence"):
        moved = {
            level: answer[f"gender=level1,{other}={level}"] - answer[f"gender=level0,{other}={level}"]
            for level in ("level0", "level1")
        }
        total = sum(share[f"{other}={level}"] for level in moved)
        means.append(sum(share[f"{other}={level}"] * part for level, part in moved.items()) / total)
    assert found == pytest.approx(np.mean(means), abs=1e-12)
    assert found != pytest.approx(answer["gender=level1"] - answer["gender=level0"], abs=1e-3)


def test_functional__personas_that_may_not_be_weighed_are_not():
    """Property: without the finest personas no row weighs one, and each still has the weights of a difference."""
    human = people("direct")
    there = human["granularity"].values < 3
    weights = effect_functional(human, there).matrix(0, 0).toarray()
    assert not weights[:, ~there].any()
    known = np.abs(weights).sum(axis=1) > 0
    np.testing.assert_allclose(weights[known].sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(np.abs(weights[known]).sum(axis=1), 2, atol=1e-12)


def test_country_without_an_attribute__is_held_to_what_was_asked_there():
    """Nobody was asked for residence in the second country: there the others are held fixed, as for people."""
    survey = draw(World.make(countries=2, attributes=3, values=1, covariate=False), 2000, 0)
    gone = np.where(survey.country == 1, -1, survey.attributes["residence"])
    human = estimate(replace(survey, attributes=survey.attributes | {"residence": gone}))
    weights = effect_functional(human).matrix(1, 0).toarray()
    edge = effect_functional(human).rows[:, :2].tolist().index([0, 0])  # gender in the context all
    assert [human["persona"].values[p] for p in np.flatnonzero(weights[edge])] == [
        f"gender=level{g},education=level{e}" for g in (0, 1) for e in (0, 1)
    ]


# --- coherence --------------------------------------------------------------------------------------------------------


def test_coherence__by_hand():
    """Closed form: a model without persona is coherent; a coarse persona moved by d on two options is off by d."""
    human = people("direct").isel(value=[0], option=slice(2))
    flat = np.full((*human["n"].shape, 2), 0.5)
    finest = human["granularity"].values == 3
    assert np.isnan(coherence(flat, human)[..., finest]).all()
    np.testing.assert_allclose(coherence(flat, human)[..., ~finest], 0, atol=1e-12)
    moved = flat.copy()
    moved[0, 0, 1] += [0.2, -0.2]
    assert coherence(moved, human)[0, 0, 1] == pytest.approx(0.2, abs=1e-12)
    nominal = human.assign_coords(scale=("value", ["nominal"]))
    assert coherence(moved, nominal)[0, 0, 1] == pytest.approx(0.2, abs=1e-12)


def test_coherence__the_population_is_coherent():
    """Truth: the world's responses; what they are off by is the error of the shares. And mixtures have weights of 1."""
    human = people("direct")
    model = truth(world())
    found = by_granularity(human, shared(human, model)[1])
    assert [row["granularity"] for row in found] == [0, 1, 2]
    assert max(row["distance"] for row in found) < 0.005
    weights = mixture_functional(human).matrix(0, 0).toarray()
    coarse = human["granularity"].values < 3
    np.testing.assert_allclose(weights[coarse].sum(axis=1), 1, atol=1e-12)
    assert (weights >= 0).all()
    assert not weights[~coarse].any()
    other = at_random(human, 0)
    assert by_granularity(human, other)[0]["distance"] > 0.02
    assert by_granularity(plainly(human), other) == []
    assert len(lattice_of(human).personas) == 27
