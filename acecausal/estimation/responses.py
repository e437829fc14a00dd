"""Weighted shares of every option, for every persona of one country, and who the people of a persona are."""

from __future__ import annotations

import numpy as np

from acecausal.cube.check_questions import people_implied
from acecausal.estimation.control import tuned, weighted_mean
from acecausal.estimation.inference import Design
from acecausal.estimation.outcomes import outcomes
from acecausal.estimation.replicates import Replicates
from acecausal.estimation.sample import Sample
from acecausal.survey.raters import effective_answers, intraclass


def responses(sample: Sample) -> dict[str, np.ndarray]:
    """Compute the shares.

    Returns
    -------
    dict of str to numpy.ndarray
        response, response_se, shape (values, personas, options), NaN where nobody answered, and response_se also where
        all are of one PSU; n, n_eff, n_psu, share, shape (values, personas); implied, shape (personas, checked). With a
        control response_gain, shape (values, personas).
    """
    plan, survey, design = sample.plan, sample.survey, sample.design
    width = max(len(value.options) for value in plan.values)
    shape = (len(plan.values), len(plan.lattice.personas))
    arrays = {name: np.full((*shape, width), np.nan) for name in ("response", "response_se")}
    units = [unit for unit in (survey.respondent, survey.item) if unit is not None]
    if isinstance(design, Design) and not design.single and not units:
        units = [design.psu]  # neighbours are alike: Kish's size alone takes them for independent
    arrays |= {
        "n": np.zeros(shape, dtype=np.int64),
        "n_psu": np.zeros(shape, dtype=np.int64),
        "n_eff": np.zeros(shape),
        "share": shares(sample),
        **({} if sample.control is None else {"response_gain": np.full(shape, np.nan)}),
    }
    for batch in plan.batches(sample.name):
        values = np.array(batch)
        answers = [survey.values[plan.values[v].name] for v in batch]
        answered = np.stack([answer >= 0 for answer in answers], axis=1)
        answered = answered[everybody := np.flatnonzero(answered.any(axis=1) | (sample.control is not None))]
        n_options = len(plan.values[batch[0]].options)
        chosen = outcomes([answer[everybody] for answer in answers], n_options)
        weight = survey.weight[everybody, None] * answered
        alike: list[np.ndarray] = []
        more = all_sizes = np.ones(len(batch))
        for p, matches in enumerate(sample.matched):
            here = np.flatnonzero(matches[everybody])
            if not answered[here].any():
                continue
            w = weight[here]
            total = w.sum(axis=0)
            some = total > 0
            w = (w[:, some] / total[some]).T
            influence = np.take(chosen if some.all() else chosen[some], here, axis=2)
            influence *= w[:, None]
            share = influence.sum(axis=2)
            influence -= share[:, :, None] * w[:, None]
            if isinstance(design, Replicates):
                again = _replicated(chosen[some][:, :, here], answered[here].T[some], design.weights[everybody[here]])
                variance = (design.deviations(again, share) ** 2).sum(axis=0)
            else:
                variance = design.variance(influence.reshape(-1, len(here)).T, everybody[here]).reshape(share.shape)
            at = values[some]
            arrays["n"][at, p] = survey.count(everybody[here], w.T > 0)
            psus = arrays["n_psu"][at, p] = design.count_psus(w.T > 0, everybody[here])
            if sample.control is not None:
                share, variance, arrays["response_gain"][at, p] = _controlled(
                    sample, at, p, everybody[here], share, influence, w.T > 0
                )
            codes = [unit[everybody[here]] for unit in units]
            if p == 0:  # the persona all, in which every value of the batch has answers
                alike = [intraclass(influence, w, code) for code in codes]
            effective = effective_answers(w, codes, [part[some] for part in alike])
            if isinstance(design, Replicates):
                if p == 0:
                    more, all_sizes = _design_effects(share, variance, effective), effective
                effective = effective / (1 + more[some] * effective / all_sizes[some])
            arrays["n_eff"][at, p] = effective
            arrays["response"][at, p, :n_options] = np.clip(share, 0.0, 1.0)
            # of one PSU alone, deviations from its own mean add up to 0: that is no error of 0
            arrays["response_se"][at, p, :n_options] = np.where(psus[:, None] > 1, np.sqrt(variance), np.nan)
    return arrays | {
        "n_eff": arrays["n_eff"] * np.nan_to_num(arrays.get("response_gain", np.ones(shape)), nan=1.0),
        "implied": _implied(sample),
    }


