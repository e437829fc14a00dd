"""Whether the persona is heeded: backends that read the prompt and answer as is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from models_as_people import as_model
from readers_of_prompts import Reader

from acecausal.comparison import heeding
from acecausal.comparison.compare import compare
from acecausal.cube.check import validate
from acecausal.cube.check_questions import check_values
from acecausal.cube.files import lattice_of, open_cube, values_of, write_cube
from align.elicitation.backends import Answers
from align.elicitation.elicit import elicit, questions
from align.prompting.templates import TEMPLATES
from align.prompting.wordings import MARKS, ORDERS, Wording

EVERY = [Wording(template, order, marks) for template in TEMPLATES for order in ORDERS for marks in MARKS]
SURE = 1 - 1e-12


@pytest.fixture(scope="module")
def norway(human) -> xr.Dataset:
    return human.sel(country=["Norway"])


def ask(like: xr.Dataset, answer, wordings=EVERY) -> xr.Dataset:
    lattice = lattice_of(like)
    known = [*values_of(like), *check_values(lattice)]
    return validate(elicit(Reader(lattice, known, answer), like, wordings=wordings))


def even(value) -> np.ndarray:
    return np.full(len(value.options), 1 / len(value.options))


def parrot(value, told, places):
    """Says what it was told, and nothing of what it was not."""
    if value.name not in told:
        return even(value)
    return np.where(np.arange(len(value.options)) == told[value.name], SURE, (1 - SURE) / (len(value.options) - 1))


def by_place(value, told, places):
    """Prefers the option listed first, the more so the more it is told."""
    first = np.array(places) == 0
    return np.where(first, 0.5 + 0.1 * len(told), (0.5 - 0.1 * len(told)) / (len(places) - 1))


def test_parrot__heed_1_drift_0(norway):
    """In every template, order and kind of marks."""
    cube = ask(norway, parrot)
    there = np.isfinite(cube["heed"].values)
    assert there.sum() == 4 + 4 * 8  # in the context all, and in the finest contexts
    np.testing.assert_allclose(cube["heed"].values[there], 1, atol=1e-10)
    np.testing.assert_allclose(cube["heed_se"].values[there], 0, atol=1e-10)
    own = np.array([[c.startswith(f"{t}=") for c in cube["checked"].values] for t in cube["treatment"].values])
    assert np.isnan(cube["drift"].values[0][own]).all()
    np.testing.assert_allclose(cube["drift"].values[0][~own], 0, atol=1e-12)
    np.testing.assert_allclose(cube["implied"].sel(persona="all"), 0.5)
    np.testing.assert_allclose(cube["implied"].sel(persona="gender=female", checked="gender=female"), 1, atol=1e-10)
    assert heeding.warnings(cube) == []
    assert heeding.summary(cube).startswith("heed: gender:female +1.00, degree:degree +1.00")


@pytest.mark.parametrize("marks", MARKS)
def test_by_place__heed_0_in_every_way(norway, marks):
    """In one order: told the level or its opposite, the same place is likeliest."""
    for order in ORDERS:
        cube = ask(norway, by_place, [Wording("interview", order, marks)])
        there = np.isfinite(cube["heed"].values)
        np.testing.assert_allclose(cube["heed"].values[there], 0, atol=1e-12)
        assert "heed_se" not in cube
        (warning,) = heeding.warnings(cube)
        assert 'does not take in being "a woman" (heed +0.00), "with a university degree"' in warning


def test_as_the_population__peoples_implied_and_drift(human, wvs):
    """Oracle: shares counted over the survey's rows one persona at a time. The survey has weight 1 throughout."""
    lattice = lattice_of(human)
    names = [attribute.name for attribute in lattice.attributes]
    norway = human.sel(country=["Norway"])
    rows = wvs.country == wvs.country_names.index("Norway")
    people = {name: wvs.attributes[name][rows] for name in names}

    def as_people(value, told, places):
        if value.name not in names:
            return even(value)
        here = np.ones(rows.sum(), dtype=bool)
        for name, code in told.items():
            here &= people[name] == code
        share = np.bincount(people[value.name][here], minlength=len(value.options)) / here.sum()
        return np.clip(share, 1e-12, 1)

    cube = ask(norway, as_people, EVERY[::5])
    asked = np.isin(lattice.granularity, (0, 1, 4))
    np.testing.assert_allclose(cube["implied"].values[:, asked], norway["implied"].values[:, asked], atol=1e-9)
    assert np.isnan(cube["implied"].values[:, ~asked]).all()
    np.testing.assert_allclose(cube["drift"].values, norway["drift"].values, atol=1e-9)
    moved = norway["drift"].sel(attribute="age:45_plus", checked="religion=religious")
    assert abs(float(moved[0])) > 0.02  # people's attributes do go together
    result = compare(norway, cube)
    assert max(check["drift_error"] for check in result["checks"]) < 1e-9


