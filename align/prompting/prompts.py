"""Prompts: one question to one persona in one country, as the model gets it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import permutations
from types import MappingProxyType
from typing import Any

import numpy as np

from acecausal.cube.files import Country, Value
from acecausal.cube.lattice import Lattice
from acecausal.errors import AceError
from align.prompting import chat
from align.prompting.options import Prompt, option_tokens
from align.prompting.templates import TEMPLATES, Content, Text
from align.prompting.wordings import UNLISTED, Wording, option_marks, positions

#: What a persona that leaves everything open is called.
ANYBODY = "an adult"


def describe(lattice: Lattice, codes: np.ndarray) -> str:
    """Word a persona, from its level positions, shape (attributes,), -1 where open."""
    phrases = [a.levels[code].phrase for a, code in zip(lattice.attributes, codes, strict=True) if code >= 0]
    return ", ".join(phrases) or ANYBODY


def compose(country: Country, value: Value, persona: str, wording: Wording) -> Text:
    """Word one prompt.

    Parameters
    ----------
    country, value
    persona : str
        From `describe`.
    wording : Wording

    Raises
    ------
    AceError
        If the question holds a placeholder that nothing fills, or is answered by a number.
    """
    if value.range is not None:
        raise AceError(
            "is continuous", param="value", expected="a value with options", got=value.name,
            hint="leave it out (acecausal.cube.files.with_options): a model is asked to choose",
        )  # fmt: skip
    shown = positions(value, wording.order)
    in_words = wording.marks == "labels"
    if in_words:
        lines = [f"- {value.options[k]}" for k in shown if wording.order != UNLISTED]
        # "Agree" is also how "Agree strongly" begins: then an answer is whole only with its end
        begun = any(a != b and b.startswith(a) for a, b in permutations(value.options, 2))
        answers = [f"{option}." if begun else option for option in value.options]
    else:
        marks = option_marks(len(value.options), wording.marks)
        lines = [f"{mark}. {value.options[k]}" for mark, k in zip(marks, shown, strict=True)]
        answers = [mark for _, mark in sorted(zip(shown, marks, strict=True))]
    content = Content(country.label, _filled(value, country), lines, persona, tuple(answers), in_words)
    return TEMPLATES[wording.template](content)


def _filled(value: Value, country: Country) -> str:
    """Fill [COUNTRY] in the question; what else stands in brackets and capitals is an error."""
    text = re.sub(r"\[COUNTRY\]", lambda _: country.label, value.question, flags=re.IGNORECASE)
    left = re.search(r"\[[A-Z][A-Z' ]+\]", text)
    if left:
        raise AceError(
            "placeholder left unfilled", param=f"question of {value.name}", expected="[COUNTRY] or none",
            got=left.group(), hint="word it out in the codebook",
        )  # fmt: skip
    return text


def render(tokenizer: Any, text: Text, args: Mapping[str, Any] = MappingProxyType({})) -> tuple[str, bool]:
    """Write the prompt up to the option, as the tokenizer's chat template wants it.

    Parameters
    ----------
    tokenizer : transformers tokenizer
    text : Text
    args : mapping, optional
        More that a chat template is told (see `align.prompting.chat`).

    Returns
    -------
    text : str
    add_special_tokens : bool
        False where the chat template has put them in.

    Raises
    ------
    ModelError
        If the chat template does not write what is meant.
    """
    if not uses_chat(tokenizer, text):
        return text.plain, True
    return chat.write(tokenizer, text.system, text.user, text.parts, args) + text.lead, False


def uses_chat(tokenizer: Any, text: Text) -> bool:
    """Whether a prompt goes through the tokenizer's chat template."""
    return text.chat and bool(getattr(tokenizer, "chat_template", None))


def lattice_texts(
    country: Country, value: Value, lattice: Lattice, wording: Wording, personas: Sequence[int] | None = None
) -> list[Text]:
    """Word one question for every persona of the lattice, or for those at the positions given."""
    codes = lattice.codes if personas is None else lattice.codes[list(personas)]
    return [compose(country, value, describe(lattice, row), wording) for row in codes]


def encode(tokenizer: Any, texts: Sequence[Text], args: Mapping[str, Any] = MappingProxyType({})) -> list[Prompt]:
    """Tokenise prompts.

    Parameters
    ----------
    tokenizer : transformers tokenizer
    texts : sequence of Text
    args : mapping, optional
        More that a chat template is told.

    Raises
    ------
    AceError
        If the tokenizer cannot spell the options apart, or a text holds one of its control tokens.
    ModelError
        If the chat template does not write what is meant, or the text begins twice.
    """
    controls = chat.control_tokens(tokenizer)
    prompts = []
    for text in texts:
        if held := [token for token in controls if any(token in part for part in (text.user, *text.options))]:
            raise AceError(
                "hold what the model's tokenizer takes for a control token", param="question, options or persona",
                got=repr(held[0]), hint="word it otherwise in the codebook",
            )  # fmt: skip
        written, special = render(tokenizer, text, args)
        prompt = option_tokens(tokenizer, written, text.options, add_special_tokens=special)
        begin = tokenizer.bos_token_id
        if begin is not None and prompt.tokens[:2] == (begin, begin):
            raise chat.refused([f"begins the text twice ({tokenizer.bos_token!r})"])
        prompts.append(prompt)
    return prompts
