"""Design-based variance, means and adjusted p-values against closed forms, scipy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from means import weighted_difference, weighted_mean
from scipy import stats
from statsmodels.stats.multitest import multipletests

from acecausal.estimation.constant_arms import unseen_variance
from acecausal.estimation.inference import (
    Design,
    any_difference,
    any_shift,
    false_discovery,
    p_values,
    simultaneous_critical,
)


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


@given(st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), min_size=1, max_size=30))
def test_false_discovery__statsmodels_on_what_is_there(raw):
    """Oracle: statsmodels fdr_bh on the finite ones. rtol 1e-12. NaN stays and does not count."""
    p = np.array(raw)
    q = false_discovery(p)
    there = np.isfinite(p)
    assert (np.isnan(q) == ~there).all()
    if there.any():
        np.testing.assert_allclose(q[there], multipletests(p[there], method="fdr_bh")[1], rtol=1e-12, atol=1e-300)
        assert (q[there] >= p[there] - 1e-15).all()


def test_p_values__t():
    p = p_values(np.array([0.3, 0.0, np.nan]), np.array([0.1, 0.1, 0.1]), 20)
    assert p[0] == pytest.approx(2 * stats.t.cdf(-3, 20))
    assert p[1] == 1
    assert np.isnan(p[2])


def test_covariance__blocks_hold_what_variance_gives():
    """Property: the diagonal of each block is the variance of its statistics; rows apart change nothing. 1e-12."""
    rng = np.random.default_rng(0)
    design = Design.of(rng.integers(0, 3, 200), rng.integers(0, 30, 200), np.full(200, 0.1))
    influence = rng.normal(size=(200, 4, 3))
    influence[120:] = 0
    covariance = design.covariance(influence)
    np.testing.assert_allclose(
        np.einsum("vkk->vk", covariance).ravel(), design.variance(influence.reshape(200, -1)), rtol=1e-12
    )
    np.testing.assert_allclose(covariance, design.covariance(influence[:120], np.arange(120)), rtol=1e-12)
    assert (np.linalg.eigvalsh(covariance) > 0).all()


def test_degrees_of_freedom__of_a_domain():
    """By hand, as R's degf(subset(design, ...)): PSUs minus strata that have respondents in the domain."""
    design = Design.of(np.repeat([0, 0, 0, 1, 1], 4), np.repeat(np.arange(5), 4))
    assert design.degrees_of_freedom == 3
    domains = np.zeros((20, 3), dtype=bool)
    domains[:10, 0] = domains[[0, 19], 1] = domains[:, 2] = True
    np.testing.assert_array_equal(design.domain_degrees(domains, np.arange(20)), [2, 1, 3])


def test_fpc__by_hand():
    """Closed form: simple random sampling without replacement has variance (1 - n/N) s2 / n. rtol 1e-12."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 1))
    design = Design.of(np.zeros(40, dtype=int), np.arange(40), np.full(40, 40 / 100))
    assert design.variance((x - x.mean()) / 40)[0] == pytest.approx(0.6 * x.var(ddof=1) / 40, rel=1e-12)


@pytest.mark.parametrize("k", [2, 3, 5, 11])
def test_simultaneous_critical__independent_and_perfectly_correlated(k):
    """Closed forms: Sidak for independent estimates, the pointwise value for perfectly correlated ones. rel 0.01."""
    alone = stats.t.isf(0.025, 50)
    sidak = stats.t.isf((1 - 0.95 ** (1 / k)) / 2, 50)
    found = simultaneous_critical(np.stack([np.eye(k) * 4, np.ones((k, k))]), 0.95, np.array([50, 50]))
    np.testing.assert_allclose(found, [sidak, alone], rtol=0.01)
    assert alone <= found[1] <= found[0] <= sidak


def test_simultaneous_critical__holds_all_options_at_once():
    """Monte Carlo: multinomial shares' bands hold all five in 95 % of 40,000 normal draws (+- 0.5 %)."""
    share = np.array([0.1, 0.2, 0.4, 0.2, 0.1])
    covariance = np.diag(share) - np.outer(share, share)
    critical = simultaneous_critical(covariance[None], 0.95, np.array([1e6]))[0]
    draws = np.random.default_rng(2).multivariate_normal(np.zeros(5), covariance, 40_000, method="svd")
    largest = np.abs(draws / np.sqrt(np.diag(covariance))).max(axis=1)
    assert (largest <= critical).mean() == pytest.approx(0.95, abs=0.005)
    assert (largest <= 1.96).mean() < 0.85


def test_simultaneous_critical__option_that_nobody_chose_does_not_count():
    covariance = np.zeros((1, 3, 3))
    covariance[0, :2, :2] = [[1, -1], [-1, 1]]
    assert simultaneous_critical(covariance, 0.95, np.array([100]))[0] == pytest.approx(
        stats.t.isf(0.025, 100), rel=0.01
    )


