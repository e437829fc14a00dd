"""What the report says in sentences agrees with the numbers it says it of."""

from __future__ import annotations

import numpy as np
import pytest
from report_cubes import model_cube, survey_cube, with_heed
from scipy import stats

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


@pytest.mark.parametrize("q", [0.001, 0.9])
def test_sentences__of_one_country_do_not_place_the_largest_effect(q):
    """There is no other that it could be in."""
    human = survey_cube(1)
    human["q_value"] = human["q_value"] * 0 + q
    (said,) = [sentence for sentence in finding.sentences(human) if sentence.startswith("The largest")]
    assert " is in " not in said
    assert said.startswith("The largest effect that is more than noise:" if q < 0.05 else "The largest estimate, which")
    assert ",:" not in said


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
    square = float((part["effect"] ** 2 - part["effect_se"] ** 2)[:, 0].mean())
    assert finding.typical_effects(human)["gender"][0] == pytest.approx(square, rel=1e-12)
    size, low, high = finding.root(*finding.typical_effects(human)["gender"])
    assert size == pytest.approx(np.sqrt(max(square, 0.0)), rel=1e-12)
    assert low <= size <= high


def test_mean_square__monte_carlo():
    """Oracle: 20,000 draws of normal estimates of known true effects: mean without bias, standard error that of the
    draws within 5 %, and 95 % intervals that hold the truth in 93 to 97 of 100."""
    rng = np.random.default_rng(0)
    truth, se = rng.normal(0, 0.05, 60), rng.uniform(0.01, 0.03, 60)
    found = np.array([finding.mean_square(truth + se * rng.normal(size=60), se) for _ in range(20_000)])
    assert found[:, 0].mean() == pytest.approx((truth**2).mean(), rel=0.01)
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.05)
    low, high = found[:, 0] - 1.96 * found[:, 1], found[:, 0] + 1.96 * found[:, 1]
    assert 0.93 < ((low < (truth**2).mean()) & ((truth**2).mean() < high)).mean() < 0.97


def test_sentences__name_the_attribute_and_say_how_sure_the_order_is():
    human = survey_cube(3)
    squares = finding.typical_effects(human)
    (first, second) = squares
    said = finding.sentences(human)
    label = words.Names(human).attributes[first]
    size, low, high = (f"{number:.2f}" for number in finding.root(*squares[first]))
    apart = (squares[first][0] - squares[second][0]) / np.hypot(squares[first][1], squares[second][1])
    sure = 100 * stats.norm.cdf(apart)
    verb = "moves" if sure >= 90 else "may move"
    assert said[0] == (
        f"{words.capital(label)} {verb} answers most: by {size} of the 0..1 score ({low} to {high}), as the root mean "
        "square of its effects."
    )
    assert f"is {f'{sure:.0f} %' if sure < 99 else 'more than 99 %'} certain" in said[1]
    assert any(f": {name} “" in said[2] for name in ("gender", "schooling"))
