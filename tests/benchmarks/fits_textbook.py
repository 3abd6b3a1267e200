"""The same results by textbook formulas: k x k matrices and plain grids, slow and independent.

Iterative estimates are checked by one more scoring or Newton step from the value under
test: a converged estimate does not move.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fits_data import Numbers
from scipy import special, stats

from ketacast.arrays import FloatArray


def scoring_step(
    y: FloatArray, v: FloatArray, X: FloatArray, theta: FloatArray, parts: Sequence[FloatArray]
) -> FloatArray:
    """Variance components after one Fisher-scoring step of the restricted likelihood.

    The covariance is ``diag(v) + sum_j theta_j parts_j`` (Harville 1977, JASA 72:320).
    """
    total = np.diag(v) + sum(t * part for t, part in zip(theta, parts, strict=True))
    weight = np.linalg.inv(total)
    cov = np.linalg.inv(X.T @ weight @ X)
    P = weight - weight @ X @ cov @ X.T @ weight
    Py = P @ y
    moved = [P @ part for part in parts]
    score = [0.5 * (Py @ part @ Py - np.trace(PZ)) for part, PZ in zip(parts, moved, strict=True)]
    information = [[0.5 * np.sum(a * b.T) for b in moved] for a in moved]
    step: FloatArray = np.linalg.solve(np.array(information), np.array(score))
    return theta + step


def least_squares(y: FloatArray, total: FloatArray, X: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Generalised least squares: coefficients and their covariance."""
    weight = np.linalg.inv(total)
    cov = np.linalg.inv(X.T @ weight @ X)
    beta: FloatArray = cov @ X.T @ weight @ y
    return beta, np.asarray(cov, dtype=np.float64)


def wald(beta: FloatArray, cov: FloatArray, df: float) -> Numbers:
    """Tests and 95 % limits, by t with df degrees of freedom (infinite: normal)."""
    se = np.sqrt(np.diag(cov))
    wide = stats.t.isf(0.025, df) * se
    return {
        "beta": beta,
        "se": se,
        "p_value": 2.0 * stats.t.sf(np.abs(beta / se), df),
        "ci_lower": beta - wide,
        "ci_upper": beta + wide,
    }


def regression(
    y: FloatArray, v: FloatArray, X: FloatArray, tau2: float, *, null_tau2: float
) -> Numbers:
    """REML with a Knapp-Hartung factor of at least 1, one scoring step from `tau2`."""
    k, p = X.shape
    unit = [np.eye(k)]
    tau2 = float(scoring_step(y, v, X, np.array([tau2]), unit)[0])
    null = float(scoring_step(y, v, np.ones((k, 1)), np.array([null_tau2]), unit)[0])
    beta, cov = least_squares(y, np.diag(v + tau2), X)
    residual = y - X @ beta
    cov = cov * max(1.0, float(np.sum(residual**2 / (v + tau2))) / (k - p))
    fixed, fixed_cov = least_squares(y, np.diag(v), X)
    qe = float(np.sum((y - X @ fixed) ** 2 / v))
    leverage = np.einsum("ki,ij,kj->k", X, fixed_cov, X) / v
    typical = (k - p) / float(np.sum((1.0 - leverage) / v))
    qm = float(beta[1:] @ np.linalg.solve(cov[1:, 1:], beta[1:])) / (p - 1)
    scalars: Numbers = {
        "tau2": tau2,
        "qe": qe,
        "qe_p": stats.chi2.sf(qe, k - p),
        "qm": qm,
        "qm_p": stats.f.sf(qm, p - 1, k - p),
        "i2": 100.0 * tau2 / (tau2 + typical),
        "r2": 100.0 * max(0.0, 1.0 - tau2 / null),
    }
    return wald(beta, cov, k - p) | scalars


def binomial(events: FloatArray, n: FloatArray, X: FloatArray, theta: FloatArray) -> Numbers:
    """Binomial-normal maximum likelihood, one Newton step from ``theta = (beta, tau)``."""
    step = 1e-5
    curvature = np.array(
        [
            (
                _binomial_score(events, n, X, theta + step * unit)[1]
                - _binomial_score(events, n, X, theta - step * unit)[1]
            )
            / (2.0 * step)
            for unit in np.eye(theta.size)
        ]
    )
    value, score = _binomial_score(events, n, X, theta)
    reached = theta - np.linalg.solve(curvature, score)
    p = X.shape[1]
    return wald(reached[:p], np.linalg.inv(-curvature)[:p, :p], np.inf) | {
        "tau2": reached[p:] ** 2,
        "log_likelihood": value,
    }


def _binomial_score(
    events: FloatArray, n: FloatArray, X: FloatArray, theta: FloatArray
) -> tuple[float, FloatArray]:
    """Log-likelihood and gradient; the integral over z by the trapezoidal rule."""
    z = np.linspace(-9.0, 9.0, 1501)
    y, size = events[:, None], n[:, None]
    eta = (X @ theta[:-1])[:, None] + theta[-1] * z
    ways = -special.betaln(y + 1.0, size - y + 1.0) - np.log(size + 1.0)
    terms = ways + y * eta - size * np.logaddexp(0.0, eta) + stats.norm.logpdf(z)
    each = special.logsumexp(terms, axis=1)
    residual = np.exp(terms - each[:, None]) * (y - size * special.expit(eta))
    score = np.append(X.T @ residual.sum(axis=1), np.sum(residual * z))
    return float(each.sum() + n.size * np.log(z[1] - z[0])), score


def posterior(y: FloatArray, v: FloatArray, X: FloatArray, tau_scale: float) -> Numbers:
    """Moments under a half-normal prior of tau and flat coefficients, by Gauss-Legendre."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    taus = 3.5 * tau_scale * (1.0 + nodes)
    means, covs, logs = [], [], []
    for tau in taus:
        beta, cov = least_squares(y, np.diag(v + tau**2), X)
        squares = np.sum((y - X @ beta) ** 2 / (v + tau**2)) + np.sum(np.log(v + tau**2))
        logs.append(0.5 * (np.linalg.slogdet(cov)[1] - squares - (tau / tau_scale) ** 2))
        means.append(beta)
        covs.append(np.diag(cov))
    mass = weights * np.exp(np.array(logs) - max(logs))
    mass /= mass.sum()
    mean = mass @ np.array(means)
    tau_mean = mass @ taus
    return {
        "mean": mean,
        "sd": np.sqrt(mass @ (np.array(covs) + (np.array(means) - mean) ** 2)),
        "tau_mean": float(tau_mean),
        "tau_sd": float(np.sqrt(mass @ (taus - tau_mean) ** 2)),
    }
