"""Answers that are kept: a run that was cut off asks nothing twice, and its cube is the same bit for bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acecausal.cube.finished import finished, keep, open_store
from align.elicitation.backends import Answers, Backend
from align.prompting.templates import Text


class Kept:
    """A backend whose answers are kept in a folder, a file for each question in a country.

    What is asked at once is answered at once, so that no number depends on where a run was cut off.

    Parameters
    ----------
    backend : Backend
        In this process; a server's answers are kept one by one (see `align.elicitation.endpoint.Endpoint`).
    store : Path
    told : mapping
        What else decides the numbers: which model, what its chat template is told.

    Raises
    ------
    AceError
        If the folder is of another run, or holds something else.
    CutOffError
        If it cannot be written, here or when something is asked.
    """

    def __init__(self, backend: Backend, store: Path, told: Mapping[str, Any]) -> None:
        self.backend, self.store = backend, store
        said = json.dumps([backend.provenance(), dict(told)], sort_keys=True, default=str)
        open_store(store, hashlib.sha256(said.encode()).hexdigest())

    def ask(self, texts: Sequence[Text]) -> Answers:
        name = hashlib.sha256(repr(list(texts)).encode()).hexdigest()[:32]
        found = finished(self.store, name)
        if found is not None:
            return Answers(**found)
        answers = self.backend.ask(texts)
        parts = {part: getattr(answers, part) for part in Answers.__slots__}
        keep(self.store, name, {part: array for part, array in parts.items() if array is not None})
        return answers

    def rendered(self, text: Text) -> str:
        return self.backend.rendered(text)

    def provenance(self) -> dict[str, Any]:
        return self.backend.provenance()
