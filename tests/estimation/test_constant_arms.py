"""Arms in which everybody says the same: an interval that knows how few they are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from acecausal.cube import schema
from acecausal.estimation.estimate import estimate
from acecausal.simulation.surveys import draw
from acecausal.simulation.world import World


def rare(chance: float, sizes: tuple[int, int], values: int, options: int = 2, seed: int = 0, clusters: int = 0):
    """A survey of independent values whose last option is rare, the same in both arms of the first attribute."""
    n = sum(sizes)
    survey = draw(
        World.make(values=values, options=options, attributes=1, covariate=False, effect=0.0, seed=1), n, seed
    )
    rng = np.random.default_rng(seed)
    arm = np.repeat([0, 1], sizes)
    answers = {name: (options - 1) * (rng.random(n) < chance) for name in survey.values}
    psu = np.arange(n) if not clusters else np.arange(n) % clusters
    return dataclasses.replace(survey, attributes={"gender": arm}, values=answers, psu=psu)


@pytest.mark.parametrize("estimator", ["association", "linear-dml"])
@pytest.mark.parametrize("options", [2, 5])
def test_constant_arm__a_true_null_is_not_rejected_because_an_answer_is_rare(estimator, options):
    """Truth: no effect. 150 independent values of 2 %; in 45 % of them nobody of 40 gives the answer.

    Without it half of them are rejected at 5 %, most at 1e-4.
    """
    survey = rare(0.02, (3000, 40), values=150, options=options)
    cube = estimate(survey, estimator=estimator, refute=0).isel(country=0, attribute=0).sel(persona="all")
    nobody = np.array([(codes[survey.attributes["gender"] == 1] == 0).all() for codes in survey.values.values()])
    assert 0.3 < nobody.mean() < 0.6
    assert (cube.status == schema.OK).all()
    p = cube.p_value.values
    assert (p < 0.05).mean() < 0.08
    assert p[nobody].min() > 0.05
    shift = cube["shift"].values[:, options - 1] / cube["shift_se"].values[:, options - 1]
    assert (np.abs(shift[nobody]) < 1.96).all()


def test_constant_arm__real_differences_are_still_found():
    """Oracle: Fisher's exact test. 0 of 40 where the others are 30 %: 6e-7; and of 40 of 2 %: 1."""
    found = {}
    for chance in (0.02, 0.3):
        survey = rare(chance, (3000, 40), values=1)
        (answers,) = survey.values.values()
        answers = np.where(survey.attributes["gender"] == 1, 0, answers)
        survey = dataclasses.replace(survey, values={"value0": answers})
        cell = estimate(survey, refute=0).isel(country=0, attribute=0, value=0).sel(persona="all")
        yes = [(answers[survey.attributes["gender"] == arm] == 1).sum() for arm in (0, 1)]
        exact = stats.fisher_exact([[yes[0], 3000 - yes[0]], [yes[1], 40 - yes[1]]]).pvalue
        found[chance] = float(cell.p_value), exact
    assert found[0.02][0] > 0.3
    assert found[0.02][1] > 0.3
    assert found[0.3][0] < 1e-3
    assert found[0.3][1] < 1e-3


def test_constant_arm__the_others_variance_at_its_own_size_or_the_share_of_agresti_and_caffo():
    """Closed forms, rel 1e-6: 300 of 3,000 against 0 of 40 (the first), and 2 of 3,000 (the second)."""
    survey = rare(0.0, (3000, 40), values=1)
    for yes in (300, 2):
        answers = np.zeros(3040, dtype=int)
        answers[:yes] = 1
        cube = estimate(dataclasses.replace(survey, values={"value0": answers}), estimator="association", refute=0)
        cell = cube.isel(country=0, attribute=0, value=0).sel(persona="all")
        share = yes / 3000
        own = share * (1 - share) / 3000 * 3040 / 3039  # Taylor linearisation: each person a PSU of the whole sample
        expected = own * (1 + 3000 / 40) if yes == 300 else own + (1 / 42) * (41 / 42) / 42
        assert float(cell.effect_se) ** 2 == pytest.approx(expected, rel=1e-6)
        assert cell["shift_se"].values[:2] ** 2 == pytest.approx(expected, rel=1e-6)
        assert float(cell["cumulative_shift_se"][0]) ** 2 == pytest.approx(expected, rel=1e-6)


def test_constant_arm__clusters_count():
    """Where the other arm's answers are alike within PSUs, this arm's may be: its missing variance grows alike."""
    plain, clustered = (rare(0.05, (3000, 60), values=1, clusters=c) for c in (0, 60))
    answers = (clustered.psu < 3).astype(int)
    answers[3000:] = 0
    found = [
        float(
            estimate(dataclasses.replace(s, values={"value0": answers}), estimator="association", refute=0)
            .isel(country=0, attribute=0, value=0)
            .sel(persona="all")
            .effect_se
        )
        for s in (plain, clustered)
    ]
    assert found[1] == pytest.approx(np.sqrt(0.05 * 0.95 / 59 * (1 + 3000 / 60)), rel=0.05)
    assert found[1] > 3 * found[0]


def test_constant_arm__moderation_knows_it_too():
    """Truth: no effect anywhere; of 40 people at one level nobody gives the answer. Without it p is 1e-9."""
    n = 6000
    survey = draw(World.make(values=1, options=2, attributes=2, covariate=False, effect=0.0, seed=1), n, 0)
    rng = np.random.default_rng(0)
    place, arm = rng.integers(0, 2, n), rng.integers(0, 2, n)
    few = np.flatnonzero((place == 1) & (arm == 1))
    keep = np.setdiff1d(np.arange(n), few[40:])
    answer = np.zeros(n, dtype=int)
    for at in ((0, 0), (0, 1), (1, 0)):  # one in fifty in each other group, exactly
        answer[np.flatnonzero((place == at[0]) & (arm == at[1]))[::50]] = 1
    names = list(survey.attributes)
    survey = dataclasses.replace(
        survey,
        country=survey.country[keep],
        attributes={names[0]: arm[keep], names[1]: place[keep]},
        values={"value0": answer[keep]},
        weight=np.ones(len(keep)),
        stratum=np.zeros(len(keep), dtype=int),
        psu=np.arange(len(keep)),
        identity=None,
    )
    cube = estimate(survey, estimator="association", refute=0).isel(country=0, value=0)
    assert float(cube.moderation_p.isel(attribute=0).max()) > 0.05
