"""popfidelity: its own measures (`oracles/levels.py` made the numbers), round trips, and tables that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from exchange_files import aligned, noisy_model
from oracles import ORACLES

from acecausal.comparison.distance import distribution_distance
from acecausal.errors import DataError
from acecausal.estimation.estimate import estimate
from acecausal.exchange import export_cube, import_cube
from acecausal.exchange.choices import Choices
from acecausal.exchange.popfidelity import merged_order
from acecausal.simulation.surveys import simulate
from acecausal.simulation.world import World


def test_levels__popfidelity_measures():
    """Oracle: popfidelity 0.1.2 (`oracles/levels.py` made the numbers). atol 1e-12."""
    found = json.loads((ORACLES / "levels.json").read_text(encoding="utf-8"))
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
        ("a|x,q,no,0.75,40", "a|x,q,no, never,0.75,40", "more cells than the header"),
        ("0.75,40", "0.7_5,40", "share is no number"),
        ("40", "4_0", "n is no number"),
        ("share,n", "share,share", "a column stands twice"),
        ("a|x,q,yes", '"a|x"x,q,yes', "cannot be read"),
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


# --- what facets.yaml and questions.yaml say --------------------------------------------------------------------------


def specs(folder: Path, **changed) -> None:
    """Rewrite facets.yaml or questions.yaml by functions of their content."""
    for name, change in changed.items():
        path = folder / f"{name}.yaml"
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")


def test_pattern__says_which_part_is_which(imported, tmp_path):
    """Oracle: the cube that was written. Neither the order of families nor that of the parts decides."""
    export_cube("popfidelity", imported.cube, tmp_path / "a")

    def turn(facets):
        facets["families"].reverse()

    def swap(facets):
        pattern = r"^(?P<education>[^|]+)\|(?P<country>[^|]+)\|(?P<gender>[^|]+)$"
        facets["labels"]["pattern"] = pattern

    specs(tmp_path / "a", facets=turn)
    back = import_cube("popfidelity", tmp_path / "a").cube
    assert back["treatment"].values.tolist() == ["education", "gender"]
    for contrast in imported.cube["attribute"].values:
        at = {"attribute": contrast, "persona": "all"}
        np.testing.assert_array_equal(
            back["baseline"].sel(attribute=contrast), imported.cube["baseline"].sel(attribute=contrast)
        )
        np.testing.assert_allclose(back["effect"].sel(at), imported.cube["effect"].sel(at), rtol=0, atol=1e-12)
    cells = tmp_path / "a" / "survey_cells.csv"
    table = pd.read_csv(cells, keep_default_na=False)
    table["cell_id"] = ["|".join((e, c, g)) for c, g, e in table["cell_id"].str.split("|")]
    table.to_csv(cells, index=False)
    with pytest.raises(DataError, match="no level of education in its place"):
        import_cube("popfidelity", tmp_path / "a")
    specs(tmp_path / "a", facets=swap)
    np.testing.assert_allclose(
        import_cube("popfidelity", tmp_path / "a").cube["effect"], back["effect"], rtol=0, atol=1e-12
    )
    specs(tmp_path / "a", facets=lambda facets: facets.pop("labels"))
    with pytest.raises(DataError, match="in its place"):
        import_cube("popfidelity", tmp_path / "a")


def test_levels__their_order_is_that_of_facets(imported, tmp_path):
    """The first level listed is the baseline, whatever stands first in the table."""
    export_cube("popfidelity", imported.cube, tmp_path / "a")
    cells = tmp_path / "a" / "survey_cells.csv"
    table = pd.read_csv(cells, keep_default_na=False)
    table.iloc[::-1].to_csv(cells, index=False)
    back = import_cube("popfidelity", tmp_path / "a").cube
    assert back["attribute"].values.tolist() == ["gender:Female", "education:College"]
    assert back["option_label"].sel(value="work.v1", option=[1, 2, 3]).values.tolist() == ["Not", "A bit", "Very"]
    np.testing.assert_allclose(aligned(back, imported.cube)["effect"], imported.cube["effect"], rtol=0, atol=1e-12)


def test_missing_and_derived_levels(imported, tmp_path):
    export_cube("popfidelity", imported.cube, tmp_path / "a")
    cells = tmp_path / "a" / "survey_cells.csv"
    text = cells.read_text(encoding="utf-8")
    extra = "".join(f"japan|NA|College,v2,{o},{s},30,survey\n" for o, s in (("No", 0.5), ("Partly", 0.5), ("Yes", 0)))
    cells.write_text(text + extra, encoding="utf-8")
    found = import_cube("popfidelity", tmp_path / "a")
    assert found.noted["answers of cells with a level that is missing (left out)"] == 1
    np.testing.assert_array_equal(aligned(found.cube, imported.cube)["n"], imported.cube["n"])

    def derive(facets):
        facets["families"][2] = {"name": "school", "levels": ["no", "yes"]}
        rule = {"from": "education", "map": {"No_College": "no", "College": "yes"}}
        facets["labels"]["derive"] = {"school": rule}

    specs(tmp_path / "a", facets=derive)
    back = import_cube("popfidelity", tmp_path / "a").cube
    assert back["attribute"].values.tolist() == ["gender:Female", "school:yes"]
    np.testing.assert_allclose(
        back["effect"].sel(persona="all"), aligned_all(imported.cube, back)["effect"], rtol=0, atol=1e-12
    )


def aligned_all(cube, like):
    """Effects in the context all, values in the other cube's order."""
    return cube.sel(persona="all", value=like["value"].values, country=like["country"].values)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("facets", lambda x: x["labels"].update(pattern="(?P<country>"), "no regular expression"),
        ("facets", lambda x: x["labels"].update(pattern="(?P<country>(a+)+)"), "without repeated groups"),
        ("facets", lambda x: x["labels"].update(pattern="(?P<country>.*)"), "where a family stands"),
        ("facets", lambda x: x["families"][1].update(levels=["Male", "Male"]), "levels of gender"),
        ("facets", lambda x: x["families"][1].update(name="country"), "names of families"),
        ("facets", lambda x: x["families"][1].update(levels=["Male"]), "no level of gender"),
        ("facets", lambda x: x.update(labels=[1]), "labels is no mapping"),
        ("facets", lambda x: x.update(schema_version=2), "of another version"),
        ("questions", lambda x: x["questions"][0].update(ordinal="maybe"), "ordinal is neither"),
        ("questions", lambda x: x["questions"].append(x["questions"][0]), "the question stands twice"),
        ("questions", lambda x: x["questions"][0].update(options=["a", "a"]), "options are not as"),
        ("questions", lambda x: x["questions"][0].update(text=["a"]), "text is no text"),
        (
            "questions",
            lambda x: x["questions"][2].update(
                options=[{"label": o, "position": k} for k, o in enumerate(("Not", "Very", "A bit"), -2)][::-1]
            ),
            "positions do not increase",
        ),
    ],
)
def test_specs__what_is_wrong(imported, tmp_path, name, change, says):
    export_cube("popfidelity", imported.cube, tmp_path / "a")
    specs(tmp_path / "a", **{name: change})
    with pytest.raises(DataError, match=says) as caught:
        import_cube("popfidelity", tmp_path / "a")
    assert ".yaml" in str(caught.value) or "survey_cells.csv" in str(caught.value)


