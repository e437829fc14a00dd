"""Pooling against statsmodels and scipy, its coverage by simulation, and the command."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner
from scipy import optimize, stats

from acecausal.comparison.pooling import Pooled, pool, pooled
from acecausal.comparison.population import together
from acecausal.cube.files import write_cube
from acecausal.errors import AceError, CubeError
from acecausal.estimation.estimate import estimate
from acecausal.simulation.surveys import draw
from acecausal.simulation.truth import truth
from acecausal.simulation.world import World
from acecausal.survey.data import Survey
from cli import main
from cli.pool import COLUMNS

FIELDS = [field.name for field in dataclasses.fields(Pooled)]


def draws(n: int, cells: int, tau: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Estimates of true effects around 0.02, and their standard errors, shape (n, cells)."""
    rng = np.random.default_rng(seed)
    se = rng.uniform(0.01, 0.04, (n, cells))
    return 0.02 + tau * rng.normal(size=(n, cells)) + se * rng.normal(size=(n, cells)), se


def paule_mandel(y: np.ndarray, v: np.ndarray) -> float:
    def excess(tau2: float) -> float:
        w = 1 / (v + tau2)
        return w @ (y - w @ y / w.sum()) ** 2 - (len(y) - 1)

    return 0.0 if excess(0) <= 0 else optimize.brentq(excess, 0, np.ptp(y) ** 2 * len(y), xtol=1e-18, rtol=1e-14)


def test_pool__statsmodels():
    """Oracle: statsmodels combine_effects (Paule-Mandel, HKSJ errors, t) on 60 cells of 2 to 12 estimates with holes,
    with and without true differences. rtol 1e-8, atol 1e-12. Its iteration falls to 0 where rounding carries it past
    the root, so it starts a hair below the root that scipy's brentq finds, and has to accept it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what statsmodels' own imports say
        from statsmodels.stats.meta_analysis import combine_effects
    rng = np.random.default_rng(1)
    parts = [draws(12, 30, tau, seed) for seed, tau in enumerate((0.0, 0.05))]
    effect, se = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
    effect[2:][rng.random(effect[2:].shape) < 0.3] = np.nan
    se[2:, 0] = np.nan
    ours = pool(effect, se, confidence=0.9)
    no_variance = 0
    for i in range(effect.shape[1]):
        there = np.isfinite(effect[:, i]) & np.isfinite(se[:, i])
        y, v = effect[there, i], se[there, i] ** 2
        root = paule_mandel(y, v) * (1 - 1e-10)
        theirs = combine_effects(y, v, method_re="iterated", use_t=True, tau2_start=root, atol=1e-8)
        test = theirs.test_homogeneity()
        lower, upper = theirs.conf_int(alpha=0.1, use_t=True)[3]
        no_variance += theirs.tau2 == 0
        expected = {
            "effect": theirs.mean_effect_re,
            "se": theirs.sd_eff_w_re_hksj,
            "lower": lower,
            "upper": upper,
            "tau2": theirs.tau2,
            "i2": max(theirs.i2, 0),
            "cochran_q": theirs.q,
            "p_heterogeneity": test.pvalue,
            "k": theirs.k,
        }
        for name, number in expected.items():
            np.testing.assert_allclose(getattr(ours, name)[i], number, rtol=1e-8, atol=1e-12, err_msg=f"{name} {i}")
    assert 10 < no_variance < 50


def test_pool__equal_errors_are_an_ordinary_mean():
    """Oracle: with equal standard errors the pooled interval is scipy's one-sample t interval, and tau2 the sample
    variance less the sampling variance. rtol 1e-10."""
    effect, _ = draws(7, 5, 0.1)
    ours = pool(effect, np.full(effect.shape, 0.02))
    theirs = stats.ttest_1samp(effect, 0).confidence_interval(0.95)
    np.testing.assert_allclose(ours.effect, effect.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(ours.lower, theirs.low, rtol=1e-10)
    np.testing.assert_allclose(ours.upper, theirs.high, rtol=1e-10)
    np.testing.assert_allclose(ours.tau2, effect.var(axis=0, ddof=1) - 0.02**2, rtol=1e-10)


def test_pool__no_variance_between_is_the_fixed_effect():
    """Oracle: closed form. Where Q < k - 1: tau2 and I2 are 0, the mean is the inverse-variance mean m, its variance
    sum(w (y - m)^2) / (k - 1) / sum(w). rtol 1e-12."""
    effect, se = np.array([0.1, 0.11, 0.12]), np.array([0.02, 0.04, 0.05])
    w = 1 / se**2
    mean = (w * effect).sum() / w.sum()
    q = (w * (effect - mean) ** 2).sum()
    assert q < 2
    ours = pool(effect, se)
    assert (ours.tau2, ours.i2, ours.k) == (0, 0, 3)
    np.testing.assert_allclose(ours.effect, mean, rtol=1e-12)
    np.testing.assert_allclose(ours.cochran_q, q, rtol=1e-12)
    np.testing.assert_allclose(ours.se, np.sqrt(q / 2 / w.sum()), rtol=1e-12)
    np.testing.assert_allclose(ours.p_heterogeneity, np.exp(-q / 2), rtol=1e-12)  # chi2 with 2 df


def test_pool__the_estimating_equation_holds_at_every_scale():
    """Paule and Mandel's equation, sum(w (y - m)^2) = k - 1, where tau2 > 0; errors from 1e-6 to 10. rtol 1e-9."""
    rng = np.random.default_rng(3)
    se = 10.0 ** rng.uniform(-6, 1, (9, 200))
    effect = rng.normal(size=se.shape) * 10.0 ** rng.uniform(-6, 1, 200)
    ours = pool(effect, se)
    between = ours.tau2 > 0
    assert 20 < between.sum() < 200
    w = 1 / (se**2 + ours.tau2)
    np.testing.assert_allclose((w * effect).sum(axis=0) / w.sum(axis=0), ours.effect, rtol=1e-9)
    spread = (w * (effect - ours.effect) ** 2).sum(axis=0)
    np.testing.assert_allclose(spread[between], 8, rtol=1e-9)
    assert (spread[~between] < 8).all()


