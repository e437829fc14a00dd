"""Targets: the cube's numbers cell by cell, and nothing of what is held out."""

from __future__ import annotations

import itertools
from dataclasses import fields
from functools import cache

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from acecausal.comparison import holdout
from acecausal.comparison.compare import MIN_RESPONDENTS
from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.cube.files import lattice_of
from acecausal.cube.lattice import Attribute, Lattice, Level
from acecausal.errors import AceError, CubeError
from acecausal.estimation.estimate import estimate
from acecausal.estimation.plan import make_plan
from acecausal.estimation.shrinkage import shrink_responses, shrink_shifts
from align.training.targets import MOST_GAIN, SE_FLOOR, SOURCES, Target, left_out, make_targets, some

VALUES = (
    cubes.Value("trust", "Do you trust the government?", "politics", "ordinal", ("no", "rather not", "rather", "yes")),
    cubes.Value("vote", "Did you vote in the last election?", "politics", "binary", ("no", "yes")),
    cubes.Value("party", "Which party is nearest to you?", "parties", "nominal", ("left", "centre", "right")),
    cubes.Value("nothing", "A question that nobody was asked.", "none", "ordinal", ("low", "middle", "high")),
)
NOTHING = 3
LATTICE = Lattice.over(
    [
        Attribute(name, name, tuple(Level(f"l{i}", f"l{i}", f"l{i}") for i in range(count)), f"l{count - 2}")
        for name, count in (("a", 2), ("b", 3), ("c", 2))
    ]
)


@pytest.fixture
def human(human):
    """Without shares: these tests are of numbers, and shifts of two personas each; see test_targets_weighed.py."""
    return human.drop_vars("share")


def random_cube(seed: int) -> xr.Dataset:
    """A valid survey cube of random numbers: many cells of fewer than 10 people, every status, one value of nothing."""
    rng = np.random.default_rng(seed)
    countries = [cubes.Country(f"country{c}", f"Country {c}", "") for c in range(3)]
    sizes = {"country": 3, "attribute": len(LATTICE.contrasts), "value": len(VALUES), "persona": len(LATTICE.personas)}
    sizes |= {"option": 4, "bound": 2}
    n_options = np.array([len(v.options) for v in VALUES])
    inside = np.arange(4) < n_options[:, None, None]
    scored = np.array([v.scale != "nominal" for v in VALUES])
    response, effect = ([sizes[dim] for dim in dims] for dims in (schema.RESPONSE, schema.EDGE))
    n = rng.integers(0, 40, response)
    n[:, NOTHING] = 0
    contrast, context, _, _ = LATTICE.edges.T
    status = np.full(effect, schema.NOT_APPLICABLE, dtype=np.int8)
    some = rng.choice(len(schema.STATUS), (len(LATTICE.edges), 3, len(VALUES)), p=[0.6, 0.05, 0.05, 0.1, 0.1, 0.1])
    some[:, :, NOTHING] = schema.NOT_ASKED
    status[:, contrast, :, context] = some
    ok = status == schema.OK
    effect_there = ok & scored[:, None]
    there = {
        "shift": ok,
        "effect": effect_there,
        "test": effect_there,
        "response": n > 0,
        "spread": n > 0,
        "": np.True_,
    }
    arrays = {}
    for spec in schema.VARIABLES:
        if "survey" not in spec.kinds or "survey" in spec.optional:
            continue
        shape = [sizes[dim] for dim in spec.dims]
        if spec.dtype == "i":
            arrays[spec.name] = rng.integers(0, 40, shape)
            continue
        numbers = rng.uniform(0.005, 0.3, shape)
        if spec.name == "q_value":  # never below the p-value
            numbers = numbers + 0.3
        if spec.name == "effect_interval":
            numbers = np.stack([arrays["effect"] - numbers[..., 0], arrays["effect"] + numbers[..., 1]], axis=-1)
        if spec.name in ("effect", "effect_shrunk"):
            of = arrays[spec.name.replace("effect", "shift")]
            score = np.stack([np.pad(schema.scores(k), (0, 4 - k)) for k in n_options])
            numbers = (np.where(np.isnan(of), 0, of) * score[:, None]).sum(axis=-1)
        present = there[spec.present]
        if "option" in spec.dims:
            if spec.present == "shift" and not spec.name.endswith("se"):
                numbers -= np.where(inside, numbers, 0).sum(axis=-1, keepdims=True) / n_options[:, None, None]
            present = present[..., None] & inside
        elif "bound" in spec.dims:
            present = present[..., None]
        arrays[spec.name] = np.where(present, numbers, np.nan)
    for name in ("response", "response_shrunk"):
        shares = rng.dirichlet(np.ones(4), response) * np.where(inside, 1, 1e-300)
        arrays[name] = np.where((n > 0)[..., None] & inside, shares / shares.sum(axis=-1, keepdims=True), np.nan)
    arrays |= {"n": n, "n_eff": n * rng.uniform(0.5, 1, response), "status": status}
    return cubes.build("survey", countries, list(VALUES), LATTICE, arrays, {})


