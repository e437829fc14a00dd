"""Option probabilities from the likeliest tokens that a server lists: closed forms, and what cannot be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from lists import chat_list, plain_list

from align.elicitation.listed import (
    FLOOR,
    ImpossibleError,
    Listed,
    listed_tokens,
    option_probabilities,
    parsed,
    space_first,
)


def test_option_probabilities__closed_form():
    listed = {" 1": 0.4, "1": 0.1, "Ġ2": 0.2, "▁2": 0.05, "the": 0.05}
    probs, unlisted, imputed = option_probabilities(listed, ["1", "2"])
    np.testing.assert_allclose(probs, [0.5, 0.25], rtol=1e-12)
    assert unlisted == imputed == 0
    # left over 0.2, more than the least listed
    probs, unlisted, imputed = option_probabilities(listed, [" 1", " 2", " 3"])
    np.testing.assert_allclose(probs, [0.5, 0.25, 0.05], rtol=1e-12)
    np.testing.assert_allclose([unlisted, imputed], [0.2, 0.05 / 0.8], rtol=1e-12)
    # 0.04 among three
    probs, unlisted, imputed = option_probabilities({"1": 0.9, "2": 0.06}, ["1", "3", "4", "5"])
    np.testing.assert_allclose(probs, [0.9, 0.04 / 3, 0.04 / 3, 0.04 / 3], rtol=1e-12)
    np.testing.assert_allclose([unlisted, imputed], [0.04, 0.04 / 0.94], rtol=1e-12)
    probs, unlisted, _ = option_probabilities({"1": 0.75, "2": 0.25 + 1e-9}, ["1", "2", "3"])  # rounding above 1
    assert probs[2] == FLOOR
    assert unlisted == 0
    probs, unlisted, imputed = option_probabilities({"the": 0.75}, ["1", "2"])  # nothing is made up from nothing
    assert np.isnan(probs).all()
    assert np.isnan(imputed)
    assert unlisted == 0.25


@given(
    st.lists(st.floats(1e-6, 1.0), min_size=5, max_size=30),
    st.integers(1, 29),
    st.permutations(list("12345")),
)
def test_option_probabilities__are_the_true_ones_or_the_most_they_can_be(weights, top, marks):
    p = np.array(weights) / sum(weights)
    tokens = [*marks, *(f"w{i}" for i in range(len(p) - 5))]
    order = np.argsort(-p, kind="stable")[:top]
    probs, unlisted, imputed = option_probabilities({tokens[i]: p[i] for i in order}, marks)
    kept = np.isin(np.arange(5), order)
    assume(kept.any())
    assert imputed == pytest.approx(probs[~kept].sum() / probs.sum(), abs=1e-12)
    np.testing.assert_array_equal(probs[kept], p[:5][kept])
    assert np.isfinite(np.log(probs)).all()
    rest = 1 - p[order].sum()
    assert unlisted == pytest.approx(0.0 if kept.all() else max(rest, 0.0), abs=1e-12)
    if not kept.all():
        assert (probs[~kept] <= max(p[order].min(), FLOOR)).all()
        assert probs[~kept].sum() <= max(rest, 0.0) + 5 * FLOOR + 1e-12
        assert probs[~kept].max() >= p[:5][~kept].mean() - 1e-12  # what is equally spread over them is not less


def test_space_first():
    assert space_first({" ": 0.9, "1": 0.05}, [" 1", " 2"]) == (" ", 0.9)
    assert space_first({"Ġ": 0.9, "\n": 0.05}, [" 1", " 2"]) == (" ", 0.9)
    assert space_first({"Ġ": 0.1, "Ġ1": 0.5}, [" 1", " 2"]) == ("", 1.0)
    assert space_first({" ": 0.9, "1": 0.05}, ["1", "2"]) == ("", 1.0)
    assert space_first({"": 0.9, "1": 0.05}, [" 1", " 2"]) == ("", 1.0)


def test_listed_tokens__both_forms():
    found = listed_tokens(chat_list([("1", -1.0), ("�", -2.0), ("�", -3.0), ("2", -9999.0)]))
    # -9999 is listed: hardly any, and not what may be left over
    assert found == Listed({"1": math.exp(-1), "�": math.exp(-2) + math.exp(-3), "2": FLOOR}, 4)
    probs, unlisted, imputed = option_probabilities(found.tokens, ["1", "2"])
    assert (probs[1], unlisted, imputed) == (FLOOR, 0.0, 0.0)
    assert listed_tokens(plain_list([("1", -1.0), ("3", -math.inf)])) == Listed({"1": math.exp(-1)}, 1)
    for none in (None, {}, {"content": []}, {"top_logprobs": []}, {"top_logprobs": [None]}):
        assert listed_tokens({"choices": [{"logprobs": none}]}) == Listed({}, 0)


def test_listed_tokens__two_of_one_spelling():
    """Both count where the reply tells both; where it tells one only, the list is short and lacks probability."""
    twice = '{"choices": [{"logprobs": {"top_logprobs": [{"1": -1.5, "2": -2.0, "1": -1.5}]}}]}'
    found = listed_tokens(parsed(twice))
    assert found.count == 3
    assert found.tokens == pytest.approx({"1": 2 * math.exp(-1.5), "2": math.exp(-2)}, rel=1e-12)
    whole = Listed({"1": 0.6, "2": 0.4}, 2)
    assert [listed.lost(20) for listed in (whole, Listed({"1": 0.3, "2": 0.4}, 2))] == [False, True]
    assert not Listed({"1": 0.3, "2": 0.4}, 20).lost(20)


@pytest.mark.parametrize("form", [chat_list, plain_list])
@pytest.mark.parametrize("number", [math.nan, math.inf, 0.02, 5.0, 800.0, 10**400])
def test_listed_tokens__numbers_that_cannot_be(form, number):
    with pytest.raises(ImpossibleError, match="a log probability of"):
        listed_tokens(form([("1", -1.0), ("2", number)]))


def test_listed_tokens__sum_of_probabilities():
    with pytest.raises(ImpossibleError, match="sum to 3"):
        listed_tokens(plain_list([("1", 0.0), ("2", 0.0), ("3", 0.0)]))
    assert listed_tokens(plain_list([("1", 0.004), ("2", -4.0)])).tokens["1"] == 1.0  # rounding
    for no_number in (None, "-1", True, [], {}):
        with pytest.raises(TypeError):
            listed_tokens(plain_list([("1", no_number)]))
