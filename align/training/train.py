"""Fine-tuning a model towards a survey cube: a LoRA adapter, trained on whole lattices."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import xarray as xr
from torch import nn

from acecausal.comparison import holdout
from acecausal.comparison.compare import compare
from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.cube.check_questions import check_values
from acecausal.cube.files import Country, Value
from acecausal.errors import AceError, unknown
from align.elicitation.backends import InProcess
from align.elicitation.elicit import elicit
from align.models.adapters import check_expressions
from align.models.processes import processes
from align.prompting.options import Prompt
from align.prompting.prompts import encode, lattice_texts
from align.prompting.wordings import Wording
from align.scoring.scorer import Scorer
from align.training import checkpoints
from align.training import folder as folders
from align.training.checks import make_checks
from align.training.lattice_trainer import SKILL, Ask, Item, Validate, computes_in, make_trainer
from align.training.margins import Margins
from align.training.recipe import Recipe
from align.training.targets import Target, left_out, make_targets


def train(
    model: nn.Module,
    tokenizer: Any,
    cube: xr.Dataset,
    recipe: Recipe,
    folder: str | Path,
    *,
    held_out: holdout.HoldOut | None = None,
    validation: holdout.HoldOut | None = None,
    margins: Margins | None = None,
    template_args: Mapping[str, Any] = MappingProxyType({}),
    base: dict[str, str] | None = None,
    resume: bool = False,
    model_differs: bool = False,
    tensorboard: bool = False,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> nn.Module:
    """Train a LoRA adapter and save it.

    Started by ``accelerate launch`` on several processes, it gives the adapter that one process gives that accumulates
    as many times more lattices; the first process writes.

    Parameters
    ----------
    model, tokenizer
        From `align.models.load.load_model`; the model is changed in place.
    cube : xarray.Dataset
        The survey cube to align to.
    recipe : Recipe
    folder : str or Path
        Receives the adapter, ``acecausal.json`` (what was trained on what), ``metrics.jsonl`` and ``checkpoints/``. An
        earlier run in it stays until this one is whole: it is built beside, in NAME.new, and then takes its place.
    held_out : dict, optional
        Cells that no loss may see (see `acecausal.comparison.holdout`); near-duplicates of held-out values are added.
    validation : dict, optional
        More such cells, on which skill is measured before the first and after each pass; the best pass's adapter is
        kept. The recipe's `patience` says when to stop early.
    margins : Margins, optional
        Responses that are known of what is held out, or to be kept as they are, for the objective `margin`.
    template_args : mapping, optional
        More that the tokenizer's chat template is told (see `align.prompting.chat`); the record keeps it.
    base : dict, optional
        `align.models.identity.fingerprint` of the base model.
    resume : bool
        Go on from the last whole checkpoint; the run must be the same one.
    model_differs : bool
        Resume even on another base model than the run began on.
    tensorboard : bool
        Write TensorBoard's files as well.
    progress : callable, optional
        Called with (step, steps) after each step.
    say : callable, optional
        Told of checkpoints that are damaged, and what is used instead.

    Returns
    -------
    torch.nn.Module
        The PEFT model, in evaluation mode.

    Raises
    ------
    CubeError
        If nothing is left to train on.
    ModelError
        If a loss or an adapter weight is not finite; the last good checkpoint is kept.
    AceError
        If `resume` meets a folder of another run, the validation cells cannot tell skill, or the recipe's adapter does
        not fit the model.
    """
    folder = Path(folder)
    if tensorboard and find_spec("tensorboard") is None:
        raise AceError("is not installed", param="tensorboard", hint="pip install 'acecausal[tensorboard]'")
    held_out, validation = holdout.complete(held_out or {}, cube), holdout.complete(validation or {}, cube)
    out = holdout.merged(held_out, validation)
    targets = make_targets(
        cube, out, recipe.targets, coherence=recipe.has("coherence"), margins=needed(margins, recipe)
    )
    items = make_items(tokenizer, cube, recipe, targets, template_args)
    scorer = Scorer(model, budget=recipe.tokens)  # checks itself on the bare model, before the adapter is on it
    adapted = _with_lora(model, recipe)
    validate, baseline = None, {}
    if validation:
        asked = InProcess(adapted, tokenizer, scorer, template_args)
        validate = _validator(asked, cube, recipe, held_out, validation)
        baseline = {} if resume else validate(adapted)
    about = {
        **(base or {}),
        "template_args": dict(template_args),
        "computed_in": computes_in(recipe, next(model.parameters()).device),
        **({"margins": margins.about} if margins else {}),
    }
    record = _record(cube, recipe, held_out, validation, about, items)
    group = processes()
    place, checkpoint = folders.workplace(folder, resume=resume), None
    if resume:
        checkpoint = folders.checkpoint_of(place, record, say, model_differs=model_differs)
    group.wait_for_everyone()
    if group.is_main_process:
        if resume:
            folders.trim_metrics(place, checkpoint)
            checkpoints.drop_after(place / folders.CHECKPOINTS, checkpoint)
        else:  # only now, when what the user could have got wrong has been looked at
            folders.start(folder, place, record)
            if baseline:
                folders.append_metrics(place, {"step": 0, **baseline})
    group.wait_for_everyone()
    trainer = make_trainer(
        adapted, items, scorer, recipe, place, validate=validate, tensorboard=tensorboard, progress=progress
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    if group.is_main_process:
        folders.save_adapter(adapted, folder, place, record)
    group.wait_for_everyone()
    return adapted.eval()


def needed(margins: Margins | None, recipe: Recipe) -> Margins | None:
    """Give the margins back, if the recipe has a use for them.

    Raises
    ------
    AceError
        If it has none.
    """
    if margins and not recipe.has("margin"):
        raise AceError(
            "has no objective for them", param=f"recipe {recipe.name}, margins", expected="margin, of some weight",
            hint="default has it",
        )  # fmt: skip
    return margins


def _with_lora(model: nn.Module, recipe: Recipe) -> nn.Module:
    """Put the recipe's adapter on a model, in place, the same for the same seed."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    torch.manual_seed(recipe.seed)
    lora = recipe.lora
    modules = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    _check_lora(model, recipe)
    config = LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=modules, task_type="CAUSAL_LM"
    )
    if getattr(model, "is_loaded_in_4bit", False):
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)  # the trainer sees to that
    try:
        return get_peft_model(model, config)
    except (ValueError, TypeError, RecursionError) as error:
        raise AceError(
            "do not fit the model", param="recipe, lora.target_modules", got=str(error).split(". ")[0][:200],
            hint="all-linear fits most models",
        ) from error  # fmt: skip


