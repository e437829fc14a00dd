"""Objectives against hand-worked numbers, other libraries, and what must leave them as they are."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from align.training.objectives import (
    OBJECTIVES,
    OVER_VOCABULARY,
    counts,
    level,
    level_emd,
    mass,
    mode,
    shift,
    shift_emd,
)
from align.training.targets import Target

SHIFTS = ("shift", "shift-emd")
#: Those that look at the options among themselves.
AMONG = [name for name in OBJECTIVES if name not in OVER_VOCABULARY]
SEEDS = st.integers(0, 2**32 - 1)


def target(**changes) -> Target:
    """Two personas, three ordered options; the first answers (.5, .3, .2), the second (.25, .25, .5)."""
    base = Target(
        country=0,
        value=0,
        personas=torch.tensor([0, 1]),
        response=torch.tensor([[0.5, 0.3, 0.2], [0.25, 0.25, 0.5]]),
        weight=torch.tensor([3.0, 1.0]),
        functional=torch.tensor([[-1.0, 1.0]]),
        transform=torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]),
        shift=torch.tensor([[-0.25, -0.5]]),
        precision=torch.tensor([4.0]),
        apart=torch.tensor([[1.0, -1.0]]),
        known=torch.tensor([[0.5, 0.25, 0.25]]),
        mixed=torch.tensor([[0.5, 0.5]]),
    )
    return dataclasses.replace(base, **changes)


NOMINAL = {"transform": torch.eye(3), "shift": torch.tensor([[-0.25, -0.25, 0.5]])}
#: A model that moves by (-.3, .1, .2), cumulated (-.3, -.2).
MODEL = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.35, 0.45]]).log()
UNIFORM = torch.full((2, 3), 1 / 3).log()


def random_target(seed: int, *, scale: str = "ordinal", options: int = 0) -> tuple[torch.Tensor, Target]:
    """Log probabilities and a target in float64; some shares 0, some weights 0."""
    rng = np.random.default_rng(seed)
    personas, edges, k = int(rng.integers(1, 6)), int(rng.integers(0, 7)), options or int(rng.integers(2, 6))
    response = rng.dirichlet(np.ones(k), personas)
    response[rng.random(response.shape) < 0.2] = 0
    response[response.sum(axis=1) == 0, 0] = 1
    response /= response.sum(axis=1, keepdims=True)
    transform = np.eye(k) if scale == "nominal" else np.triu(np.ones((k, k)))[:, :-1]
    tensor = torch.from_numpy

    def differences(rows: int) -> torch.Tensor:
        weights = rng.normal(size=(rows, personas))
        return tensor(weights - weights.mean(axis=1, keepdims=True))

    return torch.log_softmax(tensor(rng.normal(0, 2, (personas, k))), dim=1), Target(
        country=0,
        value=0,
        personas=torch.arange(personas),
        response=tensor(response),
        weight=tensor(rng.uniform(0, 50, personas) * (rng.random(personas) < 0.8)),
        functional=differences(edges),
        transform=tensor(transform),
        shift=tensor(rng.uniform(-0.3, 0.3, (edges, transform.shape[1]))),
        precision=tensor(rng.uniform(1, 1e4, edges)),
        apart=differences(2),
        known=tensor(rng.dirichlet(np.ones(k), 2)),
        mixed=tensor(rng.dirichlet(np.ones(personas), 2)),
    )


# --- by hand ----------------------------------------------------------------------------------------------------------


BY_HAND = {
    # chosen: the first option by the first persona, the last by the second; weights 3 and 1
    "mode": (-3 * math.log(0.5) - math.log(0.45), 4),
    # 3 KL(.5,.3,.2 | .5,.25,.25) + KL(.25,.25,.5 | .2,.35,.45)
    "level": (
        3 * (0.3 * math.log(0.3 / 0.25) + 0.2 * math.log(0.2 / 0.25))
        + 0.25 * math.log(0.25 / 0.2)
        + 0.25 * math.log(0.25 / 0.35)
        + 0.5 * math.log(0.5 / 0.45),
        4,
    ),
    # cumulated gaps: 0, -.05 and -.05, .05; their mean absolute values .025 and .05
    "level-emd": (3 * 0.025 + 0.05, 4),
    # cumulated: the model's -.3, -.2 less people's -.25, -.5 are -.05, .3; precision 4
    "shift": (4 * (0.0025 + 0.09) / 2, 4),
    "shift-emd": (4 * (0.05 + 0.3) / 2, 4),
    # the first persona is taken for a mixture of the second alone: .3, -.1, -.2, cumulated .3, .2
    "coherence": ((0.09 + 0.04) / 2, 1),
    # half of each persona answers (.35, .3, .35), where (.5, .25, .25) is known
    "margin": (0.5 * math.log(0.5 / 0.35) + 0.25 * math.log(0.25 / 0.3) + 0.25 * math.log(0.25 / 0.35), 1),
}
BY_HAND["identity"] = BY_HAND["level"]
BY_HAND_NOMINAL = {
    "mode": BY_HAND["mode"],
    "level": BY_HAND["level"],
    # gaps: 0, -.05, .05 and -.05, .1, -.05; means of absolute values .1 / 3 and .2 / 3
    "level-emd": (3 * 0.1 / 3 + 0.2 / 3, 4),
    # the model's -.3, .1, .2 less people's -.25, -.25, .5 are -.05, .35, -.3
    "shift": (4 * (0.0025 + 0.1225 + 0.09) / 3, 4),
    "shift-emd": (4 * (0.05 + 0.35 + 0.3) / 3, 4),
    "coherence": ((0.09 + 0.01 + 0.04) / 3, 1),
    "margin": BY_HAND["margin"],
    "identity": BY_HAND["level"],
}


@pytest.mark.parametrize("name", AMONG)
@pytest.mark.parametrize(
    ("expected", "changes"), [(BY_HAND, {}), (BY_HAND_NOMINAL, NOMINAL)], ids=["ordinal", "nominal"]
)
def test_objectives__by_hand(name, expected, changes):
    """Worked by hand, see the comments. rel 1e-5 (float32)."""
    total, count = OBJECTIVES[name](MODEL, target(**changes))
    assert float(total) == pytest.approx(expected[name][0], rel=1e-5)
    assert float(count) == expected[name][1]


def test_objectives__all_are_worked_by_hand():
    assert AMONG == list(BY_HAND) == list(BY_HAND_NOMINAL)


def test_mass__by_hand():
    """Options that hold .8 and .5 of the vocabulary, whoever the personas are: -log .8 - log .5. rel 1e-6."""
    log_probs = torch.tensor([[0.4, 0.3, 0.1], [0.1, 0.2, 0.2]]).log().requires_grad_()
    total, count = mass(log_probs, target(weight=torch.tensor([0.0, 1.0])))
    assert float(total.detach()) == pytest.approx(-math.log(0.8) - math.log(0.5), rel=1e-6)
    assert float(count) == 2
    total.backward()  # d/dx of -log sum exp x: minus each option's share among the options
    torch.testing.assert_close(log_probs.grad, -log_probs.detach().softmax(dim=1))


def test_level__of_an_unused_option():
    """KL(.5,.5,0 | 1/3) = log 1.5; KL(.25,.25,.5 | 1/3) = .5 log .75 + .5 log 1.5; weights 3, 1. rel 1e-6."""
    unused = target(response=torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]]))
    total, count = level(UNIFORM, unused)
    assert float(total) == pytest.approx(3 * math.log(1.5) + 0.5 * math.log(0.75) + 0.5 * math.log(1.5), rel=1e-6)
    assert float(count) == 4


def test_shift__of_a_model_that_does_not_move():
    """Squared target shifts .0625 and .25, mean .15625; absolute .375; precision 4. rel 1e-6."""
    assert float(shift(UNIFORM, target())[0]) == pytest.approx(4 * 0.15625, rel=1e-6)
    assert float(shift_emd(UNIFORM, target())[0]) == pytest.approx(4 * 0.375, rel=1e-6)


def test_shift__by_two_options_costs_more_than_by_one():
    """Moving .2 of the people by one option (cumulated .2, 0) or by two (.2, .2) where they do not move: 1 to 2."""
    still = target(shift=torch.zeros(1, 2))
    one = torch.tensor([[0.4, 0.3, 0.3], [0.2, 0.5, 0.3]]).log()
    two = torch.tensor([[0.4, 0.3, 0.3], [0.2, 0.3, 0.5]]).log()
    for objective in (shift, shift_emd):
        assert float(objective(two, still)[0]) == pytest.approx(2 * float(objective(one, still)[0]), rel=1e-5)


# --- other implementations --------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_mode_and_level__torch(seed):
    """Oracle: torch's cross_entropy and kl_div, row by row. rel 1e-10 (float64)."""
    log_probs, t = random_target(seed)
    entropy = torch.nn.functional.cross_entropy(log_probs, t.response.argmax(dim=1), reduction="none")
    divergence = torch.nn.functional.kl_div(log_probs, t.response, reduction="none").sum(dim=1)
    for objective, rows in ((mode, entropy), (level, divergence)):
        total, count = objective(log_probs, t)
        assert float(total) == pytest.approx(float((rows * t.weight).sum()), rel=1e-10, abs=1e-12)
        assert float(count) == pytest.approx(float(t.weight.sum()), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_level_emd__scipy(seed):
    """Oracle: scipy's earth mover's distance of options at 0, 1/(k-1) .. 1. rel 1e-9 (float64)."""
    log_probs, t = random_target(seed)
    at = np.linspace(0, 1, t.response.shape[1])
    rows = [
        wasserstein_distance(at, at, p, q) for p, q in zip(log_probs.exp().numpy(), t.response.numpy(), strict=True)
    ]
    assert float(level_emd(log_probs, t)[0]) == pytest.approx(float(t.weight.numpy() @ rows), rel=1e-9, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.sampled_from(["ordinal", "nominal"]))
def test_shifts__edge_by_edge(seed, scale):
    """Oracle: a loop over edges and options. rel 1e-10 (float64)."""
    log_probs, t = random_target(seed, scale=scale)
    probs, k = log_probs.exp().tolist(), t.response.shape[1]
    squared = absolute = 0.0
    for weights, people, precision in zip(*(x.tolist() for x in (t.functional, t.shift, t.precision)), strict=True):
        moved = [sum(w * probs[p][i] for p, w in enumerate(weights)) for i in range(k)]
        gaps = [
            (moved[i] if scale == "nominal" else sum(moved[: i + 1])) - people[i]
            for i in range(k if scale == "nominal" else k - 1)
        ]
        squared += precision * sum(g * g for g in gaps) / len(gaps)
        absolute += precision * sum(abs(g) for g in gaps) / len(gaps)
    assert float(shift(log_probs, t)[0]) == pytest.approx(squared, rel=1e-10, abs=1e-12)
    assert float(shift_emd(log_probs, t)[0]) == pytest.approx(absolute, rel=1e-10, abs=1e-12)
    for objective in (shift, shift_emd):
        assert float(objective(log_probs, t)[1]) == pytest.approx(float(t.precision.sum()), rel=1e-12)


# --- invariances ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIFTS)
@pytest.mark.parametrize("changes", [{}, NOMINAL], ids=["ordinal", "nominal"])
@settings(max_examples=20, deadline=None)
@given(move=st.tuples(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1)))
def test_shifts__only_differences_count(name, changes, move):
    """Property: moving both ends by the same amount leaves the shift objectives as they were. abs 1e-5 (float32)."""
    moved = MODEL.exp() + torch.tensor([*move, -sum(move)])
    before, after = (float(OBJECTIVES[name](x, target(**changes))[0]) for x in (MODEL, moved.log()))
    assert after == pytest.approx(before, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.randoms(use_true_random=False))
