"""The fits against EconML called directly, DoWhy on one cell, and closed forms."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, LogisticRegression
from worlds import average, problem

from acecausal.cube import schema
from acecausal.estimation.balance import MIN_PROPENSITY
from acecausal.estimation.econml_fits import TREES
from acecausal.estimation.estimate import estimate
from acecausal.estimation.estimators import ESTIMATORS
from acecausal.estimation.inference import Design
from acecausal.estimation.linear_dml import linear_dml
from acecausal.estimation.outcomes import outcomes
from acecausal.estimation.plan import make_plan
from acecausal.estimation.problem import MIN_CELL_ARM, N_FOLDS, Problem
from acecausal.estimation.sample import Sample
from acecausal.simulation.surveys import draw
from acecausal.simulation.world import World


def econml_fit(p: Problem, v: int, k: int | slice, estimator=None, **fit):
    """EconML fitted by hand on the respondents of one value, with its folds: the fitted model and the rows."""
    from econml.dml import LinearDML

    fold = p.folds[0][:, v]
    rows = np.flatnonzero(fold >= 0)
    covariates = p.covariates[rows]
    if estimator is not None:  # what is penalised, or grown from rows in order, gets both in one form
        rows = rows[np.argsort(p.key[rows])]
        covariates = (p.covariates[rows] - covariates.mean(axis=0)) / covariates.std(axis=0)
    cv = [(np.flatnonzero(fold[rows] != f), np.flatnonzero(fold[rows] == f)) for f in range(N_FOLDS)]
    if estimator is None:
        model = LinearDML(model_y=LinearRegression(), model_t=LinearRegression(), fit_cate_intercept=False, cv=cv)
    else:
        model = estimator(cv)
    given = {"X": p.indicators[rows], "W": covariates} | fit
    given = {name: make(covariates, rows) if callable(make) else make for name, make in given.items()}
    model.fit(
        p.outcomes[rows, v, k],
        p.arm[rows].astype(float) if estimator is None else p.arm[rows],
        sample_weight=p.weight[rows],
        cache_values=True,
        **(
            {"X": p.indicators[rows], "W": covariates}
            | {n: x(covariates, rows) if callable(x) else x for n, x in fit.items()}
        ),
    )
    return model, rows


@pytest.mark.parametrize("covariates", [0, 1, 3])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_linear_dml__econml_called_directly_per_outcome(missing, covariates):
    """Oracle: econml 0.17 LinearDML, one outcome at a time, each on its own respondents. atol 1e-8."""
    p = problem(missing=missing, covariates=covariates)
    scores = linear_dml(p)
    for v in range(3):
        for k in range(3):
            x = {} if covariates else {"W": None}
            model, _ = econml_fit(p, v, k, **x)
            expected = model.const_marginal_effect(np.eye(6)).ravel()
            ours = [average(scores, p.weight, (p.cell == c) & scores.inside[:, v])[v, k] for c in range(6)]
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-8)
    assert np.abs(expected).max() > 0.05


def test_linear_dml__numbers_instead_of_options():
    """Oracle: econml 0.17 LinearDML on the number itself, which has neither options nor ends. atol 1e-8."""
    p = problem(values=1, options=2, covariates=2, missing=0.1)
    score = np.clip(0.3 * p.outcomes[:, 0, 1] + np.random.default_rng(1).uniform(0, 0.7, len(p.arm)), 0, 1)
    answered = p.answered[:, 0]
    laid = outcomes([np.where(answered, score, -1.0)], 2).transpose(2, 0, 1)
    p = dataclasses.replace(p, outcomes=laid)
    scores = linear_dml(p)
    number = dataclasses.replace(p, outcomes=np.where(answered, score, 0.0)[:, None, None])
    model, _ = econml_fit(number, 0, 0)
    expected = model.const_marginal_effect(np.eye(6)).ravel()
    ours = [average(scores, p.weight, (p.cell == c) & scores.inside[:, 0])[0] for c in range(6)]
    np.testing.assert_allclose(ours, np.stack([-expected, expected], axis=1), rtol=0, atol=1e-8)
    assert np.abs(expected).max() > 0.02


@pytest.mark.parametrize("cells", [31, 32, 48, 127, 128, 300])
def test_linear_dml__as_many_cells_as_there_are(cells):
    """Oracle: as above. atol 1e-8. Numbers of folds and cells must not wrap around in a narrow type (127, 255, ...)."""
    p = problem(n=max(1500, 30 * cells), cells=cells, values=1, options=2, covariates=1)
    scores = linear_dml(p)
    fitted = np.flatnonzero(p.folds[0][:, 0] >= 0)
    there = np.unique(p.cell[fitted])
    assert len(there) > 0.6 * cells
    model, _ = econml_fit(p, 0, 1, X=p.indicators[fitted][:, there], inference=None)
    expected = model.const_marginal_effect(np.eye(len(there))).ravel()
    ours = [average(scores, p.weight, (p.cell == c) & scores.inside[:, 0])[0, 1] for c in there]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-8)
    # and another way, which knows no folds: the truth of the world, .2 + .2 cell on a latent scale, is far from 0
    assert np.median(expected) > 0.02


def test_linear_dml__more_rows_in_a_cell_than_a_short_integer_counts():
    """Oracle: the difference of the arms' means, in 70,000 rows of one cell. Cross-fitting moves it by 1e-4 at most."""
    p = problem(n=70_000, cells=1, values=1, options=2, covariates=0, missing=0)
    p = dataclasses.replace(p, weight=np.ones(70_000))
    fold, _ = p.folds
    assert np.ptp(np.bincount(fold[:, 0])) <= 2
    plain = [p.outcomes[p.arm == side, 0, 1].mean() for side in (0, 1)]
    assert average(linear_dml(p), p.weight, np.arange(70_000))[0, 1] == pytest.approx(plain[1] - plain[0], abs=1e-4)


