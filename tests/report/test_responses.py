"""The bars of answers are the cube's shares."""

from __future__ import annotations

import numpy as np
import pytest
from report_cubes import survey_cube

from acecausal.report import responses


def test_responses__draw_the_cubes_shares():
    """Segments have the shares' widths; an ordinal bar is balanced around its middle, a nominal one starts at 0."""
    human = survey_cube()
    frame = responses.table(human, 1, 0, [0, 2])
    rows = responses.rows(frame, ["everyone", "some"], 3, "ordinal")
    share = human["response"].values[0, 1, [0, 2], :3]
    np.testing.assert_allclose([row["high"] - row["low"] for row in rows], share.ravel(), atol=1e-12)
    np.testing.assert_allclose([rows[i]["low"] for i in (0, 3)], -(share[:, 0] + share[:, 1] / 2), atol=1e-12)
    nominal = responses.rows(frame, ["everyone", "some"], 3, "nominal")
    assert [nominal[i]["low"] for i in (0, 3)] == [0, 0]
    even = responses.rows(responses.table(human, 0, 0, [0]), ["everyone"], 4, "ordinal")
    assert even[1]["high"] == pytest.approx(0, abs=1e-12)  # four options: zero lies between the second and the third
