"""Posterior of the normal-normal model: one quadrature over tau, the rest exact.

Estimates ``y_i ~ N(x_i . beta + u_i, v_i)`` with ``u_i ~ N(0, tau^2)`` and known
``v_i``. Given tau the coefficients are exactly Gaussian, so the posterior is a
Gaussian mixture over the nodes of a one-dimensional quadrature. This special case
has independent reference numbers, and checks the clinical engine where counts are
large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from ketacast.arrays import FloatArray, frozen, real_array, refuse_where
from ketacast.errors import ConvergenceError, InputError
from ketacast.numerics.hierarchical.normal_given_tau import Problem, given_tau, log_density
from ketacast.numerics.quadrature import gauss_legendre, gauss_legendre_panels
from ketacast.numerics.roots import falling_root

NODES: Final = 16
"""Nodes per panel: on a panel where halving changes nothing at 1e-13 the density is
resolved, and its integral up to any point inside the panel as well."""

PANEL_TOLERANCE: Final = 1e-14
"""Change of a panel's mass, relative to all mass, below which it is not halved; with
a few hundred panels the moments of tau are then good to 1e-11 of its scale."""

MAX_PASSES: Final = 60
MOST_PANELS: Final = 2000
"""Far more than a density resolved in doubles needs; noise would be halved for ever."""
NEGLIGIBLE: Final = 45.0
"""Fall of the log density beyond which the tail is cut off (3e-20 of the top)."""

PROBABILITIES: Final = (
    float(np.finfo(np.float64).tiny),
    1.0 - float(np.finfo(np.float64).epsneg),
)
"""Probabilities beyond these are taken for these, whose normal scores are finite."""


@dataclass(frozen=True, slots=True)
class NormalPosterior:
    """Gaussian mixture over nodes of tau (m nodes, p coefficients).

    Attributes
    ----------
    tau : (m,) float array
        Nodes, increasing.
    weight : (m,) float array
        Posterior mass at the nodes; sums to 1.
    mean_given_tau : (m, p) float array
        Means of the coefficients at the nodes.
    covariance_given_tau : (m, p, p) float array
        Their covariances.
    edges : (e,) float array
        Panel edges of the quadrature.
    panel_mass : (e - 1,) float array
        Posterior mass of the panels; sums to 1.
    log_integral : float
        Log of the integral of likelihood times priors (a flat prior has density 1).
    log_marginal : float or None
        Log marginal likelihood; None where the prior of the coefficients is improper.
    problem : Problem
        Data and priors.
    """

    tau: FloatArray
    weight: FloatArray
    mean_given_tau: FloatArray
    covariance_given_tau: FloatArray
    edges: FloatArray
    panel_mass: FloatArray
    log_integral: float
    log_marginal: float | None
    problem: Problem

    @property
    def tau_mean(self) -> float:
        """Posterior mean of tau."""
        return float(self.weight @ self.tau)

    @property
    def tau_sd(self) -> float:
        """Posterior standard deviation of tau."""
        return float(np.sqrt(self.weight @ (self.tau - self.tau_mean) ** 2))

    def tau_density(self, tau: object) -> FloatArray:
        """Posterior density of tau at given values >= 0."""
        at = real_array("tau", tau)
        refuse_where("tau", at, at < 0.0, "must be 0 or more")
        flat = log_density(self.problem, at.ravel()) - self.log_integral
        result: FloatArray = np.exp(flat).reshape(at.shape)
        return result

    def tau_cdf(self, tau: object) -> FloatArray:
        """Posterior probability that tau lies below given values >= 0, shape (n,)."""
        at = np.atleast_1d(real_array("tau", tau))
        refuse_where("tau", at, at < 0.0, "must be 0 or more")
        return self._cdf_and_density(at.ravel())[0].reshape(at.shape)

    def tau_quantile(self, probabilities: object) -> FloatArray:
        """Posterior quantiles of tau, shape (q,), accurate to 1e-9."""
        wanted = _probabilities(probabilities)
        below = np.cumsum(self.panel_mass)
        panel = np.searchsorted(below, wanted * below[-1])
        panel = np.minimum(panel, below.size - 1)
        low, high = self.edges[panel], self.edges[panel + 1]

        def excess(tau: FloatArray) -> tuple[FloatArray, FloatArray]:
            probability, density = self._cdf_and_density(tau)
            return wanted - probability, -density

        return falling_root(excess, low, high, 0.5 * (low + high), high - low)

    def _cdf_and_density(self, tau: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Both at given values (n,): whole panels are known, the last is integrated in part."""
        last = self.panel_mass.size - 1
        panel = np.clip(np.searchsorted(self.edges, tau, "right") - 1, 0, last)
        start = self.edges[panel]
        width = np.minimum(tau, self.edges[-1]) - start
        rule = gauss_legendre(NODES)
        points = start[:, None] + 0.5 * width[:, None] * (1.0 + rule.nodes)
        at = np.concatenate([points.ravel(), tau])
        height = np.exp(log_density(self.problem, at) - self.log_integral)
        part = (
            0.5 * width * (height[: points.size].reshape(points.shape) @ np.exp(rule.log_weights))
        )
        below = np.concatenate([[0.0], np.cumsum(self.panel_mass)])
        probability = np.clip((below[panel] + part) / below[-1], 0.0, 1.0)
        return probability, height[points.size :]

    def mean(self) -> FloatArray:
        """Posterior means of the coefficients, (p,)."""
        result: FloatArray = self.weight @ self.mean_given_tau
        return result

    def covariance(self) -> FloatArray:
        """Posterior covariance of the coefficients, (p, p)."""
        away = self.mean_given_tau - self.mean()
        within = np.einsum("m,mpq->pq", self.weight, self.covariance_given_tau)
        result: FloatArray = within + (away * self.weight[:, None]).T @ away
        return result

    def sd(self) -> FloatArray:
        """Posterior standard deviations of the coefficients, (p,)."""
        result: FloatArray = np.sqrt(np.diag(self.covariance()))
        return result

    def quantile(self, probabilities: object) -> FloatArray:
        """Posterior quantiles of the coefficients, (q, p)."""
        columns = np.eye(self.mean_given_tau.shape[1])
        return self.mean_quantile(columns, probabilities).T

    def prediction_moments(self, X: object, *, new_study: bool) -> tuple[FloatArray, FloatArray]:
        """Mean and SD of ``x . beta`` (or of a new study's effect there) at rows of X.

        Parameters
        ----------
        X : (n, p) array_like
            Covariates.
        new_study : bool
            Add a new study's ``N(0, tau^2)`` deviation.

        Returns
        -------
        mean, sd : (n,) float arrays
        """
        centre, spread = self._components(X, new_study=new_study)
        mean = centre @ self.weight
        variance = (spread**2 + (centre - mean[:, None]) ** 2) @ self.weight
        return mean, np.sqrt(variance)

    def mean_quantile(self, X: object, probabilities: object) -> FloatArray:
        """Quantiles of the mean ``x . beta`` at rows of X, (n, q)."""
        centre, spread = self._components(X, new_study=False)
        return _mixture_quantile(self.weight, centre, spread, _probabilities(probabilities))

    def new_study_quantile(self, X: object, probabilities: object) -> FloatArray:
        """Quantiles of the true effect of a new study at rows of X, (n, q)."""
        centre, spread = self._components(X, new_study=True)
        return _mixture_quantile(self.weight, centre, spread, _probabilities(probabilities))

    def shrinkage(self) -> tuple[FloatArray, FloatArray]:
        """Posterior means and SDs (k,) of the true effects of the k studies.

        Given tau the effect is the weighted mean of the estimate and ``x . beta``
        with weights ``tau^2`` and ``v``.
        """
        centre, spread = self._study_components()
        mean = centre @ self.weight
        variance = (spread**2 + (centre - mean[:, None]) ** 2) @ self.weight
        return mean, np.sqrt(variance)

    def shrinkage_quantile(self, probabilities: object) -> FloatArray:
        """Posterior quantiles (k, q) of the true effects of the k studies."""
        return _mixture_quantile(
            self.weight, *self._study_components(), _probabilities(probabilities)
        )

    def _study_components(self) -> tuple[FloatArray, FloatArray]:
        data, tau2 = self.problem, self.tau**2
        pull = data.v[:, None] / (data.v[:, None] + tau2)  # (k, m), towards x . beta
        mean, sd = self._components(data.X, new_study=False)
        centre = (1.0 - pull) * data.y[:, None] + pull * mean
        return centre, np.sqrt(pull * tau2 + (pull * sd) ** 2)

    def _components(self, X: object, *, new_study: bool) -> tuple[FloatArray, FloatArray]:
        """Means and SDs (n, m) of the mixture's components at rows of X."""
        rows, p = real_array("X", X, ndim=2), self.mean_given_tau.shape[1]
        if rows.shape[1] != p:
            raise InputError(f"X has {rows.shape[1]} columns; the fit has {p} coefficients")
        variance = np.einsum("np,mpq,nq->nm", rows, self.covariance_given_tau, rows)
        if new_study:
            variance = variance + self.tau**2
        return rows @ self.mean_given_tau.T, np.sqrt(variance)


