"""acecausal import and acecausal export."""

from __future__ import annotations

from inspect import cleandoc
from pathlib import Path
from typing import Any

import click

from acecausal.exchange import EXPORTS, FORMATS, IMPORTS
from cli.console import force_option, names, note, opened, output_option


def _help(text: str, formats: tuple[str, ...]) -> str:
    """Put what the formats hold into a help text, where it says LIST."""
    return cleandoc(text).replace("LIST", "\b\n" + "\n".join(f"{name}: {FORMATS[name]}" for name in formats))


@click.command(
    "import",
    help=_help(
        """Make a cube of people from another program's files: plain differences of subgroups (associations).

    FORMAT is one of these; a table of effects (broom) tells no responses, so it can only be exported.

    LIST

    Standard errors are those of independent multinomial samples: the files know no design.

    \b
    acecausal import ace-align ACE-Align/data/eval --baseline gender=Male -o published.zarr
    """,
        IMPORTS,
    ),
)
@click.argument("format", type=click.Choice(IMPORTS))
@click.argument("path", type=click.Path(path_type=Path))
@output_option("The cube to write: .zarr or .nc.")
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="ATTRIBUTE=LEVEL",
    help="Effects are moves away from this level; once per attribute.  "
    "[default: the first as written; opinionqa: as VITAL orders them; subpop: none]",
)
@click.option("--nominal", callback=names, metavar="A,B", help="Values whose options have no order.")
@click.option("--ordinal", callback=names, metavar="A,B", help="Values whose options have an order, as listed.")
@click.option("--keep-refusals", is_flag=True, help="opinionqa: 'Not sure', 'Refused' ... are an option, not left out.")
@click.option("--attributes", callback=names, metavar="A,B", help="popfidelity: names of the parts of cell_id.")
@click.option(
    "--respondents", type=click.IntRange(1, 2**31 - 1), help="People behind each group, where the files do not say."
)
@click.option("--country", default="", metavar="NAME", help="The country, where the files do not say.")
@click.option("--source", default="", metavar="NAME", help="popfidelity: the source to read, where there are several.")
@click.option("--min-arm", default=30, show_default=True, help="Fewest respondents per arm for an estimate.")
@click.option("--confidence", default=0.95, show_default=True, help="Of intervals and bands.")
@click.option("--keep-going", is_flag=True, help="Pass over what is wrong, list it, and end with exit code 3.")
@force_option
def import_(
    format: str,
    path: Path,
    output: Path,
    baselines: tuple[str, ...],
    nominal: list[str],
    ordinal: list[str],
    attributes: list[str],
    force: bool,
    **choices: Any,
) -> None:
    """Make a cube of people from another program's files."""
    from acecausal.cube import schema
    from acecausal.cube.files import write_cube
    from acecausal.cube.outputs import check_output
    from acecausal.exchange import import_cube
    from acecausal.exchange.choices import Choices
    from acecausal.exchange.rows import parse_baselines

    check_output(output, suffixes=(".zarr", ".nc"), force=force)
    found = import_cube(
        format,
        path,
        Choices(
            baselines=parse_baselines(baselines), nominal=tuple(nominal), ordinal=tuple(ordinal),
            attributes=tuple(attributes), **choices,
        ),
    )  # fmt: skip
    write_cube(found.cube, output, force=force)
    counts = found.cube["status"].to_series().value_counts()
    by_name = {schema.STATUS[code]: int(count) for code, count in counts.items()}
    note(f"{output}: " + ", ".join(f"{by_name[name]} {name}" for name in schema.STATUS if name in by_name))
    if found.noted:
        note("note: " + ", ".join(f"{what} {count}" for what, count in found.noted.items()))
    for problem in found.problems:
        note(f"passed over: {problem}")
    if found.problems:
        note(f"{len(found.problems)} problems were passed over")
        raise SystemExit(3)


@click.command(
    help=_help(
        """Write a cube in another program's format.

    FORMAT is one of:

    LIST

    What the format does not hold is listed on stderr. ACE-Align's formats are for cubes of people.

    \b
    acecausal export broom human.zarr -o effects.csv
    """,
        EXPORTS,
    )
)
@click.argument("format", type=click.Choice(EXPORTS))
@click.argument("cube", type=click.Path(path_type=Path))
@output_option("The file or folder to write.")
@force_option
def export(format: str, cube: Path, output: Path, force: bool) -> None:
    """Write a cube in another program's format."""
    from acecausal.exchange import export_cube

    lost = export_cube(format, opened(cube), output, force=force)
    note(f"{output}: {FORMATS[format]}")
    for what in lost:
        note(f"not in it: {what}")
