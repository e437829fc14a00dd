"""transformers.Trainer with our loss: whole lattices, weighed by what they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)

from acecausal.errors import AceError, ModelError
from align.models.processes import processes
from align.models.sources import read_object
from align.prompting.options import Prompt
from align.prompting.wordings import Wording
from align.scoring.scorer import Scorer
from align.training import checkpoints
from align.training import folder as folders
from align.training.objectives import CHECKS, OBJECTIVES, OVER_VOCABULARY, VALUES, counts
from align.training.recipe import Recipe
from align.training.targets import Target, some

#: What fills up the last step of a pass: a lattice that weighs nothing.
FILLER = -1
SKILL = "eval_skill"
#: A lattice's personas to those of a check question.
CHECK_PART = 4


#: Words and tokenises a question for personas at the positions given.
Ask = Callable[[Wording, Sequence[int]], list[Prompt]]


@dataclass(frozen=True, slots=True)
class Item:
    """One training item: a question in a country, asked of the target's personas, and what people answered.

    It is worded anew on each visit. `check` says that it is a check question: an attribute that is asked.
    """

    ask: Ask
    target: Target
    check: bool = False

    @property
    def objectives(self) -> tuple[str, ...]:
        """The objectives that it has a part in."""
        return CHECKS if self.check else VALUES


Validate = Callable[[nn.Module], dict[str, float]]


def personas_drawn(recipe: Recipe, item: Item) -> int:
    """Say how many personas a visit draws at most: of a check question a quarter, and at least one; 0 draws all.

    Who is told what is learnt from few, and what is spared there is spent on the survey's questions.
    """
    return -(-recipe.personas // CHECK_PART) if item.check else recipe.personas


class LatticeTrainer(Trainer):
    """The library's trainer; an example is the number of an item.

    The loss of a step is, for each objective, the sum over all its lattices, on all processes, over the count over all
    of them: neither accumulation nor the number of processes changes it.
    """

    # read by the library: our loss is a share of the whole step's, not a mean over one micro-batch
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *,
        items: list[Item],
        scorer: Scorer,
        recipe: Recipe,
        validate: Validate | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.items, self.scorer, self.recipe, self.validate = items, scorer, recipe, validate
        self.n_lattices = sum(not item.check for item in items)  # which come first
        device = next(self.model.parameters()).device
        self.targets = [item.target.to(device) for item in items]
        self.bfloat16 = computes_in(recipe, device) == "bfloat16"
        self.latest: dict[str, float] = {}

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Train; a run that patience had ended is not gone on with, its best pass is loaded as it was then."""
        state = Path(resume_from_checkpoint) / checkpoints.STATE if isinstance(resume_from_checkpoint, str) else None
        if state and self.recipe.patience and self.validate and _patience_spent(state) >= self.recipe.patience:
            self.state = TrainerState.load_from_json(str(state))
            self._load_best_model()
            return None
        return super().train(resume_from_checkpoint, **kwargs)

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device) -> Any:
        """Choose this process's lattices of the step, and count what all processes' hold, by objective.

        The library's loader only counts: which lattices a step holds follows from seed and step, however many processes
        there are and wherever a run was resumed.
        """
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        step = self.step()
        mine = step[self.accelerator.process_index :: self.args.world_size]
        self.latest = {}
        held = dict.fromkeys(OBJECTIVES, 0.0)
        for number, visit in step:
            if number != FILLER:
                for name, count in counts(self.target(number, visit), self.items[number].objectives).items():
                    held[name] += count
        return [
            {"item": torch.tensor(number), "visit": torch.tensor(visit)} for number, visit in mine[: len(batches)]
        ], held

    def step(self) -> list[tuple[int, int]]:
        """List the items of the step and how often each was visited before.

        Lattices, then as many check questions; what the stage has no objective for leaves its place to the others.
        """
        done, n_checks = self.state.global_step, len(self.items) - self.n_lattices
        weights = self.recipe.objectives_at(done / self.state.max_steps)
        kinds = []
        if not weights.get("identity") or any(weight for name, weight in weights.items() if name not in CHECKS):
            kinds.append((0, self.n_lattices))
        if weights.get("identity"):
            kinds.append((self.n_lattices, n_checks))
        per_step = self.args.gradient_accumulation_steps * self.args.world_size // len(kinds)
        found = []
        for first, count in kinds:
            numbers = step_items(count, per_step, [self.recipe.seed, first], done)
            visit = done // -(-count // per_step)
            found += [(number if number == FILLER else first + number, visit) for number in numbers]
        return found

    def target(self, number: int, visit: int) -> Target:
        """Draw whom a visited item asks, and what it is held against."""
        if not self.recipe.personas:
            return self.targets[number]
        rng = np.random.default_rng([self.recipe.seed, number, visit, 2])
        return some(self.targets[number], personas_drawn(self.recipe, self.items[number]), rng)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Weigh the objectives of one lattice; a loss that is not finite stops the run."""
        number, visit = int(inputs["item"]), int(inputs["visit"])
        item = self.items[max(number, 0)]
        target = self.target(max(number, 0), visit)
        prompts = item.ask(self.recipe.wording_at(max(number, 0), visit), target.personas.tolist())
        objectives = self.recipe.objectives_at(self.state.global_step / self.state.max_steps)
        whole = any(objectives.get(name) for name in OVER_VOCABULARY)
        score = self.scorer.log_probs if whole else self.scorer.option_log_probs
        # not left to accelerate, which would have the model compute so for good, also when it is asked afterwards
        with torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.bfloat16):
            stacked = torch.stack(score(prompts, model=model))
        among = stacked.log_softmax(dim=1)
        loss = stacked.sum() * 0.0
        if number != FILLER:
            for name, weight in objectives.items():
                if name not in item.objectives:
                    continue
                total, _ = OBJECTIVES[name](stacked if name in OVER_VOCABULARY else among, target)
                part = total / max(num_items_in_batch[name], 1e-12)
                loss = loss + weight * part
                self.latest[name] = self.latest.get(name, 0.0) + float(part.detach())
        if not torch.isfinite(loss):
            raise ModelError(
                "the loss is not finite",
                param=f"step {self.state.global_step + 1}",
                got=", ".join(f"{name} {value}" for name, value in self.latest.items()),
                hint="a smaller learning rate; the last checkpoint is kept",
            )
        loss = loss * self.accelerator.num_processes  # whose gradients are averaged
        return (loss, {}) if return_outputs else loss

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Seal what was saved, when every process has."""
        super()._save_checkpoint(*args, **kwargs)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            checkpoints.seal(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}")

    def _load_best_model(self) -> None:
        """Load the best checkpoint, if it is whole, from where the run is now: it may have been moved since."""
        best = Path(self.args.output_dir) / f"checkpoint-{self.state.best_global_step}"
        if reason := checkpoints.damage(best):
            raise ModelError("the best checkpoint is not whole", param=str(best), got=reason, hint="--resume")
        self.state.best_model_checkpoint = str(best)
        super()._load_best_model()

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Count nothing: the library's estimate needs input ids, which an item is not."""
        return 0

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Measure skill on the validation cells."""
        assert self.validate is not None
        metrics = self.validate(self.model)
        self.model.train()
        self.log(dict(metrics))
        self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def _patience_spent(state: Path) -> int:
    """Read how many passes in a row had brought no better validation when a checkpoint was written."""
    callbacks = read_object(state, AceError).get("stateful_callbacks", {})
    return int(
        callbacks.get("EarlyStoppingCallback", {}).get("attributes", {}).get("early_stopping_patience_counter", 0)
    )


def computes_in(recipe: Recipe, device: torch.device) -> str:
    """Say in which numbers a recipe's training computes: ``auto`` is bfloat16 wherever the machine has them."""
    # an older torch does not tell, and then single precision is what never is slower
    told: dict[str, Any] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    native = device.type == "cuda" or told.get("avx512_bf16", False)
    return "bfloat16" if recipe.precision in ("mixed", "bfloat16", *(["auto"] if native else [])) else "float32"


