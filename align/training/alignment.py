"""One alignment from start to end: ask, train, ask again, compare, write the card."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import xarray as xr

from acecausal.comparison import holdout
from acecausal.comparison.compare import compare
from acecausal.errors import AceError
from align.elicitation.backends import InProcess
from align.elicitation.elicit import elicit
from align.models.adapters import ADAPTER_RECORD
from align.models.identity import fingerprint, provenance
from align.models.load import load_model
from align.models.processes import processes
from align.training.besides import perplexity
from align.training.card import model_card
from align.training.folder import check_free
from align.training.margins import Margins, as_they_are
from align.training.recipe import Recipe, effects_alone
from align.training.targets import make_targets
from align.training.train import needed, train


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Cubes and comparisons, as in `Alignment`, in wordings that are never trained on."""

    before: xr.Dataset
    after: xr.Dataset
    comparison_before: dict[str, Any]
    comparison_after: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Alignment:
    """What an alignment leaves, beside its folder.

    Attributes
    ----------
    before, after : xarray.Dataset
        Model cubes of the base model and of the adapted one, in wordings that the recipe trains on.
    comparison_before, comparison_after : dict
        Both against the survey cube, with the hold-out reported apart (see `acecausal.comparison.compare.compare`).
    elsewhere : Elsewhere, optional
        The same in wordings that are never trained on, if the recipe keeps some back.
    besides : dict
        ``option_mass`` and ``perplexity`` (of a small fixed text), each {before, after}: what the training changed
        besides the answers.
    record : dict
        What was trained on what, and what was left out: the adapter's ``acecausal.json``.
    note : str
        Why prompts do not share prefixes, if the model cannot do that; '' otherwise.
    seconds : dict
        Wall time of load, elicit_before, train and elicit_after.
    """

    before: xr.Dataset
    after: xr.Dataset
    comparison_before: dict[str, Any]
    comparison_after: dict[str, Any]
    elsewhere: Elsewhere | None
    besides: dict[str, dict[str, float]]
    record: dict[str, Any]
    note: str
    seconds: dict[str, float]


def align(
    source: str | Path,
    cube: xr.Dataset,
    recipe: Recipe,
    folder: str | Path,
    *,
    held_out: holdout.HoldOut | None = None,
    validation: holdout.HoldOut | None = None,
    margins: Margins | None = None,
    keep_levels: bool = False,
    template_args: Mapping[str, Any] = MappingProxyType({}),
    revision: str | None = None,
    resume: bool = False,
    model_differs: bool = False,
    tensorboard: bool = False,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Alignment:
    """Train an adapter for the model at `source`, and measure the model before and after.

    Parameters are those of `load_model` and of `train`; the folder also receives the model card. With `keep_levels`
    levels are not trained: what the model answers for everybody stays where it was, in each country, and only effects
    are learnt.
    """
    if keep_levels and margins:
        raise AceError("exclude each other", param="margins, keep_levels", expected="one of them")
    if keep_levels:
        recipe = effects_alone(recipe)
    folder = Path(folder)
    group = processes()
    if not resume and group.is_main_process:
        check_free(folder)
    held_out, validation = holdout.complete(held_out or {}, cube), holdout.complete(validation or {}, cube)
    # an error comes before a model is loaded
    out = holdout.merged(held_out, validation)
    make_targets(cube, out, recipe.targets, coherence=recipe.has("coherence"), margins=needed(margins, recipe))
    clock = [time.perf_counter()]
    weights = None if recipe.precision in ("auto", "mixed") else recipe.precision
    base = fingerprint(source, revision)
    model, tokenizer = load_model(source, revision=revision, precision=weights, quantise=recipe.quantise)
    clock.append(time.perf_counter())
    bare = InProcess(model, tokenizer, template_args=template_args)
    ways = [ways for ways in (recipe.trained_wordings, recipe.kept_wordings) if ways]
    before = [elicit(bare, cube, wordings=w, attrs=provenance(source, revision=revision)) for w in ways]
    fluency = perplexity(model, tokenizer)
    clock.append(time.perf_counter())
    adapted = train(
        model,
        tokenizer,
        cube,
        recipe,
        folder,
        held_out=held_out,
        validation=validation,
        margins=as_they_are(before[0]) if keep_levels else margins,
        template_args=template_args,
        base=base,
        resume=resume,
        model_differs=model_differs,
        tensorboard=tensorboard,
        progress=progress,
        say=say,
    )
    clock.append(time.perf_counter())
    asked = InProcess(adapted, tokenizer, template_args=template_args)
    after = [elicit(asked, cube, wordings=w, attrs=provenance(source, folder, revision=revision)) for w in ways]
    besides = {
        "option_mass": {"before": _option_mass(before[0]), "after": _option_mass(after[0])},
        "perplexity": {"before": fluency, "after": perplexity(adapted, tokenizer)},
    }
    clock.append(time.perf_counter())
    spent = [round(end - start, 2) for start, end in pairwise(clock)]
    compared = [
        (b, a, compare(cube, b, held_out=held_out), compare(cube, a, held_out=held_out))
        for b, a in zip(before, after, strict=True)
    ]
    result = Alignment(
        *compared[0],
        elsewhere=Elsewhere(*compared[1]) if len(compared) > 1 else None,
        besides=besides,
        record=json.loads((folder / ADAPTER_RECORD).read_text(encoding="utf-8")),
        note=bare.scorer.note,
        seconds=dict(zip(("load", "elicit_before", "train", "elicit_after"), spent, strict=True)),
    )
    if group.is_main_process:
        errors = {"trained on": (result.comparison_before, result.comparison_after)}
        if result.elsewhere:
            errors["never trained on"] = (result.elsewhere.comparison_before, result.elsewhere.comparison_after)
        card = model_card(result.record, errors, besides)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return result


def _option_mass(cube: xr.Dataset) -> float:
    """Average the mass that the options have together."""
    return float(cube["option_mass"].mean())
