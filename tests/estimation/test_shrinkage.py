"""Empirical-Bayes shrinkage against closed forms, simulated hierarchies, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from acecausal.cube.lattice import Attribute, Lattice, Level
from acecausal.estimation import borrowing, mixture
from acecausal.estimation.nested import covariance_of, subsets_of
from acecausal.estimation.shrinkage import fill_shrunk, shrink_responses, shrink_shifts
from acecausal.simulation.cells import scenes


def lattice(attributes: int = 2) -> Lattice:
    levels = (Level("low", "low", "low"), Level("high", "high", "high"))
    return Lattice.over([Attribute(f"a{i}", f"a{i}", levels, "low") for i in range(attributes)])


def known(monkeypatch, *tau2s):
    """Take what `variances` would learn as known, call by call, and lift the limits: closed forms hold then."""
    wanted = list(tau2s)

    def variances(square, noise):
        tau2 = wanted.pop(0)
        weight = np.where(np.isfinite(noise), 1.0, 0.0)[..., None]
        return np.array([tau2]), weight, np.full(noise.shape[1], tau2)

    monkeypatch.setattr(borrowing, "variances", variances)
    monkeypatch.setattr(borrowing, "LIMIT", 1e9)
    monkeypatch.setattr(borrowing, "BEYOND", 1e9)


def test_variances__exact_posterior_cell_by_cell():
    """Oracle: the posterior of 2 values' cells by loops over scipy's densities, given the learnt prior. 1e-9."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(0.5, 2, (3, 2, 2))
    noise[2, 1, 1] = np.nan
    square = rng.normal(0, np.sqrt(np.nan_to_num(noise) + np.array([[[0], [9]]]))) ** 2
    grid, weight, group = mixture.variances(square, noise)
    edges = np.concatenate([[0], np.sqrt(grid[1:] * grid[:-1]), [np.inf]])
    # rows: what a t with 4 degrees of freedom and this squared scale says about a cell's variance
    kernel = np.array([np.diff(stats.invgamma(2, scale=2 * scale2).cdf(edges)) for scale2 in grid])

    def densities(c, v, i):
        return stats.norm.pdf(np.sqrt(square[c, v, i]), scale=np.sqrt(grid + noise[c, v, i]))

    cells = [[(c, v, i) for c in range(3) for i in range(2) if np.isfinite(noise[c, v, i])] for v in range(2)]
    likelihood = np.array([np.prod([kernel @ densities(*cell) for cell in those], axis=0) for those in cells])
    learnt = np.full(20, 0.05)
    for _ in range(30):
        posterior = learnt * likelihood / (likelihood @ learnt)[:, None]
        learnt = (posterior.sum(axis=0) + 0.05) / 3
    posterior = (learnt + 0.05) * likelihood
    posterior /= posterior.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(group, posterior @ grid, rtol=1e-9)
    for c, v, i in cells[0] + cells[1]:
        joint = posterior[v] / (kernel @ densities(c, v, i)) @ kernel * densities(c, v, i)
        np.testing.assert_allclose(weight[c, v, i], joint, rtol=1e-9)
    assert (weight[2, 1, 1] == 0).all()
    assert group[1] > 3 * group[0]


def shifts(rng, countries=8, values=10, tau=0.1, se=0.05, attributes=2):
    """Shifts of the lattice's first contrast that vary by tau over countries and not over contexts."""
    grid = lattice(attributes)
    n_personas = len(grid.personas)
    mean = rng.normal(0, 0.1, (1, values))
    true = mean + rng.normal(0, tau, (countries, values))
    spread = se * np.sqrt(2.0**grid.granularity)
    effect = true[:, :, None] + rng.normal(size=(countries, values, n_personas)) * spread
    shift = np.stack([-effect, effect], axis=-1)[:, None]
    error = np.broadcast_to(spread[:, None], shift.shape).copy()
    return grid, true, shift, error


def test_covariance__means_over_shared_people():
    """Closed form: cells as weighted means of disjoint leaves with known sizes, A diag(1/n) A'. 1e-12.

    Without the intersection of two attributes, independence is assumed: the variance of what both specify.
    """
    grid = lattice(3)
    n = np.array([3.0, 7, 20, 4, 9, 30, 6, 11])
    leaves = grid.codes[grid.granularity == 3]
    inside = grid.match(leaves) * n
    mean = inside / inside.sum(axis=1, keepdims=True)
    exact = mean / n @ mean.T
    subsets = subsets_of((0, 1, 2))
    ones = [
        int(np.flatnonzero((grid.codes == [1 if a in part else -1 for a in range(3)]).all(1))[0]) for part in subsets
    ]
    s2 = {part: np.full((1, 1, 1), exact[i, i]) for part, i in zip(subsets, ones, strict=True)}
    np.testing.assert_allclose(covariance_of(subsets, s2)[:, 0, 0, 0], exact[np.ix_(ones, ones)], atol=1e-12)
    s2[0, 1] = np.full((1, 1, 1), np.nan)
    assert covariance_of(subsets, s2)[1, 0, 0, 0, 2] == pytest.approx(exact[0, 0], rel=1e-12)


