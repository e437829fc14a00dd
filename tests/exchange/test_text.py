"""Names of labels and files: safe whatever the text, and they stay when taken again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from acecausal.exchange.text import file_name, slug


@given(st.text(min_size=1))
@settings(max_examples=200, deadline=None)
def test_names__are_safe_and_stay(text):
    name, file = slug(text), file_name(text)
    assert not set(name) & set(",=:/ \n")
    assert slug(name) == name
    assert "/" not in file
    assert file not in (".", "..", "")
    assert file_name(file) == file