def slopes(weight: np.ndarray, count: int) -> float:
    """The noise of so many slopes, learnt from four fifths of the people, in their effective number."""
    return 1 + count / (0.8 * weight.sum() ** 2 / (weight**2).sum())


def test_linear_dml__standard_errors_of_econml():
    """Oracle: HC3 by hand from the residuals of econml's fit, of each cell's effect, with weights. rtol 1e-6.

    econml's own standard error is HC1: within 5 % in cells of 100 to 300 treated, and further off in small ones.
    """
    p = problem(covariates=2)
    scores = linear_dml(p)
    for k in range(3):
        model, rows = econml_fit(p, 1, k)
        theirs = model.const_marginal_effect_inference(np.eye(6)).stderr.ravel()
        effects = model.const_marginal_effect(np.eye(6)).ravel()
        y, t = (np.ravel(part) for part in model.residuals_[:2])
        for c in range(6):
            here = np.flatnonzero((p.cell == c) & scores.inside[:, 1])
            w = p.weight[here] / p.weight[here].sum()
            score = scores.means[0].numbers[here, 1, k]
            influence = w * (score - w @ score)
            of_cell = p.cell[rows] == c
            square = p.weight[rows][of_cell] * t[of_cell] ** 2
            left = p.weight[rows][of_cell] * t[of_cell] * (y[of_cell] - t[of_cell] * effects[c])
            hc3 = left / (1 - square / square.sum()) / square.sum() * slopes(p.weight[rows], 2)
            hc3 -= w * hc3.sum()
            assert np.sqrt((influence**2).sum()) == pytest.approx(np.sqrt((hc3**2).sum()), rel=1e-6)
            assert np.sqrt((influence**2).sum()) == pytest.approx(theirs[c], rel=0.05)
    # and the design's own variance is that sandwich with n / (n - 1)
    design = Design.of(np.zeros(len(here), dtype=int), np.arange(len(here)))
    n = len(here)
    assert design.variance(influence[:, None])[0] == pytest.approx((influence**2).sum() * n / (n - 1), rel=1e-9)


