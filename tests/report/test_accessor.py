"""Tables and forest plots are the cube's numbers, cell by cell; importing acecausal is light."""

from __future__ import annotations

import doctest
import subprocess
import sys

import numpy as np
import pytest
import vl_convert
import xarray as xr
from scipy import stats

import acecausal
from acecausal.comparison.pooling import pooled
from acecausal.cube import schema
from acecausal.cube.functional import effect_functional, effects_of
from acecausal.errors import AceError, CubeError
from acecausal.simulation.truth import truth
from acecausal.simulation.world import World

EFFECT_COLUMNS = [
    *("country", "attribute", "value", "context", "term", "estimate", "std.error", "statistic", "p.value"),
    *("conf.low", "conf.high", "q.value", "n", "n_baseline", "n_treated", "status", "reason"),
]
OPTION_COLUMNS = [
    *("country", "attribute", "value", "context", "term", "option", "option_label", "estimate", "std.error"),
    *("conf.low", "conf.high", "band.low", "band.high", "joint.p.value", "joint.q.value"),
    *("n", "n_baseline", "n_treated", "status", "reason"),
]


@pytest.fixture(scope="module")
def model() -> xr.Dataset:
    return truth(World.make(countries=2, values=2, options=(3, 2)), depth=1)


@pytest.fixture(scope="module")
def two_values(ess_cube) -> xr.Dataset:
    """Two values in two countries; the second is made nominal, so that it has shifts but no effects."""
    cube = ess_cube.isel(value=[0, 1]).copy(deep=True)
    cube["scale"].values[1] = "nominal"
    for name in ("effect", "effect_se", "effect_interval", "p_value", "q_value"):
        cube[name].values[:, :, 1] = np.nan
    return cube


def cell(cube: xr.Dataset, row) -> xr.Dataset:
    labels = {"country": row.country, "attribute": row.attribute, "value": row.value, "persona": row.context}
    return cube.sel(labels)


def test_table__by_loop_over_labels(human):
    """Oracle: label selection from the cube, row by row. Exact; statistic to 1e-12."""
    table = human.ace.table()
    assert list(table.columns) == EFFECT_COLUMNS
    assert len(table) == int((human["status"] == schema.OK).sum()) == 295
    assert set(table["status"]) == {"ok"}
    assert not table[["country", "attribute", "value", "context"]].duplicated().any()
    for row in table.rename(columns=lambda name: name.replace(".", "_")).itertuples():
        at = cell(human, row)
        assert int(at["status"]) == schema.OK
        assert row.term == row.attribute
        numbers = [row.estimate, row.std_error, row.p_value, row.q_value, row.n, row.n_baseline, row.n_treated]
        names = ["effect", "effect_se", "p_value", "q_value", "n_effect", "n_baseline", "n_treated"]
        assert numbers == [at[name].item() for name in names]
        assert [row.conf_low, row.conf_high] == at["effect_interval"].values.tolist()
        assert row.statistic == pytest.approx(row.estimate / row.std_error, rel=1e-12)


def test_table__every_edge(human):
    """Property: as many rows as the lattice has edges in every country, the status in words, estimates only if ok."""
    table = human.ace.table(all_edges=True)
    assert len(table) == 4 * 108
    counts = table["status"].value_counts()
    assert counts.to_dict() == {
        name: int((human["status"] == code).sum())
        for code, name in enumerate(schema.STATUS)
        if name != "not_applicable" and (human["status"] == code).any()
    }
    assert (table["estimate"].notna() == (table["status"] == "ok")).all()


