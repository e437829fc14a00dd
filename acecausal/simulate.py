"""Simulated surveys with known effects: for tests, for benchmarks, and for trying a design before paying for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import xarray as xr

from acecausal import cube as cubes
from acecausal import schema
from acecausal.codebook import Codebook
from acecausal.cube import Country
from acecausal.errors import AceError
from acecausal.lattice import Lattice
from acecausal.survey import Survey

NAMES = ("gender", "education", "residence", "religion", "marital_status", "class", "region", "work")
#: Ages, and how many of the population have each; scaled to -1..1 in the laws below.
AGES = np.array([20, 30, 40, 50, 60, 70, 80])
AGE_SHARE = np.array([0.16, 0.18, 0.18, 0.17, 0.15, 0.11, 0.05])
#: Spread of a PSU's random effect on answers and on the first attribute, when there are clusters.
CLUSTER_ANSWER, CLUSTER_ATTRIBUTE = 0.115, 0.1


@dataclass(frozen=True)
class World:
    """The law of a population. All probabilities are linear, so that the truth is exact by enumeration.

    Attributes
    ----------
    levels : tuple of int
        Levels per attribute; the first is the baseline.
    options : tuple of int
        Options per value, 2 to 11.
    share : tuple of numpy.ndarray, shape (levels,)
        Share of each level at mean age, per attribute.
    on_age : numpy.ndarray, shape (attributes,)
        How far age moves people from the baseline level to the others.
    mediation : float
        How far the first attribute moves people from the baseline level of the second to the others.
    base, on_answer_age : numpy.ndarray, shape (countries, values)
        Share of the high answer at the baseline levels and mean age, and its slope on age.
    main : tuple of numpy.ndarray, shape (countries, values, levels)
        What each level of an attribute adds to it; 0 at the baseline.
    interaction : tuple of numpy.ndarray, shape (countries, values, levels of the first, levels)
        What a level of the first attribute adds besides, together with a level of another; one array per other one.
    low, high : tuple of numpy.ndarray, shape (options,)
        Answers are drawn from `high` with that share and else from `low`, per value.
    """

    levels: tuple[int, ...]
    options: tuple[int, ...]
    share: tuple[np.ndarray, ...]
    on_age: np.ndarray
    mediation: float
    base: np.ndarray
    on_answer_age: np.ndarray
    main: tuple[np.ndarray, ...]
    interaction: tuple[np.ndarray, ...]
    low: tuple[np.ndarray, ...]
    high: tuple[np.ndarray, ...]

    @classmethod
    def make(
        cls,
        *,
        countries: int = 1,
        values: int = 6,
        options: int | Sequence[int] = 5,
        attributes: int = 2,
        levels: int | Sequence[int] = 2,
        effect: float = 0.1,
        null: float = 0.0,
        heterogeneity: float = 0.5,
        confounding: float = 1.0,
        mediation: float = 0.0,
        rare: float | None = None,
        seed: int = 0,
    ) -> World:
        """Draw a world.

        Parameters
        ----------
        countries, values : int
        options : int or sequence of int
            2 to 11, for all values or for each.
        attributes : int
            1 to 8.
        levels : int or sequence of int
            2 or more, for all attributes or for each.
        effect : float
            Typical size of main effects on the share of the high answer, up to 0.1.
        null : float
            Share of the values (the last ones) on which the first attribute has no effect in any context.
        heterogeneity : float
            Size of interactions, relative to `effect`.
        confounding : float
            How much age moves attributes and answers, 0 to 1.
        mediation : float
            How far the first attribute moves the second, 0 to 0.2.
        rare : float, optional
            Share of the first attribute's levels besides the baseline; by default they are common.
        seed : int

        Raises
        ------
        AceError
            For a number out of range.
        """
        rng = np.random.default_rng(seed)
        each = (options,) * values if isinstance(options, int) else tuple(options)
        grades = (levels,) * attributes if isinstance(levels, int) else tuple(levels)
        _check("options", each, 2, 11)
        _check("attributes", (attributes,), 1, len(NAMES))
        _check("levels", grades, 2, 26)
        _check("effect", (effect,), 0, 0.1)
        _check("confounding", (confounding,), 0, 1)
        _check("mediation", (mediation,), 0, 0.2)
        if len(each) != values or len(grades) != attributes:
            raise AceError("one number per value and attribute", param="options, levels", got=f"{each}, {grades}")
        share = []
        for position, count in enumerate(grades):
            first = 1 - rare if rare is not None and position == 0 else 0.5
            rest = rng.dirichlet(np.full(count - 1, 20.0)) * (1 - first)
            share.append(np.concatenate([[first], rest]))
        room = np.array([min(part[0], 1 - part[0]) for part in share])
        size = effect / np.sqrt(attributes)
        main = tuple(_from_baseline(rng.normal(0, size, (countries, values, count))) for count in grades)
        interaction = tuple(
            _from_baseline(rng.normal(0, heterogeneity * size, (countries, values, grades[0], count)), first=True)
            for count in grades[1:]
        )
        none = values - round(null * values)
        for part in (main[0], *interaction):
            part[:, none:] = 0
        cap = 0.14 / (attributes + len(interaction))  # so that shares stay within 0..1, clusters and all
        return cls(
            levels=grades,
            options=each,
            share=tuple(share),
            on_age=confounding * 0.5 * room * rng.choice([-1, 1], attributes),
            mediation=mediation,
            base=0.5 + rng.uniform(-0.02, 0.02, (countries, values)),
            on_answer_age=confounding * rng.choice([-0.12, 0.12], (countries, values)),
            main=tuple(np.clip(part, -cap, cap) for part in main),
            interaction=tuple(np.clip(part, -cap, cap) for part in interaction),
            low=tuple(_geometric(count, falling=True) for count in each),
            high=tuple(_geometric(count, falling=False) for count in each),
        )

    @property
    def countries(self) -> int:
        return len(self.base)

    def codebook(self, *, weights: bool = False, strata: bool = False, clusters: bool = False) -> Codebook:
        """Write the codebook of a survey of this world."""
        grades = zip(NAMES, self.levels, strict=False)

        def parents(name: str) -> list[str]:
            return ["age", NAMES[0]] if name == NAMES[1] and self.mediation else ["age"]

        return Codebook.model_validate(
            {
                "codebook": 1,
                "name": "simulated",
                "title": "Simulated survey",
                "source": "acecausal.simulate",
                "licence": "none",
                "countries": {
                    "column": "country",
                    "levels": {f"country{c}": {"codes": [c], "label": f"Country {c}"} for c in range(self.countries)},
                },
                "attributes": {
                    name: {
                        "column": name,
                        "label": name,
                        "baseline": "level0",
                        "parents": parents(name),
                        "levels": {
                            f"level{i}": {"codes": [i], "label": f"level {i}", "phrase": f"of {name} {i}"}
                            for i in range(count)
                        },
                    }
                    for name, count in grades
                },
                "covariates": {"age": {"column": "age", "label": "age"}},
                "values": {
                    f"value{v}": {
                        "column": f"value{v}",
                        "question": f"Question {v}?",
                        "topic": "simulated",
                        "scale": "binary" if count == 2 else "ordinal",
                        "options": [{"label": f"option {k + 1}", "codes": [k]} for k in range(count)],
                    }
                    for v, count in enumerate(self.options)
                },
                **({"weight": {"column": "weight"}} if weights else {}),
                **({"stratum": {"column": "stratum"}} if strata else {}),
                **({"psu": {"column": "psu"}} if clusters else {}),
            }
        )

    @cached_property
    def people(self) -> tuple[np.ndarray, np.ndarray]:
        """All kinds of people: codes, shape (kinds, attributes + 1), the last being the age's; and their shares."""
        codes = np.array(list(product(*map(range, self.levels), range(len(AGES)))))
        share = AGE_SHARE[codes[:, -1]].copy()
        for a in range(len(self.levels)):
            share *= self.level_share(a, codes[:, -1], codes[:, 0])[np.arange(len(codes)), codes[:, a]]
        return codes, share

    def level_share(self, attribute: int, age: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Share of each level given age code and the first attribute's level, shape (n, levels)."""
        share = self.share[attribute]
        moved = self.on_age[attribute] * _scaled(age)
        if attribute == 1:
            moved = moved + self.mediation * (first > 0)
        rest = share[1:] / share[1:].sum()
        return np.concatenate([(share[0] - moved)[:, None], (1 - share[0] + moved)[:, None] * rest], axis=1)

    def high_share(self, country: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Share of the high answer, shape (n, values), for kinds of people given as codes."""
        share = self.base[country] + self.on_answer_age[country] * _scaled(codes[:, -1])[:, None]
        for a, part in enumerate(self.main):
            share = share + part[country, :, codes[:, a]]
        for a, part in enumerate(self.interaction, start=1):
            share = share + part[country, :, codes[:, 0], codes[:, a]]
        return np.asarray(share)


def draw(
    world: World,
    respondents: int,
    seed: int,
    *,
    weights: bool = False,
    clusters: int = 0,
    strata: int = 1,
    nonresponse: float = 0.0,
) -> Survey:
    """Draw a survey.

    Parameters
    ----------
    world : World
    respondents : int
        Per country.
    seed : int
    weights : bool
        Selection by age and the second attribute (or the first, if it is alone); weights are inverse probabilities.
    clusters : int
        PSUs per country, in which both answers and the first attribute are alike; 0 for a simple random sample.
    strata : int
        PSUs (or respondents) are drawn from this many strata, whose answers differ.
    nonresponse : float
        Share of answers missing, completely at random.

    Returns
    -------
    Survey
    """
    rng = np.random.default_rng(seed)
    n = respondents * world.countries
    country = np.repeat(np.arange(world.countries), respondents)
    psu = rng.integers(0, clusters, n) + country * clusters if clusters else np.arange(n)
    stratum = psu % strata
    n_psu = int(psu.max()) + 1
    on_answer = np.zeros(n_psu) if not clusters else rng.uniform(-1, 1, n_psu) * np.sqrt(3) * CLUSTER_ANSWER
    on_first = np.zeros(n_psu) if not clusters else rng.uniform(-1, 1, n_psu) * np.sqrt(3) * CLUSTER_ATTRIBUTE
    between = 0.04 * ((stratum + 0.5) / strata - 0.5)

    # unequal selection: more are drawn than needed, and kept with their probability
    factor = 2 if weights else 1
    chance = np.ones(n)
    codes = np.empty((n, len(world.levels) + 1), dtype=int)
    todo = np.arange(n)
    while len(todo):
        age = rng.choice(len(AGES), len(todo), p=AGE_SHARE)
        found = np.empty((len(todo), codes.shape[1]), dtype=int)
        found[:, -1] = age
        for a in range(len(world.levels)):
            share = world.level_share(a, age, found[:, 0])
            if a == 0:
                step = np.clip(on_first[psu[todo]], -0.8 * share[:, 0], 0.8 * (1 - share[:, 0]))
                rest = share[:, 1:] / share[:, 1:].sum(axis=1, keepdims=True)
                share = np.concatenate([share[:, :1] + step[:, None], share[:, 1:] - step[:, None] * rest], axis=1)
            found[:, a] = (rng.random(len(todo))[:, None] > share.cumsum(axis=1)[:, :-1]).sum(axis=1)
        kept = np.ones(len(todo), dtype=bool)
        selected = 0.5 + 0.25 * _scaled(age) + 0.2 * (found[:, min(1, len(world.levels) - 1)] > 0)
        if factor > 1:
            kept = rng.random(len(todo)) < selected
        codes[todo[kept]] = found[kept]
        chance[todo[kept]] = selected[kept] if factor > 1 else 1.0
        todo = todo[~kept]

    high = world.high_share(country, codes) + (on_answer[psu] + between)[:, None]
    values = {}
    for v in range(len(world.options)):
        law = np.stack([world.low[v].cumsum(), world.high[v].cumsum()])
        side = (rng.random(n) < high[:, v]).astype(int)
        answer = (rng.random(n)[:, None] > law[side][:, :-1]).sum(axis=1)
        answer[rng.random(n) < nonresponse] = -1
        values[f"value{v}"] = answer.astype(np.int8)
    return Survey(
        world.codebook(weights=weights, strata=strata > 1, clusters=clusters > 0),
        country,
        {name: codes[:, a].astype(np.int8) for a, name in enumerate(NAMES[: len(world.levels)])},
        values,
        {"age": AGES[codes[:, -1]].astype(float)},
        weight=1 / chance,
        stratum=stratum,
        psu=psu,
        data_sha256=f"simulated with seed {seed}",
    )


def truth(world: World, *, estimand: str = "direct", depth: int | None = None) -> xr.Dataset:
    """Compute the true cube of a world, by enumerating all kinds of people.

    Parameters
    ----------
    world : World
    estimand : {'direct', 'total', 'association'}
        With `total`, contexts that specify the second attribute do not apply to the first if that works through it.
    depth : int, optional
        Of the lattice.

    Returns
    -------
    xarray.Dataset
        Of kind model: responses, shifts and effects without error.
    """
    book = world.codebook()
    lattice = Lattice.over([book.attribute(name) for name in book.attributes], depth)
    values = [book.value(name) for name in book.values]
    codes, share = world.people
    matched = lattice.match(codes[:, :-1])
    width = max(world.options)
    shape = (world.countries, len(values), len(lattice.personas))
    arrays = {
        "response": np.full((*shape, width), np.nan),
        "n": np.ones(shape, dtype=np.int64),
        "option_mass": np.ones(shape),
    }
    edges = (world.countries, len(lattice.contrasts), *shape[1:])
    arrays |= {"shift": np.full((*edges, width), np.nan), "effect": np.full(edges, np.nan)}
    arrays["status"] = np.full(edges, schema.NOT_APPLICABLE, dtype=np.int8)
    for c in range(world.countries):
        country = np.full(len(codes), c)
        high = world.high_share(country, codes)
        mean = {p: np.average(high[rows], axis=0, weights=share[rows]) for p, rows in enumerate(matched)}
        _fill(arrays["response"][c], world, mean)
        for t, context, low_persona, high_persona in lattice.edges:
            contrast = lattice.contrasts[t]
            if estimand == "association":
                change = mean[high_persona] - mean[low_persona]
            else:
                if (
                    estimand == "total"
                    and world.mediation
                    and contrast.attribute == 0
                    and lattice.codes[context, 1] >= 0
                ):
                    continue
                change = _intervened(world, c, contrast.attribute, contrast.treated, matched[context], estimand)
                change = change - _intervened(world, c, contrast.attribute, 0, matched[context], estimand)
            arrays["status"][c, t, :, context] = schema.OK
            for v, count in enumerate(world.options):
                shift = change[v] * (world.high[v] - world.low[v])
                arrays["shift"][c, t, v, context, :count] = shift
                arrays["effect"][c, t, v, context] = shift @ schema.scores(count)
    countries = [Country(f"country{c}", f"Country {c}", "") for c in range(world.countries)]
    attrs = {"estimand": estimand, "model": "simulated truth"}
    return cubes.build("model", countries, values, lattice, arrays, attrs)


def simulate(
    world: World | None = None, respondents: int = 1500, seed: int = 0, **design: float
) -> tuple[Survey, xr.Dataset]:
    """Draw a survey of a world, by default of `World.make()`; return it with the true direct effects.

    `design` are keywords of `draw`.
    """
    world = world or World.make()
    return draw(world, respondents, seed, **design), truth(world)  # type: ignore[arg-type]  # those of draw


def _intervened(world: World, country: int, attribute: int, level: int, rows: np.ndarray, estimand: str) -> np.ndarray:
    """Mean share of the high answer, shape (values,), among `rows` of the people if all had this level."""
    codes, share = world.people
    set_codes = codes[rows].copy()
    weight = share[rows].copy()
    if estimand == "total" and world.mediation and attribute == 0:
        # the second attribute follows the first: people are weighed by age and the rest, then it is drawn anew
        second = world.level_share(1, codes[rows, -1], codes[rows, 0])[np.arange(len(weight)), codes[rows, 1]]
        set_codes[:, 0] = level
        again = world.level_share(1, set_codes[:, -1], set_codes[:, 0])[np.arange(len(weight)), codes[rows, 1]]
        weight = weight / second * again
    set_codes[:, attribute] = level
    high = world.high_share(np.full(len(weight), country), set_codes)
    return np.asarray(np.average(high, axis=0, weights=weight))


def _fill(response: np.ndarray, world: World, mean: dict[int, np.ndarray]) -> None:
    for p, high in mean.items():
        for v, count in enumerate(world.options):
            response[v, p, :count] = world.low[v] + high[v] * (world.high[v] - world.low[v])


def _from_baseline(numbers: np.ndarray, *, first: bool = False) -> np.ndarray:
    """Set what belongs to baseline levels to 0."""
    numbers[..., 0] = 0
    if first:
        numbers[..., 0, :] = 0
    return numbers


def _geometric(count: int, *, falling: bool) -> np.ndarray:
    """A distribution over the options that falls or rises from end to end by a factor of 16, evenly."""
    weight = 16.0 ** np.linspace(1 if falling else 0, 0 if falling else 1, count)
    return np.asarray(weight / weight.sum())


def _scaled(age: np.ndarray) -> np.ndarray:
    """Age by code, so that its population mean is 0 and it lies within -1 and 1."""
    mean = AGE_SHARE @ AGES
    return np.asarray((AGES[age] - mean) / (AGES.max() - mean))


def _check(param: str, numbers: Sequence[float], low: float, high: float) -> None:
    for number in numbers:
        if not low <= number <= high:
            raise AceError("out of range", param=param, expected=f"{low} to {high}", got=number)
