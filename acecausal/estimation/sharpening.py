"""People and a model together: a survey's estimates, sharpened by what a model expects of each respondent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from acecausal.cube.files import lattice_of, matched, values_of
from acecausal.errors import AceError, CubeError, DataError
from acecausal.estimation.control import Control, Population
from acecausal.estimation.estimate import estimate
from acecausal.estimation.estimators import ASSOCIATION
from acecausal.estimation.plan import Plan, make_plan
from acecausal.survey.data import Survey
from acecausal.survey.readers import read_table

#: Column of a population's table that says how many people are of the kind.
COUNT = "count"

Expected = Mapping[str, np.ndarray]


def sharpen(
    survey: Survey,
    model: xr.Dataset | Expected,
    *,
    population: pd.DataFrame | str | Path | None = None,
    jobs: int = 1,
    progress: Callable[[], None] | None = None,
    **choices: Any,
) -> xr.Dataset:
    """Estimate the cube with a model's expectations as a control variate.

    Parameters
    ----------
    survey : Survey
        With weights, strata and PSUs, but no replicate weights, raters or items.
    model : xarray.Dataset, or mapping of str to numpy.ndarray, shape (n, options)
        A model cube over attributes of the codebook, of which each respondent is a persona; or, by value, the
        probabilities that anything gives for each respondent (row of `survey`), without a look at these answers: by
        profiles with more in them than the lattice has, say. NaN where it says nothing.
    population : pandas.DataFrame, str or Path, optional
        Kinds of people with a column ``count``: a column for each attribute of the lattice, with its levels' names, and
        ``country`` if there are several. They take the place of the respondents who did not answer, and are taken for
        exact, as a census or register is.
    jobs : int
        Processes; the numbers do not depend on it.
    progress : callable, optional
        Called without arguments after each unit.
    **choices
        Parameters of `make_plan`. By default attributes, values and countries are those of the model's cube.

    Returns
    -------
    xarray.Dataset
        A survey cube with the variables ``gain`` and ``response_gain``. Where they are 1 its numbers are those of
        `estimate`.

    Raises
    ------
    AceError
        If the estimator or the survey's design is none that this is worked out for, or model, population and survey do
        not fit.

    Notes
    -----
    Valid whatever the model says, if those who answered a value are a random part, as far as the model can tell people
    apart, of all respondents (values left out by plan: a split questionnaire), or, with `population`, if the weights
    make the respondents stand for it; and if the model has not seen the answers. See `acecausal.estimation.control`.

    References
    ----------
    Broska, Howes and van Loon (2025), The mixed subjects design, Sociological Methods & Research 54(3); Angelopoulos
    et al. (2023), Prediction-powered inference, Science 382, 669-674.
    """
    _check_design(survey)
    if isinstance(model, xr.Dataset):
        model = _checked(model, survey)
        names = [attribute.name for attribute in lattice_of(model).attributes]
        asked = {"values": model["value"].values.tolist(), "countries": model["country"].values.tolist()}
        choices = _among({**choices, "attributes": choices.get("attributes") or names}, asked)
    elif population is not None:
        raise AceError("needs a model's cube", param="population", got="expectations by respondent")
    elif wrong := [name for name in model if name not in survey.codebook.values]:
        raise AceError("is no value of the codebook", param=f"model, value {wrong[0]}")
    else:
        choices = _among(choices, {"values": list(model)})
    plan = make_plan(survey, **choices)
    if plan.estimator not in ("linear-dml", ASSOCIATION):
        raise AceError("is not sharpened", param=f"estimator {plan.estimator}", expected="linear-dml or association")
    kinds = None if population is None else read_population(population, plan)
    if kinds is not None and isinstance(model, xr.Dataset):
        for attribute in lattice_of(model).attributes:
            if attribute.name not in kinds.attributes:
                raise AceError("leaves out what the model was told", param="attributes", expected=attribute.name)
    controls = [_control(survey, plan, c, model, kinds) for c in range(len(plan.countries))]
    cube = estimate(survey, plan, controls=controls, jobs=jobs, progress=progress)
    cube.attrs["sharpened"] = json.dumps(
        {
            "model": str(model.attrs.get("model", ""))
            if isinstance(model, xr.Dataset)
            else "expectations by respondent",
            "everybody": "all respondents" if kinds is None else kinds.source,
        }
    )
    return cube


def doubts(model: xr.Dataset) -> list[str]:
    """Say what speaks against a model's expectations being without a look at the answers."""
    if "adapter" not in model.attrs:
        return []
    return [
        f"the model was trained (adapter {model.attrs['adapter']}): if on answers of these people, the intervals are "
        "too short; ask the model without it, or one that was trained on other people"
    ]


