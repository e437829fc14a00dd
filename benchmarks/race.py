"""One model with a LoRA adapter, learning from lattices in different ways, from the same place and in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import xarray as xr
from pairwise import Meter, fair, padded, single_token, timed
from torch import Tensor, nn

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


class Race:
    """One model with a LoRA adapter, and its lattices, learned from in different ways.

    Parameters
    ----------
    bare, tokenizer
        The model before there is an adapter on it.
    cube : xarray.Dataset
        What people answered, without shares: shifts are differences of two personas, as the published loop learns them.
    template : str
    small : bool
        Only personas of at most one attribute, for trying a script.
    marks : str
        What options are answered by; the published loop can be asked for single tokens only.
    """

    def __init__(
        self, bare: Any, tokenizer: Any, cube: xr.Dataset, template: str, *, small: bool = False, marks: str = "digits"
    ) -> None:
        from peft import LoraConfig, get_peft_model

        published = load_recipe("ace-align", templates=[template], marks=[marks])
        self.device = bare.device
        self.bfloat16 = bare.device.type == "cuda"
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

    def to(self, device: torch.device) -> None:
        """Go on on another device; the optimisers begin anew."""
        self.model.to(device)
        self.device = device
        for item in self.items:
            item.target = item.target.to(device)
        for optimiser in self.optimisers.values():
            optimiser.state.clear()

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
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

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
                (seconds, loss), learned = self.from_here(
                    lambda name=name, item=item: timed(lambda: self.step(name, item))
                )
                tallies[name].add(seconds, loss, self.gradient(), self.meter.read())
                after = learned if name == OURS else after
            self.put(after)
        return tallies

    def from_here(self, work: Callable[[], Any]) -> tuple[Any, list[Tensor]]:
        """Do something to the adapter, and undo it; what came back, and the adapter it led to."""
        start = [p.detach().clone() for p in self.adapter]
        result = work()
        learned = [p.detach().clone() for p in self.adapter]
        self.put(start)
        return result, learned

    def put(self, weights: list[Tensor]) -> None:
        with torch.no_grad():
            for p, w in zip(self.adapter, weights, strict=True):
                p.copy_(w)


def utilisation(race: Race, tallies: dict[str, Tally], peak: float | None) -> dict[str, Any]:
    """Operations per second, and as a share of what the card can do."""
    rates = {name: race.meter.flops(tally.counted) / sum(tally.seconds) / 1e12 for name, tally in tallies.items()}
    found: dict[str, Any] = {"model_tflops": {name: round(rate, 3) for name, rate in rates.items()}}
    if peak:
        found |= {"peak_tflops": peak, "utilisation": {name: round(rate / peak, 3) for name, rate in rates.items()}}
    return found
