"""What a survey cube itself says against its numbers: arms that are hardly alike, checks that do not agree."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from acecausal.cube import schema

#: Weighting that leaves the arms further apart than so many standard deviations leaves them unlike (Stuart 2010).
DIFFERENCE = 0.25
#: The plain regression may be so many standard errors off; in the shipped surveys it is .2 at most.
DISAGREEMENT = 1.0

#: Reasons for readers.
REASONS = {
    "few_people": "too few people in an arm",
    "few_effective": "too few people in an arm, by their weights",
    "few_psus": "too few sampling units in an arm",
    "one_person": "one person carries most of an arm's weight, or decides the effect by a covariate far off all others",
    "cells_apart": "arms that meet in too few combinations of the other attributes",
    "arms_apart": "arms that hardly meet in what is held fixed",
    "unbalanced": "arms that no weighting makes alike",
    "constant_answers": "answers that do not vary",
    "impossible_number": "a result that no difference of shares can be",
    "census": "a standard error of 0 by design: by fpc everybody was asked",
}


def reasons(cube: xr.Dataset) -> dict[str, int]:
    """Count why there is no number, in words for readers; empty for cubes that do not say."""
    return count_reasons(cube["reason"].values) if "reason" in cube else {}


def count_reasons(codes: np.ndarray) -> dict[str, int]:
    """Count the codes of a cube's `reason`, of any shape, in words for readers."""
    counts = np.bincount(codes.ravel(), minlength=len(schema.REASONS))
    return {REASONS[name]: int(n) for name, n in zip(schema.REASONS, counts, strict=True) if n and name in REASONS}


def strangers(cube: xr.Dataset) -> list[str]:
    """List the countries and values that the cube's attrs do not speak of: another program put them beside the others.

    Programs that put cubes together keep the attrs of the first.
    """
    covers = json.loads(cube.attrs.get("covers", "{}"))
    return [
        str(label)
        for dim in ("country", "value") if dim in covers
        for label in cube[dim].values.tolist() if label not in covers[dim]
    ]  # fmt: skip


def put_together(cube: xr.Dataset) -> list[str]:
    """Say that a cube was put together from several, in one sentence or none."""
    added = strangers(cube)
    return (
        [
            f"of {', '.join(added)} neither source nor method is known: another program put them beside the others, of "
            "which alone the attrs speak"
        ]
        if added
        else []
    )


def doubts(cube: xr.Dataset) -> list[str]:
    """List what speaks against the effects in the context all: of the whole cube, then contrast by contrast.

    Returns
    -------
    list of str
        One sentence each: cubes put together, of which only the first's source and method are known; arms that cannot
        be compared, or hardly; plain regressions that differ by more than a standard error.
    """
    found = put_together(cube)
    for c, country in enumerate(cube["country"].values):
        for a, contrast in enumerate(cube["attribute"].values):
            part = cube.isel(country=c, attribute=a).sel(persona="all")
            words = [*_arms(part, int(cube.attrs.get("min_arm", 30))), *_regression(part)]
            found += [f"{country} {contrast}: {word}" for word in words]
    return found


def _arms(part: xr.Dataset, min_arm: int) -> list[str]:
    if "smd_largest" not in part or part.attrs.get("estimand") == "association":  # which promises no like with like
        return []
    apart = np.isin(part["reason"].values, [schema.ARMS_APART, schema.UNBALANCED]).any()
    difference, effective = float(part["smd_largest"]), float(part["n_eff_after"])
    if not apart and not difference > DIFFERENCE and not effective < min_arm:
        return []
    if not apart and not (part["status"].values == schema.OK).any():
        return []  # there is no number to doubt
    what = "arms that cannot be compared" if apart else "arms that are hardly alike"
    return [
        f"{what} (after weighting: largest difference {difference:.2f}{_in_what(part, difference)}, "
        f"{effective:.0f} effective people in an arm)"
    ]


def _in_what(part: xr.Dataset, difference: float) -> str:
    """Name the variable in which arms differ most, if the cube has the differences one by one."""
    after = np.abs(part["smd_after"].values) if "smd_after" in part else np.array([])
    at = np.flatnonzero(np.isclose(after, difference, rtol=1e-6, atol=0))
    return f" in {part['covariate'].values[at[0]]}" if len(at) else ""


def _regression(part: xr.Dataset) -> list[str]:
    if "regression_effect" not in part:
        return []
    with np.errstate(invalid="ignore"):
        gap = np.abs(((part["effect"] - part["regression_effect"]) / part["effect_se"]).values)
    at = np.flatnonzero(gap > DISAGREEMENT)
    if not len(at):
        return []
    worst = int(at[np.argmax(gap[at])])
    name = part["value"].values[worst]
    numbers = f"{float(part['effect'][worst]):+.3f} against {float(part['regression_effect'][worst]):+.3f} on {name}"
    more = f" and {len(at) - 1} more" if len(at) > 1 else ""
    return [f"a plain regression on the same cells differs by more than a standard error ({numbers}{more})"]
