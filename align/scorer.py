"""Log probabilities of answer options under a causal language model, many prompts at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from acecausal.errors import ModelError
from align.options import Prompt
from align.passes import base_of, batch_pass, has_plain_head, no_trie, picked_logits, trie_pass
from align.trie import distinct_prefixes, pack

Method = Literal["auto", "trie", "batch"]

# Largest gap between trie and batch that the self-check lets pass, for each type of the model's numbers: in nats,
# and as a share of how far apart the probe prompts' own answers are. The share is what protects a model with flat
# answers, where a wrong mask moves little; the 16-bit bounds are rounding of logits around 20.
TOLERANCE = {torch.float32: (1e-3, 0.01), torch.float16: (0.05, 0.1), torch.bfloat16: (0.3, 0.2)}
PROBE_WINDOW = 4
#: Nodes of one trie: short ones are cheap to attend over (measured best for a 135M model on a CPU), longer ones share
#: more prefixes. The shortest is taken that repeats at most this much of the tokens that one trie would have.
LONGEST = (512, 1024, 2048, 4096)
REPEATED = 1.2


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


def _rows(sequences: list[tuple[int, ...]], method: Method, budget: int) -> tuple[list[list[int]], list[int]]:
    """Put sequences into rows, one trie or one sequence each, and give the rows' lengths."""
    if method == "batch":
        return [[i] for i in range(len(sequences))], [len(s) for s in sequences]
    least = distinct_prefixes(sequences)
    if sum(map(len, sequences)) <= REPEATED * least:  # too little is shared to be worth a mask
        return [[i] for i in range(len(sequences))], [len(s) for s in sequences]
    for longest in LONGEST:
        rows, lengths = pack(sequences, min(longest, budget))
        if sum(lengths) <= REPEATED * least or longest >= budget:
            break
    return rows, lengths


def _scores(
    model: nn.Module, steps: _Steps, method: Method, budget: int, vocabulary: np.ndarray | None
) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Run the passes; yield each one's values, shape (S',), and the options that they belong to.

    Values are log probabilities, or, where only the rows `vocabulary` of the head are computed, logits.
    """
    rows, lengths = _rows(steps.sequences, method, budget)
    groups = _batches(lengths, budget)
    for number, group in enumerate(groups):
        place = np.full((len(steps.sequences), 2), -1)
        for r, g in enumerate(group):
            place[rows[g]] = np.stack([np.full(len(rows[g]), r), np.arange(len(rows[g]))], axis=1)
        mine = np.flatnonzero(place[steps.sequence, 0] >= 0)
        row, member = place[steps.sequence[mine]].T
        position, token = steps.position[mine], steps.token[mine]
        members = [[steps.sequences[i] for i in rows[g]] for g in group]
        if any(len(row) > 1 for row in members):
            inputs, paths = trie_pass(model, members)
            position = np.array([paths[r][m][p] for r, m, p in zip(row, member, position, strict=True)])
        else:
            inputs = batch_pass(model, [sequence for (sequence,) in members])
        device = inputs["input_ids"].device
        rows_of_head = None if vocabulary is None else torch.from_numpy(vocabulary).to(device)
        if torch.is_grad_enabled() and len(groups) > 1 and (number or not isinstance(model, DistributedDataParallel)):
            # Computed again when its gradient is due, so that one pass's activations are held at a time. A wrapper for
            # several processes must be called, but once a step, and never during the backward pass.
            inner = model.module if isinstance(model, DistributedDataParallel) else model
            logits = checkpoint(picked_logits, inner, inputs, row, position, rows_of_head, use_reentrant=False)
        else:
            logits = picked_logits(model, inputs, row, position, rows_of_head)
        column = token if vocabulary is None else np.searchsorted(vocabulary, token)
        values = logits.gather(1, torch.from_numpy(column).to(device)[:, None])[:, 0]
        yield values if vocabulary is not None else values - logits.logsumexp(dim=-1), steps.option[mine]


def _gathered(parts: Iterator[tuple[Tensor, np.ndarray]], prompts: Sequence[Prompt]) -> list[Tensor]:
    """Add up the values of each option's tokens, and split by prompt."""
    values, options = zip(*parts, strict=True)
    stacked = torch.cat(values)
    index = torch.from_numpy(np.concatenate(options)).to(stacked.device)
    counts = [len(prompt.options) for prompt in prompts]
    return list(stacked.new_zeros(sum(counts)).index_add(0, index, stacked).split(counts))


