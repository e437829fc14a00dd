"""Model cubes made of people's own responses."""

from __future__ import annotations

import numpy as np
import xarray as xr

from acecausal.cube import files as cubes
from acecausal.cube.functional import effect_functional, effects_of


def as_model(human: xr.Dataset, response: np.ndarray, **attrs) -> xr.Dataset:
    """Make a model cube from responses, shape as the human cube's."""
    arrays = {
        "response": response,
        "n": np.ones(response.shape[:3], dtype=int),
        "option_mass": np.ones(response.shape[:3]),
        **effects_of(response, effect_functional(human), human),
    }
    parts = cubes.countries_of(human), cubes.values_of(human), cubes.lattice_of(human)
    return cubes.build("model", *parts, arrays, attrs)
