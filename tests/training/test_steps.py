"""Steps: what one holds, and that lattices weigh by what they hold, however they are shared out."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from acecausal.cube import schema
from align.models.load import load_model
from align.prompting.wordings import Wording
from align.scoring.scorer import Scorer
from align.scoring.trie import distinct_prefixes
from align.training.lattice_trainer import FILLER, LatticeTrainer, Metrics, step_items
from align.training.objectives import OBJECTIVES
from align.training.recipe import Stage
from align.training.targets import make_targets
from align.training.train import make_items, train

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

HELD = {"country": ["USA"]}
DIGITS = Wording(marks="digits")


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


TWO = """
import json, sys, warnings
warnings.filterwarnings("ignore")
from pathlib import Path
from acecausal.cube.files import open_cube
from align.models.load import load_model
from align.models.processes import processes
from align.training.recipe import Recipe
from align.training.train import train

assert processes().num_processes == 2
cube, model, folder = sys.argv[1:4]
recipe = Recipe.model_validate(json.loads(sys.argv[4]))
train(*load_model(model), open_cube(cube), recipe, Path(folder), held_out={"country": ["USA"]})
"""


def test_accumulation__two_lattices_a_step(tiny_model, small, recipe, tmp_path):
    model, tokenizer = load_model(tiny_model)
    train(model, tokenizer, small, recipe.model_copy(update={"accumulate": 2}), tmp_path / "a", held_out=HELD)
    lines = (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2 * 4  # three lattices make two steps a pass


def test_accumulation__of_more_than_a_pass_is_a_pass(tiny_model, small, recipe, tmp_path, monkeypatch):
    """A step of 10,000 lattices where there are 3: three are computed, and as many check questions, as by a recipe that
    says 3."""
    computed = []
    plain = LatticeTrainer.compute_loss
    monkeypatch.setattr(
        LatticeTrainer, "compute_loss", lambda *args, **kwargs: computed.append(0) or plain(*args, **kwargs)
    )
    for accumulate in (3, 10_000):
        model, tokenizer = load_model(tiny_model)
        chosen = recipe.model_copy(update={"accumulate": accumulate, "passes": 1})
        train(model, tokenizer, small, chosen, tmp_path / str(accumulate), held_out=HELD)
        assert len(computed) == 2 * 3
        computed.clear()
    for name, tensor in weights(tmp_path / "3").items():
        torch.testing.assert_close(weights(tmp_path / "10000")[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize(("accumulate", "identity"), [(3, 0.0), (4, 0.0), (8, 2.0)])
def test_step__weighs_lattices_by_what_they_hold(
    tiny_model, small, recipe, tmp_path, monkeypatch, accumulate, identity
):
    """Oracle: the gradient of sum over count over all three lattices of a step, and over as many check questions, by
    hand; 1e-5 of each tensor's largest. A step that three do not fill is worth the same."""
    stage = Stage(objectives={"level": 1.0, "shift": 20.0, "mass": 0.5, "identity": identity})
    chosen = recipe.model_copy(update={"accumulate": accumulate, "passes": 1, "recompute": 0, "stages": (stage,)})
    seen: dict[str, torch.Tensor] = {}

    def look(self, args, state, control, model=None, **kwargs):
        seen.update({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})

    monkeypatch.setattr(Metrics, "on_pre_optimizer_step", look, raising=False)
    optimiser = chosen.optimiser.model_copy(update={"max_grad_norm": 1e9})
    model, tokenizer = load_model(tiny_model)
    train(model, tokenizer, small, chosen.model_copy(update={"optimiser": optimiser}), tmp_path / "g", held_out=HELD)

    from peft import LoraConfig, get_peft_model

    model, tokenizer = load_model(tiny_model)
    items = make_items(tokenizer, small, chosen, make_targets(small, HELD, chosen.targets))
    scorer = Scorer(model)
    torch.manual_seed(chosen.seed)
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(model, lora)
    assert sum(i.check for i in items) == (8 if identity else 0)
    items = items[:3] + [items[3 + n] for n in step_items(8, 3, [chosen.seed, 3], 0) if identity]
    loss = 0.0
    for name, weight in chosen.stages[0].objectives.items():
        if not weight:
            continue
        # of nine personas, a check question is asked of all
        parts = [i for i in items if name == "mass" or i.check == (name == "identity")]
        scores = [torch.stack(scorer.log_probs(i.ask(DIGITS, i.target.personas.tolist()))) for i in parts]
        scores = scores if name == "mass" else [s.log_softmax(-1) for s in scores]
        pairs = [OBJECTIVES[name](s, i.target) for s, i in zip(scores, parts, strict=True)]
        loss = loss + weight * sum(total for total, _ in pairs) / sum(count for _, count in pairs)
    loss.backward()
    counted = [float(i.target.weight.sum()) for i in items if not i.check]
    assert max(counted) > 1.5 * min(counted)  # else means of means would pass
    for name, p in adapted.named_parameters():
        if p.requires_grad:
            torch.testing.assert_close(seen[name], p.grad, rtol=0, atol=1e-5 * float(p.grad.abs().max()))


