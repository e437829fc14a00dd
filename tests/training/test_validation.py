"""Validation, and when a training stops."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from acecausal.comparison.compare import compare
from acecausal.comparison.holdout import masks
from acecausal.errors import ModelError
from align.elicitation.backends import InProcess
from align.elicitation.elicit import elicit
from align.models.load import load_model
from align.prompting.wordings import Wording
from align.training.lattice_trainer import LatticeTrainer
from align.training.objectives import OBJECTIVES
from align.training.train import train

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

HELD = {"country": ["USA"]}
DIGITS = Wording(marks="digits")


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def test_exploding__stops_with_the_step_named(tiny_model, small, recipe, tmp_path, monkeypatch):
    model, tokenizer = load_model(tiny_model)
    monkeypatch.setitem(
        OBJECTIVES, "level", lambda log_probs, target: (log_probs.sum() * float("nan"), target.weight.sum())
    )
    with pytest.raises(ModelError, match="step 1: the loss is not finite"):
        train(model, tokenizer, small, recipe, tmp_path / "x")
    assert not (tmp_path / "x" / "adapter_model.safetensors").exists()


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