def test_table__by_option(human):
    """Oracle: label selection, option by option; the band is shift_critical standard errors wide, pointwise and
    simultaneous limits hold the estimate. rtol 1e-12."""
    table = human.ace.table("option")
    assert list(table.columns) == OPTION_COLUMNS
    assert len(table) == 3 * 295
    rows = table.rename(columns=lambda name: name.replace(".", "_")).itertuples()
    for row in [row for row in rows if row.Index % 17 == 0]:
        at = cell(human, row).sel(option=row.option)
        assert row.option_label == str(at["option_label"].item())
        assert (row.estimate, row.std_error) == (at["shift"].item(), at["shift_se"].item())
        critical = at["shift_critical"].item()
        assert row.band_low == pytest.approx(row.estimate - critical * row.std_error, rel=1e-12)
        assert row.band_high == pytest.approx(row.estimate + critical * row.std_error, rel=1e-12)
        assert row.band_low < row.conf_low < row.estimate < row.conf_high < row.band_high


def test_table__pointwise_limits_of_shifts(two_values):
    """Oracle: half the effect's interval over its standard error is the critical value of the shifts in the same cell.
    In a cube without degrees of freedom, as they were once, a nominal value takes that of the other value in the cell;
    without any effect it is scipy's normal one. rtol 1e-9.
    """
    two_values = two_values.drop_vars("degrees_of_freedom")
    table = two_values.ace.table("option").rename(columns=lambda name: name.replace(".", "_"))
    table["critical"] = (table["conf_high"] - table["conf_low"]) / 2 / table["std_error"]
    effects = two_values.ace.table().rename(columns=lambda name: name.replace(".", "_"))
    effects["expected"] = (effects["conf_high"] - effects["conf_low"]) / 2 / effects["std_error"]
    first, second = two_values["value"].values
    keys = ["country", "attribute", "context"]
    expected = effects[effects["value"] == first].set_index(keys)["expected"]
    both = table.join(expected, on=keys)
    both = both[both["expected"].notna()]
    assert set(both["value"]) == {first, second}
    np.testing.assert_allclose(both["critical"], both["expected"], rtol=1e-9)
    nominal = two_values.isel(value=[1]).ace.table("option")
    assert len(nominal) > 0
    half = (nominal["conf.high"] - nominal["conf.low"]) / 2
    np.testing.assert_allclose(half / nominal["std.error"], stats.norm.ppf(0.975), rtol=1e-9)
    assert two_values.isel(value=[1]).ace.table()["estimate"].isna().all()


def test_table__options_beyond_a_scale_are_no_rows(model):
    table = model.ace.table("option")
    assert table.groupby("value")["option"].max().tolist() == [3, 2]
    assert table["estimate"].notna().all()


def test_table__a_models_cube_has_fewer_columns(model):
    table = model.ace.table()
    assert list(table.columns) == [*EFFECT_COLUMNS[:6], "status"]
    assert len(table) == int((model["status"] == schema.OK).sum())
    assert list(model.ace.table("option").columns) == [*OPTION_COLUMNS[:8], "status"]


def test_table__a_model_with_intervals_has_no_tests(model):
    """As one that was asked as profiles: intervals of effects and shifts, and neither p nor q."""
    se = xr.full_like(model["effect"], 0.1).where(model["effect"].notnull())
    ends = xr.concat([model["effect"] - 0.2, model["effect"] + 0.2], "bound").transpose(..., "bound")
    sure = model.assign(effect_se=se, effect_interval=ends, shift_se=xr.full_like(model["shift"], 0.1))
    table = sure.ace.table("option")
    np.testing.assert_allclose(table["conf.high"] - table["estimate"], 0.2, rtol=1e-9)
    assert not [name for name in table if name.endswith(".value")]


def test_significant__q_below_and_largest_first(human):
    found = human.ace.significant(0.1)
    assert len(found) == int((human["q_value"] < 0.1).sum())
    assert len(found) > len(human.ace.significant()) == int((human["q_value"] < 0.05).sum()) > 0
    assert (found["q.value"] < 0.1).all()
    size = found["estimate"].abs()
    assert (size.diff().dropna() <= 0).all()
    assert set(np.sign(found["estimate"])) == {-1, 1}
    assert list(found.index) == list(range(len(found)))


