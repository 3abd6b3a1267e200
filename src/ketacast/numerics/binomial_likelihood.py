"""Likelihood of the binomial-normal model: value, score and Hessian by quadrature.

``events_i ~ Bin(n_i, expit(x_i'beta + tau z_i))``, ``z_i ~ N(0, 1)``. Score
and Hessian of the integral are posterior moments of the complete-data ones
(Louis 1982, J R Stat Soc B 44:226), so nothing is differenced.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from ketacast.arrays import FloatArray
from ketacast.numerics.quadrature import adaptive_gauss_hermite, log_sum_exp
from ketacast.numerics.roots import falling_root


@dataclass(frozen=True, slots=True)
class BinomialData:
    """Counts, shape (k,), orthonormal design columns, shape (k, p), and quadrature nodes."""

    events: FloatArray
    n: FloatArray
    basis: FloatArray
    nodes: int


@dataclass(frozen=True, slots=True)
class LikelihoodPoint:
    """Log-likelihood (without binomial coefficients), score and Hessian in (gamma, tau)."""

    theta: FloatArray
    value: float
    score: FloatArray
    hessian: FloatArray


def logistic_point(data: BinomialData, gamma: FloatArray) -> LikelihoodPoint:
    """Evaluate at tau = 0 (plain logistic regression); gamma has shape (p,)."""
    eta = data.basis @ gamma
    probability = expit(eta)
    information = data.n * probability * (1.0 - probability)
    residual = data.events - data.n * probability
    p = gamma.size
    hessian = np.zeros((p + 1, p + 1))
    hessian[:p, :p] = -(data.basis * information[:, None]).T @ data.basis
    # In tau: the second derivative of the even likelihood at 0.
    hessian[p, p] = float(np.sum(residual**2 - information))
    score = np.append(data.basis.T @ residual, 0.0)
    value = float(np.sum(_log_kernel(data.events, data.n, eta)))
    return LikelihoodPoint(np.append(gamma, 0.0), value, score, hessian)


def mixed_point(data: BinomialData, theta: FloatArray) -> LikelihoodPoint:
    """Evaluate at theta = (gamma, tau), shape (p + 1,); the sign of tau does not matter."""
    tau = abs(float(theta[-1]))
    eta = data.basis @ theta[:-1]
    mode, scale = _modes(data, eta, tau)
    z, log_weights = adaptive_gauss_hermite(mode, scale, data.nodes)
    y, n = data.events[:, None], data.n[:, None]
    logits = eta[:, None] + tau * z
    terms = _log_kernel(y, n, logits) - 0.5 * z**2 + log_weights
    log_study = log_sum_exp(terms) - 0.5 * np.log(2.0 * np.pi)
    posterior = np.exp(terms - (log_study + 0.5 * np.log(2.0 * np.pi))[:, None])
    probability = expit(logits)
    residual = y - n * probability
    curvature = residual**2 - n * probability * (1.0 - probability)

    def mean(values: FloatArray) -> FloatArray:
        return np.asarray(np.sum(posterior * values, axis=1), dtype=np.float64)

    first, first_z = mean(residual), mean(residual * z)
    flat = mean(curvature) - first**2
    cross = mean(curvature * z) - first * first_z
    steep = mean(curvature * z**2) - first_z**2
    basis = data.basis
    score = np.append(basis.T @ first, first_z.sum())
    p = basis.shape[1]
    hessian = np.empty((p + 1, p + 1))
    hessian[:p, :p] = (basis * flat[:, None]).T @ basis
    hessian[:p, p] = hessian[p, :p] = basis.T @ cross
    hessian[p, p] = steep.sum()
    return LikelihoodPoint(np.append(theta[:-1], tau), float(log_study.sum()), score, hessian)


def _modes(data: BinomialData, eta: FloatArray, tau: float) -> tuple[FloatArray, FloatArray]:
    """Mode and curvature scale of each study's integrand in z.

    The derivative ``tau (y - n p) - z`` falls in z, and its root lies between
    ``-tau (n - y)`` and ``tau y``.
    """

    def slope_and_curvature(z: FloatArray) -> tuple[FloatArray, FloatArray]:
        probability = expit(eta + tau * z)
        gradient = tau * (data.events - data.n * probability) - z
        return gradient, -(tau**2) * data.n * probability * (1.0 - probability) - 1.0

    lower, upper = -tau * (data.n - data.events), tau * data.events
    mode = falling_root(slope_and_curvature, lower, upper, np.zeros_like(eta), np.ones_like(eta))
    return mode, 1.0 / np.sqrt(-slope_and_curvature(mode)[1])


def _log_kernel(y: FloatArray, n: FloatArray, eta: FloatArray) -> FloatArray:
    return np.asarray(y * eta - n * np.logaddexp(0.0, eta), dtype=np.float64)
