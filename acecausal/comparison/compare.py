"""Human cube against model cube: levels and effects apart, each with its null, its ceiling and its skill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from acecausal.comparison import heeding, holdout
from acecausal.comparison.agreement import standard_error
from acecausal.comparison.distance import distribution_distance, expected_distance
from acecausal.cube import schema
from acecausal.cube.files import lattice_of, matched
from acecausal.cube.functional import effect_functional, effects_of, held_fixed, not_stated
from acecausal.cube.profiled import by_profiles, untold
from acecausal.errors import CubeError

#: Fewest respondents behind a response that is compared.
MIN_RESPONDENTS = 10

#: Groups of what training saw, in words.
_SIDES = {"trained": "in training", "held_out": "held out"}
#: Largest share of the null's distance that may be noise, for a skill to mean anything.
_NO_ROOM = 0.02


def compare(human: xr.Dataset, model: xr.Dataset, *, held_out: holdout.HoldOut | None = None) -> dict[str, Any]:
    """Compare a model's cube with people's.

    Parameters
    ----------
    human : xarray.Dataset
        A survey cube.
    model : xarray.Dataset
        A cube over (some of) the same countries, values and personas, with the same options.
    held_out : dict, optional
        What to report apart; by default what the model cube says its training held out.

    Returns
    -------
    dict
        ``level`` {distance, score, null, ceiling, skill, cells}, ``effect`` {distance, null, ceiling, skill,
        sign_agreement, slope, slope_interval, correlation, coverage, cells}, ``groups`` [{by, key, level, effect}],
        ``checks`` [{attribute, heed, drift_error, edited, stated, implied}] (see `acecausal.comparison.heeding.checks`;
        empty without check questions). Of the groups, heed: heeded and not_heeded are of effects only.
        Distances are means over cells, on 0..1; score is 100 (1 - distance); a number that the data cannot tell is
        None. null is the distance of the country's marginal (levels) or of no effect (effects); ceiling the distance
        that the survey's sampling error alone gives a perfect model; skill 1 - (distance - ceiling)/(null - ceiling).

    Raises
    ------
    CubeError
        If the cubes share no cell, or differ in the options of a value.

    Notes
    -----
    Slope and correlation are of model on human effects through the origin, since the sign of an effect is only the
    choice of baseline; cells weigh by precision, and the sampling error of the human effects is taken off their
    second moment. The slope's interval leaves out one country-attribute-value at a time (jackknife).
    """
    human, model = shared(human, model)
    held_out = holdout.of(model) if held_out is None else held_out
    levels, effects = _level_cells(human, model), _effect_cells(human, model)
    result = _summary(levels, effects, levels["used"], effects["used"])
    result["groups"] = [
        {"by": by, "key": key, **_summary(levels, effects, levels["used"] & level, effects["used"] & effect)}
        for by, key, level, effect in [*_groups(human, held_out), *_heeded(model)]
        if (levels["used"] & level).any() or (effects["used"] & effect).any()
    ]
    result["checks"] = heeding.checks(human, model)
    return result


def compare_parts(
    human: xr.Dataset, model: xr.Dataset, parts: Mapping[str, holdout.HoldOut]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Compare a model's cube with people's part by part: each is what is left when something is held out.

    Parameters
    ----------
    human, model : xarray.Dataset
        As for `compare`.
    parts : mapping of str to dict
        What each part leaves out. Parts may overlap.

    Returns
    -------
    dict
        By part, ``level`` and ``effect`` as `compare` gives them of the group ``trained`` with that hold-out.

    Raises
    ------
    CubeError
        As `compare`.
    """
    human, model = shared(human, model)
    levels, effects = _level_cells(human, model), _effect_cells(human, model)
    found = {}
    for name, held_out in parts.items():
        level, effect = holdout.masks(held_out, human)
        found[name] = _summary(levels, effects, levels["used"] & ~level, effects["used"] & ~effect)
    return found


