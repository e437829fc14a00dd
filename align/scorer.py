"""Log probabilities of answer options under a causal language model, many prompts at a time."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from acecausal.errors import ModelError
from align.options import Prompt
from align.trie import ancestor_mask, build_trie, pack

Method = Literal["auto", "trie", "batch"]

# Largest gap between trie and batch that the self-check lets pass, for each type of the model's numbers: in nats,
# and as a share of how far apart the probe prompts' own answers are. The share is what protects a model with flat
# answers, where a wrong mask moves little; the 16-bit bounds are rounding of logits around 20.
TOLERANCE = {torch.float32: (1e-3, 0.01), torch.float16: (0.05, 0.1), torch.bfloat16: (0.3, 0.2)}
PROBE_WINDOW = 4


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


def _steps(prompts: Sequence[Prompt]) -> _Steps:
    """List the predictions: an option's tokens follow prompt + option[:-1], and equal sequences are listed once."""
    sequences: dict[tuple[int, ...], int] = {}
    rows = []
    slot = 0
    for prompt in prompts:
        for option in prompt.options:
            sequence = sequences.setdefault(prompt.tokens + option[:-1], len(sequences))
            rows += [(sequence, len(prompt.tokens) - 1 + j, token, slot) for j, token in enumerate(option)]
            slot += 1
    return _Steps(list(sequences), *np.array(rows, dtype=np.int64).T)


def _layer_windows(config: Any) -> dict[str, int | None]:
    """Attention window by kind of layer, None for full attention; empty if some layer is neither full nor sliding."""
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is None:  # such models give every layer the same mask
        return {"every": window}
    known = {"full_attention": None, "sliding_attention": window}
    return {kind: known[kind] for kind in dict.fromkeys(kinds)} if set(kinds) <= known.keys() else {}


def _no_trie(model: nn.Module) -> str:
    """Reason, from the model's declarations alone, why its attention cannot follow a trie; '' if none is found."""
    config = model.config.get_text_config()
    if not getattr(model, "_supports_attention_backend", False):
        # GPT-Neo, for one, cuts its local attention by index inside the layer, whatever mask it is given: short
        # probes agree and long packs would not.
        return f"{config.model_type} models do not take their attention mask as given"
    if not _layer_windows(config):
        return f"{config.model_type} models have layers that are neither full nor sliding-window attention"
    if config._attn_implementation not in ("sdpa", "eager"):
        return f"{config._attn_implementation} attention takes no mask of this shape (load the model with sdpa)"
    return ""


def _mask(allowed: np.ndarray, model: nn.Module, device: torch.device) -> Tensor:
    """Mask of shape (1, 1, N, N): boolean for sdpa, whatever the number type; added to the scores for eager."""
    mask = torch.from_numpy(allowed)[None, None].to(device)
    if model.config.get_text_config()._attn_implementation == "sdpa":
        return mask
    return torch.zeros_like(mask, dtype=model.dtype).masked_fill_(~mask, torch.finfo(model.dtype).min)


def _pick(model: nn.Module, inputs: dict[str, Any], row: np.ndarray, position: np.ndarray, token: np.ndarray) -> Tensor:
    """Run a forward pass and return log p(token | up to position) in the given rows, fp32, shape (S,)."""
    kept, column = np.unique(position, return_inverse=True)
    if "logits_to_keep" in inspect.signature(_base(model).forward).parameters:
        inputs = {**inputs, "logits_to_keep": torch.from_numpy(kept).to(inputs["input_ids"].device)}
        logits = model(**inputs, use_cache=False).logits
    else:
        logits = model(**inputs, use_cache=False).logits[:, kept]
    cells, cell = np.unique(row * kept.size + column, return_inverse=True)
    logits = logits.flatten(0, 1)[torch.from_numpy(cells).to(logits.device)].float()
    where = torch.from_numpy(cell).to(logits.device)
    return logits[where, torch.from_numpy(token).to(logits.device)] - logits.logsumexp(-1)[where]


