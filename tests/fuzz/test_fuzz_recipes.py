"""Recipes as people may spoil them: every violation in one message, or weights and lengths that training can use.

By hand: ``python tests/fuzz/test_fuzz_recipes.py 2000 [SEED]``.
"""

from __future__ import annotations

import json
import math
import sys
from functools import cache
from importlib import resources
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import numpy as np
import yaml
from fuzzing import by_hand, changed, dumped, fuzz, spoilt

from acecausal.errors import AceError
from align.training.objectives import OBJECTIVES
from align.training.recipe import load_recipe, shipped_recipes


@cache
def shipped() -> list[str]:
    """The texts of the recipes that come with the program."""
    folder = resources.files("align.training") / "recipes"
    return [(folder / f"{name}.yaml").read_text(encoding="utf-8") for name in shipped_recipes()]


def case(rng: np.random.Generator, folder: Path) -> str:
    """One recipe, changed in one to three places, and what training asks of it."""
    path, text = folder / "recipe.yaml", shipped()[rng.integers(0, len(shipped()))]
    if rng.random() < 0.4:
        path.write_bytes(spoilt(text.encode(), rng))
    else:
        content = yaml.safe_load(text)
        for _ in range(rng.integers(1, 4)):
            content = changed(content, rng)
        path.write_text(dumped(content), encoding="utf-8")
    try:
        recipe = load_recipe(path)
    except AceError:
        return "refused"
    for progress in (0.0, 0.3, 0.5, 0.999, 1.0):
        weights = recipe.objectives_at(progress)
        assert set(weights) <= set(OBJECTIVES)
        assert all(math.isfinite(weight) and weight >= 0 for weight in weights.values())
        assert sum(weights.values()) > 0
    assert recipe.trained_wordings
    said = json.dumps(recipe.model_dump(mode="json"), allow_nan=False)
    assert type(recipe).model_validate(json.loads(said)) == recipe
    return "loaded"


def test_recipes(tmp_path):
    outcomes = fuzz(case, 150, tmp_path)
    assert outcomes["refused"] > 20
    assert outcomes["loaded"] > 10


if __name__ == "__main__":
    by_hand(case)
