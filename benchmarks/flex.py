"""FlexAttention for packed passes: a candidate, held against attention by blocks, which the library has.

In depth-first order a token sees itself and its ancestors: those before it in whose subtree it is. That is a mask of
two comparisons, which FlexAttention can compile into its kernel; nothing is gathered and no mask is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import torch
from pairwise import timed
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention as sdpa
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from align.scoring.attention import BLOCK_KEPT, Blocks, use_blocks
from align.scoring.trie import Trie, block_keys, block_mask, build_trie, subtrees

BLOCKS, DENSE, FLEX = "by blocks", "sdpa with a mask of all pairs", "FlexAttention"
#: Largest difference from sdpa with a mask of all pairs that lets a way count, in units of the values (normal).
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05}

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def ways(trie: Trie, device: torch.device) -> dict[str, Attention]:
    """Make the three ways; each takes queries (1, heads, N, d), keys and values of fewer heads, as models have them."""
    tokens = len(trie.ids)
    end = torch.from_numpy(subtrees(trie)).to(device) + torch.arange(tokens, device=device)

    def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < end[key])

    places = torch.arange(tokens, device=device)
    dense = (places <= places[:, None]) & (places[:, None] < end)
    flexible = create_block_mask(sees, None, None, tokens, tokens, device=device)
    compiled = torch.compile(flex_attention, dynamic=False) if device.type == "cuda" else flex_attention
    keys = block_keys(trie, BLOCK_KEPT)
    blocks = Blocks(torch.from_numpy(keys.clip(min=0)).to(device))
    mask = torch.from_numpy(block_mask(trie, keys, BLOCK_KEPT))[:, None].to(device)
    use_blocks("sdpa")
    ours = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def by_blocks(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        module = SimpleNamespace(num_key_value_groups=query.shape[1] // key.shape[1], is_causal=True)
        return ours(module, query, key, value, mask, blocks=blocks)[0].transpose(1, 2)

    return {
        DENSE: lambda query, key, value: sdpa(query, key, value, dense, enable_gqa=True),
        BLOCKS: by_blocks,
        FLEX: lambda query, key, value: compiled(query, key, value, block_mask=flexible, enable_gqa=True),
    }


def attend(
    sequences: Sequence[tuple[int, ...]], heads: int, key_value: int, size: int, device: torch.device,
    dtype: torch.dtype, rounds: int = 10,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Attend in one layer: milliseconds, and how far off sdpa with a mask of all pairs.

    Forward and backward; on a CPU, where FlexAttention has no gradient, forward.
    """
    due = device.type == "cuda"
    trie, _ = build_trie(sequences)
    generator = torch.Generator(device).manual_seed(0)
    states = [
        torch.randn(1, count, len(trie.ids), size, generator=generator, device=device, dtype=dtype, requires_grad=due)
        for count in (heads, key_value, key_value)
    ]
    found: dict[str, dict[str, float]] = {}
    exact: list[Tensor] = []

    def once(way: Attention) -> list[Tensor]:
        out = way(*states)
        return [out.detach(), *(torch.autograd.grad(out.square().sum(), states) if due else ())]

    for name, way in ways(trie, device).items():
        first = once(way)  # compiles, where it does
        exact = exact or first
        gaps = [float((a - b).abs().max() / b.abs().max().clamp(min=1.0)) for a, b in zip(first, exact, strict=True)]
        seconds, _ = timed(lambda way=way: [once(way) for _ in range(rounds)])
        found[name] = {"ms": 1000 * seconds / rounds, "off": max(gaps), "tokens": len(trie.ids)}
    return found
