"""Objectives and targets against hand-worked numbers."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from acecausal import schema
from acecausal.cube import lattice_of
from acecausal.errors import CubeError
from align.objectives import OBJECTIVES, level, shift
from align.recipe import load_recipe, shipped_recipes
from align.targets import SE_FLOOR, Target, make_targets


def target(**changes) -> Target:
    base = Target(
        country=0,
        value=0,
        response=torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]]),
        weight=torch.tensor([3.0, 1.0]),
        low=torch.tensor([0]),
        high=torch.tensor([1]),
        transform=torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]),
        shift=torch.tensor([[-0.25, -0.5]]),
        precision=torch.tensor([4.0]),
    )
    return dataclasses.replace(base, **changes)


UNIFORM = torch.full((2, 3), 1 / 3).log()


def test_level__by_hand():
    """KL(.5,.5,0 | 1/3) = log 1.5; KL(.25,.25,.5 | 1/3) = .5 log .75 + .5 log 1.5; weights 3, 1. rtol 1e-6."""
    total, count = level(UNIFORM, target())
    expected = 3 * math.log(1.5) + 0.5 * math.log(0.75) + 0.5 * math.log(1.5)
    assert float(total) == pytest.approx(expected, rel=1e-6)
    assert float(count) == 4


def test_shift__by_hand():
    """A uniform model does not move: squared target shifts .0625 and .25, mean .15625, precision 4. rtol 1e-6."""
    total, count = shift(UNIFORM, target())
    assert float(total) == pytest.approx(4 * 0.15625, rel=1e-6)
    assert float(count) == 4


def test_both__zero_at_the_target_with_finite_gradient():
    exact = target().response.clamp_min(1e-30).log()
    for objective in OBJECTIVES.values():
        total, _ = objective(exact, target())
        assert float(total) == pytest.approx(0, abs=1e-6)
    logits = torch.zeros(2, 3, requires_grad=True)
    sum(o(logits.log_softmax(-1), target())[0] for o in OBJECTIVES.values()).backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().max() > 0.1


def test_shift__only_differences_count():
    """Property: moving both ends by the same amount leaves the shift objective as it was. atol 1e-6 (fp32)."""
    probs = torch.tensor([[0.2, 0.3, 0.5], [0.3, 0.3, 0.4]])
    moved = probs + torch.tensor([0.1, -0.05, -0.05])
    assert float(shift(probs.log(), target())[0]) == pytest.approx(float(shift(moved.log(), target())[0]), abs=1e-6)


def test_targets__are_the_cube(human):
    """Every estimated edge of every country, with the cube's shifts in cumulative form."""
    targets = make_targets(human)
    edges = lattice_of(human).edges
    assert len(targets) == 4
    assert sum(len(t.low) for t in targets) == int((human.status == schema.OK).sum()) == 295
    for t in targets:
        known = [e for e in edges if int(human.status.values[t.country, e[0], t.value, e[1]]) == schema.OK]
        assert t.low.tolist() == [e[2] for e in known]
        assert t.high.tolist() == [e[3] for e in known]
        for number, (contrast, context, _, _) in enumerate(known):
            at = (t.country, contrast, t.value, context)
            expected = human["shift"].values[at].cumsum()[:2]
            np.testing.assert_allclose(t.shift[number], expected, atol=1e-6)
            se = human.cumulative_shift_se.values[at][:2]
            assert float(t.precision[number]) == pytest.approx(1 / max((se**2).mean(), SE_FLOOR**2), rel=1e-5)
        few = human.n.values[t.country, t.value] < 10
        assert (t.weight[few] == 0).all()
        assert torch.isfinite(t.response).all()


def test_targets__nothing_held_out_gets_in(human):
    spoiled = human.copy(deep=True)
    spoiled["shift"].values[3] = np.nan  # if the USA entered anything, it would show
    spoiled["response"].values[3] = np.nan
    kept = make_targets(spoiled, {"country": ["USA"]})
    assert [t.country for t in kept] == [0, 1, 2]
    assert all(torch.isfinite(part).all() for t in kept for part in (t.response, t.shift, t.precision))
    with pytest.raises(CubeError, match="nothing to train on"):
        make_targets(human, {"value": ["poverty"]})


def test_recipes__shipped_ones_load():
    assert shipped_recipes() == ["default"]
    assert load_recipe("default", passes=3).passes == 3
    assert load_recipe("default", passes=None).passes > 3


BAD_RECIPES = {
    "passes: 0": "passes: Input should be greater",
    "objectives: {levels: 1}": "are no objectives: level, shift",
    "objectives: {level: 0}": "one must be positive",
    "colour: 1": "colour: Extra inputs",
}


@pytest.mark.parametrize("line", BAD_RECIPES)
def test_recipes__broken_ones_say_what(tmp_path, line):
    import yaml

    from acecausal.errors import AceError

    raw = load_recipe("default").model_dump(mode="json") | yaml.safe_load(line)
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(AceError, match=BAD_RECIPES[line]):
        load_recipe(path)
    with pytest.raises(AceError, match="did you mean 'default'"):
        load_recipe("defualt")