def test_pool__prediction_interval_by_hand():
    """Oracle: m -/+ t(k - 2) sqrt(tau2 + se^2) (Higgins et al. 2009), scipy's quantile. rtol 1e-12."""
    ours = pool(*draws(6, 4, 0.05), confidence=0.9)
    reach = stats.t.ppf(0.95, 4) * np.sqrt(ours.tau2 + ours.se**2)
    np.testing.assert_allclose(ours.prediction_lower, ours.effect - reach, rtol=1e-12)
    np.testing.assert_allclose(ours.prediction_upper, ours.effect + reach, rtol=1e-12)


def test_pool__intervals_cover():
    """Truth: 0.02 with tau 0.05, 8 countries, 20,000 cells. The 95 % intervals of the mean and of a new country's
    effect cover within 2 points of their level (simulation error 0.15), and 5 % of p-values are below 0.05 if
    countries do not differ (4 simulation errors: 0.6 points)."""
    ours = pool(*draws(8, 20_000, 0.05))
    new = 0.02 + 0.05 * np.random.default_rng(9).normal(size=20_000)
    assert np.mean((ours.lower <= 0.02) & (ours.upper >= 0.02)) == pytest.approx(0.95, abs=0.02)
    assert np.mean((ours.prediction_lower <= new) & (new <= ours.prediction_upper)) == pytest.approx(0.95, abs=0.03)
    assert np.mean(ours.tau2) == pytest.approx(0.05**2, rel=0.02)
    assert np.mean(pool(*draws(8, 20_000, 0)).p_heterogeneity < 0.05) == pytest.approx(0.05, abs=0.006)


