"""What a model can do, found out by trying: packed passes, and computing some rows of the output head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from align.prompting.options import Prompt
from align.scoring.layout import Method, log_probs_of, option_logits_of
from align.scoring.passes import base_of, has_plain_head

# Largest gap between trie and batch that the self-check lets pass, for each type of the model's numbers: in nats,
# and as a share of how far apart the probe prompts' own answers are. The share is what protects a model with flat
# answers, where a wrong mask moves little; the 16-bit bounds are rounding in the layers (.17 nats in a 135M model).
TOLERANCE = {torch.float32: (1e-3, 0.01), torch.float16: (0.05, 0.1), torch.bfloat16: (0.3, 0.2)}
PROBE_WINDOW = 4
PROBE_BLOCK = 7


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


def self_check(model: nn.Module) -> str:
    """Compare trie and batch on the probes; '' if they agree, else one sentence that says how they differ."""
    prompts = _probes(base_of(model).get_input_embeddings().weight.shape[0])
    with _probing(model), torch.no_grad():
        plain = torch.stack(log_probs_of(model, prompts, "batch", budget=256))
        try:
            # several blocks, which begin in the middle of words and branches
            packed = torch.stack(log_probs_of(model, prompts, "trie", budget=256, block=PROBE_BLOCK))
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


def few_rows_suffice(model: nn.Module, method: Method) -> bool:
    """Whether some rows of the output head give what all of them give."""
    if not has_plain_head(model):
        return False
    probes = [Prompt(p.tokens, p.options[:8]) for p in _probes(base_of(model).get_input_embeddings().weight.shape[0])]
    with _probing(model), torch.no_grad():
        plain = torch.stack(log_probs_of(model, probes, method, budget=256)).log_softmax(dim=-1)
        try:
            few = torch.stack(option_logits_of(model, probes, method, budget=256)).log_softmax(dim=-1)
        except torch.OutOfMemoryError:
            raise
        except _REFUSALS:
            return False
    gap, allowed = _gap(model, few, plain)
    return gap <= allowed
