"""Results of cluster-robust fits.

A robust variance counts how clusters differ. What a single cluster decides alone, such
as a level that no other cluster has, leaves no difference to count: there the robust
variance is 0, or far too small, whatever the data are. How much of a variance is
expected to show follows from the working model; results that would rest on less than
:data:`LEAST_SHARE` of it are withheld.

Reference: Tipton & Pustejovsky 2015, J Educ Behav Stat 40:604 (the F test).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import numpy as np
from scipy import special

from ketacast.arrays import FloatArray, frozen, real_array, refuse_where
from ketacast.errors import InputError
from ketacast.numerics.inference import (
    WaldTests,
    check_level,
    critical_values,
    tested_coefficients,
)
from ketacast.numerics.robust_parts import ClusterParts

RobustKind = Literal["CR0", "CR1", "CR2"]
ROBUST_KINDS: Final[tuple[RobustKind, ...]] = get_args(RobustKind)

#: Share of a direction's variance that the robust one is expected to show, below which
#: joint tests and predictions are withheld: standard errors would be about half.
LEAST_SHARE: Final = 0.3


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
    expected_share : ndarray, shape (m,)
        See :attr:`RobustFit.expected_share`. Below :data:`LEAST_SHARE` too few clusters
        bear on the row for a standard error: `se`, `df` and all limits are NaN, as for
        rows of zeros and rows about which the effects have no residual spread.
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
    expected_share: FloatArray
    level: float


@dataclass(frozen=True, slots=True)
class RobustFit(WaldTests):
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
    parts : ClusterParts
        What each cluster contributes.
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
    parts: ClusterParts = field(repr=False)

    @property
    def expected_share(self) -> FloatArray:
        """Expected robust variance over the model's, had the working model been true.

        1 for an unbiased CR2. Less where a cluster alone decides a direction (a level of
        a moderator seen in one cluster only): its variation between clusters is not in
        the data, and the robust standard error is too small. CR0 and CR1 are biased
        always. Shape (p,). Coefficients are given whatever their share, if it is not 0.
        """
        return self.share_of(np.eye(self.p))

    @property
    def moderators_share(self) -> float:
        """Smallest expected share of any combination of the coefficients in `moderators`."""
        basis = self._tested()
        return float(np.linalg.eigvalsh(basis.T @ self.parts.expected @ basis)[0])

    @property
    def moderators(self) -> RobustOmnibus | None:
        """Test of all coefficients but the intercept (all, if there is nothing else).

        For CR2 Hotelling's T2 with estimated degrees of freedom (HTZ of Tipton &
        Pustejovsky 2015). None where there is nothing to test with: so few clusters
        that the degrees of freedom are 0 or less, `moderators_share` below
        :data:`LEAST_SHARE`, or a combination without residual spread.
        """
        basis = self._tested()
        found = self.parts.joint(basis)
        if found is None or self.moderators_share < LEAST_SHARE:
            return None
        (wald, eta), q = found, basis.shape[1]
        rest, f = float(self.n_clusters - self.p), wald / q
        if self.kind == "CR2":
            rest = eta - q + 1.0
            if rest <= 0.0:
                return None
            f = rest / (eta * q) * wald
        return RobustOmnibus(f, q, rest, float(special.fdtrc(q, rest, f)))

    def _tested(self) -> FloatArray:
        """Orthonormal basis of the combinations in `moderators`, in the coordinates."""
        tested = tested_coefficients(self.p, self.intercept)
        units, _ = self.parts.directions(np.eye(self.p)[tested])
        return np.asarray(np.linalg.qr(units.T)[0], dtype=np.float64)

    def share_of(self, contrasts: object) -> FloatArray:
        """Return the expected share, as :attr:`expected_share`, of means or contrasts.

        Parameters
        ----------
        contrasts : array_like, shape (m, p)
            Rows of moderators or contrasts.

        Returns
        -------
        ndarray, shape (m,)
            NaN for rows of zeros, whose variance is 0.

        Raises
        ------
        InputError
            For a wrong shape.
        """
        rows = self._rows("contrasts", contrasts)
        units, size = self.parts.directions(rows)
        return np.where(size > 0.0, self.parts.expected_share(units), np.nan)

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

        Returns
        -------
        RobustPrediction
            Without standard errors (NaN) where a row rests on too few clusters, such as
            the mean of a level that one cluster alone has.

        Raises
        ------
        InputError
            For a wrong shape or level, or a negative heterogeneity.
        """
        rows = self._rows("X_new", X_new)
        spread = real_array("heterogeneity", heterogeneity)
        coverage = self.level if level is None else check_level(level)
        if spread.shape not in ((), (len(rows),)):
            raise InputError(
                f"heterogeneity has shape {spread.shape} for {len(rows)} rows; give one for all "
                "or one per row"
            )
        refuse_where("heterogeneity", spread, spread < 0.0, "must be 0 or more")
        mean = rows @ self.beta
        share, se, df = self._uncertainty(rows)
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
            expected_share=frozen(share),
            level=coverage,
        )

    def _uncertainty(self, rows: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Find expected shares, standard errors and degrees of freedom of rows."""
        share = self.share_of(rows)
        units, size = self.parts.directions(rows)
        spread = self.parts.spread(units)
        # A NaN share is a row of zeros.
        known = (share >= LEAST_SHARE) & (spread > self.parts.rounding)
        df = np.full(len(rows), np.nan)
        df[known] = degrees_of_freedom(self.kind, self.parts, units[known])
        return share, np.where(known, size * spread, np.nan), df

    def _rows(self, name: str, values: object) -> FloatArray:
        rows = real_array(name, values, ndim=2)
        if rows.shape[1] != self.p:
            raise InputError(
                f"{name} has shape {rows.shape} for {self.p} coefficients; give the fit's columns, "
                "the intercept's 1 included"
            )
        return rows


def degrees_of_freedom(kind: RobustKind, parts: ClusterParts, units: FloatArray) -> FloatArray:
    """Degrees of freedom of the t tests of unit vectors (m, p), shape (m,).

    Clusters minus coefficients; for CR2 Satterthwaite's ``2 E^2 / Var`` of the robust
    variance under the working model.
    """
    if kind == "CR2":
        return parts.satterthwaite(units)
    n, p = parts.scores.shape
    return np.full(len(units), float(n - p))
