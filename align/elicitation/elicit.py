"""Asking a model for the cube: option probabilities for every persona, and the effects that follow."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import log_softmax, logsumexp

from acecausal.comparison.agreement import agreements
from acecausal.comparison.coherence import coherence
from acecausal.cube import files as cubes
from acecausal.cube.check_questions import check_values, checked_personas, drift, heed
from acecausal.cube.files import Country, Value
from acecausal.cube.functional import effect_functional, effects_of, standard_error
from acecausal.cube.lattice import Lattice
from acecausal.errors import AceError, ModelError
from align.elicitation.backends import Backend
from align.prompting.prompts import compose, describe, lattice_texts
from align.prompting.templates import Text
from align.prompting.wordings import Wording


@dataclass(frozen=True, slots=True)
class _Asked:
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


def _ask(
    backend: Backend,
    country: Country,
    value: Value,
    lattice: Lattice,
    wordings: Sequence[Wording],
    digest: Any,
    personas: Sequence[int] | None = None,
) -> _Asked:
    """Ask it of all personas or some, and add every prompt as the model got it to the digest."""
    texts = [lattice_texts(country, value, lattice, wording, personas) for wording in wordings]
    asked = [backend.ask(of_wording) for of_wording in texts]
    for text in itertools.chain.from_iterable(texts):
        digest.update(json.dumps([backend.rendered(text), text.options]).encode())
    log_probs = np.stack([answers.log_probs for answers in asked])
    listed = any(answers.unlisted is not None for answers in asked)
    # a server's lists may hold no option of a prompt; a model that was asked for the options knows them all
    missing = np.logical_and(np.isnan(log_probs).all(axis=-1), listed)
    if not np.isfinite(log_probs[~missing]).all():
        raise ModelError("gives numbers that are not finite", param="--model", got=f"{country.name}, {value.name}")
    # of all wordings or none: personas that were asked differently are not compared
    log_probs = np.where(missing.any(axis=0)[:, None], np.nan, log_probs)
    nothing = np.full(log_probs.shape[1], np.nan)
    hidden = [answers.unlisted for answers in asked if answers.unlisted is not None]
    shares = [answers.imputed for answers in asked if answers.imputed is not None]
    return _Asked(
        response=np.exp(log_softmax(log_probs, axis=-1)),
        mass=np.exp(logsumexp(log_probs, axis=-1)).clip(max=1.0).mean(axis=0),
        unlisted=np.mean(hidden, axis=0) if hidden else nothing,
        imputed=np.mean(shares, axis=0) if shares else nothing,
        lost=int(missing.sum()),
    )


def elicit(
    backend: Backend,
    like: xr.Dataset,
    *,
    wordings: Sequence[Wording] = (Wording(),),
    checks: bool = True,
    attrs: Mapping[str, Any] | None = None,
    progress: Callable[[], None] | None = None,
) -> xr.Dataset:
    """Ask a model what `like` asked people.

    Parameters
    ----------
    backend : Backend
        The model.
    like : xarray.Dataset
        A cube whose countries, values, options and personas are taken.
    wordings : sequence of Wording
        Ways of asking. The cube holds the mean of the normalised responses over them, and, if there are several, the
        response in each, the standard error of the mean, and how far effects agree between orders, marks and templates
        (attrs ``order_agreement`` and the like; see `acecausal.comparison.agreement`).
    checks : bool
        Whether the check questions are asked as well, in the same wordings, of personas of at most one attribute and
        of the finest: the attributes of the lattice as questions (see `acecausal.cube.check_questions`), from which
        ``heed``, ``implied`` and ``drift``.
    attrs : mapping, optional
        More provenance for the cube: which model, which adapter, what was held out.
    progress : callable, optional
        Called without arguments after each question in each country; `questions` says how many that are.

    Returns
    -------
    xarray.Dataset
        A model cube. If `like` has shares, its shifts are those of the survey's estimand (attrs ``model_effect``, like
        for like; see `acecausal.cube.functional`), otherwise plain differences of two responses.

    Raises
    ------
    ModelError
        If the model gives a number that is not finite, or the options no probability at all. A persona of which a
        server lists no option, in any wording, is missing, unless that is so of all.
    """
    if not wordings or len(set(wordings)) < len(wordings):
        raise AceError("expected different ones, at least one", param="wordings", got=len(wordings))
    lattice, values, countries = cubes.lattice_of(like), cubes.values_of(like), cubes.countries_of(like)
    width = max(len(value.options) for value in values)
    shape = (len(countries), len(values), len(lattice.personas))
    response = np.full((len(wordings), *shape, width), np.nan)
    mass, unlisted, imputed = (np.full(shape, np.nan) for _ in range(3))
    lost = 0
    prompts, check_prompts = hashlib.sha256(), hashlib.sha256()
    checked: list[list[_Asked]] = []
    whom = checked_personas(lattice).tolist()
    for c, country in enumerate(countries):
        for v, value in enumerate(values):
            asked = _ask(backend, country, value, lattice, wordings, prompts)
            response[:, c, v, :, : len(value.options)] = asked.response
            mass[c, v], unlisted[c, v], imputed[c, v] = asked.mass, asked.unlisted, asked.imputed
            lost += asked.lost
            if progress:
                progress()
        checked.append([])
        for value in check_values(lattice) if checks else ():
            checked[c].append(_ask(backend, country, value, lattice, wordings, check_prompts, whom))
            if progress:
                progress()
    answered = np.isfinite(mass)
    if not answered.any():
        raise ModelError(
            "lists no option of any persona, in one wording at least", param="--model",
            got=f"{lost} prompts without one", hint="ask in another template or order",
        )  # fmt: skip
    functional = effect_functional(like)
    check_arrays, check_attrs = _checked(lattice, checked) if checks else ({}, {})
    arrays = {
        "response": response.mean(axis=0),
        "n": np.where(answered, len(wordings), 0),
        "option_mass": mass,
        **effects_of(response.mean(axis=0), functional, like),
        **({"coherence": coherence(response.mean(axis=0), like)} if functional.like_for_like else {}),
        **check_arrays,
    }
    labels: dict[str, list[str]] = {}
    agreed: dict[str, float] = {}
    if len(wordings) > 1:
        each = [effects_of(one, functional, like) for one in response]
        asked_as = [(wording.template, wording.order, wording.marks) for wording in wordings]
        labels["wording"] = [wording.label for wording in wordings]
        arrays["wording_response"] = response
        scored = any(value.scale != "nominal" for value in values)
        effects = np.stack([one["effect" if scored else "shift"] for one in each])
        agreed = {f"{part}_agreement": found for part, found in agreements(effects, asked_as).items()}
        arrays["response_se"] = standard_error(response)
        for name in ("shift", "effect"):
            arrays[f"{name}_se"] = standard_error(np.stack([one[name] for one in each]))
    if np.isfinite(unlisted).any():
        arrays |= {"unlisted_mass": unlisted, "imputed_share": imputed}
    provenance = {
        "templates": list(dict.fromkeys(wording.template for wording in wordings)),
        "orders": list(dict.fromkeys(wording.order for wording in wordings)),
        "marks": list(dict.fromkeys(wording.marks for wording in wordings)),
        # whole, of the fullest persona of the first country and value
        "prompt_example": backend.rendered(sample_text(like, wordings[0])),
        "prompts_sha256": prompts.hexdigest(),  # of all, in the order of country, value, wording and persona
        "model_effect": functional.name,
        **agreed,
        **({"checks_sha256": check_prompts.hexdigest()} if checks else {}),
        **check_attrs,
        **backend.provenance(),
        **({"prompts_missing": lost} if lost else {}),
        **(attrs or {}),
    }
    return cubes.build("model", countries, values, lattice, arrays, provenance, labels)


def questions(like: xr.Dataset, *, checks: bool = True) -> int:
    """Count what `elicit` asks: the values, and the check questions, in every country."""
    asked = like.sizes["value"] + (len(cubes.lattice_of(like).attributes) if checks else 0)
    return like.sizes["country"] * asked


def _checked(lattice: Lattice, asked: Sequence[Sequence[_Asked]]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Make variables and attrs of what was said to the check questions, country by country, in the lattice's order."""
    told = np.stack([np.concatenate([a.response for a in of_country], axis=-1) for of_country in asked], axis=1)
    said = np.full((*told.shape[:2], len(lattice.personas), told.shape[-1]), np.nan)
    said[:, :, checked_personas(lattice)] = told
    implied, each = said.mean(axis=0), heed(lattice, said)
    arrays = {"implied": implied, "drift": drift(lattice, implied), "heed": each.mean(axis=0)}
    if len(each) > 1:
        arrays["heed_se"] = standard_error(each)
    mass = np.array([[a.mass for a in of_country] for of_country in asked])
    lost = sum(a.lost for of_country in asked for a in of_country)
    attrs = {"checks_option_mass": float(mass[np.isfinite(mass)].mean())} if np.isfinite(mass).any() else {}
    return arrays, attrs | ({"checks_missing": lost} if lost else {})


def sample_text(like: xr.Dataset, wording: Wording) -> Text:
    """Word one prompt: first country, first value, the fullest persona."""
    lattice = cubes.lattice_of(like)
    persona = describe(lattice, lattice.codes[-1])
    return compose(cubes.countries_of(like)[0], cubes.values_of(like)[0], persona, wording)
