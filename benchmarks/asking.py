"""Asking a model for a lattice: by `elicit`, and by the loop of a competent user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from pairwise import BATCH, fair

from acecausal.cube import files as cubes
from align.elicitation.backends import InProcess
from align.elicitation.elicit import elicit
from align.prompting.prompts import encode, lattice_texts
from align.prompting.wordings import Wording

OURS, FAIR = "ours", "fair loop"


def ways_of(template: str) -> dict[str, tuple[Wording, ...]]:
    """What is compared: digits in one order, which loops are written for, and what `elicit` asks by default."""
    orders = ("forward", "reversed")
    return {
        "digits": (Wording(template, marks="digits"),),
        "own words, both orders": tuple(Wording(template, order, "labels") for order in orders),
    }


def looped(model: Any, tokenizer: Any, wordings: Sequence[Wording], like: xr.Dataset, size: int = BATCH) -> np.ndarray:
    """Responses, shape (wordings, personas, options), of one country and value, by the fair loop."""
    (country,), (value,), lattice = cubes.countries_of(like), cubes.values_of(like), cubes.lattice_of(like)
    prompts = [p for way in wordings for p in encode(tokenizer, lattice_texts(country, value, lattice, way))]
    with torch.inference_mode():
        found = fair(model, prompts, size).softmax(dim=1).cpu().numpy()
    return found.reshape(len(wordings), -1, found.shape[1])


def asked(backend: InProcess, wordings: Sequence[Wording], like: xr.Dataset) -> np.ndarray:
    """Responses of the same, by `elicit`; of several values those of the first."""
    cube = elicit(backend, like, wordings=wordings, checks=False)
    found = cube["wording_response"] if len(wordings) > 1 else cube["response"].expand_dims("wording")
    return found.values[:, 0, 0]
