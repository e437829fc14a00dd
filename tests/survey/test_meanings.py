"""What labels say. Oracles: lists written by hand, and labels of the codebooks and archives that change places."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pytest
from published_labels import PUBLISHED

from acecausal.survey.codebook import load_codebook, shipped_codebooks
from acecausal.survey.codes import code_key
from acecausal.survey.meanings import contradictions, says_nothing, silent_codes
from acecausal.survey.specs import AttributeSpec, ValueSpec

SILENT = """
Don't know|Don’t know|Do not know|dont know|DK|D.K.|DK/NA|DK/Refused|I don't know|(Don't know)|8 - Don't know
Don't know (DO NOT READ)|Don't know, can't choose|Don't know enough to say|.d: Do not Know/Cannot Choose
No answer|9. No answer|No response|Nonresponse|Did not answer|NA, refused|N/A|n.a.|Not applicable|Inapplicable|IAP
NAP (code 2 in V5)|Not applicable: no partner|Does not apply|Refused|Refusal|Refusal*|[Refused]|Refused to answer
Respondent refused|Declined to answer|Prefer not to say|Prefer not to answer|I'd rather not answer|Rather not say
Can't choose|Cannot choose|Not asked|Not asked in survey|Not put to respondent|Skipped on Web|Not ascertained|Missing
Missing; Unknown|Missing: other|System missing|Not available in this year|Not available|Not stated|Unknown|Uncodeable
"""
SOFT = """
Not sure|Unsure|I'm not sure|Not sure/No opinion|No opinion|Have no opinion|No idea|Undecided|Hard to say
Difficult to say|Can't say|Cannot say|Haven't thought about it
"""
ANSWERS = """
Refuse to pay taxes|Would refuse|Refuse|Refused asylum|Decline|Declined a lot|No|None|Nothing|Never|Not at all|Neutral
Neither agree nor disagree|It depends|Don't care|Don't know any neighbours|Do not know them at all|Know nothing about it
Do not know how to read|Missing persons|Missing meals often|Not available on weekends|Not asked for money
Unknown soldier|Skipped school
Sure|Not very sure|Not sure at all|Prefer not to work|No preference|No religion|No opinion leaders
Can't afford it|Can't be too careful|Hard to get|Not important|None of these|Other|Would not answer the door|Kenya|Iran
Say nothing|In part|Not mentioned|Not close at all|Refugees
"""


def listed(text: str) -> list[str]:
    return [label for line in text.strip().splitlines() for label in line.split("|")]


def test_says_nothing__wordings():
    assert [label for label in listed(SILENT) if not says_nothing(label)] == []
    assert [label for label in listed(SOFT) if says_nothing(label)] == []
    assert [label for label in listed(SOFT) if not says_nothing(label, soft=True)] == []
    assert [label for label in listed(ANSWERS) if says_nothing(label, soft=True)] == []


@pytest.mark.parametrize(
    ("labels", "silent"),
    [
        (["Agree", "Disagree", "Not sure"], ["3"]),
        (["Agree", "Not sure", "Disagree", "Refused"], ["4"]),  # the middle of a scale is an answer
        (["Agree", "Undecided", "Disagree"], []),
        (["Very sure", "Fairly sure", "Not sure", "Don't know"], ["4"]),  # a scale of being sure
        (["No opinion", "Agree", "Disagree"], ["1"]),
    ],
)
def test_silent_codes__by_place(labels: list[str], silent: list[str]):
    assert silent_codes({str(code): label for code, label in enumerate(labels, 1)}) == silent


def laid_out(spec: AttributeSpec | ValueSpec) -> tuple[list[tuple[str, ...]], dict[str, int]]:
    """Give the wordings of each level or option, and the place of each code."""
    if isinstance(spec, AttributeSpec):
        wordings = [(name, level.label, level.phrase) for name, level in spec.levels.items()]
        entries: Sequence = list(spec.levels.values())
    else:
        wordings, entries = [(option.label,) for option in spec.options], spec.options
    return wordings, {code_key(code): place for place, entry in enumerate(entries) for code in entry.codes}


@pytest.mark.parametrize("name", shipped_codebooks())
def test_shipped__every_swap_of_two_options_is_found(name: str):
    """Labels in the codebook's own words: as they are, nothing; any two changed over, these two and no other."""
    book = load_codebook(name)
    swaps = 0
    for spec in (*book.attributes.values(), *book.values.values()):
        wordings, place = laid_out(spec)
        for words in zip(*wordings, strict=True):
            labels = {key: words[at] for key, at in place.items()}
            assert list(contradictions(wordings, place, labels)) == []
            for one, other in combinations(sorted({*place.values()}), 2):
                turned = {one: other, other: one}
                swapped = {key: words[turned.get(at, at)] for key, at in place.items()}
                # where scales run against their codes, "9" and "2" changed over are each the code's own number
                if all(swapped[key] == key for key in place if place[key] in turned):
                    continue
                found = {(own, like) for _, own, like in contradictions(wordings, place, swapped)}
                assert found == {(one, other), (other, one)}, (spec.column, words)
                swaps += 1
    assert swaps >= 6


@pytest.mark.parametrize("name", PUBLISHED)
def test_published__labels_are_accepted_and_turned_ones_found(name: str):
    """Labels in the archive's words. Turned: of the sexes, and of scales with the options' order against the codes."""
    book = load_codebook(name)
    for part, labels in PUBLISHED[name].items():
        spec = book.attributes.get(part) or book.values[part]
        wordings, place = laid_out(spec)
        assert set(labels) <= set(place), part
        assert list(contradictions(wordings, place, labels)) == [], part
        assert silent_codes(labels) in ([], ["1"] if part.startswith("immigration_fills") else []), part
        if part == "gender" or isinstance(spec, ValueSpec):
            turned = dict(zip(labels, reversed(labels.values()), strict=True))
            if part != "moral_rules_unclear":  # whose numbers are turned in the codebook
                assert list(contradictions(wordings, place, turned)), part


@pytest.mark.parametrize(
    ("name", "part", "codes", "turned"),
    [
        ("wvs7", "marital", ("1", "6"), 2),
        ("wvs7", "marital", ("1", "3"), 2),
        ("issp2019", "marital", ("1", "6"), 2),
        ("ess11", "marital", ("1", "3"), 2),
        ("gss", "marital", ("1", "5"), 2),
        ("wvs7", "residence", ("1", "2"), 2),
        ("afrobarometer8", "residence", ("1", "2"), 2),
        ("ess11", "residence", ("3", "5"), 2),
        ("ess11", "religion", ("1", "2"), 1),
        ("wvs7", "religion", ("5", "6"), 2),
        ("issp2012", "education_level", ("2", "3"), 2),
    ],
)
def test_published__two_levels_that_changed_places(name: str, part: str, codes: tuple[str, str], turned: int):
    labels = PUBLISHED[name][part]
    one, other = codes
    wordings, place = laid_out(load_codebook(name).attributes[part])
    found = list(contradictions(wordings, place, labels | {one: labels[other], other: labels[one]}))
    assert len(found) == turned
    assert {key for key, _, _ in found} <= {*codes}


@pytest.mark.parametrize(
    ("wordings", "label"),
    [
        (["married", "formerly married"], "Married"),
        (["satisfied", "dissatisfied"], "Rather satisfied"),
        (["agree", "disagree"], "1 - Tend to agree"),
        (["a degree", "no degree"], "Bachelor's degree"),
        (["likely", "unlikely"], "Very likely"),
        (["Yes", "No"], "Yes, often"),
        (["urban area", "rural area"], "Sub-urban area"),
        (["ja", "nein"], "Ja"),
    ],
)
def test_contradictions__an_opposite_is_not_alike(wordings: list[str], label: str):
    """Property: a label that is right for one option says nothing against it, and contradicts its opposite at most."""
    called = [(text,) for text in wordings]
    assert list(contradictions(called, {"1": 0, "2": 1}, {"1": label})) == []
    assert {like for _, _, like in contradictions(called, {"1": 0, "2": 1}, {"2": label})} <= {0}
