"""Facts of the report are the cube's cells by label, and the cells with the most evidence come first."""

from __future__ import annotations

import numpy as np
from report_cubes import model_cube, survey_cube

from acecausal.cube import schema
from acecausal.report import cells, facts


def test_facts__are_the_cubes_cells_by_label():
    """Oracle: xarray's own selection, cell by cell; exact. A model that lacks a country has no number there."""
    human = survey_cube(3)
    human["status"].values[1, 0, 1, 0] = schema.FAILED
    human["effect"].values[1, 0, 1, 0] = np.nan
    model = model_cube(human, 0.4).isel(country=[2, 0])
    frame = facts.effects(human, {"m": model}, country=[2, 1], attribute=[0, 2], persona=[0, 1])
    assert len(frame) == 2 * 2 * human.sizes["value"] * 2
    for row in frame.itertuples():
        at = {"country": row.country, "attribute": row.contrast, "value": row.value, "persona": row.context}
        cell = human.sel(at)
        expected = [cell["effect"].item(), cell["q_value"].item(), *cell["effect_interval"].values]
        np.testing.assert_array_equal([row.estimate, row.q_value, row.conf_low, row.conf_high], expected)
        assert row.status == schema.STATUS[int(cell["status"])]
        other = model["effect"].sel(at).item() if row.country in model["country"].values else np.nan
        np.testing.assert_array_equal(row.m0, other)
    assert {"failed", "not_applicable", "ok"} == set(frame["status"])


def test_by_evidence__smallest_p_first():
    human = survey_cube(5)
    p = human["p_value"].sel(persona="all").min(("attribute", "value")).values
    assert cells.by_evidence(human, "country").tolist() == np.argsort(p).tolist()
    assert cells.top(human, "country", 2).tolist() == sorted(np.argsort(p)[:2].tolist())
