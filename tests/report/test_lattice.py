"""The lattice picture joins what the lattice joins, keeps its numbers apart and has tables of what it draws."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
import pytest
from report_cubes import drawn_texts, make_value, model_cube, survey_cube

from acecausal.cube import schema
from acecausal.cube.lattice import Attribute, Lattice, Level
from acecausal.report import lattice_picture


def table_of(table) -> pd.DataFrame:
    """Read the CSV behind a table of the page."""
    return pd.read_csv(io.BytesIO(base64.b64decode(table.csv.split(",")[1])))


def test_lattice__arcs_join_what_the_lattice_joins():
    """Oracle: the labels. An edge's two personas are its context with the baseline, and with the other level."""
    human = survey_cube(2)
    at = lattice_picture.places(human)
    assert at.depth == 2
    dots, arcs = lattice_picture.rows(human, at, 0, 1)
    assert len(arcs) == int((human["status"].values[1, :, 0] != schema.NOT_APPLICABLE).sum())
    persona = {(dot["column"], dot["row"]): dot["persona"] for dot in dots}
    assert len(persona) == len(dots) == human.sizes["persona"]
    for arc in arcs:
        low, high = (persona[arc["column"], arc[end]] for end in ("from", "to"))
        treatment, _, level = arc["contrast"].partition(":")
        context = set(arc["context"].split(",")) - {"all"}
        baseline = human["baseline"].sel(attribute=arc["contrast"]).item()
        assert set(low.split(",")) == context | {f"{treatment}={baseline}"}
        assert set(high.split(",")) == context | {f"{treatment}={level}"}
        cell = {"attribute": arc["contrast"], "persona": arc["context"]}
        np.testing.assert_array_equal(arc["estimate"], human["effect"].isel(country=1, value=0).sel(cell).item())
    score = human["response"].values[1, 0] @ schema.scores(4)
    np.testing.assert_allclose([dot["mean"] for dot in dots], score, atol=1e-12)


def test_lattice__numbers_beside_the_arcs_stay_clear_of_each_other():
    """No two of a column closer than ROOM, and none moved that had room: school's two arcs share their first end."""
    at = lattice_picture.places(survey_cube(2))
    column = at.column[at.edges[:, 2]]
    for one in np.unique(column):
        assert np.diff(np.sort(at.beside[column == one])).min() >= lattice_picture.ROOM - 1e-9
    np.testing.assert_allclose(lattice_picture._apart(np.zeros(3), np.array([5.0, 1.0, 3.0])), [5, 1, 3])
    room = lattice_picture.ROOM
    np.testing.assert_allclose(lattice_picture._apart(np.zeros(2), np.array([1.0, 1.0])), [1 - room / 2, 1 + room / 2])
    np.testing.assert_allclose(lattice_picture._apart(np.arange(2), np.array([1.0, 1.0])), [1, 1])


def test_lattice__its_tables_hold_arcs_and_dots_of_people_and_models():
    human = survey_cube(2)
    model = model_cube(human, 0.5)
    figure = lattice_picture.figure(human, 0, 1, {"m": model})
    arcs = table_of(figure.numbers)
    assert len(figure.panels) == 2
    for row in arcs.itertuples(index=False):
        cell = {"country": row.country, "attribute": row.attribute, "value": row.value, "persona": row.context}
        found = [human["effect"].sel(cell).item(), model["effect"].sel(cell).item()]
        np.testing.assert_allclose([row.estimate, row[-1]], found, rtol=1e-14)
    ((_, dots),) = figure.more
    dots = table_of(dots)
    for cube, column in ((human, "mean score"), (model, "model: m")):
        score = cube["response"].values[1, 0] @ schema.scores(4)
        np.testing.assert_allclose(dots[column], score, rtol=1e-12)
    assert dots["persona"].tolist() == human["persona"].values.tolist()


def test_lattice__large_ones_are_cut_at_whole_granularities():
    many = Lattice.over(
        [Attribute(f"a{i}", f"a{i}", (Level("0", "no", "no"), Level("1", "yes", "yes")), "0") for i in range(6)], 3
    )
    at = lattice_picture.places(survey_cube(1, [make_value(0)], over=many))
    assert (at.depth, len(at.personas)) == (1, 13)  # 6 attributes make 60 personas of two


def test_lattice__static_pictures_do_not_cut_what_has_room():
    """Oracle: 'women' has letters wider than most; the whole is far from as wide as a desk."""
    over = Lattice.over(
        [Attribute("gender", "gender", (Level("m", "MEN", "MEN"), Level("w", "WOMEN", "WOMEN")), "m")], 1
    )
    for panel in lattice_picture.figure(survey_cube(1, [make_value(0)], over=over), 0, 0, {}).panels:
        for spec in (panel.wide, panel.narrow):
            assert not [text for _, text in drawn_texts(spec) if "…" in text]


@pytest.mark.parametrize(("width", "depth"), [(720, 3), (560, 2), (330, 1)])
def test_lattice__as_many_columns_as_have_room(width, depth):
    levels = (Level("0", "no", "no"), Level("1", "yes", "yes"))
    over = Lattice.over([Attribute(name, name, levels, "0") for name in ("smokes", "drinks", "dances")], 3)
    at = lattice_picture.fitting(survey_cube(1, [make_value(0)], over=over), width)
    assert at.depth == depth


def test_lattice__columns_keep_apart_and_within_their_width():
    """Oracle: labels end before their own dots and begin after the arcs before them; long ones are cut alike."""
    for labels, width in (((80, 150, 230), 720), ((80, 900, 900), 720), ((900, 100), 350)):
        room, dots = lattice_picture._columns(labels, width)
        begin = np.array(dots) - lattice_picture.DOT - room
        assert begin[0] >= -0.1  # places are rounded
        assert begin[1] >= dots[0]
        assert all(begin[2:] >= np.array(dots)[1:-1] + lattice_picture.ARCS - 1e-6)
        assert dots[-1] + lattice_picture.ARCS <= width + 1
        assert min(room) > 60
    room = lattice_picture._columns((80, 150, 230), 720)[0]
    assert all(np.array(room) >= [80, 150, 230])
