"""SHA-256 of whole files, each read once."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

#: A file that changed this short a time ago could change again without another time stamp: nothing is kept of it.
SETTLED = 2.0


def cache_folder() -> Path:
    """Say where things are kept between runs: ``$XDG_CACHE_HOME/acecausal``, by default under ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "acecausal"


def hash_file(path: str | Path) -> str:
    """Hash all of a file.

    The hash is kept in the cache folder for as long as path, size and times of the file stay as they are.
    """
    path = Path(path).resolve()
    state = path.stat()
    # a copy that sets the modification time back still moves the time of change
    key = json.dumps([str(path), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino])
    kept = cache_folder() / "sha256" / hashlib.sha256(str(path).encode()).hexdigest()
    with suppress(OSError, ValueError):
        before, digest = kept.read_text(encoding="utf-8").splitlines()
        if before == key and len(digest) == 64:
            return digest
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if time.time() - max(state.st_mtime, state.st_ctime) > SETTLED:
        with suppress(OSError):  # a cache that cannot be written costs time only
            kept.parent.mkdir(parents=True, exist_ok=True)
            beside = kept.with_name(f".{kept.name}.{os.getpid()}.part")
            beside.write_text(f"{key}\n{digest}\n", encoding="utf-8")
            beside.replace(kept)
    return digest


def hash_files(files: Iterable[Path]) -> str:
    """Hash the names and contents of files."""
    return combined(*(part for file in sorted(files) for part in (file.name, hash_file(file))))


def combined(*parts: str) -> str:
    """Hash texts, told apart."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def hashes_below(folder: Path) -> dict[str, str]:
    """Hash every file below a folder, by its relative path; what begins with a dot is not looked at."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    return {str(file.relative_to(folder)): hash_file(file) for file in files}
