"""Design-based variance, means and adjusted p-values against closed forms, scipy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from acecausal.inference import Design, effective_size, false_discovery, p_values, weighted_difference, weighted_mean


def simple(n: int) -> Design:
    return Design.of(np.zeros(n, dtype=int), np.arange(n))


def test_mean__simple_random_sample_textbook_variance():
    """Oracle: s^2 / n with s^2 over n - 1. rtol 1e-12: the same sum in another order."""
    x = np.random.default_rng(0).normal(size=(50, 3))
    mean, influence = weighted_mean(x, np.ones(50), np.ones(50, dtype=bool))
    np.testing.assert_allclose(mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(simple(50).variance(influence), x.var(axis=0, ddof=1) / 50, rtol=1e-12)


def test_variance__strata_and_clusters_by_loop():
    """Oracle: the textbook formula, stratum by stratum (Binder 1983). rtol 1e-12."""
    rng = np.random.default_rng(1)
    stratum = np.repeat([3, 5, 9], [20, 30, 40])
    psu = np.concatenate([rng.integers(0, 4, 20), rng.integers(0, 6, 30), rng.integers(0, 5, 40)])
    z = rng.normal(size=(90, 2))
    expected = np.zeros(2)
    for h in (3, 5, 9):
        totals = np.array([z[(stratum == h) & (psu == j)].sum(axis=0) for j in np.unique(psu[stratum == h])])
        n_h = len(totals)
        expected += n_h / (n_h - 1) * ((totals - totals.mean(axis=0)) ** 2).sum(axis=0)
    design = Design.of(stratum, psu)
    np.testing.assert_allclose(design.variance(z), expected, rtol=1e-12)
    assert design.degrees_of_freedom == 15 - 3


def test_variance__lone_psu_is_centred_at_the_grand_mean():
    """Oracle: by hand. PSU totals 1, 3 in one stratum and 8 alone: 2 * (1 + 1) + (8 - 4)^2."""
    design = Design.of(np.array([0, 0, 1]), np.array([0, 1, 2]))
    np.testing.assert_allclose(design.variance(np.array([[1.0], [3.0], [8.0]])), [2 * 2 + 16], rtol=1e-12)


def test_difference__is_welch_without_design():
    """Oracle: scipy's Welch standard error, up to the factors n/(n-1) of each arm against n/(n-1) of the whole."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=400), rng.normal(1, 2, size=600)
    x = np.concatenate([a, b])[:, None]
    low = np.arange(1000) < 400
    estimate, influence = weighted_difference(x, np.ones(1000), low, ~low)
    np.testing.assert_allclose(estimate, b.mean() - a.mean(), rtol=1e-12)
    welch = a.var() / 400 + b.var() / 600
    np.testing.assert_allclose(simple(1000).variance(influence), welch * 1000 / 999, rtol=1e-12)


@given(st.floats(0.1, 50))
def test_weights__constant_weights_are_none(weight):
    x = np.random.default_rng(3).normal(size=(30, 2))
    rows = np.arange(30) % 3 > 0
    for got, plain in zip(
        weighted_mean(x, np.full(30, weight), rows), weighted_mean(x, np.ones(30), rows), strict=True
    ):
        np.testing.assert_allclose(got, plain, rtol=1e-9, atol=1e-12)


def test_effective_size__kish():
    assert effective_size(np.ones(7)) == 7
    assert effective_size(np.array([1.0, 3.0])) == pytest.approx(16 / 10)
    assert effective_size(np.array([])) == 0


@given(st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), min_size=1, max_size=30))
def test_false_discovery__statsmodels_on_what_is_there(raw):
    """Oracle: statsmodels fdr_bh on the finite ones. rtol 1e-12. NaN stays and does not count."""
    p = np.array(raw)
    q = false_discovery(p)
    there = np.isfinite(p)
    assert (np.isnan(q) == ~there).all()
    if there.any():
        np.testing.assert_allclose(q[there], multipletests(p[there], method="fdr_bh")[1], rtol=1e-12)
        assert (q[there] >= p[there] - 1e-15).all()


def test_p_values__t():
    p = p_values(np.array([0.3, 0.0, np.nan]), np.array([0.1, 0.1, 0.1]), 20)
    assert p[0] == pytest.approx(2 * stats.t.cdf(-3, 20))
    assert p[1] == 1
    assert np.isnan(p[2])