def test_heed__half_taken_in_and_what_follows_from_it(norway):
    """Takes in a woman in full, a degree by .3, and no more; by hand from its answers. Skill is split by it."""

    def half(value, told, places):
        if value.name == "gender":
            return parrot(value, told, places)
        if value.name == "degree" and "degree" in told:
            return [0.65, 0.35] if told["degree"] == 0 else [0.35, 0.65]
        return even(value)

    cube = ask(norway, half, EVERY[:2])
    assert heeding.heeds(cube) == pytest.approx(
        {"gender:female": 1.0, "degree:degree": 0.3, "religion:religious": 0.0, "age:45_plus": 0.0}, abs=1e-9
    )
    assert heeding.unheeded(cube) == {"degree:degree", "religion:religious", "age:45_plus"}
    result = compare(norway, cube)
    split = {g["key"]: g for g in result["groups"] if g["by"] == "heed"}
    by_attribute = {g["key"]: g["effect"] for g in result["groups"] if g["by"] == "attribute"}
    assert split["heeded"]["effect"] == by_attribute["gender"]
    assert split["not_heeded"]["effect"]["cells"] == sum(
        by_attribute[n]["cells"] for n in ("degree", "religion", "age")
    )
    assert split["heeded"]["level"]["cells"] == 0
    assert [check["attribute"] for check in result["checks"]] == cube["attribute"].values.tolist()


def test_checks__are_no_part_of_effects_and_can_be_left_out(norway, tmp_path):
    lattice = lattice_of(norway)

    def older_agree(value, told, places):
        likely = 0.5 + 0.2 * (told.get("age", 0) - 0.5) + 0.1 * (places[0] - 1)
        return [likely, *[(1 - likely) / (len(places) - 1)] * (len(places) - 1)]

    backend = Reader(lattice, [*values_of(norway), *check_values(lattice)], older_agree)
    asked, bare = elicit(backend, norway, wordings=EVERY[:4]), elicit(backend, norway, wordings=EVERY[:4], checks=False)
    assert set(asked.data_vars) - set(bare.data_vars) == {"heed", "heed_se", "implied", "drift"}
    xr.testing.assert_equal(asked[list(bare.data_vars)].drop_vars("checked", errors="ignore"), bare)
    for name in ("prompts_sha256", "order_agreement", "prompt_example"):
        assert asked.attrs[name] == bare.attrs[name]
    assert compare(norway, bare)["checks"] == []
    assert heeding.summary(bare) == ""
    assert heeding.warnings(bare) == []
    with_checks, without = compare(norway, asked), compare(norway, bare)
    assert with_checks["effect"] == without["effect"]
    assert [g for g in with_checks["groups"] if g["by"] != "heed"] == without["groups"]
    assert questions(norway) == 5
    assert questions(norway, checks=False) == 1
    for name in ("a.zarr", "a.nc"):
        xr.testing.assert_equal(open_cube(write_cube(asked, tmp_path / name)), asked)


