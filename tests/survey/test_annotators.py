"""Annotator data: raters on many rows, items rated by many; two-way clustering, folds and counts by rater."""

from __future__ import annotations

import dataclasses
import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from means import weighted_difference
from minimal_codebook import MINIMAL
from pydantic import ValidationError
from scipy import stats
from statsmodels.stats.sandwich_covariance import cov_cluster_2groups

from acecausal.cube import schema
from acecausal.cube.files import open_cube
from acecausal.errors import AceError, DataError
from acecausal.estimation import refutation
from acecausal.estimation.averages import shifts_of
from acecausal.estimation.estimate import estimate
from acecausal.estimation.estimators import ESTIMATORS
from acecausal.estimation.inference import Crossed, Design, count_distinct
from acecausal.estimation.plan import make_plan
from acecausal.estimation.problem import N_FOLDS
from acecausal.estimation.sample import Sample, take
from acecausal.simulation.ratings import draw_ratings
from acecausal.simulation.truth import truth
from acecausal.simulation.world import World
from acecausal.survey.codebook import Codebook, load_codebook
from acecausal.survey.data import Survey, from_table, read_survey
from acecausal.survey.raters import effective_answers, intraclass, item_means
from cli import main

# --- two-way clustered variance -------------------------------------------------------------------------------------


def crossed(rater: np.ndarray, item: np.ndarray) -> Crossed:
    return Crossed.of(Design.of(np.zeros(len(rater), dtype=int), rater), item)


