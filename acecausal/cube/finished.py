"""Finished units of a long run, kept as files in a folder until what they are for is written."""

from __future__ import annotations

import io
import os
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

from acecausal.cube.outputs import entries, refuse, remove
from acecausal.errors import AceError

Arrays = dict[str, np.ndarray]

#: What can be done after a run that was cut off.
RESUME = "--resume goes on from what is done"

#: Names of units: of a country by number, or of a question to a model by hash.
_UNIT = r"(\d{3,}-(responses|\d{3,})|[0-9a-f]{32})"
#: What is in the folder: the run's mark, and finished units; a dot before and a process after while written.
_OURS = re.compile(rf"plan|\.plan\.\d+|{_UNIT}\.npz|\.{_UNIT}(\.\d+)?\.npz")
#: What is in it before the mark stands there.
_BEGUN = re.compile(r"\.plan\.\d+")


class CutOffError(AceError):
    """A run that ended early, through nothing in what it was given: what is done is kept."""


def check_store(store: Path) -> None:
    """Refuse a folder of finished units that is a link, or holds anything else.

    Raises
    ------
    AceError
    """
    if store.is_symlink() or (store.exists() and not store.is_dir()):
        raise AceError("is no folder of finished units", param=str(store), hint="remove it, or use another output")
    sign = store / "plan"
    signed = sign.is_file() and re.fullmatch(r"[0-9a-f]{64}", sign.read_text(errors="replace"))
    ours = _OURS if signed else _BEGUN
    foreign = [name for name, plain in entries(store) if not (plain and ours.fullmatch(name))]
    if foreign:
        refuse(store, foreign)


def remove_store(store: Path) -> None:
    """Remove the folder of finished units, unless it holds anything else."""
    check_store(store)
    remove(store)


def open_store(store: Path, mark: str) -> None:
    """Make the folder of a run, or see that it is this run's.

    Parameters
    ----------
    store : Path
    mark : str
        SHA-256 of everything that decides the numbers.

    Raises
    ------
    AceError
        If it is another run's, or holds something else.
    CutOffError
        If it cannot be written.
    """
    check_store(store)
    sign = store / "plan"
    if not sign.exists():
        store.mkdir(parents=True, exist_ok=True)
        _write(sign, mark.encode())
    if sign.read_text() != mark:
        raise AceError(
            "holds the units of another run",
            param=str(store),
            hint="the data, the model, the choices or the versions differ; remove it to begin anew",
        )


def keep(store: Path, name: str, arrays: Arrays) -> None:
    """Keep a finished unit: whole, or not at all."""
    packed = io.BytesIO()  # a zip that cannot be written to its end raises again when it is closed
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    _write(store / f"{name}.npz", packed.getbuffer())


def finished(store: Path, name: str) -> Arrays | None:
    """Read a finished unit; None if there is none, or its file is damaged, so that the unit is done again."""
    try:
        with (store / f"{name}.npz").open("rb") as stream, np.load(stream) as stored:
            return {name: stored[name] for name in stored.files}
    # a flipped bit may name a compression that there is not, or encryption: zipfile's last two
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError):
        return None


def _write(path: Path, content: bytes | memoryview) -> None:
    """Write beside the place, force it to disk, and rename: it is there whole or not at all."""
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        with beside.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        beside.rename(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise CutOffError(
            "cannot be written", param=str(path), got=error.strerror, hint=f"make room; {RESUME}"
        ) from error
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
