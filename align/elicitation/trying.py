"""Ways of asking, tried on a small part of a lattice: where does a model heed the persona, and answer by meaning."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import xarray as xr

from acecausal.comparison.agreement import CONTENT, agreement
from acecausal.cube import files as cubes
from acecausal.cube.check_questions import check_values, heed
from acecausal.cube.lattice import Lattice
from align.elicitation.asking import ask
from align.elicitation.backends import Backend
from align.prompting.wordings import ORDERS, UNLISTED, Wording, possible

#: Values that are asked, at most.
VALUES = 3


@dataclass(frozen=True, slots=True)
class Tried:
    """What a way of asking brought, over its orders of the options.

    Attributes
    ----------
    template, marks : str
    orders : tuple of str
        Both; or `UNLISTED` alone.
    heed : dict of str to float
        Per contrast, in the context all: 1 taken in, 0 not.
    order_agreement : float
        1 the same effects in both orders, -1 the opposite; NaN if there are none. 1 without a list.
    option_mass : float
        Probability on the options, 0..1.
    seconds : float
        That asking took.
    """

    template: str
    marks: str
    orders: tuple[str, ...]
    heed: dict[str, float]
    order_agreement: float
    option_mass: float
    seconds: float

    @property
    def mean_heed(self) -> float:
        """Heed over all contrasts."""
        return float(np.mean(list(self.heed.values())))


def try_wordings(
    backend: Backend, like: xr.Dataset, templates: Sequence[str], marks: Sequence[str]
) -> tuple[list[Tried], Tried]:
    """Ask in every template with all marks, in both orders, and in own words without a list of them as well.

    Of one country, a few values, personas of one attribute.

    Parameters
    ----------
    backend : Backend
    like : xarray.Dataset
        Cube that says what is asked of whom; its first country and first values are.
    templates, marks : sequence of str
        See `align.prompting.wordings.Wording`.

    Returns
    -------
    list of Tried, Tried
        In the order of templates and marks; and the best of them: of those whose effects are the same in both orders
        (agreement 0.5 or more), or of all if there are none, the one that heeds most.
    """
    lattice, country = cubes.lattice_of(like), cubes.countries_of(like)[0]
    values, checks = cubes.values_of(like)[:VALUES], check_values(lattice)
    whom = np.flatnonzero(lattice.granularity <= 1)
    found = []
    for template, mark, orders in product(templates, marks, (ORDERS, (UNLISTED,))):
        if not possible(template, orders[0], mark):
            continue
        start = time.perf_counter()
        wordings = [Wording(template, order, mark) for order in orders]
        asked = [ask(backend, country, value, lattice, wordings, whom.tolist()) for value in values]
        told = [ask(backend, country, value, lattice, wordings, whom.tolist()) for value in checks]
        said = np.full((len(orders), len(lattice.personas), len(lattice.checked)), np.nan)
        said[:, whom] = np.concatenate([one.response for one in told], axis=-1)
        heeded = heed(lattice, said)[..., 0].mean(axis=0)
        shifts = np.concatenate([_shifts(lattice, whom, one.response) for one in asked], axis=-1)
        mass = np.concatenate([one.mass for one in asked])
        found.append(
            Tried(
                template, mark, orders,
                heed=dict(zip(lattice.contrast_labels, heeded.tolist(), strict=True)),
                order_agreement=agreement(shifts[0], shifts[-1]),
                option_mass=float(mass[np.isfinite(mass)].mean()) if np.isfinite(mass).any() else float("nan"),
                seconds=time.perf_counter() - start,
            )
        )  # fmt: skip
    by_meaning = [one for one in found if one.order_agreement >= CONTENT]
    return found, max(by_meaning or found, key=lambda one: -np.inf if np.isnan(one.mean_heed) else one.mean_heed)


def _shifts(lattice: Lattice, whom: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Plain differences along the edges from everybody, shape (wordings, contrasts, options)."""
    place = np.full(len(lattice.personas), -1)
    place[whom] = np.arange(len(whom))
    edges = lattice.edges[lattice.edges[:, 1] == 0]
    return np.asarray(response[:, place[edges[:, 3]]] - response[:, place[edges[:, 2]]])
