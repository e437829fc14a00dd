"""Countries: the shipped table against codes, names and regions written here by hand from ISO 3166 and UN M49."""

from __future__ import annotations

import pytest

from acecausal.survey.countries import CODINGS, iso_countries, table

BY_HAND = """
AFG AF 004 Southern Asia|ALB AL 008 Southern Europe|ARG AR 032 South America|ARM AM 051 Western Asia
AUS AU 036 Australia and New Zealand|AUT AT 040 Western Europe|BEL BE 056 Western Europe|BRA BR 076 South America
CAN CA 124 Northern America|CHE CH 756 Western Europe|CHL CL 152 South America|CHN CN 156 Eastern Asia
COD CD 180 Middle Africa|CYP CY 196 Western Asia|CZE CZ 203 Eastern Europe|DEU DE 276 Western Europe
EGY EG 818 Northern Africa|EST EE 233 Northern Europe|ETH ET 231 Eastern Africa|FJI FJ 242 Melanesia
GBR GB 826 Northern Europe|GRC GR 300 Southern Europe|HKG HK 344 Eastern Asia|HRV HR 191 Southern Europe
IDN ID 360 South-eastern Asia|IND IN 356 Southern Asia|IRN IR 364 Southern Asia|ISL IS 352 Northern Europe
ISR IL 376 Western Asia|JPN JP 392 Eastern Asia|KAZ KZ 398 Central Asia|KEN KE 404 Eastern Africa
KOR KR 410 Eastern Asia|MAC MO 446 Eastern Asia|MAR MA 504 Northern Africa|MEX MX 484 Central America
NGA NG 566 Western Africa|NLD NL 528 Western Europe|NOR NO 578 Northern Europe|NZL NZ 554 Australia and New Zealand
PHL PH 608 South-eastern Asia|PRI PR 630 Caribbean|RUS RU 643 Eastern Europe|SRB RS 688 Southern Europe
SVN SI 705 Southern Europe|SWE SE 752 Northern Europe|TUR TR 792 Western Asia|TWN TW 158 Eastern Asia
TZA TZ 834 Eastern Africa|UKR UA 804 Eastern Europe|USA US 840 Northern America|VNM VN 704 South-eastern Asia
WSM WS 882 Polynesia|ZAF ZA 710 Southern Africa|ZWE ZW 716 Eastern Africa
"""


def test_known_codes__by_hand():
    rows = {row["alpha3"]: row for row in table()}
    expected = [line.split(" ", 3) for line in BY_HAND.strip().replace("\n", "|").split("|")]
    assert len(expected) == 55
    for alpha3, alpha2, numeric, region in expected:
        row = rows[alpha3]
        assert (row["alpha2"], row["numeric"], row["region"]) == (alpha2, numeric, region)


@pytest.mark.parametrize("column", ["alpha2", "alpha3", "numeric", "name"])
def test_columns__unique_and_well_formed(column):
    entries = [row[column] for row in table()]
    assert len(set(entries)) == len(entries) == 249
    assert all(entry == entry.strip() and entry for entry in entries)
    width = {"alpha2": 2, "alpha3": 3, "numeric": 3}.get(column)
    if width:
        assert all(len(entry) == width and entry.isascii() for entry in entries)
        assert all(entry.isdecimal() if column == "numeric" else entry.isupper() for entry in entries)


def test_regions__those_of_m49():
    regions = {row["region"] for row in table()}
    assert len(regions) == 23  # the 22 subregions, and Antarctica
    assert sum(row["region"] == "Northern Europe" for row in table()) == 16


def test_codings__name_by_alpha3():
    for coding, norway in zip(CODINGS, ("578", "NO", "NOR"), strict=True):
        assert iso_countries(coding)["NOR"]["codes"] == [norway]