@cache
def cube(seed: int = 0) -> xr.Dataset:
    return random_cube(seed)


#: Each dimension of a hold-out, and several at once.
HELD: dict[str, holdout.HoldOut] = {
    "country": {"country": ["country1"]},
    "value": {"value": ["trust"]},
    "nominal value": {"value": ["party", "vote"]},
    "topic": {"topic": ["politics"]},
    "everybody": {"granularity": ["0"]},
    "ends of the context all": {"granularity": ["1"]},
    "finest": {"granularity": ["3"]},
    "an attribute": {"attributes": ["b"]},
    "two together": {"attributes": ["a+c"]},
    "several": {"country": ["country0"], "value": ["vote"], "attributes": ["a+b+c", "b+c"]},
}


@cache
def made(name: str, source: str) -> list[Target]:
    return make_targets(cube(), HELD.get(name, {}), source)


def ends_of(target: Target) -> tuple[list[int], list[int]]:
    """Baseline and treated persona of each edge, as positions among the asked, where shifts are plain differences."""
    weights = target.functional
    assert ((weights == 1).sum(dim=1) == 1).all()
    assert ((weights == -1).sum(dim=1) == 1).all()
    assert ((weights != 0).sum(dim=1) == 2).all()
    if not len(weights):
        return [], []
    return weights.argmin(dim=1).tolist(), weights.argmax(dim=1).tolist()


def edges_of(target: Target, data: xr.Dataset) -> list[tuple[int, int, int, int]]:
    """The target's edges as they stand in the lattice, in its order."""
    ends = {(e[2], e[3]): tuple(e) for e in lattice_of(data).edges.tolist()}
    personas = target.personas.tolist()
    return [ends[personas[a], personas[b]] for a, b in zip(*ends_of(target), strict=True)]


def tensors(target: Target) -> dict[str, torch.Tensor]:
    found = {f.name: getattr(target, f.name) for f in fields(target)}
    return {name: part for name, part in found.items() if isinstance(part, torch.Tensor)}


def as_bits(targets: list[Target]) -> list[tuple]:
    return [
        (t.country, t.value, *((name, x.dtype, tuple(x.shape), x.numpy().tobytes()) for name, x in tensors(t).items()))
        for t in targets
    ]


# --- the cube's numbers -----------------------------------------------------------------------------------------------


def check_raw(data: xr.Dataset) -> None:
    """Every number of every target against the cube, by loops; every cell that can be used is used."""
    targets = {(t.country, t.value): t for t in make_targets(data)}
    status, n = data.status.values, data.n.values
    for c, v in np.ndindex(data.sizes["country"], data.sizes["value"]):
        known = [tuple(e) for e in lattice_of(data).edges.tolist() if status[c, e[0], v, e[1]] == schema.OK]
        answered = [p for p in range(data.sizes["persona"]) if n[c, v, p] >= MIN_RESPONDENTS]
        asked = sorted({*answered, *(e[2] for e in known), *(e[3] for e in known)})
        if not asked:
            assert (c, v) not in targets
            continue
        t, k, nominal = targets[c, v], int(data.n_options[v]), str(data["scale"].values[v]) == "nominal"
        assert t.personas.tolist() == asked
        assert edges_of(t, data) == known
        response, weight = data.response.values[c, v, asked, :k], data.n_eff.values[c, v, asked]
        few = ~np.isin(asked, answered)
        np.testing.assert_array_equal(t.response, np.where(few[:, None], 0, response).astype(np.float32))
        np.testing.assert_array_equal(t.weight, np.where(few, 0, weight).astype(np.float32))
        assert t.shift.shape == (len(known), k if nominal else k - 1)
        for number, (contrast, context, _, _) in enumerate(known):
            at = (c, contrast, v, context)
            shift, se = data["shift"].values[at][:k], data.shift_se.values[at][:k]
            if not nominal:
                shift, se = shift.cumsum()[:-1], data.cumulative_shift_se.values[at][: k - 1]
            np.testing.assert_allclose(t.shift[number], shift, atol=1e-6)
            assert float(t.precision[number]) == pytest.approx(1 / max((se**2).mean(), SE_FLOOR**2), rel=1e-5)
        moved = torch.arange(k, dtype=torch.float32) ** 2
        np.testing.assert_allclose(moved @ t.transform, moved if nominal else moved.cumsum(0)[:-1], rtol=1e-6)


