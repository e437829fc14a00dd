"""acecausal pool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.console import force_option, listed, names, note, opened, print_table
from cli.selection import select

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


@click.command()
@click.argument("cube", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the table, unrounded: .csv.")
@click.option(
    "--attribute", "attributes", callback=names, metavar="A,B", help="gender, or gender:female.  [default: all]"
)
@click.option("--value", "values", callback=names, metavar="A,B", help="Values (questions).  [default: all]")
@click.option(
    "--population", type=click.Path(path_type=Path), metavar="FILE",
    help="CSV with the columns country, population: the mean over the people of all of them, not over countries.",
)  # fmt: skip
@click.option("--context", default="all", show_default=True, help="The persona within which effects are pooled.")
@force_option
def pool(
    cube: Path,
    output: Path | None,
    attributes: list[str],
    values: list[str],
    population: Path | None,
    context: str,
    force: bool,
) -> None:
    """Pool a survey cube's effects over its countries, and say how much countries differ.

    Random effects over at least two countries. tau: standard deviation of true effects between countries; I2: its share
    of the spread; p: of no difference between countries; prediction: interval for a further country. Of values without
    an order (nominal) the shifts are pooled, option by option. With --population each country counts by its people,
    and how much countries differ is no error, since these are all; people: the share of them in countries that have an
    estimate.

    \b
    acecausal pool human.zarr --attribute gender -o pooled.csv
    acecausal pool human.zarr --population population.csv
    """
    from acecausal.comparison.pooling import pooled
    from acecausal.comparison.population import read_population
    from acecausal.cube.advice import advice
    from acecausal.cube.outputs import check_output, whole
    from acecausal.errors import AceError

    if output is not None:
        check_output(output, suffixes=(".csv",), force=force)
    people = select(opened(cube), attributes=attributes, values=values, contexts=[context])
    of = None if population is None else read_population(population)
    table = _listed(pooled(people, population=of), ["attribute", "value", "persona"])
    unordered = people.isel(value=(people["scale"] == "nominal").values)
    moved = _listed(pooled(unordered, by="option", population=of), ["attribute", "value", "persona", "option"])
    moved.insert(3, "option_label", [_label(unordered, value, k) for value, k in moved[["value", "option"]].values])
    if table.empty and moved.empty:
        raise AceError(
            "no effect has an estimate in two countries",
            param=str(cube),
            hint="the variable status says why"
            if people.sizes["country"] > 1
            else "it has one country: acecausal show",
        )
    over = "over countries" if of is None else "among the people of all countries"
    for what, listing, title in (("effect", table, "effects"), ("shift", moved, "shifts in probability")):
        if not listing.empty:
            print_table(f"{cube}, context {context}: {title} {over}", *_shown(listing, what))
    listed("left out", advice(people, context))
    if output is not None:
        with whole(output) as beside:
            written(table, moved).to_csv(beside, index=False)
        note(f"{output}: {len(table) + len(moved)} pooled effects")


#: What the fields of a pooled cube are called in the table, as broom and metafor do.
COLUMNS = {
    "persona": "context",
    "effect": "estimate",
    "se": "std.error",
    "lower": "conf.low",
    "upper": "conf.high",
    "prediction_lower": "prediction.low",
    "prediction_upper": "prediction.high",
    "tau2": "tau.squared",
    "i2": "i.squared",
    "cochran_q": "cochran.qe",
    "p_heterogeneity": "p.value.cochran.qe",
    "covered": "population.share",
}


def written(table: pd.DataFrame, moved: pd.DataFrame) -> pd.DataFrame:
    """Put pooled effects above the shifts of nominal values, under the columns of the other tables."""
    import pandas as pd

    both = pd.concat([table, moved], ignore_index=True) if len(moved) else table
    first = [name for name in ("attribute", "value", "persona", "option", "option_label") if name in both]
    both = both[[*first, *(name for name in both if name not in first)]].rename(columns=COLUMNS)
    both.insert(3, "term", both["attribute"])
    return both


def _listed(found: xr.Dataset, dims: list[str]) -> pd.DataFrame:
    table = found.to_dataframe(dims)[list(found.data_vars)]
    return table.dropna(subset=["effect"]).reset_index()


def _label(people: xr.Dataset, value: str, option: int) -> str:
    return str(people["option_label"].sel(value=value, option=option).item())


def _shown(table: pd.DataFrame, what: str) -> tuple[list[str], list[list[str]]]:
    by_people = "covered" in table
    differ = ["people"] if by_people else ["prediction", "tau", "I2", "p"]
    rows = [
        [
            f"{row.attribute} {row.value}{f' {row.option_label}' if what == 'shift' else ''}",
            f"{row.effect:+.3f}",
            f"{row.lower:+.3f} to {row.upper:+.3f}",
            *([f"{row.covered:.0%}"] if by_people else _differing(row)),
            str(row.k),
        ]
        for row in table.itertuples()
    ]
    return ["", what, "interval", *differ, "countries"], rows


def _differing(row: Any) -> list[str]:
    return [
        f"{row.prediction_lower:+.3f} to {row.prediction_upper:+.3f}" if row.k > 2 else "-",
        f"{row.tau2**0.5:.3f}",
        f"{row.i2:.0%}",
        "<0.001" if row.p_heterogeneity < 0.001 else f"{row.p_heterogeneity:.3f}",
    ]
