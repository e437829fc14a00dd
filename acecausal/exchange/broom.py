"""Effects as one long table under the column names of R's broom. Only out: effects do not tell responses."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import xarray as xr

from acecausal.errors import CubeError
from acecausal.exchange import output


def write(cube: xr.Dataset, path: Path, *, force: bool = False) -> list[str]:
    """Write one row per estimated effect, as `cube.ace.table`, and one per option of nominal values, which have none.

    The rows of nominal values hold the option's shift in probability, and in joint.p.value and joint.q.value the test
    of all shifts of the cell at once. Returns what the table does not hold.

    Raises
    ------
    CubeError
        If nothing was estimated.
    """
    table = effects(cube)
    if table.empty:
        raise CubeError("has no effect to write", param="CUBE", hint="the variable status says why")
    with output.beside(path, suffixes=(".csv", ".parquet"), force=force) as part:
        if path.suffix == ".parquet":
            table.to_parquet(part, index=False)
        else:
            table.to_csv(part, index=False)
    return ["responses, shifts by option of values that have a score, empirical-Bayes versions and diagnostics"]


def effects(cube: xr.Dataset) -> pd.DataFrame:
    """Put the effects of values that have a score above the shifts of those that have none."""
    table = cube.ace.table().dropna(subset=["estimate"])
    unordered = cube.sel(value=cube["scale"] == "nominal")
    moved = unordered.ace.table("option").dropna(axis="columns", how="all")
    if moved.empty:
        return table.reset_index(drop=True)
    moved = moved.drop(columns=[name for name in ("band.low", "band.high") if name in moved])
    moved["option"] = moved["option"].astype("Int64")  # rows of effects have none, and 1.0 is no option
    first = [name for name in moved if name not in table]
    both = pd.concat([table, moved], ignore_index=True)
    names = list(table.columns)
    at = names.index("term") + 1
    return both[[*names[:at], *first[:2], *names[at:], *first[2:]]]
