"""A prompt and the tokens that spell its options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from acecausal.errors import AceError


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt and the options it is scored on.

    Attributes
    ----------
    tokens : tuple of int
        Token ids of the prompt; at least one, since an option is predicted from what precedes it.
    options : tuple of tuple of int
        For each option the token ids that spell it after `tokens`, one or several.
    """

    tokens: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.tokens or not self.options or not all(self.options):
            raise AceError(
                param="prompt",
                expected="at least one prompt token, one option, and one token in each option",
                got=f"{len(self.tokens)} prompt tokens, options of {[len(o) for o in self.options]} tokens",
            )


def option_tokens(tokenizer: Any, text: str, options: Sequence[str], *, add_special_tokens: bool) -> Prompt:
    """Token ids of a rendered prompt and of its options, as the tokenizer spells them together.

    Merges across the boundary (a final space and a digit, say) move into the option: the prompt is the longest common
    prefix of the encodings of `text` and of every `text + option`.

    Parameters
    ----------
    tokenizer : transformers tokenizer
    text : str
        The prompt up to where the answer begins.
    options : sequence of str
        What is appended to `text`, one per option.
    add_special_tokens : bool
        False where a chat template has already put them into `text`.

    Returns
    -------
    Prompt

    Raises
    ------
    AceError
        If an option has no tokens of its own, or begins with all tokens of another (their probabilities would overlap).
    """
    encoded = tokenizer([text, *(text + option for option in options)], add_special_tokens=add_special_tokens)[
        "input_ids"
    ]
    # Some tokenizers close every text with an end token, which is not part of an option.
    while all(encoded) and len({ids[-1] for ids in encoded}) == 1 and encoded[0][-1] in tokenizer.all_special_ids:
        encoded = [ids[:-1] for ids in encoded]
    start = next(
        (n for n, column in enumerate(zip(*encoded, strict=False)) if len(set(column)) > 1), min(map(len, encoded))
    )
    tails = [tuple(ids[start:]) for ids in encoded[1:]]
    for i, tail in enumerate(tails):
        other = next((j for j, t in enumerate(tails) if t and j != i and tail[: len(t)] == t), None)
        if not tail or other is not None:
            raise AceError(
                "no tokens of its own" if other is None else f"begins with all tokens of option {options[other]!r}",
                param=f"option {options[i]!r}",
                expected="options that differ from each other before the shorter one ends",
                got=f"tokens {[list(t) for t in tails]}",
                hint="label the options with letters",
            )
    return Prompt(tuple(encoded[0][:start]), tuple(tails))
