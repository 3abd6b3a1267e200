"""Result of a binomial-normal fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from scipy import special

from ketacast.arrays import FloatArray
from ketacast.numerics.inference import Omnibus, WaldInference, wald_omnibus
from ketacast.numerics.normal_fit import i_squared

BinomialTest = Literal["z", "t"]
BINOMIAL_TESTS: Final[tuple[BinomialTest, ...]] = get_args(BinomialTest)


@dataclass(frozen=True, slots=True)
class BinomialFit(WaldInference):
    """One fitted binomial-normal meta-regression, on the logit scale.

    Attributes
    ----------
    beta : ndarray, shape (p,)
        Coefficients.
    cov : ndarray, shape (p, p)
        Their covariance, from the observed information of coefficients and tau.
    tau2 : float
        Between-study variance.
    tau_se : float or None
        Standard error of tau; None where tau2 is 0, the boundary.
    log_likelihood : float
        At the maximum, binomial coefficients included.
    log_likelihood_fixed : float
        Without random effects (tau = 0).
    log_likelihood_saturated : float
        With one probability per study.
    typical_variance : float
        Sampling variance of a typical study's logit (continuity corrected
        where it has no or only events); what I2 compares tau2 with.
    events_total, n_total : int
        Sums over studies.
    k, p : int
        Studies, coefficients.
    intercept : int or None
        Index of the intercept among the coefficients.
    test : str
        As given to the fit.
    level : float
        Coverage of `ci_lower` and `ci_upper`.
    """

    beta: FloatArray
    cov: FloatArray
    tau2: float
    tau_se: float | None
    log_likelihood: float
    log_likelihood_fixed: float
    log_likelihood_saturated: float
    typical_variance: float
    events_total: int
    n_total: int
    k: int
    p: int
    intercept: int | None
    test: BinomialTest
    level: float

    @property
    def tau(self) -> float:
        """Between-study standard deviation."""
        return float(np.sqrt(self.tau2))

    @property
    def i2(self) -> float:
        """Share of the total variance that is between studies, percent."""
        return i_squared(self.tau2, self.typical_variance)

    @property
    def h2(self) -> float:
        """Total variance over sampling variance."""
        return 1.0 + self.tau2 / self.typical_variance

    @property
    def qe(self) -> float:
        """Likelihood-ratio test of heterogeneity: saturated against fixed effects."""
        return 2.0 * (self.log_likelihood_saturated - self.log_likelihood_fixed)

    @property
    def qe_p(self) -> float:
        """p-value of `qe` (chi-square with k - p df, upper tail)."""
        return float(special.chdtrc(self.residual_df, self.qe))

    @property
    def moderators(self) -> Omnibus:
        """Wald test of all coefficients but the intercept."""
        return wald_omnibus(self.beta, self.cov, self.intercept, self.df)

    def to_dict(self) -> dict[str, Any]:
        """Everything above as plain numbers and lists."""
        arrays = ("beta", "se", "statistic", "p_value", "ci_lower", "ci_upper", "cov")
        scalars = (
            "tau2", "tau_se", "i2", "h2", "qe", "residual_df", "qe_p", "log_likelihood", "df",
            "events_total", "n_total", "k", "p", "test", "level",
        )  # fmt: skip
        content: dict[str, Any] = {name: getattr(self, name).tolist() for name in arrays}
        content |= {name: getattr(self, name) for name in scalars}
        return content
