"""One question to a model, in several wordings: responses, and what of the probability they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_softmax, logsumexp

from acecausal.cube.files import Country, Value
from acecausal.cube.lattice import Lattice
from acecausal.errors import ModelError
from align.elicitation.backends import Backend
from align.prompting.prompts import lattice_texts
from align.prompting.templates import Text
from align.prompting.wordings import Wording


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, asked of personas of one country in all wordings.

    Attributes
    ----------
    response : numpy.ndarray, shape (wordings, personas, options)
        Normalised over the options; missing in all wordings where a server listed no option in one.
    mass, unlisted, imputed : numpy.ndarray, shape (personas,)
        Means over the wordings; the last two are missing for a model that was asked for the options themselves.
    lost : int
        Prompts of which no option was listed.
    """

    response: np.ndarray
    mass: np.ndarray
    unlisted: np.ndarray
    imputed: np.ndarray
    lost: int


def ask(
    backend: Backend,
    country: Country,
    value: Value,
    lattice: Lattice,
    wordings: Sequence[Wording],
    personas: Sequence[int] | None = None,
    digest: Any = None,
) -> Asked:
    """Ask a question in some wordings.

    Parameters
    ----------
    backend : Backend
    country, value, lattice
    wordings : sequence of Wording
    personas : sequence of int, optional
        Positions in the lattice; by default all.
    digest : hashlib object, optional
        Every prompt is added to it, as the model got it.

    Raises
    ------
    ModelError
        If the model gives a number that is not finite.
    """
    texts = [lattice_texts(country, value, lattice, wording, personas) for wording in wordings]
    return ask_texts(backend, texts, f"{country.name}, {value.name}", digest)


def ask_texts(backend: Backend, texts: Sequence[Sequence[Text]], what: str, digest: Any = None) -> Asked:
    """Ask prompts of one question, the same personas in each wording; `what` names the question in errors."""
    every = [text for of_wording in texts for text in of_wording]
    answers = backend.ask(every)  # at once: what wordings begin with alike is read once
    for text in every if digest else ():
        digest.update(json.dumps([backend.rendered(text), text.options]).encode())
    by_wording = (len(texts), len(texts[0]))
    log_probs = answers.log_probs.reshape(*by_wording, answers.log_probs.shape[-1])
    # a server's lists may hold no option of a prompt; a model that was asked for the options knows them all
    missing = np.logical_and(np.isnan(log_probs).all(axis=-1), answers.unlisted is not None)
    if not np.isfinite(log_probs[~missing]).all():
        raise ModelError("gives numbers that are not finite", param="--model", got=what)
    # of all wordings or none: personas that were asked differently are not compared
    log_probs = np.where(missing.any(axis=0)[:, None], np.nan, log_probs)

    def mean(shares: np.ndarray | None) -> np.ndarray:
        return np.full(by_wording[1], np.nan) if shares is None else shares.reshape(by_wording).mean(axis=0)

    return Asked(
        response=np.exp(log_softmax(log_probs, axis=-1)),
        mass=np.exp(logsumexp(log_probs, axis=-1)).clip(max=1.0).mean(axis=0),
        unlisted=mean(answers.unlisted),
        imputed=mean(answers.imputed),
        lost=int(missing.sum()),
    )
