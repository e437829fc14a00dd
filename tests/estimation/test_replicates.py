"""Replicate weights against R's svrepdesign: `oracles/replicates.R` made the numbers, R is not needed here.

Oracle: survey 4.1.1 on R 4.2.2 (`oracles/replicates.json`). Tolerance 1e-6, relative to estimates and standard errors.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import worlds
from canada import canadian, hold
from oracles import ORACLES
from oracles.replicates import KINDS, replicated
from scipy import stats

from acecausal.cube import schema
from acecausal.errors import AceError, CodebookError, DataError
from acecausal.estimation.estimate import estimate
from acecausal.estimation.inference import Design
from acecausal.estimation.linear_dml import linear_dml
from acecausal.estimation.plan import make_plan
from acecausal.estimation.replicates import Replicates, replicated_shifts
from acecausal.estimation.sample import Sample
from acecausal.estimation.specification import unweighted
from acecausal.survey.checking import check
from acecausal.survey.codebook import Codebook, load_codebook
from acecausal.survey.data import Survey, from_table, read_survey
from acecausal.survey.replicates import ReplicatesSpec

ORACLE = json.loads((ORACLES / "replicates.json").read_text(encoding="utf-8"))["kinds"]
PERSONAS = {
    "response_all": "all",
    "response_women": "gender=female",
    "response_women_degree": "gender=female,education=degree",
}
EDGE = {"country": "CA", "value": "religion", "attribute": "gender:female"}


@cache
def survey_of(kind: str, **changes: Any) -> Survey:
    frame, told = replicated(kind)
    return from_table(frame.assign(country="CA"), book_of(told | changes))


def book_of(told: dict[str, Any], **more: Any) -> Codebook:
    book = canadian("n_psu").model_dump(exclude_unset=True)
    book = {name: part for name, part in book.items() if name not in ("stratum", "psu", "fpc")}
    return Codebook.model_validate(book | {"replicates": {"columns": "rw*"} | told} | more)


def of_people(kind: str) -> Replicates:
    survey = survey_of(kind)
    plan = make_plan(survey, estimand="association")
    design = Sample.of(survey, plan, 0).design
    assert isinstance(design, Replicates)
    return design


@pytest.mark.parametrize("kind", KINDS)
def test_cube__as_svrepdesign(kind):
    """Oracle: svymean, svyby, svyglm under svrepdesign; degrees of freedom by degf, also of a subset. 1e-6."""
    survey, oracle = survey_of(kind), ORACLE[kind]
    cube = estimate(survey, estimand="association")
    hold(cube, oracle, "CA", "religion", "education:degree", PERSONAS)
    moderation = oracle["moderation_female_by_degree"]
    ratio = moderation["estimate"][0] ** 2 / moderation["covariance"][0][0]
    found = cube["moderation_f"].sel(**EDGE, modifier="education")
    np.testing.assert_allclose(found, ratio, rtol=1e-6)
    design = of_people(kind)
    assert ORACLE.keys() == KINDS.keys()
    np.testing.assert_allclose(design.scale, oracle["scale"])
    women = survey.attributes["gender"] == 1
    there = (women & (survey.values["religion"] >= 0))[:, None]
    assert design.domain_degrees(there, np.arange(len(women))) == [oracle["degrees_of_freedom_women"]]


def test_cube__intervals_have_the_designs_degrees_of_freedom():
    """Oracle: R's degf of the subset of those who answered, and scipy's t. 1e-6. Of many PSUs nothing is corrected."""
    cube = estimate(survey_of("jkn"), estimand="association", depth=1).sel(**EDGE, persona="all")
    half = stats.t.ppf(0.975, ORACLE["jkn"]["degrees_of_freedom"]) * cube["effect_se"]
    np.testing.assert_allclose(np.diff(cube["effect_interval"]).item() / 2, half, rtol=1e-6)
    provenance = json.loads(cube.attrs["design"])
    assert provenance["type"] == "JKn"
    assert provenance["replicates"] == f"{len(provenance['rscales'])}: rw1 to rw{len(provenance['rscales'])}"
    assert "psu" not in provenance


def test_cube__nominal_options_tested_at_once():
    """Oracle: shifts and covariances by R's svycontrast, and the closed form of F on 3 and 31 - 3 + 1. 1e-5."""
    survey, oracle = survey_of("brr"), ORACLE["brr"]
    book = survey.codebook.model_dump(exclude_unset=True)
    book["values"]["religion"]["scale"] = "nominal"
    survey = replace(survey, codebook=Codebook.model_validate(book))
    cube = estimate(survey, estimand="association", depth=1)
    shift, spread = (np.array(oracle["shift_female"][part]) for part in ("estimate", "covariance"))
    wald = shift[:3] @ np.linalg.solve(spread[:3, :3], shift[:3])
    expected = stats.f.sf((31 - 2) / (31 * 3) * wald, 3, 31 - 2)
    np.testing.assert_allclose(cube["p_value"].sel(**EDGE, persona="all"), expected, rtol=1e-5)


