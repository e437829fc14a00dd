"""How fast cubes are estimated, against the loops people write: one fit per outcome, by DoWhy + EconML and by EconML.

    python benchmarks/estimation.py            all cases, about 20 minutes on 2 cores
    python benchmarks/estimation.py --quick    one country and topic, without the full size
    python benchmarks/estimation.py --learners no linear nuisances, learners alone, about 10 minutes

A cell is one (country, topic, attribute, question, option, context). Two tasks: the average effect over everybody (a
lattice of depth 1), and the whole lattice (27 contexts per attribute, which the loops get from the same fit by
`ate_inference`). Same estimator, same nuisances, same folds, points and standard errors on both sides; ours also has
design-based covariances, bands, moderation, balance, shrinkage and q-values. The loops are timed on sampled outcomes.
One thread each for linear algebra: with two, the loops' many small products get into one another's way, and are half as
fast.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import resource
import subprocess
import sys
import time
import warnings
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy, which reads them once

import numpy as np
import pandas as pd
from results import report

from acecausal.estimation.estimate import estimate
from acecausal.estimation.nuisances import seeded
from acecausal.estimation.plan import Plan, make_plan
from acecausal.estimation.problem import N_FOLDS, Problem
from acecausal.estimation.sample import Sample
from acecausal.simulation.surveys import draw
from acecausal.simulation.world import World
from acecausal.survey.data import Survey

QUESTIONS, OPTIONS, ATTRIBUTES, RESPONDENTS = 30, 5, 4, 1500
SAMPLED = 40
#: Outcomes that the loop is timed on where learners take their time.
LEARNT = 6


def survey(countries: int, topics: int, nonresponse: float, respondents: int = RESPONDENTS) -> Survey:
    """Simulate countries whose every topic was asked of respondents of its own."""
    world = World.make(countries=countries, values=topics * QUESTIONS, options=OPTIONS, attributes=ATTRIBUTES, seed=0)
    whole = draw(world, respondents * topics, seed=1, nonresponse=nonresponse)
    topic = np.arange(len(whole)) % topics
    values = {
        name: np.where(topic == v // QUESTIONS, answers, -1).astype(answers.dtype)
        for v, (name, answers) in enumerate(whole.values.items())
    }
    return dataclasses.replace(whole, values=values)


def problems(data: Survey, plan: Plan) -> list[tuple[Sample, int, Problem]]:
    """Lay out what the loops get: the rows and folds of every fit."""
    samples = [Sample.of(data, plan, c) for c in range(len(plan.countries))]
    return [
        (samples[fit.country], fit.contrast, samples[fit.country].problem(fit, samples[fit.country].rows(fit)))
        for fit in plan.fits
    ]


def econml_cell(p: Problem, v: int, k: int, contexts: np.ndarray) -> list[float]:
    """Fit one outcome with EconML; average effects with EconML's inference in contexts, shape (contexts, n), bool."""
    from econml.dml import LinearDML

    rows, cv = _rows(p, v)
    x = p.indicators[rows]
    model = LinearDML(**_learners(p), fit_cate_intercept=False, cv=cv, random_state=0)
    model.fit(
        p.outcomes[rows, v, k], p.arm[rows].astype(float), X=x, W=p.covariates[rows], sample_weight=p.weight[rows]
    )
    return _averages(model, x, contexts[:, rows])


def dowhy_cell(p: Problem, v: int, k: int, contexts: np.ndarray) -> list[float]:
    """Fit one outcome through DoWhy's pipeline: graph, identification, EconML as estimator; then as `econml_cell`."""
    from dowhy import CausalModel

    rows, cv = _rows(p, v)
    x = [f"x{i}" for i in range(p.indicators.shape[1])]
    w = [f"w{i}" for i in range(p.covariates.shape[1])]
    data = pd.DataFrame(np.column_stack([p.indicators[rows], p.covariates[rows]]), columns=[*x, *w])
    data["arm"], data["answer"] = p.arm[rows].astype(float), p.outcomes[rows, v, k]
    model = CausalModel(data, treatment="arm", outcome="answer", common_causes=[*x, *w], effect_modifiers=x)
    estimate = model.estimate_effect(
        model.identify_effect(proceed_when_unidentifiable=True),
        method_name="backdoor.econml.dml.LinearDML",
        target_units="ate",
        method_params={
            "init_params": {
                **_learners(p),
                "fit_cate_intercept": False,
                "cv": cv,
                "random_state": 0,
            },
            "fit_params": {"sample_weight": p.weight[rows]},
        },
    )
    order = estimate.estimator._effect_modifier_names  # DoWhy sorts them
    return _averages(estimate.estimator.estimator, data[order].to_numpy(), contexts[:, rows])


