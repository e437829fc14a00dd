"""The fit against EconML called directly, DoWhy on one cell, and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import StratifiedKFold

from acecausal import schema
from acecausal.estimation import _seed
from acecausal.estimators import MIN_CELL_ARM, N_FOLDS, cell_propensity, linear_dml
from acecausal.inference import weighted_mean

NO_COVARIATES = np.empty((0, 0))


def simulate(n=3000, cells=6, seed=0):
    rng = np.random.default_rng(seed)
    cell = rng.integers(0, cells, n)
    arm = (rng.random(n) < 0.2 + 0.1 * (cell % 5)).astype(int)
    covariate = rng.normal(size=(n, 1)) + arm[:, None]
    latent = 0.3 * cell + arm * (0.2 + 0.2 * cell) + covariate[:, 0] + rng.logistic(size=n)
    answer = np.digitize(latent, [0.5, 2.0])
    weight = rng.uniform(0.3, 3, n)
    return np.eye(3)[answer], arm, cell, covariate, weight


def test_wvs_cell__econml_called_directly(wvs, human):
    """Oracle: econml 0.17 LinearDML fitted here by hand on the rows of one context's cells. atol 1e-8.

    The effect of a degree on `poverty` in Norway among religious women: one cell per age group.
    """
    from econml.dml import LinearDML

    country = wvs.country == wvs.country_names.index("Norway")
    gender, degree, religion, age = (wvs.attributes[a][country] for a in ("gender", "degree", "religion", "age"))
    answer = wvs.values["poverty"][country]
    cell = 9 * (gender + 1) + 3 * (religion + 1) + age + 1
    big = [c for c in np.unique(cell) if min((degree[cell == c] == d).sum() for d in (0, 1)) >= MIN_CELL_ARM]
    rows = np.isin(cell, big)
    number = np.searchsorted(big, cell[rows])
    seed = _seed(0, "Norway", "degree:degree")
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed).split(number, 2 * number + degree[rows])
    model = LinearDML(
        model_y=LinearRegression(), model_t=LinearRegression(), fit_cate_intercept=False, cv=list(folds), random_state=0
    )
    dummies = np.eye(len(big))[number]
    model.fit(np.eye(3)[answer[rows]], degree[rows].astype(float), X=dummies)
    context = (gender[rows] == 1) & (religion[rows] == 1)
    expected = model.const_marginal_effect(dummies[context]).reshape(-1, 3).mean(axis=0)
    at = {
        "country": "Norway",
        "attribute": "degree:degree",
        "value": "poverty",
        "persona": "gender=female,religion=religious",
    }
    assert int(human.status.sel(at)) == schema.OK
    np.testing.assert_allclose(human["shift"].sel(at), expected, rtol=0, atol=1e-8)
    assert abs(expected).max() > 1e-3


def test_many_outcomes__equal_one_at_a_time():
    """Property: 150 outcomes in one fit are 150 fits of one. atol 1e-10."""
    outcomes, arm, cell, covariates, weight = simulate()
    together = linear_dml(outcomes, arm, cell, covariates, weight, seed=1).score
    for k in range(3):
        alone = linear_dml(outcomes[:, [k]], arm, cell, covariates, weight, seed=1).score
        np.testing.assert_allclose(together[:, [k]], alone, rtol=0, atol=1e-10)
    np.testing.assert_allclose(together.sum(axis=1), 0, atol=1e-9)  # shifts of one-hot options sum to 0


def test_saturated__close_to_difference_of_cell_means():
    """Oracle: without covariates the effect in a cell is the difference of its arms' means, but for cross-fitting.

    Cross-fitting moves it by the order of 1/n per cell (about 500 respondents here): atol 0.005.
    """
    outcomes, arm, cell, _, _ = simulate()
    n = len(arm)
    scores = linear_dml(outcomes, arm, cell, np.empty((n, 0)), np.ones(n), seed=2)
    for c in np.unique(cell):
        mean, _ = weighted_mean(scores.score, np.ones(n), cell == c)
        plain = outcomes[(cell == c) & (arm == 1)].mean(axis=0) - outcomes[(cell == c) & (arm == 0)].mean(axis=0)
        np.testing.assert_allclose(mean, plain, atol=0.005)
        np.testing.assert_allclose(scores.propensity[cell == c].mean(), arm[cell == c].mean(), atol=0.005)


def test_standard_error__econml_hc1_within_a_cell():
    """Oracle: econml's HC1 standard error of one cell's effect. In a single cell the score's deviation is the same
    sandwich, so only the small-sample factors differ: n/(n-1) of the design against n/(n-1) of HC1. rtol 1e-6."""
    from econml.dml import LinearDML

    outcomes, arm, cell, covariates, _ = simulate(cells=1)
    n = len(arm)
    scores = linear_dml(outcomes, arm, cell, covariates, np.ones(n), seed=3)
    _, influence = weighted_mean(scores.score, np.ones(n), np.ones(n, dtype=bool))
    ours = np.sqrt((influence**2).sum(axis=0) * n / (n - 1))
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=3).split(cell, 2 * cell + arm)
    model = LinearDML(model_y=LinearRegression(), model_t=LinearRegression(), fit_cate_intercept=False, cv=list(folds))
    model.fit(outcomes, arm.astype(float), X=np.ones((n, 1)), W=covariates)
    theirs = model.const_marginal_effect_inference(np.ones((1, 1))).stderr.ravel()
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_weights__econml_with_sample_weight():
    """Oracle: econml fitted here with sample_weight, per cell, averaged over the weighted respondents. atol 1e-8."""
    from econml.dml import LinearDML

    outcomes, arm, cell, covariates, weight = simulate()
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=8).split(cell, 2 * cell + arm)
    model = LinearDML(
        model_y=LinearRegression(), model_t=LinearRegression(), fit_cate_intercept=False, cv=list(folds), random_state=0
    )
    model.fit(outcomes, arm.astype(float), X=np.eye(6)[cell], W=covariates, sample_weight=weight)
    per_cell = model.const_marginal_effect(np.eye(6)).reshape(6, 3)
    expected = np.average(per_cell[cell], axis=0, weights=weight)
    scores = linear_dml(outcomes, arm, cell, covariates, weight, seed=8)
    mean, _ = weighted_mean(scores.score, weight, np.ones(len(arm), dtype=bool))
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-8)


def test_weights__doubled_rows_at_half_weight_have_the_same_cell_effect():
    outcomes, arm, cell, _, weight = simulate(n=1200, cells=2)
    n = len(arm)
    once = linear_dml(outcomes, arm, cell, np.empty((n, 0)), np.ones(n), seed=4).score
    scaled = linear_dml(outcomes, arm, cell, np.empty((n, 0)), np.full(n, 7.5), seed=4).score
    np.testing.assert_allclose(once, scaled, atol=1e-9)
    weighted = linear_dml(outcomes, arm, cell, np.empty((n, 0)), weight, seed=4).score
    assert np.abs(weighted - once).max() > 0.01


def test_covariates__confounding_is_removed():
    """Truth: outcome depends on the covariate only, the arm on the covariate; the raw difference is biased by 0.5."""
    rng = np.random.default_rng(5)
    n = 20000
    x = rng.normal(size=n)
    arm = (rng.random(n) < np.clip(0.5 + 0.25 * x, 0.05, 0.95)).astype(int)
    y = (x + 0.3 * rng.normal(size=n))[:, None]
    cell = np.zeros(n, dtype=int)
    mean, _ = weighted_mean(linear_dml(y, arm, cell, x[:, None], np.ones(n), 0).score, np.ones(n), cell == 0)
    raw = y[arm == 1].mean() - y[arm == 0].mean()
    assert raw > 0.5
    assert abs(mean[0]) < 0.02


def test_thin_cells__left_out_and_other_levels_averaged_over():
    rng = np.random.default_rng(6)
    cell = np.repeat([0, 1, 2], [100, 100, 20])
    arm = rng.integers(0, 2, 220)
    arm[200:] = 0
    arm[200 : 200 + MIN_CELL_ARM - 1] = 1  # one treated respondent short
    arm[:10] = -1  # another level of the attribute
    outcomes = np.eye(2)[rng.integers(0, 2, 220)]
    scores = linear_dml(outcomes, arm, cell, np.empty((220, 0)), np.ones(220), seed=0)
    assert np.isnan(scores.score[200:]).all()
    assert np.isfinite(scores.score[:200]).all()
    effect = weighted_mean(scores.score, np.ones(220), cell == 0)[0]
    np.testing.assert_allclose(scores.score[:10], np.tile(effect, (10, 1)), atol=1e-9)
    nothing = linear_dml(outcomes, np.zeros(220, dtype=int), cell, np.empty((220, 0)), np.ones(220), seed=0)
    assert np.isnan(nothing.score).all()


def test_cell_propensity__by_hand():
    arm, cell = np.array([0, 1, 1, -1, 0]), np.array([4, 4, 4, 4, 9])
    np.testing.assert_allclose(cell_propensity(arm, cell, np.array([1.0, 1, 2, 5, 1])), [0.75, 0.75, 0.75, 0.75, 0])


def test_dowhy_on_one_cell__same_adjustment_and_estimate(wvs):
    """Oracle: dowhy 0.14's own pipeline with EconML's LinearDML on Norway. atol 1e-8."""
    import warnings

    import pandas as pd
    from dowhy import CausalModel

    from acecausal.identify import causal_graph

    rows = wvs.country == wvs.country_names.index("Norway")
    data = pd.DataFrame({name: codes[rows].astype(float) for name, codes in wvs.attributes.items()})
    data["answer"] = wvs.values["poverty"][rows] / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DoWhy's own remarks on pandas, networkx and EconML
        model = CausalModel(data, treatment="degree", outcome="answer", graph=causal_graph(wvs.codebook))
    estimand = model.identify_effect(proceed_when_unidentifiable=True)
    init = {
        "model_y": LinearRegression(),
        "model_t": LinearRegression(),
        "fit_cate_intercept": True,
        "cv": list(StratifiedKFold(N_FOLDS, shuffle=True, random_state=7).split(data, data["degree"])),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = model.estimate_effect(
            estimand,
            method_name="backdoor.econml.dml.LinearDML",
            effect_modifiers=[],
            method_params={"init_params": init, "fit_params": {"inference": None}},
        ).value
    n = rows.sum()
    arm = data["degree"].to_numpy().astype(int)
    covariates = data[["gender", "religion", "age"]].to_numpy()
    scores = linear_dml(data[["answer"]].to_numpy(), arm, np.zeros(n, dtype=int), covariates, np.ones(n), seed=7)
    ours = weighted_mean(scores.score, np.ones(n), np.ones(n, dtype=bool))[0][0]
    # the same folds: ours are stratified by cell and arm, and there is one cell
    assert ours == pytest.approx(theirs, abs=1e-8)
