"""The part of the page where readers choose: the cube's arrays and the pictures' specifications for the page's script.

The script only picks numbers out of these arrays and puts them as rows into the same charts that are drawn elsewhere on
the page (Vega-Lite, Altair's specifications): no picture is written twice, and what a reader hovers over is the cube's
number, rounded to single precision.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from typing import Any

import numpy as np
import vl_convert
import xarray as xr
from markupsafe import Markup

from acecausal.comparison import heeding
from acecausal.comparison.pooling import pooled
from acecausal.cube import schema
from acecausal.report import (
    cells,
    facts,
    forest,
    lattice_picture,
    option_shifts,
    parts,
    responses,
    svg,
    words,
    world,
)
from acecausal.report import drawing as d

#: Most bytes of effects that the page carries, before they grow by a third as text.
BYTES = 5_000_000
_POOLED = ("effect", "lower", "upper", "prediction_lower", "prediction_upper", "i2", "k")


def content(human: xr.Dataset, models: d.Models) -> Markup | None:
    """Put together what the script needs, as JSON text; None if nobody answered anything.

    Contexts are carried by whole granularities, the coarsest first, as many as fit into `BYTES`.
    """
    if not np.isfinite(human["response"].values).any():
        return None
    unordered = np.flatnonzero(cells.nominal(human))
    options = human.sizes["option"] * len(unordered) / human.sizes["value"]
    contexts = chosen_contexts(human, int(BYTES // (25 + 8 * options + 4 * len(models) * (1 + options))))
    cube = human.isel(persona=contexts)
    at = lattice_picture.places(human, min(2, int(human["granularity"].values[contexts].max()) + 1))
    scored = human["scale"].values != "nominal"
    names = words.Names(human)
    ignored = sorted({a for model in models.values() for a in _unheeded(human, model)})
    text = {
        "labels": _labels(human, names, contexts, at, ignored) | {"models": [words.clean(label) for label in models]},
        "start": _start(cube),
        "status": [words.why(name) for name in cells.OUTCOMES],
        "arrays": _arrays(cube, models) | _answers(human, at) | _shifts(cube, models, unordered),
        "nominal": unordered.tolist(),
        "unheeded": [_unheeded(human, model) for model in models.values()],
        "columns": facts.PUBLIC,
        "pooled": _pooled(cube) if human.sizes["country"] > 1 else None,
        "lattice": {
            "wide": _lattice(human, at, contexts),
            "narrow": _lattice(human, lattice_picture.places(human, 1), contexts),
        },
        "paint": [
            responses.paint(len(options), scale) for options, scale in zip(names.options, names.scales, strict=True)
        ],
        "scored": scored.tolist(),
        "land": world.land(),
        "specs": _specs(human, names, models, at),
    }
    return Markup(json.dumps(text, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))


def pictures(human: xr.Dataset, models: d.Models) -> dict[str, tuple[str, list[parts.Key]]]:
    """Say of each picture how to read it, and of nothing that is not there: caption and legend."""
    forest_says = f"Dots: effects with their intervals, filled where q < {d.Q}."
    if models:
        forest_says += " The other marks: the models."
    total = (
        " The flat diamond: the mean over countries; I²: the share of the spread that sampling noise does not explain; "
        "dashed: what to expect of a further country (cut where it goes further than the picture)."
    )
    towards = "Blue: towards the last answer; orange: towards the first."
    own = forest.legend(models)[2:]
    shown = "Percent of each answer"
    if (human["scale"] == "continuous").any():
        shown += ", or the mean where answers are numbers"
    several = human.sizes["country"] > 1
    mapped = several and any(at is not None for at in world.places(human))
    captions = {
        "countries": forest_says + (total if human.sizes["country"] > 1 else ""),
        "world": f"The larger a disc, the larger the effect. {towards} Filled ones are more than noise, grey ones "
        "were not estimated.",
        "values": "The same contrast on other questions, as in the first picture.",
        "responses": f"{shown}; at the right, how many people answered. These are levels, not effects.",
        "lattice": "Dots are personas with their mean score; an arc is the effect of the attribute in which two "
        f"of them differ. {towards} Pale ones noise can explain.",
    }
    captions["options"] = (
        "Change of each answer's share (0.1: ten percentage points), with a band that holds all at once."
    )
    there = {"world": mapped, "options": bool(cells.nominal(human).any())}
    return {
        name: (captions[name], own if name in ("countries", "values", "options") else [])
        for name in ("countries", "options", "world", "values", "responses", "lattice")
        if there.get(name, True)
    }


def chosen_contexts(cube: xr.Dataset, most: int) -> np.ndarray:
    """Choose the contexts that the page carries, at most so many cells; positions."""
    granularity = cube["granularity"].values
    each = cube.sizes["country"] * cube.sizes["attribute"] * cube.sizes["value"]
    depth = 0
    while depth < granularity.max() and each * (granularity <= depth + 1).sum() <= most:
        depth += 1
    edge = (cube["status"].values != schema.NOT_APPLICABLE).any(axis=(0, 1, 2))
    return np.flatnonzero((granularity <= depth) & edge)


def _unheeded(human: xr.Dataset, model: xr.Dataset) -> list[int]:
    """Give the positions of the contrasts that a model does not take in."""
    ignored = heeding.unheeded(model)
    return [a for a, label in enumerate(human["attribute"].values.astype(str)) if label in ignored]


def _labels(
    cube: xr.Dataset, names: words.Names, contexts: np.ndarray, at: lattice_picture.Places, ignored: list[int]
) -> dict[str, Any]:
    coarse = np.flatnonzero(cube["granularity"].values[at.personas] <= 1)
    return {
        "country": [[str(key), label] for key, label in zip(cube["country"].values, names.countries, strict=True)],
        "contrast": [
            [str(key), names.contrast(i) + f" {heeding.MARK}" * (i in ignored)]
            for i, key in enumerate(cube["attribute"].values)
        ],
        "value": [[str(key), text] for key, text in zip(cube["value"].values, names.questions, strict=True)],
        "context": [[str(cube["persona"].values[p]), names.personas[p]] for p in contexts],
        "persona": [[str(cube["persona"].values[p]), names.personas[p]] for p in at.personas],
        "coarse": coarse.tolist(),
        "options": names.options,
        "bars": [responses.options(names, v) for v in range(cube.sizes["value"])],
        "range": [found and [*found, words.decimals(found[1] - found[0])] for found in names.ranges],
        "short": names.short,
        "place": world.places(cube),
    }


def _start(cube: xr.Dataset) -> list[int]:
    """Choose the first view: country, contrast, value, context of the surest effect; without any, of most people."""
    part = cells.everyone(cube)
    p = np.where(cells.tested(part), part["p_value"].values, np.inf)
    if not np.isfinite(p).any():
        country, value = np.unravel_index(int(part["n"].values.argmax()), part["n"].shape)
        return [int(country), 0, int(value), 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.nan_to_num(np.abs(part["effect"].values / part["effect_se"].values))
    country, contrast, value = np.unravel_index(int(np.where(p == p.min(), ratio, -1.0).argmax()), p.shape)
    return [int(country), int(contrast), int(value), 0]


def _arrays(cube: xr.Dataset, models: d.Models) -> dict[str, Any]:
    packed = {
        "estimate": _packed(cube["effect"].values),
        "conf_low": _packed(cube["effect_interval"].values[..., 0]),
        "conf_high": _packed(cube["effect_interval"].values[..., 1]),
        "q_value": _packed(cube["q_value"].values),
        "n_baseline": _packed(cube["n_baseline"].values, whole=True),
        "n_treated": _packed(cube["n_treated"].values, whole=True),
        "n_effect": _packed(cells.people(cube), whole=True),
        "status": _packed(cells.outcomes(cube["status"].values, cube["effect"].values), whole=True),
    }
    return packed | {f"m{i}": _packed(facts.like(model, cube)) for i, model in enumerate(models.values())}


def _shifts(cube: xr.Dataset, models: d.Models, unordered: np.ndarray) -> dict[str, Any]:
    """Pack the shifts of values without an order, and half the width of their bands."""
    if not len(unordered):
        return {}
    part = cube.isel(value=unordered)
    half = part["shift_critical"].values[..., None] * part["shift_se"].values
    packed = {"shift": _packed(part["shift"].values), "band": _packed(half)}
    where = tuple(axis.ravel() for axis in np.indices(part["effect"].shape))
    for i, model in enumerate(models.values()):
        moved = np.full(part["shift"].shape, np.nan)
        for k in range(part.sizes["option"]):
            option = np.full(where[0].shape, k)
            moved[..., k] = facts.looked_up(model["shift"], part, where, option).reshape(part["effect"].shape)
        packed[f"s{i}"] = _packed(moved)
    return packed


def _answers(cube: xr.Dataset, at: lattice_picture.Places) -> dict[str, Any]:
    """Pack responses of the coarse personas, and mean scores and numbers of people of all that the lattice draws."""
    part = cube.isel(persona=at.personas)
    share, k = part["response"].values, part["n_options"].values
    points = np.array([np.pad(np.linspace(0, 1, n), (0, share.shape[-1] - n)) for n in k])
    mean = np.nansum(share * points[:, None], axis=-1)
    mean[np.isnan(share[..., 0])] = np.nan
    mean[:, part["scale"].values == "nominal"] = np.nan
    coarse = part["granularity"].values <= 1
    return {
        "mean": _packed(mean),
        "n": _packed(part["n"].values, whole=True),
        "response": _packed(share[:, :, coarse]),
    }


def _pooled(cube: xr.Dataset) -> dict[str, Any]:
    found = pooled(cube)
    return {name: _packed(found[name].values.astype(float)) for name in _POOLED}


def _lattice(cube: xr.Dataset, at: lattice_picture.Places, contexts: np.ndarray) -> dict[str, Any]:
    dots, arcs = lattice_picture.geometry(cube, at)
    position = {int(p): i for i, p in enumerate(contexts)}
    carried = [(arc, a, position[s]) for arc, (a, s, _, _) in zip(arcs, at.edges, strict=True) if s in position]
    return {
        "dots": dots,
        "arcs": [arc for arc, _, _ in carried],
        "at": [[int(a), s] for _, a, s in carried],
    }


def _specs(human: xr.Dataset, names: words.Names, models: d.Models, at: lattice_picture.Places) -> dict[str, Any]:
    """Give every picture for a desk and for a phone."""
    part = cells.everyone(human)
    effect = np.abs(part["effect"].values[cells.scored(part)])
    largest = float(np.quantile(effect, 0.98)) if effect.size else 0.1
    phone = lattice_picture.places(human, 1)
    who = [names.personas[p] for p in at.personas[human["granularity"].values[at.personas] <= 1]]

    rows = [*names.countries, "pooled, I² 100 %"]
    if human.sizes["country"] == 1:
        rows = [names.contrast(a) for a in range(human.sizes["attribute"])]
    answers = [label for v in np.flatnonzero(cells.nominal(human)) for label in names.options[v]]

    def of(width: int) -> dict[str, Any]:
        shown = at if width > 500 else phone
        charts: dict[str, d.Spec] = {
            "countries": forest.chart(width, d.side(rows, width), tuple(models)),
            "options": forest.chart(width, d.side(answers, width), tuple(models), None, option_shifts.AXIS),
            "values": forest.chart(width, d.side(names.short, width), tuple(models)),
            "world": world.chart(width),
            "responses": responses.chart(width, d.side(who, width)),
            "lattice": lattice_picture.chart(shown, width, largest),
        }
        return charts

    return {"wide": of(d.DESK), "narrow": of(d.PHONE)}


def _packed(numbers: np.ndarray, *, whole: bool = False) -> dict[str, Any]:
    """Pack an array as base64: single precision, or the smallest unsigned type that holds all of it."""
    most = int(numbers.max(initial=0)) if whole else 0
    kind = np.dtype(("<u1" if most < 2**8 else "<u2" if most < 2**16 else "<u4") if whole else "<f4")
    raw = base64.b64encode(np.ascontiguousarray(numbers, dtype=kind).tobytes()).decode("ascii")
    return {"type": kind.str[1:], "shape": list(numbers.shape), "data": raw}


@cache
def bundle() -> str:
    """Give Vega, Vega-Lite and vega-embed as one script, of the versions that draw the static pictures."""
    text: str = vl_convert.javascript_bundle(vl_version=svg.version())  # type: ignore[call-arg]
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def digest(script: str) -> str:
    """Name a script for the page's content security policy: nothing else may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
