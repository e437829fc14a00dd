"""Whether a model takes in who it is told to be: its heed contrast by contrast, and how far it drifts from people."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from acecausal.cube.files import lattice_of

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


def checks(human: xr.Dataset, model: xr.Dataset) -> list[dict[str, Any]]:
    """List {attribute, heed, drift_error} per contrast, None where it is not known; empty without check questions."""
    heed, errors = heeds(model), drift_errors(human, model)
    labels = model["attribute"].values.tolist() if heed else []
    return [{"attribute": label, "heed": heed.get(label), "drift_error": errors.get(label)} for label in labels]


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