def test_doubly_robust__econml_called_directly():
    """Oracle: econml 0.17 LinearDRLearner per option, effects in each cell. atol 1e-8 (its own final stage)."""
    from econml.dr import LinearDRLearner

    p = problem(n=1200, cells=3, values=2)
    scores = ESTIMATORS["dr"](p)
    for k in range(3):
        model, rows = econml_fit(
            p,
            1,
            k,
            lambda cv: LinearDRLearner(
                model_propensity=LogisticRegression(C=1e4, max_iter=1000),
                model_regression=LinearRegression(),
                min_propensity=MIN_PROPENSITY,
                fit_cate_intercept=False,
                cv=cv,
            ),
        )
        expected = model.const_marginal_effect(np.eye(3)).ravel()
        ours = [average(scores, p.weight, np.flatnonzero(p.cell == c))[1, k] for c in range(3)]
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-8)
        theirs = model.const_marginal_effect_inference(np.eye(3)).stderr.ravel()
        for c in range(3):
            here = rows[p.cell[rows] == c]
            w = p.weight[here] / p.weight[here].sum()
            score = scores.means[0].numbers[here, 1, k]
            ours_se = np.sqrt(((w * (score - w @ score)) ** 2).sum() * len(rows) / (len(rows) - 3))
            assert ours_se == pytest.approx(theirs[c], rel=1e-6)


def test_forest_dml__econml_called_directly():
    """Oracle: econml 0.17 CausalForestDML with drate: `ate_` is the mean of our scores. atol 1e-8."""
    from econml.dml import CausalForestDML

    p = dataclasses.replace(problem(n=800, cells=2, values=1), weight=np.ones(800))
    scores = ESTIMATORS["forest-dml"](p)
    model, _ = econml_fit(
        p,
        0,
        slice(None),
        lambda cv: CausalForestDML(
            model_y=LinearRegression(),
            model_t=LogisticRegression(C=1e4, max_iter=1000),
            discrete_treatment=True,
            drate=True,
            n_estimators=TREES,
            cv=cv,
            n_jobs=1,
            random_state=0,
        ),
        X=lambda covariates, rows: np.concatenate([p.indicators[rows], covariates], axis=1),
        W=None,
    )
    theirs = model.ate_.ravel() - model.ate_.mean()  # ours sum to 0
    np.testing.assert_allclose(average(scores, p.weight, scores.inside[:, 0])[0], theirs, rtol=0, atol=1e-8)
    assert np.abs(model.ate_).max() > 0.05


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator__contract(name):
    """Shifts sum to 0 (1e-9); respondents at a third level and those who did not answer are handled; seeded."""
    p = problem(n=1000, cells=3, values=2, other=0.2)
    scores, again = ESTIMATORS[name](p), ESTIMATORS[name](p)
    everybody = np.arange(1000)
    shift = average(scores, p.weight, everybody)
    np.testing.assert_allclose(shift.sum(axis=1), 0, atol=1e-9)
    np.testing.assert_array_equal(shift, average(again, p.weight, everybody))
    assert not scores.inside[~p.answered].any()
    others = (p.arm < 0)[:, None] & p.answered
    assert scores.inside[others].any()
    for mean in scores.means:
        assert np.isfinite(mean.numbers[mean.rows]).all()


@pytest.mark.parametrize("name", ["linear-dml", "forest-dml", "dr"])
def test_causal_estimators__remove_confounding(name):
    """Truth: the covariate moves arm and answer, the arm nothing. Within 4 standard errors; association is far off."""
    rng = np.random.default_rng(5)
    n = 3000
    x = rng.uniform(-1, 1, n)
    arm = (rng.random(n) < 0.5 + 0.3 * x).astype(int)
    yes = rng.random(n) < 0.5 + 0.3 * x
    p = Problem(
        outcomes=np.stack([~yes, yes], axis=1).astype(float)[:, None],
        answered=np.ones((n, 1), dtype=bool),
        arm=arm,
        cell=np.zeros(n, dtype=int),
        covariates=x[:, None],
        weight=np.ones(n),
        key=rng.integers(0, 2**63, n).astype(np.uint64),
        seed=0,
    )
    scores = ESTIMATORS[name](p)
    number = scores.means[0].numbers[scores.inside[:, 0], 0, 1]
    se = number.std() / np.sqrt(n)
    assert abs(number.mean()) < 4 * se < 0.1
    assert average(ESTIMATORS["association"](p), p.weight, np.arange(n))[0, 1] > 0.1


