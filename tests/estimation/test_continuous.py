"""Continuous values: the same numbers as of an ordinal value with the same scores, and as outsiders reckon them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from pydantic import ValidationError
from scipy import stats

from acecausal.errors import DataError
from acecausal.estimation.estimate import estimate
from acecausal.survey.codebook import Codebook
from acecausal.survey.data import from_table

N = 1200
#: What must not depend on whether a question of five steps is read as options or as numbers from 1 to 5.
SAME = (
    "effect", "effect_se", "effect_interval", "p_value", "q_value", "moderation_f", "moderation_p", "n", "n_effect",
    "n_treated", "status", "reason", "overlap", "share", "e_value", "regression_effect", "refutation",
)  # fmt: skip


def book(**value) -> Codebook:
    levels = {"m": {"codes": [0], "label": "men"}, "f": {"codes": [1], "label": "women"}}
    cities = {"town": {"codes": [0], "label": "town"}, "city": {"codes": [1], "label": "city"}}
    return Codebook.model_validate({
        "codebook": 1, "name": "ratings", "title": "t", "source": "s", "licence": "l",
        "countries": {"only": {"GBR": {"label": "Great Britain"}}},
        "weight": {"column": "w"}, "stratum": {"column": "h"}, "psu": {"column": "p"},
        "attributes": {
            "sex": {"column": "s", "label": "sex", "baseline": "m", "levels": levels},
            "place": {"column": "c", "label": "place", "baseline": "town", "levels": cities},
        },
        "covariates": {"age": {"column": "a", "label": "age"}},
        "values": {"rating": {"column": "y", "question": "?", "topic": "t", **value}},
    })  # fmt: skip


def numbers(**span) -> Codebook:
    return book(scale="continuous", **({"range": [0, 100]} | span))


def people(seed: int = 0, n: int = N) -> pd.DataFrame:
    """People in clusters, with a rating from 0 to 100 that depends on sex, age and cluster; some gave none."""
    rng = np.random.default_rng(seed)
    psu = rng.integers(0, 80, n)
    age = rng.normal(50, 15, n)
    city = rng.random(n) < 0.5
    sex = (rng.random(n) < 1 / (1 + np.exp(-(age - 50) / 20))).astype(int)
    rating = 40 + 8 * sex + 0.4 * (age - 50) + 6 * sex * city + rng.normal(0, 5, 80)[psu] + rng.normal(0, 9, n)
    rating = np.clip(rating, 0, 100)
    rating[rng.random(n) < 0.1] = np.nan
    return pd.DataFrame({
        "s": sex, "c": city.astype(int), "a": age, "y": rating, "w": rng.uniform(0.5, 3, n), "h": psu % 4, "p": psu,
    })  # fmt: skip


@pytest.mark.parametrize("estimator", ["linear-dml", "association", "dr"])
@pytest.mark.parametrize("constant", [False, True])
def test_five_steps_read_as_numbers_are_five_options(estimator, constant):
    """Oracle: the same answers as an ordinal value, whose options know nothing of ranges. rtol 1e-9."""
    table = people()
    table["y"] = np.round(table["y"] / 25).clip(0, 4) + 1
    if constant:  # an arm that says the same does not show its variance
        table.loc[(table["s"] == 1) & table["y"].notna(), "y"] = 3
    options = [{"label": f"step {k}", "codes": [k]} for k in range(1, 6)]
    cubes = [
        estimate(from_table(table, codebook), estimator=estimator, refute=3 if estimator == "linear-dml" else 0)
        for codebook in (book(scale="ordinal", options=options), numbers(range=[1, 5]))
    ]
    for name in SAME:
        np.testing.assert_allclose(cubes[1][name], cubes[0][name], rtol=1e-9, atol=1e-12, err_msg=name)
    mean = (cubes[0]["response"] * np.arange(5) / 4).sum("option", skipna=False)
    np.testing.assert_allclose(cubes[1]["response"][..., 1], mean, rtol=1e-12)
    if not constant:
        assert float(cubes[1]["effect"][0, 0, 0, 0]) > 0.05


def test_plain_difference_is_that_of_weighted_least_squares():
    """Oracle: statsmodels' WLS clustered by PSU, in points. rtol 1e-9, errors 3 % (its small-sample factor)."""
    table = people()
    cube = estimate(from_table(table, numbers(unit="points")), estimator="association").isel(country=0, value=0)
    known = table.dropna()
    fit = sm.WLS(known["y"], sm.add_constant(known["s"]), weights=known["w"])
    fit = fit.fit(cov_type="cluster", cov_kwds={"groups": known["p"]})
    span = float(cube["high"] - cube["low"])
    effect = cube.sel(attribute="sex:f", persona="all")
    assert span * float(effect["effect"]) == pytest.approx(fit.params["s"], rel=1e-9)
    assert span * float(effect["effect_se"]) == pytest.approx(fit.bse["s"], rel=0.03)
    mean = float(cube["response"].sel(persona="all")[1])
    assert span * mean == pytest.approx(np.average(known["y"], weights=known["w"]), rel=1e-12)
    error = sm.WLS(known["y"], np.ones(len(known)), weights=known["w"])
    error = error.fit(cov_type="cluster", cov_kwds={"groups": known["p"]}).bse.iloc[0]
    assert span * float(cube["response_se"].sel(persona="all")[1]) == pytest.approx(error, rel=0.03)