def test_responses__closed_form_with_shared_noise(monkeypatch):
    """Closed form: two halves of one country, tau2 known. The whole's noise, 1 / N, is in each half. 1e-10.

    d = half - whole has sampling variance 1 / N per person, none of it the whole's: k = tau2 / (tau2 + 1 / N).
    """
    rng = np.random.default_rng(3)
    values, size, tau2 = 12, 60.0, 0.03
    halves = rng.dirichlet(np.full(3, 4.0), (1, values, 2))
    whole = halves.mean(axis=2, keepdims=True)
    response = np.concatenate([whole, halves], axis=2)
    n = np.tile([size, size / 2, size / 2], (1, values, 1))
    keep = tau2 / (tau2 + 1 / size)
    error = (1 - keep) ** 2 * tau2 + (1 + keep**2) / size
    known(monkeypatch, tau2)
    found, se = shrink_responses(response, n, np.zeros(values, dtype=bool), lattice(1))
    np.testing.assert_allclose(found[:, :, 1:], whole + keep * (halves - whole), atol=1e-10)
    np.testing.assert_allclose(se[:, :, 1:], np.sqrt(whole * (1 - whole) * error).repeat(2, axis=2), rtol=1e-10)
    np.testing.assert_allclose(se[:, :, :1], np.sqrt(whole * (1 - whole) / size), rtol=1e-12)

    # with scores 0, .5, 1: their mean has a tau2 of its own; what is left lies along (1, -2, 1)
    known(monkeypatch, 0.001, tau2)
    found, _ = shrink_responses(response, n, np.ones(values, dtype=bool), lattice(1))
    score, bend = np.array([0, 0.5, 1]), np.array([1, -2, 1]) / 6
    of_mean = 0.001 / (0.001 + 1 / size)
    for direction, share in ((score, of_mean), (bend, keep)):
        np.testing.assert_allclose(
            found[:, :, 1:] @ direction, (whole + share * (halves - whole)) @ direction, atol=1e-10
        )


def test_shifts__james_stein_at_the_top(monkeypatch):
    """Closed form: in one context, equal errors, tau2 known. 1e-10.

    Prior b x leave-one-out mean of variance u, share kept (tau2 + u) / (tau2 + u + s2).
    """
    rng = np.random.default_rng(1)
    countries, values, se, tau2 = 12, 6, 0.05, 0.006
    effect = rng.normal(0, 0.1, (countries, values)) + rng.normal(0, 0.1, values)
    shift = np.full((countries, 1, values, 9, 2), np.nan)
    shift[:, 0, :, 0] = np.stack([-effect, effect], axis=-1)
    known(monkeypatch, tau2, tau2)
    found, error, of_effect = shrink_shifts(
        shift, np.where(np.isnan(shift), np.nan, se), shift[..., 0] * 0 + se, lattice()
    )
    others = (effect.sum(axis=0) - effect) / (countries - 1)
    slope = np.clip((others * effect).sum() / (others**2).sum(), 0, 1)
    rest = effect - slope * others
    varies = tau2 + slope**2 * (tau2 + se**2) / (countries - 1)
    keep = varies / (varies + se**2)
    np.testing.assert_allclose(found[:, 0, :, 0, 1], slope * others + keep * rest, atol=1e-10)
    np.testing.assert_allclose(found.sum(axis=-1)[:, 0, :, 0], 0, atol=1e-12)
    expected = np.full(effect.shape, np.sqrt(keep) * se)
    np.testing.assert_allclose(error[:, 0, :, 0], expected[..., None].repeat(2, axis=-1), rtol=1e-10)
    np.testing.assert_allclose(of_effect[:, 0, :, 0], expected, rtol=1e-10)
    assert 0.3 < keep < 0.95


