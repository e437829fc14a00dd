"""Prompts: one question to one persona in one country, as the model gets it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from types import MappingProxyType
from typing import Any

import numpy as np

from acecausal.cube.files import Country, Value
from acecausal.cube.lattice import Lattice
from acecausal.errors import AceError, unknown
from acecausal.exchange.text import you_are
from align.prompting import chat
from align.prompting.options import Prompt, option_tokens

SYSTEM = "You answer a survey question the way the described person would. Reply with one option only."
#: What the answer begins with. Without it a small chat model talks first (measured: SmolLM2-135M puts 0.27 of its
#: probability on the bare digits, 0.99 on the digits after this word).
LEAD = "Option"
#: What a persona that leaves everything open is called.
ANYBODY = "an adult"

ORDERS = ("forward", "reversed")
MARKS = ("auto", "letters", "labels")


@dataclass(frozen=True, slots=True)
class Wording:
    """One way of asking.

    Attributes
    ----------
    template : str
        One of `TEMPLATES`.
    order : {'forward', 'reversed'}
        Order in which the options are listed; those that are pinned keep their place. Results are always in the order
        of meaning.
    marks : {'auto', 'letters', 'labels'}
        What an option is answered by: digits up to 9 options and letters beyond; letters; or its own words.
    """

    template: str = "persona-last"
    order: str = "forward"
    marks: str = "auto"

    def __post_init__(self) -> None:
        for param, name, names in (
            ("--template", self.template, TEMPLATES),
            ("--order", self.order, ORDERS),
            ("--marks", self.marks, MARKS),
        ):
            if name not in names:
                raise unknown(param, name, tuple(names))


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt in words.

    Attributes
    ----------
    system, user : str
        The turns of a chat; `system` is empty where everything is in the user's.
    lead : str
        What the answer begins with, already given.
    options : tuple of str
        What follows, one string per option in the order of meaning.
    chat : bool
        Whether it goes through the chat template of a tokenizer that has one.
    parts : tuple of str
        Question, options and persona, as they stand in `user`: a chat template must write each of them once.
    """

    system: str
    user: str
    lead: str
    options: tuple[str, ...]
    chat: bool
    parts: tuple[str, ...] = ()

    @property
    def plain(self) -> str:
        """The prompt without a chat template, up to where the option follows."""
        if not self.chat:
            return self.user + self.lead
        return f"{self.system}\n\n{self.user}\nAnswer: {self.lead}"


def option_marks(n_options: int, marks: str = "auto") -> list[str]:
    """What stands before the options: digits for up to 9 of them, letters beyond, since "1" would begin "10"."""
    if marks == "auto" and n_options <= 9:
        return [str(k) for k in range(1, n_options + 1)]
    if n_options > len(ascii_uppercase):
        raise AceError("too many options to mark", param="value", expected="26 at most", got=n_options)
    return list(ascii_uppercase[:n_options])


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
        If the question holds a placeholder that nothing fills.
    """
    question = _filled(value, country)
    shown = positions(value, wording.order)
    if wording.marks == "labels":
        lines = [f"- {value.options[k]}" for k in shown]
        answers = list(value.options)
    else:
        marks = option_marks(len(value.options), wording.marks)
        lines = [f"{mark}. {value.options[k]}" for mark, k in zip(marks, shown, strict=True)]
        answers = [mark for _, mark in sorted(zip(shown, marks, strict=True))]
    return TEMPLATES[wording.template](country.label, question, lines, persona, tuple(answers))


def positions(value: Value, order: str) -> list[int]:
    """List the options' positions in the order of meaning as they are shown; pinned options keep their place."""
    shown = list(range(len(value.options)))
    free = [k for k in shown if not (value.pinned and value.pinned[k])]
    moved = dict(zip(free, reversed(free) if order == "reversed" else free, strict=True))
    return [moved.get(k, k) for k in shown]


def _persona_last(country: str, question: str, lines: list[str], persona: str, answers: tuple[str, ...]) -> Text:
    """All personas of a question share what comes before the persona."""
    parts = (f"Country: {country}", f"Question: {question}", "\n".join(lines), f"Person: {persona}")
    return _chat(SYSTEM, parts, answers)


def _interview(country: str, question: str, lines: list[str], persona: str, answers: tuple[str, ...]) -> Text:
    """The same content in other words, persona last: for averaging over wordings."""
    asked = f"Interviewer in {country}: {question} Please choose one of these:"
    parts = (asked, "\n".join(lines), f"The respondent, {persona}, chooses")
    return _chat("What follows is the record of a survey interview.", parts, answers)


def _chat(system: str, parts: tuple[str, ...], answers: tuple[str, ...]) -> Text:
    return Text(system, "\n".join(parts), LEAD, tuple(f" {answer}" for answer in answers), chat=True, parts=parts)


def _ace_align(country: str, question: str, lines: list[str], persona: str, answers: tuple[str, ...]) -> Text:
    """After ACE-Align (arXiv 2601.12962), in our words: persona first, plain text, the answer after a line break."""
    if set(lines) == {f"- {answer}" for answer in answers}:
        how, listed = "with one option, word for word", "Options"
    elif answers[0].isdigit():
        how, listed = "with the number of one option", f"Options (scale from 1 to {len(lines)})"
    else:
        how, listed = "with the letter of one option", f"Options ({min(answers)} to {max(answers)})"
    user = (
        f"{you_are(persona, country)}\n"
        f"Answer the survey question below as the person just described would, {how} and nothing else.\n\n"
        f"Question: {question}\n\n{listed}:\n" + "\n".join(lines) + "\n\nAnswer:\n"
    )
    return Text("", user, "", answers, chat=False)


TEMPLATES: dict[str, Callable[[str, str, list[str], str, tuple[str, ...]], Text]] = {
    "persona-last": _persona_last,
    "interview": _interview,
    "ace-align": _ace_align,
}


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