def test_nominal__the_order_of_options_does_not_matter(seed, random):
    """Property: nominal options in another order, in model and people alike, leave all objectives. rel 1e-10."""
    log_probs, t = random_target(seed, scale="nominal")
    order = list(range(t.response.shape[1]))
    random.shuffle(order)
    moved = dataclasses.replace(t, response=t.response[:, order], shift=t.shift[:, order], known=t.known[:, order])
    for objective in OBJECTIVES.values():
        before, after = float(objective(log_probs, t)[0]), float(objective(log_probs[:, order], moved)[0])
        assert after == pytest.approx(before, rel=1e-10, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_ordinal__the_direction_of_the_scale_does_not_matter(seed):
    """Property: a scale read backwards leaves all objectives. rel 1e-10 (float64)."""
    log_probs, t = random_target(seed)
    # shifts sum to 0, so the sum over the first j options is the negative of that over the others
    back = dataclasses.replace(t, response=t.response.flip(1), shift=-t.shift.flip(1), known=t.known.flip(1))
    for objective in OBJECTIVES.values():
        before, after = float(objective(log_probs, t)[0]), float(objective(log_probs.flip(1), back)[0])
        assert after == pytest.approx(before, rel=1e-10, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.sampled_from(["ordinal", "nominal"]))
def test_levels__zero_at_the_target_and_only_there(seed, scale):
    """Closed form: 0 at people's shares (abs 1e-12, float64; exactly, for the distance), positive elsewhere."""
    log_probs, t = random_target(seed, scale=scale)
    t = dataclasses.replace(t, weight=t.weight + 1)
    at_target = t.response.clamp_min(1e-300).log()
    assert float(level(at_target, t)[0]) == pytest.approx(0, abs=1e-12)
    assert float(level_emd(at_target, t)[0]) == pytest.approx(0, abs=1e-12)
    assert float(level(log_probs, t)[0]) > 1e-6
    assert float(level_emd(log_probs, t)[0]) > 1e-6


@pytest.mark.parametrize("changes", [{}, NOMINAL], ids=["ordinal", "nominal"])
def test_shifts__zero_where_the_model_moves_as_people_do(changes):
    """Closed form: people's shares with the shift that they imply. abs 1e-6 (float32)."""
    implied = target(**changes)
    implied = dataclasses.replace(implied, shift=(implied.response[1:] - implied.response[:1]) @ implied.transform)
    for name in SHIFTS:
        assert float(OBJECTIVES[name](implied.response.log(), implied)[0]) == pytest.approx(0, abs=1e-6)


# --- sums and counts --------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.sampled_from(["ordinal", "nominal"]))
def test_counts__are_those_of_the_objectives(seed, scale):
    """Property: whatever the model says, the count is the same. rel 1e-12."""
    log_probs, t = random_target(seed, scale=scale)
    found = counts(t, OBJECTIVES)
    assert list(found) == list(OBJECTIVES)
    for name, objective in OBJECTIVES.items():
        assert isinstance(found[name], float)
        assert found[name] == pytest.approx(float(objective(log_probs, t)[1]), rel=1e-12)
        assert counts(t, [name])[name] == found[name]
        assert sum(counts(t, [name]).values()) == found[name]


@settings(max_examples=30, deadline=None)
@given(SEEDS, SEEDS, st.sampled_from(["ordinal", "nominal"]), st.integers(2, 5))
def test_sums_and_counts__add_up(seed, other, scale, options):
    """Property: two lattices one after the other are worth one that holds both. rel 1e-10 (float64)."""
    (log_probs, a), (log_probs_2, b) = (random_target(s, scale=scale, options=options) for s in (seed, other))
    both = {
        name: torch.cat([getattr(a, name), getattr(b, name)])
        for name in ("response", "weight", "shift", "precision", "known")
    }
    both["personas"] = torch.cat([a.personas, b.personas + len(a.personas)])
    for name in ("functional", "apart", "mixed"):
        both[name] = torch.block_diag(getattr(a, name), getattr(b, name))
    together = dataclasses.replace(a, **both)
    for objective in OBJECTIVES.values():
        parts = zip(objective(log_probs, a), objective(log_probs_2, b), strict=True)
        whole = objective(torch.cat([log_probs, log_probs_2]), together)
        for (one, two), total in zip(parts, whole, strict=True):
            assert float(total) == pytest.approx(float(one + two), rel=1e-10, abs=1e-12)


# --- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AMONG)
@pytest.mark.parametrize("sure", [0.0, 30.0, 500.0])
def test_gradients__finite_where_a_share_is_zero(name, sure):
    """Nobody chose an option, and the model is ever surer of it (at 500 the others' probabilities underflow)."""
    t = target(response=torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]))
    logits = torch.tensor([[0.0, 0.0, sure], [sure, 0.0, 0.0]], requires_grad=True)
    total, _ = OBJECTIVES[name](logits.log_softmax(dim=1), t)
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(logits.grad).all()
    assert sure > 0 or name == "coherence" or logits.grad.abs().max() > 0.05  # all alike is coherent