def test_shifts__doubt_about_coarser_contexts_is_passed_down(monkeypatch):
    """Closed form: contexts that only repeat the shrunk context `all` are as uncertain as it is, not less. 1e-10.

    With k the share kept above, its error is (1 - k)^2 tau2 + k^2 s2 = k s2; below, tau2 is 0 and nothing is kept.
    """
    values, s2, tau2 = 40, 0.05**2, 0.004
    effect = np.random.default_rng(5).normal(0, 0.07, (1, values))
    keep = tau2 / (tau2 + s2)
    shift = np.full((1, 1, values, 9, 2), np.nan)
    grid = lattice()
    below = np.flatnonzero((grid.granularity == 1) & (grid.codes[:, 0] < 0))
    for context in (0, *below.tolist()):
        shift[:, 0, :, context] = np.stack([-effect, effect], axis=-1)
    se = np.full(shift.shape, 0.05)
    se[..., below, :] *= np.sqrt(2)
    se[np.isnan(shift)] = np.nan
    known(monkeypatch, tau2, 0.0)
    found, error, of_effect = shrink_shifts(shift, se, se[..., 0], grid)
    np.testing.assert_allclose(found[0, 0, :, below, 1], np.tile(keep * effect[0], (2, 1)), atol=1e-10)
    assert 0.3 < keep < 0.95
    np.testing.assert_allclose(error[0, 0, :, below] ** 2, keep * s2, rtol=1e-10)
    np.testing.assert_allclose(of_effect[0, 0, :, below] ** 2, keep * s2, rtol=1e-10)


#: Draws of each world: a ratio's Monte Carlo error is then .02 to .06, a coverage's .01 to .03.
WORLDS = {
    "along the scale": 30,
    "one of four values, 3 se, 1 countries": 60,
    "one of four values, 12 se, 1 countries": 60,
    "one of four values varies over countries": 30,
    "an outlying country, 4 se": 30,
    "an outlying cell, 24 se": 30,
    "heavy tails": 30,
    "mixed scales": 30,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(WORLDS))
def test_worlds__no_value_is_worse_than_raw(name):
    """Simulation, multinomial draws of fixed truths: effects of every value at every granularity, and of every country.

    Mean squared error at most 1.05 of the raw estimates', plus 2.5 Monte Carlo errors; 95 % intervals of each value
    hold the truth in .90, less 2.5 Monte Carlo errors, and, over all truths that are clearly not 0 (a truth of exactly
    0 they may always hold), in at most .98. The distributions' errors, and those of the responses' means, are never
    above raw.
    """
    draw, rng = scenes()[name].draw(), np.random.default_rng(0)
    draws = [draw(rng) for _ in range(WORLDS[name])]
    values, grid = draws[0].values, draws[0].lattice
    scored = np.array([value.scale != "nominal" for value in values])
    score = np.zeros((len(values), max(len(value.options) for value in values)))
    for v, value in enumerate(values):
        score[v, : len(value.options)] = np.linspace(0, 1, len(value.options))
    errors, inside = [], []
    for cells in draws:
        arrays = dict(cells.arrays)
        fill_shrunk(arrays, values, grid)
        for part in ("effect", "shift", "response"):
            arrays[part] = np.stack([arrays[part], arrays[f"{part}_shrunk"]]) - cells.truth[part]
        of_score = (np.nan_to_num(arrays["response"]) * score[:, None]).sum(axis=-1)
        errors.append({name: arrays[name] ** 2 for name in ("effect", "shift", "response")} | {"mean": of_score**2})
        inside.append(np.abs(arrays["effect"][1]) < 1.96 * arrays["effect_shrunk_se"])
    truth = draws[0].truth["effect"]
    for level in range(3):
        personas = grid.granularity == level
        contexts = personas & np.isfinite(truth[0, 0, scored.argmax()])
        for axis, keys in ((0, np.flatnonzero(scored)), (2, range(len(truth)))):  # by value, by country
            for key in keys:
                at = (slice(None), 0, key) if axis == 0 else (key, 0, scored)
                raw, shrunk = np.array([[part[at][..., contexts].sum() for part in one["effect"]] for one in errors]).T
                ratio = shrunk.sum() / raw.sum()
                doubt = np.sqrt(((shrunk - ratio * raw) ** 2).sum()) / raw.sum()
                assert ratio < 1.05 + 2.5 * doubt, (level, axis, key)
                if axis == 0:
                    held = np.array([one[at][..., contexts].mean() for one in inside])
                    assert held.mean() > 0.9 - 2.5 * held.std() / np.sqrt(len(held)), (level, key)
        for part in ("shift", "response", "mean"):
            if part == "shift" or level:
                total = [
                    [np.nansum(x[:, ..., personas, :] if part != "mean" else x[..., personas]) for x in one[part]]
                    for one in errors
                ]
                raw, shrunk = np.sum(total, axis=0)
                assert shrunk < raw, (level, part)
    clear = np.abs(truth) > 0.02  # about a standard error of the context `all`
    assert np.mean([one[clear].mean() for one in inside]) < 0.98


