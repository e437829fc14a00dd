"""A backend that answers from what a prompt says: it finds question, options and persona by reading it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from acecausal.cube.files import Value
from acecausal.cube.lattice import Lattice
from align.elicitation.backends import Answers
from align.prompting.templates import Text

#: Level positions by attribute, of those that the persona tells.
Told = dict[str, int]


class Reader:
    """Reads each prompt, and lets `answer` say how likely each option is.

    Parameters
    ----------
    lattice : Lattice
        Whose phrases it understands.
    values : sequence of Value
        Whose questions it understands.
    answer : callable
        ``answer(value, told, places)`` gives probabilities in the order of the value's options; places: where each of
        them is listed, from 0.
    """

    def __init__(
        self, lattice: Lattice, values: Sequence[Value], answer: Callable[[Value, Told, list[int]], Sequence[float]]
    ) -> None:
        self.lattice, self.values, self.answer = lattice, values, answer

    def ask(self, texts: Sequence[Text]) -> Answers:
        return Answers(np.log(np.array([self._one(text) for text in texts])))

    def _one(self, text: Text) -> list[float]:
        prompt = f"{text.user}\n{text.lead}"
        value = max((v for v in self.values if v.question in prompt), key=lambda v: len(v.question))
        marked = re.findall(r"^(-|[0-9A-Z]{1,2}\.) (.+)$", prompt, re.MULTILINE)
        listed = [label for _, label in marked] or [answer.strip() for answer in text.options]
        assert sorted(listed) == sorted(value.options)
        said = self.answer(value, self._told(prompt, value), [listed.index(label) for label in value.options])
        labels = {mark.removesuffix("."): label for mark, label in marked} | {label: label for label in listed}
        return [float(said[value.options.index(labels[answer.strip()])]) for answer in text.options]

    def _told(self, prompt: str, value: Value) -> Told:
        """Find the persona's words, whatever their order; longer ones first, since "not religious" is not religious."""
        rest = re.sub(r"^(-|[0-9A-Z]{1,2}\.) .+$", "", prompt.replace(value.question, ""), flags=re.MULTILINE)
        phrases = [(x.phrase, a.name, code) for a in self.lattice.attributes for code, x in enumerate(a.levels)]
        found = {}
        for phrase, name, code in sorted(phrases, key=lambda part: -len(part[0])):
            whole = rf"(?<!\w){re.escape(phrase)}(?!\w)"
            if re.search(whole, rest):
                assert name not in found
                found[name] = code
                rest = re.sub(whole, "", rest)
        return found

    def rendered(self, text: Text) -> str:
        return text.plain

    def provenance(self) -> dict[str, str]:
        return {}
