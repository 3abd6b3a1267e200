"""Small-study effects: whether small studies report other effects than large ones.

References
----------
Egger et al. 1997, BMJ 315:629; Sterne & Egger 2005, in Rothstein, Sutton &
Borenstein (eds), Publication Bias in Meta-Analysis, 99; Begg & Mazumdar 1994,
Biometrics 50:1088; Rosenthal 1979, Psychol Bull 86:638; Orwin 1983, J Educ
Stat 8:157; Rosenberg 2005, Evolution 59:464.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from scipy import special, stats

from ketacast.arrays import FloatArray, real_array, refuse_where
from ketacast.errors import InputError
from ketacast.numerics.diagnostics.casewise import effects_and_variances
from ketacast.numerics.normal import NormalFit, NormalTest, Tau2Method, fit_normal
from ketacast.numerics.records import PlainRecord
from ketacast.options import check_choice

RegressionModel = Literal["random", "lm"]
REGRESSION_MODELS: Final[tuple[RegressionModel, ...]] = get_args(RegressionModel)
SizePredictor = Literal["sei", "vi", "ni", "ninv", "sqrtni", "sqrtninv"]
SIZE_PREDICTORS: Final[tuple[SizePredictor, ...]] = get_args(SizePredictor)
FailSafeKind = Literal["Rosenthal", "Orwin", "Rosenberg"]
FAIL_SAFE_KINDS: Final[tuple[FailSafeKind, ...]] = get_args(FailSafeKind)

#: Predictors that are 0 for a study of infinite size, so that the intercept is
#: the effect expected there.
_VANISHING: Final = ("sei", "vi", "ninv", "sqrtninv")
#: A number of studies this close (relatively) above a whole one is that whole one.
WHOLE: Final = 1e-9
#: Kendall's tau has an exact p-value up to this many studies; beyond, the normal
#: approximation is as good and the exact one slow.
MOST_EXACT: Final = 170


@dataclass(frozen=True, slots=True)
class RegressionTest(PlainRecord):
    """Regression test for funnel-plot asymmetry (Egger-type).

    Attributes
    ----------
    statistic, p_value : float
        Of the predictor's coefficient, two-sided.
    df : int or None
        Degrees of freedom of t; None for the normal.
    limit, limit_lower, limit_upper : float or None
        Effect expected in a study of infinite size and its confidence limits:
        the intercept, for predictors that vanish there and without further
        moderators; None otherwise.
    model, predictor : str
        As given.
    fit : NormalFit
        The regression; the predictor's coefficient is the last.
    """

    statistic: float
    p_value: float
    df: int | None
    limit: float | None
    limit_lower: float | None
    limit_upper: float | None
    model: RegressionModel
    predictor: SizePredictor
    fit: NormalFit


def regression_test(
    y: object,
    v: object,
    X: object = None,
    *,
    model: RegressionModel = "random",
    predictor: SizePredictor = "sei",
    ni: object = None,
    method: Tau2Method = "REML",
    test: NormalTest = "adhoc",
    level: float = 0.95,
) -> RegressionTest:
    """Test whether effects go with the precision of their studies.

    Parameters
    ----------
    y, v : array_like, shape (k,)
        Effects and sampling variances (> 0).
    X : array_like, shape (k, p), optional
        Moderators to adjust for, the intercept's column of ones included; the
        intercept alone by default.
    model : {"random", "lm"}
        Random-effects meta-regression, or the classical weighted regression
        with a multiplicative dispersion (Egger et al. 1997), whose t test has
        k - p - 1 degrees of freedom whatever `method` and `test` are.
    predictor : {"sei", "vi", "ni", "ninv", "sqrtni", "sqrtninv"}
        Standard error, sampling variance, sample size, its inverse, its square
        root or the inverse of that.
    ni : array_like, shape (k,), optional
        Sample sizes (> 0), for the last four predictors.
    method, test, level
        As for :func:`ketacast.numerics.normal.fitting.fit_normal`.

    Raises
    ------
    InputError
        For unusable data or options, missing sample sizes, and a predictor
        that is the same in all studies.
    """
    check_choice("model", model, REGRESSION_MODELS)
    check_choice("predictor", predictor, SIZE_PREDICTORS)
    effects, variances = effects_and_variances(y, v)
    design = np.ones((effects.size, 1)) if X is None else real_array("X", X, ndim=2)
    if len(design) != effects.size:
        raise InputError(f"X has {len(design)} rows for {effects.size} studies; give one each")
    size = _size_column(predictor, variances, ni)
    both = np.column_stack([design, size])
    if model == "lm":
        # Weights 1/v and a dispersion from the residuals: the arithmetic of an
        # equal-effects fit with the Knapp-Hartung factor.
        method, test = "EE", "knha"
    fit = fit_normal(effects, variances, both, method=method, test=test, level=level)
    limit = predictor in _VANISHING and fit.p == 2 and fit.intercept == 0
    return RegressionTest(
        statistic=float(fit.statistic[-1]),
        p_value=float(fit.p_value[-1]),
        df=fit.df,
        limit=float(fit.beta[0]) if limit else None,
        limit_lower=float(fit.ci_lower[0]) if limit else None,
        limit_upper=float(fit.ci_upper[0]) if limit else None,
        model=model,
        predictor=predictor,
        fit=fit,
    )


@dataclass(frozen=True, slots=True)
class RankTest(PlainRecord):
    """Rank correlation test for funnel-plot asymmetry.

    Attributes
    ----------
    tau : float
        Kendall's tau (b, where there are ties) of standardised effects with
        sampling variances.
    p_value : float
        Two-sided.
    exact : bool
        True for the exact null distribution; with ties or more than
        :data:`MOST_EXACT` studies the normal approximation is used, without
        continuity correction.
    """

    tau: float
    p_value: float
    exact: bool


def rank_test(y: object, v: object) -> RankTest:
    """Test whether standardised effects and sampling variances are rank-correlated.

    The effects are standardised by the equal-effects mean m,
    ``(y - m) / sqrt(v - 1 / sum(1 / v))`` (Begg & Mazumdar 1994).

    Parameters
    ----------
    y, v : array_like, shape (k,)
        Effects and sampling variances (> 0), at least 3.

    Raises
    ------
    InputError
        For unusable data, and where one study is so much larger than all
        others together that its standardised effect is 0/0, or all effects or
        all variances are the same.
    """
    effects, variances = effects_and_variances(y, v)
    if effects.size < 3:
        raise InputError(f"y has {effects.size} studies; a rank correlation needs at least 3")
    share = (1.0 / variances) / np.sum(1.0 / variances)
    spread = variances * (1.0 - share)
    refuse_where("v", variances, spread <= 0.0, "outweighs all other studies; leave it out")
    standardised = (effects - np.sum(share * effects)) / np.sqrt(spread)
    ties = min(np.unique(standardised).size, np.unique(variances).size) < effects.size
    exact = not ties and effects.size <= MOST_EXACT
    found = stats.kendalltau(standardised, variances, method="exact" if exact else "asymptotic")
    if not np.isfinite(found.statistic):
        raise InputError(
            "all effects or all variances are the same, so there is no rank correlation; give "
            "studies of different sizes"
        )
    return RankTest(float(found.statistic), float(found.pvalue), exact)


@dataclass(frozen=True, slots=True)
class FailSafeN(PlainRecord):
    """How many unseen studies averaging null results would undo a finding.

    Attributes
    ----------
    n : int
        Number of such studies, rounded up; 0 where nothing needs undoing.
    kind : {"Rosenthal", "Orwin", "Rosenberg"}
        As given.
    alpha : float or None
        Significance level to be lost (not for Orwin).
    p_value : float or None
        Of the studies at hand: one-sided for Rosenthal (the sum of z-values in
        the direction observed), two-sided for Rosenberg.
    mean, target : float or None
        Mean effect (not for Rosenthal) and the mean to be reached (Orwin).
    """

    n: int
    kind: FailSafeKind
    alpha: float | None
    p_value: float | None
    mean: float | None
    target: float | None


def fail_safe_n(
    y: object,
    v: object,
    *,
    kind: FailSafeKind = "Rosenthal",
    alpha: float = 0.05,
    target: float | None = None,
    weighted: bool = False,
) -> FailSafeN:
    """Count the null studies that would undo a finding.

    Parameters
    ----------
    y, v : array_like, shape (k,)
        Effects and sampling variances (> 0).
    kind : {"Rosenthal", "Orwin", "Rosenberg"}
        Until the sum of z-values (one-sided), or the inverse-variance weighted
        mean (two-sided), is no longer significant at `alpha`; or until the mean
        falls to `target`.
    alpha : float
        Significance level, 0 to 1.
    target : float, optional
        For Orwin: a mean of the sign of the observed one; half the observed
        one by default.
    weighted : bool
        For Orwin: weight the mean by inverse variances.

    Raises
    ------
    InputError
        For unusable data or options, and a target of 0 or of the other sign.
    """
    check_choice("kind", kind, FAIL_SAFE_KINDS)
    effects, variances = effects_and_variances(y, v)
    level = float(real_array("alpha", alpha, ndim=0))
    if not 0.0 < level < 1.0:
        raise InputError(f"alpha is {level!r}; give a share between 0 and 1, such as 0.05")
    if kind == "Rosenthal":
        return _rosenthal(effects, variances, level)
    if kind == "Rosenberg":
        return _rosenberg(effects, variances, level)
    weights = 1.0 / variances if weighted else np.ones_like(variances)
    mean = float(np.average(effects, weights=weights))
    aim = 0.5 * mean if target is None else float(real_array("target", target, ndim=0))
    if not aim * mean > 0.0:
        raise InputError(
            f"target is {aim!r} and the observed mean {mean!r}; give a target of the same sign, "
            "not 0, which no number of null studies reaches"
        )
    return FailSafeN(
        n=_round_up(effects.size * (mean / aim - 1.0)),
        kind=kind,
        alpha=None,
        p_value=None,
        mean=mean,
        target=aim,
    )


def _rosenthal(effects: FloatArray, variances: FloatArray, alpha: float) -> FailSafeN:
    z = abs(float(np.sum(effects / np.sqrt(variances)) / np.sqrt(effects.size)))
    if alpha >= 0.5:
        raise InputError(f"alpha is {alpha!r}; give a level below 0.5 for the one-sided test")
    enough = (z / float(special.ndtri(alpha))) ** 2 - 1.0
    return FailSafeN(
        n=_round_up(effects.size * enough),
        kind="Rosenthal",
        alpha=alpha,
        p_value=float(special.ndtr(-z)),
        mean=None,
        target=None,
    )


def _rosenberg(effects: FloatArray, variances: FloatArray, alpha: float) -> FailSafeN:
    weights = 1.0 / variances
    mean = float(np.sum(weights * effects) / weights.sum())
    z = abs(mean) * float(np.sqrt(weights.sum()))
    enough = (z / float(special.ndtri(0.5 * alpha))) ** 2 - 1.0
    return FailSafeN(
        n=_round_up(effects.size * enough),
        kind="Rosenberg",
        alpha=alpha,
        p_value=2.0 * float(special.ndtr(-z)),
        mean=mean,
        target=None,
    )


def _round_up(number: float) -> int:
    return max(0, int(np.ceil(number * (1.0 - WHOLE))))


def _size_column(predictor: SizePredictor, variances: FloatArray, ni: object) -> FloatArray:
    if predictor in ("sei", "vi"):
        column = np.sqrt(variances) if predictor == "sei" else variances
    else:
        if ni is None:
            raise InputError(f"predictor is {predictor!r}; give the sample sizes as ni")
        sizes = real_array("ni", ni, ndim=1)
        if sizes.size != variances.size:
            raise InputError(
                f"ni has {sizes.size} values for {variances.size} studies; give one per study"
            )
        refuse_where("ni", sizes, sizes <= 0.0, "must be greater than 0, a sample size")
        root = sizes if predictor in ("ni", "ninv") else np.sqrt(sizes)
        column = root if predictor in ("ni", "sqrtni") else 1.0 / root
    if np.ptp(column) == 0.0:
        raise InputError(
            f"{predictor} is {float(column[0])!r} in all studies; a regression on it needs studies "
            "of different sizes"
        )
    return column