def test_pooled__is_that_of_pooling(human):
    xr.testing.assert_identical(human.ace.pooled(3), pooled(human, 3))


def svg_of(chart) -> str:
    return vl_convert.vegalite_to_svg(chart.to_dict(), allowed_base_urls=[])


def test_forest__draws_the_cubes_numbers(human):
    """Oracle: the cube's effects and intervals, and `pooled`. rtol 1e-12. Names and I2 are in the picture's text."""
    chart = human.ace.forest("poverty", "age:45_plus", "gender=female")
    *rows, total = chart.to_dict()["datasets"]["rows"]
    part = human.sel(value="poverty", attribute="age:45_plus", persona="gender=female")
    mean = pooled(human).sel(value="poverty", attribute="age:45_plus", persona="gender=female")
    np.testing.assert_allclose([row["estimate"] for row in rows], part["effect"], rtol=1e-12)
    ends = [[row["conf_low"], row["conf_high"]] for row in rows]
    np.testing.assert_allclose(ends, part["effect_interval"], rtol=1e-12)
    names = {"estimate": "effect", "conf_low": "lower", "conf_high": "upper"}
    names |= {"further_low": "prediction_lower", "further_high": "prediction_upper"}
    for name, of in names.items():
        np.testing.assert_allclose(total[name], mean[of].item(), rtol=1e-12)
    drawn = svg_of(chart)
    for text in (
        "age group: 45 and over, against under 45",
        "women",
        "Sweden",
        "pooled",
        f"I² {100 * mean['i2'].item():.0f} %",
    ):
        assert text in drawn
    assert "var(" not in drawn


def test_forest__says_why_there_is_nothing(human):
    """One country left with an estimate: no diamond, and the others' reasons."""
    few = human.copy(deep=True)
    few["status"].values[1:] = np.where(few["status"].values[1:] == schema.OK, schema.TOO_FEW, few["status"].values[1:])
    few["effect"].values[1:], few["effect_se"].values[1:] = np.nan, np.nan
    rows = few.ace.forest("poverty", "gender:female").to_dict()["datasets"]["rows"]
    assert {row["kind"] for row in rows} == {"one"}
    assert [row["why"] for row in rows] == ["", *["too few people in an arm"] * (few.sizes["country"] - 1)]
    nothing = few.isel(country=[1, 2]).ace.forest("poverty", "gender:female")
    assert "too few people" in svg_of(nothing)


def test_heatmap__draws_the_cubes_numbers(human):
    rows = human.ace.heatmap("degree:degree", "gender=male").to_dict()["datasets"]["rows"]
    part = human["effect"].sel(attribute="degree:degree", persona="gender=male").transpose("country", "value")
    estimates = [np.nan if row["estimate"] is None else row["estimate"] for row in rows]
    np.testing.assert_array_equal(estimates, part.values.ravel())
    assert "among gender: men" in svg_of(human.ace.heatmap("degree:degree", "gender=male"))


def test_lattice__people_and_models(human, model):
    chart = human.ace.lattice("poverty", "Norway")
    arcs = chart.to_dict()["datasets"]["arcs"]
    chosen = next(arc for arc in arcs if (arc["contrast"], arc["context"]) == ("gender:female", "degree=degree"))
    at = {"country": "Norway", "value": "poverty", "attribute": "gender:female", "persona": "degree=degree"}
    assert chosen["estimate"] == human["effect"].sel(at).item()
    assert "45 and over 0." in svg_of(chart)
    value, country = str(model["value"].values[0]), str(model["country"].values[0])
    other = model.ace.lattice(value, country).to_dict()["datasets"]["arcs"]
    edges = model["effect"].sel(value=value, country=country)
    for arc in other:
        expected = edges.sel(attribute=arc["contrast"], persona=arc["context"]).item()
        np.testing.assert_array_equal(np.nan if arc["estimate"] is None else arc["estimate"], expected)


