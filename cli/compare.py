"""acecausal compare."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cli.console import hold_out_option, print_comparison


@click.command()
@click.argument("human", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@hold_out_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def compare(human: Path, model: Path, hold_out: tuple[str, ...], as_json: bool) -> None:
    """Compare a model's cube with people's: levels and effects apart, each with null, ceiling and skill.

    HUMAN and MODEL are cubes. skill is 1 at the survey's own noise, 0 at the null (the country's marginal; no effect).
    """
    from acecausal import comparison, holdout
    from acecausal.cube import open_cube

    people, answers = open_cube(human), open_cube(model)
    held_out = holdout.parse(hold_out, people) or None
    result = comparison.compare(people, answers, held_out=held_out)
    if as_json:
        click.echo(json.dumps(result, indent=1))
    else:
        print_comparison(f"{model} against {human}", result)
