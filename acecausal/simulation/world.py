"""Simulated populations whose law is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from acecausal.errors import AceError
from acecausal.survey.codebook import Codebook

NAMES = ("gender", "education", "residence", "religion", "marital_status", "class", "region", "work")
#: Ages, and how many of the population have each; scaled to -1..1 in the laws below.
AGES = np.array([20, 30, 40, 50, 60, 70, 80])
AGE_SHARE = np.array([0.16, 0.18, 0.18, 0.17, 0.15, 0.11, 0.05])
#: How far each part of the law may move the share of the high answer from a half. Together less than a half, so that
#: shares stay within 0..1 without clipping, which would break the linearity that makes the truth exact.
BASE, AGE, EFFECTS, STRATUM = 0.02, 0.09, 0.14, 0.03
#: How far an attribute from the third on is moved by the one before it.
CHAIN = 0.15


@dataclass(frozen=True, eq=False)
class World:
    """The law of a population. All probabilities are linear, so that the truth is exact by enumeration.

    Age moves all attributes; each attribute from the third on is moved by the one before it, and the second by the
    first if there is mediation. All of them move the answers.

    Attributes
    ----------
    levels : tuple of int
        Levels per attribute; the first is the baseline.
    options : tuple of int
        Options per value, 2 to 11.
    covariate : bool
        Whether there is an age.
    curved : bool
        Whether the old and the young are alike, and apart from those between: `aged` in place of `scaled_age`.
    share : tuple of numpy.ndarray, shape (levels,)
        Share of each level in the population, per attribute.
    on_age : numpy.ndarray, shape (attributes,)
        How far age moves people from the baseline level to the others.
    on_previous : numpy.ndarray, shape (attributes,)
        How far the attribute before, off its own baseline, moves people from the baseline level to the others.
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
    covariate: bool
    curved: bool
    share: tuple[np.ndarray, ...]
    on_age: np.ndarray
    on_previous: np.ndarray
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
        covariate: bool = True,
        curved: bool = False,
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
        covariate : bool
            Whether there is an age, which moves attributes and answers.
        curved : bool
            Whether it does so by a wave (its ends alike, apart from its middle), which no line fits. Then age is told
            in years and fractions, while the law knows tens of years.
        effect : float
            Standard deviation of main effects on the share of the high answer, 0 to 0.14. All effects on a value are
            scaled down together where they would add up to more than 0.14, as with many attributes they do.
        null : float
            Share of the values (the last ones) on which the first attribute has no direct effect in any context.
        heterogeneity : float
            Size of interactions, and of differences between countries, relative to `effect`.
        confounding : float
            How much age and the attribute before move attributes, and age answers, 0 to 1.
        mediation : float
            How far the first attribute moves the second, 0 to 0.2.
        rare : float, optional
            Share of the first attribute's levels besides the baseline, up to 0.5 (the default).
        seed : int

        Raises
        ------
        AceError
            For a number out of range.
        """
        rng = np.random.default_rng(seed)
        each = (options,) * values if isinstance(options, int) else tuple(options)
        grades = (levels,) * attributes if isinstance(levels, int) else tuple(levels)
        check_range("countries", (countries,), 1)
        check_range("values", (values,), 1)
        check_range("options", each, 2, 11)
        check_range("attributes", (attributes,), 1, len(NAMES))
        check_range("levels", grades, 2, 26)
        check_range("effect", (effect,), 0, EFFECTS)
        check_range("null", (null,), 0, 1)
        check_range("heterogeneity", (heterogeneity,), 0)
        check_range("confounding", (confounding,), 0, 1)
        check_range("mediation", (mediation,), 0, 0.2 if attributes > 1 else 0)
        check_range("rare", () if rare is None else (rare,), 0.001, 0.5)
        if len(each) != values or len(grades) != attributes:
            raise AceError("one number per value and attribute", param="options, levels", got=f"{each}, {grades}")
        share = []
        for position, count in enumerate(grades):
            first = 1 - rare if rare is not None and position == 0 else 0.5
            rest = rng.dirichlet(np.full(count - 1, 20.0)) * (1 - first)
            share.append(np.concatenate([[first], rest]))
        room = np.array([min(part[0], 1 - part[0]) for part in share])
        aged = confounding * covariate
        on_previous = confounding * CHAIN * rng.choice([-1, 1], attributes)
        on_previous[:2] = (0, mediation)[:attributes]

        def effects(size: float, *shape: int) -> np.ndarray:
            common, own = rng.normal(size=(1, values, *shape)), rng.normal(size=(countries, values, *shape))
            return np.asarray(size * (common + heterogeneity * own) / np.hypot(1, heterogeneity))

        main = [_from_baseline(effects(effect, count)) for count in grades]
        interaction = [
            _from_baseline(effects(heterogeneity * effect, grades[0], count), first=True) for count in grades[1:]
        ]
        none = values - round(null * values)
        for part in (main[0], *interaction):
            part[:, none:] = 0
        fit = EFFECTS / np.maximum(_reach([*main, *interaction]), EFFECTS)
        return cls(
            levels=grades,
            options=each,
            covariate=covariate,
            curved=curved,
            share=tuple(share),
            on_age=aged * 0.5 * room * rng.choice([-1, 1], attributes),
            on_previous=on_previous,
            base=0.5 + rng.uniform(-BASE, BASE, (countries, values)),
            on_answer_age=aged * rng.choice([-AGE, AGE], (countries, values)),
            main=tuple(part * fit[..., None] for part in main),
            interaction=tuple(part * fit[..., None, None] for part in interaction),
            low=tuple(_geometric(count, falling=True) for count in each),
            high=tuple(_geometric(count, falling=False) for count in each),
        )

    @property
    def countries(self) -> int:
        return len(self.base)

    def parents(self, attribute: int) -> list[str]:
        """Name what moves an attribute."""
        age = ["age"] if self.on_age[attribute] else []
        return age + ([NAMES[attribute - 1]] if self.on_previous[attribute] else [])

    def descendants(self, attribute: int) -> list[int]:
        """List the attributes that an attribute moves, also through others."""
        after = attribute + 1
        while after < len(self.levels) and self.on_previous[after]:
            after += 1
        return list(range(attribute + 1, after))

    def codebook(self, *, weights: bool = False, strata: bool = False, clusters: bool = False) -> Codebook:
        """Write the codebook of a survey of this world."""
        age = {"column": "age", "label": "age", "phrase": "aged {value}"}
        return Codebook.model_validate(
            {
                "codebook": 1,
                "name": "simulated",
                "title": "Simulated survey",
                "source": "acecausal.simulation.world",
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
                        "parents": self.parents(a),
                        "levels": {
                            f"level{i}": {"codes": [i], "label": f"level {i}", "phrase": f"of {name} {i}"}
                            for i in range(count)
                        },
                    }
                    for a, (name, count) in enumerate(zip(NAMES, self.levels, strict=False))
                },
                "covariates": {"age": age} if self.covariate else {},
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
            share *= self.level_share(a, codes)[np.arange(len(codes)), codes[:, a]]
        return codes, share

    def aged(self, age: np.ndarray) -> np.ndarray:
        """What attributes and answers go by of an age, by code: of mean 0 in the population, within -1 and 1."""
        if not self.curved:
            return scaled_age(age)
        wave = np.cos(2 * np.pi * (AGES - AGES[0]) / np.ptp(AGES))
        wave -= AGE_SHARE @ wave
        return np.asarray((wave / np.abs(wave).max())[age])

    def level_share(self, attribute: int, codes: np.ndarray) -> np.ndarray:
        """Share of each level of an attribute, shape (n, levels), among people whose codes before it are given."""
        share = self.share[attribute]
        moved = self.on_age[attribute] * self.aged(codes[:, -1])
        if attribute:
            before = (codes[:, attribute - 1] > 0) - (1 - self.share[attribute - 1][0])  # has mean 0
            moved = moved + self.on_previous[attribute] * before
        rest = share[1:] / share[1:].sum()
        return np.concatenate([(share[0] - moved)[:, None], (1 - share[0] + moved)[:, None] * rest], axis=1)

    def high_share(self, country: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Share of the high answer, shape (n, values), for kinds of people given as codes."""
        share = self.base[country] + self.on_answer_age[country] * self.aged(codes[:, -1])[:, None]
        for a, part in enumerate(self.main):
            share = share + part[country, :, codes[:, a]]
        for a, part in enumerate(self.interaction, start=1):
            share = share + part[country, :, codes[:, 0], codes[:, a]]
        return np.asarray(share)


