"""Answers as the numbers that estimators average: who chose which option, or how far between two ends a number is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def outcomes(answers: Sequence[np.ndarray], n_options: int) -> np.ndarray:
    """Lay out the answers to values with equally many options.

    Parameters
    ----------
    answers : sequence of numpy.ndarray, shape (n,)
        Per value: positions of options (whole numbers, -1 where there is no answer), or scores of a continuous value
        (floats from 0 to 1, -1.0 where there is none).
    n_options : int
        2 of a continuous value.

    Returns
    -------
    numpy.ndarray, shape (values, options, n)
        1 for the option that was chosen, or 1 - s and s of a score s: a number is as much of the range's lower and of
        its upper end, so that the mean score is the share of the upper end. 0 everywhere where there is no answer.
    """
    n = len(answers[0]) if answers else 0
    found = np.empty((len(answers), n_options, n))
    for laid, answer in zip(found, answers, strict=True):
        if answer.dtype.kind == "f":
            laid[0], laid[1] = np.where(answer >= 0, 1 - answer, 0.0), np.maximum(answer, 0.0)
        else:
            laid[:] = answer == np.arange(n_options)[:, None]
    return found
