"""Making, writing and opening cubes."""

from __future__ import annotations

import json
import unicodedata
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

from acecausal.cube import schema
from acecausal.cube.check import validate
from acecausal.cube.lattice import Lattice
from acecausal.cube.outputs import check_output, whole
from acecausal.errors import CubeError


@dataclass(frozen=True, slots=True)
class Value:
    """One survey question: its name, wording, topic, scale, and options in order of meaning.

    `pinned` says of each option whether it keeps its place when a model is asked in another order; () if none does.
    A continuous value is numbers within a `range`, in a `unit`, and its options are the range's ends.
    """

    name: str
    question: str
    topic: str
    scale: str
    options: tuple[str, ...]
    pinned: tuple[bool, ...] = ()
    range: tuple[float, float] | None = None
    unit: str = ""


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
        Labels along `modifier`, `covariate` and `wording`, if the arrays have these dimensions.

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
    if any(any(value.pinned) for value in values):
        pinned = [[*value.pinned, *[False] * (width - len(value.pinned))] for value in values]
        coords["option_pinned"] = (("value", "option"), np.array(pinned, dtype=np.int8))
    if any(value.range is not None for value in values):
        ends = np.array([value.range or (0.0, 1.0) for value in values])
        coords |= {"low": ("value", ends[:, 0]), "high": ("value", ends[:, 1])}
        coords["unit"] = ("value", _strings([value.unit for value in values]))
    used = {dim for name in arrays for dim in dims[name]}
    named = {**schema.LABELS, "checked": lattice.checked, **labels}
    coords |= {dim: _strings(names) for dim, names in named.items() if dim in used}
    cube = xr.Dataset({name: (dims[name], array) for name, array in arrays.items()}, coords)
    cube.attrs = {
        "Conventions": "CF-1.11",
        "acecausal_schema_version": schema.VERSION,
        "kind": kind,
        "lattice": lattice.to_json(),
        "covers": json.dumps({"country": [c.name for c in countries], "value": [v.name for v in values]}),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "creation_library": "acecausal",
        "creation_library_version": version("acecausal"),
        **{name: item if isinstance(item, str | int | float) else json.dumps(item) for name, item in attrs.items()},
    }
    return validate(schema.annotate(cube))


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
            tuple(map(bool, v.option_pinned.values[: int(v.n_options)])) if "option_pinned" in v.coords else (),
            *(((v.low.item(), v.high.item()), str(v.unit.item())) if v.scale.item() == "continuous" else ()),
        )
        for v in (cube.isel(value=i) for i in range(cube.sizes["value"]))
    ]


def with_options(cube: xr.Dataset) -> tuple[xr.Dataset, list[str]]:
    """Leave out continuous values: where answers are options, they have no place.

    Returns
    -------
    cube : xarray.Dataset
    left : list of str
        The values left out.

    Raises
    ------
    CubeError
        If all are.
    """
    numbers = cube["scale"].values == "continuous"
    if numbers.all():
        raise CubeError(
            "holds no value with options", param="value", got=", ".join(map(str, cube["value"].values[:6])),
            hint="continuous values are numbers: neither models nor formats of options know them",
        )  # fmt: skip
    return (cube.isel(value=~numbers) if numbers.any() else cube), cube["value"].values[numbers].astype(str).tolist()


def countries_of(cube: xr.Dataset) -> list[Country]:
    """Read the countries of the cube."""
    columns = (cube[name].values.tolist() for name in ("country", "country_label", "region"))
    return [Country(str(name), str(label), str(region)) for name, label, region in zip(*columns, strict=True)]


def matched(wanted: Sequence[str], there: Sequence[str]) -> list[int] | None:
    """Match options by their words.

    Parameters
    ----------
    wanted, there : sequence of str
        Labels; how they are spelled (see `spelling`) does not tell them apart, unless it alone does within a list.

    Returns
    -------
    list of int or None
        For each of `wanted` its position in `there`; None if they are not the same words, each once.
    """
    if tuple(wanted) == tuple(there):
        return list(range(len(wanted)))
    for form in (str, spelling):
        ours, theirs = [form(label) for label in wanted], [form(label) for label in there]
        if len(set(ours)) == len(ours) and sorted(ours) == sorted(theirs):
            return [theirs.index(label) for label in ours]
    return None


def spelling(label: str) -> str:
    """Bring a text to the form in which options are matched: case, blanks and Unicode's form do not count."""
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


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
    validate(cube, str(path))
    with whole(path) as beside:
        _write(cube, beside, netcdf=path.suffix == ".nc")
    return path


def _write(cube: xr.Dataset, path: Path, *, netcdf: bool) -> None:
    """Write with texts as characters in UTF-8.

    Strings of any width would come back from .nc with their width as encoding, which cuts longer ones when cubes that
    were put together are written, and from .zarr as a dtype that no outer join can extend. Characters come back as
    objects, in plain xarray too.
    """
    cube = cube.drop_encoding()
    texts = [name for name, coordinate in cube.coords.items() if coordinate.dtype.kind in "OTU"]
    cube = cube.assign_coords({name: cube[name].astype(object) for name in texts})
    if netcdf:
        # through memory: on a full disk HDF5 does not fail, it crashes
        path.write_bytes(cube.to_netcdf(engine="h5netcdf", encoding={name: {"dtype": "S1"} for name in texts}))
        return
    import zarr

    with warnings.catch_warnings():
        # what the third format of Zarr has no final word on: characters, and metadata in one place
        warnings.filterwarnings("ignore", message=".*(not part in the|not have a) Zarr (V3|format 3) specification.*")
        cube.drop_vars(texts).to_zarr(path, mode="w", consolidated=False)
        group = zarr.open_group(path, mode="r+")
        for name in texts:
            encoded = np.array([text.encode() for text in cube[name].values.ravel()], dtype=np.bytes_)
            characters = encoded.view("S1").reshape(*cube[name].shape, encoded.itemsize)
            group.create_array(
                str(name), data=characters, attributes={**cube[name].attrs, "_Encoding": "utf-8"},
                dimension_names=(*map(str, cube[name].dims), f"string{encoded.itemsize}"),
            )  # fmt: skip
        beside = [str(name) for name in texts if name not in cube.dims]
        group.attrs["coordinates"] = " ".join([*str(group.attrs.get("coordinates", "")).split(), *beside])
        zarr.consolidate_metadata(path)


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
    import h5py

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd about it, the schema says
            if path.is_dir():
                cube = xr.open_dataset(path, engine="zarr", consolidated=False).load()
            else:
                with h5py.File(path) as file:  # h5netcdf leaves a traceback behind where this fails
                    file.attrs.get("_nc3_strict")
                with xr.open_dataset(path, engine="h5netcdf") as opened:
                    cube = opened.load()
        cube = cube.drop_encoding()
    except Exception as error:  # the engines raise whatever their parsers raise; the user needs one sentence
        raise CubeError(
            "cannot be read as a cube", param=str(path), expected="a .zarr folder or .nc file", got=_first_line(error)
        ) from error
    # other tools write texts as dtypes of their own: one kind of text inside the program
    text = {name: c.astype(object) for name, c in cube.coords.items() if c.dtype.kind in "TU"}
    return validate(cube.assign_coords(text), str(path))


def _strings(labels: Sequence[str]) -> np.ndarray:
    return np.array(list(labels), dtype=object)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