def fit_normal_posterior(
    y: object,
    v: object,
    X: object,
    *,
    tau_scale: float,
    prior_mean: object = None,
    prior_precision: object = None,
) -> NormalPosterior:
    """Compute the posterior of the normal-normal random-effects meta-regression.

    Parameters
    ----------
    y : (k,) array_like
        Estimates.
    v : (k,) array_like
        Their sampling variances, > 0.
    X : (k, p) array_like
        Covariates; a column of ones for an intercept.
    tau_scale : float
        Scale of the half-normal prior of tau, > 0.
    prior_mean : (p,) array_like, optional
        Prior mean of the coefficients; zero by default.
    prior_precision : (p, p) array_like, optional
        Their prior precision, positive semi-definite; zero (improper flat prior) by
        default.

    Returns
    -------
    NormalPosterior

    Raises
    ------
    InputError
        For unusable arrays, or data that leave a coefficient without information.
    ConvergenceError
        If the quadrature does not reach its accuracy.

    Notes
    -----
    Exact up to the quadrature; the model is that of Roever (2020), J Stat Softw
    93(6), and the conditional moments those of Gelman et al. (2013), Bayesian Data
    Analysis, section 5.4.
    """
    problem = Problem.checked(
        y,
        v,
        X,
        tau_scale=tau_scale,
        prior_mean=prior_mean,
        prior_precision=prior_precision,
    )
    edges = _refined(problem, _first_edges(problem))
    points, log_weights = gauss_legendre_panels(edges, NODES)
    log_height = log_density(problem, points) + log_weights
    top = float(log_height.max())
    mass = np.exp(log_height - top)
    log_integral = top + float(np.log(mass.sum()))
    kept = mass > 0.0
    mean, covariance = given_tau(problem, points[kept])
    return NormalPosterior(
        tau=frozen(points[kept]),
        weight=frozen(mass[kept] / mass[kept].sum()),
        mean_given_tau=frozen(mean),
        covariance_given_tau=frozen(covariance),
        edges=frozen(edges),
        panel_mass=frozen(mass.reshape(-1, NODES).sum(axis=1) / mass.sum()),
        log_integral=log_integral,
        log_marginal=log_integral if problem.proper else None,
        problem=problem,
    )


