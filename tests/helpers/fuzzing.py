"""What the fuzz scripts share: seeded cases, the command line in this process, and what counts as a fault."""

from __future__ import annotations

import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from acecausal.errors import AceError
from cli import main

#: Seconds after which a case counts as a hang.
PATIENCE = 60


def ran(*args: object) -> int:
    """Run a command: its exit code; anything but a message and an exit code is raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = CliRunner().invoke(main, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit | AceError):
        raise result.exception
    if result.exit_code and not (result.stderr + result.stdout).strip():
        raise AssertionError(f"exit code {result.exit_code} and no word")
    return result.exit_code


def fuzz(case: Callable[[np.random.Generator, Path], str], count: int, folder: Path, seed: int = 0) -> Counter[str]:
    """Run `count` cases, each in a folder of its own; count what they return, and raise the faults together."""
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    before, sys.unraisablehook = sys.unraisablehook, lambda args: faults.append(f"left behind: {args.exc_value!r}")
    for number in range(count):
        place = folder / f"{seed}-{number}"
        place.mkdir()
        start = time.monotonic()
        try:
            outcomes[case(np.random.default_rng([seed, number]), place)] += 1
        except Exception:
            last = traceback.format_exc().splitlines()
            faults.append(f"case {number} of seed {seed}: " + " | ".join(line.strip() for line in last[-7:]))
        if count >= 500 and (number + 1) % 100 == 0:
            print(number + 1, dict(outcomes), *faults, sep="\n", file=sys.stderr, flush=True)
        if time.monotonic() - start > PATIENCE:
            faults.append(f"case {number} of seed {seed}: took {time.monotonic() - start:.0f} s")
        for path in sorted(place.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        place.rmdir()
    sys.unraisablehook = before
    if faults:
        raise AssertionError(f"{len(faults)} faults in {count} cases:\n" + "\n".join(faults))
    return outcomes


def by_hand(case: Callable[[np.random.Generator, Path], str]) -> None:
    """Run as a script: COUNT [SEED]."""
    import tempfile

    count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        print(dict(fuzz(case, count, Path(folder), seed)))
