"""A model's expectations of people as a control variate of what they answered.

What a model expects of a person is a number that is known of everybody whose profile is known, answered or not. How far
its mean among those who answered is from its mean among all is sampling error, and seen: as much of it as answers have
in common with expectations is taken off the estimate. Whatever the model says, the estimate stays consistent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from acecausal.cube import schema
from acecausal.estimation.inference import Design
from acecausal.estimation.problem import Mean, Problem, Scores
from acecausal.estimation.regression import slopes

#: A variance below this is rounding.
NO_VARIANCE = 1e-18
#: Fewest degrees of freedom, and fewest people (in effective number) that a control rests on.
MIN_DF, MIN_PEOPLE = 10, 20
#: Standard errors of the difference between those who answered and all, beyond which they are others, by no chance.
MOST_APART = 3.0
#: By how much the standard error of an option may grow for the sake of the others.
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
    expected : dict of str to numpy.ndarray, shape (kinds,)
        By value what a model expects of them, on any scale; NaN where it says nothing.
    """

    attributes: dict[str, np.ndarray]
    count: np.ndarray
    expected: dict[str, np.ndarray]


@dataclass(frozen=True)
class Control:
    """What a model expects of one country's people.

    Attributes
    ----------
    expected : dict of str to numpy.ndarray, shape (n,)
        By value, of each respondent.
    population : Population, optional
        Whom the respondents stand for; by default all respondents, those who did not answer included.
    """

    expected: dict[str, np.ndarray]
    population: Population | None = None

    def of(self, values: list[str]) -> np.ndarray:
        """Give what is expected of respondents, shape (n, values)."""
        return np.stack([self.expected[name] for name in values], axis=1)


@dataclass(frozen=True)
class Contrasted:
    """A control of one fit: the same functional of expectations, among those who answered and among all.

    Attributes
    ----------
    answered : Scores
        Over the problem's rows, with one number in the place of the options.
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
        gap : numpy.ndarray, shape (values,)
            NaN where there is nobody to average over.
        influence : numpy.ndarray, shape (m, values)
        """
        gap, influence = signed_means(self.answered, here, self.weight, some)
        if self.count is None:
            all_of_them, more = signed_means(self.everybody, here, self.weight, some)
            return gap - all_of_them, influence - more
        assert kinds is not None
        return gap - signed_means(self.everybody, kinds, self.count, some)[0], influence


def signed_means(
    scores: Scores, here: np.ndarray, weight: np.ndarray, some: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Average scores of one number, shape (n, values, 1), over rows: shape (values,), and influence (rows, values)."""
    total, influence = np.zeros(int(some.sum())), np.zeros((len(here), int(some.sum())))
    for mean in scores.means:
        average, part = weighted_mean(mean.numbers[here][:, some, 0], weight[here, None] * mean.rows[here][:, some])
        total, influence = total + mean.sign * average, influence + mean.sign * part
    return total, influence


def weighted_mean(numbers: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average columns, shape (n, m), by weight: shape (m,), NaN where there is none; and influence values (n, m)."""
    numbers = np.where(weight > 0, numbers, 0.0)
    total = weight.sum(axis=0)
    share = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)
    average = np.where(total > 0, (share * numbers).sum(axis=0), np.nan)
    return average, share * np.where(weight > 0, numbers - average, 0.0)


@dataclass(frozen=True)
class Kinds:
    """Kinds of people as a fit sees them.

    Attributes
    ----------
    arm, cell : numpy.ndarray, shape (kinds,), int
        As of a `Problem`; -1 for a cell that it does not have.
    expected : numpy.ndarray, shape (kinds, values)
    count : numpy.ndarray, shape (kinds,)
    """

    arm: np.ndarray
    cell: np.ndarray
    expected: np.ndarray
    count: np.ndarray


