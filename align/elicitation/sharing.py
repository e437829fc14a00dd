"""Questions shared among the processes that accelerate launched: each asks every nth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from align.elicitation.backends import Answers, Backend
from align.prompting.templates import Text


class Share:
    """One process's share of the questions: what is not its own has an answer that says nothing.

    What comes of it is worth nothing; what is kept is. When all processes are through, everything is kept, and asked
    again the cube is that of one process, bit for bit.

    Parameters
    ----------
    kept : Backend
        A `Kept`, of the same folder in all processes.
    index, count : int
        Which of how many processes this is.
    """

    def __init__(self, kept: Backend, index: int, count: int) -> None:
        self.kept, self.index, self.count, self.asked = kept, index, count, 0

    def ask(self, texts: Sequence[Text]) -> Answers:
        self.asked += 1
        if (self.asked - 1) % self.count == self.index:
            return self.kept.ask(texts)
        options = len(texts[0].options)
        return Answers(np.full((len(texts), options), -np.log(options)))

    def rendered(self, text: Text) -> str:
        return self.kept.rendered(text)

    def provenance(self) -> dict[str, Any]:
        return self.kept.provenance()
