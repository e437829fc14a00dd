"""acecausal elicit."""

from __future__ import annotations

from pathlib import Path

import click

from cli.console import force_option, note, progress_bar, quiet_libraries


@click.command()
@click.option("--model", "source", required=True, metavar="PATH|HUB_ID", help="A model folder, hub id, or .gguf file.")
@click.option("--adapter", type=click.Path(path_type=Path), help="A PEFT adapter folder to put on the model.")
@click.option("--like", required=True, type=click.Path(path_type=Path), help="Cube that says what is asked of whom.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The cube to write: .zarr or .nc.")
@click.option("--show-prompt", is_flag=True, help="Print one prompt exactly as the model gets it, and stop.")
@force_option
def elicit(source: str, adapter: Path | None, like: Path, output: Path | None, show_prompt: bool, force: bool) -> None:
    """Ask a language model for the same cube, from the probabilities it gives to the answer options.

    \b
    acecausal elicit --model ./SmolLM2-135M-Instruct --like human.zarr -o model.zarr
    """
    from acecausal.cube import check_output, open_cube, write_cube

    if output is None and not show_prompt:
        raise click.UsageError("Missing option '-o' / '--output' (or --show-prompt).")
    if output is not None and not show_prompt:
        check_output(output, suffixes=(".zarr", ".nc"), force=force)
    cube = open_cube(like)

    quiet_libraries()
    from align.elicit import elicit as run
    from align.elicit import show_prompt as prompt_of
    from align.models import load_model, load_tokenizer, provenance
    from align.scorer import Scorer

    if show_prompt:
        click.echo(prompt_of(load_tokenizer(source), cube))
        return
    model, tokenizer = load_model(source, adapter)
    scorer = Scorer(model)
    if scorer.note:
        note(scorer.note)
    with progress_bar("elicit", cube.sizes["country"] * cube.sizes["value"]) as step:
        asked = run(model, tokenizer, cube, attrs=provenance(source, adapter), scorer=scorer, progress=step)
    assert output is not None
    write_cube(asked, output, force=force)
    mass = float(asked["option_mass"].mean())
    note(f"{output}: option mass {mass:.2f}")
    if mass < 0.5:
        note("warning: the model puts most of its probability on something that is no option")
