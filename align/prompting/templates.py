"""The words around country, question, options and persona.

A template that puts the persona last lets all personas of a question share what comes before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from acecausal.exchange.personas import you_are

SYSTEM = "You answer a survey question the way the described person would. Reply with one option only."
#: What the answer begins with, before a mark and before the option's own words. Without it a small chat model talks
#: first (measured: SmolLM2-135M puts 0.27 of its probability on the bare digits, 0.99 on the digits after "Option").
LEAD, LEAD_TO_WORDS = "Option", "The answer is"


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


@dataclass(frozen=True, slots=True)
class Content:
    """What a template words.

    Attributes
    ----------
    country, question, persona : str
    lines : list of str
        The options as they are listed; none if they are not.
    answers : tuple of str
        What the options are answered by, in the order of meaning.
    in_words : bool
        Whether that is their own words.
    """

    country: str
    question: str
    lines: list[str]
    persona: str
    answers: tuple[str, ...]
    in_words: bool

    def chat(self, system: str, *parts: str) -> Text:
        """Put the parts of a user's turn together, one under the other."""
        parts = tuple(filter(None, parts))
        options = tuple(f" {answer}" for answer in self.answers)
        lead = LEAD_TO_WORDS if self.in_words else LEAD
        return Text(system, "\n".join(parts), lead, options, chat=True, parts=parts)

    @property
    def listed(self) -> str:
        return "\n".join(self.lines)


def _persona_last(asked: Content) -> Text:
    person = f"Person: {asked.persona}"
    return asked.chat(SYSTEM, f"Country: {asked.country}", f"Question: {asked.question}", asked.listed, person)


def _interview(asked: Content) -> Text:
    """The same content as a record of something said."""
    choice, does = (" Please choose one of these:", "chooses") if asked.lines else ("", "answers")
    question = f"Interviewer in {asked.country}: {asked.question}{choice}"
    respondent = f"The respondent, {asked.persona}, {does}"
    return asked.chat("What follows is the record of a survey interview.", question, asked.listed, respondent)


def _questionnaire(asked: Content) -> Text:
    """The same content as a form that somebody has filled in."""
    heading = f"Questionnaire, {asked.country}.{' Tick one box.' if asked.lines else ''}"
    filled = f"Filled in by {asked.persona}."
    system = "A filled-in questionnaire is read out."
    return asked.chat(system, heading, asked.question, asked.listed, filled)


def _first_person(asked: Content) -> Text:
    """The same content as people say it of themselves."""
    asking = f"I live in {asked.country} and was asked: {asked.question}"
    system = "Guess from what people say about themselves which answer they gave."
    between = "I could choose between:" if asked.lines else ""
    return asked.chat(system, asking, between, asked.listed, f"I am {asked.persona}.")


def _ace_align(asked: Content) -> Text:
    """After ACE-Align (arXiv 2601.12962), in our words: persona first, plain text, the answer after a line break."""
    if asked.in_words:
        how, listed = "with one option, word for word", "Options"
    elif asked.answers[0].isdigit():
        how, listed = "with the number of one option", f"Options (scale from 1 to {len(asked.lines)})"
    else:
        how, listed = "with the letter of one option", f"Options ({min(asked.answers)} to {max(asked.answers)})"
    user = (
        f"{you_are(asked.persona, asked.country)}\n"
        f"Answer the survey question below as the person just described would, {how} and nothing else.\n\n"
        f"Question: {asked.question}\n\n{listed}:\n{asked.listed}\n\nAnswer:\n"
    )
    return Text("", user, "", asked.answers, chat=False)


TEMPLATES: dict[str, Callable[[Content], Text]] = {
    "persona-last": _persona_last,
    "interview": _interview,
    "questionnaire": _questionnaire,
    "first-person": _first_person,
    "ace-align": _ace_align,
}
