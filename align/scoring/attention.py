"""Attention by blocks: the tokens of a packed pass attend, a block of neighbours at a time, to what they may see of it.

In a trie in depth-first order whatever a block's tokens attend to lies in the block, or is an ancestor of its first
token. So no attention matrix of the whole pass is ever made, and its work grows with the tokens, not their square.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

#: Tokens per block, and where gradients are due: small ones see little that they may not attend to, large ones keep
#: fewer copies of keys for the backward pass. In time 32 to 256 are alike (within 5 %, SmolLM2-135M on a CPU).
BLOCK, BLOCK_KEPT = 64, 128

#: Implementations that can do it, with the mask each of them takes: boolean, or added to the scores.
IMPLEMENTATIONS = ("sdpa", "eager")


@dataclass(frozen=True, slots=True)
class Blocks:
    """What the blocks of a pass over one row of N tokens attend to.

    The attention mask that goes with it has shape (G, 1, L, R): G blocks of L tokens each, the last one padded.

    Attributes
    ----------
    keys : torch.Tensor, int64, shape (G, R)
        Tokens that a block attends to; any where there are fewer, which the mask hides.
    """

    keys: Tensor


def use_blocks(implementation: str) -> None:
    """Let transformers' attention take the keyword `blocks`; without it nothing changes."""
    plain = ALL_ATTENTION_FUNCTIONS.get(implementation, _eager)
    if not isinstance(plain, _ByBlocks):
        ALL_ATTENTION_FUNCTIONS.register(implementation, _ByBlocks(plain))


def _eager(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Each of the library's modules has its own."""
    return sys.modules[type(module).__module__].eager_attention_forward(module, *args, **kwargs)


class _ByBlocks:
    """An attention function of transformers that also takes `blocks`."""

    def __init__(self, plain: Callable[..., Any]) -> None:
        self.plain = plain

    def __call__(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
        *args: Any, blocks: Blocks | None = None, **kwargs: Any,
    ) -> Any:  # fmt: skip
        if blocks is None:
            return self.plain(module, query, key, value, attention_mask, *args, **kwargs)
        assert attention_mask is not None
        count, _, length, _ = attention_mask.shape
        tokens = query.shape[2]
        # (1, heads, N, size) to (G, heads, L, size), and back
        query = pad(query, (0, 0, 0, count * length - tokens)).unflatten(2, (count, length))[0].transpose(0, 1)
        key, value = (_gathered(states, blocks.keys) for states in (key, value))
        found, weights = self.plain(module, query, key, value, attention_mask, *args, **kwargs)
        return found.flatten(0, 1)[None, :tokens], weights


def _gathered(states: Tensor, keys: Tensor) -> Tensor:
    """Take (1, heads, N, size) apart to (G, heads, R, size)."""
    return states[0].index_select(1, keys.flatten()).unflatten(1, keys.shape).transpose(0, 1)
