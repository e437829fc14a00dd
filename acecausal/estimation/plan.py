"""The plan: which fits a survey and a choice of attributes, values and countries lead to. Printable before any work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import networkx as nx
import numpy as np

from acecausal.cube.files import Country, Value
from acecausal.cube.lattice import Lattice
from acecausal.errors import AceError, unknown
from acecausal.estimation import identify
from acecausal.estimation.estimators import ASSOCIATION, ESTIMATORS
from acecausal.estimation.nuisances import Nuisance, read_nuisance
from acecausal.survey.codebook import Codebook
from acecausal.survey.data import Survey

ESTIMANDS = ("direct", "total", "association")
#: What a family of q-values can be declared by.
FAMILY_DIMS = ("country", "attribute", "value", "persona")
#: Most numbers in the outcomes of one fit.
BATCH = 4_000_000


@dataclass(frozen=True, slots=True)
class Fit:
    """One multi-outcome fit: a contrast in a country, for values with equally many options and shared respondents.

    Attributes
    ----------
    country, contrast : int
        Positions in the plan's countries and in the lattice's contrasts.
    values : tuple of int
        Positions in the plan's values.
    respondents : int
        Whose attributes are complete and who answered at least one of the values.
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
    modifiers : dict of str to tuple of str
        Per treated attribute, the lattice attributes that a context of its effect may specify.
    covariates : tuple of str
        Labels of everything that some fit adjusts for.
    min_arm : int
        Fewest respondents per arm for an estimate.
    min_share : float
        Shares of personas below it are not written.
    confidence : float
        Of the intervals, in (0, 1).
    family : tuple of str
        q-values are adjusted within each combination of these dimensions' labels.
    refute : int
        Draws per refuter.
    unverified : tuple of str
        What the codebook marks as unverified, of the attributes and values that the plan needs.
    within_items : bool
        Whether raters are compared within the items they rate, since items were not given out at random.
    nuisance : Nuisance, optional
        What predicts answers and arm; linear if None.
    """

    lattice: Lattice
    countries: tuple[Country, ...]
    values: tuple[Value, ...]
    estimand: str
    estimator: str
    adjustment: dict[str, tuple[str, ...]]
    modifiers: dict[str, tuple[str, ...]]
    covariates: tuple[str, ...]
    graph: str
    fits: tuple[Fit, ...]
    min_arm: int
    min_share: float
    confidence: float
    family: tuple[str, ...]
    refute: int
    seed: int
    unverified: tuple[str, ...] = ()
    within_items: bool = False
    nuisance: Nuisance | None = None

    def batches(self, country: str) -> list[tuple[int, ...]]:
        """List the country's batches of values."""
        first = [fit for fit in self.fits if fit.contrast == 0 and self.countries[fit.country].name == country]
        return [fit.values for fit in first]

    def contexts(self, contrast: int) -> np.ndarray:
        """Positions of the personas that may be a context of this contrast, shape (contexts,)."""
        lattice = self.lattice
        allowed = self.modifiers[self.treatment(contrast)]
        closed = [i for i, attribute in enumerate(lattice.attributes) if attribute.name not in allowed]
        personas = lattice.edges[lattice.edges[:, 0] == contrast, 1]
        return np.asarray(personas[(lattice.codes[personas][:, closed] < 0).all(axis=1)])

    def held(self, treatment: str) -> tuple[str, ...]:
        """Name what is held fixed, or may define a context: modifiers, then the rest of the adjustment."""
        return tuple(dict.fromkeys((*self.modifiers[treatment], *self.adjustment[treatment])))

    def needed(self, treatment: str) -> tuple[str, ...]:
        """Name what must be known of a respondent besides the treatment: nothing, where nothing is held fixed."""
        return () if self.estimator == ASSOCIATION else self.held(treatment)

    def treatment(self, contrast: int) -> str:
        """Name of the attribute that a contrast moves."""
        return self.lattice.attributes[self.lattice.contrasts[contrast].attribute].name

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Lay the plan out for printing: column names, and one row per fit."""
        columns = ["country", "contrast", "values", "respondents", "outcomes", "contexts", "held fixed"]
        rows = []
        for fit in self.fits:
            treatment = self.treatment(fit.contrast)
            rows.append(
                [
                    self.countries[fit.country].name,
                    self.lattice.contrast_labels[fit.contrast],
                    ", ".join(self.values[v].name for v in fit.values),
                    str(fit.respondents),
                    str(fit.outcomes),
                    str(len(self.contexts(fit.contrast))),
                    ", ".join([*self.adjustment[treatment], *["item"] * self.within_items]) or "nothing",
                ]
            )
        return columns, rows


def make_plan(
    survey: Survey,
    *,
    attributes: str | Sequence[str] = (),
    values: str | Sequence[str] = (),
    countries: str | Sequence[str] = (),
    depth: int | None = None,
    estimand: str = "direct",
    estimator: str = "linear-dml",
    nuisance: object = "linear",
    min_arm: int = 30,
    min_share: float = 0.0,
    confidence: float = 0.95,
    family: str | Sequence[str] = ("country",),
    refute: int = 0,
    graph: str | Path | None = None,
    seed: int = 0,
) -> Plan:
    """Plan the fits.

    Parameters
    ----------
    survey : Survey
    attributes, values, countries : str or sequence of str
        Names in the codebook, one or several. Empty means the attributes of its `lattice`, or all; all values; all
        countries that occur in the data. Of the attributes that are not chosen but held fixed, one of each column
        counts.
    depth : int, optional
        Largest granularity of the lattice's personas; by default the number of attributes.
    estimand : {'direct', 'total', 'association'}
        All else held fixed; what follows from the attribute included; plain difference of subgroups.
    estimator : str
        Of `ESTIMATORS`; the estimand association has its own.
    nuisance : str or (regressor, classifier)
        What predicts answers and arm: ``linear``, ``lasso``, ``boosting``, ``forest``, with arguments as
        ``forest:max_depth=4``, or a pair of its estimators (see `acecausal.estimation.nuisances.read_nuisance`).
    min_arm : int
        At least 2.
    min_share : float
        In [0, 1): shares of personas below it are left out of the cube.
    confidence : float
        In (0, 1).
    family : str or sequence of str
        Dimensions, of country, attribute, value, persona: one family of q-values per combination of their labels; empty
        for one family over everything.
    refute : int
        Draws per refuter, 0 for none; 20 tell much.
    graph : str or Path, optional
        A causal graph in DOT or GML with a node `answer`; by default the one the codebook declares.
    seed : int
        At least 0.

    Raises
    ------
    AceError
        For an unknown name, a number out of range, or a choice that leaves nothing to estimate.
    """
    attributes, values, countries, family = (
        [names] if isinstance(names, str) else names for names in (attributes, values, countries, family)
    )
    book = survey.codebook
    _check_choice("estimand", estimand, ESTIMANDS)
    _check_choice("estimator", estimator, ESTIMATORS)
    if book.rater and estimator == "forest-dml":
        raise AceError(
            "cannot keep a rater's ratings together",
            param="estimator forest-dml",
            expected="linear-dml, dr or association, with a codebook that names a rater",
            hint="its trees would predict a rating from the same rater's others",
        )
    if book.replicates and estimator not in ("linear-dml", ASSOCIATION):
        raise AceError(
            "is not fitted anew for each replicate weight",
            param=f"estimator {estimator}",
            expected="linear-dml or association, with a codebook that names replicates",
            hint="or, if the file has strata and PSUs, name them in place of replicates",
        )
    learners = read_nuisance(nuisance)
    if learners is not None:
        _check_nuisance(learners, book, ASSOCIATION if estimand == ASSOCIATION else estimator)
    if min_arm < 2:
        raise AceError("out of range", param="min_arm", expected="2 or more", got=min_arm)
    if not 0 <= min_share < 1:
        raise AceError("out of range", param="min_share", expected="0 or more, below 1", got=min_share)
    if not 0 < confidence < 1:
        raise AceError("out of range", param="confidence", expected="between 0 and 1", got=confidence)
    if refute < 0:
        raise AceError("out of range", param="refute", expected="0 or more", got=refute)
    _choose("family", family, FAMILY_DIMS)
    if seed < 0:
        raise AceError("out of range", param="seed", expected="0 or more", got=seed)
    chosen = _choose("attributes", attributes or book.lattice, book.attributes)
    shared = book.sharing(chosen)
    if shared:
        raise AceError(
            "two attributes of one column",
            param="attributes",
            expected=f"{shared[0]} or {shared[1]}",
            got=f"both, from column {book.attributes[shared[0]].column}",
        )
    lattice = Lattice.over([book.attribute(name) for name in chosen], depth)
    occurring = [name for i, name in enumerate(survey.country_names) if (survey.country == i).any()]
    country_names = _choose("countries", countries, book.countries.levels) if countries else occurring
    absent = [name for name in country_names if name not in occurring]
    if absent:
        raise AceError("no respondents", param=f"country {absent[0]}", expected=f"one of {', '.join(occurring)}")
    specs = book.countries.levels
    held = _one_per_column(book, chosen)
    declared = identify.read_graph(graph) if graph else identify.causal_graph(book, held)
    adjustment, modifiers = _identify(declared, estimand, chosen, (*held, *book.covariates))
    everything = dict.fromkeys(name for part in (*modifiers.values(), *adjustment.values()) for name in part)
    plan_values = tuple(book.value(name) for name in _choose("values", values, book.values))
    plan = Plan(
        lattice=lattice,
        countries=tuple(Country(name, specs[name].label, specs[name].region) for name in country_names),
        values=plan_values,
        estimand=estimand,
        estimator=ASSOCIATION if estimand == ASSOCIATION else estimator,
        adjustment=adjustment,
        modifiers=modifiers,
        covariates=tuple(adjusted_labels(book, everything)),
        graph=identify.graph_json(declared),
        fits=(),
        min_arm=min_arm,
        min_share=min_share,
        confidence=confidence,
        family=tuple(family),
        refute=refute,
        seed=seed,
        unverified=tuple(
            book.unverified_parts(
                [name for name in held if name in chosen or name in everything], [value.name for value in plan_values]
            )
        ),
        within_items=bool(book.item and not book.item.random and estimand != ASSOCIATION),
        nuisance=learners,
    )
    return replace(plan, fits=tuple(_fits(survey, plan)))


def _check_nuisance(nuisance: Nuisance, book: Codebook, estimator: str) -> None:
    """Raise an AceError where learners cannot be used."""
    if estimator == ASSOCIATION:
        raise AceError(
            "is for estimates that hold something fixed",
            param=f"nuisance {nuisance.text}",
            expected="linear-dml, dr or forest-dml",
            got=ASSOCIATION,
        )
    if book.replicates:
        raise AceError(
            "is not fitted anew for each replicate weight",
            param=f"nuisance {nuisance.text}",
            expected="linear, with a codebook that names replicates",
            hint="or, if the file has strata and PSUs, name them in place of replicates",
        )


def with_adjustment(survey: Survey, plan: Plan, adjustment: Mapping[str, Sequence[str]]) -> Plan:
    """Hold these attributes and covariates fixed, by treated attribute, whatever the graph says.

    Contexts of an effect specify no others.
    """
    held = {name: tuple(others) for name, others in adjustment.items()}
    modifiers = {name: tuple(other for other in adjustment if other in held[name]) for name in adjustment}
    labels = adjusted_labels(survey.codebook, dict.fromkeys(name for names in held.values() for name in names))
    plan = replace(plan, adjustment=held, modifiers=modifiers, covariates=tuple(labels))
    return replace(plan, fits=tuple(_fits(survey, plan)))


def _one_per_column(book: Codebook, chosen: Sequence[str]) -> list[str]:
    """Name the attributes that count: two of one column would be held fixed twice, or against each other."""
    by_column: dict[str, str] = {}
    for name in (*chosen, *book.lattice, *book.attributes):
        by_column.setdefault(book.attributes[name].column, name)
    return list(by_column.values())


def _identify(
    graph: nx.DiGraph, estimand: str, chosen: Sequence[str], observed: Sequence[str]
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Say per treated attribute what is held fixed, and which attributes may define a context."""
    adjustment: dict[str, tuple[str, ...]] = dict.fromkeys(chosen, ())
    modifiers = {name: tuple(other for other in chosen if other != name) for name in chosen}
    for name in chosen:
        if estimand == "direct":
            adjustment[name] = identify.direct_adjustment(graph, name, observed)
        elif estimand == "total":
            adjustment[name], modifiers[name] = identify.total_adjustment(graph, name, observed, chosen)
    return adjustment, modifiers


