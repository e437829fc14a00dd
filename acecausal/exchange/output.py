"""Writing beside the place, then renaming: nothing half-written ever stands there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.cube.outputs import check_output, whole
from acecausal.errors import AceError, CubeError
from acecausal.exchange.rows import Words, wording


@contextmanager
def beside(path: Path, *, suffixes: tuple[str, ...] = (), force: bool) -> Iterator[Path]:
    """Yield where to write; what was written there is renamed to `path` if the block ends well.

    Parameters
    ----------
    suffixes : tuple of str
        Of files; empty for folders, which are never replaced, since nobody knows what else is in them.
    """
    if not suffixes and path.exists():
        raise AceError("exists already", param=str(path), hint="use another name: a folder is never overwritten")
    if path.is_dir():
        raise AceError("is a folder", param=str(path), expected="a file", hint="use another name")
    check_output(path, suffixes=suffixes, force=force)
    with whole(path) as part:
        yield part


def people(cube: xr.Dataset) -> xr.Dataset:
    """Return the cube, if it is one of people: the format has no place for a model's answers.

    Raises
    ------
    CubeError
    """
    if cube.attrs["kind"] != "survey":
        raise CubeError("is a model's cube", param="CUBE", expected="a survey cube")
    return cube


def lost(cube: xr.Dataset, kept: Sequence[str] = (), words: Words | None = None) -> list[str]:
    """Say what a format that holds responses and sample sizes does not hold of a survey cube.

    Parameters
    ----------
    kept : sequence of str
        What it holds nevertheless: nominal.
    words : mapping, optional
        Labels and phrases that an import knows (see `acecausal.exchange.rows.Words`).
    """
    found = []
    if cube.attrs.get("estimand", "association") != "association":
        found.append(
            f"the effects ({cube.attrs['estimand']}): only responses are written, of which an import makes associations"
        )
    if not np.allclose(cube["n_eff"], cube["n"]):
        found.append("weights: n is written, n_eff is not")
    response = cube["response"]
    if not np.allclose(cube["response_se"], np.sqrt(response * (1 - response) / cube["n"].clip(1)), equal_nan=True):
        found.append("standard errors under the design: an import takes groups as independent multinomial samples")
    lattice = cubes.lattice_of(cube)
    made = {
        (a.name, x.name): (words or {}).get((a.name, x.name), wording(a.name.replace("_", " "), x.name))
        for a in lattice.attributes
        for x in a.levels
    }
    worded = [
        a.name for a in lattice.attributes if any((x.label, x.phrase) != made[a.name, x.name] for x in a.levels)
    ]  # fmt: skip
    if worded:
        found.append(f"labels of levels and their wording in personas: {', '.join(worded)}")
    moved = [a.name for a in lattice.attributes if a.baseline_code != 0]
    if moved:
        found.append(f"the order of levels (the baseline is written first): {', '.join(moved)}")
    nominal = [v.name for v in cubes.values_of(cube) if v.scale == "nominal"]
    if nominal and "nominal" not in kept:
        found.append(f"that options have no order: import with --nominal {','.join(nominal)}")
    for dim in ("country", "value"):
        empty = (cube["n"] == 0).all([d for d in schema.RESPONSE if d != dim]).values
        if empty.any():
            found.append(f"what nobody was asked: {dim} {', '.join(map(str, cube[dim].values[empty]))}")
    if (cube["region"] != "").any():
        found.append("regions of countries")
    extra = [spec.name for spec in schema.VARIABLES if "survey" in spec.optional and spec.name in cube]
    if extra:
        found.append(f"diagnostics: {', '.join(extra)}")
    return found


def write_json_lines(rows: Iterator[dict[str, Any]], path: Path) -> int:
    """Write one JSON object per line, and count them."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count
