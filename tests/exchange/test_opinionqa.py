"""OpinionQA's rows against people counted by hand: numbers, effects, errors; what is lost, left out, or wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
from exchange_files import COUNTRIES, OPINIONS, noisy_model, opinion_rows, read_opinions, run
from hypothesis import given, settings
from hypothesis import strategies as st

from acecausal.comparison.compare import compare
from acecausal.cube import schema
from acecausal.errors import AceError, DataError
from acecausal.exchange import import_cube
from acecausal.exchange.respondents import decimals_of, fewest_people, most_people
from acecausal.survey.countries import named

TEA, HEALTHY, DRINK, ONE = OPINIONS


def noted(found, text: str) -> list[str]:
    return [what for what in found.noted if text in what]


# --- how many people --------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 900), min_size=2, max_size=5).filter(sum), st.sampled_from([10, 17]))
@settings(max_examples=60, deadline=None)
def test_respondents__the_fewest_with_these_shares(counts, decimals):
    """Oracle: the counts over their greatest common divisor, which is the smallest number there is."""
    n = sum(counts)
    shares = [round(count / n, decimals) for count in counts]
    assert fewest_people(shares, decimals) == n // np.gcd.reduce(counts)


def test_respondents__no_further_than_the_decimals_tell():
    assert decimals_of([0.5, 0.25, 1e-05]) == 5
    assert [most_people(d) for d in (2, 6, 10)] == [1, 141, 14142]
    assert fewest_people([0.5555555556, 0.1666666667, 0.2777777778], 10) == 18
    assert fewest_people([0.5555555556, 0.1666666667, 0.2777777779], 10) is None  # one off in the last decimal
    assert fewest_people([0.56, 0.17, 0.27], 2) is None


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_opinionqa__numbers_effects_and_errors_by_hand(tmp_path):
    """Oracle: differences of independent multinomial samples in closed form, from the counts; 1e-12."""
    found = read_opinions(tmp_path / "a.json", opinion_rows())
    cube = found.cube.isel(country=0)
    assert cube["country"].item() == "United_States"
    assert cube["value"].values.tolist() == ["q100", "q104", "q108"]
    assert cube["scale"].values.tolist() == ["ordinal", "binary", "nominal"]
    assert cube["question"].values.tolist() == ["How much do you like tea?", "Is tea healthy?", "Which drink?"]
    assert found.cube.attrs["n_lower_bound"]
    for value, key in (("q100", TEA), ("q104", HEALTHY)):
        k = 4 if value == "q100" else 2  # "Not sure" is no answer
        men, women = (np.array(OPINIONS[key][f"SEX_{sex}"][:k]) for sex in ("Male", "Female"))
        cell = cube.sel(value=value, attribute="SEX:Female", persona="all")
        p, q, n, m = men / men.sum(), women / women.sum(), men.sum(), women.sum()
        score = np.arange(k) / (k - 1)
        variance = sum((score**2 @ x - (score @ x) ** 2) / size for x, size in ((p, n), (q, m)))
        assert (cell["n_baseline"].item(), cell["n_treated"].item()) == (n, m)
        np.testing.assert_allclose(cell["shift"].values[:k], q - p, atol=1e-12)
        np.testing.assert_allclose(cell["shift_se"].values[:k], np.sqrt(p * (1 - p) / n + q * (1 - q) / m), atol=1e-12)
        assert cell["effect"].item() == pytest.approx(score @ (q - p), abs=1e-12)
        assert cell["effect_se"].item() == pytest.approx(np.sqrt(variance), abs=1e-12)
    assert cube["n"].sel(value="q100", persona="RELIG=Hindu").item() == 17
    assert cube["status"].sel(value="q100", persona="all", attribute="RELIG:Hindu").item() == schema.TOO_FEW


def test_opinionqa__everybody_is_men_and_women_by_their_typical_numbers(tmp_path):
    """The median number of men is 100, of women 113 (by hand); single numbers can be fractions of the true ones."""
    people = {key: dict(groups) for key, groups in OPINIONS.items()}
    people[TEA]["SEX_Female"] = [60, 30, 18, 6]  # 114 people, whose shares 19 can have
    del people[DRINK]["SEX_Female"]
    found = read_opinions(tmp_path / "a.json", opinion_rows(people))
    cube = found.cube.isel(country=0)
    assert cube["n"].sel(value="q100", persona=["SEX=Male", "SEX=Female", "all"]).values.tolist() == [101, 19, 120]
    men, women = np.median([101, 71, 100]), np.median([19, 90])
    mean = (men * np.array([30, 41, 20, 10]) / 101 + women * np.array([60, 30, 18, 6]) / 114) / (men + women)
    np.testing.assert_allclose(cube["response"].sel(value="q100", persona="all"), mean, atol=1e-12)
    assert cube["n"].sel(value="q108", persona="all").item() == 0
    assert np.isnan(cube["response"].sel(value="q108", persona="all")).all()
    assert noted(found, "questions without the persona all (not asked of each level of SEX)")
    assert compare(found.cube, noisy_model(found.cube))["level"]["cells"] == 10  # of q100 and q104


def test_opinionqa__respondents_by_hand(tmp_path):
    """Weighted or rounded shares tell no number of people."""
    rows = opinion_rows({HEALTHY: {"SEX_Male": [40, 31, 29], "SEX_Female": [61, 17, 22]}})
    rows[0]["gold_distribution"] = [0.4123, 0.3012, 0.2865]
    with pytest.raises(DataError, match="no ratios of counts") as caught:
        read_opinions(tmp_path / "a.json", rows)
    assert "--respondents N" in str(caught.value)
    assert "a.json, line 2" in str(caught.value)
    tenths = opinion_rows({HEALTHY: {"SEX_Male": [0.4, 0.3, 0.3], "SEX_Female": [0.6, 0.2, 0.2]}})
    for row, shares in zip(tenths, ([0.4, 0.3, 0.3], [0.6, 0.2, 0.2]), strict=True):
        row["gold_distribution"] = shares
    with pytest.raises(DataError, match="1 tell nothing of how many people"):
        read_opinions(tmp_path / "a.json", tenths)
    cube = read_opinions(tmp_path / "a.json", rows, respondents=1000).cube.isel(country=0)
    assert "n_lower_bound" not in cube.attrs
    assert cube["n"].values.ravel().tolist() == [714 + 780, 714, 780]  # 28.65 % and 22 % are not sure
    everybody = (714 * 0.4123 / 0.7135 + 780 * 61 / 78) / (714 + 780)
    assert cube["response"].sel(persona="all").values.ravel()[0] == pytest.approx(everybody, abs=1e-12)


def test_opinionqa__baselines_and_order_of_levels(tmp_path):
    rows = opinion_rows()
    for order in (rows, rows[::-1]):
        assert set(read_opinions(tmp_path / "a.json", order).cube["attribute"].values) == {"RELIG:Hindu", "SEX:Female"}
    cube = read_opinions(tmp_path / "a.json", rows, baselines={"SEX": "Female"}).cube
    assert "SEX:Male" in cube["attribute"].values
    assert cube["effect"].sel(value="q100", persona="all", attribute="SEX:Male").item() > 0


# --- options ----------------------------------------------------------------------------------------------------------


def test_opinionqa__refusals_as_an_option_by_choice(tmp_path):
    cube = read_opinions(tmp_path / "a.json", opinion_rows(), keep_refusals=True).cube.isel(country=0)
    value = cube.sel(value="q104")
    assert value["option_label"].values.tolist()[:3] == ["Yes", "No", "Not sure"]
    assert value["option_pinned"].values.tolist()[:3] == [0, 0, 1]
    assert value["scale"].item() == "nominal"
    assert value["n"].sel(persona="SEX=Male").item() == 100
    np.testing.assert_allclose(value["response"].sel(persona="SEX=Male")[:3], [0.4, 0.31, 0.29], atol=1e-12)
    assert cube["scale"].values.tolist() == ["ordinal", "nominal", "nominal"]


def test_opinionqa__order_of_options(tmp_path):
    path = tmp_path / "a.json"
    sexes = {group: people for group, people in OPINIONS[DRINK].items() if group.startswith("SEX")}
    people = {("Its effect?", ("Positive effect", "Negative effect", "No effect either way")): sexes}
    found = read_opinions(path, opinion_rows(people))
    assert found.cube["option_label"].values.tolist() == [
        ["Positive effect", "No effect either way", "Negative effect"]
    ]
    effect = found.cube["effect"].sel(attribute="SEX:Female", persona="all").item()
    men, women = (np.array(OPINIONS[DRINK][f"SEX_{sex}"]) for sex in ("Male", "Female"))
    assert effect == pytest.approx((women / women.sum() - men / men.sum()) @ [0, 1, 0.5], abs=1e-12)
    assert noted(found, "out of their order")
    assert read_opinions(path, opinion_rows(), ordinal=("q108",)).cube["scale"].values.tolist()[2] == "ordinal"
    assert read_opinions(path, opinion_rows(), nominal=("q100",)).cube["scale"].values.tolist()[0] == "nominal"
    with pytest.raises(AceError, match="--ordinal: unknown name"):
        read_opinions(path, opinion_rows(), ordinal=("tea",))
    with pytest.raises(AceError, match="contradict each other"):
        read_opinions(path, opinion_rows(), ordinal=("q100",), nominal=("q100",))


@pytest.mark.parametrize(
    "options",
    [
        ("Essential", "Importan", "ut not essential", "Not important"),
        ("'Live comfortably", "Just meet expenses", '"Don\'t even have enough"', "Other"),
        ("A lot", "Some", "Only a little", "None"),
    ],
)
def test_opinionqa__questions_whose_people_are_lost_are_left_out(tmp_path, options):
    """So published: the options that were torn, quoted or read as missing have no people in any group."""
    lost = [x for x in options if x[0] in "'\"" or x in ("Importan", "ut not essential", "None")]
    for of, few in ((lost, True), ([options[1]], False)):
        men = [0 if label in of else (11 if few else 1100) + k for k, label in enumerate(options)]
        people = OPINIONS | {("How is life?", options): {"SEX_Male": men, "SEX_Female": [2 * count for count in men]}}
        found = read_opinions(tmp_path / "a.json", opinion_rows(people))
        assert found.cube["value"].values.tolist() == ["q100", "q104", "q108"]
        assert noted(found, "people are lost): q113")
        assert noted(found, "one option only): q111")


def test_opinionqa__an_option_is_no_refusal_where_hardly_another_is_left(tmp_path):
    people = OPINIONS | {("Of it?", ("Have heard", "Have not heard")): {"SEX_Male": [31, 69], "SEX_Female": [57, 56]}}
    cube = read_opinions(tmp_path / "a.json", opinion_rows(people)).cube
    assert cube["option_label"].sel(value="q113").values.tolist()[:2] == ["Have heard", "Have not heard"]


# --- questions --------------------------------------------------------------------------------------------------------


def test_opinionqa__asked_again_in_another_survey_is_another_question(tmp_path):
    """Ids number the rows of all surveys: what other rows stand between is not the same people's."""
    rows = opinion_rows()
    again = [row | {"id": 300 + k, "gold_distribution": [0.25] * 4} for k, row in enumerate(rows[:4])]
    rows += again[1:]
    found = read_opinions(tmp_path / "a.json", rows[::-1], respondents=500)
    assert sorted(found.cube["value"].values) == ["q100", "q104", "q108", "q301"]
    assert found.cube["n"].sel(value="q301", persona="SEX=Male").item() == 0
    assert noted(found, "asked in several surveys")
    scattered = [row | {"id": 7919 * k % 101} for k, row in enumerate(opinion_rows())]
    assert read_opinions(tmp_path / "a.json", scattered).cube.sizes["value"] == 3
    for row in scattered:
        del row["id"]
    assert read_opinions(tmp_path / "a.json", scattered).cube["value"].values.tolist() == ["q1", "q2", "q3"]