def _check_lora(model: nn.Module, recipe: Recipe) -> None:
    """Refuse what PEFT would pass over, or what could not be of use, before anything is put on the model."""
    lora, names = recipe.lora, [name for name, _ in model.named_modules()]
    width = int(model.config.get_text_config().hidden_size)
    if lora.r > width:
        raise AceError(
            "is more than the model is wide", param="recipe, lora.r", expected=f"{width} at most", got=lora.r
        )
    if isinstance(lora.target_modules, str):
        check_expressions([lora.target_modules], model, "recipe, lora.target_modules")
    listed = () if isinstance(lora.target_modules, str) else lora.target_modules
    for wanted in listed:
        if not any(name == wanted or name.endswith(f".{wanted}") for name in names):
            leaves = sorted({name.rsplit(".", 1)[-1] for name, module in model.named_modules() if module._parameters})
            raise unknown("recipe, lora.target_modules", wanted, leaves)


def make_items(
    tokenizer: Any,
    cube: xr.Dataset,
    recipe: Recipe,
    targets: list[Target],
    template_args: Mapping[str, Any] = MappingProxyType({}),
) -> list[Item]:
    """Pair each target with its question; after them, if the recipe has a use for them, the check questions."""
    lattice, values, countries = cubes.lattice_of(cube), cubes.values_of(cube), cubes.countries_of(cube)

    def asking(country: Country, value: Value) -> Ask:
        def ask(wording: Wording, personas: Sequence[int]) -> list[Prompt]:
            return encode(tokenizer, lattice_texts(country, value, lattice, wording, personas), template_args)

        return ask

    items = [Item(asking(countries[t.country], values[t.value]), t) for t in targets]
    if recipe.has("identity"):
        checks = check_values(lattice)
        items += [Item(asking(countries[t.country], checks[t.value]), t, check=True) for t in make_checks(cube)]
    return items


