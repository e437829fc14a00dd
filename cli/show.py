"""acecausal show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.console import names, note, print_table
from cli.selection import select

if TYPE_CHECKING:
    import pandas as pd

#: Characters of an interval's picture; odd, so that zero has one in the middle.
WIDTH = 25


@click.command()
@click.argument("cube", type=click.Path(path_type=Path))
@click.option("--country", "countries", callback=names, metavar="A,B", help="Countries.  [default: all]")
@click.option(
    "--attribute", "attributes", callback=names, metavar="A,B", help="gender, or gender:female.  [default: all]"
)
@click.option("--value", "values", callback=names, metavar="A,B", help="Values (questions).  [default: all]")
@click.option("--context", default="all", show_default=True, help="The persona within which effects are shown.")
@click.option("--options", is_flag=True, help="Each option's shift in probability instead of the effect on the score.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="Most rows.")
def show(
    cube: Path,
    countries: list[str],
    attributes: list[str],
    values: list[str],
    context: str,
    options: bool,
    limit: int,
) -> None:
    """Show a cube's effects in the terminal, with their intervals drawn around zero.

    A star marks q below 0.05. Nominal values have no score, so no effect: --options shows their shifts.

    Example: acecausal show human.zarr --country Norway --attribute gender
    """
    from acecausal.comparison import heeding
    from acecausal.cube.doubts import doubts, reasons
    from acecausal.cube.files import open_cube
    from acecausal.errors import AceError

    found = open_cube(cube)
    part = select(found, countries=countries, attributes=attributes, values=values, contexts=[context])
    table = part.ace.table("option" if options else "effect").dropna(subset=["estimate"])
    if table.empty:
        why = ", ".join(f"{what} {count}" for what, count in reasons(part).items())
        raise AceError("nothing estimated there", param=str(cube), hint=why or "the variable status says why")
    ignored = heeding.unheeded(part)
    table["attribute"] = [f"{name}{f' {heeding.MARK}' if name in ignored else ''}" for name in table["attribute"]]
    kind = "shifts in probability" if options else "effects on the score, 0..1"
    print_table(f"{cube}, context {context}: {kind}", *_shown(table[:limit]))
    if context == "all":
        for doubt in doubts(part):
            note(f"doubt: {doubt}")
    for line in (heeding.summary(part), *(f"warning: {warning}" for warning in heeding.warnings(part))):
        if line:
            note(line)
    if len(table) > limit:
        note(f"{len(table) - limit} rows more: choose with --country, --attribute, --value, or --limit {len(table)}")


def _shown(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    sure = "conf.low" in table
    ends = table[["conf.low", "conf.high"]] if sure else table[["estimate"]]
    reach = float(ends.abs().to_numpy().max()) or 1.0
    columns = [
        "",
        "effect",
        *(["interval", "q"] if sure else []),
        "n",
        f"{-reach:.2f} to {reach:.2f}".center(WIDTH + 2),
    ]
    rows = []
    for row in table.to_dict("records"):
        name = f"{row['country']}  {row['attribute']}  {row['value']}"
        cells = [f"{name}  {row['option_label']}" if "option_label" in row else name, f"{row['estimate']:+.3f}"]
        if sure:
            q = row.get("q.value")
            starred = "-" if q is None else f"{'<0.001' if q < 0.001 else f'{q:.3f}'}{'*' if q < 0.05 else ' '}"
            cells += [f"{row['conf.low']:+.3f} to {row['conf.high']:+.3f}", starred]
        rows.append([*cells, str(row["n"]), drawn(row, reach)])
    return columns, rows


def drawn(row: dict[Any, Any], reach: float) -> str:
    """Draw an estimate, and its interval if it has one, on a line from -reach to reach."""

    def at(number: float) -> int:
        return min(max(round((number / reach + 1) / 2 * (WIDTH - 1)), 0), WIDTH - 1)

    line = [" "] * WIDTH
    if "conf.low" in row:
        low, high = at(row["conf.low"]), at(row["conf.high"])
        line[low : high + 1] = "─" * (high + 1 - low)
    line[WIDTH // 2] = "│" if line[WIDTH // 2] == " " else "┼"
    line[at(row["estimate"])] = "●"
    return f"[{''.join(line)}]"
