"""The effect report: one page that a social scientist can read, check and cite."""

from __future__ import annotations

from typing import Any

__all__ = ["write_report"]


def __getattr__(name: str) -> Any:
    """Import the page, and with it the drawing libraries, only when a report is written."""
    if name == "write_report":
        from acecausal.report.output import write_report

        return write_report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
