"""What the fuzz scripts share: seeded cases, the command line in this process, and what counts as a fault."""

from __future__ import annotations

import copy
import resource
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from click.testing import CliRunner

from acecausal.errors import AceError
from cli import main

#: Seconds of computing after which a case counts as a hang, and kilobytes that it may take.
PATIENCE, MOST = 5, 1 << 20
#: What nobody expects where something else stands.
ODD = [
    None,
    True,
    "",
    " ",
    "x",
    "é\x00\x1b[31m",
    "NA",
    "1_0",
    0,
    -1,
    0.5,
    1e308,
    10**9,
    10**30,
    float("nan"),
    float("inf"),
    [],
    {},
    [[]],
    {"a": 1},
    "[X Y]",
]


class HangError(BaseException):
    """Raised in the middle of a case; no kind of Exception, so that nothing takes it for one."""


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


def fuzz(
    case: Callable[[np.random.Generator, Path], str],
    count: int,
    folder: Path,
    seed: int = 0,
    patience: float = PATIENCE,
) -> Counter[str]:
    """Run `count` cases, each in a folder of its own; count what they return, and raise the faults together."""
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    before, sys.unraisablehook = sys.unraisablehook, lambda args: faults.append(f"left behind: {args.exc_value!r}")
    alarm = signal.signal(signal.SIGPROF, _hang)
    for number in range(count):
        place = folder / f"{seed}-{number}"
        place.mkdir()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.setitimer(signal.ITIMER_PROF, patience)
        try:
            outcomes[case(np.random.default_rng([seed, number]), place)] += 1
        except (Exception, HangError):
            last = [line for line in traceback.format_exc().splitlines() if line.strip("^~ ")]
            faults.append(f"case {number} of seed {seed}: " + " | ".join(line.strip() for line in last[-7:]))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak > MOST:
            faults.append(f"case {number} of seed {seed}: took more than {MOST >> 20} GB")
        if count >= 500 and (number + 1) % 100 == 0:
            print(number + 1, dict(outcomes), *faults, sep="\n", file=sys.stderr, flush=True)
        for path in sorted(place.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        place.rmdir()
    signal.signal(signal.SIGPROF, alarm)
    sys.unraisablehook = before
    if faults:
        raise AssertionError(f"{len(faults)} faults in {count} cases:\n" + "\n".join(faults))
    return outcomes


def _hang(*_: object) -> None:
    raise HangError


def changed(item: Any, rng: np.random.Generator) -> Any:
    """Change one thing somewhere in lists and objects: replaced, dropped, doubled, renamed, permuted."""
    if isinstance(item, list | dict) and len(item) and rng.random() < 0.9:
        keys = list(item) if isinstance(item, dict) else list(range(len(item)))
        key = keys[rng.integers(0, len(keys))]
        if rng.random() < 0.7:
            item[key] = changed(item[key], rng)
        elif isinstance(item, list):
            match rng.integers(0, 3):
                case 0:
                    del item[key]
                case 1:
                    item.append(item[key])
                case 2:
                    item.reverse()
        else:
            match rng.integers(0, 3):
                case 0:
                    del item[key]
                case 1:
                    item[str(rng.choice(["country", "x", "1", "0", "n", ""]))] = item.pop(key)
                case 2:
                    values = [item[k] for k in keys]
                    rng.shuffle(values)
                    item.update(zip(keys, values, strict=True))
        return item
    return copy.deepcopy(ODD[rng.integers(0, len(ODD))])  # what is changed next must not change the list


def spoilt(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut short, flip, insert or double bytes."""
    at = int(rng.integers(0, len(content) + 1))
    match rng.integers(0, 4):
        case 0:
            return content[:at]
        case 1:
            return content[:at] + bytes([int(rng.integers(0, 256))]) + content[at + 1 :]
        case 2:
            odd = [
                b"\x00",
                b"\xff",
                b'"',
                b",",
                b"\n",
                b"[" * 2000,
                b"{" * 2000,
                b": ",
                b"&a *a",
                b"\xef\xbb\xbf",
                b"|",
            ]
            return content[:at] + odd[rng.integers(0, len(odd))] + content[at:]
    end = at + int(rng.integers(0, 200))
    return content[:end] + content[at:]


def dumped(item: Any) -> str:
    """Write YAML as our reader takes it."""
    return yaml.dump(item, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def by_hand(case: Callable[[np.random.Generator, Path], str]) -> None:
    """Run as a script: COUNT [SEED]."""
    import tempfile

    count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        print(dict(fuzz(case, count, Path(folder), seed)))
