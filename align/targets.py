"""Training targets: what a survey cube says about one question in one country, as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

from acecausal import cube as cubes
from acecausal import holdout, schema
from acecausal.comparison import MIN_RESPONDENTS
from acecausal.errors import CubeError

#: No shift counts as known better than this (standard error, in probability).
SE_FLOOR = 0.01


@dataclass(frozen=True, slots=True)
class Target:
    """One lattice: the responses and shifts of one value in one country.

    Attributes
    ----------
    country, value : int
        Positions in the cube.
    response : torch.Tensor, shape (personas, options)
        0 where too few answered.
    weight : torch.Tensor, shape (personas,)
        Effective sample size; 0 where too few answered.
    low, high : torch.Tensor, shape (edges,), int64
        Baseline and treated persona of each estimated edge.
    transform : torch.Tensor, shape (options, d)
        Takes options to what shifts are compared on: cumulative probabilities (ordinal, binary), or the options
        themselves (nominal).
    shift : torch.Tensor, shape (edges, d)
    precision : torch.Tensor, shape (edges,)
        One over the mean squared standard error of the shift.
    """

    country: int
    value: int
    response: torch.Tensor
    weight: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    transform: torch.Tensor
    shift: torch.Tensor
    precision: torch.Tensor


def make_targets(cube: xr.Dataset, held_out: holdout.HoldOut | None = None) -> list[Target]:
    """Cut a survey cube into lattices, without what is held out.

    Raises
    ------
    CubeError
        If it is not a survey cube, or no lattice has both a response and an estimated shift.
    """
    if cube.attrs["kind"] != "survey":
        raise CubeError("is a model's cube", param="--cube", expected="a survey cube")
    held = holdout.mask(held_out or {}, cube)
    edges = cubes.lattice_of(cube).edges
    targets = [
        target
        for c in range(cube.sizes["country"])
        for v in range(cube.sizes["value"])
        if not held[c, v] and (target := _target(cube, c, v, edges)) is not None
    ]
    if not targets:
        raise CubeError("nothing to train on", param="--cube", hint="hold out less, or estimate with a smaller min_arm")
    return targets


def _target(cube: xr.Dataset, country: int, value: int, edges: np.ndarray) -> Target | None:
    n_options, scale = int(cube["n_options"][value]), str(cube["scale"].values[value])
    response = cube["response"].values[country, value, :, :n_options]
    answered = cube["n"].values[country, value] >= MIN_RESPONDENTS
    weight = np.where(answered, cube["n_eff"].values[country, value], 0.0)
    contrast, context, low, high = edges.T
    at = (country, contrast, value, context)
    known = cube["status"].values[at] == schema.OK
    if not answered.any() or not known.any():
        return None
    shift = cube["shift"].values[at][known][:, :n_options]
    if scale == "nominal":
        transform, se = np.eye(n_options), cube["shift_se"].values[at][known][:, :n_options]
    else:
        transform = np.triu(np.ones((n_options, n_options)))[:, :-1]
        se = cube["cumulative_shift_se"].values[at][known][:, : n_options - 1]
    tensor = torch.from_numpy
    return Target(
        country,
        value,
        response=tensor(np.where(answered[:, None], response, 0.0)).float(),
        weight=tensor(weight).float(),
        low=tensor(low[known]),
        high=tensor(high[known]),
        transform=tensor(transform).float(),
        shift=tensor(shift @ transform).float(),
        precision=tensor(1 / np.maximum((se**2).mean(axis=1), SE_FLOOR**2)).float(),
    )
