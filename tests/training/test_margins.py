"""Margins: levels of what is held out from published toplines, or kept as they are; effects from elsewhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from acecausal.cube import files as cubes
from acecausal.errors import AceError
from align.models.load import load_model
from align.training.alignment import align
from align.training.margins import Margins, read_margins
from align.training.objectives import margin
from align.training.recipe import effects_alone, load_recipe
from align.training.targets import make_targets, some
from align.training.train import train
from cli import main

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

HELD = {"country": ["USA"]}
TOPLINES = {"Too little": 0.2, "About right": 0.3, "Too much": 0.5}
HEADER = "country,value,persona,option,share\n"


def rows(shares=TOPLINES, country="USA", persona="") -> str:
    return "".join(f"{country},poverty,{persona},{option},{share}\n" for option, share in shares.items())


@pytest.fixture
def file(tmp_path):
    def write(text: str):
        path = tmp_path / "margins.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_read__country_group_and_percents_that_miss_one(small, file):
    third = {"Too little": 0.33, "About right": 0.33, "Too much": 0.33}
    margins = read_margins(file(HEADER + rows() + rows(third, persona="gender=female")), small, HELD)
    usa, woman = list(small.country.values).index("USA"), list(small.persona.values).index("gender=female")
    np.testing.assert_allclose(margins.response[usa, 0, 0], [0.2, 0.3, 0.5])
    np.testing.assert_allclose(margins.response[usa, 0, woman], 1 / 3)
    assert np.isfinite(margins.response).sum() == 6
    turned = "".join(f"{share},{option},poverty,USA\n" for option, share in TOPLINES.items())
    without = file("# made up\n\nshare,option,value,country\n" + turned)
    np.testing.assert_allclose(read_margins(without, small, HELD).response[usa, 0, 0], [0.2, 0.3, 0.5])
    spreadsheet = file((HEADER.upper() + rows()).replace(",", ";").replace("0.", "0,"))
    np.testing.assert_allclose(read_margins(spreadsheet, small, HELD).response[usa, 0, 0], [0.2, 0.3, 0.5])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "are not the columns"),
        (HEADER, "has no rows"),
        ("country,value,option\nUSA,poverty,Too little\n", "are not the columns"),
        (HEADER.replace("share", "share,n") + "USA,poverty,,Too little,.2,5\n", "are not the columns"),
        (HEADER + rows(country="Norway"), "is not held out"),
        (HEADER + rows(country="Peru"), "Peru"),
        (HEADER + rows({"too little": 1}), "too little"),
        (HEADER + rows({"Too little": 1}), "options are missing"),
        (HEADER + rows() + rows(), "line 5: stands twice"),
        (HEADER + rows({**TOPLINES, "Too much": 0.4}), "do not sum to 1"),
        (HEADER + rows({**TOPLINES, "Too much": "50%"}), "share is no number"),
        (HEADER + rows({**TOPLINES, "Too much": "nan"}), "is no share"),
        (HEADER + rows({**TOPLINES, "Too much": -0.5}), "is no share"),
        (HEADER + "USA,poverty,,Too little\n", "number of cells"),
    ],
)
def test_read__what_is_wrong_is_said(small, file, text, says):
    with pytest.raises(AceError, match=says):
        read_margins(file(text), small, HELD)


def test_targets__the_persona_and_its_mixture(small):
    """Oracle: shares of the cube, put together by hand. abs 1e-6."""
    response = np.full(small.response.shape, np.nan)
    usa = list(small.country.values).index("USA")
    response[usa, 0, 0] = [0.2, 0.3, 0.5]
    (target,) = [t for t in make_targets(small, HELD, margins=Margins(response, "x")) if t.country == usa]
    lattice = cubes.lattice_of(small)
    finest = np.flatnonzero(lattice.granularity == lattice.granularity.max())
    share = small.share.values[usa, 0, finest]
    assert target.personas.tolist() == [0, *finest.tolist()]
    np.testing.assert_allclose(target.mixed, [[1, *np.zeros(len(finest))], [0, *share / share.sum()]], atol=1e-6)
    np.testing.assert_allclose(target.known, [[0.2, 0.3, 0.5]] * 2, atol=1e-6)
    assert target.weight.sum() == 0, "no answer of a held-out country enters"
    assert len(target.functional) == 0
    assert some(target, 2, np.random.default_rng(0)) is target


def test_some__margins_come_first(small):
    response = np.broadcast_to([0.2, 0.3, 0.5], small.response.shape)
    response = np.where(np.arange(small.sizes["persona"])[:, None] == 0, response, np.nan)
    for target in make_targets(small, margins=Margins(response, "x")):
        for seed in range(20):
            drawn = some(target, 3, np.random.default_rng(seed))
            assert len(drawn.personas) == 3
            assert drawn.personas[0] == 0
            np.testing.assert_allclose(drawn.mixed[0], [1, 0, 0])


def test_margin__of_nobody_is_nothing(small):
    target = make_targets(small)[0]
    uniform = torch.full((len(target.personas), 3), 1 / 3).log()
    assert [float(part) for part in margin(uniform, target)] == [0, 0]


def slowed(recipe):
    """Long enough, and slow at the end, for levels to be where they are pulled."""
    slower = recipe.optimiser.model_copy(update={"schedule": "cosine", "learning_rate": 3e-3})
    return recipe.model_copy(update={"passes": 40, "kept_back": (), "optimiser": slower})


def test_training__levels_of_the_held_out_come_from_margins(tiny_model, small, recipe, tmp_path):
    """With toplines the held-out country's level is theirs, without them what the others say."""
    chosen = slowed(recipe)
    response = np.full(small.response.shape, np.nan)
    usa = list(small.country.values).index("USA")
    response[usa, 0, 0] = [0.05, 0.05, 0.9]
    with_them = align(
        tiny_model, small, chosen, tmp_path / "m", held_out=HELD, margins=Margins(response, "toplines.csv")
    )
    without = align(tiny_model, small, chosen, tmp_path / "w", held_out=HELD)
    last = [float(run.after.response[usa, 0, 0, 2]) for run in (with_them, without)]
    assert last[0] > 0.7
    assert last[1] < 0.5
    assert with_them.after.attrs["margins"] == "toplines.csv"
    assert "**Margins**: 1 responses, toplines.csv" in (tmp_path / "m" / "README.md").read_text()
    assert "margins" not in without.after.attrs
    record = json.loads((tmp_path / "m" / "acecausal.json").read_text())
    assert record["margins"]["responses"] == 1