def test_unit_and_zero_of_the_numbers_mean_nothing():
    table = people()
    cents = table.assign(y=table["y"] * 100 - 5000)
    first, second = (
        estimate(from_table(t, numbers(range=span)))
        for t, span in ((table, [0, 100]), (cents, [-5000, 5000]))
    )  # fmt: skip
    for name in ("effect", "effect_se", "effect_shrunk", "response", "response_shrunk_se"):
        np.testing.assert_allclose(second[name], first[name], rtol=1e-7, atol=1e-10, err_msg=name)


def test_shrunk_means_have_the_errors_of_numbers_not_of_options():
    """Oracle: the design's own error of everybody's mean, which shrinkage leaves as it is. rtol 2 %."""
    cube = estimate(from_table(people(), numbers())).sel(persona="all").isel(country=0, value=0, option=1)
    assert float(cube["response_shrunk_se"]) == pytest.approx(float(cube["response_se"]), rel=0.02)
    mean, size = float(cube["response"]), float(cube["n_eff"])
    assert float(cube["response_shrunk_se"]) < 0.5 * np.sqrt(mean * (1 - mean) / size)


def test_continuous_beside_options_in_one_cube():
    table = people().assign(z=lambda t: (t["y"] > 50).where(t["y"].notna()).astype(float))
    both = numbers(unit="points").model_dump()
    both["values"]["high"] = {
        "column": "z", "question": "?", "topic": "t", "scale": "binary",
        "options": [{"label": "no", "codes": [0]}, {"label": "yes", "codes": [1]}],
    }  # fmt: skip
    cube = estimate(from_table(table, Codebook.model_validate(both)))
    alone = estimate(from_table(table, numbers(unit="points")))
    np.testing.assert_allclose(cube["effect"].sel(value="rating"), alone["effect"].sel(value="rating"), rtol=1e-9)
    assert cube["low"].values.tolist() == [0, 0]
    assert cube["high"].values.tolist() == [100, 1]
    assert cube["unit"].values.tolist() == ["points", ""]


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"scale": "continuous"}, "needs range"),
        ({"scale": "continuous", "range": [5, 5]}, "needs range"),
        ({"scale": "continuous", "range": [0, 1], "options": [{"label": "a", "codes": [1]}]}, "no options"),
        ({"scale": "ordinal", "range": [0, 1]}, "for scale: continuous"),
        ({"scale": "ordinal", "options": [{"label": "a", "codes": [1]}]}, "2 or more, not 1"),
    ],
)
def test_range_and_options_exclude_each_other(value, what):
    with pytest.raises(ValidationError, match=what):
        book(**value)


def test_numbers_outside_the_range_are_an_error():
    with pytest.raises(DataError, match="outside the range") as error:
        from_table(people().assign(y=lambda t: t["y"].where(t.index > 0, 999)), numbers())
    assert "999 (1 rows)" in str(error.value)


@pytest.mark.parametrize("psus", [8, 80])
def test_nominal_shifts_have_the_interval_of_their_design(psus):
    """The same two answers as binary and as nominal, beside each other and alone. Oracle: one another, rtol 1e-12; and
    scipy's t at the degrees of freedom of few sampling units, which 1.96 is not."""
    table = people().assign(z=lambda t: (t["y"] > 50).where(t["y"].notna()).astype(float))
    table["p"] = table["p"] % psus
    table["h"] = 0
    options = [{"label": "no", "codes": [0]}, {"label": "yes", "codes": [1]}]
    both = numbers().model_dump()
    both["values"] = {
        scale: {"column": "z", "question": "?", "topic": "t", "scale": scale, "options": options}
        for scale in ("binary", "nominal")
    }
    cube = estimate(from_table(table, Codebook.model_validate(both)))
    binary = cube.sel(value=["binary"]).ace.table("option")
    limits = ["estimate", "std.error", "conf.low", "conf.high"]
    for nominal in (
        cube.ace.table("option").query("value == 'nominal'"),
        cube.sel(value=["nominal"]).ace.table("option"),
    ):
        np.testing.assert_allclose(nominal[limits], binary[limits], rtol=1e-12)
    half = (binary["conf.high"] - binary["conf.low"]) / 2 / binary["std.error"]
    degrees = cube["degrees_of_freedom"].sel(attribute="sex:f", persona="all", value="nominal").item()
    assert degrees < psus
    assert half.iloc[0] == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-12)


def test_numbers_that_fill_little_of_their_range_are_noted():
    """A slip in the range makes every effect a thousandth of what it is, and then too small to be told from none."""
    noted = from_table(people(), numbers(range=[0, 1e5])).noted
    (text,) = [text for text in noted if "rating" in text]
    assert "of a range from 0 to 100000" in text
    assert noted[text] == people()["y"].notna().sum()
    assert not [text for text in from_table(people(), numbers()).noted if "rating" in text]
