"""Adapters: what their training says of itself, and putting one on a model, all of it or not at all."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from acecausal.errors import ModelError
from align.models.hashes import hash_files
from align.models.sources import read_object

#: What an adapter folder says of its training, beside PEFT's own files.
ADAPTER_RECORD = "acecausal.json"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

#: Seconds of computing that an adapter's regular expressions may take, and seconds to wait for them at most.
SECONDS, PATIENCE = 5, 120

# an expression can take longer than the world stands, and cannot be stopped within this process
_TRIAL = """
import json, re, resource, sys
seconds, expressions, names = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
for expression in expressions:
    for name in names:
        re.fullmatch(expression, name), re.match(rf"(.*\\.)?({expression})$", name)
"""


class _How(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    templates: list[str] = ["persona-last"]
    orders: list[str] = ["forward"]
    marks: list[str] = ["labels"]
    kept_back: list[str] = []
    precision: Literal["auto", "float32", "mixed", "bfloat16"] = "auto"
    quantise: Literal["none", "nf4"] = "none"


class _Record(BaseModel):
    """What is read of a record; the rest may be anything."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: str = ""
    model_sha256: str = ""
    weights_sha256: str = ""
    tokenizer_sha256: str = ""
    template_sha256: str = ""
    recipe: _How = _How()
    held_out: dict[str, list[str]] = {}
    template_args: dict[str, Any] = {}


def adapter_record(adapter: str | Path) -> dict[str, Any]:
    """Read what `align` wrote about an adapter's training; empty for an adapter from elsewhere.

    Raises
    ------
    ModelError
        If it is not of the form that `align` writes.
    """
    path = Path(adapter) / ADAPTER_RECORD
    if not path.exists():
        return {}
    record = read_object(path)
    try:
        _Record.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(
            "is not as align writes it", param=str(path), got=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            hint="without the file the adapter is used as one from elsewhere",
        ) from error  # fmt: skip
    return record


def hash_adapter(adapter: str | Path) -> str:
    """Hash an adapter: its weights, and the configuration that says how strongly and where they act."""
    return hash_files([Path(adapter) / CONFIG, Path(adapter) / WEIGHTS])


def put_adapter(model: Any, adapter: Path) -> Any:
    """Put an adapter on a model.

    Raises
    ------
    ModelError
        If the folder holds none, or not safetensors; or if any of its tensors finds no place in the model, or any of
        the places it should fill stays empty: PEFT would leave either out with a warning at most; or if it is set to
        act on nothing, or with a strength that is no number.
    """
    from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not (adapter / CONFIG).exists():
        raise ModelError(
            "is no adapter folder", param="--adapter", expected="adapter_config.json in it", got=str(adapter)
        )
    if not (adapter / WEIGHTS).exists():
        others = sorted(file.name for file in adapter.iterdir() if file.suffix in (".bin", ".pt", ".pth", ".gguf"))
        raise ModelError(
            "has no safetensors", param="--adapter", expected=f"{WEIGHTS} in it",
            got=f"{adapter}{f' with {others[0]}' if others else ''}",
            hint="pickled weights could run code, so they are not read" if others else "",
        )  # fmt: skip
    settings = read_object(adapter / CONFIG)
    if not isinstance(settings.get("peft_type"), str):
        raise ModelError("cannot be read", param=str(adapter / CONFIG), expected="peft_type", got="none")
    try:
        tensors = load_file(adapter / WEIGHTS)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            "cannot be read", param=str(adapter / WEIGHTS), got=f"{type(error).__name__}: {error}"
        ) from error
    broken = sorted(name for name, tensor in tensors.items() if not torch.isfinite(tensor.float()).all())
    if broken:
        raise ModelError("holds numbers that are not finite", param="--adapter", got=broken[0])
    _check_settings(settings, tensors, adapter)
    check_expressions(_expressions(settings), model, str(adapter / CONFIG))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")  # an error, below
            adapted = PeftModel.from_pretrained(model, adapter)
        wanted = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
        unplaced = set_peft_model_state_dict(adapted, tensors).unexpected_keys
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        absent = isinstance(error, KeyError)  # what PEFT raises for a module of its own that is not in the file
        raise _misfit(adapter, f"tensors: {first} missing" if absent else f"{type(error).__name__}: {first}") from error
    empty = sorted(wanted - set(tensors))
    if unplaced or empty or not tensors:
        told = [
            f"{len(names)} {what} ({', '.join(names[:3])}{' ...' if len(names) > 3 else ''})"
            for what, names in (("without a place", sorted(unplaced)), ("missing", empty))
            if names
        ]
        raise _misfit(adapter, f"tensors: {'; '.join(told) or 'none'}")
    for name, module in adapted.named_modules():
        scaling = getattr(module, "scaling", None)
        for scale in scaling.values() if isinstance(scaling, dict) else ():
            if not math.isfinite(scale) or not scale:
                raise ModelError(
                    "acts with no strength, or without end", param=str(adapter / CONFIG),
                    expected="lora_alpha above 0, and finite", got=f"a scale of {scale} in {name}",
                )  # fmt: skip
    return adapted


