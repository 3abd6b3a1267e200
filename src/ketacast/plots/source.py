"""What figures take from a fitted estimator: studies, weights, predictions, facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import beta
from sklearn.utils.validation import check_is_fitted

from ketacast.arrays import FloatArray
from ketacast.effects import proportion_effect
from ketacast.errors import InputError
from ketacast.estimators import (
    BayesianMetaRegression,
    BinomialMetaRegression,
    MultilevelMetaRegression,
)
from ketacast.estimators.base import MetaEstimator
from ketacast.numerics.inference import Prediction, check_level, critical_value

#: Parts of a summary that say nothing about heterogeneity or moderators.
_LEFT_OUT = ("Log-likelihood", "AIC, AICc, BIC", "Log marginal likelihood")


@dataclass(frozen=True, slots=True)
class StudyEffects:
    """The studies of a fit, on the scale of the fit.

    Attributes
    ----------
    labels : tuple of str
        Names.
    estimate, lower, upper : ndarray, shape (k,)
        Effects with confidence limits: normal ones, or exact ones (Clopper & Pearson
        1934, Biometrika 26:404) of counts, whose logits may be infinite.
    y, se : ndarray, shape (k,)
        Effects and standard errors; of counts the logits, with 1/2 added to events and
        non-events of studies that have none of one of them.
    weight : ndarray, shape (k,)
        Percent; they sum to 100.
    """

    labels: tuple[str, ...]
    estimate: FloatArray
    lower: FloatArray
    upper: FloatArray
    y: FloatArray
    se: FloatArray
    weight: FloatArray


def fitted_estimator(estimator: object) -> MetaEstimator:
    """Check that an estimator of this package is given, and fitted.

    Raises
    ------
    InputError
        For anything else. An estimator before its fit raises scikit-learn's
        NotFittedError.
    """
    if not isinstance(estimator, MetaEstimator):
        raise InputError(
            f"estimator is a {type(estimator).__name__}; give a fitted meta-regression, such as "
            "MetaRegression().fit(...)"
        )
    check_is_fitted(estimator)
    return estimator


def level_of(estimator: MetaEstimator, level: float | None) -> float:
    """Coverage of the intervals: as asked for, else that of the fit."""
    if level is not None:
        return check_level(level)
    if isinstance(estimator, BayesianMetaRegression):
        return float(estimator.level_)
    return float(estimator.result_.level)


def is_pooled(estimator: MetaEstimator) -> bool:
    """Whether the fit has one mean for all studies."""
    matrix = estimator.studies_.matrix
    return matrix.shape[1] == 1 and bool(np.all(matrix == 1.0))


def predict_rows(estimator: MetaEstimator, rows: FloatArray, level: float) -> Prediction:
    """Predict at rows of the design matrix, shape (m, p)."""
    return estimator.predict_design(rows, level=level)


def study_effects(
    estimator: MetaEstimator, labels: Sequence[object] | None, level: float
) -> StudyEffects:
    """Read the studies of a fit.

    Parameters
    ----------
    estimator : MetaEstimator
        Fitted.
    labels : sequence or None
        Names of the studies in the fit, or of all rows given to it; the row labels of
        its data by default.
    level : float
        Coverage of the studies' intervals.

    Raises
    ------
    InputError
        For a wrong number of labels.
    """
    studies = estimator.studies_
    names = study_labels(estimator, labels)
    if isinstance(estimator, BinomialMetaRegression):
        events, n = studies.y, studies.numbers["n"]
        sizes = proportion_effect(events, n, "PLO")
        tail = 0.5 * (1.0 - level)
        # A beta law with a parameter of 0 is a point at that end.
        low = np.where(events > 0.0, beta.ppf(tail, np.maximum(events, 1.0), n - events + 1.0), 0.0)
        rest = n - events
        high = np.where(rest > 0.0, beta.isf(tail, events + 1.0, np.maximum(rest, 1.0)), 1.0)
        y, se = sizes.yi, np.sqrt(sizes.vi)
        estimate, lower, upper = logit(events / n), logit(low), logit(high)
    else:
        y, se = studies.y, np.sqrt(studies.numbers["sampling_variance"])
        half = critical_value(level, None) * se
        estimate, lower, upper = y, y - half, y + half
    return StudyEffects(names, estimate, lower, upper, y, se, study_weights(estimator))


def study_labels(estimator: MetaEstimator, labels: Sequence[object] | None) -> tuple[str, ...]:
    """Names of the studies in the fit; "Study 1", "Study 2", ... where rows have none."""
    studies = estimator.studies_
    if labels is None:
        given = studies.labels.tolist()
        if given == np.flatnonzero(studies.used).tolist():
            return tuple(f"Study {position + 1}" for position in given)
        return tuple(str(label) for label in given)
    if isinstance(labels, str):
        raise InputError(f"labels is {labels!r}; give one label per study")
    if isinstance(getattr(labels, "index", None), pd.Index):
        studies.matched("labels", labels)  # of the fit's own rows
    names = [str(label) for label in labels]
    if len(names) == studies.y.size:
        return tuple(names)
    if len(names) == studies.used.size:
        return tuple(name for name, used in zip(names, studies.used, strict=True) if used)
    raise InputError(
        f"labels has {len(names)} entries for {studies.used.size} rows, {studies.y.size} of them "
        "in the fit; give one per row"
    )


def study_weights(estimator: MetaEstimator) -> FloatArray:
    """Weights of the studies, percent, shape (k,).

    ``1 / (v + tau2)``; the same averaged over the posterior of tau (Rover 2020, J Stat
    Softw 93(6)); row sums of the inverse of the marginal covariance, where studies have
    several estimates; and for counts ``1 / (1 / (n p (1 - p)) + tau2)`` with the fitted
    proportions p, an approximation.
    """
    studies = estimator.studies_
    if isinstance(estimator, MultilevelMetaRegression):
        covariance = estimator.result_.marginal_covariance()
        raw = np.linalg.solve(covariance, np.ones(studies.y.size))
    elif isinstance(estimator, BayesianMetaRegression):
        total = studies.numbers["sampling_variance"][:, None] + estimator.result_.tau**2
        share = 1.0 / total
        raw = (share / share.sum(axis=0)) @ estimator.result_.weight
    else:
        if isinstance(estimator, BinomialMetaRegression):
            p = expit(studies.matrix @ estimator.coef_)
            variance = 1.0 / (studies.numbers["n"] * p * (1.0 - p))
        else:
            variance = studies.numbers["sampling_variance"]
        # Never 0: no fit has a sampling variance of 0 together with tau2 = 0.
        raw = 1.0 / (variance + estimator.tau2_)
    return np.asarray(100.0 * raw / raw.sum(), dtype=np.float64)


def model_facts(estimator: MetaEstimator) -> tuple[str, ...]:
    """Title of the fit, its heterogeneity and its tests, in words."""
    summary = estimator.summary()
    pooled = is_pooled(estimator)
    kept = [
        f"{label}: {value}"
        for label, value in summary.facts
        if label not in _LEFT_OUT
        and value != "-"
        and not (pooled and label == "Test of moderators")
    ]
    return (summary.title, *kept)


def interval_noun(estimator: MetaEstimator) -> str:
    """Name the intervals of the fit."""
    return "credible" if isinstance(estimator, BayesianMetaRegression) else "confidence"