def test_pool__one_two_and_no_estimates():
    effect = np.array([[np.nan, 0.3, 0.1], [np.nan, np.nan, 0.2], [0.5, np.nan, np.nan]])
    se = np.array([[0.1, 0.1, 0.05], [0.1, 0.2, 0.05], [np.nan, 0.1, 0.1]])
    ours = pool(effect, se)
    assert ours.k.tolist() == [0, 1, 2]
    assert {name for name in FIELDS if np.isfinite(getattr(ours, name)[0])} == {"k"}
    assert {name for name in FIELDS if np.isfinite(getattr(ours, name)[1])} == {"k", "effect", "se"}
    assert (ours.effect[1], ours.se[1]) == (0.3, pytest.approx(0.1))
    assert {name for name in FIELDS if not np.isfinite(getattr(ours, name)[2])} == {
        "prediction_lower",
        "prediction_upper",
    }
    assert pool(np.empty((0, 2)), np.empty((0, 2))).k.tolist() == [0, 0]
    same = pool(np.array([0.1, 0.1]), np.array([0.02, 0.02]))
    assert (same.se, same.i2, same.p_heterogeneity) == (0, 0, 1)


def test_pool__axis_order_and_company_do_not_matter():
    """A cell alone, in another place or order of countries, has the same numbers. rtol 1e-12 (order of sums)."""
    effect, se = draws(6, 12, 0.04)
    whole = pool(effect.reshape(6, 3, 4), se.reshape(6, 3, 4))
    turned = pool(effect[::-1].reshape(6, 3, 4).transpose(1, 0, 2), se[::-1].reshape(6, 3, 4).transpose(1, 0, 2), 1)
    alone = [pool(effect[:, i], se[:, i]) for i in range(12)]
    for name in FIELDS:
        assert getattr(whole, name).shape == (3, 4)
        np.testing.assert_allclose(getattr(whole, name), getattr(turned, name), rtol=1e-9)
        np.testing.assert_array_equal(getattr(whole, name).ravel(), [getattr(one, name) for one in alone])


@pytest.mark.parametrize(
    ("se", "confidence", "message"),
    [([0.1, 0.0], 0.9, "se: not positive"), ([0.1, -0.1], 0.9, "se: not"), ([0.1, 0.1], 95, "confidence: out of")],
)
def test_pool__bad_input(se, confidence, message):
    with pytest.raises(AceError, match=message):
        pool(np.array([0.1, 0.2]), np.array(se), confidence=confidence)


def test_pooled__is_pool_cell_by_cell(human):
    """Oracle: a loop over labels. Exact."""
    found = pooled(human)
    assert found["effect"].dims == ("attribute", "value", "persona")
    assert found.attrs["confidence"] == human.attrs["confidence"]
    assert {"treatment", "question", "granularity"} <= set(found.coords)
    assert not {"country", "region", "country_label"} & set(found.coords)
    for name in FIELDS:
        assert set(found[name].attrs) == {"long_name", "units"}
    few = 0
    for attribute in human["attribute"].values:
        for persona in human["persona"].values:
            at = {"attribute": attribute, "persona": persona, "value": "poverty"}
            one = pool(human["effect"].sel(at).values, human["effect_se"].sel(at).values)
            few += one.k == 1
            for name in FIELDS:
                expected = getattr(one, name) if name == "k" or one.k >= 2 else np.nan
                np.testing.assert_array_equal(found[name].sel(at).item(), expected)
    assert few > 0
    loner = pooled(human, min_countries=1)
    assert int(loner["effect"].notnull().sum() - found["effect"].notnull().sum()) == few


def test_pooled__uses_the_level_of_the_cube(human):
    """Half widths at 80 % and 95 % are as t's quantiles with 3 degrees of freedom. rtol 1e-12."""
    at = {"attribute": "gender:female", "value": "poverty", "persona": "all"}
    wide, narrow = (pooled(cube).sel(at) for cube in (human, human.assign_attrs(confidence=0.8)))
    ratio = ((wide["upper"] - wide["lower"]) / (narrow["upper"] - narrow["lower"])).item()
    assert ratio == pytest.approx(stats.t.ppf(0.975, 3) / stats.t.ppf(0.9, 3), rel=1e-12)