def _first_edges(problem: Problem) -> FloatArray:
    """Panels that double from well below the smallest scale to the end of the tail."""
    smallest = min(float(np.sqrt(problem.v.min())), problem.tau_scale)
    ladder = [0.0, 0.25 * smallest]
    top = float(log_density(problem, np.array(ladder)).max())
    while True:
        ladder.append(2.0 * ladder[-1])
        height = float(log_density(problem, np.array(ladder[-1:]))[0])
        top = max(top, height)
        # Beyond 12 prior scales the prior alone falls faster than any likelihood rises
        # unless the top itself is farther out, which the doubling then finds.
        if ladder[-1] > 12.0 * problem.tau_scale and height < top - NEGLIGIBLE:
            return np.array(ladder)


def _refined(problem: Problem, edges: FloatArray) -> FloatArray:
    """Halve panels until halving no longer changes their mass."""
    for _ in range(MAX_PASSES):
        halves = np.sort(np.concatenate([edges, 0.5 * (edges[1:] + edges[:-1])]))
        coarse, log_coarse = gauss_legendre_panels(edges, NODES)
        fine, log_fine = gauss_legendre_panels(halves, NODES)
        log_coarse, log_fine = (
            log_coarse + log_density(problem, coarse),
            log_fine + log_density(problem, fine),
        )
        top = float(max(log_coarse.max(), log_fine.max()))
        mass = np.exp(log_coarse - top).reshape(-1, NODES).sum(axis=1)
        halved = np.exp(log_fine - top).reshape(-1, 2 * NODES).sum(axis=1)
        # Rounding of the log density itself bounds what halving can show.
        rounding = 1e-12 + 8.0 * np.finfo(float).eps * abs(top)
        slack = PANEL_TOLERANCE * halved.sum() + rounding * halved
        rough = np.flatnonzero(np.abs(mass - halved) > slack)
        if rough.size == 0:
            return edges
        if edges.size + rough.size > MOST_PANELS:
            break
        edges = np.sort(np.concatenate([edges, 0.5 * (edges[rough] + edges[rough + 1])]))
    raise ConvergenceError(
        f"the posterior of tau was not resolved with {edges.size - 1} panels; check the "
        "estimates and variances for values many orders of magnitude apart"
    )


