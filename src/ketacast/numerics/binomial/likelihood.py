"""Likelihood of the binomial-normal model: value, score and Hessian by quadrature.

``events_i ~ Bin(n_i, expit(x_i'beta + tau z_i))``, ``z_i ~ N(0, 1)``. With the
true logits ``u_i = x_i'beta + tau z_i`` as the missing data, score and Hessian
of the integral are posterior moments of z up to the fourth (Louis 1982, J R
Stat Soc B 44:226), so nothing is differenced.

Values are relative to the saturated model (one probability per study), which
keeps them moderate however many events there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from scipy.special import expit, xlogy

from ketacast.arrays import BoolArray, FloatArray, frozen
from ketacast.numerics.quadrature import gauss_hermite
from ketacast.numerics.roots import falling_root

#: Modes need no more than this share of the integrand's width: a rule placed a
#: little off integrates as well.
MODE_ACCURACY: Final = 0.05
#: Newton steps towards a mode before the safeguarded search takes over.
MODE_STEPS: Final = 8
#: Fall of the log integrand at the ends of an evenly spaced rule (4e-18).
NEGLIGIBLE: Final = 40.0
#: Where it has fallen so far at the latest: its curvature is 1 or more.
WIDEST: Final = float(np.sqrt(2.0 * NEGLIGIBLE))
#: Widths tried for the ends, from 5 standard deviations to :data:`WIDEST`.
WIDTHS: Final = 13
_LOG_2PI: Final = float(np.log(2.0 * np.pi))


@dataclass(frozen=True, slots=True)
class BinomialData:
    """Counts, shape (k,), and orthonormal design columns, shape (k, p).

    Attributes
    ----------
    saturated : ndarray, shape (k,)
        Log-likelihoods at the observed shares, without binomial coefficients.
    mixed : ndarray of bool, shape (k,)
        True where there are both events and non-events.
    """

    events: FloatArray
    n: FloatArray
    basis: FloatArray
    saturated: FloatArray
    mixed: BoolArray

    @classmethod
    def of(cls, events: FloatArray, n: FloatArray, basis: FloatArray) -> BinomialData:
        """Derive what depends on the counts alone."""
        rest = n - events
        saturated = np.asarray(xlogy(events, events / n) + xlogy(rest, rest / n), np.float64)
        return cls(events, n, basis, saturated, (events > 0.0) & (rest > 0.0))


class Studies(NamedTuple):
    """Counts, mean logits and between-study SDs of integrands in z, each of shape (k,)."""

    events: FloatArray
    n: FloatArray
    eta: FloatArray
    tau: FloatArray


@dataclass(frozen=True, slots=True)
class LikelihoodPoint:
    """Log-likelihood relative to the saturated one, score and Hessian in (gamma, tau)."""

    theta: FloatArray
    value: float
    score: FloatArray
    hessian: FloatArray


@dataclass(frozen=True, slots=True)
class Rule:
    """Points x and log-weights of a quadrature placed as ``z = centre + scale x``.

    Attributes
    ----------
    log_weights : ndarray, shape (m,)
        Of ``exp(-z^2 / 2) f(z)``, the normalising constant of the normal included.
    powers : ndarray, shape (m, 5)
        Powers 0 to 4 of x.
    even : bool
        Evenly spaced over all that counts (True), or Gauss-Hermite at the mode.
    """

    log_weights: FloatArray
    powers: FloatArray
    even: bool


@lru_cache(maxsize=32)
def hermite_rule(count: int) -> Rule:
    """Adaptive Gauss-Hermite rule, the cheapest where the posterior is close to normal."""
    plain = gauss_hermite(count)
    powers = np.vander(plain.nodes, 5, increasing=True)
    return Rule(frozen(plain.log_weights + 0.5 * plain.nodes**2), frozen(powers), even=False)


@lru_cache(maxsize=32)
def even_rule(count: int) -> Rule:
    """Evenly spaced rule (trapezoidal), best where rare events make steps of the likelihood.

    Its error falls as exp(-constant / spacing) for integrands that are analytic and
    vanish at both ends (Trefethen & Weideman 2014, SIAM Rev 56:385).
    """
    x = np.linspace(-1.0, 1.0, count + 1)
    log_weights = np.full(x.size, np.log(2.0 / count) - 0.5 * _LOG_2PI)
    return Rule(frozen(log_weights), frozen(np.vander(x, 5, increasing=True)), even=True)


def logistic_point(data: BinomialData, gamma: FloatArray) -> LikelihoodPoint:
    """Evaluate at tau = 0 (plain logistic regression); gamma has shape (p,)."""
    eta = data.basis @ gamma
    probability = expit(eta)
    information = data.n * probability * (1.0 - probability)
    residual = data.events - data.n * probability
    p = gamma.size
    hessian = np.zeros((p + 1, p + 1))
    hessian[:p, :p] = -(data.basis.T * information) @ data.basis
    # In tau: the second derivative of the even likelihood at 0.
    hessian[p, p] = float(residual @ residual - information.sum())
    score = np.append(data.basis.T @ residual, 0.0)
    value = float(np.sum(data.events * eta - data.n * _softplus(eta) - data.saturated))
    return LikelihoodPoint(np.append(gamma, 0.0), value, score, hessian)


def mixed_point(data: BinomialData, theta: FloatArray, rule: Rule) -> LikelihoodPoint:
    """Evaluate at theta = (gamma, tau), shape (p + 1,); the sign of tau does not matter."""
    # A step may end on 0 by chance, where the moments below are 0 / 0.
    tau = max(abs(float(theta[-1])), 1e-100)
    gamma = theta[:-1]
    k = data.n.size
    studies = Studies(data.events, data.n, data.basis @ gamma, np.full(k, tau))
    centre, scale = _placed(studies, rule)
    log_study, sums = _integrals(studies, centre, scale, rule)
    m1, m2, m3, m4 = (sums[:, 1:] / sums[:, :1]).T
    # Central moments of x first: in those of z the centre would cancel digits.
    spread, skew, kurt = m2 - m1**2, m3 - m1 * m2, m4 - m2**2
    s2 = scale * scale
    z, variance = centre + scale * m1, s2 * spread
    covariance = s2 * (2.0 * centre * spread + scale * skew)
    variance_of_square = s2 * (4.0 * centre * (centre * spread + scale * skew) + s2 * kurt)
    square = variance + z * z
    basis, p = data.basis, gamma.size
    hessian = np.empty((p + 1, p + 1))
    hessian[:p, :p] = (basis.T * (variance - 1.0)) @ basis
    hessian[:p, p] = hessian[p, :p] = (covariance - 2.0 * z) @ basis
    hessian[p, p] = (variance_of_square - 3.0 * square).sum() + k
    score = np.append(z @ basis, (square - 1.0).sum()) / tau
    value = float(np.sum(log_study - data.saturated))
    return LikelihoodPoint(np.append(gamma, tau), value, score, hessian / tau**2)


def gamma_steps(
    data: BinomialData, thetas: FloatArray, rule: Rule
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Newton's steps in gamma at several tau.

    Parameters
    ----------
    data : BinomialData
        The data.
    thetas : ndarray, shape (t, p + 1)
        Points (gamma, tau), tau > 0.
    rule : Rule
        Quadrature.

    Returns
    -------
    values : ndarray, shape (t,)
        Log-likelihoods at the points.
    gains : ndarray, shape (t,)
        What the steps add, were the likelihood quadratic.
    steps : ndarray, shape (t, p)
        Given tau the likelihood is log-concave in gamma, so they point uphill.
    """
    times, k = thetas.shape[0], data.n.size
    tau = np.repeat(thetas[:, -1], k)
    eta = (thetas[:, :-1] @ data.basis.T).ravel()
    studies = Studies(np.tile(data.events, times), np.tile(data.n, times), eta, tau)
    centre, scale = _placed(studies, rule)
    log_study, sums = _integrals(studies, centre, scale, rule)
    m1, m2 = (sums[:, 1:3] / sums[:, :1]).T
    score = ((centre + scale * m1) / tau).reshape(times, k) @ data.basis
    # The posterior is narrower than the prior; too few nodes may deny it.
    precision = np.maximum(1.0 - scale * scale * (m2 - m1 * m1), 1e-6) / tau**2
    weighted = precision.reshape(times, 1, k) * data.basis.T
    steps = np.linalg.solve(weighted @ data.basis, score[..., None])[..., 0]
    values = (log_study.reshape(times, k) - data.saturated).sum(axis=1)
    return values, 0.5 * np.sum(steps * score, axis=1), steps


