"""Which cells of a cube a picture or a sentence is about: the effects in context `all`, in the order of evidence."""

from __future__ import annotations

import numpy as np
import xarray as xr

from acecausal.cube import schema

#: What can become of a cell: a status of the schema, or ``no_score`` (nominal values have no effect).
OUTCOMES = (*schema.STATUS, "no_score")


def everyone(cube: xr.Dataset) -> xr.Dataset:
    """Take the context ``all``: dims (country, attribute, value)."""
    return cube.sel(persona="all")


def context_all(cube: xr.Dataset) -> list[int]:
    """Find the context ``all``: its position along persona, as a list of one."""
    return [int(np.flatnonzero(cube["persona"].values == "all")[0])]


def scored(cube: xr.Dataset) -> np.ndarray:
    """Say where there is an effect: estimated, and of a value that has a score. Shape of `effect`."""
    return np.isfinite(cube["effect"].values) & (cube["status"].values == schema.OK)


def tested(cube: xr.Dataset) -> np.ndarray:
    """Say where there is a p-value: of an effect, or of all shifts of a nominal value. Shape of `effect`."""
    return np.isfinite(cube["p_value"].values) & (cube["status"].values == schema.OK)


def nominal(cube: xr.Dataset) -> np.ndarray:
    """Say which values have no order, hence shifts and no effect; shape (values,)."""
    return np.asarray(cube["scale"].values == "nominal")


def people(cube: xr.Dataset) -> np.ndarray:
    """Count the people that each effect speaks for (in cubes that do not say, those of its arms). Shape of `effect`."""
    if "n_effect" in cube:
        return np.asarray(cube["n_effect"].values)
    return np.asarray(cube["n_baseline"].values + cube["n_treated"].values)


def outcomes(status: np.ndarray, effect: np.ndarray) -> np.ndarray:
    """Say what became of cells, as positions in `OUTCOMES`; both arguments and the result have the same shape."""
    return np.where((status == schema.OK) & ~np.isfinite(effect), len(schema.STATUS), status).astype(np.uint8)


def reasons(cube: xr.Dataset) -> np.ndarray:
    """Name what became of every cell of a cube, one of `OUTCOMES`. Shape of `status`."""
    return np.array(OUTCOMES, dtype=object)[outcomes(cube["status"].values, cube["effect"].values)]


def by_evidence(cube: xr.Dataset, dim: str) -> np.ndarray:
    """Order the labels of a dimension by evidence in context ``all``: smallest p-value first.

    Parameters
    ----------
    cube : xarray.Dataset
        A survey cube.
    dim : {'country', 'attribute', 'value'}

    Returns
    -------
    numpy.ndarray, shape (labels,), int
        Positions; ties (two p-values that round to 0) go by effect over standard error, then by the cube's own order,
        and labels without any effect come last.
    """
    part = everyone(cube)
    others = tuple(i for i, name in enumerate(part["effect"].dims) if name != dim)
    there = tested(part)
    p = np.where(there, part["p_value"].values, np.inf).min(axis=others)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.abs(part["effect"].values) / part["effect_se"].values
    ratio = np.where(there & np.isfinite(ratio), ratio, 0.0).max(axis=others)
    return np.lexsort((np.arange(len(p)), -ratio, p))


def top(cube: xr.Dataset, dim: str, limit: int) -> np.ndarray:
    """Take the `limit` labels with most evidence, in the cube's own order; positions."""
    return np.sort(by_evidence(cube, dim)[:limit])