def test_saturated__close_to_difference_of_cell_means():
    """Oracle: without covariates the effect in a cell is the difference of its arms' means, but for cross-fitting.

    Cross-fitting moves it by the order of 1/n per cell (about 500 respondents here): atol 0.005.
    """
    p = problem(covariates=0, missing=0)
    p = dataclasses.replace(p, weight=np.ones(len(p.arm)))
    scores = linear_dml(p)
    for c in range(6):
        plain = [p.outcomes[(p.cell == c) & (p.arm == side), 0].mean(axis=0) for side in (0, 1)]
        np.testing.assert_allclose(average(scores, p.weight, p.cell == c)[0], plain[1] - plain[0], atol=0.005)


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.6), st.integers(0, 3), st.floats(0, 0.3))
@settings(max_examples=25, deadline=None)
def test_folds__stratified_and_whole(seed, missing, covariates, other):
    """Property: within cell and arm the folds of each value's respondents differ in size by at most one."""
    p = problem(n=400, missing=missing, covariates=covariates, other=other, seed=seed)
    fold, comparable = p.folds
    assert not (fold >= 0)[p.arm < 0].any()
    assert not comparable[~p.answered].any()
    for v in range(3):
        for c in range(6):
            here = (p.cell == c) & p.answered[:, v]
            arms = [here & (p.arm == side) for side in (0, 1)]
            enough = min(a.sum() for a in arms) >= MIN_CELL_ARM
            np.testing.assert_array_equal(comparable[here, v], enough)
            for rows in arms:
                sizes = np.bincount(fold[rows, v] + 1, minlength=N_FOLDS + 1)
                assert sizes[0] == (0 if enough else rows.sum())
                assert not enough or np.ptp(sizes[1:]) <= 1


def shuffled(p: Problem, order: np.ndarray) -> Problem:
    parts = ("outcomes", "answered", "arm", "cell", "covariates", "weight", "key")
    return dataclasses.replace(p, **{name: getattr(p, name)[order] for name in parts})


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_row_order__does_not_matter(seed):
    """Property. atol 1e-10."""
    p = problem(n=500, seed=seed)
    order = np.random.default_rng(seed).permutation(500)
    np.testing.assert_allclose(
        linear_dml(shuffled(p, order)).means[0].numbers, linear_dml(p).means[0].numbers[order], atol=1e-10
    )


def test_weights__constant_is_none_and_doubled_rows_at_half_weight_are_the_same():
    """Property, of points: atol 1e-10. Copies of a respondent share their fold, and count twice in the errors."""
    p = problem(n=600)
    scaled = linear_dml(dataclasses.replace(p, weight=np.full(600, 7.5)))
    plain = linear_dml(dataclasses.replace(p, weight=np.ones(600)))
    np.testing.assert_allclose(scaled.means[0].numbers, plain.means[0].numbers, atol=1e-10)
    double = shuffled(p, np.repeat(np.arange(600), 2))
    twice = linear_dml(dataclasses.replace(double, weight=double.weight / 2))
    once = linear_dml(p)
    for c in range(6):
        points = [average(s, w, np.flatnonzero(cell == c)) for s, w, cell in (
            (twice, double.weight / 2, double.cell), (once, p.weight, p.cell)
        )]  # fmt: skip
        np.testing.assert_allclose(*points, atol=1e-10)
    assert np.abs(once.means[0].numbers - plain.means[0].numbers).max() > 0.01


def test_values__alone_as_in_company():
    """Property: a value's numbers come from its own respondents only. atol 1e-12."""
    p = problem()
    together = linear_dml(p).means[0].numbers
    for v in range(3):
        one = dataclasses.replace(p, outcomes=p.outcomes[:, [v]], answered=p.answered[:, [v]])
        np.testing.assert_allclose(linear_dml(one).means[0].numbers[:, 0], together[:, v], atol=1e-12)


def test_cells_without_an_arm__left_out():
    rng = np.random.default_rng(1)
    p = problem(n=220, cells=2, values=1, missing=0)
    arm = np.where(p.cell == 0, p.arm, 0)
    arm[np.flatnonzero(p.cell == 1)[: MIN_CELL_ARM - 1]] = 1
    scores = linear_dml(dataclasses.replace(p, arm=arm))
    np.testing.assert_array_equal(scores.inside[:, 0], p.cell == 0)
    nothing = linear_dml(dataclasses.replace(p, arm=np.zeros(220, dtype=int), key=rng.permutation(220).astype("u8")))
    assert not nothing.inside.any()


