"""A survey of four rows in two countries, and its codebook: what tests of reading begin with."""

from __future__ import annotations

import numpy as np
import pandas as pd

from acecausal.survey.codebook import Codebook

BOOK = Codebook.model_validate(
    {
        "codebook": 1,
        "name": "mini",
        "title": "t",
        "source": "s",
        "licence": "l",
        "missing": [-1],
        "weight": {"column": "w", "absent_in": ["B"]},
        "stratum": {"column": "h", "absent_in": ["B"]},
        "countries": {
            "column": "c",
            "levels": {"A": {"codes": ["NA"], "label": "A"}, "B": {"codes": ["None"], "label": "B"}},
        },
        "attributes": {
            "sex": {
                "column": "s",
                "label": "sex",
                "baseline": "m",
                "levels": {"m": {"codes": [0], "label": "men"}, "f": {"codes": [1], "label": "women"}},
            },
            "age": {
                "column": "a",
                "label": "age",
                "baseline": "young",
                "missing": [99],
                "levels": {"young": {"range": [18, 39], "label": "y"}, "old": {"range": [40, 98], "label": "o"}},
            },
        },
        "values": {
            "trust": {
                "column": "t",
                "question": "?",
                "topic": "t",
                "scale": "ordinal",
                "missing": [9],
                "options": [{"label": str(k), "codes": [k]} for k in (3, 2, 1)],
            }
        },
        "covariates": {"income": {"column": "i", "label": "income"}},
    }
)


def table(**columns) -> pd.DataFrame:
    base = {
        "c": ["NA", "NA", "None", "None"],
        "s": [0, 1, 1, -1],
        "a": [18, 40, 99, 39],
        "t": [1, 3, 9, 2],
        "i": [1.5, np.nan, -1, 2.0],
        "w": [0.5, 2.0, np.nan, np.nan],
        "h": [7, 8, np.nan, np.nan],
    }
    return pd.DataFrame(base | columns)


def book(**keys) -> Codebook:
    """A codebook with country, one attribute, one value of three options, and these keys."""
    raw = BOOK.model_dump(exclude={"weight", "stratum", "covariates"})
    del raw["attributes"]["age"]
    return Codebook.model_validate(raw | {name: {"column": column} for name, column in keys.items()})


def people(**columns) -> pd.DataFrame:
    """Six respondents, four of A, two of B, whose rows all differ."""
    base = {"c": ["NA"] * 4 + ["None"] * 2, "s": [0, 1, 0, 1, 0, 1], "t": [1, 2, 3, 3, 1, 2], "h": [7, 7, 7, 8, 7, 8]}
    return pd.DataFrame(base | columns)
