"""Codes: one spelling for them in every file format, and which of them say nothing."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BeforeValidator


def _check_code(code: object) -> object:
    if not isinstance(code, bool | str | int | float) or (isinstance(code, float) and not math.isfinite(code)):
        raise ValueError(f"{code!r}: a code is a text, true or false, or a finite number")
    return code


Code = Annotated[bool | str | int | float, BeforeValidator(_check_code)]

#: Texts that are whole numbers, written plainly: no exponent, leading zero, sign + or underscore.
_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0+)?")


def code_key(code: object) -> str:
    """Bring a code to one spelling, so that 1, 1.0, "1", "1.0" and "1 " are the same code in every file format.

    Blanks around a text are stripped, and its letters composed (NFC). Only plain whole numbers are made one; "007",
    "1e3" and "+1" are texts, and stay as they are. Truth values are ``true`` and ``false``.
    """
    if isinstance(code, bool | np.bool_):
        return str(bool(code)).lower()
    if isinstance(code, float | np.floating) and float(code).is_integer():
        return str(int(code))  # all digits, where str() would write an exponent
    text = str(code).strip()
    whole = _WHOLE.fullmatch(text)
    if whole:  # exact, however long: identifiers can have more digits than a float holds
        return "0" if whole[1] == "-0" else whole[1]
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def number(key: str) -> float | None:
    """Read a code as a number; None where it is none, or not finite."""
    if "_" in key or not key.isascii():  # Python reads 1_0 as ten, and the digits of every script
        return None
    try:
        found = float(key)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


@dataclass(frozen=True)
class Missing:
    """The codes that say nothing: those listed, and every number below `below`."""

    codes: frozenset[str] = frozenset()
    below: float | None = None

    def __contains__(self, key: str) -> bool:
        if key in self.codes:
            return True
        if self.below is None:
            return False
        found = number(key)
        return found is not None and found < self.below
