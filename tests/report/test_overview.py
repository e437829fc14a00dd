"""The overview: sizes and slopes are those by hand, and what is not sure looks so."""

from __future__ import annotations

import numpy as np
import pytest
from report_cubes import model_cube, survey_cube, with_heed

from acecausal.report import overview


def test_overview__only_what_is_sure_is_coloured():
    human = survey_cube(2)
    human["q_value"] = human["q_value"].where(human["q_value"].isnull(), 0.5)
    rows = overview.figure(human, {}).panels[0].wide["datasets"]["rows"]
    assert {row["first"] for row in rows} == {False}
    assert {row["sure"] for row in rows} == {0}


def test_overview__sizes_and_slopes_by_hand():
    human = survey_cube(2)
    model = model_cube(human, 0.5)
    frame = overview.table(human, {"m": model}).set_index(["country", "attribute"])
    part, other = human.sel(persona="all"), model.sel(persona="all")
    for c, country in enumerate(human["country"].values):
        for name in ("gender", "school"):
            chosen = (part["treatment"] == name).values
            e, s, m = (a.values[c, chosen] for a in (part["effect"], part["effect_se"], other["effect"]))
            there = np.isfinite(e)
            excess = (e[there] ** 2 - s[there] ** 2).mean()
            row = frame.loc[country, name]
            assert row["people"] == pytest.approx(np.sqrt(max(excess, 0)), rel=1e-12)
            assert row["effects"] == there.sum()
            if excess > 0:
                slope = (e * m)[there].sum() / (e**2 - s**2)[there].sum()
                assert row["m0"] == pytest.approx(slope * row["people"], rel=1e-12)
            else:
                assert np.isnan(row["m0"])
            assert row["r0"] == pytest.approx(np.sqrt((m[there] ** 2).mean()), rel=1e-12)


def test_overview__what_a_model_does_not_take_in_is_marked():
    """Known: the model heeds gender, and one of the two contrasts of school too little."""
    human = survey_cube(2)
    heeding = with_heed(model_cube(human, 0.5), {"gender:female": 0.5, "school:middle": 0.9, "school:high": 0.49})
    figure = overview.figure(human, {"a": model_cube(human, 0.5), "after": heeding})
    heads = {row["attribute"]: "".join(row["name"]) for row in figure.panels[0].wide["datasets"]["rows"]}
    assert "†" in heads["school"]
    assert "†" not in heads["gender"]
    assert "† not taken in by after:" in figure.caption
    assert "†" not in overview.figure(human, {"a": model_cube(human, 0.5)}).caption


def test_overview__a_pale_mark_where_people_give_nothing_to_follow():
    human = survey_cube(2)
    human["effect_se"] = human["effect_se"].where(human["treatment"] != "gender", 9.0)
    figure = overview.figure(human, {"a": model_cube(human, 0.5), "b": model_cube(human, 0.2)})
    drawn = figure.panels[0].wide
    rows = [row for row in drawn["datasets"]["rows"] if row["attribute"] == "gender"]
    assert all(row["m0"] is None and row["r0"] > row["r1"] > 0 for row in rows)
    marks = [layer["encoding"]["opacity"]["value"] for layer in drawn["layer"] if layer["mark"].get("shape")]
    assert marks == [0.4, 0.4, 1, 1]
