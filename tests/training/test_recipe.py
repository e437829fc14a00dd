"""Recipes: the shipped ones, what a broken one says, and which objectives weigh when."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from acecausal.errors import AceError
from align.prompting.templates import TEMPLATES
from align.prompting.wordings import MARKS, ORDERS, Wording
from align.training.objectives import OBJECTIVES
from align.training.recipe import Recipe, Stage, load_recipe, shipped_recipes

MINIMAL = {
    "recipe": 1,
    "name": "mine",
    "stages": [{"objectives": {"level": 1.0}}],
    "lora": {"r": 8, "alpha": 16, "dropout": 0.0, "target_modules": "all-linear"},
    "optimiser": {"learning_rate": 1.0e-3},
    "passes": 3,
}


def write(folder: Path, raw: object) -> Path:
    path = folder / "mine.yaml"
    path.write_text(raw if isinstance(raw, str) else yaml.safe_dump(raw), encoding="utf-8")
    return path


def complaint(folder: Path, raw: object) -> list[str]:
    """What the recipe's errors say, one a line, below the file and their number."""
    path = write(folder, raw)
    with pytest.raises(AceError) as caught:
        load_recipe(path)
    head, *lines = str(caught.value).split("\n")
    assert head == f"{path}: {len(lines)} errors:"
    return [line.strip() for line in lines]


# --- the shipped ones -------------------------------------------------------------------------------------------------

#: What makes each the recipe that it is: targets, template, objectives by stage, rank, passes.
SHIPPED = {
    "ace-align": ("association", ("ace-align",), [(0.5, {"mode": 1.0}), (0.5, {"shift-emd": 1.0})], 16, 2),
    "default": (
        "shrunk",
        ("persona-last", "questionnaire", "first-person"),
        [(1.0, {"level": 1.0, "shift": 20.0, "mass": 0.1, "identity": 0.5, "margin": 1.0})],
        16,
        84,
    ),
    "mode": ("association", ("persona-last",), [(1.0, {"mode": 1.0})], 16, 10),
    "subpop": ("raw", ("persona-last",), [(1.0, {"level": 1.0})], 8, 50),
}


def test_shipped__are_these():
    assert shipped_recipes() == list(SHIPPED)
    assert {name for _, _, stages, _, _ in SHIPPED.values() for _, o in stages for name in o} <= set(OBJECTIVES)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped__load(name):
    recipe = load_recipe(name)
    stages = [(stage.share, stage.objectives) for stage in recipe.stages]
    assert recipe.name == name
    assert (recipe.targets, recipe.templates, stages, recipe.lora.r, recipe.passes) == SHIPPED[name]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped__round_trip(name, tmp_path):
    """As it is written down in an adapter's record, it loads again."""
    recipe = load_recipe(name)
    assert load_recipe(write(tmp_path, recipe.model_dump(mode="json"))) == recipe


# --- loading ----------------------------------------------------------------------------------------------------------


def test_load__defaults(tmp_path):
    recipe = load_recipe(write(tmp_path, MINIMAL))
    assert recipe == load_recipe(str(tmp_path / "mine.yaml"))
    assert (recipe.templates, recipe.orders, recipe.marks) == (("persona-last",), ("forward",), ("labels",))
    assert (recipe.kept_back, recipe.targets) == ((), "raw")
    assert (recipe.accumulate, recipe.recompute, recipe.patience, recipe.precision, recipe.seed) == (1, 0, 0, "auto", 0)
    assert recipe.optimiser.model_dump() == {
        "learning_rate": 1e-3,
        "schedule": "cosine",
        "warmup": 0.05,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
    }


def test_load__overrides():
    """Those that are None leave the recipe as it is; the others are checked like the file's own keys."""
    recipe = load_recipe("default")
    assert load_recipe("default", passes=None, seed=None, targets=None) == recipe
    changed = load_recipe("default", passes=3, seed=7, targets="raw", orders=["reversed"])
    assert changed == recipe.model_copy(update={"passes": 3, "seed": 7, "targets": "raw", "orders": ("reversed",)})
    assert load_recipe("default", seed=0).seed == 0
    with pytest.raises(AceError, match=r"(?s)default: 1 errors.*passes: Input should be greater than or equal to 1"):
        load_recipe("default", passes=0)
    with pytest.raises(AceError, match="colour: Extra inputs are not permitted"):
        load_recipe("default", colour=1)


def test_load__did_you_mean():
    with pytest.raises(AceError) as caught:
        load_recipe("defualt")
    assert str(caught.value) == (
        "--recipe: unknown name\n  expected: one of ace-align, default, mode, subpop\n"
        "  got: 'defualt'\n  hint: did you mean 'default'?"
    )


