"""Shipped codebooks: the whole road from a downloaded file to a cube, and what the codes mean, by hand.

The oracle of every test is a table written here by hand from what is known of the surveys' files, not the codebook.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from survey_files import OUTSIDE_SHARE, write_survey

from acecausal.cube import schema
from acecausal.cube.files import open_cube
from acecausal.errors import AceError
from acecausal.estimation import identify
from acecausal.estimation.estimate import estimate
from acecausal.estimation.plan import make_plan
from acecausal.report.methods import paragraphs
from acecausal.survey.codebook import load_codebook, shipped_codebooks
from acecausal.survey.data import read_survey
from cli import main

N = 700
SAMPLES = {"ess-immigration", "gss-spending", "wvs-sample"}  # of R packages: benchmarks and other tests read them


def reverse(*codes: int) -> dict[int, int]:
    """Code to position, the first code being most."""
    return {code: len(codes) - 1 - i for i, code in enumerate(codes)}


def count(first: int, last: int) -> dict[int, int]:
    return {code: code - first for code in range(first, last + 1)}


def groups(*codes: list[int] | range) -> dict[int, int]:
    return {code: position for position, group in enumerate(codes) for code in group}


SEX = count(1, 2)
AGES = groups(range(18, 30), range(30, 50), range(50, 90))
PARTNERSHIP = groups([6], [1, 2], [3, 4, 5])
WVS_RELIGION = groups([0], [1, 2, 3, 8], [5], [4], [6], [7], [9])
ISCED = groups(range(6), range(6, 9))
ISSP_DEGREE = groups(range(5), [5, 6])
PLACE = groups([1, 2, 3], [4, 5])
TEN = count(0, 10)
ESS = {
    "attributes": {
        "gender": ("gndr", SEX),
        "education": ("eisced", groups(range(1, 6), [6, 7])),
        "education_level": ("eisced", groups([1], [2], [3, 4], [5], [6], [7])),
        "residence": ("domicil", PLACE),
        "marital": ("maritalb", PARTNERSHIP),
        "religion": ("rlgblg", reverse(1, 2)),
        "age": ("agea", AGES),
    },
    "values": {
        "trust_people": ("ppltrst", TEN),
        "interest_in_politics": ("polintr", reverse(*range(1, 5))),
        "gays_free": ("freehms", reverse(*range(1, 6))),
        "allow_poorer_countries": ("impcntr", reverse(*range(1, 5))),
        "political_say": ("psppsgva", count(1, 5)),
        "left_right": ("lrscale", TEN),
    },
}
ISSP = {
    "gender": ("SEX", SEX),
    "education": ("DEGREE", ISSP_DEGREE),
    "residence": ("URBRURAL", PLACE),
    "marital": ("MARITAL", PARTNERSHIP),
    "religion": ("RELIGGRP", groups([0], [1, 2, 3, 4], [6], [5], [8], [7], [9, 10])),
    "age": ("AGE", AGES),
}
AGREE = reverse(*range(1, 6))
#: Per codebook: two countries by the file's code, how rows are chosen, and columns with the positions of their codes.
BY_HAND = {
    "wvs7": {
        "countries": ("B_COUNTRY", {276: "DEU", 909: "NIR"}),
        "rows": None,
        "weight": "W_WEIGHT",
        "attributes": {
            "gender": ("Q260", SEX),
            "education": ("Q275", ISCED),
            "education_level": ("Q275", groups([0, 1], [2], [3, 4], [5], [6], [7, 8])),
            "residence": ("H_URBRURAL", SEX),
            "marital": ("Q273", PARTNERSHIP),
            "religion": ("Q289", WVS_RELIGION),
            "age": ("Q262", AGES),
        },
        "values": {
            "important_family": ("Q1", reverse(1, 2, 3, 4)),
            "child_obedience": ("Q17", reverse(1, 2)),
            "reject_immigrants": ("Q21", reverse(1, 2)),
            "better_off_than_parents": ("Q56", {2: 0, 3: 1, 1: 2}),
            "people_can_be_trusted": ("Q57", reverse(1, 2)),
            "confidence_wto": ("Q89", reverse(1, 2, 3, 4)),
            "environment_over_growth": ("Q111", reverse(1, 2)),
            "women_less_corrupt": ("Q119", reverse(1, 2, 3, 4)),
            "immigration_brings_conflict": ("Q129", count(0, 2)),
            "moral_rules_unclear": ("Q176", reverse(*range(1, 11))),
            "justify_abortion": ("Q184", count(1, 10)),
            "votes_national": ("Q222", reverse(1, 2, 3)),
            "good_democracy": ("Q238", reverse(1, 2, 3, 4)),
            "national_pride": ("Q254", reverse(1, 2, 3, 4)),
        },
    },
    "wvs-trend": {
        "countries": ("S003", {826: "GBR", 915: "XKX"}),
        "rows": lambda table: table["S002VS"] == 7,
        "weight": "S017",
        "attributes": {
            "gender": ("X001", SEX),
            "education": ("X025R", groups([1, 2], [3])),
            "residence": ("X050C", SEX),
            "marital": ("X007", PARTNERSHIP),
            "religion": ("F025", WVS_RELIGION),
            "age": ("X003", AGES),
        },
        "values": {
            "happiness": ("A008", reverse(1, 2, 3, 4)),
            "action_petition": ("E025", reverse(1, 2, 3)),
            "respect_for_authority": ("E018", reverse(1, 2, 3)),
            "restrict_immigration": ("E143", count(1, 4)),
            "justify_homosexuality": ("F118", count(1, 10)),
            "confidence_government": ("E069_11", reverse(1, 2, 3, 4)),
        },
    },
    "issp2012": {
        "countries": ("V4", {578: "NOR", 724: "ESP"}),
        "rows": None,
        "weight": "WEIGHT",
        "attributes": ISSP,
        "values": {
            "working_mother_warm": ("V5", AGREE),
            "work_with_preschool_child": ("V12", reverse(1, 2, 3)),
            "happiness": ("V55", reverse(*range(1, 8))),
            "job_satisfaction": ("V56", reverse(*range(1, 8))),
        },
    },
    "issp2014": {
        "countries": ("V4", {392: "JPN", 376: "ISR"}),
        "rows": None,
        "weight": "WEIGHT",
        "attributes": ISSP,
        "values": {
            "citizen_votes": ("V5", count(1, 7)),
            "action_internet": ("V24", reverse(1, 2, 3, 4)),
            "right_health_care": ("V40", count(1, 7)),
            "left_right": ("V48", TEN),
            "trust_government": ("V49", AGREE),
        },
    },
    "issp2016": {
        "countries": ("country", {276: "DEU", 56: "BEL"}),
        "rows": None,
        "weight": "WEIGHT",
        "attributes": ISSP,
        "values": {
            "spend_health": ("v14", AGREE),
            "spend_pensions": ("v18", AGREE),
            "responsible_jobs": ("v21", reverse(1, 2, 3, 4)),
            "responsible_income_differences": ("v27", reverse(1, 2, 3, 4)),
            "officials_corrupt": ("v59", count(1, 5)),
        },
    },
    "issp2019": {
        "countries": ("country", {32: "ARG", 756: "CHE"}),
        "rows": None,
        "weight": "WEIGHT",
        "attributes": ISSP,
        "values": {
            "ahead_wealthy_family": ("v1", AGREE),
            "spend_less_on_poor": ("v24", AGREE),
            "taxes_on_rich_too_low": ("v28", count(1, 5)),
            "angry_about_inequality": ("v32", TEN),
            "top_of_society": ("v41", count(1, 10)),
            "distribution_fair": ("v50", reverse(1, 2, 3, 4)),
        },
    },
    "issp2020": {
        "countries": ("country", {36: "AUS", 158: "TWN"}),
        "rows": None,
        "weight": "WEIGHT",
        "attributes": ISSP | {"education": ("EDULEVEL", ISCED)},
        "values": {
            "science_solves": ("v20", AGREE),
            "trust_parliament": ("v14", TEN),
            "accept_higher_taxes": ("v27", AGREE),
            "environmental_concern": ("v15", count(1, 5)),
            "recycles": ("v52", reverse(1, 2, 3, 4)),
            "environmental_petition": ("v55", reverse(1, 2)),
        },
    },
    **{
        f"ess{number}": {
            "countries": ("cntry", {"NO": "NOR", "XK": "XKX"}),
            "rows": lambda table, number=number: table["essround"] == number,
            "weight": "pspwght",
            "attributes": ESS["attributes"],
            "values": ESS["values"] | {"values_tradition": (portrait, reverse(*range(1, 7)))},
        }
        for number, portrait in ((9, "imptrad"), (10, "imptrad"), (11, "imptrada"))
    },
    "gss": {
        "countries": ("year", {2018: "USA", 2024: "USA"}),
        "rows": lambda table: table["year"].between(2018, 2024),
        "weight": "wtssps",
        "attributes": {
            "gender": ("sex", SEX),
            "education": ("degree", groups([0, 1, 2], [3, 4])),
            "residence": ("srcbelt", groups(range(1, 6), [6])),
            "marital": ("marital", groups([5], [1], [2, 3, 4])),
            "religion": ("relig", groups([4], [1, 2, 10, 11, 13], [9], [3], [7], [6], [5, 8, 12])),
            "age": ("age", AGES),
            "race": ("race", count(1, 3)),
        },
        "values": {
            "people_can_be_trusted": ("trust", {2: 0, 3: 1, 1: 2}),
            "people_fair": ("fair", {1: 0, 3: 1, 2: 2}),
            "spend_environment": ("natenvir", reverse(1, 2, 3)),
            "reduce_income_differences": ("eqwlth", reverse(*range(1, 8))),
            "premarital_sex_ok": ("premarsx", count(1, 4)),
            "teaching_atheist": ("colath", reverse(4, 5)),
            "remove_book_atheist": ("libath", reverse(1, 2)),
            "easier_divorce": ("divlaw", {2: 0, 3: 1, 1: 2}),
            "republican": ("partyid", count(0, 6)),
            "attendance": ("attend", count(0, 8)),
        },
    },
    "afrobarometer8": {
        "countries": ("COUNTRY", {13: "GHA", 37: "ZWE"}),
        "rows": None,
        "weight": "withinwt_hh",
        "attributes": {
            "gender": ("Q101", SEX),
            "education": ("Q97", groups(range(8), [8, 9])),
            "residence": ("URBRUR", groups([1, 3], [2, 460])),
            "age": ("Q1", AGES),
        },
        "values": {
            "people_can_be_trusted": ("Q83", count(0, 1)),
            "trust_parliament": ("Q41B", count(0, 3)),
            "homosexual_neighbours": ("Q86C", count(1, 5)),
        },
    },
}


def test_by_hand__every_shipped_codebook():
    assert set(BY_HAND) == set(shipped_codebooks()) - SAMPLES


@pytest.fixture(scope="module", params=sorted(BY_HAND))
def case(request, tmp_path_factory):
    """Give the codebook's name, what was drawn, and the survey that the .sav file gives."""
    name = request.param
    book = load_codebook(name)
    folder = tmp_path_factory.mktemp(name)
    countries = list(dict.fromkeys(BY_HAND[name]["countries"][1].values()))
    drawn = write_survey(folder / "data.sav", book, N, seed=1, countries=countries)
    again = write_survey(folder / "data.dta", book, N, seed=1, countries=countries)
    pd.testing.assert_frame_equal(drawn, again)
    return name, drawn, read_survey(folder / "data.sav", book), folder / "data.dta"


