"""Codebooks as people and programs may spoil them: every violation in one message, or a codebook that can be used.

By hand: ``python tests/fuzz/test_fuzz_codebooks.py 2000 [SEED]``.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import numpy as np
import pandas as pd
import yaml
from fuzzing import by_hand, changed, dumped, fuzz, ran, spoilt
from minimal_codebook import RICH
from survey_checks import sound

from acecausal.errors import AceError, CodebookError
from acecausal.survey.checking import check
from acecausal.survey.codebook import load_codebook, shipped_codebooks
from acecausal.survey.data import from_table, read_survey


@cache
def shipped() -> list[str]:
    """The texts of the codebooks that come with the program."""
    folder = resources.files("acecausal.survey") / "codebooks"
    return [(folder / f"{name}.yaml").read_text(encoding="utf-8") for name in shipped_codebooks()]


def answers(rng: np.random.Generator, n: int = 60) -> pd.DataFrame:
    """Answers that fit `RICH`."""
    columns: dict[str, Any] = {
        name: rng.choice(codes, n)
        for name, codes in {"c": [1, 2], "s": [1, 2], "y": [2020], "t": [1, 2, 9], "o": [1, 2, 3, -1]}.items()
    }
    return pd.DataFrame(
        columns
        | {
            "a": rng.integers(18, 90, n),
            "i": rng.normal(size=n),
            "w": rng.uniform(0.5, 2, n),
            "st": rng.integers(0, 3, n),
            "p": np.arange(n) // 2,
            "id": np.arange(n),
        }
    )


def case(rng: np.random.Generator, folder: Path) -> str:
    """One codebook, changed in one to three places, loaded and used on answers that fit what it was."""
    path = folder / "book.yaml"
    if rng.random() < 0.3:
        text = spoilt(shipped()[rng.integers(0, len(shipped()))].encode(), rng)
        path.write_bytes(text if rng.random() < 0.8 else spoilt(text, rng))
    else:
        content = yaml.safe_load(yaml.safe_dump(RICH))
        if rng.random() < 0.2:
            content["countries"]["coding"] = "iso-alpha2"
        for _ in range(rng.integers(1, 3)):
            content = changed(content, rng)
        path.write_text(dumped(content), encoding="utf-8")
    try:
        book = load_codebook(path)
    except CodebookError:
        return "refused"
    assert len(book.sha256) == 64
    assert all(isinstance(column, str) for column in book.columns)
    for name in book.attributes:
        assert len(book.attribute(name).levels) > 1
    for name in book.values:
        assert len(book.value(name).options) > 1
    book.with_rows({"y": {"range": (2018, 2022)}})
    if rng.random() < 0.1:
        assert ran("codebooks", "show", path) == 0
    table = answers(rng)
    table.to_csv(folder / "answers.csv", index=False)
    told = [finding for finding in check(folder / "answers.csv", book) if finding.severity == "error"]
    try:
        sound(read_survey(folder / "answers.csv", book))
        sound(from_table(table, book))
    except AceError:
        return "loaded, and the answers refused"
    return "loaded and used, though the check calls it wrong" if told else "loaded and used"


def test_codebooks(tmp_path):
    outcomes = fuzz(case, 60, tmp_path)
    assert outcomes["refused"] > 5
    assert outcomes["loaded and used"] > 0


if __name__ == "__main__":
    by_hand(case)
