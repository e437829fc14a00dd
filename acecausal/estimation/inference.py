"""Means, differences and their uncertainty under a survey design, on plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from scipy import stats

from acecausal.survey.counting import add_up, count_distinct


@dataclass(frozen=True)
class Design:
    """Strata and PSUs of one country's whole sample.

    Attributes
    ----------
    psu : numpy.ndarray, shape (n,), int
        PSU number 0..P-1 of each respondent.
    stratum : numpy.ndarray, shape (P,), int
        Stratum number 0..H-1 of each PSU.
    fraction : numpy.ndarray, shape (H,), float
        Sampling fraction of each stratum's PSUs, 0 (no finite-population correction) to 1.
    """

    psu: np.ndarray
    stratum: np.ndarray
    fraction: np.ndarray

    @classmethod
    def of(cls, stratum: np.ndarray, psu: np.ndarray, fraction: np.ndarray | None = None) -> Design:
        """Number strata and PSUs; a PSU is one within its stratum (the same code in two strata is two PSUs).

        Parameters
        ----------
        stratum, psu : numpy.ndarray, shape (n,), int
            Codes per respondent.
        fraction : numpy.ndarray, shape (n,), optional
            Sampling fraction of PSUs in the respondent's stratum; 0 by default.
        """
        pairs, number = np.unique(np.stack([stratum, psu], axis=1), axis=0, return_inverse=True)
        _, stratum_number = np.unique(pairs[:, 0], return_inverse=True)
        number = np.ravel(number)
        of_stratum = np.zeros(int(stratum_number.max(initial=-1)) + 1)
        if fraction is not None:
            of_stratum[stratum_number[number]] = fraction
        return cls(number, np.ravel(stratum_number), of_stratum)

    @cached_property
    def size(self) -> np.ndarray:
        """PSUs per stratum, shape (H,)."""
        return np.bincount(self.stratum, minlength=len(self.fraction))

    @cached_property
    def single(self) -> bool:
        """Whether every PSU is a single respondent."""
        return len(self.stratum) == len(self.psu)

    @property
    def degrees_of_freedom(self) -> int:
        """PSUs minus strata, at least 1."""
        return max(len(self.stratum) - len(self.fraction), 1)

    def domain_degrees(self, there: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Count the PSUs minus the strata that have respondents in a domain, at least 1.

        Parameters
        ----------
        there : numpy.ndarray, shape (n, domains), bool
        rows : numpy.ndarray, shape (n,), int
            Positions in the sample of these respondents.

        Returns
        -------
        numpy.ndarray, shape (domains,)
        """
        totals, stratum = self._totals(there.T[:, None].astype(float), rows)
        psus = totals > 0
        strata = add_up(psus.astype(float), stratum, len(self.fraction)) > 0
        return np.maximum(psus.sum(axis=(1, 2)) - strata.sum(axis=(1, 2)), 1)

    def covariance(self, influence: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Estimate the covariances of statistics from their influence values by Taylor linearisation.

        Parameters
        ----------
        influence : numpy.ndarray, shape (n, blocks, k)
            What each respondent adds to a statistic's deviation; 0 for those outside the domain.
        rows : numpy.ndarray, shape (n,), int, optional
            Positions in the sample of the respondents given, all others being outside the domain; by default all.

        Returns
        -------
        numpy.ndarray, shape (blocks, k, k)
            Within each block. Sampling of PSUs within strata, with replacement unless a sampling fraction is known. A
            stratum with one PSU is centred at the mean of all PSUs (R survey's ``lonely.psu="adjust"``).

        References
        ----------
        Binder (1983), On the variances of asymptotically normal estimators from complex surveys, ISR 51(3).
        """
        totals, stratum = self._totals(np.ascontiguousarray(influence.transpose(1, 2, 0)), rows)
        lone = self.size == 1
        scale = (1 - self.fraction) * self.size / np.maximum(self.size - 1, 1)
        scale[lone] = 0
        if len(scale) == 1:
            sums = totals.sum(axis=2, keepdims=True)
            scaled = totals * scale[0] if scale[0] != 1 else totals
        else:
            sums = add_up(totals, stratum, len(scale))
            scaled = totals * scale[stratum]
        covariance = scaled @ totals.transpose(0, 2, 1)
        covariance -= (sums * (scale / self.size)) @ sums.transpose(0, 2, 1)
        if lone.any():
            alone = (sums[:, :, lone] - sums.sum(axis=2, keepdims=True) / len(self.stratum)) * np.sqrt(
                1 - self.fraction[lone]
            )
            covariance += alone @ alone.transpose(0, 2, 1)
        return covariance

    def form(self, psus: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Give the variance as a quadratic form of the totals u of some PSUs, where all totals sum to 0.

        Parameters
        ----------
        psus : numpy.ndarray, shape (G,), int
            PSU numbers; all others have none.

        Returns
        -------
        c, z, unsampled : numpy.ndarray, shapes (G,), (G, H), (G,)
            The variance is sum(c u^2) - |z' u|^2; and 1 less the sampling fraction of each PSU's stratum.
        """
        stratum = self.stratum[psus]
        unsampled, size = 1 - self.fraction[stratum], self.size[stratum]
        c = np.where(size > 1, unsampled * size / np.maximum(size - 1, 1), unsampled)
        present, number = np.unique(stratum, return_inverse=True)
        z = (number[:, None] == np.arange(len(present))) * np.sqrt(np.where(size > 1, c / size, 0.0))[:, None]
        return c, z, unsampled

    def count_psus(self, there: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Count the PSUs that have respondents in each domain; parameters and result as of `domain_degrees`."""
        return there.sum(axis=0) if self.single else count_distinct(there, self.psu[rows])

    def variance(self, influence: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Estimate variances; as `covariance`, with `influence` of shape (n, m) and a result of shape (m,)."""
        variance = self.covariance(influence[:, :, None], rows)[:, 0, 0]
        return np.asarray(np.clip(variance, 0, None))

    def _totals(self, influence: np.ndarray, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Add influence values, shape (blocks, k, n), up by PSU; and give the stratum of each PSU that has any."""
        psu = self.psu if rows is None else self.psu[rows]
        if self.single:
            return influence, self.stratum[psu]
        present, number = np.unique(psu, return_inverse=True)
        return add_up(influence, number, len(present)), self.stratum[present]


@dataclass(frozen=True)
class Crossed:
    """Raters crossed with items: ratings are alike within a rater and within an item, and independent otherwise.

    Attributes
    ----------
    rater : Design
        Strata, and raters as PSUs.
    item, rating : Design
        Items, and single ratings, as PSUs of one stratum. A rater rates an item once, so that a rating is what a rater
        and an item share.
    """

    rater: Design
    item: Design
    rating: Design

    @classmethod
    def of(cls, rater: Design, item: np.ndarray) -> Crossed:
        """Cross a design whose PSUs are raters with items, shape (n,), int."""
        one = np.zeros(len(item), dtype=np.int64)
        return cls(rater, Design.of(one, item), Design.of(one, np.arange(len(item))))

    @property
    def degrees_of_freedom(self) -> int:
        """Those of the dimension that has fewer."""
        return min(self.rater.degrees_of_freedom, self.item.degrees_of_freedom)

    def domain_degrees(self, there: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Count as `Design.domain_degrees`, in the dimension that has fewer."""
        return np.minimum(self.rater.domain_degrees(there, rows), self.item.domain_degrees(there, rows))

    def count_psus(self, there: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Count raters as `Design.count_psus`."""
        return self.rater.count_psus(there, rows)

    def covariance(self, influence: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Estimate covariances as `Design.covariance`, clustered by rater and by item.

        Returns
        -------
        numpy.ndarray, shape (blocks, k, k)
            V = V_rater + V_item - V_rating, each with its own factor G / (G - 1). In small samples this can have
            negative variances: a block with a negative eigenvalue is replaced, whole, by the one of V_rater and V_item
            that has the larger trace.

        References
        ----------
        Cameron, Gelbach and Miller (2011), Robust inference with multiway clustering, JBES 29(2), 238-249.
        """
        by_rater, by_item, by_rating = (
            design.covariance(influence, rows) for design in (self.rater, self.item, self.rating)
        )
        both = by_rater + by_item - by_rating
        by_rater_more = np.trace(by_rater, axis1=1, axis2=2) >= np.trace(by_item, axis1=1, axis2=2)
        larger = np.where(by_rater_more[:, None, None], by_rater, by_item)
        finite = np.isfinite(both).all(axis=(1, 2))
        lowest = np.full(len(both), np.nan)
        lowest[finite] = np.linalg.eigvalsh(both[finite])[:, 0]
        # options' shifts sum to 0, so that the lowest eigenvalue of a sound block is 0 up to rounding
        broken = lowest < -1e-12 * np.trace(larger, axis1=1, axis2=2)
        return np.where(broken[:, None, None], larger, both)

    def variance(self, influence: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Estimate variances; as `covariance`, with `influence` of shape (n, m) and a result of shape (m,)."""
        return np.asarray(np.clip(self.covariance(influence[:, :, None], rows)[:, 0, 0], 0, None))


def p_values(estimate: np.ndarray, se: np.ndarray, df: float | np.ndarray) -> np.ndarray:
    """Compute two-sided p-values from the t distribution; `se` positive or NaN."""
    return 2 * stats.t.sf(np.abs(estimate / se), df)


def false_discovery(p: np.ndarray) -> np.ndarray:
    """Adjust p-values of one family by Benjamini and Hochberg (1995); NaN in, NaN out, and not counted.

    Parameters
    ----------
    p : numpy.ndarray, any shape

    Returns
    -------
    numpy.ndarray, same shape
    """
    q = np.full(p.shape, np.nan)
    there = np.isfinite(p)
    if there.any():
        q[there] = stats.false_discovery_control(p[there], method="bh")
    return q


def simultaneous_critical(covariance: np.ndarray, confidence: float, df: np.ndarray) -> np.ndarray:
    """Find how many standard errors a band must reach to hold all of its estimates at once.

    Parameters
    ----------
    covariance : numpy.ndarray, shape (m, k, k)
        Of k estimates, m times; an estimate without variance does not count.
    confidence : float
        That all k intervals hold, in (0, 1).
    df : numpy.ndarray, shape (m,)
        Degrees of freedom.

    Returns
    -------
    numpy.ndarray, shape (m,)
        The quantile of the largest absolute correlated normal deviate, by 1,024 scrambled Sobol points (the same for
        every call), carried to the t distribution by its two-sided tail, and kept between the pointwise critical value
        and Sidak's bound, between which it lies for any correlation.

    References
    ----------
    Sidak (1967), JASA 62(318); Genz and Bretz (2009), Computation of multivariate normal and t probabilities.
    """
    m, k, _ = covariance.shape
    se = np.sqrt(np.einsum("mkk->mk", covariance))
    scale = np.divide(1.0, se, out=np.zeros_like(se), where=se > 0)
    values, vectors = np.linalg.eigh(covariance * scale[:, :, None] * scale[:, None, :])
    root = (vectors * np.sqrt(np.clip(values, 0, None))[:, None, :]).astype(np.float32)
    points = _normal_points(k)
    rank = int(np.ceil(confidence * len(points))) - 1
    critical = np.empty(m)
    for start in range(0, m, 64):  # 64 cells at a time stay in the cache
        largest = np.abs(root[start : start + 64] @ points.T).max(axis=1)
        critical[start : start + 64] = np.partition(largest, rank, axis=1)[:, rank]
    critical = stats.t.isf(stats.norm.sf(critical), df)
    count = np.maximum((se > 0).sum(axis=1), 1)
    pointwise = stats.t.isf((1 - confidence) / 2, df)
    return np.clip(critical, pointwise, stats.t.isf((1 - confidence ** (1 / count)) / 2, df))


@cache
def _normal_points(k: int) -> np.ndarray:
    """Spread 1,024 points like independent standard normals, shape (1024, k)."""
    sobol = stats.qmc.Sobol(k, seed=np.random.default_rng(0))
    return np.asarray(stats.norm.ppf(np.clip(sobol.random(1024), 1e-9, 1 - 1e-9)), dtype=np.float32)


def any_difference(estimates: np.ndarray, covariance: np.ndarray, df: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Test whether k estimates are all the same: `hotelling` of the differences from the first.

    Parameters
    ----------
    estimates : numpy.ndarray, shape (m, k)
    covariance : numpy.ndarray, shape (m, k, k)
    df : numpy.ndarray, shape (m,)
        Degrees of freedom.

    Returns
    -------
    statistic, p_value : numpy.ndarray, shape (m,)
    """
    k = estimates.shape[1]
    contrast = np.concatenate([-np.ones((k - 1, 1)), np.eye(k - 1)], axis=1)
    return hotelling(estimates @ contrast.T, contrast @ covariance @ contrast.T, df)


def hotelling(estimates: np.ndarray, covariance: np.ndarray, df: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Test whether k estimates are all 0.

    Parameters
    ----------
    estimates : numpy.ndarray, shape (m, k)
    covariance : numpy.ndarray, shape (m, k, k)
    df : numpy.ndarray, shape (m,)
        Degrees of freedom.

    Returns
    -------
    statistic, p_value : numpy.ndarray, shape (m,)
        F = (df - k + 1) / (df k) d' V^-1 d, on k and df - k + 1 degrees of freedom; NaN where an estimate, or a sum of
        them, has no variance, and where df < k.

    References
    ----------
    Hotelling (1931), The generalization of Student's ratio, Annals of Mathematical Statistics 2(3), 360-378; Korn and
    Graubard (1990), Simultaneous testing of regression coefficients with complex survey data, The American
    Statistician 44(4), 270-276.
    """
    k = estimates.shape[1]
    statistic = np.full(len(estimates), np.nan)
    sound = np.isfinite(estimates).all(axis=1) & np.isfinite(covariance).all(axis=(1, 2)) & (df >= k)
    sound[sound] = np.linalg.cond(covariance[sound]) < 1e10
    solved = np.linalg.solve(covariance[sound], estimates[sound][:, :, None])[:, :, 0]
    left = df[sound] - k + 1
    statistic[sound] = left / df[sound] * (estimates[sound] * solved).sum(axis=1) / k
    return statistic, stats.f.sf(statistic, k, df - k + 1)


def any_shift(
    shift: np.ndarray, covariance: np.ndarray, df: np.ndarray, unseen: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Test whether the shifts of all options are 0: `hotelling` of all but one, since they sum to 0.

    Parameters
    ----------
    shift : numpy.ndarray, shape (m, K)
    covariance : numpy.ndarray, shape (m, K, K)
    df : numpy.ndarray, shape (m,)
        Degrees of freedom.
    unseen : numpy.ndarray, shape (m, K), optional
        Variance of each option that the sample does not show, as of `constant_arms.unseen_variance`. Without it rare
        options that nobody of a small arm chose raise false alarms, in simulations up to 98 in 100.

    Returns
    -------
    statistic, p_value : numpy.ndarray, shape (m,)
        Options without variance, which nobody chose, do not count. The one left out is that of the largest variance;
        which it is makes no difference but for the unseen variances: it takes the opposite of theirs.
    """
    if unseen is not None:
        covariance = covariance + unseen[:, :, None] * np.eye(shift.shape[1])
    variance = np.einsum("mkk->mk", covariance)
    alive = variance > 1e-12 * variance.max(axis=1, keepdims=True)
    alive[np.arange(len(shift)), variance.argmax(axis=1)] = False
    found = np.full((2, len(shift)), np.nan)
    for pattern in np.unique(alive, axis=0):
        at, of = np.flatnonzero((alive == pattern).all(axis=1)), np.flatnonzero(pattern)
        if len(of):
            found[:, at] = hotelling(shift[np.ix_(at, of)], covariance[np.ix_(at, of, of)], df[at])
    return found[0], found[1]
