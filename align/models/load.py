"""Loading language models: folders, hub ids, GGUF files, adapters."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from acecausal.errors import ModelError, unknown
from align.models.adapters import adapter_record, put_adapter
from align.models.identity import differing, fingerprint, told
from align.models.sources import locate, weight_files
from align.models.tokenizer import load_tokenizer
from align.models.weights import check_loading, reason_of


def load_model(
    source: str | Path,
    adapter: str | Path | None = None,
    *,
    revision: str | None = None,
    precision: str | None = None,
    quantise: str | None = None,
    model_differs: bool = False,
) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer.

    Parameters
    ----------
    source : str or Path
        A folder in the transformers layout, a hub id, or a .gguf file (converted once to a cached folder).
    adapter : str or Path, optional
        A PEFT adapter folder to put on top.
    revision : str, optional
        Branch, tag or commit of a hub id.
    precision : {'float32', 'bfloat16'}, optional
        Number type of the weights, and of what is computed but for the output head. bfloat16 takes half the memory, and
        rounds effects: SmolLM2-135M's by a third to nearly all of a typical one (benchmarks/README.md). By default
        bfloat16 if the adapter was trained on such weights, and with nf4, which computes in it; else float32.
    quantise : {'none', 'nf4'}, optional
        `nf4` keeps the linear layers in 4 bits (needs bitsandbytes, extra `qlora`). By default as the adapter was
        trained.
    model_differs : bool
        Put the adapter on even if it says that it was trained on other weights, another tokenizer or chat template.

    Returns
    -------
    model
        In evaluation mode, on the GPU if there is one, sdpa attention.
    tokenizer

    Raises
    ------
    ModelError
        If something is missing or unreadable, the weights and the model do not match one another name by name, or the
        adapter was trained on another model; weights must be safetensors, and no code of the model's is run.
    """
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(source, revision)
    cuda = torch.cuda.is_available()
    recipe = adapter_record(adapter).get("recipe", {}) if adapter else {}
    quantise = quantise or recipe.get("quantise", "none")
    own = "bfloat16" if quantise == "nf4" or recipe.get("precision") == "bfloat16" else "float32"
    dtype = _number_type(precision or own, quantise)
    folder = locate(source, revision)
    weight_files(folder)
    if adapter is not None and not model_differs:
        _check_base(adapter, source, revision)
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            folder,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype,
            device_map=_device() if cuda else None,
            quantization_config=_in_four_bits(dtype) if quantise == "nf4" else None,
            output_loading_info=True,
        )
    except ModelError:
        raise
    except Exception as error:
        short = isinstance(error, torch.OutOfMemoryError) and dtype == torch.float32
        hint = "precision bfloat16 takes half the memory" if short else ""
        raise ModelError("cannot be loaded", param="--model", got=reason_of(error, source), hint=hint) from error
    check_loading(found, "--model", source)
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ModelError(
            "the tokenizer does not fit the model", param="--model", expected=f"{rows} tokens", got=len(tokenizer)
        )
    if adapter is not None:
        model = put_adapter(model, Path(adapter))
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


def _check_base(adapter: str | Path, source: str | Path, revision: str | None) -> None:
    record = adapter_record(adapter)
    if told(record) and (parts := differing(record, fingerprint(source, revision))):
        raise ModelError(
            "was trained on another model",
            param="--adapter",
            expected=f"{record.get('model') or 'the model'} as it was then",
            got=f"{source} with another {', another '.join(parts)}",
            hint="--model-differs ok puts it on all the same, and the cube says so",
        )