def contrasted(problem: Problem, scores: Scores, expected: np.ndarray, kinds: Kinds | None = None) -> Contrasted:
    """Lay out the control of a fit.

    Parameters
    ----------
    problem : Problem
        Over all respondents of whom the fit knows enough, answered or not.
    scores : Scores
        Of the answers.
    expected : numpy.ndarray, shape (n, values)
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
    known = np.isfinite(expected)
    if len(scores.means) > 1:
        here = difference_of_means(expected, problem.arm, known & problem.answered)
        if kinds is None:
            return Contrasted(here, difference_of_means(expected, problem.arm, known), problem.weight)
        theirs = difference_of_means(kinds.expected, kinds.arm, np.isfinite(kinds.expected))
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
    there = np.isfinite(kinds.expected) & (kinds.cell >= 0)[:, None]
    cell = np.maximum(kinds.cell, 0)
    both &= _both_arms(cell, kinds.arm, there, n_cells)
    return Contrasted(
        difference_in_cells(expected, problem.arm, problem.cell, problem.weight, compared & both[problem.cell]),
        difference_in_cells(kinds.expected, kinds.arm, cell, kinds.count, there & both[cell]),
        problem.weight,
        kinds.count,
    )


def difference_of_means(expected: np.ndarray, arm: np.ndarray, rows: np.ndarray) -> Scores:
    """Lay out the difference of the arms' means of numbers, shape (n, values), over rows of the same shape."""
    arms = [rows & (arm == side)[:, None] for side in (0, 1)]
    return Scores((Mean(-1, expected[:, :, None], arms[0]), Mean(1, expected[:, :, None], arms[1])), rows)


def difference_in_cells(
    expected: np.ndarray, arm: np.ndarray, cell: np.ndarray, weight: np.ndarray, rows: np.ndarray
) -> Scores:
    """Lay out the arms' difference in each cell, averaged over the cells' people, as a score per person.

    Parameters
    ----------
    expected, rows : numpy.ndarray, shape (n, values)
        Numbers, and whom they count of (bool); each cell holds both arms among these, or nobody.
    arm, cell, weight : numpy.ndarray, shape (n,)
    """
    n_cells = int(cell.max(initial=-1)) + 1
    member = np.eye(2 * n_cells)[cell * 2 + np.maximum(arm, 0)] * (arm >= 0)[:, None]
    people = weight[:, None] * rows
    numbers = np.where(rows, expected, 0.0)
    size = member.T @ people
    mean = np.divide(member.T @ (people * numbers), size, out=np.zeros_like(size), where=size > 0)
    population = np.eye(n_cells)[cell].T @ people
    lever = np.divide(np.repeat(population, 2, axis=0), size, out=np.zeros_like(size), where=size > 0)
    effect = (mean[1::2] - mean[::2])[cell]
    sign = np.where(arm == 1, 1.0, -1.0)[:, None]
    score = effect + sign * (member @ lever) * (numbers - member @ mean)
    return Scores.of(score[:, :, None], rows)


def _both_arms(cell: np.ndarray, arm: np.ndarray, rows: np.ndarray, n_cells: int) -> np.ndarray:
    """Say which cells hold both arms among `rows`, shape (n, values): shape (cells, values), bool."""
    there = [np.eye(n_cells)[cell[arm == side]].T @ rows[arm == side].astype(float) > 0 for side in (0, 1)]
    return np.asarray(there[0] & there[1])


