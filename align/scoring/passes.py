"""Forward passes: many sequences at a time, as a packed trie or as a padded batch, and the logits that are wanted."""

from __future__ import annotations

import ctypes
import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from align.scoring.attention import BLOCK, BLOCK_KEPT, IMPLEMENTATIONS, Blocks, use_blocks
from align.scoring.trie import block_keys, block_mask, build_trie


def base_of(model: nn.Module) -> nn.Module:
    """Take data-parallel and PEFT wrappers off a model."""
    model = getattr(model, "module", model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def layer_windows(config: Any) -> dict[str, int | None]:
    """Attention window by kind of layer, None for full attention; empty if some layer is neither full nor sliding."""
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is None:  # such models give every layer the same mask
        return {"every": window}
    known = {"full_attention": None, "sliding_attention": window}
    return {kind: known[kind] for kind in dict.fromkeys(kinds)} if set(kinds) <= known.keys() else {}


def no_trie(model: nn.Module) -> str:
    """Reason, from the model's declarations alone, why its attention cannot follow a trie; '' if none is found."""
    config = model.config.get_text_config()
    if not getattr(model, "_supports_attention_backend", False):
        # GPT-Neo, for one, cuts its local attention by index inside the layer, whatever mask it is given: short
        # probes agree and long packs would not.
        return f"{config.model_type} models do not take their attention mask as given"
    if not layer_windows(config):
        return f"{config.model_type} models have layers that are neither full nor sliding-window attention"
    if config._attn_implementation not in IMPLEMENTATIONS:
        return f"{config._attn_implementation} attention takes no mask of this shape (load the model with sdpa)"
    return ""


def trie_pass(
    model: nn.Module, sequences: Sequence[tuple[int, ...]], block: int | None = None
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Inputs of one pass over the trie of some sequences, in one row, and the nodes along each sequence.

    `block` is how many nodes a block has; by default as many as pay.
    """
    base = base_of(model)
    config = base.config.get_text_config()
    use_blocks(config._attn_implementation)
    trie, paths = build_trie(sequences)
    length = min(block or (BLOCK_KEPT if torch.is_grad_enabled() else BLOCK), len(trie.ids))
    keys = block_keys(trie, length)
    device = base.get_input_embeddings().weight.device
    masks = {
        kind: _mask(block_mask(trie, keys, length, window), base, device)
        for kind, window in layer_windows(config).items()
    }
    inputs = {
        "input_ids": torch.from_numpy(trie.ids)[None].to(device),
        "position_ids": torch.from_numpy(trie.depth)[None].to(device),
        # Models with two kinds of layer take a mask by kind; given one tensor, they would use it for both.
        "attention_mask": masks if len(masks) > 1 else next(iter(masks.values())),
        "blocks": Blocks(torch.from_numpy(keys.clip(min=0)).to(device)),
    }
    return inputs, paths


def _mask(allowed: np.ndarray, model: nn.Module, device: torch.device) -> Tensor:
    """Mask of shape (G, 1, L, R): boolean for sdpa, whatever the number type; added to the scores for eager."""
    mask = torch.from_numpy(allowed)[:, None].to(device)
    if model.config.get_text_config()._attn_implementation == "sdpa":
        return mask
    return torch.zeros_like(mask, dtype=model.dtype).masked_fill_(~mask, torch.finfo(model.dtype).min)


def batch_pass(model: nn.Module, sequences: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    """Inputs of one right-padded batch. Padding comes after every real token, so a causal model never sees it."""
    device = base_of(model).get_input_embeddings().weight.device
    lengths = torch.tensor([len(s) for s in sequences])
    real = torch.arange(int(lengths.max())) < lengths[:, None]
    ids = torch.zeros(real.shape, dtype=torch.long)
    ids[real] = torch.tensor([token for s in sequences for token in s])
    return {"input_ids": ids.to(device), "attention_mask": real.long().to(device)}


def picked_logits(
    model: nn.Module, inputs: dict[str, Any], row: np.ndarray, position: np.ndarray, vocabulary: Tensor | None = None
) -> Tensor:
    """Run a forward pass and return the logits at the given rows and positions.

    Parameters
    ----------
    row, position : numpy.ndarray, shape (S,), int64
    vocabulary : torch.Tensor, shape (R,), int64, optional
        Only these rows of the output head are computed (see `has_plain_head`); by default all.

    Returns
    -------
    torch.Tensor, shape (S, R), fp32
    """
    give_back_memory(inputs["input_ids"].device)
    kept, column = np.unique(position, return_inverse=True)
    with _head_of(model, vocabulary):
        if "logits_to_keep" in inspect.signature(base_of(model).forward).parameters:
            inputs = {**inputs, "logits_to_keep": torch.from_numpy(kept).to(inputs["input_ids"].device)}
            logits = model(**inputs, use_cache=False).logits
        else:
            logits = model(**inputs, use_cache=False).logits[:, kept]
    if len(logits) == 1 and np.array_equal(column, np.arange(len(kept))):
        return logits[0].float()  # as a packed pass gives them: no copy of a vocabulary for each
    return logits[torch.from_numpy(row).to(logits.device), torch.from_numpy(column).to(logits.device)].float()


def give_back_memory(device: torch.device) -> None:
    """Return freed memory to the system, which glibc would keep in pieces that the next pass does not fit into."""
    if device.type == "cpu" and sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def has_plain_head(model: nn.Module) -> bool:
    """Whether the output head is one matrix of ours to take rows of: not quantised, no adapter on it, not hooked."""
    head = base_of(model).get_output_embeddings()
    return type(head) is nn.Linear and head.weight.is_floating_point() and "forward" not in vars(head)


@contextmanager
def _head_of(model: nn.Module, vocabulary: Tensor | None) -> Iterator[None]:
    """Let the output head compute only some rows, and in single precision."""
    if not has_plain_head(model):
        assert vocabulary is None, "a head that is not plain is computed whole"
        yield
        return
    head = base_of(model).get_output_embeddings()
    rows = slice(None) if vocabulary is None else vocabulary
    weight, bias = head.weight[rows], None if head.bias is None else head.bias[rows]

    def logits(hidden: Tensor) -> Tensor:
        # A logit of 16 in bfloat16 is rounded to 1/8: more than most effects.
        with torch.autocast(hidden.device.type, enabled=False):
            return nn.functional.linear(hidden.float(), weight.float(), None if bias is None else bias.float())

    def forward(hidden: Tensor) -> Tensor:
        if weight.dtype == torch.float32 or not torch.is_grad_enabled():
            return logits(hidden)
        return checkpoint(logits, hidden, use_reentrant=False)  # or every pass would keep a copy of the weights

    head.forward = forward
    try:
        yield
    finally:
        del head.forward
