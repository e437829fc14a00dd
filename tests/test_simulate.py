"""Simulated worlds: the truth against brute force, and samples that have the properties asked for."""

from __future__ import annotations

import numpy as np
import pytest

from acecausal import schema
from acecausal.errors import AceError
from acecausal.estimation import estimate
from acecausal.plan import make_plan
from acecausal.simulate import AGES, NAMES, World, draw, simulate, truth

BIG = 400_000


@pytest.fixture(scope="module")
def world() -> World:
    return World.make(values=3, options=[2, 5, 11], attributes=2, levels=[2, 3], mediation=0.15, seed=3)


def codes(survey) -> np.ndarray:
    ages = np.searchsorted(AGES, survey.covariates["age"])
    return np.column_stack([*survey.attributes.values(), ages])


def test_truth__responses_and_associations_by_brute_force(world):
    """Oracle: raw shares of 400,000 draws, within 5 standard errors of a share."""
    survey, cube = draw(world, BIG, 0), truth(world, estimand="association")
    degree = survey.attributes["education"]
    gender = survey.attributes["gender"]
    for v, name in enumerate(survey.values):
        k = world.options[v]
        for persona, rows in (
            ("all", gender >= 0),
            ("gender=level1,education=level2", (gender == 1) & (degree == 2)),
        ):
            share = np.bincount(survey.values[name][rows], minlength=k) / rows.sum()
            bound = 5 * 0.5 / np.sqrt(rows.sum())
            np.testing.assert_allclose(
                cube.response.isel(country=0).sel(value=name, persona=persona)[:k], share, atol=bound
            )
        score = survey.values[name] / (k - 1)
        raw = score[degree == 2].mean() - score[degree == 0].mean()
        effect = cube.effect.isel(country=0).sel(attribute="education:level2", value=name, persona="all")
        assert float(effect) == pytest.approx(raw, abs=5 / np.sqrt(min((degree == i).sum() for i in (0, 2))))


@pytest.mark.parametrize("estimand", ["direct", "total"])
def test_truth__interventions_by_brute_force(world, estimand):
    """Oracle: the same people with the attribute set, the second one drawn anew for the total effect. 5 errors."""
    rng = np.random.default_rng(1)
    survey, cube = draw(world, BIG, 2), truth(world, estimand=estimand)
    people = codes(survey)
    means = []
    for level in (0, 1):
        changed = people.copy()
        changed[:, 0] = level
        if estimand == "total":
            law = world.level_share(1, changed[:, -1], changed[:, 0]).cumsum(axis=1)
            changed[:, 1] = (rng.random(BIG)[:, None] > law[:, :-1]).sum(axis=1)
        means.append(world.high_share(np.zeros(BIG, dtype=int), changed))
    moved = means[1] - means[0]
    for v in range(3):
        high = moved[:, v].mean()
        score = schema.scores(world.options[v])
        expected = high * ((world.high[v] - world.low[v]) @ score)
        found = cube.effect.isel(country=0, value=v).sel(attribute="gender:level1", persona="all")
        assert float(found) == pytest.approx(expected, abs=5 * moved[:, v].std() / np.sqrt(BIG) + 1e-4)
    within = cube.status.isel(country=0, value=0).sel(attribute="gender:level1", persona="education=level1")
    assert int(within) == (schema.OK if estimand == "direct" else schema.NOT_APPLICABLE)


def test_truth__total_differs_by_what_is_mediated(world):
    """The first attribute moves the second by 0.15, which moves the answers: the totals are not the direct effects."""
    direct, total = truth(world), truth(world, estimand="total")
    change = (total.effect - direct.effect).sel(attribute="gender:level1", persona="all")
    assert float(abs(change).max()) > 0.001
    np.testing.assert_allclose(
        total.effect.sel(attribute="education:level1"), direct.effect.sel(attribute="education:level1"), atol=1e-12
    )


