"""A confounded world with weights and gaps, and plain averages of scores."""

from __future__ import annotations

import numpy as np

from acecausal.estimation.problem import Problem, Scores


def problem(n=3000, cells=6, values=3, options=3, missing=0.1, covariates=1, other=0.0, seed=0) -> Problem:
    """A confounded world with heterogeneous effects, weights, and values that a tenth did not answer."""
    rng = np.random.default_rng(seed)
    cell = rng.integers(0, cells, n)
    arm = (rng.random(n) < 0.2 + 0.1 * (cell % 5)).astype(int)
    covariate = rng.normal(size=(n, covariates)) + arm[:, None]
    latent = 0.3 * (cell % 6) + arm * (0.2 + 0.2 * (cell % 6)) + covariate.sum(axis=1)
    answer = np.stack([np.digitize(latent + rng.logistic(size=n), np.linspace(0.5, 2, options - 1))] * values, axis=1)
    answered = rng.random((n, values)) >= missing
    arm[rng.random(n) < other] = -1
    return Problem(
        outcomes=np.eye(options)[answer] * answered[:, :, None],
        answered=answered,
        arm=arm,
        cell=cell,
        covariates=covariate,
        weight=rng.uniform(0.3, 3, n),
        key=rng.integers(0, 2**63, n).astype(np.uint64),
        seed=seed,
    )


def average(scores: Scores, weight: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The shift over some rows, shape (values, options)."""
    total = 0.0
    for mean in scores.means:
        w = weight[rows, None] * mean.rows[rows]
        total = total + mean.sign * np.einsum("nv,nvk->vk", w / w.sum(axis=0), mean.numbers[rows])
    return np.asarray(total)