def test_shifts__closer_to_the_truth_than_raw_and_than_pooling():
    """Simulation: where effects vary over countries but not over contexts; mean squared errors, 20 draws, each time."""
    coverage = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        grid, true, shift, error = shifts(rng)
        found, se, _ = shrink_shifts(shift, error, error[..., 0], grid)
        wanted = np.broadcast_to(true[:, None, :, None], found.shape[:-1])

        def mse(guess, wanted=wanted):
            return float(((guess - wanted) ** 2).mean())

        pooled = np.broadcast_to(shift[..., 1].mean(axis=0, keepdims=True), wanted.shape)
        assert mse(found[..., 1]) < 0.75 * mse(shift[..., 1])
        assert mse(found[..., 1]) < 0.75 * mse(pooled)
        coverage.append((np.abs(found[..., 1] - wanted) < 1.96 * se[..., 1]).mean())
    assert np.mean(coverage) > 0.94
    assert min(coverage) > 0.9


@pytest.mark.parametrize(
    ("attributes", "countries", "values", "interaction"), [(2, 4, 8, 0.0), (3, 4, 8, 0.03), (2, 1, 8, 0.0)]
)
def test_responses__closer_to_the_truth_than_raw_and_than_pooling(attributes, countries, values, interaction):
    """Simulation: 3 to 100 respondents per finest cell. Errors in each of 20 draws, coverage over them all.

    95 % intervals hold the truth in over 90 % of cells: shares of few people are not normal.
    """
    grid = lattice(attributes)
    finest = grid.granularity == attributes
    shape = (countries, values, finest.sum(), 3)
    inside = grid.match(grid.codes[finest]).astype(float)
    coverage = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        main = rng.normal(0, 0.03, (1, values, attributes, 3)) + rng.normal(0, 0.02, (countries, values, attributes, 3))
        leaf = np.einsum("la,cvak->cvlk", 2.0 * grid.codes[finest] - 1, main) + rng.normal(0, interaction, shape)
        leaf = np.clip(1 / 3 + leaf - leaf.mean(axis=-1, keepdims=True), 0.02, None)
        leaf /= leaf.sum(axis=-1, keepdims=True)
        n = rng.integers(3, 100, shape[:-1])
        size = np.einsum("pl,cvl->cvp", inside, n)
        raw = np.einsum("pl,cvlk->cvpk", inside, rng.multinomial(n, leaf)) / size[..., None]
        truth = np.einsum("pl,cvlk->cvpk", inside, n[..., None] * leaf) / size[..., None]
        found, se = shrink_responses(raw, size, np.arange(values) % 2 == 0, grid)

        def mse(guess, truth=truth):
            return float(((guess - truth)[:, :, 1:] ** 2).mean())

        assert mse(found) < 0.8 * mse(raw)
        if countries > 1:  # in one, the few cells of a value say little about how much they vary: limited translation
            assert mse(found) < mse(raw[:, :, :1])
        np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-12)
        np.testing.assert_allclose(found[:, :, 0], raw[:, :, 0], atol=1e-12)
        coverage.append((np.abs(found - truth) < 1.96 * se)[:, :, 1:].mean())
    assert np.mean(coverage) > 0.9


def test_limits__nothing_to_learn_from_is_left_alone():
    """Two cells of the same attributes say nothing about how much such cells vary; without `all`, nothing predicts."""
    response = np.array([[[[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]]]])
    n = np.array([[[20.0, 10, 10]]])
    found, se = shrink_responses(response, n, np.array([True]), lattice(1))
    np.testing.assert_allclose(found, response, atol=1e-12)
    np.testing.assert_allclose(se[0, 0, 1:], np.sqrt(0.25 / 10), rtol=1e-12)  # at the prediction, 0.5
    shift = np.full((1, 1, 1, 3, 2), np.nan)
    shift[..., 0, :] = -0.1, 0.1
    found, se, of_effect = shrink_shifts(shift, 0.05 + 0 * shift, 0.04 + 0 * shift[..., 0], lattice(1))
    np.testing.assert_allclose(found, shift, atol=1e-12)
    np.testing.assert_allclose(se, 0.05 + 0 * shift, rtol=1e-12)
    np.testing.assert_allclose(of_effect, 0.04 + 0 * shift[..., 0], rtol=1e-12)
    many = np.random.default_rng(4).dirichlet(np.ones(3), (2, 5, 9))
    many[1, 2, 0] = np.nan
    n = np.full((2, 5, 9), 4.0)
    found, _ = shrink_responses(many, n, np.arange(5) % 2 == 0, lattice(2))
    np.testing.assert_allclose(found[1, 2], many[1, 2], atol=1e-12)
    many[1, 2] = np.nan  # nor does it say anything about the others
    without, _ = shrink_responses(many, n, np.arange(5) % 2 == 0, lattice(2))
    found[1, 2] = np.nan
    np.testing.assert_array_equal(found, without)


