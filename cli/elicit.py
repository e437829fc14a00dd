"""acecausal elicit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.console import (
    force_option,
    model_differs_option,
    note,
    opened,
    print_table,
    progress_bar,
    quiet_libraries,
    revision_option,
    template_arg_option,
)

if TYPE_CHECKING:
    import xarray as xr

    from align.elicitation.backends import Backend
    from align.prompting.wordings import Wording

#: As `align.prompting.templates` has them, which is not imported for --help.
TEMPLATES = ("persona-last", "interview", "questionnaire", "first-person", "ace-align")


@click.command()
@click.option(
    "--model", "source", required=True, metavar="PATH|HUB_ID|NAME",
    help="A model folder, hub id, or .gguf file; with --endpoint the server's name for the model.",
)  # fmt: skip
@revision_option
@click.option("--adapter", type=click.Path(path_type=Path), help="A PEFT adapter folder to put on the model.")
@model_differs_option
@click.option(
    "--endpoint", metavar="URL",
    help="Ask an OpenAI-compatible server instead: http://host/v1 (completions), or a URL that ends in "
    "/chat/completions. The key is taken from OPENAI_API_KEY. Answers are kept beside the output until it is written, "
    "so that a run that was cut off asks nothing twice.",
)  # fmt: skip
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Most requests per second to the server.")
@click.option("--like", required=True, type=click.Path(path_type=Path), help="Cube that says what is asked of whom.")
@click.option(
    "--template", "templates", multiple=True, type=click.Choice(TEMPLATES),
    help="ace-align: after that protocol, persona first; several are averaged, and their spread becomes the standard "
    "error.  "
    "[default: what the adapter was trained with, else persona-last]",
)  # fmt: skip
@click.option(
    "--order", "orders", multiple=True, metavar="NAME",
    help="Order of the options: forward, reversed, permuted-N (of seed N), or unlisted (no list of them: own words "
    "only); they are averaged likewise.  [default: forward and reversed]",
)  # fmt: skip
@click.option(
    "--marks", multiple=True, type=click.Choice(["labels", "digits", "letters"]),
    help="What an option is answered by: labels (its own words), digits (up to 9 options, then letters), or letters; "
    "several are averaged likewise.  [default: what the adapter was trained with, else labels; digits for a server]",
)  # fmt: skip
@template_arg_option
@click.option(
    "--precision", type=click.Choice(["float32", "bfloat16"]),
    help="Of the model's weights and activations; bfloat16 takes half the memory, and rounds effects (SmolLM2-135M: "
    "by a third of a typical one and more).  [default: float32; of an adapter's base as it was trained]",
)  # fmt: skip
@click.option(
    "--no-checks", is_flag=True,
    help="Leave out the check questions, which ask the model for each attribute that it was told, or was not.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The cube to write: .zarr or .nc.")
@click.option(
    "--try", "trying", is_flag=True,
    help="Try ways of asking on a small part, print in which the persona is heeded and the order of the options means "
    "nothing, and stop.  [default: all templates and marks]",
)  # fmt: skip
@click.option("--show-prompt", is_flag=True, help="Print one prompt exactly as the model gets it, and stop.")
@click.option("--value", metavar="NAME", help="With --show-prompt: which question.  [default: the first]")
@click.option(
    "--persona", metavar="A=B,C=D",
    help="With --show-prompt: who the model is told to be, gender=female,age=old or all.  [default: the fullest]",
)  # fmt: skip
@force_option
def elicit(
    source: str,
    revision: str | None,
    adapter: Path | None,
    model_differs: str,
    endpoint: str | None,
    rate: float | None,
    like: Path,
    templates: tuple[str, ...],
    orders: tuple[str, ...],
    marks: tuple[str, ...],
    template_args: tuple[str, ...],
    precision: str | None,
    no_checks: bool,
    output: Path | None,
    trying: bool,
    show_prompt: bool,
    value: str | None,
    persona: str | None,
    force: bool,
) -> None:
    """Ask a language model for the same cube, from the probabilities it gives to the answer options.

    \b
    acecausal elicit --model ./SmolLM2-135M-Instruct --like human.zarr -o model.zarr
    acecausal elicit --model M --like human.zarr --order forward --order reversed --template interview -o model.zarr
    acecausal elicit --endpoint http://localhost:8000/v1 --model NAME --like human.zarr -o model.zarr
    acecausal elicit --model M --like human.zarr --try
    acecausal elicit --model M --like human.zarr --show-prompt --value poverty --persona gender=female
    """
    from acecausal.cube.files import write_cube
    from acecausal.cube.outputs import check_output, hold

    writes = not (show_prompt or trying)
    if output is None and writes:
        raise click.UsageError("Missing option '-o' / '--output' (or --try, or --show-prompt).")
    _check_usage(endpoint, adapter, precision, revision, rate)
    if (value or persona) and not show_prompt:
        raise click.UsageError("--value and --persona are for --show-prompt: what is asked of whom, --like says.")
    if trying and orders:
        raise click.UsageError("--try asks both orders; leave --order out.")
    if output is not None and writes:
        check_output(output, suffixes=(".zarr", ".nc"), force=force)
        click.get_current_context().with_resource(hold(output))
    cube = opened(like)

    quiet_libraries()
    from align.elicitation.elicit import elicit as run
    from align.elicitation.elicit import questions, sample_text
    from align.elicitation.endpoint import shown
    from align.models.adapters import adapter_record
    from align.models.tokenizer import load_tokenizer
    from align.prompting import chat
    from align.prompting.prompts import render
    from align.training.besides import option_mass

    record = adapter_record(adapter) if adapter else {}
    recipe = record.get("recipe", {})
    wordings = _wordings(recipe, templates, orders, marks, "digits" if endpoint else "labels")
    told = record.get("template_args", {}) | chat.template_args(template_args)
    if show_prompt:
        for wording in wordings:
            text = sample_text(cube, wording, value, persona)
            click.echo(shown(endpoint, text) if endpoint else render(load_tokenizer(source, revision), text, told)[0])
        return
    kept = output.with_name(f"{output.name}.answers.jsonl") if endpoint and output and writes else None
    if endpoint:
        from align.elicitation.endpoint import Endpoint

        backend: Backend = Endpoint(endpoint, source, per_second=rate, store=kept, template_args=told)
        attrs: dict[str, Any] = {}
    else:
        backend, attrs = _in_process(source, adapter, revision, precision, told, model_differs=model_differs == "ok")
    if trying:
        _try(backend, cube, templates, marks or (("digits", "letters") if endpoint else ()))
        return
    assert output is not None
    if fresh := [w.label for w in wordings if any(map(w.matches, recipe.get("kept_back", [])))]:
        attrs["never_trained_on"] = fresh
    with progress_bar("elicit", questions(cube, checks=not no_checks)) as step:
        asked = run(backend, cube, wordings=wordings, checks=not no_checks, attrs=attrs, progress=step)
    write_cube(asked, output, force=force)
    if kept:
        kept.unlink(missing_ok=True)
    note(f"{output}: option mass {option_mass(asked):.2f}")
    _warn(asked)


def _check_usage(
    endpoint: str | None, adapter: Path | None, precision: str | None, revision: str | None, rate: float | None
) -> None:
    """Refuse options that are for the other kind of model."""
    for option, given in (("--adapter", adapter), ("--precision", precision), ("--revision", revision)):
        if endpoint and given:
            raise click.UsageError(f"{option} is for a model in this process, not for --endpoint.")
    if rate and not endpoint:
        raise click.UsageError("--rate is for --endpoint.")


def _try(backend: Backend, cube: xr.Dataset, templates: tuple[str, ...], marks: tuple[str, ...]) -> None:
    """Print how a model takes ways of asking, and name the best."""
    from acecausal.comparison.agreement import CONTENT
    from acecausal.comparison.heeding import HEEDED
    from align.elicitation.trying import try_wordings
    from align.prompting.templates import TEMPLATES
    from align.prompting.wordings import MARKS, UNLISTED

    found, best = try_wordings(backend, cube, templates or tuple(TEMPLATES), marks or MARKS)
    rows = [
        [
            f"{one.template} {one.marks}{' unlisted' if one.orders == (UNLISTED,) else ''}", f"{one.mean_heed:.2f}",
            ", ".join(f"{label} {number:.2f}" for label, number in one.heed.items() if number < HEEDED) or "-",
            f"{one.order_agreement:+.2f}", f"{one.option_mass:.2f}", f"{one.seconds:.1f}",
        ]
        for one in found
    ]  # fmt: skip
    columns = ["", "heed", "not heeded", "order agreement", "option mass", "seconds"]
    print_table(f"ways of asking, in both orders: {cube['country_label'].values[0]}", columns, rows)
    if not best.order_agreement >= CONTENT:
        note("in none of them are effects the same when the options are listed in reverse: the model answers by place")
    order = f" --order {UNLISTED}" if best.orders == (UNLISTED,) else ""
    note(f"best: --template {best.template} --marks {best.marks}{order}")


def _warn(asked: xr.Dataset) -> None:
    """Say what of a cube is missing, put in, asked otherwise than usual, or does not hold in another wording."""
    from acecausal.comparison import agreement, heeding

    agreed = {part: asked.attrs[f"{part}_agreement"] for part in agreement.PARTS if f"{part}_agreement" in asked.attrs}
    if agreed:
        note("effects agree between: " + ", ".join(f"{part}s {number:+.2f}" for part, number in agreed.items()))
    if heed := heeding.summary(asked):
        note(heed)
    for warning in (*agreement.warnings(asked), *heeding.warnings(asked)):
        note(f"warning: {warning}")
    marks = json.loads(asked.attrs["marks"])
    if agreed.get("order", 1.0) < agreement.CONTENT and marks != ["labels"]:
        unbound = " and ".join(mark for mark in marks if mark != "labels")
        note(
            f"warning: {unbound} do not stand for their options in this model: ask in the options' own words (--marks "
            "labels), or look for a way of asking that holds (--try)"
        )
    if float(asked["option_mass"].mean()) < 0.5:
        note("warning: the model puts most of its probability on something that is no option")
    if float(asked.attrs.get("checks_option_mass", 1.0)) < 0.5:
        note("warning: asked the check questions, the model puts most of its probability on what is no option")
    if "imputed_share" in asked and float(asked["imputed_share"].max()) > 0:
        some, share = float((asked["imputed_share"] > 0).mean()), asked["imputed_share"]
        note(
            f"warning: in {some:.0%} of the prompts the server did not list every option; what was put in for them is "
            f"{float(share.mean()):.1%} of the option mass on average, {float(share.max()):.0%} at most (imputed_share)"
        )
    surest = asked["response"].max("option")
    if float((surest > 1 - 1e-9).sum()) > 0.5 * float(surest.notnull().sum()):
        note(
            "warning: nearly every answer is certain: a server that gives probabilities after its temperature (of 0, "
            "say) tells nothing of what it would have said; ask it for log probabilities at temperature 1"
        )
    if lost := asked.attrs.get("prompts_missing"):
        note(f"warning: the server listed no option of {lost} prompts: their personas and effects are missing")
    if lost := asked.attrs.get("checks_missing"):
        note(f"warning: the server listed no option of {lost} check questions' prompts: their heed is missing")
    if short := asked.attrs.get("short_lists"):
        note(
            f"warning: after {short} prompts the server listed fewer tokens than asked for and not all probability: of "
            "two tokens of one spelling it may tell only one, and options may be too low"
        )
    if asked.attrs.get("chat_turns", "").startswith("user"):
        note("the chat template takes no system text: it stands at the head of the user's turn")


def _wordings(
    recipe: dict[str, Any], templates: tuple[str, ...], orders: tuple[str, ...], marks: tuple[str, ...], usual: str
) -> tuple[Wording, ...]:
    """Cross what is said; else both orders, the first template and marks that the adapter was trained with."""
    from align.prompting.wordings import ORDERS, crossed

    templates = templates or tuple(recipe.get("templates", ["persona-last"])[:1])
    return crossed(templates, orders or ORDERS, marks or tuple(recipe.get("marks", [usual])[:1]))


def _in_process(
    source: str,
    adapter: Path | None,
    revision: str | None,
    precision: str | None,
    told: dict[str, Any],
    *,
    model_differs: bool,
) -> tuple[Backend, dict[str, Any]]:
    """Load the model that answers, and say where it comes from."""
    from align.elicitation.backends import InProcess
    from align.models.identity import provenance
    from align.models.load import load_model

    loaded = load_model(source, adapter, revision=revision, precision=precision, model_differs=model_differs)
    backend = InProcess(*loaded, template_args=told)
    if backend.scorer.note:
        note(backend.scorer.note)
    attrs = provenance(source, adapter, revision=revision)
    if attrs.get("adapter_base") == "unknown":
        note(f"{adapter} does not say by hash which model it was trained on")
    return backend, attrs
