"""Making, writing and opening cubes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr

import acecausal.accessor  # noqa: F401  makes cube.ace known to xarray
from acecausal import schema
from acecausal.errors import CubeError
from acecausal.lattice import Lattice
from acecausal.outputs import check_output, whole


@dataclass(frozen=True, slots=True)
class Value:
    """One survey question: its name, wording, topic, scale, and options in order of meaning."""

    name: str
    question: str
    topic: str
    scale: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Country:
    """One country: its name in the cube, its label for readers and prompts, its world region."""

    name: str
    label: str
    region: str


def build(
    kind: str,
    countries: Sequence[Country],
    values: Sequence[Value],
    lattice: Lattice,
    arrays: Mapping[str, np.ndarray],
    attrs: Mapping[str, Any],
    labels: Mapping[str, Sequence[Any]] = MappingProxyType({}),
) -> xr.Dataset:
    """Put arrays under labels and check the result.

    Parameters
    ----------
    kind : {'survey', 'model'}
    countries, values, lattice
        What the dimensions country, value, attribute and persona run over.
    arrays : mapping of str to numpy.ndarray
        Variables of the schema, in the schema's dimension order; options beyond a value's own are NaN.
    attrs : mapping
        Provenance; anything but strings and numbers is kept as JSON.
    labels : mapping of str to sequence
        Labels along `modifier` and `covariate`, if the arrays have these dimensions.

    Raises
    ------
    CubeError
        If the result breaks the schema.
    """
    n_options = np.array([len(value.options) for value in values], dtype=np.int64)
    width = int(n_options.max())
    option_label = [[*value.options, *[""] * (width - len(value.options))] for value in values]
    levels = [(lattice.attributes[c.attribute], c) for c in lattice.contrasts]
    coords: dict[str, Any] = {
        "country": _strings([c.name for c in countries]),
        "country_label": ("country", _strings([c.label for c in countries])),
        "region": ("country", _strings([c.region for c in countries])),
        "attribute": _strings(lattice.contrast_labels),
        "treatment": ("attribute", _strings([a.name for a, _ in levels])),
        "baseline": ("attribute", _strings([a.level_names[c.baseline] for a, c in levels])),
        "treated": ("attribute", _strings([a.level_names[c.treated] for a, c in levels])),
        "value": _strings([v.name for v in values]),
        "question": ("value", _strings([v.question for v in values])),
        "topic": ("value", _strings([v.topic for v in values])),
        "scale": ("value", _strings([v.scale for v in values])),
        "n_options": ("value", n_options),
        "option": np.arange(1, width + 1),
        "option_label": (("value", "option"), np.array(option_label, dtype=object)),
        "persona": _strings(lattice.personas),
        "granularity": ("persona", lattice.granularity.astype(np.int64)),
    }
    dims = {spec.name: spec.dims for spec in schema.VARIABLES}
    used = {dim for name in arrays for dim in dims[name]}
    coords |= {dim: _strings(names) for dim, names in {**schema.LABELS, **labels}.items() if dim in used}
    cube = xr.Dataset({name: (dims[name], array) for name, array in arrays.items()}, coords)
    cube.attrs = {
        "Conventions": "CF-1.11",
        "acecausal_schema_version": schema.VERSION,
        "kind": kind,
        "lattice": lattice.to_json(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "creation_library": "acecausal",
        "creation_library_version": version("acecausal"),
        **{name: item if isinstance(item, str | int | float) else json.dumps(item) for name, item in attrs.items()},
    }
    return schema.validate(schema.annotate(cube))


def lattice_of(cube: xr.Dataset) -> Lattice:
    """Read the lattice that the cube's personas span."""
    return Lattice.from_json(cube.attrs["lattice"])


def values_of(cube: xr.Dataset) -> list[Value]:
    """Read the questions, scales and options of the cube."""
    return [
        Value(
            str(v.value.item()),
            str(v.question.item()),
            str(v.topic.item()),
            str(v.scale.item()),
            tuple(str(label) for label in v.option_label.values[: int(v.n_options)]),
        )
        for v in (cube.isel(value=i) for i in range(cube.sizes["value"]))
    ]


def countries_of(cube: xr.Dataset) -> list[Country]:
    """Read the countries of the cube."""
    columns = (cube[name].values.tolist() for name in ("country", "country_label", "region"))
    return [Country(str(name), str(label), str(region)) for name, label, region in zip(*columns, strict=True)]


def write_cube(cube: xr.Dataset, path: str | Path, *, force: bool = False) -> Path:
    """Validate and write a cube: NetCDF if the suffix is .nc, Zarr if it is .zarr.

    The cube is written beside its place and then renamed, so that a half-written one never stands there.

    Raises
    ------
    AceError
        If the suffix is neither, or something stands at `path` that may not be replaced: `force` is not set, or
        acecausal did not write it.
    """
    path = check_output(path, suffixes=(".zarr", ".nc"), force=force)
    schema.validate(cube, str(path))
    with whole(path) as beside:
        if path.suffix == ".nc":
            # through memory: on a full disk HDF5 does not fail, it crashes
            beside.write_bytes(cube.to_netcdf(engine="h5netcdf"))
        else:
            with warnings.catch_warnings():
                # zarr 3 has no final spec for variable-length strings yet; xarray reads back what it wrote
                warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification.*")
                cube.to_zarr(beside, mode="w", consolidated=False)
    return path


def open_cube(path: str | Path) -> xr.Dataset:
    """Open a cube, load it into memory and check it against the schema.

    Raises
    ------
    CubeError
        If there is nothing at `path`, it cannot be read, or it breaks the schema.
    """
    path = Path(path)
    if not path.exists():
        raise CubeError("no such cube", param=str(path), hint="cubes are written by estimate and elicit")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification.*")
            if path.is_dir():
                cube = xr.open_dataset(path, engine="zarr", consolidated=False).load()
            else:
                with xr.open_dataset(path, engine="h5netcdf") as opened:
                    cube = opened.load()
    except Exception as error:  # the engines raise whatever their parsers raise; the user needs one sentence
        raise CubeError(
            "cannot be read as a cube", param=str(path), expected="a .zarr folder or .nc file", got=_first_line(error)
        ) from error
    # zarr gives back StringDType, NetCDF object: one kind of text inside the program
    text = {name: c.astype(object) for name, c in cube.coords.items() if c.dtype.kind in "TU"}
    return schema.validate(cube.assign_coords(text), str(path))


def _strings(labels: Sequence[str]) -> np.ndarray:
    return np.array(list(labels), dtype=object)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