def test_raw__is_the_cube(human):
    """Oracle: the cube, cell by cell. atol 1e-6 for shifts, rel 1e-5 for precisions (float32), else equal."""
    assert sum(len(t.shift) for t in make_targets(human)) == int((human.status == schema.OK).sum()) == 295
    check_raw(human)


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_raw__is_any_cube(seed):
    """The same with ordinal, binary and nominal values, cells of any size and status, and a value of nothing."""
    data = random_cube(seed)
    check_raw(data)
    assert NOTHING not in {t.value for t in make_targets(data)}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", ["nothing", *HELD])
def test_targets__are_well_formed(source, name):
    """Finite; only personas that some number is about; a number per edge; shares sum to 1 where they weigh."""
    for t in made(name, source):
        assert all(torch.isfinite(part).all() for part in tensors(t).values())
        needed = {*np.flatnonzero(t.weight).tolist(), *itertools.chain(*ends_of(t))}
        assert sorted(needed) == list(range(len(t.personas)))
        assert t.personas.diff().gt(0).all()
        assert len(t.functional) == len(t.shift) == len(t.precision)
        assert t.functional.shape[1] == t.apart.shape[1] == len(t.personas)
        assert t.personas.dtype == torch.int64
        assert {
            t.functional.dtype,
            t.apart.dtype,
            t.response.dtype,
            t.shift.dtype,
            t.weight.dtype,
            t.precision.dtype,
        } == {torch.float32}
        assert (t.precision > 0).all()
        assert float(t.precision.max()) <= 1 / SE_FLOOR**2 * (1 + 1e-6)
        np.testing.assert_allclose(t.response.sum(dim=1), t.weight > 0, atol=1e-6)
        assert (data_n(t) < MIN_RESPONDENTS).tolist() == (t.weight == 0).tolist()


def data_n(target: Target) -> np.ndarray:
    return cube().n.values[target.country, target.value, target.personas]


def test_precision__floor(human):
    """No shift counts as known better than 0.01, however small its error. rel 1e-6 (float32)."""
    sure = human.copy(deep=True)
    for name in ("shift_se", "cumulative_shift_se"):
        sure[name] *= 1e-6
    for t in make_targets(sure):
        np.testing.assert_allclose(t.precision, 1 / SE_FLOOR**2, rtol=1e-6)


# --- association ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nothing", *HELD])
def test_association__differences_of_shares(name):
    """Closed form: every edge between two personas of 10 people, whatever its status; weights 1. atol 1e-6."""
    data = cube()
    out = holdout.masks(HELD.get(name, {}), data)[0]
    usable = (data.n.values >= MIN_RESPONDENTS) & ~out
    found = {(t.country, t.value): t for t in made(name, "association")}
    for c, v in np.ndindex(usable.shape[:2]):
        known = [tuple(e) for e in LATTICE.edges.tolist() if usable[c, v, e[2]] and usable[c, v, e[3]]]
        if not usable[c, v].any():
            assert (c, v) not in found
            continue
        t, k = found[c, v], int(data.n_options[v])
        assert t.personas.tolist() == np.flatnonzero(usable[c, v]).tolist()
        assert edges_of(t, data) == known
        assert (t.weight == 1).all()
        assert (t.precision == 1).all()
        shares = data.response.values[c, v, :, :k]
        np.testing.assert_array_equal(t.response, shares[t.personas].astype(np.float32))
        expected = np.array([shares[high] - shares[low] for _, _, low, high in known]).reshape(-1, k)
        expected = expected if VALUES[v].scale == "nominal" else expected.cumsum(axis=1)[:, :-1]
        np.testing.assert_allclose(t.shift, expected, atol=1e-6)


# --- shrunk -----------------------------------------------------------------------------------------------------------