def _log_probs(model: nn.Module, prompts: Sequence[Prompt], method: Method, budget: int) -> list[Tensor]:
    """Score prompts by one method; see `Scorer.log_probs`."""
    return _gathered(_scores(model, _steps(prompts), method, budget, None), prompts) if prompts else []


def _option_logits(model: nn.Module, prompts: Sequence[Prompt], method: Method, budget: int) -> list[Tensor]:
    """Score prompts whose options differ in their last token only, up to a constant per prompt."""
    steps = _steps(prompts, last_only=True)
    return _gathered(_scores(model, steps, method, budget, np.unique(steps.token)), prompts)


def _differ_at_the_end(prompt: Prompt) -> bool:
    """Whether the options have the same tokens but for the last one."""
    return all(a[:-1] == b[:-1] for a, b in pairwise(prompt.options))


def _probes(vocabulary: int) -> list[Prompt]:
    """Short prompts that share stems and branch at several depths, with options of one and of two tokens."""
    ids = np.random.default_rng(0).integers(0, vocabulary, size=(8, 6)).tolist()
    paths = [(0,), (0, 1), (0, 1, 2), (0, 3, 2), (0, 3), (4, 5, 6)]
    options = [(t,) for t in range(0, vocabulary, max(1, vocabulary // 16))] + [(ids[7][0], t) for t in ids[7][1:3]]
    return [Prompt(tuple(t for part in path for t in ids[part]), tuple(options)) for path in paths]


@contextmanager
def _probing(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, so that no dropout blurs the comparison, and windows short enough to bite on the probes."""
    modes = [(module, module.training) for module in model.modules()]
    configs = {id(c): c for module in model.modules() if (c := getattr(module, "config", None)) is not None}
    windows = [(c, c.sliding_window) for c in configs.values() if isinstance(getattr(c, "sliding_window", None), int)]
    try:
        model.eval()
        for config, window in windows:
            config.sliding_window = min(window, PROBE_WINDOW)
        yield
    finally:
        for config, window in windows:
            config.sliding_window = window
        for module, mode in modes:
            module.training = mode


_REFUSALS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)


def _self_check(model: nn.Module) -> str:
    """Compare trie and batch on the probes; '' if they agree, else one sentence that says how they differ."""
    prompts = _probes(base_of(model).get_input_embeddings().weight.shape[0])
    with _probing(model), torch.no_grad():
        plain = torch.stack(_log_probs(model, prompts, "batch", budget=256))
        try:
            packed = torch.stack(_log_probs(model, prompts, "trie", budget=64))  # several rows, of several lengths
        except torch.OutOfMemoryError:
            raise
        except _REFUSALS as error:
            return f"the model refuses a packed pass ({type(error).__name__}: {str(error).split(chr(10))[0]})"
    if not torch.isfinite(plain).all():
        return "the model gives numbers that are not finite"
    gap, allowed = _gap(model, packed, plain)
    return "" if gap <= allowed else f"packed and separate prompts differ by {gap:.2g} nats ({allowed:.2g} allowed)"


def _gap(model: nn.Module, values: Tensor, plain: Tensor) -> tuple[float, float]:
    """Largest difference from the plain log probabilities, shape (prompts, K), and the largest that is let pass."""
    bound, share = TOLERANCE.get(base_of(model).dtype, TOLERANCE[torch.float32])
    allowed = (share * (plain - plain.mean(0)).abs().max()).clamp(max=bound)
    return float((values - plain).abs().max()), float(allowed)


def _few_rows(model: nn.Module, method: Method) -> bool:
    """Whether some rows of the output head give what all of them give."""
    if not has_plain_head(model):
        return False
    probes = [Prompt(p.tokens, p.options[:8]) for p in _probes(base_of(model).get_input_embeddings().weight.shape[0])]
    with _probing(model), torch.no_grad():
        plain = torch.stack(_log_probs(model, probes, method, budget=256)).log_softmax(dim=-1)
        try:
            few = torch.stack(_option_logits(model, probes, method, budget=256)).log_softmax(dim=-1)
        except torch.OutOfMemoryError:
            raise
        except _REFUSALS:
            return False
    gap, allowed = _gap(model, few, plain)
    return gap <= allowed


class Scorer:
    """Scores the options of prompts with a causal language model.

    Parameters
    ----------
    model : transformers causal language model, bare or wrapped by PEFT
        Without virtual prompt tokens: they shift every position.
    method : {"auto", "trie", "batch"}
        "trie" computes shared prefixes once, in tries of up to some thousand tokens, several to a pass. "batch" runs
        every sequence on its own row of right-padded batches, which any causal model can do. "auto" takes the trie
        where a self-check on short branching prompts finds it equal to the batch.
    budget : int
        Most tokens per forward pass, padding included; memory grows with it. With gradients, prompts that need several
        passes are computed twice, so that the activations of one pass are held at a time.

    Attributes
    ----------
    method : {"trie", "batch"}
        The method in use.
    note : str
        One sentence on why "auto" went to "batch"; '' otherwise.

    Raises
    ------
    ModelError
        If `method` is "trie" and the model cannot follow one, or the model prepends virtual prompt tokens.

    Warnings
    --------
    Position schemes that depend on the longest prompt of a pass (dynamic and long rotary scaling) make results depend
    on grouping once prompts exceed the model's original context length.
    """

    def __init__(self, model: nn.Module, *, method: Method = "auto", budget: int = 4096) -> None:
        if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
            raise ModelError(
                param="model", expected="no virtual prompt tokens", got=type(model).__name__, hint="use LoRA"
            )
        reason = "" if method == "batch" else (no_trie(base_of(model)) or _self_check(model))
        if method == "trie" and reason:
            raise ModelError(reason, param="method", got="trie", hint="use 'auto' or 'batch'")
        self.model, self.budget = model, budget
        self.method: Method = "batch" if reason or method == "batch" else "trie"
        self._rows_suffice = _few_rows(model, self.method)
        self.note = f"Prompts run as padded batches, without sharing prefixes: {reason}." if reason else ""

    def log_probs(self, prompts: Sequence[Prompt], *, model: nn.Module | None = None) -> list[Tensor]:
        """Log probability of each option after its prompt.

        Differentiable with respect to the model's parameters. The caller decides on gradient and training mode.

        Parameters
        ----------
        prompts : sequence of Prompt
        model : optional
            The same model as wrapped by a trainer (data parallel), whose forward is to be called instead.

        Returns
        -------
        list of fp32 tensors
            One per prompt, shape (K,): natural log over the full vocabulary, summed over the option's tokens. The
            options do not sum to 1: what is missing is the mass on other continuations.
        """
        return _log_probs(self.model if model is None else model, prompts, self.method, self.budget)

    def option_log_probs(self, prompts: Sequence[Prompt], *, model: nn.Module | None = None) -> list[Tensor]:
        """Log probability of each option among the options, as `log_probs` normalised, at less expense.

        Where the options of all prompts differ in their last token only, just the options' rows of the output head are
        computed, at one position per prompt.

        Returns
        -------
        list of fp32 tensors
            One per prompt, shape (K,), whose exponentials sum to 1.
        """
        used = self.model if model is None else model
        if prompts and self._rows_suffice and all(map(_differ_at_the_end, prompts)):
            found = _option_logits(used, prompts, self.method, self.budget)
        else:
            found = _log_probs(used, prompts, self.method, self.budget)
        return [values.log_softmax(dim=-1) for values in found]
