"""What a model's cube says of how its answers came about: what speaks against taking them for answers."""

from __future__ import annotations

import json

import xarray as xr

from acecausal.comparison import agreement, heeding
from acecausal.cube import schema

#: Least share of the probability that options are to have together.
ENOUGH_MASS = 0.5


def summaries(model: xr.Dataset) -> list[str]:
    """Say in a line each how far effects agree between wordings, and what of the persona is heeded."""
    agreed = _agreed(model)
    told = ", ".join(f"{part}s {number:+.2f}" for part, number in agreed.items())
    turns = model.attrs.get("chat_turns", "").startswith("user")
    return [
        *([f"effects agree between: {told}"] if agreed else []),
        *filter(None, [heeding.summary(model)]),
        *(["the chat template takes no system text: it stands at the head of the user's turn"] if turns else []),
    ]


def warnings(model: xr.Dataset) -> list[str]:
    """Say what of a model's cube is missing, put in, asked otherwise than usual, or does not hold in another wording.

    Parameters
    ----------
    model : xarray.Dataset
        A model's cube.

    Returns
    -------
    list of str
        Sentences, the gravest first; empty where nothing speaks against it.
    """
    return [
        *agreement.warnings(model),
        *heeding.warnings(model),
        *_thin(model),
        *_unbound(model),
        *_beside_the_options(model),
        *_of_a_server(model),
    ]


def _agreed(model: xr.Dataset) -> dict[str, float]:
    return {part: model.attrs[f"{part}_agreement"] for part in agreement.PARTS if f"{part}_agreement" in model.attrs}


def _thin(model: xr.Dataset) -> list[str]:
    """Say how many effects are missing since too few of the people drawn are of their contexts."""
    status = model["status"].values
    edges = int((status != schema.NOT_APPLICABLE).sum())
    share = float((status == schema.TOO_FEW).sum() / edges) if edges else 0.0
    if not share or "profiles" not in model.attrs:
        return []
    return [f"{share:.0%} of the effects are missing: fewer than ten of the people drawn are of their contexts"]


def _unbound(model: xr.Dataset) -> list[str]:
    marks = json.loads(model.attrs.get("marks", "[]"))
    unbound = [mark for mark in marks if mark != "labels"]
    if not unbound or _agreed(model).get("order", 1.0) >= agreement.CONTENT:
        return []
    return [
        f"{' and '.join(unbound)} do not stand for their options in this model: ask in the options' own words (--marks "
        "labels), or look for a way of asking that holds (--try)"
    ]


def _beside_the_options(model: xr.Dataset) -> list[str]:
    found = []
    if float(model["option_mass"].mean()) < ENOUGH_MASS:
        found.append("the model puts most of its probability on something that is no option")
    if float(model.attrs.get("checks_option_mass", 1.0)) < ENOUGH_MASS:
        found.append("asked the check questions, the model puts most of its probability on what is no option")
    surest = model["response"].max("option")
    if float((surest > 1 - 1e-9).sum()) > 0.5 * float(surest.notnull().sum()):
        found.append(
            "nearly every answer is certain: a server that gives probabilities after its temperature (of 0, say) tells "
            "nothing of what it would have said; ask it for log probabilities at temperature 1"
        )
    return found


def _of_a_server(model: xr.Dataset) -> list[str]:
    """Say what a server's list of tokens left out."""
    found = []
    if "imputed_share" in model and float(model["imputed_share"].max()) > 0:
        some, share = float((model["imputed_share"] > 0).mean()), model["imputed_share"]
        found.append(
            f"in {some:.0%} of the prompts the server did not list every option; what was put in for them is "
            f"{float(share.mean()):.1%} of the option mass on average, {float(share.max()):.0%} at most (imputed_share)"
        )
    if lost := model.attrs.get("prompts_missing"):
        found.append(f"the server listed no option of {lost} prompts: their personas and effects are missing")
    if lost := model.attrs.get("checks_missing"):
        found.append(f"the server listed no option of {lost} check questions' prompts: their heed is missing")
    if short := model.attrs.get("short_lists"):
        found.append(
            f"after {short} prompts the server listed fewer tokens than asked for and not all probability: of two "
            "tokens of one spelling it may tell only one, and options may be too low"
        )
    return found
