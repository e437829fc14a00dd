"""The registry of estimators, each a function from `Problem` to `Scores`."""

from __future__ import annotations

from collections.abc import Callable

from acecausal.estimation.doubly_robust import doubly_robust
from acecausal.estimation.econml_fits import forest_dml
from acecausal.estimation.linear_dml import linear_dml
from acecausal.estimation.problem import Mean, Problem, Scores

Estimator = Callable[[Problem], Scores]


def difference(problem: Problem) -> Scores:
    """Take the plain weighted difference of the two arms' shares: the estimand association."""
    arms = [problem.answered & (problem.arm == side)[:, None] for side in (0, 1)]
    means = (Mean(-1, problem.outcomes, arms[0]), Mean(1, problem.outcomes, arms[1]))
    return Scores(means, problem.answered)


ASSOCIATION = "association"
ESTIMATORS: dict[str, Estimator] = {
    "linear-dml": linear_dml,
    "forest-dml": forest_dml,
    "dr": doubly_robust,
    ASSOCIATION: difference,
}
