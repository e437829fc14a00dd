"""Effects by profiles: real people as twins, against the world's truth, a loop over people, and many draws."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import xarray as xr
from population import Population, Whimsical

from acecausal.comparison.compare import compare, differences, shared
from acecausal.cube import schema
from acecausal.cube.files import countries_of, open_cube, values_of, write_cube
from acecausal.errors import AceError, CubeError, DataError
from acecausal.estimation.estimate import estimate
from acecausal.simulation.surveys import draw
from acecausal.simulation.truth import ESTIMANDS, truth
from acecausal.simulation.world import World
from acecausal.survey.codebook import Codebook
from acecausal.survey.data import Survey
from align.elicitation.backends import InProcess
from align.elicitation.elicit import elicit
from align.elicitation.profiles import FEWEST, Casting, Profiles
from align.elicitation.profiles import draw as drawn
from align.models.load import load_model
from align.prompting.prompts import compose
from align.prompting.wordings import Wording
from align.scoring.scorer import Scorer

FORWARD, REVERSED = Wording(), Wording(order="reversed")


@cache
def world() -> World:
    """Age moves all attributes and all answers to the same side, and the first attribute the second: without age an
    effect looks larger than it is, and the three estimands differ."""
    made = World.make(attributes=2, values=5, options=(2, 2, 3, 2, 2), heterogeneity=0.3, effect=0.05, seed=1)
    up = [np.sign(part[:, :, 1:].sum(axis=2)) for part in made.main]
    wide = replace(
        made, on_age=np.array([0.2, 0.15]), on_previous=np.array([0, 0.25]), on_answer_age=0.09 * up[0],
        main=tuple(np.abs(part) * up[0][..., None] for part in made.main),
    )  # fmt: skip
    codes, share = wide.people
    high = wide.high_share(np.zeros(len(codes), dtype=int), codes)
    assert ((high > 0) & (high < 1)).all()
    assert share.min() > 0
    return wide


@cache
def sample() -> Survey:
    return draw(world(), 20000, 0)


@cache
def people(estimand: str) -> xr.Dataset:
    return estimate(sample(), estimand=estimand)


def asked(human: xr.Dataset, profiles: Profiles | None, backend=None, wordings=(FORWARD,)) -> xr.Dataset:
    return elicit(backend or Whimsical(), human, wordings=wordings, checks=False, profiles=profiles)


def everybody(result: dict) -> dict:
    (found,) = [g["effect"] for g in result["groups"] if (g["by"], g["key"]) == ("granularity", "0")]
    return found


@pytest.mark.parametrize("estimand", ESTIMANDS)
def test_perfect_model__skill_and_slope_are_one(estimand):
    """Truth: the world's law, by enumeration; 20,000 people, 400 profiles. Without profiles age is not held fixed.

    Tolerances: skill and slope are those of the true effects against the same people, .03 for the draw; what 20,000
    people are off by moves all of them by .15. The model's own effects are the world's within four of their standard
    errors and .004, what the shares of 20,000 are off by.
    """
    human, backend, true = people(estimand), Population(world()), truth(world(), estimand=estimand)
    model = asked(human, Profiles(sample(), 400), backend)
    exact = model.assign({name: true[name] for name in ("shift", "effect")})
    found, best = compare(human, model), compare(human, exact)
    for name in ("skill", "slope"):
        assert everybody(found)[name] == pytest.approx(1, abs=0.15)
        assert everybody(found)[name] == pytest.approx(everybody(best)[name], abs=0.03)
        assert found["effect"][name] == pytest.approx(best["effect"][name], abs=0.03)
    assert found["effect"]["cells"] == compare(human, asked(human, None, backend))["effect"]["cells"]
    assert differences(human, model) == []
    off = np.abs(model["effect"] - true["effect"]).values - 4 * model["effect_se"].values
    assert np.nanmax(off) < 0.004
    before = everybody(compare(human, asked(human, None, backend)))
    if estimand != "association":
        assert before["skill"] < 0.5
        assert before["slope"] > 1.2


def test_total__what_follows_is_not_stated():
    """The first attribute moves the second: asked for its total effect, nobody is told the second."""
    backend = Population(world())
    asked(people("total"), Profiles(sample(), 50), backend)
    told = [prompt.splitlines()[-1] for prompt in backend.prompts if "aged" in prompt]
    assert any("gender" in line and "education" in line for line in told)  # the second one's twins
    assert any("gender" in line and "education" not in line for line in told)
    assert not any("education" in line and "gender" not in line for line in told)


# --- everybody: a loop over people ------------------------------------------------------------------------------------


@cache
def few() -> Survey:
    """Weights, gaps in everything, three levels, an attribute outside the lattice, a combination of four people."""
    made = World.make(countries=2, attributes=3, levels=(2, 3, 2), values=2, options=(2, 4), seed=3)
    survey, rng = draw(made, 700, 1, weights=True, nonresponse=0.1), np.random.default_rng(0)
    gaps = {name: np.where(rng.random(1400) < 0.05, -1, codes) for name, codes in survey.attributes.items()}
    age = np.where(rng.random(1400) < 0.05, np.nan, survey.covariates["age"])
    for country in (0, 1):
        rare = (survey.country == country) & (gaps["gender"] == 1) & (gaps["education"] == 2)
        gaps["education"][np.flatnonzero(rare)[4:]] = -1
    return replace(survey, attributes=gaps, covariates={"age": age})


@cache
def people_of_few(estimand: str) -> xr.Dataset:
    return estimate(few(), attributes=["gender", "education"], estimand=estimand)


def by_a_loop(human: xr.Dataset, survey: Survey, country: int, value: int, contrast: int, context: dict[str, int]):
    """Shift and people behind it, person by person; who counts and what is told is written out for this survey."""
    estimand, backend = human.attrs["estimand"], Whimsical()
    treatment, levels = ("gender", (0, 1)) if contrast == 0 else ("education", (0, contrast))
    names = [n for n in ("gender", "education", "residence", "age") if n in held(estimand)[treatment] or n == treatment]
    other = {"gender": "education", "education": "gender"}[treatment]
    columns = {n: (survey.covariates if n == "age" else survey.attributes)[n].tolist() for n in names}
    asked_of = (survey.country == country) & (survey.values[f"value{value}"] >= 0)
    known = {i: {n: columns[n][i] for n in names} for i in np.flatnonzero(asked_of).tolist()}
    known = {i: told for i, told in known.items() if all(x >= 0 for x in told.values())}
    size = Counter((told.get(other), told[treatment]) for told in known.values())
    where, question = countries_of(human)[country], values_of(human)[value]
    arms: list[list[tuple[float, np.ndarray]]] = [[], []]
    for i, mine in known.items():
        thin = estimand != "association" and min(size[mine.get(other), x] for x in levels) < 5
        if thin or any(mine[n] != x for n, x in context.items()):
            continue
        for arm, level in enumerate(levels):
            if estimand == "association" and mine[treatment] != level:
                continue
            told = {**mine, treatment: level}
            words = ", ".join(f"aged {x:.0f}" if n == "age" else f"of {n} {x:.0f}" for n, x in told.items())
            prompt = compose(where, question, words, FORWARD)
            arms[arm].append((survey.weight[i], backend.law(prompt)))
    if not all(arms):
        return None, 0
    low, high = (np.average([r for _, r in arm], axis=0, weights=[w for w, _ in arm]) for arm in arms)
    return high - low, min(map(len, arms))


def held(estimand: str) -> dict[str, tuple[str, ...]]:
    """What the simulated graph holds fixed: age moves all, education residence."""
    if estimand == "association":
        return {"gender": ("education",), "education": ("gender",)}
    rest = ("residence",) if estimand == "direct" else ()
    return {"gender": ("education", "age", "residence"), "education": ("gender", "age", *rest)}


@pytest.mark.parametrize("estimand", ESTIMANDS)
def test_everybody__is_a_loop_over_people(estimand):
    """Oracle: an enumeration of the survey's people, weights, gaps and thin combinations by hand. atol 1e-9."""
    human, survey = people_of_few(estimand), few()
    model = asked(human, Profiles(survey, 10**6))
    checked = compared = 0
    for country, value, contrast in ((0, 0, 0), (1, 1, 0), (0, 1, 1), (1, 0, 2)):
        other, levels = ("education", 3) if contrast == 0 else ("gender", 2)
        for context in ({}, *({other: level} for level in range(levels))):
            persona = ",".join(f"{name}=level{level}" for name, level in context.items()) or "all"
            cell = model.isel(country=country, value=value, attribute=contrast).sel(persona=persona)
            shift, n = by_a_loop(human, survey, country, value, contrast, context)
            checked += 1
            if n < FEWEST:
                assert int(cell["status"]) == schema.TOO_FEW
                continue
            np.testing.assert_allclose(cell["shift"].values[: len(shift)], shift, atol=1e-9)
            assert float(cell["effect"]) == pytest.approx(shift @ schema.scores(len(shift)), abs=1e-9)
            compared += 1
    assert checked == 4 + 4 + 3 + 3
    assert compared == checked - 3
    assert "effect_se" not in model  # one wording, and nothing left to chance


