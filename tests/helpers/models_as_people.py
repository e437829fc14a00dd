"""Model cubes made of people's own responses."""

from __future__ import annotations

import numpy as np
import xarray as xr

from acecausal.cube import files as cubes
from align.elicitation.elicit import effects_of


def as_model(human: xr.Dataset, response: np.ndarray, **attrs) -> xr.Dataset:
    """Make a model cube from responses, shape as the human cube's."""
    lattice, values = cubes.lattice_of(human), cubes.values_of(human)
    arrays = {
        "response": response,
        "n": np.ones(response.shape[:3], dtype=int),
        "option_mass": np.ones(response.shape[:3]),
        **effects_of(response, lattice, [(len(v.options), v.scale) for v in values]),
    }
    return cubes.build("model", cubes.countries_of(human), values, lattice, arrays, attrs)
