"""Whether a model takes in who it is told to be: its heed contrast by contrast, and how far it drifts from people."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

from acecausal.cube.files import lattice_of
from acecausal.cube.functional import effect_functional, effects_of, held_fixed

#: Below this the model does not take a contrast in, and its effects are not effects of being somebody.
HEEDED = 0.5
#: Stands beside the effects of what a model does not take in.
MARK = "\u2020"


def heeds(model: xr.Dataset) -> dict[str, float]:
    """Average a model's heed over countries and contexts.

    Returns
    -------
    dict of str to float
        Per contrast, as ``gender:female``; without those of which nothing is known, and empty for a cube without check
        questions.
    """
    if "heed" not in model:
        return {}
    heed = model["heed"].transpose("attribute", ...).values
    known = [row[np.isfinite(row)] for row in heed]
    return {
        str(label): float(row.mean()) for label, row in zip(model["attribute"].values, known, strict=True) if row.size
    }


def unheeded(model: xr.Dataset) -> set[str]:
    """Name the contrasts that the model does not take in: heed below `HEEDED`."""
    return {label for label, heed in heeds(model).items() if heed < HEEDED}


def drift_errors(human: xr.Dataset, model: xr.Dataset) -> dict[str, float]:
    """Average how far a model's drift is from people's: what it makes of attributes that it was not told.

    Parameters
    ----------
    human, model : xarray.Dataset
        With the same countries and contrasts.

    Returns
    -------
    dict of str to float
        Per contrast the mean absolute difference, 0..2, over countries and the levels of all other attributes; without
        those that one of the cubes does not know.
    """
    if "drift" not in human or "drift" not in model:
        return {}
    ours, theirs = (cube["drift"].values for cube in (human, _along(model, human)))
    gaps = {str(label): np.abs(ours - theirs)[:, a] for a, label in enumerate(human["attribute"].values)}
    return {label: float(gap[np.isfinite(gap)].mean()) for label, gap in gaps.items() if np.isfinite(gap).any()}


def _along(model: xr.Dataset, human: xr.Dataset) -> xr.Dataset:
    """Bring the model's checked levels into the order of people's; those that it does not have are missing."""
    return model[["drift"]].reindex(checked=human["checked"].values)


def by_implication(human: xr.Dataset, model: xr.Dataset) -> tuple[np.ndarray, np.ndarray] | None:
    """Reckon a model's effects in the context all twice: one word edited, and all other attributes stated besides.

    Parameters
    ----------
    human, model : xarray.Dataset
        With the same labels, see `acecausal.comparison.compare.shared`.

    Returns
    -------
    edited, stated : numpy.ndarray, shape (country, attribute, value)
        On the 0..1 score: response(treated) - response(baseline); and the same of the finest personas, averaged by
        people's shares. What they differ by came by implication. None where people's cube has no shares.
    """
    if held_fixed(human) is None or "all" not in human["persona"].values:
        return None
    names = [attribute.name for attribute in lattice_of(human).attributes]
    others = json.dumps({name: [other for other in names if other != name] for name in names})
    direct = human.assign_attrs(estimand="direct", modifiers=others, adjustment=others)
    plain = human.drop_vars("share")
    at = human["persona"].values.tolist().index("all")
    response = model["response"].values
    edited, stated = (effects_of(response, effect_functional(c), human)["effect"][..., at] for c in (plain, direct))
    return edited, stated


def checks(human: xr.Dataset, model: xr.Dataset) -> list[dict[str, Any]]:
    """List what is known of each contrast beside its effects; empty without check questions.

    Returns
    -------
    list of dict
        ``attribute``, ``heed``, ``drift_error``, and, as root mean squares over countries and values in the context
        all, ``edited`` (the effect of one edited word), ``stated`` (with all other attributes stated) and
        ``implied`` (their difference: what came by implication). None where it is not known.
    """
    heed, errors, twice = heeds(model), drift_errors(human, model), by_implication(human, model)
    rows = []
    for a, label in enumerate(model["attribute"].values.tolist() if heed else []):
        row = {"attribute": label, "heed": heed.get(label), "drift_error": errors.get(label)}
        edited, stated = (np.full(1, np.nan),) * 2 if twice is None else (effect[:, a].ravel() for effect in twice)
        both = np.isfinite(edited) & np.isfinite(stated)
        for name, effect in (("edited", edited), ("stated", stated), ("implied", edited - stated)):
            row[name] = float(np.sqrt((effect[both] ** 2).mean())) if both.any() else None
        rows.append(row)
    return rows


def split(model: xr.Dataset) -> dict[str, np.ndarray]:
    """Split the contrasts into those that the model takes in, and those that it does not.

    Returns
    -------
    dict of str to numpy.ndarray, shape (contrasts,), bool
        ``heeded``, and ``not_heeded`` where heed is below `HEEDED` or not known; empty without check questions.
    """
    found = heeds(model)
    heeded = np.isin(model["attribute"].values.astype(str), sorted(set(found) - unheeded(model)))
    return {"heeded": heeded, "not_heeded": ~heeded} if found else {}


def summary(model: xr.Dataset) -> str:
    """Put the heed of every contrast into a line, as ``heed: gender:female +.85``; '' without check questions."""
    found = heeds(model)
    return "heed: " + ", ".join(f"{label} {heed:+.2f}" for label, heed in found.items()) if found else ""


def warnings(model: xr.Dataset) -> list[str]:
    """Say in plain words what the model does not take in: one sentence, or none."""
    lattice = lattice_of(model)
    phrases = {
        label: lattice.attributes[c.attribute].levels[c.treated].phrase
        for label, c in zip(lattice.contrast_labels, lattice.contrasts, strict=True)
    }
    heed = heeds(model)
    ignored = [label for label in heed if label in unheeded(model)]
    if not ignored:
        return []
    listed = ", ".join(f'"{phrases[label]}" (heed {heed[label]:+.2f})' for label in ignored)
    return [
        f"the model does not take in being {listed}: told so, it hardly says so when asked (1 would be always, 0 not "
        f"more often than when told the baseline), and its effects marked {MARK} are not effects of being somebody"
    ]
