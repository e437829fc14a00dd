"""Token sequences merged into a trie, so that shared prefixes are computed once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Trie:
    """Distinct prefixes of a set of token sequences, one node each, in depth-first order.

    In depth-first order every parent precedes its children and every subtree is one run of nodes, which is what
    `block_mask` relies on. Tries come from `build_trie`.

    Attributes
    ----------
    ids : int64 array, shape (N,)
        Token of each node.
    depth : int64 array, shape (N,)
        Position of the token in every sequence through the node; 0 at the roots.
    parent : int64 array, shape (N,)
        Node of the preceding token; -1 at the roots.
    """

    ids: np.ndarray
    depth: np.ndarray
    parent: np.ndarray


def _common_prefixes(ordered: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pad sorted sequences and measure what each shares with the one before.

    Returns
    -------
    tokens : int64 array, shape (S, L)
        Sequences in rows, padded on the right with 0.
    lengths, shared : int64 arrays, shape (S,)
        Length of each sequence, and of its longest common prefix with its predecessor (0 for the first).
    """
    lengths = np.array([len(s) for s in ordered], dtype=np.int64)
    filled = np.arange(lengths.max(initial=0)) < lengths[:, None]
    tokens = np.zeros(filled.shape, dtype=np.int64)
    tokens[filled] = np.fromiter((t for s in ordered for t in s), dtype=np.int64, count=int(lengths.sum()))
    equal = (tokens[1:] == tokens[:-1]) & filled[1:] & filled[:-1]
    shared = np.zeros(len(ordered), dtype=np.int64)
    shared[1:] = np.logical_and.accumulate(equal, axis=1).sum(axis=1)
    return tokens, lengths, shared


def _sorted_order(sequences: Sequence[Sequence[int]]) -> list[int]:
    """Sequence indexes in lexicographic order of the tokens; equal sequences keep their order."""
    keys = [tuple(s) for s in sequences]
    return sorted(range(len(keys)), key=keys.__getitem__)


def build_trie(sequences: Sequence[Sequence[int]]) -> tuple[Trie, list[np.ndarray]]:
    """Merge the longest common prefixes of token sequences.

    Parameters
    ----------
    sequences : S sequences of token ids
        Any lengths, repeats allowed; an empty sequence has an empty path.

    Returns
    -------
    Trie
        One node per distinct non-empty prefix.
    list of int64 arrays
        ``paths[i]``, shape (len(sequences[i]),): the nodes along sequence i, so ``ids[paths[i]]`` spells it.
    """
    order = _sorted_order(sequences)
    tokens, lengths, shared = _common_prefixes([sequences[i] for i in order])
    columns = np.arange(tokens.shape[1])
    new = (columns >= shared[:, None]) & (columns < lengths[:, None])
    # Numbered row by row, new nodes come out depth-first. A shared cell is the latest new node above it in its
    # column, and since numbers grow downwards that is the running maximum.
    node = np.zeros(tokens.shape, dtype=np.int64)
    node[new] = np.arange(np.count_nonzero(new))
    node = np.maximum.accumulate(node, axis=0)
    row, depth = np.nonzero(new)
    parent = np.where(depth > 0, node[row, np.maximum(depth - 1, 0)], -1)
    paths: list[np.ndarray] = [np.empty(0, dtype=np.int64)] * len(order)
    for position, i in enumerate(order):
        paths[i] = node[position, : lengths[position]]
    return Trie(ids=tokens[new], depth=depth.astype(np.int64), parent=parent.astype(np.int64)), paths


def distinct_prefixes(sequences: Sequence[Sequence[int]]) -> int:
    """Count the nodes that one trie of all sequences has."""
    _, lengths, shared = _common_prefixes([sequences[i] for i in _sorted_order(sequences)])
    return int((lengths - shared).sum())