def effect_statistics(
    human: np.ndarray, se: np.ndarray, model: np.ndarray, group: np.ndarray
) -> tuple[float | None, list[float] | None, float | None]:
    """Slope, its 95 % interval, and correlation of model on human effects, corrected for the human sampling error.

    Parameters
    ----------
    human, se, model : numpy.ndarray, shape (cells,)
        Effects, positive standard errors of the human ones, and the model's effects.
    group : numpy.ndarray, shape (cells,), int
        Cells that hang together, for the jackknife.

    Returns
    -------
    slope, interval, correlation
        None where the human effects are not distinguishable from noise, or there are too few groups (under 5).
    """
    weight = 1 / se**2
    cross, own, other = weight * human * model, weight * human**2 - 1, weight * model**2
    if own.sum() <= 0:
        return None, None, None
    slope = float(cross.sum() / own.sum())
    spread = np.sqrt(own.sum() * other.sum())
    correlation = float(cross.sum() / spread) if spread > 0 else None
    _, number = np.unique(group, return_inverse=True)
    n_groups = number.max() + 1
    cross_left = cross.sum() - np.bincount(number, cross)
    own_left = own.sum() - np.bincount(number, own)
    if n_groups < 5 or (own_left <= 0).any():
        return slope, None, correlation
    left = cross_left / own_left
    deviation = np.sqrt((n_groups - 1) / n_groups * ((left - left.mean()) ** 2).sum())
    half = 1.959963984540054 * float(deviation)
    return slope, [slope - half, slope + half], correlation