def test_opinionqa__what_is_wrong(tmp_path):
    path, rows = tmp_path / "a.json", opinion_rows()
    wrong = [
        ({"gold_distribution": [0.5, 0.2, 0.2, 0.2]}, "do not sum to 1"),
        ({"gold_distribution": [0.5, 0.5]}, "differ in number"),
        ({"gold_distribution": None}, "of the wrong kind"),
        ({"options": ["A lot", "Some", "Not much", "Never"]}, "lists other options than the row"),
        ({"options": ["A lot", " ", "Not much", "Never"]}, "options are no texts"),
        ({"attribute": "Male"}, "of another kind than in the first row"),
        ({"attribute": "SEX_"}, "attribute is none"),
        ({"attribute": "SEX_Male", "id": 100}, "the group comes twice"),
        ({"question": "Question: \nAnswer:"}, "question is empty"),
    ]
    for changed, says in wrong:
        broken = [rows[0], rows[1] | changed, *rows[2:]]
        with pytest.raises(DataError, match=says) as caught:
            read_opinions(path, broken)
        line = path.read_text().split("\n").index(" {", 2) + 1
        assert f"a.json, line {line}" in str(caught.value)
        found = read_opinions(path, broken, keep_going=True)
        assert len(found.problems) == 1
        assert found.cube["n"].sel(persona="SEX=Female", value="q100").item() == 0
    path.with_suffix(".jsonl").write_text("\n".join(map(json.dumps, broken)), encoding="utf-8")
    with pytest.raises(DataError, match=says) as caught:
        import_cube("opinionqa", path.with_suffix(".jsonl"))
    assert "a.jsonl, line 2" in str(caught.value)
    with pytest.raises(DataError, match="two questions have the same id"):
        read_opinions(path, [row | {"id": 1} for row in rows])
    with pytest.raises(DataError, match="is empty"):
        read_opinions(path, [])
    with pytest.raises(DataError, match="cannot be read"):
        path.write_text(json.dumps(rows)[:-1])
        import_cube("opinionqa", path)
    with pytest.raises(DataError, match="is a folder"):
        import_cube("opinionqa", tmp_path)


