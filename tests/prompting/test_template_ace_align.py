"""The template after ACE-Align: a sentence for every persona, and a line about the options that is true of them."""

from __future__ import annotations

import pytest

from acecausal.cube.files import Country, Value
from acecausal.exchange.personas import you_are
from align.prompting.prompts import compose
from align.prompting.wordings import Wording

PERU = Country("PER", "Peru", "")


def written(n_options: int, marks: str = "digits", order: str = "forward") -> str:
    value = Value("v", "Is it so?", "t", "ordinal", tuple(f"answer {k}" for k in range(n_options)))
    return compose(PERU, value, "a woman", Wording("ace-align", order, marks)).plain


@pytest.mark.parametrize("order", ["forward", "reversed"])
def test_options__the_line_says_what_stands_below(order):
    digits = written(5, order=order)
    assert "with the number of one option and nothing else." in digits
    assert "\nOptions (scale from 1 to 5):\n1. " in digits
    for text, last in ((written(11, order=order), "K"), (written(3, "letters", order), "C")):
        assert "with the letter of one option and nothing else." in text
        assert f"\nOptions (A to {last}):\nA. " in text
        assert f"\n{last}. answer" in text
        assert "number" not in text
        assert "scale from" not in text
    for n_options in (3, 11):
        text = written(n_options, "labels", order)
        assert "with one option, word for word and nothing else." in text
        assert "\nOptions:\n- answer" in text
        assert "number" not in text
    assert all(text.endswith("\n\nAnswer:\n") for text in (digits, text))


@pytest.mark.parametrize(
    ("persona", "expected"),
    [
        ("a woman, with a degree", "You are a woman, with a degree, living in Peru."),
        ("an adult", "You are an adult, living in Peru."),
        ("Someone who prays", "You are Someone who prays, living in Peru."),
        ("with a degree, married", "You are an adult, with a degree, married, living in Peru."),
        ("aged 18 to 29", "You are an adult, aged 18 to 29, living in Peru."),
        ("there since birth", "You are an adult, there since birth, living in Peru."),
    ],
)
def test_persona__is_a_sentence(persona, expected):
    assert you_are(persona, "Peru") == expected
