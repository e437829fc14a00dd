"""One contrast in one country: effects in every context, and what tells whether to trust them."""

from __future__ import annotations

import numpy as np
from scipy import stats

from acecausal.cube import schema
from acecausal.estimation import few_psus
from acecausal.estimation.averages import census, covariance_of, failures, few_psus_of, shifts_of
from acecausal.estimation.comparable import MIN_OVERLAP, Comparable, arm_problems, compare_arms
from acecausal.estimation.constant_arms import arm_shares, unseen_variance
from acecausal.estimation.control import Contrasted, contrasted, tuned
from acecausal.estimation.cross_checks import balance_of, fill_refutation, fill_sensitivity
from acecausal.estimation.estimators import ASSOCIATION, ESTIMATORS
from acecausal.estimation.inference import Crossed, Design, any_difference, any_shift, p_values, simultaneous_critical
from acecausal.estimation.plan import Fit, Plan
from acecausal.estimation.problem import Problem, Scores
from acecausal.estimation.replicates import Replicates, replicated_shifts
from acecausal.estimation.sample import Sample

#: What needs all countries, and is computed at the end.
GLOBAL = ("q_value", "shift_shrunk", "shift_shrunk_se", "effect_shrunk", "effect_shrunk_se")

Arrays = dict[str, np.ndarray]


def contrast_effects(sample: Sample, contrast: int) -> Arrays:
    """Estimate one contrast.

    Parameters
    ----------
    sample : Sample
    contrast : int
        Position in the lattice's contrasts.

    Returns
    -------
    dict of str to numpy.ndarray
        The schema's variables that have the dimension attribute, without the dimensions country and attribute, but for
        what needs all countries: q-values and shrunk versions.
    """
    plan = sample.plan
    arrays = _empty(plan, contrast, controlled=sample.control is not None)
    columns = sample.adjusted(plan.treatment(contrast))
    comparable = compare_arms(sample, contrast, columns)
    spoken_for = np.zeros(len(sample.survey), dtype=bool)
    for fit in plan.fits:
        if (plan.countries[fit.country].name, fit.contrast) != (sample.name, contrast):
            continue
        rows = sample.rows(fit)
        if len(rows):
            problem = sample.problem(fit, rows)
            scores = ESTIMATORS[plan.estimator](problem)
            spoken_for[rows] |= scores.inside.any(axis=1)
            moved = None
            if isinstance(sample.design, Replicates):
                there = sample.matched[plan.contexts(contrast)][:, rows]
                moved = replicated_shifts(problem, scores, sample.design.weights[rows], there)
            df = _contexts(arrays, sample, fit, rows, problem, scores, comparable, moved)
            _moderation(arrays, sample, fit, rows, problem, scores, moved)
            _intervals(arrays, plan, fit, df)
            some = [i for i, v in enumerate(fit.values) if np.isfinite(arrays["effect"][v, 0])]
            at = [fit.values[i] for i in some]
            if at:
                fill_sensitivity(arrays, at, some, problem, scores, columns[rows], held=plan.estimator != ASSOCIATION)
            if at and plan.refute:
                fill_refutation(arrays, at, some, problem, sample, contrast, rows)
        else:
            cells = np.ix_(np.array(fit.values), plan.contexts(contrast))
            arrays["status"][cells], arrays["reason"][cells] = schema.TOO_FEW, schema.FEW_PEOPLE
    arrays["n_eff_after"], arrays["smd_largest"] = comparable.effective, comparable.difference
    return arrays | balance_of(sample, contrast, columns, np.where(spoken_for, comparable.propensity, np.nan))


def _empty(plan: Plan, contrast: int, *, controlled: bool) -> Arrays:
    sizes = {
        "value": len(plan.values),
        "bound": 2,
        "persona": len(plan.lattice.personas),
        "option": max(len(value.options) for value in plan.values),
        "modifier": len(plan.lattice.attributes),
        "refuter": len(schema.LABELS["refuter"]),
        "draw": plan.refute,
    }
    arrays: Arrays = {}
    for spec in schema.VARIABLES:
        if spec.dims[:3] == schema.FIT and "survey" in spec.kinds and spec.name not in GLOBAL:
            shape = tuple(sizes[dim] for dim in spec.dims[2:])
            arrays[spec.name] = np.zeros(shape, dtype=np.int64) if spec.dtype == "i" else np.full(shape, np.nan)
    if not plan.refute:
        del arrays["refutation_draw"]
    if not controlled:
        del arrays["gain"]
    for name in ("refutation_verdict", "reason"):
        arrays[name] = arrays[name].astype(np.int8)
    arrays["status"] = np.full(arrays["status"].shape, schema.NOT_APPLICABLE, dtype=np.int8)
    arrays["status"][:, plan.contexts(contrast)] = schema.NOT_ASKED
    return arrays


