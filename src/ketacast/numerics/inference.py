"""Wald tests, intervals and predictions shared by all fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ketacast.arrays import FloatArray, frozen, real_array
from ketacast.errors import InputError
from ketacast.options import check_choice

PredictionKind = Literal["default", "riley", "t", "simple"]
PREDICTION_KINDS: Final[tuple[PredictionKind, ...]] = get_args(PredictionKind)


@dataclass(frozen=True, slots=True)
class Omnibus:
    """Wald test of several coefficients at once.

    Attributes
    ----------
    statistic : float
        Chi-square, or F (chi-square divided by its df) when `df` is given.
    df_coefficients : int
        Number of coefficients tested.
    df_residual : int or None
        Denominator degrees of freedom of F; None for chi-square.
    p_value : float
        Upper tail.
    """

    statistic: float
    df_coefficients: int
    df_residual: int | None
    p_value: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """Mean of the true effects and where a new true effect is expected.

    Attributes
    ----------
    mean, se : ndarray, shape (m,)
        Predicted mean and its standard error.
    ci_lower, ci_upper : ndarray, shape (m,)
        Confidence interval of the mean.
    pi_lower, pi_upper : ndarray, shape (m,)
        Prediction interval of a new study's true effect.
    level : float
        Coverage of both intervals.
    df, pi_df : int or None
        Degrees of freedom of t for the intervals; None for the normal.
    """

    mean: FloatArray
    se: FloatArray
    ci_lower: FloatArray
    ci_upper: FloatArray
    pi_lower: FloatArray
    pi_upper: FloatArray
    level: float
    df: int | None
    pi_df: int | None


def check_level(level: object) -> float:
    """Check the coverage of an interval, a number strictly between 0 and 1.

    Raises
    ------
    InputError
        Otherwise; values above 1 are probably percent.
    """
    value = level if type(level) is float else float(real_array("level", level, ndim=0))
    if not 0.0 < value < 1.0:
        raise InputError(f"level is {value!r}; give a share between 0 and 1, such as 0.95")
    return value


def critical_value(level: float, df: float | None) -> float:
    """Two-sided critical value of the normal (`df` None) or of t."""
    upper = 0.5 * (1.0 + level)
    return float(special.ndtri(upper) if df is None else special.stdtrit(df, upper))


def critical_values(level: float, df: FloatArray | float | None) -> FloatArray:
    """Two-sided critical values of the normal (`df` None) or of t; the shape of `df`."""
    upper = np.array(0.5 * (1.0 + level))
    return np.asarray(special.ndtri(upper) if df is None else special.stdtrit(df, upper))


def two_sided_p(statistic: FloatArray, df: FloatArray | float | None) -> FloatArray:
    """Two-sided p-value from the lower tail of minus the size, exact far out."""
    tail = -np.abs(statistic)
    p = 2.0 * (special.ndtr(tail) if df is None else special.stdtr(df, tail))
    return np.asarray(p, dtype=np.float64)


def tested_coefficients(p: int, intercept: int | None) -> NDArray[np.intp]:
    """Which coefficients an omnibus test is about: all but the intercept, or all."""
    tested = np.array([j for j in range(p) if j != intercept], dtype=np.intp)
    return tested if tested.size else np.arange(p)


def wald_statistics(
    beta: FloatArray, cov: FloatArray, intercept: int | None
) -> tuple[FloatArray, int]:
    """Wald chi-squares of B fits, shape (B,), and their number of coefficients.

    Parameters
    ----------
    beta, cov : ndarray, shapes (B, p), (B, p, p)
        Coefficients and their covariances; NaN gives NaN.
    intercept : int or None
        Which coefficient is the intercept.
    """
    tested = tested_coefficients(beta.shape[-1], intercept)
    b, v = beta[:, tested], cov[:, tested[:, None], tested]
    # Equilibrated, so that moderators of very different units do not spoil the solve.
    size = np.sqrt(np.diagonal(v, axis1=1, axis2=2))
    z = b / size
    scaled = v / (size[:, :, None] * size[:, None, :])
    statistic = np.full(len(b), np.nan)
    good = np.isfinite(scaled).all(axis=(1, 2))
    solved = np.linalg.solve(scaled[good], z[good][..., None])[..., 0]
    statistic[good] = np.sum(z[good] * solved, axis=1)
    return statistic, tested.size


def wald_omnibus(
    beta: FloatArray, cov: FloatArray, intercept: int | None, df: int | None
) -> Omnibus:
    """Test all coefficients but the intercept (all, if there is nothing else).

    Parameters
    ----------
    beta, cov : ndarray, shapes (p,), (p, p)
        Coefficients and their covariance.
    intercept : int or None
        Which coefficient is the intercept.
    df : int or None
        Residual degrees of freedom for an F test; None for chi-square.
    """
    tested = tested_coefficients(beta.size, intercept)
    m = tested.size
    if m == 1:
        chi_square = float(beta[tested[0]] ** 2 / cov[tested[0], tested[0]])
    else:
        chi_square = float(wald_statistics(beta[None], cov[None], intercept)[0][0])
    if df is None:
        return Omnibus(chi_square, m, None, float(special.chdtrc(m, chi_square)))
    f = chi_square / m
    return Omnibus(f, m, df, float(special.fdtrc(m, df, f)))


def predict_linear(
    X_new: object,
    *,
    beta: FloatArray,
    cov: FloatArray,
    tau2: float,
    level: float,
    df: int | None,
    residual_df: int,
    kind: PredictionKind = "default",
) -> Prediction:
    """Predict at new moderator values.

    Parameters
    ----------
    X_new : array_like, shape (m, p)
        Rows of moderators, the intercept's 1 included.
    beta, cov : ndarray, shapes (p,), (p, p)
        Coefficients and their covariance.
    tau2 : float
        Between-study variance.
    level : float
        Coverage, 0 to 1.
    df : int or None
        Degrees of freedom of the fit's own tests (None: normal).
    residual_df : int
        Studies minus coefficients.
    kind : {"default", "riley", "t", "simple"}
        Prediction interval: with the fit's own distribution; t with one
        degree of freedom fewer than the residual ones (Riley, Higgins & Deeks
        2011, BMJ 342:d549); t with the residual ones; normal without the
        uncertainty of the mean.

    Raises
    ------
    InputError
        For a wrong shape or level, or "riley" with no degree of freedom left.
    """
    check_choice("kind", kind, PREDICTION_KINDS)
    level = check_level(level)
    rows = real_array("X_new", X_new, ndim=2)
    if rows.shape[1] != beta.size:
        raise InputError(
            f"X_new has {rows.shape[1]} columns for {beta.size} coefficients; "
            "give the same columns as in the fit, the intercept included"
        )
    mean = rows @ beta
    se = np.sqrt(np.einsum("mi,ij,mj->m", rows, cov, rows))
    half = critical_value(level, df) * se
    pi_df = _prediction_df(kind, df, residual_df)
    spread = np.full_like(se, np.sqrt(tau2)) if kind == "simple" else np.sqrt(se**2 + tau2)
    wide = critical_value(level, pi_df) * spread
    return Prediction(
        mean=frozen(mean),
        se=frozen(se),
        ci_lower=frozen(mean - half),
        ci_upper=frozen(mean + half),
        pi_lower=frozen(mean - wide),
        pi_upper=frozen(mean + wide),
        level=level,
        df=df,
        pi_df=pi_df,
    )


def _prediction_df(kind: PredictionKind, df: int | None, residual_df: int) -> int | None:
    if kind == "default":
        return df
    if kind == "simple":
        return None
    if kind == "t":
        return residual_df
    if residual_df < 2:
        raise InputError(
            f"kind 'riley' needs 2 residual degrees of freedom, the fit has {residual_df}; "
            "use kind='default' or more studies"
        )
    return residual_df - 1


class WaldTests:
    """Standard errors, tests and intervals of coefficients, the same way for every fit.

    A fit is a frozen dataclass with coefficients `beta` (..., p), their covariance `cov`
    (..., p, p), the `level` of the intervals and degrees of freedom `df`, None for the
    normal, which broadcast against `beta`. The results have the shape of `beta`.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def beta(self) -> FloatArray:
            """Coefficients."""

        @property
        def cov(self) -> FloatArray:
            """Covariance of the coefficients."""

        @property
        def level(self) -> float:
            """Level of the intervals."""

        @property
        def df(self) -> FloatArray | float | None:
            """Degrees of freedom of the tests."""

    @property
    def se(self) -> FloatArray:
        """Standard errors of the coefficients."""
        return np.sqrt(np.diagonal(self.cov, axis1=-2, axis2=-1))

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


class WaldInference(WaldTests):
    """The tests of one fit, whose degrees of freedom follow from its studies.

    Fields beside those of :class:`WaldTests`: `k` studies, `p` coefficients and the
    `test`, "z" for the normal, else a t distribution on k - p.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def k(self) -> int:
            """Number of studies."""

        @property
        def p(self) -> int:
            """Number of coefficients."""

        @property
        def test(self) -> str:
            """Reference distribution of the tests."""

    @property
    def df(self) -> int | None:
        """Degrees of freedom of the tests; None for the normal."""
        return None if self.test == "z" else self.residual_df

    @property
    def residual_df(self) -> int:
        """Studies minus coefficients."""
        return self.k - self.p
