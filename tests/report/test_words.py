"""Words of the report: numbers with their signs, texts cut to their room, questions told apart."""

from __future__ import annotations

import pytest

from acecausal.report import words


@pytest.mark.parametrize(
    ("number", "text"), [(0.084, "+0.08"), (-0.084, "−0.08"), (-0.001, "0.00"), (float("nan"), "–"), (1.0, "+1.00")]
)
def test_signed(number, text):
    assert words.signed(number) == text


def test_shorten__says_that_it_cut():
    assert words.shorten("short", 10) == "short"
    cut = words.shorten("w" * 100, 10)
    assert cut.endswith("…")
    assert words.width_of(cut) <= 10


def test_distinct__what_is_read_differs():
    stem = "Does this country spend too much, too little or about the right amount on "
    texts = [f"{stem}{what}?" for what in ("the environment", "the military", "science")] + [
        "Are you happy?",
        "Are you happy?",
    ]
    made = words.distinct(texts, list("abcde"))
    assert made == ["…the environment?", "…the military?", "…science?", "d: Are you happy?", "e: Are you happy?"]
    assert words.distinct(["How are you?", "How old are you?"], ["a", "b"]) == ["How are you?", "How old are you?"]
    assert words.distinct([stem, stem + "x"], ["a", "b"])[0] == stem
