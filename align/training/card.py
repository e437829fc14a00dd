"""The adapter's model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acecausal.comparison import holdout
from acecausal.comparison.heeding import HEEDED, MARK
from acecausal.plain_numbers import number_or_dash


def model_card(
    record: Mapping[str, Any],
    errors: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]],
    besides: Mapping[str, Mapping[str, float]],
) -> str:
    """Write the card as Markdown.

    Parameters
    ----------
    record : mapping
        What `align.training.train.train` wrote as acecausal.json.
    errors : mapping of str to (mapping, mapping)
        By wordings, "trained on" and "never trained on": `acecausal.comparison.compare.compare` of the base model and
        of the adapted one.
    besides : mapping
        What else changed (see `align.training.alignment.Alignment`).
    """
    cube, recipe, trained = record["cube"], record["recipe"], record["trained_on"]
    mass, fluency = besides["option_mass"], besides["perplexity"]
    return f"""---
library_name: peft
base_model: {record.get("model", "")}
tags: [lora, survey, acecausal]
---

# LoRA adapter aligned to {cube["title"]}

Trained with acecausal so that the answers of the base model move, from one persona to the next, as people's answers do.

- **Base model**: {record.get("model", "")} (sha256 with tokenizer, template {record.get("model_sha256", "")[:16]})
- **Data**: {cube["source"]}
- **Data licence**: {cube["licence"]}
- **Estimand and estimator**: {cube["estimand"]}, {cube["estimator"]}
- **Attributes touched**: {", ".join(cube["attributes"])}
- **Countries**: {", ".join(cube["countries"])}
- **Values**: {", ".join(cube["values"])}
- **Held out**: {holdout.in_words(record["held_out"])}
{_margins(record)}- **Validated on**: {holdout.in_words(record["validated_on"])}
- **Trained on**: {trained["lattices"]} lattices, {trained["responses"]} responses, {trained["edges"]} edges
- **Left out**: responses {reasons(record["left_out"]["responses"])}; edges {reasons(record["left_out"]["edges"])}
- **Recipe**: {recipe["name"]}, {recipe["passes"]} passes, targets {recipe["targets"]},
  precision {recipe["precision"]} (computed in {record.get("computed_in", "float32")}),
  objectives {"; then ".join(_weights(stage["objectives"]) for stage in recipe["stages"])}, seed {recipe["seed"]}
- **Wordings**: templates {", ".join(recipe["templates"])}; orders {", ".join(recipe["orders"])}; answered by
  {", ".join(recipe["marks"])}; never trained on: {", ".join(recipe["kept_back"]) or "none of these kept back"}

## Error before and after

Distances on 0..1 (smaller is better); null is the country's marginal for levels and no effect for effects; ceiling is
what sampling error alone would give a perfect model; skill is 1 for a perfect model, 0 for the null.

{(chr(10) * 2).join(_table(wordings, *pair) for wordings, pair in errors.items())}

{_heeds(*errors["trained on"])}## What else changed

| | before | after |
|---|---|---|
| probability on the answer options together | {mass["before"]:.3f} | {mass["after"]:.3f} |
| perplexity of a small fixed text, unrelated to surveys | {fluency["before"]:.2f} | {fluency["after"]:.2f} |

## Intended use and limits

For research on how language models represent groups of people. Distributions of answers of groups say nothing about a
person. The adapter was fitted to the questions above; on other questions, countries and personas it is untested.
"""


def _margins(record: Mapping[str, Any]) -> str:
    """Say which responses were given of what was held out, or kept; '' if none were."""
    if "margins" not in record:
        return ""
    about = record["margins"]
    return f"- **Margins**: {about['responses']} responses, {about['source']}\n"


def reasons(counts: Mapping[str, int]) -> str:
    """Word how many cells were left out, by reason."""
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count) or "none"


def _heeds(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Write what the model takes in of who it is told to be, before and after; '' without check questions."""
    earlier = {check["attribute"]: check for check in before["checks"]}
    lines = []
    for check in after["checks"]:
        old, name = earlier.get(check["attribute"], {}), check["attribute"]
        numbers = [old.get("heed"), check["heed"], old.get("drift_error"), check["drift_error"]]
        shown = " | ".join(number_or_dash(number) for number in numbers)
        low = check["heed"] is not None and check["heed"] < HEEDED
        lines.append(f"| {name}{f' {MARK}' if low else ''} | {shown} |")
    if not lines:
        return ""
    marked = f"\n{MARK} the model does not take in being so: these effects are not effects of being somebody.\n"
    return f"""## Is the persona heeded?

Heed: how far the told level becomes likelier when the model is asked for it (1 taken in, 0 not). Drift error: how far
what the model says of attributes that it was not told moves otherwise than among people.

| told | heed before | after | drift error before | after |
|---|---|---|---|---|
{chr(10).join(lines)}
{marked if any(MARK in line for line in lines) else ""}
"""


def _weights(objectives: Mapping[str, float]) -> str:
    return " + ".join(f"{weight:g} x {name}" for name, weight in objectives.items())


def _table(wordings: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Hold before and after against each other: all cells, those trained on, and those held out."""
    rows = [_row("all cells", before, after)]
    groups = {(g["by"], g["key"]): g for g in before["groups"]}
    for group in after["groups"]:
        if group["by"] == "held_out" and ("held_out", group["key"]) in groups:
            rows.append(_row(group["key"].replace("_", " "), groups["held_out", group["key"]], group))
    head = f"| cells, in wordings {wordings} | | before | after | null | ceiling | skill before | skill after |"
    return "\n".join([head, f"|{'---|' * 8}", *rows])


def _row(label: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    lines = []
    for part in ("level", "effect"):
        distances = (before[part]["distance"], after[part]["distance"], after[part]["null"], after[part]["ceiling"])
        shown = [number_or_dash(number, 4) for number in distances]
        shown += [number_or_dash(number) for number in (before[part]["skill"], after[part]["skill"])]
        lines.append(f"| {label} | {part} distance | {' | '.join(shown)} |")
    return "\n".join(lines)