# --- draws: error and interval ----------------------------------------------------------------------------------------


@cache
def many_draws(number: int) -> tuple[np.ndarray, ...]:
    """Effects in the context all and one other, their errors and intervals, over 80 seeds; and those of everybody."""
    human = people_of_few("direct").isel(country=[0], value=[0], option=slice(2))
    one = estimate(few(), attributes=["gender", "education"], countries=["country0"], values=["value0"])
    np.testing.assert_array_equal(one["n"], human["n"])
    at = {"persona": ["all", "gender=level1"]}
    found = [asked(one, Profiles(few(), number, seed)).sel(at) for seed in range(60)]
    arrays = (np.stack([cube[name].values for cube in found]) for name in ("effect", "effect_se", "effect_interval"))
    return (*arrays, asked(one, Profiles(few(), 10**6)).sel(at)["effect"].values)


def test_draws__errors_are_as_large_as_they_are_said_to_be():
    """Oracle: 80 draws about the effect of everybody. Mean square of z within 1 +- .25, 95 % intervals hold 92 to 98 %
    of 5 x 80 effects (not all independent); three times as many profiles have a third of the variance, +- 30 %."""
    spread = {}
    for number in (60, 180):
        effect, se, interval, true = many_draws(number)
        there = np.isfinite(true)
        z = ((effect - true) / se)[:, there]
        assert (z**2).mean() == pytest.approx(1, abs=0.25)
        assert abs(z.mean()) < 0.15
        low, high = interval[..., 0], interval[..., 1]
        assert 0.92 < ((low <= true) & (true <= high))[:, there].mean() < 0.98
        spread[number] = ((effect - true) ** 2)[:, there].mean()
    assert spread[60] / spread[180] == pytest.approx(3, rel=0.3)


