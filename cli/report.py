"""acecausal report."""

from __future__ import annotations

from pathlib import Path

import click

from cli.console import force_option, note, output_option


@click.command()
@click.argument("human", type=click.Path(path_type=Path))
@click.argument("models", nargs=-1, type=click.Path(path_type=Path))
@output_option("The page to write: .html.")
@force_option
def report(human: Path, models: tuple[Path, ...], output: Path, force: bool) -> None:
    """Write one self-contained page: what moves people's answers, how sure we are, and whether models follow.

    HUMAN and MODELS are cubes; a model is labelled by its file's name (by its path, if two have the same).
    """
    from acecausal.cube import check_output, open_cube
    from acecausal.report.page import write_report

    check_output(output, suffixes=(".html",), force=force)
    people = open_cube(human)
    stems = [path.stem for path in models]
    labelled = {path.stem if stems.count(path.stem) == 1 else str(path): open_cube(path) for path in models}
    write_report(people, labelled, output)
    note(str(output))
