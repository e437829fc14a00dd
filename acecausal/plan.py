"""The plan: which fits a survey and a choice of attributes, values and countries lead to. Printable before any work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from acecausal import identify
from acecausal.cube import Country, Value
from acecausal.errors import AceError, unknown
from acecausal.estimators import ESTIMATORS
from acecausal.lattice import Lattice
from acecausal.survey import Survey

ESTIMANDS = ("direct", "association")
ASSOCIATION = "weighted-difference"


@dataclass(frozen=True, slots=True)
class Fit:
    """One multi-outcome fit: a contrast in a country, for all values that the same respondents answered.

    Attributes
    ----------
    country, contrast : int
        Positions in the plan's countries and in the lattice's contrasts.
    values : tuple of int
        Positions in the plan's values.
    respondents : int
        Rows whose answers and attributes are complete.
    outcomes : int
        Options over all these values.
    """

    country: int
    contrast: int
    values: tuple[int, ...]
    respondents: int
    outcomes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides the cube, besides the data.

    Attributes
    ----------
    adjustment : dict of str to tuple of str
        Per treated attribute, what is held fixed.
    min_arm : int
        Fewest respondents per arm for an estimate.
    confidence : float
        Of the intervals, in (0, 1).
    """

    lattice: Lattice
    countries: tuple[Country, ...]
    values: tuple[Value, ...]
    estimand: str
    estimator: str
    adjustment: dict[str, tuple[str, ...]]
    graph: str
    fits: tuple[Fit, ...]
    min_arm: int
    confidence: float
    seed: int

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Lay the plan out for printing: column names, and one row per fit."""
        columns = ["country", "contrast", "values", "respondents", "outcomes", "contexts", "held fixed"]
        rows = []
        for fit in self.fits:
            treatment = self.lattice.attributes[self.lattice.contrasts[fit.contrast].attribute].name
            rows.append(
                [
                    self.countries[fit.country].name,
                    self.lattice.contrast_labels[fit.contrast],
                    ", ".join(self.values[v].name for v in fit.values),
                    str(fit.respondents),
                    str(fit.outcomes),
                    str((self.lattice.edges[:, 0] == fit.contrast).sum()),
                    ", ".join(self.adjustment[treatment]) or "nothing",
                ]
            )
        return columns, rows


def make_plan(
    survey: Survey,
    *,
    attributes: Sequence[str] = (),
    values: Sequence[str] = (),
    countries: Sequence[str] = (),
    depth: int | None = None,
    estimand: str = "direct",
    estimator: str = "linear-dml",
    min_arm: int = 30,
    confidence: float = 0.95,
    seed: int = 0,
) -> Plan:
    """Plan the fits.

    Parameters
    ----------
    survey : Survey
    attributes, values, countries : sequence of str
        Names in the codebook; empty means all (of the countries, all that occur in the data).
    depth : int, optional
        Largest granularity of the lattice's personas; by default the number of attributes.
    estimand : {'direct', 'association'}
    estimator : str
        Of `ESTIMATORS`; the estimand association has its own.
    min_arm : int
        At least 2.
    confidence : float
        In (0, 1).
    seed : int
        At least 0.

    Raises
    ------
    AceError
        For an unknown name, a number out of range, or a choice that leaves nothing to estimate.
    """
    book = survey.codebook
    _check_choice("estimand", estimand, ESTIMANDS)
    _check_choice("estimator", estimator, ESTIMATORS)
    if min_arm < 2:
        raise AceError("out of range", param="min_arm", expected="2 or more", got=min_arm)
    if not 0 < confidence < 1:
        raise AceError("out of range", param="confidence", expected="between 0 and 1", got=confidence)
    if seed < 0:
        raise AceError("out of range", param="seed", expected="0 or more", got=seed)
    chosen = _choose("attributes", attributes, book.attributes)
    lattice = Lattice.over([book.attribute(name) for name in chosen], depth)
    occurring = [name for i, name in enumerate(survey.country_names) if (survey.country == i).any()]
    country_names = _choose("countries", countries, book.countries.levels) if countries else occurring
    absent = [name for name in country_names if name not in occurring]
    if absent:
        raise AceError("no respondents", param=f"country {absent[0]}", expected=f"one of {', '.join(occurring)}")
    specs = book.countries.levels
    graph = identify.causal_graph(book)
    adjustment: dict[str, tuple[str, ...]] = dict.fromkeys(chosen, ())
    if estimand == "direct":
        adjustment = {name: identify.direct_adjustment(graph, name) for name in chosen}
    plan_values = tuple(book.value(name) for name in _choose("values", values, book.values))
    return Plan(
        lattice=lattice,
        countries=tuple(Country(name, specs[name].label, specs[name].region) for name in country_names),
        values=plan_values,
        estimand=estimand,
        estimator=estimator if estimand == "direct" else ASSOCIATION,
        adjustment=adjustment,
        graph=identify.graph_json(graph),
        fits=tuple(_fits(survey, lattice, country_names, plan_values, adjustment)),
        min_arm=min_arm,
        confidence=confidence,
        seed=seed,
    )


def complete_rows(survey: Survey, lattice: Lattice, treatment: str, adjustment: Sequence[str]) -> np.ndarray:
    """Find respondents whose lattice attributes and adjusted variables are all known, shape (n,), bool."""
    known = np.ones(len(survey), dtype=bool)
    for name in {treatment, *adjustment, *(attribute.name for attribute in lattice.attributes)}:
        if name in survey.attributes:
            known &= survey.attributes[name] >= 0
        else:
            known &= ~np.isnan(survey.covariates[name])
    return known


def _fits(
    survey: Survey,
    lattice: Lattice,
    countries: Sequence[str],
    values: Sequence[Value],
    adjustment: dict[str, tuple[str, ...]],
) -> Iterable[Fit]:
    for c, country in enumerate(countries):
        rows = survey.country == survey.country_names.index(country)
        groups: dict[bytes, list[int]] = {}
        for v, value in enumerate(values):
            answered = survey.values[value.name][rows] >= 0
            if answered.any():
                groups.setdefault(np.packbits(answered).tobytes(), []).append(v)
        for t, contrast in enumerate(lattice.contrasts):
            treatment = lattice.attributes[contrast.attribute].name
            complete = complete_rows(survey, lattice, treatment, adjustment[treatment])[rows]
            for members in groups.values():
                answered = survey.values[values[members[0]].name][rows] >= 0
                outcomes = sum(len(values[v].options) for v in members)
                yield Fit(c, t, tuple(members), int((answered & complete).sum()), outcomes)


def _choose(param: str, wanted: Sequence[str], known: Iterable[str]) -> list[str]:
    names = list(known)
    for name in wanted:
        if name not in names:
            raise unknown(param, name, names)
    if len(set(wanted)) < len(wanted):
        raise AceError("a name is given twice", param=param, got=", ".join(wanted))
    return list(wanted) or names


def _check_choice(param: str, got: str, known: Iterable[str]) -> None:
    if got not in known:
        raise unknown(param, got, known)
