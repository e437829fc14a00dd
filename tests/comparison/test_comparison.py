"""Distances against scipy, noise against simulation, and skill at its fixed points."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from models_as_people import as_model
from scipy import stats

from acecausal.comparison.compare import beyond, compare, differences, effect_statistics
from acecausal.comparison.distance import distribution_distance, expected_distance
from acecausal.cube import schema
from acecausal.cube.files import build, countries_of, lattice_of, values_of
from acecausal.cube.lattice import Lattice
from acecausal.errors import CubeError


def marginal(human: xr.Dataset) -> np.ndarray:
    response = human["response"].values
    return np.broadcast_to(response[:, :, :1], response.shape).copy()


def copied(human: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """People whose shifts are exactly what their responses amount to, and a model that answers as they did."""
    response = np.where(human["response"].isnull(), 1 / 3, human["response"])
    model = as_model(human, response)
    ok = human.status.values == schema.OK
    people = human.copy(deep=True)
    for name in ("shift", "effect"):
        people[name].values[ok] = model[name].values[ok]
    return people, model


def test_distance__scipy_wasserstein():
    """Oracle: scipy's Wasserstein distance over positions, divided by the scale's length. atol 1e-12."""
    rng = np.random.default_rng(0)
    for k in (2, 3, 5, 11):
        p, q = rng.dirichlet(np.ones(k), size=(2, 20))
        ours = distribution_distance(p, q, k, "ordinal")
        theirs = [
            stats.wasserstein_distance(np.arange(k), np.arange(k), a, b) / (k - 1) for a, b in zip(p, q, strict=True)
        ]
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
        np.testing.assert_allclose(distribution_distance(p, q, k, "nominal"), np.abs(p - q).sum(axis=1) / 2, atol=1e-12)
    beyond = distribution_distance(np.array([0.2, 0.8, np.nan]), np.array([0.3, 0.7, np.nan]), 2, "binary")
    assert beyond == pytest.approx(0.1)


def test_ceiling__multinomial_simulation():
    """Oracle: 20,000 simulated samples of 60 people from known shares. rtol 2 %: normal approximation, MC error."""
    rng = np.random.default_rng(1)
    p, n = np.array([0.2, 0.5, 0.1, 0.2]), 60
    samples = rng.multinomial(n, p, size=20000) / n
    cumulative = p.cumsum()
    cumulative_se = np.sqrt(np.clip(cumulative * (1 - cumulative), 0, None) / n)
    for scale in ("ordinal", "nominal"):
        simulated = distribution_distance(samples, p, 4, scale).mean()
        expected = expected_distance(np.sqrt(p * (1 - p) / n), cumulative_se, 4, scale)
        assert expected == pytest.approx(simulated, rel=0.02)


def test_slope__recovers_the_truth_under_noise():
    """Truth: slope 0.6; noise as large as the signal would halve an uncorrected slope. Tolerance: 4 standard errors
    of the simulated mean. The jackknife interval covers the truth in 90-99 % of 300 draws."""
    rng = np.random.default_rng(2)
    slopes, covered = [], 0
    group = np.repeat(np.arange(40), 5)
    for _ in range(300):
        truth = rng.normal(0, 0.05, 200)
        se = rng.uniform(0.03, 0.07, 200)
        slope, interval, _ = effect_statistics(truth + se * rng.normal(size=200), se, 0.6 * truth, group)
        slopes.append(slope)
        covered += interval[0] <= 0.6 <= interval[1]
    slopes = np.array(slopes)
    assert abs(slopes.mean() - 0.6) < 4 * slopes.std() / np.sqrt(300)
    assert 0.90 <= covered / 300 <= 0.99


def test_slope__sign_of_the_baseline_does_not_matter_and_noise_has_none():
    rng = np.random.default_rng(3)
    h, m, se, group = rng.normal(size=50), rng.normal(size=50), np.full(50, 0.1), np.arange(50) // 5
    flip = rng.choice([-1, 1], size=50)
    np.testing.assert_allclose(
        effect_statistics(h, se, m, group)[0], effect_statistics(flip * h, se, flip * m, group)[0]
    )
    assert effect_statistics(h * 1e-3, se, m, group) == (None, None, None)
    assert effect_statistics(h, se, m, np.arange(50) % 4)[1] is None


def test_copy_of_the_sample__no_distance_and_said_so(human):
    people, model = copied(human)
    result = compare(people, model)
    assert result["level"]["distance"] == pytest.approx(0, abs=1e-12)
    assert result["level"]["score"] == pytest.approx(100)
    assert result["effect"]["distance"] == pytest.approx(0, abs=1e-12)
    assert result["effect"]["sign_agreement"] == 1
    assert result["effect"]["cells"] == 295
    for part in ("level", "effect"):
        assert result[part]["skill"] > 1  # closer than sampling noise allows
    said = beyond(result)
    assert [line.split(":")[0] for line in said] == ["levels", "effects"]
    assert all("may have copied the sample" in line for line in said)
    assert set(result) == {"level", "effect", "groups", "checks"}
    json.dumps(result, allow_nan=False)


def test_null_model__skill_is_zero(human):
    """The country's marginal for everybody: distance = null, skill 0, no effects."""
    result = compare(human, as_model(human, marginal(human)))
    for part in ("level", "effect"):
        assert result[part]["distance"] == pytest.approx(result[part]["null"], abs=1e-12)
        assert result[part]["skill"] == pytest.approx(0, abs=1e-9)
    assert result["effect"]["slope"] == pytest.approx(0, abs=1e-12)
    assert 0 < result["effect"]["ceiling"] < result["effect"]["null"]


