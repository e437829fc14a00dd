"""Prompts: one question to one persona in one country, as the model gets it."""

from __future__ import annotations

from string import ascii_uppercase
from typing import Any

import numpy as np

from acecausal.cube import Country, Value
from acecausal.lattice import Lattice
from align.options import Prompt, option_tokens

TEMPLATE = "persona-last"

SYSTEM = "You answer a survey question the way the described person would. Reply with one option only."
#: What the answer begins with. Without it a small chat model talks first (measured: SmolLM2-135M puts 0.27 of its
#: probability on the bare digits, 0.99 on the digits after this word).
LEAD = "Option"
#: What a persona that leaves everything open is called.
ANYBODY = "an adult"


def option_marks(n_options: int) -> list[str]:
    """What stands before the options: digits for up to 9 of them, letters beyond, since "1" would begin "10"."""
    return [str(k) for k in range(1, n_options + 1)] if n_options <= 9 else list(ascii_uppercase[:n_options])


def describe(lattice: Lattice, codes: np.ndarray) -> str:
    """Word a persona, from its level positions, shape (attributes,), -1 where open."""
    phrases = [a.levels[code].phrase for a, code in zip(lattice.attributes, codes, strict=True) if code >= 0]
    return ", ".join(phrases) or ANYBODY


def render(tokenizer: Any, country: Country, value: Value, persona: str) -> tuple[str, bool]:
    """Write the prompt up to the option's number or letter (which follows after a space).

    The persona comes last, so that all personas of a question share what comes before it.

    Returns
    -------
    text : str
    add_special_tokens : bool
        False where the chat template has put them in.
    """
    marks = option_marks(len(value.options))
    listed = "\n".join(f"{mark}. {label}" for mark, label in zip(marks, value.options, strict=True))
    question = f"Country: {country.label}\nQuestion: {value.question}\n{listed}\nPerson: {persona}"
    if not getattr(tokenizer, "chat_template", None):
        return f"{SYSTEM}\n\n{question}\nAnswer: {LEAD}", True
    from jinja2 import TemplateError

    turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except TemplateError:  # a template without a system role
        turns = [{"role": "user", "content": f"{SYSTEM}\n\n{question}"}]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return text + LEAD, False


def lattice_prompts(tokenizer: Any, country: Country, value: Value, lattice: Lattice) -> list[Prompt]:
    """Tokenise one question for every persona of the lattice.

    Raises
    ------
    AceError
        If the tokenizer cannot spell the options apart.
    """
    prompts = []
    for codes in lattice.codes:
        text, special = render(tokenizer, country, value, describe(lattice, codes))
        options = [f" {mark}" for mark in option_marks(len(value.options))]
        prompts.append(option_tokens(tokenizer, text, options, add_special_tokens=special))
    return prompts
