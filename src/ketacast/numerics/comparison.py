"""Comparing fits: information criteria, likelihood-ratio tests and contrasts.

References
----------
Hurvich & Tsai 1989, Biometrika 76:297 (AICc); Self & Liang 1987, J Am Stat
Assoc 82:605 (a variance of 0 under the null).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from ketacast.arrays import FloatArray, frozen, real_array, refuse_where
from ketacast.errors import InputError
from ketacast.numerics.inference import Omnibus, critical_value, two_sided_p
from ketacast.numerics.linalg import COLLINEARITY
from ketacast.numerics.normal import NormalFit
from ketacast.numerics.records import PlainRecord

#: A larger model's likelihood may be this much lower (relative to its size) by
#: rounding alone; beyond, the smaller model is not a special case of it.
NESTING_TOLERANCE: Final = 1e-8
#: Two fits on the same data and design have the same Q to this relative accuracy.
SAME_DATA: Final = 1e-6

_LOG_2PI: Final = float(np.log(2.0 * np.pi))


def refuse_without_spread(fit: NormalFit) -> None:
    """Refuse a Knapp-Hartung fit of effects that lie on the fitted line but for rounding.

    It has no scale: its covariance is NaN, and so is what is made from it.

    Raises
    ------
    InputError
        For such a fit.
    """
    if np.isnan(fit.cov).any():
        raise InputError(
            f"the effects have no residual spread, which test={fit.test!r} takes its scale from; "
            "use test='z' or test='adhoc'"
        )


def parameter_count(fit: NormalFit) -> int:
    """Coefficients plus one for tau2; tau2 is not counted for equal effects."""
    return fit.p + (fit.method != "EE")


def log_likelihood(fit: NormalFit, *, restricted: bool | None = None) -> float:
    """Log-likelihood at the estimates.

    Parameters
    ----------
    fit : NormalFit
        The fit.
    restricted : bool, optional
        Which likelihood; by default the restricted one for REML fits only.
    """
    return fit.log_likelihood_reml if _restricted(fit, restricted) else fit.log_likelihood_ml


def deviance(fit: NormalFit, v: object, *, restricted: bool | None = None) -> float:
    """Minus twice the log-likelihood; the full one is taken relative to the saturated model.

    Parameters
    ----------
    fit : NormalFit
        The fit.
    v : array_like, shape (k,)
        Sampling variances of the studies.
    restricted : bool, optional
        As for :func:`log_likelihood`. The restricted likelihood has no
        saturated model, so nothing is taken off it.

    Raises
    ------
    InputError
        For another number of variances than studies, and variances not above 0.
    """
    variances = real_array("v", v, ndim=1)
    if variances.size != fit.k:
        raise InputError(f"v has {variances.size} values for {fit.k} studies; give one per study")
    refuse_where("v", variances, variances <= 0.0, "must be above 0 for a saturated likelihood")
    if _restricted(fit, restricted):
        return -2.0 * fit.log_likelihood_reml
    saturated = -0.5 * float(np.sum(np.log(variances) + _LOG_2PI))
    return -2.0 * (fit.log_likelihood_ml - saturated)


def aic(fit: NormalFit, *, restricted: bool | None = None) -> float:
    """Akaike's criterion, ``-2 ll + 2 m`` with m = :func:`parameter_count`.

    Parameters
    ----------
    fit, restricted
        As for :func:`log_likelihood`.
    """
    return -2.0 * log_likelihood(fit, restricted=restricted) + 2.0 * parameter_count(fit)


def aicc(fit: NormalFit, *, restricted: bool | None = None) -> float:
    """AIC with the small-sample correction of Hurvich & Tsai (1989).

    ``-2 ll + 2 m n / (n - m - 1)`` with n studies (n = k - p for the restricted
    likelihood), n being raised to m + 2 where it is smaller, so that the
    penalty stays positive and finite.

    Parameters
    ----------
    fit, restricted
        As for :func:`log_likelihood`.
    """
    m = parameter_count(fit)
    n = max(_sample_size(fit, restricted), m + 2)
    return -2.0 * log_likelihood(fit, restricted=restricted) + 2.0 * m * n / (n - m - 1)


def bic(fit: NormalFit, *, restricted: bool | None = None) -> float:
    """Schwarz's criterion, ``-2 ll + m log n`` (n = k - p for the restricted likelihood).

    Parameters
    ----------
    fit, restricted
        As for :func:`log_likelihood`.
    """
    penalty = parameter_count(fit) * float(np.log(_sample_size(fit, restricted)))
    return -2.0 * log_likelihood(fit, restricted=restricted) + penalty


@dataclass(frozen=True, slots=True)
class LikelihoodRatio(PlainRecord):
    """Likelihood-ratio test of a smaller model inside a larger one.

    Attributes
    ----------
    statistic : float
        Twice the difference of the log-likelihoods, >= 0.
    df : int
        Parameters that the larger model has more.
    p_value : float
        Upper tail of chi-square with `df` degrees of freedom. Where the
        smaller model sets tau2 to 0 it is an upper bound: the value 0 lies on
        the edge, and with `df` 1 the large-sample p-value is half of it (Self
        & Liang 1987).
    r2 : float
        Share of the smaller model's tau2 that the larger one accounts for,
        percent, never below 0; NaN where the smaller model's tau2 is 0.
    tau2_full, tau2_reduced : float
        Between-study variances.
    log_likelihood_full, log_likelihood_reduced : float
        Log-likelihoods compared, full or restricted.
    aic_full, aic_reduced, aicc_full, aicc_reduced, bic_full, bic_reduced : float
        Information criteria on the same likelihood.
    """

    statistic: float
    df: int
    p_value: float
    r2: float
    tau2_full: float
    tau2_reduced: float
    log_likelihood_full: float
    log_likelihood_reduced: float
    aic_full: float
    aic_reduced: float
    aicc_full: float
    aicc_reduced: float
    bic_full: float
    bic_reduced: float


def likelihood_ratio(full: NormalFit, reduced: NormalFit) -> LikelihoodRatio:
    """Test whether a smaller model does as well as the larger one that contains it.

    Two kinds of pairs can be compared: both by ML (moderators differ), or one
    design with tau2 estimated by ML or REML against the equal-effects model
    (``method="EE"``). An ML fit may also be compared with an equal-effects fit
    of fewer moderators. A fit does not carry its design, so that one design
    contains the other is the caller's word; it is refused where the
    likelihoods contradict it.

    Parameters
    ----------
    full, reduced : NormalFit
        Fits of the same studies.

    Raises
    ------
    InputError
        For different studies, estimators of tau2 without a likelihood,
        restricted likelihoods of different designs, a `full` that has no more
        parameters than `reduced`, or models that are not nested.
    """
    _refuse_incomparable(full, reduced)
    restricted = full.method == "REML"
    df = parameter_count(full) - parameter_count(reduced)
    upper = log_likelihood(full, restricted=restricted)
    lower = log_likelihood(reduced, restricted=restricted)
    if upper - lower < -NESTING_TOLERANCE * max(1.0, abs(upper)):
        raise InputError(
            f"the larger model has the lower log-likelihood ({upper!r} < {lower!r}), so the "
            "smaller one is not inside it; give nested designs on the same studies"
        )
    statistic = max(0.0, 2.0 * (upper - lower))
    gain = (reduced.tau2 - full.tau2) / reduced.tau2 if reduced.tau2 > 0.0 else np.nan
    return LikelihoodRatio(
        statistic=statistic,
        df=df,
        p_value=float(special.chdtrc(df, statistic)),
        r2=float(100.0 * np.maximum(0.0, gain)),
        tau2_full=full.tau2,
        tau2_reduced=reduced.tau2,
        log_likelihood_full=upper,
        log_likelihood_reduced=lower,
        aic_full=aic(full, restricted=restricted),
        aic_reduced=aic(reduced, restricted=restricted),
        aicc_full=aicc(full, restricted=restricted),
        aicc_reduced=aicc(reduced, restricted=restricted),
        bic_full=bic(full, restricted=restricted),
        bic_reduced=bic(reduced, restricted=restricted),
    )


@dataclass(frozen=True, slots=True)
class Contrast(PlainRecord):
    """Linear combinations of coefficients, each tested and all tested together.

    Attributes
    ----------
    estimate, se, statistic, p_value, ci_lower, ci_upper : ndarray, shape (m,)
        Combinations ``L b``, their standard errors, ``(L b - rhs) / se``, its
        two-sided p-value and the confidence limits of ``L b``.
    rhs : ndarray, shape (m,)
        Values under the null hypothesis.
    df : int or None
        Degrees of freedom of t; None for the normal.
    omnibus : Omnibus or None
        All at once, by chi-square or F; None where the combinations are
        linearly dependent.
    """

    estimate: FloatArray
    se: FloatArray
    statistic: FloatArray
    p_value: FloatArray
    ci_lower: FloatArray
    ci_upper: FloatArray
    rhs: FloatArray
    df: int | None
    omnibus: Omnibus | None


def contrast(fit: NormalFit, L: object, rhs: object = 0.0) -> Contrast:
    """Wald tests of linear combinations of the coefficients.

    Parameters
    ----------
    fit : NormalFit
        The fit; its `test` and `level` are used.
    L : array_like, shape (m, p) or (p,)
        One combination per row.
    rhs : array_like, shape (m,) or number
        Values under the null hypothesis.

    Raises
    ------
    InputError
        For rows of another length than there are coefficients, rows of zeros,
        a wrong number of values in `rhs`, and a Knapp-Hartung fit of effects
        without residual spread.
    """
    refuse_without_spread(fit)
    rows = np.atleast_2d(real_array("L", L))
    if rows.ndim != 2 or rows.shape[1] != fit.p:
        raise InputError(
            f"L has shape {rows.shape} for {fit.p} coefficients; give one combination per row, "
            "the intercept's factor included"
        )
    if not rows.any(axis=1).all():
        raise InputError(f"L[{int(np.argmin(rows.any(axis=1)))}] is all zeros; drop it")
    null = real_array("rhs", rhs)
    if null.ndim > 1 or null.size not in (1, len(rows)):
        raise InputError(f"rhs has shape {null.shape} for {len(rows)} rows of L; give one each")
    null = np.broadcast_to(null, (len(rows),))
    # cov = (D C)(D C)' with standard errors D and C the root of the correlations:
    # squares are never formed, so near-collinear coefficients keep their digits.
    root = np.linalg.cholesky(fit.cov / np.outer(fit.se, fit.se))
    half = rows * fit.se @ root
    estimate, se = rows @ fit.beta, np.linalg.norm(half, axis=1)
    statistic = (estimate - null) / se
    reach = critical_value(fit.level, fit.df) * se
    return Contrast(
        estimate=frozen(estimate),
        se=frozen(se),
        statistic=frozen(statistic),
        p_value=frozen(two_sided_p(statistic, fit.df)),
        ci_lower=frozen(estimate - reach),
        ci_upper=frozen(estimate + reach),
        rhs=frozen(null),
        df=fit.df,
        omnibus=_joint_test(half / se[:, None], statistic, fit.df),
    )


def _joint_test(half: FloatArray, statistic: FloatArray, df: int | None) -> Omnibus | None:
    m, p = half.shape
    if m > p:
        return None
    triangle = np.linalg.qr(half.T)[1]
    if np.abs(np.diag(triangle)).min() < COLLINEARITY:
        return None
    chi_square = float(np.sum(np.linalg.solve(triangle.T, statistic) ** 2))
    if df is None:
        return Omnibus(chi_square, m, None, float(special.chdtrc(m, chi_square)))
    f = chi_square / m
    return Omnibus(f, m, df, float(special.fdtrc(m, df, f)))


def _restricted(fit: NormalFit, restricted: bool | None) -> bool:
    return fit.method == "REML" if restricted is None else restricted


def _sample_size(fit: NormalFit, restricted: bool | None) -> int:
    return fit.residual_df if _restricted(fit, restricted) else fit.k


def _refuse_incomparable(full: NormalFit, reduced: NormalFit) -> None:
    if full.k != reduced.k:
        raise InputError(
            f"the fits have {full.k} and {reduced.k} studies; fit both to the same studies"
        )
    if full.method not in ("ML", "REML") or reduced.method not in (full.method, "EE"):
        raise InputError(
            f"the fits' methods are {full.method!r} and {reduced.method!r}; fit both by 'ML', or "
            "the larger by 'ML' or 'REML' and the smaller by 'EE'"
        )
    if full.method == "REML" and full.p != reduced.p:
        raise InputError(
            f"REML fits with {full.p} and {reduced.p} coefficients have likelihoods of different "
            "data; fit both by 'ML'"
        )
    if parameter_count(full) <= parameter_count(reduced):
        raise InputError(
            f"the first fit has {parameter_count(full)} parameters and the second "
            f"{parameter_count(reduced)}; give the larger model first"
        )
    if full.p == reduced.p and abs(full.qe - reduced.qe) > SAME_DATA * max(full.qe, reduced.qe):
        raise InputError(
            f"the fits have as many coefficients but different Q ({full.qe!r}, {reduced.qe!r}); "
            "fit both to the same studies and moderators"
        )
