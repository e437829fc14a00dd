"""GGUF files: converted once to a folder that transformers loads like any other."""

from __future__ import annotations

import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from acecausal.errors import ModelError
from align.models.hashes import cache_folder, hash_file, hashes_below
from align.models.weights import check_loading

#: What a converted folder should hold: by which transformers it was made, and the hash of each of its files.
MADE = ".acecausal-converted.json"


def converted_folder(path: str | Path) -> Path:
    """Say where a GGUF file's conversion is kept: by all of its content."""
    return cache_folder() / "gguf" / f"{Path(path).stem}-{hash_file(path)[:16]}"


def convert_gguf(path: str | Path) -> Path:
    """Convert a GGUF file to a folder of float32 safetensors, once; later calls find it in the cache.

    A kept folder that another version of transformers made, or in which a file is not as it was written, is made anew.

    Raises
    ------
    ModelError
        If the file is no GGUF model, or holds something that transformers would leave out.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = Path(path)
    if not path.exists():
        raise ModelError("no such file", param="--model", got=str(path))
    folder = converted_folder(path)
    if _whole(folder):
        return folder
    try:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        model, found = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32, output_loading_info=True
        )
        left_out = _left_out(path, model)
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(
            "is not a GGUF model that transformers reads", param="--model",
            got=f"{path} ({type(error).__name__}: {first})",
        ) from error  # fmt: skip
    check_loading(found, "--model", path)
    if left_out:
        raise ModelError(
            "holds what transformers leaves out, so the answers would be another model's", param="--model",
            got=f"{path}: {', '.join(left_out[:5])}", hint="use the model's safetensors folder",
        )  # fmt: skip
    # transformers refuses to save what it calls quantised; after loading, the weights are plain float32
    if hasattr(model.config, "quantization_config"):
        delattr(model.config, "quantization_config")
    model.hf_quantizer = None
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        tokenizer.save_pretrained(beside)
        model.save_pretrained(beside)
        seal(beside)
        if not _whole(folder):  # or another process was faster
            shutil.rmtree(folder, ignore_errors=True)
            beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def seal(folder: Path) -> None:
    """Write down what a converted folder holds."""
    made = {"transformers": version("transformers"), "files": hashes_below(folder)}
    (folder / MADE).write_text(json.dumps(made), encoding="utf-8")


def _whole(folder: Path) -> bool:
    try:
        made = json.loads((folder / MADE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return made == {"transformers": version("transformers"), "files": hashes_below(folder)}


def _left_out(path: Path, model: Any) -> list[str]:
    """Name tensors that transformers found no place for, and a scaling of positions that it does not read."""
    from gguf import GGUFReader
    from transformers import modeling_gguf_pytorch_utils as reading

    reader = GGUFReader(path)
    architecture = model.config.model_type
    processor = reading.TENSOR_PROCESSORS.get(architecture, reading.TensorProcessor)(config={})
    known = reading.get_gguf_hf_weights_map(model, processor)
    # the experts of a mixture are cut out of joint tensors, which have no name of their own in the model
    tensors = [t.name for t in reader.tensors if t.name not in known and "_exps" not in t.name]
    scaling = [name for name in reader.fields if name.endswith(".rope.scaling.type")]
    said = [str(reader.fields[name].contents()) for name in scaling]
    ignored = [f"{name} {kind}" for name, kind in zip(scaling, said, strict=True) if kind != "none"]
    return tensors + (ignored if architecture != "gpt_oss" else [])