def test_codes__mean_what_the_tables_say(case):
    name, drawn, survey, _ = case
    by_hand = BY_HAND[name]
    if by_hand["rows"] is not None:
        meant = by_hand["rows"](drawn)
        assert 0 < (~meant).sum() < 2 * OUTSIDE_SHARE * N
        assert [n for reason, n in survey.lost.items() if reason.startswith("rows outside")] == [(~meant).sum()]
        drawn = drawn[meant]
    column, names = by_hand["countries"]
    expected = ["USA"] * len(drawn) if name == "gss" else drawn[column].map(names).tolist()
    assert [survey.country_names[i] for i in survey.country] == expected
    assert set(names.values()) == set(expected)
    np.testing.assert_allclose(survey.weight, drawn[by_hand["weight"]], rtol=1e-12)  # a double in the file too
    for kind in ("attributes", "values"):
        for part, (column, positions) in by_hand[kind].items():
            decoded, codes = getattr(survey, kind)[part], drawn[column]
            np.testing.assert_array_equal(decoded, codes.map(positions).fillna(-1), err_msg=f"{part} {column}")
            assert set(decoded) >= set(positions.values())
    gone = [codes for part in (survey.attributes, survey.values) for codes in part.values()]
    assert (np.concatenate(gone) < 0).any()