def test_interval__people_and_wordings():
    """Closed form: of two wordings half their difference, of draws the error of the mean of the two; Welch's degrees.

    With everybody taken the wordings alone are left: one degree of freedom, 12.706 standard errors. atol 1e-12.
    """
    human, survey = people_of_few("direct"), few()
    both = asked(human, Profiles(survey, 10**6), wordings=(FORWARD, REVERSED))
    one, other = (
        asked(human, Profiles(survey, 10**6), wordings=(way,))["effect"].values for way in (FORWARD, REVERSED)
    )
    np.testing.assert_allclose(both["effect"], (one + other) / 2, atol=1e-12)
    np.testing.assert_allclose(both["effect_se"], np.abs(one - other) / 2, atol=1e-12)
    half = (both["effect_interval"].values[..., 1] - both["effect"].values) / both["effect_se"].values
    np.testing.assert_allclose(half[np.isfinite(half)], 12.706204736, rtol=1e-8)
    part = asked(human, Profiles(survey, 100), wordings=(FORWARD, REVERSED))
    between = (
        np.abs(
            np.diff(
                [asked(human, Profiles(survey, 100), wordings=(w,))["effect"].values for w in (FORWARD, REVERSED)],
                axis=0,
            )
        )[0]
        / 2
    )
    assert (part["effect_se"].values[np.isfinite(between)] > between[np.isfinite(between)]).all()
    half = (part["effect_interval"].values[..., 1] - part["effect"].values) / part["effect_se"].values
    assert (half[np.isfinite(half)] < 12.706).all()
    assert (half[np.isfinite(half)] > 1.96).all()


def test_draw__by_weight_nested_and_by_seed():
    """Oracle: expected counts n w / sum w; chi-square of 20 cells below its .999 quantile (43.8)."""
    weight = np.random.default_rng(0).uniform(0.2, 3, 20)
    times, whole = drawn(weight, 19, 5)
    assert not whole
    many = sum(drawn(weight, 19, seed)[0] for seed in range(400))
    expected = 400 * 19 * weight / weight.sum()
    assert ((many - expected) ** 2 / expected).sum() < 43.8
    assert (times != drawn(weight, 19, 6)[0]).any()
    assert (drawn(weight, 18, 5)[0] <= times).all()
    assert drawn(weight, 20, 5)[1]


# --- the same numbers, however it is run ------------------------------------------------------------------------------


