"""Coherence: whether a model's answer to a coarse persona is what its answers to the finer ones amount to."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from acecausal.comparison.distance import distribution_distance
from acecausal.cube.functional import mixture_functional


def coherence(response: np.ndarray, like: xr.Dataset) -> np.ndarray:
    """Hold answers to coarse personas against the mixture of those to the finest, weighted by their shares.

    Parameters
    ----------
    response : numpy.ndarray, shape (country, value, persona, option)
    like : xarray.Dataset
        The survey cube with the shares, of the same shape.

    Returns
    -------
    numpy.ndarray, shape (country, value, persona)
        Earth mover's distance over the scale's length (ordinal, binary) or total variation (nominal), 0..1: 0 is
        coherent. NaN for the finest personas, and where shares or a response are missing.
    """
    mixture, _ = mixture_functional(like).apply(response)
    scales = zip(like["n_options"].values.tolist(), like["scale"].values.tolist(), strict=True)
    apart = [distribution_distance(response[:, v], mixture[:, v], *scale) for v, scale in enumerate(scales)]
    return np.stack(apart, axis=1)


def by_granularity(human: xr.Dataset, model: xr.Dataset) -> list[dict[str, Any]]:
    """Average a model's coherence by granularity.

    Parameters
    ----------
    human, model : xarray.Dataset
        With the same labels, see `acecausal.comparison.compare.shared`.

    Returns
    -------
    list of dict
        ``granularity``, ``distance`` (mean over countries, values and personas) and ``cells``; without the finest, and
        empty if the survey's cube has no shares.
    """
    found = coherence(model["response"].values, human)
    granularity = human["granularity"].values
    rows = []
    for number in np.unique(granularity):
        here = found[:, :, granularity == number]
        known = np.isfinite(here)
        if known.any():
            rows.append({"granularity": int(number), "distance": float(here[known].mean()), "cells": int(known.sum())})
    return rows


def coherence_lines(human: xr.Dataset, model: xr.Dataset) -> list[str]:
    """Say per granularity how coherent a model is; parameters as of `by_granularity`."""
    return [
        f"coherence, personas of {row['granularity']} attributes: {row['distance']:.4f} from the mixture of the finest "
        f"({row['cells']} cells; 0 is coherent)"
        for row in by_granularity(human, model)
    ]
