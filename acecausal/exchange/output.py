"""Writing beside the place, then renaming: nothing half-written ever stands there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from acecausal.cube.outputs import check_output, whole
from acecausal.errors import AceError


@contextmanager
def beside(path: Path, *, suffixes: tuple[str, ...] = (), force: bool) -> Iterator[Path]:
    """Yield where to write; what was written there is renamed to `path` if the block ends well.

    Parameters
    ----------
    suffixes : tuple of str
        Of files; empty for folders, which are never replaced, since nobody knows what else is in them.
    """
    if not suffixes and path.exists():
        raise AceError("exists already", param=str(path), hint="use another name: a folder is never overwritten")
    if path.is_dir():
        raise AceError("is a folder", param=str(path), expected="a file", hint="use another name")
    check_output(path, suffixes=suffixes, force=force)
    with whole(path) as part:
        yield part


def write_json_lines(rows: Iterator[dict[str, Any]], path: Path) -> int:
    """Write one JSON object per line, and count them."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count
