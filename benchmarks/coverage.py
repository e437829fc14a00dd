"""Do 95 % intervals hold the truth 95 times in 100? On simulated surveys with known effects, beside what others give.

    python benchmarks/coverage.py                1,000 surveys per design, 200 with learners; 45 minutes on 2 cores
    python benchmarks/coverage.py --surveys 100  fewer

Per design: coverage, bias and false discoveries of ours over all estimated cells (two attributes, six values, every
context); and on the same draws, for the average effect of the first attribute, the coverage of EconML's LinearDML with
sample_weight and its own inference, and of the raw difference of means with Welch's error.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import replace

import numpy as np
from joblib import Parallel, delayed
from results import report
from scipy import stats
from scipy.linalg import hadamard

from acecausal.cube import schema
from acecausal.estimation.estimate import estimate
from acecausal.estimation.plan import make_plan
from acecausal.simulation.ratings import draw_ratings
from acecausal.simulation.surveys import draw
from acecausal.simulation.truth import truth
from acecausal.simulation.world import World
from acecausal.survey.data import Survey
from acecausal.survey.replicates import ReplicatesSpec

#: Annotator data: raters, items, and what they add to ratings.
RATINGS: dict[str, object] = {"raters": 300, "items": 40, "per_rater": 15, "rater": 0.13, "item": 0.1, "slope": 0.08}
CURVED: dict[str, object] = {"curved": True, "values": 2, "options": 3}
DESIGNS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "simple": ({}, {}),
    "weighted": ({}, {"weights": True}),
    "50 clusters": ({}, {"clusters": 50}),
    "nonresponse": ({}, {"nonresponse": 0.15}),
    "rare cells": ({"rare": 0.07}, {}),
    # the first attribute is one for all people of a PSU, and does nothing
    "2 of 20 PSUs treated": ({"null": 1.0}, {"clusters": 20, "treated": 2}),
    "3 of 20 PSUs treated": ({"null": 1.0}, {"clusters": 20, "treated": 3}),
    "10 of 20 PSUs treated": ({"null": 1.0}, {"clusters": 20, "treated": 10}),
    "3 of 50 PSUs treated": ({"null": 1.0}, {"clusters": 50, "treated": 3}),
    "4 of 8 PSUs treated": ({"null": 1.0}, {"clusters": 8, "treated": 4}),
    "24 cells, a fifth treated, uneven weights": (
        {"attributes": 4, "levels": [2, 4, 3, 2], "rare": 0.2},
        {"lognormal": 0.7},
    ),
    "50 clusters, jackknife": ({}, {"clusters": 50, "replicates": "JK1"}),
    "50 clusters, half-samples": ({}, {"clusters": 50, "replicates": "BRR"}),
    "50 clusters, bootstrap": ({}, {"clusters": 50, "replicates": "bootstrap"}),
    "3 of 20 PSUs treated, jackknife": ({"null": 1.0}, {"clusters": 20, "treated": 3, "replicates": "JK1"}),
    "24 cells, a fifth treated, jackknife": (
        {"attributes": 4, "levels": [2, 4, 3, 2], "rare": 0.2},
        {"clusters": 50, "replicates": "JK1"},
    ),
    # 7 ages in a wave move attributes and answers, told in years: 2 values of 3 options, since learners take their time
    "curved age": (CURVED, {}),
    "curved age, boosting": (CURVED, {"nuisance": "boosting"}),
    "curved age, forest": (CURVED, {"nuisance": "forest"}),
    "raters and items": ({"effect": 0.04, "covariate": False}, RATINGS),
    "raters steered to items": ({"effect": 0.04, "covariate": False}, RATINGS | {"steering": 1.0}),
}
#: What a design has besides the arguments of `draw`.
NOT_DRAWN = ("treated", "lognormal", "replicates", "nuisance")
RESPONDENTS = 1500
#: Most surveys where learners take their time.
LEARNT = 200


def world(choices: dict[str, object]) -> World:
    """Make the world of a design: six values, on the last three of which the first attribute has no effect."""
    return World.make(**{"values": 6, "options": 5, "attributes": 2, "null": 0.5, "seed": 1, **choices})  # type: ignore[arg-type]


def drawn(population: World, design: dict[str, object], seed: int) -> Survey:
    """Draw one survey of a design."""
    if "raters" in design:
        return draw_ratings(population, seed=seed, **design)  # type: ignore[arg-type]
    choices = {name: choice for name, choice in design.items() if name not in NOT_DRAWN}
    survey = draw(population, RESPONDENTS, seed, **choices)  # type: ignore[arg-type]
    if "treated" in design:
        survey = replace(
            survey, attributes=survey.attributes | {"gender": (survey.psu < design["treated"]).astype(int)}
        )
    if "lognormal" in design:
        rng = np.random.default_rng(seed)
        survey = replace(survey, weight=np.exp(design["lognormal"] * rng.normal(size=len(survey))))
    return replicated(survey, str(design["replicates"]), seed) if "replicates" in design else survey


def replicated(survey: Survey, kind: str, seed: int) -> Survey:
    """Give a survey replicate weights in the place of its PSUs: of all (JK1), 100 bootstraps, or pairs as strata."""
    psu = np.unique(survey.psu, return_inverse=True)[1]
    count = int(psu.max()) + 1
    if kind == "JK1":
        times = np.where(np.eye(count, dtype=bool), 0.0, count / (count - 1))
    elif kind == "BRR":
        signs = hadamard(2 ** int(np.ceil(np.log2(count // 2 + 1))))[1 + np.arange(count) // 2]
        times = 1.0 + np.where(np.arange(count) % 2, 1, -1)[:, None] * signs
    else:
        drawn = np.random.default_rng(seed).multinomial(count - 1, np.full(count, 1 / count), size=100)
        times = drawn.T * count / (count - 1)
    spec = ReplicatesSpec(columns=[f"rw{r}" for r in range(times.shape[1])], type=kind)
    book = survey.codebook.model_copy(update={"replicates": spec, "psu": None, "stratum": None})
    alone = np.arange(len(survey))
    return replace(survey, codebook=book, psu=alone, replicates=survey.weight[:, None] * times[psu])


def econml(survey: Survey, value: str, contrast: str = "gender") -> tuple[float, float, float]:
    """Fit LinearDML as its documentation does: effect and 95 % interval of the average effect."""
    from econml.dml import LinearDML
    from sklearn.linear_model import LinearRegression

    rows = survey.values[value] >= 0
    x = np.column_stack([survey.attributes["education"], *survey.covariates.values()])[rows]
    model = LinearDML(model_y=LinearRegression(), model_t=LinearRegression(), cv=5, random_state=0)
    weight = survey.weight[rows]
    model.fit(
        scored(survey, value)[rows],
        survey.attributes[contrast][rows].astype(float),
        X=x,
        sample_weight=weight if np.ptp(weight) else None,
    )
    found = model.ate_inference(x)
    low, high = found.conf_int_mean(alpha=0.05)
    return float(found.mean_point), float(low), float(high)


def raw(survey: Survey, value: str, contrast: str = "gender") -> tuple[float, float, float]:
    """Subtract the arms' unweighted means, with Welch's interval."""
    rows = survey.values[value] >= 0
    score, arm = scored(survey, value)[rows], survey.attributes[contrast][rows]
    found = stats.ttest_ind(score[arm == 1], score[arm == 0], equal_var=False)
    low, high = found.confidence_interval(0.95)
    return float(score[arm == 1].mean() - score[arm == 0].mean()), float(low), float(high)


def ends(survey: Survey) -> list[str]:
    """Name the values that peers estimate: one with an effect of the first attribute, and one without."""
    names = list(survey.codebook.values)
    return [names[0], names[-1]]


def scored(survey: Survey, value: str) -> np.ndarray:
    """Score answers from 0 to 1."""
    return survey.values[value] / (len(survey.codebook.values[value].options) - 1)


def one(population: World, design: dict[str, object], seed: int) -> dict[str, np.ndarray]:
    """Draw one survey and estimate it in all ways."""
    warnings.simplefilter("ignore")  # EconML's remarks
    survey = drawn(population, design, seed)
    plan = make_plan(survey, nuisance=design.get("nuisance", "linear"))
    cube = estimate(survey, plan).isel(country=0)
    found = {name: cube[name].values for name in ("effect", "effect_se", "effect_interval", "q_value", "status")}
    found["econml"] = np.array([econml(survey, value) for value in ends(survey)])
    found["raw"] = np.array([raw(survey, value) for value in ends(survey)])
    return found


def run(name: str, surveys: int) -> None:
    """Run and report one design."""
    choices, design = DESIGNS[name]
    surveys = min(surveys, LEARNT) if "nuisance" in design else surveys
    population = world(choices)
    true = truth(population).isel(country=0)
    start = time.perf_counter()
    found = Parallel(n_jobs=2)(delayed(one)(population, design, 1000 + seed) for seed in range(surveys))
    wanted = true.effect.values
    stacked = {key: np.stack([part[key] for part in found]) for key in found[0]}
    ok = stacked["status"] == schema.OK
    inside = (stacked["effect_interval"][..., 0] <= wanted) & (wanted <= stacked["effect_interval"][..., 1])
    often = ok.mean(axis=0) > 0.9  # cells that are nearly always estimated, so that what is left out selects nothing
    everywhere = often & (np.arange(often.shape[-1]) == 0)
    error = np.where(ok, stacked["effect"] - wanted, np.nan)
    bias = np.nanmean(error[:, often], axis=0) / np.nanmean(stacked["effect_se"][:, often], axis=0)
    discovered = (np.nan_to_num(stacked["q_value"], nan=1.0) < 0.05) & ok
    null = np.isfinite(wanted) & (np.abs(wanted) < 1e-12)
    false = (discovered & null).sum(axis=(1, 2, 3)) / np.maximum(discovered.sum(axis=(1, 2, 3)), 1)
    at = [0, true.sizes["value"] - 1]  # the peers' values, see `ends`
    average = wanted[0, at, 0]
    peers = {
        f"{peer}_coverage": round(float(((s[..., 1] <= average) & (average <= s[..., 2])).mean()), 4)
        for peer, s in ((peer, stacked[peer]) for peer in ("econml", "raw"))
    }
    ours = float(inside[ok & often].mean())
    report(
        f"coverage of 95 % intervals, {name}",
        ours=ours,
        peer=peers["econml_coverage"],
        unit="share",
        surveys=surveys,
        cells=int(often.sum()),
        coverage_average_effects=round(float(inside[ok & everywhere].mean()), 4),
        coverage_same_cells_as_peers=round(float(inside[:, 0, at, 0].mean()), 4),
        worst_cell=round(float(np.where(often, (inside & ok).sum(axis=0) / np.maximum(ok.sum(axis=0), 1), 1).min()), 4),
        bias_in_se=round(float(np.abs(bias).mean()), 4),
        bias_monte_carlo_error=round(float(np.sqrt(2 / np.pi / surveys)), 4),
        se_over_sd=round(
            float(np.nanmean(stacked["effect_se"][:, often]) / np.nanstd(error[:, often], axis=0).mean()), 4
        ),
        false_discovery_rate=round(float(false.mean()), 4),
        discoveries=round(float(discovered.sum(axis=(1, 2, 3)).mean()), 2),
        seconds=round(time.perf_counter() - start, 1),
        **peers,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--surveys", type=int, default=1000)
    parser.add_argument("--design", choices=list(DESIGNS), action="append", help="only these")
    chosen = parser.parse_args()
    for name in chosen.design or DESIGNS:
        run(name, chosen.surveys)


if __name__ == "__main__":
    main()