def summary(cube: xr.Dataset) -> pd.DataFrame:
    """Say what the model is worth.

    Returns
    -------
    pandas.DataFrame
        By kind of estimate and attributes of its persona: ``cells``, ``sharpened`` (the share of them in which the
        model is worth anything), ``gain`` (median), ``largest``, and ``people`` (median of respondents behind the
        estimate) with those that would be ``as good as`` without the model (median).
    """
    rows = []
    granularity = cube["granularity"].values
    for what, name, size in (("responses", "response_gain", "n"), ("effects", "gain", "n_effect")):
        for depth in np.unique(granularity):
            part = cube.isel(persona=granularity == depth)
            gain, n = part[name].values, part[size].values
            there = np.isfinite(gain)
            if there.any():
                rows.append(
                    {
                        "estimate": what,
                        "attributes": int(depth),
                        "cells": int(there.sum()),
                        "sharpened": float((gain[there] > 1).mean()),
                        "gain": float(np.median(gain[there])),
                        "largest": float(gain[there].max()),
                        "people": float(np.median(n[there])),
                        "as good as": float(np.median((n * gain)[there])),
                    }
                )
    return pd.DataFrame(rows)


# --- what a model expects ---------------------------------------------------------------------------------------------


def expected_of(model: xr.Dataset, country: str, value: str, attributes: Mapping[str, np.ndarray]) -> np.ndarray:
    """Look up what a model's cube says of people: of the finest personas that they are, on average.

    Parameters
    ----------
    attributes : mapping of str to numpy.ndarray, shape (n,), int
        Level positions, -1 where missing.

    Returns
    -------
    numpy.ndarray, shape (n, options)
        NaN where the cube has no persona that somebody is.
    """
    lattice = lattice_of(model)
    place = {persona: p for p, persona in enumerate(lattice.personas)}
    at = [place[persona] for persona in model["persona"].values.tolist()]
    part = model["response"].sel(country=country, value=value).transpose("persona", "option")
    response = part.values[:, : int(model["n_options"].sel(value=value))]
    codes = np.stack([attributes[attribute.name] for attribute in lattice.attributes], axis=1)
    people, number = np.unique(codes, axis=0, return_inverse=True)
    fits = lattice.match(people)[at] & np.isfinite(response).all(axis=1)[:, None]
    depth = np.where(fits, lattice.granularity[at][:, None], -1)
    finest = (fits & (depth == depth.max(axis=0))).astype(float)
    count = finest.sum(axis=0)[:, None]
    total = finest.T @ np.nan_to_num(response)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)[np.ravel(number)])


def _control(survey: Survey, plan: Plan, country: int, model: xr.Dataset | Expected, kinds: _Kinds | None) -> Control:
    """Lay out one country's control."""
    name = plan.countries[country].name
    rows = np.flatnonzero(survey.country == survey.country_names.index(name))
    attributes = {attribute: codes[rows] for attribute, codes in survey.attributes.items()}
    values = [value.name for value in plan.values]
    if not isinstance(model, xr.Dataset):
        laws = {value.name: _probabilities(model, value.name, len(value.options), survey) for value in plan.values}
        return Control({value: law[rows] for value, law in laws.items()})
    expected = {value: expected_of(model, name, value, attributes) for value in values}
    if kinds is None:
        return Control(expected)
    here = kinds.country == country
    theirs = {attribute: codes[here] for attribute, codes in kinds.attributes.items()}
    of_kinds = {value: expected_of(model, name, value, theirs) for value in values}
    # a kind has all attributes: respondents of a coarser persona would be compared with finer ones
    whole = np.all([codes >= 0 for attribute, codes in attributes.items() if attribute in theirs], axis=0)
    expected = {value: np.where(whole[:, None], law, np.nan) for value, law in expected.items()}
    return Control(expected, Population(theirs, kinds.count[here], of_kinds))


def _probabilities(model: Expected, value: str, n_options: int, survey: Survey) -> np.ndarray:
    law = np.asarray(model[value], dtype=float)
    if law.shape != (len(survey), n_options):
        raise AceError(
            "has another shape", param=f"model, value {value}", expected=f"({len(survey)}, {n_options})", got=law.shape
        )
    known = np.isfinite(law).all(axis=1)
    if ((law[known] < 0) | (law[known] > 1)).any() or (np.abs(law[known].sum(axis=1) - 1) > 1e-4).any():
        raise AceError("are no probabilities", param=f"model, value {value}", expected="0 to 1, together 1 in each row")
    return np.where(known[:, None], law, np.nan)


# --- what fits --------------------------------------------------------------------------------------------------------


def _check_design(survey: Survey) -> None:
    book = survey.codebook
    for part, what in ((book.replicates, "replicates"), (book.rater, "rater"), (book.item, "item")):
        if part is not None:
            raise AceError(
                "is not sharpened", param=f"survey with {what}", expected="weights, strata and PSUs",
                hint="a codebook with the file's strata and PSUs, or acecausal estimate",
            )  # fmt: skip


