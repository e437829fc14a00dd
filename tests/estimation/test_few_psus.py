"""Inference from few PSUs against R's clubSandwich (`oracles/few_psus.R` made the numbers; R is not needed here)."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from means import weighted_difference
from oracles import ORACLES
from scipy import stats

from acecausal.cube import schema
from acecausal.cube.doubts import reasons
from acecausal.errors import AceError
from acecausal.estimation.estimate import estimate
from acecausal.estimation.few_psus import MANY_FOR_DF, MIN_DF, small_sample
from acecausal.estimation.inference import Design
from acecausal.simulation.surveys import draw
from acecausal.simulation.world import World

CASES = json.loads((ORACLES / "few_psus.json").read_text(encoding="utf-8"))["cases"]
#: What the oracle solves for each PSU as a matrix is one factor here: exact where a PSU's people are all alike.
TOLERANCE = {"4 of 12, sizes differ": 2e-3, "8, arms within": 0.02, "3 of 15, weighted": 2e-3}


@pytest.mark.parametrize("name", CASES)
def test_arrays__as_club_sandwich(name):
    """Oracle: clubSandwich 0.5.8, CR2 and Satterthwaite. rtol 1e-9 where PSUs are of one size, else 2 % at most."""
    case = CASES[name]
    psu, arm = np.array(case["psu"]) - 1, np.array(case["arm"])
    answer, weight = np.array(case["y"], dtype=float)[:, None], np.array(case["weight"], dtype=float)
    design = Design.of(np.zeros_like(psu), psu)
    effect, influence = weighted_difference(answer, weight, arm == 0, arm == 1)
    assert effect[0] == pytest.approx(case["effect"][0], rel=1e-9)
    few = small_sample(psu, arm, np.zeros_like(psu), weight, np.ones(1), design.form(np.arange(psu.max() + 1)))
    se = np.sqrt(few.scale * design.variance(influence * few.factor[psu, None])[0])
    assert se == pytest.approx(case["se"][0], rel=TOLERANCE.get(name, 1e-9))
    assert few.df == pytest.approx(case["df"][0], rel=TOLERANCE.get(name, 1e-9))
    # and without the correction it is the plain sandwich, which is too short
    count = psu.max() + 1
    plain = np.sqrt(design.variance(influence)[0] * (count - 1) / count)
    assert plain == pytest.approx(case["se_plain"][0], rel=1e-9)
    assert plain < case["se"][0]


def test_form__is_the_variance():
    """Property: the quadratic form of PSU totals that sum to 0 is the design's own variance. rtol 1e-12."""
    rng = np.random.default_rng(0)
    stratum, psu = rng.integers(0, 4, 200), rng.integers(0, 6, 200)
    psu[stratum == 3] = 0  # a stratum with one PSU
    design = Design.of(stratum, psu, np.array([0.0, 0.1, 0.5, 0.2])[stratum])
    z = rng.normal(size=200)
    z -= z.mean()
    u = np.bincount(design.psu, z)
    c, root, unsampled = design.form(np.arange(len(u)))
    assert c @ u**2 - ((root.T @ u) ** 2).sum() == pytest.approx(design.variance(z[:, None])[0], rel=1e-12)
    np.testing.assert_allclose(unsampled, 1 - design.fraction[design.stratum])


def constant_within(treated: int, psus: int, seed: int = 0, size: int = 40):
    """A survey in which the first attribute is the same for all people of a PSU, and does nothing."""
    rng = np.random.default_rng(seed)
    survey = draw(World.make(values=1, options=2, attributes=2, covariate=False, effect=0.0, seed=1), psus * size, seed)
    psu = np.repeat(np.arange(psus), size)
    tendency = 1 / (1 + np.exp(-rng.normal(size=psus) * 0.5))
    return dataclasses.replace(
        survey,
        psu=psu,
        attributes=survey.attributes | {"gender": (psu < treated).astype(int)},
        values={"value0": (rng.random(len(psu)) < tendency[psu]).astype(int)},
    )


