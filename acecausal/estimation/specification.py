"""The specification curve: the same effect under other adjustment sets, estimators and weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import xarray as xr

from acecausal.cube import schema
from acecausal.errors import AceError, unknown
from acecausal.estimation.estimate import estimate
from acecausal.estimation.estimators import ASSOCIATION, ESTIMATORS
from acecausal.estimation.nuisances import read_nuisance
from acecausal.estimation.plan import ESTIMANDS, Plan, make_plan, with_adjustment
from acecausal.survey.codebook import Codebook
from acecausal.survey.data import Survey

#: Adjustment sets by the graph; ``association`` holds nothing fixed.
USUAL = ("direct", "total", ASSOCIATION)
#: `forest-dml` and, less so, `dr` take longer: ask for them where there are few.
USUAL_ESTIMATORS = ("linear-dml",)
WEIGHTINGS = ("weighted", "unweighted")
_WITHOUT = "direct without "
_VARIABLES = ("effect", "effect_se", "effect_interval", "p_value", "n_effect", "status")


@dataclass(frozen=True, slots=True)
class Specification:
    """One way to estimate.

    Attributes
    ----------
    adjustment : str
        An estimand; what is held fixed, joined by +; or ``direct without`` some of it.
    estimator : str
    weights : {'weighted', 'unweighted'}
    nuisance : str or (regressor, classifier)
        As in `make_plan`.
    """

    adjustment: str
    estimator: str
    weights: str
    nuisance: object = "linear"

    @property
    def method(self) -> str:
        """The estimator, and what it predicts by if not linearly."""
        learners = read_nuisance(self.nuisance)
        return f"{self.estimator}, {learners.text}" if learners else self.estimator


def specify(
    survey: Survey,
    *,
    adjustments: Sequence[str] = (),
    estimators: Sequence[str] = USUAL_ESTIMATORS,
    weightings: Sequence[str] = (),
    nuisances: Sequence[object] = ("linear",),
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
    **choices: Any,
) -> xr.Dataset:
    """Estimate the effects among everyone in every specification: adjustment x estimator x nuisance x weighting.

    Parameters
    ----------
    survey : Survey
    adjustments : sequence of str
        ``direct``, ``total``, ``association``, names of attributes and covariates joined by +, as ``age+income``, or
        ``direct without age``. By default these three, and direct without each of what it holds fixed.
    estimators : sequence of str
        Of `ESTIMATORS`; ``association`` goes with the adjustment of that name, and is not named here.
    weightings : sequence of {'weighted', 'unweighted'}
        By default both where the survey has weights.
    nuisances : sequence of str or (regressor, classifier)
        What predicts answers and arm, as in `make_plan`; each goes with each estimator.
    jobs : int
        Processes.
    progress : callable, optional
        Called with (done, all) after each specification.
    **choices
        Of `make_plan`: attributes, values, countries, min_arm, confidence, graph, seed.

    Returns
    -------
    xarray.Dataset
        effect, effect_se, effect_interval, p_value, n_effect and status as in a survey cube, with the dimension
        specification in front (coordinates adjustment, estimator, weights) and without persona; `held` (specification,
        attribute): what is held fixed, joined by ", ". Where a specification holds the same as an earlier one with the
        same estimator and weights, it is no other one: its status is ``not_applicable`` and its numbers are missing.
        Values without an order have no effect and are left out.

    Raises
    ------
    AceError
        For an unknown name or choice, if no value has an order, or if nothing could be estimated in any specification.

    References
    ----------
    Simonsohn, Simmons and Nelson (2020), Specification curve analysis, Nature Human Behaviour 4, 1208-1214.
    """
    for name in estimators:
        if name not in ESTIMATORS or name == ASSOCIATION:
            raise unknown("estimators", name, [e for e in ESTIMATORS if e != ASSOCIATION])
    weighted = survey.codebook.weight is not None
    for name in weightings:
        if name not in WEIGHTINGS:
            raise unknown("weightings", name, WEIGHTINGS)
        if name == "weighted" and not weighted:
            raise AceError("has no weights", param="weightings", expected="unweighted", got=name)
    nominal = {name for name, spec in survey.codebook.values.items() if spec.scale == "nominal"}
    asked = choices.pop("values", ()) or list(survey.codebook.values)
    asked = [asked] if isinstance(asked, str) else asked
    choices["values"] = [name for name in asked if name not in nominal]
    if not choices["values"]:
        raise AceError("have no order, hence no effect", param="values", expected="a value with a score")
    choices = {"depth": 1, **choices}
    direct = make_plan(survey, **choices)
    sets = list(adjustments) or [*USUAL, *_all_but_one(direct)]
    every = [
        Specification(adjustment, estimator, weights, nuisance)
        for adjustment, weights in product(sets, weightings or (WEIGHTINGS if weighted else WEIGHTINGS[1:]))
        for estimator, nuisance in (
            [(ASSOCIATION, "linear")] if adjustment == ASSOCIATION else product(estimators, nuisances)
        )
    ]
    flat = unweighted(survey)
    found, held = [], []
    seen: set[tuple[Any, ...]] = set()
    for number, one in enumerate(every):
        people = survey if one.weights == "weighted" else flat
        plan = _plan(people, one, choices)
        try:
            cube = estimate(people, plan, jobs=jobs)[list(_VARIABLES)].sel(persona="all", drop=True)
        except AceError as error:
            error.add_note(f"in the specification {one.adjustment}, {one.method}, {one.weights}: leave it out")
            raise
        for a, treatment in enumerate(cube["treatment"].values.astype(str)):
            key = (a, frozenset(plan.adjustment[treatment]), one.method, one.weights)
            if key in seen:
                _blank(cube, a)
            seen.add(key)
        found.append(cube)
        held.append([", ".join(plan.adjustment[str(name)]) for name in cube["treatment"].values])
        if progress:
            progress(number + 1, len(every))
    return _stacked(found, every, held, direct)


def _all_but_one(direct: Plan) -> Iterator[str]:
    """Leave out each of what the direct effects hold fixed, one at a time; of one alone association is left."""
    held = dict.fromkeys(name for names in direct.adjustment.values() for name in names)
    if any(len(names) > 1 for names in direct.adjustment.values()):
        yield from (f"{_WITHOUT}{out}" for out in held)


def _plan(survey: Survey, one: Specification, choices: dict[str, Any]) -> Plan:
    if one.adjustment in ESTIMANDS:
        return make_plan(survey, estimand=one.adjustment, estimator=one.estimator, nuisance=one.nuisance, **choices)
    plan = make_plan(survey, estimator=one.estimator, nuisance=one.nuisance, **choices)
    return with_adjustment(survey, plan, _held(survey.codebook, plan, one.adjustment))


def _held(book: Codebook, plan: Plan, adjustment: str) -> dict[str, list[str]]:
    """Read what an adjustment holds fixed, by treated attribute: never what stands in the attribute's own column."""
    names = adjustment.removeprefix(_WITHOUT).split("+")
    column = {name: spec.column for part in (book.attributes, book.covariates) for name, spec in part.items()}
    for name in names:
        if name not in column:
            raise unknown("adjustments", name, column)
    if len({column[name] for name in names}) < len(names):
        raise AceError("names a column twice", param="adjustments", got=adjustment)
    if adjustment.startswith(_WITHOUT):
        return {name: [other for other in held if other not in names] for name, held in plan.adjustment.items()}
    return {name: [other for other in names if column[other] != column[name]] for name in plan.adjustment}