def test_linear_dml__fitted_anew_under_each_replicate():
    """Oracle: a whole run for each replicate with its column as the weight, and R's svrVar in two lines. 1e-9."""
    frame, told = replicated("fay")
    frame = frame.assign(country="CA")[[c for c in frame if not c.startswith("rw")] + ["country", *fay_columns()]]
    told = told | {"columns": fay_columns()}
    cube = estimate(from_table(frame, book_of(told)))
    plain = canadian("n_psu").model_dump(exclude_unset=True)
    again = []
    for column in fay_columns():
        book = Codebook.model_validate(
            {k: v for k, v in plain.items() if k not in ("stratum", "psu", "fpc")} | {"weight": {"column": column}}
        )
        again.append(estimate(from_table(frame, book)))
    ok = (cube["status"] == schema.OK).values
    assert ok.sum() == 6
    for name, se in (("effect", "effect_se"), ("shift", "shift_se"), ("response", "response_se")):
        numbers = np.stack([other[name].values for other in again])
        variance = ((numbers - numbers.mean(axis=0)) ** 2).sum(axis=0) / (8 * 0.7**2)
        np.testing.assert_allclose(cube[se], np.sqrt(variance), rtol=1e-9, atol=1e-12, err_msg=name)
    at_levels = [f"education={level}" for level in ("none", "degree")]
    apart = [np.diff(other["effect"].sel(**EDGE, persona=at_levels)).item() for other in (cube, *again)]
    variance = ((np.array(apart[1:]) - np.mean(apart[1:])) ** 2).sum() / (8 * 0.7**2)
    np.testing.assert_allclose(cube["moderation_f"].sel(**EDGE, modifier="education"), apart[0] ** 2 / variance)


def fay_columns() -> list[str]:
    return [f"rw{r}" for r in range(1, 9)]


def test_linear_dml__jackknife_and_linearisation_agree():
    """Oracle: Taylor linearisation of the same design, to which the jackknife is equal to first order. 3 %.

    Effective sizes: of replicates they know what strata gain, of PSUs only what clusters cost. 30 %."""
    frame, _ = replicated("jkn")
    frame = frame.assign(country="CA")
    book = canadian("n_psu").model_dump(exclude_unset=True)
    linear = estimate(from_table(frame, Codebook.model_validate({k: v for k, v in book.items() if k != "fpc"})))
    jackknife = estimate(survey_of("jkn"))
    for name in ("effect_se", "shift_se", "response_se"):
        np.testing.assert_allclose(jackknife[name], linear[name], rtol=0.03, err_msg=name)
    np.testing.assert_array_equal(jackknife["n_psu"], linear["n_psu"])
    np.testing.assert_array_equal(jackknife["n_psu_treated"], linear["n_psu_treated"])
    np.testing.assert_allclose(jackknife["n_eff"], linear["n_eff"], rtol=0.3)


def test_cells__that_a_replicate_empties():
    """A replicate that takes all treated of a cell: the cell keeps its place by its scores, of which the closed form is
    a weighted mean; one that takes all treated people has no number."""
    problem = worlds.problem(n=600, cells=3, values=1, missing=0.0)
    scores = linear_dml(problem)
    weight = problem.weight.copy()
    weight[(problem.cell == 1) & (problem.arm == 1)] = 0
    none = np.where(problem.arm == 1, 0.0, problem.weight)
    there = np.stack([np.ones(600, dtype=bool), problem.cell == 1])
    found = replicated_shifts(problem, scores, np.stack([problem.weight, weight, none], axis=1), there)
    np.testing.assert_allclose(found[0, 0], worlds.average(scores, problem.weight, np.arange(600)), atol=1e-12)
    assert np.isnan(found[1, 1]).all()
    assert np.isnan(found[2]).all()
    refitted = linear_dml(replace(problem, weight=weight)).means[0].numbers
    by_person = np.where((problem.cell == 1)[:, None, None], scores.means[0].numbers, refitted)[:, 0]
    np.testing.assert_allclose(found[1, 0, 0], np.average(by_person, axis=0, weights=weight), rtol=1e-9)


