"""Standardised differences, inverse-propensity weights, quantiles."""

from __future__ import annotations

import numpy as np
import pytest

from acecausal.cube import schema
from acecausal.estimation import balance


def test_standardised_differences__statsmodels():
    """Oracle: weighted means and variances of statsmodels' DescrStatsW. rtol 1e-12."""
    from statsmodels.stats.weightstats import DescrStatsW

    rng = np.random.default_rng(0)
    columns, arm, weight = rng.normal(size=(200, 2)), rng.integers(-1, 2, 200), rng.uniform(1, 3, 200)
    columns[arm == 1] += [0.5, 0]
    low, high = (DescrStatsW(columns[arm == side], weight[arm == side]) for side in (0, 1))
    expected = (high.mean - low.mean) / np.sqrt((low.var + high.var) / 2)
    np.testing.assert_allclose(balance.standardised_differences(columns, arm, weight), expected, rtol=1e-12)
    assert expected[0] > 0.3
    assert np.isnan(balance.standardised_differences(np.ones((200, 1)), arm, weight)).all()
    assert np.isnan(balance.standardised_differences(columns, np.zeros(200), weight)).all()


def test_inverse_propensity__balances_exactly_in_cells():
    """Closed form: with the cells' own shares as propensities, the arms have the same distribution of cells. 1e-12."""
    rng = np.random.default_rng(1)
    cell = rng.integers(0, 3, 400)
    arm = (rng.random(400) < 0.2 + 0.3 * (cell == 1)).astype(int)
    share = np.array([arm[cell == c].mean() for c in range(3)])[cell]
    columns = np.eye(3)[cell][:, 1:]
    assert np.abs(balance.standardised_differences(columns, arm, np.ones(400))).max() > 0.2
    after = balance.standardised_differences(columns, arm, balance.inverse_propensity(arm, share, np.ones(400)))
    np.testing.assert_allclose(after, 0, atol=1e-12)


def test_weighted_quantiles__copies():
    """Oracle: numpy's inverted_cdf quantiles of each number copied as often as it weighs."""
    rng = np.random.default_rng(2)
    numbers, weight = rng.normal(size=50), rng.integers(1, 5, 50)
    levels = np.array(schema.QUANTILES)
    expected = np.quantile(np.repeat(numbers, weight), levels, method="inverted_cdf")
    np.testing.assert_array_equal(balance.weighted_quantiles(numbers, weight.astype(float), levels), expected)
    assert np.isnan(balance.weighted_quantiles(numbers[:0], weight[:0], levels)).all()


def test_cube__adjustment_balances_real_surveys(human, ess_cube):
    """Saturated attributes are balanced to 0.02 after weighting (cross-fitted shares), covariates to 0.1."""
    for cube, limit in ((human, 0.02), (ess_cube, 0.1)):
        before, after = cube.smd_before, cube.smd_after
        own = [[c.split(":")[0] == t for c in cube.covariate.values] for t in cube.treatment.values]
        np.testing.assert_array_equal(before.isnull(), np.broadcast_to(own, before.shape))
        after = after.where((cube.status.sel(persona="all") == schema.OK).any("value"))  # Sweden: 15 without religion
        assert float(abs(after).max()) < limit < float(abs(before).max())
        spread = cube.propensity.diff("quantile").values
        assert (spread[np.isfinite(spread)] >= 0).all()
    assert float(human.propensity.sel(country="USA", attribute="gender:female", quantile="median")) == pytest.approx(
        0.53, abs=0.1
    )