def _validator(
    backend: InProcess,
    cube: xr.Dataset,
    recipe: Recipe,
    held_out: holdout.HoldOut,
    validation: holdout.HoldOut,
) -> Validate:
    """Make the function that measures skill on the validation cells, without those that are held out altogether."""
    response, effect = holdout.masks(held_out, cube)
    people = cube.copy()
    people["n"] = people["n"].where(~response, 0)
    people["status"] = people["status"].where(~effect, schema.NOT_APPLICABLE)
    wanted = (holdout.masks(validation, cube)[0] & ~response).any(axis=2)
    if not wanted.any():
        raise AceError("nothing is left of it", param="--validate", hint="validate on cells that are not held out")
    people = people.isel(country=wanted.any(axis=1), value=wanted.any(axis=0))

    def measure(model: nn.Module) -> dict[str, float]:
        model.eval()
        result = compare(
            people, elicit(backend, people, wordings=recipe.trained_wordings, checks=False), held_out=validation
        )
        (cells,) = [g for g in result["groups"] if g["by"] == "held_out" and g["key"] == "held_out"] or [None]
        skills = {
            f"eval_{part}_skill": float(cells[part]["skill"])
            for part in ("level", "effect")
            if cells is not None and cells[part]["skill"] is not None
        }
        if not skills:
            raise AceError(
                "cannot tell skill from noise", param="--validate", expected="cells that differ by more than noise",
                got=holdout.in_words(validation), hint="validate on more",
            )  # fmt: skip
        return {SKILL: sum(skills.values()) / len(skills), **skills}

    return measure


def content_hash(cube: xr.Dataset) -> str:
    """Hash the numbers of a cube that targets are made of."""
    content = hashlib.sha256()
    for name in ("response", "n", "n_eff", "shift", "shift_se", "cumulative_shift_se", "effect_se", "status"):
        content.update(cube[name].values.tobytes())
    return content.hexdigest()


def _record(
    cube: xr.Dataset,
    recipe: Recipe,
    held_out: holdout.HoldOut,
    validation: holdout.HoldOut,
    about: dict[str, Any],
    items: list[Item],
) -> dict[str, Any]:
    targets = [item.target for item in items if not item.check]
    return {
        **about,
        "recipe": recipe.model_dump(mode="json"),
        "held_out": held_out,
        "validated_on": validation,
        "cube": {
            "sha256": content_hash(cube),
            **{key: cube.attrs.get(key, "") for key in ("title", "source", "licence", "estimand", "estimator")},
            "attributes": [a.label for a in cubes.lattice_of(cube).attributes],
            "countries": cube["country"].values.tolist(),
            "values": cube["value"].values.tolist(),
        },
        "trained_on": {
            "lattices": len(targets),
            "check_questions": sum(item.check for item in items),
            "responses": sum(int((t.weight > 0).sum()) for t in targets),
            "edges": sum(len(t.shift) for t in targets),
        },
        "processes": processes().num_processes,
        "left_out": left_out(cube, holdout.merged(held_out, validation), recipe.targets),
        "versions": {name: version(name) for name in ("acecausal", "torch", "transformers", "peft")},
    }