def test_few_psus__degrees_of_freedom():
    """Oracle: of independent people the delete-one jackknife adds both arms' variances up, and has Welch's degrees
    of freedom, (a + b)^2 / (a^2 / (n - 1) + b^2 / (m - 1)). 1e-9."""
    n, m = 12, 30
    weights = np.where(np.eye(n + m, dtype=bool), 0.0, (n + m) / (n + m - 1))
    design = Replicates(np.ones(n + m), weights, (n + m - 1) / (n + m), np.ones(n + m), mse=False)
    arm = (np.arange(n + m) < n).astype(int)
    found = design.effective_degrees(np.arange(n + m), arm, np.zeros(n + m, dtype=int), np.ones(n + m, dtype=bool))
    a, b = 1 / (n - 1), 1 / (m - 1)  # the jackknife of a mean is off by n / (n - 1)
    np.testing.assert_allclose(found, (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1)), rtol=1e-9)


def test_few_psus__no_number_without_a_second():
    """A level that only people of one PSU have is too few, whatever their number."""
    frame, told = replicated("jkn")
    psu = frame.groupby(["stratum", "psu"]).ngroup()
    largest = psu == psu.value_counts().index[0]
    frame["female"] = largest.astype(int)
    cube = estimate(
        from_table(frame.assign(country="CA"), book_of(told)), estimand="association", min_arm=2, depth=1
    ).sel(persona="all", country="CA", value="religion", attribute="gender:female")
    assert int(cube["n_psu_treated"]) == 1
    assert (int(cube["status"]), int(cube["reason"])) == (schema.TOO_FEW, schema.FEW_PSUS)


def test_unweighted__keeps_the_factors():
    """Without weights the replicates are factors: of balanced half-samples 0 and 2."""
    survey, design = unweighted(survey_of("brr")), of_people("brr")
    assert survey.replicates is not None
    np.testing.assert_allclose(survey.replicates, design.factors)
    assert set(np.round(np.unique(survey.replicates), 9)) == {0.0, 2.0}


@pytest.mark.parametrize("pattern", ["rw*", "RW[0-9]*", ["rw1", "rw[!1]*", "rw1?"]])
def test_columns__by_pattern_in_the_order_of_their_numbers(pattern):
    names = ["rw10", "rw2", "rw1", "weight", "rwt"]
    found = ReplicatesSpec(columns=pattern, type="JK1").found(names, ["rwt"], "file")
    assert found == ("rw1", "rw2", "rw10")


def test_files__read_and_resumed(tmp_path):
    """A CSV file by a pattern, in which the columns stand in another order: the same cube."""
    frame, told = replicated("jkn")
    frame = frame.assign(country="CA")
    columns = sorted(frame.columns)
    frame[columns].to_csv(tmp_path / "people.csv", index=False, float_format="%.17g")
    (tmp_path / "book.yaml").write_text(json.dumps(book_of(told).model_dump(mode="json", exclude_unset=True)))
    survey = read_survey(tmp_path / "people.csv", load_codebook(tmp_path / "book.yaml"))
    np.testing.assert_allclose(survey.replicates, survey_of("jkn").replicates, rtol=1e-15)
    assert "replicate weights" in str(survey)


def test_check__names_replicates_that_a_list_leaves_out(tmp_path):
    """Two of 32 half-samples pass for the halves of one stratum."""
    frame, told = replicated("brr")
    frame.assign(country="CA").to_csv(tmp_path / "people.csv", index=False)
    two = book_of(told | {"columns": ["rw1", "rw2"]})
    said = {f.got for f in check(tmp_path / "people.csv", two) if f.severity == "warning"}
    assert "30 more: rw3 to rw32" in said
    assert not [f for f in check(tmp_path / "people.csv", book_of(told)) if "replicate" in f.what]


def test_check__names_the_columns_of_what_is_refused(tmp_path):
    frame, told = replicated("fay")
    frame.assign(country="CA").to_csv(tmp_path / "people.csv", index=False)
    (found,) = (f for f in check(tmp_path / "people.csv", book_of(told | {"rho": 0.9})) if f.severity == "error")
    assert found.column.startswith("rw1 to rw")


