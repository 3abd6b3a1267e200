"""Results of normal-normal fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from scipy import special

from ketacast.arrays import BoolArray, FloatArray
from ketacast.numerics.inference import (
    Omnibus,
    WaldInference,
    WaldTests,
    tested_coefficients,
    wald_omnibus,
    wald_statistics,
)
from ketacast.numerics.normal.problem import IntArray
from ketacast.numerics.normal.tau2 import Tau2Method

NormalTest = Literal["z", "t", "knha", "adhoc"]
NORMAL_TESTS: Final[tuple[NormalTest, ...]] = get_args(NormalTest)


@dataclass(frozen=True, slots=True)
class NormalFit(WaldInference):
    """One fitted meta-regression; tests and heterogeneity are computed when asked for.

    Attributes
    ----------
    beta : ndarray, shape (p,)
        Coefficients.
    cov : ndarray, shape (p, p)
        Their covariance, times the Knapp-Hartung factor where `test` has one.
    tau2 : float
        Between-study variance.
    tau2_se : float or None
        Its large-sample standard error; None for equal effects.
    qe : float
        Cochran's Q of the residuals at tau2 = 0; NaN with a sampling variance of 0.
    typical_variance : float
        Sampling variance of a typical study, (k - p) / tr P at tau2 = 0; NaN
        with a sampling variance of 0, or with as many coefficients as studies.
    variance_factor : float
        What the covariance was multiplied by (1 for "z" and "t").
    log_likelihood_ml, log_likelihood_reml : float
        At the estimates. The restricted one includes ``log|X'X| / 2``.
    k, p : int
        Studies, coefficients.
    intercept : int or None
        Index of the intercept among the coefficients.
    method, test : str
        As given to the fit.
    level : float
        Coverage of `ci_lower` and `ci_upper`.
    """

    beta: FloatArray
    cov: FloatArray
    tau2: float
    tau2_se: float | None
    qe: float
    typical_variance: float
    variance_factor: float
    log_likelihood_ml: float
    log_likelihood_reml: float
    k: int
    p: int
    intercept: int | None
    method: Tau2Method
    test: NormalTest
    level: float

    @property
    def log_likelihood(self) -> float:
        """The likelihood that the method maximises: restricted for REML, else full."""
        return self.log_likelihood_reml if self.method == "REML" else self.log_likelihood_ml

    @property
    def i2(self) -> float:
        """Share of the total variance that is between studies, percent."""
        if self.method == "EE":
            return 100.0 * max(0.0, 1.0 - self.residual_df / self.qe) if self.qe > 0.0 else 0.0
        return i_squared(self.tau2, self.typical_variance)

    @property
    def h2(self) -> float:
        """Total variance over sampling variance."""
        if self.method == "EE":
            return self.qe / self.residual_df if self.residual_df > 0 else 1.0
        return 1.0 + self.tau2 / self.typical_variance

    @property
    def qe_p(self) -> float:
        """p-value of `qe` (chi-square, upper tail)."""
        return float(special.chdtrc(self.residual_df, self.qe)) if self.residual_df > 0 else 1.0

    @property
    def moderators(self) -> Omnibus:
        """Wald test of all coefficients but the intercept."""
        return wald_omnibus(self.beta, self.cov, self.intercept, self.df)

    def to_dict(self) -> dict[str, Any]:
        """Everything above as plain numbers and lists."""
        arrays = ("beta", "se", "statistic", "p_value", "ci_lower", "ci_upper", "cov")
        scalars = (
            "tau2", "tau2_se", "i2", "h2", "qe", "residual_df", "qe_p", "log_likelihood", "df",
            "k", "p", "method", "test", "level",
        )  # fmt: skip
        content: dict[str, Any] = {name: getattr(self, name).tolist() for name in arrays}
        content |= {name: getattr(self, name) for name in scalars}
        return content


@dataclass(frozen=True, slots=True)
class NormalFits(WaldTests):
    """B fits, arrays with the batch axis first; ``fits[b]`` is a :class:`NormalFit`.

    Attributes are those of :class:`NormalFit` with a leading axis B, derived
    ones included. A problem that cannot be fitted holds NaN.
    """

    beta: FloatArray
    cov: FloatArray
    tau2: FloatArray
    tau2_se: FloatArray
    qe: FloatArray
    typical_variance: FloatArray
    variance_factor: FloatArray
    log_likelihood_ml: FloatArray
    log_likelihood_reml: FloatArray
    k: IntArray
    p: int
    intercept: int | None
    method: Tau2Method
    test: NormalTest
    level: float

    def __len__(self) -> int:
        return int(self.tau2.size)

    def __getitem__(self, b: int) -> NormalFit:
        se = float(self.tau2_se[b])
        return NormalFit(
            beta=self.beta[b],
            cov=self.cov[b],
            tau2=float(self.tau2[b]),
            tau2_se=None if np.isnan(se) else se,
            qe=float(self.qe[b]),
            typical_variance=float(self.typical_variance[b]),
            variance_factor=float(self.variance_factor[b]),
            log_likelihood_ml=float(self.log_likelihood_ml[b]),
            log_likelihood_reml=float(self.log_likelihood_reml[b]),
            k=int(self.k[b]),
            p=self.p,
            intercept=self.intercept,
            method=self.method,
            test=self.test,
            level=self.level,
        )

    @property
    def solvable(self) -> BoolArray:
        """Which problems were fitted, shape (B,)."""
        return ~np.isnan(self.tau2)

    @property
    def residual_df(self) -> IntArray:
        """Studies minus coefficients, shape (B,)."""
        return self.k - self.p

    @property
    def df(self) -> FloatArray | None:
        """Degrees of freedom of the tests, shape (B, 1); None for the normal."""
        if self.test == "z":
            return None
        df = self.residual_df[:, None]
        return np.where(df > 0, df, np.nan)

    @property
    def log_likelihood(self) -> FloatArray:
        """The likelihood that the method maximises, shape (B,)."""
        return self.log_likelihood_reml if self.method == "REML" else self.log_likelihood_ml

    @property
    def i2(self) -> FloatArray:
        """Share of the total variance that is between studies, percent, shape (B,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.method == "EE":
                share = np.where(self.qe > 0.0, 1.0 - self.residual_df / self.qe, 0.0)
                return self._where_fitted(100.0 * np.maximum(0.0, share))
            return np.asarray(100.0 * self.tau2 / (self.tau2 + self.typical_variance))

    @property
    def h2(self) -> FloatArray:
        """Total variance over sampling variance, shape (B,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.method == "EE":
                return self._where_fitted(
                    np.where(self.residual_df > 0, self.qe / self.residual_df, 1.0)
                )
            return np.asarray(1.0 + self.tau2 / self.typical_variance)

    @property
    def qe_p(self) -> FloatArray:
        """p-values of `qe` (chi-square, upper tail), shape (B,)."""
        df = self.residual_df
        return self._where_fitted(np.where(df > 0, special.chdtrc(np.maximum(df, 1), self.qe), 1.0))

    def _where_fitted(self, values: FloatArray) -> FloatArray:
        return np.where(self.solvable, values, np.nan)

    @property
    def qm(self) -> FloatArray:
        """Wald statistics of all coefficients but the intercept, shape (B,)."""
        chi_square, m = wald_statistics(self.beta, self.cov, self.intercept)
        return chi_square if self.test == "z" else np.asarray(chi_square / m)

    @property
    def qm_p(self) -> FloatArray:
        """p-values of `qm`, shape (B,)."""
        m = tested_coefficients(self.p, self.intercept).size
        if self.test == "z":
            return np.asarray(special.chdtrc(m, self.qm), dtype=np.float64)
        df = np.where(self.residual_df > 0, self.residual_df, np.nan)
        return np.asarray(special.fdtrc(m, df, self.qm), dtype=np.float64)


def i_squared(tau2: float, typical_variance: float) -> float:
    """I2 in percent: tau2 over tau2 plus the typical sampling variance."""
    return 100.0 * tau2 / (tau2 + typical_variance)
