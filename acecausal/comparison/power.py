"""Design before data: what a survey like a pilot, but of another size, would be able to see."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import stats

from acecausal.cube import schema
from acecausal.cube.advice import merge
from acecausal.cube.lattice import Lattice
from acecausal.errors import AceError, CubeError

#: What is carried over from the pilot's attrs.
_TOLD = ("title", "source", "lattice", "estimand", "estimator", "confidence")


def critical(cube: xr.Dataset) -> np.ndarray:
    """Give the two-sided critical values of each cell's intervals, in standard errors, shape of `effect`.

    Those of a cube that does not keep its degrees of freedom are read off the effects' intervals. Then a nominal value
    takes the largest that another has in the same country, contrast and context, and the normal one if none has.
    """
    if "degrees_of_freedom" in cube:
        tail = (1 - float(cube.attrs.get("confidence", 0.95))) / 2
        return np.asarray(stats.t.isf(tail, cube["degrees_of_freedom"].values))
    se, interval = cube["effect_se"].values, cube["effect_interval"].values
    own = np.divide(interval[..., 1] - interval[..., 0], 2 * se, out=np.full(se.shape, np.nan), where=se > 0)
    others = np.fmax.reduce(own, axis=schema.EDGE.index("value"), keepdims=True, initial=np.nan)
    normal = stats.norm.ppf((1 + float(cube.attrs.get("confidence", 0.95))) / 2)
    return np.where(np.isfinite(own), own, np.where(np.isfinite(others), others, normal))


def power(effect: np.ndarray, se: np.ndarray, limit: np.ndarray, degrees: np.ndarray | float = np.inf) -> np.ndarray:
    """Probability of an interval that leaves 0 out.

    Parameters
    ----------
    effect, se, limit, degrees : numpy.ndarray, of shapes that fit together
        True effects, standard errors, critical values in standard errors, and degrees of freedom of the errors.

    Returns
    -------
    numpy.ndarray, 0..1
        That of a t distribution with noncentrality d = effect / se beyond both limits; with infinite degrees of
        freedom Phi(d - limit) + Phi(-d - limit).
    """
    d, limit, degrees = np.broadcast_arrays(np.asarray(effect) / np.asarray(se), limit, degrees)
    found = np.array(stats.norm.cdf(d - limit) + stats.norm.cdf(-d - limit))
    few = np.isfinite(degrees) & np.isfinite(d)
    moved = degrees[few], d[few]
    found[few] = stats.nct.sf(limit[few], *moved) + stats.nct.cdf(-limit[few], *moved)
    return found


def detectable(se: np.ndarray, limit: np.ndarray, wanted: float, degrees: np.ndarray | float = np.inf) -> np.ndarray:
    """Smallest effect of which the power is `wanted`, for one direction: (limit + t) se, t the quantile of Student's t.

    Nearly, with few degrees of freedom: the noncentral t is not the t moved.
    """
    return np.asarray((limit + stats.t.ppf(wanted, degrees)) * se)


def design(
    pilot: xr.Dataset,
    respondents: int,
    *,
    psus: int | None = None,
    effect: float | None = None,
    wanted: float = 0.8,
    min_arm: int | None = None,
) -> xr.Dataset:
    """Say what a survey of so many people in each country would be able to see, cell by cell.

    Parameters
    ----------
    pilot : xarray.Dataset
        A survey cube: of a pilot, of an earlier round, or of a simulated survey (`acecausal.simulation`).
    respondents : int
        People per country; of these as many answer a question as in the pilot, and as many have a level.
    psus : int, optional
        Sampling units per country; by default as many people in each as in the pilot.
    effect : float, optional
        True effect on the 0..1 score, above 0, by default each cell's own: the pilot's empirical-Bayes one.
    wanted : float
        Power that is aimed at, in (0.5, 1).
    min_arm : int, optional
        Fewest people per arm; by default the pilot's.

    Returns
    -------
    xarray.Dataset, dims of `effect` in the pilot
        n_baseline, n_treated: people in the arms, as many as are to be expected. se, half_width: of the effect and of
        its interval, score. detectable: smallest effect of which the power is `wanted`. power: of the true effect.
        enough: power of at least `wanted`. thin: an arm of fewer than `min_arm`: such cells have no number, nor have
        those that the pilot does not know.

    Raises
    ------
    CubeError
        If it is a model's cube, or does not say how many sampling units it has and `psus` is given.
    AceError
        If a number is out of range.

    Notes
    -----
    Variances fall with the people, pilot's n / n. Where `psus` is given they fall as slowly as people or units do,
    whichever is slower: which part of a variance lies between units a cube does not know, and this is the most that it
    can be. Critical values are the pilot's: with more units than it had they are somewhat too large, with fewer too
    small. Effects are scored, so values without an order have no number.
    """
    if pilot.attrs.get("kind") != "survey":
        raise CubeError("has no standard errors", param="pilot", expected="a survey cube", got="a model cube")
    if respondents < 1 or (psus is not None and not 2 <= psus <= respondents):
        raise AceError(
            "out of range", param="respondents, psus", expected="1 or more people, 2 units to one for each",
            got=f"{respondents}, {psus}",
        )  # fmt: skip
    if effect is not None and not 0 < effect <= 1:
        raise AceError("out of range", param="effect", expected="above 0, at most 1", got=effect)
    if not 0.5 < wanted < 1:
        raise AceError("out of range", param="power", expected="above 0.5, below 1", got=wanted)
    if "all" not in pilot["persona"].values:
        raise CubeError("missing", param="persona all", hint="design from a cube with all its personas")
    if not (pilot["scale"] != "nominal").any():
        raise CubeError("have no order, hence no effect", param="values", expected="a value with a score")
    least = int(pilot.attrs["min_arm"]) if min_arm is None else min_arm
    people = pilot["n"].sel(persona="all").transpose("country", "value").values.max(axis=1)  # (country,)
    larger = (respondents / np.maximum(people, 1))[:, None, None, None]
    slower = larger
    if psus is not None:
        if "n_psu" not in pilot:
            raise CubeError("does not say how many sampling units it has", param="pilot", hint="leave psus out")
        units = pilot["n_psu"].sel(persona="all").transpose("country", "value").values.max(axis=1)
        slower = np.minimum(larger, (psus / np.maximum(units, 1))[:, None, None, None])
    arms = {f"n_{arm}": pilot[f"n_{arm}"].values * larger for arm in ("baseline", "treated")}
    thin = np.minimum(*arms.values()) < least
    known = (pilot["status"].values == schema.OK) & np.isfinite(pilot["effect_se"].values) & ~thin
    se = np.where(known, pilot["effect_se"].values / np.sqrt(slower), np.nan)
    limit = critical(pilot)
    degrees = pilot["degrees_of_freedom"].values if "degrees_of_freedom" in pilot else np.inf
    true = np.abs(pilot["effect_shrunk"].values) if effect is None else np.full(se.shape, effect)
    found = {
        **{name: np.where(pilot["status"].values == schema.NOT_APPLICABLE, np.nan, n) for name, n in arms.items()},
        "se": se,
        "half_width": limit * se,
        "detectable": detectable(se, limit, wanted, degrees),
        "power": power(true, se, limit, degrees),
        "thin": thin & (pilot["status"].values != schema.NOT_APPLICABLE),
    }
    made = xr.Dataset({name: (schema.EDGE, numbers) for name, numbers in found.items()})
    made["enough"] = made["power"] >= wanted
    made = made.assign_coords({name: pilot[name] for name in pilot.coords if set(pilot[name].dims) <= set(schema.EDGE)})
    made.attrs = {
        **{name: pilot.attrs[name] for name in _TOLD if name in pilot.attrs},
        "respondents": respondents, "psus": psus or "as in the pilot", "power": wanted, "min_arm": least,
        "effect": "the pilot's empirical-Bayes effects" if effect is None else effect,
    }  # fmt: skip
    return made


def summary(cells: xr.Dataset) -> dict[str, float | None]:
    """Say of some cells of a `design` what is typical.

    Returns
    -------
    dict of str to float or None
        cells: edges of the lattice. thin: of them those with too few people; unknown: others that the pilot has no
        number of. arm, half_width, detectable, power: medians over those that have one (None where none has); arm is
        the smaller one's people. enough: share of all edges with enough power.
    """
    edges = np.isfinite(cells["n_baseline"].values)
    thin, known = cells["thin"].values[edges], np.isfinite(cells["se"].values[edges])
    numbers = {name: cells[name].values for name in ("half_width", "detectable", "power")}
    numbers["arm"] = np.minimum(cells["n_baseline"].values, cells["n_treated"].values)
    found = {name: array[np.isfinite(array)] for name, array in numbers.items()}
    return {
        "cells": int(edges.sum()), "thin": int(thin.sum()), "unknown": int((~thin & ~known).sum()),
        **{name: float(np.median(array)) if array.size else None for name, array in found.items()},
        "enough": float(cells["enough"].values[edges].mean()) if edges.any() else None,
    }  # fmt: skip


def advice(found: xr.Dataset) -> list[str]:
    """Say which levels are too thin among everyone, and what to merge them with; of a country once each.

    Parameters
    ----------
    found : xarray.Dataset
        From `design`.
    """
    lattice = Lattice.from_json(found.attrs["lattice"])
    levels = {attribute.name: attribute for attribute in lattice.attributes}
    said: dict[str, None] = {}
    everyone = found.sel(persona="all")
    for c, a in zip(*np.nonzero(everyone["thin"].values.all(axis=-1)), strict=True):
        cell = everyone.isel(country=c, attribute=a)
        treated = str(cell["attribute"].item()).partition(":")[2]
        sizes = {str(cell["baseline"].item()): cell["n_baseline"].max(), treated: cell["n_treated"].max()}
        level = min(sizes, key=lambda name: float(sizes[name]))
        attribute = levels[str(cell["treatment"].item())]
        about = f"{cell['country'].item()}, {level}: about {float(sizes[level]):.0f} people"
        said[f"{about}; {merge(attribute, level)}"] = None
    return list(said)