def posterior_modes(studies: Studies) -> tuple[FloatArray, FloatArray]:
    """Exact modes of z given the counts, and ``1 / sqrt(curvature)`` there, shape (k,).

    The slope ``tau (y - n p) - z`` falls in z, and its root lies between
    ``-tau (n - y)`` and ``tau y``.
    """
    y, n, eta, tau = studies

    def slope(z: FloatArray) -> tuple[FloatArray, FloatArray]:
        probability = expit(eta + tau * z)
        information = n * probability * (1.0 - probability)
        return tau * (y - n * probability) - z, -(tau**2) * information - 1.0

    lower, upper = -tau * (n - y), tau * y
    start = np.clip(_first_modes(studies), lower, upper)
    mode = falling_root(slope, lower, upper, start, np.ones_like(eta))
    return mode, 1.0 / np.sqrt(-slope(mode)[1])


def _first_modes(studies: Studies) -> FloatArray:
    # The normal approximation to the counts, half an event added to either side.
    y, n, eta, tau = studies
    share = (y + 0.5) / (n + 1.0)
    precision = tau * n * share * (1.0 - share)
    logit = np.log(share / (1.0 - share))
    start: FloatArray = precision * (logit - eta) / (1.0 + tau * precision)
    return start


def _placed(studies: Studies, rule: Rule) -> tuple[FloatArray, FloatArray]:
    """Centres and scales of a rule: about the modes, or spanning all that counts."""
    y, n, eta, tau = studies
    z = _first_modes(studies)
    for _ in range(MODE_STEPS):
        probability = expit(eta + tau * z)
        expected = tau * n * probability
        curvature = 1.0 + tau * expected * (1.0 - probability)
        step = (tau * y - expected - z) / curvature
        z = z + step
        if float(np.max(step * step * curvature)) < MODE_ACCURACY**2:
            scale = 1.0 / np.sqrt(curvature)
            break
    else:
        z, scale = posterior_modes(studies)
    return _window(studies, z, scale) if rule.even else (z, scale)


