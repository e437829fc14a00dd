"""Objectives: pure functions of tensors that return a sum and the weight it is a sum over."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from align.targets import Target

#: (sum, count): the objective's value over a lattice is sum / count; over several lattices sums and counts add up.
Weighed = tuple[Tensor, Tensor]


def level(log_probs: Tensor, target: Target) -> Weighed:
    """Kullback-Leibler divergence from the model's to people's responses, in nats, weighted by effective size.

    Parameters
    ----------
    log_probs : torch.Tensor, shape (personas, options)
        Normalised over the options.
    target : Target
    """
    divergence = torch.xlogy(target.response, target.response) - target.response * log_probs
    return (target.weight[:, None] * divergence).sum(), target.weight.sum()


def shift(log_probs: Tensor, target: Target) -> Weighed:
    """Mean squared distance of the model's and people's shifts over all edges, weighted by precision.

    In cumulative form for ordinal and binary values, so that a shift by two options costs more than one by one.
    """
    probs = log_probs.exp()
    moved = (probs[target.high] - probs[target.low]) @ target.transform
    squared = ((moved - target.shift) ** 2).mean(dim=1)
    return (target.precision * squared).sum(), target.precision.sum()


OBJECTIVES: dict[str, Callable[[Tensor, Target], Weighed]] = {"level": level, "shift": shift}
