"""What is put beside the effects of one contrast: sensitivity, refuters, and the balance of what is held fixed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from acecausal.cube import schema
from acecausal.estimation import balance, refutation, sensitivity
from acecausal.estimation.estimators import ESTIMATORS
from acecausal.estimation.plan import adjusted_labels
from acecausal.estimation.problem import Problem, Scores
from acecausal.estimation.regression import regress
from acecausal.estimation.sample import Sample

Arrays = dict[str, np.ndarray]


def fill_sensitivity(
    arrays: Arrays,
    at: list[int],
    some: list[int],
    problem: Problem,
    scores: Scores,
    columns: np.ndarray,
    *,
    held: bool,
) -> None:
    """Fill the cross-check of the effect in the context all, and how strong a confounder must be to explain it away.

    `at` are positions among the plan's values, `some` the same among the problem's; `held`: whether anything is held
    fixed.
    """
    if not held:
        nothing = np.zeros(len(problem.arm), dtype=int)
        problem = replace(problem, cell=nothing, covariates=problem.covariates[:, :0], item_share=None)
    answer = problem.outcomes[:, some] @ schema.scores(problem.outcomes.shape[2])
    answered = problem.answered[:, some]
    left = regress(problem, answer, scores.inside[:, some])
    effect, interval = arrays["effect"][at, 0], arrays["effect_interval"][at, 0]
    limit = np.where(interval.prod(axis=1) > 0, np.abs(interval).min(axis=1), 0.0)
    sure = left.deviation > 1e-9  # what all that is held fixed determines has nothing left to explain
    deviation = np.where(sure, left.deviation, np.nan)
    value, at_limit = (sensitivity.robustness_value((part / deviation) ** 2 * left.spread) for part in (effect, limit))
    strongest = sensitivity.strongest_observed(columns, answer, answered, problem.arm, problem.weight)
    arrays["regression_effect"][at] = left.effect
    arrays["e_value"][at] = sensitivity.e_value(effect, deviation)
    arrays["e_value_limit"][at] = sensitivity.e_value(limit, deviation)
    arrays["refutation"][at, -1] = value
    arrays["refutation_verdict"][at, -1] = sensitivity.verdict(value, at_limit, strongest)


def fill_refutation(
    arrays: Arrays, at: list[int], some: list[int], problem: Problem, sample: Sample, contrast: int, rows: np.ndarray
) -> None:
    """Fill draws, means and verdicts of the refuters, in the context all."""
    plan = sample.plan
    part = replace(problem, outcomes=problem.outcomes[:, some], answered=problem.answered[:, some])
    found = refutation.draws(
        part,
        rows,
        sample.arm(contrast),
        sample.survey.stratum,
        ESTIMATORS[plan.estimator],
        plan.refute,
        respondent=sample.person,
        item_share=partial(sample.item_share, contrast),
    )
    mean, mean_se, verdict = refutation.summary(found, arrays["effect_se"][at, 0])
    arrays["refutation_draw"][at, :-1] = found
    arrays["refutation"][at, :-1], arrays["refutation_se"][at, :-1] = mean, mean_se
    arrays["refutation_verdict"][at, :-1] = verdict


def balance_of(sample: Sample, contrast: int, columns: np.ndarray, propensity: np.ndarray) -> Arrays:
    """Describe the propensity of those spoken for (NaN for others), and the balance of what is adjusted for."""
    inside = np.isfinite(propensity)
    arm, weight = sample.arm(contrast), sample.survey.weight
    known = np.isfinite(columns).all(axis=1) & (arm >= 0)
    after = known & inside
    balanced = balance.inverse_propensity(arm[after], propensity[after], weight[after])
    labels = sample.plan.covariates
    held = sample.plan.held(sample.plan.treatment(contrast))
    at = [labels.index(name) for name in adjusted_labels(sample.survey.codebook, held)]
    arrays = {name: np.full(len(labels), np.nan) for name in ("smd_before", "smd_after")}
    arrays["smd_before"][at] = balance.standardised_differences(columns[known], arm[known], weight[known])
    arrays["smd_after"][at] = balance.standardised_differences(columns[after], arm[after], balanced)
    levels = np.array(schema.QUANTILES)
    arrays["propensity"] = balance.weighted_quantiles(propensity[inside], weight[inside], levels)
    return arrays
