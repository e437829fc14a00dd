"""Effects as one long table under the column names of R's broom. Only out: effects do not tell responses."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from acecausal.errors import CubeError
from acecausal.exchange import output


def write(cube: xr.Dataset, path: Path, *, force: bool = False) -> list[str]:
    """Write one row per estimated effect, as `cube.ace.table`; returns what the table does not hold.

    Raises
    ------
    CubeError
        If the cube has no effect.
    """
    table = cube.ace.table()
    scored = table["estimate"].notna()
    if not scored.any():
        raise CubeError("has no effect to write", param="CUBE", hint="the variable status says why")
    with output.beside(path, suffixes=(".csv", ".parquet"), force=force) as part:
        if path.suffix == ".parquet":
            table[scored].to_parquet(part, index=False)
        else:
            table[scored].to_csv(part, index=False)
    found = ["responses, shifts by option, empirical-Bayes versions and diagnostics"]
    if not scored.all():
        found.append(f"cells of nominal values, which have no effect on a score: {int((~scored).sum())}")
    return found