def test_other_levels__count_in_the_population_averaged_over():
    """Oracle: EconML's cell effects, averaged over everybody who answered, third level and all. atol 1e-8."""
    p = problem(other=0.3)
    arm = np.where((p.cell == 0) & (p.arm == 1) & (p.key % 3 > 0), -1, p.arm)  # more of them in one cell
    p = dataclasses.replace(p, arm=arm)
    model, rows = econml_fit(p, 1, 2)
    everybody = p.folds[1][:, 1]
    assert everybody.sum() > 1.2 * (p.folds[0][:, 1] >= 0).sum()
    effects = model.const_marginal_effect(np.eye(6)).ravel()
    expected = np.average(effects[p.cell[everybody]], weights=p.weight[everybody])
    ours = average(linear_dml(p), p.weight, np.arange(3000))[1, 2]
    assert ours == pytest.approx(expected, abs=1e-8)
    # scores by hand from EconML's residuals: the cell's whole weight, those at the third level included; HC3
    y, t = (np.ravel(part) for part in model.residuals_[:2])
    w, score = p.weight, linear_dml(p).means[0].numbers[:, 1, 2]
    for c in range(6):
        of_cell = p.cell[rows] == c
        square = w[rows][of_cell] * t[of_cell] ** 2
        lever = w[everybody & (p.cell == c)].sum() / square.sum() / (1 - square / square.sum())
        errors = lever * t[of_cell] * (y[of_cell] - t[of_cell] * effects[c]) * slopes(w[rows], 1)
        by_hand = effects[c] + errors - (w[rows][of_cell] @ errors) / w[everybody & (p.cell == c)].sum()
        np.testing.assert_allclose(score[rows[of_cell]], by_hand, atol=1e-8)


def test_covariates__far_from_zero():
    """Property: a year counts as its distance from another. atol 1e-6 of scores about 1."""
    p = problem()
    far = dataclasses.replace(p, covariates=p.covariates + 2e6)
    np.testing.assert_allclose(linear_dml(far).means[0].numbers, linear_dml(p).means[0].numbers, atol=1e-6)


def test_collinear_covariates__as_one():
    """Property: a covariate that stands twice, or is constant, changes nothing. atol 1e-9."""
    p = problem()
    more = np.concatenate([p.covariates, 3 * p.covariates + 1, np.full((3000, 1), 4.2)], axis=1)
    np.testing.assert_allclose(
        linear_dml(dataclasses.replace(p, covariates=more)).means[0].numbers, linear_dml(p).means[0].numbers, atol=1e-9
    )


def test_share_treated__by_hand():
    one = np.ones((5, 1), dtype=bool)
    p = dataclasses.replace(
        problem(n=5, cells=1, values=1, missing=0, covariates=0),
        arm=np.array([0, 1, 1, -1, 0]),
        cell=np.array([0, 0, 0, 0, 1]),
        weight=np.array([1.0, 1, 2, 5, 1]),
    )
    np.testing.assert_allclose(p.share_treated(one)[:, 0], [0.75, 0.75, 0.75, 0.75, 0])


def test_wvs_context__econml_called_directly(wvs, human):
    """Oracle: econml 0.17 LinearDML fitted here by hand on one context's rows of real data. atol 1e-8.

    The effect of a degree on `poverty` in Norway among religious women: one cell per age group.
    """
    plan = make_plan(wvs)
    sample = Sample.of(wvs, plan, wvs.country_names.index("Norway"))
    fit = next(f for f in plan.fits if plan.countries[f.country].name == "Norway" and f.contrast == 1)
    rows = sample.rows(fit)
    p = sample.problem(fit, rows)
    model, fitted = econml_fit(p, 0, slice(None), W=None)
    attributes = sample.survey.attributes
    context = ((attributes["gender"] == 1) & (attributes["religion"] == 1))[rows]
    there = context & p.folds[1][:, 0]
    expected = model.const_marginal_effect(p.indicators[there]).reshape(-1, 3).mean(axis=0)
    at = {
        "country": "Norway",
        "attribute": "degree:degree",
        "value": "poverty",
        "persona": "gender=female,religion=religious",
    }
    assert int(human.status.sel(at)) == schema.OK
    assert len(fitted) > 1000
    np.testing.assert_allclose(human["shift"].sel(at), expected, rtol=0, atol=1e-8)
    assert abs(expected).max() > 1e-3


