"""The folder of a training run: its record, what it resumes from, its metrics, and the adapter at the end.

A run that would replace an earlier one is built beside it, in NAME.new, and takes its place when it is whole.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from acecausal.cube.outputs import remove, swap
from acecausal.errors import AceError
from align.models.adapters import ADAPTER_RECORD, CONFIG, WEIGHTS
from align.models.identity import PARTS
from align.models.sources import read_object
from align.training import checkpoints

CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
#: What belongs to a run, beside its adapter: a resumed run must agree on it.
RUN = "run.json"
#: Which model a run trains, in its record.
BASE = ("model", "model_sha256", "revision", *PARTS)

_WRITTEN = re.compile(
    rf"{RUN}|{ADAPTER_RECORD}|{METRICS}|{CONFIG}|{WEIGHTS}|README\.md|run\.part|\.adapter\.\d+\.part(/.*)?|"
    rf"{CHECKPOINTS}(/checkpoint-\d+(/[^/]+)?|/runs(/[^/]+(/events\.out\.tfevents\.[^/]+)?)?)?"
)


def beside(folder: Path) -> Path:
    """Say where a run is built that is going to replace the one in `folder`."""
    return folder.with_name(f"{folder.name}.new")


def check_free(folder: Path) -> None:
    """Refuse a folder that holds anything but an earlier run: only what acecausal wrote is ever replaced.

    Raises
    ------
    AceError
        If it is no run's, holds something else besides, or is or holds a symbolic link.
    """
    for place in (folder, beside(folder)):
        if place.is_symlink():
            raise AceError(
                "is a symbolic link, so it is not overwritten", param=str(place), hint="name the folder it points to"
            )
        if not place.exists() or (place.is_dir() and not any(place.iterdir())):
            continue
        try:
            known = {"recipe", "cube", "held_out"} <= set(read_object(place / RUN, AceError))
        except AceError:
            known = False
        if not known:
            raise AceError("is no earlier run, so it is not overwritten", param=str(place), hint="use another folder")
        others = sorted(_others(place))
        if others:
            raise AceError(
                "holds what acecausal did not write, so it is not overwritten", param=str(place),
                got=", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else ""),
                hint="move it elsewhere, or use another folder",
            )  # fmt: skip


def _others(folder: Path) -> Iterator[str]:
    """List what acecausal did not write; a link counts as such, wherever it leads."""
    for above, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(above, name)
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink() or not _WRITTEN.fullmatch(relative):
                yield relative


def workplace(folder: Path, *, resume: bool) -> Path:
    """Say where the run is built: beside an earlier one that it is going to replace, else in `folder` itself."""
    new = beside(folder)
    if resume:
        return new if (new / RUN).exists() else folder
    return new if folder.exists() and any(folder.iterdir()) else folder


def start(folder: Path, place: Path, record: dict[str, Any]) -> None:
    """Make the run's place, empty it of a run that was cut off there, and write down what the run is."""
    check_free(folder)
    for old in {place, beside(folder)}:
        remove(old)
    place.mkdir(parents=True)
    path = place / RUN
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1), encoding="utf-8")
    part.replace(path)


def checkpoint_of(
    place: Path, record: dict[str, Any], say: Callable[[str], None], *, model_differs: bool = False
) -> str | None:
    """Find the checkpoint to go on from: the newest whole one; None where there is none.

    Raises
    ------
    AceError
        If there is no run, or it is another one.
    """
    path = place / RUN
    if not path.exists():
        raise AceError("no run to resume", param=str(place), expected=f"{RUN} in it", hint="start it without --resume")
    before = read_object(path, AceError)
    compared = set(record) - (set(BASE) if model_differs else set())
    differs = sorted(key for key in compared if before.get(key) != json.loads(json.dumps(record[key])))
    other_model = [key for key in differs if key in BASE]
    if differs:
        raise AceError(
            "is another run", param=str(place),
            expected="the same model, cube, recipe, hold-out and number of processes",
            got=f"a different {', '.join(key.removesuffix('_sha256') for key in differs)}",
            hint="--model-differs ok goes on all the same" if differs == other_model else "use another folder",
        )  # fmt: skip
    return checkpoints.newest_whole(place / CHECKPOINTS, say)


def trim_metrics(place: Path, checkpoint: str | None) -> None:
    """Drop metrics of steps after the checkpoint, which are going to be done again, and lines that were cut off."""
    path, step = place / METRICS, checkpoints.step_of(Path(checkpoint)) if checkpoint else 0
    if path.exists():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        done = [line for line in lines if _step(line) <= step]
        path.write_text("".join(f"{line}\n" for line in done), encoding="utf-8")


def _step(line: str) -> float:
    """Read the step of a line of metrics; infinity where there is none to be read."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return float("inf")


def append_metrics(place: Path, line: dict[str, Any]) -> None:
    """Write one line of metrics."""
    with (place / METRICS).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def save_adapter(adapted: Any, folder: Path, place: Path, record: dict[str, Any]) -> None:
    """Save the adapter, whole or not at all, and put the run where the earlier one was.

    The base is named, this machine's paths are not.

    Raises
    ------
    AceError
        If something was put into the earlier run's folder meanwhile; the new run stays beside it.
    """
    part = place / f".adapter.{os.getpid()}.part"
    adapted.save_pretrained(part)
    config = json.loads((part / CONFIG).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = record.get("model", "")
    (part / CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")
    (part / "README.md").unlink(missing_ok=True)  # ours is written when before and after are known
    (part / ADAPTER_RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    for file in part.iterdir():
        file.replace(place / file.name)
    part.rmdir()
    if place != folder:
        if folder.exists():
            check_free(folder)
        swap(place, folder)
