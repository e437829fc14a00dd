"""A cube in the words of a shipped codebook and with drawn numbers, for machines that have no survey."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, product

import numpy as np
import xarray as xr

from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.cube.lattice import Lattice
from acecausal.survey.codebook import load_codebook

#: Of the World Values Survey's codebook, with the first two levels of each: all four make 81 personas.
ATTRIBUTES = ("gender", "education", "residence", "age")
RESPONDENTS, ERROR = 1500.0, 0.02


def made_up(countries: int, values: int, attributes: int = 4, seed: int = 0) -> xr.Dataset:
    """Make a survey cube: log odds add up over levels, everybody's share is the same, errors are all alike.

    Only the sizes and the words are real: no number is anybody's.
    """
    book = load_codebook("wvs7")
    own = [book.attribute(name) for name in ATTRIBUTES[:attributes]]
    lattice = Lattice.over([replace(each, levels=each.levels[:2]) for each in own])
    asked = [book.value(name) for name in islice(book.values, values)]
    where = [
        cubes.Country(name, spec.label, spec.region) for name, spec in islice(book.countries.levels.items(), countries)
    ]
    width = max(len(value.options) for value in asked)
    kinds = np.array(list(product((0, 1), repeat=attributes)))
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(countries, values, 1, width))
    moved = rng.normal(scale=0.5, size=(countries, values, attributes, width))
    response = np.full((countries, values, len(lattice.personas), width), np.nan)
    matched = lattice.match(kinds)
    for v, value in enumerate(asked):
        odds = np.exp((base + np.einsum("ka,cvao->cvko", kinds, moved))[:, v, :, : len(value.options)])
        share = odds / odds.sum(axis=-1, keepdims=True)
        for p, members in enumerate(matched):
            response[:, v, p, : len(value.options)] = share[:, members].mean(axis=1)
    shape = (countries, len(lattice.contrasts), values, len(lattice.personas))
    shift, effect = np.full((*shape, width), np.nan), np.full(shape, np.nan)
    status = np.full(shape, schema.NOT_APPLICABLE, dtype=np.int8)
    for contrast, context, low, high in lattice.edges:
        shift[:, contrast, :, context] = response[:, :, high] - response[:, :, low]
        status[:, contrast, :, context] = schema.OK
    for v, value in enumerate(asked):
        effect[:, :, v] = shift[:, :, v, :, : len(value.options)] @ schema.scores(len(value.options))
    n = np.round(RESPONDENTS / 2.0**lattice.granularity) * np.ones((countries, values, 1))
    there, moves = np.isfinite(effect), np.isfinite(shift)
    answered = np.where(np.isfinite(response), ERROR, np.nan)
    wide, each = np.where(moves, ERROR, np.nan), np.where(there, ERROR, np.nan)
    arm = np.where(there, RESPONDENTS / 2.0 ** (1 + lattice.granularity), 0).astype(int)
    arrays = {
        "response": response, "response_se": answered, "response_shrunk": response, "response_shrunk_se": answered,
        "n": n.astype(int), "n_eff": n, "shift": shift, "shift_shrunk": shift, "status": status,
        **dict.fromkeys(("shift_se", "shift_shrunk_se", "cumulative_shift_se"), wide),
        "shift_critical": np.where(there, 2.5, np.nan), "effect": effect, "effect_shrunk": effect,
        **dict.fromkeys(("effect_se", "effect_shrunk_se"), each),
        "effect_interval": np.stack([effect - 2 * each, effect + 2 * each], axis=-1),
        **dict.fromkeys(("p_value", "q_value"), np.where(there, 0.01, np.nan)),
        "n_baseline": arm, "n_treated": arm, "overlap": np.where(there, 1.0, np.nan),
    }  # fmt: skip
    return cubes.build("survey", where, asked, lattice, arrays, {"title": "made up", "confidence": 0.95})
