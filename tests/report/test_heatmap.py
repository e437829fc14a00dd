"""The heat map writes every estimate, what is not significant pale."""

from __future__ import annotations

import re

from report_cubes import drawn_texts, survey_cube

from acecausal.report import drawing as d
from acecausal.report import facts, heatmap, words


def test_heatmap__insignificant_cells_are_there_and_pale():
    human = survey_cube(2)
    frame = facts.effects(human, value=[0], persona=[0])
    rows = heatmap.rows(frame, words.Names(human), human, across="contrast")
    texts = drawn_texts(d.fill(heatmap.chart(3, 0.1, 100, 720, lines=2), rows=rows))
    shown = {text for fill, text in texts if re.fullmatch(r"[+−-]?\d\.\d\d", text)}
    assert shown == {f"{x:+.2f}".replace("-", "−") for x in frame["estimate"].dropna()}
    pale = [text for fill, text in texts if "--muted" in fill and re.fullmatch(r"[+−-]\d\.\d\d", text)]
    assert len(pale) == int((frame["q_value"] >= 0.05).sum()) > 0