def test_specs__yaml_is_texts_each_key_once(imported, tmp_path):
    """An option NO is no boolean, a level 1.0 no number; a doubled key is an error, and so is anything too deep."""
    export_cube("popfidelity", imported.cube, tmp_path / "a")
    path = tmp_path / "a" / "questions.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("'No'", "No").replace("'Yes'", "Yes").replace("'10'", "10"), encoding="utf-8")
    back = import_cube("popfidelity", tmp_path / "a").cube
    assert back["option_label"].sel(value="v2").values.tolist()[:3] == ["No", "Partly", "Yes"]
    for wrong, says in (
        (text.replace("  ordinal: true", "  ordinal: true\n  ordinal: false", 1), "stands twice"),
        (text + "[" * 20000, "not valid YAML"),
        ("? [a]\n: b\n", "not valid YAML"),
    ):
        path.write_text(wrong, encoding="utf-8")
        with pytest.raises(DataError, match=says):
            import_cube("popfidelity", tmp_path / "a")
    path.unlink()
    noted = import_cube("popfidelity", tmp_path / "a").noted
    assert noted["questions that no questions.yaml describes (their options are in the order of the rows)"] == 4
    noted = import_cube("popfidelity", tmp_path / "a", Choices(attributes=("country", "gender", "education"))).noted
    assert noted["files facets.yaml that were not read (--attributes names the parts of cell_id)"] == 1


def test_options__order_from_rows_that_may_be_left_out():
    """By hand: a list without its empty option fits in; contradictions and open choices have no order."""
    assert merged_order([["1", "2", "4", "5"], ["1", "2", "3", "4", "5"]]) == ["1", "2", "3", "4", "5"]
    assert merged_order([["lo", "mid", "hi"], ["hi", "mid", "lo"]]) is None
    assert merged_order([["a", "b"], ["a", "c"]]) is None
    assert merged_order([["only"]]) == ["only"]
