"""What every benchmark prints: one JSON object per case on a line."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# numba, which EconML imports, looks for the library `coverage` and must not find the script of that name
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

LIBRARIES = (
    *("acecausal", "dowhy", "econml", "numpy", "scikit-learn", "xarray"),
    *("torch", "transformers", "peft"),
)


def report(
    case: str, *, ours: float | None, peer: float | None, unit: str, higher_is_better: bool = True, **more: object
) -> dict[str, object]:
    """Print a case; `more` goes into the object as it is.

    `ratio` is how many times better ours is; None where that means nothing, since one of them is not above 0, or the
    data could not tell it (None).
    """
    over, under = (ours, peer) if higher_is_better else (peer, ours)
    line = {
        "case": case,
        "ours": None if ours is None else round(ours, 4),
        "peer": None if peer is None else round(peer, 4),
        "ratio": round(over / under, 2) if min(over or 0.0, under or 0.0) > 0 else None,
        "unit": unit,
        **more,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, CPython {platform.python_version()}",
        "versions": {name: found for name in LIBRARIES if (found := _version(name))},
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    print(json.dumps(line, default=float), flush=True)
    return line


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # a machine for models has no EconML
        return None


def lines_of(file: Path | None) -> list[dict[str, Any]]:
    """Read what a file of lines has already."""
    if file is None or not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]


def has(file: Path | None, asked: dict[str, object]) -> bool:
    """Say whether a file has a line with these entries, which need not be run again."""
    return any(all(line.get(key) == asked[key] for key in asked) for line in lines_of(file))


def add(file: Path | None, line: dict[str, object]) -> None:
    """Add a line to a file, if there is one."""
    if file:
        with file.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(line, default=float) + "\n")


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
