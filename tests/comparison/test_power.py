"""Design before data: formulae, and surveys drawn anew in the size that was foretold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy import integrate, stats

from acecausal.comparison.power import advice, design, detectable, power
from acecausal.cube import schema
from acecausal.cube.files import write_cube
from acecausal.errors import AceError, CubeError
from acecausal.estimation.estimate import estimate
from acecausal.simulation.surveys import draw
from acecausal.simulation.truth import truth
from acecausal.simulation.world import World
from cli.main import main

WORLD = World.make(countries=1, values=1, attributes=2, options=3, heterogeneity=0.3, confounding=0.5, seed=3)


@pytest.fixture(scope="module")
def pilot():
    return estimate(draw(WORLD, 3000, seed=1), depth=1)


def test_power__is_the_mass_beyond_the_limits():
    """Oracle: numerical integration of the normal density; and the detectable effect has the power it is for."""
    for effect, se, limit in ((0.05, 0.02, 1.96), (0.0, 0.1, 2.3), (-0.3, 0.1, 2.0)):
        inside, _ = integrate.quad(stats.norm(effect, se).pdf, -limit * se, limit * se)
        assert float(power(effect, se, limit)) == pytest.approx(1 - inside, abs=1e-9)
    assert float(power(detectable(0.02, 1.96, 0.8), 0.02, 1.96)) == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize(("n", "delta", "expected"), [(20, 1.0, 0.868953027725), (4, 0.01, 0.0500166166048)])
def test_power__with_few_degrees_of_freedom(n, delta, expected):
    """Oracle: power.t.test(n, delta, sd = 1, strict = TRUE) of R 4.2.2, 1e-9; of no effect it is that of the test."""
    degrees = 2 * n - 2
    found = power(np.array(delta), np.sqrt(2 / n), stats.t.isf(0.025, degrees), degrees)
    assert float(found) == pytest.approx(expected, abs=1e-9)
    assert float(power(np.array(0.0), 0.1, stats.t.isf(0.025, 5), 5)) == pytest.approx(0.05, abs=1e-9)


@pytest.mark.slow
def test_design__surveys_drawn_in_that_size(pilot):
    """Oracle: 60 surveys of 800 people: their intervals, arms, and how often they leave out 0.

    Tolerances: 6 % of widths and arms (the pilot's own errors); three binomial errors of the power.
    """
    true = abs(truth(WORLD, depth=1)["effect"].sel(persona="all", value="value0").values[0])
    found = design(pilot, 800).sel(persona="all", value="value0").isel(country=0)
    cubes = [estimate(draw(WORLD, 800, seed=100 + k), depth=1).sel(persona="all", value="value0") for k in range(60)]
    widths = np.mean([np.diff(cube["effect_interval"].values[0], axis=-1)[:, 0] / 2 for cube in cubes], axis=0)
    np.testing.assert_allclose(found["half_width"], widths, rtol=0.06)
    for arm in ("n_baseline", "n_treated"):
        np.testing.assert_allclose(found[arm], np.mean([cube[arm].values[0] for cube in cubes], axis=0), rtol=0.06)
    limits = found["half_width"].values / found["se"].values
    foretold = power(true, found["se"].values, limits)
    seen = np.mean([cube["p_value"].values[0] < 0.05 for cube in cubes], axis=0)
    assert (foretold > 0.1).any()
    assert (np.abs(seen - foretold) < 3 * np.sqrt(0.25 / 60)).all()


def test_design__falls_with_people_and_units(pilot):
    """Closed form: four times the people halve the error; where units do not grow, it stays."""
    n = int(pilot["n"].sel(persona="all").max())
    four = design(pilot, 4 * n)
    np.testing.assert_allclose(four["se"], pilot["effect_se"].where(pilot["status"] == schema.OK) / 2, rtol=1e-12)
    np.testing.assert_allclose(design(pilot, 4 * n, psus=n)["se"], 2 * four["se"], rtol=1e-2)
    fewer = design(pilot, 4 * n, psus=4 * n)
    np.testing.assert_allclose(fewer["se"], four["se"], rtol=1e-12)


def test_design__units_that_hold_both_arms_are_counted_once():
    """40 clusters, in all of which both arms stand. As many again of the same size: errors fall as with people."""
    clustered = estimate(draw(WORLD, 1200, seed=5, clusters=40), depth=1)
    n, units = (int(clustered[name].sel(persona="all").max()) for name in ("n", "n_psu"))
    assert units == 40
    ok = clustered["status"] == schema.OK
    np.testing.assert_allclose(design(clustered, n, psus=units)["se"], clustered["effect_se"].where(ok), rtol=1e-12)
    np.testing.assert_allclose(design(clustered, 4 * n, psus=units)["se"], clustered["effect_se"].where(ok), rtol=1e-12)
    both = design(clustered, 4 * n, psus=4 * units)["se"]
    np.testing.assert_allclose(both, clustered["effect_se"].where(ok) / 2, rtol=1e-12)


def test_design__thin_cells_have_no_number_and_are_named(pilot):
    found = design(pilot, 80, min_arm=40)
    assert found["thin"].any()
    assert np.isnan(found["se"].values[found["thin"].values]).all()
    assert not found["enough"].values[found["thin"].values].any()
    small = found[["n_baseline", "n_treated"]].to_array().min("variable") < 40
    np.testing.assert_array_equal(found["thin"], small & (pilot["status"] != schema.NOT_APPLICABLE))
    said = advice(found)
    assert len(said) == len(set(said)) > 0
    assert all("people" in text for text in said)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"respondents": 0}, "out of range"),
        ({"respondents": 100, "psus": 101}, "out of range"),
        ({"respondents": 100, "effect": 0.0}, "effect: out of range"),
        ({"respondents": 100, "wanted": 0.4}, "power: out of range"),
    ],
)
def test_design__one_message(pilot, choices, message):
    with pytest.raises(AceError, match=message):
        design(pilot, **choices)


def test_design__of_a_model(pilot):
    with pytest.raises(CubeError, match="has no standard errors"):
        design(truth(WORLD, depth=1), 100)
    with pytest.raises(CubeError, match="persona all"):
        design(pilot.isel(persona=[1, 2]), 100)
    with pytest.raises(CubeError, match="sampling units"):
        design(pilot.drop_vars("n_psu"), 100, psus=10)
    with pytest.raises(CubeError, match="no order"):
        design(pilot.assign_coords(scale=("value", ["nominal"])), 100)


def test_command__table_of_all_cells(pilot, tmp_path):
    write_cube(pilot, tmp_path / "p.zarr")
    args = ["design", str(tmp_path / "p.zarr"), "--respondents", "500,2000", "--effect", "0.05"]
    done = CliRunner().invoke(main, [*args, "-o", str(tmp_path / "d.csv")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "d.csv")
    edges = int((pilot["status"] != schema.NOT_APPLICABLE).sum())
    assert table["respondents"].value_counts().to_dict() == {500: edges, 2000: edges}
    cell = design(pilot, 2000, effect=0.05).sel(persona="all").isel(country=0, attribute=0, value=0)
    row = table[(table["respondents"] == 2000) & (table["context"] == "all")].iloc[0]
    assert row["power"] == pytest.approx(float(cell["power"]), rel=1e-12)
    assert f"{float(cell['detectable']):.3f}" in done.stdout
    worst = CliRunner().invoke(main, [*args, "--psus", "40"], catch_exceptions=False)
    assert ("no sampling units" in done.stderr, "no sampling units" in worst.stderr) == (False, True)
    wrong = CliRunner().invoke(main, [*args[:3], "many"])
    assert wrong.exit_code == 2
