"""The variable that an SPSS file says its cases are weighted by (WEIGHT BY), which pyreadstat does not tell."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

#: Bytes of the file's header, and the most that a record may announce.
HEADER, MOST = 176, 2**24
#: Kinds of records, and a kind of extension (https://www.gnu.org/software/pspp/pspp-dev/html_node/System-File-Format.html)
VARIABLE, LABELS, NOTE, EXTENSION, END, LONG_NAMES = 2, 3, 6, 7, 999, 13


def weight_variable(path: str | Path) -> str:
    """Name the weight variable of a .sav or .zsav file, as the file's dictionary spells it.

    Parameters
    ----------
    path : path

    Returns
    -------
    str
        '' if the file is not weighted, or its dictionary cannot be followed.
    """
    try:
        with Path(path).open("rb") as stream:
            return _weight(stream)
    except (OSError, struct.error, ValueError):
        return ""


def _weight(stream: BinaryIO) -> str:
    header = _take(stream, HEADER)
    order = next((o for o in "<>" if struct.unpack(f"{o}i", header[64:68])[0] in (2, 3)), "")
    if header[:4] not in (b"$FL2", b"$FL3") or not order:
        return ""

    def number() -> int:
        return int(struct.unpack(f"{order}i", _take(stream, 4))[0])

    # the weight's number counts the records of variables, those that continue a long text among them
    weight = struct.unpack(f"{order}i", header[76:80])[0]
    short, place = b"", 0
    while weight > 0 and (kind := number()) != END:
        if kind == VARIABLE:
            _, labelled, missing = number(), number(), number()
            place += 1
            name = _take(stream, 16)[8:].rstrip()
            short = name if place == weight else short
            _take(stream, (-(-number() // 4) * 4 if labelled else 0) + 8 * abs(missing))
        elif kind == EXTENSION:
            subtype, content = number(), _take(stream, number() * number())
            if subtype == LONG_NAMES:  # SHORT=Long, by tabs
                short = dict(pair.split(b"=", 1) for pair in content.split(b"\t") if b"=" in pair).get(short, short)
        elif kind == LABELS:
            for _ in range(number()):
                _take(stream, -(-(_take(stream, 9)[8] + 1) // 8) * 8 - 1)
        else:  # the variables of labels, four bytes each; or lines of a note
            _take(stream, number() * (80 if kind == NOTE else 4))
    return short.decode("utf-8", "replace")


def _take(stream: BinaryIO, size: int) -> bytes:
    if not 0 <= size <= MOST:
        raise ValueError(f"a record of {size} bytes")
    found = stream.read(size)
    if len(found) < size:
        raise ValueError("the file ends within its dictionary")
    return found