# --- countries --------------------------------------------------------------------------------------------------------


def test_opinionqa__countries_are_levels_by_their_codes(tmp_path):
    """People by hand: 950 and 900 of 1000 answered, 60/95 and 1/2 of them `Good`."""
    found = read_opinions(tmp_path / "a.json", opinion_rows(COUNTRIES), respondents=1000)
    cube = found.cube.isel(country=0, value=0)
    codes = ["USA", "CHN", "CHN_non-national_sample", "KOR", "Northern_Ireland"]
    assert cube["persona"].values.tolist() == ["all", *(f"nation={code}" for code in codes)]
    assert cube["country_label"].item() == "the world"
    cell = cube.sel(attribute="nation:KOR", persona="all")
    assert (cell["n_baseline"].item(), cell["n_treated"].item()) == (950, 900)
    assert cell["effect"].item() == pytest.approx(60 / 95 - 1 / 2, abs=1e-12)
    everybody = (600 + 450 + 700 + 800 + 500) / (950 + 900 + 900 + 1000 + 1000)
    assert cube["response"].sel(persona="all", option=1).item() == pytest.approx(everybody, abs=1e-12)
    assert '"an adult living in South Korea"' in cube.attrs["lattice"]
    assert '"China (non-national sample)"' in cube.attrs["lattice"]
    assert noted(found, "without a code in ISO 3166 (kept as written): Northern Ireland")
    assert not any("moves away from" in text for text in found.noted)
    with pytest.raises(DataError, match="--respondents"):
        read_opinions(tmp_path / "a.json", opinion_rows(COUNTRIES))
    rows = [row for row in opinion_rows(COUNTRIES) if "States" not in row["attribute"] and row["attribute"] != "USA"]
    found = read_opinions(tmp_path / "a.json", rows, respondents=1000)
    assert found.cube["baseline"].values[0] in next(text for text in found.noted if "no USA: effects are moves" in text)
    chosen = read_opinions(tmp_path / "a.json", rows, respondents=1000, baselines={"nation": "KOR"})
    assert set(chosen.cube["baseline"].values) == {"KOR"}
    assert not any("moves away from" in text for text in chosen.noted)


def test_named__as_surveys_spell_them():
    spelled = {
        "Britain": "GBR",
        "S. Korea": "KOR",
        "the united states": "USA",
        "Palest. ter.": "PSE",
        "Czech Rep.": "CZE",
    }
    assert {name: named(name)["alpha3"] for name in spelled} == spelled
    assert named("Atlantis") is None


def test_opinionqa__from_the_command_line(tmp_path):
    path = tmp_path / "a.json"
    read_opinions(path, opinion_rows())
    result = run("import", "opinionqa", path, "--keep-refusals", "--ordinal", "q108", "-o", tmp_path / "a.zarr")
    assert "the fewest possible, a lower bound) 13" in result.output
    assert "one option only): q111 1" in result.output
