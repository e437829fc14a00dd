"""The picture of a transfer matrix: every number, and a frame around a model's own group."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr

from acecausal.report import transfer_matrix

GROUPS = ["Norway", "<Chad> & co", "Peru"]


@pytest.fixture
def matrix():
    rows = ["untrained", *(f"trained on {group}" for group in GROUPS)]
    own = np.vstack([np.zeros(3, dtype=bool), np.eye(3, dtype=bool)])
    effect = np.array([[0.01, -0.02, 0.03], [0.81, 0.12, np.nan], [0.23, 0.74, 0.35], [0.16, 0.27, 0.68]])
    skill = {"effect_skill": (("row", "asked"), effect), "level_skill": (("row", "asked"), -40 * effect - 200)}
    return xr.Dataset(skill | {"own": (("row", "asked"), own)}, {"row": rows, "asked": GROUPS}, {"over": "country"})


def test_rows__own_are_the_models_own(matrix):
    rows = transfer_matrix.rows(matrix, "effect")
    own = {(row["row"], row["asked"]) for row in rows if row["own"]}
    assert own == {(f"trained on {group}", group) for group in GROUPS}
    assert next(row["skill"] for row in rows if (row["row"], row["asked"]) == ("trained on Norway", "Peru")) is None


def test_write__numbers_labels_and_frames(matrix, tmp_path):
    transfer_matrix.write(matrix, tmp_path / "a.svg", ".svg")
    svg = (tmp_path / "a.svg").read_text("utf-8")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    for number in matrix["effect_skill"].values.ravel():
        assert ("-" if np.isnan(number) else f"{number:.2f}".replace("-", "−")) in texts
    for number in matrix["level_skill"].values.ravel()[np.isfinite(matrix["level_skill"].values.ravel())]:
        assert f"{number:.0f}".replace("-", "−") in texts
    assert texts.count("trained on Norway") == 1
    assert texts.count("&lt;Chad&gt; &amp; co") == 2  # a head in each panel
    assert len(re.findall(r'stroke="#1c1d1f" stroke-width="2"', svg)) == 6
    assert svg.startswith('<svg role="img" aria-label="Effect skill and level skill by country')
    transfer_matrix.write(matrix, tmp_path / "a.png", ".png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
