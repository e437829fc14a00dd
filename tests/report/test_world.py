"""The world map finds countries by code and by name."""

from __future__ import annotations

from report_cubes import survey_cube

from acecausal.report import facts, words, world


def test_world__countries_by_code_and_name():
    human = survey_cube(4).assign_coords(country=["NOR", "the United States", "xx", "gb"])
    human["country_label"] = ("country", ["Norway", "US", "Nowhere", "Britain"])
    frame = facts.effects(human, attribute=[0], value=[0], persona=[0])
    rows, lost = world.rows(frame, human, words.Names(human).countries)
    assert lost == ["Nowhere"]
    assert [round(row["latitude"]) for row in rows] == [64, 40, 54]
    assert world.figure(human.assign_coords(country=list("abcd")).isel(country=[2]), 0, 0) is None
