"""acecausal design."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from acecausal.plain_numbers import number_or_dash
from cli.console import force_option, listed, names, note, opened, print_table
from cli.selection import select

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def _sizes(ctx: click.Context, param: click.Parameter, text: str) -> list[int]:
    sizes = names(ctx, param, text)
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise click.BadParameter(f"{text!r}: expected numbers of people, as 500,1000,2000")
    return list(map(int, sizes))


@click.command()
@click.argument("pilot", type=click.Path(path_type=Path))
@click.option("--respondents", required=True, callback=_sizes, metavar="N,N", help="People per country, to compare.")
@click.option(
    "--psus", type=click.IntRange(2), help="Sampling units per country.  [default: as many people in each as in PILOT]"
)
@click.option(
    "--effect", type=click.FloatRange(0, 1, min_open=True),
    help="True effect on the 0..1 score.  [default: each cell's own, drawn towards the others]",
)  # fmt: skip
@click.option("--power", "wanted", default=0.8, show_default=True, help="That is aimed at.")
@click.option("--min-arm", type=click.IntRange(2), help="Fewest people per arm.  [default: PILOT's]")
@click.option("--attribute", "attributes", callback=names, metavar="A,B", help="[default: all]")
@click.option("--value", "values", callback=names, metavar="A,B", help="[default: all that have an order]")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write every cell, unrounded: .csv.")
@force_option
def design(
    pilot: Path,
    respondents: list[int],
    psus: int | None,
    effect: float | None,
    wanted: float,
    min_arm: int | None,
    attributes: list[str],
    values: list[str],
    output: Path | None,
    force: bool,
) -> None:
    """Say, before there is data, what a survey of another size would be able to see.

    PILOT is a survey cube: of a pilot, an earlier round, or a simulated survey. detectable: the smallest effect of
    which the power is --power. thin: cells with fewer than --min-arm people in an arm, which get no number. unknown:
    others that had too few in PILOT. Numbers are medians over cells; enough is the share with that power of all cells.

    Example: acecausal design human.zarr --respondents 500,1000,4000 --effect 0.05
    """
    from acecausal.comparison import power
    from acecausal.cube.outputs import check_output, whole

    if output is not None:
        check_output(output, suffixes=(".csv",), force=force)
    cube = select(opened(pilot), attributes=attributes, values=values, contexts=[])
    cube = cube.sel(value=(cube["scale"] != "nominal").values)
    sizes = list(dict.fromkeys(respondents))
    found = {n: power.design(cube, n, psus=psus, effect=effect, wanted=wanted, min_arm=min_arm) for n in sizes}
    true = f"of an effect of {effect:g}" if effect else "of the pilot's own effects"
    print_table(f"among everyone; power {true}", *_contrasts(found))
    if cube.sizes["persona"] > 1:
        print_table("by attributes of the context", *_granularities(found))
    listed("advice", power.advice(found[sizes[0]]))
    if psus is not None and bool((cube["n_psu"] == cube["n"]).all()):
        note(
            "PILOT has no sampling units: all its variance is taken to lie between the new ones, the most that can; "
            "of a pilot that was drawn in units less does"
        )
    if output is not None:
        with whole(output) as beside:
            table(found).to_csv(beside, index=False)
        note(str(output))


def table(found: dict[int, xr.Dataset]) -> pd.DataFrame:
    """List every cell of every size."""
    import pandas as pd

    from acecausal.cube import schema

    parts = []
    for n, part in found.items():
        there = part["n_baseline"].notnull()
        frame = part.to_dataframe().reset_index()[[*schema.EDGE, *part.data_vars]]
        parts.append(frame[there.values.ravel()].assign(respondents=n).rename(columns={"persona": "context"}))
    return pd.concat(parts, ignore_index=True)


def _contrasts(found: dict[int, xr.Dataset]) -> tuple[list[str], list[list[str]]]:
    from acecausal.comparison.power import summary

    rows = []
    for n, part in found.items():
        for label in part["attribute"].values:
            numbers = summary(part.sel(persona="all", attribute=label))
            arm = numbers["arm"]
            smaller = "-" if arm is None else f"{arm:,.0f}"
            rows.append([f"{n:,}", str(label), smaller, *_written(numbers)])
    return ["respondents", "", "smaller arm", *COLUMNS], rows


def _granularities(found: dict[int, xr.Dataset]) -> tuple[list[str], list[list[str]]]:
    from acecausal.comparison.power import summary

    rows = []
    for n, part in found.items():
        for level in sorted(set(part["granularity"].values.tolist())):
            numbers = summary(part.sel(persona=(part["granularity"] == level).values))
            if numbers["cells"]:
                counts = [f"{numbers[name]:,}" for name in ("thin", "unknown")]
                rows.append([f"{n:,}", str(level), *counts, *_written(numbers)])
    return ["respondents", "attributes", "thin", "unknown", *COLUMNS], rows


COLUMNS = ("cells", "half width", "detectable", "power", "enough")


def _written(numbers: dict[str, float | None]) -> list[str]:
    shown = [number_or_dash(numbers[name], 3) for name in ("half_width", "detectable", "power")]
    enough = numbers["enough"]
    return [f"{numbers['cells']:,}", *shown, "-" if enough is None else f"{enough:.0%}"]