def test_wald__statsmodels():
    """Oracle: statsmodels' F test that three group means are equal, times Hotelling's factor. rtol 1e-9."""
    import statsmodels.api as sm

    rng = np.random.default_rng(3)
    group = rng.integers(0, 3, 90)
    y = 0.3 * group + rng.normal(size=90)
    fit = sm.OLS(y, np.eye(3)[group]).fit()
    expected = fit.f_test(np.array([[-1, 1, 0], [-1, 0, 1]]))
    statistic, p = any_difference(
        fit.params[None], fit.cov_params()[None], np.array([fit.df_resid + 1])
    )  # df - k + 2 = its 87
    assert statistic[0] == pytest.approx(float(expected.fvalue) * 87 / 88, rel=1e-9)
    assert p[0] == pytest.approx(stats.f.sf(statistic[0], 2, 87), rel=1e-9)
    few, none = any_difference(
        np.array([[0.1, 0.4, 0.3, 0.2]]), np.eye(4)[None], np.array([2])
    )  # 3 differences, 2 degrees
    assert np.isnan([few[0], none[0]]).all()
    assert np.isnan(any_difference(np.array([[1.0, 1.0]]), np.zeros((1, 2, 2)), np.array([10]))[0][0])


def test_wald__a_true_null_with_few_psus_is_rejected_as_often_as_said():
    """Monte Carlo: 2,000 draws from Wishart and normal with 7 and 15 degrees of freedom; .05 within 3 standard errors.

    Without Hotelling's factor it would be .09 (4 levels, 7 degrees) and .17 (8 levels, 15 degrees).
    """
    rng = np.random.default_rng(0)
    for k, df in ((4, 7), (8, 15)):
        draws = 2000
        covariance = stats.wishart(df, np.eye(k)).rvs(draws, random_state=rng) / df
        _, p = any_difference(rng.normal(size=(draws, k)), covariance, np.full(draws, df))
        assert (p < 0.05).mean() == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / draws))


def test_any_shift__statsmodels_cluster_robust():
    """Oracle: statsmodels' F of all option dummies' differences at once, errors clustered by person, times Hotelling's
    factor. rtol 1e-9. A fourth option that nobody chose changes nothing."""
    import statsmodels.api as sm

    rng = np.random.default_rng(5)
    n = 160
    arm = rng.integers(0, 2, n)
    option = np.where(arm == 1, rng.choice(3, n, p=[0.5, 0.3, 0.2]), rng.choice(3, n, p=[0.3, 0.3, 0.4]))
    chosen = np.eye(4)[option]
    shift, influence = weighted_difference(chosen, np.ones(n), arm == 0, arm == 1)
    covariance = Design.of(np.zeros(n, int), np.arange(n)).covariance(influence[:, None, :])
    statistic, p = any_shift(shift[None], covariance, np.array([n - 1]))

    stacked = np.kron(np.stack([np.ones(n), arm], axis=1), np.eye(2))  # two of the options: level and difference
    fit = sm.OLS(chosen[:, :2].ravel(), stacked).fit(
        cov_type="cluster", cov_kwds={"groups": np.repeat(np.arange(n), 2), "use_correction": False}
    )
    f = float(fit.f_test(np.eye(4)[2:]).fvalue) * (n - 1) / n  # the design's n / (n - 1)
    expected = f * (n - 2) / (n - 1)
    assert statistic[0] == pytest.approx(expected, rel=1e-9)
    assert p[0] == pytest.approx(stats.f.sf(expected, 2, n - 2), rel=1e-9)
    assert np.isnan(any_shift(np.zeros((1, 3)), np.zeros((1, 3, 3)), np.array([9]))[1][0])


def test_any_shift__rare_options_that_an_arm_lacks_do_not_raise_false_alarms():
    """Monte Carlo: both arms from one distribution over eight options, 30 against 300 people. Without the variance that
    an arm does not show where nobody chose an option, .6 of true nulls are rejected; with it at most .05."""
    rng = np.random.default_rng(1)
    p, sizes, draws = np.array([0.3, 0.25, 0.2, 0.1, 0.05, 0.05, 0.03, 0.02]), np.array([30, 300]), 1000
    shares = np.stack([rng.multinomial(n, p, draws) / n for n in sizes])
    covariance = sum(
        (np.eye(8) * s[:, :, None] - s[:, :, None] * s[:, None]) / (n - 1) for s, n in zip(shares, sizes, strict=True)
    )
    each = np.arange(8)
    bare = any_shift(shares[1] - shares[0], covariance, np.full(draws, 329))[1]
    sizes = np.repeat(sizes[:, None], draws, axis=1).astype(float)
    unseen = unseen_variance(shares, sizes, np.eye(8), covariance[:, each, each])
    honest = any_shift(shares[1] - shares[0], covariance, np.full(draws, 329), unseen)[1]
    assert (bare < 0.05).mean() > 0.5
    assert (honest < 0.05).mean() <= 0.05
