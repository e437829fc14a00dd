"""Models that read what they are told of a person: one that answers as a simulated population does, one at whim."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from acecausal.simulation.world import AGES, NAMES, World
from align.elicitation.backends import Answers
from align.prompting.templates import Text


class Whimsical:
    """Answers by a hash of the prompt: every word of it matters, and nothing follows from anything.

    ``prompts`` keeps what it was asked.
    """

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def ask(self, texts: Sequence[Text]) -> Answers:
        self.prompts += [text.user for text in texts]
        return Answers(np.log(np.array([self.law(text) for text in texts])))

    def law(self, text: Text) -> np.ndarray:
        drawn = hashlib.sha256(text.plain.encode()).digest()[: len(text.options)]
        weight = 1 + np.frombuffer(drawn, dtype=np.uint8).astype(float)
        return weight / weight.sum()

    def rendered(self, text: Text) -> str:
        return text.plain

    def provenance(self) -> dict[str, str]:
        return {}


class Population(Whimsical):
    """Gives the mean law of all people of whom that is true which the prompt says, by enumeration of the world."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def law(self, text: Text) -> np.ndarray:
        world, (codes, share) = self.world, self.world.people
        country, value = (int(re.findall(part, text.user)[0]) for part in (r"Country (\d+)\n", r"Question (\d+)\?"))
        there = np.ones(len(codes), dtype=bool)
        for a, name in enumerate(NAMES[: len(world.levels)]):
            for level in re.findall(rf"of {name} (\d+)", text.user):
                there &= codes[:, a] == int(level)
        for age in re.findall(r"aged (\d+)", text.user):
            there &= AGES[codes[:, -1]] == int(age)
        high = np.average(world.high_share(np.full(len(codes), country), codes)[there, value], weights=share[there])
        return world.low[value] + high * (world.high[value] - world.low[value])