def _fits(survey: Survey, plan: Plan) -> Iterable[Fit]:
    for c, country in enumerate(plan.countries):
        rows = survey.country == survey.country_names.index(country.name)
        at = np.flatnonzero(rows)
        answered = np.stack([survey.values[value.name][rows] >= 0 for value in plan.values])
        batches = list(_batches(answered, [len(value.options) for value in plan.values]))
        known = {name: survey.attributes[name][rows] >= 0 for name in survey.attributes}
        known |= {name: ~np.isnan(numbers[rows]) for name, numbers in survey.covariates.items()}
        for t in range(len(plan.lattice.contrasts)):
            treatment = plan.treatment(t)
            complete = known[treatment].copy()
            for name in plan.needed(treatment):
                if known[name].any():  # what was never asked there cannot be held fixed
                    complete &= known[name]
            for members in batches:
                someone = np.flatnonzero(answered[list(members)].any(axis=0) & complete)
                respondents = int(survey.count(at[someone])[0])
                yield Fit(c, t, members, respondents, sum(len(plan.values[v].options) for v in members))


def adjusted_labels(book: Codebook, names: Iterable[str]) -> list[str]:
    """Name what is adjusted for: ``attribute:level`` for all but the baseline level, and covariates."""
    labels = []
    for name in names:
        if name in book.covariates:
            labels.append(name)
        else:
            spec = book.attributes[name]
            labels += [f"{name}:{level}" for level in spec.levels if level != spec.baseline]
    return labels


def _batches(answered: np.ndarray, options: Sequence[int]) -> Iterable[tuple[int, ...]]:
    """Put values together that have equally many options and, by and large, the same respondents.

    Parameters
    ----------
    answered : numpy.ndarray, shape (values, n), bool
    options : sequence of int
        Per value.

    Notes
    -----
    Only speed depends on it: each value is estimated from its own respondents, in whatever company. Values nobody
    answered are in no batch.
    """
    batches: list[list[int]] = []
    unions: list[np.ndarray] = []
    for v in map(int, np.flatnonzero(answered.any(axis=1))):
        limit = BATCH // (answered.shape[1] * options[v])
        for number, members in enumerate(batches):
            both, either = (op(unions[number], answered[v]).sum() for op in (np.logical_and, np.logical_or))
            if options[members[0]] == options[v] and len(members) < limit and 2 * both > either:
                unions[number] = unions[number] | answered[v]
                members.append(v)
                break
        else:
            batches.append([v])
            unions.append(answered[v])
    return [tuple(members) for members in batches]


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
