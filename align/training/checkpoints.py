"""Checkpoints that are whole: sealed by the hash of each file when written, held against it before any use."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from acecausal.cube.outputs import remove
from acecausal.errors import AceError
from align.models.hashes import hashes_below
from align.models.sources import read_object

#: What a checkpoint should hold: the hash of each of its files. Written last.
SEAL = ".acecausal.json"
STATE = "trainer_state.json"


def seal(checkpoint: Path) -> None:
    """Write down what a finished checkpoint holds."""
    part = checkpoint / f"{SEAL}.part"
    part.write_text(json.dumps(hashes_below(checkpoint)), encoding="utf-8")
    part.replace(checkpoint / SEAL)


def damage(checkpoint: Path) -> str:
    """Say what is wrong with a checkpoint: '' if it is as it was sealed."""
    if not (checkpoint / SEAL).exists():
        return "was cut off while it was written"
    try:
        sealed = read_object(checkpoint / SEAL, AceError)
        found = hashes_below(checkpoint)
    except (AceError, OSError):
        return "cannot be read"
    changed = sorted(name for name in sealed.keys() | found.keys() if sealed.get(name) != found.get(name))
    words = {(True, False): "is missing", (True, True): "is damaged", (False, True): "does not belong to it"}
    return "; ".join(f"{name} {words[name in sealed, name in found]}" for name in changed[:3])


def newest_whole(folder: Path, say: Callable[[str], None]) -> str | None:
    """Find the newest checkpoint that is whole, and with it the one that was the best until then.

    Parameters
    ----------
    folder : Path
        Holds ``checkpoint-STEP`` folders.
    say : callable
        Told of those that are passed over, and what is used instead.
    """
    found = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    passed_over = []
    for checkpoint in sorted(found, key=step_of, reverse=True):
        best = ""
        if not (reason := damage(checkpoint)):
            step = read_object(checkpoint / STATE, AceError).get("best_global_step")
            best = f"checkpoint-{step}" if isinstance(step, int) and step else ""
            if best and best != checkpoint.name and (problem := damage(folder / best)):
                reason = f"its best one until then, {best}: {problem}"
        if not reason:
            break
        passed_over.append(f"{checkpoint.name} is passed over: {reason}")
    else:
        checkpoint = None
    for line in passed_over:
        say(line)
    if passed_over:
        say(
            f"goes on from {checkpoint.name}, the newest whole one" if checkpoint else "none is whole: begins at step 0"
        )
    return str(checkpoint) if checkpoint else None


def drop_after(folder: Path, checkpoint: str | None) -> None:
    """Remove the checkpoints after the one that is gone on from: passed over, and in the way of those to come.

    The library keeps those of the highest steps, and would throw away each new one beside a damaged later one.
    """
    step = step_of(Path(checkpoint)) if checkpoint else 0
    for path in folder.glob("checkpoint-*"):
        if re.fullmatch(r"checkpoint-\d+", path.name) and step_of(path) > step:
            remove(path)


def step_of(checkpoint: Path) -> int:
    """Read the step from a checkpoint's name."""
    return int(checkpoint.name.rsplit("-", 1)[1])
