"""Option probabilities from the likeliest tokens that a server lists."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: Least probability of an option that is not listed, so that its log is finite.
FLOOR = 1e-12

# how the vocabularies of byte-level and SentencePiece tokenizers write a space and a line break
_SPACES = str.maketrans({"Ġ": " ", "▁": " ", "Ċ": "\n"})


def listed_tokens(reply: Any) -> dict[str, float]:
    """Read the probabilities of the listed first tokens from a reply; empty if it gives none."""
    logprobs = reply["choices"][0].get("logprobs") or {}
    if logprobs.get("content"):  # the form of chats, and of llama.cpp for completions
        pairs = [(token["token"], token["logprob"]) for token in logprobs["content"][0]["top_logprobs"]]
    else:
        pairs = [pair for first in (logprobs.get("top_logprobs") or [])[:1] for pair in (first or {}).items()]
    listed: dict[str, float] = defaultdict(float)
    for token, log_p in pairs:
        listed[token] += math.exp(log_p)
    return {token: p for token, p in listed.items() if p > 0}  # some list -9999 or -inf for "hardly any"


def spelled(listed: Mapping[str, float], options: Sequence[str]) -> np.ndarray:
    """Sum the probabilities of the tokens that spell each option, with or without space around it, shape (K,)."""
    totals: dict[str, float] = defaultdict(float)
    for token, p in listed.items():
        totals[token.translate(_SPACES).strip()] += p
    return np.array([totals.get(option.strip(), 0.0) for option in options])


def space_first(listed: Mapping[str, float], options: Sequence[str]) -> tuple[str, float]:
    """Tell whether the space before the options is a token of its own, likelier than all options without it.

    Many tokenizers (Llama 3, Qwen, SmolLM) split " 1" into the space and the digit. What follows the space has then to
    be asked separately, and counts as much as the space is likely.

    Returns
    -------
    lead : str
        The space, or '' where the options follow at once.
    share : float
        Its probability, or 1.
    """
    lead = options[0][: len(options[0]) - len(options[0].lstrip())]
    share = math.fsum(p for token, p in listed.items() if token.translate(_SPACES) == lead)
    return (lead, share) if lead and share > spelled(listed, options).sum() else ("", 1.0)


def option_probabilities(listed: Mapping[str, float], options: Sequence[str]) -> tuple[np.ndarray, float]:
    """Give each option a probability, from the likeliest tokens alone.

    Parameters
    ----------
    listed : mapping
        Tokens to probabilities, at least one.
    options : sequence of str

    Returns
    -------
    probs : numpy.ndarray, shape (K,)
        Of an option that is not listed, the most it can be, as in OpinionQA (arXiv 2303.17548): the least that is
        listed, or its part of what is left over if that is less.
    unlisted : float
        What is left over; 0 if all options are listed.
    """
    probs = spelled(listed, options)
    missing = probs == 0
    if not missing.any():
        return probs, 0.0
    rest = max(0.0, 1 - math.fsum(listed.values()))
    probs[missing] = max(min(*listed.values(), rest / missing.sum()), FLOOR)
    return probs, rest