def _controlled(
    sample: Sample, values: np.ndarray, persona: int, rows: np.ndarray, share: np.ndarray, influence: np.ndarray,
    answered: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Sharpen a persona's shares by what a model expects of its people.

    Parameters
    ----------
    values : numpy.ndarray, shape (V,), int
    rows : numpy.ndarray, shape (n,), int
        All of the persona.
    share, influence : numpy.ndarray, shapes (V, options), (V, options, n)
    answered : numpy.ndarray, shape (n, V), bool

    Returns
    -------
    share, variance : numpy.ndarray, shape (V, options)
    gain : numpy.ndarray, shape (V,)
        NaN where all who answered are of one PSU.
    """
    plan, design, control = sample.plan, sample.design, sample.control
    assert control is not None
    assert isinstance(design, Design)
    names = [plan.values[v].name for v in values]
    expected, weight = control.of(names, rows), sample.survey.weight[rows, None]
    known = np.isfinite(expected).all(axis=2)
    gap, part = weighted_mean(expected, weight * (known & answered))
    if control.population is None:
        of_all, more = weighted_mean(expected, weight * known)
        part = part - more
    else:
        kinds = sample.kinds_matched[persona]
        theirs = np.stack([control.population.expected[name][kinds] for name in names], axis=1)
        there = np.isfinite(theirs).all(axis=2)
        of_all, _ = weighted_mean(theirs, control.population.count[kinds, None] * there)
    df = design.domain_degrees(answered, rows)
    nominal = np.array([plan.values[v].scale == "nominal" for v in values])
    found = tuned(design, rows, share, influence.transpose(2, 0, 1), gap - of_all, part, df, nominal, 0.0)
    gain = np.where(design.count_psus(answered, rows) > 1, found.gain, np.nan)
    return found.estimate, np.clip(np.einsum("vkk->vk", found.covariance), 0, None), gain


def _replicated(chosen: np.ndarray, answered: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute shares under replicate weights, shape (n, R), of who chose what, (V, K, n): shape (R, V, K).

    NaN where a replicate has nobody who answered, shape (V, n).
    """
    sums = (chosen @ weights).transpose(2, 0, 1)
    total = (answered @ weights).T[:, :, None]
    return np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0)


def _design_effects(share: np.ndarray, variance: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Say by how much more than in independent answers the shares of everybody vary, shape (V,): 0 or more.

    Kish's sizes know of weights. What clusters add goes with the size of a domain that is spread over all of them: a
    persona of a tenth of all people has a tenth of it (Kish 1987, Statistical design for research, section 2.3).
    """
    apart = (share * (1 - share)).sum(axis=1) / size
    return np.maximum(np.divide(variance.sum(axis=1), apart, out=np.ones(len(apart)), where=apart > 0) - 1, 0.0)


def _implied(sample: Sample) -> np.ndarray:
    """Shares of attribute levels among people; a rater is one of them, with the mean weight of their ratings."""
    lattice = sample.plan.lattice
    codes = np.stack([sample.survey.attributes[attribute.name] for attribute in lattice.attributes], axis=1)
    _, first, person = np.unique(sample.person, return_index=True, return_inverse=True)
    weight = np.bincount(person, sample.survey.weight) / np.bincount(person)
    return people_implied(lattice, codes[first], weight)


def shares(sample: Sample) -> np.ndarray:
    """Compute how many of the population each persona is, by weight, for each value.

    Returns
    -------
    numpy.ndarray, shape (values, personas)
        Among those who answered the value and of whom everything is known that some contrast compares or holds fixed:
        the people that estimates speak for. NaN where nobody did, and where the share is below the plan's `min_share`.
    """
    plan, survey = sample.plan, sample.survey
    answered = np.stack([survey.values[value.name] >= 0 for value in plan.values], axis=1)
    people = survey.weight[:, None] * (answered & sample.known[:, None])
    total = people.sum(axis=0)
    share = (sample.matched @ people).T
    share = np.divide(share, total[:, None], out=np.full(share.shape, np.nan), where=total[:, None] > 0)
    return np.where(share >= plan.min_share, np.clip(share, 0.0, 1.0), np.nan)
