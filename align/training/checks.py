"""Check questions as training items: who is told to be a woman, and is asked, says so."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from acecausal.cube.files import lattice_of
from acecausal.cube.lattice import Lattice
from align.training.targets import Target


def make_checks(cube: xr.Dataset) -> list[Target]:
    """Make a target of each attribute in each country, whatever is held out: no answer to any value enters.

    Parameters
    ----------
    cube : xarray.Dataset
        A survey cube. Without `implied` only personas that are told the level are asked.

    Returns
    -------
    list of Target
        `value` is the attribute's position. The responses of a persona that is told a level are that level; of one that
        is not, people's shares (`implied`). No edges.
    """
    lattice = lattice_of(cube)
    shape = (cube.sizes["country"], len(lattice.personas), sum(len(a.levels) for a in lattice.attributes))
    shares = cube["implied"].values if "implied" in cube else np.full(shape, np.nan)
    return [_target(lattice, shares[c], c, j) for c in range(shape[0]) for j in range(len(lattice.attributes))]


def _target(lattice: Lattice, shares: np.ndarray, country: int, attribute: int) -> Target:
    sizes = [len(a.levels) for a in lattice.attributes]
    start, size = sum(sizes[:attribute]), sizes[attribute]
    right = shares[:, start : start + size].copy()
    told = lattice.codes[:, attribute] >= 0
    right[told] = np.eye(size)[lattice.codes[told, attribute]]
    known = np.flatnonzero(np.isfinite(right).all(axis=1))
    return Target(
        country,
        attribute,
        personas=torch.from_numpy(known),
        response=torch.from_numpy(right[known]).float(),
        weight=torch.ones(len(known)),
        functional=torch.zeros(0, len(known)),
        transform=torch.eye(size),
        shift=torch.zeros(0, size),
        precision=torch.zeros(0),
        apart=torch.zeros(0, len(known)),
        known=torch.zeros(0, size),
        mixed=torch.zeros(0, len(known)),
    )
