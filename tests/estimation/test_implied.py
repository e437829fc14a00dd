"""Who the people of a persona are: implied shares and drift, against counting row by row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from acecausal.estimation.estimate import estimate
from acecausal.estimation.sample import take
from acecausal.simulation.ratings import draw_ratings
from acecausal.simulation.world import World
from acecausal.survey.data import Survey


def counted(survey: Survey, country: str, persona: str, checked: str) -> float:
    """Weighted share among the rows whose attributes are all known, of those that the persona describes."""
    frame = pd.DataFrame(survey.attributes)
    frame["w"] = survey.weight
    frame = frame[survey.country == survey.country_names.index(country)]
    levels = {name: list(spec.levels) for name, spec in survey.codebook.attributes.items()}
    frame = frame[(frame[list(levels)] >= 0).all(axis=1)]
    for part in persona.split(",") if persona != "all" else []:
        name, level = part.split("=")
        frame = frame[frame[name] == levels[name].index(level)]
    name, level = checked.split("=")
    return float(frame.w[frame[name] == levels[name].index(level)].sum() / frame.w.sum())


def test_implied__weighted_shares(ess, ess_cube):
    """ESS has weights and missing attributes. atol 1e-12."""
    for country in ess_cube["country"].values:
        for persona in ess_cube["persona"].values:
            for checked in ess_cube["checked"].values:
                found = float(ess_cube["implied"].sel(country=country, persona=persona, checked=checked))
                assert found == pytest.approx(counted(ess, country, persona, checked), abs=1e-12)
    assert np.ptp(ess.weight) > 0.1


def test_drift__is_of_the_other_attributes(ess_cube):
    """By hand: implied of women less implied of men; the levels of gender themselves are missing."""
    implied, drift = ess_cube["implied"], ess_cube["drift"].sel(attribute="gender:female")
    moved = implied.sel(persona="gender=female") - implied.sel(persona="gender=male")
    other = ~ess_cube["checked"].str.startswith("gender=").values
    np.testing.assert_allclose(drift[:, other], moved[:, other], atol=1e-15)
    assert np.isnan(drift[:, ~other]).all()
    assert np.abs(drift[:, other]).max() > 0.01


def test_implied__a_rater_counts_once_however_many_ratings():
    """Oracle: shares over the distinct raters. Half of the ratings are taken out, unevenly."""
    world = World.make(countries=1, attributes=2, levels=(2, 3), values=1, options=(2,))
    whole = draw_ratings(world, 150, 40, 12, 1, slope=0.05)
    survey = take(whole, np.random.default_rng(0).random(len(whole)) < np.linspace(0.1, 0.9, len(whole)))
    raters = pd.DataFrame(survey.attributes).assign(who=survey.respondent).drop_duplicates("who")
    implied = estimate(survey)["implied"].isel(country=0).sel(persona="all").values
    shares = np.concatenate([np.bincount(raters[name]) / len(raters) for name in survey.attributes])
    np.testing.assert_allclose(implied, shares, atol=1e-12)
    rows = np.concatenate([np.bincount(codes) / len(codes) for codes in survey.attributes.values()])
    assert np.abs(implied - rows).max() > 1e-3  # ratings are not raters
