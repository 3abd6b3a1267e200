"""The deterministic posterior: Laplace proposal, exact weights, even draws.

The nested Laplace approximation (a grid over the taus, a Gaussian for the
coefficients at each) proposes low-discrepancy points. Each point is then
weighted by the ratio of the exact posterior (family effects integrated by
adaptive quadrature) to the proposal, which removes the error of the Gaussian.
No random number is used anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from ketacast.errors import ConvergenceError, InputError
from ketacast.numerics.draws import EqualDraws
from ketacast.numerics.hierarchical.marginal import log_marginal_likelihood, make_blocks
from ketacast.numerics.hierarchical.model import (
    N_EFFECTS,
    Float,
    Int,
    Priors,
    Rows,
    check_model,
)
from ketacast.numerics.hierarchical.tau_grid import (
    conditional_gaussian,
    draw_taus,
    find_mass,
    log_tau_prior,
)

SPREAD: Final = 1.05
"""The Gaussian proposal is 5 % wider than the approximation, so that the exact
posterior's tails are never much heavier than the proposal's."""

MIN_EFFECTIVE_FRACTION: Final = 0.05
"""Below 5 % (400 of 8,192 points) quantiles are no longer accurate to 0.02."""

_PRIMES: Final = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71)

_PLASTIC: Final = np.array(
    [0.8566748838545029, 0.733891856627126, 0.6287067210378087, 0.5385972572236101]
)
"""Shift between pairings: powers of 1 / 1.1673..., the positive root of x^5 = x + 1,
whose multiples fill the four-dimensional cube evenly."""

_GOLDEN: Final = 0.6180339887498949
"""Shift of the resampling between picks: the golden ratio, for the same reason."""


@dataclass(frozen=True, slots=True)
class Posterior:
    """Weighted points of the joint posterior of coefficients and taus.

    Attributes
    ----------
    beta : (N, p) float array
        Coefficients.
    tau : (N, 3) float array
        tau_R, tau_M, tau_b.
    weight : (N,) float array
        Weights; they sum to 1.
    log_evidence : float
        Log marginal likelihood of the counts, without binomial coefficients.
    """

    beta: Float
    tau: Float
    weight: Float
    log_evidence: float

    @property
    def effective_fraction(self) -> float:
        """Effective sample size over number of points, in (0, 1]."""
        return float(1.0 / (np.sum(self.weight**2) * self.weight.size))

    @property
    def parameters(self) -> Float:
        """Coefficients and taus side by side, (N, p + 3)."""
        return np.concatenate([self.beta, self.tau], axis=1)

    def mean(self) -> Float:
        """Posterior means of coefficients and taus, (p + 3,)."""
        result: Float = self.weight @ self.parameters
        return result

    def covariance(self) -> Float:
        """Posterior covariance of coefficients and taus, (p + 3, p + 3)."""
        away = self.parameters - self.mean()
        result: Float = (away * self.weight[:, None]).T @ away
        return result

    def sd(self) -> Float:
        """Posterior standard deviations of coefficients and taus, (p + 3,)."""
        result: Float = np.sqrt(np.diag(self.covariance()))
        return result

    def quantile(self, probabilities: Float) -> Float:
        """Posterior quantiles, (len(probabilities), p + 3)."""
        return weighted_quantile(self.parameters, self.weight, probabilities)


def weighted_quantile(values: Float, weight: Float, probabilities: Float) -> Float:
    """Quantiles of weighted points, column by column.

    Parameters
    ----------
    values : (N, m) float array
    weight : (N,) float array
        Non-negative, sums to 1.
    probabilities : (k,) float array
        In (0, 1).

    Returns
    -------
    (k, m) float array
        Linear between the midpoints of the cumulative weights.
    """
    result = np.empty((probabilities.size, values.shape[1]))
    for j in range(values.shape[1]):
        order = np.argsort(values[:, j], kind="stable")
        sorted_weight = weight[order]
        midpoint = np.cumsum(sorted_weight) - 0.5 * sorted_weight
        result[:, j] = np.interp(probabilities, midpoint, values[order, j])
    return result


def even_points(n: int, dimension: int) -> Float:
    """Sobol points shifted by a fixed vector, inside the open unit cube.

    Parameters
    ----------
    n : int
        Number of points, a power of 2.
    dimension : int
        Number of coordinates, at most 20.

    Returns
    -------
    (n, dimension) float array

    Notes
    -----
    The shift (Cranley and Patterson 1976, SIAM J Numer Anal 13:904-914) is the
    fractional part of square roots of primes: no generator, no seed, the same on
    every machine.
    """
    if n < 2 or n & (n - 1):
        raise InputError(f"number of points is {n}; use a power of 2")
    if dimension == 0:
        return np.zeros((n, 0))
    from scipy.stats import qmc  # noqa: PLC0415  # slow to load, needed by a fit alone

    points = qmc.Sobol(dimension, scramble=False).random_base2(n.bit_length() - 1)
    shift = np.sqrt(np.array(_PRIMES[:dimension], dtype=np.float64)) % 1.0
    return np.clip((points + shift) % 1.0, 0.5 / n / n, 1.0 - 0.5 / n / n)


def fit_posterior(rows: Rows, priors: Priors, n_points: int = 8192) -> Posterior:
    """Fit the sequential-outcomes model.

    Parameters
    ----------
    rows : Rows
        Counts and covariates.
    priors : Priors
        Priors, contrast evidence included.
    n_points : int
        Number of posterior points, a power of 2.

    Returns
    -------
    Posterior
        Weighted points.

    Raises
    ------
    InputError
        If the arrays do not describe a model.
    ConvergenceError
        If Newton's method fails or too few points carry weight.

    Notes
    -----
    Nested Laplace approximation (Rue, Martino and Chopin 2009, J R Stat Soc B
    71:319-392) as the proposal of a quasi-Monte-Carlo importance sampler.
    """
    check_model(rows, priors)
    grid = find_mass(rows, priors)
    n_active, p = grid.active.size, rows.n_coefficients
    uniforms = even_points(n_points, n_active + p)
    tau, log_proposal = draw_taus(grid, uniforms[:, :n_active])
    mode, root = conditional_gaussian(grid, tau)
    normal = special.ndtri(uniforms[:, n_active:])
    beta = mode + SPREAD * np.einsum("npq,nq->np", root, normal)
    log_proposal -= 0.5 * (normal**2).sum(axis=1)
    log_proposal -= np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1) + p * np.log(SPREAD)
    away = beta - priors.mean
    log_target = log_marginal_likelihood(rows, make_blocks(rows), beta, tau)
    log_target += log_tau_prior(tau, priors.tau_scale)
    log_target += 0.5 * np.linalg.slogdet(priors.precision)[1]
    log_target -= 0.5 * np.einsum("np,pq,nq->n", away, priors.precision, away)
    log_weight = log_target - log_proposal
    top = float(log_weight.max())
    weight = np.exp(log_weight - top)
    posterior = Posterior(beta, tau, weight / weight.sum(), top + float(np.log(weight.mean())))
    if not posterior.effective_fraction >= MIN_EFFECTIVE_FRACTION:
        raise ConvergenceError(
            f"only {posterior.effective_fraction:.1%} of the posterior points carry weight "
            f"(at least {MIN_EFFECTIVE_FRACTION:.0%} is needed); the evidence and the priors "
            "contradict each other: check counts, covariates and prior SDs"
        )
    return posterior


def equal_draws(posterior: Posterior, n: int, pick: int = 0, pairing: int = 0) -> EqualDraws:
    """Turn weighted points into equally weighted draws with new-family scores.

    Parameters
    ----------
    posterior : Posterior
        From :func:`fit_posterior`.
    n : int
        Number of draws, a power of 2.
    pick, pairing : int
        Which points are picked and which even set of scores goes with them; any is
        right, they differ in how close the tails of 4,096 draws come.

    Returns
    -------
    EqualDraws

    Notes
    -----
    Systematic resampling along the first principal axis of the standardised
    coefficients; the scores come from a Sobol set sorted along its own first
    coordinate, so that draws and scores together stay evenly spread
    (array quasi-Monte-Carlo: L'Ecuyer, Lecot and Tuffin 2008, Oper Res
    56:958-975).
    """
    covariance = posterior.covariance()[: posterior.beta.shape[1], : posterior.beta.shape[1]]
    sd = np.sqrt(np.diag(covariance))
    axis = np.linalg.eigh(covariance / np.outer(sd, sd))[1][:, -1]
    axis = axis * np.sign(axis[np.argmax(np.abs(axis))])
    order = np.argsort((posterior.beta / sd) @ axis, kind="stable")
    cumulative = np.cumsum(posterior.weight[order])
    offset = (0.5 + pick * _GOLDEN) % 1.0
    targets = (np.arange(n) + offset) / n * cumulative[-1]
    picked = order[np.minimum(np.searchsorted(cumulative, targets), order.size - 1)]
    # Another pairing is another shift of the same even points.
    points = (even_points(n, 1 + N_EFFECTS) + pairing * _PLASTIC) % 1.0
    points = np.clip(points, 0.5 / n / n, 1.0 - 0.5 / n / n)
    points = points[np.argsort(points[:, 0], kind="stable")]
    beta, tau = _matched(posterior, picked)
    return EqualDraws(beta=beta, tau=tau, scores=_standardised(special.ndtri(points[:, 1:]), beta))


def _matched(posterior: Posterior, picked: Int) -> tuple[Float, Float]:
    """Move the picked points affinely to the posterior's exact mean and covariance.

    On the coefficients and the logarithms of the taus; resampling alone leaves
    standard deviations off by one or two percent.
    """
    on = posterior.tau[0] > 0
    joint = np.concatenate([posterior.beta, np.log(posterior.tau[:, on])], axis=1)
    mean = posterior.weight @ joint
    scale = np.sqrt(posterior.weight @ (joint - mean) ** 2)
    away = (joint - mean) / scale
    drawn = away[picked] - away[picked].mean(axis=0)
    target = np.linalg.cholesky((away * posterior.weight[:, None]).T @ away)
    found = np.linalg.cholesky(drawn.T @ drawn / picked.size)
    moved = mean + scale * (np.linalg.solve(found, drawn.T).T @ target.T)
    p = posterior.beta.shape[1]
    tau = np.zeros((picked.size, N_EFFECTS))
    tau[:, on] = np.exp(moved[:, p:])
    return moved[:, :p], tau


def _standardised(scores: Float, beta: Float) -> Float:
    """Scores with mean 0, identity covariance and no correlation with the coefficients."""
    design = np.column_stack([np.ones(beta.shape[0]), beta - beta.mean(axis=0)])
    residual = scores - design @ np.linalg.lstsq(design, scores)[0]
    root = np.linalg.cholesky(residual.T @ residual / residual.shape[0])
    result: Float = np.linalg.solve(root, residual.T).T
    return result
