"""The check of a cube against the schema: on every write and every read."""

from __future__ import annotations

import numpy as np
import xarray as xr

from acecausal.cube import schema
from acecausal.cube.labels import attr_problems, label_problems
from acecausal.errors import CubeError

#: What rounding may do: to sums of shares as files have them, and to numbers that follow from one another (also where
#: they are kept in single precision); to p-values relatively.
SUM_TOLERANCE, TOLERANCE = 1e-4, 1e-6

#: What distributions and shifts sum to over the options.
_TOTALS = {"response": 1.0, "response_shrunk": 1.0, "wording_response": 1.0, "shift": 0.0, "shift_shrunk": 0.0}


def validate(cube: xr.Dataset, source: str = "cube") -> xr.Dataset:
    """Check a cube against the schema and return it.

    Raises
    ------
    CubeError
        Listing every violation: schema version, kind, attrs, labels that are empty or contradict one another, missing
        or foreign variables, wrong or transposed dimensions, dtype, range, a number that is missing where `status` is
        ok or present where it is not, and numbers that contradict one another: distributions that do not sum to 1,
        shifts that do not sum to 0, effects that are not their score-weighted shifts, intervals that do not hold their
        effect, q-values below p-values.
    """
    version = cube.attrs.get("acecausal_schema_version")
    if version is None:
        raise CubeError("not an acecausal cube", param=source, hint="cubes are written by estimate and elicit")
    if not isinstance(version, int | float | np.number | str) or str(version) != str(schema.VERSION):
        raise CubeError(
            "cube of another schema version",
            param=source,
            expected=str(schema.VERSION),
            got=str(version),
            hint="make the cube anew with this version of acecausal",
        )
    problems = _problems(cube)
    if problems:
        raise CubeError("breaks the schema:\n    " + "\n    ".join(problems), param=source)
    return cube


def _problems(cube: xr.Dataset) -> list[str]:
    kind = cube.attrs.get("kind")
    if not isinstance(kind, str) or kind not in schema.KINDS:
        return [f"attrs['kind']: expected one of {schema.KINDS}, got {kind!r}"]
    problems = attr_problems(cube.attrs)
    for name, dims in {**schema.COORDINATES, **schema.OPTIONAL_COORDINATES}.items():
        if name not in cube.coords and name in schema.OPTIONAL_COORDINATES:
            continue
        if name not in cube.coords:
            problems.append(f"coordinate {name}: missing")
        elif cube[name].dims != dims:
            problems.append(f"coordinate {name}: expected dims {dims}, got {cube[name].dims}")
    problems += [
        f"dimension {dim}: has no labels"
        for dim in ("country", "attribute", "value", "persona", "option")
        if dim not in cube.dims or dim not in cube.coords
    ]
    return problems or label_problems(cube) or _variable_problems(cube, kind)


def _variable_problems(cube: xr.Dataset, kind: str) -> list[str]:
    problems = []
    expected = [spec for spec in schema.VARIABLES if kind in spec.kinds]
    foreign = set(cube.data_vars) - {spec.name for spec in expected}
    problems += [f"{name}: not in the schema of a {kind} cube" for name in sorted(map(str, foreign))]
    for spec in expected:
        if spec.name not in cube:
            problems += [] if kind in spec.optional else [f"{spec.name}: missing"]
        elif cube[spec.name].dims != spec.dims:
            problems.append(f"{spec.name}: expected dims {spec.dims}, got {cube[spec.name].dims}")
        elif cube[spec.name].dtype.kind not in spec.dtype:
            problems.append(f"{spec.name}: expected dtype kind {spec.dtype}, got {cube[spec.name].dtype}")
        else:
            problems += _range_problems(spec, cube[spec.name].values)
    for group in schema.TOGETHER:
        absent = [name for name in group if name not in cube]
        if 0 < len(absent) < len(group):
            problems.append(f"{', '.join(absent)}: missing beside {', '.join(n for n in group if n in cube)}")
    return problems or _gaps(cube, expected) or _rule_problems(cube)


def _range_problems(spec: schema.Variable, values: np.ndarray) -> list[str]:
    if np.isinf(values).any():
        return [f"{spec.name}: holds infinite numbers"]
    low, high = spec.bounds
    slack = 1e-9
    outside = np.count_nonzero((values < low - slack) | (values > high + slack))
    return [f"{spec.name}: {outside} numbers outside [{low}, {high}]"] if outside else []


def _gaps(cube: xr.Dataset, expected: list[schema.Variable]) -> list[str]:
    """Find numbers missing where they must not be, or present where they must not be."""
    ok = cube["status"].values == schema.OK
    in_scale = cube["option"].values <= cube["n_options"].values[:, None]  # (value, option)
    scored = cube["scale"].values != "nominal"
    someone = cube["n"].values > 0
    several = someone & (cube["n_psu"].values > 1) if "n_psu" in cube else someone
    wanted = {"shift": ok, "effect": ok & scored[:, None], "response": someone, "spread": several}
    wanted["test"] = wanted["effect"]
    problems = []
    for spec in expected:
        if spec.present and spec.name in cube:
            there = wanted[spec.present]
            if "option" in spec.dims:
                there = there[..., None] & in_scale[:, None]
            elif "bound" in spec.dims:
                there = there[..., None]
            missing = np.isnan(cube[spec.name].values)
            elsewhere = ~missing & (~ok if spec.present == "test" else ~there)  # nominal values may have a test
            wrong = np.count_nonzero((missing & there) | elsewhere)
            if wrong:
                rule = "somebody answered" if spec.present in ("response", "spread") else "status is ok"
                problems.append(f"{spec.name}: {wrong} numbers missing where {rule}, or present elsewhere")
    return problems


def _rule_problems(cube: xr.Dataset) -> list[str]:
    """Find numbers that contradict one another: sums, effects against shifts, intervals, q- against p-values."""
    found: dict[str, int | np.signedinteger] = {}
    for name, total in _TOTALS.items():
        if name in cube:
            sums, there = np.nansum(cube[name].values, axis=-1), ~np.isnan(cube[name].values).all(axis=-1)
            found[f"{name}: {{}} of them do not sum to {total:g}"] = np.count_nonzero(
                there & (np.abs(sums - total) > SUM_TOLERANCE)
            )
    for effect, shift in (("effect", "shift"), ("effect_shrunk", "shift_shrunk")):
        if effect in cube:
            found[f"{effect}: {{}} are not the score-weighted {shift}"] = _unlike_shifts(cube, effect, shift)
    if "effect_interval" in cube:
        centre, (low, high) = cube["effect"].values, np.moveaxis(cube["effect_interval"].values, -1, 0)
        outside = (low > centre + TOLERANCE) | (high < centre - TOLERANCE)
        found["effect_interval: {} do not hold their effect"] = np.count_nonzero(outside)
    if "q_value" in cube:
        below = cube["q_value"].values < cube["p_value"].values * (1 - TOLERANCE)
        found["q_value: {} are below their p_value"] = np.count_nonzero(below)
    return [text.format(count) for text, count in found.items() if count]


def _unlike_shifts(cube: xr.Dataset, effect: str, shift: str) -> int:
    """Count the effects that are not what their shifts make of the score."""
    wrong = 0
    for v, k in enumerate(cube["n_options"].values.tolist()):  # views, no copy of all shifts
        moved = cube[shift].values[:, :, v, :, :k] @ schema.scores(k)
        wrong += int(np.count_nonzero(np.abs(cube[effect].values[:, :, v] - moved) > TOLERANCE))
    return wrong
