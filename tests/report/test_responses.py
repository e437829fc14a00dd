"""The bars of answers are the cube's shares."""

from __future__ import annotations

import json

import numpy as np
import pytest
from report_cubes import make_value, survey_cube

from acecausal.cube.files import Value
from acecausal.report import explorer, finding, responses, words


def test_responses__draw_the_cubes_shares():
    """Segments have the shares' widths; an ordinal bar is balanced around its middle, a nominal one starts at 0."""
    human = survey_cube()
    frame = responses.table(human, 1, 0, [0, 2])
    rows = responses.rows(frame, ["everyone", "some"], 3, "ordinal")
    share = human["response"].values[0, 1, [0, 2], :3]
    np.testing.assert_allclose([row["high"] - row["low"] for row in rows], share.ravel(), atol=1e-12)
    np.testing.assert_allclose([rows[i]["low"] for i in (0, 3)], -(share[:, 0] + share[:, 1] / 2), atol=1e-12)
    turns = [tuple(row[name] for name in ("colour", "opacity")) for row in rows[:3]]
    assert turns[0][1] == turns[2][1] > turns[1][1]  # the ends of a scale are as strong as each other
    several = responses.paint(9, "nominal")
    assert len(set(several)) == 9
    assert several[0][0] != several[1][0] != several[2][0]
    nominal = responses.rows(frame, ["everyone", "some"], 3, "nominal")
    assert [nominal[i]["low"] for i in (0, 3)] == [0, 0]
    even = responses.rows(responses.table(human, 0, 0, [0]), ["everyone"], 4, "ordinal")
    assert even[1]["high"] == pytest.approx(0, abs=1e-12)  # four options: zero lies between the second and the third


def test_responses__of_numbers_are_their_means():
    """Oracle: mean = low + (high - low) times the share of the upper end; bars start at the lowest number."""
    warm = Value("warm", "How warm?", "topic", "continuous", ("-50 points", "150 points"), (), (-50.0, 150.0), "points")
    human = survey_cube(values=[warm, make_value(1, options=3)])
    frame = responses.table(human, 0, 1, [0, 2])
    share = human["response"].values[1, 0, [0, 2], 1]
    np.testing.assert_allclose(frame["mean"], -50 + 200 * share, atol=0.05)
    rows = responses.rows(frame, ["everyone", "some"], 1, "continuous")
    assert [row["low"] for row in rows] == [0, 0]
    np.testing.assert_allclose([row["high"] for row in rows], share, atol=1e-12)
    assert [row["text"] for row in rows] == [f"{mean:,.15g}" for mean in frame["mean"]]
    names = words.Names(human)
    assert names.moved(0, -0.0523) == "−10.5 points"
    assert names.moved(1, 0.1) == ""
    largest = human.sel(persona="all").isel(country=0, attribute=0, value=0)
    said = finding._largest(human.sel(persona="all"), names, (0, 0, 0), sure=True)
    assert f", {names.moved(0, float(largest['effect']))}, on “How warm?”" in said
    data = json.loads(str(explorer.content(human, {})))
    assert data["labels"]["range"] == [[-50, 150, "points", 1], None]
    assert data["labels"]["bars"] == [["mean, in points"], ["option 1", "option 2", "option 3"]]