def test_pooled__what_cannot_be_pooled(human):
    with pytest.raises(CubeError, match="got: a model cube"):
        pooled(truth(World.make(countries=2, values=2), depth=1))
    with pytest.raises(CubeError, match="dimension country: missing"):
        pooled(human.sel(country="USA"))
    with pytest.raises(AceError, match="min_countries: out of range"):
        pooled(human, min_countries=0)


# --- the command ------------------------------------------------------------------------------------------------------


def run(*args: object, code: int = 0):
    result = CliRunner().invoke(main, ["pool", *map(str, args)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def path(human, tmp_path_factory):
    return write_cube(human, tmp_path_factory.mktemp("pool") / "human.zarr")


def test_command__table_and_csv(path, human, tmp_path):
    out = tmp_path / "new" / "p.csv"
    result = run(path, "-o", out, "--context", "degree=degree")
    table = pd.read_csv(out)
    named = {name: COLUMNS.get(name, name) for name in FIELDS}
    assert list(table.columns) == ["attribute", "value", "context", "term", *named.values()]
    assert set(named.values()) >= {
        "estimate",
        "std.error",
        "conf.low",
        "prediction.high",
        "tau.squared",
        "cochran.qe",
        "k",
    }
    found = pooled(human).sel(persona="degree=degree", value="poverty")
    assert table["attribute"].tolist() == ["gender:female", "religion:religious", "age:45_plus"]
    for name in FIELDS:
        np.testing.assert_allclose(
            table[named[name]], found[name].sel(attribute=table["attribute"].tolist()), rtol=1e-12
        )
    first = table.iloc[0]
    for text in (
        "gender:female poverty",
        f"{first['estimate']:+.3f}",
        f"{first['i.squared']:.0%}",
        "context degree=degree",
    ):
        assert text in result.stdout
    assert "3 pooled effects" in result.stderr
    assert [p.name for p in out.parent.iterdir()] == ["p.csv"]
    assert "--force" in run(path, "-o", out, code=1).stderr
    assert "4 pooled effects" in run(path, "-o", out, "--force").stderr


def test_command__selects(path):
    shown = run(path, "--attribute", "gender,age:45_plus", "--value", "poverty").stdout
    assert "gender:female" in shown
    assert "age:45_plus" in shown
    assert "degree:degree" not in shown


@pytest.mark.parametrize("context", ["all", "gender=female"])
def test_command__names_who_is_left_out(path, human, context):
    """Sweden has 15 people without religion: three countries are pooled, and the fourth was not named."""
    said = run(path, "--attribute", "religion", "--context", context).stderr
    part = human.sel(attribute="religion:religious", persona=context, value="poverty")
    gone = [str(name) for name in part["country"].values[(part["status"] != 0).values]]
    assert "Sweden" in gone
    assert "left out: religion:religious (" in said
    assert all(name in said for name in gone)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--attribute", "gendr"), "did you mean 'gender'"),
        (("--value", "povery"), "did you mean 'poverty'"),
        (("--context", "degree=degre"), "did you mean 'degree=degree'"),
        (("-o", "p.txt"), "expected: .csv"),
        (("--attribute", "gender", "--context", "gender=male"), "no effect has an estimate in two countries"),
    ],
)
def test_command__one_message(path, args, message):
    result = run(path, *args, code=1)
    assert message in result.stderr
    assert result.stdout == ""


def test_command__a_model_cube_is_refused(tmp_path):
    write_cube(truth(World.make(countries=2, values=2), depth=1), tmp_path / "m.nc")
    result = run(tmp_path / "m.nc", "-o", tmp_path / "p.csv", code=1)
    assert "expected: a survey cube" in result.stderr
    assert not (tmp_path / "p.csv").exists()


@pytest.fixture(scope="module")
def three() -> tuple[Survey, xr.Dataset]:
    survey = draw(World.make(countries=3, values=2, attributes=2, options=3, heterogeneity=0.6, seed=4), 1500, seed=5)
    survey = replace(survey, weight=np.random.default_rng(0).uniform(0.3, 3, len(survey)))
    return survey, estimate(survey, estimand="association")


