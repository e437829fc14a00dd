"""The facts behind the pictures: cells of cubes as rows, each with the labels by which it is found in the cube."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from acecausal.comparison.power import critical
from acecausal.cube import schema
from acecausal.report import cells

#: Columns of a table of effects.
COLUMNS = (
    *("country", "contrast", "value", "context", "estimate", "std_error", "p_value", "conf_low", "conf_high"),
    *("q_value", "n", "n_baseline", "n_treated", "status"),
)
#: What columns are called where a table leaves the program, as broom does: charts cannot take dots in names.
PUBLIC = {
    **{"contrast": "attribute", "std_error": "std.error", "p_value": "p.value", "q_value": "q.value"},
    **{f"{name}_{end}": f"{name}.{end}" for name in ("conf", "band", "prediction") for end in ("low", "high")},
    "in_unit": "estimate.in.unit",
}
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
        A cube.
    where : tuple of numpy.ndarray
        Positions of the cells along country, attribute, value, persona.
    models : mapping of str to xarray.Dataset, optional

    Returns
    -------
    pandas.DataFrame
        Those of `COLUMNS` that the cube has (a model's has neither p-values nor arms); of a cube with continuous values
        in_unit, what the estimate is in the unit of such a value (missing of others), and unit; then ``m0``, ``m1``,
        ... with the models' effects; the cube's numbers, unrounded; `n` are the people that the effect speaks for.
        `status` is one of `cells.OUTCOMES`; where it is not ``ok`` the estimates are missing.
    """
    names = dict(zip(("country", "contrast", "value", "context"), schema.EDGE, strict=True))
    columns: dict[str, np.ndarray] = {
        name: cube[dim].values.astype(str)[at] for (name, dim), at in zip(names.items(), where, strict=True)
    }
    columns |= {name: cube[of].values[where] for name, of in _ARRAYS.items() if of in cube}
    if "effect_interval" in cube:
        interval = cube["effect_interval"].values[where]
        columns |= {"conf_low": interval[:, 0], "conf_high": interval[:, 1]}
    if "n_baseline" in cube:
        columns["n"] = cells.people(cube)[where]
    status = np.array(cells.OUTCOMES, dtype=object)[cells.outcomes(cube["status"].values[where], columns["estimate"])]
    columns["status"] = status
    frame = pd.DataFrame({name: columns[name] for name in COLUMNS if name in columns})
    if (numbers := cube["scale"].values == "continuous").any():
        width = np.where(numbers, cube["high"].values - cube["low"].values, np.nan)[where[2]]
        frame["in_unit"], frame["unit"] = frame["estimate"] * width, cube["unit"].values.astype(str)[where[2]]
    for i, model in enumerate((models or {}).values()):
        frame[f"m{i}"] = looked_up(model["effect"], cube, where)
    return frame


def shifts(
    cube: xr.Dataset, where: tuple[np.ndarray, ...], models: Mapping[str, xr.Dataset] | None = None
) -> pd.DataFrame:
    """List the shifts of chosen cells, one row per option.

    Parameters
    ----------
    cube, where, models
        As of `rows`.

    Returns
    -------
    pandas.DataFrame
        As of `rows`, with option (1..K) and option_label after context, and band_low, band_high after conf_high:
        estimate is the option's shift in probability, conf its pointwise interval, band holds all options of the cell
        at once; p_value and q_value are the cell's.
    """
    k = cube["n_options"].values[where[2]]
    cell = np.repeat(np.arange(len(k)), k)
    option = np.arange(len(cell)) - np.repeat(np.cumsum(k) - k, k)
    at = tuple(positions[cell] for positions in where)
    frame = rows(cube, where).iloc[cell].reset_index(drop=True).drop(columns=["in_unit", "unit"], errors="ignore")
    shift = cube["shift"].values[*at, option]
    frame = frame.assign(estimate=shift, status=frame["status"].replace("no_score", "ok"))
    if "shift_se" in cube:
        frame["std_error"] = cube["shift_se"].values[*at, option]
    for name, half in _halves(cube, at).items():
        low, high = (shift + side * half * frame["std_error"] for side in (-1, 1))
        frame = frame.drop(columns=[f"{name}_low", f"{name}_high"], errors="ignore")
        place = list(frame.columns).index("std_error" if name == "conf" else "conf_high") + 1
        frame.insert(place, f"{name}_low", low)
        frame.insert(place + 1, f"{name}_high", high)
    frame.insert(4, "option_label", cube["option_label"].values.astype(str)[at[2], option])
    frame.insert(4, "option", option + 1)
    for i, model in enumerate((models or {}).values()):
        frame[f"m{i}"] = looked_up(model["shift"], cube, at, option)
    return frame


def _halves(cube: xr.Dataset, at: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    """Read off half the width of a shift's interval and of its cell's band, in standard errors; what the cube has."""
    halves = {"conf": critical(cube)[at]} if "effect_interval" in cube else {}
    return halves | ({"band": cube["shift_critical"].values[at]} if "shift_critical" in cube else {})


def unordered(
    cube: xr.Dataset, models: Mapping[str, xr.Dataset] | None = None, *, everywhere: bool = False
) -> pd.DataFrame:
    """List the estimated shifts of values without an order, among everyone or in all contexts; see `shifts`."""
    there = (cube["status"].values == schema.OK) & cells.nominal(cube)[:, None]
    return shifts(cube, np.nonzero(there & (everywhere | (cube["persona"].values == "all"))), models)


def looked_up(
    moved: xr.DataArray, cube: xr.Dataset, where: tuple[np.ndarray, ...], option: np.ndarray | None = None
) -> np.ndarray:
    """Look a model's effects (or, of options, shifts) up at the cells of people's cube; NaN where it has none."""
    places = [
        pd.Index(moved[dim].values).get_indexer(cube[dim].values)[at]
        for dim, at in zip(schema.EDGE, where, strict=True)
    ]
    there = np.all([place >= 0 for place in places], axis=0)
    found = np.full(len(there), np.nan)
    numbers = moved.transpose(*schema.EDGE, ...).values
    found[there] = numbers[(*(place[there] for place in places), *([] if option is None else [option[there]]))]
    return found


def like(model: xr.Dataset, people: xr.Dataset) -> np.ndarray:
    """Lay a model's effects out like people's: missing where the model was not asked. Shape of people's `effect`."""
    labels = {dim: people[dim].values for dim in schema.EDGE}
    return np.asarray(model["effect"].reindex(labels).transpose(*schema.EDGE).values, dtype=float)
