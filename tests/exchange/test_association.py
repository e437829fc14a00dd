"""Associations against estimates on the microdata, numpy over people written out one by one, and counts by hand."""

from __future__ import annotations

import numpy as np
from exchange_files import aligned
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from acecausal.cube import files as cubes
from acecausal.cube import schema
from acecausal.cube.files import Value
from acecausal.cube.lattice import Attribute, Lattice, Level
from acecausal.exchange import export_cube, import_cube
from acecausal.exchange.association import associations, pool


def test_associations__estimate_on_the_microdata(plain, tmp_path):
    """Oracle: `estimate --estimand association` on people. Its design-based variance is the multinomial one times
    N / (N - 1), N the country's sample; everything else is the same number. rtol 1e-11."""
    export_cube("ace-align", plain, tmp_path / "tree")
    back = aligned(import_cube("ace-align", tmp_path / "tree").cube, plain)
    for name in ("status", "n", "n_baseline", "n_treated"):
        np.testing.assert_array_equal(back[name].values, plain[name].values, err_msg=name)
    for name in ("response", "n_eff", "shift", "effect", "response_shrunk"):
        np.testing.assert_allclose(back[name].values, plain[name].values, rtol=1e-11, atol=1e-12, err_msg=name)
    factor = np.sqrt(700 / 699)
    for name in ("response_se", "shift_se", "cumulative_shift_se", "effect_se"):
        np.testing.assert_allclose(factor * back[name], plain[name].values, rtol=1e-9, atol=1e-12, err_msg=name)
    ours, theirs = (cube["effect_interval"].diff("bound").values for cube in (back, plain))
    # the same degrees of freedom where the contrast's arms are the whole context; else ours are fewer
    binary = (back["treatment"] == back["treatment"][0]).values
    assert binary.tolist() == [True, False, False]
    np.testing.assert_allclose(factor * ours[:, binary], theirs[:, binary], rtol=1e-9)
    assert np.nanmin(factor * ours / theirs) > 1 - 1e-9
    assert back.sizes["country"] > 1
    for c in range(back.sizes["country"]):
        p, q = (back[name].values[c] for name in ("p_value", "q_value"))
        there = np.isfinite(p)
        np.testing.assert_allclose(q[there], stats.false_discovery_control(p[there]), rtol=1e-12)
    ok = plain["status"].values == schema.OK
    assert ok.any()
    assert (~ok).any()


@given(
    st.lists(st.lists(st.integers(0, 40), min_size=4, max_size=4), min_size=2, max_size=2),
    st.sampled_from(["ordinal", "nominal"]),
)
@example([[2, 3, 0, 0], [1, 1, 1, 2]], "ordinal")  # five at both ends: just enough
@example([[6, 0, 0, 0], [0, 0, 9, 0]], "ordinal")  # nobody differs from anybody
@example([[0, 0, 0, 0], [0, 0, 0, 0]], "ordinal")
@settings(max_examples=50, deadline=None)
def test_associations__errors_are_those_of_individuals(counts, scale):
    """Oracle: numpy's variance over people written out one by one. rtol 1e-9."""
    counts = np.array(counts)
    n = np.array([counts.sum(), *counts.sum(axis=1)]).reshape(1, 1, 3)
    people = np.stack([counts.sum(axis=0), *counts])
    with np.errstate(invalid="ignore"):
        response = (people / people.sum(axis=1, keepdims=True)).reshape(1, 1, 3, 4)
    attribute = Attribute("g", "g", (Level("a", "a", "a"), Level("b", "b", "b")), "a")
    lattice, value = Lattice.over([attribute]), Value("q", "q", "t", scale, tuple("wxyz"))
    arrays = associations(response, n, [value], lattice, min_arm=5)
    cube = cubes.build("survey", [cubes.Country("c", "c", "")], [value], lattice, arrays, {})  # validates
    cell = cube.isel(country=0, attribute=0, value=0, persona=0)
    low, high = counts.sum(axis=1)
    if low + high == 0:
        assert cell.status == schema.NOT_ASKED
        return
    if min(low, high) < 5:
        assert cell.status == schema.TOO_FEW
        return
    persons = [np.repeat(np.arange(4), row) for row in counts]
    spread = sum(np.var(answers / 3) / len(answers) for answers in persons)
    assert (cell.status == schema.OK) == (spread > 1e-20)
    if spread <= 1e-20:
        return
    np.testing.assert_allclose(cell["shift"].sum(), 0, atol=1e-12)
    for name, hit in (("shift_se", np.equal), ("cumulative_shift_se", np.less_equal)):
        expected = [np.sqrt(sum(np.var(hit(a, k)) / len(a) for a in persons)) for k in range(4)]
        np.testing.assert_allclose(cell[name], expected, rtol=1e-9, atol=1e-12)
    if scale == "ordinal":
        np.testing.assert_allclose(cell["effect_se"], np.sqrt(spread), rtol=1e-9)
        np.testing.assert_allclose(cell["effect"], (persons[1].mean() - persons[0].mean()) / 3, atol=1e-12)


def test_pool__most_people_or_the_named_attribute():
    """By hand: who has no level of an attribute is in none of its groups."""
    attributes = [
        Attribute(name, name, tuple(Level(x, x, x) for x in levels), levels[0])
        for name, levels in (("a", "xy"), ("b", "uvw"))
    ]
    lattice = Lattice.over(attributes, 1)
    n = np.array([0, 10, 30, 20, 20, 20]).reshape(1, 1, 6)
    share = np.array([np.nan, 0.1, 0.5, 0.2, 0.4, 0.9])
    response = np.stack([share, 1 - share, np.full(6, np.nan)], axis=-1).reshape(1, 1, 6, 3)
    over_a, n_a = response.copy(), n.copy()
    pool(response, n, lattice, [0])
    assert n[0, 0, 0] == 60
    np.testing.assert_allclose(response[0, 0, 0], [0.5, 0.5, np.nan], atol=1e-15)
    pool(over_a, n_a, lattice, [0], over=0)
    assert n_a[0, 0, 0] == 40
    np.testing.assert_allclose(over_a[0, 0, 0], [0.4, 0.6, np.nan], atol=1e-15)
