"""What predicts answers and arm before effects are estimated: learners of scikit-learn, by name or given."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pickle import PicklingError
from typing import Any

import numpy as np

from acecausal.errors import AceError, unknown

#: Parts that a training set is split into to calibrate a classifier, or to choose a penalty.
INNER_FOLDS = 3
#: Said by other options, alike for all learners.
_ELSEWHERE = ("random_state", "n_jobs", "verbose", "warm_start")


@dataclass(frozen=True, slots=True)
class Nuisance:
    """Two learners, neither of them fitted.

    Attributes
    ----------
    text : str
        What it is called in a cube.
    answers : scikit-learn regressor
        Predicts the options of a value, from several outputs at once.
    arm : scikit-learn classifier
        Predicts the arm, as a probability.
    mark : str
        Hash of both, parameters and all.
    """

    text: str
    answers: Any = field(repr=False, compare=False)
    arm: Any = field(repr=False, compare=False)
    mark: str


def read_nuisance(given: object) -> Nuisance | None:
    """Read what somebody wants answers and arm to be predicted by.

    Parameters
    ----------
    given : str, (regressor, classifier), or Nuisance
        ``linear``; or a name of `LEARNERS`, alone or with arguments of scikit-learn's constructors, as
        ``forest:min_samples_leaf=5,max_depth=4``: each goes to the one or two learners that have it. Or two estimators
        with the interface of scikit-learn: taken as they are, but for `random_state`, which is set where it is None.

    Returns
    -------
    Nuisance or None
        None for ``linear``, for which `linear_dml` needs no learner.

    Raises
    ------
    AceError
        For an unknown name or argument, a value that scikit-learn does not take, or objects that are no such pair.
    """
    if given is None or isinstance(given, Nuisance):
        return given
    if isinstance(given, str):
        return None if given == "linear" else _named(given)
    from sklearn.base import BaseEstimator, is_classifier, is_regressor

    pair = isinstance(given, tuple) and len(given) == 2 and all(isinstance(part, BaseEstimator) for part in given)
    if not (isinstance(given, tuple) and pair and is_regressor(given[0]) and is_classifier(given[1])):
        raise AceError(
            "is not understood",
            param="nuisance",
            expected=f"linear, {', '.join(LEARNERS)}, or a pair of scikit-learn estimators (regressor, classifier)",
            got=repr(given),
        )
    answers, arm = given
    if not hasattr(arm, "predict_proba"):
        raise AceError(
            "gives no probabilities",
            param="nuisance",
            expected="a classifier with predict_proba",
            got=repr(arm),
            hint="CalibratedClassifierCV of it has",
        )
    for learner in given:
        if weight_argument(learner) is None:
            raise AceError("takes no weights", param="nuisance", expected="fit(..., sample_weight)", got=repr(learner))
    return _marked(" ".join(f"{answers!r}, {arm!r}".split()), answers, arm)


def linear() -> Nuisance:
    """Give the nuisances of estimators that need learners where none are asked for: linear, and logistic."""
    from sklearn.linear_model import LinearRegression, LogisticRegression

    return Nuisance("linear", LinearRegression(), LogisticRegression(C=1e4, max_iter=1000), "linear")


def weight_argument(learner: Any) -> str | None:
    """Say by which argument of `fit` a learner takes weights (that of a pipeline's last step), None if by none."""
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import has_fit_parameter

    if isinstance(learner, MultiOutputRegressor):
        return weight_argument(learner.estimator)
    if isinstance(learner, Pipeline):
        inner = weight_argument(learner.steps[-1][1])
        return None if inner is None else f"{learner.steps[-1][0]}__{inner}"
    return "sample_weight" if has_fit_parameter(learner, "sample_weight") else None


def fitted(learner: Any, features: np.ndarray, target: np.ndarray, weight: np.ndarray) -> Any:
    """Fit a copy of a learner, with weights."""
    from sklearn.base import clone

    try:
        return clone(learner).fit(features, target, **{str(weight_argument(learner)): weight})
    except (ValueError, TypeError) as error:
        raise AceError(
            "cannot be fitted", param="nuisance", got=f"{learner!r}: {str(error).splitlines()[0]}"
        ) from error


def seeded(learner: Any, seed: int) -> Any:
    """Copy a learner, with every `random_state` that is None set."""
    from sklearn.base import clone

    parameters = learner.get_params(deep=True)
    missing = {
        name: seed for name, value in parameters.items() if name.split("__")[-1] == "random_state" and value is None
    }
    return clone(learner).set_params(**missing)


def apart(learner: Any) -> bool:
    """Say whether each output of a learner is predicted as if it were alone, so that values can share a fit."""
    from sklearn import linear_model, multioutput

    return type(learner) in (
        linear_model.LinearRegression, linear_model.Ridge, linear_model.Lasso, linear_model.ElasticNet,
        multioutput.MultiOutputRegressor,
    )  # fmt: skip


# --- by name ----------------------------------------------------------------------------------------------------------


def _lasso(given: frozenset[str]) -> tuple[Any, Any]:
    """Penalties by cross-validation, unless they are given."""
    from sklearn.linear_model import Lasso, LassoCV, LogisticRegression, LogisticRegressionCV

    arm: dict[str, Any] = {"solver": "liblinear", "max_iter": 5000}
    return (
        Lasso(max_iter=10_000) if "alpha" in given else LassoCV(cv=INNER_FOLDS, max_iter=10_000),
        LogisticRegression(l1_ratio=1, **arm)
        if "C" in given
        else LogisticRegressionCV(
            l1_ratios=(1,), cv=INNER_FOLDS, scoring="neg_log_loss", use_legacy_attributes=False, **arm
        ),
    )


def _boosting(_: frozenset[str]) -> tuple[Any, Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    choices: dict[str, Any] = {"max_iter": 50, "max_leaf_nodes": 8, "max_bins": 63, "early_stopping": False}
    return HistGradientBoostingRegressor(**choices), HistGradientBoostingClassifier(**choices)


def _forest(_: frozenset[str]) -> tuple[Any, Any]:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    choices: dict[str, Any] = {"min_samples_leaf": 10, "max_features": 0.5}
    return RandomForestRegressor(**choices), RandomForestClassifier(**choices)


#: What can be named: each gives a regressor and a classifier, told which arguments somebody has given.
LEARNERS: dict[str, Callable[[frozenset[str]], tuple[Any, Any]]] = {
    "lasso": _lasso,
    "boosting": _boosting,
    "forest": _forest,
}


@lru_cache
def _named(text: str) -> Nuisance:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.utils._param_validation import InvalidParameterError

    name, colon, rest = (part.strip() for part in text.partition(":"))
    if name == "linear":
        raise AceError("has no arguments", param="nuisance linear", got=repr(rest))
    if name not in LEARNERS:
        raise unknown("nuisance", name, ("linear", *LEARNERS))
    given: dict[str, Any] = {}
    said = []
    for part in _parts(rest) if colon else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals and value) or key in given:
            raise AceError(
                "is not understood", param="nuisance", expected="NAME:KEY=VALUE,KEY=VALUE, each once", got=repr(text)
            )
        given[key] = _read(value)
        said.append(f"{key}={value}")
    answers, arm = LEARNERS[name](frozenset(given))
    has = [set(learner.get_params(deep=False)) - {*_ELSEWHERE} for learner in (answers, arm)]
    for key in given:
        if key not in has[0] | has[1]:
            raise unknown(f"nuisance {name}", key, sorted(has[0] | has[1]))
    for learner, keys in zip((answers, arm), has, strict=True):
        learner.set_params(**{key: value for key, value in given.items() if key in keys})
        try:
            learner._validate_params()
        except InvalidParameterError as error:
            raise AceError(str(error), param=f"nuisance {name}", hint="as in scikit-learn's documentation") from error
    return _marked(name + colon + ",".join(said), answers, CalibratedClassifierCV(arm, cv=INNER_FOLDS))


def _parts(text: str) -> list[str]:
    """Split at commas that stand in no brackets."""
    found, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return found


def _read(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _marked(text: str, answers: Any, arm: Any) -> Nuisance:
    """Make the pair; where the regressor has one output, a copy of it predicts each option."""
    import joblib
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.utils import get_tags

    try:
        mark = joblib.hash((answers, arm))
    except (TypeError, AttributeError, PicklingError) as error:
        raise AceError(
            "cannot be sent to other processes",
            param="nuisance",
            got=text,
            hint="functions with a name in place of lambda",
        ) from error
    if not get_tags(answers).target_tags.multi_output:
        answers = MultiOutputRegressor(answers)
    return Nuisance(text, answers, arm, mark)
