"""Trim and fill: mirror the studies that a lopsided funnel plot seems to miss.

References
----------
Duval & Tweedie 2000, Biometrics 56:455; Duval & Tweedie 2000, J Am Stat Assoc
95:89.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from scipy import stats

from ketacast.arrays import FloatArray, frozen
from ketacast.errors import ConvergenceError, InputError
from ketacast.numerics.diagnostics.casewise import effects_and_variances, whole_number
from ketacast.numerics.diagnostics.small_study import regression_test
from ketacast.numerics.normal import NormalFit, NormalTest, Tau2Method, fit_normal
from ketacast.numerics.records import PlainRecord
from ketacast.options import check_choice

MissingEstimator = Literal["L0", "R0", "Q0"]
MISSING_ESTIMATORS: Final[tuple[MissingEstimator, ...]] = get_args(MissingEstimator)
FunnelSide = Literal["left", "right"]
FUNNEL_SIDES: Final[tuple[FunnelSide, ...]] = get_args(FunnelSide)


@dataclass(frozen=True, slots=True)
class TrimFill(PlainRecord):
    """Studies that seem to be missing, and the fit with them filled in.

    Attributes
    ----------
    n_missing : int
        Estimated number of missing studies.
    n_missing_se : float
        Its standard error; NaN where the estimate, before it is raised to 0, is
        so far below 0 that its variance formula is negative.
    n_missing_p : float or None
        p-value of "none is missing on this side"; for R0 only.
    side : {"left", "right"}
        Where studies were filled in.
    estimator : {"L0", "R0", "Q0"}
        As given.
    filled_y, filled_v : ndarray, shape (n_missing,)
        Mirror images of the most extreme studies, and their variances.
    fit : NormalFit
        Fit of the observed and the filled-in studies.
    """

    n_missing: int
    n_missing_se: float
    n_missing_p: float | None
    side: FunnelSide
    estimator: MissingEstimator
    filled_y: FloatArray
    filled_v: FloatArray
    fit: NormalFit


def trim_fill(
    y: object,
    v: object,
    *,
    estimator: MissingEstimator = "L0",
    side: FunnelSide | None = None,
    method: Tau2Method = "REML",
    test: NormalTest = "adhoc",
    level: float = 0.95,
    max_iterations: int = 100,
) -> TrimFill:
    """Estimate how many studies are missing on one side, and fill them in.

    The most extreme studies of the other side are trimmed, the mean is fitted
    again, and the number to trim follows from the ranks of the distances from
    it, until that number repeats itself. It is a look at how much one kind of
    suppression could matter, not a better estimate of the mean.

    Parameters
    ----------
    y, v : array_like, shape (k,)
        Effects and sampling variances (> 0).
    estimator : {"L0", "R0", "Q0"}
        Of the number of missing studies: linear in the rank sum, from the run
        of the largest ranks, or quadratic in the rank sum.
    side : {"left", "right"}, optional
        Side where studies are missing; by default left if the regression test
        on the standard error has a positive slope, else right.
    method, test, level
        As for :func:`ketacast.numerics.normal.fitting.fit_normal`, for all fits.
    max_iterations : int
        Rounds of trimming.

    Raises
    ------
    InputError
        For unusable data or options, and where no side is given and the
        regression test cannot be made (fewer than 3 studies, or all of one
        size).
    ConvergenceError
        If the number does not settle, or Q0 has no value.
    """
    check_choice("estimator", estimator, MISSING_ESTIMATORS)
    effects, variances = effects_and_variances(y, v)
    chosen = _likely_side(effects, variances, method) if side is None else side
    check_choice("side", chosen, FUNNEL_SIDES)
    sign = -1.0 if chosen == "right" else 1.0
    order = np.argsort(sign * effects, kind="stable")
    sorted_y, sorted_v = sign * effects[order], variances[order]
    rounds = whole_number("max_iterations", max_iterations, least=1)
    count, se, center = _settle(sorted_y, sorted_v, estimator, method, rounds)
    extreme = slice(effects.size - count, None)
    filled_y = sign * (2.0 * center - sorted_y[extreme])
    filled_v = sorted_v[extreme]
    fit = fit_normal(
        np.concatenate([effects, filled_y]),
        np.concatenate([variances, filled_v]),
        np.ones((effects.size + count, 1)),
        method=method,
        test=test,
        level=level,
    )
    return TrimFill(
        n_missing=count,
        n_missing_se=se,
        n_missing_p=0.5 ** (count + 1) if estimator == "R0" else None,
        side=chosen,
        estimator=estimator,
        filled_y=frozen(filled_y),
        filled_v=frozen(filled_v),
        fit=fit,
    )


def _likely_side(y: FloatArray, v: FloatArray, method: Tau2Method) -> FunnelSide:
    if y.size < 3:
        raise InputError(f"y has {y.size} studies, too few to see a side; give side")
    slope = regression_test(y, v, method=method, test="z").statistic
    return "right" if slope < 0.0 else "left"


def _settle(
    y: FloatArray, v: FloatArray, estimator: MissingEstimator, method: Tau2Method, rounds: int
) -> tuple[int, float, float]:
    """Find the number of missing studies, its standard error and the mean of the trimmed ones."""
    count = 0
    for _ in range(rounds):
        left = slice(0, y.size - count)
        ones = np.ones((y.size - count, 1))
        center = float(fit_normal(y[left], v[left], ones, method=method, test="z").beta[0])
        number, se = _missing(y - center, estimator)
        # All three estimators stay below k while some study is not above the mean.
        before, count = count, max(0, round(number))
        if count == before:
            return count, se, center
    raise ConvergenceError(
        f"the number of missing studies did not settle in {rounds} rounds; use another estimator "
        "or more max_iterations"
    )


def _missing(distance: FloatArray, estimator: MissingEstimator) -> tuple[float, float]:
    """Estimated number of missing studies and its standard error (Duval & Tweedie 2000)."""
    k = distance.size
    ranks = stats.rankdata(np.abs(distance), method="ordinal")
    if estimator == "R0":
        largest_other = float(np.max(ranks, where=distance <= 0.0, initial=0.0))
        number = k - largest_other - 1.0
        return number, float(np.sqrt(2.0 * max(0.0, number) + 2.0))
    rank_sum = float(np.sum(ranks, where=distance > 0.0))
    if estimator == "L0":
        number = (4.0 * rank_sum - k * (k + 1)) / (2 * k - 1)
        return number, 4.0 / (2 * k - 1) * _rank_sum_deviation(k, number)
    square = 2.0 * k**2 - 4.0 * rank_sum + 0.25
    if square < 0.0:
        raise ConvergenceError(
            "estimator 'Q0' has no value for these ranks (nearly all studies lie on one side of "
            "the trimmed mean); use 'L0' or 'R0'"
        )
    root = float(np.sqrt(square))
    number = k - 0.5 - root
    return number, 2.0 / root * _rank_sum_deviation(k, number)


def _rank_sum_deviation(k: int, missing: float) -> float:
    """Return the standard deviation of the rank sum; NaN for estimates too far below 0."""
    whole = k * (k + 1) * (2 * k + 1) + 10 * missing**3 + 27 * missing**2 + 17 * missing
    variance = (whole - 18 * k * missing**2 - 18 * k * missing + 6 * k**2 * missing) / 24.0
    return float(np.sqrt(variance)) if variance >= 0.0 else float("nan")
