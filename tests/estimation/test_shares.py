"""Shares of personas: of the people that estimates speak for, by weight."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from acecausal.cube import schema
from acecausal.cube.functional import effect_functional
from acecausal.errors import AceError
from acecausal.estimation.estimate import estimate
from acecausal.simulation.surveys import draw
from acecausal.simulation.world import World


@pytest.fixture(scope="module")
def survey():
    """Weights, answers that are missing, an attribute that some did not tell, a covariate that others did not."""
    drawn = draw(World.make(attributes=2, levels=(2, 3), values=2, options=3), 1500, 3, weights=True, nonresponse=0.2)
    rng = np.random.default_rng(0)
    education = np.where(rng.random(1500) < 0.1, -1, drawn.attributes["education"])
    age = np.where(rng.random(1500) < 0.1, np.nan, drawn.covariates["age"])
    return replace(drawn, attributes=drawn.attributes | {"education": education}, covariates={"age": age})


@pytest.mark.parametrize("estimand", ["direct", "association"])
def test_share__by_loop(survey, estimand):
    """Oracle: a loop over personas and people. Held fixed, hence known: age (direct only), gender, education."""
    cube = estimate(survey, estimand=estimand)
    gender, education = survey.attributes["gender"], survey.attributes["education"]
    known = education >= 0
    if estimand == "direct":
        known &= np.isfinite(survey.covariates["age"])
    for v in range(2):
        people = known & (survey.values[f"value{v}"] >= 0)
        total = survey.weight[people].sum()
        for persona in cube["persona"].values.tolist():
            match = people.copy()
            for part in persona.split(",") if persona != "all" else []:
                name, level = part.split("=level")
                match &= {"gender": gender, "education": education}[name] == int(level)
            found = float(cube["share"].sel(persona=persona)[0, v])
            assert found == pytest.approx(survey.weight[match].sum() / total, abs=1e-12)
    assert float(cube["share"].sel(persona="all").min()) == pytest.approx(1, abs=1e-12)


def test_share__averages_as_the_estimate_does(survey):
    """Oracle: the effect in the context all is the share-weighted mean of those in the finest contexts. atol 1e-10.

    So shares speak for the people that the estimate is averaged over: all levels of the treated attribute, known
    covariates, this value's answers.
    """
    cube = estimate(survey)
    assert int(cube["n"].sel(persona=[p for p in cube["persona"].values if "," in p]).min()) >= 5
    for v in range(2):
        fine = [f"education=level{i}" for i in range(3)]
        at = {"attribute": "gender:level1"}
        effect, share = cube["effect"].isel(country=0, value=v), cube["share"].isel(country=0, value=v)
        assert (cube["status"].isel(country=0, value=v).sel(at).sel(persona=fine) == schema.OK).all()
        expected = float((share.sel(persona=fine) * effect.sel(at).sel(persona=fine)).sum())
        assert float(effect.sel(at).sel(persona="all")) == pytest.approx(expected, abs=1e-10)


def test_min_share__small_ones_are_not_written(survey):
    whole, cut = estimate(survey), estimate(survey, min_share=0.2)
    assert cut.attrs["min_share"] == 0.2
    small = whole["share"].values < 0.2
    assert 0 < small.sum() < small.size
    assert np.isnan(cut["share"].values[small]).all()
    np.testing.assert_array_equal(cut["share"].values[~small], whole["share"].values[~small])
    for wrong in (-0.1, 1.0):
        with pytest.raises(AceError, match="min_share: out of range"):
            estimate(survey, min_share=wrong)


def test_cells_without_both_arms__leave_estimate_and_functional_alike():
    """Three women of one education: neither the estimate nor the model's effect is averaged over that education.

    Oracle: people's effect in the context all is the share-weighted mean of the two other contexts'. atol 1e-10.
    """
    drawn = draw(World.make(attributes=2, levels=(2, 3), values=1, options=2, covariate=False), 1500, 1)
    rare = (drawn.attributes["gender"] == 1) & (drawn.attributes["education"] == 2)
    rare[np.flatnonzero(rare)[:3]] = False
    cube = estimate(
        replace(drawn, attributes=drawn.attributes | {"gender": np.where(rare, -1, drawn.attributes["gender"])})
    )
    kept = [f"education=level{i}" for i in range(2)]
    at = {"attribute": "gender:level1", "country": "country0", "value": "value0"}
    effect, share = cube["effect"].sel(at), cube["share"].sel(country="country0", value="value0").sel(persona=kept)
    expected = float((share * effect.sel(persona=kept)).sum() / share.sum())
    assert float(effect.sel(persona="all")) == pytest.approx(expected, abs=1e-10)
    functional = effect_functional(cube)
    row = functional.rows[:, :2].tolist().index([0, 0])
    weights = dict(zip(cube["persona"].values.tolist(), functional.matrix(0, 0).toarray()[row], strict=True))
    for persona, part in zip(kept, (share / share.sum()).values, strict=True):
        assert weights[f"gender=level1,{persona}"] == pytest.approx(part, abs=1e-12)
    assert sum(map(abs, weights.values())) == pytest.approx(2, abs=1e-12)
    assert weights["gender=level1,education=level2"] == 0
