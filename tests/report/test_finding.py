"""What the report says in sentences agrees with the numbers it says it of."""

from __future__ import annotations

import numpy as np
import pytest
from report_cubes import model_cube, survey_cube, with_heed

from acecausal.report import finding, words


@pytest.mark.parametrize("sign", [1, -1])
def test_sentences__largest_effect(sign):
    human = survey_cube(3)
    for name in ("effect", "effect_interval", "shift"):
        human[name] = human[name] * sign
    human["effect_interval"] = human["effect_interval"].isel(bound=slice(None, None, sign))
    part = human.sel(persona="all")
    sure = np.abs(part["effect"].where(part["q_value"] < 0.05))
    country, attribute, value = np.unravel_index(np.nanargmax(sure.values), sure.shape)
    said = " ".join(finding.sentences(human))
    cell = part.isel(country=country, attribute=attribute, value=value)
    low, high = (words.signed(float(bound)) for bound in cell["effect_interval"])
    assert f"in Country {country}:" in said
    assert f"by {words.signed(float(cell['effect']))} (95 % interval {low} to {high})" in said
    n_sure, n_all = int((part["q_value"] < 0.05).sum()), int(part["effect"].notnull().sum())
    assert f"{n_sure} of {n_all} estimated effects" in said


@pytest.mark.parametrize(
    ("skill", "slope", "interval", "said"),
    [
        (0.9, 0.9, [0.7, 1.1], "moves much as people do"),
        (0.3, 0.5, [0.2, 0.8], "moves as people do in part"),
        (0.0004, -0.12, [-0.26, 0.01], "does not move as people do"),
        (0.2, -0.1, None, "does not move as people do"),
        (0.6, 1.5, [1.2, 1.8], "moves the same way as people, but further"),
        (3.8, 3.82, None, "cannot be judged well"),
        (0.5, None, None, "cannot be judged well"),
        (None, None, None, "cannot be judged"),
    ],
)
def test_verdicts__agree_with_their_numbers(skill, slope, interval, said):
    result = {"effect": {"skill": skill, "slope": slope, "slope_interval": interval}, "level": {"skill": 0.1}}
    (sentence,) = finding.verdicts({"name": result})
    assert sentence.startswith(f"Model “name” {said}")


def test_wordings__name_what_is_heeded_and_what_is_not():
    human = survey_cube(2)
    heeding = with_heed(model_cube(human, 0.5), {"gender:female": 0.03, "school:middle": 0.9, "school:high": 0.8})
    assert finding.wordings({"plain": model_cube(human, 0.5)}) == []
    line, warning = finding.wordings({"m": heeding})
    assert line == "m: heed: gender:female +0.03, school:middle +0.90, school:high +0.80."
    assert 'm: the model does not take in being "a woman" (heed +0.03): told so' in warning
    assert "school" not in warning


def test_typical_effects__takes_the_noise_off():
    human = survey_cube(3)
    part = human.sel(persona="all")
    size = np.sqrt(max(float((part["effect"] ** 2 - part["effect_se"] ** 2)[:, 0].mean()), 0.0))
    assert finding.typical_effects(human)["gender"] == pytest.approx(size, rel=1e-12)
