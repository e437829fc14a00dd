"""Drawings of any kind: the same from the same data, nothing from outside, models told apart."""

from __future__ import annotations

import pytest
from report_cubes import survey_cube

from acecausal.report import drawing as d
from acecausal.report import facts, forest, parts, svg


def test_render__same_data_same_drawing_and_no_outside():
    human = survey_cube()
    rows = forest.rows(facts.effects(human, attribute=[0], value=[0], persona=[0]), ["a", "b"])
    spec = d.fill(forest.chart(340, 100), rows=rows)
    drawn = svg.render(spec, 'a "quoted" <label>')
    assert drawn == svg.render(spec, 'a "quoted" <label>')
    assert "http" not in drawn
    assert 'aria-label="a &quot;quoted&quot; &lt;label&gt;"' in drawn
    assert "var(--accent" in drawn or "var(--muted" in drawn


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_models__can_be_told_apart(n):
    """Marks differ in shape or filling, and the legend shows each of them."""
    shapes = [key[0] for key in parts.model_legend([f"m{i}" for i in range(n)])]
    assert len(set(shapes)) == n
    spec = forest.chart(700, 100, tuple(f"m{i}" for i in range(n)))
    marks = [layer for layer in spec["layer"] if layer["encoding"].get("x", {}).get("field", "").startswith("m")]
    drawn = [(layer["mark"]["shape"], layer["encoding"]["fill"]["value"] == d.PAPER) for layer in marks]
    assert drawn == [(shape.removeprefix("hollow "), shape.startswith("hollow")) for shape in shapes]
    assert [tip["title"] for tip in marks[0]["encoding"]["tooltip"][-n:]] == [f"model m{i}" for i in range(n)]