@pytest.mark.parametrize("name", AMONG)
def test_gradients__finite_at_the_target(name):
    """Where the absolute value has its kink."""
    t = target()
    logits = t.response.log().requires_grad_()
    OBJECTIVES[name](logits.log_softmax(dim=1), t)[0].backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", AMONG)
@pytest.mark.parametrize("scale", ["ordinal", "nominal"])
def test_gradients__finite_differences(name, scale):
    """Oracle: torch.autograd.gradcheck in float64, its own tolerances (1e-5, 1e-3); no kink lies nearby."""
    log_probs, t = random_target(7, scale=scale, options=4)
    t = dataclasses.replace(t, precision=t.precision / 1e4, weight=t.weight / 50)
    assert len(t.shift)
    logits = log_probs.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: OBJECTIVES[name](x.log_softmax(dim=1), t)[0], logits, fast_mode=True)


def test_nothing_known__costs_nothing():
    """No edge, or no weight: sum and count are 0, and so are the gradients."""
    empty = torch.zeros(0, 2)
    rows = {"functional": empty, "shift": empty, "apart": empty, "mixed": empty, "known": torch.zeros(0, 3)}
    nothing = target(weight=torch.zeros(2), precision=torch.zeros(0), **rows)
    for objective in map(OBJECTIVES.get, AMONG):
        logits = UNIFORM.clone().requires_grad_()
        total, count = objective(logits.log_softmax(dim=1), nothing)
        total.backward()
        assert total.item() == count.item() == 0
        assert (logits.grad == 0).all()
    assert {counts(nothing, OBJECTIVES)[name] for name in AMONG} == {0.0}
