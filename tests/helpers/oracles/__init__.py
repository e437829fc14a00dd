"""Numbers that other programs gave, and the scripts that made them."""

from pathlib import Path

ORACLES = Path(__file__).parent
