"""The countries of ISO 3166, and the region of each."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

Coding = Literal["iso-numeric", "iso-alpha2", "iso-alpha3"]
CODINGS: tuple[Coding, ...] = get_args(Coding)


@cache
def table() -> tuple[dict[str, str], ...]:
    """Give one mapping per country: alpha3, alpha2, numeric, name and region, in the order of the alpha-3 codes.

    The name is English, short, and with the article that it takes in a sentence; the region is the smallest of the UN's
    standard M49 that holds the country.
    """
    with (resources.files("acecausal") / "countries.csv").open(encoding="utf-8") as stream:
        return tuple(csv.DictReader(stream))


def iso_countries(coding: Coding) -> dict[str, dict[str, Any]]:
    """Give the countries as a codebook would: by alpha-3 code, each with its code in this coding, label and region."""
    column = coding.removeprefix("iso-")
    return {row["alpha3"]: {"codes": [row[column]], "label": row["name"], "region": row["region"]} for row in table()}
