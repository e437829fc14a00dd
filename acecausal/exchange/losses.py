"""What a format that holds responses and sample sizes does not hold of a survey cube."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.errors import CubeError
from acecausal.exchange.rows import Words, wording


def people(cube: xr.Dataset) -> xr.Dataset:
    """Return the cube, if it is one of people: the format has no place for a model's answers.

    Raises
    ------
    CubeError
    """
    if cube.attrs["kind"] != "survey":
        raise CubeError("is a model's cube", param="CUBE", expected="a survey cube")
    return cube


def lost(cube: xr.Dataset, kept: Sequence[str] = (), words: Words | None = None) -> list[str]:
    """Say what a format that holds responses and sample sizes does not hold of a survey cube.

    Parameters
    ----------
    kept : sequence of str
        What it holds nevertheless: nominal.
    words : mapping, optional
        Labels and phrases that an import knows (see `acecausal.exchange.rows.Words`).
    """
    found = []
    if cube.attrs.get("estimand", "association") != "association":
        found.append(
            f"the effects ({cube.attrs['estimand']}): only responses are written, of which an import makes associations"
        )
    if not np.allclose(cube["n_eff"], cube["n"]):
        found.append("weights: n is written, n_eff is not")
    response = cube["response"]
    if not np.allclose(cube["response_se"], np.sqrt(response * (1 - response) / cube["n"].clip(1)), equal_nan=True):
        found.append("standard errors under the design: an import takes groups as independent multinomial samples")
    lattice = cubes.lattice_of(cube)
    made = {
        (a.name, x.name): (words or {}).get((a.name, x.name), wording(a.name.replace("_", " "), x.name))
        for a in lattice.attributes
        for x in a.levels
    }
    worded = [
        a.name for a in lattice.attributes if any((x.label, x.phrase) != made[a.name, x.name] for x in a.levels)
    ]  # fmt: skip
    if worded:
        found.append(f"labels of levels and their wording in personas: {', '.join(worded)}")
    moved = [a.name for a in lattice.attributes if a.baseline_code != 0]
    if moved:
        found.append(f"the order of levels (the baseline is written first): {', '.join(moved)}")
    nominal = [v.name for v in cubes.values_of(cube) if v.scale == "nominal"]
    if nominal and "nominal" not in kept:
        found.append(f"that options have no order: import with --nominal {','.join(nominal)}")
    for dim in ("country", "value"):
        empty = (cube["n"] == 0).all([d for d in schema.RESPONSE if d != dim]).values
        if empty.any():
            found.append(f"what nobody was asked: {dim} {', '.join(map(str, cube[dim].values[empty]))}")
    if (cube["region"] != "").any():
        found.append("regions of countries")
    derived = ("degrees_of_freedom",)  # an import has its own
    diagnostics = [spec.name for spec in schema.VARIABLES if "survey" in spec.optional and spec.name not in derived]
    extra = [name for name in diagnostics if name in cube]
    if extra:
        found.append(f"diagnostics: {', '.join(extra)}")
    return found
