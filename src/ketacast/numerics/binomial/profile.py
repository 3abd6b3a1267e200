"""Profile-likelihood confidence interval of tau2 in the binomial-normal model.

Reference: Venzon & Moolgavkar 1988, J R Stat Soc C 37:87.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ketacast.arrays import FloatArray
from ketacast.numerics.binomial.fitting import DEFAULT_NODES, assemble, check_nodes, checked_counts
from ketacast.numerics.binomial.likelihood import BinomialData, LikelihoodPoint
from ketacast.numerics.binomial.search import (
    LARGEST_TAU,
    fit_at_tau,
    fit_logistic,
    fit_mixed,
    smallest_tau,
)
from ketacast.numerics.inference import check_level, critical_value
from ketacast.numerics.roots import falling_root


@dataclass(frozen=True, slots=True)
class BinomialTau2Interval:
    """Profile-likelihood interval of the between-study variance.

    Attributes
    ----------
    estimate : float
        tau2 at the maximum.
    lower, upper : float
        Limits; `lower` is 0 where tau2 = 0 is not rejected, `upper` infinite where
        even a between-study SD of 100 logits is not.
    level : float
        Coverage.
    typical_variance : float
        What I2 compares tau2 with.
    """

    estimate: float
    lower: float
    upper: float
    level: float
    typical_variance: float

    @property
    def tau(self) -> tuple[float, float]:
        """Limits of the between-study standard deviation."""
        return float(np.sqrt(self.lower)), float(np.sqrt(self.upper))

    @property
    def i2(self) -> tuple[float, float]:
        """Limits of I2, percent."""
        # Written so that an infinite tau2 gives 100.
        lower, upper = (
            100.0 / (1.0 + self.typical_variance / tau2) if tau2 > 0.0 else 0.0
            for tau2 in (self.lower, self.upper)
        )
        return lower, upper

    @property
    def h2(self) -> tuple[float, float]:
        """Limits of H2."""
        return 1.0 + self.lower / self.typical_variance, 1.0 + self.upper / self.typical_variance


def binomial_tau2_interval(
    events: object,
    n: object,
    X: object,
    *,
    level: float = 0.95,
    nodes: int = DEFAULT_NODES,
) -> BinomialTau2Interval:
    """Find all tau2 that a likelihood-ratio test does not reject.

    Parameters
    ----------
    events, n : array_like, shape (k,)
        Counts, as for :func:`~ketacast.numerics.binomial.fitting.fit_binomial`.
    X : array_like, shape (k, p)
        Design.
    level : float
        Coverage, 0 to 1; the cut is the chi-square quantile with one degree of freedom.
    nodes : int
        Gauss-Hermite nodes to begin with.

    Returns
    -------
    BinomialTau2Interval

    Raises
    ------
    InputError, ConvergenceError
        As :func:`~ketacast.numerics.binomial.fitting.fit_binomial`.
    """
    level = check_level(level)
    nodes = check_nodes(nodes)
    data, basis = checked_counts(events, n, X)
    fixed = fit_logistic(data)
    best = fit_mixed(data, fixed, nodes)
    chosen = fixed if best is None else best
    fit = assemble(data, basis, fixed=fixed, chosen=chosen, level=level, test="z")
    profile = _Profile(data, fixed, chosen, critical_value(level, None) ** 2, nodes)
    lower = 0.0 if profile.drop(0.0)[0] <= 0.0 else profile.root(0.0, fit.tau)
    return BinomialTau2Interval(
        estimate=fit.tau2,
        lower=lower**2,
        upper=profile.upper(fit.tau_se) ** 2,
        level=level,
        typical_variance=fit.typical_variance,
    )


@dataclass(slots=True)
class _Profile:
    """Likelihood-ratio statistic of tau less its critical value."""

    data: BinomialData
    fixed: LikelihoodPoint
    chosen: LikelihoodPoint
    critical: float
    nodes: int

    def drop(self, tau: float) -> tuple[float, float]:
        """Value and slope in tau."""
        at = self.fixed
        if tau > smallest_tau(self.data):
            flatten = np.sqrt((1.0 + 0.35 * tau**2) / (1.0 + 0.35 * self.chosen.theta[-1] ** 2))
            start = np.append(self.chosen.theta[:-1] * flatten, tau)
            at = fit_at_tau(self.data, start, self.nodes)
        return 2.0 * (self.chosen.value - at.value) - self.critical, -2.0 * float(at.score[-1])

    def upper(self, tau_se: float | None) -> float:
        """Largest tau not rejected."""
        inside = float(self.chosen.theta[-1])
        step = 2.0 * tau_se if tau_se is not None else 0.1
        outside = min(inside + step, LARGEST_TAU)
        while self.drop(outside)[0] <= 0.0:
            if outside == LARGEST_TAU:
                return float(np.inf)
            inside, outside = outside, min(2.0 * outside, LARGEST_TAU)
        return self.root(outside, inside)

    def root(self, outside: float, inside: float) -> float:
        """Root between a rejected and an accepted tau."""
        sign = 1.0 if outside < inside else -1.0

        def function(at: FloatArray) -> tuple[FloatArray, FloatArray]:
            value, slope = self.drop(sign * float(at[0]))
            return np.array([value]), np.array([sign * slope])

        lower, upper = np.array([sign * outside]), np.array([sign * inside])
        root = falling_root(function, lower, upper, 0.5 * (lower + upper), upper - lower)
        return sign * float(root[0])