def test_cube__one_psu_in_an_arm_is_no_number():
    """By hand: a status with its reason, no error of 0, and PSUs counted; respondents alone would be enough."""
    cube = estimate(constant_within(1, 20)).isel(country=0, value=0)
    cell = cube.sel(attribute="gender:level1", persona="all")
    assert (int(cell.n_treated), int(cell.n_psu_treated), int(cell.n_psu_baseline)) == (40, 1, 19)
    assert int(cell.status) == schema.TOO_FEW
    assert schema.REASONS[int(cell.reason)] == "few_psus"
    assert np.isnan(cell.effect)
    alone = cube.sel(persona="gender=level1")
    assert int(alone.n_psu) == 1
    assert np.isnan(alone.response_se).all()
    assert np.isfinite(alone.response).all()
    assert (cube.response_se.sel(persona="gender=level0") > 0).all()


def test_cube__two_psus_of_twenty_have_no_interval_worth_the_name():
    cube = estimate(constant_within(2, 20)).isel(country=0, value=0).sel(attribute="gender:level1", persona="all")
    assert int(cube.n_psu_treated) == 2
    assert (int(cube.status), schema.REASONS[int(cube.reason)]) == (schema.TOO_FEW, "few_psus")


@pytest.mark.parametrize("psus", [1000, 14])
def test_cube__a_census_has_no_number_and_says_so(psus):
    """With fpc 1 the standard error is 0 by design: by hand, no sampling. The other country stays as it is."""
    survey = draw(World.make(attributes=2, countries=2, values=2), respondents=500, seed=2)
    survey = dataclasses.replace(survey, psu=np.arange(len(survey)) % psus)
    other = np.where(survey.country == 1, 0.0, 1.0)
    mixed = estimate(dataclasses.replace(survey, fraction=other))
    spoken_for = mixed["status"][0].values != schema.NOT_APPLICABLE
    assert (mixed["status"][0].values[spoken_for] == schema.FAILED).all()
    assert reasons(mixed) == {"a standard error of 0 by design: by fpc everybody was asked": int(spoken_for.sum())}
    assert (mixed["response_se"][0].values[..., 0] == 0).all()
    assert not any(np.isinf(mixed[name].values).any() for name in mixed.data_vars)
    np.testing.assert_array_equal(mixed["effect_se"][1], estimate(survey)["effect_se"][1])
    with pytest.raises(AceError, match="leave fpc out"):
        estimate(dataclasses.replace(survey, fraction=np.ones(len(survey))))


def test_cube__many_psus_stay_as_they_were():
    """Property: with so many PSUs in each arm intervals have the design's own degrees of freedom, and below fewer."""
    for treated, exact in ((MANY_FOR_DF, True), (MANY_FOR_DF - 1, False)):
        survey = constant_within(treated, 2 * MANY_FOR_DF, size=4)
        cell = estimate(survey, attributes=["gender"]).isel(country=0, value=0, persona=0, attribute=0)
        half = float(cell.effect_interval.sel(bound="upper") - cell.effect) / float(cell.effect_se)
        assert (half == pytest.approx(stats.t.isf(0.025, 2 * MANY_FOR_DF - 1), rel=1e-9)) == exact


@pytest.mark.parametrize(("treated", "psus"), [(2, 20), (2, 4), (3, 20), (10, 20), (3, 50), (4, 8)])
def test_true_null__is_rejected_as_often_as_said(treated, psus):
    """Monte Carlo, 2,000 draws of PSUs of 10 with effects of their own: 95 % intervals hold 0 in .92 to .98.

    Those of the plain sandwich hold it in .74, .87, .95, .78 and .92. Two treated of 20 have too few degrees of freedom
    for an interval, and two of four just enough.
    """
    rng = np.random.default_rng(treated * 100 + psus)
    psu = np.repeat(np.arange(psus), 10)
    arm = (psu < treated).astype(int)
    design = Design.of(np.zeros_like(psu), psu)
    errors = rng.normal(size=(len(psu), 2000)) + 0.5 * rng.normal(size=(psus, 2000))[psu]
    weight = np.ones(len(psu))
    effect, influence = weighted_difference(errors, weight, arm == 0, arm == 1)
    few = small_sample(psu, arm, np.zeros_like(psu), weight, np.ones(1), design.form(np.arange(psus)))
    se = np.sqrt(few.scale * design.variance(influence * few.factor[psu, None]))
    covered = (np.abs(effect) <= stats.t.isf(0.025, few.df) * se).mean()
    assert (few.df < MIN_DF - 1e-9) == (treated * 10 == psus)
    assert 0.92 <= covered <= 0.98 or few.df < MIN_DF - 1e-9
    plain = (np.abs(effect) <= stats.t.isf(0.025, psus - 1) * np.sqrt(design.variance(influence))).mean()
    assert covered >= plain
