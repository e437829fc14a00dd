"""The lattice against counting formulas and brute force."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acecausal.cube.lattice import Attribute, Lattice, Level
from acecausal.errors import AceError

sizes_strategy = st.lists(st.integers(2, 4), min_size=1, max_size=4)


def make(sizes: list[int], depth: int | None = None, baseline: int = 0) -> Lattice:
    attributes = [
        Attribute(f"a{i}", f"a{i}", tuple(Level(f"l{k}", f"l{k}", f"a{i}-{k}") for k in range(n)), f"l{baseline}")
        for i, n in enumerate(sizes)
    ]
    return Lattice.over(attributes, depth)


def test_four_binary_attributes__81_personas_108_edges():
    lattice = make([2, 2, 2, 2])
    assert len(lattice.personas) == 81
    assert len(lattice.edges) == 108
    assert lattice.personas[0] == "all"
    assert lattice.personas[1:3] == ("a0=l0", "a0=l1")
    assert lattice.contrast_labels == ("a0:l1", "a1:l1", "a2:l1", "a3:l1")


@given(sizes_strategy, st.integers(0, 1))
def test_counts__product_formulas(sizes, baseline):
    lattice = make(sizes, baseline=baseline)
    assert len(lattice.personas) == prod(n + 1 for n in sizes)
    expected = sum((n - 1) * prod(m + 1 for j, m in enumerate(sizes) if j != i) for i, n in enumerate(sizes))
    assert len(lattice.edges) == expected
    assert len(set(lattice.personas)) == len(lattice.personas)
    assert (np.diff(lattice.granularity) >= 0).all()


@given(sizes_strategy, st.data())
def test_edges__ends_differ_in_the_treated_attribute_only(sizes, data):
    lattice = make(sizes, depth=data.draw(st.integers(1, len(sizes))))
    assert lattice.granularity.max() == lattice.depth
    for number, context, low, high in lattice.edges:
        contrast = lattice.contrasts[number]
        differs = lattice.codes[low] != lattice.codes[high]
        assert differs.nonzero()[0].tolist() == [contrast.attribute]
        assert lattice.codes[low][contrast.attribute] == contrast.baseline
        assert lattice.codes[high][contrast.attribute] == contrast.treated
        assert lattice.codes[context][contrast.attribute] == -1
        others = [j for j in range(len(sizes)) if j != contrast.attribute]
        assert (lattice.codes[context][others] == lattice.codes[low][others]).all()
    per_contrast = np.bincount(lattice.edges[:, 0], minlength=len(lattice.contrasts))
    for number, contrast in enumerate(lattice.contrasts):
        open_contexts = (lattice.codes[:, contrast.attribute] < 0) & (lattice.granularity < lattice.depth)
        assert per_contrast[number] == open_contexts.sum()


@given(sizes_strategy, st.integers(0, 2**32 - 1))
def test_match__brute_force_with_missing(sizes, seed):
    lattice = make(sizes)
    rng = np.random.default_rng(seed)
    people = np.stack([rng.integers(-1, n, size=20) for n in sizes], axis=1)
    matched = lattice.match(people)
    for p, row in enumerate(lattice.codes):
        for i, person in enumerate(people):
            assert matched[p, i] == all(want in (-1, have) for want, have in zip(row, person, strict=True))


def test_many_levels__more_than_a_byte_counts():
    """By hand: the 300th level of an attribute is a persona of its own, and matches its people only."""
    lattice = make([300, 2])
    people = np.array([[299, 0], [43, 0], [299, -1]])  # 299 is 43 in a byte
    place = {tuple(row): i for i, row in enumerate(lattice.codes.tolist())}
    matched = lattice.match(people)
    np.testing.assert_array_equal(matched[place[299, -1]], [True, False, True])
    np.testing.assert_array_equal(matched[place[299, 0]], [True, False, False])
    assert len(lattice.personas) == 301 * 3


def test_json__round_trip():
    lattice = make([2, 3], depth=1, baseline=1)
    again = Lattice.from_json(lattice.to_json())
    assert again == lattice
    assert again.personas == lattice.personas


def test_bad_depth_and_no_attributes():
    with pytest.raises(AceError, match="depth"):
        make([2, 2], depth=3)
    with pytest.raises(AceError, match="at least one"):
        Lattice.over([])