def test_versus__draws_both(human):
    """People's effects, and a model's under people's functional, reckoned from its responses."""
    twin = human.assign_attrs(kind="model").drop_vars(["effect_se"])
    rows = human.ace.versus(twin).to_dict()["datasets"]["rows"]
    assert len(rows) == int(np.isfinite(human["effect"]).sum())
    expected = effects_of(human["response"].values, effect_functional(human), human)["effect"]
    there = np.isfinite(human["effect"].values)
    assert sorted(row["model"] for row in rows) == sorted(expected[there].tolist())
    assert sorted(row["estimate"] for row in rows) == sorted(human["effect"].values[there].tolist())


def test_bad_names__one_message(human, model, two_values):
    with pytest.raises(AceError, match="did you mean 'option'"):
        human.ace.table("options")
    with pytest.raises(AceError, match="value: unknown name"):
        human.ace.forest("trust", "gender:female")
    with pytest.raises(AceError, match=r"attribute: unknown name(.|\n)*did you mean 'gender:female'"):
        human.ace.forest("poverty", "gender:femal")
    with pytest.raises(AceError, match="context: unknown name"):
        human.ace.forest("poverty", "gender:female", "degree=no")
    with pytest.raises(AceError, match="expected: one that leaves gender open"):
        human.ace.forest("poverty", "gender:female", "gender=male")
    with pytest.raises(AceError, match="is nominal"):
        two_values.ace.forest(two_values["value"].values[1], two_values["attribute"].values[0])
    with pytest.raises(AceError, match="q: out of range"):
        human.ace.significant(5)
    with pytest.raises(CubeError, match="got: a model cube"):
        model.ace.significant()
    with pytest.raises(CubeError, match="got: a model cube"):
        model.ace.forest("value0", "a:b")
    with pytest.raises(CubeError, match=r"dimension country: missing(.|\n)*cube.sel\(country="):
        human.sel(country="USA").ace.table()
    with pytest.raises(CubeError, match="not an acecausal cube"):
        xr.Dataset().ace.table()
    with pytest.raises(AceError, match="attribute: unknown name"):
        human.ace.heatmap("gender")
    with pytest.raises(AceError, match="country: unknown name"):
        human.ace.lattice("poverty", "Norwy")
    with pytest.raises(CubeError, match="persona all: missing"):
        human.isel(persona=[1]).ace.lattice("poverty", "Norway")
    with pytest.raises(CubeError, match="model: is a cube of another kind"):
        human.ace.versus(human)


# --- the package ------------------------------------------------------------------------------------------------------


def test_package__is_light_and_its_names_resolve():
    code = (
        "import sys, acecausal\n"
        "assert set(acecausal.__all__) <= set(dir(acecausal))\n"
        "assert not {'numpy', 'xarray', 'pandas'} & set(sys.modules)\n"
        "acecausal.open_cube\n"
        "assert not {'econml', 'dowhy', 'altair', 'sklearn', 'scipy.stats'} & set(sys.modules)\n"
        "import xarray\n"
        "assert hasattr(xarray.Dataset, 'ace')\n"
        "assert all(callable(getattr(acecausal, name)) for name in acecausal.__all__)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_package__names_are_the_modules_functions():
    from acecausal.comparison import compare as comparison
    from acecausal.estimation import estimate as estimation

    assert acecausal.compare is comparison.compare
    assert acecausal.estimate is estimation.estimate
    assert acecausal.pooled is pooled
    with pytest.raises(AttributeError, match="no attribute 'estimat'"):
        acecausal.estimat  # noqa: B018


def test_package__the_docstrings_example_runs():
    names: dict[str, object] = {}
    examples = doctest.DocTestParser().get_examples(acecausal.__doc__)
    assert len(examples) == 5
    for example in examples:
        exec(compile(example.source, "example", "single"), names)
    assert names["cube"].sizes["attribute"] == 2
