"""Refuters on data where the truth is known: sound estimators pass, broken ones are found out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from worlds import average, problem

from acecausal.cube import schema
from acecausal.estimation import refutation
from acecausal.estimation.estimate import estimate
from acecausal.estimation.estimators import ESTIMATORS
from acecausal.estimation.linear_dml import linear_dml
from acecausal.estimation.problem import Problem, Scores

WORDS = dict(enumerate(schema.VERDICTS))


def verdicts(p: Problem, estimator, n_draws: int = 20) -> tuple[np.ndarray, list[list[str]]]:
    rows, stratum = np.arange(len(p.arm)), np.arange(len(p.arm)) % 3
    found = refutation.draws(p, rows, p.arm, stratum, estimator, n_draws)
    scores = estimator(p)
    se = np.array(
        [
            (scores.means[0].numbers[scores.inside[:, v], v] @ schema.scores(3)).std()
            / np.sqrt(scores.inside[:, v].sum())
            for v in range(3)
        ]
    )
    _, _, code = refutation.summary(found, se)
    return found, [[WORDS[c] for c in row] for row in code.tolist()]


def test_sound_estimator__consistent():
    p = problem(n=2000)
    found, words = verdicts(p, linear_dml)
    assert words == [["consistent"] * 3] * 3
    # the refuters did something: the effect itself is far from every placebo's, and draws differ
    effect = np.abs(average(linear_dml(p), p.weight, np.arange(2000)) @ schema.scores(3))
    assert (effect > np.abs(found[:, 0]).max(axis=1)).all()
    assert (found.std(axis=2) > 0).all()


def leaky(p: Problem) -> Scores:
    """An estimator that finds 0.2 in everything."""
    sound = linear_dml(p)
    numbers = sound.means[0].numbers + 0.2 * np.array([-1, 0, 1])
    return Scores.of(numbers, sound.inside)


def greedy(p: Problem) -> Scores:
    """An estimator whose effect grows with the number of covariates."""
    sound = linear_dml(p)
    return Scores.of(sound.means[0].numbers * (1 + p.covariates.shape[1]), sound.inside)


def growing(p: Problem) -> Scores:
    """An estimator that grows with the number of respondents."""
    sound = linear_dml(p)
    return Scores.of(sound.means[0].numbers * (p.answered.mean() / 0.9) ** 8, sound.inside)


@pytest.mark.parametrize(("estimator", "refuter"), [(leaky, 0), (greedy, 1), (growing, 2)])
def test_broken_estimator__found_out(estimator, refuter):
    _, words = verdicts(problem(n=2000), estimator)
    assert {row[refuter] for row in words} == {"inconsistent"}


def test_few_draws__undecided():
    _, words = verdicts(problem(n=2000), linear_dml, n_draws=2)
    assert "undecided" in {row[0] for row in words}
    one = refutation.summary(np.zeros((1, 3, 1)), np.ones(1))
    assert one[2].tolist() == [[schema.UNDECIDED] * 3]
    assert np.isnan(one[1]).all()


@pytest.mark.slow
def test_false_alarms__rare():
    """Under a true null, 40 samples of 20 draws: no verdict against (DoWhy's p-value cries wolf in up to a third)."""
    against = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        p = problem(n=300, cells=1, covariates=0, seed=seed)
        p = dataclasses.replace(p, arm=rng.integers(0, 2, 300))
        _, words = verdicts(p, linear_dml)
        against += sum(word == "inconsistent" for row in words for word in row)
    assert against == 0


def test_summary__by_hand():
    """Closed form: mean 2, standard deviation 1 over 4 draws, margin 1: the interval 2 -/+ 3.18 * 0.5 holds 1."""
    draws = np.array([[[1.0, 2, 3, 2], [5, 5.1, 5.2, 5.1], [0, 0.1, 0, np.nan]]])
    mean, mean_se, verdict = refutation.summary(draws, np.ones(1))
    np.testing.assert_allclose(mean, [[2, 5.1, 0.1 / 3]])
    np.testing.assert_allclose(mean_se[0, 0], np.sqrt(2 / 3) / 2)
    assert [WORDS[c] for c in verdict[0]] == ["undecided", "inconsistent", "consistent"]


def test_cube__draws_and_verdicts(wvs):
    """The placebo keeps the arm sizes; mean and error in the cube are those of its draws (1e-12); seeded."""
    cube = estimate(wvs, countries=["USA", "Norway"], attributes=["gender", "degree"], refute=5)
    again = estimate(wvs, countries=["Norway"], attributes=["gender", "degree"], refute=5)
    np.testing.assert_array_equal(again.refutation_draw, cube.refutation_draw.sel(country=["Norway"]))
    drawn = cube.refutation_draw.sel(refuter=["placebo", "random_common_cause", "subset"])
    kept = {"refuter": drawn.refuter.values}
    np.testing.assert_allclose(drawn.mean("draw"), cube.refutation.sel(kept), atol=1e-12)
    np.testing.assert_allclose(drawn.std("draw", ddof=1) / np.sqrt(5), cube.refutation_se.sel(kept), atol=1e-12)
    assert (cube.refutation_verdict > 0).all()
    assert cube.attrs["refute_draws"] == 5


def test_every_estimator__can_be_refuted():
    p = problem(n=400, cells=2, values=1)
    for name in ("dr", "association"):
        found = refutation.draws(p, np.arange(400), p.arm, np.zeros(400, dtype=int), ESTIMATORS[name], 2)
        assert np.isfinite(found).all()