def test_dowhy_on_one_cell__same_adjustment_and_estimate(wvs):
    """Oracle: dowhy 0.14's own pipeline with EconML's LinearDML on Norway. atol 1e-8."""
    import warnings

    import pandas as pd
    from dowhy import CausalModel

    from acecausal.estimation.identify import causal_graph

    rows = wvs.country == wvs.country_names.index("Norway")
    data = pd.DataFrame({name: codes[rows].astype(float) for name, codes in wvs.attributes.items()})
    answer = wvs.values["poverty"][rows]
    data["answer"] = answer / 2
    n = len(data)
    p = Problem(
        outcomes=np.eye(3)[answer][:, None],
        answered=np.ones((n, 1), dtype=bool),
        arm=data["degree"].to_numpy().astype(int),
        cell=np.zeros(n, dtype=int),
        covariates=data[["gender", "religion", "age"]].to_numpy(),
        weight=np.ones(n),
        key=np.random.default_rng(7).permutation(n).astype(np.uint64),
        seed=0,
    )
    fold = p.folds[0][:, 0]
    cv = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(N_FOLDS)]
    init = {"model_y": LinearRegression(), "model_t": LinearRegression(), "fit_cate_intercept": True, "cv": cv}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DoWhy's own remarks on pandas, networkx and EconML
        model = CausalModel(data, treatment="degree", outcome="answer", graph=causal_graph(wvs.codebook))
        theirs = model.estimate_effect(
            model.identify_effect(proceed_when_unidentifiable=True),
            method_name="backdoor.econml.dml.LinearDML",
            effect_modifiers=[],
            method_params={"init_params": init, "fit_params": {"inference": None}},
        ).value
    ours = average(linear_dml(p), p.weight, np.arange(n))[0] @ [0, 0.5, 1]
    assert ours == pytest.approx(theirs, abs=1e-8)


@pytest.mark.parametrize("estimator", ["dr", "linear-dml", "association", "forest-dml"])
@pytest.mark.parametrize("levels", [2, 3, 10])
def test_standard_errors__of_attributes_with_many_levels(estimator, levels):
    """Closed form, rel .1: of two arms of n / levels people, half of whom say yes, sqrt(2 x .25 x levels / n).

    Taken over everybody's scores without what the arms stand for, dr and forest-dml had .45 of it with ten levels.
    """
    n = 4000
    survey = draw(World.make(values=1, options=2, attributes=1, levels=[levels], effect=0.0, seed=1), n, 0)
    rng = np.random.default_rng(levels)
    survey = dataclasses.replace(
        survey, attributes={"gender": np.arange(n) % levels}, values={"value0": rng.permutation(n) % 2}
    )
    cube = estimate(survey, estimator=estimator, refute=0).isel(country=0, value=0).sel(persona="all")
    expected = np.sqrt(2 * 0.25 * levels / n)
    assert cube.effect_se.values == pytest.approx(expected, rel=0.1)
    assert (np.abs(cube.effect.values) < 3.5 * expected).all()


