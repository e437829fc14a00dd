"""Loading language models: folders, hub ids, GGUF files, adapters."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from acecausal.errors import ModelError, unknown

#: What an adapter folder says of its training, beside PEFT's own files.
ADAPTER_RECORD = "acecausal.json"


def load_tokenizer(source: str | Path) -> Any:
    """Load the tokenizer of a model folder, hub id, or .gguf file."""
    from transformers import AutoTokenizer  # transformers takes seconds to import

    folder = _folder(source)
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # OSError, ValueError, KeyError: whatever the file parsers meet
        raise ModelError("no usable tokenizer", param="--model", got=_reason(error, source)) from error


def load_model(
    source: str | Path, adapter: str | Path | None = None, *, precision: str | None = None, quantise: str | None = None
) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer.

    Parameters
    ----------
    source : str or Path
        A folder in the transformers layout, a hub id, or a .gguf file (converted once to a cached folder).
    adapter : str or Path, optional
        A PEFT adapter folder to put on top.
    precision : {'float32', 'bfloat16'}, optional
        Number type of the weights, and of what is computed but for the output head. bfloat16 takes half the memory, and
        rounds effects: SmolLM2-135M's by a third to nearly all of a typical one (benchmarks/README.md). By default
        bfloat16 if the adapter was trained on such weights, and with nf4, which computes in it; else float32.
    quantise : {'none', 'nf4'}, optional
        `nf4` keeps the linear layers in 4 bits (needs bitsandbytes, extra `qlora`). By default as the adapter was
        trained.

    Returns
    -------
    model
        In evaluation mode, on the GPU if there is one, sdpa attention.
    tokenizer

    Raises
    ------
    ModelError
        If something is missing or unreadable; weights must be safetensors, and no code of the model's is run.
    """
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(source)
    cuda = torch.cuda.is_available()
    recipe = adapter_record(adapter).get("recipe", {}) if adapter else {}
    quantise = quantise or recipe.get("quantise", "none")
    own = "bfloat16" if quantise == "nf4" or recipe.get("precision") == "bfloat16" else "float32"
    dtype = _number_type(precision or own, quantise)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            _folder(source),
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype,
            device_map=_device() if cuda else None,
            quantization_config=_in_four_bits(dtype) if quantise == "nf4" else None,
        )
    except ModelError:
        raise
    except Exception as error:
        short = isinstance(error, torch.OutOfMemoryError) and dtype == torch.float32
        hint = "precision bfloat16 takes half the memory" if short else ""
        raise ModelError("cannot be loaded", param="--model", got=_reason(error, source), hint=hint) from error
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ModelError(
            "the tokenizer does not fit the model", param="--model", expected=f"{rows} tokens", got=len(tokenizer)
        )
    if adapter is not None:
        model = _with_adapter(model, Path(adapter))
    return model.eval(), tokenizer


def _number_type(precision: str, quantise: str | None) -> torch.dtype:
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if precision not in known:
        raise unknown("precision", precision, known, ModelError)
    if quantise == "nf4" and precision != "bfloat16":
        raise ModelError("does not go with it", param="precision", got=precision, expected="bfloat16, with nf4")
    return known[precision]


