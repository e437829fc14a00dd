"""What is held out: the text form, the masks against loops over labels, and near-duplicate questions."""

from __future__ import annotations

import json
import math
from itertools import permutations

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from acecausal.comparison import holdout
from acecausal.errors import AceError
from acecausal.simulation.truth import truth
from acecausal.simulation.world import World

QUESTIONS = (
    "Should the government reduce differences in income?",
    "How proud are you of your nationality?",
    "How proud are you of your own nationality?",  # the one before, from the other battery
    "Are men better leaders than women?",
)
TOPICS = ("economy", "nation", "identity", "family")
NAMES = ("gender", "education", "residence")


def make_cube(questions: tuple[str, ...] = QUESTIONS, topics: tuple[str, ...] = TOPICS) -> xr.Dataset:
    """3 countries; attributes of 2, 3 and 2 levels: 36 personas."""
    cube = truth(World.make(countries=3, values=len(questions), attributes=3, levels=[2, 3, 2]))
    return cube.assign_coords(
        question=("value", np.array(questions, object)), topic=("value", np.array(topics, object))
    )


@pytest.fixture(scope="module")
def cube() -> xr.Dataset:
    return make_cube()


def specified(persona: str) -> dict[str, str]:
    return {} if persona == "all" else dict(part.split("=") for part in persona.split(","))


