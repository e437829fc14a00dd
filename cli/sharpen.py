"""acecausal sharpen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.console import (
    SEED,
    encoding_option,
    force_option,
    names,
    note,
    note_guesses,
    opened,
    print_table,
    progress_bar,
)
from cli.estimate import rows_of

if TYPE_CHECKING:
    import pandas as pd


@click.command()
@click.argument("data", nargs=-1, required=True)
@click.option("--codebook", required=True, metavar="NAME|FILE", help="A shipped codebook's name, or a YAML file.")
@click.option(
    "--model-cube", "model_cube", required=True, type=click.Path(path_type=Path),
    help="The model's cube, of acecausal elicit.",
)  # fmt: skip
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The cube to write: .zarr or .nc.")
@click.option(
    "--population", type=click.Path(path_type=Path), metavar="FILE",
    help="Whom the respondents stand for: a table of kinds of people (country, a column for each attribute, count).  "
    "[default: all respondents, those who did not answer a value included]",
)  # fmt: skip
@click.option(
    "--attributes",
    callback=names,
    metavar="A,B",
    help="Attributes of the lattice.  [default: those the model was told]",
)
@click.option(
    "--values", callback=names, metavar="A,B", help="Values (questions).  [default: those the model was asked]"
)
@click.option("--countries", callback=names, metavar="A,B", help="Countries.  [default: those the model was asked of]")
@click.option(
    "--rows", "rows", multiple=True, metavar="COLUMN=CODES",
    help="Rows to take, as in estimate. Can be given several times.  [default: the codebook's]",
)  # fmt: skip
@click.option("--depth", type=int, help="Largest number of attributes a persona specifies.  [default: all of them]")
@click.option(
    "--estimand", type=click.Choice(["direct", "total", "association"]), default="direct", show_default=True,
    help="As in estimate; by linear-dml, or the plain difference.",
)  # fmt: skip
@click.option("--graph", type=click.Path(path_type=Path), help="Causal graph, DOT or GML.  [default: the codebook's]")
@click.option("--min-arm", default=30, show_default=True, help="Fewest respondents per arm for an estimate.")
@click.option("--confidence", default=0.95, show_default=True, help="Of intervals and bands.")
@click.option("--seed", default=0, show_default=True, type=SEED, help="For folds.")
@click.option("--jobs", default=1, show_default=True, help="Processes. No number depends on it.")
@encoding_option
@force_option
def sharpen(
    data: tuple[str, ...],
    codebook: str,
    model_cube: Path,
    output: Path,
    rows: tuple[str, ...],
    encoding: str | None,
    force: bool,
    **choices: Any,
) -> None:
    """Estimate from survey data as estimate does, with a model as a second, cheap opinion on every respondent.

    What the model says of everybody is compared with what it says of those who answered: the difference is sampling
    error, and as much of it as answers share with the model is taken off. A wrong model costs nothing; a right one is
    worth so many more interviews (the variables gain and response_gain). For values that were put to a part of
    the respondents, by plan (split questionnaires), or with a census of the population.

    \b
    acecausal sharpen survey.sav --codebook survey.yaml --model-cube model.zarr -o sharpened.zarr
    """
    from acecausal.cube.files import write_cube
    from acecausal.cube.outputs import check_output, hold
    from acecausal.estimation import sharpening
    from acecausal.survey.codebook import load_codebook
    from acecausal.survey.data import read_survey

    check_output(output, suffixes=(".zarr", ".nc"), force=force)
    click.get_current_context().with_resource(hold(output))
    model = opened(model_cube)
    book = load_codebook(codebook)
    book = book.with_rows(rows_of(rows)) if rows else book
    book = book.only(choices["values"] or [name for name in model["value"].values.tolist() if name in book.values])
    note_guesses(data, encoding)
    survey = read_survey(data, book, encoding=encoding)
    with progress_bar("sharpen") as step:
        cube = sharpening.sharpen(survey, model, progress=step, **choices)
    found = sharpening.summary(cube)
    print_table(f"what {model_cube} is worth", *_shown(found))
    write_cube(cube, output, force=force)
    note(str(output))
    for doubt in sharpening.doubts(model):
        note(f"doubt: {doubt}")
    if not (found["sharpened"] > 0).any():
        note("the model is worth nothing here: the cube's numbers are those of estimate")
        if choices["population"] is None:
            note("only people who were not asked, or a population (--population), let a model be worth anything")


def _shown(found: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    rows = []
    for row in found.to_dict("records"):
        depth = row["attributes"]
        whom = "everyone" if not depth else f"{depth} attribute{'s' * (depth > 1)}"
        numbers = [f"{row['sharpened']:.0%}", f"{row['gain']:.3f}", f"{row['largest']:.3f}"]
        people = [f"{row[name]:,.0f}" for name in ("people", "as good as")]
        rows.append([f"{row['estimate']}, {whom}", str(row["cells"]), *numbers, *people])
    return ["", "cells", "sharpened", "gain", "largest", "people", "as good as"], rows
