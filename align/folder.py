"""The folder of a training run: its record, what it resumes from, its metrics, and the adapter at the end."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from acecausal.errors import AceError
from align.models import ADAPTER_RECORD

CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
#: What belongs to a run, beside its adapter: a resumed run must agree on it.
RUN = "run.json"


def check_free(folder: Path) -> None:
    """Refuse a folder that holds something other than an earlier run."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        known = {"recipe", "cube", "held_out"} <= set(json.loads((folder / RUN).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        known = False
    if not known:
        raise AceError("is no earlier run, so it is not overwritten", param=str(folder), hint="use another folder")


def start(folder: Path, record: dict[str, Any]) -> None:
    """Make the folder, empty it of an earlier run, and write down what the run is."""
    check_free(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = folder / RUN
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(record, indent=1), encoding="utf-8")
    beside.replace(path)


def checkpoint_of(folder: Path, record: dict[str, Any]) -> str | None:
    """Find the checkpoint to go on from: None where the run was cut off before its first.

    Raises
    ------
    AceError
        If there is no run, or it is another one.
    """
    path = folder / RUN
    if not path.exists():
        raise AceError("no run to resume", param=str(folder), expected=f"{RUN} in it", hint="start it without --resume")
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AceError("is damaged", param=str(path), hint="start the run anew") from error
    differs = [key for key in record if before.get(key) != json.loads(json.dumps(record[key]))]
    if differs:
        raise AceError(
            "is another run", param=str(folder), expected="the same model, cube, recipe and hold-out",
            got=f"a different {', '.join(differs)}", hint="use another folder",
        )  # fmt: skip
    # the trainer writes its state last, so a checkpoint without it was cut off
    whole = [state.parent for state in (folder / CHECKPOINTS).glob("checkpoint-*/trainer_state.json")]
    last = max(whole, key=_step, default=None)
    return str(last) if last else None


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1])


def trim_metrics(folder: Path, checkpoint: str | None) -> None:
    """Drop metrics of steps after the checkpoint: they are going to be done again."""
    path, step = folder / METRICS, _step(Path(checkpoint)) if checkpoint else 0
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        done = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        path.write_text("".join(f"{line}\n" for line in done), encoding="utf-8")


def append_metrics(folder: Path, line: dict[str, Any]) -> None:
    """Write one line of metrics."""
    with (folder / METRICS).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def save_adapter(adapted: Any, folder: Path, record: dict[str, Any]) -> None:
    """Save the adapter beside its place, then move it in; the base is named, this machine's paths are not."""
    beside = folder / f".adapter.{os.getpid()}.part"
    adapted.save_pretrained(beside)
    config = json.loads((beside / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = record.get("model", "")
    (beside / "adapter_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    (beside / "README.md").unlink(missing_ok=True)  # ours is written when before and after are known
    (beside / ADAPTER_RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    for file in beside.iterdir():
        file.replace(folder / file.name)
    beside.rmdir()
