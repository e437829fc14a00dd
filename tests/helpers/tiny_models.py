"""Tiny random causal language models, one builder per architecture, for tests without a download.

With transformers' default initialisation (0.02) a random model answers nearly the same whatever it is asked, and a
test that compares two ways of computing its answers cannot fail. `INITIAL` spreads the weights so that answers differ
by several nats from prompt to prompt; `test_tiny_models_do_not_answer_flat` in test_scorer.py holds that.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import nn

VOCABULARY = 128
WINDOW = 8  # shorter than the prompts of the tests
INITIAL = 0.3

_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "initializer_range": INITIAL,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GATED = {**_COMMON, "intermediate_size": 64, "num_key_value_heads": 2, "max_position_embeddings": 256}

# GPT-2 has fewer learned positions than the packs have tokens, so that position by packed index would fail loudly.
_SPECS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _GATED),
    "gpt2": ("GPT2Config", {**_COMMON, "n_positions": 64}),
    "gpt_neox": ("GPTNeoXConfig", {**_COMMON, "intermediate_size": 64}),
    "qwen2": ("Qwen2Config", _GATED),
    "qwen2_window": (
        "Qwen2Config",
        {**_GATED, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "gemma2": ("Gemma2Config", {**_GATED, "head_dim": 8, "sliding_window": WINDOW, "query_pre_attn_scalar": 8}),
    "gemma3": ("Gemma3TextConfig", {**_GATED, "head_dim": 8, "sliding_window": WINDOW, "query_pre_attn_scalar": 8}),
    "phi3": ("Phi3Config", _GATED),
    "mistral": ("MistralConfig", {**_GATED, "sliding_window": WINDOW}),
    "opt": ("OPTConfig", {**_COMMON, "ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": INITIAL}),
    "mamba": ("MambaConfig", {**_COMMON, "state_size": 8}),
    "bloom": ("BloomConfig", _COMMON),
    "gpt_neo": (
        "GPTNeoConfig",
        {**_COMMON, "num_hidden_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 64},
    ),
}
ARCHITECTURES = tuple(_SPECS)
BATCH_ONLY = ("mamba", "bloom", "gpt_neo")  # no attention; positions by index; windows by index


def tiny_model(architecture: str, *, seed: int = 0, **overrides: Any) -> nn.Module:
    """Build a random model of 2-3 layers, hidden size 32, fp32, in evaluation mode.

    Parameters
    ----------
    architecture : one of `ARCHITECTURES`
    seed : int
        Same seed, same weights; the global random state is left as it was.
    **overrides
        Configuration values to change.
    """
    name, values = _SPECS[architecture]
    config = getattr(transformers, name)(**{**values, **overrides})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transformers.AutoModelForCausalLM.from_config(config).float().eval()
