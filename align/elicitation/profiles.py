"""Profiles: real people of a survey, drawn by weight, in the words that a model is told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from acecausal.cube.files import countries_of, lattice_of, values_of
from acecausal.cube.functional import held_fixed, not_stated
from acecausal.cube.lattice import Lattice
from acecausal.errors import AceError, CubeError, DataError
from acecausal.estimation.sample import derived_seed
from acecausal.survey.codebook import Codebook
from acecausal.survey.data import Survey

#: Fewest people behind a number that is kept: profiles are microdata, and an effect of a few would tell who they are.
FEWEST = 10


@dataclass(frozen=True)
class Profiles:
    """Real people to ask a model as; they stay in memory.

    Attributes
    ----------
    survey : Survey
        The one that people's cube was estimated from.
    number : int
        People drawn per value and country, at least `FEWEST`; where there are no more, each is taken once.
    seed : int
        The draw follows from it and from names: a value alone gets the people it gets in company.
    """

    survey: Survey
    number: int
    seed: int = 0

    def __post_init__(self) -> None:
        for param, least, got in (("profiles", FEWEST, self.number), ("seed", 0, self.seed)):
            if got < least:
                raise AceError("out of range", param=param, expected=f"{least} or more", got=got)


@dataclass(frozen=True)
class People:
    """People drawn for one value in one country, for the contrasts of one attribute.

    Attributes
    ----------
    treatment : str
    rows : numpy.ndarray, shape (people,), int
        Positions in the survey, each once.
    times : numpy.ndarray, shape (people,)
        How often each was drawn; if everybody was taken, their weights.
    everybody : bool
    codes : numpy.ndarray, shape (people, attributes of the lattice), int
        Level positions, -1 where missing.
    level : numpy.ndarray, shape (people,), int
        Of the treated attribute.
    met : numpy.ndarray, shape (levels, people), bool
        Whether enough people of the same combination are at the baseline level, and at this one.
    personas : numpy.ndarray, shape (levels, people), str
        What the model is told of the person, with the treated attribute at each level.
    """

    treatment: str
    rows: np.ndarray
    times: np.ndarray
    everybody: bool
    codes: np.ndarray
    level: np.ndarray
    met: np.ndarray
    personas: np.ndarray


@dataclass(frozen=True)
class Casting:
    """Whom a model is asked as, so that its effects are those of people's cube.

    Raises
    ------
    CubeError
        If the cube does not say what its effects hold fixed.
    DataError
        If the survey is not the one that it was estimated from.
    AceError
        If profiles tell no more than its personas, though there is more that is held fixed.
    """

    profiles: Profiles
    like: xr.Dataset

    def __post_init__(self) -> None:
        if not self.held:
            raise CubeError("does not say what its effects hold fixed", param="--like", hint="estimate it anew")
        self._check_people()
        left = not_stated(self.like)
        more = [t for t, (names, most, all_) in left.items() if most < all_ or set(names) - set(self.untold.get(t, ()))]
        if left and not more:
            raise AceError(
                "would tell a model no more than personas do", param="--profiles",
                got=f"no phrase for {', '.join(sorted({name for names in self.untold.values() for name in names}))}",
                hint="give it one in the codebook: covariates: {age: {..., phrase: 'aged {value}'}}",
            )  # fmt: skip

    @property
    def book(self) -> Codebook:
        return self.profiles.survey.codebook

    @cached_property
    def lattice(self) -> Lattice:
        return lattice_of(self.like)

    @cached_property
    def held(self) -> dict[str, frozenset[str]]:
        """By treated attribute, what is held fixed."""
        return held_fixed(self.like) or {}

    @cached_property
    def untold(self) -> dict[str, list[str]]:
        """By treated attribute, what is held fixed and has no phrase: covariates."""
        wordless = {name for name, spec in self.book.covariates.items() if not spec.phrase}
        found = {treatment: sorted(names & wordless) for treatment, names in self.held.items()}
        return {treatment: names for treatment, names in found.items() if names}

    def draw(self, country: int, value: int, treatment: str) -> People:
        """Draw people and word them.

        Parameters
        ----------
        country, value : int
            Positions in the cube.
        treatment : str
            A treated attribute. Drawn are people of whom it, and all that is held fixed, is known, as in the estimate;
            attributes that have the same of it get the same people.
        """
        survey, names = self.profiles.survey, [attribute.name for attribute in self.lattice.attributes]
        here = self._rows(country)
        held = [name for name in self._order({treatment, *self.held[treatment]})
                if np.isfinite(self._numbers(name)[here]).any()]  # fmt: skip
        answered = survey.values[str(self.like["value"].values[value])][here] >= 0
        rows = here[answered & np.all([np.isfinite(self._numbers(name)[here]) for name in held], axis=0)]
        if survey.identity is not None:
            rows = rows[np.argsort(survey.identity[rows], kind="stable")]
        labels = [str(self.like[dim].values[at]) for dim, at in (("country", country), ("value", value))]
        seed = derived_seed(self.profiles.seed, "profiles", *labels, *sorted(held))
        times, everybody = draw(survey.weight[rows], self.profiles.number, seed)
        drawn = np.flatnonzero(times)
        chosen = rows[drawn]
        return People(
            treatment, chosen, times[drawn], everybody,
            codes=np.stack([survey.attributes[name][chosen] for name in names], axis=1),
            level=survey.attributes[treatment][chosen],
            met=self._met(treatment, rows)[:, drawn],
            personas=self._worded(treatment, held, chosen),
        )  # fmt: skip

    def _met(self, treatment: str, rows: np.ndarray) -> np.ndarray:
        """Say whose combination of modifiers has enough respondents in both arms, shape (levels, rows), bool."""
        survey = self.profiles.survey
        (attribute,) = (a for a in self.lattice.attributes if a.name == treatment)
        level, n_levels = survey.attributes[treatment][rows], len(attribute.levels)
        if self.like.attrs["estimand"] == "association":
            return np.ones((n_levels, len(rows)), dtype=bool)
        modifiers = json.loads(self.like.attrs["modifiers"])[treatment]
        codes = np.stack([np.zeros_like(level), *(survey.attributes[name][rows] for name in modifiers)], axis=1)
        cell = np.unique(codes, axis=0, return_inverse=True)[1].ravel()
        who = rows if survey.respondent is None else survey.respondent[rows]
        each = np.unique(np.stack([cell, level, who], axis=1), axis=0)  # a rater counts once
        sizes = np.zeros((cell.max(initial=-1) + 1, n_levels), dtype=np.int64)
        np.add.at(sizes, (each[:, 0], each[:, 1]), 1)
        enough = sizes >= int(self.like.attrs.get("min_cell", 0))
        return (enough & enough[:, [attribute.baseline_code]])[cell].T

    def _worded(self, treatment: str, held: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """Word people at every level of an attribute, shape (levels, rows), str; for association always at their own.

        What is of the attribute's own column would contradict it at another level, and is left out.
        """
        book = self.book
        column = book.attributes[treatment].column
        told = [
            name for name in held
            if name == treatment or (name in book.attributes and book.attributes[name].column != column)
            or (name in book.covariates and book.covariates[name].phrase and book.covariates[name].column != column)
        ]  # fmt: skip
        known = np.stack([self._numbers(name)[rows] for name in told], axis=1)
        place = told.index(treatment)
        as_is = self.like.attrs["estimand"] == "association"
        known[:, place] *= as_is
        kinds, kind = np.unique(known, axis=0, return_inverse=True)
        found = []
        for level in range(len(book.attributes[treatment].levels)):
            kinds[:, place] = kinds[:, place] if as_is else level
            found.append([", ".join(map(self._phrase, told, numbers)) for numbers in kinds.tolist()])
        return np.array(found, dtype=object)[:, kind.ravel()]

    def _phrase(self, name: str, number: float) -> str:
        if name in self.book.covariates:
            return self.book.covariates[name].worded(number)
        return self._levels[name][int(number)]

    @cached_property
    def _levels(self) -> dict[str, list[str]]:
        return {name: [level.phrase for level in self.book.attribute(name).levels] for name in self.book.attributes}

    def _numbers(self, name: str) -> np.ndarray:
        """Give what is known of everybody as numbers, shape (n,); missing where it is not known."""
        survey = self.profiles.survey
        if name in survey.covariates:
            return survey.covariates[name]
        codes = survey.attributes[name]
        return np.where(codes >= 0, codes, np.nan)

    def _order(self, names: Iterable[str]) -> list[str]:
        """Bring names into the order in which they are told: those of personas first, covariates last."""
        first = [attribute.name for attribute in self.lattice.attributes]
        wanted = set(names)
        return [
            name for name in dict.fromkeys((*first, *self.book.attributes, *self.book.covariates)) if name in wanted
        ]

    def _rows(self, country: int) -> np.ndarray:
        survey = self.profiles.survey
        return np.flatnonzero(survey.country == survey.country_names.index(str(self.like["country"].values[country])))

    def _check_people(self) -> None:
        """Hold the survey against the cube: all names, and how many people of each persona answered each value."""
        survey, like, lattice = self.profiles.survey, self.like, self.lattice
        wanted = {
            "country": like["country"].values.tolist(), "value": like["value"].values.tolist(),
            "attribute or covariate": sorted(set().union(self.held, *self.held.values())),
        }  # fmt: skip
        there = {"country": survey.country_names, "value": [*survey.values],
                 "attribute or covariate": [*survey.attributes, *survey.covariates]}  # fmt: skip
        for what, names in wanted.items():
            if strange := [name for name in names if name not in there[what]]:
                raise _another(f"the {what} {strange[0]}", "none of that name")
        for c, country in enumerate(countries_of(like)):
            here = self._rows(c)
            matched = lattice.match(np.stack([survey.attributes[a.name][here] for a in lattice.attributes], axis=1)).T
            for v, value in enumerate(values_of(like)):
                answered = survey.values[value.name][here] >= 0
                n, ours = like["n"].values[c, v], survey.count(here, matched & answered[:, None])
                if len(off := np.flatnonzero(n != ours)):
                    what = f"{country.name}, {value.name}, {like['persona'].values[off[0]]}"
                    raise _another(f"{n[off[0]]} people ({what})", f"{ours[off[0]]}")


def draw(weight: np.ndarray, number: int, seed: int) -> tuple[np.ndarray, bool]:
    """Draw people with probabilities in proportion to their weights, with replacement.

    Parameters
    ----------
    weight : numpy.ndarray, shape (n,)
        Positive.
    number : int
        Draws.
    seed : int

    Returns
    -------
    times : numpy.ndarray, shape (n,)
        How often each was drawn; or the weights, if there are no more people than draws: then all are taken.
    everybody : bool
        Whether that is so.
    """
    if number >= len(weight):
        return weight, True
    upto = weight.cumsum()
    at = np.searchsorted(upto, np.random.default_rng(seed).random(number) * upto[-1], side="right")
    return np.bincount(np.minimum(at, len(weight) - 1), minlength=len(weight)).astype(float), False


def _another(expected: str, got: str) -> DataError:
    return DataError(
        "is not what people's cube was estimated from", param="--survey", expected=expected, got=got,
        hint="the file and the codebook that estimate was given",
    )  # fmt: skip
