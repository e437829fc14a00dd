"""Asking a model for the cube: option probabilities for every persona, and the effects that follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
import xarray as xr

from acecausal import cube as cubes
from acecausal import schema
from acecausal.errors import ModelError
from acecausal.lattice import Lattice
from align.prompts import TEMPLATE, describe, lattice_prompts, render
from align.scorer import Scorer


def elicit(
    model: torch.nn.Module,
    tokenizer: Any,
    like: xr.Dataset,
    *,
    attrs: Mapping[str, Any] | None = None,
    progress: Callable[[], None] | None = None,
    scorer: Scorer | None = None,
) -> xr.Dataset:
    """Ask a model what `like` asked people.

    Parameters
    ----------
    model, tokenizer
        From `align.models.load_model`, with or without an adapter.
    like : xarray.Dataset
        A cube whose countries, values, options and personas are taken.
    attrs : mapping, optional
        More provenance for the cube: which model, which adapter, what was held out.
    progress : callable, optional
        Called without arguments after each country and value.
    scorer : Scorer, optional
        By default one that checks by itself whether the model can take a whole lattice in one pass.

    Returns
    -------
    xarray.Dataset
        A model cube. Shifts are differences of responses along the lattice's edges.

    Raises
    ------
    ModelError
        If the model gives a number that is not finite, or the options no probability at all.
    """
    scorer = scorer or Scorer(model)
    lattice, values, countries = cubes.lattice_of(like), cubes.values_of(like), cubes.countries_of(like)
    width = max(len(value.options) for value in values)
    shape = (len(countries), len(values), len(lattice.personas))
    response, mass = np.full((*shape, width), np.nan), np.full(shape, np.nan)
    for c, country in enumerate(countries):
        for v, value in enumerate(values):
            prompts = lattice_prompts(tokenizer, country, value, lattice)
            with torch.inference_mode():
                log_probs = torch.stack(scorer.log_probs(prompts)).double()
            if not torch.isfinite(log_probs).all():
                raise ModelError(
                    "gives numbers that are not finite", param="--model", got=f"{country.name}, {value.name}"
                )
            response[c, v, :, : len(value.options)] = log_probs.softmax(dim=-1).cpu().numpy()
            mass[c, v] = log_probs.exp().sum(dim=-1).clamp(max=1.0).cpu().numpy()
            if progress:
                progress()
    arrays = {
        "response": response,
        "n": np.ones(shape, dtype=np.int64),
        "option_mass": mass,
        **effects_of(response, lattice, [(len(value.options), value.scale) for value in values]),
    }
    provenance = {
        "template": TEMPLATE,
        "method": scorer.method,
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "versions": {name: version(name) for name in ("acecausal", "torch", "transformers")},
        **(attrs or {}),
    }
    return cubes.build("model", countries, values, lattice, arrays, provenance)


def effects_of(response: np.ndarray, lattice: Lattice, scales: list[tuple[int, str]]) -> dict[str, np.ndarray]:
    """Derive shifts and effects from responses along the lattice's edges.

    Parameters
    ----------
    response : numpy.ndarray, shape (country, value, persona, option)
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
    status[:, contrast, :, context] = schema.OK
    for v, (n_options, scale) in enumerate(scales):
        if scale != "nominal":
            effect[:, :, v] = shift[:, :, v, :, :n_options] @ schema.scores(n_options)
    return {"shift": shift, "effect": effect, "status": status}


def show_prompt(tokenizer: Any, like: xr.Dataset) -> str:
    """Write out one prompt exactly as the model gets it: first country, first value, the fullest persona."""
    lattice = cubes.lattice_of(like)
    persona = describe(lattice, lattice.codes[-1])
    return render(tokenizer, cubes.countries_of(like)[0], cubes.values_of(like)[0], persona)[0]
