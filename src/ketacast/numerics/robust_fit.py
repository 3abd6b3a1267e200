"""Results of cluster-robust fits.

References
----------
Tipton & Pustejovsky 2015, J Educ Behav Stat 40:604 (the F test); Pustejovsky &
Tipton 2018, J Bus Econ Stat 36:672 (degrees of freedom).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import numpy as np
from scipy import special

from ketacast.arrays import FloatArray, frozen, real_array, refuse_where
from ketacast.errors import InputError
from ketacast.numerics.inference import (
    check_level,
    critical_values,
    tested_coefficients,
    two_sided_p,
)

RobustKind = Literal["CR0", "CR1", "CR2"]
ROBUST_KINDS: Final[tuple[RobustKind, ...]] = get_args(RobustKind)


@dataclass(frozen=True, slots=True)
class RobustOmnibus:
    """F test of several coefficients.

    Attributes
    ----------
    statistic : float
        F.
    df_coefficients : int
        Numerator degrees of freedom.
    df_residual : float
        Denominator degrees of freedom.
    p_value : float
        Upper tail.
    """

    statistic: float
    df_coefficients: int
    df_residual: float
    p_value: float


@dataclass(frozen=True, slots=True)
class RobustPrediction:
    """Means with robust intervals.

    Attributes
    ----------
    mean, se, df : ndarray, shape (m,)
        Predicted means, standard errors and degrees of freedom.
    ci_lower, ci_upper : ndarray, shape (m,)
        Confidence interval of the mean.
    pi_lower, pi_upper : ndarray, shape (m,)
        Prediction interval of a new true effect.
    level : float
        Coverage of both intervals.
    """

    mean: FloatArray
    se: FloatArray
    df: FloatArray
    ci_lower: FloatArray
    ci_upper: FloatArray
    pi_lower: FloatArray
    pi_upper: FloatArray
    level: float


@dataclass(frozen=True, slots=True)
class RobustFit:
    """Coefficients with cluster-robust inference.

    Attributes
    ----------
    beta : ndarray, shape (p,)
        Coefficients, weighted by the inverse of the working covariance.
    cov : ndarray, shape (p, p)
        Their cluster-robust covariance.
    df : ndarray, shape (p,)
        Degrees of freedom of the t tests: clusters minus coefficients, or
        Satterthwaite's for CR2.
    kind : {"CR0", "CR1", "CR2"}
        Correction for small samples.
    n_clusters, k, p : int
        Clusters, estimates, coefficients.
    intercept : int or None
        Index of the intercept among the coefficients.
    level : float
        Coverage of `ci_lower` and `ci_upper`.
    model_variance : ndarray, shape (p,)
        Variances of the coefficients under the working model.
    own : ndarray, shape (n_clusters, p, p)
        Covariance of each cluster's contribution to the coefficients' errors, had
        no coefficient been estimated.
    shared : ndarray, shape (n_clusters, p, p)
        Factors of what estimation takes away: the contributions of clusters c and d
        have covariance ``[c = d] own[c] - shared[c]' shared[d]``.
    """

    beta: FloatArray
    cov: FloatArray
    df: FloatArray
    kind: RobustKind
    n_clusters: int
    k: int
    p: int
    intercept: int | None
    level: float
    model_variance: FloatArray
    own: FloatArray = field(repr=False)
    shared: FloatArray = field(repr=False)

    @property
    def se(self) -> FloatArray:
        """Robust standard errors."""
        return np.sqrt(np.diag(self.cov))

    @property
    def statistic(self) -> FloatArray:
        """Coefficients divided by their standard errors."""
        return np.asarray(self.beta / self.se, dtype=np.float64)

    @property
    def p_value(self) -> FloatArray:
        """Two-sided p-values of the coefficients."""
        return two_sided_p(self.statistic, self.df)

    @property
    def ci_lower(self) -> FloatArray:
        """Lower confidence limits of the coefficients."""
        return np.asarray(self.beta - critical_values(self.level, self.df) * self.se)

    @property
    def ci_upper(self) -> FloatArray:
        """Upper confidence limits of the coefficients."""
        return np.asarray(self.beta + critical_values(self.level, self.df) * self.se)

    @property
    def expected_share(self) -> FloatArray:
        """Expected robust variance over the model's, had the working model been true.

        1 for an unbiased CR2. Less where a cluster alone decides a direction (a level of
        a moderator seen in one cluster only): its variation between clusters is not in
        the data, and the robust standard error is too small. CR0 and CR1 are biased
        always. Shape (p,).
        """
        correction = self.n_clusters / (self.n_clusters - self.p) if self.kind == "CR1" else 1.0
        return np.asarray(
            correction * expected_variances(self.own, self.shared) / self.model_variance
        )

    @property
    def moderators(self) -> RobustOmnibus | None:
        """Test of all coefficients but the intercept (all, if there is nothing else).

        For CR2 Hotelling's T2 with estimated degrees of freedom (HTZ of Tipton &
        Pustejovsky 2015); None where so few clusters leave it none.
        """
        tested = tested_coefficients(self.p, self.intercept)
        q, rows = tested.size, np.eye(self.p)[tested]
        size = np.sqrt(np.diag(self.cov))[tested]
        z = self.beta[tested] / size
        scaled = self.cov[np.ix_(tested, tested)] / np.outer(size, size)
        wald = float(z @ np.linalg.solve(scaled, z))
        if self.kind != "CR2":
            rest = float(self.n_clusters - self.p)
            f = wald / q
        else:
            eta = _hotelling_df(self.own, self.shared, rows)
            rest = eta - q + 1.0
            if rest <= 0.0:
                return None
            f = rest / (eta * q) * wald
        return RobustOmnibus(f, q, rest, float(special.fdtrc(q, rest, f)))

    def predict(
        self, X_new: object, *, heterogeneity: object = 0.0, level: float | None = None
    ) -> RobustPrediction:
        """Predict means, contrasts, or new true effects.

        Parameters
        ----------
        X_new : array_like, shape (m, p)
            Rows of moderators, the intercept's 1 included, or contrasts.
        heterogeneity : float or array_like, shape (m,)
            Variance of true effects around the mean, >= 0 (the fit's tau2), for the
            prediction interval.
        level : float, optional
            Coverage of both intervals; that of the fit if not given.

        Raises
        ------
        InputError
            For a wrong shape or level, or a negative heterogeneity.
        """
        rows, spread = (
            real_array("X_new", X_new, ndim=2),
            real_array("heterogeneity", heterogeneity),
        )
        coverage = self.level if level is None else check_level(level)
        if rows.shape[1] != self.p or spread.shape not in ((), (rows.shape[0],)):
            raise InputError(
                f"X_new has shape {rows.shape} and heterogeneity {spread.shape} for {self.p} "
                "coefficients; give the fit's columns, and one heterogeneity or one per row"
            )
        refuse_where("heterogeneity", spread, spread < 0.0, "must be 0 or more")
        mean = rows @ self.beta
        se = np.sqrt(np.einsum("mi,ij,mj->m", rows, self.cov, rows))
        df = degrees_of_freedom(self.kind, self.own, self.shared, rows)
        critical = critical_values(coverage, df)
        half, wide = critical * se, critical * np.sqrt(se**2 + spread)
        return RobustPrediction(
            mean=frozen(mean),
            se=frozen(se),
            df=frozen(df),
            ci_lower=frozen(mean - half),
            ci_upper=frozen(mean + half),
            pi_lower=frozen(mean - wide),
            pi_upper=frozen(mean + wide),
            level=coverage,
        )


def expected_variances(own: FloatArray, shared: FloatArray) -> FloatArray:
    """Average robust variances over the working model, shape (p,)."""
    return np.asarray(np.einsum("cjj->j", own) - np.einsum("cij,cij->j", shared, shared))


def _cross_covariance(
    own: FloatArray, shared: FloatArray, first: FloatArray, second: FloatArray
) -> FloatArray:
    """Covariance under the working model of two contrasts' cluster contributions, (n, n)."""
    result = -(shared @ first) @ (shared @ second).T
    result[np.diag_indices_from(result)] += np.einsum("i,cij,j->c", first, own, second)
    return np.asarray(result)


def degrees_of_freedom(
    kind: RobustKind, own: FloatArray, shared: FloatArray, contrasts: FloatArray
) -> FloatArray:
    """Degrees of freedom of the t tests of contrasts, shape (m,).

    Clusters minus coefficients; for CR2 Satterthwaite's ``2 E^2 / Var`` of the robust
    variance under the working model.

    Parameters
    ----------
    kind : {"CR0", "CR1", "CR2"}
        Correction.
    own, shared : ndarray, shape (n_clusters, p, p)
        See :class:`RobustFit`.
    contrasts : ndarray, shape (m, p)
        Rows of moderators or contrasts.
    """
    n, p, _ = own.shape
    df = np.full(contrasts.shape[0], float(n - p))
    if kind == "CR2":
        for row, contrast in enumerate(contrasts):
            omega = _cross_covariance(own, shared, contrast, contrast)
            df[row] = np.trace(omega) ** 2 / np.sum(omega**2)
    return df


def _hotelling_df(own: FloatArray, shared: FloatArray, rows: FloatArray) -> float:
    """Degrees of freedom eta of Hotelling's T2 that match the total variance (HTZ)."""
    q = rows.shape[0]
    mean = (own - np.swapaxes(shared, 1, 2) @ shared).sum(axis=0)
    values, vectors = np.linalg.eigh(rows @ mean @ rows.T)
    contrasts = (vectors / np.sqrt(values)).T @ rows
    total = 0.0
    for s in range(q):
        of_s = _cross_covariance(own, shared, contrasts[s], contrasts[s])
        for t in range(q):
            of_t = _cross_covariance(own, shared, contrasts[t], contrasts[t])
            both = _cross_covariance(own, shared, contrasts[s], contrasts[t])
            total += float(np.sum(of_s * of_t) + np.sum(both * both.T))
    return float(q * (q + 1) / total)