def shared(human: xr.Dataset, model: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Cut both cubes to the countries, contrasts, values and personas they share.

    The model's options are brought into the order of the survey's, by their words. Its shifts and effects are reckoned
    anew from its responses, under the survey's functional (see `acecausal.cube.functional`), whatever it holds, unless
    it was asked as profiles of these people.

    Raises
    ------
    CubeError
        If there are none, one is of the wrong kind, or a value's options or scale, or a contrast's baseline, differ.
    """
    if human.attrs["kind"] != "survey":
        raise CubeError("is a model's cube", param="HUMAN", expected="a survey cube", hint="give the survey cube first")
    if model.attrs["kind"] != "model":
        raise CubeError("is a survey's cube", param="MODEL", expected="a model cube")
    # the order of a persona's attributes is that of its cube
    spelled = {frozenset(persona.split(",")): persona for persona in human["persona"].values.tolist()}
    theirs = [spelled.get(frozenset(persona.split(",")), persona) for persona in model["persona"].values.tolist()]
    model = model.assign_coords(persona=("persona", np.array(theirs, dtype=object)))
    labels = {}
    for dim in ("country", "attribute", "value", "persona"):
        there = set(model[dim].values.tolist())
        labels[dim] = [label for label in human[dim].values.tolist() if label in there]
        if not labels[dim]:
            raise CubeError(
                f"the cubes share no {dim}",
                param="MODEL",
                expected=", ".join(map(str, human[dim].values[:6])),
                got=", ".join(map(str, model[dim].values[:6])),
                hint="elicit the model with --like HUMAN",
            )
    human, model = human.sel(labels), model.sel(labels)
    for dim, coordinate in (("attribute", "baseline"), ("value", "scale")):
        pairs = zip(human[coordinate].values.tolist(), model[coordinate].values.tolist(), strict=True)
        for label, (mine, theirs) in zip(labels[dim], pairs, strict=True):
            if mine != theirs and {mine, theirs} != {"ordinal", "binary"}:
                raise CubeError(f"the {coordinate}s differ", param=f"MODEL, {dim} {label}", expected=mine, got=theirs)
    orders: list[list[int]] = []
    for value, mine, theirs in zip(labels["value"], _options(human), _options(model), strict=True):
        order = matched(mine, theirs)
        if order is None:
            raise CubeError("the options differ", param=f"MODEL, value {value}", expected=mine, got=theirs)
        orders.append(order)
    width = int(human["n_options"].max())
    human, model = human.isel(option=slice(width)), model.isel(option=slice(width))
    return human, _under(human, _reordered(model, orders))


def differences(human: xr.Dataset, model: xr.Dataset) -> list[str]:
    """Say what of two cubes is not compared, or was asked in other words.

    Returns
    -------
    list of str
        One sentence each; none where the model was asked what people were.
    """
    said = []
    for dim in ("country", "value", "attribute"):
        for cube, against, whose in ((human, model, "people"), (model, human, "the model")):
            there = set(against[dim].values.tolist())
            if alone := [str(label) for label in cube[dim].values.tolist() if label not in there]:
                more = f" and {len(alone) - 4} more" if len(alone) > 4 else ""
                said.append(f"left out, since only {whose} have it: {dim} {', '.join(alone[:4])}{more}")
    questions = dict(zip(model["value"].values.tolist(), model["question"].values.tolist(), strict=True))
    pairs = zip(human["value"].values.tolist(), human["question"].values.tolist(), strict=True)
    if other := [value for value, question in pairs if questions.get(value, question) != question]:
        said.append(f"asked in other words than people: {', '.join(other[:4])}{' ...' if len(other) > 4 else ''}")
    phrases = [
        {(a.name, level.name): level.phrase for a in lattice_of(cube).attributes for level in a.levels}
        for cube in (human, model)
    ]
    if other := [f"{a}={x}" for (a, x), text in phrases[0].items() if phrases[1].get((a, x), text) != text]:
        said.append(f"told in other words: {', '.join(other[:4])}{' ...' if len(other) > 4 else ''}")
    if margins := model.attrs.get("margins"):
        said.append(f"levels of what was held out are no forecast: the adapter was given margins ({margins})")
    return [*said, *unlike(*shared(human, model))]


def unlike(human: xr.Dataset, model: xr.Dataset) -> list[str]:
    """Say in a line where the model's effects are not under the survey's estimand; the cubes are cut as by `shared`."""
    if held_fixed(human) is None:
        return [
            "the model's effects are plain differences of two personas: people's cube has no shares to weigh by "
            "(acecausal estimate writes them)"
        ]
    treatments: dict[str, list[str]] = {}
    profiled = by_profiles(human, model)
    if profiled:
        there = set(human["treatment"].values.tolist())
        for treatment, names in untold(model).items():
            treatments.setdefault(", ".join(names), []).extend({treatment} & there)
    for treatment, (unknown, most, wanted) in {} if profiled else not_stated(human).items():
        parts = [", ".join(unknown)] if unknown else []
        if most < wanted:
            parts.append(f"more than {most} of {wanted} attributes at a time")
        treatments.setdefault(" and ".join(parts), []).append(treatment)
    each = [f"{what} ({', '.join(names)})" for what, names in treatments.items() if names]
    why = (
        "since the codebook has no phrase for it" if profiled
        else "since its profiles were of another cube of people" if "profiles_of" in model.attrs
        else "since no persona states it (elicit --profiles asks as real people)"
    )  # fmt: skip
    return [f"not held fixed in the model, {why}: {'; '.join(each)}"] if each else []


def beyond(result: Mapping[str, Any]) -> list[str]:
    """Say where a model is nearer to the sample than one that is exactly right would be.

    Parameters
    ----------
    result : dict
        From `compare`.

    Returns
    -------
    list of str
        A sentence each for levels and effects of all cells, and of those that were trained on or held out.

    Notes
    -----
    The distance of a model that is exactly right is a mean of absolute errors. If G errors are independent and normal
    its standard deviation is .76/sqrt(G) of the ceiling: sqrt(pi/2 - 1). Contexts of one country and value overlap, so
    that no more than the cells of the persona `all` are taken for independent; two such deviations are allowed for.
    """
    everybody = [g for g in result["groups"] if (g["by"], g["key"]) == ("granularity", "0")]
    groups = [("", result), *((f" ({_SIDES[g['key']]})", g) for g in result["groups"] if g["by"] == "held_out")]
    said = []
    for name, group in groups:
        for part in ("level", "effect"):
            found, whole = group[part], result[part]["cells"]
            if not found["cells"] or found["skill"] is None:
                continue
            apart = sum(g[part]["cells"] for g in everybody) * found["cells"] / whole
            if found["distance"] < found["ceiling"] * (1 - 2 * np.sqrt((np.pi / 2 - 1) / max(apart, 1))):
                said.append(
                    f"{part}s{name}: better than the ceiling (distance {found['distance']:.4f}, ceiling "
                    f"{found['ceiling']:.4f}): it may have copied the sample, noise and all"
                )
    return said


def _reordered(model: xr.Dataset, orders: list[list[int]]) -> xr.Dataset:
    """Bring every value's options into the order given.

    Parameters
    ----------
    orders : list of list of int
        Per value, which of the cube's options comes first, second, ...
    """
    if all(order == sorted(order) for order in orders):
        return model
    model = model.copy(deep=True)
    for name in [name for name, variable in model.variables.items() if "option" in variable.dims and name != "option"]:
        array = model[name].transpose("value", "option", ...).values  # a view: what is set here is set in the cube
        for v, order in enumerate(orders):
            array[v, : len(order)] = array[v, order]
    return model


def _under(human: xr.Dataset, model: xr.Dataset) -> xr.Dataset:
    """Reckon a model's shifts, effects and their errors from its responses, under the survey's functional.

    Those by profiles of the same people are under it already.
    """
    if by_profiles(human, model):
        return model
    functional = effect_functional(human)
    model = model.drop_vars([name for name in ("shift_se", "effect_se", "effect_interval") if name in model])
    arrays = effects_of(model["response"].values, functional, human)
    if "wording_response" in model:
        each = [effects_of(one, functional, human) for one in model["wording_response"].values]
        for name in ("shift", "effect"):
            arrays[f"{name}_se"] = standard_error(np.stack([one[name] for one in each]))
    dims = {spec.name: spec.dims for spec in schema.VARIABLES}
    model = model.assign({name: (dims[name], array) for name, array in arrays.items()})
    return model.assign_attrs(model_effect=functional.name)


def _options(cube: xr.Dataset) -> list[list[str]]:
    """List every value's option labels."""
    pairs = zip(cube["option_label"].transpose("value", "option").values, cube["n_options"].values, strict=True)
    return [[str(label) for label in labels[:k]] for labels, k in pairs]


# --- cells ------------------------------------------------------------------------------------------------------------


def _scales(cube: xr.Dataset) -> Iterator[tuple[int, int, str]]:
    for v, (n_options, scale) in enumerate(zip(cube["n_options"].values, cube["scale"].values, strict=True)):
        yield v, int(n_options), str(scale)


def _level_cells(human: xr.Dataset, model: xr.Dataset) -> dict[str, np.ndarray]:
    """Distances per (country, value, persona)."""
    people, answers = human["response"].values, model["response"].values
    n_eff = human["n_eff"].values
    marginal = people[:, :, human["persona"].values.tolist().index("all")][:, :, None]
    cells = {name: np.full(n_eff.shape, np.nan) for name in ("distance", "null", "ceiling")}
    spare = np.maximum(n_eff - 1, 1)[..., None]  # n - 1: the variance is estimated from the same people
    for v, k, scale in _scales(human):
        p = people[:, v]
        cumulative = p.cumsum(axis=-1)
        option_se = np.sqrt(p * (1 - p) / spare[:, v])
        cumulative_se = np.sqrt(np.clip(cumulative * (1 - cumulative), 0, None) / spare[:, v])
        cells["distance"][:, v] = distribution_distance(p, answers[:, v], k, scale)
        cells["null"][:, v] = distribution_distance(p, marginal[:, v], k, scale)
        cells["ceiling"][:, v] = expected_distance(option_se, cumulative_se, k, scale)
    # a cube of other programs' subgroups may lack the marginal, and with it the null
    cells["used"] = (human["n"].values >= MIN_RESPONDENTS) & np.isfinite(cells["distance"]) & np.isfinite(cells["null"])
    return cells


def _effect_cells(human: xr.Dataset, model: xr.Dataset) -> dict[str, np.ndarray]:
    """Distances and effects per (country, attribute, value, persona)."""
    people, answers = human["shift"].values, model["shift"].values
    shape = people.shape[:-1]
    cells = {name: np.full(shape, np.nan) for name in ("distance", "null", "ceiling")}
    for v, k, scale in _scales(human):
        p = people[:, :, v]
        cells["distance"][:, :, v] = distribution_distance(p, answers[:, :, v], k, scale)
        cells["null"][:, :, v] = distribution_distance(p, np.zeros_like(p), k, scale)
        cells["ceiling"][:, :, v] = expected_distance(
            human["shift_se"].values[:, :, v], human["cumulative_shift_se"].values[:, :, v], k, scale
        )
    treatment = np.unique(human["treatment"].values.astype(str), return_inverse=True)[1]
    country, attribute, value, _ = np.indices(shape)
    interval = human["effect_interval"].values
    return cells | {
        "used": (human["status"].values == schema.OK) & np.isfinite(cells["distance"]),
        "human": human["effect"].values,
        "se": human["effect_se"].values,
        "q": human["q_value"].values,
        "low": interval[..., 0],
        "high": interval[..., 1],
        "model": model["effect"].values,
        "group": (country * (attribute.max() + 1) + treatment[attribute]) * shape[2] + value,
    }


def _groups(cube: xr.Dataset, held_out: holdout.HoldOut) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Yield (by, key, mask of level cells, mask of effect cells); the masks broadcast to the cells."""
    granularity = cube["granularity"].values
    for number in np.unique(granularity):
        persona = granularity == number
        yield "granularity", str(number), persona[None, None], persona[None, None, None]
    for by in ("country", "region"):
        labels = cube[by].values.astype(str)
        for key in dict.fromkeys(labels):
            here = labels == key
            yield by, key, here[:, None, None], here[:, None, None, None]
    lattice = lattice_of(cube)
    specified = {
        a.name: np.array([f"{a.name}=" in f",{p}" for p in cube["persona"].values]) for a in lattice.attributes
    }
    treatment = cube["treatment"].values.astype(str)
    for key in dict.fromkeys(treatment):
        yield "attribute", key, specified[key][None, None], (treatment == key)[None, :, None, None]
    for v, key in enumerate(cube["value"].values.astype(str)):
        here = np.arange(cube.sizes["value"]) == v
        yield "value", key, here[None, :, None], here[None, None, :, None]
    if held_out:
        level, effect = holdout.masks(held_out, cube)
        yield "held_out", "trained", ~level, ~effect
        yield "held_out", "held_out", level, effect


def _heeded(model: xr.Dataset) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Yield, as `_groups`, the effects of what the model takes in, and of what it does not."""
    for key, contrasts in heeding.split(model).items():
        yield "heed", key, np.zeros((1, 1, 1), dtype=bool), contrasts[None, :, None, None]


# --- summaries --------------------------------------------------------------------------------------------------------


def _summary(
    levels: dict[str, np.ndarray], effects: dict[str, np.ndarray], level_rows: np.ndarray, effect_rows: np.ndarray
) -> dict[str, Any]:
    level = _distances(levels, level_rows)
    score = None if level["distance"] is None else 100 * (1 - level["distance"])
    return {
        "level": {"distance": level["distance"], "score": score, **level},
        "effect": {**_distances(effects, effect_rows), **_effects(effects, effect_rows)},
    }


def _distances(cells: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, Any]:
    count = int(rows.sum())
    if not count:
        return {"distance": None, "null": None, "ceiling": None, "skill": None, "cells": 0}
    distance, null, ceiling = (float(cells[name][rows].mean()) for name in ("distance", "null", "ceiling"))
    room = null - ceiling
    skill = 1 - (distance - ceiling) / room if room > _NO_ROOM * null else None
    return {"distance": distance, "null": null, "ceiling": ceiling, "skill": skill, "cells": count}


def _effects(cells: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, Any]:
    rows = rows & np.isfinite(cells["human"])  # nominal values have no effect on the score
    human, model, se = (cells[name][rows] for name in ("human", "model", "se"))
    sure = cells["q"][rows] < 0.05
    certain = se > 0
    slope = interval = correlation = None
    if certain.any():
        slope, interval, correlation = effect_statistics(
            human[certain], se[certain], model[certain], cells["group"][rows][certain]
        )
    inside = (cells["low"][rows] <= model) & (model <= cells["high"][rows])
    return {
        "sign_agreement": float((np.sign(model) == np.sign(human))[sure].mean()) if sure.any() else None,
        "slope": slope,
        "slope_interval": interval,
        "correlation": correlation,
        "coverage": float(inside.mean()) if len(inside) else None,
    }
