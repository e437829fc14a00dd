"""Objectives: pure functions of tensors that return a sum and the weight it is a sum over.

Sums and counts add up over lattices: a step over several of them is worth the sum of the sums over that of the counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from align.training.targets import Target

Weighed = tuple[Tensor, Tensor]


def mode(log_probs: Tensor, target: Target) -> Weighed:
    """Cross-entropy, in nats, on the option that most people chose, weighted by effective size.

    Parameters
    ----------
    log_probs : torch.Tensor, shape (personas, options)
        Normalised over the options; rows as in `target.personas`.
    target : Target
    """
    chosen = target.response.argmax(dim=1, keepdim=True)
    return -(target.weight * log_probs.gather(1, chosen)[:, 0]).sum(), target.weight.sum()


def level(log_probs: Tensor, target: Target) -> Weighed:
    """Kullback-Leibler divergence from the model's to people's responses, in nats, weighted by effective size."""
    divergence = torch.xlogy(target.response, target.response) - target.response * log_probs
    return (target.weight[:, None] * divergence).sum(), target.weight.sum()


def level_emd(log_probs: Tensor, target: Target) -> Weighed:
    """Earth mover's distance of the responses over the scale's length (nominal: mean difference), likewise weighted."""
    distance = ((log_probs.exp() - target.response) @ target.transform).abs().mean(dim=1)
    return (target.weight * distance).sum(), target.weight.sum()


def _gaps(log_probs: Tensor, target: Target) -> Tensor:
    """Model's less people's shifts, shape (edges, d)."""
    return target.functional @ log_probs.exp() @ target.transform - target.shift


def shift(log_probs: Tensor, target: Target) -> Weighed:
    """Mean squared distance of the model's and people's shifts over all edges, weighted by precision.

    In cumulative form for ordinal and binary values, so that a shift by two options costs more than one by one.
    """
    squared = (_gaps(log_probs, target) ** 2).mean(dim=1)
    return (target.precision * squared).sum(), target.precision.sum()


def shift_emd(log_probs: Tensor, target: Target) -> Weighed:
    """Mean absolute distance of the shifts, in the same form: the published objective, but over all edges at once."""
    absolute = _gaps(log_probs, target).abs().mean(dim=1)
    return (target.precision * absolute).sum(), target.precision.sum()


def identity(log_probs: Tensor, target: Target) -> Weighed:
    """Kullback-Leibler divergence from the model's to the right answers to a check question, in nats.

    A persona that is told the level says so; of one that is not, as many as among such people.
    """
    return level(log_probs, target)


def coherence(log_probs: Tensor, target: Target) -> Weighed:
    """Mean squared distance of coarse personas from the share-weighted mixtures of the finest, all alike.

    In the same form as `shift`. It needs shares, but nobody's answers: it says nothing of what is right, only that what
    is said of coarse personas and of fine ones agrees.
    """
    squared = ((target.apart @ log_probs.exp() @ target.transform) ** 2).mean(dim=1)
    return squared.sum(), torch.full_like(log_probs[0, 0], len(target.apart))


def margin(log_probs: Tensor, target: Target) -> Weighed:
    """Kullback-Leibler divergence, in nats, from the model's to known responses of what is held out, all alike.

    Of the persona itself and of the mixture of the finest ones in it: the whole moves, and who differs how is left to
    what was learnt elsewhere. It has no part in a target without margins.
    """
    # not the log of the mixture, whose gradient is lost where a probability rounds to 0
    mixed = (target.mixed.log()[:, :, None] + log_probs).logsumexp(dim=1)
    divergence = torch.xlogy(target.known, target.known) - target.known * mixed
    return divergence.sum(), torch.full_like(log_probs[0, 0], len(target.known))


def mass(log_probs: Tensor, target: Target) -> Weighed:
    """Cross-entropy, in nats, on answering with any option at all, all personas alike.

    The only objective that needs log probabilities over the whole vocabulary; those of the others are normalised over
    the options, and nothing in them keeps the model from saying something else.
    """
    return -log_probs.logsumexp(dim=1).sum(), torch.full_like(log_probs[0, 0], len(log_probs))


OBJECTIVES: dict[str, Callable[[Tensor, Target], Weighed]] = {
    "mode": mode,
    "level": level,
    "level-emd": level_emd,
    "shift": shift,
    "shift-emd": shift_emd,
    "coherence": coherence,
    "margin": margin,
    "mass": mass,
    "identity": identity,
}
#: Those that need log probabilities over the whole vocabulary.
OVER_VOCABULARY = ("mass",)
#: Those that check questions are for, and those that values are for.
CHECKS = ("identity", "mass")
VALUES = tuple(name for name in OBJECTIVES if name != "identity")


def counts(target: Target, names: Collection[str]) -> dict[str, float]:
    """Give the count of each objective, which depends on the target alone; 0 for those that are not named."""
    uniform = torch.zeros_like(target.response).log_softmax(dim=1)
    return {name: float(of(uniform, target)[1]) if name in names else 0.0 for name, of in OBJECTIVES.items()}
