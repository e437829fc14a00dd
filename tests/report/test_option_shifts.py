"""Values without an order: every shift that is drawn, listed or said is the cube's, and so is the joint test."""

from __future__ import annotations

import json

import numpy as np
import pytest
from report_cubes import make_value, model_cube, survey_cube

from acecausal.cube import schema
from acecausal.report import facts, finding, option_shifts, paper, words


@pytest.fixture
def cube():
    return survey_cube(1, [make_value(0, scale="nominal", options=3), make_value(1)])


def test_shifts__by_label(cube):
    """Oracle: label selection, option by option; the band is shift_critical standard errors wide. Exact, or 1e-12."""
    model = model_cube(cube, 0.5)
    frame = facts.unordered(cube, {"m": model})
    assert set(frame["value"]) == {"v0"}
    assert len(frame) == 3 * int((cube["status"].sel(value="v0", persona="all") == schema.OK).sum())
    for row in frame.itertuples():
        where = {"country": row.country, "attribute": row.contrast, "value": row.value, "persona": row.context}
        cell, option = cube.sel(where), {"option": row.option}
        assert (row.estimate, row.std_error) == (float(cell["shift"].sel(option)), float(cell["shift_se"].sel(option)))
        assert row.option_label == str(cell["option_label"].sel(option).item())
        assert (row.p_value, row.q_value) == (float(cell["p_value"]), float(cell["q_value"]))
        half = float(cell["shift_critical"]) * row.std_error
        np.testing.assert_allclose(
            [row.band_low, row.band_high], [row.estimate - half, row.estimate + half], rtol=1e-12
        )
        assert row.m0 == float(model["shift"].sel(where | option))
    assert frame.groupby("contrast")["estimate"].sum().abs().max() < 1e-12


def test_figure__of_one_country_by_contrast_of_several_by_country(cube):
    (alone, several) = (
        option_shifts.figure(c, 0, {}) for c in (cube, survey_cube(3, [make_value(0, scale="nominal")]))
    )
    assert [panel.title.rpartition(" (q ")[0] for panel in alone.panels] == [
        "gender: women, against men", "schooling: middle school, against low school",
        "schooling: high school, against low school",
    ]  # fmt: skip
    assert {panel.title.rpartition(" (q ")[0] for panel in several.panels} == {"Country 0", "Country 1", "Country 2"}
    rows = alone.panels[0].wide["datasets"]["rows"]
    assert [row["label"] for row in rows] == ["option 1", "option 2", "option 3"]
    assert all(
        row["conf_low"] == row["band_low"] < row["estimate"] < row["band_high"] == row["conf_high"] for row in rows
    )
    untested = cube.assign(p_value=cube["p_value"] * np.nan)
    assert option_shifts.figure(untested, 0, {}) is None


def test_figure__says_in_the_picture_that_its_lines_are_bands(cube):
    """They are longer than the intervals that `show` and tables give, and pictures are shown without captions."""
    for panel in option_shifts.figure(cube, 0, {}).panels:
        assert "bands hold all at once" in json.dumps(panel.wide["layer"])
        assert all(
            row["conf_high"] - row["estimate"] > 1.97 * row["std_error"] for row in panel.wide["datasets"]["rows"]
        )


def test_sentences__largest_shift_and_what_is_counted(cube):
    part = cube.sel(persona="all", value="v0")
    sure = np.abs(part["shift"].where(part["q_value"] < 0.05))
    assert sure.notnull().any()
    at = np.unravel_index(np.nanargmax(sure.values), sure.shape)
    cell = part.isel(country=at[0], attribute=at[1], option=at[2])
    (said,) = (text for text in finding.sentences(cube) if "no order" in text)
    assert f"“option {at[2] + 1}” by {words.signed(100 * float(cell['shift']), 0)} percentage points" in said
    assert words.Names(cube).instead(int(at[1])) in said
    assert f"all options at once: q {words.small(float(cell['q_value'])).replace('<', '< ')}" in said
    tests = part["q_value"].notnull()
    counted = f"{int((part['q_value'] < 0.05).sum())} of {int(tests.sum())} tests of values without an order"
    assert counted in finding.sentences(cube)[-1]


def test_paper__lists_shifts_beside_effects(cube):
    text = paper.markdown(cube, {})
    assert "## Shifts of answers without an order" in text
    for row in facts.unordered(cube).itertuples():
        assert f"| {words.signed(row.estimate, 3)} |" in text
    lines = paper.table(cube, {}).splitlines()
    assert lines[0].startswith(
        "country,attribute,value,context,option,option_label,estimate,std.error,p.value,conf.low,conf.high"
    )
    edges = int((cube["status"].sel(value="v0") == schema.OK).sum())
    assert sum(",v0," in line for line in lines) == 3 * edges
