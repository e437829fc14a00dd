"""Cubes cut, emptied and damaged by other tools: a message or a result with something in it, never a traceback.

By hand: ``python tests/fuzz/test_fuzz_cubes.py 2000 [SEED]``.
"""

from __future__ import annotations

import sys
import tempfile
from functools import cache
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import numpy as np
import pandas as pd
import xarray as xr
from fuzzing import by_hand, fuzz, ran

from acecausal.cube.check import validate
from acecausal.cube.files import open_cube, write_cube
from acecausal.errors import AceError
from acecausal.estimation.estimate import estimate
from acecausal.simulation.surveys import simulate
from acecausal.simulation.world import World

ODD = ["", " ", "x", "{", "[1, 2]", '{"a": null}', "[[1]]", "0.5", 0, -1, 2.5, 1e308, 10**18, [1, 2], np.arange(3)]


@cache
def cubes() -> tuple[xr.Dataset, xr.Dataset]:
    """People of a simulated world, and a model."""
    from exchange_files import noisy_model

    survey, _ = simulate(World.make(attributes=2, countries=2, values=3, options=4), respondents=300)
    human = estimate(survey, refute=2)
    return human, noisy_model(human)


@cache
def as_netcdf(whose: int) -> bytes:
    """One of the cubes as a file, written once: writing takes most of a case's time."""
    with tempfile.TemporaryDirectory() as folder:
        return write_cube(cubes()[whose], Path(folder) / "a.nc").read_bytes()


def mutated(cube: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:  # noqa: PLR0911
    """Change one thing as a tool might that does not know the schema."""
    cube = cube.copy(deep=True)
    names, dims = sorted(map(str, cube.data_vars)), sorted(map(str, cube.dims))
    coords = sorted(map(str, cube.coords))
    dim, name, coord = (str(rng.choice(choice)) for choice in (dims, names, coords))
    at = rng.integers(0, cube.sizes[dim], size=rng.integers(0, cube.sizes[dim] + 2))
    match rng.integers(0, 18):
        case 0:
            return cube.isel({dim: []})
        case 1:
            return cube.isel({dim: [int(rng.integers(0, cube.sizes[dim]))]})
        case 2:
            return cube.isel({dim: at})
        case 3:
            return cube.isel({dim: 0}, drop=bool(rng.integers(0, 2)))
        case 4:
            return cube.isel({dim: slice(None, None, -1)})
        case 5:
            return cube.drop_vars(coord)
        case 6:
            text = np.full(cube[coord].shape, rng.choice(["", "a"]), dtype=object)
            return cube.assign_coords({coord: (cube[coord].dims, text)})
        case 7:
            odd = rng.choice([np.nan, 0, -3, 1e9])
            return cube.assign_coords({coord: (cube[coord].dims, np.full(cube[coord].shape, odd))})
        case 8:
            labels = cube[coord].values.astype(object)
            labels.flat[int(rng.integers(0, labels.size))] = rng.choice(np.array([None, "", "z", 7, 1.5], dtype=object))
            return cube.assign_coords({coord: (cube[coord].dims, labels)})
        case 9:
            return cube.assign_coords({coord: (cube[coord].dims, rng.permutation(cube[coord].values))})
        case 10:
            cube.attrs.pop(rng.choice(list(cube.attrs)))
        case 11:
            cube.attrs[rng.choice(list(cube.attrs))] = ODD[rng.integers(0, len(ODD))]
        case 12:
            cube = cube.drop_vars(name)
        case 13:
            cube[name] = cube[name].astype(rng.choice(["float32", "int16", "uint8", "complex128", "bool", "str"]))
        case 14:
            cube[name] = cube[name].transpose(*rng.permutation(list(map(str, cube[name].dims))))
        case 15:
            values = cube[name].values
            values.flat[rng.integers(0, values.size, size=3)] = rng.choice([0, 1, -7, 100])
        case 16:
            values = cube[name].values.astype(float)
            values.flat[rng.integers(0, values.size, size=3)] = rng.choice([np.nan, np.inf])
            cube[name] = (cube[name].dims, values)
        case 17:
            other = cube.isel({dim: at[:2]})
            cube = xr.concat([cube, other], dim, data_vars="minimal", coords="minimal", compat="override", join="outer")
    return cube


def damaged(path: Path, rng: np.random.Generator) -> None:
    """Change bytes, cut a file short, or take one away."""
    files = sorted(file for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    file = files[rng.integers(0, len(files))]
    content = bytearray(file.read_bytes())
    match rng.integers(0, 3):
        case 0:
            content = content[: rng.integers(0, len(content) + 1)]
        case 1:
            for at in rng.integers(0, max(len(content), 1), size=4):
                content[at : at + 1] = bytes([rng.integers(0, 256)])
        case 2 if path.is_dir():
            file.unlink()
            return
    file.write_bytes(content)


def case(rng: np.random.Generator, folder: Path) -> str:
    """One cube through validation, and, if it passes, through two of the commands that read cubes."""
    human, model = cubes()
    whose = int(rng.integers(0, 3) == 0)
    path = folder / f"cube{rng.choice(['.zarr', '.nc'])}"
    if rng.integers(0, 4) == 0:
        write_cube((human, model)[whose], path)
        damaged(path, rng)
    else:
        try:
            cube = mutated((human, model)[whose], rng)
        except (ValueError, TypeError, KeyError):  # xarray and numpy refuse the change themselves
            return "not a cube that can be made"
        try:
            validate(cube)
        except AceError:
            return "refused"
        write_cube(cube, path)
    try:
        open_cube(path)
    except AceError:
        assert ran("show", path) == 1
        return "refused on opening"
    (folder / "other.nc").write_bytes(as_netcdf(1 - whose))
    pair = [folder / name for name in (("other.nc", path.name) if whose else (path.name, "other.nc"))]
    asked = [
        (("show", path), ""),
        (("show", path, "--options"), ""),
        (("compare", *pair), ""),
        (("export", "broom", path), "b.csv"),
        (("export", "ace-align", path), "tree"),
        (("export", "ace-align-pairs", path), "p.jsonl"),
        (("export", "popfidelity", path), "cells"),
        (("pool", path), "pool.csv"),
        (("report", *pair), "r.csv"),
        (("report", *pair), "r.md"),
        (("report", *pair), "r.html"),
    ]
    often = np.array([4, 4, 4, 4, 4, 4, 4, 4, 2, 1, 0.5])
    codes = []
    for number in rng.choice(len(asked), size=2, replace=False, p=often / often.sum()):
        args, name = asked[number]
        output = folder / (name or "none")
        codes.append(ran(*args, "-o", output) if name else ran(*args))
        there = [file for file in (output, *output.rglob("*")) if file.is_file()] if output.exists() else []
        if codes[-1]:
            assert not there, f"{args[:2]}: something half-written"
        elif name:
            assert there, f"{args[:2]}: success with nothing in it"
            assert all(file.stat().st_size for file in there), f"{args[:2]}: an empty file"
            assert output.suffix != ".csv" or len(pd.read_csv(output)), f"{args[:2]}: a table without rows"
    return "taken by all of the commands" if not any(codes) else "refused by a command"


def test_cubes(tmp_path):
    outcomes = fuzz(case, 15, tmp_path)
    assert outcomes["refused"] > 3
    assert outcomes["taken by all of the commands"] > 0


if __name__ == "__main__":
    by_hand(case)
