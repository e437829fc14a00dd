"""A model's tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from acecausal.errors import ModelError
from align.models.sources import locate
from align.models.weights import reason_of


def load_tokenizer(source: str | Path, revision: str | None = None) -> Any:
    """Load the tokenizer of a model folder, hub id, or .gguf file."""
    from transformers import AutoTokenizer  # transformers takes seconds to import

    folder = locate(source, revision)
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # OSError, ValueError, KeyError: whatever the file parsers meet
        raise ModelError("no usable tokenizer", param="--model", got=reason_of(error, source)) from error