def step_items(n_items: int, per_step: int, seed: Sequence[int], step: int) -> list[int]:
    """List the items of a step, `FILLER` where a pass does not fill its last step; each pass has its own order."""
    per_pass = -(-n_items // per_step)
    order = np.random.default_rng([*seed, step // per_pass]).permutation(n_items).tolist()
    at = step % per_pass * per_step
    found = order[at : at + per_step]
    return found + [FILLER] * (per_step - len(found))


class Metrics(TrainerCallback):
    """Appends each step's objectives to the metrics file, tells the caller, and stops at a broken adapter."""

    def __init__(
        self, folder: Path, trainer: Callable[[], LatticeTrainer], progress: Callable[[int, int], None] | None
    ) -> None:
        self.folder, self.trainer, self.progress = folder, trainer, progress

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer = self.trainer()
        broken = not_finite(trainer.model)
        if broken:  # before the trainer saves it
            raise ModelError(
                "the adapter holds numbers that are not finite", param=f"step {state.global_step}", got=broken,
                hint="a smaller learning rate; the last checkpoint is kept",
            )  # fmt: skip
        latest = _summed(trainer, trainer.latest)
        if args.report_to:
            trainer.log(latest)
        if state.is_world_process_zero:
            folders.append_metrics(self.folder, {"step": state.global_step, **latest})
        if self.progress:
            self.progress(state.global_step, state.max_steps)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            folders.append_metrics(self.folder, {"step": state.global_step, **metrics})


def _summed(trainer: LatticeTrainer, latest: dict[str, float]) -> dict[str, float]:
    """Add up what each process saw of a step."""
    if trainer.accelerator.num_processes == 1:
        return dict(latest)
    names = list(trainer.recipe.objectives_at((trainer.state.global_step - 1) / trainer.state.max_steps))
    parts = torch.tensor([latest.get(name, 0.0) for name in names], device=trainer.args.device)
    return dict(zip(names, trainer.accelerator.reduce(parts, "sum").tolist(), strict=True))


def not_finite(model: nn.Module) -> str:
    """Name the first trainable weight that is not finite; '' if all are."""
    named = model.named_parameters()
    return next((name for name, p in named if p.requires_grad and not torch.isfinite(p).all()), "")


def make_trainer(
    model: nn.Module,
    items: list[Item],
    scorer: Scorer,
    recipe: Recipe,
    folder: Path,
    *,
    validate: Validate | None,
    tensorboard: bool,
    progress: Callable[[int, int], None] | None,
) -> LatticeTrainer:
    """Put the trainer together."""
    trainer: LatticeTrainer
    callbacks: list[TrainerCallback] = [Metrics(folder, lambda: trainer, progress)]
    if validate and recipe.patience:
        callbacks.append(EarlyStoppingCallback(recipe.patience))
    n_lattices, checks = sum(not item.check for item in items), any(item.check for item in items)
    # what a step holds beyond a pass would be nothing but filler
    at_a_time = min(recipe.accumulate, -(-n_lattices // processes().num_processes))
    rounds = at_a_time * (2 if checks else 1)
    args = _arguments(folder, recipe, rounds, validate=validate is not None, tensorboard=tensorboard)
    args.mixed_precision = "no"  # whatever a launcher's configuration says: it is the recipe's business
    slots = -(-n_lattices // (at_a_time * args.world_size)) * rounds * args.world_size
    trainer = LatticeTrainer(
        items=items,
        scorer=scorer,
        recipe=recipe,
        validate=validate,
        model=model,
        args=args,
        train_dataset=[{"item": 0}] * slots,
        eval_dataset=[{"item": 0}] if validate else None,
        data_collator=_only,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which is for results
    return trainer


def _arguments(folder: Path, recipe: Recipe, rounds: int, *, validate: bool, tensorboard: bool) -> TrainingArguments:
    optimiser, cuda = recipe.optimiser, torch.cuda.is_available()
    more: dict[str, Any] = {}
    if recipe.recompute:
        kwargs = {"every_n_layers": recipe.recompute, "use_reentrant": False}
        more = {"activation_checkpointing": True, "activation_checkpointing_kwargs": kwargs}
    if not validate:
        more |= {"save_strategy": "steps", "save_steps": 0.05}  # of all steps
    else:
        more |= {
            "eval_strategy": "epoch",
            "save_strategy": "epoch",
            "load_best_model_at_end": True,
            "metric_for_best_model": SKILL,
            "greater_is_better": True,
        }
    return TrainingArguments(
        output_dir=str(folder / folders.CHECKPOINTS),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=rounds,
        num_train_epochs=recipe.passes,
        learning_rate=optimiser.learning_rate,
        lr_scheduler_type=optimiser.schedule,
        warmup_steps=optimiser.warmup,
        weight_decay=optimiser.weight_decay,
        max_grad_norm=optimiser.max_grad_norm,
        seed=recipe.seed,
        data_seed=recipe.seed,
        save_total_limit=2,
        restore_callback_states_from_checkpoint=True,  # how long patience has waited
        logging_strategy="no",
        report_to="tensorboard" if tensorboard else "none",
        disable_tqdm=True,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=cuda,
        use_cpu=not cuda,
        **more,
    )


def _only(batch: list[dict[str, int]]) -> dict[str, int]:
    """Collate a batch of one item: lattices have no common shape, so several are accumulated, not stacked."""
    (item,) = batch
    return item
