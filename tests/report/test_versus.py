"""Models beside people: every edge both have, skills as compare has them, equity on values asked everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from report_cubes import make_value, model_cube, survey_cube

from acecausal.comparison.compare import compare
from acecausal.cube import schema
from acecausal.report import skills, versus, words


def test_versus__every_edge_both_have():
    human = survey_cube()
    frame = versus.pairs(human, model_cube(human, 1.0).isel(country=[1, 0]))
    assert len(frame) == int(np.isfinite(human["effect"]).sum())
    assert frame["std_error"].is_monotonic_increasing
    at = dict(zip(schema.EDGE, frame.loc[3, ["country", "contrast", "value", "context"]], strict=True))
    assert frame.loc[3, "model"] == model_cube(human, 1.0)["effect"].sel(at).item()
    assert len(versus.pairs(human, model_cube(human, 1.0).isel(country=[1]))) < len(frame)


def test_versus__lines_stay_in_the_square():
    for slope in (0.3, -4.0, 0.0):
        ends = [(row["estimate"], row["model"]) for row in versus.lines(slope, -0.2, 0.2) if row["line"] == "slope"]
        for x, y in ends:
            assert y == pytest.approx(slope * x)
            assert max(abs(x), abs(y)) <= 0.2 + 1e-12
    assert [row["line"] for row in versus.lines(None, -1, 1)] == ["same", "same"]


def test_skills__are_those_of_compare():
    human = survey_cube(3)
    models = {"one": model_cube(human, 0.2), "two": model_cube(human, 0.9)}
    comparisons = {label: compare(human, model) for label, model in models.items()}
    frame = skills.table(comparisons)
    groups = comparisons["two"]["groups"]
    assert len(frame) == 2 * 2 * len(groups)
    last = frame[(frame["model"] == "two") & (frame["part"] == "effect")]
    np.testing.assert_array_equal(
        last["skill"], [np.nan if g["effect"]["skill"] is None else g["effect"]["skill"] for g in groups]
    )


def test_equity__on_values_asked_everywhere():
    """Oracle: compare on those values alone; the gap is that of the best and the worst group."""
    human = survey_cube(3, [make_value(i) for i in range(3)])
    human["n"].values[1, 2] = 0  # nobody in one country was asked the third
    model = model_cube(human, 0.6)
    table = skills.equity(human, {"m": model}, {"m": compare(human, model)})
    fair = compare(human.isel(value=[0, 1]), model.isel(value=[0, 1]))["groups"]
    skill = {g["key"]: g["level"]["skill"] for g in fair if g["by"] == "country"}
    (row,) = [row for row in table.rows if row[1:3] == ["country", "levels"]]
    best, worst = max(skill, key=skill.get), min(skill, key=skill.get)
    assert row[3:5] == [best, worst]
    assert row[7] == words.plain(skill[best] - skill[worst], 3)
    assert row[-1] == "2"
