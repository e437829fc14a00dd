"""Check questions: attributes asked as questions, and what the answers say of who somebody is taken to be."""

from __future__ import annotations

import numpy as np

from acecausal.cube.files import Value
from acecausal.cube.lattice import Lattice

#: The check question of an attribute for which nobody worded one; its options are the levels' phrases.
DRAFTED = "Which of these describes you?"


def check_values(lattice: Lattice) -> tuple[Value, ...]:
    """Turn every attribute into a question, so that what asks values can ask it.

    Parameters
    ----------
    lattice : Lattice

    Returns
    -------
    tuple of Value
        One per attribute, in the lattice's order and under its name: options in the order of the levels, as their
        answers or else their phrases; scale binary for two levels, nominal for more; no option is pinned.
    """
    return tuple(
        Value(
            attribute.name,
            attribute.question or DRAFTED,
            "check question",
            "binary" if len(attribute.levels) == 2 else "nominal",
            tuple(level.answer or level.phrase for level in attribute.levels),
        )
        for attribute in lattice.attributes
    )


def checked_labels(lattice: Lattice) -> tuple[str, ...]:
    """Label every level of every attribute, ``gender=female``, in the lattice's order: the dimension `checked`."""
    return tuple(f"{a.name}={level.name}" for a in lattice.attributes for level in a.levels)


def implied_shares(lattice: Lattice, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Reckon, of people, how often each level occurs among those of each persona.

    Parameters
    ----------
    lattice : Lattice
    codes : numpy.ndarray, shape (n, m)
        Level positions per person, -1 where missing.
    weights : numpy.ndarray, shape (n,)
        Not negative.

    Returns
    -------
    numpy.ndarray, shape (personas, checked)
        Weighted shares, 0..1, of the levels of `checked_labels` among the people of whom every attribute is known that
        is known of anybody; those of one attribute sum to 1. Missing (NaN) where a persona has no weight, and for an
        attribute that is known of nobody.
    """
    asked = (codes >= 0).any(axis=0)
    known = (codes[:, asked] >= 0).all(axis=1)
    codes, weights = codes[known], weights[known]
    matched = lattice.match(codes)
    found = []
    for j, attribute in enumerate(lattice.attributes):
        weighted = weights[:, None] * (codes[:, [j]] == np.arange(len(attribute.levels)))
        share = matched @ weighted
        total = share.sum(axis=1, keepdims=True)
        found.append(np.divide(share, total, out=np.full_like(share, np.nan), where=total > 0))
    return np.concatenate(found, axis=1)
