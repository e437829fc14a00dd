"""Order agreement: content, place, and what lies between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from acecausal.comparison.agreement import agreement, agreements, warnings
from acecausal.comparison.compare import compare
from acecausal.cube.files import countries_of, lattice_of, values_of
from align.elicitation.backends import Answers
from align.elicitation.elicit import elicit
from align.prompting.wordings import Wording


def test_agreement__by_hand():
    """By hand: the same is 1, the opposite -1, unrelated 0; half the size is .8; what is missing does not count."""
    one = np.array([0.1, -0.2, 0.3, np.nan])
    assert agreement(one, one) == pytest.approx(1)
    assert agreement(one, -one) == pytest.approx(-1)
    assert agreement(one, one / 2) == pytest.approx(0.5 / ((1 + 0.25) / 2))
    assert agreement(np.array([1.0, 0]), np.array([0.0, 1])) == 0
    assert np.isnan(agreement(np.zeros(3), np.zeros(3)))


@given(arrays(float, 12, elements=st.floats(-1, 1)), arrays(float, 12, elements=st.floats(-1, 1)))
def test_agreement__lies_between(one, other):
    """Property: within -1 and 1 by Cauchy and Schwarz, and the same both ways."""
    found = agreement(one, other)
    if np.isfinite(found):
        assert -1 - 1e-9 <= found <= 1 + 1e-9
        assert found == pytest.approx(agreement(other, one))


def test_agreements__pairs_that_differ_in_one_part_alone():
    effects = np.array([[1.0, 2], [-1, -2], [1, 2], [-1, -2]])
    wordings = [("a", "forward", "x"), ("a", "reversed", "x"), ("b", "forward", "x"), ("b", "reversed", "x")]
    assert agreements(effects, wordings) == {"order": -1.0, "template": 1.0}
    assert agreements(effects[:1], wordings[:1]) == {}


class Answering:
    """A model of rules: by meaning (the option's words) or by place (where it stands in the list)."""

    def __init__(self, rule):
        self.rule = rule

    def ask(self, texts):
        return Answers(np.stack([self.rule(text, number) for number, text in enumerate(texts)]))

    def rendered(self, text):
        return text.plain

    def provenance(self):
        return {"model": "a rule"}


def test_elicit__content_and_place(human):
    """Truth: a model that answers by what is said has order agreement 1, one that answers by place -1, and is named."""
    like = human.isel(country=[0, 1])
    personas, options = len(lattice_of(like).personas), len(values_of(like)[0].options)
    lean = np.random.default_rng(0).normal(size=(personas, options))
    both = [Wording(order="forward", marks="digits"), Wording(order="reversed", marks="digits")]

    def by_meaning(_text, number):
        own = lean[number % personas]  # wordings are asked one after the other
        return own - np.log(np.exp(own).sum())

    asked = elicit(Answering(by_meaning), like, wordings=both, checks=False)
    assert asked.attrs["order_agreement"] == pytest.approx(1)
    assert warnings(asked) == []
    words = values_of(like)[0].options

    def by_place(text, number):
        """Lean to the first, second, third option as it is listed in the prompt, whatever it says."""
        listed = [line.split(". ", 1)[1] for line in text.user.splitlines() if line[:2] in ("1.", "2.", "3.")]
        assert sorted(listed) == sorted(words)
        return by_meaning(None, number)[[listed.index(word) for word in words]]

    alone = compare(like, elicit(Answering(by_place), like, wordings=both[:1], checks=False))["effect"]
    assert alone["distance"] > 1.5 * alone["null"]  # in one order its effects look like effects
    placed = elicit(Answering(by_place), like, wordings=both, checks=False)
    assert placed.attrs["order_agreement"] == pytest.approx(-1)
    assert "by place, not by meaning" in warnings(placed)[0]
    np.testing.assert_allclose(placed["effect"].values[np.isfinite(placed["effect"].values)], 0, atol=1e-12)
    averaged = compare(like, placed)["effect"]
    assert averaged["slope"] == pytest.approx(0, abs=1e-9)
    assert averaged["skill"] < 0.05
    assert placed["wording_response"].dims[0] == "wording"
    np.testing.assert_allclose(placed["wording_response"].mean("wording"), placed["response"])
    assert placed["wording"].values.tolist() == ["persona-last forward digits", "persona-last reversed digits"]
    assert len(countries_of(placed)) == 2
