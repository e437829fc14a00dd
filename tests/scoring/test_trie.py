"""Token tries: every property against the plain definition, written with dicts and loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from align.scoring.trie import block_keys, block_mask, build_trie, distinct_prefixes, pack

# Few distinct tokens, 0 (the padding value inside) among them, so that prefixes are shared and ends coincide.
SEQUENCES = st.lists(st.lists(st.integers(0, 2), max_size=7), max_size=12)


def prefixes(sequences):
    return {tuple(s[:n]) for s in sequences for n in range(1, len(s) + 1)}


@settings(max_examples=300, deadline=None)
@given(SEQUENCES)
def test_build_trie__paths_spell_sequences_over_distinct_prefixes(sequences):
    trie, paths = build_trie(sequences)
    assert len(paths) == len(sequences)
    assert trie.ids.size == trie.depth.size == trie.parent.size == len(prefixes(sequences))
    assert {a.dtype for a in (trie.ids, trie.depth, trie.parent, *paths)} == {np.dtype(np.int64)}
    node_of = {}
    for sequence, path in zip(sequences, paths, strict=True):
        assert trie.ids[path].tolist() == sequence
        assert trie.depth[path].tolist() == list(range(len(sequence)))
        assert trie.parent[path].tolist() == [-1, *path.tolist()][: len(sequence)]
        for n, node in enumerate(path.tolist(), start=1):
            assert node_of.setdefault(tuple(sequence[:n]), node) == node
    assert sorted(node_of.values()) == list(range(trie.ids.size))  # one node per prefix, and none without a prefix


@settings(max_examples=300, deadline=None)
@given(SEQUENCES)
def test_build_trie__order_is_depth_first(sequences):
    trie, _ = build_trie(sequences)
    open_path: list[int] = []
    for node, (depth, parent) in enumerate(zip(trie.depth.tolist(), trie.parent.tolist(), strict=True)):
        del open_path[depth:]
        assert parent == (open_path[-1] if open_path else -1)
        assert len(open_path) == depth
        open_path.append(node)


def whole_mask(trie, length, window):
    """Put the blocks' masks together, shape (N, N); what a block hides from all its nodes is False."""
    keys = block_keys(trie, length)
    mask = block_mask(trie, keys, length, window)
    n = trie.ids.size
    found = np.zeros((len(keys) * length, n), dtype=bool)
    for block, (nodes, allowed) in enumerate(zip(keys, mask, strict=True)):
        assert len(set(nodes[nodes >= 0])) == (nodes >= 0).sum()  # no key twice: it would weigh twice
        assert allowed.any(axis=1).all()  # also beyond the last node
        assert not allowed[: n - block * length, nodes < 0].any()
        found[block * length : (block + 1) * length][:, nodes[nodes >= 0]] = allowed[:, nodes >= 0]
    return found[:n]


@settings(max_examples=300, deadline=None)
@given(SEQUENCES, st.none() | st.integers(1, 8), st.integers(1, 12))
def test_blocks__see_what_a_walk_to_the_root_sees(sequences, window, length):
    trie, _ = build_trie(sequences)
    if not trie.ids.size:
        return
    expected = np.zeros((trie.ids.size, trie.ids.size), dtype=bool)
    for row in range(trie.ids.size):
        node, steps = row, 0
        while node >= 0 and (window is None or steps < window):
            expected[row, node] = True
            node, steps = int(trie.parent[node]), steps + 1
    np.testing.assert_array_equal(whole_mask(trie, length, window), expected)


@pytest.mark.parametrize("length", [1, 4, 6])
@pytest.mark.parametrize("window", [1, 3, 5, 6])
def test_blocks__window_of_one_sequence_is_that_of_transformers(window, length):
    masking = pytest.importorskip("transformers.masking_utils")
    torch = pytest.importorskip("torch")
    position = torch.arange(6)
    allowed = masking.sliding_window_causal_mask_function(window)(0, 0, position[:, None], position[None])
    trie, _ = build_trie([[3, 1, 4, 1, 5, 9]])
    np.testing.assert_array_equal(whole_mask(trie, length, window), allowed.numpy())


@settings(max_examples=300, deadline=None)
@given(SEQUENCES, st.integers(1, 25))
@example([[0, 0, 0], [1, 0, 0], [1]], 4)  # a smaller limit repeats less
def test_pack__covers_once_in_few_groups_of_like_size(sequences, longest):
    """Oracle: filling group after group in sorted order, by sets of prefixes; and no smaller limit does with as few."""

    def greedy(limit: int) -> int:
        count, held = 0, []
        for sequence in sorted(map(tuple, sequences)):
            if not held or len(prefixes([*held, sequence])) > limit:
                count, held = count + 1, []
            held.append(sequence)
        return count

    groups, sizes = pack(sequences, longest)
    assert sorted(i for group in groups for i in group) == list(range(len(sequences)))
    assert sizes == [len(prefixes([sequences[i] for i in group])) for group in groups]
    for group, size in zip(groups, sizes, strict=True):
        assert size <= longest or len(group) == 1
    assert len(groups) == greedy(longest)
    if groups and max(sizes) > max(map(len, sequences)):
        assert greedy(max(sizes) - 1) > len(groups)
    assert (groups, sizes) == pack(sequences, longest)
    assert distinct_prefixes(sequences) == len(prefixes(sequences))


@settings(max_examples=100, deadline=None)
@given(SEQUENCES, st.randoms(use_true_random=False))
def test_pack__groups_do_not_depend_on_input_order(sequences, random):
    shuffled = random.sample(sequences, len(sequences))
    spelled = [[sequences[i] for i in group] for group in pack(sequences, 9)[0]]
    assert [[shuffled[i] for i in group] for group in pack(shuffled, 9)[0]] == spelled


def test_pack__keeps_shared_prefixes_together():
    first, second = [1] * 20, [2] * 20
    sequences = [[*stem, tail] for tail in range(5) for stem in (first, second)]
    assert [sorted(group) for group in pack(sequences, 25)[0]] == [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]
