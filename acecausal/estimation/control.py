"""A model's expectations of people as a control variate of what they answered.

What a model expects of a person is known of everybody whose profile is known, answered or not. How far its mean among
those who answered is from its mean among all is sampling error, and seen: as much of it as answers have in common with
expectations is taken off the estimate. Whatever the model says, the estimate stays consistent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acecausal.cube import schema
from acecausal.estimation.inference import Design
from acecausal.estimation.problem import Mean, Problem, Scores
from acecausal.estimation.regression import slopes

#: A variance below this is rounding.
NO_VARIANCE = 1e-18
#: Fewest degrees of freedom, and fewest people (in effective number), that a control may rest on.
MIN_DF, MIN_PEOPLE = 10, 20
#: Standard errors of a control from 0, beyond which those who answered are no random part of all.
MOST_APART = 3.0
#: By how much the standard error of an option may grow for the sake of the score.
MOST_WIDER = 0.02


@dataclass(frozen=True)
class Population:
    """Kinds of people in one country, and how many there are.

    Attributes
    ----------
    attributes : dict of str to numpy.ndarray, shape (kinds,), int
        Level position per attribute of the lattice.
    count : numpy.ndarray, shape (kinds,)
        Positive.
    expected : dict of str to numpy.ndarray, shape (kinds, options)
        By value what a model expects of them; NaN where it says nothing.
    """

    attributes: dict[str, np.ndarray]
    count: np.ndarray
    expected: dict[str, np.ndarray]


@dataclass(frozen=True)
class Control:
    """What a model expects of one country's people.

    Attributes
    ----------
    expected : dict of str to numpy.ndarray, shape (n, options)
        By value, the probabilities of each respondent's answers; NaN where it says nothing.
    population : Population, optional
        Whom the respondents stand for; by default all respondents, those who did not answer included.
    """

    expected: dict[str, np.ndarray]
    population: Population | None = None

    def of(self, values: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """Give what is expected of some respondents, shape (rows, values, options)."""
        return np.stack([self.expected[name][rows] for name in values], axis=1)


@dataclass(frozen=True)
class Kinds:
    """Kinds of people as a fit sees them.

    Attributes
    ----------
    arm, cell : numpy.ndarray, shape (kinds,), int
        As of a `Problem`; -1 for a cell that it does not have.
    expected : numpy.ndarray, shape (kinds, values, options)
    count : numpy.ndarray, shape (kinds,)
    """

    arm: np.ndarray
    cell: np.ndarray
    expected: np.ndarray
    count: np.ndarray


# --- the same functional of expectations, among those who answered and among all --------------------------------------


@dataclass(frozen=True)
class Contrasted:
    """The control of one fit.

    Attributes
    ----------
    answered : Scores
        Over the problem's rows.
    everybody : Scores
        Over the problem's rows, or over kinds of people.
    weight : numpy.ndarray, shape (n,)
        Of the problem's rows.
    count : numpy.ndarray, shape (kinds,), optional
        How many of each kind there are; None where everybody is the problem's rows.
    """

    answered: Scores
    everybody: Scores
    weight: np.ndarray
    count: np.ndarray | None = None

    def gap(self, here: np.ndarray, kinds: np.ndarray | None, some: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Subtract everybody's functional from that of those who answered, within a context.

        Parameters
        ----------
        here : numpy.ndarray, shape (m,), int
            The context's rows of the problem.
        kinds : numpy.ndarray, int, optional
            The context's kinds of people.
        some : numpy.ndarray, shape (values,), bool

        Returns
        -------
        gap : numpy.ndarray, shape (some values, options)
            NaN where there is nobody to average over.
        influence : numpy.ndarray, shape (m, some values, options)
        """
        gap, influence = _signed_means(self.answered, here, self.weight, some)
        if self.count is None:
            of_all, more = _signed_means(self.everybody, here, self.weight, some)
            return gap - of_all, influence - more
        assert kinds is not None
        return gap - _signed_means(self.everybody, kinds, self.count, some)[0], influence