def check_shrunk(targets: list[Target], data: xr.Dataset, to: dict[str, np.ndarray]) -> None:
    """Against empirical-Bayes versions from elsewhere: `to` has shift, shift_se, response, response_se. rel 1e-5."""
    for t in targets:
        k, nominal = int(data.n_options[t.value]), str(data["scale"].values[t.value]) == "nominal"
        for i, (contrast, context, _, _) in enumerate(edges_of(t, data)):
            at = (t.country, contrast, t.value, context)
            shift, se = to["shift"][at][:k], data.shift_se.values[at][:k]
            np.testing.assert_allclose(t.shift[i], shift if nominal else shift.cumsum()[:-1], atol=1e-6)
            shrinks = np.clip((to["shift_se"][at][:k] ** 2).sum() / (se**2).sum(), 1 / MOST_GAIN, 1)
            own = se if nominal else data.cumulative_shift_se.values[at][: k - 1]
            expected = 1 / max((own**2).mean() * shrinks, SE_FLOOR**2)
            assert float(t.precision[i]) == pytest.approx(expected, rel=1e-5)
        for i, persona in enumerate(t.personas.tolist()):
            at = (t.country, t.value, persona)
            if data.n.values[at] < MIN_RESPONDENTS:
                assert t.weight[i] == 0
                continue
            share, n_eff = to["response"][at][:k], data.n_eff.values[at]
            np.testing.assert_allclose(t.response[i], share, atol=1e-6)
            ratio = (to["response_se"][at][:k] ** 2).sum() / (share * (1 - share) / n_eff).sum()
            assert float(t.weight[i]) == pytest.approx(n_eff / np.clip(ratio, 1 / MOST_GAIN, 1), rel=1e-5)
            assert n_eff * (1 - 1e-6) <= float(t.weight[i]) <= MOST_GAIN * n_eff * (1 + 1e-6)


def in_cube(data: xr.Dataset) -> dict[str, np.ndarray]:
    names = ("shift", "shift_se", "response", "response_se")
    return {name: data[name.replace("_se", "") + "_shrunk" + "_se" * ("_se" in name)].values for name in names}


def test_shrunk__is_the_cube_s(human):
    """Oracle: nothing held out, the cube's own empirical-Bayes versions, from estimation. rel 1e-5 (float32)."""
    targets = make_targets(human, source="shrunk")
    raw = make_targets(human)
    assert [t.personas.tolist() for t in targets] == [t.personas.tolist() for t in raw]
    assert any(t.weight.gt(1.2 * r.weight).any() for t, r in zip(targets, raw, strict=True))
    check_shrunk(targets, human, in_cube(human))


def test_shrunk__as_if_the_country_had_not_been_surveyed(human, wvs):
    """Oracle: the cube estimated from the other three countries alone. rel 1e-5 (float32)."""
    kept = [name for name in human.country.values.tolist() if name != "USA"]
    assert human.country.values.tolist()[:3] == kept
    alone = estimate(wvs, make_plan(wvs, countries=kept))
    targets = make_targets(human, {"country": ["USA"]}, "shrunk")
    assert {t.country for t in targets} == {0, 1, 2}
    check_shrunk(targets, alone, in_cube(alone))
    moved = [abs(in_cube(alone)["shift"] - in_cube(human)["shift"][:3]), abs(alone["shift"] - human["shift"][:3])]
    assert np.nanmax(moved[0]) > 1e-3  # it did matter
    assert np.nanmax(moved[1]) < 1e-9


@pytest.mark.parametrize("name", ["nothing", *HELD])
def test_shrunk__of_a_cube_without_the_cells(name):
    """Oracle: the shrinkage of a cube in which the held-out cells are not there. rel 1e-5 (float32)."""
    data, masks = cube(), holdout.masks(HELD.get(name, {}), cube())
    response_out, effect_out = (xr.DataArray(m, dims=d) for m, d in zip(masks, DIMS, strict=True))
    without = {
        name: data[name].where(~(effect_out if "attribute" in data[name].dims else response_out)).values
        for name in ("shift", "shift_se", "effect_se", "response", "n_eff")
    }
    shift, shift_se, _ = shrink_shifts(without["shift"], without["shift_se"], without["effect_se"], LATTICE)
    scored = np.array([value.scale != "nominal" for value in VALUES])
    response, response_se = shrink_responses(without["response"], np.nan_to_num(without["n_eff"]), scored, LATTICE)
    to = {"shift": shift, "shift_se": shift_se, "response": response, "response_se": response_se}
    targets = made(name, "shrunk")
    assert [t.personas.tolist() for t in targets] == [t.personas.tolist() for t in made(name, "raw")]
    check_shrunk(targets, data, to)