def _mixture_quantile(
    weight: FloatArray, centre: FloatArray, spread: FloatArray, probabilities: FloatArray
) -> FloatArray:
    """Quantiles (n, q) of n Gaussian mixtures, between the quantiles of their components."""
    # Standardised, so that steps are small or not whatever the units and the location.
    middle = centre @ weight
    unit = np.sqrt((spread**2 + (centre - middle[:, None]) ** 2) @ weight)
    mean = ((centre - middle[:, None]) / unit[:, None])[:, None, :]
    sd = (spread / unit[:, None])[:, None, :]
    score = special.ndtri(probabilities)
    each = score[None, :, None] * sd + mean
    shape = each.shape[:2]

    def excess(at: FloatArray) -> tuple[FloatArray, FloatArray]:
        z = (at.reshape(shape)[:, :, None] - mean) / sd
        below = special.ndtri(np.clip(special.ndtr(z) @ weight, *PROBABILITIES))
        density = (np.exp(-0.5 * z * z) / sd) @ weight
        # Normal scores of a mixture bend far less than its probabilities do.
        return (score - below).ravel(), (-density * np.exp(0.5 * below * below)).ravel()

    low, high = each.min(axis=2).ravel(), each.max(axis=2).ravel()
    root = falling_root(excess, low, high, 0.5 * (low + high), np.ones(low.size))
    result: FloatArray = middle[:, None] + unit[:, None] * root.reshape(shape)
    return result


def _probabilities(value: object) -> FloatArray:
    wanted = np.atleast_1d(real_array("probabilities", value))
    if wanted.ndim != 1:
        raise InputError(f"probabilities has shape {wanted.shape}; give one dimension")
    refuse_where(
        "probabilities", wanted, (wanted <= 0.0) | (wanted >= 1.0), "must lie between 0 and 1"
    )
    return wanted
