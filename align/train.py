"""Fine-tuning a model towards a survey cube: a LoRA adapter, trained by transformers.Trainer on whole lattices."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from acecausal import cube as cubes
from acecausal import holdout
from acecausal.errors import AceError, ModelError
from align.models import ADAPTER_RECORD
from align.objectives import OBJECTIVES
from align.options import Prompt
from align.prompts import TEMPLATE, lattice_prompts
from align.recipe import Recipe
from align.scorer import Scorer
from align.targets import Target, make_targets

CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
#: What belongs to a run, beside its adapter: a resumed run must agree on it.
RUN = "run.json"


@dataclass(frozen=True, slots=True)
class Item:
    """One training item: a question in a country, asked of every persona, and what people answered."""

    prompts: list[Prompt]
    target: Target


def objective_values(log_probs: Sequence[torch.Tensor], target: Target, recipe: Recipe) -> dict[str, torch.Tensor]:
    """Evaluate the recipe's objectives on one lattice, unweighted: name -> mean, each a scalar."""
    stacked = torch.stack(list(log_probs)).log_softmax(dim=-1)
    values = {}
    for name in recipe.objectives:
        total, count = OBJECTIVES[name](stacked, target)
        values[name] = total / count
    return values


class LatticeTrainer(Trainer):
    """The library's trainer with our loss; an example is the number of an item."""

    def __init__(self, *, items: list[Item], scorer: Scorer, recipe: Recipe, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.items, self.scorer, self.recipe = items, scorer, recipe
        self.latest: dict[str, float] = {}
        device = next(self.model.parameters()).device
        self.targets = [_to(item.target, device) for item in items]

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Weigh the objectives of one lattice; a loss that is not finite stops the run."""
        number = int(inputs["item"])
        log_probs = self.scorer.log_probs(self.items[number].prompts, model=model)
        values = objective_values(log_probs, self.targets[number], self.recipe)
        loss = sum(self.recipe.objectives[name] * value for name, value in values.items())
        self.latest = {name: float(value.detach()) for name, value in values.items()}
        if not torch.isfinite(loss):
            raise ModelError(
                "the loss is not finite",
                param=f"step {self.state.global_step + 1}",
                got=", ".join(f"{name} {value}" for name, value in self.latest.items()),
                hint="a smaller learning rate; the last checkpoint is kept",
            )
        return (loss, {}) if return_outputs else loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Count nothing: the library's estimate needs input ids, which an item is not."""
        return 0


class _Steps(TrainerCallback):
    """Appends each step's objectives to the metrics file and tells the caller."""

    def __init__(self, path: Path, trainer: Callable[[], LatticeTrainer], progress: Callable[[int, int], None] | None):
        self.path, self.trainer, self.progress = path, trainer, progress

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": state.global_step, **self.trainer().latest}) + "\n")
        if self.progress:
            self.progress(state.global_step, state.max_steps)


def train(
    model: nn.Module,
    tokenizer: Any,
    cube: xr.Dataset,
    recipe: Recipe,
    folder: str | Path,
    *,
    held_out: holdout.HoldOut | None = None,
    base: dict[str, str] | None = None,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> nn.Module:
    """Train a LoRA adapter and save it.

    Parameters
    ----------
    model, tokenizer
        From `align.models.load_model`; the model is changed in place.
    cube : xarray.Dataset
        The survey cube to align to.
    recipe : Recipe
    folder : str or Path
        Receives the adapter, ``acecausal.json`` (what was trained on what), ``metrics.jsonl`` and ``checkpoints/``.
    held_out : dict, optional
        Countries and values that no loss may see.
    base : dict, optional
        `align.models.fingerprint` of the base model.
    resume : bool
        Go on from the folder's last checkpoint; the run must be the same one.
    progress : callable, optional
        Called with (step, steps) after each step.

    Returns
    -------
    torch.nn.Module
        The PEFT model, in evaluation mode.

    Raises
    ------
    CubeError
        If nothing is left to train on.
    ModelError
        If a loss or an adapter weight is not finite.
    AceError
        If `resume` meets a folder of another run.
    """
    from peft import LoraConfig, get_peft_model

    folder = Path(folder)
    held_out = held_out or {}
    targets = make_targets(cube, held_out)
    lattice, values, countries = cubes.lattice_of(cube), cubes.values_of(cube), cubes.countries_of(cube)
    items = [Item(lattice_prompts(tokenizer, countries[t.country], values[t.value], lattice), t) for t in targets]
    scorer = Scorer(model)  # checks itself on the bare model, before the adapter is on it
    record = _record(cube, recipe, held_out, base or {}, items)
    checkpoint = _open_run(folder, record, resume)

    torch.manual_seed(recipe.seed)
    lora = recipe.lora
    modules = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    adapted = get_peft_model(
        model,
        LoraConfig(
            r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=modules, task_type="CAUSAL_LM"
        ),
    )
    trainer: LatticeTrainer
    metrics = _Steps(folder / METRICS, lambda: trainer, progress)
    trainer = LatticeTrainer(
        items=items,
        scorer=scorer,
        recipe=recipe,
        model=adapted,
        args=_arguments(folder / CHECKPOINTS, recipe, len(items)),
        train_dataset=[{"item": number} for number in range(len(items))],
        data_collator=_only,
        callbacks=[metrics],
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which is for results
    trainer.train(resume_from_checkpoint=checkpoint)
    broken = [name for name, p in adapted.named_parameters() if p.requires_grad and not torch.isfinite(p).all()]
    if broken:
        raise ModelError(
            "the adapter holds numbers that are not finite", param=broken[0], hint="a smaller learning rate"
        )
    _save(adapted, folder, record)
    return adapted.eval()


def _arguments(folder: Path, recipe: Recipe, n_items: int) -> TrainingArguments:
    optimiser = recipe.optimiser
    per_pass = -(-n_items // recipe.accumulate)
    steps = per_pass * recipe.passes
    memory: dict[str, Any] = {}
    if recipe.recompute:
        kwargs = {"every_n_layers": recipe.recompute, "use_reentrant": False}
        memory = {"activation_checkpointing": True, "activation_checkpointing_kwargs": kwargs}
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=recipe.accumulate,
        num_train_epochs=recipe.passes,
        learning_rate=optimiser.learning_rate,
        lr_scheduler_type=optimiser.schedule,
        warmup_steps=round(optimiser.warmup * steps),
        weight_decay=optimiser.weight_decay,
        max_grad_norm=optimiser.max_grad_norm,
        seed=recipe.seed,
        data_seed=recipe.seed,
        save_steps=max(per_pass, -(-steps // 20)),
        save_total_limit=2,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),
        **memory,
    )


def _only(batch: list[dict[str, int]]) -> dict[str, Any]:
    """Collate a batch of one item: lattices have no common shape, so several are accumulated, not stacked."""
    (item,) = batch
    return {"item": torch.tensor(item["item"])}


def _to(target: Target, device: torch.device) -> Target:
    moved = {
        name: part.to(device) if isinstance(part := getattr(target, name), torch.Tensor) else part
        for name in Target.__dataclass_fields__
    }
    return Target(**moved)


def _record(
    cube: xr.Dataset, recipe: Recipe, held_out: holdout.HoldOut, base: dict[str, str], items: list[Item]
) -> dict[str, Any]:
    edges = cubes.lattice_of(cube).edges
    content = hashlib.sha256()
    for name in ("response", "shift", "status"):
        content.update(cube[name].values.tobytes())
    kept = sum(len(item.target.low) for item in items)
    return {
        **base,
        "template": TEMPLATE,
        "recipe": recipe.model_dump(mode="json"),
        "held_out": held_out,
        "cube": {
            "sha256": content.hexdigest(),
            **{key: cube.attrs.get(key, "") for key in ("title", "source", "licence", "estimand", "estimator")},
            "attributes": [a.label for a in cubes.lattice_of(cube).attributes],
            "countries": cube["country"].values.tolist(),
            "values": cube["value"].values.tolist(),
        },
        "trained_on": {"lattices": len(items), "edges": kept, "edges_without_estimate": len(items) * len(edges) - kept},
        "versions": {name: version(name) for name in ("acecausal", "torch", "transformers", "peft")},
    }


def _open_run(folder: Path, record: dict[str, Any], resume: bool) -> str | None:
    """Start the folder, or find the checkpoint to go on from (None where the run was cut off before its first)."""
    path = folder / RUN
    if resume:
        if not path.exists():
            raise AceError(
                "no run to resume", param=str(folder), expected=f"{RUN} in it", hint="start it without --resume"
            )
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise AceError("is damaged", param=str(path), hint="start the run anew") from error
        differs = [key for key in record if before.get(key) != json.loads(json.dumps(record[key]))]
        if differs:
            raise AceError(
                "is another run", param=str(folder), expected="the same model, cube, recipe and hold-out",
                got=f"a different {', '.join(differs)}", hint="use another folder",
            )  # fmt: skip
        # the trainer writes its state last, so a checkpoint without it was cut off
        whole = [state.parent for state in (folder / CHECKPOINTS).glob("checkpoint-*/trainer_state.json")]
        last = max(whole, key=_step, default=None)
        _trim(folder / METRICS, _step(last) if last else 0)
        return str(last) if last else None
    folder.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(record, indent=1), encoding="utf-8")
    beside.replace(path)
    return None


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1])


def _trim(path: Path, step: int) -> None:
    """Drop metrics of steps after the checkpoint: they are going to be done again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        done = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        path.write_text("".join(f"{line}\n" for line in done), encoding="utf-8")


def _save(adapted: Any, folder: Path, record: dict[str, Any]) -> None:
    """Save the adapter beside its place, then move it in; the base is named, this machine's paths are not."""
    beside = folder / f".adapter.{os.getpid()}.part"
    adapted.save_pretrained(beside)
    config = json.loads((beside / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = record.get("model", "")
    (beside / "adapter_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    (beside / "README.md").unlink(missing_ok=True)  # ours is written when before and after are known
    (beside / ADAPTER_RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    for file in beside.iterdir():
        file.replace(folder / file.name)
    beside.rmdir()