def _window(studies: Studies, mode: FloatArray, sd: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Middle and half width of where the log integrand is within NEGLIGIBLE of its top."""
    y, n, eta, tau = studies

    def height(z: FloatArray) -> FloatArray:
        u = eta + tau * z
        return np.asarray(y * u - n * _softplus(u) - 0.5 * z * z, dtype=np.float64)

    widths = 5.0 * sd * (WIDEST / (5.0 * sd)) ** np.linspace(0.0, 1.0, WIDTHS)[:, None]
    bottom = height(mode) - NEGLIGIBLE
    study = np.arange(mode.size)
    reach = []
    for sign in (-1.0, 1.0):
        # A log-concave integrand stays below wherever it has once fallen.
        fallen = height(mode + sign * widths) <= bottom
        fallen[-1] = True
        reach.append(widths[fallen.argmax(axis=0), study])
    left, right = reach
    return mode + 0.5 * (right - left), 0.5 * (right + left)


def _integrals(
    studies: Studies, centre: FloatArray, scale: FloatArray, rule: Rule
) -> tuple[FloatArray, FloatArray]:
    """Log integrals per study, shape (k,), and weighted sums of powers of x, shape (k, 5)."""
    y, n, eta, tau = studies
    middle, slope = eta + tau * centre, tau * scale
    half = 0.5 * n
    # y u - n log(1 + e^u) = (y - n/2) u - n (|u|/2 + log(1 + e^-|u|)), relative to x = 0.
    at_centre = n * _folded(middle)
    lean = (y - half) * slope - centre * scale
    quadratic = np.column_stack([at_centre, lean, -0.5 * scale * scale])
    terms = quadratic @ rule.powers[:, :3].T
    terms += rule.log_weights
    terms -= n[:, None] * _folded(middle[:, None] + slope[:, None] * rule.powers[:, 1])
    sums = np.exp(terms, out=terms) @ rule.powers
    top = (y - half) * middle - at_centre - 0.5 * centre * centre
    log_study: FloatArray = top + np.log(scale * sums[:, 0])
    return log_study, sums


def _folded(u: FloatArray) -> FloatArray:
    """``log(2 cosh(u / 2)) = |u| / 2 + log(1 + exp(-|u|))``."""
    size = np.abs(u)
    tail = np.exp(-size)
    tail += 1.0
    np.log(tail, out=tail)
    size *= 0.5
    tail += size
    return tail


def _softplus(u: FloatArray) -> FloatArray:
    return np.asarray(0.5 * u + _folded(u), dtype=np.float64)
