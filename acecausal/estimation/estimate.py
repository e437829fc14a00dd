"""From survey and plan to the cube of effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.cube.advice import general
from acecausal.cube.check_questions import drift
from acecausal.cube.doubts import count_reasons
from acecausal.errors import AceError
from acecausal.estimation.control import Control
from acecausal.estimation.estimators import ASSOCIATION
from acecausal.estimation.inference import false_discovery
from acecausal.estimation.plan import FAMILY_DIMS, Plan, make_plan
from acecausal.estimation.problem import MIN_CELL_ARM
from acecausal.estimation.running import Unit, run
from acecausal.estimation.sample import Sample
from acecausal.estimation.shrinkage import fill_shrunk
from acecausal.survey.data import Survey

Arrays = dict[str, np.ndarray]


def estimate(
    survey: Survey,
    plan: Plan | None = None,
    *,
    controls: Sequence[Control] | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    store: Path | None = None,
    progress: Callable[[], None] | None = None,
    **choices: Any,
) -> xr.Dataset:
    """Estimate the cube.

    Parameters
    ----------
    survey : Survey
    plan : Plan, optional
        From `make_plan`; by default a plan with these `choices`.
    controls : sequence of Control, optional
        Per country of the plan what a model expects of its respondents: see `acecausal.estimation.sharpening`.
    jobs : int
        Processes; the numbers do not depend on it.
    scheduler : str, optional
        Address of a Dask scheduler to run on instead (extra `dask`).
    store : Path, optional
        Folder for finished units: a run that was killed goes on from what is there. The caller removes it.
    progress : callable, optional
        Called without arguments after each unit.
    **choices
        Parameters of `make_plan`, if no plan is given.

    Returns
    -------
    xarray.Dataset
        A survey cube (see `acecausal.cube.schema`): responses, shifts and effects in probability and score units.

    Raises
    ------
    AceError
        If no cell could be estimated, a choice is wrong, or plan and choices are both given.
    """
    if plan is not None and choices:
        raise AceError("given beside a plan", param=", ".join(choices), hint="a plan holds all choices")
    plan = plan or make_plan(survey, **choices)
    arrays = _assemble(
        plan, run(survey, plan, controls=controls, jobs=jobs, scheduler=scheduler, store=store, progress=progress)
    )
    if not (arrays["status"] == schema.OK).any():
        counts = np.bincount(arrays["status"].ravel(), minlength=len(schema.STATUS))
        within = ["no_overlap: few items that both arms rated (item: random: true, if so)"] if plan.within_items else []
        reasons = ", ".join(f"{name} {n}" for name, n in zip(schema.STATUS, counts, strict=True) if n)
        raise AceError(
            "no cell could be estimated",
            param="estimate",
            got=f"{reasons} ({', '.join(f'{what} {n}' for what, n in count_reasons(arrays['reason']).items())})",
            hint="; ".join([general(arrays["reason"]), *within]).strip("; "),
        )
    arrays["q_value"] = _adjusted(arrays["p_value"], plan.family)
    fill_shrunk(arrays, plan.values, plan.lattice)
    arrays["drift"] = drift(plan.lattice, arrays["implied"])
    labels: dict[str, Any] = {
        "modifier": [attribute.name for attribute in plan.lattice.attributes],
        "covariate": plan.covariates,
    }
    return cubes.build("survey", plan.countries, plan.values, plan.lattice, arrays, _provenance(survey, plan), labels)


def unanswered(cube: xr.Dataset) -> list[str]:
    """List the country-value pairs, as text, that were asked and yet have no estimate at all."""
    asked = (cube["n"] > 0).any("persona").values
    ok = (cube["status"] == schema.OK).any(("attribute", "persona")).values
    return [f"{cube['country'].values[c]} {cube['value'].values[v]}" for c, v in np.argwhere(asked & ~ok)]


def _assemble(plan: Plan, parts: Mapping[Unit, Arrays]) -> Arrays:
    """Stack the units' arrays along country and attribute."""
    contrasts = range(len(plan.lattice.contrasts))
    countries = range(len(plan.countries))
    arrays = {name: np.stack([parts[Unit(c, None)][name] for c in countries]) for name in parts[Unit(0, None)]}
    return arrays | {
        name: np.stack([[parts[Unit(c, t)][name] for t in contrasts] for c in countries]) for name in parts[Unit(0, 0)]
    }