def _reach(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Bound on how far effects add up in one direction, shape (countries, values)."""
    flat = [part.reshape(*part.shape[:2], -1) for part in parts]  # baselines are among them, so max >= 0 >= min
    up, down = sum(part.max(axis=2) for part in flat), sum(-part.min(axis=2) for part in flat)
    return np.maximum(up, down)


def _from_baseline(numbers: np.ndarray, *, first: bool = False) -> np.ndarray:
    """Set what belongs to baseline levels to 0."""
    numbers[..., 0] = 0
    if first:
        numbers[..., 0, :] = 0
    return numbers


def _geometric(count: int, *, falling: bool) -> np.ndarray:
    """A distribution over the options that falls or rises from end to end by a factor of 32, evenly."""
    weight = 32.0 ** np.linspace(1 if falling else 0, 0 if falling else 1, count)
    return np.asarray(weight / weight.sum())


def scaled_age(age: np.ndarray) -> np.ndarray:
    """Age by code, so that its population mean is 0 and it lies within -1 and 1."""
    mean = AGE_SHARE @ AGES
    return np.asarray((AGES[age] - mean) / (AGES.max() - mean))


def check_range(param: str, numbers: Sequence[float], low: float, high: float = np.inf) -> None:
    """Raise an AceError unless all numbers lie in [low, high]."""
    for number in numbers:
        if not low <= number <= high:
            expected = f"{low} or more" if np.isinf(high) else f"{low} to {high}"
            raise AceError("out of range", param=param, expected=expected, got=number)