def test_numbers__do_not_depend_on_company_nor_rows():
    """Exact: a value alone, and the rows in another order where people have ids."""
    survey, human = few(), people_of_few("direct")
    model = asked(human, Profiles(survey, 50))
    one = estimate(survey, attributes=["gender", "education"], values=["value1"], countries=["country1"])
    alone = asked(one, Profiles(survey, 50)).isel(country=0, value=0)
    same = model.sel(country="country1", value="value1")
    np.testing.assert_array_equal(alone["effect"], same["effect"])
    np.testing.assert_array_equal(alone["effect_se"], same["effect_se"])
    named = replace(survey, identity=np.random.default_rng(1).permutation(len(survey)).astype(np.uint64))
    order = np.random.default_rng(2).permutation(len(survey))
    columns = {n: getattr(named, n)[order] for n in ("country", "weight", "stratum", "psu", "identity")}
    groups = {n: {k: x[order] for k, x in getattr(named, n).items()} for n in ("attributes", "values", "covariates")}
    turned = replace(named, **columns, **groups)
    first, second = (asked(human, Profiles(one, 50)) for one in (named, turned))
    np.testing.assert_allclose(first["effect"], second["effect"], atol=1e-12)
    assert np.nanmax(np.abs(first["effect"].values - model["effect"].values)) > 1e-3


def test_numbers__do_not_depend_on_batches(tiny_model):
    """A random model in tries of any size, and in plain batches: atol 1e-5, single precision."""
    model, tokenizer = load_model(tiny_model)
    human = people_of_few("direct").isel(country=[0], value=[0])
    one = estimate(few(), attributes=["gender", "education"], countries=["country0"], values=["value0"])
    np.testing.assert_array_equal(one["n"], human["n"])
    scorers = [Scorer(model), Scorer(model, budget=300), Scorer(model, method="batch")]
    found = [asked(one, Profiles(few(), 12), InProcess(model, tokenizer, scorer))["shift"].values for scorer in scorers]
    assert np.nanmax(np.abs(found[0])) > 1e-3
    for other in found[1:]:
        np.testing.assert_allclose(found[0], other, atol=1e-5)


# --- nobody is told on ------------------------------------------------------------------------------------------------


def test_cube__holds_nothing_of_anybody(tmp_path):
    """No word that only a profile has, in no text of the cube."""
    human, survey, backend = people_of_few("direct"), few(), Whimsical()
    model = asked(human, Profiles(survey, 40), backend)
    assert any("aged 30" in prompt for prompt in backend.prompts)
    write_cube(model, tmp_path / "model.zarr")
    kept = open_cube(tmp_path / "model.zarr")
    texts = [str(kept.attrs), *(str(kept[name].values.tolist()) for name in kept.coords)]
    assert not [text for text in texts if "aged " in text or "of residence" in text]
    assert model.attrs["profiles_prompts"] > 0


def test_effects__of_fewer_than_ten_people_are_missing():
    """Oracle: the people drawn, counted by context and, for association, by arm; all that are there have errors."""
    survey, counts = few(), {"direct": set(), "association": set()}
    for estimand, number in (("direct", 24), ("association", 48), ("association", 60)):
        human, profiles = people_of_few(estimand), Profiles(survey, number, 1)
        model = asked(human, profiles)
        for t, treatment, context in ((0, "gender", "education"), (1, "education", "gender")):
            drawn_people = Casting(profiles, human).draw(1, 0, treatment)
            for level in (0, 1):
                here = (survey.attributes[context][drawn_people.rows] == level) & drawn_people.met[1]
                arms = [here & (drawn_people.level == x) for x in (0, 1)] if estimand == "association" else [here]
                n = min(arm.sum() for arm in arms)
                cell = model.isel(country=1, value=0, attribute=t).sel(persona=f"{context}=level{level}")
                assert int(cell["status"]) == (schema.OK if n >= FEWEST else schema.TOO_FEW)
                assert bool(np.isfinite(cell["effect_se"])) == (n >= FEWEST)
                counts[estimand].add(int(n))
    for found in counts.values():
        assert min(found) in range(1, FEWEST)
        assert max(found) >= FEWEST


def test_min_share__holds_for_profiles_too():
    """Property: a context below it has no effect, and an arm for association; the others have."""
    for estimand in ("direct", "association"):
        human = estimate(few(), attributes=["gender", "education"], estimand=estimand, min_share=0.4)
        rare = ~np.isfinite(human["share"].values)[:, None] & (human["status"].values == schema.OK)
        status = asked(human, Profiles(few(), 10**6))["status"].values
        assert rare.any()
        assert (status[rare] == schema.TOO_FEW).all()
        assert (status == schema.OK).any()


