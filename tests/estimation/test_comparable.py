"""Arms that can be compared, and arms that cannot: overlap, heavy weights, and what a cube says against its numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner

from acecausal.cube import doubts, schema
from acecausal.cube.files import write_cube
from acecausal.errors import AceError
from acecausal.estimation import balance
from acecausal.estimation.estimate import estimate
from acecausal.estimation.estimators import ESTIMATORS
from acecausal.report.diagnostics import section
from acecausal.simulation.surveys import draw
from acecausal.simulation.world import World
from acecausal.survey.data import Survey
from cli.main import main


def confounded(slope: float, respondents: int = 3000, rare: float = 0.0, seed: int = 0) -> tuple[Survey, np.ndarray]:
    """A survey whose covariate moves the first attribute by so much on the logistic scale; and the true propensity."""
    rng = np.random.default_rng(seed)
    survey = draw(World.make(values=1, options=2, attributes=2, effect=0.0, seed=1), respondents, seed)
    age = rng.normal(size=respondents)
    chance = 1 / (1 + np.exp(-(slope * age + rare)))
    yes = rng.random(respondents) < 1 / (1 + np.exp(-age))
    gender = (rng.random(respondents) < chance).astype(int)
    return dataclasses.replace(
        survey, attributes=survey.attributes | {"gender": gender}, values={"value0": yes.astype(int)},
        covariates={"age": age},
    ), chance  # fmt: skip


@pytest.mark.parametrize("estimator", [name for name in ESTIMATORS if name not in ("association", "forest-dml")])
@pytest.mark.parametrize("slope", [0.5, 2.0, 8.0])
def test_overlap__the_true_share_whatever_the_estimator(estimator, slope):
    """Truth: the share of people whose propensity in the world lies in [.05, .95]. abs .05.

    A straight line says .86 where it is .98, and .59 where it is .15.
    """
    survey, chance = confounded(slope)
    cube = estimate(survey, estimator=estimator).isel(country=0, value=0).sel(attribute="gender:level1")
    expected = ((chance >= 0.05) & (chance <= 0.95)).mean()
    assert float(cube.overlap.sel(persona="all")) == pytest.approx(expected, abs=0.05)
    cell = cube.sel(persona="all")
    assert (int(cell.status) == schema.NO_OVERLAP) == (slope == 8.0)
    if slope == 8.0:
        assert schema.REASONS[int(cell.reason)] == "arms_apart"
        assert float(cell.smd_largest) > 0.5
        assert np.isnan(cell.effect)


def test_overlap__few_people_of_a_rare_level_are_comparable():
    """3 % are of the level, and like all others: there is a number, though every propensity is below .05."""
    survey, chance = confounded(0.3, rare=-3.5)
    assert ((chance > 0.05).mean()) < 0.2
    cell = estimate(survey).isel(country=0, value=0).sel(attribute="gender:level1", persona="all")
    assert float(cell.overlap) < 0.3
    assert int(cell.status) == schema.OK
    assert float(cell.smd_largest) < 0.25


def test_at_even_shares__by_hand():
    """By hand: with a tenth treated, a propensity of a tenth is even odds; half is 9 to 1."""
    found = balance.at_even_shares(np.array([0.1, 0.5, 0.0, 1.0]), 0.1)
    np.testing.assert_allclose(found, [0.5, 0.9, 0.0, 1.0])


def test_propensity__statsmodels():
    """Oracle: statsmodels' weighted binomial GLM with an intercept per cell. abs 1e-4: the penalty is slight."""
    import statsmodels.api as sm

    rng = np.random.default_rng(3)
    n = 2000
    cell, x, weight = rng.integers(0, 3, n), rng.normal(5, 3, (n, 2)), rng.uniform(0.5, 2, n)
    weight /= weight.mean()
    arm = (rng.random(n) < 1 / (1 + np.exp(-(0.4 * x[:, 0] - 2 + 0.5 * cell)))).astype(int)
    cells = np.eye(3)[cell]
    fit = sm.GLM(arm, np.column_stack([cells, x]), family=sm.families.Binomial(), freq_weights=weight).fit()
    np.testing.assert_allclose(balance.propensity(arm, cells, x, weight), fit.fittedvalues, atol=1e-4)
    others = np.where(rng.random(n) < 0.3, -1, arm)  # of another level: they get a propensity, and do not count
    found = balance.propensity(others, cells, x, weight)
    np.testing.assert_allclose(found[others < 0], fit.fittedvalues[others < 0], atol=0.1)
    assert np.isnan(balance.propensity(np.zeros(n, dtype=int), cells, x, weight)).all()


