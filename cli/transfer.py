"""acecausal transfer."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acecausal.plain_numbers import number_or_dash
from cli.console import (
    SEED,
    asked_of,
    force_option,
    note,
    output_option,
    print_table,
    progress_bar,
    quiet_libraries,
    revision_option,
    several_processes,
    template_arg_option,
)

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

RERUN = "--resume goes on with a run that was cut off, --force starts anew"
#: Groups of which the whole matrix is printed, at most.
PRINTED = 8


@click.command()
@click.option("--model", "source", required=True, metavar="PATH|HUB_ID", help="A model folder, hub id, or .gguf file.")
@revision_option
@click.option("--cube", required=True, type=click.Path(path_type=Path), help="Survey cube to align to.")
@click.option(
    "--over", required=True, type=click.Choice(["country", "topic", "attribute"]),
    help="What the groups are. Of an attribute are the personas that specify it and no other.",
)  # fmt: skip
@click.option("--recipe", default="default", show_default=True, metavar="NAME|FILE", help="How to train.")
@click.option("--passes", type=int, help="Passes over the lattices.  [default: the recipe's]")
@click.option(
    "--examples", type=click.IntRange(min=0), default=12, show_default=True,
    help="Answers of a group that the untrained model is shown before each question, as a rival; 0: no such rows.",
)  # fmt: skip
@template_arg_option
@click.option("--seed", type=SEED, help="[default: the recipe's]")
@click.option("--resume", is_flag=True, help="Go on with a run that was cut off; nothing that is done is done again.")
@output_option("Folder for the table, the picture, and each row's adapter and cube.")
@force_option
def transfer(
    source: str,
    revision: str | None,
    cube: Path,
    over: str,
    recipe: str,
    passes: int | None,
    examples: int,
    template_args: tuple[str, ...],
    seed: int | None,
    resume: bool,
    output: Path,
    force: bool,
) -> None:
    """Train on each group alone and ask about every group, to see where what is learnt holds.

    One adapter for each country, topic or attribute, as of align with all others held out, asked about every group in
    wordings never trained on; beside it the untrained model, and the same with answers of the group in its prompt.

    \b
    acecausal transfer --model ./SmolLM2-135M-Instruct --cube human.zarr --over country -o transfer
    """
    from acecausal.cube.outputs import check_output, hold, whole

    if resume and force:
        raise click.UsageError("--resume and --force exclude each other.")
    if several_processes():
        raise click.UsageError("transfer runs in one process; align trains one group on several.")
    check_output(
        output, force=resume or force, hint="--resume goes on with a run that was cut off, --force starts anew"
    )
    click.get_current_context().with_resource(hold(output))
    people = asked_of(cube)

    quiet_libraries()
    from acecausal.report.transfer_matrix import write
    from align.prompting import chat
    from align.training.recipe import load_recipe
    from align.training.transfer import PICTURE, TABLE
    from align.training.transfer import transfer as run

    chosen = load_recipe(recipe, passes=passes, seed=seed)
    with progress_bar("transfer") as step:
        matrix = run(
            source,
            people,
            chosen,
            output,
            over=over,
            examples=examples,
            template_args=chat.template_args(template_args),
            revision=revision,
            resume=resume,
            force=force,
            progress=step,
            say=note,
        )
    if matrix.sizes["asked"] <= PRINTED:
        for part in ("effect", "level"):
            print_table(f"{part} skill, asked about (*: its own group)", *_shown(matrix, part))
    print_table("skill, mean over groups", *_summary(matrix))
    with whole(output / TABLE) as beside:
        table(matrix).to_csv(beside, index=False)
    with whole(output / PICTURE) as beside:
        write(matrix, beside, ".svg")
    note(f"{output}: {TABLE}, {PICTURE}; an adapter for each {over}; a cube for each row")


def table(matrix: xr.Dataset) -> pd.DataFrame:
    """List every cell of the matrix: what the model was given, of which group, and about which it was asked."""
    frame = matrix.to_dataframe().reset_index().drop(columns="row")
    first = ["method", "group", "asked", "own"]
    cells = [name for name in frame if str(name).endswith("_cells")]
    return frame[[*first, *(name for name in frame if name not in first)]].astype(dict.fromkeys(cells, int))


def _shown(matrix: xr.Dataset, part: str) -> tuple[list[str], list[list[str]]]:
    skill, own = matrix[f"{part}_skill"].values, matrix["own"].values
    rows = [
        [str(label), *(f"{_number(cell)}{'*' if mine else ' '}" for cell, mine in zip(of, marks, strict=True))]
        for label, of, marks in zip(matrix["row"].values, skill, own, strict=True)
    ]
    return ["", *map(str, matrix["asked"].values)], rows


def _summary(matrix: xr.Dataset) -> tuple[list[str], list[list[str]]]:
    """Average skill over the groups that a model was given, and over the others."""
    rows = []
    for method in dict.fromkeys(matrix["method"].values.tolist()):
        these = matrix.isel(row=matrix["method"].values == method)
        means = [
            these[f"{part}_skill"].where(these["own"] == own).mean().item()
            for part in ("effect", "level")
            for own in (True, False)
        ]
        rows.append([method, *map(_number, means)])
    return ["", "effect, own group", "effect, others", "level, own group", "level, others"], rows


def _number(found: float) -> str:
    return number_or_dash(None if isnan(found) else found)