def subtrees(trie: Trie) -> np.ndarray:
    """Count the nodes of each node's subtree, itself among them; int64, shape (N,).

    Since nodes are in depth-first order, node i is an ancestor of j, or j itself, where ``i <= j < i + size[i]``.
    """
    parents = trie.parent.tolist()
    size = [1] * len(parents)
    for node in range(len(parents) - 1, 0, -1):  # children follow their parent, so a size is final when its turn comes
        if parents[node] >= 0:
            size[parents[node]] += size[node]
    return np.array(size, dtype=np.int64)


def block_keys(trie: Trie, length: int) -> np.ndarray:
    """For blocks of so many nodes, list those that they attend to: the ancestors of the first one, and themselves.

    No other node is an ancestor of one in the block: what precedes a block and has a descendant in it has the block's
    first node between itself and that descendant, and so in its subtree.

    Parameters
    ----------
    trie : Trie
        N nodes, at least one.
    length : int
        L; the last block may have fewer.

    Returns
    -------
    int64 array, shape (G, R)
        Nodes in order; -1 beyond the last.
    """
    parents, found = trie.parent.tolist(), []
    for start in range(0, len(parents), length):
        above, node = [], parents[start]
        while node >= 0:
            above.append(node)
            node = parents[node]
        found.append([*reversed(above), *range(start, min(start + length, len(parents)))])
    keys = np.full((len(found), max(map(len, found))), -1, dtype=np.int64)
    for row, nodes in zip(keys, found, strict=True):
        row[: len(nodes)] = nodes
    return keys


def block_mask(trie: Trie, keys: np.ndarray, length: int, window: int | None = None) -> np.ndarray:
    """Which of its block's keys each node may attend to: itself and its ancestors.

    Parameters
    ----------
    trie : Trie
    keys : int64 array, shape (G, R)
        From `block_keys`, for the same length L.
    length : int
    window : int, optional
        Keep only ancestors less than `window` positions back (the node itself counts as one), which is what a
        sliding-window layer sees in a plain sequence.

    Returns
    -------
    bool array, shape (G, L, R)
        Beyond the last node the first key is allowed, since attention to nothing is no number.
    """
    node = np.arange(len(keys) * length).reshape(len(keys), length, 1)
    key = keys[:, None, :]
    mask = (key >= 0) & (key <= node) & (node < key + subtrees(trie)[key])
    if window is not None:
        mask &= trie.depth[key] > trie.depth[np.minimum(node, len(trie.ids) - 1)] - window
    mask[node[..., 0] >= len(trie.ids)] = np.arange(keys.shape[1]) == 0
    return mask


def pack(sequences: Sequence[Sequence[int]], longest: int) -> tuple[list[list[int]], list[int]]:
    """Split sequences into groups whose tries each have at most `longest` nodes.

    Neighbours in sorted order stay together, so that they share their prefixes, and groups are filled evenly. A
    sequence longer than that gets a group of its own.

    Parameters
    ----------
    sequences : S sequences of token ids
    longest : int
        Most nodes per group, at least 1.

    Returns
    -------
    groups : list of lists of int
        Indexes into `sequences`; each occurs exactly once.
    sizes : list of int
        Nodes of each group's trie.
    """
    order = _sorted_order(sequences)
    _, lengths, shared = _common_prefixes([sequences[i] for i in order])
    new = (lengths - shared).tolist()

    def filled(limit: int) -> tuple[list[list[int]], list[int]]:
        groups: list[list[int]] = []
        sizes: list[int] = []
        for i, length, added in zip(order, lengths.tolist(), new, strict=True):
            if groups and sizes[-1] + added <= limit:
                sizes[-1] += added
                groups[-1].append(i)
            else:
                sizes.append(length)
                groups.append([i])
        return groups, sizes

    fewest = len(filled(longest)[0])
    # as many groups, but of like size: rows of a batch are padded to the longest
    low, high = max(lengths.max(initial=1), -(-sum(new) // max(fewest, 1))), longest
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(filled(middle)[0]) <= fewest else (middle + 1, high)
    return filled(int(high))
