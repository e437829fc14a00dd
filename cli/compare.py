"""acecausal compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from acecausal.plain_numbers import number_or_dash
from cli.console import hold_out_option, model_differs_option, note, opened, print_comparison, print_table


@click.command()
@click.argument("human", type=click.Path(path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@hold_out_option
@click.option(
    "--protocol",
    type=click.Choice(["ace-align"]),
    help="Print this published table instead: 100(1-EMD) by granularity and country.",
)
@model_differs_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def compare(
    human: Path, model: Path, hold_out: tuple[str, ...], protocol: str | None, model_differs: str, as_json: bool
) -> None:
    """Compare a model's cube with people's: levels and effects apart, each with null, ceiling and skill.

    HUMAN and MODEL are cubes. skill is 1 at the survey's own noise, 0 at the null (the country's marginal; no effect).

    \b
    acecausal compare human.zarr model.zarr
    acecausal compare human.zarr model.zarr --hold-out country=USA --json
    """
    from acecausal.comparison import answering, holdout
    from acecausal.comparison import compare as comparison
    from acecausal.comparison.coherence import coherence_lines
    from acecausal.errors import CubeError

    if protocol and hold_out:
        raise click.UsageError("--hold-out has no place in --protocol: it knows no splits.")
    people, answers = opened(human), opened(model)
    if answers.attrs.get("adapter_base") == "differs" and model_differs != "ok":
        raise CubeError(
            "its adapter was on another model than it was trained on", param=str(model),
            got=f"{answers.attrs.get('adapter', 'an adapter')} on {answers.attrs.get('model', 'a model')}",
            hint="--model-differs ok compares it all the same",
        )  # fmt: skip
    if protocol:
        from acecausal.comparison.protocol import ace_align

        _print_protocol(f"{model} against {human}", ace_align(people, answers), as_json)
        return
    held_out = holdout.parse(hold_out, people) or None
    result = comparison.compare(people, answers, held_out=held_out)
    if as_json:
        click.echo(json.dumps(result, indent=1))
    else:
        print_comparison(f"{model} against {human}", result)
        for line in comparison.differences(people, answers):
            note(f"note: {line}")
        for line in coherence_lines(*comparison.shared(people, answers)):
            note(f"note: {line}")
        for warning in answering.warnings(answers):
            note(f"warning: {warning}")


def _print_protocol(title: str, result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(result, indent=1))
        return
    countries = list(result["rows"][0]["countries"])
    rows = [
        [
            str(row["granularity"]),
            *map(number_or_dash, (*row["countries"].values(), row["mean"])),
        ]
        for row in result["rows"]
    ]
    print_table(f"{title}: 100(1-EMD), protocol {result['protocol']}", ["attributes", *countries, "mean"], rows)
    if result["thin"]:
        note(
            f"{result['thin']} of {result['files']} topics and combinations have no group of "
            f"{result['min_respondents']} people: there all groups count"
        )