def _contexts(
    arrays: Arrays,
    sample: Sample,
    fit: Fit,
    rows: np.ndarray,
    problem: Problem,
    scores: Scores,
    comparable: Comparable,
    moved: np.ndarray | None,
) -> np.ndarray:
    """Fill arm sizes, overlap, statuses, shifts and effects of one fit, in every context.

    `moved`: the shifts under replicate weights, shape (replicates, contexts, values, options), if there are any.

    Returns
    -------
    numpy.ndarray, shape (values of the fit, personas)
        Degrees of freedom in each context.
    """
    plan, design, values = sample.plan, sample.design, np.array(fit.values)
    overlapping = scores.inside & _can_be_met(comparable.propensity[rows])[:, None]
    critical: list[tuple[np.ndarray, int, np.ndarray]] = []
    df = np.ones((len(values), len(plan.lattice.personas)))
    contexts, control = plan.contexts(fit.contrast), _control(sample, fit, rows, problem, scores)
    averaged = np.logical_or.reduce([mean.rows for mean in scores.means])
    nominal = np.array([plan.values[v].scale == "nominal" for v in fit.values])
    # a replicate that empties an arm: its people are of too few PSUs
    emptied = np.zeros((len(contexts), len(values)), bool) if moved is None else np.isnan(moved).any(axis=(0, 3))
    shares, between, effective = arm_shares(
        problem.outcomes, scores.inside, problem.arm, problem.weight, sample.matched[contexts][:, rows]
    )
    for place, context in enumerate(contexts):
        here = np.flatnonzero(sample.matched[context][rows])
        answered, inside, arm, weight = (
            array[here] for array in (problem.answered, scores.inside, problem.arm, problem.weight)
        )
        total = weight @ answered
        arrays["overlap"][values, context] = np.divide(
            weight @ (overlapping[here] & answered), total, out=np.full(len(values), np.nan), where=total > 0
        )
        sides = [(arm == side)[:, None] for side in (0, 1)]
        sizes, psus, thin = arm_problems(sample, rows[here], [answered & side for side in sides], plan.min_arm)
        for numbers, name in ((sizes, "n"), (psus, "n_psu")):
            arrays[f"{name}_baseline"][values, context], arrays[f"{name}_treated"][values, context] = numbers
        arrays["n_effect"][values, context] = sample.survey.count(rows[here], averaged[here])
        _, kept_psus, apart = arm_problems(sample, rows[here], [inside & side for side in sides], plan.min_arm)
        apart = (apart > 0) | (weight @ inside < MIN_OVERLAP * total)
        thin = np.where((thin == 0) & ~apart & emptied[place], schema.FEW_PSUS, thin)
        alone = np.zeros(len(values), dtype=bool) if scores.by_one is None else scores.by_one
        reason = np.select(
            [thin > 0, alone, apart], [thin, schema.ONE_PERSON, schema.CELLS_APART], comparable.reason[context]
        )
        status = np.select([(thin > 0) | alone, reason > 0], [schema.TOO_FEW, schema.NO_OVERLAP], schema.OK)
        some = status == schema.OK
        if some.any():
            shift, influence = shifts_of(scores, here, problem.weight, some)
            df[:, context] = design.domain_degrees(answered, rows[here])
            few = few_psus_of(sample, rows, here, problem, scores, some, kept_psus.min(axis=0))
            seen = influence * few.factor[:, :, None] if few.any else influence
            covariance = covariance_of(
                design, shift, seen, rows[here], moved if moved is None else moved[:, place, some]
            )
            df[some, context] = np.minimum(df[some, context], few.df)
            failed = failures(shift, covariance)
            whole = census(design, failed, influence, rows[here])
            failed[whole] = schema.CENSUS
            unsure = (few.df < few_psus.MIN_DF - 1e-9) & ~whole
            good = (failed == 0) & ~unsure
            kept, doubtful = (np.flatnonzero(some)[part] for part in (good, ~good))
            status[doubtful], reason[doubtful] = _doubtful(unsure, failed)[:, ~good]
            at = values[kept]
            unseen = unseen_variance(
                shares[:, place, kept],
                np.minimum(effective[:, place], sizes)[:, kept],
                _averages(shift.shape[1]),
                _variances(covariance[good]),
                between[:, place, kept],
            )
            shift, covariance = shift[good], covariance[good]
            if control is not None:  # statuses are those without the model
                shift, covariance, arrays["gain"][at, context] = _sharpened(
                    design, rows[here], shift, seen[:, good], unseen, df[kept, context], nominal[kept],
                    control.gap(here, sample.kinds_of(context), np.isin(np.arange(len(values)), kept)),
                )  # fmt: skip
            _fill(arrays, at, context, shift, covariance, unseen)
            critical.append((at, context, covariance))
            _fill_joint(arrays, at, context, nominal[kept], shift, covariance, unseen, df[kept, context])
        arrays["status"][values, context], arrays["reason"][values, context] = status, reason
    _fill_critical(arrays, plan, values, critical, df)
    arrays["effect"][values[nominal]] = arrays["effect_se"][values[nominal]] = np.nan
    return df


