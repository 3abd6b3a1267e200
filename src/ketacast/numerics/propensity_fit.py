"""How strongly a patient's statuses are tied: the posterior of w over clinics.

``logit w_c ~ N(mu, sd^2)``, ``mu ~ N(m, s^2)``, ``sd ~ half-normal``; each clinic
gives one 2 x 2 table (:mod:`ketacast.numerics.propensity_table`). Everything is
quadrature: the tables' log-likelihoods are splined over logit w, each clinic's w is
integrated by Gauss-Hermite given (mu, sd), mu by the trapezoidal rule and sd by
Gauss-Legendre panels; all three are refined until no summary changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special
from scipy.interpolate import CubicHermiteSpline, CubicSpline

from ketacast.arrays import FloatArray, frozen, real_array, refuse_where
from ketacast.errors import ConvergenceError, InputError
from ketacast.numerics.propensity_table import check_table, table_log_likelihood
from ketacast.numerics.quadrature import gauss_hermite, gauss_legendre_panels
from ketacast.numerics.roots import falling_root

CHANGE: Final = 1e-6
"""No summary may change by more when the quadrature is refined."""

_LOGITS: Final = np.linspace(-12.0, 13.5, 103)
"""Where the tables' likelihoods are computed; beyond, they are flat to 1e-3 and the
posterior holds less than 1e-6."""

_PRIOR_SDS: Final = 7.0
"""Reach of mu and sd, in prior SDs."""

_PANELS: Final = np.array([0.0, 0.4, 0.8, 1.4, 2.2, 3.5, _PRIOR_SDS])
_COARSEST: Final = (48, 0.1, 8)
"""Nodes for w, step of mu in prior SDs, nodes per panel of sd."""
_MOST_REFINEMENTS: Final = 4

_GOLDEN: Final = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class PropensityPriors:
    """Priors of the hierarchical model of w.

    Attributes
    ----------
    mu_mean, mu_sd : float
        Normal prior of mu, the mean of logit w over clinics.
    sd_scale : float
        Half-normal prior of the SD of logit w between clinics.
    margin_sd : float
        Normal priors (mean 0) of the tables' probit margins.
    """

    mu_mean: float
    mu_sd: float
    sd_scale: float
    margin_sd: float


@dataclass(frozen=True, slots=True)
class PropensityPosterior:
    """Posterior of the hierarchical model of w (C tables, N quadrature nodes).

    Attributes
    ----------
    mu_mean, mu_sd, sd_mean, sd_sd : float
        Posterior means and SDs of mu and sd.
    w_mean, w_sd : (C,) float arrays
        Posterior means and SDs of each table's w.
    new_mean, new_sd : float
        Mean and SD of a new clinic's w.
    mu, sd, weight : (N,) float arrays
        Nodes and their posterior mass (sums to 1).
    step : float
        Distance between the nodes of mu.
    """

    mu_mean: float
    mu_sd: float
    sd_mean: float
    sd_sd: float
    w_mean: FloatArray
    w_sd: FloatArray
    new_mean: float
    new_sd: float
    mu: FloatArray
    sd: FloatArray
    weight: FloatArray
    step: float

    def new_quantile(self, probabilities: object) -> FloatArray:
        """Quantiles of a new clinic's w, accurate to 1e-4 in probability.

        Parameters
        ----------
        probabilities : (k,) array_like
            Inside (0, 1).

        Returns
        -------
        (k,) ndarray
            Values of w in (0, 1).
        """
        wanted = real_array("probabilities", probabilities, ndim=1)
        bad = (wanted <= 0.0) | (wanted >= 1.0)
        refuse_where("probabilities", wanted, bad, "must lie inside (0, 1)")
        grid = np.linspace(-25.0, 25.0, 501) * max(1.0, float(self.sd.max()) / 7.0)
        grid = grid + self.mu_mean
        # Where sd is smaller than the step of mu the mixture would be a staircase.
        spread = np.maximum(self.sd, self.step)
        below, density = np.zeros(grid.size), np.zeros(grid.size)
        for at in range(0, grid.size, 50):
            x = (grid[at : at + 50, None] - self.mu) / spread
            below[at : at + 50] = special.ndtr(x) @ self.weight
            density[at : at + 50] = np.exp(-0.5 * x * x) @ (self.weight / spread)
        curve = CubicHermiteSpline(grid, below, density / np.sqrt(2.0 * np.pi))
        slope = curve.derivative()

        def excess(t: FloatArray) -> tuple[FloatArray, FloatArray]:
            return wanted - curve(t), -slope(t)

        cell = np.clip(np.searchsorted(below, wanted), 1, grid.size - 1)
        low, high = grid[cell - 1], grid[cell]
        found = falling_root(excess, low, high, 0.5 * (low + high), high - low)
        result: FloatArray = special.expit(found)
        return result


@dataclass(frozen=True, slots=True)
class _Moments:
    """Integrals over w given (mu, sd): of the likelihood, and of it times w and w^2."""

    log_mass: FloatArray
    first: FloatArray
    second: FloatArray


def fit_propensity(tables: Sequence[object], priors: PropensityPriors) -> PropensityPosterior:
    """Fit the hierarchical model of w to 2 x 2 tables.

    Parameters
    ----------
    tables : sequence of (4,) array_like
        Early and final status yes-yes, yes-no, no-yes, no-no; one table per clinic.
    priors : PropensityPriors
        All SDs greater than 0.

    Returns
    -------
    PropensityPosterior

    Raises
    ------
    InputError
        For no table, unusable counts or priors.
    ConvergenceError
        If the summaries do not settle as the quadrature is refined.
    """
    if not tables:
        raise InputError("tables is empty; give at least one 2 x 2 table")
    counts = [check_table(table) for table in tables]
    for name in ("mu_sd", "sd_scale", "margin_sd"):
        value = getattr(priors, name)
        if not 0.0 < value < np.inf:
            raise InputError(f"{name} is {value!r}; give a number above 0")
    at = special.expit(_LOGITS)
    splines = [
        CubicSpline(_LOGITS, table_log_likelihood(table, at, priors.margin_sd)) for table in counts
    ]
    before = _posterior(splines, priors, 0)
    for refinement in range(1, 1 + _MOST_REFINEMENTS):
        after = _posterior(splines, priors, refinement)
        if np.abs(_summaries(after) - _summaries(before)).max() < CHANGE:
            return after
        before = after
    raise ConvergenceError(
        "the posterior of the propensity does not settle; check the priors' scales"
    )


def _summaries(posterior: PropensityPosterior) -> FloatArray:
    head = [posterior.mu_mean, posterior.mu_sd, posterior.sd_mean, posterior.sd_sd]
    return np.concatenate(
        [head, posterior.w_mean, posterior.w_sd, [posterior.new_mean, posterior.new_sd]]
    )


def _posterior(
    splines: list[CubicSpline], priors: PropensityPriors, refinement: int
) -> PropensityPosterior:
    nodes, step, per_panel = _COARSEST
    step = step * priors.mu_sd / 2**refinement
    reach = _PRIOR_SDS * priors.mu_sd
    mu_line = priors.mu_mean + np.arange(-reach, reach + 0.5 * step, step)
    sd_line, sd_log_weight = gauss_legendre_panels(
        _PANELS * priors.sd_scale, per_panel * 2**refinement
    )
    mu, sd = (grid.ravel() for grid in np.meshgrid(mu_line, sd_line))
    log_mass = np.repeat(sd_log_weight, mu_line.size) - 0.5 * (sd / priors.sd_scale) ** 2
    log_mass -= 0.5 * ((mu - priors.mu_mean) / priors.mu_sd) ** 2
    moments = [_given(mu, sd, spline, nodes * 2**refinement) for spline in splines]
    for one in moments:
        log_mass = log_mass + one.log_mass
    weight = np.exp(log_mass - log_mass.max())
    weight /= weight.sum()
    new = _given(mu, sd, None, nodes * 2**refinement)
    first = np.array([weight @ one.first for one in [*moments, new]])
    second = np.array([weight @ one.second for one in [*moments, new]])
    spread = np.sqrt(second - first**2)
    mu_mean, sd_mean = float(weight @ mu), float(weight @ sd)
    kept = weight > 1e-10 * weight.max()
    return PropensityPosterior(
        mu_mean=mu_mean,
        mu_sd=float(np.sqrt(weight @ (mu - mu_mean) ** 2)),
        sd_mean=sd_mean,
        sd_sd=float(np.sqrt(weight @ (sd - sd_mean) ** 2)),
        w_mean=frozen(first[:-1]),
        w_sd=frozen(spread[:-1]),
        new_mean=float(first[-1]),
        new_sd=float(spread[-1]),
        mu=frozen(mu[kept]),
        sd=frozen(sd[kept]),
        weight=frozen(weight[kept] / weight[kept].sum()),
        step=step,
    )


def _given(mu: FloatArray, sd: FloatArray, spline: CubicSpline | None, nodes: int) -> _Moments:
    """Moments of w given (mu, sd) and one table; without a table, those of a new clinic."""
    rule = gauss_hermite(nodes)
    total, first, second = np.zeros(mu.size), np.zeros(mu.size), np.zeros(mu.size)
    shift = 0.0 if spline is None else float(spline(_LOGITS).max())
    for node, log_weight in zip(rule.nodes, rule.log_weights, strict=True):
        t = mu + sd * node
        height = np.full(mu.size, np.exp(log_weight))
        if spline is not None:
            height *= np.exp(spline(np.clip(t, _LOGITS[0], _LOGITS[-1])) - shift)
        w = special.expit(t)
        total += height
        first += height * w
        second += height * w * w
    return _Moments(np.log(total), first / total, second / total)


def new_clinic_draws(posterior: PropensityPosterior, beside: object) -> FloatArray:
    """Equally weighted draws of a new clinic's w, paired with other draws.

    Parameters
    ----------
    posterior : PropensityPosterior
        From :func:`fit_propensity`.
    beside : (n, m) array_like
        The other draws, one row each.

    Returns
    -------
    (n,) ndarray
        The quantiles (i + 1/2) / n in an order that is unrelated to every column of
        `beside`: rank correlations near 0.

    Notes
    -----
    The order comes from multiples of the golden ratio, an even sequence, and is then
    freed of what normal scores of the columns explain (Iman and Conover 1982, Commun
    Stat B 11:311). No random generator: the same on every machine.
    """
    other = real_array("beside", beside, ndim=2)
    n = other.shape[0]
    values = posterior.new_quantile((np.arange(n) + 0.5) / n)
    score = special.ndtri((np.arange(1, n + 1) * _GOLDEN) % 1.0)
    ranks = np.argsort(np.argsort(other, axis=0, kind="stable"), axis=0, kind="stable")
    design = np.column_stack([np.ones(n), special.ndtri((ranks + 0.5) / n)])
    residual = score - design @ np.linalg.lstsq(design, score)[0]
    paired = np.empty(n)
    paired[np.argsort(residual, kind="stable")] = values
    return paired
