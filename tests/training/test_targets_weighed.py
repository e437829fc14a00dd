"""Targets of a cube with shares: shifts of many personas, and what coherence asks for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from acecausal.comparison import holdout
from acecausal.comparison.compare import MIN_RESPONDENTS
from acecausal.cube import schema
from acecausal.cube.functional import effect_functional, mixture_functional
from align.training.objectives import coherence, shift
from align.training.targets import left_out, make_targets


def at_population(human: xr.Dataset) -> torch.Tensor:
    """Log probabilities of a model that answers every persona of the first country and value as people did."""
    return torch.from_numpy(human["response"].values[0, 0]).log()


def test_functional__takes_responses_to_shifts_like_for_like(human):
    """Oracle: the cube's functional, applied to responses as whole cubes. atol 1e-6 (float32)."""
    expected, _ = effect_functional(human).apply(human["response"].values)
    contrast, context = effect_functional(human).rows[:, :2].T
    for t in make_targets(human):
        known = human["status"].values[t.country, contrast, t.value, context] == schema.OK
        response = human["response"].values[t.country, t.value][t.personas]
        found = t.functional.double().numpy() @ np.nan_to_num(response)
        np.testing.assert_allclose(found, expected[t.country, t.value][known], atol=1e-6)
        assert len(t.functional) == known.sum()
        weighed = (t.functional != 0).any(dim=0) | (t.weight > 0)
        assert weighed.all()  # nobody is asked in vain
        assert t.apart.shape == (0, len(t.personas))
    assert max(int((t.functional != 0).sum(dim=1).max()) for t in make_targets(human)) == 16  # 2 x 8 in the context all


def test_shift__of_people_like_for_like_is_near_theirs_and_plain_differences_are_not(human):
    """People's own responses, under people's functional, are off their estimated shifts by less than by differences."""
    losses = []
    for cube in (human, human.drop_vars("share")):
        t = make_targets(cube)[0]
        total, count = shift(at_population(human)[t.personas].float().nan_to_num(0.0), t)
        losses.append(float(total / count))
    assert losses[0] < 0.25 * losses[1]


@pytest.mark.parametrize(
    "held", [{"attributes": ["gender+degree"]}, {"granularity": ["3", "4"]}, {"granularity": ["1"]}], ids=str
)
def test_held_out_personas__are_weighed_by_no_shift(human, held):
    out = holdout.masks(held, human)[0]
    for t in make_targets(human, held):
        assert not out[t.country, t.value][t.personas].any()
        np.testing.assert_allclose(t.functional.sum(dim=1), 0, atol=1e-6)
        assert len(t.shift) > 5


def test_small_shares_left_out__are_counted(human):
    """Where no share tells whom a shift is about there is no target, and `left_out` says how many."""
    blind = human.assign(share=human["share"].where(human["granularity"] == 0))
    left = left_out(blind, {})["edges"]
    made = sum(len(t.shift) for t in make_targets(blind))
    assert made + left["no_shares"] == int((human["status"] == schema.OK).sum())
    assert 0 < made < left["no_shares"]
    assert "no_shares" not in left_out(human, {})["edges"]


def test_association__stays_a_difference_of_two_as_published(human):
    for t in make_targets(human, source="association"):
        assert ((t.functional != 0).sum(dim=1) == 2).all()


def test_coherence__needs_shares_and_nobody_s_answers(human):
    """A held-out country is asked all the same; where people's own finest answers are given, mixtures are theirs."""
    held = {"country": ["USA"]}
    assert {t.country for t in make_targets(human, held)} == {0, 1, 2}
    targets = {t.country: t for t in make_targets(human, held, coherence=True)}
    usa = targets[3]
    assert not usa.weight.any()
    assert not len(usa.shift)
    assert not usa.response.any()
    weights = mixture_functional(human).matrix(3, 0).toarray()
    coarse = np.flatnonzero(weights.any(axis=1))
    assert len(usa.apart) == len(coarse) == int((human["granularity"] < 4).sum())
    mixed = np.where(weights.any(axis=1)[:, None], weights @ np.nan_to_num(human["response"].values[3, 0]), np.nan)
    response = np.where(np.isnan(mixed), human["response"].values[3, 0], mixed)
    coherent = torch.from_numpy(response)[usa.personas].clamp_min(1e-9).log().float()
    total, count = coherence(coherent, usa)
    assert float(count) == len(coarse)
    assert float(total) == pytest.approx(0, abs=1e-9)
    noisy = torch.log_softmax(coherent + torch.randn(coherent.shape, generator=torch.Generator().manual_seed(0)), dim=1)
    assert float(coherence(noisy, usa)[0] / count) > 1e-3
    spoiled = human.assign(response=human["response"].where(human["country"] != "USA", 1 / 3))
    again = {t.country: t for t in make_targets(spoiled, held, coherence=True)}[3]
    assert all(torch.equal(getattr(usa, name), getattr(again, name)) for name in ("apart", "response", "personas"))
    assert (human["n"].values[0] >= MIN_RESPONDENTS).any()