def _less_covariates(problem: Problem, expected: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Take off what covariates explain within arms of cells; of everybody alike, so that means stay comparable."""
    left = np.where(known, expected, 0.0)
    for v in range(left.shape[1] if problem.controls.shape[1] else 0):
        rows = known[:, v] & (problem.arm >= 0)
        if rows.any():
            block = (problem.cell * 2 + np.maximum(problem.arm, 0))[rows]
            slope = slopes(left[rows, v], problem.controls[rows], block, problem.weight[rows])
            left[:, v] -= problem.controls @ slope
    return left


def people_behind(influence: np.ndarray) -> np.ndarray:
    """Count how many people a control rests on, in effective number, by influence values, (n, values): (values,)."""
    square, fourth = (influence**2).sum(axis=0), (influence**4).sum(axis=0)
    return np.divide(square**2, fourth, out=np.zeros_like(square), where=fourth > 0)


def joint_covariance(design: Design, influence: np.ndarray, gap_influence: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Estimate covariances of estimates, influence (n, values, k), and a control: shape (values, k + 1, k + 1)."""
    return design.covariance(np.concatenate([influence, gap_influence[:, :, None]], axis=2), rows)


def tuned(
    estimate: np.ndarray,
    joint: np.ndarray,
    gap: np.ndarray,
    df: np.ndarray,
    people: np.ndarray,
    nominal: np.ndarray,
    lowest: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Take off an estimate what it has in common with a control, where that pays.

    Parameters
    ----------
    estimate : numpy.ndarray, shape (values, options)
        Responses or shifts.
    joint : numpy.ndarray, shape (values, options + 1, options + 1)
        Covariances of the estimate and, last, the control.
    gap : numpy.ndarray, shape (values,)
        The control: of mean 0.
    df, people : numpy.ndarray, shape (values,)
        Degrees of freedom of the covariances; how many people the control rests on.
    nominal : numpy.ndarray, shape (values,), bool
        Values without a score.
    lowest : float
        The least that an estimate can be: 0 of responses, -1 of shifts; the most is 1.

    Returns
    -------
    estimate, covariance : numpy.ndarray, shapes (values, options), (values, options, options)
        As they were where the control is not taken.
    gain : numpy.ndarray, shape (values,)
        Variance of the score (of a nominal value: of all options together) without the control over that with it.

    Notes
    -----
    lambda = Cov(estimate, control) / Var(control), one for each option: they sum to 0, and the score's is the
    score-weighted sum. The variance is Var(estimate) - Cov^2 / Var(control), times (df + 1) / (df - 1) for the noise
    in lambda: the residual variance that was minimised is too small by 1 / df, and a lambda that is off adds as much.
    The control is taken where, with this factor, the score is known better than before, and no option's standard error
    is larger by more than 2 %; otherwise lambda is 0. It is not taken either where it has no variance, or rests on few
    people or degrees of freedom; where it is more than 3 standard errors from 0 (those who answered are no random part
    of all); and where the estimate would be none that a probability can be.

    References
    ----------
    Angelopoulos, Duchi and Zrnic (2023), PPI++: Efficient prediction-powered inference, arXiv:2311.01453; Montanari
    (1987), Post-sampling efficient QR-prediction in large-sample surveys, International Statistical Review 55(2),
    191-202; Cochran (1977), Sampling techniques, section 7.
    """
    n_options = estimate.shape[1]
    plain, cross, own = joint[:, :-1, :-1], joint[:, :-1, -1], joint[:, -1, -1]
    usable = np.isfinite(gap) & (own > NO_VARIANCE) & (df >= MIN_DF) & (people >= MIN_PEOPLE)
    own, gap = np.where(usable, own, 1.0), np.where(usable, gap, 0.0)
    share = cross / own[:, None]
    moved = estimate - share * gap[:, None]
    noise = np.where(usable, (df + 1) / np.maximum(df - 1, 1), 1.0)
    left = (plain - share[:, :, None] * cross[:, None, :]) * noise[:, None, None]

    def spread(covariance: np.ndarray) -> np.ndarray:
        score = schema.scores(n_options)
        return np.where(nominal, np.trace(covariance, axis1=1, axis2=2), covariance @ score @ score)

    before, after = spread(plain), spread(left)
    each_before, each_after = (np.einsum("vkk->vk", part) for part in (plain, left))
    rounding = 1e-12
    taken = usable & (after > 0) & (after < before) & (np.abs(gap) <= MOST_APART * np.sqrt(own))
    taken &= (each_after <= each_before * (1 + MOST_WIDER) ** 2 + rounding * before[:, None]).all(axis=1)
    taken &= ((moved >= lowest - rounding) & (moved <= 1 + rounding)).all(axis=1)
    gain = np.divide(before, after, out=np.ones_like(before), where=taken)
    return (
        np.where(taken[:, None], moved, estimate),
        np.where(taken[:, None, None], left, plain),
        gain,
    )


def leading_direction(expected: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Find what of several numbers, shape (n, options), varies most over people, shape (options,): of length 1.

    What of a nominal value's probabilities is the control: chosen without a look at any answer.
    """
    known = np.isfinite(expected).all(axis=1)
    if not known.any():
        return np.zeros(expected.shape[1])
    centred = expected[known] - np.average(expected[known], axis=0, weights=weight[known])
    return np.asarray(np.linalg.eigh((centred * weight[known, None]).T @ centred)[1][:, -1])


def scalar(
    expected: Mapping[str, np.ndarray], nominal: Mapping[str, bool], weight: np.ndarray
) -> dict[str, np.ndarray]:
    """Make one number of each person's probabilities, (n, options) by value: the score, or what varies most."""
    found = {}
    for name, law in expected.items():
        numbers = leading_direction(law, weight) if nominal[name] else schema.scores(law.shape[1])
        found[name] = law @ numbers
    return found
