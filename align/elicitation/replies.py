"""What a server replied, kept in a file by question: a run that was cut off pays for nothing twice."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from acecausal.errors import AceError
from align.elicitation.listed import SLACK, Listed


class KeptReplies:
    """Answers in a file, a JSON object per line, by question; a line that was cut off, or cannot be, is passed over."""

    def __init__(self, store: str | Path | None) -> None:
        self._path, self._lock = Path(store) if store else None, threading.Lock()
        self.known: dict[str, Listed] = {}
        text = self._path.read_text(encoding="utf-8", errors="replace") if self._path and self._path.is_file() else ""
        rows = [row for row in map(_row, text.splitlines()) if row is not None]
        if text and (not rows or any(set(row) != {"key", "listed", "count"} for row in rows)):
            raise AceError("holds no answers", param="store", got=self._path, hint="name another file")
        for row in rows:
            with suppress(ValueError, LookupError, TypeError, AttributeError):
                tokens = {str(token): float(p) for token, p in row["listed"].items()}
                if tokens and all(0 < p <= 1 + SLACK for p in tokens.values()):
                    self.known[row["key"]] = Listed(tokens, int(row["count"]))
        self._append("" if text[-1:] in ("", "\n") else "\n")  # a place that cannot be written shows now
        if self._path and not text:
            self._path.unlink()

    def add(self, key: str, listed: Listed) -> None:
        with self._lock:
            row = {"key": key, "listed": listed.tokens, "count": listed.count}
            self._append(json.dumps(row, allow_nan=False) + "\n")
            if self._path:
                self.known[key] = listed

    def _append(self, text: str) -> None:
        if self._path:
            try:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(text)
            except OSError as error:
                raise AceError("cannot be written", param="store", got=f"{self._path}, {error.strerror}") from None


def _row(line: str) -> dict[str, Any] | None:
    """Read a line's object; None where it was cut off, or is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