def ratings(seed: int, n: int = 400, raters: int = 40, items: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Raters and items of n different pairs."""
    pairs = np.random.default_rng(seed).choice(raters * items, n, replace=False)
    return pairs // items, pairs % items


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_crossed__statsmodels_two_way(seed):
    """Oracle: statsmodels' cov_cluster_2groups of a weighted regression on the arm, less its factor (n-1)/(n-k). The
    effect's variance, where it is positive. rtol 1e-10."""
    rng = np.random.default_rng(seed)
    rater, item = ratings(seed)
    arm = rng.integers(0, 2, 40)[rater]
    y = rng.normal(size=40)[rater] + rng.normal(size=25)[item] * (1 + arm) + rng.normal(size=400)
    weight = rng.uniform(0.5, 2, 400)
    fit = sm.WLS(y, sm.add_constant(arm), weights=weight).fit()
    both, by_rater, by_item = (
        part[1, 1] * (400 - 2) / (400 - 1) for part in cov_cluster_2groups(fit, np.stack([rater, item], axis=1))
    )
    estimate_, influence = weighted_difference(y[:, None], weight, arm == 0, arm == 1)
    design = crossed(rater, item)
    np.testing.assert_allclose(estimate_[0], fit.params[1], rtol=1e-10)
    np.testing.assert_allclose(design.rater.variance(influence)[0], by_rater, rtol=1e-10)
    np.testing.assert_allclose(design.item.variance(influence)[0], by_item, rtol=1e-10)
    np.testing.assert_allclose(design.variance(influence)[0], both if both > 0 else max(by_rater, by_item), rtol=1e-10)


def test_crossed__each_rater_and_item_once_is_the_usual():
    """Closed form: s^2 / n. rtol 1e-12."""
    x = np.random.default_rng(0).normal(size=(50, 3))
    design = crossed(np.arange(50), np.arange(50)[::-1])
    np.testing.assert_allclose(design.variance((x - x.mean(axis=0)) / 50), x.var(axis=0, ddof=1) / 50, rtol=1e-12)


def test_crossed__items_on_one_row_leave_the_raters_and_the_reverse():
    """Closed form: what is on one row each adds nothing. rtol 1e-12."""
    z = np.random.default_rng(1).normal(size=(60, 2))
    z -= z.mean(axis=0)
    unit = np.arange(60) % 7
    one = Design.of(np.zeros(60, dtype=int), unit).variance(z)
    np.testing.assert_allclose(crossed(unit, np.arange(60)).variance(z), one, rtol=1e-12)
    np.testing.assert_allclose(crossed(np.arange(60), unit).variance(z), one, rtol=1e-12)


def test_crossed__negative_variance_is_the_larger_one_way():
    """By hand: 2 x 2 ratings +1 -1 / -1 +1 cancel within raters and items: 0 + 0 - 4/3 * 4 < 0. The larger is 0.
    With one rater's ratings apart by more, raters still cancel and items do not."""
    rater, item = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    design = crossed(rater, item)
    assert design.variance(np.array([[1.0], [-1], [-1], [1]])) == 0
    influence = np.array([[1.0], [-1], [-0.9], [0.9]])
    assert design.variance(influence)[0] == pytest.approx(2 * (0.1**2 + 0.1**2), rel=1e-12)
    blocks = np.stack([influence, influence[[0, 2, 1, 3]]], axis=1)  # the second: raters and items change places
    np.testing.assert_allclose(design.covariance(blocks)[:, 0, 0], 0.04, rtol=1e-12)


def test_crossed__blocks_are_replaced_whole():
    """Property: no block has a negative eigenvalue (up to 1e-12 of its trace); what was sound is the difference."""
    rng = np.random.default_rng(2)
    rater, item = ratings(2, n=60, raters=10, items=12)
    design = crossed(rater, item)
    influence = rng.normal(size=(60, 200, 4))
    influence -= influence.mean(axis=2, keepdims=True)  # options sum to 0: singular, and no cause for alarm
    covariance = design.covariance(influence)
    trace = np.trace(covariance, axis1=1, axis2=2)
    assert (np.linalg.eigvalsh(covariance)[:, 0] > -1e-10 * trace).all()
    by_rater, by_item, by_rating = (d.covariance(influence) for d in (design.rater, design.item, design.rating))
    plain = by_rater + by_item - by_rating
    sound = np.linalg.eigvalsh(plain)[:, 0] > -1e-10 * np.trace(by_rater, axis1=1, axis2=2)
    assert 20 < sound.sum() < 180
    np.testing.assert_allclose(covariance[sound], plain[sound], rtol=1e-12)
    one_way = (np.abs(covariance - by_rater).max(axis=(1, 2)) < 1e-12) | (
        np.abs(covariance - by_item).max(axis=(1, 2)) < 1e-12
    )
    assert one_way[~sound].all()


def test_crossed__degrees_of_freedom_are_those_of_the_fewer():
    """By hand: raters less one, or items less one, that have ratings in the domain."""
    rater, item = np.repeat(np.arange(6), 3), np.tile(np.arange(3), 6)
    design = crossed(rater, item)
    assert design.degrees_of_freedom == 2
    domains = np.stack([np.ones(18, dtype=bool), rater < 2, item < 2, item < 1], axis=1)
    np.testing.assert_array_equal(design.domain_degrees(domains, np.arange(18)), [2, 1, 1, 1])


# --- counts and effective sizes ---------------------------------------------------------------------------------------


def test_count_distinct__by_hand():
    there = np.array([[1, 0], [1, 0], [0, 0], [1, 1]], dtype=bool)
    assert count_distinct(there, np.array([5, 5, 9, 9])).tolist() == [2, 1]


def test_count_distinct__of_nobody():
    assert count_distinct(np.zeros((0, 3), dtype=bool), np.zeros(0, dtype=int)).tolist() == [0, 0, 0]


def test_intraclass__recovers_the_share_of_variance_and_gives_the_design_effect():
    """Truth: answers with variance 1 of which 0.3 is the unit's; 800 units of 10. atol 0.03 (4 Monte Carlo errors).
    Closed form: the effective size of equal weights is n / (1 + (m - 1) rho). rtol 1e-12."""
    rng = np.random.default_rng(3)
    unit = np.repeat(np.arange(800), 10)
    y = np.sqrt(0.3) * rng.normal(size=(2, 800))[:, unit] + np.sqrt(0.7) * rng.normal(size=(2, 8000))
    weight = np.full((2, 8000), 1 / 8000)
    found = intraclass((weight * (y - y.mean(axis=1, keepdims=True)))[:, None], weight, unit)
    np.testing.assert_allclose(found, 0.3, atol=0.03)
    np.testing.assert_allclose(effective_answers(weight, [unit], [np.full(2, 0.3)]), 8000 / (1 + 9 * 0.3), rtol=1e-12)
    np.testing.assert_allclose(effective_answers(weight, [], []), 8000, rtol=1e-12)
    assert intraclass(np.ones((1, 1, 5)), np.ones((1, 5)), np.arange(5)) == 0  # nobody has two


def test_item_means__pandas():
    """Oracle: pandas' weighted sums; items without weight give 0. rtol 1e-12."""
    rng = np.random.default_rng(4)
    columns, item = rng.normal(size=(60, 2)), rng.integers(0, 9, 60) * 7
    weight = np.where(item == 14, 0.0, rng.uniform(0.5, 2, 60))
    sums = pd.DataFrame(np.column_stack([columns * weight[:, None], weight])).groupby(item).transform("sum").to_numpy()
    expected = sums[:, :2] / np.where(item == 14, 1.0, sums[:, 2])[:, None]
    np.testing.assert_allclose(item_means(columns, item, weight), expected, rtol=1e-12)
    assert item_means(np.empty((60, 0)), item, weight).shape == (60, 0)


# --- reading ----------------------------------------------------------------------------------------------------------


def book(**keys: object) -> Codebook:
    """Two countries, one attribute, one value; raters and items, unless `keys` say otherwise."""
    raw = MINIMAL | {"rater": {"column": "r"}, "item": {"column": "i"}}
    raw["countries"] = {"column": "c", "levels": {k: {"codes": [k], "label": k} for k in "AB"}}
    return Codebook.model_validate({name: part for name, part in (raw | keys).items() if part})


def table(**columns: object) -> pd.DataFrame:
    """Raters 1 and 2 of A and 1 of B rate items 7, 8 each."""
    base = {
        "c": [*"AAAABB"],
        "r": [1, 1, 2, 2, 1, 1],
        "i": [7, 8] * 3,
        "s": [1, 1, 2, 2, 2, 2],
        "t": [1, 2, 2, 1, 1, 1],
    }
    return pd.DataFrame(base | columns)


def test_raters__by_hand():
    survey = from_table(table(), book())
    assert survey.respondent.tolist() in ([0, 0, 1, 1, 2, 2], [1, 1, 0, 0, 2, 2])  # in the order of hashes, within A
    assert survey.item[0] == survey.item[2] == survey.item[4] != survey.item[1]
    assert survey.identity[0] == survey.identity[1] != survey.identity[2]
    assert survey.count(np.arange(6)).tolist() == [3]
    assert survey.noted == {
        "items rated in two or more countries (their estimates share the items' noise)": 2,
        "options never chosen in B": 1,
        "sex has one level in B, ratings": 2,
        "strata with one PSU in B (centred at the mean of all its PSUs)": 1,
    }
    alone = take(survey, survey.country == 0)
    assert alone.count(np.arange(4), alone.values["trust"][:, None] == 1).tolist() == [2]


def test_raters__rows_equal_in_every_column_read_are_no_copies_without_items():
    survey = from_table(table(t=1).drop(columns="i"), book(item=None))
    assert survey.item is None
    assert not any("equal" in what for what in survey.noted)


CONTRADICTIONS = {
    "attribute": ({"s": [1, 2, 2, 2, 2, 2]}, "attribute sex", "rater 1 in A"),
    "attribute known in some rows": ({"s": [1, 1, 2, 9, 2, 2]}, "attribute sex", "rater 2 in A"),
    "stratum": ({"h": [0, 0, 0, 0, 0, 1]}, "stratum", "rater 1 in B"),
    "item twice": ({"i": [7, 8, 7, 7, 8, 8]}, "rate an item twice", "2 rows too many: rater 2 item 7 in A, "),
    "no rater": ({"r": [1, 1, np.nan, 2, 1, 1]}, "is missing", "1 rows"),
    "no item": ({"i": [7, 8, 7, 8, 7, ""]}, "is missing", "1 rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_contradictions__name_the_rater(case):
    columns, message, got = CONTRADICTIONS[case]
    stratum = {"stratum": {"column": "h"}} if "h" in columns else {}
    with pytest.raises(DataError, match=message) as caught:
        from_table(table(**columns), book(missing=[9], **stratum))
    assert got in str(caught.value)


REFUSED = {
    "item alone": ({"rater": None}, "item needs rater"),
    "rater and psu": ({"psu": {"column": "p"}}, "rater and psu"),
    "rater and id": ({"id": {"column": "p"}}, "rater and id"),
    "item and fpc": ({"fpc": {"column": "p"}}, "item and fpc"),
    "absent in a strange country": ({"item": {"column": "i", "absent_in": ["C"]}}, "not countries"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_codebook__refuses(case):
    keys, message = REFUSED[case]
    with pytest.raises(ValidationError, match=message):
        book(**keys)


def test_absent_in__rows_are_raters_and_items_there():
    absent = {"absent_in": ["B"]}
    both = book(rater={"column": "r"} | absent, item={"column": "i"} | absent)
    survey = from_table(table(r=[1, 1, 2, 2, np.nan, np.nan], s=[1, 1, 2, 2, 1, 2]), both)
    assert survey.count(np.arange(6)).tolist() == [4]
    assert len(set(survey.item.tolist())) == 4


# --- estimation -------------------------------------------------------------------------------------------------------

WORLD = World.make(values=2, attributes=2, covariate=False, effect=0.05, seed=3)


@cache
def survey_of(**choices: float) -> Survey:
    return draw_ratings(WORLD, 150, 40, 12, 1, nonresponse=0.2, **choices)


@pytest.mark.parametrize("steering", [0, 1])
def test_folds__never_split_a_rater(steering):
    """Property: a rater's ratings of a value are in one fold; a cell's and arm's folds differ by at most one rater."""
    survey = survey_of(steering=steering)
    plan = make_plan(survey)
    sample = Sample.of(survey, plan, 0)
    rows = sample.rows(plan.fits[0])
    problem = sample.problem(plan.fits[0], rows)
    fold, comparable = problem.folds
    who = survey.respondent[rows]
    for v in range(2):
        frame = pd.DataFrame({"rater": who, "fold": fold[:, v], "arm": problem.arm, "cell": problem.cell})
        frame = frame[frame.fold >= 0]
        assert len(frame) == comparable[:, v].sum() > 1000
        assert (frame.groupby("rater").fold.nunique() == 1).all()
        raters = frame.drop_duplicates("rater").groupby(["cell", "arm", "fold"]).size().unstack(fill_value=0)
        assert raters.shape[1] == N_FOLDS
        assert (raters.max(axis=1) - raters.min(axis=1) <= 1).all()


@pytest.mark.parametrize("estimand", ["direct", "total", "association"])
def test_rows__their_order_changes_no_number(estimand):
    """Property: draws of the refuters and all. atol 1e-10: sums in another order (bands: 1e-5, they are 32-bit)."""
    survey = survey_of(steering=1)
    plan = make_plan(survey, estimand=estimand, refute=2)
    cube = estimate(survey, plan)
    turned = estimate(take(survey, np.random.default_rng(0).permutation(len(survey))), plan)
    for name in cube.data_vars:
        atol = 1e-5 if name == "shift_critical" else 1e-10
        np.testing.assert_allclose(turned[name], cube[name], atol=atol, err_msg=name)


def test_one_row_each__is_an_ordinary_survey():
    """Property: raters who rate one item, that nobody else rates, are respondents. rtol 1e-9."""
    survey = draw_ratings(WORLD, 400, 1, 1, 0, item=0)
    survey = dataclasses.replace(survey, item=np.arange(400), psu=np.arange(400))
    plain = dataclasses.replace(survey, codebook=WORLD.codebook(), item=None)
    cube, expected = (estimate(one, refute=2) for one in (survey, plain))
    for name in expected.data_vars:
        np.testing.assert_allclose(cube[name], expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_counts__raters_not_ratings():
    survey = survey_of()
    plan = make_plan(survey)
    assert plan.fits[0].respondents == 150
    cube = estimate(survey, plan)
    assert cube.n.sel(persona="all").values.tolist() == [[150, 150]]
    arms = cube.n_baseline + cube.n_treated
    assert (arms.sel(persona="all", attribute="gender:level1") == 150).all()
    assert cube.attrs["respondents"] == 150
    assert cube.attrs["ratings"] == 1800
    design = json.loads(cube.attrs["design"])
    assert (design["psu"], design["item"]) == ("rater", "item")
    assert design["degrees_of_freedom"] == {"country0": 39}
    # many ratings make no arm: 25 raters at each level are too few, whatever they rate
    few = draw_ratings(WORLD, 50, 40, 40, 1)
    with pytest.raises(AceError, match="no cell could be estimated"):
        estimate(few)


def test_n_eff__gives_the_standard_errors_of_responses():
    """Property: sqrt(p (1 - p) / n_eff) is the two-way standard error, over the options of a value within 25 %."""
    cube = estimate(draw_ratings(WORLD, 400, 60, 20, 5)).isel(country=0)
    variance = (cube.response * (1 - cube.response)).sum("option") / cube.n_eff
    ratio = np.sqrt((cube.response_se**2).sum("option") / variance)
    np.testing.assert_allclose(ratio.sel(persona="all"), 1, atol=0.25)
    assert (cube.n_eff.sel(persona="all") < 4000).all()  # of 8,000 ratings


@pytest.mark.slow
def test_within_items__steered_raters_are_compared_on_the_same_items():
    """Truth by enumeration; 40 surveys in which women get the items that are rated high. Within items the mean error is
    0 (4 Monte Carlo errors); as if items had been given out at random it is as large as the effect."""
    true = truth(WORLD).effect.values[0, 0, 0, 0]
    errors: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(40):
        survey = draw_ratings(WORLD, 200, 40, 10, seed, steering=1.5, slope=0.05)
        for random, found in errors.items():
            raw = survey.codebook.model_dump() | {"item": {"column": "item", "random": random}}
            changed = dataclasses.replace(survey, codebook=Codebook.model_validate(raw))
            plan = make_plan(changed, values=["value0"], attributes=["gender"])
            assert plan.within_items is not random
            found.append(estimate(changed, plan).effect.item(0) - true)
    within, at_random = (np.array(errors[random]) for random in (False, True))
    assert abs(within.mean()) < 4 * within.std() / np.sqrt(40) < 0.02
    assert at_random.mean() > 0.05


def test_within_items__without_common_items_there_is_no_number():
    """Women and men rate other items: nothing to compare, but a number if the items are said to be random."""
    survey = survey_of(steering=1)
    apart = dataclasses.replace(survey, item=survey.item * 2 + survey.attributes["gender"])
    with pytest.raises(AceError, match=r"random: true"):
        estimate(apart, attributes=["gender"])
    assert (estimate(apart, attributes=["gender"], estimand="association").status == schema.OK).any()
    assert "item" in make_plan(survey).table()[1][0][-1]


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_within_items__ratings_of_items_that_one_arm_rated_leave(share):
    """Let women and men rate other items in a share of their ratings: these leave the fit, and where less than half of
    the ratings stay there is no number. With the rest alone the effect is the same (rtol 1e-9)."""
    survey = draw_ratings(WORLD, 150, 40, 12, 1, steering=1)
    mixed = np.arange(len(survey)) % 10 >= 10 * share
    apart = survey.item + 1000 * (1 + survey.attributes["gender"].astype(int))
    part = dataclasses.replace(survey, item=np.where(mixed, survey.item, apart))
    plan = make_plan(part, attributes=["gender"], values=["value0"])
    sample = Sample.of(part, plan, 0)
    _, comparable = sample.problem(plan.fits[0], np.arange(len(part))).folds
    both = pd.Series(part.attributes["gender"]).groupby(part.item).transform("nunique").to_numpy() == 2
    np.testing.assert_array_equal(comparable[:, 0], both)
    if share > 0.5:
        with pytest.raises(AceError, match="no_overlap 1"):
            estimate(part, plan)
    else:
        found, alone = (estimate(one, plan).isel(persona=0) for one in (part, take(part, mixed)))
        np.testing.assert_allclose(found.effect, alone.effect, rtol=1e-9)
        assert int(found.overlap.item() * 10 + 0.5) == 7


def test_company__a_value_alone_gives_the_same():
    """Property: though others answered are missing in other rows. atol 1e-9."""
    survey = survey_of(steering=1)
    alone, both = (estimate(survey, values=values) for values in (["value1"], ["value0", "value1"]))
    for name in ("effect", "effect_se", "response_se", "n_eff", "n_treated"):
        np.testing.assert_allclose(alone[name], both[name].sel(value=["value1"]), atol=1e-9, err_msg=name)


@cache
def repeated(surveys: int) -> np.ndarray:
    """Errors of the effect over everybody, and standard errors two-way, by rater, by item: shape (surveys, 4)."""
    world = World.make(values=1, attributes=2, covariate=False, effect=0.05, seed=3)
    score, found = schema.scores(5), []
    for seed in range(surveys):
        sample = Sample.of(
            survey := draw_ratings(world, 100, 30, 20, seed, rater=0.16, item=0.02, slope=0.17), make_plan(survey), 0
        )
        fit = sample.plan.fits[0]
        rows = sample.rows(fit)
        problem = sample.problem(fit, rows)
        scores = ESTIMATORS["linear-dml"](problem)
        shift, influence = shifts_of(scores, np.arange(len(rows)), problem.weight, np.array([True]))
        design = sample.design
        variance = [part.covariance(influence)[0] @ score @ score for part in (design, design.rater, design.item)]
        found.append([shift[0] @ score - truth(world).effect.item(0), *np.sqrt(variance)])
    return np.array(found)


@pytest.mark.slow
def test_coverage__two_way_intervals_hold_the_truth_one_way_ones_do_not():
    """300 surveys of 100 raters and 30 items, whose effects vary: 95 % intervals of each kind. Two-way within, one-way
    below three binomial standard errors (0.0126) of 0.95; no bias (4 Monte Carlo errors)."""
    found = repeated(300)
    error = found[:, 0]
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(300)
    critical = stats.t.isf(0.025, np.array([29, 99, 29]))
    two_way, by_rater, by_item = (np.abs(error)[:, None] <= critical * found[:, 1:]).mean(axis=0)
    assert two_way == pytest.approx(0.95, abs=0.038)
    assert by_rater < 0.95 - 0.038
    assert by_item < 0.95 - 0.038


# --- what follows -----------------------------------------------------------------------------------------------------


def test_refuters__change_raters_whole():
    """The placebo exchanges arms between raters, the random cause is the rater's, the subset leaves raters out."""
    survey = survey_of(steering=1)
    plan = make_plan(survey)
    sample = Sample.of(survey, plan, 0)
    rows = sample.rows(plan.fits[0])
    problem = sample.problem(plan.fits[0], rows)
    who, arm = survey.respondent, sample.arm(0)
    seen = []

    def spy(variant):
        seen.append(variant)
        return ESTIMATORS["linear-dml"](variant)

    refutation.draws(
        problem, rows, arm, survey.stratum, spy, 2, respondent=who, item_share=lambda a: sample.item_share(0, a)
    )
    for placebo, cause, subset in (seen[1:4], seen[4:]):
        per_rater = [pd.Series(part).groupby(who[rows]) for part in (placebo.arm, cause.covariates[:, -1])]
        assert all((part.nunique() == 1).all() for part in per_rater)
        assert (placebo.arm != problem.arm).any()
        assert per_rater[0].first().sum() == pd.Series(arm).groupby(who).first().sum()
        share = pd.Series((placebo.arm == 1).astype(float)).groupby(survey.item[rows]).transform("mean")
        np.testing.assert_allclose(placebo.item_share, share, atol=0.2)  # up to the rows without an answer
        assert np.corrcoef(placebo.item_share, share)[0, 1] > 0.9
        kept = pd.Series(subset.answered.any(axis=1)).groupby(who[rows]).mean()
        whole = pd.Series(problem.answered.any(axis=1)).groupby(who[rows]).mean()
        assert set(np.unique(kept / whole)) == {0, 1}
        assert (kept > 0).mean() == pytest.approx(0.8, abs=0.01)


def test_refuters__placebo_finds_nothing_and_pooling_goes_on():
    survey = draw_ratings(World.make(values=1, countries=3, attributes=1, covariate=False, effect=0.05), 150, 40, 12, 0)
    cube = estimate(survey, refute=10)
    assert (cube.refutation_verdict.sel(refuter="placebo") != schema.INCONSISTENT).all()
    assert np.isfinite(cube.ace.pooled().effect.sel(persona="all")).all()


def test_forest__refused():
    with pytest.raises(AceError, match="same rater's others"):
        make_plan(survey_of(), estimator="forest-dml")


def test_dr__agrees_with_linear_dml():
    """Two estimators of one effect, within items: within one standard error."""
    survey = survey_of(steering=1)
    linear, robust = (estimate(survey, attributes=["gender"], estimator=name) for name in ("linear-dml", "dr"))
    assert (np.abs(robust.effect - linear.effect) < linear.effect_se).sel(persona="all").all()


def test_three_files__one_merge_and_the_command(tmp_path):
    """As D3CODE is shared: items, raters, ratings. The how-to's merge, then the command, gives the survey's cube."""
    survey = survey_of()
    wide = pd.DataFrame(survey.attributes | survey.values).assign(
        country=survey.country, rater=survey.psu, item=survey.item
    )
    raters = wide[["rater", "country", "gender", "education"]].drop_duplicates()
    ratings_ = wide[["rater", "item", "value0", "value1"]]
    ratings_.merge(raters, on="rater", validate="many_to_one").to_csv(tmp_path / "long.csv", index=False)
    raw = json.loads(survey.codebook.model_dump_json()) | {"missing": [-1]}
    (tmp_path / "book.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    made = read_survey(tmp_path / "long.csv", load_codebook(tmp_path / "book.yaml"))
    assert made.count(np.arange(len(made))) == 150
    arguments = ["estimate", tmp_path / "long.csv", "--codebook", tmp_path / "book.yaml"]
    dry = CliRunner().invoke(main, [*map(str, arguments), "--dry-run"])
    assert dry.exit_code == 0
    assert " 150 " in dry.output
    assert " 1800 " not in dry.output
    done = CliRunner().invoke(main, [*map(str, arguments), "-o", str(tmp_path / "c.nc")], catch_exceptions=False)
    assert done.exit_code == 0
    cube, expected = open_cube(tmp_path / "c.nc"), estimate(survey)
    for name in ("response", "response_se", "n", "n_eff"):
        np.testing.assert_allclose(cube[name], expected[name], atol=1e-12, err_msg=name)


@pytest.mark.parametrize(("treated", "low", "high"), [(6, 4.5, 7.0), (30, 35.0, 39.1)])
def test_few_raters__have_few_degrees_of_freedom(treated, low, high):
    """Oracle: Welch's for means of 6 and 54 raters of like variance, 5.9; all raters' would be 39, the items'.

    With 6 of 60 raters treated 95 % intervals covered .92, with these .94.
    """
    world = World.make(values=1, options=3, attributes=1, effect=0.0, covariate=False, seed=1)
    survey = draw_ratings(world, raters=60, items=40, per_rater=20, rater=0.13, item=0.1, seed=0)
    rater = np.unique(survey.psu, return_inverse=True)[1]
    survey = dataclasses.replace(survey, attributes={"gender": (rater < treated).astype(np.int32)})
    cell = estimate(survey, min_arm=5, refute=0).isel(country=0, value=0, attribute=0).sel(persona="all")
    reach = float(cell.effect_interval[1] - cell.effect_interval[0]) / 2 / float(cell.effect_se)
    assert stats.t.ppf(0.975, high) < reach < stats.t.ppf(0.975, low)
