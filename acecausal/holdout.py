"""What a model did not see: held-out countries and values, as text, as a mask, as cube attribute."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from acecausal.errors import AceError, unknown

#: Dimensions by which something can be held out.
DIMENSIONS = ("country", "value")

HoldOut = dict[str, list[str]]


def parse(texts: Sequence[str], cube: xr.Dataset) -> HoldOut:
    """Read ``country=USA`` and ``value=poverty,trust`` into a mapping, checked against the cube's labels.

    Raises
    ------
    AceError
        For another form, an unknown dimension or label, or a hold-out that leaves nothing.
    """
    held: HoldOut = {}
    for text in texts:
        dimension, equals, labels = text.partition("=")
        if not equals or not labels:
            raise AceError(
                "cannot be read", param="--hold-out", expected="country=LABEL[,LABEL] or value=...", got=text
            )
        if dimension not in DIMENSIONS:
            raise unknown("--hold-out", dimension, DIMENSIONS)
        for label in map(str.strip, labels.split(",")):
            if label not in cube[dimension].values.tolist():
                raise unknown(f"--hold-out {dimension}", label, cube[dimension].values.tolist())
            held.setdefault(dimension, []).append(label)
    if held and mask(held, cube).all():
        raise AceError("everything is held out", param="--hold-out", got=" ".join(texts))
    return held


def mask(held: HoldOut, cube: xr.Dataset) -> np.ndarray:
    """Say which cells are held out, shape (country, value), bool: any one held-out label suffices."""
    country = np.isin(cube["country"].values.astype(str), held.get("country", []))
    value = np.isin(cube["value"].values.astype(str), held.get("value", []))
    return country[:, None] | value[None, :]


def of(cube: xr.Dataset) -> HoldOut:
    """Read from a model cube what its adapter's training held out; empty if nothing did."""
    held: HoldOut = json.loads(cube.attrs.get("held_out", "{}"))
    return held