@pytest.mark.parametrize("depth", [1, 2])
def test_association__whoever_lacks_another_attribute_counts(depth):
    """Oracle: the difference of two weighted means of all who have the attribute, 1e-12, whatever the lattice holds.

    People whose degree is not known were left out: .018 for .082 where the young had not been asked for it.
    """
    n = 4000
    rng = np.random.default_rng(0)
    survey = draw(World.make(values=1, options=2, attributes=2, covariate=True, effect=0.0, seed=1), n, 0, weights=True)
    first, second = survey.attributes
    young, arm = rng.integers(0, 2, n), rng.integers(0, 2, n)
    other = np.where((young == 1) & (rng.random(n) < 0.9), -1, rng.integers(0, 2, n))
    answer = (rng.random(n) < 0.3 + 0.2 * arm * young).astype(int)
    covariates = {name: np.where(rng.random(n) < 0.3, np.nan, 1.0 * young) for name in survey.covariates}
    survey = dataclasses.replace(
        survey, attributes={first: arm, second: other}, values={"value0": answer}, covariates=covariates
    )
    cube = estimate(survey, estimand="association", depth=depth, refute=10)
    cell = cube.isel(country=0, value=0).sel(attribute=f"{first}:level1")
    means = [np.average(answer[arm == a], weights=survey.weight[arm == a]) for a in (0, 1)]
    assert float(cell.effect.sel(persona="all")) == pytest.approx(means[1] - means[0], abs=1e-12)
    assert int(cell.n_treated.sel(persona="all")) == (arm == 1).sum()
    told = cube.response.isel(country=0, value=0, option=1)
    apart = float(told.sel(persona=f"{first}=level1") - told.sel(persona=f"{first}=level0"))
    assert float(cell.effect.sel(persona="all")) == pytest.approx(apart, abs=1e-12)
    if depth == 2:  # within a context, whose attribute must be known
        there = other == 1
        means = [np.average(answer[there & (arm == a)], weights=survey.weight[there & (arm == a)]) for a in (0, 1)]
        assert float(cell.effect.sel(persona=f"{second}=level1")) == pytest.approx(means[1] - means[0], abs=1e-12)


UNITS = [(1e-200, 0.0), (1e-13, 0.0), (1.0, 1e9), (1e9, -1e12), (1e200, 0.0)]


@pytest.mark.parametrize("estimator", ["linear-dml", "dr"])
@pytest.mark.parametrize(("unit", "zero"), UNITS)
def test_covariates__their_unit_and_their_zero_mean_nothing(estimator, unit, zero):
    """Oracle: the same covariate as it was, abs 1e-6: effects, errors, cross-check, E-values, refuters' verdicts.

    Years since 1e9 seconds ago, incomes in cents: the plain regression, or the effect, went unadjusted.
    """
    survey = draw(World.make(values=1, options=3, attributes=2, covariate=True, effect=0.1, seed=3), 1200, 0)
    (name,) = survey.covariates
    # whole numbers: what a float holds of them beside 1e12 is the same
    numbers = np.round(survey.covariates[name])
    found = [
        estimate(dataclasses.replace(survey, covariates={name: x}), estimator=estimator, refute=10)
        for x in (numbers, numbers * unit + zero)
    ]
    names = ("effect", "effect_se", "regression_effect", "e_value", "smd_after", "overlap", "refutation_verdict")
    for variable in names:
        np.testing.assert_allclose(found[1][variable], found[0][variable], atol=1e-6, err_msg=variable)


@pytest.mark.parametrize("seed", range(12))
def test_linear_dml__a_covariate_that_hardly_anybody_has_is_none(seed):
    """Oracle: options' shifts sum to 0, abs 1e-9, and effects are those without the covariate, but for one person.

    Without the one who has it, what is left of its spread is rounding, and slopes were rounding over rounding: in a
    half of the ESS, with few unemployed, shifts summed to -.74.
    """
    world = World.make(values=3, options=5, attributes=2, levels=[2, 3], covariate=True, effect=0.1, seed=seed)
    survey = draw(world, 700, seed, weights=True)
    (name,) = survey.covariates
    one = (np.arange(len(survey)) == 17 * seed).astype(float)
    found = []
    for numbers in (one, np.zeros(len(survey))):
        part = dataclasses.replace(survey, covariates={name: numbers})
        plan = make_plan(part, refute=0)
        sample = Sample.of(part, plan, 0)
        for fit in plan.fits[:2]:
            problem = sample.problem(fit, sample.rows(fit))
            score = linear_dml(problem).means[0]
            assert np.abs(score.numbers.sum(axis=2)[score.rows]).max() < 1e-9
            found.append(np.average(score.numbers[:, 0], weights=problem.weight * score.rows[:, 0], axis=0))
    np.testing.assert_allclose(found[:2], found[2:], atol=0.02)