UNREADABLE = {
    "": "not a recipe\n  expected: a YAML mapping\n  got: NoneType",
    "- a\n- b\n": "not a recipe\n  expected: a YAML mapping\n  got: list",
    "only words": "not a recipe\n  expected: a YAML mapping\n  got: str",
    "passes: [1": "not valid YAML\n  got: line 1, column 11: expected",
    "a: !!python/object:os.system 1": "not valid YAML\n  got: line 1, column 4: could not determine a constructor",
    "seed: 1\nseed: 2": "not valid YAML\n  got: line 2, column 1: key 'seed' stands twice",
}


@pytest.mark.parametrize("text", UNREADABLE)
def test_load__not_a_recipe(tmp_path, text):
    path = write(tmp_path, text)
    with pytest.raises(AceError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(f"{path}: {UNREADABLE[text]}")


def test_load__not_a_file(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "binary.yaml"):
        with pytest.raises(AceError, match="cannot be read"):
            load_recipe(path)


# --- validation -------------------------------------------------------------------------------------------------------

STAGES = {"mode": 1.0}
NAN, INF = float("nan"), float("inf")

BAD = {
    "version": ({"recipe": 2}, ["recipe: Input should be 1"]),
    "unknown key": ({"colour": "blue"}, ["colour: Extra inputs are not permitted"]),
    "unknown key below": (
        {"stages": [{"objectives": STAGES, "weight": 1}]},
        ["stages.0.weight: Extra inputs are not permitted"],
    ),
    "unknown objective": (
        {"stages": [{"objectives": {"levels": 1, "level": 1, "flow": 2}}]},
        [
            "stages.0.objectives: Value error, ['flow', 'levels'] are no objectives: "
            "mode, level, level-emd, shift, shift-emd, coherence, margin, mass, identity"
        ],
    ),
    "negative weight": (
        {"stages": [{"objectives": {"level": 1, "shift": -1}}]},
        ["stages.0.objectives: Value error, weights must not be negative, and one must be positive"],
    ),
    "no weight": (
        {"stages": [{"objectives": {"level": 0, "mode": 0}}]},
        ["stages.0.objectives: Value error, weights must not be negative, and one must be positive"],
    ),
    "no objective": (
        {"stages": [{"objectives": {}}]},
        ["stages.0.objectives: Dictionary should have at least 1 item after validation, not 0"],
    ),
    "infinite weight": (
        {"stages": [{"objectives": {"mode": INF}}]},
        ["stages.0.objectives.mode: Input should be a finite number"],
    ),
    "nan weight": (
        {"stages": [{"objectives": {"mode": NAN}}]},
        ["stages.0.objectives.mode: Input should be a finite number"],
    ),
    "shares too small": (
        {"stages": [{"share": 0.5, "objectives": STAGES}, {"share": 0.25, "objectives": STAGES}]},
        ["recipe: Value error, the stages' shares must sum to 1, not 0.75"],
    ),
    "shares too large": (
        {"stages": [{"objectives": STAGES}, {"share": 0.25, "objectives": STAGES}]},
        ["recipe: Value error, the stages' shares must sum to 1, not 1.25"],
    ),
    "share of nothing": (
        {"stages": [{"share": 0, "objectives": STAGES}, {"objectives": STAGES}]},
        ["stages.0.share: Input should be greater than 0"],
    ),
    "template": (
        {"templates": ["persona-first"]},
        [
            "templates.0: Value error, expected one of persona-last, interview, questionnaire, first-person, ace-align",
        ],
    ),
    "order": (
        {"orders": ["forward", "backward"]},
        ["orders.1: Value error, expected one of forward, reversed, permuted, unlisted"],
    ),
    "order twice": ({"orders": ["forward", "forward"]}, ["recipe: Value error, orders: each once"]),
    "one order, not in a list": ({"orders": "forward"}, ["orders: Input should be a valid tuple"]),
    "marks": ({"marks": ["auto"]}, ["marks.0: Value error, expected one of labels, digits, letters"]),
    "kept back, misspelt": (
        {"kept_back": ["intervju"]},
        ["recipe: Value error, kept_back: 'intervju' is no wording: template, order, marks, or some of them"],
    ),
    "all kept back": (
        {"kept_back": ["persona-last"]},
        ["recipe: Value error, kept_back: nothing is left to train on"],
    ),
    "an order kept back of drawn ones": (
        {"orders": ["permuted"], "kept_back": ["reversed labels"]},
        ["recipe: Value error, kept_back: 'reversed labels' names an order, and drawn ones would hold it at times"],
    ),
    "targets": ({"targets": "shrunken"}, ["targets: Value error, expected one of raw, shrunk, association"]),
    "precision": ({"precision": "float16"}, ["precision: Input should be 'auto', 'float32', 'mixed' or 'bfloat16'"]),
    "word for a number": (
        {"passes": "three"},
        ["passes: Input should be a valid integer, unable to parse string as an integer"],
    ),
    "half a pass": (
        {"passes": 2.5},
        ["passes: Input should be a valid integer, got a number with a fractional part"],
    ),
    "list for a mapping": (
        {"lora": [8, 16]},
        ["lora: Input should be a valid dictionary or instance of Lora"],
    ),
    "none": ({"passes": None}, ["passes: Input should be a valid integer"]),
    "no passes": ({"passes": 0}, ["passes: Input should be greater than or equal to 1"]),
    "accumulate": ({"accumulate": 0}, ["accumulate: Input should be greater than or equal to 1"]),
    "negatives": (
        {"recompute": -1, "patience": -1, "seed": -1},
        [f"{name}: Input should be greater than or equal to 0" for name in ("recompute", "patience", "seed")],
    ),
    "absurd counts": (
        {"passes": 10**9, "accumulate": 10**12, "patience": 10**30, "tokens": 2**40},
        [
            "passes: Input should be less than or equal to 100000",
            "accumulate: Input should be less than or equal to 10000",
            "tokens: Input should be less than or equal to 1048576",
            "patience: Input should be less than or equal to 100000",
        ],
    ),
    "absurd adapter": (
        {"lora": MINIMAL["lora"] | {"r": 10**9, "alpha": 10**12}},
        [
            "lora.r: Input should be less than or equal to 4096",
            "lora.alpha: Input should be less than or equal to 1048576",
        ],
    ),
    "absurd rates": (
        {"optimiser": {"learning_rate": 1e30, "weight_decay": 1e300, "max_grad_norm": 1e300}},
        [
            "optimiser.learning_rate: Input should be less than or equal to 1",
            "optimiser.weight_decay: Input should be less than or equal to 1",
            "optimiser.max_grad_norm: Input should be less than or equal to 1000000",
        ],
    ),
    "absurd weight": (
        {"stages": [{"objectives": {"level": 1e300}}]},
        ["stages.0.objectives: Value error, weights must be 1e6 at most"],
    ),
    "broken expression": (
        {"lora": MINIMAL["lora"] | {"target_modules": "(q_proj"}},
        ["lora.target_modules: Value error, no regular expression: missing ), unterminated subpattern at position 0"],
    ),
    "no modules": (
        {"lora": MINIMAL["lora"] | {"target_modules": []}},
        ["lora.target_modules: Value error, at least one name, none empty"],
    ),
    "empty name": (
        {"lora": MINIMAL["lora"] | {"target_modules": ["q_proj", ""]}},
        ["lora.target_modules: Value error, at least one name, none empty"],
    ),
    "seed": ({"seed": 2**32}, ["seed: Input should be less than 4294967296"]),
    "rank": (
        {"lora": MINIMAL["lora"] | {"r": 0, "dropout": 1}},
        ["lora.r: Input should be greater than or equal to 1", "lora.dropout: Input should be less than 1"],
    ),
    "optimiser": (
        {"optimiser": {"learning_rate": 0, "warmup": 1, "schedule": "step", "max_grad_norm": 0}},
        [
            "optimiser.learning_rate: Input should be greater than 0",
            "optimiser.schedule: Input should be 'constant', 'linear' or 'cosine'",
            "optimiser.warmup: Input should be less than 1",
            "optimiser.max_grad_norm: Input should be greater than 0",
        ],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_validation__says_what_is_wrong(tmp_path, name):
    changes, expected = BAD[name]
    assert complaint(tmp_path, MINIMAL | changes) == expected


@pytest.mark.parametrize("key", ["recipe", "name", "stages", "lora", "optimiser", "passes"])
def test_validation__missing_keys(tmp_path, key):
    raw = {name: part for name, part in MINIMAL.items() if name != key}
    assert complaint(tmp_path, raw) == [f"{key}: Field required"]


@pytest.mark.parametrize("key", ["stages", "orders", "templates", "marks"])
def test_validation__at_least_one(tmp_path, key):
    (only,) = complaint(tmp_path, MINIMAL | {key: []})
    assert key in only


def test_validation__all_errors_at_once(tmp_path):
    changes: dict = {}
    expected: list[str] = []
    for name in ("template", "targets", "no passes", "unknown key", "unknown objective", "rank", "marks", "seed"):
        changes |= BAD[name][0]
        expected += BAD[name][1]
    assert sorted(complaint(tmp_path, MINIMAL | changes)) == sorted(expected)


def test_frozen():
    recipe = load_recipe("default")
    with pytest.raises(ValueError, match="frozen"):
        recipe.passes = 2


# --- what follows from a recipe ---------------------------------------------------------------------------------------


def test_wordings__trained_on_and_kept_back(tmp_path):
    changes = {"templates": ["questionnaire", "interview"], "orders": ["reversed", "forward"], "marks": ["labels"]}
    recipe = load_recipe(write(tmp_path, MINIMAL | changes | {"kept_back": ["interview", "questionnaire forward"]}))
    assert recipe.trained_wordings == (Wording("questionnaire", "reversed"),)
    assert recipe.kept_wordings == (
        Wording("questionnaire", "forward"), Wording("interview", "reversed"), Wording("interview", "forward"),
    )  # fmt: skip
    assert {recipe.wording_at(item, visit) for item in range(3) for visit in range(9)} == set(recipe.trained_wordings)


def test_wordings__another_template_and_marks_may_be_kept_back():
    recipe = Recipe.model_validate(MINIMAL | {"kept_back": ["interview digits"]})
    assert recipe.kept_wordings == (Wording("interview", "forward", "digits"),)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(TEMPLATES)), min_size=1, max_size=3, unique=True),
    st.lists(st.sampled_from([*ORDERS, "permuted"]), min_size=1, max_size=3, unique=True),
    st.lists(st.sampled_from(MARKS), min_size=1, max_size=2, unique=True),
    st.integers(0, 5),
    st.integers(0, 3),
)
def test_wording_at__each_way_once_in_as_many_visits(templates, orders, marks, seed, item):
    """Property: whatever is drawn, no way of asking is seen more often than another, and never one kept back."""
    recipe = Recipe.model_validate(MINIMAL | {"templates": templates, "orders": orders, "marks": marks, "seed": seed})
    drawn = [recipe.wording_at(item, visit) for visit in range(3 * len(recipe.ways))]
    found = Counter((w.template, w.order.split("-")[0], w.marks) for w in drawn)
    assert found == dict.fromkeys(recipe.ways, 3)
    assert drawn == [recipe.wording_at(item, visit) for visit in range(len(drawn))]


