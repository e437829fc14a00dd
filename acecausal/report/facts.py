"""The facts behind the pictures: cells of cubes as rows, each with the labels by which it is found in the cube."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from acecausal.cube import schema
from acecausal.report import cells

#: Columns of a table of effects, named as broom does.
COLUMNS = (
    *("country", "contrast", "value", "context"),
    *("estimate", "std_error", "conf_low", "conf_high", "p_value", "q_value", "n_baseline", "n_treated", "status"),
)
_ARRAYS = {
    "estimate": "effect",
    "std_error": "effect_se",
    **{name: name for name in ("p_value", "q_value", "n_baseline", "n_treated")},
}

Positions = Sequence[int] | np.ndarray


def effects(
    cube: xr.Dataset,
    models: Mapping[str, xr.Dataset] | None = None,
    *,
    country: Positions | None = None,
    attribute: Positions | None = None,
    value: Positions | None = None,
    persona: Positions | None = None,
) -> pd.DataFrame:
    """List effects of a block of the cube, one row per cell, also of those without an estimate.

    Parameters
    ----------
    cube : xarray.Dataset
        A survey cube.
    models : mapping of str to xarray.Dataset, optional
        Model cubes.
    country, attribute, value, persona : sequence of int, optional
        Positions of what is listed, by default all.

    Returns
    -------
    pandas.DataFrame
        See `rows`; in the cube's order (country, contrast, value, context).
    """
    chosen = dict(zip(schema.EDGE, (country, attribute, value, persona), strict=True))
    axes = [np.arange(cube.sizes[dim]) if at is None else np.asarray(at, dtype=int) for dim, at in chosen.items()]
    return rows(cube, tuple(axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")), models)


def rows(
    cube: xr.Dataset, where: tuple[np.ndarray, ...], models: Mapping[str, xr.Dataset] | None = None
) -> pd.DataFrame:
    """List chosen effects, one row per cell.

    Parameters
    ----------
    cube : xarray.Dataset
        A survey cube.
    where : tuple of numpy.ndarray
        Positions of the cells along country, attribute, value, persona.
    models : mapping of str to xarray.Dataset, optional

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`, then ``m0``, ``m1``, ... with the models' effects; the cube's numbers, unrounded. `status` is
        one of `cells.OUTCOMES`; where it is not ``ok`` the estimates are missing.
    """
    names = dict(zip(("country", "contrast", "value", "context"), schema.EDGE, strict=True))
    columns: dict[str, np.ndarray] = {
        name: cube[dim].values.astype(str)[at] for (name, dim), at in zip(names.items(), where, strict=True)
    }
    columns |= {name: cube[of].values[where] for name, of in _ARRAYS.items()}
    interval = cube["effect_interval"].values[where]
    columns |= {"conf_low": interval[:, 0], "conf_high": interval[:, 1]}
    status = np.array(cells.OUTCOMES, dtype=object)[cells.outcomes(cube["status"].values[where], columns["estimate"])]
    frame = pd.DataFrame(columns | {"status": status}, columns=list(COLUMNS))
    for i, model in enumerate((models or {}).values()):
        frame[f"m{i}"] = _of(model, cube, where)
    return frame


def _of(model: xr.Dataset, cube: xr.Dataset, where: tuple[np.ndarray, ...]) -> np.ndarray:
    """Look a model's effects up at the cells of people's cube; NaN where it has none."""
    places = [
        pd.Index(model[dim].values).get_indexer(cube[dim].values)[at]
        for dim, at in zip(schema.EDGE, where, strict=True)
    ]
    there = np.all([place >= 0 for place in places], axis=0)
    found = np.full(len(there), np.nan)
    effect = model["effect"].transpose(*schema.EDGE).values
    found[there] = effect[tuple(place[there] for place in places)]
    return found


def like(model: xr.Dataset, people: xr.Dataset) -> np.ndarray:
    """Lay a model's effects out like people's: missing where the model was not asked. Shape of people's `effect`."""
    labels = {dim: people[dim].values for dim in schema.EDGE}
    return np.asarray(model["effect"].reindex(labels).transpose(*schema.EDGE).values, dtype=float)
