"""Read one SPSS or Stata file in a process of its own: what crashes readstat must not end the user's.

Run as a script, so that it imports little: a pickled request on stdin, a pickled answer on stdout.
"""

from __future__ import annotations

import pickle
import sys
from typing import Any

ABOUT = (
    "column_names", "column_names_to_labels", "variable_value_labels", "missing_ranges", "missing_user_values",
    "readstat_variable_types", "variable_measure",
)  # fmt: skip


def answer(path: str, columns: list[str] | None, encoding: str | None, rows: int) -> dict[str, Any]:
    """Read what a file says of its columns, and those named; `rows` of them, or all (0)."""
    import numpy as np
    import pyreadstat

    read = pyreadstat.read_sav if path.lower().endswith((".sav", ".zsav")) else pyreadstat.read_dta
    options: dict[str, Any] = {"metadataonly": True} if columns == [] else {"usecols": columns, "row_limit": rows}
    cells, about = read(path, user_missing=True, output_format="dict", encoding=encoding, **options)
    found = {}
    for name, column in {} if columns == [] else cells.items():
        numbers = all(cell is None or isinstance(cell, float) for cell in column)
        found[name] = np.array(column, dtype=float) if numbers else column
    return {"columns": found, "about": {name: getattr(about, name) for name in ABOUT}}


if __name__ == "__main__":
    try:
        reply: dict[str, Any] = answer(**pickle.load(sys.stdin.buffer))
    except Exception as error:  # whatever readstat says is told
        reply = {"error": (type(error).__name__, str(error))}
    pickle.dump(reply, sys.stdout.buffer, protocol=5)