def by_labels(held: holdout.HoldOut, cube: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The masks by loops over labels; an edge is found by adding its level to the context's label."""
    personas = [specified(p) for p in cube.persona.values]
    country, value, topic, moved, baseline, treated = (
        cube[name].values.tolist() for name in ("country", "value", "topic", "treatment", "baseline", "treated")
    )

    def out(c: int, v: int, persona: dict[str, str]) -> bool:
        return (
            country[c] in held.get("country", [])
            or value[v] in held.get("value", [])
            or topic[v] in held.get("topic", [])
            or str(len(persona)) in held.get("granularity", [])
            or any(set(combination.split("+")) <= set(persona) for combination in held.get("attributes", []))
        )

    sizes = [cube.sizes[dim] for dim in ("country", "attribute", "value", "persona")]
    response, effect = np.zeros([sizes[0], *sizes[2:]], bool), np.zeros(sizes, bool)
    for c, v, p in np.ndindex(response.shape):
        response[c, v, p] = out(c, v, personas[p])
    for c, t, v, p in np.ndindex(effect.shape):
        ends = [personas[p] | {moved[t]: level} for level in (baseline[t], treated[t])]
        if moved[t] not in personas[p] and all(end in personas for end in ends):
            effect[c, t, v, p] = any(out(c, v, end) for end in ends)
    return response, effect


COMBINATIONS = ["gender", "education", "gender+education", "education+residence", "gender+education+residence"]


def some(labels: list[str]) -> st.SearchStrategy:
    return st.lists(st.sampled_from(labels), unique=True, max_size=2)


HELD = st.fixed_dictionaries(
    {},
    optional={
        "country": some(["country0", "country1", "country2"]),
        "value": some(["value0", "value1", "value2", "value3"]),
        "topic": some(list(TOPICS)),
        "granularity": some(["0", "1", "2", "3"]),
        "attributes": some(COMBINATIONS),
    },
)


# --- masks ------------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(held=HELD)
def test_masks__loops_over_labels(cube, held):
    """Oracle: loops over label strings, cell by cell; equal."""
    for found, expected in zip(holdout.masks(held, cube), by_labels(held, cube), strict=True):
        assert found.dtype == bool
        np.testing.assert_array_equal(found, expected)


@settings(max_examples=40, deadline=None)
@given(held=HELD, other=HELD)
def test_masks__any_label_suffices(cube, held, other):
    """Property: the masks of two hold-outs together are the union of their masks. Nothing held out: no cell."""
    both = {dim: held.get(dim, []) + other.get(dim, []) for dim in holdout.DIMENSIONS}
    for together, one, two in zip(*(holdout.masks(h, cube) for h in (both, held, other)), strict=True):
        np.testing.assert_array_equal(together, one | two)
    assert not any(part.any() for part in holdout.masks({}, cube))


@pytest.mark.parametrize("held", [{"granularity": ["2"]}, {"attributes": ["gender+degree"]}, {"country": ["Norway"]}])
def test_masks__of_a_real_cube(human, held):
    for found, expected in zip(holdout.masks(held, human), by_labels(held, human), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "held", [{"country": ["country1"]}, {"granularity": ["1"]}, {"attributes": ["gender+education"]}]
)
def test_masks__of_a_cube_cut_to_some_personas(cube, held):
    """`compare` cuts cubes to the personas and contrasts they share, which need not be a whole lattice."""
    labels = {
        "persona": [p for p in cube.persona.values if len(specified(p)) < 3],
        "attribute": [a for a in cube.attribute.values if not a.startswith("residence")],
        "value": ["value1", "value3"],
    }
    response, effect = (xr.DataArray(part, dims=d) for part, d in zip(by_labels(held, cube), DIMS, strict=True))
    whole = xr.Dataset({"response": response, "effect": effect}, cube.coords).sel(labels)
    cut = holdout.masks(held, cube.sel(labels))
    np.testing.assert_array_equal(cut[0], whole["response"])
    np.testing.assert_array_equal(cut[1], whole["effect"])


DIMS = (("country", "value", "persona"), ("country", "attribute", "value", "persona"))


# --- text -------------------------------------------------------------------------------------------------------------


PARSED = {
    "country=country2": {"country": ["country2"]},
    "country= country2 , country0 ": {"country": ["country2", "country0"]},
    "value=value3,value0": {"value": ["value3", "value0"]},
    "topic=family,nation": {"topic": ["family", "nation"]},
    "granularity=3,1": {"granularity": ["3", "1"]},
    "attributes=gender": {"attributes": ["gender"]},
    "attributes=gender+education,residence": {"attributes": ["gender+education", "residence"]},
    "attributes=residence + gender": {"attributes": ["gender+residence"]},  # in the lattice's order
    "attributes=gender+gender": {"attributes": ["gender"]},
}


@pytest.mark.parametrize("text", PARSED)
def test_parse__every_dimension(cube, text):
    assert {text.partition("=")[0] for text in PARSED} == set(holdout.DIMENSIONS)
    if not text.startswith("topic"):  # a topic may take a near-duplicate from another topic along
        assert holdout.parse([text], cube) == PARSED[text]
    found = holdout.parse([text], cube)
    assert {dim: found[dim] for dim in PARSED[text]} == PARSED[text]


def test_parse__texts_add_up(cube):
    held = holdout.parse(["country=country2", "value=value0", "country=country0"], cube)
    assert held == {"country": ["country2", "country0"], "value": ["value0"]}
    assert holdout.parse([], cube) == {}


BAD = {
    "country1": "--validate: cannot be read\n  expected: country=LABEL[,LABEL], value=, topic=, granularity= or "
    "attributes=A+B\n  got: country1",
    "country=": "--validate: cannot be read\n  expected: country=LABEL[,LABEL], value=, topic=, granularity= or "
    "attributes=A+B\n  got: country=",
    "county=country1": "--validate: unknown name\n  expected: one of country, value, topic, granularity, attributes\n"
    "  got: 'county'\n  hint: did you mean 'country'?",
    "=country1": "--validate: unknown name\n  expected: one of country, value, topic, granularity, attributes\n"
    "  got: ''",
    "country=country9": "--validate country: unknown name\n  expected: one of country0, country1, country2\n"
    "  got: 'country9'\n  hint: did you mean 'country2'?",
    "country=country0,": "--validate country: unknown name\n  expected: one of country0, country1, country2\n  got: ''",
    "value=valu3": "--validate value: unknown name\n  expected: one of value0, value1, value2, value3\n  got: 'valu3'\n"
    "  hint: did you mean 'value3'?",
    "topic=econmy": "--validate topic: unknown name\n  expected: one of economy, nation, identity, family\n"
    "  got: 'econmy'\n  hint: did you mean 'economy'?",
    "granularity=4": "--validate granularity: unknown name\n  expected: one of 0, 1, 2, 3\n  got: '4'",
    "granularity=01": "--validate granularity: unknown name\n  expected: one of 0, 1, 2, 3\n  got: '01'\n"
    "  hint: did you mean '1'?",
    "attributes=gender+eduction": "--validate attributes: unknown name\n"
    "  expected: one of gender, education, residence\n  got: 'eduction'\n  hint: did you mean 'education'?",
    "attributes=gender+": "--validate attributes: unknown name\n"
    "  expected: one of gender, education, residence\n  got: ''",
    "country=country0,country1,country2": "--validate: everything is held out\n"
    "  got: country=country0,country1,country2",
    "granularity=0,1,2,3": "--validate: everything is held out\n  got: granularity=0,1,2,3",
}


@pytest.mark.parametrize("text", BAD)
def test_parse__says_what_is_wrong(cube, text):
    with pytest.raises(AceError) as caught:
        holdout.parse([text], cube, "--validate")
    assert str(caught.value) == BAD[text]


def test_parse__everything_by_several_texts(cube):
    with pytest.raises(AceError, match=r"(?s)--hold-out: everything is held out.*granularity=0 granularity=1,2,3"):
        holdout.parse(["granularity=0", "granularity=1,2,3"], cube)
    for texts in (["value=value0,value1", "topic=identity,family"], ["granularity=0", f"attributes={','.join(NAMES)}"]):
        with pytest.raises(AceError, match="everything is held out"):  # by two dimensions together
            holdout.parse(texts, cube)
    with pytest.raises(AceError, match="everything is held out"):  # three by name, the last as a near-duplicate
        holdout.parse(["value=value0,value1,value3"], cube)


def test_parse__a_near_duplicate_goes_along(cube):
    """value1 and value2 ask the same in two topics; the order in which values are named does not matter."""
    held = holdout.parse(["value=value1"], cube)
    assert held == {"value": ["value1", "value2"]}
    assert holdout.parse(["value=value2"], cube) == {"value": ["value2", "value1"]}
    for names in permutations(["value0", "value1", "value2"]):
        found = holdout.parse([f"value={','.join(names)}"], cube)
        assert sorted(found) == ["value"]
        assert sorted(found["value"]) == ["value0", "value1", "value2"]
        for part, expected in zip(
            holdout.masks(found, cube), holdout.masks({"value": ["value0", "value1", "value2"]}, cube), strict=True
        ):
            np.testing.assert_array_equal(part, expected)


def test_parse__a_topic_takes_near_duplicates_along(cube):
    """Held out by its topic or by its name, a question's near-duplicate in another topic would give its answers."""
    by_topic, by_value = holdout.parse(["topic=nation"], cube), holdout.parse(["value=value1"], cube)
    for one, other in zip(holdout.masks(by_topic, cube), holdout.masks(by_value, cube), strict=True):
        np.testing.assert_array_equal(one, other)


def test_text__round_trip_through_a_model_cube(cube):
    held = holdout.parse(["country=country1", "attributes=gender+education", "granularity=3"], cube)
    assert holdout.of(cube) == {}
    assert holdout.of(cube.assign_attrs(held_out=json.dumps(held))) == held
    assert holdout.in_words(held) == "country: country1; attributes: gender+education; granularity: 3"
    assert holdout.in_words({}) == "nothing"


# --- near-duplicates --------------------------------------------------------------------------------------------------


def groups(*questions: str) -> list[int]:
    found = holdout.near_duplicates(questions).tolist()
    return [found.index(number) for number in found]


ALIKE = {
    "identical": ("Is it just?", "Is it right?", "Is it just?"),
    "case, marks and spaces": ("Is it just?", "is it RIGHT", " is  it: just!"),
    "order of words": ("Taxes on the rich are low", "Women vote", "On the rich, are taxes low"),
    "Chinese, another mark": ("贫困是政府的责任吗？", "你信任警察吗？", "贫困是政府的责任吗"),
    "Arabic": ("هل تثق بالشرطة؟", "هل تثق بالجيش؟", "هل تثق بالشرطة"),
    "Hebrew": ("האם אתה סומך על המשטרה?", "עד כמה אתה מאושר?", "האם אתה סומך על המשטרה"),
    "with empty text between": ("Is it just?", "", "Is it just"),
}


@pytest.mark.parametrize("name", ALIKE)
def test_near_duplicates__first_and_last(name):
    assert groups(*ALIKE[name]) == [0, 1, 0]


APART = {
    "another object, two questions": ("Do you trust the police?", "Do you trust the army?"),
    "another object, four": tuple(f"Are we spending too little on {what}?" for what in ("health", "roads", "arms")),
    "another object in Arabic": ("هل تثق بالشرطة؟", "هل تثق بالجيش؟"),
    "another object in Chinese": ("你信任警察吗？", "你信任军队吗？"),
    "one": ("Do you trust the police?",),
    "none": (),
    "empty": ("", ""),
    "punctuation alone": ("?!", "...", "?!"),
    "punctuation beside words": ("?!", "Is it just?", "..."),
    "one letter": ("a", "b"),
}


@pytest.mark.parametrize("name", APART)
def test_near_duplicates__all_apart(name):
    assert groups(*APART[name]) == list(range(len(APART[name])))


def test_near_duplicates__a_battery_stays_apart():
    """One stem of eleven words, twelve objects."""
    objects = "space health cities crime drugs schools arms aid welfare roads parks science".split()  # noqa: SIM905
    stem = "Are we spending too much, too little, or about enough on"
    assert groups(*(f"{stem} {what}?" for what in objects)) == list(range(12))


def cosines(questions: list[str]) -> np.ndarray:
    """tf-idf cosines from the formula: tf (ln((1 + n) / (1 + df)) + 1)."""
    words = [question.lower().split() for question in questions]
    df = {word: sum(word in other for other in words) for one in words for word in one}
    rows = [{w: one.count(w) * (math.log((1 + len(words)) / (1 + df[w])) + 1) for w in one} for one in words]

    def product(a: dict[str, float], b: dict[str, float]) -> float:
        return math.fsum(a[w] * b.get(w, 0) for w in a)

    def length(a: dict[str, float]) -> float:
        return math.sqrt(product(a, a)) or 1.0

    return np.array([[product(a, b) / length(a) / length(b) for b in rows] for a in rows])


def test_near_duplicates__transitive():
    """Each is alike to the next; the ends, at a cosine under 0.8, go together through the middle."""
    chain = ["a b c d e f g h i j", "a b c d e f g h i x", "a b c d e f g h y x", "p q r"]
    alike = cosines(chain)
    threshold = holdout.NEAR_DUPLICATE
    assert alike[0, 2] < threshold < min(alike[0, 1], alike[1, 2])
    assert groups(*chain) == [0, 0, 0, 3]
    assert groups(chain[0], chain[2], chain[3]) == [0, 1, 2]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["one", "two", "three", "four", "five"]), max_size=6).map(" ".join), max_size=7),
    st.randoms(use_true_random=False),
)
def test_near_duplicates__closure_of_cosines(questions, random):
    """Oracle: cosines from the formula, closed by boolean matrix powers; equal. And the order does not matter."""
    assume(any(questions))
    alike = cosines(questions)
    assume(np.abs(alike - holdout.NEAR_DUPLICATE).min() > 1e-9)
    reach = (alike >= holdout.NEAR_DUPLICATE) | np.eye(len(questions), dtype=bool)
    for _ in questions:
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    found = holdout.near_duplicates(questions)
    np.testing.assert_array_equal(found[:, None] == found, reach)
    order = list(range(len(questions)))
    random.shuffle(order)
    moved = holdout.near_duplicates([questions[i] for i in order])
    np.testing.assert_array_equal(moved[:, None] == moved, reach[np.ix_(order, order)])
