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

from acecausal.comparison.pooling import pooled
from acecausal.cube import schema
from acecausal.report import cells, facts, forest, lattice_picture, parts, responses, svg, words, world
from acecausal.report import drawing as d
from acecausal.survey.countries import place

#: Most bytes of effects that the page carries, before they grow by a third as text.
BYTES = 5_000_000
_POOLED = ("effect", "lower", "upper", "prediction_lower", "prediction_upper", "i2", "k")


def content(human: xr.Dataset, models: d.Models) -> Markup | None:
    """Put together what the script needs, as JSON text; None if nobody answered anything.

    Contexts are carried by whole granularities, the coarsest first, as many as fit into `BYTES`.
    """
    if not np.isfinite(human["response"].values).any():
        return None
    contexts = chosen_contexts(human, BYTES // (21 + 4 * len(models)))
    cube = human.isel(persona=contexts)
    at = lattice_picture.places(human, min(2, int(human["granularity"].values[contexts].max()) + 1))
    scored = human["scale"].values != "nominal"
    names = words.Names(human)
    text = {
        "labels": _labels(human, names, contexts, at) | {"models": [words.clean(label) for label in models]},
        "start": _start(cube),
        "status": [words.why(name) for name in cells.OUTCOMES],
        "arrays": _arrays(cube, models) | _answers(human, at),
        "pooled": _pooled(cube) if human.sizes["country"] > 1 else None,
        "lattice": {
            "wide": _lattice(human, at, contexts),
            "narrow": _lattice(human, lattice_picture.places(human, 1), contexts),
        },
        "paint": {int(k): responses.paint(int(k)) for k in set(human["n_options"].values)},
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
    own = parts.model_legend(models)
    captions = {
        "countries": forest_says + (total if human.sizes["country"] > 1 else ""),
        "world": f"The larger a disc, the larger the effect. {towards} Filled ones are more than noise, grey ones "
        "were not estimated.",
        "values": "The same contrast on other questions, as in the first picture.",
        "responses": "Percent of each answer; at the right, how many people answered. These are levels, not effects.",
        "lattice": "Dots are personas with their mean score; an arc is the effect of the attribute in which two "
        f"of them differ. {towards} Pale ones noise can explain.",
    }
    return {name: (caption, own if name in ("countries", "values") else []) for name, caption in captions.items()}


def chosen_contexts(cube: xr.Dataset, most: int) -> np.ndarray:
    """Choose the contexts that the page carries, at most so many cells; positions."""
    granularity = cube["granularity"].values
    each = cube.sizes["country"] * cube.sizes["attribute"] * cube.sizes["value"]
    depth = 0
    while depth < granularity.max() and each * (granularity <= depth + 1).sum() <= most:
        depth += 1
    edge = (cube["status"].values != schema.NOT_APPLICABLE).any(axis=(0, 1, 2))
    return np.flatnonzero((granularity <= depth) & edge)


def _labels(cube: xr.Dataset, names: words.Names, contexts: np.ndarray, at: lattice_picture.Places) -> dict[str, Any]:
    places = [
        place(key) or place(label)
        for key, label in zip(cube["country"].values.astype(str), cube["country_label"].values.astype(str), strict=True)
    ]
    coarse = np.flatnonzero(cube["granularity"].values[at.personas] <= 1)
    return {
        "country": [[str(key), label] for key, label in zip(cube["country"].values, names.countries, strict=True)],
        "contrast": [[str(key), names.contrast(i)] for i, key in enumerate(cube["attribute"].values)],
        "value": [[str(key), text] for key, text in zip(cube["value"].values, names.questions, strict=True)],
        "context": [[str(cube["persona"].values[p]), names.personas[p]] for p in contexts],
        "persona": [[str(cube["persona"].values[p]), names.personas[p]] for p in at.personas],
        "coarse": coarse.tolist(),
        "options": names.options,
        "short": names.short,
        "place": places,
    }


def _start(cube: xr.Dataset) -> list[int]:
    """Choose the first view: country, contrast, value, context of the surest effect; without any, of most people."""
    part = cells.everyone(cube)
    p = np.where(cells.scored(part), part["p_value"].values, np.inf)
    if not np.isfinite(p).any():
        country, value = np.unravel_index(int(part["n"].values.argmax()), part["n"].shape)
        return [int(country), 0, int(value), 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(p == p.min(), np.abs(part["effect"].values / part["effect_se"].values), -np.inf)
    country, contrast, value = np.unravel_index(int(np.nanargmax(ratio)), p.shape)
    return [int(country), int(contrast), int(value), 0]


def _arrays(cube: xr.Dataset, models: d.Models) -> dict[str, Any]:
    packed = {
        "estimate": _packed(cube["effect"].values),
        "conf_low": _packed(cube["effect_interval"].values[..., 0]),
        "conf_high": _packed(cube["effect_interval"].values[..., 1]),
        "q_value": _packed(cube["q_value"].values),
        "n_baseline": _packed(cube["n_baseline"].values, whole=True),
        "n_treated": _packed(cube["n_treated"].values, whole=True),
        "status": _packed(cells.outcomes(cube["status"].values, cube["effect"].values), whole=True),
    }
    return packed | {f"m{i}": _packed(facts.like(model, cube)) for i, model in enumerate(models.values())}


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

    def of(width: int) -> dict[str, Any]:
        shown = at if width > 500 else phone
        charts: dict[str, d.Spec] = {
            "countries": forest.chart(width, d.side([*names.countries, "pooled, I² 100 %"], width), tuple(models)),
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
