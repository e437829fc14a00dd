"""Diagnostics count the verdicts and the differences between arms that the cube has."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from report_cubes import survey_cube

from acecausal.cube import schema
from acecausal.estimation.estimate import estimate
from acecausal.report import diagnostics
from acecausal.simulation.surveys import simulate
from acecausal.simulation.world import World


@pytest.fixture(scope="module")
def refuted() -> xr.Dataset:
    """A small estimated cube with all refuters."""
    survey, _ = simulate(World.make(countries=2, values=2, attributes=2, seed=5), respondents=400)
    return estimate(survey, refute=5)


def test_diagnostics__count_what_the_cube_says(refuted):
    frame = diagnostics.verdicts(refuted)
    counted = (refuted["refutation_verdict"].values != schema.NOT_RUN).sum()
    assert len(frame) == counted > 0
    row = frame.iloc[-1]
    at = {"country": row["country"], "attribute": row["contrast"], "value": row["value"], "refuter": row["refuter"]}
    assert schema.VERDICTS[int(refuted["refutation_verdict"].sel(at))] == row["verdict"]
    assert refuted["refutation"].sel(at).item() == row["refutation"]
    smd = diagnostics.differences(refuted)
    assert len(smd) == int(np.isfinite(refuted["smd_before"].values).sum()) > 0
    section = diagnostics.section(refuted)
    assert [figure.title for figure in section.figures] == ["Attempts to refute", "Balance of the arms"]
    assert diagnostics.section(survey_cube().drop_vars("overlap")) is None
