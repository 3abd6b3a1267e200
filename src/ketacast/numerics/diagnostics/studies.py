"""Leave-one-out fits, residuals and shrunken study effects.

References
----------
Viechtbauer & Cheung 2010, Res Synth Methods 1:112; Raudenbush & Bryk 1985, J
Educ Stat 10:75.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ketacast.arrays import BoolArray, FloatArray, frozen, real_array
from ketacast.errors import InputError
from ketacast.numerics.diagnostics.casewise import (
    Studies,
    as_studies,
    chunks,
    deletions,
    frozen_flags,
    leverages,
)
from ketacast.numerics.inference import check_level, critical_value
from ketacast.numerics.labels import Label
from ketacast.numerics.normal import NormalFit, NormalTest, Tau2Method, fit_normal, fit_normal_batch
from ketacast.numerics.records import PlainRecord


@dataclass(frozen=True, slots=True)
class LeaveOneOut(PlainRecord):
    """Fits without each study, or without each cluster, in turn.

    Attributes
    ----------
    labels : tuple, length m
        What was left out: positions 0 to k - 1, or cluster labels in order of
        first appearance.
    beta, se, statistic, p_value, ci_lower, ci_upper : ndarray, shape (m, p)
        Coefficients of the fit without it, and their inference.
    tau2, i2, h2, qe, qe_p : ndarray, shape (m,)
        Its heterogeneity: between-study variance, I2 (percent), H2, Cochran's
        Q of the residuals and the p-value of Q.
    n_studies : ndarray, shape (m,)
        Studies that were left.
    solvable : ndarray of bool, shape (m,)
        False where what is left cannot be fitted (too few studies, or a design
        that lost rank); all numbers but `n_studies` are NaN there. Where no
        degree of freedom is left, p-values and limits from t are NaN, and where
        what is left lies on its line but for rounding, those and `se` of "knha".
    """

    labels: tuple[Label, ...]
    beta: FloatArray
    se: FloatArray
    statistic: FloatArray
    p_value: FloatArray
    ci_lower: FloatArray
    ci_upper: FloatArray
    tau2: FloatArray
    i2: FloatArray
    h2: FloatArray
    qe: FloatArray
    qe_p: FloatArray
    n_studies: FloatArray
    solvable: BoolArray


def leave_one_out(
    y: object,
    v: object,
    X: object,
    *,
    groups: object = None,
    method: Tau2Method = "REML",
    test: NormalTest = "adhoc",
    level: float = 0.95,
    chunk_size: int | None = None,
) -> LeaveOneOut:
    """Refit without each study, or without each cluster of studies, in turn.

    Parameters
    ----------
    y, v : array_like, shape (k,)
        Effects and sampling variances (> 0).
    X : array_like, shape (k, p)
        Design, the intercept's column of ones included.
    groups : array_like, shape (k,), optional
        Cluster labels (numbers or texts).
    method, test, level
        As for :func:`ketacast.numerics.normal.fitting.fit_normal`; tau2 is estimated
        anew in each fit.
    chunk_size : int, optional
        Fits at a time; it bounds memory and changes no more than the last digits
        (1e-14).

    Raises
    ------
    InputError
        For unusable data or labels, and where even all studies together
        cannot be fitted.
    """
    data = as_studies(y, v, X)
    labels, include = deletions(groups, data.k)
    parts = [
        fit_normal_batch(
            data.y, data.v, data.X, include=include[part], method=method, test=test, level=level
        )
        for part in chunks(len(labels), k=data.k, p=data.p, chunk_size=chunk_size)
    ]
    if not any(part.solvable.any() for part in parts):
        # Says what is wrong with all of them; a single study too few is no error.
        fit_normal(data.y, data.v, data.X, method=method, test=test, level=level)
    names = (
        "beta", "se", "statistic", "p_value", "ci_lower", "ci_upper",
        "tau2", "i2", "h2", "qe", "qe_p",
    )  # fmt: skip
    values = {
        name: frozen(np.concatenate([getattr(part, name) for part in parts])) for name in names
    }
    return LeaveOneOut(
        labels=labels,
        n_studies=frozen(include.sum(axis=1).astype(np.float64)),
        solvable=frozen_flags(np.concatenate([part.solvable for part in parts])),
        **values,
    )


@dataclass(frozen=True, slots=True)
class Residuals(PlainRecord):
    """Distances of the studies from the fitted line.

    Attributes
    ----------
    fitted : ndarray, shape (k,)
        Means at the studies' moderators.
    response : ndarray, shape (k,)
        Observed minus fitted.
    pearson : ndarray, shape (k,)
        `response` over ``sqrt(v + tau2)``.
    se : ndarray, shape (k,)
        Standard error of `response`, ``sqrt((1 - h)(v + tau2))`` with the
        leverage h.
    standardised : ndarray, shape (k,)
        `response` over `se` (internally standardised); NaN for a study through
        which the line is forced, whose leverage is 1 to rounding.
    leverage : ndarray, shape (k,)
        Diagonal of the hat matrix, 0 to 1; the values sum to p.
    """

    fitted: FloatArray
    response: FloatArray
    pearson: FloatArray
    se: FloatArray
    standardised: FloatArray
    leverage: FloatArray


def fitted_values(fit: NormalFit, X: object) -> FloatArray:
    """Means at the rows of a design, shape (k,).

    Raises
    ------
    InputError
        If X does not have one column per coefficient.
    """
    return frozen(_design_of(fit, X) @ fit.beta)


def residuals(fit: NormalFit, y: object, v: object, X: object) -> Residuals:
    """Residuals of the studies that a fit was made from.

    Parameters
    ----------
    fit : NormalFit
        The fit.
    y, v, X
        The data it was made from.

    Raises
    ------
    InputError
        If the data do not have the fit's number of studies or coefficients.
    """
    data = _data_of(fit, y, v, X)
    total = data.v + fit.tau2
    leverage = leverages(data.X, total)
    response = data.y - data.X @ fit.beta
    forced = 1.0 - leverage <= np.finfo(np.float64).eps * 8.0 * data.k
    se = np.sqrt(np.where(forced, 0.0, 1.0 - leverage) * total)
    return Residuals(
        fitted=frozen(data.X @ fit.beta),
        response=frozen(response),
        pearson=frozen(response / np.sqrt(total)),
        se=frozen(se),
        standardised=frozen(np.where(forced, np.nan, response / np.where(forced, 1.0, se))),
        leverage=frozen(leverage),
    )


@dataclass(frozen=True, slots=True)
class Blup(PlainRecord):
    """Empirical-Bayes estimates of the studies' true effects.

    Attributes
    ----------
    effect, effect_se, effect_lower, effect_upper : ndarray, shape (k,)
        True effect of each study (fitted mean plus random effect), its
        standard error and prediction bounds.
    random, random_se, random_lower, random_upper : ndarray, shape (k,)
        The random effect alone: distance of the true effect from the mean at
        the study's moderators.
    shrinkage : ndarray, shape (k,)
        Share of the observed residual that is kept, ``tau2 / (tau2 + v)``.
    level : float
        Coverage of the bounds.
    """

    effect: FloatArray
    effect_se: FloatArray
    effect_lower: FloatArray
    effect_upper: FloatArray
    random: FloatArray
    random_se: FloatArray
    random_lower: FloatArray
    random_upper: FloatArray
    shrinkage: FloatArray
    level: float


def blup(fit: NormalFit, y: object, v: object, X: object, *, level: float | None = None) -> Blup:
    """Predict the true effects of the studies that a fit was made from.

    With ``s = tau2 / (tau2 + v)``, the random effect is ``s (y - x'b)`` with
    variance ``s v + s^2 x'Cx`` and the true effect ``x'b + s (y - x'b)`` with
    variance ``s v + (1 - s)^2 x'Cx``, where C is the covariance of b as the
    fit reports it. Quantiles are the fit's own (normal, or t with k - p
    degrees of freedom). For equal effects the random effects are 0.

    Parameters
    ----------
    fit : NormalFit
        The fit.
    y, v, X
        The data it was made from.
    level : float, optional
        Coverage of the bounds; the fit's own by default.

    Raises
    ------
    InputError
        If the data do not have the fit's number of studies or coefficients,
        or for a level outside 0 to 1.
    """
    data = _data_of(fit, y, v, X)
    chosen = fit.level if level is None else check_level(level)
    keep = fit.tau2 / (fit.tau2 + data.v)
    fitted = data.X @ fit.beta
    random = keep * (data.y - fitted)
    line = np.einsum("ki,ij,kj->k", data.X, fit.cov, data.X)
    random_se = np.sqrt(keep * data.v + keep**2 * line)
    effect_se = np.sqrt(keep * data.v + (1.0 - keep) ** 2 * line)
    quantile = critical_value(chosen, fit.df)
    effect = fitted + random
    return Blup(
        effect=frozen(effect),
        effect_se=frozen(effect_se),
        effect_lower=frozen(effect - quantile * effect_se),
        effect_upper=frozen(effect + quantile * effect_se),
        random=frozen(random),
        random_se=frozen(random_se),
        random_lower=frozen(random - quantile * random_se),
        random_upper=frozen(random + quantile * random_se),
        shrinkage=frozen(keep),
        level=chosen,
    )


def _design_of(fit: NormalFit, X: object) -> FloatArray:
    rows = real_array("X", X, ndim=2)
    if rows.shape[1] != fit.p:
        raise InputError(
            f"X has {rows.shape[1]} columns for {fit.p} coefficients; give the design of the fit, "
            "the intercept included"
        )
    return rows


def _data_of(fit: NormalFit, y: object, v: object, X: object) -> Studies:
    data = as_studies(y, v, _design_of(fit, X))
    sizes = (data.y.size, data.v.size, data.X.shape[0])
    if set(sizes) != {fit.k}:
        raise InputError(
            f"y, v and X hold {sizes} studies and the fit {fit.k}; give the data of the fit"
        )
    return data
