"""Asking a model for the cube: option probabilities for every persona, and the effects that follow."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import log_softmax, logsumexp

from acecausal.comparison.agreement import agreements
from acecausal.comparison.coherence import coherence
from acecausal.cube import files as cubes
from acecausal.cube.functional import effect_functional, effects_of, standard_error
from acecausal.errors import AceError, ModelError
from align.elicitation.backends import Backend
from align.prompting.prompts import Text, Wording, compose, describe, lattice_texts


def elicit(
    backend: Backend,
    like: xr.Dataset,
    *,
    wordings: Sequence[Wording] = (Wording(),),
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
    attrs : mapping, optional
        More provenance for the cube: which model, which adapter, what was held out.
    progress : callable, optional
        Called without arguments after each country and value.

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
    prompts, example = hashlib.sha256(), ""
    for c, country in enumerate(countries):
        for v, value in enumerate(values):
            texts = [lattice_texts(country, value, lattice, wording) for wording in wordings]
            asked = [backend.ask(of_wording) for of_wording in texts]
            for text in itertools.chain(*texts):
                prompt = backend.rendered(text)
                prompts.update(json.dumps([prompt, text.options]).encode())
            example = example or backend.rendered(texts[0][-1])
            log_probs = np.stack([answers.log_probs for answers in asked])
            listed = any(answers.unlisted is not None for answers in asked)
            # a server's lists may hold no option of a prompt; a model that was asked for the options knows them all
            missing = np.logical_and(np.isnan(log_probs).all(axis=-1), listed)
            if not np.isfinite(log_probs[~missing]).all():
                raise ModelError(
                    "gives numbers that are not finite", param="--model", got=f"{country.name}, {value.name}"
                )
            lost += int(missing.sum())
            # of all wordings or none: personas that were asked differently are not compared
            log_probs = np.where(missing.any(axis=0)[:, None], np.nan, log_probs)
            response[:, c, v, :, : len(value.options)] = np.exp(log_softmax(log_probs, axis=-1))
            mass[c, v] = np.exp(logsumexp(log_probs, axis=-1)).clip(max=1.0).mean(axis=0)
            hidden = [answers.unlisted for answers in asked if answers.unlisted is not None]
            unlisted[c, v] = np.mean(hidden, axis=0) if hidden else np.nan
            shares = [answers.imputed for answers in asked if answers.imputed is not None]
            imputed[c, v] = np.mean(shares, axis=0) if shares else np.nan
            if progress:
                progress()
    answered = np.isfinite(mass)
    if not answered.any():
        raise ModelError(
            "lists no option of any persona, in one wording at least", param="--model",
            got=f"{lost} prompts without one", hint="ask in another template or order",
        )  # fmt: skip
    functional = effect_functional(like)
    arrays = {
        "response": response.mean(axis=0),
        "n": np.where(answered, len(wordings), 0),
        "option_mass": mass,
        **effects_of(response.mean(axis=0), functional, like),
        **({"coherence": coherence(response.mean(axis=0), like)} if functional.like_for_like else {}),
    }
    labels: dict[str, list[str]] = {}
    agreed: dict[str, float] = {}
    if len(wordings) > 1:
        each = [effects_of(one, functional, like) for one in response]
        asked_as = [(wording.template, wording.order, wording.marks) for wording in wordings]
        labels["wording"] = [" ".join(parts) for parts in asked_as]
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
        "prompt_example": example,  # whole, of the fullest persona of the first country and value
        "prompts_sha256": prompts.hexdigest(),  # of all, in the order of country, value, wording and persona
        "model_effect": functional.name,
        **agreed,
        **backend.provenance(),
        **({"prompts_missing": lost} if lost else {}),
        **(attrs or {}),
    }
    return cubes.build("model", countries, values, lattice, arrays, provenance, labels)


def sample_text(like: xr.Dataset, wording: Wording) -> Text:
    """Word one prompt: first country, first value, the fullest persona."""
    lattice = cubes.lattice_of(like)
    persona = describe(lattice, lattice.codes[-1])
    return compose(cubes.countries_of(like)[0], cubes.values_of(like)[0], persona, wording)