# --- compare ----------------------------------------------------------------------------------------------------------


def test_compare__knows_whose_profiles_they_were(tmp_path):
    """Kept through files for the cube that was asked about; for another one reckoned from personas, and said."""
    human, survey = people_of_few("direct"), few()
    model = asked(human, Profiles(survey, 200))
    write_cube(human, tmp_path / "human.nc")
    write_cube(model, tmp_path / "model.nc")
    human, model = open_cube(tmp_path / "human.nc"), open_cube(tmp_path / "model.nc")
    _, kept = shared(human, model.isel(country=[1]))
    np.testing.assert_array_equal(kept["effect"], model["effect"].isel(country=[1]))
    assert differences(human, model) == []
    told = model.ace.table()
    assert (told["conf.low"] < told["estimate"]).all()
    assert "p.value" not in told
    assert len(model.ace.table("option")) > len(told)
    plain = asked(human, None)
    assert differences(human, plain) == [
        "not held fixed in the model, since no persona states it (elicit --profiles asks as real people): age, "
        "residence (gender, education)"
    ]
    other = people_of_few("total")
    assert "since its profiles were of another cube of people: " in differences(other, model)[0]
    found = shared(other, model)[1]
    assert "effect_interval" not in found
    np.testing.assert_array_equal(found["effect"], shared(other, plain)[1]["effect"])


def rewritten(survey: Survey, **covariates) -> Survey:
    raw = survey.codebook.model_dump()
    return replace(survey, codebook=Codebook.model_validate(raw | {"covariates": covariates}))


def test_phrase__without_one_it_is_said_or_refused():
    age = {"column": "age", "label": "age"}
    wordless, human = rewritten(few(), age=age), people_of_few("direct")
    backend = Whimsical()
    model = asked(human, Profiles(wordless, 50), backend)
    assert not any("aged" in prompt for prompt in backend.prompts)
    assert differences(human, model) == [
        "not held fixed in the model, since the codebook has no phrase for it: age (gender, education)"
    ]
    whole = estimate(few())  # here personas state everything but age
    with pytest.raises(AceError, match=r"(?s)no more than personas do.*no phrase for age.*aged \{value\}"):
        asked(whole, Profiles(wordless, 50))


def test_profiles__of_the_attribute_s_own_column_nothing_contradicts_it():
    """Bands of age are contrasted, and age in years is a covariate: an old twin is not told to be 20."""
    made = World.make(attributes=2, values=1, seed=0)
    survey = draw(made, 800, 0)
    raw = survey.codebook.model_dump()
    raw["attributes"]["gender"]["column"] = "age"
    same = replace(survey, codebook=Codebook.model_validate(raw))
    casting = Casting(Profiles(same, 50), estimate(same))
    assert not any("aged" in text for text in casting.draw(0, 0, "gender").personas.ravel())
    assert all("aged" in text and "gender" in text for text in casting.draw(0, 0, "education").personas.ravel())


def test_wrong__one_message_each():
    human, survey = people_of_few("direct"), few()
    with pytest.raises(AceError, match="profiles: out of range"):
        Profiles(survey, FEWEST - 1)
    with pytest.raises(AceError, match="seed: out of range"):
        Profiles(survey, 20, -1)
    with pytest.raises(CubeError, match="does not say what its effects hold fixed"):
        asked(human.drop_vars("share"), Profiles(survey, 20))
    gender = np.where(np.arange(len(survey)) < 20, -1, survey.attributes["gender"])
    for other in (replace(survey, attributes=survey.attributes | {"gender": gender}), draw(world(), 700, 1)):
        with pytest.raises(DataError, match="is not what people's cube was estimated from"):
            asked(human, Profiles(other, 20))


def test_order_agreement__is_of_the_effects_by_profiles():
    """Oracle: the definition, over effects of each order asked alone. atol 1e-12."""
    human, survey = people_of_few("direct"), few()
    both = asked(human, Profiles(survey, 60), wordings=(FORWARD, REVERSED))
    a, b = (asked(human, Profiles(survey, 60), wordings=(way,))["effect"].values for way in (FORWARD, REVERSED))
    expected = np.nansum(a * b) / ((np.nansum(a * a) + np.nansum(b * b)) / 2)
    assert both.attrs["order_agreement"] == pytest.approx(expected, abs=1e-12)
    assert both.attrs["model_effect"] == "like for like, by profiles"
    assert json.loads(both.attrs["profiles_of"])["estimand"] == "direct"