def test_weights__one_person_who_outweighs_an_arm():
    """One weight of 1e7 (or 1e8) among 4,000 of 1: no number for contexts with that person, the others as before."""
    survey = draw(World.make(values=1, options=2, attributes=2, covariate=False, seed=1), 4000, 0)
    plain = estimate(survey).isel(country=0, value=0).sel(attribute="gender:level1")
    for heavy in (1e7, 1e8):
        weight = np.ones(4000)
        weight[7] = heavy
        cube = estimate(dataclasses.replace(survey, weight=weight)).isel(country=0, value=0)
        cell = cube.sel(attribute="gender:level1")
        assert schema.REASONS[int(cell.reason.sel(persona="all"))] == "one_person"
        own = f"education=level{survey.attributes['education'][7]}"
        other = f"education=level{1 - survey.attributes['education'][7]}"
        assert int(cell.status.sel(persona=own)) == schema.TOO_FEW
        assert float(cell.effect.sel(persona=other)) == pytest.approx(float(plain.effect.sel(persona=other)), abs=1e-6)
        for name in cube.data_vars:
            assert not np.isinf(cube[name].values).any(), name


def test_weights__effective_size_counts_in_min_arm():
    """By hand: 40 people, of whom 10 weigh nine times as much as the others, are worth 17: too few for 30."""
    survey, _ = confounded(0.0, respondents=400)
    gender = np.zeros(400, dtype=int)
    gender[:40] = 1
    weight = np.ones(400)
    weight[:10] = 9.0
    survey = dataclasses.replace(survey, weight=weight, attributes=survey.attributes | {"gender": gender})
    effective = (10 * 9 + 30) ** 2 / (10 * 81 + 30)
    assert 17 < effective < 18
    for min_arm, status in ((18, schema.TOO_FEW), (17, schema.OK)):
        cell = estimate(survey, min_arm=min_arm, depth=1).isel(country=0, value=0, persona=0, attribute=0)
        assert (int(cell.n_treated), int(cell.status)) == (40, status)
    assert schema.REASONS[int(cell.reason)] == "none"


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_weights__their_unit_means_nothing(estimator):
    """Property, from 1e-9 to 1e9, of every estimator and diagnostic: rtol 1e-6."""
    survey = draw(World.make(values=2, options=3, attributes=2, seed=2), 500, 3, weights=True)
    choices = {"estimand": "association"} if estimator == "association" else {"estimator": estimator}
    plain = estimate(survey, min_arm=10, **choices)
    for unit in (1e-9, 1e-3, 1e9):
        cube = estimate(dataclasses.replace(survey, weight=survey.weight * unit), min_arm=10, **choices)
        for name in plain.data_vars:
            np.testing.assert_allclose(cube[name], plain[name], rtol=1e-6, atol=1e-9, err_msg=f"{name} at {unit}")


def test_doubts__are_told_by_estimate_show_and_report(tmp_path):
    """Arms that weighting does not make alike are named in all three places, and good ones in none."""
    bad, good = (estimate(confounded(slope)[0], depth=1) for slope in (2.6, 0.3))
    told = doubts.doubts(bad)
    assert any("gender:level1" in line and "hardly alike" in line for line in told)
    assert doubts.doubts(good) == []
    after = np.abs(bad["smd_after"].isel(country=0).sel(attribute="gender:level1"))
    size, worst = f"largest difference {float(after.max()):.2f}", str(after.idxmax("covariate").item())
    assert any(f"{size} in {worst}, " in line for line in told)
    assert any(f"{size}, " in line for line in doubts.doubts(bad.drop_vars("smd_after")))
    titles = [[title for title, _ in section(cube).tables] for cube in (bad, good)]
    assert ["What speaks against these numbers" in title for title in titles] == [True, False]
    write_cube(bad, tmp_path / "bad.nc")
    done = CliRunner().invoke(main, ["show", str(tmp_path / "bad.nc")])
    assert "doubt: " in done.output
    assert "hardly alike" in done.output


def test_doubts__a_plain_regression_that_differs_is_told(human):
    """A cube whose effects were moved by two standard errors, as a fault in the fits would, says so."""
    assert not any("plain regression" in line for line in doubts.doubts(human))
    moved = human.copy(deep=True)
    moved["effect"] = moved["effect"] + 2 * moved["effect_se"]
    assert sum("plain regression" in line for line in doubts.doubts(moved)) >= 4


def test_reasons__every_one_in_words():
    assert set(doubts.REASONS) == set(schema.REASONS[1:])


@pytest.mark.parametrize("code", [-99999999.0, 99999999.0])
def test_one_person__who_decides_by_a_covariate_far_off(code):
    """Truth .0: one 99999999 among incomes gave .88, interval .880 to .886, p 0, with status ok."""
    survey, _ = confounded(1.0)
    income = np.exp(10 + 0.6 * survey.covariates["age"])
    clean = dataclasses.replace(survey, covariates={"age": income})
    cell = estimate(clean, refute=0).isel(country=0, value=0).sel(attribute="gender:level1", persona="all")
    assert int(cell.status) == schema.OK
    income = income.copy()
    income[3] = code
    with pytest.raises(AceError, match="one person") as error:
        estimate(dataclasses.replace(survey, covariates={"age": income}), refute=0)
    assert "too_few 6" in str(error.value)