def _check_settings(settings: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], adapter: Path) -> None:
    """Refuse what would leave the model as it is, and ranks that are none of the tensors': PEFT makes room for any."""
    if settings.get("alora_invocation_tokens") is not None:
        raise ModelError(
            "acts only behind words of its own, which the prompts do not have", param=str(adapter / CONFIG),
            expected="no alora_invocation_tokens", got=str(settings["alora_invocation_tokens"])[:40],
        )  # fmt: skip
    pattern = settings.get("rank_pattern")
    ranks = [settings.get("r"), *(pattern.values() if isinstance(pattern, dict) else ())]
    most = max((size for tensor in tensors.values() for size in tensor.shape), default=4096)
    strange = [rank for rank in ranks if isinstance(rank, int | float) and rank > most]
    if strange:
        raise _misfit(adapter, f"a rank of {strange[0]}, and no tensor of more than {most}")


def check_expressions(expressions: Iterable[object], model: Any, where: str) -> None:
    """Refuse regular expressions that do not come to an end on the names of a model's layers.

    Parameters
    ----------
    expressions : iterable of object
        What is no text, or a plain name, is passed over.
    model : torch.nn.Module
    where : str
        Where they stand.

    Raises
    ------
    ModelError
        If they take more than `SECONDS` of computing. One that is no expression is left to PEFT.
    """
    doubtful = [text for text in expressions if isinstance(text, str) and not re.fullmatch(r"[\w.-]*", text)]
    if not doubtful:
        return
    asked = json.dumps([SECONDS, doubtful, [name for name, _ in model.named_modules()]])
    command = [sys.executable, "-c", _TRIAL]
    try:
        tried = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=PATIENCE, check=False)
        ended = tried.returncode >= 0  # below 0 a signal stopped it
    except subprocess.TimeoutExpired:
        ended = False
    if not ended:
        raise ModelError(
            "does not end on the model's layers", param=where, expected=f"{SECONDS} seconds of computing at most",
            got=", ".join(text[:60] for text in doubtful[:3]), hint="all-linear, or a list of names",
        )  # fmt: skip


def _expressions(settings: Mapping[str, Any]) -> list[Any]:
    """List what PEFT takes for regular expressions in an adapter's configuration."""
    found: list[Any] = []
    for name in ("target_modules", "exclude_modules", "modules_to_save", "layers_pattern", "rank_pattern",
                 "alpha_pattern"):  # fmt: skip
        part = settings.get(name)
        found += list(part) if isinstance(part, list | dict) else [part]
    return found


def _misfit(adapter: Path, reason: str) -> ModelError:
    trained_on = adapter_record(adapter).get("model", "")
    return ModelError(
        "does not fit the model",
        param="--adapter",
        expected=f"the model it was trained on{f', {trained_on}' if trained_on else ''}",
        got=f"{adapter}{os.sep} ({reason})",
    )