def staged(shares: list[float]) -> Recipe:
    """Stages told apart by the weight of their one objective: 1, 2, 3 ..."""
    stages = tuple(Stage(share=share, objectives={"mode": float(i + 1)}) for i, share in enumerate(shares))
    return Recipe.model_validate(MINIMAL | {"stages": stages})


def test_objectives_at__the_published_two_stages():
    recipe = load_recipe("ace-align")
    steps = 8
    found = [next(iter(recipe.objectives_at(step / steps))) for step in range(steps)]
    assert found == ["mode"] * 4 + ["shift-emd"] * 4
    assert recipe.objectives_at(1.0) == {"shift-emd": 1.0}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_objectives_at__shares_partition_the_steps(parts):
    """Property: of as many steps as the parts' sum, each stage gets as many as its part, one stage after the other.

    Whatever floating point makes of the shares' sum.
    """
    steps = sum(parts)
    recipe = staged([part / steps for part in parts])
    found = [recipe.objectives_at(step / steps)["mode"] for step in range(steps)]
    assert found == [float(i + 1) for i, part in enumerate(parts) for _ in range(part)]
    assert recipe.objectives_at(1.0)["mode"] == len(parts)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.floats(0, 1))
def test_objectives_at__one_stage_anywhere(parts, progress):
    """Property: the stage whose half-open interval holds the progress, to 1e-6 of its ends."""
    total = sum(parts)
    at = staged([part / total for part in parts]).objectives_at(progress)["mode"]
    start, end = sum(parts[: int(at) - 1]) / total, sum(parts[: int(at)]) / total
    assert start - 1e-6 <= progress <= end + 1e-6


def test_shares__may_be_rounded(tmp_path):
    """Thirds as people write them, to 1e-6; not to 1e-3."""
    thirds = [{"share": share, "objectives": STAGES} for share in (0.333333, 0.333333, 0.333334)]
    assert load_recipe(write(tmp_path, MINIMAL | {"stages": thirds})).objectives_at(1.0) == STAGES
    thirds[2]["share"] = 0.333
    assert complaint(tmp_path, MINIMAL | {"stages": thirds}) == [
        "recipe: Value error, the stages' shares must sum to 1, not 0.999666"
    ]
