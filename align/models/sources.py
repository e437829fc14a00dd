"""Where a model lies: a folder, a snapshot of the hub, or a GGUF file, always as one folder on this machine."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from acecausal.errors import AceError, ModelError
from align.models.gguf import convert_gguf

#: What is fetched of a hub repository: configuration, tokenizer and safetensors, of its top folder only.
WANTED = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "model*.safetensors")


def read_object(path: Path, error: type[AceError] = ModelError) -> dict[str, Any]:
    """Read a JSON file that must hold an object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        first = (str(problem).splitlines() or [""])[0]
        raise error("cannot be read", param=str(path), got=f"{type(problem).__name__}: {first}") from problem
    if not isinstance(found, dict):
        raise error("cannot be read", param=str(path), expected="a JSON object", got=type(found).__name__)
    return found


def is_gguf(source: str | Path) -> bool:
    """Whether a model is named by a GGUF file."""
    return str(source).endswith(".gguf")


def is_hub_id(source: str | Path) -> bool:
    """Whether a model is named by its hub id: not by a file or folder."""
    text = str(source)
    if Path(text).exists() or is_gguf(text):
        return False
    if text.startswith((".", os.sep)) or text.count("/") > 1:
        raise ModelError("no such folder", param="--model", got=text)
    return True


def locate(source: str | Path, revision: str | None = None) -> Path:
    """Turn what the user gave into the folder that everything is loaded from.

    Parameters
    ----------
    source : str or Path
        A folder in the transformers layout, a hub id, or a .gguf file (converted once to a cached folder).
    revision : str, optional
        Branch, tag or commit of a hub id, by default its main branch. Within a process it is resolved once, so that
        tokenizer, weights and record are of one commit.

    Raises
    ------
    ModelError
        If there is nothing there, the hub cannot be reached, or the folder is an adapter's: transformers would put it
        on whatever base its configuration names.
    """
    if is_hub_id(source):
        folder = _snapshot(str(source), revision)
    elif revision is not None:
        raise ModelError("is for hub ids", param="--revision", got=f"{revision}, of {source}")
    else:
        folder = convert_gguf(source) if is_gguf(source) else Path(source)
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            "holds an adapter", param="--model", got=str(source), expected="a base model",
            hint="--model BASE --adapter FOLDER",
        )  # fmt: skip
    return folder


def weight_files(folder: Path) -> list[Path]:
    """List the files that transformers loads a folder's weights from: one, or all shards that the index names.

    Raises
    ------
    ModelError
        If there are no safetensors, or a shard is not there.
    """
    named = read_object(folder / "config.json").get("transformers_weights") if (folder / "config.json").exists() else ""
    first = folder / str(named or "model.safetensors")
    index = first if first.name.endswith(".index.json") else folder / "model.safetensors.index.json"
    if first != index and (first.exists() or not index.exists()):
        files = [first]
    else:
        shards = read_object(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise ModelError("cannot be read", param=str(index), expected="weight_map: the shard of each tensor")
        files = [folder / name for name in sorted(map(str, shards.values()))]
        files = list(dict.fromkeys(files))
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        raise ModelError(
            "cannot be loaded", param="--model", expected=f"safetensors: {', '.join(absent[:5])}",
            got=f"{folder} without {'it' if len(absent) == 1 else f'{len(absent)} of its files'}",
        )  # fmt: skip
    return files


@cache
def _snapshot(name: str, revision: str | None) -> Path:
    """Fetch a hub repository's commit, or find it in the hub's cache; the folder is named after the commit."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(WANTED), ignore_patterns=["*/*"]))
    except Exception as error:  # whatever the hub's client and the network raise
        lines = str(error).strip().splitlines() or [""]
        raise ModelError(
            "no such folder, and it cannot be had from the hub", param="--model",
            got=f"{name}{f' at {revision}' if revision else ''} ({type(error).__name__}: {lines[0]})",
        ) from error  # fmt: skip
