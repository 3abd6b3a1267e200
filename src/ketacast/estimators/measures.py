"""Measures of a fit that compare it with data or with a simpler fit."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import special

from ketacast.arrays import FloatArray, refuse_where
from ketacast.design import numbers_with_gaps
from ketacast.errors import InputError
from ketacast.numerics.binomial.likelihood import Studies, posterior_modes
from ketacast.numerics.hierarchical.normal import NormalPosterior
from ketacast.numerics.inference import Prediction
from ketacast.numerics.normal import NormalFit, fit_normal, tau2_without_moderators
from ketacast.numerics.quadrature import adaptive_gauss_hermite, log_sum_exp

#: Nodes of the integral over a new study's logit; doubling them moves a score by less
#: than 1e-10 where counts are not sparse.
SCORE_NODES: Final = 40


def pseudo_r2(fit: NormalFit, y: FloatArray, v: FloatArray) -> float:
    """Share of the heterogeneity that the moderators account for, percent.

    ``100 max(0, (t0 - t) / t0)`` with tau2 without moderators (t0) and with them
    (t), both by the fit's method (Raudenbush 1994; Lopez-Lopez et al. 2014, Br J
    Math Stat Psychol 67:30). For equal effects, where there is no tau2, the
    variance of the weighted residuals takes its place (the adjusted R2 of weighted
    least squares). Never below 0.

    Parameters
    ----------
    fit : NormalFit
        The fit with moderators.
    y, v : ndarray, shape (k,)
        Its effects and sampling variances.

    Returns
    -------
    float
        NaN without moderators, without an intercept or with as many coefficients as
        studies; 0 where there is no heterogeneity to account for.
    """
    if fit.intercept is None or fit.p == 1 or fit.residual_df == 0:
        return float("nan")
    if fit.method == "EE":
        null = fit_normal(y, v, np.ones((y.size, 1)), method="EE", test="z")
        before, after = null.qe / null.residual_df, fit.qe / fit.residual_df
    else:
        before, after = tau2_without_moderators(y, v, fit.method), fit.tau2
    return 100.0 * max(0.0, (before - after) / before) if before > 0.0 else 0.0


def mean_log_density(
    y: object, v: object, predicted: Prediction, tau2: float, sample_weight: object = None
) -> float:
    """Mean log predictive density of new estimates.

    Each ``y`` is held against ``N(mean, se^2 + tau2 + v)``: the predicted mean with
    its uncertainty, the between-study variance and the estimate's own sampling
    variance. A proper score (Gneiting & Raftery 2007, J Am Stat Assoc 102:359);
    higher is better.

    Parameters
    ----------
    y, v : array_like, shape (m,)
        New estimates and their sampling variances (>= 0).
    predicted : Prediction
        Predicted means and their standard errors, shape (m,).
    tau2 : float
        Between-study variance.
    sample_weight : array_like, shape (m,), optional
        Weights in the mean, >= 0.

    Raises
    ------
    InputError
        For missing values, negative variances or weights, or other lengths.
    """
    observed, variance = _new_estimates(y, v, predicted.mean.size)
    total = predicted.se**2 + tau2 + variance
    refuse_where("the predictive variance", total, total <= 0.0, "must be above 0 for a density")
    away = observed - predicted.mean
    return _mean(-0.5 * (np.log(2.0 * np.pi * total) + away**2 / total), sample_weight)


def mean_log_mixture(
    rows: FloatArray,
    y: object,
    v: object,
    posterior: NormalPosterior,
    sample_weight: object = None,
) -> float:
    """Mean log posterior predictive density of new estimates.

    Parameters
    ----------
    rows : ndarray, shape (m, p)
        Design rows of the new studies.
    y, v : array_like, shape (m,)
        Their estimates and sampling variances (>= 0).
    posterior : NormalPosterior
        A mixture over tau of normal laws of the coefficients.
    sample_weight : array_like, shape (m,), optional
        Weights in the mean, >= 0.

    Raises
    ------
    InputError
        For missing values, negative variances or weights, or other lengths.
    """
    observed, variance = _new_estimates(y, v, len(rows))
    centre = rows @ posterior.mean_given_tau.T
    spread = np.einsum("np,mpq,nq->nm", rows, posterior.covariance_given_tau, rows)
    total = spread + posterior.tau**2 + variance[:, None]
    away = observed[:, None] - centre
    logs = np.log(posterior.weight) - 0.5 * (np.log(2.0 * np.pi * total) + away**2 / total)
    return _mean(log_sum_exp(logs), sample_weight)


def mean_log_mass(
    events: object, n: object, mean: FloatArray, sd: FloatArray, sample_weight: object = None
) -> float:
    """Mean log predictive probability of new counts.

    Each count is held against the binomial with a logit from ``N(mean, sd^2)``.

    Parameters
    ----------
    events, n : array_like, shape (m,)
        New counts, 0 <= events <= n.
    mean, sd : ndarray, shape (m,)
        Predictive law of the new studies' logits, sd > 0.
    sample_weight : array_like, shape (m,), optional
        Weights in the mean, >= 0.

    Raises
    ------
    InputError
        For counts that are no whole numbers in range, negative weights, or other lengths.
    """
    if n is None:
        raise InputError(
            "n is missing; give the patients of each study (in a cross-validation: "
            "set_score_request(n=True))"
        )
    y, size = _one_each("y", events, mean.size), _one_each("n", n, mean.size)
    refuse_where("n", size, (size < 1.0) | (size != np.round(size)), "must be a whole number >= 1")
    bad = (y < 0.0) | (y != np.round(y)) | (y > size)
    refuse_where("y", y, bad, "must be a whole number from 0 to n")
    mode, scale = posterior_modes(Studies(y, size, mean, sd))
    z, log_weights = adaptive_gauss_hermite(mode, scale, SCORE_NODES)
    logit = mean[:, None] + sd[:, None] * z
    binomial = y[:, None] * logit - size[:, None] * np.logaddexp(0, logit)
    coefficient = (
        special.gammaln(size + 1.0) - special.gammaln(y + 1.0) - special.gammaln(size - y + 1.0)
    )
    density = binomial - 0.5 * z**2 - 0.5 * np.log(2.0 * np.pi)
    return _mean(coefficient + log_sum_exp(density + log_weights), sample_weight)


def _new_estimates(y: object, v: object, count: int) -> tuple[FloatArray, FloatArray]:
    if v is None:
        raise InputError(
            "sampling_variance is missing; give one variance per study (in a cross-validation: "
            "set_score_request(sampling_variance=True))"
        )
    observed, variance = _one_each("y", y, count), _one_each("sampling_variance", v, count)
    refuse_where("sampling_variance", variance, variance < 0.0, "must be 0 or more")
    return observed, variance


def _one_each(name: str, value: object, count: int) -> FloatArray:
    """Complete numbers, one per row."""
    array = numbers_with_gaps(name, value, ndim=1)
    if array.size != count:
        raise InputError(f"{name} has {array.size} values for {count} rows; give one each")
    refuse_where(name, array, np.isnan(array), "must not be missing; drop the row")
    return array


def _mean(values: FloatArray, sample_weight: object) -> float:
    if sample_weight is None:
        return float(values.mean())
    weight = _one_each("sample_weight", sample_weight, values.size)
    refuse_where("sample_weight", weight, weight < 0.0, "must be 0 or more")
    if not weight.any():
        raise InputError("sample_weight is 0 for all rows; give a weight above 0 to at least one")
    return float(np.average(values, weights=weight))