def test_a_server_that_lists_no_option_of_a_check_question(norway):
    """Personas of which one wording lists nothing are missing in the heed, and counted; the values are whole."""
    lattice = lattice_of(norway)

    class Silent(Reader):
        def ask(self, texts):
            found = super().ask(texts).log_probs
            if "university degree?" in texts[0].user and "- " not in texts[0].user:
                found[3] = np.nan  # degree=no_degree
            return Answers(found, np.zeros(len(texts)), np.zeros(len(texts)))

    backend = Silent(lattice, [*values_of(norway), *check_values(lattice)], parrot)
    cube = validate(elicit(backend, norway, wordings=[Wording(marks="digits"), Wording(marks="labels")]))
    assert cube.attrs["checks_missing"] == 1
    assert "prompts_missing" not in cube.attrs
    degree = cube["heed"].sel(attribute="degree:degree").values
    assert np.isfinite(degree).sum() == 8  # the finest contexts, and not all
    assert np.isnan(cube["implied"].values[0, 3, 2:4]).all()
    assert heeding.heeds(cube)["degree:degree"] == pytest.approx(1)


def test_cubes_without_questions__are_asked_as_drafted(norway):
    """A cube from before there were check questions: its levels' phrases are the answers."""
    lattice = lattice_of(norway)
    older = replace(
        lattice,
        attributes=tuple(
            replace(a, question="", levels=tuple(replace(level, answer="") for level in a.levels))
            for a in lattice.attributes
        ),
    )
    asked: list[str] = []

    def noted(value, told, places):
        asked.append(value.question)
        return parrot(value, told, places)

    seen = norway.assign_attrs(lattice=older.to_json())
    known = {value.options: value for value in (*values_of(seen), *check_values(older))}

    class ByOptions(Reader):
        """All drafted questions are alike: it tells them apart by their options."""

        def _one(self, text):
            at = next(v for k, v in known.items() if all(f"- {option}\n" in f"{text.user}\n" for option in k))
            self.values = [at]
            return super()._one(text)

    cube = elicit(ByOptions(older, [], noted), seen)
    assert "Which of these describes you?" in asked
    assert heeding.heeds(cube) == pytest.approx(dict.fromkeys(lattice.contrast_labels, 1.0))


def test_by_implication__an_effect_of_what_was_not_told(norway):
    """Truth: only a degree moves this model, by d; told a woman it takes a degree for likely (.9), told a man not (.1).
    So the word "a woman" moves it by .8 d, and by nothing once a degree, or none, is stated."""
    without, with_degree = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.3, 0.5])
    gender, degree = lattice_of(norway).codes[:, 0], lattice_of(norway).codes[:, 1]
    likely = np.select([degree == 1, degree == 0, gender == 1, gender == 0], [1.0, 0.0, 0.9, 0.1], 0.5)[:, None]
    response = (likely * with_degree + (1 - likely) * without)[None, None]
    d = (with_degree - without) @ [0, 0.5, 1]
    cube = as_model(norway, response)
    cube["heed"] = ask(norway, parrot, EVERY[:1])["heed"]
    edited, stated = heeding.by_implication(norway, cube)
    np.testing.assert_allclose(edited[0, :, 0], [0.8 * d, d, 0, 0], atol=1e-12)
    np.testing.assert_allclose(stated[0, :, 0], [0, d, 0, 0], atol=1e-12)
    found = {check["attribute"]: check for check in compare(norway, cube)["checks"]}
    assert found["gender:female"]["implied"] == pytest.approx(0.8 * d)
    assert found["degree:degree"]["implied"] == pytest.approx(0, abs=1e-12)
    assert heeding.by_implication(norway.drop_vars("share"), cube) is None


def test_drift_error__by_hand(norway):
    """One level of another attribute moved by .3 more than people's: .3 over the 6 levels of the others, twice."""
    model = as_model(norway, norway["response"].values)
    drift = norway["drift"].copy(deep=True)
    drift.loc[{"attribute": "gender:female", "checked": "age=under_45"}] += 0.3
    drift.loc[{"attribute": "gender:female", "checked": "age=45_plus"}] -= 0.3
    model["drift"] = drift
    errors = heeding.drift_errors(norway, model)
    assert errors["gender:female"] == pytest.approx(0.6 / 6)
    assert errors["age:45_plus"] == pytest.approx(0, abs=1e-12)
