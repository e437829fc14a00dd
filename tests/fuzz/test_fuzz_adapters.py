"""Adapter folders whose settings, weights or record are spoilt: one message, or an adapter that is whole and acts.

By hand: ``python tests/fuzz/test_fuzz_adapters.py 2000 [SEED]``.
"""

from __future__ import annotations

import copy
import json
import shutil
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import numpy as np
import pytest
import torch
from fuzzing import by_hand, changed, fuzz, spoilt
from safetensors.torch import load, save
from tiny_models import tiny_model

from acecausal.errors import ModelError
from align.models.adapters import ADAPTER_RECORD, CONFIG, WEIGHTS, adapter_record, hash_adapter, put_adapter
from align.models.identity import PARTS, differing, told
from align.scoring.selfcheck import self_check

RECORD = {
    "model": "tiny", **dict.fromkeys(PARTS, "0" * 64), "model_sha256": "1" * 64, "held_out": {"countries": ["A"]},
    "recipe": {"templates": ["persona-last"], "orders": ["forward"], "marks": ["digits"], "precision": "float32"},
}  # fmt: skip


@cache
def base() -> torch.nn.Module:
    return tiny_model("llama", num_hidden_layers=1)


@cache
def original() -> Path:
    """A folder with an adapter of all kinds of parts."""
    from peft import LoraConfig, get_peft_model

    folder = Path(tempfile.mkdtemp())
    lora = LoraConfig(r=2, lora_alpha=8, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    get_peft_model(copy.deepcopy(base()), lora).save_pretrained(folder)
    (folder / ADAPTER_RECORD).write_text(json.dumps(RECORD), encoding="utf-8")
    return folder


def tensors_changed(content: bytes, rng: np.random.Generator) -> bytes:
    """Change tensors as a tool might that does not know the model."""
    tensors = load(content)
    name = str(rng.choice(list(tensors)))
    match rng.integers(0, 8):
        case 0:
            tensors[name].view(-1)[0] = float(rng.choice([np.nan, np.inf, -np.inf]))
        case 1:
            tensors[name] = tensors[name].to(
                rng.choice(np.array([torch.float16, torch.int8, torch.bool], dtype=object))
            )
        case 2:
            tensors[name] = tensors[name][..., : int(rng.integers(0, 3))].contiguous()
        case 3:
            del tensors[name]
        case 4:
            tensors[str(rng.choice([name.upper(), "x", "", f"{name}.extra"]))] = tensors.pop(name)
        case 5:
            tensors[name] = tensors[name].T.contiguous()
        case 6:
            tensors = {}
        case 7:
            tensors[name] = tensors[name] * 1e38
    return save(tensors)


def case(rng: np.random.Generator, folder: Path) -> str:
    """One folder, changed in one or two places, put on its model."""
    place = folder / "adapter"
    shutil.copytree(original(), place)
    for _ in range(rng.integers(1, 3)):
        path = place / str(rng.choice([CONFIG, CONFIG, WEIGHTS, WEIGHTS, ADAPTER_RECORD]))
        if not path.exists():
            continue
        content = path.read_bytes()
        if rng.random() < 0.3:
            path.write_bytes(spoilt(content, rng))
        elif rng.random() < 0.05:
            path.unlink()
        elif path.name == WEIGHTS:
            try:
                path.write_bytes(tensors_changed(content, rng))
            except Exception:  # it was spoilt before
                continue
        else:
            try:
                path.write_text(json.dumps(changed(json.loads(content), rng)), encoding="utf-8")
            except ValueError:
                continue
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return put(place)
    except ModelError:
        return "refused"


def put(place: Path) -> str:
    record: dict[str, Any] = adapter_record(place)
    told(record)
    differing(record, dict.fromkeys(PARTS, "0" * 64))
    json.dumps({key: record.get(key) for key in ("held_out", "recipe")})
    model = put_adapter(copy.deepcopy(base()), place)
    assert len(hash_adapter(place)) == 64
    ids = torch.arange(1, 9)[None]
    with torch.inference_mode():
        plain, adapted = base()(ids).logits, model.eval()(ids).logits
    if not torch.isfinite(adapted).all():
        assert "not finite" in self_check(model), "a NaN gets out"
        return "put on, and gives numbers that are not finite, which is told when it is asked"
    return "put on" if not torch.equal(plain, adapted) else "put on, and does nothing"


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_adapters(tmp_path):
    outcomes = fuzz(case, 30, tmp_path)
    assert outcomes["refused"] > 5
    assert outcomes["put on"] > 0


if __name__ == "__main__":
    by_hand(case)
