"""The contract of estimators: arrays in, means of numbers per respondent out.

An effect is a sum of signed weighted means over respondents: for the causal estimators one mean, of a score per
respondent; for the plain difference two, of the answers themselves. So contexts, weights, strata, clusters, joint tests
and bands are all applied afterwards, without refitting.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from acecausal.estimation.nuisances import Nuisance

N_FOLDS = 5
#: Fewest respondents per arm that a cell needs to enter a fit: one for each fold.
MIN_CELL_ARM = N_FOLDS


@dataclass(frozen=True)
class Problem:
    """What an estimator gets: one contrast in one country, and the values of one batch.

    Attributes
    ----------
    outcomes : numpy.ndarray, shape (n, values, options)
        One-hot, or how much of either end of its range a number is; all 0 where the value was not answered.
    answered : numpy.ndarray, shape (n, values), bool
    arm : numpy.ndarray, shape (n,), int
        0 baseline, 1 treated, -1 another level of the same attribute (counts in the population averaged over, not in
        the fit).
    cell : numpy.ndarray, shape (n,), int
        0..cells-1, the combination of the context attributes; the effect is free in each.
    covariates : numpy.ndarray, shape (n, p)
        Adjusted for linearly; p may be 0.
    weight : numpy.ndarray, shape (n,)
        Positive; divided by the country's mean, so that penalties of learners do not depend on the weights' unit.
    key : numpy.ndarray, shape (n,), uint64
        Decides the folds: a random number per respondent, the same for copies of one respondent and for all ratings of
        one rater.
    seed : int
        For estimators that draw.
    item_share : numpy.ndarray, shape (n,), optional
        Where raters are compared within items: the treated arm's share among all ratings of the item, in [0, 1].
    nuisance : Nuisance, optional
        What predicts answers and arm; linear if None.
    """

    outcomes: np.ndarray
    answered: np.ndarray
    arm: np.ndarray
    cell: np.ndarray
    covariates: np.ndarray
    weight: np.ndarray
    key: np.ndarray
    seed: int
    item_share: np.ndarray | None = None
    nuisance: Nuisance | None = None

    @cached_property
    def controls(self) -> np.ndarray:
        """What is adjusted for linearly, shape (n, q): the covariates, and the treated arm's share on the item."""
        return self.covariates if self.item_share is None else np.column_stack([self.covariates, self.item_share])

    @cached_property
    def indicators(self) -> np.ndarray:
        """Cell indicators, shape (n, cells), float."""
        return np.eye(int(self.cell.max(initial=-1)) + 1)[self.cell]

    @cached_property
    def folds(self) -> tuple[np.ndarray, np.ndarray]:
        """Folds of each value's own respondents, stratified by cell and arm.

        A respondent with many ratings is in one fold and counts once. An item's ratings may be in several folds: arms
        vary between raters, and what an item adds to all its ratings alike is noise that nuisances with a few
        coefficients for all items cannot learn. Trees can in part, by the item's share: simulated with 75 and 4 ratings
        per item, raters steered to items (60 surveys each), that moved the mean effect by at most .03 standard errors.

        Returns
        -------
        fold : numpy.ndarray, shape (n, values), int
            0..N_FOLDS-1 in the order of `key`; -1 for those outside the fit. As wide as positions are, since it is
            reckoned with: with a fold times the number of cells a narrow type wraps around without a word.
        comparable : numpy.ndarray, shape (n, values), bool
            Answered, of an item that both arms rated (if raters are compared within items), and in a cell that holds at
            least MIN_CELL_ARM respondents of both arms who did.
        """
        counts = self.answered
        if self.item_share is not None:
            counts = counts & ((self.item_share > 0) & (self.item_share < 1))[:, None]
        order = np.lexsort([self.key, self.arm, self.cell])
        group = (self.cell * 3 + self.arm + 1)[order]
        first = np.diff(group, prepend=-1) != 0
        key = self.key[order]
        new = first.copy()
        new[1:] |= key[1:] != key[:-1]
        answered = counts[order]
        total = np.concatenate(
            [np.zeros((1, answered.shape[1]), dtype=np.int64), answered.cumsum(axis=0, dtype=np.int64)]
        )
        # a respondent counts once, at the first row that answers
        earlier = total[:-1] - total[np.flatnonzero(new)][np.cumsum(new) - 1]
        count = np.cumsum(answered & (earlier == 0), axis=0, dtype=np.int64)
        start = np.flatnonzero(first)
        base = np.concatenate([np.zeros((1, answered.shape[1]), dtype=np.int64), count])[start]
        size = count[np.append(start[1:], len(order)) - 1] - base
        rank = count - base[np.cumsum(first) - 1] - 1
        sizes = np.zeros((self.indicators.shape[1] * 3, answered.shape[1]), dtype=np.int64)
        sizes[group[start]] = size
        enough = np.minimum(sizes[1::3], sizes[2::3]) >= MIN_CELL_ARM
        comparable = counts & enough[self.cell]
        fold = np.empty(answered.shape, dtype=np.intp)
        fold[order] = rank % N_FOLDS
        fold[~comparable | (self.arm < 0)[:, None]] = -1
        return fold, comparable

    def share_treated(self, rows: np.ndarray) -> np.ndarray:
        """Give each respondent the weighted share of the treated arm among `rows` in their cell, (n, values)."""
        weight = self.weight[:, None] * (rows & (self.arm >= 0)[:, None])
        total = self.indicators.T @ weight
        treated = self.indicators.T @ (weight * (self.arm == 1)[:, None])
        share = np.divide(treated, total, out=np.full_like(total, np.nan), where=total > 0)
        return share[self.cell]


@dataclass(frozen=True)
class Mean:
    """A signed weighted mean: `numbers`, shape (n, values, options), over `rows`, shape (n, values), bool."""

    sign: int
    numbers: np.ndarray
    rows: np.ndarray

    @cached_property
    def by_option(self) -> np.ndarray:
        """The numbers, running over respondents fastest, shape (values, options, n)."""
        return np.ascontiguousarray(self.numbers.transpose(1, 2, 0))


@dataclass(frozen=True, slots=True)
class Scores:
    """What a fit leaves behind.

    Attributes
    ----------
    means : tuple of Mean
        Within any context, the shift is the sum of these, each over the rows in the context.
    inside : numpy.ndarray, shape (n, values), bool
        Respondents the estimate speaks for.
    by_one : numpy.ndarray, shape (values,), bool, optional
        Whether one person decides the effects of a value.
    """

    means: tuple[Mean, ...]
    inside: np.ndarray
    by_one: np.ndarray | None = None

    @classmethod
    def of(cls, score: np.ndarray, inside: np.ndarray, by_one: np.ndarray | None = None) -> Scores:
        """Wrap a score per respondent, shape (n, values, options), whose weighted mean is the effect."""
        return cls((Mean(1, score, inside),), inside, by_one)
