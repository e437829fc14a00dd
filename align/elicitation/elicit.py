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
from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.cube.lattice import Lattice
from acecausal.errors import AceError, ModelError
from align.elicitation.backends import Backend
from align.prompting.prompts import compose, describe, lattice_texts
from align.prompting.templates import Text
from align.prompting.wordings import Wording


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
        A model cube. Shifts are differences of responses along the lattice's edges.

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
    scales = [(len(value.options), value.scale) for value in values]
    arrays = {
        "response": response.mean(axis=0),
        "n": np.where(answered, len(wordings), 0),
        "option_mass": mass,
        **effects_of(response.mean(axis=0), lattice, scales),
    }
    labels: dict[str, list[str]] = {}
    agreed: dict[str, float] = {}
    if len(wordings) > 1:
        each = [effects_of(one, lattice, scales) for one in response]
        asked_as = [(wording.template, wording.order, wording.marks) for wording in wordings]
        labels["wording"] = [" ".join(parts) for parts in asked_as]
        arrays["wording_response"] = response
        scored = any(scale != "nominal" for _, scale in scales)
        effects = np.stack([one["effect" if scored else "shift"] for one in each])
        agreed = {f"{part}_agreement": found for part, found in agreements(effects, asked_as).items()}
        arrays["response_se"] = _standard_error(response)
        for name in ("shift", "effect"):
            arrays[f"{name}_se"] = _standard_error(np.stack([one[name] for one in each]))
    if np.isfinite(unlisted).any():
        arrays |= {"unlisted_mass": unlisted, "imputed_share": imputed}
    provenance = {
        "templates": list(dict.fromkeys(wording.template for wording in wordings)),
        "orders": list(dict.fromkeys(wording.order for wording in wordings)),
        "marks": list(dict.fromkeys(wording.marks for wording in wordings)),
        "prompt_example": example,  # whole, of the fullest persona of the first country and value
        "prompts_sha256": prompts.hexdigest(),  # of all, in the order of country, value, wording and persona
        **agreed,
        **backend.provenance(),
        **({"prompts_missing": lost} if lost else {}),
        **(attrs or {}),
    }
    return cubes.build("model", countries, values, lattice, arrays, provenance, labels)


def _standard_error(each: np.ndarray) -> np.ndarray:
    """Standard error of the mean over the first axis."""
    return each.std(axis=0, ddof=1) / np.sqrt(len(each))


def effects_of(response: np.ndarray, lattice: Lattice, scales: list[tuple[int, str]]) -> dict[str, np.ndarray]:
    """Derive shifts and effects from responses along the lattice's edges.

    Parameters
    ----------
    response : numpy.ndarray, shape (country, value, persona, option)
        Missing where a persona has none.
    lattice : Lattice
    scales : list of (int, str)
        Number of options and scale of each value.

    Returns
    -------
    dict
        ``shift`` (country, attribute, value, persona, option), ``effect`` and ``status`` without the last dimension.
    """
    n_country, n_value, n_persona, width = response.shape
    shape = (n_country, len(lattice.contrasts), n_value, n_persona)
    shift, effect = np.full((*shape, width), np.nan), np.full(shape, np.nan)
    status = np.full(shape, schema.NOT_APPLICABLE, dtype=np.int8)
    contrast, context, low, high = lattice.edges.T
    # the two index arrays stand apart, so numpy puts the edges first
    shift[:, contrast, :, context] = np.moveaxis(response[:, :, high] - response[:, :, low], 2, 0)
    known = np.isfinite(shift[:, contrast, :, context][..., 0])
    status[:, contrast, :, context] = np.where(known, schema.OK, schema.FAILED)
    for v, (n_options, scale) in enumerate(scales):
        if scale != "nominal":
            effect[:, :, v] = shift[:, :, v, :, :n_options] @ schema.scores(n_options)
    return {"shift": shift, "effect": effect, "status": status}


def sample_text(like: xr.Dataset, wording: Wording) -> Text:
    """Word one prompt: first country, first value, the fullest persona."""
    lattice = cubes.lattice_of(like)
    persona = describe(lattice, lattice.codes[-1])
    return compose(cubes.countries_of(like)[0], cubes.values_of(like)[0], persona, wording)
