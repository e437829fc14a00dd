"""Asking a model for the cube: option probabilities for every persona, and the effects that follow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from acecausal.comparison.agreement import agreements, standard_error
from acecausal.comparison.coherence import coherence
from acecausal.cube import files as cubes
from acecausal.cube.check_questions import check_values, checked_personas, drift, heed
from acecausal.cube.functional import Functional, effect_functional, effects_of
from acecausal.cube.lattice import Lattice
from acecausal.errors import AceError, ModelError, unknown
from align.elicitation.asking import Asked, ask
from align.elicitation.backends import Backend
from align.elicitation.profiles import Profiles
from align.elicitation.twins import Twins
from align.prompting.prompts import compose, describe
from align.prompting.templates import Text
from align.prompting.wordings import Wording


def elicit(
    backend: Backend,
    like: xr.Dataset,
    *,
    wordings: Sequence[Wording] = (Wording(),),
    checks: bool = True,
    profiles: Profiles | None = None,
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
    profiles : Profiles, optional
        Real people to ask as well, each with the treated attribute at every level. Then shifts and effects, and order
        agreement, are those of them (see `align.elicitation.twins`), with intervals for people and wordings.
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
    CubeError, DataError
        If profiles are asked for, and `like` does not say what is held fixed, or is not of their survey.
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
    checked: list[list[Asked]] = []
    whom = checked_personas(lattice).tolist()
    twins = Twins(profiles, like, wordings) if profiles else None
    for c, country in enumerate(countries):
        for v, value in enumerate(values):
            asked = ask(backend, country, value, lattice, wordings, digest=prompts)
            response[:, c, v, :, : len(value.options)] = asked.response
            mass[c, v], unlisted[c, v], imputed[c, v] = asked.mass, asked.unlisted, asked.imputed
            lost += asked.lost
            if twins:
                twins.ask(backend, c, v)
            if progress:
                progress()
        checked.append([])
        for value in check_values(lattice) if checks else ():
            checked[c].append(ask(backend, country, value, lattice, wordings, whom, check_prompts))
            if progress:
                progress()
    lost += twins.lost if twins else 0
    answered = np.isfinite(mass)
    if not answered.any():
        raise ModelError(
            "lists no option of any persona, in one wording at least", param="--model",
            got=f"{lost} prompts without one", hint="ask in another template or order",
        )  # fmt: skip
    functional = effect_functional(like)
    moved, each = twins.effects() if twins else _effects(response, functional, like)
    check_arrays, check_attrs = _checked(lattice, checked) if checks else ({}, {})
    arrays = {
        "response": response.mean(axis=0),
        "n": np.where(answered, len(wordings), 0),
        "option_mass": mass,
        **moved,
        **({"coherence": coherence(response.mean(axis=0), like)} if functional.like_for_like else {}),
        **check_arrays,
    }
    labels: dict[str, list[str]] = {}
    agreed: dict[str, float] = {}
    if len(wordings) > 1:
        asked_as = [(wording.template, wording.order, wording.marks) for wording in wordings]
        labels["wording"] = [wording.label for wording in wordings]
        arrays["wording_response"] = response
        scored = any(value.scale != "nominal" for value in values)
        effects = np.stack([one["effect" if scored else "shift"] for one in each])
        agreed = {f"{part}_agreement": found for part, found in agreements(effects, asked_as).items()}
        arrays["response_se"] = standard_error(response)
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
        **(twins.attrs() if twins else {}),
        **({"prompts_missing": lost} if lost else {}),
        **(attrs or {}),
    }
    return cubes.build("model", countries, values, lattice, arrays, provenance, labels)


def _effects(
    response: np.ndarray, functional: Functional, like: xr.Dataset
) -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]]]:
    """Derive shifts and effects of the mean over wordings, with its errors if there are several, and of each."""
    each = [effects_of(one, functional, like) for one in response]
    arrays = effects_of(response.mean(axis=0), functional, like)
    if len(each) > 1:
        arrays |= {f"{name}_se": standard_error(np.stack([one[name] for one in each])) for name in ("shift", "effect")}
    return arrays, each


def questions(like: xr.Dataset, *, checks: bool = True) -> int:
    """Count what `elicit` asks: the values, and the check questions, in every country."""
    asked = like.sizes["value"] + (len(cubes.lattice_of(like).attributes) if checks else 0)
    return like.sizes["country"] * asked


def _checked(lattice: Lattice, asked: Sequence[Sequence[Asked]]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
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


def sample_text(like: xr.Dataset, wording: Wording, value: str | None = None, persona: str | None = None) -> Text:
    """Word one prompt, in the first country: of a value (by default the first), to a persona (the fullest).

    Raises
    ------
    AceError
        If the cube has no such value or persona.
    """
    lattice, values = cubes.lattice_of(like), {v.name: v for v in cubes.values_of(like)}
    asked = next(iter(values)) if value is None else value
    if asked not in values:
        raise unknown("--value", asked, values)
    if persona is not None and persona not in lattice.personas:
        raise unknown("--persona", persona, lattice.personas)
    at = -1 if persona is None else lattice.personas.index(persona)
    return compose(cubes.countries_of(like)[0], values[asked], describe(lattice, lattice.codes[at]), wording)