def _learners(p: Problem) -> dict[str, Any]:
    """Give EconML the nuisances, for one outcome at a time."""
    from sklearn.linear_model import LinearRegression
    from sklearn.multioutput import MultiOutputRegressor

    if p.nuisance is None:
        return {"model_y": LinearRegression(), "model_t": LinearRegression()}
    answers, arm = (seeded(learner, p.seed) for learner in (p.nuisance.answers, p.nuisance.arm))
    single = answers.estimator if isinstance(answers, MultiOutputRegressor) else answers
    return {"model_y": single, "model_t": arm, "discrete_treatment": True}


def _averages(model: Any, x: np.ndarray, contexts: np.ndarray) -> list[float]:
    found = [model.ate_inference(x[rows]) for rows in contexts]
    return [float(part.mean_point) for part in found if np.isfinite(part.stderr_mean)]


def _rows(p: Problem, v: int) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    fold = p.folds[0][:, v]
    rows = np.flatnonzero(fold >= 0)
    return rows, [(np.flatnonzero(fold[rows] != f), np.flatnonzero(fold[rows] == f)) for f in range(N_FOLDS)]


PEERS = {"dowhy+econml loop": dowhy_cell, "econml loop": econml_cell}


def against_loops(nonresponse: float, depth: int | None) -> None:
    """Time one country and topic against both loops, in turn, since the machine's speed drifts."""
    data = survey(1, 1, nonresponse)
    plan = make_plan(data, depth=depth)
    cube = estimate(data, plan)  # imports and caches
    laid = problems(data, plan)
    contexts = []
    for sample, contrast, _ in laid:
        rows = sample.rows(next(fit for fit in plan.fits if fit.contrast == contrast))
        contexts.append(sample.matched[plan.contexts(contrast)][:, rows])
    shift = cube["shift"].isel(country=0).values
    outcomes = ATTRIBUTES * QUESTIONS * OPTIONS
    rng = np.random.default_rng(2)
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in PEERS}
    agreement = dict.fromkeys(PEERS, 0.0)
    for cell in PEERS.values():
        cell(laid[0][2], 0, 0, contexts[0])
    for _ in range(SAMPLED // 5):
        start = time.perf_counter()
        estimate(data, plan)
        ours.append(outcomes * len(contexts[0]) / (time.perf_counter() - start))
        for name, cell in PEERS.items():
            drawn = [(rng.integers(len(laid)), rng.integers(QUESTIONS), rng.integers(OPTIONS)) for _ in range(5)]
            start = time.perf_counter()
            found = [cell(laid[i][2], v, k, contexts[i]) for i, v, k in drawn]
            theirs[name].append(5 * len(contexts[0]) / (time.perf_counter() - start))
            for (i, v, k), values in zip(drawn, found, strict=True):
                here = shift[laid[i][1], v, plan.contexts(laid[i][1]), k]
                agreement[name] = max(agreement[name], float(np.nanmax(np.abs(here - values))))
    for name, rates in theirs.items():
        ratios = np.array(ours) / rates
        task = "average effects" if depth == 1 else "whole lattice"
        report(
            f"{name}, {task}{', 5 % nonresponse' if nonresponse else ''}",
            ours=float(np.median(ours)),
            peer=float(np.median(rates)),
            unit="cells per second",
            agreement=agreement[name],
            cells=outcomes * len(contexts[0]),
            sampled=SAMPLED,
            ratio_min=round(float(ratios.min()), 1),
            ratio_median=round(float(np.median(ratios)), 1),
            ratio_max=round(float(ratios.max()), 1),
        )


def with_learners(nuisance: str, nonresponse: float) -> None:
    """Time one contrast of one topic against the DoWhy loop with the same learners, by the process's own time."""
    data = survey(1, 1, nonresponse)
    choices: dict[str, Any] = {"attributes": "gender", "nuisance": nuisance}
    plan = make_plan(data, **choices)
    problem = problems(data, plan)[0][2]
    everybody = np.ones((1, len(problem.arm)), dtype=bool)
    estimate(data, make_plan(data, values="value0", **choices))  # imports and caches
    dowhy_cell(problem, 0, 0, everybody)
    rng = np.random.default_rng(2)
    start = time.process_time()
    for _ in range(LEARNT):
        dowhy_cell(problem, rng.integers(QUESTIONS), rng.integers(OPTIONS), everybody)
    loop = (time.process_time() - start) / LEARNT
    start = time.process_time()
    estimate(data, plan)
    ours = (time.process_time() - start) / (QUESTIONS * OPTIONS)
    report(
        f"dowhy+econml loop, nuisance {nuisance}{', 5 % nonresponse' if nonresponse else ''}",
        ours=1 / ours,
        peer=1 / loop,
        unit="cells per second of the process's own time",
        cells=QUESTIONS * OPTIONS,
        sampled=LEARNT,
    )


def full_size(countries: int, topics: int, jobs: int) -> None:
    """Estimate 14 x 8 or less with 5 % nonresponse, in this process: seconds and peak memory."""
    data = survey(countries, topics, 0.05)
    start = time.perf_counter()
    plan = make_plan(data)
    estimate(data, plan, jobs=jobs)
    seconds = time.perf_counter() - start
    laid = problems(data, dataclasses.replace(plan, fits=plan.fits[:ATTRIBUTES]))
    everybody = np.ones((1, len(laid[0][2].arm)), dtype=bool)
    rng = np.random.default_rng(3)
    start = time.perf_counter()
    for _ in range(SAMPLED):
        dowhy_cell(laid[rng.integers(len(laid))][2], rng.integers(QUESTIONS), rng.integers(OPTIONS), everybody)
    loop = (time.perf_counter() - start) / SAMPLED
    cells = countries * topics * ATTRIBUTES * QUESTIONS * OPTIONS
    # workers outlive the call, so their memory is not known yet: measured in process only
    peak = {"peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)} if jobs == 1 else {}
    report(
        f"dowhy+econml loop, extrapolated, {countries} countries x {topics} topics, jobs {jobs}, 5 % nonresponse",
        ours=seconds,
        peer=loop * cells,
        unit="seconds",
        higher_is_better=False,
        cells=cells,
        answers=int(sum((answers >= 0).sum() for answers in data.values.values())),
        sampled=SAMPLED,
        microseconds_per_answer=round(1e6 * seconds / sum((a >= 0).sum() for a in data.values.values()), 2),
        **peak,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without the full size")
    parser.add_argument("--learners", action="store_true", help="nuisances by learners alone")
    parser.add_argument(
        "--size", nargs=3, type=int, metavar=("COUNTRIES", "TOPICS", "JOBS"), help="one size, in this process"
    )
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")  # the peers' remarks
    if chosen.size:
        full_size(*chosen.size)
        return
    for depth in () if chosen.learners else (1, None):
        for nonresponse in (0.0, 0.05):
            against_loops(nonresponse, depth)
    for nonresponse in (0.0, 0.05):
        for nuisance in ("lasso:alpha=0.01,C=1", "lasso", "forest", "boosting"):
            with_learners(nuisance, nonresponse)
    if not (chosen.quick or chosen.learners):
        for size in (
            ("3", "2", "1"),
            ("7", "4", "1"),
            ("14", "8", "1"),
            ("14", "8", "2"),
        ):  # a process each, so that peak memory is its own
            subprocess.run([sys.executable, __file__, "--size", *size], check=True)


if __name__ == "__main__":
    main()