def unweighted(survey: Survey) -> Survey:
    """Give everybody in the survey the weight 1; strata and PSUs stay, and the factors of replicate weights."""
    book = survey.codebook.model_copy(update={"weight": None})
    inside, replicates = survey.weight > 0, survey.replicates
    if replicates is not None:
        weight = survey.weight[:, None]
        replicates = np.divide(replicates, weight, out=np.zeros_like(replicates), where=weight > 0)
    return replace(survey, codebook=book, weight=inside.astype(float), replicates=replicates)


def _blank(cube: xr.Dataset, a: int) -> None:
    for name in ("effect", "effect_se", "effect_interval", "p_value"):
        cube[name].values[:, a] = np.nan
    cube["n_effect"].values[:, a] = 0
    cube["status"].values[:, a] = schema.NOT_APPLICABLE


def _stacked(
    found: list[xr.Dataset], every: Sequence[Specification], held: list[list[str]], direct: Plan
) -> xr.Dataset:
    kept = ("country", "attribute", "value", "country_label", "question", "treatment", "baseline")
    parts = [cube.drop_vars([name for name in cube.coords if name not in kept]) for cube in found]
    curve = xr.concat(parts, "specification", join="exact", coords="minimal", compat="override")
    curve["held"] = (("specification", "attribute"), np.array(held, dtype=object))
    columns = {
        "adjustment": [one.adjustment for one in every],
        "estimator": [one.method for one in every],
        "weights": [one.weights for one in every],
    }
    columns["specification"] = [" | ".join(row) for row in zip(*columns.values(), strict=True)]
    curve = curve.assign_coords(
        {part: ("specification", np.array(names, dtype=object)) for part, names in columns.items()}
    )
    curve.attrs = {
        **{
            name: found[0].attrs[name] for name in ("title", "source", "licence", "codebook", "data_sha256", "versions")
        },
        "description": "Effects among everyone by specification (Simonsohn, Simmons and Nelson 2020)",
        "confidence": direct.confidence,
        "min_arm": direct.min_arm,
        "seed": direct.seed,
        "graph": direct.graph,
    }
    return curve


def summary(curve: xr.Dataset) -> xr.Dataset:
    """Say how far specifications agree, cell by cell.

    Parameters
    ----------
    curve : xarray.Dataset
        From `specify`.

    Returns
    -------
    xarray.Dataset, dims (country, attribute, value)
        k: specifications with an effect. lowest, median, highest: of these effects, on the 0..1 score. same_sign: share
        of them with the sign of the median. significant: share of them with that sign whose p-value is below 1 -
        confidence. Missing where k is 0.

    Notes
    -----
    Specifications share their data: the shares describe, they are no test.
    """
    dims = curve["effect"].dims[1:]
    there = np.isfinite(curve["effect"].values) & (curve["status"].values == schema.OK)
    effect = np.where(there, curve["effect"].values, np.nan)
    k = there.sum(axis=0)
    none = np.where(k > 0, 0.0, np.nan)
    ranked = np.sort(effect, axis=0)  # those that are missing stand last
    low, high = (np.take_along_axis(ranked, np.maximum(place, 0)[None], axis=0)[0] for place in ((k - 1) // 2, k // 2))
    median = (low + high) / 2
    agree = there & (effect * median > 0)
    sure = agree & (curve["p_value"].values < 1 - float(curve.attrs["confidence"]))
    found = {
        "k": k, "lowest": ranked[0], "median": median, "highest": np.fmax.reduce(effect, axis=0),
        "same_sign": agree.sum(axis=0) / np.maximum(k, 1) + none,
        "significant": sure.sum(axis=0) / np.maximum(k, 1) + none,
    }  # fmt: skip
    return xr.Dataset({name: (dims, numbers) for name, numbers in found.items()}, {dim: curve[dim] for dim in dims})
