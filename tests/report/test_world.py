"""The world map finds countries by code and by name."""

from __future__ import annotations

from report_cubes import survey_cube

from acecausal.report import facts, words, world


def named(names: list[str], labels: list[str]):
    human = survey_cube(len(names)).assign_coords(country=names)
    human["country_label"] = ("country", labels)
    return human


def test_world__countries_by_code_and_name():
    labels = ["Norway", "US", "Nowhere", "the United Kingdom"]
    human = named(["NOR", "the United States", "xx", "gb"], labels)
    frame = facts.effects(human, attribute=[0], value=[0], persona=[0])
    rows, lost = world.rows(frame, human, words.Names(human).countries)
    assert lost == ["Nowhere"]
    assert [round(row["latitude"]) for row in rows] == [64, 40, 54]
    assert world.figure(human.assign_coords(country=list("abcd")).isel(country=[2]), 0, 0) is None


def test_world__states_are_not_countries():
    """Georgia is a state here, CA is California, DE is Delaware, and IN is Indiana: none of them is abroad."""
    states = named(["Alabama", "Georgia", "Texas"], ["Alabama", "Georgia", "Texas"])
    by_code = named(["CA", "DE", "IN"], ["California", "Delaware", "Indiana"])
    bare = named(["CA", "DE", "IN"], ["CA", "DE", "IN"])
    for cube in (states, by_code):
        assert world.places(cube) == [None] * 3
        assert world.figure(cube, 0, 0) is None
    assert None not in world.places(bare)  # nothing says that these are no countries