def shuffled(table: pd.DataFrame) -> pd.DataFrame:
    """The weights vary a thousandfold, and the replicates are of other people."""
    spread = np.exp(np.random.default_rng(0).normal(0, 2, len(table)))
    mixed = np.random.default_rng(1).permutation(len(table))
    columns = [c for c in table if c.startswith("rw")]
    numbers = (table[columns].to_numpy() * spread[:, None])[mixed]
    return table.assign(weight=table["weight"] * spread, **dict(zip(columns, numbers.T, strict=True)))


WRONG = {
    "rows": ("missing where the weight is not", lambda t: t.assign(rw3=t["rw3"].where(t.index % 5 > 0))),
    "negative": ("negative", lambda t: t.assign(rw3=t["rw3"] - 3)),
    "short": ("another number of columns", lambda t: t.drop(columns="rw32")),
    "scale": ("no replicates of the weight", lambda t: t.assign(rw7=1000 * t["rw7"])),
    "shuffled": ("no replicates of the weight", shuffled),
    "factors": ("no replicates of the weight", lambda t: t.assign(weight=1000 * t["weight"])),
    "none": ("no column fits", lambda t: t[[c for c in t if not c.startswith("rw")]]),
    "same": ("all the weight itself", lambda t: t.assign(**{f"rw{r}": t["weight"] for r in range(1, 33)})),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong__one_message(case):
    frame, told = replicated("brr")
    words, change = WRONG[case]
    with pytest.raises(DataError, match=words) as caught:
        from_table(change(frame).assign(country="CA"), book_of(told))
    assert str(caught.value).count("\n") <= 3


@pytest.mark.parametrize(
    ("kind", "told", "hint"),
    [
        ("fay", {"type": "BRR"}, "Fay with rho 0.30"),
        ("jk1", {"type": "BRR"}, "jackknife"),
        ("brr", {"type": "JK1"}, "BRR"),
        ("brr", {"type": "Fay", "rho": 0.5}, "Fay with rho|jackknife"),
    ],
)
def test_wrong__type(kind, told, hint):
    frame, _ = replicated(kind)
    with pytest.raises(DataError, match=hint):
        from_table(frame.assign(country="CA"), book_of(told))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"type": "Fay"}, "rho"),
        ({"type": "BRR", "rho": 0.5}, "rho"),
        ({"type": "JKn"}, "rscales"),
        ({"type": "BRR", "scale": 0.1}, "sets its own"),
        ({"type": "other"}, "needs scale"),
        ({"type": "JK1", "rscales": [-1.0, 1.0]}, "negative"),
        ({"type": "JK3"}, "type"),
    ],
)
def test_codebook__wrong(told, words):
    with pytest.raises(ValueError, match=words):
        book_of(told)


def test_codebook__design_and_replicates_at_once(tmp_path):
    for more in ({"psu": {"column": "psu"}}, {"stratum": {"column": "stratum"}}, {"weight": None}):
        text = json.dumps(
            {
                k: v
                for k, v in (book_of({"type": "BRR"}).model_dump(mode="json", exclude_unset=True) | more).items()
                if v
            }
        )
        (tmp_path / "book.yaml").write_text(text)
        with pytest.raises(CodebookError, match="replicates"):
            load_codebook(tmp_path / "book.yaml")


@pytest.mark.parametrize("estimator", ["dr", "forest-dml"])
def test_estimators__that_are_not_fitted_anew(estimator):
    with pytest.raises(AceError, match="replicate weight"):
        make_plan(survey_of("brr"), estimator=estimator)


def test_design__of_simple_random_sampling_is_the_jackknifes():
    """Oracle: the delete-one jackknife of a mean is the usual variance, as `Design` has it. 1e-12."""
    x, n = np.random.default_rng(0).normal(size=50), 50
    weights = np.where(np.eye(n, dtype=bool), 0.0, n / (n - 1))
    design = Replicates(np.ones(n), weights, (n - 1) / n, np.ones(n), mse=True)
    again = (x @ weights / weights.sum(axis=0))[:, None, None]
    variance = design.covariance(again, np.array([[x.mean()]]))[0, 0, 0]
    usual = Design.of(np.zeros(n, dtype=int), np.arange(n)).variance((x - x.mean())[:, None] / n)[0]
    np.testing.assert_allclose(variance, usual, rtol=1e-12)
    assert design.degrees_of_freedom == n - 1