def _base(model: nn.Module) -> nn.Module:
    """Take data-parallel and PEFT wrappers off a model."""
    model = getattr(model, "module", model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _trie_pass(model: nn.Module, sequences: Sequence[tuple[int, ...]]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Inputs of one packed pass over the sequences' trie, and each sequence's nodes."""
    base = _base(model)
    device = base.get_input_embeddings().weight.device
    trie, paths = build_trie(sequences)
    masks = {
        kind: _mask(ancestor_mask(trie, window), base, device)
        for kind, window in _layer_windows(base.config.get_text_config()).items()
    }
    inputs = {
        "input_ids": torch.from_numpy(trie.ids)[None].to(device),
        "position_ids": torch.from_numpy(trie.depth)[None].to(device),
        # Models with two kinds of layer take a mask by kind; given one tensor, they would use it for both.
        "attention_mask": masks if len(masks) > 1 else next(iter(masks.values())),
    }
    return inputs, paths


def _batch_pass(model: nn.Module, sequences: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    """Inputs of one right-padded batch. Padding comes after every real token, so a causal model never sees it."""
    device = _base(model).get_input_embeddings().weight.device
    lengths = torch.tensor([len(s) for s in sequences])
    real = torch.arange(int(lengths.max())) < lengths[:, None]
    ids = torch.zeros(real.shape, dtype=torch.long)
    ids[real] = torch.tensor([token for s in sequences for token in s])
    return {"input_ids": ids.to(device), "attention_mask": real.long().to(device)}


def _batches(sequences: Sequence[tuple[int, ...]], budget: int) -> list[list[int]]:
    """Group sequences of similar length so that rows times longest stays within the budget, or one row is alone."""
    groups: list[list[int]] = []
    for i in sorted(range(len(sequences)), key=lambda i: len(sequences[i])):
        if groups and (len(groups[-1]) + 1) * len(sequences[i]) <= budget:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _log_probs(model: nn.Module, prompts: Sequence[Prompt], method: Method, budget: int) -> list[Tensor]:
    """Score prompts by one method; see `Scorer.log_probs`."""
    if not prompts:
        return []
    steps = _steps(prompts)
    picked, options = [], []
    for group in pack(steps.sequences, budget) if method == "trie" else _batches(steps.sequences, budget):
        place = np.full(len(steps.sequences), -1)
        place[group] = np.arange(len(group))
        mine = np.flatnonzero(place[steps.sequence] >= 0)
        row, position, token = place[steps.sequence[mine]], steps.position[mine], steps.token[mine]
        members = [steps.sequences[i] for i in group]
        if method == "trie":
            inputs, paths = _trie_pass(model, members)
            position = np.array([paths[r][p] for r, p in zip(row, position, strict=True)])
            row = np.zeros_like(row)
        else:
            inputs = _batch_pass(model, members)
        picked.append(_pick(model, inputs, row, position, token))
        options.append(steps.option[mine])
    step_log_probs = torch.cat(picked)
    index = torch.from_numpy(np.concatenate(options)).to(step_log_probs.device)
    counts = [len(prompt.options) for prompt in prompts]
    return list(step_log_probs.new_zeros(sum(counts)).index_add(0, index, step_log_probs).split(counts))


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


def _self_check(model: nn.Module) -> str:
    """Compare trie and batch on the probes; '' if they agree, else one sentence that says how they differ."""
    prompts = _probes(_base(model).get_input_embeddings().weight.shape[0])
    with _probing(model), torch.no_grad():
        plain = torch.stack(_log_probs(model, prompts, "batch", budget=256))
        try:
            packed = torch.stack(_log_probs(model, prompts, "trie", budget=256))
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
            return f"the model refuses a packed pass ({type(error).__name__}: {str(error).split(chr(10))[0]})"
    if not torch.isfinite(plain).all():
        return "the model gives numbers that are not finite"
    gap = (packed - plain).abs().max()
    bound, share = TOLERANCE.get(_base(model).dtype, TOLERANCE[torch.float32])
    allowed = (share * (plain - plain.mean(0)).abs().max()).clamp(max=bound)
    return "" if gap <= allowed else f"packed and separate prompts differ by {gap:.2g} nats ({allowed:.2g} allowed)"


class Scorer:
    """Scores the options of prompts with a causal language model.

    Parameters
    ----------
    model : transformers causal language model, bare or wrapped by PEFT
        Without virtual prompt tokens: they shift every position.
    method : {"auto", "trie", "batch"}
        "trie" computes shared prefixes once, in one packed pass per `budget` distinct tokens. "batch" runs every
        sequence on its own row of right-padded batches, which any causal model can do. "auto" takes the trie where a
        self-check on short branching prompts finds it equal to the batch.
    budget : int
        Most tokens per forward pass; memory grows with its square ("trie") or linearly ("batch").

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
        reason = "" if method == "batch" else (_no_trie(_base(model)) or _self_check(model))
        if method == "trie" and reason:
            raise ModelError(reason, param="method", got="trie", hint="use 'auto' or 'batch'")
        self.model, self.budget = model, budget
        self.method: Method = "batch" if reason or method == "batch" else "trie"
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
