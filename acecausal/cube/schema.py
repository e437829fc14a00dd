"""The cube's schema, as data: every variable's dimensions, kind, units, range and meaning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

VERSION = 1
KINDS = ("survey", "model")

RESPONSE = ("country", "value", "persona")
EDGE = ("country", "attribute", "value", "persona")
FIT = ("country", "attribute", "value")

STATUS = ("ok", "not_applicable", "not_asked", "too_few", "no_overlap", "failed")
OK, NOT_APPLICABLE, NOT_ASKED, TOO_FEW, NO_OVERLAP, FAILED = range(len(STATUS))

#: What stands behind a status other than ok.
REASONS = (
    "none", "few_people", "few_effective", "few_psus", "one_person", "cells_apart", "arms_apart", "unbalanced",
    "constant_answers", "impossible_number", "census",
)  # fmt: skip
(NO_REASON, FEW_PEOPLE, FEW_EFFECTIVE, FEW_PSUS, ONE_PERSON, CELLS_APART, ARMS_APART, UNBALANCED, CONSTANT_ANSWERS,
 IMPOSSIBLE_NUMBER, CENSUS) = range(len(REASONS))  # fmt: skip

VERDICTS = ("not_run", "consistent", "inconsistent", "undecided")
NOT_RUN, CONSISTENT, INCONSISTENT, UNDECIDED = range(len(VERDICTS))

SCALES = ("ordinal", "binary", "nominal", "continuous")

#: Propensities at which both arms can be met: `overlap` is the share of people inside.
PROPENSITY_RANGE = (0.05, 0.95)


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of the cube.

    Attributes
    ----------
    name : str
    dims : tuple of str
        In this order, always.
    dtype : str
        numpy kind letters that are allowed: f float, i integer.
    units : str
    bounds : tuple of float
        Closed range of the finite values.
    meaning : str
        One sentence.
    kinds : tuple of str
        Kinds of cube that must carry it; it may not appear in others.
    present : {'', 'shift', 'effect', 'test', 'response', 'spread'}
        Where the number is there and where it is missing: where `status` is ok (shift), and the value has a score
        (effect), or also where it has none (test); where somebody answered (response), of two PSUs at least (spread);
        or as the meaning says ('').
    optional : tuple of str
        Kinds of cube in which it may be absent: diagnostics, and the errors of a model that was asked in one way only.
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    units: str
    bounds: tuple[float, float]
    meaning: str
    kinds: tuple[str, ...] = KINDS
    present: str = ""
    optional: tuple[str, ...] = ()


_INF = float("inf")
_SURVEY = ("survey",)
_MODEL = ("model",)

VARIABLES: tuple[Variable, ...] = (
    Variable("response", (*RESPONSE, "option"), "f", "1", (0, 1),
             "Weighted share of the option (survey), or its probability normalised over the options (model).",
             present="response"),
    Variable("response_se", (*RESPONSE, "option"), "f", "1", (0, _INF),
             "Standard error of the share under the survey's design (survey), or of the mean over prompts (model); "
             "missing where all respondents are of one PSU.", present="spread", optional=_MODEL),
    Variable("wording_response", ("wording", *RESPONSE, "option"), "f", "1", (0, 1),
             "Response in each way of asking; the response is their mean.", _MODEL, optional=_MODEL),
    Variable("response_shrunk", (*RESPONSE, "option"), "f", "1", (0, 1),
             "Empirical-Bayes response, drawn towards what coarser personas and the other countries say.",
             _SURVEY, "response"),
    Variable("response_shrunk_se", (*RESPONSE, "option"), "f", "1", (0, _INF),
             "Standard error of the empirical-Bayes response.", _SURVEY, "response"),
    Variable("n", RESPONSE, "i", "1", (0, _INF),
             "Respondents who match the persona and answered (survey), or prompts averaged (model)."),
    Variable("n_eff", RESPONSE, "f", "1", (0, _INF),
             "Effective sample size behind the response: Kish's, discounted by how alike the answers within a PSU are "
             "(or the ratings of a rater, and of an item), or by the design effect that replicate weights show; times "
             "response_gain, where there is one.",
             _SURVEY),
    Variable("n_psu", RESPONSE, "i", "1", (0, _INF),
             "Primary sampling units (or raters, or respondents, where there are none; by replicate weights people of "
             "the same factors) that the respondents are of.", _SURVEY, optional=_SURVEY),
    Variable("share", RESPONSE, "f", "1", (0, 1),
             "Weighted share of the persona's people among those who answered the value, all attributes and "
             "covariates that are held fixed known; missing where nobody did, or where the share is below attrs "
             "min_share.", _SURVEY, optional=_SURVEY),
    Variable("response_gain", RESPONSE, "f", "1", (0, _INF),
             "Variance of the mean score (nominal: of the shares together) without a model over that with it: as many "
             "times more people would be as good; 1 where the model is worth nothing (acecausal sharpen).",
             _SURVEY, "spread", optional=_SURVEY),
    Variable("option_mass", RESPONSE, "f", "1", (0, 1),
             "Probability the model puts on the options together, before normalising.", _MODEL),
    Variable("unlisted_mass", RESPONSE, "f", "1", (0, 1),
             "Probability on tokens that the server did not list while an option was not among the listed: what a "
             "truncated list may hide from the options.", _MODEL, optional=_MODEL),
    Variable("imputed_share", RESPONSE, "f", "1", (0, 1),
             "Share of option_mass that the server did not list, but that was put in as the most it can be.",
             _MODEL, optional=_MODEL),
    Variable("coherence", RESPONSE, "f", "1", (0, 1),
             "Distance between the answer to the persona and the share-weighted mixture of the answers to the finest "
             "ones that it consists of; 0 is coherent, missing for the finest.", _MODEL, optional=_MODEL),
    Variable("shift", (*EDGE, "option"), "f", "1", (-1, 1),
             "Change of the option's probability when the contrast is applied within the context (the persona).",
             present="shift"),
    Variable("shift_se", (*EDGE, "option"), "f", "1", (0, _INF), "Standard error of the shift.",
             present="shift", optional=_MODEL),
    Variable("cumulative_shift_se", (*EDGE, "option"), "f", "1", (0, _INF),
             "Standard error of the shift summed over this option and those before it.", _SURVEY, "shift"),
    Variable("shift_critical", EDGE, "f", "1", (0, _INF),
             "Standard errors that a band around the shifts must reach to hold all options at once, at the level in "
             "attrs.", _SURVEY, "shift"),
    Variable("shift_shrunk", (*EDGE, "option"), "f", "1", (-1.5, 1.5),
             "Empirical-Bayes shift, drawn towards what coarser contexts and the other countries say.",
             _SURVEY, "shift"),
    Variable("shift_shrunk_se", (*EDGE, "option"), "f", "1", (0, _INF),
             "Standard error of the empirical-Bayes shift.", _SURVEY, "shift"),
    Variable("effect", EDGE, "f", "score", (-1, 1),
             "Change of the mean score, 0..1; missing for nominal values, which have no score.", present="effect"),
    Variable("effect_se", EDGE, "f", "score", (0, _INF), "Standard error of the effect.",
             present="effect", optional=_MODEL),
    Variable("effect_interval", (*EDGE, "bound"), "f", "score", (-_INF, _INF),
             "Interval of the effect at the level in attrs, from the t distribution of the design (survey), or of "
             "profiles and wordings together (a model that was asked as profiles).", present="effect",
             optional=_MODEL),
    Variable("p_value", EDGE, "f", "1", (0, 1),
             "p-value of the effect being zero (two-sided); of a nominal value, of all its shifts being zero at once "
             "(Hotelling's F over the options; missing where these outnumber the degrees of freedom).",
             _SURVEY, "test"),
    Variable("degrees_of_freedom", EDGE, "f", "1", (1, _INF),
             "Degrees of freedom of the t distribution behind the intervals of effect and shifts.", _SURVEY, "shift",
             optional=_SURVEY),
    Variable("q_value", EDGE, "f", "1", (0, 1),
             "Benjamini-Hochberg adjusted p-value; the family is in attrs.", _SURVEY, "test"),
    Variable("effect_shrunk", EDGE, "f", "score", (-1.5, 1.5),
             "Empirical-Bayes effect: the score-weighted shift_shrunk.", _SURVEY, "effect"),
    Variable("effect_shrunk_se", EDGE, "f", "score", (0, _INF),
             "Standard error of the empirical-Bayes effect.", _SURVEY, "effect"),
    Variable("gain", EDGE, "f", "1", (0, _INF),
             "Variance of the effect (nominal: of the shifts together) without a model over that with it; 1 where the "
             "model is worth nothing (acecausal sharpen).", _SURVEY, "shift", optional=_SURVEY),
    Variable("n_effect", EDGE, "i", "1", (0, _INF),
             "People the effect speaks for: respondents of the context who answered, all attributes known, in "
             "combinations of the other attributes that hold both arms; under association those of the two arms.",
             _SURVEY, optional=_SURVEY),
    Variable("n_baseline", EDGE, "i", "1", (0, _INF),
             "Arm size: respondents of the context at the baseline level who answered, all attributes known.", _SURVEY),
    Variable("n_treated", EDGE, "i", "1", (0, _INF),
             "Arm size at the contrast's other level.", _SURVEY),
    Variable("n_psu_baseline", EDGE, "i", "1", (0, _INF),
             "Primary sampling units (or raters, or respondents, where there are none) in the arm at the baseline "
             "level.", _SURVEY, optional=_SURVEY),
    Variable("n_psu_treated", EDGE, "i", "1", (0, _INF), "The same in the arm at the contrast's other level.",
             _SURVEY, optional=_SURVEY),
    Variable("overlap", EDGE, "f", "1", (0, 1),
             "Weighted share of the context's respondents whose propensity (logistic, whatever the estimator) lies in "
             "[0.05, 0.95]; missing where nobody was asked or the edge does not exist.", _SURVEY),
    Variable("n_eff_after", ("country", "attribute", "persona"), "f", "1", (0, _INF),
             "Effective size of the smaller arm of the context after weighting by the inverse propensity.",
             _SURVEY, optional=_SURVEY),
    Variable("smd_largest", ("country", "attribute", "persona"), "f", "1", (0, _INF),
             "Largest standardised mean difference that this weighting leaves between the arms of the context.",
             _SURVEY, optional=_SURVEY),
    Variable("regression_effect", FIT, "f", "score", (-_INF, _INF),
             "The effect in the context all once more, by weighted least squares on the same cells and controls, "
             "without cross-fitting: a cross-check.", _SURVEY, optional=_SURVEY),
    Variable("moderation_f", (*FIT, "modifier"), "f", "1", (0, _INF),
             "F statistic of the effect being the same at all levels of the modifier that could be estimated; missing "
             "where fewer than two could.", _SURVEY, optional=_SURVEY),
    Variable("moderation_p", (*FIT, "modifier"), "f", "1", (0, 1), "p-value of moderation_f.",
             _SURVEY, optional=_SURVEY),
    Variable("e_value", FIT, "f", "1", (1, _INF),
             "Risk ratio that an unobserved confounder needs with attribute and answer to explain the effect in the "
             "context all away (VanderWeele and Ding 2017).", _SURVEY, optional=_SURVEY),
    Variable("e_value_limit", FIT, "f", "1", (1, _INF),
             "The same for the limit of the interval nearer to zero; 1 if the interval holds zero.",
             _SURVEY, optional=_SURVEY),
    Variable("refutation", (*FIT, "refuter"), "f", "score", (-_INF, _INF),
             "Mean over the draws of the effect in the context all under placebo, or of its change under the other "
             "refuters; for unobserved_confounder the robustness value, a partial R2.", _SURVEY, optional=_SURVEY),
    Variable("refutation_se", (*FIT, "refuter"), "f", "score", (0, _INF),
             "Standard error of that mean over the draws.", _SURVEY, optional=_SURVEY),
    Variable("refutation_verdict", (*FIT, "refuter"), "i", "1", (0, len(VERDICTS) - 1),
             "Whether the refuter speaks for or against the estimate.", _SURVEY, optional=_SURVEY),
    Variable("refutation_draw", (*FIT, "refuter", "draw"), "f", "score", (-_INF, _INF),
             "The draws themselves.", _SURVEY, optional=_SURVEY),
    Variable("propensity", ("country", "attribute", "quantile"), "f", "1", (0, 1),
             "Weighted quantile of the respondents' probability of the treated against the baseline arm.",
             _SURVEY, optional=_SURVEY),
    Variable("smd_before", ("country", "attribute", "covariate"), "f", "1", (-_INF, _INF),
             "Standardised mean difference of a variable between the arms, weighted by the survey's weights; missing "
             "where the variable is not adjusted for.", _SURVEY, optional=_SURVEY),
    Variable("smd_after", ("country", "attribute", "covariate"), "f", "1", (-_INF, _INF),
             "The same after weighting by the inverse propensity.", _SURVEY, optional=_SURVEY),
    Variable("implied", ("country", "persona", "checked"), "f", "1", (0, 1),
             "Weighted share of each attribute level among the people of the persona whose attributes are all known "
             "(survey; missing where nobody is), or its probability where the model is told the persona and asked its "
             "check question (model; asked of personas of at most one attribute and of the finest).", optional=KINDS),
    Variable("drift", ("country", "attribute", "checked"), "f", "1", (-1, 1),
             "How far the contrast moves the levels of the other attributes in the context all: implied of the treated "
             "persona less implied of the baseline one; missing for the attribute's own levels.", optional=KINDS),
    Variable("heed", ("country", "attribute", "persona"), "f", "1", (-1, 1),
             "Change of the probability of the told level when the contrast is applied within the context (the "
             "persona: all, and the finest) and its check question is asked: 1 the model takes it in, 0 it does not.",
             _MODEL, optional=_MODEL),
    Variable("heed_se", ("country", "attribute", "persona"), "f", "1", (0, _INF),
             "Standard error of the heed: of its mean over wordings.", _MODEL, optional=_MODEL),
    Variable("status", EDGE, "i", "1", (0, len(STATUS) - 1), "Why there is no estimate, or ok."),
    Variable("reason", EDGE, "i", "1", (0, len(REASONS) - 1), "What stands behind a status other than ok.",
             _SURVEY, optional=_SURVEY),
)  # fmt: skip

#: Optional variables that say something only together.
TOGETHER = (
    ("n_psu_baseline", "n_psu_treated"),
    ("response_gain", "gain"),
    ("reason", "smd_largest", "n_eff_after"),
    ("refutation", "refutation_se", "refutation_verdict"),
    ("smd_before", "smd_after"),
    ("moderation_f", "moderation_p"),
    ("e_value", "e_value_limit"),
)

#: Labels along the dimensions that are the same in every cube that has them.
LABELS: dict[str, tuple[str, ...]] = {
    "bound": ("lower", "upper"),
    "refuter": ("placebo", "random_common_cause", "subset", "unobserved_confounder"),
    "quantile": ("min", "q05", "q25", "median", "q75", "q95", "max"),
}
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

#: Coordinates that lie along a dimension, beside the dimension's own labels.
COORDINATES: dict[str, tuple[str, ...]] = {
    "region": ("country",),
    "country_label": ("country",),
    "treatment": ("attribute",),
    "baseline": ("attribute",),
    "treated": ("attribute",),
    "question": ("value",),
    "topic": ("value",),
    "scale": ("value",),
    "n_options": ("value",),
    "option_label": ("value", "option"),
    "granularity": ("persona",),
}

#: Coordinates that a cube may have: which options keep their place in every order (1) or move with the others (0);
#: where a value is continuous, the numbers that scores of 0 and 1 stand for (0 and 1 of other values), and their unit.
OPTIONAL_COORDINATES: dict[str, tuple[str, ...]] = {
    "option_pinned": ("value", "option"), "low": ("value",), "high": ("value",), "unit": ("value",),
}  # fmt: skip

ATTRS = ("acecausal_schema_version", "kind", "lattice", "created", "creation_library_version")


def scores(n_options: int) -> np.ndarray:
    """Score of each option by position, shape (n_options,): (position - 1) / (n_options - 1), from 0 to 1."""
    return np.arange(n_options) / (n_options - 1)


def annotate(cube: xr.Dataset) -> xr.Dataset:
    """Fill ``long_name``, ``units``, and the CF flags of `status` from the schema."""
    for spec in VARIABLES:
        if spec.name in cube:
            cube[spec.name].attrs = {"long_name": spec.meaning, "units": spec.units}
    for name, words in (("status", STATUS), ("reason", REASONS), ("refutation_verdict", VERDICTS)):
        if name in cube:
            cube[name].attrs |= {
                "flag_values": np.arange(len(words), dtype=np.int8),
                "flag_meanings": " ".join(words),
            }
    return cube


def markdown() -> str:
    """Write the schema as a Markdown table (for the documentation)."""
    rows = ["| variable | dims | units | cube | meaning |", "|---|---|---|---|---|"]
    rows += [
        f"| `{spec.name}` | {', '.join(spec.dims)} | {spec.units} | "
        f"{'both' if spec.kinds == KINDS else spec.kinds[0]} | {spec.meaning} |"
        for spec in VARIABLES
    ]
    return "\n".join(rows)
