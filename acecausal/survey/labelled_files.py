"""SPSS and Stata files: codes, labels, what is declared missing, encodings."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from acecausal.errors import DataError
from acecausal.survey import readstat_child
from acecausal.survey.codes import code_key
from acecausal.survey.encodings import undeclared
from acecausal.survey.spelling import spelled

#: The newest version of Stata's format that does not say how its texts are encoded, as its files begin.
OLD_STATA = b"<stata_dta><header><release>117"
#: Rows whose texts are looked at to guess an encoding.
GUESS_ROWS = 2000
#: What pyreadstat stumbles over says nothing of the file but that it is damaged.
STUMBLES = ("TypeError", "AttributeError", "IndexError", "KeyError", "MemoryError")


def about(path: Path, encoding: str | None) -> SimpleNamespace:
    """Read what a file says of its columns, with pyreadstat's names."""
    place = path.stat()
    found = _about(str(path), encoding, place.st_mtime_ns, place.st_size)
    texts = [label for label in found.column_names_to_labels.values() if label]
    texts += [str(label) for labels in found.variable_value_labels.values() for label in labels.values()]
    _check_texts(path, encoding, [*found.column_names, *texts])
    return found


def header(path: Path, encoding: str | None) -> list[str]:
    """Read the names of the columns."""
    place = path.stat()
    return list(_about(str(path), encoding, place.st_mtime_ns, place.st_size).column_names)


def value_labels(found: SimpleNamespace) -> dict[str, dict[str, str]]:
    """Give the label of each code, by column; Stata's missing codes as `.a` to `.z`."""
    return {
        name: {
            _tagged(code, found.readstat_variable_types.get(name, "string")): str(label).strip()
            for code, label in labels.items()
        }
        for name, labels in found.variable_value_labels.items()
    }


def read_sav(
    path: Path, columns: list[str], listed: Mapping[str, Collection[str]], encoding: str | None
) -> pd.DataFrame:
    """Read columns of an SPSS file as codes; those declared missing are empty, unless listed."""
    cells, found = _ask(path, columns, encoding)
    ranges: dict[str, list[Any]] = found.missing_ranges  # of {lo, hi}
    table = {}
    for name in columns:
        column = pd.Series(cells[name])
        codes = column.dropna().unique() if name in ranges else []
        declared = [code for code in codes if any(_within(code, part["lo"], part["hi"]) for part in ranges[name])]
        gone = [code for code in declared if code_key(code) not in listed.get(name, ())]
        table[name] = spelled(column.mask(column.isin(gone)) if gone else column, f"{path}, column {name}")
    return pd.DataFrame(table)


def read_dta(
    path: Path, columns: list[str], listed: Mapping[str, Collection[str]], encoding: str | None
) -> pd.DataFrame:
    """Read columns of a Stata file as codes; .a to .z are empty, unless listed.

    Raises
    ------
    DataError
        If such a code is listed without its point.
    """
    cells, found = _ask(path, columns, encoding)
    _check_texts(path, encoding, [text for column in cells.values() if isinstance(column, list) for text in column])
    table = {}
    for name in columns:
        column = pd.Series(cells[name])
        kind = found.readstat_variable_types[name]
        if kind == "float":  # 0.1 in single precision is .1, not .100000001490116
            single = np.float32
            if column.dtype == object:  # tags of missing codes among the numbers
                column = column.map(lambda cell, single=single: single(cell) if isinstance(cell, float) else cell)
            else:
                column = column.astype(single)
        tags = found.missing_user_values.get(name, ())
        bare = sorted(set(tags) & set(listed.get(name, ())))
        if bare and kind != "string":
            raise DataError(
                "Stata's missing codes are listed without their point",
                param=f"{path}, column {name}",
                expected=", ".join(f'".{tag}"' for tag in bare),
                got=", ".join(map(repr, bare)),
            )
        if tags and kind != "string":
            kept = {tag for tag in tags if f".{tag}" in listed.get(name, ())}
            column = column.map(
                lambda cell, kept=kept: cell if not isinstance(cell, str) else f".{cell}" if cell in kept else None
            )
        table[name] = spelled(column, f"{path}, column {name}")
    return pd.DataFrame(table)


def raw_texts(path: Path) -> bytes:
    """Give the bytes of a file's labels, and of the texts of its first rows."""
    cells, found = _ask(path, None, "iso8859-1", GUESS_ROWS)  # which has a character for every byte
    texts = [*found.column_names, *filter(None, found.column_names_to_labels.values())]
    texts += [str(label) for labels in found.variable_value_labels.values() for label in labels.values()]
    texts += [text for column in cells.values() if isinstance(column, list) for text in column if isinstance(text, str)]
    return "\n".join(texts).encode("iso8859-1", errors="replace")


def _tagged(code: object, kind: str) -> str:
    return f".{code}" if isinstance(code, str) and kind != "string" else code_key(code)


def _within(code: Any, low: Any, high: Any) -> bool:
    return isinstance(code, str) == isinstance(low, str) and low <= code <= high


@lru_cache(maxsize=32)
def _about(path: str, encoding: str | None, _changed: int, _size: int) -> SimpleNamespace:
    return _ask(Path(path), [], encoding)[1]


def _ask(
    path: Path, columns: list[str] | None, encoding: str | None, rows: int = 0
) -> tuple[dict[str, Any], SimpleNamespace]:
    """Have a file read in a process of its own: columns (None: all) as arrays or lists, and what it says of them."""
    request = {"path": str(path), "columns": columns, "encoding": encoding, "rows": rows}
    done = subprocess.run(
        [sys.executable, "-P", readstat_child.__file__], input=pickle.dumps(request), capture_output=True, check=False
    )
    if done.returncode or not done.stdout:
        raise _damaged(path, f"a file that ends the program that reads it (exit code {done.returncode})")
    reply = pickle.loads(done.stdout)
    if "error" in reply:
        kind, said = reply["error"]
        if kind == "UnicodeDecodeError" or "invalid byte sequence" in said:
            raise undeclared(path, encoding)
        if kind in STUMBLES:
            raise _damaged(path, "a file that its reader cannot follow")
        raise DataError(
            "cannot be read", param=str(path), expected=f"a {path.suffix.lower()} file",
            got=f"{kind}: {' '.join(said.split())}",
        )  # fmt: skip
    if None in reply["about"]["column_names"]:  # a name that begins with a letter beyond ASCII, or damage
        raise _damaged(path, "columns without a name") if encoding else undeclared(path, None)
    return reply["columns"], SimpleNamespace(**reply["about"])


def _damaged(path: Path, got: str) -> DataError:
    return DataError(
        "cannot be read", param=str(path), expected=f"a {path.suffix.lower()} file", got=got,
        hint="it is damaged: fetch it again, or save it anew with the program that wrote it",
    )  # fmt: skip


def _check_texts(path: Path, encoding: str | None, texts: list[Any]) -> None:
    """Refuse texts beyond ASCII of a format that does not say how they are encoded."""
    if encoding or all(text.isascii() for text in texts if isinstance(text, str)):
        return
    with path.open("rb") as stream:
        begin = stream.read(len(OLD_STATA))
    # before Stata 13 the first byte is the version, up to 115
    if path.suffix.lower() == ".dta" and (begin[:1] != b"<" or begin <= OLD_STATA):
        raise undeclared(path, encoding)
