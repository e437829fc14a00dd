"""Weighted shares of every option, for every persona of one country."""

from __future__ import annotations

import numpy as np

from acecausal.inference import effective_size
from acecausal.sample import Sample


def responses(sample: Sample) -> dict[str, np.ndarray]:
    """Compute the shares.

    Returns
    -------
    dict of str to numpy.ndarray
        response, response_se, shape (values, personas, options), NaN where nobody answered; n, n_eff, shape (values,
        personas).
    """
    plan, survey, design = sample.plan, sample.survey, sample.design
    width = max(len(value.options) for value in plan.values)
    shape = (len(plan.values), len(plan.lattice.personas))
    arrays = {name: np.full((*shape, width), np.nan) for name in ("response", "response_se")}
    arrays |= {"n": np.zeros(shape, dtype=np.int64), "n_eff": np.zeros(shape)}
    for v, value in enumerate(plan.values):
        answer = survey.values[value.name]
        options = np.arange(len(value.options))
        for p, matches in enumerate(sample.matched):
            rows = np.flatnonzero(matches & (answer >= 0))
            if len(rows):
                weight = survey.weight[rows]
                share_of = weight / weight.sum()
                chosen = (answer[rows, None] == options).astype(float)
                share = share_of @ chosen
                variance = design.variance(share_of[:, None] * (chosen - share), rows)
                arrays["n"][v, p], arrays["n_eff"][v, p] = len(rows), effective_size(weight)
                arrays["response"][v, p, options] = np.clip(share, 0.0, 1.0)
                arrays["response_se"][v, p, options] = np.sqrt(variance)
    return arrays