@pytest.mark.parametrize(("countries", "most"), [(1, 0.2), (4, 0.6), (12, 1.8)])
def test_limits__no_cell_moves_further_than_its_value_allows(countries, most):
    """By hand: max(.2, .15 x cells) standard errors, cells being those of a value; 1e-9. One reaches it.

    Effects are noise alone, which shrinkage would take back nearly whole: by two standard errors and more.
    """
    rng, se = np.random.default_rng(8), 0.05
    effect = rng.normal(0, 1.0, (countries, 40)) * se
    shift = np.full((countries, 1, 40, 3, 2), np.nan)
    shift[:, 0, :, 0] = np.stack([-effect, effect], axis=-1)
    there = np.where(np.isnan(shift), np.nan, se)
    found, _, _ = shrink_shifts(shift, there, there[..., 0], lattice(1))
    moved = np.abs(found - shift)[:, 0, :, 0, 1] / se
    assert np.abs(effect).max() / se > 2
    assert moved.max() == pytest.approx(most, abs=1e-9)


def test_limits__much_data_is_left_alone():
    rng = np.random.default_rng(2)
    grid, _, shift, error = shifts(rng, se=1e-6, tau=0.2)
    shift = shift + rng.normal(0, 0.1, shift.shape[:-1])[..., None] * np.array([-1, 1])  # contexts do differ
    found, se, _ = shrink_shifts(shift, error, error[..., 0], grid)
    np.testing.assert_allclose(found, shift, atol=1e-6)
    assert (se < 1e-4).all()
    response = rng.dirichlet(np.ones(4), (3, 5, len(grid.personas)))
    np.testing.assert_allclose(
        shrink_responses(response, np.full((3, 5, 9), 1e12), np.arange(5) < 3, grid)[0], response, atol=1e-4
    )


@given(st.integers(0, 10_000), st.floats(0, 0.9), st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_gaps__never_a_nan_where_there_was_a_number(seed, missing, countries, values):
    """Property, with countries permuted (1e-12): finite exactly where the input is; shares in [0, 1], sum 1."""
    rng = np.random.default_rng(seed)
    grid, _, shift, error = shifts(rng, countries, values)
    gone = rng.random(shift.shape[:-1]) < missing
    shift[gone] = error[gone] = np.nan
    found, se, of_effect = shrink_shifts(shift, error, error[..., 0], grid)
    for array in (found, se):
        np.testing.assert_array_equal(np.isfinite(array), np.isfinite(shift))
    np.testing.assert_array_equal(np.isfinite(of_effect), ~gone)
    order = rng.permutation(countries)
    np.testing.assert_allclose(
        shrink_shifts(shift[order], error[order], error[order][..., 0], grid)[0], found[order], atol=1e-12
    )

    n = rng.integers(0, 5, (countries, values, 9))
    response = rng.dirichlet(np.full(3, 0.3), n.shape)
    response[n == 0] = np.nan
    n[np.isnan(response).any(axis=-1)] = 0
    shrunk, spread = shrink_responses(response, n.astype(float), np.arange(values) % 2 == 0, grid)
    np.testing.assert_array_equal(np.isfinite(shrunk), np.isfinite(response))
    again = shrink_responses(response[order], n[order].astype(float), np.arange(values) % 2 == 0, grid)
    np.testing.assert_allclose(again[0], shrunk[order], atol=1e-12)
    np.testing.assert_allclose(again[1], spread[order], atol=1e-12)
    np.testing.assert_array_equal(np.isfinite(spread), np.isfinite(response))
    there = n > 0
    np.testing.assert_allclose(shrunk[there].sum(axis=-1), 1, atol=1e-9)
    assert shrunk[there].min(initial=0) >= 0
