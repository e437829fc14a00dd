"""What to do where there is no number: for each reason what helps, and which levels to merge."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr

from acecausal.cube import schema
from acecausal.cube.doubts import REASONS
from acecausal.cube.lattice import Attribute, Lattice

#: What helps, by reason.
ADVICE = {
    "few_people": "merge levels, take fewer attributes, or lower min_arm",
    "few_effective": "merge levels, or trim the largest weights",
    "few_psus": "merge levels, or check that psu names the column of the clusters: only more of them help otherwise",
    "one_person": "look at that person's weight and covariates: trim the weight, or cut the covariate into levels",
    "cells_apart": "merge levels of the other attributes, or take fewer of them",
    "arms_apart": "leave out what all but decides the attribute, or merge its levels",
    "unbalanced": "leave out what all but decides the attribute, or merge its levels",
    "constant_answers": "merge options, or leave the value out: there is nothing to move",
    "impossible_number": "look at the weights and covariates of this arm, or try --estimand association",
    "census": "leave fpc out to take those asked for a sample",
}
_THIN = ("few_people", "few_effective")


def general(codes: np.ndarray) -> str:
    """Say what helps, by the reasons (codes of the schema, any shape) that occur, the most frequent first; or ''."""
    counts = np.bincount(codes.ravel(), minlength=len(schema.REASONS))
    frequent = [schema.REASONS[code] for code in np.argsort(-counts, kind="stable") if counts[code]]
    return "; ".join(f"{REASONS[name]}: {ADVICE[name]}" for name in frequent if name in ADVICE)


def advice(cube: xr.Dataset, context: str = "all") -> list[str]:
    """Say of every contrast that has no number in a context why, and what to do about it.

    Parameters
    ----------
    cube : xarray.Dataset
        A survey cube; without `reason` or the context nothing is said.
    context : str
        A persona of the cube; ``all`` is everyone.

    Returns
    -------
    list of str
        One sentence per contrast and reason, in the cube's order, the countries and values named that it is true of.
    """
    if "reason" not in cube or context not in cube["persona"].values:
        return []
    part = cube.sel(persona=context)
    lattice = Lattice.from_json(cube.attrs["lattice"])
    found = []
    for a, label in enumerate(part["attribute"].values.astype(str)):
        own = part.isel(attribute=a)
        for code in range(1, len(schema.REASONS)):
            name, whole = schema.REASONS[code], own["reason"].values == code  # (country, value)
            smaller = (own["n_baseline"] < own["n_treated"]).values
            for there in (whole & smaller, whole & ~smaller) if name in _THIN else (whole,):
                if there.any():
                    found.append(_sentence(part, own, there, lattice, label, name))
    return found


def _sentence(part: xr.Dataset, own: xr.Dataset, there: np.ndarray, lattice: Lattice, label: str, name: str) -> str:
    countries = part["country"].values[there.any(axis=1)]
    values = part["value"].values[there.any(axis=0)]
    where = _some(countries) if len(countries) < part.sizes["country"] else ""
    of = _some(values) if len(values) < part.sizes["value"] else ""
    at = "; ".join(text for text in (where, of) if text)
    what = REASONS[name] + (_sizes(own, there, label) if name in _THIN else "")
    todo = _merge(own, there, lattice, label) if name in _THIN else ADVICE[name]
    return f"{label}{f' ({at})' if at else ''}: {what}; {todo}"


def _some(names: Iterable[object], most: int = 4) -> str:
    listed = [str(name) for name in names]
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")


def _sizes(own: xr.Dataset, there: np.ndarray, label: str) -> str:
    arms = {"treated": label.partition(":")[2], "baseline": str(own["baseline"].item())}
    sizes = {level: int(own[f"n_{arm}"].values[there].min()) for arm, level in arms.items()}
    return f" ({', '.join(f'{size:,} of {level}' for level, size in sorted(sizes.items(), key=lambda pair: pair[1]))})"


def _merge(own: xr.Dataset, there: np.ndarray, lattice: Lattice, label: str) -> str:
    treatment = str(own["treatment"].item())
    attribute: Attribute = next(a for a in lattice.attributes if a.name == treatment)
    thin_baseline = int(own["n_baseline"].values[there].min()) < int(own["n_treated"].values[there].min())
    return merge(attribute, attribute.baseline if thin_baseline else label.partition(":")[2])


def merge(attribute: Attribute, thin: str) -> str:
    """Name the levels beside a thin one; whether they are near in meaning only people know."""
    names = list(attribute.level_names)
    if len(names) == 2:
        return f"{attribute.name} has no third level to merge with: leave it out there, or put countries together"
    at = names.index(thin)
    neighbours = " or ".join(names[i] for i in (at - 1, at + 1) if 0 <= i < len(names))
    return f"merge {thin} with the level nearest in meaning in the codebook (beside it: {neighbours})"
