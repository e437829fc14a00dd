"""What asking a model comes to, before it is asked: prompts, tokens, time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from acecausal.cube import files as cubes
from acecausal.cube.check_questions import check_values, checked_personas
from align.elicitation.backends import InProcess
from align.prompting.prompts import encode, lattice_texts
from align.prompting.templates import Text
from align.prompting.wordings import Wording

#: Questions whose tokens are counted, at most; of more, some at even distances, and the sum is as many times larger.
COUNTED = 24
#: Prompts of the first question that are timed.
TIMED = 27


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked: questions times countries, prompts, their tokens, and the distinct ones, which are computed.

    Tokens are None for a server, whose tokenizer is not known. Beyond `COUNTED` questions they are an estimate.
    """

    questions: int
    prompts: int
    tokens: int | None = None
    distinct: int | None = None


def work(
    like: xr.Dataset, wordings: Sequence[Wording], backend: InProcess | None = None, *, checks: bool = True
) -> dict[str, Work]:
    """Count what `align.elicitation.elicit.elicit` asks.

    Parameters
    ----------
    like, wordings, checks
        As `elicit` takes them.
    backend : InProcess, optional
        The model, if it is in this process: only then tokens are counted.

    Returns
    -------
    dict of str to Work
        The values, and, unless they are left out, the check questions.
    """
    lattice = cubes.lattice_of(like)
    asked = {"values": (list(cubes.values_of(like)), list(range(len(lattice.personas))))}
    if checks:
        asked["check questions"] = (list(check_values(lattice)), checked_personas(lattice).tolist())
    found = {}
    for name, (values, whom) in asked.items():
        pairs = [(country, value) for country in cubes.countries_of(like) for value in values]
        prompts = len(pairs) * len(wordings) * len(whom)
        if backend is None:
            found[name] = Work(len(pairs), prompts)
            continue
        chosen = np.unique(np.linspace(0, len(pairs) - 1, min(COUNTED, len(pairs))).round().astype(int))
        counted = []
        for country, value in (pairs[i] for i in chosen):
            texts = [text for wording in wordings for text in lattice_texts(country, value, lattice, wording, whom)]
            counted.append(counts(backend, texts))
        tokens, distinct = (round(part * len(pairs) / len(chosen)) for part in np.sum(counted, axis=0))
        found[name] = Work(len(pairs), prompts, tokens, distinct)
    return found


def counts(backend: InProcess, texts: Sequence[Text]) -> tuple[int, int]:
    """Count the tokens of prompts that are asked at once, and those that are computed."""
    return backend.scorer.tokens(encode(backend.tokenizer, texts, backend.template_args))


def seconds_per_token(
    backend: InProcess, like: xr.Dataset, wordings: Sequence[Wording], clock: Callable[[], float] = time.perf_counter
) -> float:
    """Time a few prompts of the first question, after they were asked once to warm up; seconds per computed token."""
    lattice = cubes.lattice_of(like)
    whom = np.arange(len(lattice.personas))[:: max(1, len(lattice.personas) // TIMED)].tolist()
    texts = lattice_texts(cubes.countries_of(like)[0], cubes.values_of(like)[0], lattice, wordings[0], whom)
    backend.ask(texts[:1])
    start = clock()
    backend.ask(texts)
    return (clock() - start) / counts(backend, texts)[1]