def _control(sample: Sample, fit: Fit, rows: np.ndarray, problem: Problem, scores: Scores) -> Contrasted | None:
    """Lay out what a model expects of the fit's people, if there is a model."""
    if sample.control is None:
        return None
    expected = sample.control.of([sample.plan.values[v].name for v in fit.values], rows)
    return contrasted(problem, scores, expected, sample.kinds(fit, rows))


def _sharpened(
    design: Design | Crossed | Replicates,
    rows: np.ndarray,
    shift: np.ndarray,
    influence: np.ndarray,
    unseen: np.ndarray,
    df: np.ndarray,
    nominal: np.ndarray,
    gap: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Take off shifts what they have in common with a control's gap: shifts, covariances, gains; see `control.tuned`.

    Not where an arm says the same throughout: that has nothing in common with expectations, and an error of its own.
    """
    assert isinstance(design, Design)
    told = np.where((unseen > 0).any(axis=1, keepdims=True), np.nan, gap[0])
    found = tuned(design, rows, shift, influence, told, gap[1], df, nominal, -1.0)
    return found.estimate, found.covariance, found.gain


def _can_be_met(propensity: np.ndarray) -> np.ndarray:
    low, high = schema.PROPENSITY_RANGE
    return np.asarray((propensity >= low) & (propensity <= high))


def _doubtful(unsure: np.ndarray, failed: np.ndarray) -> np.ndarray:
    """Give status and reason, shape (2, values), of estimates that may not stand; `unsure`: for want of PSUs."""
    return np.where(unsure, [[schema.TOO_FEW], [schema.FEW_PSUS]], [np.full(len(failed), schema.FAILED), failed])


def _averages(n_options: int) -> np.ndarray:
    """Numbers of the options whose means shifts, sums of shifts, and the effect are differences of, in this order."""
    each = np.eye(n_options)
    return np.concatenate([each, each.cumsum(axis=1).T, schema.scores(n_options)[None]])


def _variances(covariance: np.ndarray) -> np.ndarray:
    """Variances of what `_averages` lists, shape (values, 2 options + 1), from the shifts' covariances."""
    averages = _averages(covariance.shape[1])
    return np.clip(np.einsum("sk,vkj,sj->vs", averages, covariance, averages), 0, None)


def _fill(
    arrays: Arrays, at: np.ndarray, context: int, shift: np.ndarray, covariance: np.ndarray, unseen: np.ndarray
) -> None:
    """Fill one context from shifts, shape (values, options), their covariances, and variance that arms do not show."""
    n_options = shift.shape[1]
    se = np.sqrt(_variances(covariance) + unseen)
    cumulative = se[:, n_options : 2 * n_options]
    cumulative[:, -1] = 0.0  # all options together: the shifts sum to 0
    arrays["shift"][at, context, :n_options] = shift
    arrays["shift_se"][at, context, :n_options] = se[:, :n_options]
    arrays["cumulative_shift_se"][at, context, :n_options] = cumulative
    arrays["effect"][at, context] = shift @ schema.scores(n_options)
    arrays["effect_se"][at, context] = se[:, -1]


def _fill_joint(
    arrays: Arrays,
    at: np.ndarray,
    context: int,
    nominal: np.ndarray,
    shift: np.ndarray,
    covariance: np.ndarray,
    unseen: np.ndarray,
    df: np.ndarray,
) -> None:
    """Fill the p-values of nominal values, of all their shifts at once; the others' come with the intervals."""
    if nominal.any():
        more = unseen[nominal, : shift.shape[1]]
        arrays["p_value"][at[nominal], context] = any_shift(shift[nominal], covariance[nominal], df[nominal], more)[1]


def _fill_critical(
    arrays: Arrays, plan: Plan, values: np.ndarray, parts: list[tuple[np.ndarray, int, np.ndarray]], df: np.ndarray
) -> None:
    """Fill how far bands reach; `parts` are (values, context, covariances), `df` as of `_contexts`."""
    if not parts:
        return
    found = simultaneous_critical(
        np.concatenate([covariance for _, _, covariance in parts]),
        plan.confidence,
        np.concatenate([df[np.isin(values, at), context] for at, context, _ in parts]),
    )
    for at, context, covariance in parts:
        arrays["shift_critical"][at, context], found = found[: len(covariance)], found[len(covariance) :]


def _moderation(
    arrays: Arrays,
    sample: Sample,
    fit: Fit,
    rows: np.ndarray,
    problem: Problem,
    scores: Scores,
    moved: np.ndarray | None,
) -> None:
    """Test whether the effect is the same at all levels of each other attribute, by the levels' joint covariance."""
    plan = sample.plan
    codes = plan.lattice.codes
    score = schema.scores(problem.outcomes.shape[2])
    contexts = plan.contexts(fit.contrast).tolist()
    for m in range(len(plan.lattice.attributes)):
        levels = [p for p in np.flatnonzero((codes[:, m] >= 0) & (plan.lattice.granularity == 1)) if p in contexts]
        if not levels:
            continue
        ok = arrays["status"][np.ix_(np.array(fit.values), np.array(levels))] == schema.OK
        scored = np.array([plan.values[v].scale != "nominal" for v in fit.values])
        # the values for which the same levels could be estimated are tested together
        for pattern in np.unique(ok[scored], axis=0):
            if pattern.sum() < 2:
                continue
            some = scored & (ok == pattern).all(axis=1)
            estimates = np.empty((some.sum(), pattern.sum()))
            influence = np.zeros((len(rows), *estimates.shape))
            df = sample.design.domain_degrees(problem.answered[:, some], rows).astype(float)
            for j, persona in enumerate(np.array(levels)[pattern]):
                here = np.flatnonzero(sample.matched[persona][rows])
                shift, part = shifts_of(scores, here, problem.weight, some)
                arms = [scores.inside[here] & (problem.arm[here] == side)[:, None] for side in (0, 1)]
                psus = np.min([sample.design.count_psus(there, rows[here]) for there in arms], axis=0)
                few = few_psus_of(sample, rows, here, problem, scores, some, psus)
                estimates[:, j], influence[here, :, j] = shift @ score, part @ score * few.factor
                df = np.minimum(df, few.df)
            again = None
            if moved is not None:
                places = [contexts.index(persona) for persona in np.array(levels)[pattern]]
                again = (moved[:, places] @ score).transpose(0, 2, 1)[:, some]
            covariance = covariance_of(sample.design, estimates, influence, rows, again)
            # what an arm does not show of its variance: what the errors hold beyond it
            errors = arrays["effect_se"][np.ix_(np.array(fit.values)[some], np.array(levels)[pattern])] ** 2
            each = np.arange(errors.shape[1])
            covariance[:, each, each] = np.maximum(covariance[:, each, each], errors)
            statistic, p = any_difference(estimates, covariance, df)
            at = np.array(fit.values)[some]
            arrays["moderation_f"][at, m], arrays["moderation_p"][at, m] = statistic, p


def _intervals(arrays: Arrays, plan: Plan, fit: Fit, df: np.ndarray) -> None:
    """Fill intervals and p-values from effects, their standard errors and degrees of freedom; nominal ones have p."""
    at = list(fit.values)
    effect, se = arrays["effect"][at], arrays["effect_se"][at]
    arrays["degrees_of_freedom"][at] = np.where(arrays["status"][at] == schema.OK, df, np.nan)
    half = stats.t.ppf(0.5 + plan.confidence / 2, df) * se
    arrays["effect_interval"][at] = np.stack([effect - half, effect + half], axis=-1)
    arrays["p_value"][at] = np.where(np.isnan(effect), arrays["p_value"][at], p_values(effect, se, df))