def test_keep_levels__everybody_stays_and_effects_move(tiny_model, small, recipe, tmp_path):
    """What the model says for everybody stays within .03, where training levels moves it by .1 and more."""
    chosen = slowed(recipe)
    kept = align(tiny_model, small, chosen, tmp_path / "k", keep_levels=True)
    moved = align(tiny_model, small, chosen, tmp_path / "m")

    def change(run):
        return float(abs(run.after.response - run.before.response).sel(persona="all").max())

    assert change(kept) < 0.03
    assert change(moved) > 0.1
    gap = [run["effect"]["distance"] for run in (kept.comparison_before, kept.comparison_after)]
    assert gap[1] < 0.9 * gap[0]


def test_resume__other_margins_are_another_run(tiny_model, small, recipe, tmp_path):
    model, tokenizer = load_model(tiny_model)
    response = np.full(small.response.shape, np.nan)
    response[list(small.country.values).index("USA"), 0, 0] = [0.2, 0.3, 0.5]
    short = recipe.model_copy(update={"passes": 1})
    train(model, tokenizer, small, short, tmp_path / "a", held_out=HELD, margins=Margins(response, "x"))
    model, _ = load_model(tiny_model)
    with pytest.raises(AceError, match="margins"):
        train(
            model, tokenizer, small, short, tmp_path / "a", held_out=HELD, margins=Margins(response, "y"), resume=True
        )


def test_recipes__that_have_no_use_for_them(tiny_model, small, file, tmp_path):
    with pytest.raises(AceError, match="has no objective"):
        align(tiny_model, small, load_recipe("subpop"), tmp_path / "a", margins=Margins(small.response.values, "x"))
    with pytest.raises(AceError, match="trains levels alone"):
        effects_alone(load_recipe("subpop"))
    assert not (tmp_path / "a").exists()
    objectives = effects_alone(load_recipe("default")).stages[0].objectives
    assert objectives == {"shift": 20.0, "mass": 0.1, "identity": 0.5, "margin": 1.0}


def test_command__both_are_a_contradiction(small, file, tmp_path):
    cubes.write_cube(small, tmp_path / "h.nc")
    arguments = ["align", "--model", "m", "--cube", str(tmp_path / "h.nc"), "--keep-levels", "-o", str(tmp_path / "a")]
    result = CliRunner().invoke(main, [*arguments, "--margins", str(file(HEADER + rows()))])
    assert result.exit_code == 2
    assert "exclude each other" in result.output
