"""Names, paths and JSON from files that nobody has checked."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from pathlib import Path
from typing import Any

from acecausal.errors import DataError

#: Shares may miss 1 by this much; they are then brought to sum to it.
TOLERANCE = 1e-6


def slug(text: str) -> str:
    """Make a name for labels of a cube: letters, digits and _ . + - only, as in codebooks."""
    name = re.sub(r"[^\w.+-]+", "_", unicodedata.normalize("NFC", text).strip())
    return name if re.match(r"[A-Za-z0-9_]", name) else f"_{name}"


def file_name(text: str) -> str:
    """Make a file name that stays in its folder; a text that is one already stays as it is."""
    return re.sub(r"^\.", "_", re.sub(r"[^\w .,+()&'-]", "_", text))[:120].strip() or "_"


def shown(text: object) -> str:
    """Write a path or label for a terminal: what cannot be printed is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(text))


def parse_json(text: str, where: str) -> Any:
    """Read JSON strictly: no NaN, no Infinity, no key twice.

    Raises
    ------
    DataError
        Naming `where`.
    """
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
    except RecursionError:
        raise DataError("is nested too deeply", param=where, expected="JSON as the format has it") from None
    except ValueError as error:
        raise DataError("cannot be read", param=where, expected="JSON", got=shown(error)) from None


def read_text(path: Path) -> str:
    """Read a UTF-8 file.

    Raises
    ------
    DataError
        If it cannot be read, or is something else.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        got = error.strerror if isinstance(error, OSError) else "bytes that are no UTF-8"
        raise DataError("cannot be read", param=shown(path), expected="a text file in UTF-8", got=got) from None


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Read the lines of a .jsonl file that are not blank, numbered from 1.

    Raises
    ------
    DataError
        If it cannot be read, or has none.
    """
    if path.is_dir():
        raise DataError("is a folder", param=shown(path), expected="a .jsonl file")
    lines = [(number, line) for number, line in enumerate(read_text(path).split("\n"), 1) if line.strip()]
    if not lines:
        raise DataError("is empty", param=shown(path), expected="one JSON object per line")
    return lines


def read_rows(path: Path) -> list[tuple[str, str]]:
    """Read the texts of a file's rows: a list in JSON (.json), or one row per line (.jsonl).

    Returns
    -------
    list of (str, str)
        Where a row begins (file and line, from 1), and its JSON. That of a list is known to be JSON.

    Raises
    ------
    DataError
        If the file cannot be read, is empty, or holds a list that is no JSON.
    """
    if path.is_dir():
        raise DataError("is a folder", param=shown(path), expected="a .json or .jsonl file")
    text = read_text(path)
    if not text.lstrip().startswith("["):
        return [(f"{shown(path)}, line {number}", line) for number, line in read_lines(path)]
    parse_json(text, shown(path))
    rows, line, counted = [], 1, 0
    place = text.index("[") + 1
    while (start := _begin(text, place)) is not None:
        line, counted = line + text.count("\n", counted, start), start
        _, place = json.JSONDecoder().raw_decode(text, start)
        rows.append((f"{shown(path)}, line {line}", text[start:place]))
    if not rows:
        raise DataError("is empty", param=shown(path), expected="one row or more")
    return rows


def _begin(text: str, place: int) -> int | None:
    """Find where the next item of a list begins; None at its end."""
    found = re.compile(r"[\s,]*").match(text, place)
    start = found.end() if found else place
    return None if text[start] == "]" else start


def part(row: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """Take a key of an object.

    Raises
    ------
    DataError
        If `row` is no object, has no such key, or something of another kind under it.
    """
    if not isinstance(row, dict):
        raise DataError("is no object", param=where, expected="a JSON object", got=type(row).__name__)
    if key not in row:
        raise DataError(
            f"{key} is missing", param=where, expected=key, got=shown(", ".join(map(str, row)) or "nothing")
        )
    item = row[key]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(item, kinds) or (isinstance(item, bool) and bool not in kinds):
        raise DataError(
            f"{key} is of the wrong kind", param=where, expected=" or ".join(k.__name__ for k in kinds),
            got=shown(repr(item)[:60]),
        )  # fmt: skip
    return item


def read_number(text: str, name: str, expected: str, where: str) -> float:
    """Read a number; what only Python takes for one (1_000) is none.

    Raises
    ------
    DataError
    """
    try:
        if "_" in text:  # Python would read 1_000
            raise ValueError
        return float(text)
    except ValueError:
        raise DataError(f"{name} is no number", param=where, expected=expected, got=shown(text)) from None


def whole(number: float, key: str, where: str) -> int:
    """Take a number of people.

    Raises
    ------
    DataError
        If it is negative or no whole number.
    """
    if not math.isfinite(number) or number < 0 or number != int(number) or number > 2**53:
        raise DataError(f"{key} is no number of people", param=where, expected="0, 1, 2, ...", got=number)
    return int(number)


def shares(numbers: list[Any], n_options: int, where: str) -> list[float]:
    """Check a distribution, and bring it to sum to 1.

    Raises
    ------
    DataError
        If it has another length, something that is no number from 0 to 1, or another sum.
    """
    if len(numbers) != n_options:
        raise DataError("shares and options differ in number", param=where, expected=n_options, got=len(numbers))
    for number in numbers:
        good = isinstance(number, int | float) and not isinstance(number, bool) and -1e-12 <= number <= 1 + TOLERANCE
        if not good:
            raise DataError(
                "a share is none", param=where, expected="numbers from 0 to 1", got=shown(repr(number)[:60])
            )
    found = [max(float(number), 0.0) for number in numbers]
    total = math.fsum(found)
    if abs(total - 1) > TOLERANCE:
        raise DataError("shares do not sum to 1", param=where, expected=f"1 (within {TOLERANCE:g})", got=f"{total:.6g}")
    return found if abs(total - 1) < 1e-12 else [number / total for number in found]


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice in one object")
    return found
