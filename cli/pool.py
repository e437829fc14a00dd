"""acecausal pool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.console import force_option, names, note, opened, print_table
from cli.selection import select

if TYPE_CHECKING:
    import pandas as pd


@click.command()
@click.argument("cube", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the table, unrounded: .csv.")
@click.option(
    "--attribute", "attributes", callback=names, metavar="A,B", help="gender, or gender:female.  [default: all]"
)
@click.option("--value", "values", callback=names, metavar="A,B", help="Values (questions).  [default: all]")
@click.option("--context", default="all", show_default=True, help="The persona within which effects are pooled.")
@force_option
def pool(cube: Path, output: Path | None, attributes: list[str], values: list[str], context: str, force: bool) -> None:
    """Pool a survey cube's effects over its countries, and say how much countries differ.

    Random effects over at least two countries. tau: standard deviation of true effects between countries; I2: its share
    of the spread; p: of no difference between countries; prediction: interval for a further country.

    Example: acecausal pool human.zarr --attribute gender -o pooled.csv
    """
    from acecausal.comparison.pooling import pooled
    from acecausal.cube.outputs import check_output, whole
    from acecausal.errors import AceError

    if output is not None:
        check_output(output, suffixes=(".csv",), force=force)
    people = opened(cube)
    found = pooled(select(people, attributes=attributes, values=values, contexts=[context]))
    table = found.to_dataframe(["attribute", "value", "persona"])[list(found.data_vars)]
    table = table.dropna(subset=["effect"]).reset_index()
    if table.empty:
        raise AceError(
            "no effect has an estimate in two countries", param=str(cube), hint="the variable status says why"
        )
    print_table(f"{cube}, context {context}: effects over countries", *_shown(table))
    if output is not None:
        with whole(output) as beside:
            table.to_csv(beside, index=False)
        note(f"{output}: {len(table)} pooled effects")


def _shown(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    columns = ["", "effect", "interval", "prediction", "tau", "I2", "p", "countries"]
    rows = [
        [
            f"{row.attribute} {row.value}",
            f"{row.effect:+.3f}",
            f"{row.lower:+.3f} to {row.upper:+.3f}",
            f"{row.prediction_lower:+.3f} to {row.prediction_upper:+.3f}" if row.k > 2 else "-",
            f"{row.tau2**0.5:.3f}",
            f"{row.i2:.0%}",
            "<0.001" if row.p_heterogeneity < 0.001 else f"{row.p_heterogeneity:.3f}",
            str(row.k),
        ]
        for row in table.itertuples()
    ]
    return columns, rows
