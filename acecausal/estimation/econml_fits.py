"""The estimator that EconML fits, one value after the other. The only module that imports econml."""

from __future__ import annotations

import numpy as np

from acecausal.estimation.balance import MIN_PROPENSITY
from acecausal.estimation.cross_fitting import Part
from acecausal.estimation.doubly_robust import stretch
from acecausal.estimation.nuisances import linear, seeded
from acecausal.estimation.problem import Problem, Scores

#: Trees of the causal forest; EconML's default.
TREES = 100


def forest_dml(problem: Problem) -> Scores:
    """Estimate by a causal forest: one `econml.dml.CausalForestDML` for all options of a value.

    The effect varies freely with cells and covariates. The score is the out-of-bag effect plus its doubly robust
    correction, as in EconML's ``ate_`` and in grf's average_treatment_effect.

    Parameters
    ----------
    problem : Problem
        Without a nuisance answers are predicted linearly, the arm logistically.

    Returns
    -------
    Scores

    References
    ----------
    Athey, Tibshirani and Wager (2019), Generalized random forests, Annals of Statistics 47(2), 1148-1178.
    """
    from econml.dml import CausalForestDML

    fold, inside = problem.folds
    inside = inside.copy()
    learners = problem.nuisance or linear()
    answers, arm = (seeded(learner, problem.seed) for learner in (learners.answers, learners.arm))
    score = np.zeros(problem.outcomes.shape)
    for v in np.flatnonzero((fold >= 0).any(axis=0)):
        part = Part.of(problem, fold[:, v])
        rows = part.rows
        features = np.concatenate([problem.indicators[rows], part.scaled(rows)], axis=1)
        model = CausalForestDML(
            model_y=answers,
            model_t=arm,
            discrete_treatment=True,
            n_estimators=TREES,
            cv=part.cv,
            n_jobs=1,
            random_state=problem.seed,
        )
        model.fit(
            problem.outcomes[rows, v],
            problem.arm[rows],
            X=features,
            sample_weight=problem.weight[rows],
            cache_values=True,
            inference=None,
        )
        y, t = (np.reshape(part, (len(rows), -1)) for part in model.residuals_[:2])
        effect = model.rlearner_model_final_._model.oob_predict(features)[:, :, 0]
        probability = problem.arm[rows] - t[:, 0]
        spread = np.clip(probability * (1 - probability), MIN_PROPENSITY, None)
        stretched = stretch(problem, inside[:, v], rows)
        corrected = effect + (stretched * t[:, 0] / spread)[:, None] * (y - t * effect)
        others = np.flatnonzero(inside[:, v] & (problem.arm < 0))
        if len(others):
            there = np.concatenate([problem.indicators[others], part.scaled(others)], axis=1)
            score[others, v] = model.const_marginal_effect(there).reshape(len(others), -1)
        score[rows, v] = corrected
        inside[rows[np.isnan(corrected).any(axis=1)], v] = False  # in every tree's own sample
    # EconML grows a forest for each option, so that effects sum to 0 but roughly: the nearest that do exactly
    score -= score.mean(axis=2, keepdims=True)
    return Scores.of(score, inside)