@pytest.mark.parametrize("recompute", [0, 1])
def test_two_processes__equal_one_that_accumulates(tiny_model, small, recipe, tmp_path, recompute):
    """`accelerate launch` with 2 processes against 1 process with two lattices a step, three lattices in all, so that
    the last step is half filled; of several passes, one of fewer than the others, computed again whole or by layer.
    Oracle: each other, relative 1e-3 of the largest weight: sums in another order, by a CPU's own kernels, and Adam
    divides gradients near 0 by their size (1.5e-4 seen)."""
    import subprocess
    import sys

    from acecausal.cube.files import write_cube

    uneven = small.copy(deep=True)
    uneven["n"][0, 0, 2:] = 9  # too few to be trained on: this lattice is left with three personas
    uneven["status"][0, 0, 0, 1:] = uneven["status"][0, 1] = schema.TOO_FEW
    for spec in schema.VARIABLES:
        if spec.present in ("shift", "effect", "test") and spec.name in uneven:
            uneven[spec.name] = uneven[spec.name].where(uneven.status == schema.OK)
    write_cube(uneven, tmp_path / "small.zarr")
    (tmp_path / "two.py").write_text(TWO)
    chosen = recipe.model_copy(update={"accumulate": 1, "recompute": recompute, "tokens": 500})
    # on a machine without GPUs accelerate's "multi_gpu" launcher starts processes that talk over gloo
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    arguments = [str(tmp_path / "small.zarr"), str(tiny_model), str(tmp_path / "two"), chosen.model_dump_json()]
    done = subprocess.run(
        [*launch, str(tmp_path / "two.py"), *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    model, tokenizer = load_model(tiny_model)
    items = make_items(tokenizer, uneven, chosen, make_targets(uneven, HELD, chosen.targets))
    asked = [item.ask(DIGITS, item.target.personas.tolist()) for item in items if not item.check]
    sizes = [distinct_prefixes([prompt.tokens for prompt in prompts]) for prompts in asked]
    assert [size > 500 for size in sizes] == [False, True, True]
    train(model, tokenizer, uneven, chosen.model_copy(update={"accumulate": 2}), tmp_path / "one", held_out=HELD)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=0, atol=1e-3 * float(tensor.abs().max()))
    metrics = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("one", "two")]
    assert len(metrics[0]) == len(metrics[1]) == 2 * 4
    for a, b in zip(*metrics, strict=True):
        assert json.loads(a) == pytest.approx(json.loads(b), rel=1e-4)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 20), st.integers(1, 7), st.integers(0, 3), st.integers(0, 5))
def test_step_items__each_pass_holds_every_item_once(n_items, per_step, seed, passes):
    per_pass = -(-n_items // per_step)
    steps = [step_items(n_items, per_step, [seed], passes * per_pass + s) for s in range(per_pass)]
    assert {len(step) for step in steps} == {per_step}
    assert sorted(n for step in steps for n in step if n != FILLER) == list(range(n_items))
    assert all(FILLER not in step for step in steps[:-1])


def test_step_items__each_pass_and_seed_has_its_own_order():
    orders = {tuple(step_items(20, 20, [seed], step)) for seed in range(3) for step in range(3)}
    assert len(orders) == 9


def test_stages__a_step_holds_what_has_an_objective(tiny_model, small, recipe, tmp_path, monkeypatch):
    """Oracle: the stages as written here. Half of the steps ask check questions alone, two at a time, the others both;
    each is asked of a quarter of a lattice's personas, and every one of a lattice's personas is asked at some time."""
    stages = (
        Stage(share=0.5, objectives={"identity": 1.0, "mass": 0.1}),
        Stage(share=0.5, objectives={"identity": 0.5, "level": 1.0, "shift": 20.0}),
    )
    seen: list[list[tuple[bool, list[int]]]] = []
    plain = LatticeTrainer.step

    def step(self):
        found = plain(self)
        seen.append([(self.items[n].check, self.target(n, visit).personas.tolist()) for n, visit in found])
        return found

    monkeypatch.setattr(LatticeTrainer, "step", step)
    model, tokenizer = load_model(tiny_model)
    chosen = recipe.model_copy(update={"stages": stages, "personas": 6, "passes": 4})
    train(model, tokenizer, small, chosen, tmp_path / "s", held_out=HELD)
    assert [[check for check, _ in items] for items in seen] == [[True, True]] * 6 + [[False, True]] * 6
    assert {len(personas) for items in seen for check, personas in items if check} == {2}
    lattices = [personas for items in seen for check, personas in items if not check]
    assert {len(personas) for personas in lattices} == {6}
    assert set().union(*lattices) == set(range(9))
    lines = [json.loads(line) for line in (tmp_path / "s" / "metrics.jsonl").read_text().splitlines()]
    assert all(("level" in line) == (line["step"] > 6) for line in lines)
