"""Check questions: how attributes are asked, and people's implied shares against counting by hand."""

from __future__ import annotations

import json

import numpy as np

from acecausal.cube.check_questions import DRAFTED, check_values, people_implied
from acecausal.cube.lattice import Attribute, Lattice, Level

GENDER = Attribute(
    "gender", "gender", (Level("m", "men", "a man", "A man"), Level("w", "women", "a woman", "A woman")), "m",
    "Are you a man or a woman?",
)  # fmt: skip
AGE = Attribute("age", "age", tuple(Level(n, n, f"of {n} age") for n in ("young", "middle", "old")), "middle")


def test_check_values__worded_and_drafted():
    gender, age = check_values(Lattice.over([GENDER, AGE], 1))
    assert (gender.name, gender.question, gender.scale) == ("gender", "Are you a man or a woman?", "binary")
    assert gender.options == ("A man", "A woman")
    assert (age.question, age.scale) == (DRAFTED, "nominal")
    assert age.options == ("of young age", "of middle age", "of old age")


def test_json__keeps_the_questions_and_older_ones_are_drafted():
    lattice = Lattice.over([GENDER, AGE])
    assert Lattice.from_json(lattice.to_json()) == lattice
    raw = json.loads(lattice.to_json())
    for attribute in raw["attributes"]:  # as it was written before there were check questions
        del attribute["question"]
        for level in attribute["levels"]:
            del level["answer"]
    older = check_values(Lattice.from_json(json.dumps(raw)))
    assert [value.question for value in older] == [DRAFTED, DRAFTED]
    assert older[0].options == ("a man", "a woman")


def test_people_implied__by_hand():
    """Five people, weights 1, 2, 3, 4 and 10, the last of unknown age: he counts nowhere."""
    codes = np.array([[0, 0], [0, 2], [1, 2], [1, 2], [0, -1]])
    lattice = Lattice.over([GENDER, AGE])
    assert lattice.checked == ("gender=m", "gender=w", "age=young", "age=middle", "age=old")
    found = dict(zip(lattice.personas, people_implied(lattice, codes, np.array([1.0, 2, 3, 4, 10])), strict=True))
    np.testing.assert_allclose(found["all"], [0.3, 0.7, 0.1, 0, 0.9])
    np.testing.assert_allclose(found["gender=m"], [1, 0, 1 / 3, 0, 2 / 3])
    np.testing.assert_allclose(found["age=old"], [2 / 9, 7 / 9, 0, 0, 1])
    assert np.isnan(found["age=middle"]).all()  # nobody is
    assert np.isnan(found["gender=w,age=young"]).all()


def test_people_implied__of_what_was_never_asked_there():
    lattice = Lattice.over([GENDER, AGE])
    found = people_implied(lattice, np.array([[0, -1], [1, -1], [1, -1]]), np.ones(3))
    np.testing.assert_allclose(found[0, :2], [1 / 3, 2 / 3])
    assert np.isnan(found[:, 2:]).all()
