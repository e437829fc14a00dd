"""People, some of whom were not asked, and what a model expects of them; and prediction-powered means of them.

    python sharpening.py FOLDER && Rscript sharpening.R FOLDER sharpening.json

needs ppi-python (https://github.com/aangelopoulos/ppi_py); the tests need neither it nor R.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

#: How many of each kind (sex, age) there are in the population, and what a model expects of each: yes, by 1.
POPULATION = {(1, 1): 900, (1, 2): 1300, (1, 3): 800, (2, 1): 700, (2, 2): 1400, (2, 3): 1900}
EXPECTED = {(1, 1): 0.15, (1, 2): 0.4, (1, 3): 0.7, (2, 1): 0.3, (2, 2): 0.55, (2, 3): 0.95}
PEOPLE, ASKED = 1200, 400


def people() -> pd.DataFrame:
    """Draw people: sex, age (1 to 3), answer (1 no, 2 yes, missing of those not asked), expected, by_kind (of yes)."""
    random = np.random.default_rng(7)
    kinds = np.array(list(POPULATION))
    share = np.array(list(POPULATION.values())) / sum(POPULATION.values())
    frame = pd.DataFrame(kinds[random.choice(len(kinds), PEOPLE, p=share)], columns=["sex", "age"])
    frame["by_kind"] = [EXPECTED[kind] for kind in zip(frame["sex"], frame["age"], strict=True)]
    truth = 0.1 + 0.8 * frame["by_kind"] + random.uniform(-0.1, 0.1, PEOPLE)
    frame["answer"] = 1.0 + (random.random(PEOPLE) < truth)
    frame["expected"] = np.clip(0.45 * frame["by_kind"] + 0.5 * (frame["answer"] - 1) * random.random(PEOPLE), 0, 1)
    frame.loc[random.permutation(PEOPLE)[ASKED:], "answer"] = np.nan
    return frame


def main() -> None:
    from ppi_py import ppi_mean_ci, ppi_mean_pointestimate

    folder = Path(sys.argv[1])
    frame = people()
    frame.to_csv(folder / "people.csv", index=False)
    asked = frame["answer"].notna().to_numpy()
    yes, expected = frame["answer"].to_numpy()[asked] - 1, frame["expected"].to_numpy()
    low, high = (float(np.ravel(end)[0]) for end in ppi_mean_ci(yes, expected[asked], expected[~asked], alpha=0.05))
    estimate = float(np.ravel(ppi_mean_pointestimate(yes, expected[asked], expected[~asked]))[0])
    found = {"estimate": estimate, "low": low, "high": high, "version": version("ppi-python")}
    population = {"size": sum(POPULATION.values())}
    population["expected"] = sum(POPULATION[kind] * EXPECTED[kind] for kind in POPULATION)
    (folder / "ppi.json").write_text(json.dumps({"ppi": found, "population": population}))


if __name__ == "__main__":
    main()
