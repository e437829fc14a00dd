"""Option probabilities from the likeliest tokens that a server lists."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from align.prompting.chat import open_thoughts

#: Least probability of a token or an option, so that its log is finite.
FLOOR = 1e-12
#: How far rounding may lift a log probability above 0, and the sum of probabilities above 1.
LOG_SLACK, SLACK = 0.01, 0.05
#: Probability that a short list must lack before it counts as one from which a token fell out.
LOST = 1e-3

# how the vocabularies of byte-level and SentencePiece tokenizers write a space and a line break
_SPACES = str.maketrans({"Ġ": " ", "▁": " ", "Ċ": "\n"})


class ImpossibleError(Exception):
    """A number that no log probability can be."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The likeliest first tokens of an answer.

    Attributes
    ----------
    tokens : dict
        Spelling to probability; tokens of one spelling are added up.
    count : int
        How many tokens were listed.
    """

    tokens: dict[str, float]
    count: int

    def lost(self, asked: int) -> bool:
        """Whether probability is missing from a list that is shorter than `asked`: one token stands for two."""
        return self.count < asked and math.fsum(self.tokens.values()) < 1 - LOST


class _Members(dict[str, Any]):
    """A JSON object that keeps keys which stand twice: servers list tokens of one spelling like that."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def parsed(reply: str) -> Any:
    """Read a reply's JSON.

    Raises
    ------
    ValueError
        If it is none, or nested without end.
    """
    try:
        return json.loads(reply.removeprefix("\ufeff"), object_pairs_hook=_Members)
    except RecursionError:
        raise ValueError("nested too deep") from None


def listed_tokens(reply: Any) -> Listed:
    """Read the probabilities of the listed first tokens from a reply; empty if it gives none.

    Raises
    ------
    ImpossibleError
        If a log probability is above 0 or not a number, or the probabilities sum to more than 1, by more than rounding.
    LookupError, TypeError, AttributeError
        If the reply has another form.
    """
    logprobs = reply["choices"][0].get("logprobs") or {}
    if logprobs.get("content"):  # the form of chats, and of llama.cpp for completions
        pairs = [(token["token"], token["logprob"]) for token in logprobs["content"][0]["top_logprobs"]]
    else:
        first = next(iter(logprobs.get("top_logprobs") or []), None) or {}
        pairs = getattr(first, "pairs", None) or list(first.items())
    tokens: dict[str, float] = defaultdict(float)
    for token, log_p in pairs:
        if not isinstance(token, str) or isinstance(log_p, bool | str):
            raise TypeError("no token and number")
        try:
            number = float(log_p)
        except OverflowError:
            number = math.nan
        if not number <= LOG_SLACK:
            raise ImpossibleError(f"a log probability of {str(log_p)[:12]}")
        if number > -math.inf:  # with which some fill a list up; -9999 is "hardly any", and listed nonetheless
            tokens[token] += max(math.exp(min(number, 0.0)), FLOOR)
    if (total := math.fsum(tokens.values())) > 1 + SLACK:
        raise ImpossibleError(f"probabilities that sum to {total:.4g}")
    return Listed(tokens, sum(log_p > -math.inf for _, log_p in pairs))


def thoughts(listed: Mapping[str, float]) -> float:
    """Sum the probabilities of the tokens that open a block for thoughts."""
    return math.fsum(p for token, p in listed.items() if open_thoughts(token))


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


def option_probabilities(listed: Mapping[str, float], options: Sequence[str]) -> tuple[np.ndarray, float, float]:
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
        listed, or its part of what is left over if that is less. Missing (NaN) where no option is listed.
    unlisted : float
        What is left over; 0 if all options are listed.
    imputed : float
        How much of the options' probability together was not listed.
    """
    probs = spelled(listed, options)
    missing = probs == 0
    if not missing.any():
        return probs, 0.0, 0.0
    rest = max(0.0, 1 - math.fsum(listed.values()))
    if missing.all():
        return np.full(len(options), np.nan), rest, np.nan
    probs[missing] = max(min(*listed.values(), rest / missing.sum()), FLOOR)
    return probs, rest, float(probs[missing].sum() / probs.sum())
