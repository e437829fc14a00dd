"""Published evaluation protocols, as their authors reckon them: comparable numbers, not better ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from acecausal.comparison.compare import MIN_RESPONDENTS, shared
from acecausal.comparison.distance import distribution_distance
from acecausal.cube.files import lattice_of
from acecausal.errors import CubeError


def ace_align(human: xr.Dataset, model: xr.Dataset) -> dict[str, Any]:
    """Reckon ACE-Align's table: 100 (1 - EMD) by granularity and country.

    Parameters
    ----------
    human : xarray.Dataset
        A survey cube.
    model : xarray.Dataset
        A cube over (some of) the same countries, values and personas, with the same options.

    Returns
    -------
    dict
        ``protocol``; ``min_respondents``; ``rows``, a list of {granularity, countries {name: score or None}, mean};
        ``files``, how many means of a topic in a combination were averaged; ``thin``, in how many of them no group had
        `MIN_RESPONDENTS` people, so that all of its groups count, as they do there.

    Raises
    ------
    CubeError
        If the cubes share no group.

    Notes
    -----
    The order of averaging is that of the published code: within one topic and one combination of attributes over all
    questions and groups of at least ten people alike; these means over topics and combinations alike; scores over
    countries. Every scale counts as ordered, also a nominal one. Groups of ten have an EMD of about 0.1 from sampling
    alone, so these scores have a ceiling well below 100, and an answer that ignores the persona comes close to it: see
    `acecausal.comparison.compare.compare` for distances beside their null and ceiling.

    References
    ----------
    Luo et al. (2026), arXiv 2601.12962; github.com/Wells-Luo/ACE-Align at commit 2949e3e.
    """
    human, model = shared(human, model)
    people, answers, n = human["response"].values, model["response"].values, human["n"].values
    distance = np.full(n.shape, np.nan)
    for v, n_options in enumerate(human["n_options"].values):
        distance[:, v] = distribution_distance(people[:, v], answers[:, v], int(n_options), "ordinal")
    lattice = lattice_of(human)
    place = {persona: p for p, persona in enumerate(lattice.personas)}
    codes = lattice.codes[[place[str(persona)] for persona in human["persona"].values]]
    means, thin = file_means(distance, n, human["topic"].values.astype(str), codes >= 0)
    if not means:
        raise CubeError("the cubes share no group of people", param="MODEL", expected="personas that specify something")
    countries = [str(name) for name in human["country"].values]
    rows = []
    for size in sorted({size for _, size in means}):
        scores = {
            name: 100 * (1 - float(np.mean(means[c, size]))) if (c, size) in means else None
            for c, name in enumerate(countries)
        }
        there = [score for score in scores.values() if score is not None]
        rows.append({"granularity": size, "countries": scores, "mean": float(np.mean(there))})
    return {
        "protocol": "ace-align",
        "min_respondents": MIN_RESPONDENTS,
        "rows": rows,
        "files": sum(map(len, means.values())),
        "thin": thin,
    }


def file_means(
    distance: np.ndarray, n: np.ndarray, topic: np.ndarray, specified: np.ndarray
) -> tuple[dict[tuple[int, int], list[float]], int]:
    """Average distances within each country, combination of attributes and topic: what is one file there.

    Parameters
    ----------
    distance, n : numpy.ndarray, shape (countries, values, personas)
        NaN where there is no answer; respondents.
    topic : numpy.ndarray, shape (values,)
    specified : numpy.ndarray, shape (personas, attributes), bool

    Returns
    -------
    means : dict
        (country, granularity) to the means of its files.
    thin : int
        In how many of them no group had `MIN_RESPONDENTS` people.
    """
    there = (n > 0) & np.isfinite(distance)
    means: dict[tuple[int, int], list[float]] = {}
    thin = 0
    for combination in np.unique(specified[specified.any(axis=1)], axis=0):
        personas = (specified == combination).all(axis=1)
        for name in np.unique(topic):
            file = (topic == name)[:, None] & personas
            for c in range(len(n)):
                groups = there[c] & file
                many = groups & (n[c] >= MIN_RESPONDENTS)
                if groups.any():
                    thin += not many.any()
                    mean = float(distance[c][many if many.any() else groups].mean())
                    means.setdefault((c, int(combination.sum())), []).append(mean)
    return means, thin
