"""What the schema says of a cube's labels and attrs: their kinds, values, and that they agree with one another."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import xarray as xr

from acecausal.cube import schema
from acecausal.cube.lattice import Lattice
from acecausal.errors import AceError

#: Coordinates that are texts; these may be empty.
_TEXTS = ("country", "country_label", "region", "attribute", "treatment", "baseline", "treated", "value", "question",
          "topic", "scale", "unit", "option_label", "persona", "modifier", "covariate", "wording", "checked",
          *schema.LABELS)  # fmt: skip
_MAY_BE_EMPTY = ("region", "topic", "option_label", "unit")


def attr_problems(attrs: dict[Any, Any]) -> list[str]:
    """Find attrs that are missing, neither text nor number, or not of the form that readers of cubes rely on."""
    problems = [f"attrs[{name!r}]: missing" for name in schema.ATTRS if name not in attrs]
    for name, item in attrs.items():
        if not isinstance(item, str | int | float | np.integer | np.floating) or isinstance(item, bool):
            problems.append(f"attrs[{name!r}]: expected a text or a number, got {type(item).__name__}")
        elif not isinstance(item, str) and not math.isfinite(item):
            problems.append(f"attrs[{name!r}]: expected a finite number, got {item}")
        elif name in _FORMS:
            expected, holds = _FORMS[name]
            if not holds(_decoded(item)):
                problems.append(f"attrs[{name!r}]: expected {expected}, got {str(item)[:60]!r}")
    return problems


def label_problems(cube: xr.Dataset) -> list[str]:
    """Find labels of the wrong kind, empty, doubled, or in contradiction to the lattice and to one another.

    The cube has all coordinates and dimensions of the schema.
    """
    # where one attribute is all there is, nothing is held fixed
    problems = [f"dimension {dim}: is empty" for dim, size in cube.sizes.items() if not size and dim != "covariate"]
    problems += [text for name in _TEXTS if name in cube.coords for text in _text_problems(cube, name)]
    for name in ("n_options", "option", "granularity"):
        if cube[name].dtype.kind != "i":
            problems.append(f"coordinate {name}: expected whole numbers, got {cube[name].dtype}")
    if problems:
        return problems
    problems += [
        f"dimension {dim}: labels occur twice"
        for dim in (*schema.EDGE, "modifier", "covariate", "wording")
        if dim in cube.dims and dim in cube.coords and len(set(cube[dim].values.tolist())) != cube.sizes[dim]
    ]
    problems += [
        f"dimension {dim}: expected the labels {', '.join(labels)}"
        for dim, labels in schema.LABELS.items()
        if dim in cube.dims and (dim not in cube.coords or tuple(cube[dim].values.tolist()) != labels)
    ]
    return problems + list(_scale_problems(cube)) + list(_lattice_problems(cube))


def _text_problems(cube: xr.Dataset, name: str) -> Iterator[str]:
    texts = cube[name].values.ravel().tolist()
    wrong = [text for text in texts if not isinstance(text, str)]
    if wrong:
        yield f"coordinate {name}: expected texts, got {wrong[0]!r}"
    elif name not in _MAY_BE_EMPTY and not all(map(str.strip, texts)):
        yield f"coordinate {name}: holds empty texts"


def _scale_problems(cube: xr.Dataset) -> Iterator[str]:
    width = cube.sizes["option"]
    if cube["option"].values.tolist() != list(range(1, width + 1)):
        yield f"dimension option: expected 1..{width}, got {cube['option'].values.tolist()}"
    columns = zip(
        *(cube[name].values.tolist() for name in ("value", "scale", "n_options", "option_label")), strict=True
    )
    for value, scale, n_options, labels in columns:
        if scale not in schema.SCALES:
            yield f"scale of {value}: expected one of {schema.SCALES}, got {scale!r}"
        if not 2 <= n_options <= width:
            yield f"n_options of {value}: expected 2..{width}, got {n_options}"
        elif not all(map(str.strip, labels[:n_options])):
            yield f"option_label of {value}: holds empty texts"
        elif scale in ("binary", "continuous") and n_options != 2:
            yield f"n_options of {value}: expected 2 on a {scale} scale, got {n_options}"
    if "continuous" in cube["scale"].values:
        yield from _range_problems(cube)


def _range_problems(cube: xr.Dataset) -> Iterator[str]:
    absent = [name for name in ("low", "high", "unit") if name not in cube.coords]
    if absent:
        yield f"coordinate {absent[0]}: missing, and a value is continuous"
        return
    ends = cube["low"].values, cube["high"].values
    if any(part.dtype.kind != "f" or not np.isfinite(part).all() for part in ends) or not (ends[0] < ends[1]).all():
        yield "coordinates low and high: expected finite numbers, the lower one first"


def _lattice_problems(cube: xr.Dataset) -> Iterator[str]:
    try:
        lattice = Lattice.from_json(cube.attrs["lattice"])
        levels = [(lattice.attributes[c.attribute], c) for c in lattice.contrasts]
        expected = {
            "persona": lattice.personas,
            "attribute": lattice.contrast_labels,
            **({"checked": lattice.checked} if "checked" in cube.dims else {}),
            "granularity": tuple(lattice.granularity.tolist()),
            "treatment": tuple(a.name for a, _ in levels),
            "baseline": tuple(a.level_names[c.baseline] for a, c in levels),
            "treated": tuple(a.level_names[c.treated] for a, c in levels),
        }
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, AceError) as error:
        yield f"attrs['lattice']: cannot be read ({type(error).__name__}: {str(error)[:200]})"
        return
    texts = [
        (a.name, a.label, *(text for x in a.levels for text in (x.name, x.label, x.phrase))) for a in lattice.attributes
    ]
    if not all(isinstance(text, str) and text.strip() for row in texts for text in row):
        yield "attrs['lattice']: holds names, labels or phrases that are no texts, or empty"
    for name in ("adjustment", "modifiers"):
        told = _decoded(cube.attrs.get(name, "{}"))
        if isinstance(told, dict) and told and not set(told) >= {a.name for a in lattice.attributes}:
            yield f"attrs[{name!r}]: does not speak of every attribute of attrs['lattice']"
    asked = [text for a in lattice.attributes for text in (a.question, *(x.answer for x in a.levels))]
    if not all(isinstance(text, str) for text in asked):
        yield "attrs['lattice']: holds check questions or answers that are no texts"
    for name, labels in expected.items():
        if name not in cube.coords or tuple(cube[name].values.tolist()) != labels:
            what = "dimension" if name in cube.dims else "coordinate"
            yield f"{what} {name}: its labels are not those of attrs['lattice']"


# --- attrs ------------------------------------------------------------------------------------------------------------


def _decoded(item: Any) -> Any:
    """Read JSON where the text is an object or a list."""
    if isinstance(item, str) and item[:1] in "{[":
        try:
            return json.loads(item)
        except (ValueError, RecursionError):
            return item
    return item


def _number(item: Any) -> bool:
    return isinstance(item, int | float | np.number) and not isinstance(item, bool)


def _mapping(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda item: isinstance(item, dict) and all(map(holds, item.values()))


def _list(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda item: isinstance(item, list) and all(map(holds, item))


def _text(item: Any) -> bool:
    return isinstance(item, str)


def _anything(item: Any) -> bool:
    return True


#: What readers of cubes rely on, where the attr is there.
_FORMS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "confidence": ("a number between 0 and 1", lambda item: _number(item) and 0 < item < 1),
    "min_arm": ("a number", _number),
    "respondents": ("a number", _number),
    "lost": ("numbers by reason, as JSON", _mapping(_number)),
    "noted": ("numbers by reason, as JSON", _mapping(_number)),
    "rows": ("an object, as JSON", _mapping(_anything)),
    "domain": ("an object, as JSON", _mapping(_anything)),
    "versions": ("an object, as JSON", _mapping(_anything)),
    "design": ("an object, as JSON", _mapping(_anything)),
    "adjustment": ("lists of texts by attribute, as JSON", _mapping(_list(_text))),
    "modifiers": ("lists of texts by attribute, as JSON", _mapping(_list(_text))),
    "held_out": ("lists of texts by dimension, as JSON", _mapping(_list(_text))),
    "covers": ("lists of texts by dimension, as JSON", _mapping(_list(_text))),
    "sharpened": ("an object, as JSON", _mapping(_anything)),
    "profiles_of": ("an object, as JSON", _mapping(_anything)),
    "profiles_untold": ("lists of texts by attribute, as JSON", _mapping(_list(_text))),
    "unverified": ("a list of texts, as JSON", _list(_text)),
    "graph": ("a list of pairs, as JSON", _list(lambda edge: isinstance(edge, list) and len(edge) == 2)),
    **dict.fromkeys(
        ("lattice", "title", "source", "licence", "estimand", "estimator", "created", "weights", "q_family", "model"),
        ("a text", lambda item: isinstance(item, str | list | dict)),
    ),
}