def test_distance__by_loop_over_cells(human):
    """Oracle: a loop over labels; the level's ceiling from the shares' binomial variance. atol 1e-12."""
    rng = np.random.default_rng(4)
    model = as_model(human, rng.dirichlet(np.ones(3), size=human["n"].shape))
    level, ceiling, effect = [], [], []
    for country in human.country.values:
        for persona in human.persona.values:
            a, b = (c.response.sel(country=country, persona=persona).values[0] for c in (human, model))
            if int(human.n.sel(country=country, persona=persona)[0]) >= 10:
                level.append((abs(a[0] - b[0]) + abs(a[0] + a[1] - b[0] - b[1])) / 2)
                spare = float(human.n_eff.sel(country=country, persona=persona)[0]) - 1
                deviations = np.sqrt([a[0] * (1 - a[0]) / spare, a[2] * (1 - a[2]) / spare])
                ceiling.append(np.sqrt(2 / np.pi) * deviations.sum() / 2)
            for contrast in human.attribute.values:
                at = {"country": country, "persona": persona, "attribute": contrast}
                if int(human.status.sel(at)[0]) == schema.OK:
                    d = human["shift"].sel(at).values[0] - model["shift"].sel(at).values[0]
                    effect.append((abs(d[0]) + abs(d[0] + d[1])) / 2)
    result = compare(human, model)
    assert result["level"]["distance"] == pytest.approx(np.mean(level), abs=1e-12)
    assert result["level"]["ceiling"] == pytest.approx(np.mean(ceiling), abs=1e-9)
    assert result["effect"]["distance"] == pytest.approx(np.mean(effect), abs=1e-12)
    assert (result["level"]["cells"], result["effect"]["cells"]) == (len(level), len(effect))


def test_groups__add_up(human):
    model = as_model(human, marginal(human), held_out={"country": ["USA"]})
    result = compare(human, model)
    by = {}
    for group in result["groups"]:
        by.setdefault(group["by"], []).append(group)
    assert set(by) == {"granularity", "country", "region", "attribute", "value", "held_out"}
    for name in ("granularity", "country", "region", "value", "held_out"):
        for part in ("level", "effect"):
            assert sum(group[part]["cells"] for group in by[name]) == result[part]["cells"]
    assert sum(group["effect"]["cells"] for group in by["attribute"]) == result["effect"]["cells"]
    assert [group["key"] for group in by["held_out"]] == ["trained", "held_out"]
    usa = next(group for group in by["country"] if group["key"] == "USA")
    assert usa["level"] == by["held_out"][1]["level"]
    assert usa["effect"] == by["held_out"][1]["effect"]


