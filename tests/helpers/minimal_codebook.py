"""The smallest codebook that is one."""

from __future__ import annotations

MINIMAL = {
    "codebook": 1,
    "name": "mini",
    "title": "t",
    "source": "s",
    "licence": "l",
    "countries": {"column": "c", "levels": {"A": {"codes": [1], "label": "A"}}},
    "attributes": {
        "sex": {
            "column": "s",
            "label": "sex",
            "baseline": "m",
            "levels": {"m": {"codes": [1], "label": "men"}, "f": {"codes": [2], "label": "women"}},
        }
    },
    "values": {
        "trust": {
            "column": "t",
            "question": "Can people be trusted?",
            "topic": "trust",
            "scale": "binary",
            "options": [{"label": "yes", "codes": [1]}, {"label": "no", "codes": [2]}],
        }
    },
}
