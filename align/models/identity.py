"""Which model it is: hashes of all that decides about its answers, and whether an adapter was trained on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from align.models.adapters import adapter_record, hash_adapter
from align.models.hashes import combined, hash_file, hash_files
from align.models.sources import is_gguf, is_hub_id, locate, weight_files
from align.models.tokenizer import load_tokenizer

#: The parts of a model, as records name their hashes, and in words.
PARTS = {"weights_sha256": "weights", "tokenizer_sha256": "tokenizer", "template_sha256": "chat template"}

_TOKENIZER = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model",
              "*.tiktoken", "tekken.json")  # fmt: skip


def fingerprint(source: str | Path, revision: str | None = None) -> dict[str, str]:
    """Say which model it is, without a path.

    Returns
    -------
    dict
        ``model``: its hub id, or the name of its folder or file. ``revision``: the commit, of a hub id.
        ``weights_sha256`` covers the configuration and all weights that are loaded, ``tokenizer_sha256`` the
        tokenizer's files, ``template_sha256`` the chat template in force, ``model_sha256`` all three. Of a GGUF file,
        which holds all of them, each is the file's.
    """
    if is_gguf(source):
        locate(source)  # or say what is wrong with it
        digest = hash_file(source)
        return {"model": Path(source).resolve().name, "model_sha256": digest, **dict.fromkeys(PARTS, digest)}
    folder = locate(source, revision)
    parts = {
        "weights_sha256": hash_files([*filter(Path.exists, [folder / "config.json"]), *weight_files(folder)]),
        "tokenizer_sha256": _tokenizer_hash(folder),
        "template_sha256": combined(json.dumps(load_tokenizer(source, revision).chat_template, sort_keys=True)),
    }
    named = {"model": str(source), "revision": folder.name} if is_hub_id(source) else {"model": folder.resolve().name}
    return {**named, "model_sha256": combined(*parts.values()), **parts}


def provenance(source: str | Path, adapter: str | Path | None = None, *, revision: str | None = None) -> dict[str, Any]:
    """Say which model and adapter a cube comes from, and what the adapter's training held out.

    ``adapter_base`` says whether the adapter was trained on this model: same, differs, or unknown.
    """
    base = fingerprint(source, revision)
    attrs: dict[str, Any] = dict(base)
    if adapter is not None:
        record = adapter_record(adapter)
        attrs |= {
            "adapter": Path(adapter).resolve().name,
            "adapter_sha256": hash_adapter(adapter),
            "adapter_base": "unknown" if not told(record) else "differs" if differing(record, base) else "same",
            "held_out": record.get("held_out", {}),
        }
        if "margins" in record:
            attrs["margins"] = record["margins"]["source"]
        quantise = record.get("recipe", {}).get("quantise", "none")
        if quantise != "none":
            attrs["quantise"] = quantise
    return attrs


def told(record: Mapping[str, Any]) -> bool:
    """Whether a record says what it was trained on, so that it can be checked."""
    return all(record.get(part) for part in PARTS)


def differing(record: Mapping[str, Any], base: Mapping[str, str]) -> list[str]:
    """Name the parts in which a model is not the one of the record, in words."""
    return [word for part, word in PARTS.items() if record.get(part) != base.get(part)]


def _tokenizer_hash(folder: Path) -> str:
    files = {file for pattern in _TOKENIZER for file in folder.glob(pattern) if file.is_file()}
    return combined(*(part for file in sorted(files) for part in (file.name, _without_template(file))))


def _without_template(file: Path) -> str:
    """Hash a tokenizer's file; the chat template is told apart, wherever it is kept."""
    if file.name != "tokenizer_config.json":
        return hash_file(file)
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        settings.pop("chat_template", None)
    except (ValueError, AttributeError, RecursionError):  # the tokenizer's loader says so better
        return hash_file(file)
    return combined(json.dumps(settings, sort_keys=True))
