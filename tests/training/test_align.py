"""Training: it learns, what it leaves opens elsewhere, and neither a kill nor what is held out changes it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner
from safetensors.torch import load_file

from acecausal.cube import files as cubes
from acecausal.errors import AceError, CubeError, ModelError
from align.elicitation.backends import InProcess
from align.elicitation.elicit import elicit
from align.models import adapters
from align.models.identity import provenance
from align.models.load import load_model
from align.prompting.wordings import Wording
from align.training.alignment import align
from align.training.lattice_trainer import LatticeTrainer
from align.training.recipe import Stage, load_recipe, shipped_recipes
from align.training.train import train
from cli import main

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

HELD = {"country": ["USA"]}
DIGITS = Wording(marks="digits")


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
