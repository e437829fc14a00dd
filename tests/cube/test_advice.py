"""Where there is no number, what is said of it is true and can be done."""

from __future__ import annotations

import numpy as np
import pandas as pd

from acecausal.cube import schema
from acecausal.cube.advice import ADVICE, advice, general
from acecausal.cube.doubts import REASONS
from acecausal.estimation.estimate import estimate


def test_advice__every_reason_has_some():
    assert ADVICE.keys() == REASONS.keys() == set(schema.REASONS) - {"none"}


def test_advice__names_the_thin_level_and_whom_to_merge_it_with(ess, human):
    """Sweden's 15 people without religion: two levels, nothing to merge. Of three the middle one can go to either side,
    the outer ones to one."""
    (swedish,) = [text for text in advice(human) if text.startswith("religion:religious")]
    assert "(Sweden)" in swedish
    assert "15 of none" in swedish
    assert "no third level" in swedish
    table = pd.DataFrame(ess.attributes).assign(culture=ess.values["culture"], country=ess.country)
    known = table[(table >= 0).all(axis=1)]
    counts = known.groupby(["country", "education"]).size().unstack().to_numpy()
    (whole, middle, _), (low, also, high) = counts
    assert low < also < 500 < high
    thin = estimate(ess, attributes="education", values="culture", min_arm=500)
    said = advice(thin)
    assert [text.partition(":")[2].partition(";")[0] for text in said] == [
        f"13_to_15 (NO): too few people in an arm ({low} of up_to_12, {also} of 13_to_15)",
        f"13_to_15 (GB): too few people in an arm ({middle} of 13_to_15, {whole} of up_to_12)",
        f"16_plus (NO): too few people in an arm ({low} of up_to_12, {high} of 16_plus)",
    ]
    assert [text.partition("; ")[2] for text in said] == [
        "merge up_to_12 with the level nearest in meaning in the codebook (beside it: 13_to_15)",
        "merge 13_to_15 with the level nearest in meaning in the codebook (beside it: up_to_12 or 16_plus)",
        "merge up_to_12 with the level nearest in meaning in the codebook (beside it: 13_to_15)",
    ]


def test_general__says_of_one_person_what_helps_of_one_person():
    """Not that there are too few people: a smaller min_arm would mend nothing."""
    said = general(np.array([schema.ONE_PERSON] * 3 + [schema.FEW_PSUS, 0]))
    assert said.index(ADVICE["one_person"]) < said.index(ADVICE["few_psus"])
    assert "min_arm" not in said
    assert general(np.array([0])) == ""
