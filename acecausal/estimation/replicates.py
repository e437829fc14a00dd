"""Variances from replicate weights: every statistic once more under each of them, and how far it moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from acecausal.estimation.linear_dml import cell_effects
from acecausal.estimation.problem import N_FOLDS, Problem, Scores
from acecausal.survey.counting import count_distinct

#: Factors of a row's weight, over replicates, that agree to so much are those of one PSU.
SAME_FACTOR = 0.02
#: Independent replicates: singular values below it, as a share of the largest, are rounding.
RANK = 1e-6


@dataclass(frozen=True)
class Replicates:
    """The replicate weights of one country's whole sample, in the place of a `Design`.

    Attributes
    ----------
    weight : numpy.ndarray, shape (n,)
        Sampling weights; 0 for those outside.
    weights : numpy.ndarray, shape (n, R)
    scale : float
    rscales : numpy.ndarray, shape (R,)
        The variance is scale * sum(rscales * deviation^2).
    mse : bool
        Whether deviations are from the estimate itself, and not from the replicates' mean.
    """

    weight: np.ndarray
    weights: np.ndarray
    scale: float
    rscales: np.ndarray
    mse: bool
    _ranks: dict[bytes, int] = field(default_factory=dict, repr=False)

    @cached_property
    def factors(self) -> np.ndarray:
        """By what each replicate multiplies a row's weight, shape (n, R)."""
        weight = self.weight[:, None]
        return np.divide(self.weights, weight, out=np.zeros_like(self.weights), where=weight > 0)

    @cached_property
    def psu(self) -> np.ndarray:
        """Number of each row's PSU as far as replicates tell them apart, shape (n,): rows of the same factors.

        Where replicates were raked anew each row has factors of its own, and counts as a PSU.
        """
        rounded = np.floor(self.factors / SAME_FACTOR + 0.1377).astype(np.int64)
        return np.ravel(np.unique(rounded, axis=0, return_inverse=True)[1])

    @cached_property
    def single(self) -> bool:
        """Whether every PSU is a single respondent, as far as can be told."""
        return int(self.psu.max(initial=-1)) + 1 == len(self.psu)

    @cached_property
    def _first(self) -> np.ndarray:
        """A row of each PSU, shape (PSUs,)."""
        return np.unique(self.psu, return_index=True)[1]

    @property
    def degrees_of_freedom(self) -> int:
        """Rank of the replicate weights less 1, at least 1."""
        return int(self.domain_degrees(np.ones((len(self.psu), 1), dtype=bool), np.arange(len(self.psu)))[0])

    def domain_degrees(self, there: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Reckon the rank of a domain's replicate weights less 1, at least 1, as R's degf of a subset.

        Parameters
        ----------
        there : numpy.ndarray, shape (m, domains), bool
        rows : numpy.ndarray, shape (m,), int
            Positions in the sample of these respondents.

        Returns
        -------
        numpy.ndarray, shape (domains,)
        """
        found = np.ones(there.shape[1], dtype=np.int64)
        for d, inside in enumerate(there.T):
            present = np.zeros(len(self._first), dtype=bool)
            present[self.psu[rows[inside & (self.weight[rows] > 0)]]] = True
            if (key := present.tobytes()) not in self._ranks:
                gram = self.factors[self._first[present]]
                gram = gram.T @ gram
                length = np.sqrt(np.diag(gram))
                gram /= np.outer(length, length) + (np.outer(length, length) == 0)
                values = np.linalg.eigvalsh(gram)
                self._ranks[key] = int((values > RANK**2 * max(values[-1], 1e-300) + 1e-13 * len(values)).sum())
            found[d] = max(self._ranks[key] - 1, 1)
        return found

    def count_psus(self, there: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Count the PSUs that have respondents in each domain, as far as replicates tell; as `domain_degrees`."""
        return there.sum(axis=0) if self.single else count_distinct(there, self.psu[rows])

    def deviations(self, replicated: np.ndarray, estimate: np.ndarray) -> np.ndarray:
        """Scale the replicates' deviations, so that the sum of their products is the covariance.

        Parameters
        ----------
        replicated : numpy.ndarray, shape (R, ...)
            Estimates under each replicate; NaN where one has nobody, and then it does not count (as in R).
        estimate : numpy.ndarray, shape (...)

        Returns
        -------
        numpy.ndarray, shape (R, ...)
        """
        factor = self.rscales.reshape(-1, *[1] * (replicated.ndim - 1))
        there = np.isfinite(replicated)
        count = (there & (factor > 0)).sum(axis=0)
        centre = np.where(there & (factor > 0), replicated, 0.0).sum(axis=0) / np.maximum(count, 1)
        return np.where(there, replicated - (estimate if self.mse else centre), 0.0) * np.sqrt(self.scale * factor)

    def covariance(self, replicated: np.ndarray, estimate: np.ndarray) -> np.ndarray:
        """Estimate covariances.

        Parameters
        ----------
        replicated : numpy.ndarray, shape (R, blocks, k)
        estimate : numpy.ndarray, shape (blocks, k)

        Returns
        -------
        numpy.ndarray, shape (blocks, k, k)
            Within each block.

        References
        ----------
        Wolter (2007), Introduction to variance estimation; Lumley (2010), Complex surveys, section 2.3.
        """
        moved = self.deviations(replicated, estimate).transpose(1, 2, 0)
        return np.asarray(moved @ moved.transpose(0, 2, 1))

    def effective_degrees(
        self,
        rows: np.ndarray,
        arm: np.ndarray,
        cell: np.ndarray,
        inside: np.ndarray,
    ) -> float:
        """Reckon Satterthwaite's degrees of freedom of the variance of an average of the cells' effects.

        Parameters
        ----------
        rows : numpy.ndarray, shape (m,), int
            Positions in the sample.
        arm : numpy.ndarray, shape (m,), int
            0 or 1; others count in the cells' shares alone.
        cell : numpy.ndarray, shape (m,), int
            The effect averaged is the difference of the arms' weighted means in each.
        inside : numpy.ndarray, shape (m,), bool
            Whom the effect speaks for.

        Returns
        -------
        float
            At least 1. With independent errors of one variance (the working model of `few_psus`) the variance is a
            quadratic form of normal numbers, the squared length of the deviations A e: trace(A A')^2 / |A A'|^2.
        """
        rows, arm, cell = rows[inside], arm[inside], cell[inside]
        n_cells = int(cell.max(initial=-1)) + 1
        both = arm >= 0
        member = np.eye(2 * n_cells)[(cell * 2 + np.maximum(arm, 0))] * both[:, None]
        sign = np.where(arm == 1, 1.0, -1.0) * both

        def coefficients(weights: np.ndarray) -> np.ndarray:
            """How much each error moves the average under these weights, shape (m, R): shape (R, m)."""
            people = np.eye(n_cells)[cell].T @ weights
            share = people / np.maximum(people.sum(axis=0), 1e-300)
            size = member.T @ weights
            per_person = np.divide(np.repeat(share, 2, axis=0), size, out=np.zeros_like(size), where=size > 0)
            return ((member @ per_person) * weights * sign[:, None]).T

        moved = self.deviations(coefficients(self.weights[rows]), coefficients(self.weight[rows][:, None])[0])
        products = moved @ moved.T
        trace = float(np.trace(products))
        return max(trace**2 / float((products**2).sum()), 1.0) if trace > 0 else 1.0


def replicated_shifts(problem: Problem, scores: Scores, weights: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Estimate once more under each replicate, in several contexts.

    Parameters
    ----------
    problem : Problem
    scores : Scores
        Of `linear_dml`, or of the plain difference.
    weights : numpy.ndarray, shape (n, R)
        Replicate weights of the problem's rows.
    there : numpy.ndarray, shape (contexts, n), bool
        Who belongs to which context; of `linear_dml` whole cells.

    Returns
    -------
    numpy.ndarray, shape (R, contexts, values, options)
        NaN where a replicate leaves an arm of the context without people.

    Notes
    -----
    Who is compared, in which folds and cells, stays; regressions, effects and the cells' shares are those of the
    replicate's weights. Of a cell that a replicate takes all people of an arm from, in what some fold is predicted
    from, nothing can be fitted: there the replicate's mean of the scores is taken, which is the estimate to first order
    (the estimating-function bootstrap).

    References
    ----------
    Rao and Tausi (2004), Estimating function jackknife variance estimators under stratified multistage sampling,
    Communications in Statistics: Theory and Methods 33(9), 2087-2095; Binder, Kovacevic and Roberts (2004),
    Design-based methods for survey data: alternative uses of estimating functions, JSM Proceedings.
    """
    _, n_values, n_options = problem.outcomes.shape
    found = np.empty((weights.shape[1], len(there), n_values, n_options))
    members = there.astype(float)
    if len(scores.means) > 1:
        for r, weight in enumerate(weights.T):
            found[r] = sum(
                mean.sign * _means(members, mean.numbers, weight[:, None] * mean.rows) for mean in scores.means
            )
        return found
    fold, inside = problem.folds
    arms = np.concatenate([(fold >= 0) & (problem.arm == side)[:, None] for side in (0, 1)], axis=1)
    cells = np.zeros((len(there), problem.indicators.shape[1]))
    cells[:, problem.cell] = members  # contexts are made of whole cells
    score = scores.means[0].numbers
    for r, weight in enumerate(weights.T):
        people = weight[:, None] * inside
        effect = cell_effects(problem, weight)
        if (weight == 0).any():
            lost = _lost(problem, weight > 0)
            if lost.any():
                effect = np.where(lost[:, :, None], _means(problem.indicators.T, score, people), effect)
        population = problem.indicators.T @ people
        total = cells @ population
        moment = (cells @ np.where(population[:, :, None] > 0, population[:, :, None] * effect, 0.0).reshape(
            len(population), -1
        )).reshape(len(there), n_values, n_options)  # fmt: skip
        sizes = (members @ (weight[:, None] * arms)).reshape(len(there), 2, n_values)
        some = (total > 0) & (sizes > 0).all(axis=1)
        found[r] = np.divide(moment, total[:, :, None], out=np.full_like(moment, np.nan), where=some[:, :, None])
    return found


def _means(members: np.ndarray, numbers: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Average numbers (n, V, K) by weight (n, V) over groups (G, n): shape (G, V, K), NaN where there is no weight."""
    n, n_values, n_options = numbers.shape
    total = (members @ weight)[:, :, None]
    sums = (members @ (weight[:, :, None] * numbers).reshape(n, -1)).reshape(-1, n_values, n_options)
    return np.divide(sums, total, out=np.full_like(sums, np.nan), where=total > 0)


def _lost(problem: Problem, there: np.ndarray) -> np.ndarray:
    """Say in which cells an arm has nobody left, of those there, (n,), to predict some fold from: (cells, V), bool."""
    fold = problem.folds[0]
    lost = np.zeros((problem.indicators.shape[1], fold.shape[1]), dtype=bool)
    for side in (0, 1):
        rows = there & (problem.arm == side)
        sizes = [problem.indicators[rows].T @ (fold[rows] == f) for f in range(N_FOLDS)]
        total = sum(sizes)
        lost |= np.any([total - size == 0 for size in sizes], axis=0)
    return lost
