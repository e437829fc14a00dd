"""From survey and plan to the cube of effects."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import xarray as xr
from scipy import stats

from acecausal import cube as cubes
from acecausal import schema
from acecausal.errors import AceError
from acecausal.estimators import ESTIMATORS, cell_propensity
from acecausal.inference import (
    Design,
    effective_size,
    false_discovery,
    p_values,
    weighted_difference,
    weighted_mean,
)
from acecausal.plan import ASSOCIATION, Fit, Plan, complete_rows, make_plan
from acecausal.survey import Survey

#: An estimate must speak for at least this weighted share of the context's respondents.
MIN_OVERLAP = 0.5
PROPENSITY_RANGE = (0.05, 0.95)

Arrays = dict[str, np.ndarray]


def estimate(survey: Survey, plan: Plan | None = None, *, progress: Callable[[], None] | None = None) -> xr.Dataset:
    """Estimate the cube.

    Parameters
    ----------
    survey : Survey
    plan : Plan, optional
        From `make_plan`; by default the plan with all its defaults.
    progress : callable, optional
        Called without arguments after each fit.

    Returns
    -------
    xarray.Dataset
        A survey cube (see `acecausal.schema`): responses, shifts and effects in probability and score units.

    Raises
    ------
    AceError
        If no cell could be estimated.
    """
    plan = plan or make_plan(survey)
    per_country = [estimate_country(survey, plan, c, progress) for c in range(len(plan.countries))]
    arrays = {name: np.stack([part[name] for part in per_country]) for name in per_country[0]}
    if not (arrays["status"] == schema.OK).any():
        counts = np.bincount(arrays["status"].ravel(), minlength=len(schema.STATUS))
        reasons = ", ".join(f"{name} {n}" for name, n in zip(schema.STATUS, counts, strict=True) if n)
        raise AceError(
            "no cell could be estimated",
            param="estimate",
            got=reasons,
            hint=f"too_few: fewer attributes or a smaller min_arm (now {plan.min_arm}); "
            "failed: answers without variation, one extreme weight, or a single PSU",
        )
    return cubes.build("survey", plan.countries, plan.values, plan.lattice, arrays, _provenance(survey, plan))


def unanswered(cube: xr.Dataset) -> list[str]:
    """List the country-value pairs, as text, that were asked and yet have no estimate at all."""
    asked = (cube["n"] > 0).any("persona").values
    ok = (cube["status"] == schema.OK).any(("attribute", "persona")).values
    return [f"{cube['country'].values[c]} {cube['value'].values[v]}" for c, v in np.argwhere(asked & ~ok)]


def estimate_country(survey: Survey, plan: Plan, country: int, progress: Callable[[], None] | None = None) -> Arrays:
    """Estimate everything about one country; it depends on no other country.

    Returns
    -------
    dict of str to numpy.ndarray
        The schema's variables of a survey cube, without the country dimension.
    """
    rows = survey.country == survey.country_names.index(plan.countries[country].name)
    part = _take(survey, rows)
    design = Design.of(part.stratum, part.psu)
    codes = np.stack([part.attributes[a.name] for a in plan.lattice.attributes], axis=1)
    matched = plan.lattice.match(codes)
    arrays = _empty(plan)
    _responses(arrays, part, plan, matched, design)
    for fit in plan.fits:
        if fit.country == country:
            _effects(arrays, part, plan, fit, matched, design)
            if progress:
                progress()
    _close(arrays, plan, design)
    return arrays


def _empty(plan: Plan) -> Arrays:
    sizes = {
        "attribute": len(plan.lattice.contrasts),
        "value": len(plan.values),
        "persona": len(plan.lattice.personas),
        "option": max(len(value.options) for value in plan.values),
        "bound": 2,
    }
    arrays: Arrays = {}
    for spec in schema.VARIABLES:
        if "survey" in spec.kinds:
            shape = tuple(sizes[dim] for dim in spec.dims[1:])
            arrays[spec.name] = np.zeros(shape, dtype=np.int64) if spec.dtype == "i" else np.full(shape, np.nan)
    arrays["status"] = np.full(arrays["status"].shape, schema.NOT_APPLICABLE, dtype=np.int8)
    arrays["n_eff"][:] = 0.0
    for contrast, context in plan.lattice.edges[:, :2]:
        arrays["status"][contrast, :, context] = schema.NOT_ASKED
    return arrays


def _responses(arrays: Arrays, part: Survey, plan: Plan, matched: np.ndarray, design: Design) -> None:
    """Fill the weighted shares of every option for every persona."""
    for v, value in enumerate(plan.values):
        answer = part.values[value.name]
        one_hot = _one_hot(answer, len(value.options))
        for p, matches in enumerate(matched):
            rows = matches & (answer >= 0)
            arrays["n"][v, p] = rows.sum()
            arrays["n_eff"][v, p] = effective_size(part.weight[rows])
            if rows.any():
                share, influence = weighted_mean(one_hot, part.weight, rows)
                arrays["response"][v, p, : len(share)] = np.clip(share, 0.0, 1.0)
                arrays["response_se"][v, p, : len(share)] = np.sqrt(design.variance(influence))


def _effects(arrays: Arrays, part: Survey, plan: Plan, fit: Fit, matched: np.ndarray, design: Design) -> None:
    """Fill shifts and effects of one fit, in every context."""
    contrast = plan.lattice.contrasts[fit.contrast]
    treatment = plan.lattice.attributes[contrast.attribute]
    answers = [part.values[plan.values[v].name] for v in fit.values]
    asked = (answers[0] >= 0) & complete_rows(part, plan.lattice, treatment.name, plan.adjustment[treatment.name])
    level = part.attributes[treatment.name]
    arm = np.select([level == contrast.baseline, level == contrast.treated], [0, 1], -1)
    others = [part.attributes[a.name] for a in plan.lattice.attributes if a.name != treatment.name]
    cell = _cells(others, len(part))
    options = [len(plan.values[v].options) for v in fit.values]
    outcomes = np.concatenate([_one_hot(a, k) for a, k in zip(answers, options, strict=True)], axis=1)
    score = np.full(outcomes.shape, np.nan)
    propensity = np.full(len(part), np.nan)
    if asked.any():
        if plan.estimator == ASSOCIATION:
            propensity[asked] = cell_propensity(arm[asked], cell[asked], part.weight[asked])
        else:
            scores = ESTIMATORS[plan.estimator](
                outcomes[asked],
                arm[asked],
                cell[asked],
                _covariates(part, plan, treatment.name)[asked],
                part.weight[asked],
                _seed(plan.seed, plan.countries[fit.country].name, plan.lattice.contrast_labels[fit.contrast]),
            )
            score[asked], propensity[asked] = scores.score, scores.propensity

    low, high = PROPENSITY_RANGE
    overlapping = (propensity >= low) & (propensity <= high)
    for context in plan.lattice.edges[plan.lattice.edges[:, 0] == fit.contrast, 1]:
        rows = matched[context] & asked
        arms = [rows & (arm == side) for side in (0, 1)]
        at = (fit.contrast, list(fit.values), context)
        arrays["n_baseline"][at], arrays["n_treated"][at] = (side.sum() for side in arms)
        if rows.any():
            arrays["overlap"][at] = part.weight[rows & overlapping].sum() / part.weight[rows].sum()
        if min(side.sum() for side in arms) < plan.min_arm:
            arrays["status"][at] = schema.TOO_FEW
            continue
        if plan.estimator == ASSOCIATION:
            shift, influence = weighted_difference(outcomes, part.weight, *arms)
        else:
            inside = rows & ~np.isnan(score[:, 0])
            thin = min((inside & side).sum() for side in arms) < plan.min_arm
            if thin or part.weight[inside].sum() < MIN_OVERLAP * part.weight[rows].sum():
                arrays["status"][at] = schema.NO_OVERLAP
                continue
            shift, influence = weighted_mean(score, part.weight, inside)
        start = 0
        for v, k in zip(fit.values, options, strict=True):
            columns = slice(start, start + k)
            _fill(arrays, (fit.contrast, v, context), shift[columns], influence[:, columns], design, plan)
            start += k


def _fill(
    arrays: Arrays,
    at: tuple[int, int, int],
    shift: np.ndarray,
    influence: np.ndarray,
    design: Design,
    plan: Plan,
) -> None:
    """Fill one cell from its shift, shape (options,), and the influence values, shape (n, options)."""
    n_options = len(shift)
    score = schema.scores(n_options)
    columns = np.concatenate([influence, influence.cumsum(axis=1), (influence @ score)[:, None]], axis=1)
    se = np.sqrt(design.variance(columns))
    shift_se, cumulative_se, effect_se = se[:n_options], se[n_options:-1], se[-1]
    effect = shift @ score
    # where nobody within the arms differs from the others, there is no honest interval
    # and where one weight outweighs all others, none that a difference of probabilities can be
    possible = np.isfinite(shift).all() and np.abs(shift).max() <= 1.5 and abs(effect) <= 1.5
    if effect_se < 1e-12 or not np.isfinite(se).all() or not possible:
        arrays["status"][at] = schema.FAILED
        return
    arrays["status"][at] = schema.OK
    arrays["shift"][at][:n_options] = shift
    arrays["shift_se"][at][:n_options] = shift_se
    cumulative_se[-1] = 0.0  # all options together: the shifts sum to 0
    arrays["cumulative_shift_se"][at][:n_options] = cumulative_se
    if plan.values[at[1]].scale != "nominal":
        arrays["effect"][at] = effect
        arrays["effect_se"][at] = effect_se


def _close(arrays: Arrays, plan: Plan, design: Design) -> None:
    """Fill intervals, p- and q-values from effects and their standard errors."""
    df = design.degrees_of_freedom
    half = stats.t.ppf(0.5 + plan.confidence / 2, df) * arrays["effect_se"]
    arrays["effect_interval"] = np.stack([arrays["effect"] - half, arrays["effect"] + half], axis=-1)
    arrays["p_value"] = p_values(arrays["effect"], arrays["effect_se"], df)
    arrays["q_value"] = false_discovery(arrays["p_value"])


def _one_hot(answer: np.ndarray, n_options: int) -> np.ndarray:
    """Turn option positions, -1 where missing, into indicators, shape (n, options); missing is all 0."""
    return (answer[:, None] == np.arange(n_options)).astype(float)


def _cells(others: list[np.ndarray], n: int) -> np.ndarray:
    """Number the combinations of the other attributes, shape (n,); missing levels count as a level of their own."""
    cell = np.zeros(n, dtype=np.int64)
    for codes in others:
        cell = cell * (int(codes.max(initial=0)) + 2) + codes + 1
    return cell


def _covariates(part: Survey, plan: Plan, treatment: str) -> np.ndarray:
    """Stack what is adjusted for outside the lattice: codebook covariates, and indicators of the other attributes."""
    book = part.codebook
    column = book.attributes[treatment].column
    inside = {attribute.name for attribute in plan.lattice.attributes}
    parts = [np.empty((len(part), 0))]
    for name in plan.adjustment[treatment]:
        if name in part.covariates:
            if book.covariates[name].column != column:  # the treatment's own column says nothing more about it
                parts.append(part.covariates[name][:, None])
        elif name not in inside and book.attributes[name].column != column:
            parts.append(_one_hot(part.attributes[name], len(book.attributes[name].levels))[:, 1:])
    return np.concatenate(parts, axis=1)


def _take(survey: Survey, rows: np.ndarray) -> Survey:
    return Survey(
        survey.codebook,
        survey.country[rows],
        {name: codes[rows] for name, codes in survey.attributes.items()},
        {name: codes[rows] for name, codes in survey.values.items()},
        {name: numbers[rows] for name, numbers in survey.covariates.items()},
        survey.weight[rows],
        survey.stratum[rows],
        survey.psu[rows],
    )


def _seed(seed: int, *labels: str) -> int:
    """Derive a seed from names, not from positions, so that a cell alone equals the same cell in the full cube."""
    digest = hashlib.sha256("\x1f".join([str(seed), *labels]).encode()).digest()
    return int.from_bytes(digest[:4], "little")


def _provenance(survey: Survey, plan: Plan) -> dict[str, object]:
    book = survey.codebook
    return {
        "title": book.title,
        "source": book.source,
        "licence": book.licence,
        "codebook": book.name,
        "codebook_sha256": book.sha256,
        "data_sha256": survey.data_sha256,
        "respondents": len(survey),
        "lost": survey.lost,
        "estimand": plan.estimand,
        "estimator": plan.estimator,
        "graph": plan.graph,
        "adjustment": {name: list(held) for name, held in plan.adjustment.items()},
        "weights": book.weight.column if book.weight else "none",
        "design": {
            "stratum": book.stratum.column if book.stratum else "none",
            "psu": book.psu.column if book.psu else "respondent",
            "standard_errors": "Taylor linearisation, PSUs with replacement, lone PSUs centred at the grand mean",
        },
        "confidence": plan.confidence,
        "min_arm": plan.min_arm,
        "q_family": "all estimated effects of one country",
        "seed": plan.seed,
        "versions": {name: version(name) for name in ("acecausal", "econml", "dowhy", "numpy", "scikit-learn")},
    }
