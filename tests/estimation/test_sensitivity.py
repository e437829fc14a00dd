"""E-values, robustness values, and the strongest observed variable, against published numbers and regressions."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from minimal_codebook import MINIMAL

from acecausal.cube import schema
from acecausal.estimation import sensitivity
from acecausal.estimation.estimate import estimate
from acecausal.estimation.problem import Problem
from acecausal.estimation.regression import regress
from acecausal.survey.codebook import Codebook
from acecausal.survey.data import from_table


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


def test_partial_f2__statsmodels():
    """Oracle: sensemakr's f2 = t2 / df of the arm in statsmodels' regression on all that is held fixed. rtol 1e-9.

    A covariate moves the arm, so that conditioning on the cells alone would give a third more.
    """
    rng = np.random.default_rng(0)
    n = 900
    covariate = rng.normal(size=(n, 2))
    arm = (rng.random(n) < 1 / (1 + np.exp(-1.5 * covariate[:, 0]))).astype(int)
    answer = np.clip(0.3 * arm + 0.2 * covariate[:, 0] + rng.normal(size=n), -2, 2) / 4 + 0.5
    weight = rng.uniform(0.5, 2, n)

    def f2(covariates):
        problem = Problem(
            outcomes=np.zeros((n, 1, 2)),
            answered=np.ones((n, 1), dtype=bool),
            arm=arm,
            cell=np.zeros(n, dtype=int),
            covariates=covariates,
            weight=weight,
            key=np.arange(n).astype(np.uint64),
            seed=0,
        )
        left = regress(problem, answer[:, None], problem.answered)
        return left.effect[0], (left.effect[0] / left.deviation[0]) ** 2 * left.spread[0]

    fit = sm.WLS(answer, sm.add_constant(np.column_stack([arm, covariate])), weights=weight).fit()
    effect, found = f2(covariate)
    assert effect == pytest.approx(fit.params[1], rel=1e-9)
    assert found == pytest.approx(fit.tvalues[1] ** 2 / fit.df_resid, rel=1e-9)
    value = sensitivity.robustness_value(np.array([found, f2(covariate[:, :0])[1]]))
    assert value[1] > 1.3 * value[0]


def test_regression__effects_of_cells_by_statsmodels():
    """Oracle: statsmodels' regression with an effect of its own in every cell, averaged over the people. rtol 1e-8.

    People at a third level count in the population, cells without both arms in nothing.
    """
    rng = np.random.default_rng(1)
    n = 800
    cell, covariate = rng.integers(0, 4, n), rng.normal(size=n)
    arm = np.where(cell == 3, 0, rng.integers(-1, 2, n))
    answer = 0.2 * arm * cell + 0.1 * covariate + rng.normal(size=n)
    weight, everybody = rng.uniform(0.5, 2, n), np.ones((n, 1), dtype=bool)
    problem = Problem(
        np.zeros((n, 1, 2)), everybody, arm, cell, covariate[:, None], weight, np.arange(n).astype(np.uint64), 0
    )
    left = regress(problem, answer[:, None], everybody & (cell < 3)[:, None])
    rows = (arm >= 0) & (cell < 3)
    dummies = np.eye(4)[cell][:, :3]
    x = np.column_stack([dummies, dummies * arm[:, None], covariate])
    fit = sm.WLS(answer[rows], x[rows], weights=weight[rows]).fit()
    share = np.bincount(cell, weight)[:3]
    assert left.effect[0] == pytest.approx(fit.params[3:6] @ share / share.sum(), rel=1e-8)
    assert left.deviation[0] == pytest.approx(np.sqrt(np.average(fit.resid**2, weights=weight[rows])), rel=1e-8)


def test_no_infinite_number__where_all_is_determined():
    """What all that is held fixed determines has no E-value; a huge ratio is none either."""
    with np.errstate(all="raise"):
        found = sensitivity.e_value(np.array([0.3, 0.0, 0.9]), np.array([0.0, 0.0, 1e-5]))
    assert np.isnan(found[[0, 2]]).all()
    assert np.isnan(sensitivity.robustness_value(np.array([np.inf, np.nan]))).all()
    assert sensitivity.robustness_value(np.array([0.0, 1e12]))[0] == 0
    assert 0.999 < sensitivity.robustness_value(np.array([1e12]))[0] <= 1


@pytest.mark.parametrize(
    "choices",
    [
        {"refute": 2},
        {"attributes": ["sex"], "refute": 2},
        {"estimand": "association"},
        {"estimator": "forest-dml", "depth": 1},
    ],
    ids=str,
)
def test_a_column_that_is_attribute_and_value__has_a_status_and_no_infinite_number(choices):
    """Known: an answer that the contrast determines has no spread, so no honest interval. `almost` differs from it in
    one row of 600, and stays an ordinary value of finite numbers."""
    book = copy.deepcopy(MINIMAL)
    sex, trust = book["attributes"]["sex"], book["values"]["trust"]
    book["attributes"]["home"] = sex | {"column": "h", "label": "home"}
    book["values"] |= {"sex_again": trust | {"column": "s"}, "home_again": trust | {"column": "h"}}
    book["values"]["almost"] = trust | {"column": "almost"}
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"c": 1, "s": rng.integers(1, 3, 600), "h": rng.integers(1, 3, 600), "t": rng.integers(1, 3, 600)}
    )
    table["almost"] = np.where(np.arange(600) == 5, 3 - table.s, table.s)
    cube = estimate(from_table(table, Codebook.model_validate(book)), **choices)
    for name in cube.data_vars:
        assert not np.isinf(cube[name]).any(), name
    cell = cube.sel(country="A", attribute="sex:f", persona="all")
    assert int(cell.status.sel(value="sex_again")) == schema.FAILED
    assert int(cell.reason.sel(value="sex_again")) == schema.CONSTANT_ANSWERS
    assert int(cell.status.sel(value="trust")) == int(cell.status.sel(value="almost")) == schema.OK
    assert float(cell.effect.sel(value="almost")) == pytest.approx(1, abs=0.02)
    if choices.get("estimand") != "association":
        assert int(cell.reason.sel(value="home_again")) == schema.CONSTANT_ANSWERS


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