# --- leaks ------------------------------------------------------------------------------------------------------------

DIMS = (schema.RESPONSE, schema.EDGE)


def spoiled(data: xr.Dataset, held: holdout.HoldOut, kind: str, *, rest: bool = False) -> xr.Dataset:
    """Replace every number of the held-out cells (`rest`: of all others), whichever variable holds it.

    `valid`: by other numbers in the schema's range, and other statuses; `missing`: as if the cell had no estimate;
    `nan`: by NaN, and the integers by absurd ones.
    """
    rng = np.random.default_rng(1)
    result = data.copy(deep=True)
    masks = dict(zip(DIMS, holdout.masks(held, data), strict=True))
    for spec in schema.VARIABLES:
        dims = next((d for d in DIMS if spec.dims[: len(d)] == d), None)
        if spec.name not in data or dims is None:
            continue
        numbers = result[spec.name].values
        cells = ~masks[dims] if rest else masks[dims]
        shape = numbers[cells].shape
        if spec.name == "status":
            numbers[cells] = {"valid": rng.integers(0, 6, shape), "missing": schema.TOO_FEW, "nan": schema.OK}[kind]
        elif spec.dtype == "i":
            numbers[cells] = {"valid": rng.integers(0, 1000, shape), "missing": 0, "nan": 10**9}[kind]
        else:
            numbers[cells] = rng.uniform(0.001, 0.9, shape) if kind == "valid" else np.nan
    return result


@pytest.mark.parametrize("kind", ["valid", "missing", "nan"])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", HELD)
def test_leak__spoiling_what_is_held_out_changes_no_bit(name, source, kind):
    """Property: response, shift, their shrunk versions, sizes, errors, statuses of held-out cells enter nowhere."""
    held, data = HELD[name], spoiled(cube(), HELD[name], kind)
    assert not data.identical(cube())
    assert as_bits(make_targets(data, held, source)) == as_bits(made(name, source))
    assert left_out(data, held)["edges"] == left_out(cube(), held)["edges"]
    assert left_out(data, held)["responses"] == left_out(cube(), held)["responses"]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("held", [{"country": ["USA"]}, {"attributes": ["gender+degree"]}], ids=str)
def test_leak__nor_in_a_real_cube(human, held, source):
    data = spoiled(human, held, "valid")
    assert as_bits(make_targets(data, held, source)) == as_bits(make_targets(human, held, source))
    assert as_bits(make_targets(data, {}, source)) != as_bits(make_targets(human, {}, source))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", ["country", "nominal value", "finest", "two together"])
def test_leak__the_test_would_see_one(name, source):
    """Without the hold-out the same spoiling shows; with it, spoiling everything else shows."""
    held = HELD[name]
    data = spoiled(cube(), held, "valid")
    assert as_bits(make_targets(data, {}, source)) != as_bits(made("nothing", source))
    data = spoiled(cube(), held, "valid", rest=True)
    assert as_bits(make_targets(data, held, source)) != as_bits(made(name, source))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", HELD)
def test_leak__nobody_held_out_is_asked(name, source):
    """By labels: no country, value, topic, or persona of the hold-out, and so no edge that ends in one."""
    held, data = HELD[name], cube()
    for t in made(name, source):
        assert data.country.values[t.country] not in held.get("country", [])
        assert data.value.values[t.value] not in held.get("value", [])
        assert data.topic.values[t.value] not in held.get("topic", [])
        for persona in data.persona.values[t.personas]:
            specified = {part.split("=")[0] for part in persona.split(",") if persona != "all"}
            assert str(len(specified)) not in held.get("granularity", [])
            assert not any(set(joined.split("+")) <= specified for joined in held.get("attributes", []))


# --- what is left out -------------------------------------------------------------------------------------------------


def counted(left: dict[str, dict[str, int]], targets: list[Target]) -> dict[str, int]:
    made = {"responses": sum(int((t.weight > 0).sum()) for t in targets), "edges": sum(len(t.shift) for t in targets)}
    return {name: made[name] + sum(left[name].values()) for name in made}


