"""acecausal show."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.console import MOST, listed, names, note, print_table
from cli.selection import select

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

SHIFTS = "shifts in probability, option by option"
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
@click.option("--options", is_flag=True, help="Of all values each option's shift in probability, not the effect.")
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

    A star marks q below 0.05. Values without an order (nominal) have shifts option by option instead of an effect;
    their q is of all options at once. n: the people that the effect speaks for. refuters: what the attempts to refute
    say (estimate --refute). Below: what has no number, why, and what helps.

    Example: acecausal show human.zarr --country Norway --attribute gender
    """
    from acecausal.comparison import answering, heeding
    from acecausal.cube.advice import advice
    from acecausal.cube.doubts import doubts, reasons
    from acecausal.cube.files import open_cube
    from acecausal.errors import AceError

    found = open_cube(cube)
    part = select(found, countries=countries, attributes=attributes, values=values, contexts=[context])
    tables = _tables(part, options=options)
    if all(table.empty for table in tables.values()):
        why = ", ".join(f"{what} {count}" for what, count in reasons(part).items())
        hint = "\n  hint: ".join([why or "the variable status says why", *advice(part, context)[:MOST]])
        raise AceError("nothing estimated there", param=str(cube), hint=hint)
    ignored = heeding.unheeded(part)
    rows, left = sum(map(len, tables.values())), limit
    for kind, table in tables.items():
        table["attribute"] = [f"{name}{f' {heeding.MARK}' if name in ignored else ''}" for name in table["attribute"]]
        if left > 0 and not table.empty:
            print_table(f"{cube}, context {context}: {kind}", *_shown(table[:left]))
        left -= len(table)
    if context == "all":
        for doubt in doubts(part):
            note(f"doubt: {doubt}")
    listed("no number", advice(part, context))
    if found.attrs["kind"] == "model":
        for line in (*answering.summaries(part), *(f"warning: {said}" for said in answering.warnings(part))):
            note(line)
    if rows > limit:
        note(f"{rows - limit} rows more: choose with --country, --attribute, --value, or --limit {rows}")


def _tables(part: xr.Dataset, *, options: bool) -> dict[str, pd.DataFrame]:
    """Give what is shown by title: effects of values that have a score, shifts of the others, or all shifts."""
    if options:
        return {SHIFTS: _joint(part.ace.table("option").dropna(subset=["estimate"]))}
    effects = part.ace.table().dropna(subset=["estimate"])
    unordered = part.isel(value=(part["scale"] == "nominal").values)
    return {
        "effects on the score, 0..1": _in_units(part, _refuted(part, effects)),
        SHIFTS: _joint(unordered.ace.table("option").dropna(subset=["estimate"])),
    }


def _in_units(part: xr.Dataset, table: pd.DataFrame) -> pd.DataFrame:
    """Put beside each effect on numbers what it is of their unit; of a cube without such values, no column."""
    if not (part["scale"] == "continuous").any():
        return table
    from acecausal.report.words import Names

    names, at = Names(part), part.indexes["value"].get_indexer(table["value"])
    moved = [names.moved(v, effect) for v, effect in zip(at, table["estimate"], strict=True)]
    return table.assign(units=[text.replace("−", "-") for text in moved])


def _joint(table: pd.DataFrame) -> pd.DataFrame:
    """Let the q-value of all shifts of a cell stand once, beside its first option."""
    if "joint.q.value" not in table:
        return table
    return table.assign(**{"q.value": table["joint.q.value"].where(table["option"] == 1)})


def _refuted(part: xr.Dataset, table: pd.DataFrame) -> pd.DataFrame:
    """Put beside each effect on everybody what the refuters that were run say of it; none, no column."""
    if "refutation_verdict" not in part or "all" not in part["persona"].values:
        return table
    from acecausal.cube import schema

    code = part["refutation_verdict"].transpose("country", "attribute", "value", "refuter").values
    if not (code[..., :-1] != schema.NOT_RUN).any():  # the last needs no draws
        return table
    where = [part.indexes[dim].get_indexer(table[dim]) for dim in ("country", "attribute", "value")]
    names = part["refuter"].values
    said = []
    for verdicts in code[*where]:
        against = [str(name).replace("_", " ") for name in names[verdicts == schema.INCONSISTENT]]
        unsure = (verdicts == schema.UNDECIDED).any()
        said.append(f"against: {', '.join(against)}" if against else "undecided" if unsure else "hold")
    return table.assign(refuters=said)


def _shown(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    sure, refuted = "conf.low" in table, "refuters" in table
    tested = "q.value" in table and table["q.value"].notna().any()
    ends = table[["conf.low", "conf.high"]] if sure else table[["estimate"]]
    reach = float(ends.abs().to_numpy().max()) or 1.0
    columns = [
        "",
        "shift" if "option" in table else "effect",
        *(["in its unit"] if "units" in table else []),
        *(["interval"] if sure else []),
        *(["q"] if tested else []),
        *(["n"] if "n" in table else []),
        f"{-reach:.2f} to {reach:.2f}".center(WIDTH + 2),
        *(["refuters"] if refuted else []),
    ]
    rows = []
    for row in table.to_dict("records"):
        name = f"{row['country']}  {row['attribute']}  {row['value']}"
        cells = [f"{name}  {row['option_label']}" if "option_label" in row else name, f"{row['estimate']:+.3f}"]
        if "units" in row:
            cells.append(row["units"])
        if sure:
            cells.append(f"{row['conf.low']:+.3f} to {row['conf.high']:+.3f}")
        if tested:
            q = row["q.value"]
            cells.append("" if math.isnan(q) else f"{'<0.001' if q < 0.001 else f'{q:.3f}'}{'*' if q < 0.05 else ' '}")
        if "n" in row:
            cells.append(str(row["n"]))
        rows.append([*cells, drawn(row, reach), *([row["refuters"]] if refuted else [])])
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