def _checked(model: xr.Dataset, survey: Survey) -> xr.Dataset:
    """Check that a model's cube speaks of the survey's people and questions; bring options into the survey's order."""
    book = survey.codebook
    if model.attrs["kind"] != "model":
        raise CubeError("is a survey's cube", param="model", expected="a model cube, of acecausal elicit")
    for attribute in lattice_of(model).attributes:
        levels = tuple(book.attributes[attribute.name].levels) if attribute.name in book.attributes else ()
        if levels != attribute.level_names:
            raise CubeError(
                "is another attribute than the codebook's", param=f"model, attribute {attribute.name}",
                expected=f"levels {', '.join(levels)}" if levels else f"one of {', '.join(book.attributes)}",
                got=f"levels {', '.join(attribute.level_names)}",
            )  # fmt: skip
    model = model.copy(deep=True)
    for v, value in enumerate(values_of(model)):
        if value.name not in book.values:
            continue
        wanted = book.value(value.name)
        order = matched(wanted.options, value.options)
        if order is None or {wanted.scale, value.scale} not in ({wanted.scale}, {"ordinal", "binary"}):
            raise CubeError(
                "has other options than the codebook's", param=f"model, value {value.name}",
                expected=", ".join(wanted.options), got=", ".join(value.options),
            )  # fmt: skip
        part = model["response"].transpose("value", "option", ...).values
        part[v, : len(order)] = part[v, order]
    return model


def _among(choices: Mapping[str, Any], asked: Mapping[str, list[str]]) -> dict[str, Any]:
    """Fill in what the model was asked; what is chosen must be among it."""
    found = dict(choices)
    for name, there in asked.items():
        chosen = found.get(name) or there
        found[name] = [chosen] if isinstance(chosen, str) else list(chosen)
        if wrong := [label for label in found[name] if label not in there]:
            raise AceError("was not asked", param=f"model, {name}", expected=", ".join(there), got=wrong[0])
    return found


# --- a population -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kinds:
    """A population's table: per kind its country (position in the plan), levels and count; and where it is from."""

    country: np.ndarray
    attributes: dict[str, np.ndarray]
    count: np.ndarray
    source: str


def read_population(table: pd.DataFrame | str | Path, plan: Plan) -> _Kinds:
    """Read how many people there are of each kind.

    Raises
    ------
    DataError
        If a column is missing, a level or country is unknown, a count is no positive number, a kind stands twice, or a
        country of the plan has none.
    """
    names = [attribute.name for attribute in plan.lattice.attributes]
    several = len(plan.countries) > 1
    source = "population" if isinstance(table, pd.DataFrame) else str(table)
    columns = [*names, COUNT]
    if not isinstance(table, pd.DataFrame):
        table = read_table(table, [*columns, *(["country"] if several else [])], optional=["country"])
    if missing := [name for name in [*columns, *(["country"] if several else [])] if name not in table]:
        raise DataError("lacks a column", param=source, expected=missing[0], got=", ".join(map(str, table.columns)))
    codes = {
        attribute.name: _positions(table[attribute.name], attribute.level_names, source)
        for attribute in plan.lattice.attributes
    }
    country = np.zeros(len(table), dtype=np.int64)
    if several:
        known = [place.name for place in plan.countries]
        country = np.array([known.index(text) if text in known else -1 for text in table["country"].astype(str)])
    count = pd.to_numeric(table[COUNT].astype(str), errors="coerce").to_numpy(dtype=float)
    if wrong := [str(text) for text, number in zip(table[COUNT], count, strict=True) if not 0 <= number < np.inf]:
        raise DataError("is no number of people", param=f"{source}, {COUNT}", expected="0 or more", got=wrong[0])
    kinds = pd.DataFrame({"country": country, **codes})
    if (twice := kinds.duplicated()[country >= 0]).any():
        row = int(np.flatnonzero(country >= 0)[np.flatnonzero(twice)[0]])
        raise DataError(
            "stands twice", param=source, got=", ".join(map(str, table.iloc[row][names])), hint="add the counts up"
        )
    kept = (country >= 0) & (count > 0)
    for c, place in enumerate(plan.countries):
        if not (kept & (country == c)).any():
            raise DataError("has no people", param=f"{source}, country {place.name}")
    return _Kinds(country[kept], {name: levels[kept] for name, levels in codes.items()}, count[kept], source)


def _positions(column: pd.Series, levels: tuple[str, ...], source: str) -> np.ndarray:
    texts = column.astype(str).tolist()
    if wrong := [text for text in texts if text not in levels]:
        raise DataError(
            "is no level", param=f"{source}, {column.name}", expected=", ".join(levels), got=wrong[0],
            hint="a row for every kind of people: each of the lattice's attributes at one of its levels",
        )  # fmt: skip
    return np.array([levels.index(text) for text in texts], dtype=np.int64)
