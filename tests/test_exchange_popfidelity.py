"""popfidelity: its own measures (`oracles/levels.py` made the numbers), round trips, and tables that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from exchange_files import aligned, noisy_model

from acecausal.comparison import distribution_distance
from acecausal.errors import DataError
from acecausal.estimation import estimate
from acecausal.exchange import export_cube, import_cube
from acecausal.exchange.choices import Choices
from acecausal.simulate import World, simulate


def test_levels__popfidelity_measures():
    """Oracle: popfidelity 0.1.2 (`oracles/levels.py` made the numbers). atol 1e-12."""
    found = json.loads((Path(__file__).parent / "oracles" / "levels.json").read_text(encoding="utf-8"))
    assert found["made_by"] == {"popfidelity": "0.1.2"}
    for case in found["cases"]:
        people, model = np.array(case["people"]), np.array(case["model"])
        for name, scale in (("nemd", "ordinal"), ("total_variation", "nominal")):
            ours = distribution_distance(people, model, people.shape[1], scale)
            np.testing.assert_allclose(ours, case[name], rtol=0, atol=1e-12)


def test_cells__round_trip(plain, imported, tmp_path):
    for number, cube in enumerate((plain, imported.cube)):
        folder = tmp_path / str(number)
        lost = export_cube("popfidelity", cube, folder)
        assert lost[0].startswith("personas that specify less")
        table = pd.read_csv(folder / "survey_cells.csv", keep_default_na=False)
        assert table.columns.tolist() == ["cell_id", "question", "option", "share", "n", "source"]
        sums = table.groupby(["question", "cell_id"])["share"].sum()
        np.testing.assert_allclose(sums, 1, atol=1e-12)
        back = aligned(import_cube("popfidelity", folder).cube, cube)
        np.testing.assert_array_equal(back["n"].values, cube["n"].values)
        np.testing.assert_allclose(back["response"].values, cube["response"].values, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(back["scale"].values, cube["scale"].values)
        np.testing.assert_array_equal(back["question"].values, cube["question"].values)
        np.testing.assert_allclose(back["shift"].values, cube["shift"].values, rtol=0, atol=1e-12)


def test_cells__of_a_model_and_of_a_cut_lattice(plain, tmp_path):
    model = noisy_model(plain)
    lost = export_cube("popfidelity", model, tmp_path / "m")
    assert "shifts and effects" in lost
    table = pd.read_csv(tmp_path / "m" / "model_cells.csv")
    assert table["source"].unique().tolist() == ["model"]
    survey, _ = simulate(World.make(attributes=3, levels=(2, 2, 3), values=1, options=3), respondents=400)
    cut = estimate(survey, estimand="association", depth=2)
    export_cube("popfidelity", cut, tmp_path / "cut")
    back = aligned(import_cube("popfidelity", tmp_path / "cut").cube, cut)
    np.testing.assert_allclose(back["response"].values, cut["response"].values, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("cell_id,question", "cell,question", "columns are missing"),
        ("0.25", "nan", "a share is none"),
        ("0.25", "x", "share is no number"),
        ("0.25", "0.5", "do not sum to 1"),
        ("a|x,q,no,0.75,40", "a|x,q,no,0.75,41", "n differs within a cell"),
        ("a|x,q,no", "a|x,q,yes", "lists the option twice"),
        ("b|x,", "b,", "another number of parts"),
        ("40", "4.5", "no number of people"),
        ("a|x,q,no,0.75,40", "a|x,q", "is too short"),
    ],
)
def test_cells__what_is_wrong(tmp_path, old, new, says):
    path = tmp_path / "cells.csv"
    text = "cell_id,question,option,share,n\na|x,q,yes,0.25,40\na|x,q,no,0.75,40\nb|x,q,yes,0.5,60\nb|x,q,no,0.5,60\n"
    text += "a|z,q,yes,0.5,60\na|z,q,no,0.5,60\n"
    choices = {"attributes": ("first", "second"), "country": "Utopia"}
    path.write_text(text)
    assert import_cube("popfidelity", path, Choices(**choices)).cube["n"].sel(persona="first=a") == 100
    with pytest.raises(DataError, match="--country"):
        import_cube("popfidelity", path, Choices(attributes=("first", "second")))
    with pytest.raises(DataError, match="--attributes"):
        import_cube("popfidelity", path, Choices(country="Utopia"))
    path.write_text(text.replace(old, new))
    with pytest.raises(DataError, match=says) as caught:
        import_cube("popfidelity", path, Choices(**choices))
    assert "cells.csv" in str(caught.value)


def test_cells__sources(tmp_path):
    path = tmp_path / "cells.csv"
    rows = ["cell_id,question,option,share,source"]
    for source, share in (("survey", 0.25), ("M1", 0.5)):
        rows += [f"{cell},q,{o},{s},{source}" for cell in "ab" for o, s in (("yes", share), ("no", 1 - share))]
    path.write_text("\n".join(rows))
    choices = {"attributes": ("g",), "country": "Utopia", "respondents": 40}
    assert import_cube("popfidelity", path, Choices(**choices)).cube["response"].values[0, 0, 1, 0] == 0.25
    other = import_cube("popfidelity", path, Choices(**choices, source="M1")).cube
    assert other["response"].values[0, 0, 1, 0] == 0.5
    with pytest.raises(DataError, match="which source"):
        import_cube("popfidelity", path, Choices(**choices, source="M2"))
    with pytest.raises(DataError, match="--respondents"):
        import_cube("popfidelity", path, Choices(**choices | {"respondents": None}))
