"""How long a large survey file takes to be read, and how much memory, against reading it whole.

    python benchmarks/reading.py              100,000 respondents, 600 columns, .sav and .csv
    python benchmarks/reading.py --rows 5000  to try the script

The file is made up: the columns of the codebook wvs7, and others that nobody asked for. Ours is `read_survey` with 40
values: only the columns needed, codes to positions, hash, checks. The peer reads the whole file into pandas
(`pyreadstat.read_sav`, `pandas.read_csv`) and takes the same columns, without any check. Each runs in a process of its
own; memory is the peak resident size of that process above what its imports took.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyreadstat
from results import report

from acecausal.survey.codebook import Codebook, load_codebook
from acecausal.survey.data import read_survey

VALUES = 40


def book() -> Codebook:
    whole = load_codebook("wvs7")
    return whole.only(list(whole.values)[:VALUES])


def write(path: Path, rows: int, columns: int) -> None:
    """Write a file of made-up answers: codes of the codebook, and small whole numbers in the other columns."""
    rng = np.random.default_rng(0)
    known = load_codebook("wvs7")
    parts: dict[str, np.ndarray] = {
        known.countries.column: rng.choice([276, 578, 566, 840], rows),
        known.weight.column if known.weight else "W": rng.uniform(0.5, 2.0, rows),
    }
    for spec in known.attributes.values():
        codes = [code for level in spec.levels.values() for code in level.codes]
        parts.setdefault(spec.column, rng.choice(codes, rows) if codes else rng.integers(18, 90, rows))
    for value in known.values.values():
        parts[value.column] = rng.choice([-1, *(code for option in value.options for code in option.codes)], rows)
    for number in range(columns - len(parts)):
        parts[f"EXTRA{number}"] = rng.integers(0, 10, rows)
    table = pd.DataFrame({name: numbers.astype(np.float64) for name, numbers in parts.items()})
    if path.suffix == ".sav":
        pyreadstat.write_sav(table, path)
    else:
        table.to_csv(path, index=False, float_format="%g")


def ours(path: Path) -> int:
    return len(read_survey(path, book()))


def peer(path: Path) -> int:
    table = pyreadstat.read_sav(path)[0] if path.suffix == ".sav" else pd.read_csv(path)
    return len(table[book().columns])


def child(name: str, path: Path) -> None:
    """Read, and print how long it took and how much memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    rows = {"ours": ours, "peer": peer}[name](path)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"rows": rows, "seconds": seconds, "mb": (peak - before) / 1024, "whole_mb": peak / 1024}))


def child_of(name: str, path: Path, rows: int, columns: int) -> str:
    """Do something in a process of its own; give what it printed."""
    command = [sys.executable, __file__, "--child", name, "--path", str(path)]
    command += ["--rows", str(rows), "--columns", str(columns)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=600)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child == "write":
        write(chosen.path, chosen.rows, chosen.columns)
    elif chosen.child:
        child(chosen.child, chosen.path)
    if chosen.child:
        return
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".sav", ".csv"):
            path = Path(folder) / f"survey{suffix}"
            child_of("write", path, chosen.rows, chosen.columns)
            numbers = {name: json.loads(child_of(name, path, chosen.rows, chosen.columns)) for name in ("ours", "peer")}
            size = f"{chosen.rows} x {chosen.columns} {suffix}, {len(book().columns)} columns needed"
            for what, unit in (("seconds", "seconds"), ("mb", "MB above the imports")):
                report(
                    f"{size}, {'time' if what == 'seconds' else 'memory'}",
                    ours=numbers["ours"][what], peer=numbers["peer"][what], unit=unit, higher_is_better=False,
                    file_mb=round(path.stat().st_size / 2**20), peak_mb=round(numbers["ours"]["whole_mb"]),
                    rows=numbers["ours"]["rows"],
                )  # fmt: skip
            path.unlink()


if __name__ == "__main__":
    main()
