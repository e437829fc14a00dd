"""Forest plots draw the cube's numbers on one axis, and say why where there are none."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from report_cubes import drawn_texts, make_value, model_cube, survey_cube

from acecausal.comparison.pooling import pooled
from acecausal.report import drawing as d
from acecausal.report import facts, forest, svg


def test_forest__panels_of_a_figure_share_their_axis():
    human = survey_cube(3)
    figure = forest.figure(human, 0, {}, contrasts=np.arange(3), countries=np.arange(3))
    domains = {
        json.dumps(layer["encoding"]["x"].get("scale"))
        for panel in figure.panels
        for layer in panel.wide["layer"]
        if "scale" in layer["encoding"].get("x", {}) and "domain" in layer["encoding"]["x"]["scale"]
    }
    assert len(domains) == 1
    pooled_rows = [row for row in figure.numbers.rows if row[0] == "pooled"]
    assert len(pooled_rows) == 3


def test_forest__cuts_the_prediction_interval_at_a_shared_axis():
    """Oracle: on an axis from -1 to 1, an interval that goes further is a dashed line over the plot but its padding."""
    row = {"estimate": 0.5, "conf_low": 0.4, "conf_high": 0.6, "q_value": 0.01, "why": "", "kind": "one", "y": 0}
    total = row | {"further_low": -9, "further_high": 9, "kind": "pooled", "label": "pooled", "y": 1}
    spec = d.fill(forest.chart(340, 74, (), (-1.0, 1.0)), rows=[row | {"label": "A"}, total])
    (dashed,) = re.findall(r"<line([^>]*stroke-dasharray[^>]*)>", svg.render(spec, "x" * 30))
    left, width = re.search(r"translate\(([-\d.]+),", dashed)[1], re.search(r'x2="([-\d.]+)"', dashed)[1]
    assert sorted([float(left), float(left) + float(width)]) == pytest.approx([8, 208], abs=0.5)


def test_forest__by_question_draws_one_contrast_country_by_country():
    human = survey_cube(3, [make_value(i) for i in range(3)])
    model = model_cube(human, 0.5)
    order = np.array([2, 0])
    figure = forest.by_question(human, 1, {"m": model}, values=order, countries=np.array([0, 2]))
    for panel, country in zip(figure.panels, ("C0", "C2"), strict=True):
        for row, value in zip(panel.wide["datasets"]["rows"], ("v2", "v0"), strict=True):
            cell = {"country": country, "value": value, "persona": "all", "attribute": human["attribute"].values[1]}
            assert (row["country"], row["value"]) == (country, value)
            assert row["m0"] == model["effect"].sel(cell).item()
            effect = human["effect"].sel(cell).item()
            assert row["estimate"] == effect or (row["estimate"] is None and np.isnan(effect))
    assert "Shown: 2 of 3 countries" in figure.how


def test_forest__draws_the_cubes_numbers():
    human = survey_cube(3)
    frame = facts.effects(human, country=[2, 0], attribute=[2], value=[1], persona=[0])
    total = pooled(human).isel(attribute=2, value=1, persona=0)
    texts = [
        text for _, text in drawn_texts(d.fill(forest.chart(720, 100), rows=forest.rows(frame, ["C", "A"], total)))
    ]
    for country in (2, 0):
        cell = human.isel(country=country, attribute=2, value=1, persona=0)
        low, high = cell["effect_interval"].values
        written = f"{cell['effect'].item():+.2f} [{low:+.2f}, {high:+.2f}]".replace("-", "−")
        assert written in [re.sub(r"\s+", " ", text) for text in texts]
    mean = f"{total['effect'].item():+.2f} [{total['lower'].item():+.2f}, {total['upper'].item():+.2f}]"
    assert mean.replace("-", "−") in [re.sub(r"\s+", " ", text) for text in texts]
    assert texts.index("C") < texts.index("A") < texts.index("pooled")


@pytest.mark.parametrize("domain", [None, (-0.05, 0.08)])
def test_forest__writes_intervals_whole_where_it_draws_them_cut(domain):
    row = {"estimate": 0.02, "conf_low": -0.5, "conf_high": 0.54, "q_value": 0.9, "why": "", "kind": "one", "y": 0}
    spec = d.fill(forest.chart(720, 100, (), domain), rows=[row | {"label": "A"}])
    assert "+0.02  [−0.50, +0.54]" in [text.replace("\xa0", " ") for _, text in drawn_texts(spec)]


def test_forest__says_why_there_is_nothing():
    human = survey_cube(2)
    frame = facts.effects(human, attribute=[0], value=[0], persona=[0]).assign(status="too_few", estimate=np.nan)
    texts = [text for _, text in drawn_texts(d.fill(forest.chart(720, 100), rows=forest.rows(frame, ["A", "B"])))]
    assert texts.count("too few people in an arm") == 2
