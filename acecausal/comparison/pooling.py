"""Pooling over countries: the mean effect, how much countries differ, what to expect of a new one; or by population."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import xarray as xr
from scipy import stats

from acecausal.comparison.population import Together, of_countries, together
from acecausal.errors import AceError, CubeError, unknown

#: Units and meaning of the fields of `Pooled`, as they stand in the attributes of `pooled`.
_MEANING = {
    "effect": ("score", "Mean effect over countries (random effects)."),
    "se": ("score", "Standard error of the mean effect, after Hartung, Knapp, Sidik and Jonkman."),
    "lower": ("score", "Lower limit of the mean effect's interval, at the level in attrs."),
    "upper": ("score", "Upper limit of the mean effect's interval."),
    "prediction_lower": ("score", "Lower limit for the true effect in a further country, at the level in attrs."),
    "prediction_upper": ("score", "Upper limit for the true effect in a further country."),
    "tau2": ("score2", "Variance of true effects between countries, after Paule and Mandel."),
    "i2": ("1", "Share of the observed spread that sampling error does not explain."),
    "cochran_q": (
        "1",
        "Cochran's Q: squared deviations from the inverse-variance mean, in units of sampling variance.",
    ),
    "p_heterogeneity": ("1", "p-value of all countries having the same true effect."),
    "k": ("1", "Countries that have an estimate."),
}
#: The same where countries count by their populations.
_MEANING_TOGETHER = _MEANING | {
    "effect": ("score", "Mean effect over the people of all countries that have an estimate."),
    "se": ("score", "Standard error of the mean effect: those of the countries, which are no sample."),
    "covered": ("1", "Share of the people of all countries, of the persona, in countries that have an estimate."),
}


@dataclass(frozen=True, slots=True)
class Pooled:
    """Pooled effects, each an array of the input's shape without the pooled axis.

    Attributes
    ----------
    effect, se : numpy.ndarray
        Random-effects mean and its standard error.
    lower, upper : numpy.ndarray
        Interval of the mean; missing for k = 1.
    prediction_lower, prediction_upper : numpy.ndarray
        Interval of the true effect in a further country; missing for k < 3.
    tau2, i2, cochran_q, p_heterogeneity : numpy.ndarray
        Between-country variance, its share 0..1 of the spread, Cochran's Q and its p-value; missing for k = 1.
    k : numpy.ndarray, int
        Number of estimates. Everything else is missing for k = 0.
    """

    effect: np.ndarray
    se: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    prediction_lower: np.ndarray
    prediction_upper: np.ndarray
    tau2: np.ndarray
    i2: np.ndarray
    cochran_q: np.ndarray
    p_heterogeneity: np.ndarray
    k: np.ndarray


def pool(effect: np.ndarray, se: np.ndarray, axis: int = 0, confidence: float = 0.95) -> Pooled:
    """Pool independent estimates along an axis.

    Parameters
    ----------
    effect, se : numpy.ndarray, of one shape
        Estimates and their positive standard errors; where either is NaN there is no estimate.
    axis : int
        Axis to pool over.
    confidence : float
        Level of the intervals, in (0, 1).

    Returns
    -------
    Pooled
        For k = 1 the estimate itself with its own standard error, and nothing else.

    Raises
    ------
    AceError
        If a standard error is not positive, or `confidence` is out of range.

    Notes
    -----
    With w = 1 / (se^2 + tau2) and the mean m weighted by w, tau2 solves sum(w (effect - m)^2) = k - 1, and is 0 if
    sampling error alone explains the spread. The variance of m is sum(w (effect - m)^2) / ((k - 1) sum(w)), its
    interval that of t with k - 1 degrees of freedom. This variance is not held above 1 / sum(w): it is smaller where
    estimates agree better than their errors let expect. That gives the intervals their coverage over many cells, but
    the interval of a single cell with few countries that happen to agree can be very short. The prediction interval is
    m -/+ t(k - 2) sqrt(tau2 + se^2); with few countries and a small tau2 it covers less than its level (in simulations
    0.85 to 0.88 for 5 to 10 countries and tau2 about the sampling variance). I2 = max(0, Q - (k - 1)) / Q, with Q at
    tau2 = 0.

    References
    ----------
    Paule and Mandel (1982), J. Res. NBS 87(5), 377-385; DerSimonian and Kacker (2007), Contemp. Clin. Trials 28(2),
    105-114 (the iteration). Hartung and Knapp (2001), Stat. Med. 20(24), 3875-3889; Sidik and Jonkman (2002), Stat.
    Med. 21(21), 3153-3159. Higgins, Thompson and Spiegelhalter (2009), JRSS A 172(1), 137-159 (the prediction interval;
    with this variance: Partlett and Riley 2017, Stat. Med. 36(2), 301-317; why to report it: IntHout et al. 2016, BMJ
    Open 6(7), e010247). Higgins and Thompson (2002), Stat. Med. 21(11), 1539-1558 (I2).
    """
    if not 0 < confidence < 1:
        raise AceError("out of range", param="confidence", expected="between 0 and 1", got=confidence)
    effect, se = (np.moveaxis(np.asarray(numbers, dtype=float), axis, 0) for numbers in (effect, se))
    shape = effect.shape[1:]
    effect, se = (numbers.reshape(len(effect), int(np.prod(shape))) for numbers in (effect, se))
    there = np.isfinite(effect) & np.isfinite(se)
    if (se[there] <= 0).any():
        raise AceError("not positive", param="se", expected="standard errors above 0")
    y, variance = np.where(there, effect, 0.0), np.where(there, se, 1.0) ** 2
    k = there.sum(axis=0)
    several = k > 1
    df = np.where(several, k - 1, 1)

    q = _spread(y, variance, there, np.zeros(len(k)))[2]
    tau2 = _between(y, variance, there)
    weight, mean, spread = _spread(y, variance, there, tau2)
    total = np.where(k > 0, weight.sum(axis=0), np.nan)
    error = np.sqrt(np.where(several, spread / df, 1.0) / total)
    tail = (1 - confidence) / 2
    # critical values by degrees of freedom 1, 2, ...; there are few, and many cells
    critical = np.array([np.nan, np.nan, *stats.t.isf(tail, np.arange(1, len(there)))])
    half = critical[k] * error
    reach = np.where(k > 2, critical[np.maximum(k - 1, 0)], np.nan) * np.sqrt(tau2 + error**2)
    i2 = np.divide(np.maximum(q - df, 0), q, out=np.zeros_like(q), where=q > 0)
    numbers = {
        "effect": np.where(k > 0, mean, np.nan),
        "se": error,
        "lower": mean - half,
        "upper": mean + half,
        "prediction_lower": mean - reach,
        "prediction_upper": mean + reach,
        "tau2": np.where(several, tau2, np.nan),
        "i2": np.where(several, i2, np.nan),
        "cochran_q": np.where(several, q, np.nan),
        "p_heterogeneity": np.where(several, stats.chi2.sf(q, df), np.nan),
        "k": k,
    }
    return Pooled(**{name: array.reshape(shape) for name, array in numbers.items()})


def pooled(
    cube: xr.Dataset, min_countries: int = 2, by: str = "effect", population: Mapping[str, float] | None = None
) -> xr.Dataset:
    """Pool a cube's effects over its countries, each contrast, value and context (and option) on its own.

    Parameters
    ----------
    cube : xarray.Dataset
        A survey cube, or a selection of one that keeps the dimension country.
    min_countries : int
        Fewest countries with an estimate, at least 1; with fewer, everything but `k` is missing.
    by : {'effect', 'option'}
        Pool the effects on the score, or the shifts of every option in probability, which nominal values have too.
    population : mapping of str to float, optional
        People of each country, in any unit: the mean over the people of these countries together, in place of the mean
        over countries. Of a context count those to whom it applies, by the cube's `share`.

    Returns
    -------
    xarray.Dataset
        The fields of `Pooled`, or, by population, of `acecausal.comparison.population.Together`, with dims (attribute,
        value, persona), and option if asked for, at the confidence level of the cube (0.95 if it names none). Without
        `population` countries count alike but for the precision of their estimates.

    Raises
    ------
    CubeError
        If it is a model's cube, or has no dimension country, or no `share` and `population` is given.
    AceError
        If `min_countries` is below 1, `by` something else, or a country has no population.

    Notes
    -----
    By population the effect stays one within countries: the arms of each are compared with one another, never people of
    one country with those of another.
    """
    if by not in ("effect", "option"):
        raise unknown("by", by, ("effect", "option"))
    if "effect_se" not in cube:
        raise CubeError(
            "has no standard errors to pool by",
            param="cube",
            expected="a survey cube",
            got=f"a {cube.attrs['kind']} cube" if "kind" in cube.attrs else "no cube",
        )
    if "country" not in cube.dims:
        raise CubeError(
            "missing", param="dimension country", hint="select with a list, as in cube.sel(country=['USA'])"
        )
    if min_countries < 1:
        raise AceError("out of range", param="min_countries", expected="at least 1", got=min_countries)
    effect, se = (cube["effect"], cube["effect_se"]) if by == "effect" else (cube["shift"], cube["shift_se"])
    confidence = float(cube.attrs.get("confidence", 0.95))
    known = np.where(se.values > 0, se.values, np.nan)  # of an option that nobody chose nothing is known
    axis = effect.get_axis_num("country")
    found: Pooled | Together
    if population is None:
        meant, found = _MEANING, pool(effect.values, known, axis, confidence)
    else:
        people, degrees = (
            numbers.broadcast_like(effect).transpose(*effect.dims).values
            for numbers in (_people(cube, population), _degrees(cube))
        )
        meant, found = _MEANING_TOGETHER, together(effect.values, known, degrees, people, axis, confidence)
    enough = found.k >= min_countries
    one = effect.isel(country=0, drop=True)
    result = xr.Dataset(coords={name: one[name] for name in one.coords if "country" not in cube[name].dims})
    for field in fields(found):
        numbers = getattr(found, field.name)
        units, meaning = meant[field.name]
        result[field.name] = (
            one.dims,
            numbers if field.name == "k" else np.where(enough, numbers, np.nan),
            {"long_name": meaning, "units": units if by == "effect" else "1"},
        )
    way = (
        "by random effects (Paule-Mandel, Hartung-Knapp-Sidik-Jonkman)"
        if population is None
        else "by population: among the people of all of them"
    )
    result.attrs = {
        "description": f"{'Effects' if by == 'effect' else 'Shifts'} pooled over countries {way}",
        "confidence": confidence,
        "min_countries": min_countries,
    }
    return result


def _people(cube: xr.Dataset, population: Mapping[str, float]) -> xr.DataArray:
    """Say how many people of each country a persona is of, dims (country, value, persona)."""
    if "share" not in cube:
        raise CubeError("does not say how many people a persona is of", param="share", hint="estimate it anew")
    countries = cube["country"].values.astype(str).tolist()
    return cube["share"] * xr.DataArray(of_countries(population, countries), dims="country")


def _degrees(cube: xr.Dataset) -> xr.DataArray:
    """Degrees of freedom of each estimate; infinite where a cube does not keep them."""
    degrees = cube["degrees_of_freedom"] if "degrees_of_freedom" in cube else xr.full_like(cube["effect"], np.inf)
    return degrees.fillna(np.inf)


def _spread(
    y: np.ndarray, variance: np.ndarray, there: np.ndarray, tau2: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weigh estimates, shape (n, cells), at a given tau2, shape (cells,).

    Returns
    -------
    weight : numpy.ndarray, shape (n, cells)
        0 where there is no estimate.
    mean, spread : numpy.ndarray, shape (cells,)
        Weighted mean, and weighted sum of squared deviations from it.
    """
    weight = there / (variance + tau2)
    total = weight.sum(axis=0)
    mean = np.divide((weight * y).sum(axis=0), total, out=np.zeros_like(total), where=total > 0)
    return weight, mean, (weight * (y - mean) ** 2).sum(axis=0)


def _between(y: np.ndarray, variance: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Solve Paule and Mandel's equation for tau2 in each cell, shape (cells,).

    The spread is a convex falling function of tau2 (each term is jointly convex in the mean and tau2, and the mean
    minimises), so Newton's steps from 0 rise to the root and never pass it.
    """
    df = there.sum(axis=0) - 1
    tau2 = np.zeros(y.shape[1])
    unsolved = np.flatnonzero(df > 0)
    while unsolved.size:
        part = (y[:, unsolved], variance[:, unsolved], there[:, unsolved])
        weight, mean, spread = _spread(*part, tau2[unsolved])
        excess = spread - df[unsolved]
        falling = (weight**2 * (part[0] - mean) ** 2).sum(axis=0)
        tau2[unsolved] += np.divide(excess, falling, out=np.zeros_like(excess), where=excess > 0)
        # the error of a step is the square of the one before: from 1e-7 on, this step was the last that matters
        unsolved = unsolved[excess > 1e-7 * df[unsolved]]
    return tau2
