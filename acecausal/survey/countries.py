"""The countries of ISO 3166, and the region of each."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

Coding = Literal["iso-numeric", "iso-alpha2", "iso-alpha3"]
CODINGS: tuple[Coding, ...] = get_args(Coding)


@cache
def table() -> tuple[dict[str, str], ...]:
    """Give one mapping per country, by alpha-3 code: codes, name, region, latitude and longitude (degrees).

    The name is English, short, and with the article that it takes in a sentence; the region is the smallest of the UN's
    standard M49 that holds the country.
    """
    with (resources.files("acecausal.survey") / "countries.csv").open(encoding="utf-8") as stream:
        return tuple(csv.DictReader(stream))


def iso_countries(coding: Coding) -> dict[str, dict[str, Any]]:
    """Give the countries as a codebook would: by alpha-3 code, each with its codes in this coding, label and region.

    A numeric code with leading zeros has two: as text (008), and as a number (8).
    """
    column = coding.removeprefix("iso-")
    return {
        row["alpha3"]: {
            "codes": list(dict.fromkeys([row[column], row[column].lstrip("0")])),
            "label": row["name"],
            "region": row["region"],
        }
        for row in table()
    }


def customary(codes: Iterable[str]) -> str:
    """Say what codes mean that surveys use and ISO 3166 does not have; '' if none is among them."""
    means = {
        "UK": "the United Kingdom, GBR: {codes: [GB, UK], ...}",
        "EL": "Greece, GRC: {codes: [GR, EL], ...}",
        "XK": "Kosovo, XKX: {codes: [XK], ...}",
    }
    found = [f"{code} is {means[code]}" for code in codes if code in means]
    return f"under countries.levels: {'; '.join(found)}" if found else ""


#: How surveys spell countries where the table does not.
_SPELLED = {
    "bosnia herzegovina": "BIH", "britain": "GBR", "great britain": "GBR", "czech rep.": "CZE", "czechia": "CZE",
    "hong kong sar": "HKG", "macau sar": "MAC", "palest. ter.": "PSE", "palestinian territories": "PSE",
    "s. africa": "ZAF", "s. korea": "KOR", "taiwan roc": "TWN",
}  # fmt: skip


@cache
def _names() -> dict[str, dict[str, str]]:
    by_code = {row["alpha3"]: row for row in table()}
    named = {row["name"].casefold().removeprefix("the "): row for row in table()}
    return named | {name: by_code[code] for name, code in _SPELLED.items()}


def named(name: str) -> dict[str, str] | None:
    """Give the row of a country's English name, in any case, with or without ``the``; None if it is not known.

    Spellings that surveys use ("S. Korea", "Britain") are known too.
    """
    return _names().get(" ".join(name.split()).casefold().removeprefix("the "))


@cache
def _places() -> dict[str, tuple[float, float]]:
    return {
        key.casefold().removeprefix("the "): (float(row["latitude"]), float(row["longitude"]))
        for row in table()
        for key in (row["alpha2"], row["alpha3"], row["name"])
    }


def place(name: str) -> tuple[float, float] | None:
    """Give latitude and longitude (degrees, the middle of the largest piece of land) of a country, or None.

    Parameters
    ----------
    name : str
        Its alpha-2 or alpha-3 code or its name in the table, in any case, with or without ``the``.
    """
    return _places().get(name.strip().casefold().removeprefix("the "))
