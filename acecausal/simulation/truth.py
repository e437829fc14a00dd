"""True cubes of simulated worlds, by enumeration."""

from __future__ import annotations

import numpy as np
import xarray as xr

from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.cube.files import Country
from acecausal.cube.lattice import Lattice
from acecausal.errors import unknown
from acecausal.simulation.world import World

ESTIMANDS = ("direct", "total", "association")


def truth(world: World, *, estimand: str = "direct", depth: int | None = None) -> xr.Dataset:
    """Compute the true cube of a world, by enumerating all kinds of people.

    Parameters
    ----------
    world : World
    estimand : {'direct', 'total', 'association'}
        `direct`: all else held fixed, averaged over the people of the context. `total`: what the attribute moves
        follows it; contexts that specify such an attribute do not apply. `association`: difference of subgroups.
    depth : int, optional
        Of the lattice.

    Returns
    -------
    xarray.Dataset
        Of kind model: responses, shifts and effects without error.

    Raises
    ------
    AceError
        For an estimand that is none of these.
    """
    if estimand not in ESTIMANDS:
        raise unknown("estimand", estimand, ESTIMANDS)
    book = world.codebook()
    lattice = Lattice.over([book.attribute(name) for name in book.attributes], depth)
    values = [book.value(name) for name in book.values]
    codes, share = world.people
    matched = lattice.match(codes[:, :-1])
    width = max(world.options)
    shape = (world.countries, len(values), len(lattice.personas))
    edges = (world.countries, len(lattice.contrasts), *shape[1:])
    arrays = {
        "response": np.full((*shape, width), np.nan),
        "n": np.ones(shape, dtype=np.int64),
        "option_mass": np.ones(shape),
        "shift": np.full((*edges, width), np.nan),
        "effect": np.full(edges, np.nan),
        "status": np.full(edges, schema.NOT_APPLICABLE, dtype=np.int8),
    }
    for c in range(world.countries):
        high = world.high_share(np.full(len(codes), c), codes)
        for p, rows in enumerate(matched):
            mean = np.average(high[rows], axis=0, weights=share[rows])
            for v, count in enumerate(world.options):
                arrays["response"][c, v, p, :count] = world.low[v] + mean[v] * (world.high[v] - world.low[v])
        for t, context, _, _ in lattice.edges:
            contrast = lattice.contrasts[t]
            if estimand == "total" and (lattice.codes[context, world.descendants(contrast.attribute)] >= 0).any():
                continue
            baseline, treated = (
                _mean_at(world, c, contrast.attribute, level, matched[context], estimand)
                for level in (contrast.baseline, contrast.treated)
            )
            arrays["status"][c, t, :, context] = schema.OK
            for v, count in enumerate(world.options):
                shift = (treated - baseline)[v] * (world.high[v] - world.low[v])
                arrays["shift"][c, t, v, context, :count] = shift
                arrays["effect"][c, t, v, context] = shift @ schema.scores(count)
    countries = [Country(f"country{c}", f"Country {c}", "") for c in range(world.countries)]
    attrs = {"estimand": estimand, "model": "simulated truth"}
    return cubes.build("model", countries, values, lattice, arrays, attrs)


def _mean_at(world: World, country: int, attribute: int, level: int, context: np.ndarray, estimand: str) -> np.ndarray:
    """Mean share of the high answer, shape (values,), in a context (mask of kinds) at one level of an attribute."""
    codes, share = world.people
    if estimand == "direct":
        rows = context
        codes = codes[rows].copy()
        codes[:, attribute] = level
        weight = share[rows]
    else:
        rows = context & (codes[:, attribute] == level)
        codes, weight = codes[rows], share[rows]
        if estimand == "total":  # the truncated factorisation: the law without the factor of what is set
            weight = weight / world.level_share(attribute, codes)[:, level]
    high = world.high_share(np.full(len(codes), country), codes)
    return np.asarray(np.average(high, axis=0, weights=weight))
