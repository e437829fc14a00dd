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

#: One with some of everything.
RICH = MINIMAL | {
    "countries": {"column": "c", "levels": {n: {"codes": [i], "label": n} for i, n in enumerate("AB", 1)}},
    "attributes": MINIMAL["attributes"]
    | {
        "age": {
            "column": "a",
            "label": "age",
            "baseline": "young",
            "missing": [-1],
            "parents": ["income"],
            "levels": {
                "young": {"range": [18, 49.9], "label": "18 to 49"},
                "old": {"range": [50, 110], "label": "50 and over", "phrase": "50 years or older"},
            },
        }
    },
    "values": {
        "trust": MINIMAL["values"]["trust"] | {"missing": [9]},
        "order": {
            "column": "o",
            "question": "How important is order?",
            "topic": "order",
            "scale": "ordinal",
            "options": [{"label": label, "codes": [i]} for i, label in enumerate(("very", "rather", "not"), 1)],
        },
    },
    "covariates": {"income": {"column": "i", "label": "income"}},
    "weight": {"column": "w", "absent_in": ["B"]},
    "stratum": {"column": "st"},
    "psu": {"column": "p", "within": "st"},
    "id": {"column": "id"},
    "missing": [-9],
    "missing_below": -0.5,
    "rows": {"y": {"range": [2018, 2022]}},
    "lattice": ["sex", "age"],
}
