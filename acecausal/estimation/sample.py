"""One country's respondents, laid out for the fits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from acecausal.estimation.control import Control, Kinds
from acecausal.estimation.inference import Crossed, Design
from acecausal.estimation.outcomes import outcomes
from acecausal.estimation.plan import Fit, Plan
from acecausal.estimation.problem import Problem
from acecausal.estimation.replicates import Replicates
from acecausal.survey.data import Survey
from acecausal.survey.raters import item_means

#: A covariate that varies by less, as a share of its largest number, is one number and rounding.
SAME = 1e-14


@dataclass(frozen=True)
class Sample:
    """The respondents of one country, and the plan.

    Attributes
    ----------
    survey : Survey
        This country's rows only.
    name : str
        The country.
    control : Control, optional
        What a model expects of these respondents.
    """

    survey: Survey
    plan: Plan
    name: str
    control: Control | None = None

    @classmethod
    def of(cls, survey: Survey, plan: Plan, country: int, control: Control | None = None) -> Sample:
        """Take the country at this position in the plan; the control is that country's."""
        name = plan.countries[country].name
        own = take(survey, survey.country == survey.country_names.index(name))
        # whatever their unit: what is penalised, or compared with a constant, must not depend on it
        mean = own.weight.mean()
        replicates = None if own.replicates is None else own.replicates / mean
        return cls(replace(own, weight=own.weight / mean, replicates=replicates), plan, name, control)

    @cached_property
    def design(self) -> Design | Crossed | Replicates:
        spec, weights = self.survey.codebook.replicates, self.survey.replicates
        if spec is not None and weights is not None:
            return Replicates(self.survey.weight, weights, *spec.factors(weights.shape[1]), spec.mse)
        design = Design.of(self.survey.stratum, self.survey.psu, self.survey.fraction)
        return design if self.survey.item is None else Crossed.of(design, self.survey.item)

    @cached_property
    def matched(self) -> np.ndarray:
        """Which respondent matches which persona, shape (personas, n), bool."""
        return self._matched(self.survey.attributes)

    @cached_property
    def kinds_matched(self) -> np.ndarray:
        """Which kind of people of the control's population matches which persona, shape (personas, kinds), bool."""
        assert self.control is not None
        assert self.control.population is not None
        return self._matched(self.control.population.attributes)

    def kinds_of(self, persona: int) -> np.ndarray | None:
        """Find the kinds of people of the control's population that match a persona; None if it has none."""
        if self.control is None or self.control.population is None:
            return None
        return np.flatnonzero(self.kinds_matched[persona])

    def _matched(self, attributes: Mapping[str, np.ndarray]) -> np.ndarray:
        names = [attribute.name for attribute in self.plan.lattice.attributes]
        return self.plan.lattice.match(np.stack([attributes[name] for name in names], axis=1))

    def arm(self, contrast: int) -> np.ndarray:
        """Give 0 at the baseline level, 1 at the contrast's, -1 at others and where missing, shape (n,)."""
        return self._arms(self.survey.attributes, contrast)

    def _arms(self, attributes: Mapping[str, np.ndarray], contrast: int) -> np.ndarray:
        spec, level = self.plan.lattice.contrasts[contrast], attributes[self.plan.treatment(contrast)]
        return np.select([level == spec.baseline, level == spec.treated], [0, 1], -1)

    def complete(self, treatment: str) -> np.ndarray:
        """Say whose treatment is known, and all that is held fixed or defines contexts, shape (n,), bool."""
        return self._complete(treatment, self.plan.held(treatment))

    def _complete(self, treatment: str, besides: Sequence[str]) -> np.ndarray:
        return np.all([self._known(name) for name in (treatment, *filter(self._asked, besides))], axis=0)

    @cached_property
    def known(self) -> np.ndarray:
        """Say of whom all is known that any contrast compares or holds fixed, of what was asked, shape (n,), bool."""
        treatments = [attribute.name for attribute in self.plan.lattice.attributes]
        everything = {*treatments, *(name for treatment in treatments for name in self.plan.held(treatment))}
        known = [self._known(name) for name in sorted(everything) if self._asked(name)]
        return np.all([np.ones(len(self.survey), dtype=bool), *known], axis=0)

    def rows(self, fit: Fit) -> np.ndarray:
        """Find the positions of those of whom all that the fit needs is known, and who answered one of its values.

        With a control also those who did not.
        """
        answered = np.full(len(self.survey), self.control is not None)
        for v in fit.values:
            answered |= self.survey.values[self.plan.values[v].name] >= 0
        treatment = self.plan.treatment(fit.contrast)
        return np.flatnonzero(answered & self._complete(treatment, self.plan.needed(treatment)))

    def problem(self, fit: Fit, rows: np.ndarray) -> Problem:
        """Lay out what the estimator gets, for these rows."""
        answers = [self.survey.values[self.plan.values[v].name][rows] for v in fit.values]
        laid = outcomes(answers, len(self.plan.values[fit.values[0]].options)).transpose(2, 0, 1)
        answered = np.stack([answer >= 0 for answer in answers], axis=1)
        return self._problem(fit.contrast, rows, np.ascontiguousarray(laid), answered)

    def comparison(self, contrast: int, rows: np.ndarray) -> Problem:
        """Lay out arms, cells and controls of these rows, for what does not depend on any answer."""
        return self._problem(contrast, rows, np.empty((len(rows), 0, 2)), np.empty((len(rows), 0), dtype=bool))

    def _problem(self, contrast: int, rows: np.ndarray, laid: np.ndarray, answered: np.ndarray) -> Problem:
        treatment, arm = self.plan.treatment(contrast), self.arm(contrast)
        seed = derived_seed(self.plan.seed, self.name, self.plan.lattice.contrast_labels[contrast])
        share = self.item_share(contrast, arm)
        return Problem(
            outcomes=laid,
            answered=answered,
            arm=arm[rows],
            cell=self._cells(self.plan.modifiers[treatment], rows),
            covariates=self._covariates(treatment)[rows],
            weight=self.survey.weight[rows],
            key=_mix(self._identity[rows], seed),
            seed=seed,
            item_share=None if share is None else share[rows],
            nuisance=self.plan.nuisance,
        )

    @cached_property
    def within_items(self) -> bool:
        """Whether raters are compared within items."""
        part = self.survey.codebook.item
        return self.plan.within_items and part is not None and self.name not in part.absent_in

    def item_share(self, contrast: int, arm: np.ndarray) -> np.ndarray | None:
        """Give the treated arm's share among the ratings of each row's item, shape (n,); None if it does not matter.

        Parameters
        ----------
        contrast : int
        arm : numpy.ndarray, shape (n,), int
            The contrast's arms, or a placebo's.

        Returns
        -------
        numpy.ndarray, shape (n,), optional
            Over all rows with complete attributes, so that a value's numbers do not depend on its company; 0 where an
            item has none.
        """
        if not self.within_items or self.survey.item is None:
            return None
        rows = self.complete(self.plan.treatment(contrast)) & (arm >= 0)
        return self._item_means((arm == 1)[:, None].astype(float), rows)[:, 0]

    def _item_means(self, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Average columns over those of the item's ratings that are in `rows`, a mask; 0 where an item has none."""
        assert self.survey.item is not None
        return item_means(columns, self.survey.item, self.survey.weight * rows)

    def adjusted(self, treatment: str) -> np.ndarray:
        """Give the columns, shape (n, q), of what `adjusted_labels` names: 0/1 for levels, and covariates."""
        book = self.survey.codebook
        columns = [np.empty((len(self.survey), 0))]
        for name in self.plan.held(treatment):
            if name in self.survey.covariates:
                columns.append(self._scaled(name)[:, None])
            else:
                spec = book.attributes[name]
                others = [i for i, level in enumerate(spec.levels) if level != spec.baseline]
                columns.append(indicators(self.survey.attributes[name], others))
        return np.concatenate(columns, axis=1)

    def kinds(self, fit: Fit, rows: np.ndarray) -> Kinds | None:
        """Lay out the control's population for a fit over these rows; None if it has none."""
        population = None if self.control is None else self.control.population
        if population is None:
            return None
        modifiers = self.plan.modifiers[self.plan.treatment(fit.contrast)]
        known = np.unique(_stacked(self.survey.attributes, modifiers, rows), axis=0).tolist()
        number = {tuple(row): c for c, row in enumerate(known)}
        theirs = _stacked(population.attributes, modifiers, np.arange(len(population.count)))
        return Kinds(
            self._arms(population.attributes, fit.contrast),
            np.array([number.get(tuple(row), -1) for row in theirs.tolist()], dtype=np.int64),
            np.stack([population.expected[self.plan.values[v].name] for v in fit.values], axis=1),
            population.count,
        )

    def _cells(self, modifiers: Sequence[str], rows: np.ndarray) -> np.ndarray:
        codes = _stacked(self.survey.attributes, modifiers, rows)
        return np.ravel(np.unique(codes, axis=0, return_inverse=True)[1])

    def _covariates(self, treatment: str) -> np.ndarray:
        """Stack what is adjusted for outside the cells: covariates, and indicators of attributes."""
        book = self.survey.codebook
        column = book.attributes[treatment].column
        columns = [np.empty((len(self.survey), 0))]
        for name in filter(self._asked, self.plan.adjustment[treatment]):
            if name in self.survey.covariates:
                if book.covariates[name].column != column:  # the treatment's own column says nothing more about it
                    columns.append(self._scaled(name)[:, None])
            elif name not in self.plan.modifiers[treatment] and book.attributes[name].column != column:
                codes = range(1, len(book.attributes[name].levels))
                columns.append(indicators(self.survey.attributes[name], codes))
        if self.within_items:  # who else rated the item; the treated arm's share depends on the arms, and comes last
            complete = self.complete(treatment)
            adjusted = np.where(complete[:, None], self.adjusted(treatment), 0.0)
            columns.append(self._item_means(adjusted, complete))
        return np.concatenate(columns, axis=1)

    def _scaled(self, name: str) -> np.ndarray:
        """Give a covariate mean 0 and variance 1, shape (n,), so that its unit means nothing; 0 if it does not vary.

        Missing where it is missing of some, 0 where nobody has it.
        """
        numbers = self.survey.covariates[name]
        known = numbers[np.isfinite(numbers)]
        if not len(known):
            return np.zeros(len(numbers))
        largest = np.abs(known).max() or 1.0  # squares of very large and very small numbers are none
        centred = numbers / largest - (known / largest).mean()
        spread = np.sqrt(np.mean((known / largest - (known / largest).mean()) ** 2))
        return np.asarray(centred / spread if spread > SAME else np.where(np.isnan(numbers), np.nan, 0.0))

    def _asked(self, name: str) -> bool:
        """Whether anybody in the country has it; what was never asked there cannot be held fixed."""
        return bool(self._known(name).any())

    def _known(self, name: str) -> np.ndarray:
        if name in self.survey.attributes:
            return self.survey.attributes[name] >= 0
        return ~np.isnan(self.survey.covariates[name])

    @cached_property
    def person(self) -> np.ndarray:
        """Number of the respondent of each row, shape (n,), in the order of identities, whatever the order of rows."""
        who = self.survey.respondent
        return np.unique(self._identity, return_inverse=True)[1] if who is None else who

    @cached_property
    def _identity(self) -> np.ndarray:
        identity = self.survey.identity
        return np.arange(len(self.survey), dtype=np.uint64) if identity is None else identity


def take(survey: Survey, rows: np.ndarray) -> Survey:
    """Select respondents: a Survey of these rows (positions, or shape (n,), bool)."""
    changed: dict[str, Any] = {
        name: {key: array[rows] for key, array in getattr(survey, name).items()}
        for name in ("attributes", "values", "covariates")
    }
    for name in ("country", "weight", "stratum", "psu", "fraction", "identity", "item", "replicates", "inside"):
        array = getattr(survey, name)
        changed[name] = None if array is None else array[rows]
    return replace(survey, **changed)


def _stacked(attributes: Mapping[str, np.ndarray], names: Sequence[str], rows: np.ndarray) -> np.ndarray:
    """Stack the levels of attributes, shape (rows, 1 + names); the first column is 0, for none may be named."""
    return np.stack([np.zeros(len(rows), dtype=int), *(attributes[name][rows] for name in names)], axis=1)


def indicators(codes: np.ndarray, wanted: Sequence[int]) -> np.ndarray:
    """Turn codes into 0/1 columns, one per wanted code, shape (n, wanted)."""
    return (codes[:, None] == np.asarray(wanted, dtype=int)).astype(float)


def derived_seed(seed: int, *labels: str) -> int:
    """Derive a seed from names, not from positions, so that a cell alone equals the same cell in the full cube."""
    digest = hashlib.sha256("\x1f".join([str(seed), *labels]).encode()).digest()
    return int.from_bytes(digest[:4], "little")


def _mix(identity: np.ndarray, seed: int) -> np.ndarray:
    """Scatter identities over the 64-bit numbers, another way for each seed (the finaliser of splitmix64)."""
    z = identity.astype(np.uint64) + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
