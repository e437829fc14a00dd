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


def checked_personas(lattice: Lattice) -> np.ndarray:
    """List the personas that models are asked check questions of: those of at most one attribute, and the finest.

    So heed is known in the context all and in the finest ones; the contexts between would cost most and tell least.

    Returns
    -------
    numpy.ndarray, int
        Positions in the lattice.
    """
    return np.flatnonzero((lattice.granularity <= 1) | (lattice.granularity == lattice.depth))


def people_implied(lattice: Lattice, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
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
        Weighted shares, 0..1, of the levels of ``lattice.checked`` among the people of whom every attribute is known
        that is known of anybody; those of one attribute sum to 1. Missing (NaN) where a persona has no weight, and for
        an attribute that is known of nobody.
    """
    asked = (codes >= 0).any(axis=0)
    known = (codes[:, asked] >= 0).all(axis=1)
    distinct, number = np.unique(codes[known], axis=0, return_inverse=True)
    weight = np.bincount(number.ravel(), weights[known], minlength=len(distinct))
    matched = lattice.match(distinct)
    found = []
    for j, attribute in enumerate(lattice.attributes):
        share = matched @ (weight[:, None] * (distinct[:, [j]] == np.arange(len(attribute.levels))))
        total = share.sum(axis=1, keepdims=True)
        found.append(np.divide(share, total, out=np.full_like(share, np.nan), where=total > 0))
    return np.concatenate(found, axis=1)


def drift(lattice: Lattice, implied: np.ndarray) -> np.ndarray:
    """Reckon how far each contrast moves the attributes that it does not touch, in the context all.

    Parameters
    ----------
    lattice : Lattice
    implied : numpy.ndarray, shape (..., personas, checked)
        Probabilities or shares of the levels of ``lattice.checked``.

    Returns
    -------
    numpy.ndarray, shape (..., contrasts, checked)
        implied(treated) - implied(baseline), -1..1; missing (NaN) for the levels of the contrast's own attribute.
    """
    everybody = lattice.edges[lattice.edges[:, 1] == 0]  # one edge per contrast, in their order
    moved = np.asarray(implied[..., everybody[:, 3], :] - implied[..., everybody[:, 2], :])
    own = np.array([c.attribute for c in lattice.contrasts])[:, None] == _attribute_of(lattice)
    return np.where(own, np.nan, moved)


def heed(lattice: Lattice, implied: np.ndarray) -> np.ndarray:
    """Reckon how far the told level becomes likelier when a contrast is applied and its attribute is asked.

    Parameters
    ----------
    lattice : Lattice
    implied : numpy.ndarray, shape (..., personas, checked)
        Probabilities of the levels of ``lattice.checked``.

    Returns
    -------
    numpy.ndarray, shape (..., contrasts, personas)
        P(treated level | told it) - P(treated level | told the baseline level), -1..1, in every context (the persona):
        1 the contrast is taken in, 0 it is not. Missing (NaN) where the lattice has no such edge.
    """
    first = np.searchsorted(_attribute_of(lattice), np.arange(len(lattice.attributes)))
    level = np.array([first[c.attribute] + c.treated for c in lattice.contrasts])
    contrast, context, low, high = lattice.edges.T
    found = np.full((*implied.shape[:-2], len(lattice.contrasts), len(lattice.personas)), np.nan)
    found[..., contrast, context] = implied[..., high, level[contrast]] - implied[..., low, level[contrast]]
    return found


def _attribute_of(lattice: Lattice) -> np.ndarray:
    """Position of the attribute that each checked level belongs to, shape (checked,)."""
    return np.repeat(np.arange(len(lattice.attributes)), [len(a.levels) for a in lattice.attributes])