@pytest.mark.parametrize("name", ["nothing", *HELD])
@pytest.mark.parametrize("source", ["raw", "shrunk"])
def test_left_out__adds_up(name, source):
    """All edges of the lattice, and all personas, in all countries and values: in a target, or counted as left out."""
    data, held = cube(), HELD.get(name, {})
    cells = data.sizes["country"] * data.sizes["value"]
    left = left_out(data, held)
    everything = {"responses": cells * len(LATTICE.personas), "edges": cells * len(LATTICE.edges)}
    assert counted(left, made(name, source)) == everything
    out = holdout.masks(held, data)
    assert left["responses"]["held_out"] == out[0].sum()
    assert left["edges"]["held_out"] == out[1].sum()


@pytest.mark.parametrize("name", ["nothing", *HELD])
def test_left_out__of_associations(name):
    """They need people at both ends, and no estimate: whatever its status, an edge without is of too few."""
    data, held = cube(), HELD.get(name, {})
    left = left_out(data, held, "association")
    cells = data.sizes["country"] * data.sizes["value"]
    everything = {"responses": cells * len(LATTICE.personas), "edges": cells * len(LATTICE.edges)}
    assert counted(left, made(name, "association")) == everything
    assert set(left["edges"]) == {"held_out", "too_few"}
    assert left["responses"] == left_out(data, held)["responses"]


def test_left_out__by_reason(human):
    """Oracle: counts over the lattice's edges by loops."""
    held = {"country": ["Norway"], "attributes": ["gender+degree"]}
    response, effect = holdout.masks(held, human)
    expected = dict.fromkeys(["held_out", *schema.STATUS[1:]], 0)
    for c in range(human.sizes["country"]):
        for contrast, context, _, _ in lattice_of(human).edges:
            code = int(human.status.values[c, contrast, 0, context])
            if effect[c, contrast, 0, context]:
                expected["held_out"] += 1
            elif code != schema.OK:
                expected[schema.STATUS[code]] += 1
    left = left_out(human, held)
    assert left["edges"] == {name: count for name, count in expected.items() if count or name == "held_out"}
    assert left["edges"]["too_few"] > 0
    assert left["responses"] == {
        "held_out": int(response.sum()),
        "too_few": int((human.n.values < MIN_RESPONDENTS)[~response].sum()),
    }


# --- errors, and moving -----------------------------------------------------------------------------------------------


def test_errors(human):
    with pytest.raises(CubeError, match=r"(?s)--cube: nothing to train on.*hold out less"):
        make_targets(human, {"value": ["poverty"]})
    with pytest.raises(AceError, match=r"(?s)targets: unknown name.*raw, shrunk, association.*did you mean 'shrunk'"):
        make_targets(human, source="shrunken")
    model = human.assign_attrs(kind="model")
    with pytest.raises(CubeError, match=r"(?s)--cube: is a model's cube.*a survey cube"):
        make_targets(model)


def test_to__moves_every_tensor():
    (first, *_) = make_targets(cube())
    moved = first.to(torch.device("meta"))
    assert {part.device.type for part in tensors(moved).values()} == {"meta"}
    assert {part.device.type for part in tensors(first).values()} == {"cpu"}
    assert (moved.country, moved.value) == (first.country, first.value)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20), st.sampled_from(["raw", "association"]))
def test_some__holds_whole_edges_of_the_personas_drawn(seed, most, source):
    """Property: as many personas as asked for, their own numbers, and exactly the edges that these suffice for."""
    rng = np.random.default_rng(seed)
    target = made("country", source)[seed % 3]
    drawn = some(target, most, rng)
    assert len(drawn.personas) == min(most, len(target.personas))
    at = [target.personas.tolist().index(p) for p in drawn.personas.tolist()]
    assert at == sorted(at)
    torch.testing.assert_close(drawn.response, target.response[at], rtol=0, atol=0)
    torch.testing.assert_close(drawn.weight, target.weight[at], rtol=0, atol=0)
    missing = [p for p in range(len(target.personas)) if p not in at]
    whole = (target.functional[:, missing] == 0).all(dim=1)
    torch.testing.assert_close(drawn.functional, target.functional[whole][:, at], rtol=0, atol=0)
    torch.testing.assert_close(drawn.shift, target.shift[whole], rtol=0, atol=0)
    torch.testing.assert_close(drawn.precision, target.precision[whole], rtol=0, atol=0)
    if most >= 2 and source == "association" and len(target.functional):
        assert whole.any()  # personas are drawn edge by edge
