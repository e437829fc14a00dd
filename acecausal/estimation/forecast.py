"""What a plan will come to, before it is run: cells, thin arms, time and memory, and what to do about them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from acecausal.cube import schema
from acecausal.cube.advice import merge
from acecausal.estimation.comparable import arm_problems
from acecausal.estimation.plan import Fit, Plan
from acecausal.estimation.running import Unit, run_unit
from acecausal.estimation.sample import Sample
from acecausal.survey.data import Survey

#: Bytes of a process that has imported all it needs, and copies of a fit's arrays that are alive at once.
BASE, COPIES = 350e6, 6
#: A granularity is not worth its cells if more than this share of them is too thin.
THIN = 0.5


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a plan will come to.

    Attributes
    ----------
    personas, cells : int
        Of the lattice; and of the cube (country, contrast, value, context).
    thin : dict of int to (int, int)
        By attributes of the context: cells with an arm of fewer than `min_arm` people, in number or in effective size,
        of which one person is half, or which is of one PSU; and all cells.
    arms : list of (country, contrast, level, people)
        Among everyone, levels that have fewer than `min_arm` people in every value.
    minutes : float
        Of one process; the smallest fit was timed, the others are taken to cost by respondents, outcomes and contexts.
    gigabytes : float
        Of memory at most, in one process; rough.
    """

    personas: int
    cells: int
    thin: dict[int, tuple[int, int]]
    arms: list[tuple[str, str, str, int]]
    minutes: float
    gigabytes: float


def forecast(survey: Survey, plan: Plan) -> Forecast:
    """Count the arms of every fit in every context, time the smallest fit, and reckon the rest from these."""
    samples = {c: Sample.of(survey, plan, c) for c in range(len(plan.countries))}
    granularity = plan.lattice.granularity
    thin: dict[int, tuple[int, int]] = {}
    arms = []
    for fit in plan.fits:
        contexts = plan.contexts(fit.contrast)
        sizes, few = _arms(samples[fit.country], fit, contexts)
        for level in np.unique(granularity[contexts]):
            here = few[granularity[contexts] == level]
            bad, every = thin.get(int(level), (0, 0))
            thin[int(level)] = (bad + int(here.sum()), every + here.size)
        everyone = sizes[:, list(contexts).index(0)]
        for side, most in enumerate(everyone.max(axis=1)):
            if most < plan.min_arm:
                contrast = plan.lattice.contrasts[fit.contrast]
                names = plan.lattice.attributes[contrast.attribute].level_names
                level = names[contrast.treated if side else contrast.baseline]
                label = plan.lattice.contrast_labels[fit.contrast]
                arms.append((plan.countries[fit.country].name, label, level, int(most)))
    return Forecast(
        len(plan.lattice.personas),
        sum(every for _, every in thin.values()),
        dict(sorted(thin.items())),
        list(dict.fromkeys(arms)),
        _minutes(samples, plan),
        _gigabytes(plan),
    )


def advice(found: Forecast, plan: Plan) -> list[str]:
    """Say what would help, in sentences; none if nothing is thin."""
    said = []
    for country, contrast, level, people in found.arms:
        attribute = next(a for a in plan.lattice.attributes if a.name == contrast.partition(":")[0])
        said.append(f"{country} {contrast}: {people} people at most at {level}; {merge(attribute, level)}")
    deep = [level for level, (bad, every) in found.thin.items() if level > 0 and bad > THIN * every]
    if deep:
        bad, every = found.thin[deep[0]]
        among = f"contexts of {deep[0]} attribute{'s' * (deep[0] > 1)}"
        said.append(
            f"{among}: {bad:,} of {every:,} cells are too thin; --depth {deep[0]} leaves them out, fewer attributes or "
            "coarser levels give them people"
        )
    return said


def _arms(sample: Sample, fit: Fit, contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count people, shape (arm, context, value), and say where these are too few, shape (context, value)."""
    rows = sample.rows(fit)
    answered = np.stack([sample.survey.values[sample.plan.values[v].name][rows] >= 0 for v in fit.values], axis=1)
    sides = [answered & (sample.arm(fit.contrast)[rows] == side)[:, None] for side in (0, 1)]
    found = []
    for here in map(np.flatnonzero, sample.matched[contexts][:, rows]):
        sizes, _, reason = arm_problems(sample, rows[here], [side[here] for side in sides], sample.plan.min_arm)
        found.append((sizes, reason > 0))
    counted, few = zip(*found, strict=True)
    return np.stack(counted, axis=1), np.stack(few)


def _work(plan: Plan, fit: Fit) -> float:
    return float(fit.respondents * fit.outcomes * (1 + len(plan.contexts(fit.contrast))))


def _minutes(samples: Mapping[int, Sample], plan: Plan) -> float:
    there = [fit for fit in plan.fits if fit.respondents]
    if not there:
        return 0.0
    least = min(there, key=lambda fit: _work(plan, fit))
    start = time.perf_counter()
    run_unit(samples[least.country], Unit(least.country, least.contrast))
    seconds = time.perf_counter() - start
    own = sum(_work(plan, f) for f in there if (f.country, f.contrast) == (least.country, least.contrast))
    return seconds * sum(max(_work(plan, fit) / own, 1.0) for fit in there) / 60


def _gigabytes(plan: Plan) -> float:
    sizes = {
        "country": len(plan.countries),
        "attribute": len(plan.lattice.contrasts),
        "value": len(plan.values),
        "persona": len(plan.lattice.personas),
        "option": max(len(value.options) for value in plan.values),
        "draw": plan.refute,
        "bound": 2,
    }
    cube = sum(
        8.0 * np.prod([sizes.get(dim, 8) for dim in spec.dims]) for spec in schema.VARIABLES if "survey" in spec.kinds
    )
    largest = max((8.0 * fit.respondents * fit.outcomes for fit in plan.fits), default=0.0)
    return float(BASE + COPIES * largest + 3 * cube) / 1e9
