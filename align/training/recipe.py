"""Recipes: how to train, as YAML."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from acecausal.errors import AceError, unknown
from acecausal.plain_yaml import read_yaml
from align.prompting.templates import TEMPLATES
from align.prompting.wordings import MARKS, ORDERS, PERMUTED, UNLISTED, Wording, crossed, possible
from align.training.objectives import OBJECTIVES
from align.training.targets import SOURCES


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Lora(_Part):
    """The adapter: rank, scale, dropout, and which layers it sits on."""

    r: int = Field(ge=1, le=4096)
    alpha: int = Field(ge=1, le=2**20)
    dropout: float = Field(ge=0, lt=1)
    target_modules: str | tuple[str, ...]

    @field_validator("target_modules")
    @classmethod
    def _names(cls, modules: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not modules or not all(modules):
            raise ValueError("at least one name, none empty")
        if isinstance(modules, str):
            try:
                re.compile(modules)
            except (re.error, RecursionError, OverflowError) as error:
                raise ValueError(f"no regular expression: {error}") from error
        return modules


class Optimiser(_Part):
    """AdamW and its schedule."""

    learning_rate: float = Field(gt=0, le=1)  # Adam's steps are as long as it, whatever the gradient
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.0, ge=0, le=1)  # weights shrink by its product with the rate in every step
    max_grad_norm: float = Field(1.0, gt=0, le=1e6)


class Stage(_Part):
    """A part of the training: its share of the steps, and the weight of each objective during it."""

    share: float = Field(1.0, gt=0, le=1)
    objectives: dict[str, float] = Field(min_length=1)

    @field_validator("objectives")
    @classmethod
    def _some_weight(cls, weights: dict[str, float]) -> dict[str, float]:
        strange = set(weights) - set(OBJECTIVES)
        if strange:
            raise ValueError(f"{sorted(strange)} are no objectives: {', '.join(OBJECTIVES)}")
        if any(weight < 0 for weight in weights.values()) or not any(weights.values()):
            raise ValueError("weights must not be negative, and one must be positive")
        if any(weight > 1e6 for weight in weights.values()):
            raise ValueError("weights must be 1e6 at most")
        return weights


def _one_of(names: tuple[str, ...]) -> Callable[[str], str]:
    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"expected one of {', '.join(names)}")
        return name

    return check


class Recipe(_Part):
    """How to train: prompts, targets, objectives and their weights over time, adapter, optimiser, passes."""

    recipe: Literal[1]
    name: str
    templates: tuple[Annotated[str, AfterValidator(_one_of(tuple(TEMPLATES)))], ...] = ("persona-last",)
    orders: tuple[Annotated[str, AfterValidator(_one_of((*ORDERS, PERMUTED, UNLISTED)))], ...] = ("forward",)
    marks: tuple[Annotated[str, AfterValidator(_one_of(MARKS))], ...] = ("labels",)
    kept_back: tuple[str, ...] = Field(
        (), description="wordings, by some of their parts, that are never trained on, but asked before and after"
    )
    targets: Annotated[str, AfterValidator(_one_of(SOURCES))] = "raw"
    stages: tuple[Stage, ...]
    lora: Lora
    optimiser: Optimiser
    passes: int = Field(ge=1, le=10**5)
    personas: int = Field(
        0, ge=0, le=10**5, description="most personas that a step asks, drawn anew; check questions: half; 0: all"
    )
    accumulate: int = Field(1, ge=1, le=10**4, description="lattices per step")
    recompute: int = Field(
        0, ge=0, le=10**4, description="every n-th layer's activations are computed twice, not kept; 0: none"
    )
    tokens: int = Field(
        4096,
        ge=1,
        le=2**20,
        description="most tokens of a pass; a lattice of more is computed twice, pass by pass, if recompute is 0",
    )
    patience: int = Field(
        0, ge=0, le=10**5, description="passes without better validation after which to stop; 0: never"
    )
    precision: Literal["auto", "float32", "mixed", "bfloat16"] = Field(
        "auto",
        description="mixed: training computes in bfloat16, weights are float32; bfloat16: both; auto: mixed where the "
        "machine computes in bfloat16, else float32",
    )
    quantise: Literal["none", "nf4"] = Field("none", description="nf4: the base in 4 bits, as in QLoRA")
    seed: int = Field(0, ge=0, lt=2**32)

    @field_validator(
        "templates", "orders", "marks", "stages", mode="before"
    )  # min_length would also count those that are broken
    @classmethod
    def _some(cls, items: object) -> object:
        if items in ([], ()):
            raise ValueError("at least one")
        return items

    @model_validator(mode="after")
    def _whole(self) -> Recipe:
        total = sum(stage.share for stage in self.stages)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the stages' shares must sum to 1, not {total:g}")
        for key in ("templates", "orders", "marks", "kept_back"):
            if len(set(getattr(self, key))) < len(getattr(self, key)):
                raise ValueError(f"{key}: each once")
        for parts in self.kept_back:
            if PERMUTED in self.orders and set(parts.split()) & set(ORDERS):
                raise ValueError(f"kept_back: {parts!r} names an order, and drawn ones would hold it at times")
            if not any(wording.matches(parts) for wording in crossed(tuple(TEMPLATES), (*ORDERS, UNLISTED), MARKS)):
                raise ValueError(f"kept_back: {parts!r} is no wording: template, order, marks, or some of them")
        if not self.ways:
            raise ValueError("kept_back: nothing is left to train on")
        return self

    @property
    def ways(self) -> tuple[tuple[str, str, str], ...]:
        """Templates, orders and marks that the recipe trains on, together; the order may be one that is drawn."""
        every = [way for way in product(self.templates, self.orders, self.marks) if possible(*way)]
        return tuple(way for way in every if all(not Wording(*_fixed(way)).matches(parts) for parts in self.kept_back))

    def wording_at(self, item: int, visit: int) -> Wording:
        """Draw the way in which a lattice is asked on a visit: of as many visits as there are ways, each way once."""
        ways = self.ways
        cycle = np.random.default_rng([self.seed, item, visit // len(ways)]).permutation(len(ways))
        template, order, marks = ways[cycle[visit % len(ways)]]
        if order == PERMUTED:
            order = f"{PERMUTED}-{np.random.default_rng([self.seed, item, visit, 1]).integers(10**9)}"
        return Wording(template, order, marks)

    @property
    def trained_wordings(self) -> tuple[Wording, ...]:
        """Ways of asking that are trained on, in which the model is asked before and after: of the first template."""
        template = self.ways[0][0]
        orders = tuple(dict.fromkeys(o for t, order, _ in self.ways for o in _asked(order) if t == template))
        marks = tuple(dict.fromkeys(mark for t, _, mark in self.ways if t == template))
        return tuple(w for w in crossed((template,), orders, marks) if not any(map(w.matches, self.kept_back)))

    @property
    def kept_wordings(self) -> tuple[Wording, ...]:
        """Ways of asking that are never trained on, in which the model is asked before and after."""
        orders = tuple(dict.fromkeys(o for order in self.orders for o in _asked(order)))
        named = {part for parts in self.kept_back for part in parts.split()}
        templates = (*self.templates, *(t for t in TEMPLATES if t in named))
        marks = (*self.marks, *(mark for mark in MARKS if mark in named))
        orders = (*orders, *(order for order in (*ORDERS, UNLISTED) if order in named))
        return tuple(w for w in crossed(templates, orders, marks) if any(map(w.matches, self.kept_back)))

    def has(self, objective: str) -> bool:
        """Whether an objective weighs anything in any stage."""
        return any(stage.objectives.get(objective) for stage in self.stages)

    def objectives_at(self, progress: float) -> dict[str, float]:
        """Weights of the objectives at a share of the steps done, 0..1."""
        end = 0.0
        for stage in self.stages:
            end += stage.share
            if progress < end - 1e-9:
                return stage.objectives
        return self.stages[-1].objectives


def effects_alone(recipe: Recipe) -> Recipe:
    """Let a recipe train no levels: these are to stay as they are (objective `margin`).

    Raises
    ------
    AceError
        If nothing is left in a stage.
    """
    levels = ("level", "level-emd", "mode")
    stages = []
    for stage in recipe.stages:
        kept = {name: weight for name, weight in stage.objectives.items() if name not in levels and weight}
        if not any(name in ("shift", "shift-emd") for name in kept):
            raise AceError(
                "trains levels alone", param=f"recipe {recipe.name}", expected="shift in every stage",
                hint="another recipe, or leave the levels to it",
            )  # fmt: skip
        weight = sum(stage.objectives.get(name, 0.0) for name in levels) or 1.0
        stages.append(stage.model_copy(update={"objectives": kept | {"margin": weight}}))
    return recipe.model_copy(update={"stages": tuple(stages)})


def _asked(order: str) -> tuple[str, ...]:
    """Say in which orders a model is asked that is trained in this one."""
    return ORDERS if order == PERMUTED else (order,)


def _fixed(way: tuple[str, str, str]) -> tuple[str, str, str]:
    template, order, marks = way
    return template, f"{PERMUTED}-0" if order == PERMUTED else order, marks


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("align.training") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(source: str | Path, **overrides: object) -> Recipe:
    """Load a recipe by the name of a shipped one, or from a YAML file; `overrides` that are not None replace keys.

    Raises
    ------
    AceError
        If there is none, it is not YAML, or it breaks the rules (all violations listed).
    """
    name = str(source)
    try:
        if name in shipped_recipes():
            text = (resources.files("align.training") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
        elif Path(name).exists():
            text = Path(name).read_text(encoding="utf-8")
        else:
            raise unknown("--recipe", name, shipped_recipes())
    except (UnicodeDecodeError, OSError) as error:
        raise AceError("cannot be read", param=name, got=" ".join(str(error).split())) from error
    raw = read_yaml(text, name)
    if not isinstance(raw, dict):
        raise AceError("not a recipe", param=name, expected="a YAML mapping", got=type(raw).__name__)
    try:
        return Recipe.model_validate(raw | {key: item for key, item in overrides.items() if item is not None})
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}" for e in error.errors()]
        raise AceError(f"{len(lines)} errors:\n    " + "\n    ".join(lines), param=name) from error
