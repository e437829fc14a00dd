"""acecausal report."""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

import click

from acecausal.report.formats import Format
from cli.console import force_option, names, note, output_option
from cli.selection import select


@click.command()
@click.argument("human", type=click.Path(path_type=Path))
@click.argument("models", nargs=-1, type=click.Path(path_type=Path))
@output_option("The file to write; for svg and png the folder.")
@click.option(
    "--format", "kind", type=click.Choice(get_args(Format)), help="What to write.  [default: by the output's suffix]"
)
@click.option("--country", "countries", callback=names, metavar="A,B", help="Countries.  [default: all]")
@click.option(
    "--attribute", "attributes", callback=names, metavar="A,B", help="gender, or gender:female.  [default: all]"
)
@click.option("--value", "values", callback=names, metavar="A,B", help="Values (questions).  [default: all]")
@force_option
def report(
    human: Path,
    models: tuple[Path, ...],
    output: Path,
    kind: str | None,
    countries: list[str],
    attributes: list[str],
    values: list[str],
    force: bool,
) -> None:
    """Write a report: what moves people's answers, how sure we are, and whether models follow.

    HUMAN and MODELS are cubes; a model is labelled by its file's name (by its path, if two have the same).

    \b
    html      one self-contained page, for reading and choosing
    md, tex   tables, findings and methods, for papers
    csv       every effect with interval, q, n, estimator and design
    svg, png  a folder with every picture, and captions.md

    Example: acecausal report human.zarr before.zarr after.zarr -o report.html
    """
    from acecausal.cube.files import open_cube
    from acecausal.cube.outputs import check_output
    from acecausal.errors import AceError
    from acecausal.report import write_report

    kinds = get_args(Format)
    drawn = kind in ("svg", "png")
    suffixes = () if drawn else tuple(f".{name}" for name in ([kind] if kind else kinds[:4]))
    check_output(output, suffixes=suffixes, force=force)
    people = open_cube(human)
    if countries or attributes or values:
        part = select(people, countries=countries, attributes=attributes, values=values, contexts=[])
        cut = {"countries": "country", "contrasts": "attribute", "values": "value"}
        people = part.assign_attrs(
            selection=", ".join(f"{part.sizes[dim]} of {people.sizes[dim]} {name}" for name, dim in cut.items())
        )
    if len({path.resolve() for path in models}) < len(models):
        raise AceError("is given twice", param="MODELS", got=", ".join(map(str, models)))
    stems = [path.stem for path in models]
    labelled = {path.stem if stems.count(path.stem) == 1 else str(path): open_cube(path) for path in models}
    write_report(people, labelled, output, cast(Format, kind or output.suffix[1:]))
    note(str(output))
