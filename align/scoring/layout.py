"""Prompts to passes and back: what must be predicted, in which rows, and the options' values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from align.prompting.options import Prompt
from align.scoring.passes import base_of, batch_pass, picked_logits, trie_pass
from align.scoring.trie import pack

Method = Literal["auto", "trie", "batch"]


@dataclass(frozen=True, slots=True)
class _Steps:
    """Next-token predictions that prompts need: `token` after `position` of `sequences[sequence]`, for `option`.

    The four arrays are int64, shape (S,); `option` counts through all options of all prompts.
    """

    sequences: list[tuple[int, ...]]
    sequence: np.ndarray
    position: np.ndarray
    token: np.ndarray
    option: np.ndarray


def _steps(prompts: Sequence[Prompt], *, last_only: bool = False) -> _Steps:
    """List the predictions: an option's tokens follow prompt + option[:-1], and equal sequences are listed once."""
    sequences: dict[tuple[int, ...], int] = {}
    rows = []
    slot = 0
    for prompt in prompts:
        for option in prompt.options:
            sequence = sequences.setdefault(prompt.tokens + option[:-1], len(sequences))
            steps = [(sequence, len(prompt.tokens) - 1 + j, token, slot) for j, token in enumerate(option)]
            rows += steps[-1:] if last_only else steps
            slot += 1
    return _Steps(list(sequences), *np.array(rows, dtype=np.int64).T)


def _batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group rows of similar length so that rows times longest stays within the budget, or one row is alone."""
    groups: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if groups and (len(groups[-1]) + 1) * lengths[i] <= budget:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _scores(
    model: nn.Module, steps: _Steps, method: Method, budget: int, block: int | None, vocabulary: np.ndarray | None
) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Run the passes; yield each one's values, shape (S',), and the options that they belong to.

    Values are log probabilities, or, where only the rows `vocabulary` of the head are computed, logits.
    """
    lengths = [len(s) for s in steps.sequences]
    groups = _batches(lengths, budget) if method == "batch" else pack(steps.sequences, budget)[0]
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    # computed again when its gradient is due, so that one pass's activations are held at a time
    by_layer = getattr(base_of(model), "is_activation_checkpointing", False)
    twice = torch.is_grad_enabled() and len(groups) > 1 and not by_layer
    for number, group in enumerate(groups):
        place = np.full(len(steps.sequences), -1)
        place[group] = np.arange(len(group))
        mine = np.flatnonzero(place[steps.sequence] >= 0)
        member, position, token = place[steps.sequence[mine]], steps.position[mine], steps.token[mine]
        members = [steps.sequences[i] for i in group]
        if method == "batch":
            inputs = batch_pass(model, members)
        else:
            inputs, paths = trie_pass(model, members, block)
            position = np.array([paths[m][p] for m, p in zip(member, position, strict=True)])
            member = np.zeros_like(member)
        device = inputs["input_ids"].device
        (row, position), cell = np.unique(np.stack([member, position]), axis=1, return_inverse=True)
        rows_of_head = None if vocabulary is None else torch.from_numpy(vocabulary).to(device)
        # A wrapper for several processes synchronises when it is called: once a lattice, then, since processes may need
        # different numbers of passes, and never while a pass is computed again during the backward pass.
        called = inner if number else model
        if twice and called is inner:
            logits = checkpoint(picked_logits, inner, inputs, row, position, rows_of_head, use_reentrant=False)
        else:
            logits = picked_logits(called, inputs, row, position, rows_of_head)
        at = torch.from_numpy(cell).to(device)
        column = torch.from_numpy(token if vocabulary is None else np.searchsorted(vocabulary, token)).to(device)
        values = logits[at, column]
        yield values if vocabulary is not None else values - logits.logsumexp(dim=-1)[at], steps.option[mine]


def tokens_of(prompts: Sequence[Prompt], method: Method, budget: int) -> tuple[int, int]:
    """Count the tokens of the sequences that `log_probs_of` runs, and how many of them its passes compute."""
    sequences = _steps(prompts).sequences
    tokens = sum(map(len, sequences))
    return tokens, tokens if method == "batch" else sum(pack(sequences, budget)[1])


def _gathered(parts: Iterator[tuple[Tensor, np.ndarray]], prompts: Sequence[Prompt]) -> list[Tensor]:
    """Add up the values of each option's tokens, and split by prompt."""
    values, options = zip(*parts, strict=True)
    stacked = torch.cat(values)
    index = torch.from_numpy(np.concatenate(options)).to(stacked.device)
    counts = [len(prompt.options) for prompt in prompts]
    return list(stacked.new_zeros(sum(counts)).index_add(0, index, stacked).split(counts))


def log_probs_of(
    model: nn.Module, prompts: Sequence[Prompt], method: Method, budget: int, block: int | None = None
) -> list[Tensor]:
    """Score prompts by one method; see `Scorer.log_probs`. `block`: see `trie_pass`."""
    return _gathered(_scores(model, _steps(prompts), method, budget, block, None), prompts) if prompts else []


def option_logits_of(
    model: nn.Module, prompts: Sequence[Prompt], method: Method, budget: int, block: int | None = None
) -> list[Tensor]:
    """Score prompts whose options differ in their last token only, up to a constant per prompt."""
    steps = _steps(prompts, last_only=True)
    return _gathered(_scores(model, steps, method, budget, block, np.unique(steps.token)), prompts)


def differ_at_the_end(prompt: Prompt) -> bool:
    """Whether the options have the same tokens but for the last one."""
    return all(a[:-1] == b[:-1] for a, b in pairwise(prompt.options))
