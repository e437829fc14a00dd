"""The names of the report's formats, apart so that the command line need not load what draws."""

from __future__ import annotations

from typing import Literal

Format = Literal["html", "md", "tex", "csv", "svg", "png"]
