"""The normal-normal model at given tau: Gaussian coefficients, density of tau."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ketacast.arrays import FloatArray, frozen, real_array, refuse_where
from ketacast.errors import InputError

LOG_2PI: Final = float(np.log(2.0 * np.pi))
LARGEST: Final = 1e300
"""Ratios of squares to variances beyond this would overflow once summed."""
COLLINEARITY: Final = 1e-12
"""A column that is a combination of the others to this part of its length is refused:
fewer than four digits of its coefficient would be right."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Checked data and priors of k estimates and p coefficients.

    The arithmetic runs on coefficients ``gamma`` in which the information at tau = 0 is
    the unit matrix, counted from where the posterior has its mean then: neither the
    units and origins of the covariates nor an offset of the estimates costs digits.
    Coefficients of X are ``origin + back @ gamma``.

    Attributes
    ----------
    y, v : (k,) float arrays
        Estimates and their sampling variances (> 0).
    X : (k, p) float array
        Covariates.
    tau_scale : float
        Scale of the half-normal prior of tau.
    proper : bool
        True where the prior precision is positive definite.
    origin : (p,) float array
        Posterior mean of the coefficients at tau = 0.
    back : (p, p) float array
        One column per gamma.
    basis : (k, p) float array
        ``X @ back``.
    residual : (k,) float array
        ``y - X @ origin``.
    prior_mean, prior_precision : (p,), (p, p) float arrays
        Of gamma; the precision is positive semi-definite.
    log_scale : float
        Log determinant of `back`.
    """

    y: FloatArray
    v: FloatArray
    X: FloatArray
    tau_scale: float
    proper: bool
    origin: FloatArray
    back: FloatArray
    basis: FloatArray
    residual: FloatArray
    prior_mean: FloatArray
    prior_precision: FloatArray
    log_scale: float

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
        _refuse_overflow(estimates, variances, design)
        root, proper = _precision_root(prior_precision, p)
        triangle, target = _whitened(estimates, variances, design, mean, root)
        back = np.asarray(np.linalg.inv(triangle), dtype=np.float64)
        origin = back @ target
        prior_root = root @ back
        return cls(
            y=frozen(estimates),
            v=frozen(variances),
            X=frozen(design),
            tau_scale=float(scale),
            proper=proper,
            origin=frozen(origin),
            back=frozen(back),
            basis=frozen(design @ back),
            residual=frozen(estimates - design @ origin),
            prior_mean=frozen(triangle @ (mean - origin)),
            prior_precision=frozen(prior_root.T @ prior_root),
            log_scale=-float(np.linalg.slogdet(triangle)[1]),
        )


def _refuse_overflow(y: FloatArray, v: FloatArray, X: FloatArray) -> None:
    with np.errstate(over="ignore"):
        largest = np.abs(y).max() ** 2 + np.abs(X).max() ** 2
        ratio = largest / v.min()
    if not ratio < LARGEST:
        raise InputError(
            f"the smallest v is {v.min():.3g} with y up to {np.abs(y).max():.3g} and X up to "
            f"{np.abs(X).max():.3g}: squares over variances leave double precision; change units"
        )


def _whitened(
    y: FloatArray, v: FloatArray, X: FloatArray, prior_mean: FloatArray, root: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Triangle R (p, p) with ``R'R`` the information at tau = 0, and ``R`` times the mean."""
    sd = np.sqrt(v)
    rows = np.vstack([X / sd[:, None], root])
    size = np.linalg.norm(rows, axis=0)
    k, p = X.shape
    dependent = bool(np.any(size == 0.0))
    if not dependent:
        q, triangle = np.linalg.qr(rows / size)
        dependent = bool(np.abs(np.diag(triangle)).min() < COLLINEARITY) if p <= len(q) else True
    if dependent:
        raise InputError(
            f"{k} estimates do not determine {p} coefficients under this prior; "
            "drop a column of X or give a proper prior"
        )
    return triangle * size, q.T @ np.concatenate([y / sd, root @ prior_mean])


def _precision_root(value: object, p: int) -> tuple[FloatArray, bool]:
    """Matrix S (p, p) with ``S'S`` the prior precision; whether that is definite."""
    if value is None:
        return np.zeros((p, p)), False
    precision = real_array("prior_precision", value, ndim=2)
    if precision.shape != (p, p):
        raise InputError(f"prior_precision has shape {precision.shape}; give ({p}, {p})")
    if not np.allclose(precision, precision.T, rtol=1e-12, atol=0.0):
        raise InputError("prior_precision is not symmetric; give a symmetric matrix")
    # Equilibrated, so that the units of the coefficients do not pass for rounding.
    size = np.sqrt(np.abs(np.diag(precision)))
    size[size == 0.0] = 1.0
    eigenvalues, vectors = np.linalg.eigh(precision / np.outer(size, size))
    # Rounding of a semi-definite matrix leaves eigenvalues this far below zero.
    rounding = 1e-12 * max(float(eigenvalues[-1]), 0.0)
    if eigenvalues[0] < -rounding:
        raise InputError(
            f"prior_precision has a negative eigenvalue ({eigenvalues[0]:.3g} after scaling its "
            "diagonal to 1); none may be negative"
        )
    root = np.sqrt(np.maximum(eigenvalues, 0.0))[:, None] * vectors.T * size
    return root, bool(eigenvalues[0] > rounding)


def given_tau(problem: Problem, tau: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean (m, p) and covariance (m, p, p) of the coefficients at m values of tau."""
    gamma, precision = _conditional(problem, tau)
    back = problem.back
    covariance = np.asarray(back @ np.linalg.inv(precision) @ back.T, dtype=np.float64)
    return problem.origin + gamma @ back.T, covariance


def _conditional(problem: Problem, tau: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean (m, p) and precision (m, p, p) of gamma."""
    weight = 1.0 / (problem.v + tau[:, None] ** 2)  # (m, k)
    weighted = weight[:, None, :] * problem.basis.T
    precision = weighted @ problem.basis + problem.prior_precision
    shift = weighted @ problem.residual + problem.prior_precision @ problem.prior_mean
    gamma = np.asarray(np.linalg.solve(precision, shift[..., None])[..., 0], dtype=np.float64)
    return gamma, precision


def log_density(problem: Problem, tau: FloatArray) -> FloatArray:
    """Log of likelihood times priors, coefficients integrated out, at tau (m,).

    A flat direction of the coefficients' prior has density 1.
    """
    gamma, precision = _conditional(problem, tau)
    variance = problem.v + tau[:, None] ** 2
    residual = problem.residual - gamma @ problem.basis.T
    away = gamma - problem.prior_mean
    p = problem.prior_mean.size
    log_prior = 0.5 * np.log(2.0 / np.pi) - np.log(problem.tau_scale)
    log_prior = log_prior - 0.5 * (tau / problem.tau_scale) ** 2
    # The change of coefficients stretches volumes by the determinant of `back`, which
    # a proper prior's own density takes back.
    constant = 0.5 * p * LOG_2PI + problem.log_scale
    if problem.proper:
        constant = 0.5 * float(np.linalg.slogdet(problem.prior_precision)[1])
    quadratic = (residual**2 / variance).sum(axis=1)
    quadratic = quadratic + np.sum((away @ problem.prior_precision) * away, axis=1)
    logs = np.log(variance).sum(axis=1) + np.linalg.slogdet(precision)[1]
    result: FloatArray = log_prior + constant - 0.5 * (quadratic + logs + problem.y.size * LOG_2PI)
    return result