def _device() -> str:
    """Name this process's GPU, one per process where accelerate launched several."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def _in_four_bits(dtype: torch.dtype) -> Any:
    """Write the configuration of QLoRA's 4-bit base (Dettmers et al. 2023, arXiv 2305.14314)."""
    from transformers import BitsAndBytesConfig

    if not torch.cuda.is_available():
        # bitsandbytes 0.50 has a CPU kernel without a gradient: training would go on with wrong ones
        raise ModelError("needs a CUDA GPU", param="quantise", got="nf4", hint="quantise: none")
    if find_spec("bitsandbytes") is None:
        raise ModelError(
            "needs bitsandbytes", param="quantise", got="nf4", hint="pip install 'acecausal[qlora]', or quantise: none"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def provenance(source: str | Path, adapter: str | Path | None = None) -> dict[str, Any]:
    """Say which model and adapter a cube comes from, and what the adapter's training held out."""
    attrs: dict[str, Any] = dict(fingerprint(source))
    if adapter is not None:
        record = adapter_record(adapter)
        weights = Path(adapter) / "adapter_model.safetensors"
        attrs |= {
            "adapter": Path(adapter).resolve().name,
            "adapter_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
            "held_out": record.get("held_out", {}),
        }
    return attrs


def adapter_record(adapter: str | Path) -> dict[str, Any]:
    """Read what `align` wrote about an adapter's training; empty for an adapter from elsewhere."""
    path = Path(adapter) / ADAPTER_RECORD
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise ModelError("cannot be read", param=str(path), got=str(error)) from error
    return record


def fingerprint(source: str | Path) -> dict[str, str]:
    """Name a model without a path: its hub id or folder name, and a hash of config and weights.

    The hash covers the config, and of each weights file its size and first and last megabyte.
    """
    path = Path(source)
    if not path.exists():
        return {"model": str(source), "model_sha256": "hub"}
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted([path / "config.json", *path.glob("*.safetensors")])
    for file in filter(Path.exists, files):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(1 << 20))
            stream.seek(max(size - (1 << 20), 0))
            digest.update(stream.read())
    return {"model": path.resolve().name, "model_sha256": digest.hexdigest()}


def convert_gguf(path: str | Path) -> Path:
    """Convert a GGUF file to a folder of float32 safetensors, once; later calls find it in the cache.

    The cache is ``$XDG_CACHE_HOME/acecausal/gguf`` (by default under ``~/.cache``), keyed by the file's fingerprint.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = Path(path)
    if not path.exists():
        raise ModelError("no such file", param="--model", got=str(path))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "acecausal" / "gguf"
    folder = cache / f"{path.stem}-{fingerprint(path)['model_sha256'][:12]}"
    if folder.exists():
        return folder
    try:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    except Exception as error:
        raise ModelError(
            "is not a GGUF model that transformers reads", param="--model", got=_reason(error, path)
        ) from error
    # transformers refuses to save what it calls quantised; after loading, the weights are plain float32
    if hasattr(model.config, "quantization_config"):
        delattr(model.config, "quantization_config")
    model.hf_quantizer = None
    beside = cache / f".{folder.name}.{os.getpid()}.part"
    try:
        tokenizer.save_pretrained(beside)
        model.save_pretrained(beside)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _folder(source: str | Path) -> str:
    """Turn what the user gave into what transformers loads from."""
    text = str(source)
    if text.endswith(".gguf"):
        return str(convert_gguf(text))
    if not Path(text).exists() and (text.startswith((".", os.sep)) or text.count("/") > 1):
        raise ModelError("no such folder", param="--model", got=text)
    return text


def _with_adapter(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    if not (adapter / "adapter_config.json").exists():
        raise ModelError(
            "is no adapter folder", param="--adapter", expected="adapter_config.json in it", got=str(adapter)
        )
    try:
        adapted = PeftModel.from_pretrained(model, adapter)
    except Exception as error:
        trained_on = adapter_record(adapter).get("model", "")
        raise ModelError(
            "does not fit the model",
            param="--adapter",
            expected=f"the model it was trained on{f', {trained_on}' if trained_on else ''}",
            got=_reason(error, adapter),
        ) from error
    broken = [name for name, p in adapted.named_parameters() if "lora_" in name and not torch.isfinite(p).all()]
    if broken:
        raise ModelError("holds numbers that are not finite", param="--adapter", got=broken[0])
    return adapted


def _reason(error: Exception, source: str | Path) -> str:
    lines = str(error).strip().splitlines()
    return f"{source} ({type(error).__name__}: {lines[0] if lines else ''})"
