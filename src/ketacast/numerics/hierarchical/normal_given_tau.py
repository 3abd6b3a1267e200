"""The normal-normal model at given tau: Gaussian coefficients, density of tau."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ketacast.arrays import FloatArray, frozen, real_array, refuse_where
from ketacast.errors import InputError

LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True, slots=True)
class Problem:
    """Checked data and priors of k estimates and p coefficients.

    Attributes
    ----------
    y, v : (k,) float arrays
        Estimates and their sampling variances (> 0).
    X : (k, p) float array
        Covariates.
    tau_scale : float
        Scale of the half-normal prior of tau.
    prior_mean : (p,) float array
        Prior mean of the coefficients.
    prior_precision : (p, p) float array
        Prior precision, positive semi-definite.
    proper : bool
        True where the prior precision is positive definite.
    """

    y: FloatArray
    v: FloatArray
    X: FloatArray
    tau_scale: float
    prior_mean: FloatArray
    prior_precision: FloatArray
    proper: bool

    @classmethod
    def checked(
        cls,
        y: object,
        v: object,
        X: object,
        *,
        tau_scale: object,
        prior_mean: object,
        prior_precision: object,
    ) -> Problem:
        """Check everything; see :func:`~.normal.fit_normal_posterior`."""
        estimates, variances = real_array("y", y, ndim=1), real_array("v", v, ndim=1)
        design, scale = real_array("X", X, ndim=2), real_array("tau_scale", tau_scale, ndim=0)
        refuse_where("v", variances, variances <= 0.0, "must be greater than 0")
        refuse_where("tau_scale", scale, scale <= 0.0, "must be greater than 0")
        k, p = design.shape
        if estimates.shape != (k,) or variances.shape != (k,):
            raise InputError(
                f"y has {estimates.size} values, v {variances.size} and X {k} rows; "
                "give equal lengths"
            )
        mean = np.zeros(p) if prior_mean is None else real_array("prior_mean", prior_mean, ndim=1)
        if mean.shape != (p,):
            raise InputError(f"prior_mean has {mean.size} values; X has {p} columns")
        precision, proper = _precision(prior_precision, p)
        information = design.T @ (design / variances[:, None]) + precision
        size = np.sqrt(np.diag(information))
        if (
            np.any(size == 0.0)
            or np.linalg.matrix_rank(information / np.outer(size, size), hermitian=True) < p
        ):
            raise InputError(
                f"{k} estimates do not determine {p} coefficients under this prior; "
                "drop a column of X or give a proper prior"
            )
        return cls(
            frozen(estimates),
            frozen(variances),
            frozen(design),
            float(scale),
            frozen(mean),
            frozen(precision),
            proper,
        )


def _precision(value: object, p: int) -> tuple[FloatArray, bool]:
    if value is None:
        return np.zeros((p, p)), False
    precision = real_array("prior_precision", value, ndim=2)
    if precision.shape != (p, p):
        raise InputError(f"prior_precision has shape {precision.shape}; give ({p}, {p})")
    if not np.allclose(precision, precision.T, rtol=1e-12, atol=0.0):
        raise InputError("prior_precision is not symmetric; give a symmetric matrix")
    eigenvalues = np.linalg.eigvalsh(precision)
    # Rounding of a semi-definite matrix leaves eigenvalues this far below zero.
    rounding = 1e-12 * max(float(eigenvalues[-1]), 0.0)
    if eigenvalues[0] < -rounding:
        raise InputError(
            f"prior_precision has the eigenvalue {eigenvalues[0]:g}; none may be negative"
        )
    return precision, bool(eigenvalues[0] > rounding)


def given_tau(problem: Problem, tau: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean (m, p) and covariance (m, p, p) of the coefficients at m values of tau."""
    mean, precision = _conditional(problem, tau)
    covariance: FloatArray = np.asarray(np.linalg.inv(precision), dtype=np.float64)
    return mean, covariance


def _conditional(problem: Problem, tau: FloatArray) -> tuple[FloatArray, FloatArray]:
    weight = 1.0 / (problem.v + tau[:, None] ** 2)  # (m, k)
    precision = np.einsum("kp,mk,kq->mpq", problem.X, weight, problem.X)
    precision = precision + problem.prior_precision
    away = problem.y - problem.X @ problem.prior_mean
    shift = (weight * away) @ problem.X
    step: FloatArray = np.linalg.solve(precision, shift[..., None])[..., 0]
    return problem.prior_mean + step, precision


def log_density(problem: Problem, tau: FloatArray) -> FloatArray:
    """Log of likelihood times priors, coefficients integrated out, at tau (m,).

    A flat direction of the coefficients' prior has density 1.
    """
    mean, precision = _conditional(problem, tau)
    variance = problem.v + tau[:, None] ** 2
    residual = problem.y - mean @ problem.X.T
    away = mean - problem.prior_mean
    p = problem.prior_mean.size
    log_prior = 0.5 * np.log(2.0 / np.pi) - np.log(problem.tau_scale)
    log_prior = log_prior - 0.5 * (tau / problem.tau_scale) ** 2
    constant = 0.5 * p * LOG_2PI
    if problem.proper:
        constant = 0.5 * float(np.linalg.slogdet(problem.prior_precision)[1])
    quadratic = (residual**2 / variance).sum(axis=1)
    quadratic = quadratic + np.einsum("mp,pq,mq->m", away, problem.prior_precision, away)
    result: FloatArray = (
        log_prior
        + constant
        - 0.5
        * (
            quadratic
            + np.log(variance).sum(axis=1)
            + problem.y.size * LOG_2PI
            + np.linalg.slogdet(precision)[1]
        )
    )
    return result