def test_stata__the_same_survey(case):
    name, _, survey, path = case
    other = read_survey(path, load_codebook(name))
    assert other.lost == survey.lost
    for kind in ("attributes", "values"):
        for part, codes in getattr(survey, kind).items():
            np.testing.assert_array_equal(getattr(other, kind)[part], codes)


def test_road__to_a_cube(case):
    name, _, survey, _ = case
    book = load_codebook(name)
    plan = make_plan(survey, values=list(book.values)[:2], depth=1)
    chosen = [attribute.name for attribute in plan.lattice.attributes]
    assert chosen == [n for n in ("gender", "education", "residence", "marital") if n in book.attributes]
    assert not any("education_level" in held for held in plan.adjustment.values())
    cube = estimate(survey, plan)
    assert (cube["status"] == schema.OK).any(("persona", "attribute")).all()
    assert cube.sizes["country"] == len(set(BY_HAND[name]["countries"][1].values()))
    assert cube.attrs["weights"] == BY_HAND[name]["weight"]


def test_one_column__one_attribute(tmp_path):
    """A level of education is not held fixed while the degree that it implies is moved, nor the other way round."""
    book = load_codebook("issp2019")
    write_survey(tmp_path / "a.sav", book, N, seed=2)
    survey = read_survey(tmp_path / "a.sav", book)
    with pytest.raises(AceError, match="two attributes of one column") as caught:
        make_plan(survey, attributes=["education", "education_level"])
    assert "both, from column DEGREE" in str(caught.value)
    for estimand in ("direct", "total"):
        for chosen, other in (("education", "education_level"), ("education_level", "education")):
            plan = make_plan(survey, attributes=["gender", chosen], estimand=estimand)
            assert other not in re.findall(r"\w+", plan.graph)
            assert all(other not in held for held in plan.adjustment.values())
            assert chosen in plan.modifiers["gender"] or estimand == "total"
        plan = make_plan(survey, attributes=["gender"], estimand=estimand)
        assert "education_level" not in re.findall(r"\w+", plan.graph)
        assert ("education" in plan.adjustment["gender"]) == (estimand == "direct")


