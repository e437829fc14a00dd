"""Names, phrases and orders that are guessed from words; oracle: by hand."""

from __future__ import annotations

import pytest

from acecausal.survey.level_words import level_names, phrase, told_order


def test_names__differ_by_meaning():
    assert level_names(["<HS", "HS", ">HS", "5+", "5", "<=2", "1-2", "-1", "10%", "A & B", "a/b", "?"]) == [
        "under_hs", "hs", "over_hs", "5_plus", "5", "at_most_2", "1_to_2", "minus_1", "10_percent", "a_and_b", "a_b",
        "level_11",
    ]  # fmt: skip
    assert level_names(["same", "Same"]) == ["same", "same_1"]


@pytest.mark.parametrize(
    ("kind", "label", "expected"),
    [
        ("gender", "F", ("a woman", True)),
        ("gender", "2", ("gender: 2", False)),
        ("age", "18-29", ("18-29 years old", True)),
        ("religion", "No", ("not religious", True)),
        ("religion", "Hindu", ("Hindu", True)),
        ("race", "Other", ("of another race", True)),
        ("marital", "Never married", ("never married", True)),
        ("residence", "village", ("living in the countryside", True)),
        ("region", "Quebec", ("living in Quebec", True)),
        ("education", "<HS", ("education: <HS", False)),
    ],
)
def test_phrase(kind, label, expected):
    assert phrase(kind, kind, label) == expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["Agree", "Disagree", "StronglyAgree", "StronglyDisagree"], [3, 1, 0, 2]),
        (["not", "notvery", "somewhat", "very"], [0, 1, 2, 3]),
        (["very important", "not important", "somewhat important"], [1, 2, 0]),
        (["always", "never", "rarely", "most of the time", "sometimes"], [1, 2, 4, 3, 0]),
        (["Yes", "No"], [1, 0]),
        (["Car", "Train", "Bicycle"], None),
        (["agree", "sometimes"], None),
        (["agree", "somewhat agree"], None),
        (["No", "No"], None),
    ],
)
def test_order__as_the_words_tell(labels, expected):
    assert told_order(labels) == expected
