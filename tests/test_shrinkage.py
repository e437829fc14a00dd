"""Empirical-Bayes shrinkage against closed forms, simulated hierarchies, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.meta_analysis import combine_effects

from acecausal.lattice import Attribute, Lattice, Level
from acecausal.shrinkage import _between, shrink_responses, shrink_shifts


def lattice(attributes: int = 2) -> Lattice:
    levels = (Level("low", "low", "low"), Level("high", "high", "high"))
    return Lattice.over([Attribute(f"a{i}", f"a{i}", levels, "low") for i in range(attributes)])


def test_between__statsmodels_paule_mandel():
    """Oracle: statsmodels' iterated (Paule-Mandel) tau2. rel 1e-4, its tolerance. 0 where noise explains all.

    statsmodels estimates the mean and counts k - 1: the effects and their negatives have mean 0, 60 squares against 59.
    """
    rng = np.random.default_rng(0)
    noise = np.tile(rng.uniform(0.5, 2, 30), 2)
    effect = rng.normal(0, np.sqrt(1.5 + noise[:30]))
    theirs = combine_effects(np.concatenate([effect, -effect]), noise, method_re="iterated").tau2
    assert theirs > 1
    assert _between(np.tile(effect**2, 2) * 60 / 59, noise) == pytest.approx(theirs, rel=1e-4)
    assert _between(0.5 * noise, noise) == 0


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


def test_shifts__james_stein_at_the_top():
    """Closed form: in one context, equal errors: prior b x leave-one-out mean, share tau2 / (tau2 + s2). 1e-9."""
    rng = np.random.default_rng(1)
    countries, values, se = 12, 6, 0.05
    effect = rng.normal(0, 0.1, (countries, values)) + rng.normal(0, 0.1, values)
    shift = np.full((countries, 1, values, 9, 2), np.nan)
    shift[:, 0, :, 0] = np.stack([-effect, effect], axis=-1)
    found, error, of_effect = shrink_shifts(
        shift, np.where(np.isnan(shift), np.nan, se), shift[..., 0] * 0 + se, lattice()
    )
    others = (effect.sum(axis=0) - effect) / (countries - 1)
    slope = np.clip((others * effect).sum() / (others**2).sum(), 0, 1)
    rest = effect - slope * others
    tau2 = max((rest**2).mean() - se**2, 0)  # equal errors: the moment estimate is Paule and Mandel's
    keep = tau2 / (tau2 + se**2)
    np.testing.assert_allclose(found[:, 0, :, 0, 1], slope * others + keep * rest, atol=1e-9)
    np.testing.assert_allclose(found.sum(axis=-1)[:, 0, :, 0], 0, atol=1e-12)
    # the error: the kept share of the own, and what is borrowed, whose weights need the first tau2
    first = max((effect**2).mean() - se**2, 0)
    borrowed = slope**2 * (first + se**2) / (countries - 1)
    expected = np.sqrt(keep * se**2 + (1 - keep) ** 2 * borrowed)
    np.testing.assert_allclose(error[:, 0, :, 0], expected, rtol=1e-9)
    np.testing.assert_allclose(of_effect[:, 0, :, 0], expected, rtol=1e-9)
    assert 0.3 < keep < 0.95


def test_shifts__closer_to_the_truth_than_raw_and_than_pooling():
    """Simulation: where effects vary over countries but not over contexts; mean squared errors, 20 draws, each time."""
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
        covered = np.abs(found[..., 1] - wanted) < 1.96 * se[..., 1]
        assert covered.mean() > 0.9


def test_responses__small_cells_closer_to_the_truth():
    """Simulation: additive shares, 3 to 400 respondents per cell; shrunk beats raw in every draw, coverage over 0.9."""
    grid = lattice(2)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth = np.zeros((4, 8, 9, 3))
        main = rng.normal(0, 0.03, (1, 8, 2, 3)) + rng.normal(0, 0.02, (4, 8, 2, 3))
        main -= main.mean(axis=-1, keepdims=True)
        for p, code in enumerate(grid.codes):
            signs = np.where(code >= 0, 2 * code - 1, 0)
            truth[:, :, p] = 1 / 3 + sum(signs[a] * main[:, :, a] for a in range(2))
        n = rng.integers(3, 100, (4, 8, 4))
        counts = np.stack(
            [[rng.multinomial(n[c, v, i], truth[c, v, 5 + i]) for i in range(4)] for c in range(4) for v in range(8)]
        ).reshape(4, 8, 4, 3)
        personas = np.stack([counts[:, :, grid.match(grid.codes[5:])[p]].sum(axis=2) for p in range(9)], axis=2)
        size = personas.sum(axis=-1)
        raw = personas / size[..., None]
        found, se = shrink_responses(raw, size.astype(float), grid)
        cells = truth[:, :, 5:]
        assert ((found[:, :, 5:] - cells) ** 2).mean() < 0.8 * ((raw[:, :, 5:] - cells) ** 2).mean()
        np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-12)
        np.testing.assert_allclose(found[:, :, 0], raw[:, :, 0], atol=1e-12)
        assert (np.abs(found - truth)[:, :, 5:] < 1.96 * se[:, :, 5:]).mean() > 0.9


def test_limits__much_data_is_left_alone():
    rng = np.random.default_rng(2)
    grid, _, shift, error = shifts(rng, se=1e-6, tau=0.2)
    shift = shift + rng.normal(0, 0.1, shift.shape[:-1])[..., None] * np.array([-1, 1])  # contexts do differ
    found, se, _ = shrink_shifts(shift, error, error[..., 0], grid)
    np.testing.assert_allclose(found, shift, atol=1e-6)
    assert (se < 1e-4).all()
    response = rng.dirichlet(np.ones(4), (3, 5, len(grid.personas)))
    np.testing.assert_allclose(shrink_responses(response, np.full((3, 5, 9), 1e12), grid)[0], response, atol=1e-4)


@given(st.integers(0, 10_000), st.floats(0, 0.9), st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_gaps__never_a_nan_where_there_was_a_number(seed, missing, countries, values):
    """Property, with countries permuted (1e-10): finite exactly where the input is; shares in [0, 1], sum 1."""
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
        shrink_shifts(shift[order], error[order], error[order][..., 0], grid)[0], found[order], atol=1e-10
    )

    n = rng.integers(0, 5, (countries, values, 9))
    response = rng.dirichlet(np.full(3, 0.3), n.shape)
    response[n == 0] = np.nan
    n[np.isnan(response).any(axis=-1)] = 0
    shrunk, spread = shrink_responses(response, n.astype(float), grid)
    np.testing.assert_array_equal(np.isfinite(shrunk), np.isfinite(response))
    np.testing.assert_array_equal(np.isfinite(spread), np.isfinite(response))
    there = n > 0
    np.testing.assert_allclose(shrunk[there].sum(axis=-1), 1, atol=1e-9)
    assert shrunk[there].min(initial=0) >= 0
