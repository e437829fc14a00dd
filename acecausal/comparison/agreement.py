"""Whether a model answers by content or by place: its effects when the same is asked in another way."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import xarray as xr

#: Below this a model answers by place (or by mark, or by template) rather than by meaning.
CONTENT = 0.5
#: What a wording's label says, in this order.
PARTS = ("template", "order", "marks")


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Hold the effects under two wordings against each other.

    Parameters
    ----------
    one, other : numpy.ndarray, same shape
        Effects of the same contrasts; NaN does not count.

    Returns
    -------
    float
        Sum of products over the mean of the two sums of squares: 1 the same effects, 0 unrelated ones, -1 the
        opposite. NaN if there are no effects at all.
    """
    there = np.isfinite(one) & np.isfinite(other)
    a, b = one[there], other[there]
    squares = (a @ a + b @ b) / 2
    return float(a @ b / squares) if squares > 0 else float("nan")


def agreements(effects: np.ndarray, wordings: Sequence[tuple[str, ...]]) -> dict[str, float]:
    """Hold wordings that differ in one part only against each other, part by part.

    Parameters
    ----------
    effects : numpy.ndarray, shape (wordings, ...)
    wordings : sequence of tuple of str
        Each as `PARTS`.

    Returns
    -------
    dict of str to float
        ``template``, ``order``, ``marks``: the mean over all pairs that differ in that part alone; parts that do not
        vary are left out.
    """
    found: dict[str, list[float]] = {}
    for i, j in combinations(range(len(wordings)), 2):
        differ = [part for part, a, b in zip(PARTS, wordings[i], wordings[j], strict=True) if a != b]
        if len(differ) == 1:
            found.setdefault(differ[0], []).append(agreement(effects[i], effects[j]))
    return {part: float(np.nanmean(pairs)) for part, pairs in found.items() if np.isfinite(pairs).any()}


def warnings(cube: xr.Dataset) -> list[str]:
    """Say in plain words where a model cube's effects do not survive another way of asking."""
    words = {"order": "place", "marks": "mark", "template": "template"}
    said = []
    for part in PARTS:
        found = cube.attrs.get(f"{part}_agreement")
        if found is not None and float(found) < CONTENT:
            said.append(
                f"this model answers by {words[part]}, not by meaning: {part} agreement {float(found):+.2f} (1: its "
                f"effects are the same in another {part}, -1: the opposite)"
            )
    return said


def standard_error(each: np.ndarray) -> np.ndarray:
    """Give the standard error of the mean over the first axis, that of wordings."""
    return np.asarray(each.std(axis=0, ddof=1) / np.sqrt(len(each)))