PEOPLE = {"country0": 1.0, "country1": 9.5, "country2": 3.0, "Atlantis": 7.0}


@pytest.mark.parametrize("context", ["all", "education=level1"])
def test_population__is_the_mean_over_people(three, context):
    """Oracle: each person of the context gets the effect of their country, by weights that add up, country by
    country, to its population. 1e-12."""
    survey, cube = three
    cell = {"attribute": "gender:level1", "value": "value1", "persona": context}
    found = pooled(cube, population=PEOPLE).sel(cell)
    weight = survey.weight * (survey.values["value1"] >= 0)
    for c, name in enumerate(survey.country_names):
        here = survey.country == c
        weight[here] *= PEOPLE[name] / weight[here].sum()
    if context != "all":
        weight *= survey.attributes["education"] == 1
    own = cube["effect"].sel(cell).values
    assert float(found["effect"]) == pytest.approx(np.average(own[survey.country], weights=weight), abs=1e-12)
    share = np.bincount(survey.country, weight) / weight.sum()
    assert float(found["se"]) == pytest.approx(np.sqrt((share**2) @ cube["effect_se"].sel(cell).values ** 2), rel=1e-12)
    assert (float(found["covered"]), int(found["k"])) == (1, 3)


def test_population__intervals_of_few_degrees_of_freedom():
    """Oracle: the interval covers, where normal errors are estimated from 3 and 5 deviations; 10,000 draws."""
    rng, df, people = np.random.default_rng(0), np.array([3.0, 5.0]), np.array([2.0, 3.0])
    sigma, n = np.array([0.2, 0.1]), 10_000
    y = sigma * rng.normal(size=(n, 2))
    se = sigma * np.sqrt(rng.chisquare(df, (n, 2)) / df)
    found = together(y, se, np.broadcast_to(df, y.shape), np.broadcast_to(people, y.shape), axis=1)
    assert ((found.lower <= 0) & (found.upper >= 0)).mean() == pytest.approx(0.95, abs=0.012)


def test_population__one_country_without_an_estimate(three):
    cube = three[1].copy(deep=True)
    cube["effect"].loc[{"country": "country1"}] = np.nan
    found = pooled(cube, population=PEOPLE).sel(persona="all", attribute="gender:level1", value="value0")
    alone = three[1].sel(persona="all", attribute="gender:level1", value="value0")
    own = alone["effect"].sel(country=["country0", "country2"]).values @ [0.25, 0.75]
    assert float(found["effect"]) == pytest.approx(own, abs=1e-12)
    assert float(found["covered"]) == pytest.approx(4 / 13.5)
    assert int(found["k"]) == 2


def test_population__command_and_messages(three, tmp_path):
    write_cube(three[1], tmp_path / "c.zarr")
    file = tmp_path / "people.csv"
    file.write_text("country,population\n" + "".join(f"{name},{number}\n" for name, number in PEOPLE.items()))
    args = ["pool", str(tmp_path / "c.zarr"), "--population", str(file)]
    done = CliRunner().invoke(main, [*args, "-o", str(tmp_path / "t.csv")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "100%" in done.stdout
    row = pd.read_csv(tmp_path / "t.csv").iloc[0]
    expected = pooled(three[1], population=PEOPLE).sel(attribute=row.attribute, value=row.value, persona="all")
    assert row["estimate"] == pytest.approx(float(expected["effect"]), rel=1e-12)
    assert row["population.share"] == 1
    for text, message in {
        "country,population\ncountry0,1\n": "missing: country1, country2",
        "country,people\ncountry0,1\n": "lacks a column",
        "country,population\ncountry0,1\ncountry0,1\n": "stands twice",
        "country,population\ncountry0,1 million\n": "is no number",
        "country,population\ncountry0,0\ncountry1,1\ncountry2,1\n": "is no population",
    }.items():
        file.write_text(text)
        done = CliRunner().invoke(main, args)
        assert done.exit_code == 1
        assert message in done.stderr
