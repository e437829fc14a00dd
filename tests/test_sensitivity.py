"""E-values, robustness values, and the strongest observed variable, against published numbers and regressions."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from acecausal import schema, sensitivity


def test_e_value__published_example():
    """Oracle: VanderWeele and Ding (2017): RR 3.9 has E-value 7.26, its limit 1.8 has 3.0. abs 0.01."""
    for ratio, expected in ((3.9, 7.26), (1.8, 3.0)):
        effect = np.log(ratio) / 0.91
        assert sensitivity.e_value(np.array([effect]), np.ones(1))[0] == pytest.approx(expected, abs=0.01)
        assert sensitivity.e_value(np.array([-effect]), np.ones(1))[0] == pytest.approx(expected, abs=0.01)
    assert sensitivity.e_value(np.zeros(1), np.ones(1))[0] == 1


def test_robustness_value__darfur():
    """Oracle: Cinelli and Hazlett (2020), Darfur: t = 4.18 on 783 df has a robustness value of 13.9 %."""
    assert sensitivity.robustness_value(np.array([4.184**2 / 783]))[0] == pytest.approx(0.139, abs=0.0005)
    # its defining property: a confounder with that partial R2 on both sides takes away the whole effect
    value = sensitivity.robustness_value(np.array([0.05]))[0]
    assert value**2 / (1 - value) == pytest.approx(0.05, abs=1e-12)


def test_partial_r2__regression():
    """Oracle: statsmodels. With cells and arms saturated, f2 = R2 / (1 - R2) of the arm given the cells. rtol 1e-9.

    The effect is the variance-weighted one of the regression, the same in every cell.
    """
    rng = np.random.default_rng(0)
    n = 600
    cell = rng.integers(0, 3, n)
    arm = (rng.random(n) < 0.3 + 0.2 * cell).astype(int)
    answer = 0.4 * arm + 0.3 * cell + rng.normal(size=n)
    weight = rng.uniform(0.5, 2, n)
    indicators = np.eye(3)[cell]
    # the residual of the additive regression has the effect taken out in every cell alike
    full = sm.WLS(answer, np.column_stack([indicators, arm]), weights=weight).fit()
    less = sm.WLS(answer, indicators, weights=weight).fit()
    even = answer - full.resid + _within(full.resid, cell, arm, weight)
    full, less = (sm.WLS(even, x, weights=weight).fit() for x in (np.column_stack([indicators, arm]), indicators))
    r2 = 1 - full.ssr / less.ssr
    deviation, spread = sensitivity.within_arms(even[:, None], np.ones((n, 1), dtype=bool), arm, indicators, weight)
    assert (full.params[-1] / deviation[0]) ** 2 * spread[0] == pytest.approx(r2 / (1 - r2), rel=1e-9)


def _within(numbers, cell, arm, weight):
    out = numbers.copy()
    for c in range(3):
        for side in (0, 1):
            here = (cell == c) & (arm == side)
            out[here] -= np.average(numbers[here], weights=weight[here])
    return out


def test_strongest_observed__correlations_by_hand():
    """Oracle: numpy correlations of the respondents who answered. atol 1e-12."""
    rng = np.random.default_rng(1)
    n = 300
    columns = rng.normal(size=(n, 2))
    arm = (columns[:, 0] + rng.normal(size=n) > 0).astype(int)
    answer = columns @ [0.5, 2.0] + rng.normal(size=n)
    answered = rng.random(n) < 0.9
    found = sensitivity.strongest_observed(columns, answer[:, None], answered[:, None], arm, np.ones(n))
    r = [
        abs(np.corrcoef(columns[answered, j], arm[answered])[0, 1])
        * abs(np.corrcoef(columns[answered, j], answer[answered])[0, 1])
        for j in range(2)
    ]
    np.testing.assert_allclose(found, [max(r)], atol=1e-12)
    assert sensitivity.strongest_observed(columns[:, :0], answer[:, None], answered[:, None], arm, np.ones(n)) == 0


def test_verdict__words():
    value, limit, strongest = (
        np.array([0.3, 0.3, 0.3, 0.1, 0.3]),
        np.array([0.2, 0.2, 0.0, 0.05, 0.2]),
        np.array([0.1, 0.25, 0.1, 0.2, 0.0]),
    )
    words = [schema.VERDICTS[code] for code in sensitivity.verdict(value, limit, strongest)]
    assert words == ["consistent", "undecided", "undecided", "inconsistent", "undecided"]


def test_cube__real_survey(human):
    """An interval that holds zero has a limit of 1, another above; the estimate's E-value is at least its limit's."""
    everywhere = human.sel(persona="all")
    ok = (everywhere.status == schema.OK).values
    low, high = everywhere.effect_interval.values[ok].T
    limit = everywhere.e_value_limit.values[ok]
    np.testing.assert_array_equal(limit == 1, low * high <= 0)
    assert (everywhere.e_value.values[ok] >= limit).all()
    assert np.isnan(everywhere.e_value.values[~ok]).all()
    assert (limit > 1).any()