def test_subset_and_order__labels_decide(human):
    """Property: cubes are matched by label, so order and extra cells of the model do not matter."""
    rng = np.random.default_rng(5)
    model = as_model(human, rng.dirichlet(np.ones(3), size=human["n"].shape))
    shuffled = model.isel(country=[2, 0, 3, 1])
    assert compare(human, shuffled) == compare(human, model)
    assert compare(human.isel(country=[1]), model)["level"] == compare(human, model.isel(country=[1]))["level"]


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 2, 0]])
def test_options__go_by_their_words(human, order):
    """Oracle: the same model, options in people's order. atol 1e-12."""
    rng = np.random.default_rng(6)
    response = rng.dirichlet(np.ones(3), size=human["n"].shape)
    labels = human["option_label"].values
    assert labels.shape == (1, 3)
    spelled = human.assign_coords(
        option_label=(("value", "option"), np.array([[f" {x.upper()}" for x in labels[0][order]]], dtype=object))
    )
    turned = as_model(spelled, response[..., order])
    before = turned.copy(deep=True)
    result, expected = compare(human, turned), compare(human, as_model(human, response))
    assert json.dumps(result, sort_keys=True) != json.dumps(compare(human, as_model(human, response[..., order])))
    for part in ("level", "effect"):
        for name, number in expected[part].items():
            np.testing.assert_allclose(result[part][name], number, rtol=0, atol=1e-12, err_msg=f"{part} {name}")
    assert result["effect"]["slope"] == pytest.approx(expected["effect"]["slope"], abs=1e-12)
    xr.testing.assert_identical(turned, before)


def test_bad_pairs__one_message(human, ess_cube):
    model = as_model(human, marginal(human))
    with pytest.raises(CubeError, match="share no country"):
        compare(ess_cube, model)
    with pytest.raises(CubeError, match="give the survey cube first"):
        compare(model, human)
    other = model.assign_coords(option_label=(("value", "option"), np.array([["a", "b", "c"]], dtype=object)))
    with pytest.raises(CubeError, match="the options differ"):
        compare(human, other)
    for name, found, says in (
        ("baseline", np.where(model["treatment"] == "gender", "other", model["baseline"]), "the baselines differ"),
        ("scale", ["nominal"], "the scales differ"),
    ):
        with pytest.raises(CubeError, match=says):
            compare(human, model.assign_coords({name: (model[name].dims, found)}))


def test_personas__the_order_of_attributes_does_not_matter(human):
    """Property: a model asked with the attributes in another order is the same model. rtol 1e-9."""
    lattice = lattice_of(human)
    turned = Lattice.over(lattice.attributes[::-1], lattice.depth)
    place = {frozenset(persona.split(",")): i for i, persona in enumerate(lattice.personas)}
    order = [place[frozenset(persona.split(","))] for persona in turned.personas]
    contrasts = [lattice.contrast_labels.index(label) for label in turned.contrast_labels]
    _, plain = copied(human)
    arrays = {}
    for name in plain.data_vars:
        part = plain[name].isel(persona=order)
        arrays[name] = (part.isel(attribute=contrasts) if "attribute" in part.dims else part).values
    values, countries = values_of(human), countries_of(human)
    model = build("model", countries, values, turned, arrays, {})
    assert model["persona"].values.tolist() != human["persona"].values.tolist()
    one, other = compare(human, plain), compare(human, model)
    for part in ("level", "effect"):
        assert one[part]["cells"] == other[part]["cells"] > 100
        assert one[part]["distance"] == pytest.approx(other[part]["distance"], rel=1e-9)


def test_differences__what_is_left_out_or_asked_otherwise_is_said(human):
    _, model = copied(human)
    assert differences(human, model) == []
    cut = model.isel(country=[0, 1])
    assert any("only people have it: country" in line for line in differences(human, cut))
    other = model.assign_coords(question=("value", np.array(["Something else?"], dtype=object)))
    assert differences(human, other) == ["asked in other words than people: poverty"]
