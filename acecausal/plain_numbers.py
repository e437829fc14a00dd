"""Numbers for terminals and Markdown."""

from __future__ import annotations


def number_or_dash(number: float | None, digits: int = 2) -> str:
    """Write a number with so many decimals; a dash where the data cannot tell (None)."""
    return "-" if number is None else f"{number:.{digits}f}"