def test_estimates__cover_the_truth():
    """All effects of one draw of 4,000 lie within 4.5 standard errors of the truth, for all three estimands."""
    wide = World.make(countries=2, values=4, options=4, attributes=3, levels=[2, 3, 2], mediation=0.1, seed=5)
    survey = draw(wide, 4000, 6)
    for estimand in ("direct", "total", "association"):
        cube, true = estimate(survey, make_plan(survey, estimand=estimand)), truth(wide, estimand=estimand)
        not_there = [c.status == schema.NOT_APPLICABLE for c in (cube, true)]
        assert (not_there[0].values == not_there[1].values).all()
        z = ((cube.effect - true.effect) / cube.effect_se).where(true.status == schema.OK)
        assert int(np.isfinite(z).sum()) > 200
        assert float(abs(z).max()) < 4.5
        assert 0.7 < float(z.std()) < 1.3
    # and adjustment matters: the true associations are not the true direct effects
    gap = abs(true.effect - truth(wide).effect).sel(persona="all")
    assert float(gap.max()) > 1.5 * float(cube.effect_se.sel(persona="all").mean())


def test_weights__undo_the_selection():
    """Weighted shares of a large sample are the population's (4 errors), unweighted ones are not."""
    wide = World.make(values=2, seed=7)
    survey, true = draw(wide, BIG, 8, weights=True), truth(wide)
    answer = survey.values["value0"] / 4
    mean = float((true.response.isel(country=0).sel(value="value0", persona="all") * schema.scores(5)).sum())
    error = 4 * answer.std() / np.sqrt(BIG) * np.sqrt((survey.weight**2).mean()) / survey.weight.mean()
    assert np.average(answer, weights=survey.weight) == pytest.approx(mean, abs=error)
    assert abs(answer.mean() - mean) > error


def test_clusters__answers_are_alike_within():
    """Design effect of a mean with 50 PSUs of 30: between 1.5 and 6, by the variance of the estimate over 200 draws."""
    wide = World.make(values=1, options=2, seed=9)
    means = [draw(wide, 1500, seed, clusters=50).values["value0"].mean() for seed in range(200)]
    alone = [draw(wide, 1500, seed).values["value0"].mean() for seed in range(200)]
    assert 1.5 < np.var(means) / np.var(alone) < 6
    survey = draw(wide, 1500, 0, clusters=50, strata=5)
    assert len(np.unique(survey.psu)) == 50
    assert len(np.unique(np.stack([survey.psu, survey.stratum]), axis=1).T) == 50


def test_null_rare_nonresponse_and_seed():
    wide = World.make(values=10, null=0.5, rare=0.05, attributes=2, seed=10)
    survey, true = simulate(wide, 20_000, 11, nonresponse=0.1)
    first = true.effect.sel(attribute="gender:level1")
    assert float(abs(first.isel(value=slice(5, None))).max()) < 1e-12
    assert float(abs(first.sel(persona="all").isel(value=slice(0, 5))).min()) > 0
    assert (survey.attributes["gender"] == 1).mean() == pytest.approx(0.05, abs=0.01)
    assert np.mean([(answers < 0).mean() for answers in survey.values.values()]) == pytest.approx(0.1, abs=0.01)
    again, other = draw(wide, 20_000, 11, nonresponse=0.1), draw(wide, 20_000, 12, nonresponse=0.1)
    np.testing.assert_array_equal(again.values["value3"], survey.values["value3"])
    assert (other.values["value3"] != survey.values["value3"]).any()


def test_worlds__of_any_shape_have_shares_between_0_and_1():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        attributes = int(rng.integers(1, 6))
        wide = World.make(
            countries=2,
            values=3,
            options=rng.integers(2, 12, 3).tolist(),
            attributes=attributes,
            levels=rng.integers(2, 5, attributes).tolist(),
            effect=0.1,
            mediation=0.2,
            seed=seed,
        )
        kinds, share = wide.people
        assert share.sum() == pytest.approx(1)
        for c in range(2):
            high = wide.high_share(np.full(len(kinds), c), kinds)
            assert high.min() > 0.01
            assert high.max() < 0.99
        np.testing.assert_allclose(truth(wide, depth=1)["shift"].sum("option"), 0, atol=1e-12)
    assert len(set(NAMES)) == 8


@pytest.mark.parametrize(("name", "value"), [("options", 12), ("effect", 0.2), ("levels", [2]), ("attributes", 9)])
def test_bad_worlds(name, value):
    with pytest.raises(AceError, match=name):
        World.make(**{name: value})