def _adjusted(p: np.ndarray, family: tuple[str, ...]) -> np.ndarray:
    """Adjust p-values, shape (country, attribute, value, persona), within each family."""
    fixed = [i for i, dim in enumerate(FAMILY_DIMS) if dim in family]
    free = [i for i in range(p.ndim) if i not in fixed]
    turned = p.transpose(*fixed, *free)
    flat = turned.reshape(int(np.prod([p.shape[i] for i in fixed])), -1)
    q = np.stack([false_discovery(row) for row in flat]).reshape(turned.shape)
    return q.transpose(np.argsort([*fixed, *free]))


def _provenance(survey: Survey, plan: Plan) -> dict[str, object]:
    book = survey.codebook
    inside = np.arange(len(survey)) if survey.inside is None else np.flatnonzero(survey.inside)
    return {
        "title": book.title,
        "source": book.source,
        "licence": book.licence,
        "codebook": book.name,
        "codebook_sha256": book.sha256,
        "data_sha256": survey.data_sha256,
        "respondents": int(survey.count(inside)[0]),
        **({"ratings": len(inside)} if book.rater else {}),
        "rows": {column: str(rows) for column, rows in book.rows.items()},
        "domain": {column: str(rows) for column, rows in book.domain.items()},
        "unverified": list(plan.unverified),
        "lost": survey.lost,
        "noted": survey.noted,
        "estimand": plan.estimand,
        "estimator": plan.estimator,
        **({} if plan.estimator == ASSOCIATION else {"nuisance": plan.nuisance.text if plan.nuisance else "linear"}),
        "graph": plan.graph,
        "adjustment": {name: list(held) for name, held in plan.adjustment.items()},
        "modifiers": {name: list(free) for name, free in plan.modifiers.items()},
        "weights": book.weight.column if book.weight else "none",
        "weights_note": book.weight.note if book.weight else "",
        "design": _design(survey, plan),
        "confidence": plan.confidence,
        "min_arm": plan.min_arm,
        "min_cell": MIN_CELL_ARM,
        "min_share": plan.min_share,
        "q_family": "all estimated effects"
        + (f" within each {' and '.join(plan.family)}" if plan.family else " together"),
        "refute_draws": plan.refute,
        "seed": plan.seed,
        "versions": {name: version(name) for name in ("acecausal", "econml", "dowhy", "numpy", "scikit-learn")},
    }


def _design(survey: Survey, plan: Plan) -> dict[str, object]:
    book = survey.codebook
    degrees = {
        country.name: Sample.of(survey, plan, c).design.degrees_of_freedom for c, country in enumerate(plan.countries)
    }
    if book.replicates is not None and survey.replicates is not None:
        columns = book.replicates.named
        return {
            "replicates": f"{len(columns)}: {columns[0]} to {columns[-1]}",
            **book.replicates.model_dump(include={"type", "rho", "scale", "rscales", "mse"}, exclude_none=True),
            "standard_errors": "replicate weights: everything estimated anew under each of them",
            "degrees_of_freedom": degrees,
        }
    return {
        "stratum": book.stratum.column if book.stratum else "none",
        "psu": book.rater.column if book.rater else book.psu.column if book.psu else "respondent",
        "fpc": book.fpc.column if book.fpc else "none: PSUs with replacement",
        **({"item": book.item.column + (", held fixed" if plan.within_items else "")} if book.item else {}),
        "standard_errors": "Taylor linearisation, lone PSUs centred at the grand mean"
        + ("; clustered by rater and by item (Cameron, Gelbach and Miller 2011)" if book.item else ""),
        "degrees_of_freedom": degrees,
    }
