"""acecausal elicit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.console import force_option, note, progress_bar, quiet_libraries

if TYPE_CHECKING:
    from align.backends import Backend
    from align.prompts import Wording


@click.command()
@click.option(
    "--model", "source", required=True, metavar="PATH|HUB_ID|NAME",
    help="A model folder, hub id, or .gguf file; with --endpoint the server's name for the model.",
)  # fmt: skip
@click.option("--adapter", type=click.Path(path_type=Path), help="A PEFT adapter folder to put on the model.")
@click.option(
    "--endpoint", metavar="URL",
    help="Ask an OpenAI-compatible server instead: http://host/v1 (completions), or a URL that ends in "
    "/chat/completions. The key is taken from OPENAI_API_KEY. Answers are kept beside the output until it is written, "
    "so that a run that was cut off asks nothing twice.",
)  # fmt: skip
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Most requests per second to the server.")
@click.option("--like", required=True, type=click.Path(path_type=Path), help="Cube that says what is asked of whom.")
@click.option(
    "--template", "templates", multiple=True, metavar="NAME",
    help="persona-last, interview or ace-align; several are averaged, and their spread becomes the standard error.  "
    "[default: what the adapter was trained with, else persona-last]",
)  # fmt: skip
@click.option(
    "--order", "orders", multiple=True, metavar="NAME",
    help="Order of the options: forward or reversed; both are averaged likewise.  [default: forward]",
)  # fmt: skip
@click.option(
    "--marks", metavar="NAME",
    help="What an option is answered by: auto (digits up to 9 options, then letters), letters, or labels (its words).  "
    "[default: auto]",
)  # fmt: skip
@click.option(
    "--precision", type=click.Choice(["float32", "bfloat16"]),
    help="Of the model's weights and activations; bfloat16 takes half the memory, and rounds effects (SmolLM2-135M: "
    "by a third of a typical one and more).  [default: float32; of an adapter's base as it was trained]",
)  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The cube to write: .zarr or .nc.")
@click.option("--show-prompt", is_flag=True, help="Print one prompt exactly as the model gets it, and stop.")
@force_option
def elicit(
    source: str,
    adapter: Path | None,
    endpoint: str | None,
    rate: float | None,
    like: Path,
    templates: tuple[str, ...],
    orders: tuple[str, ...],
    marks: str | None,
    precision: str | None,
    output: Path | None,
    show_prompt: bool,
    force: bool,
) -> None:
    """Ask a language model for the same cube, from the probabilities it gives to the answer options.

    \b
    acecausal elicit --model ./SmolLM2-135M-Instruct --like human.zarr -o model.zarr
    acecausal elicit --model M --like human.zarr --order forward --order reversed --template interview -o model.zarr
    acecausal elicit --endpoint http://localhost:8000/v1 --model NAME --like human.zarr -o model.zarr
    """
    from acecausal.cube import open_cube, write_cube
    from acecausal.outputs import check_output, hold

    if output is None and not show_prompt:
        raise click.UsageError("Missing option '-o' / '--output' (or --show-prompt).")
    if endpoint and adapter:
        raise click.UsageError("--adapter is for a model in this process, not for --endpoint.")
    if endpoint and precision:
        raise click.UsageError("--precision is for a model in this process, not for --endpoint.")
    if rate and not endpoint:
        raise click.UsageError("--rate is for --endpoint.")
    if output is not None and not show_prompt:
        check_output(output, suffixes=(".zarr", ".nc"), force=force)
        click.get_current_context().with_resource(hold(output))
    cube = open_cube(like)

    quiet_libraries()
    from align.besides import option_mass
    from align.elicit import elicit as run
    from align.elicit import sample_text
    from align.endpoint import shown
    from align.models import load_tokenizer
    from align.prompts import render

    wordings = _wordings(adapter, templates, orders, marks)
    if show_prompt:
        for wording in wordings:
            text = sample_text(cube, wording)
            click.echo(shown(endpoint, text) if endpoint else render(load_tokenizer(source), text)[0])
        return
    assert output is not None
    kept = output.with_name(f"{output.name}.answers.jsonl") if endpoint else None
    backend, attrs = _backend(source, adapter, precision, endpoint, rate, kept)
    with progress_bar("elicit", cube.sizes["country"] * cube.sizes["value"]) as step:
        asked = run(backend, cube, wordings=wordings, attrs=attrs, progress=step)
    write_cube(asked, output, force=force)
    if kept:
        kept.unlink(missing_ok=True)
    mass = option_mass(asked)
    note(f"{output}: option mass {mass:.2f}")
    if mass < 0.5:
        note("warning: the model puts most of its probability on something that is no option")
    if "unlisted_mass" in asked and float(asked["unlisted_mass"].max()) > 0:
        share = float((asked["unlisted_mass"] > 0).mean())
        note(f"warning: in {share:.0%} of the prompts the server did not list every option (see unlisted_mass)")


def _wordings(
    adapter: Path | None, templates: tuple[str, ...], orders: tuple[str, ...], marks: str | None
) -> list[Wording]:
    """Cross templates and orders; what is not said is as the adapter was trained."""
    from align.models import adapter_record
    from align.prompts import Wording

    recipe = adapter_record(adapter).get("recipe", {}) if adapter else {}
    return [
        Wording(template, order, marks or recipe.get("marks", "auto"))
        for template in dict.fromkeys(templates or (recipe.get("template", "persona-last"),))
        for order in dict.fromkeys(orders or recipe.get("orders", ("forward",)))
    ]


def _backend(
    source: str,
    adapter: Path | None,
    precision: str | None,
    endpoint: str | None,
    rate: float | None,
    kept: Path | None,
) -> tuple[Backend, dict[str, Any]]:
    """Make what answers, and say where the model comes from."""
    if endpoint:
        from align.endpoint import Endpoint

        return Endpoint(endpoint, source, per_second=rate, store=kept), {}
    from align.backends import InProcess
    from align.models import load_model, provenance

    backend = InProcess(*load_model(source, adapter, precision=precision))
    if backend.scorer.note:
        note(backend.scorer.note)
    return backend, provenance(source, adapter)