def test_graph__an_attribute_stands_for_its_column():
    book = load_codebook("issp2019")
    taken = [name for name in book.attributes if name != "education"]
    graph = identify.causal_graph(book, taken)
    assert "education" not in graph
    assert ("education_level", "marital") in graph.edges
    assert ("education_level", "residence") in graph.edges
    assert set(identify.causal_graph(book).nodes) == {*book.attributes, "answer"}


def invoke(*args: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.slow
def test_command__rows_and_what_is_unverified(tmp_path):
    book = load_codebook("gss")
    drawn = write_survey(tmp_path / "gss.dta", book, 2 * N, seed=3)
    meant = int(drawn["year"].isin([2019, 2020, 2023]).sum())
    choices = ("--codebook", "gss", "--values", "happiness", "--depth", 1)
    output = invoke(
        "estimate", tmp_path / "gss.dta", *choices, "--rows", "year=2019,2020,2023", "-o", tmp_path / "a.nc"
    )
    assert f"rows outside year 2019,2020,2023 {2 * N - meant}" in output
    assert "unverified" not in output
    with open_cube(tmp_path / "a.nc") as cube:
        assert cube.attrs["respondents"] == meant
        assert cube.attrs["rows"] == '{"year": "2019,2020,2023"}'
        assert cube.attrs["unverified"] == "[]"
        assert cube.attrs["weights_note"] == book.weight.note
        assert "Rows: year 2019,2020,2023." in " ".join(paragraphs(cube))
    assert "no row is left" in invoke(
        "estimate", tmp_path / "gss.dta", *choices, "--rows", "year=1990", "--dry-run", code=1
    )
    for wrong in ("year", "=2018", "year=", "year=a..b"):
        output = invoke("estimate", tmp_path / "gss.dta", *choices, "--rows", wrong, "--dry-run", code=2)
        assert "--rows" in output
    output = invoke("estimate", tmp_path / "gss.dta", *choices, "--rows", "year=2022..2018", "--dry-run", code=1)
    assert "upside down" in output


@pytest.mark.slow
def test_command__names_what_is_unverified_and_used(tmp_path):
    write_survey(tmp_path / "a.sav", load_codebook("issp2016"), N, seed=4)
    choices = ("--codebook", "issp2016", "--depth", 1, "--attributes", "gender,education")
    output = invoke(
        *("estimate", tmp_path / "a.sav", *choices),
        *("--values", "spend_health,spend_police", "-o", tmp_path / "a.nc"),
    )
    assert (
        "unverified in issp2016, compare with the file's value labels: attribute religion, value spend_police\n"
        in output
    )
    with open_cube(tmp_path / "a.nc") as cube:
        assert cube.attrs["unverified"] == '["attribute religion", "value spend_police"]'
        text = " ".join(paragraphs(cube))
    assert "Codes that the codebook marks as unverified: attribute religion, value spend_police." in text
    assert "Rows:" not in text
    association = ("--estimand", "association", "--values", "spend_health", "--dry-run")
    assert "unverified" not in invoke("estimate", tmp_path / "a.sav", *choices, *association)