def _signed_means(
    scores: Scores, here: np.ndarray, weight: np.ndarray, some: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    parts = [
        (mean.sign, *weighted_mean(mean.numbers[here][:, some], weight[here, None] * mean.rows[here][:, some]))
        for mean in scores.means
    ]
    return sum(sign * average for sign, average, _ in parts), sum(sign * part for sign, _, part in parts)  # type: ignore[return-value]


def weighted_mean(numbers: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average numbers, shape (n, values, options), by weights, shape (n, values).

    Returns
    -------
    average : numpy.ndarray, shape (values, options)
        NaN where there is no weight.
    influence : numpy.ndarray, shape (n, values, options)
    """
    total = weight.sum(axis=0)
    share = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)[:, :, None]
    numbers = np.where(share > 0, numbers, 0.0)
    average = (share * numbers).sum(axis=0)
    return np.where(total[:, None] > 0, average, np.nan), share * (numbers - average)


def contrasted(problem: Problem, scores: Scores, expected: np.ndarray, kinds: Kinds | None = None) -> Contrasted:
    """Lay out the control of a fit.

    Parameters
    ----------
    problem : Problem
        Over all respondents of whom the fit knows enough, answered or not.
    scores : Scores
        Of the answers.
    expected : numpy.ndarray, shape (n, values, options)
    kinds : Kinds, optional
        Everybody; by default the problem's rows are.

    Notes
    -----
    Where the estimate is a difference of two means, so is the control. Else it is the difference of the arms' means in
    each cell, averaged over the people of the cells: of those who are compared, and of all in the same cells, less what
    the covariates explain of expectations within arms. It need not be the answers' estimator: any functional whose
    expectation is the same among those who answered and among all will do, and one without folds has no noise of its
    own.
    """
    known = np.isfinite(expected).all(axis=2)
    if len(scores.means) > 1:
        here = difference_of_means(expected, problem.arm, known & problem.answered)
        if kinds is None:
            return Contrasted(here, difference_of_means(expected, problem.arm, known), problem.weight)
        theirs = difference_of_means(kinds.expected, kinds.arm, np.isfinite(kinds.expected).all(axis=2))
        return Contrasted(here, theirs, problem.weight, kinds.count)
    n_cells = problem.indicators.shape[1]
    compared = known & scores.inside
    both = _both_arms(problem.cell, problem.arm, compared, n_cells)
    if kinds is None:
        left = _less_covariates(problem, expected, known)
        both = both[problem.cell]
        here, everybody = (
            difference_in_cells(left, problem.arm, problem.cell, problem.weight, rows & both)
            for rows in (compared, known)
        )
        return Contrasted(here, everybody, problem.weight)
    there = np.isfinite(kinds.expected).all(axis=2) & (kinds.cell >= 0)[:, None]
    cell = np.maximum(kinds.cell, 0)
    both &= _both_arms(cell, kinds.arm, there, n_cells)
    return Contrasted(
        difference_in_cells(expected, problem.arm, problem.cell, problem.weight, compared & both[problem.cell]),
        difference_in_cells(kinds.expected, kinds.arm, cell, kinds.count, there & both[cell]),
        problem.weight,
        kinds.count,
    )


def difference_of_means(expected: np.ndarray, arm: np.ndarray, rows: np.ndarray) -> Scores:
    """Lay out the difference of the arms' means of (n, values, options) over rows, shape (n, values), bool."""
    arms = [rows & (arm == side)[:, None] for side in (0, 1)]
    return Scores((Mean(-1, expected, arms[0]), Mean(1, expected, arms[1])), rows)


def difference_in_cells(
    expected: np.ndarray, arm: np.ndarray, cell: np.ndarray, weight: np.ndarray, rows: np.ndarray
) -> Scores:
    """Lay out the arms' difference in each cell, averaged over the cells' people, as a score per person.

    Parameters
    ----------
    expected : numpy.ndarray, shape (n, values, options)
    arm, cell, weight : numpy.ndarray, shape (n,)
    rows : numpy.ndarray, shape (n, values), bool
        Who counts; of each cell both arms or nobody.
    """
    n_cells = int(cell.max(initial=-1)) + 1
    member = np.eye(2 * n_cells)[cell * 2 + np.maximum(arm, 0)] * (arm >= 0)[:, None]
    people = weight[:, None] * rows
    numbers = np.where(rows[:, :, None], expected, 0.0)
    size = member.T @ people
    sums = np.einsum("ng,nv,nvk->gvk", member, people, numbers, optimize=True)
    mean = np.divide(sums, size[:, :, None], out=np.zeros_like(sums), where=size[:, :, None] > 0)
    population = np.repeat(np.eye(n_cells)[cell].T @ people, 2, axis=0)
    lever = np.divide(population, size, out=np.zeros_like(size), where=size > 0)
    side = cell * 2 + np.maximum(arm, 0)
    sign = np.select([arm == 1, arm == 0], [1.0, -1.0], 0.0)[:, None]
    score = (mean[1::2] - mean[::2])[cell] + (sign * lever[side])[:, :, None] * (numbers - mean[side])
    return Scores.of(score, rows)


def _both_arms(cell: np.ndarray, arm: np.ndarray, rows: np.ndarray, n_cells: int) -> np.ndarray:
    """Say which cells hold both arms among `rows`, shape (n, values): shape (cells, values), bool."""
    there = [np.eye(n_cells)[cell[arm == side]].T @ rows[arm == side].astype(float) > 0 for side in (0, 1)]
    return np.asarray(there[0] & there[1])


def _less_covariates(problem: Problem, expected: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Take off what covariates explain within arms of cells; of everybody alike, so that means stay comparable."""
    left = np.where(known[:, :, None], expected, 0.0)
    for v in range(left.shape[1] if problem.controls.shape[1] else 0):
        rows = known[:, v] & (problem.arm >= 0)
        if rows.any():
            block = (problem.cell * 2 + np.maximum(problem.arm, 0))[rows]
            left[:, v] -= problem.controls @ slopes(left[rows, v], problem.controls[rows], block, problem.weight[rows])
    return left


# --- lambda -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tuned:
    """Estimates with a control taken off, where that pays; as they were where it does not.

    Attributes
    ----------
    estimate, covariance : numpy.ndarray, shapes (values, options), (values, options, options)
    gain : numpy.ndarray, shape (values,)
        Variance of the score (of a nominal value: of all options together) without the control over that with it.
    """

    estimate: np.ndarray
    covariance: np.ndarray
    gain: np.ndarray


def tuned(
    design: Design,
    rows: np.ndarray,
    estimate: np.ndarray,
    influence: np.ndarray,
    gap: np.ndarray,
    gap_influence: np.ndarray,
    df: np.ndarray,
    nominal: np.ndarray,
    lowest: float,
) -> Tuned:
    """Take off an estimate what it has in common with a control, where that pays.

    Parameters
    ----------
    design : Design
    rows : numpy.ndarray, shape (n,), int
        Positions in the sample.
    estimate, gap : numpy.ndarray, shape (values, options)
        Responses or shifts, and their control, of mean 0; NaN where there is none.
    influence, gap_influence : numpy.ndarray, shape (n, values, options)
    df : numpy.ndarray, shape (values,)
        Degrees of freedom of the covariances.
    nominal : numpy.ndarray, shape (values,), bool
        Values without a score.
    lowest : float
        The least that an estimate can be: 0 of responses, -1 of shifts; the most is 1.

    Notes
    -----
    The estimate is theta - lambda gap, with one lambda for all options, so that they keep their sum: Cov(theta, gap) /
    Var(gap) of the score, of a nominal value of the options' traces. Its variance is that of the influence values, and
    2 Var(lambda) Var(gap) for tuning: what was minimised is too small by 1 / df, and a lambda that is off adds as much.
    With the score R = Var(theta) (1 - r^2) it comes to R (df + 1) / (df - 1).

    The control is taken where the score is then known better than before, and no option's standard error is larger by
    more than 2 %; otherwise lambda is 0. It is not taken either where it rests on few people or degrees of freedom;
    where it is more than 3 standard errors from 0 (those who answered are no random part of all); and where the
    estimate would be none that probabilities can be.

    References
    ----------
    Angelopoulos, Duchi and Zrnic (2023), PPI++: Efficient prediction-powered inference, arXiv:2311.01453; Montanari
    (1987), Post-sampling efficient QR-prediction in large-sample surveys, International Statistical Review 55(2),
    191-202; Cochran (1977), Sampling techniques, section 7.
    """
    k = estimate.shape[1]
    score = schema.scores(k)
    both = design.covariance(np.concatenate([influence, gap_influence], axis=2), rows)
    plain, shared, own = both[:, :k, :k], both[:, :k, k:], both[:, k:, k:]

    def size(covariance: np.ndarray) -> np.ndarray:
        return np.where(nominal, np.trace(covariance, axis1=1, axis2=2), covariance @ score @ score)

    usable = np.isfinite(gap).all(axis=1) & (size(own) > NO_VARIANCE) & (df >= MIN_DF)
    usable &= people_behind(gap_influence, nominal) >= MIN_PEOPLE
    gap, spread = np.where(usable[:, None], gap, 0.0), np.where(usable, size(own), 1.0)
    apart = np.where(nominal, (gap**2).sum(axis=1), (gap @ score) ** 2)
    usable &= apart <= MOST_APART**2 * spread
    power = np.where(usable, size(shared) / spread, 0.0)[:, None, None]
    left = plain - power * (shared + shared.transpose(0, 2, 1)) + power**2 * own
    product = np.where(nominal, np.einsum("vij,vji->v", left, own), size(left) * spread)
    noise = 2 * product / spread**2 / np.maximum(df - 1, 1)
    after = left + noise[:, None, None] * own
    moved = estimate - power[:, :, 0] * gap
    taken = usable & (size(after) < size(plain)) & (size(after) > 0)
    each = np.einsum("vkk->vk", after) - (1 + MOST_WIDER) ** 2 * np.einsum("vkk->vk", plain)
    rounding = 1e-12
    taken &= (each <= rounding * size(plain)[:, None]).all(axis=1)
    taken &= ((moved >= lowest - rounding) & (moved <= 1 + rounding)).all(axis=1)
    return Tuned(
        np.where(taken[:, None], moved, estimate),
        np.where(taken[:, None, None], after, plain),
        np.divide(size(plain), size(after), out=np.ones(len(estimate)), where=taken),
    )


def people_behind(influence: np.ndarray, nominal: np.ndarray) -> np.ndarray:
    """Count how many people a control rests on, in effective number.

    Parameters
    ----------
    influence : numpy.ndarray, shape (n, values, options)
    nominal : numpy.ndarray, shape (values,), bool

    Returns
    -------
    numpy.ndarray, shape (values,)
        Kish's size of their squared influence values (on the score, of nominal values over all options).
    """
    square = np.where(nominal, (influence**2).sum(axis=2), (influence @ schema.scores(influence.shape[2])) ** 2)
    total, squares = square.sum(axis=0), (square**2).sum(axis=0)
    return np.divide(total**2, squares, out=np.zeros_like(total), where=squares > 0)
