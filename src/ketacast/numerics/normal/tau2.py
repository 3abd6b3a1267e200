"""Estimators of the between-study variance and their standard errors.

References
----------
DerSimonian & Laird 1986, Control Clin Trials 7:177 (DL); Hedges & Olkin 1985,
Statistical Methods for Meta-Analysis (HE); Hunter & Schmidt 2004, Methods of
Meta-Analysis (HS); Brannick et al. 2019, Organ Res Methods 22:490 (HSk); Sidik
& Jonkman 2005, J R Stat Soc C 54:367 (SJ); Viechtbauer 2005, J Educ Behav Stat
30:261 (ML, REML); Morris 1983, J Am Stat Assoc 78:47 (EB); Paule & Mandel 1982,
J Res Natl Bur Stand 87:377 (PM); Viechtbauer 2021, Median-unbiased
estimators for the amount of heterogeneity in meta-analysis, European Congress of
Methodology, Valencia (PMM).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal, get_args

import numpy as np
from scipy import special

from ketacast.arrays import FloatArray
from ketacast.numerics.normal.kernel import Kernel, Scores
from ketacast.numerics.normal.likelihood_search import maximise
from ketacast.numerics.normal.problem import Problem
from ketacast.numerics.normal.whitened import Whitened, whitened
from ketacast.numerics.roots import falling_root

Tau2Method = Literal["REML", "ML", "DL", "HE", "HS", "HSk", "SJ", "EB", "PM", "PMM", "EE"]
TAU2_METHODS: Final[tuple[Tau2Method, ...]] = get_args(Tau2Method)

#: Estimators that are a quadratic form of the effects, which has a variance.
QUADRATIC: Final = ("DL", "HE", "HS", "HSk", "SJ")
#: Methods that weigh studies by 1 / v at tau2 = 0, and so need v > 0.
NEED_POSITIVE_VARIANCES: Final = ("DL", "HS", "HSk", "PM", "PMM", "EE")


def estimate_tau2(kernel: Kernel, method: Tau2Method) -> FloatArray:
    """Estimate tau2 of each problem, shape (B,), >= 0; NaN where there is no estimate."""
    if method in ("REML", "ML"):
        return maximise(kernel, restricted=method == "REML")
    if method in ("PM", "EB"):
        # Both solve Q(tau2) = k - p; EB is usually reached by another iteration.
        return solve_q(kernel, kernel.problem.residual_df.astype(np.float64))
    if method == "PMM":
        df = kernel.problem.residual_df.astype(np.float64)
        return solve_q(kernel, np.asarray(special.chdtri(df, 0.5), dtype=np.float64))
    if method == "EE":
        return np.zeros(kernel.problem.count)
    return np.maximum(0.0, _by_quadratic_form(kernel.problem, method))


def tau2_standard_error(
    problem: Problem, tau2: FloatArray, method: Tau2Method, at: Scores
) -> FloatArray:
    """Large-sample standard error of tau2, shape (B,); NaN for EE, where tau2 is not estimated.

    `at` holds the scores at the estimates in its last column.
    """
    if method == "EE":
        return np.full_like(tau2, np.nan)
    if method in QUADRATIC:
        return _quadratic_form_error(problem, tau2, method)
    if method == "REML":
        information = at.trace_pp[:, -1]
    elif method == "ML":
        information = at.weight_squares[:, -1]
    else:
        information = at.weight_sum[:, -1] ** 2 * problem.residual_df / problem.k**2
    return np.asarray(np.sqrt(2.0 / information), dtype=np.float64)


def solve_q(kernel: Kernel, target: FloatArray) -> FloatArray:
    """Solve ``y'P(tau2)y = target`` for tau2 >= 0; 0 where the value at 0 is already below.

    Newton's method on the logs over ``z = log(1 + tau2 / c)``, where the left
    side is almost a straight line.
    """
    problem = kernel.problem
    low, high = problem.least_variance, problem.largest_variance
    root = np.zeros(problem.count)
    # A sampling variance of 0 makes the left side infinite at tau2 = 0.
    start = np.where(low > 0.0, 0.0, 1e-12 * np.maximum(high, kernel.residual_squares))
    index = np.flatnonzero(kernel.scores(start[:, None]).q[:, 0] > target)
    if index.size == 0:
        return root
    part, scale, goal = kernel.rows(index), 0.5 * (low + high)[index], np.log(target[index])
    scale = np.where(scale > 0.0, scale, start[index])
    # q <= (unweighted residual sum of squares) / (tau2 + smallest variance).
    top = np.maximum(part.residual_squares / target[index] - low[index], start[index])

    def value_and_slope(z: FloatArray) -> tuple[FloatArray, FloatArray]:
        at = part.scores(start[index, None] + (scale * np.expm1(z))[:, None])
        rate = -at.ypp[:, 0] / at.q[:, 0] * scale * np.exp(z)
        return np.log(at.q[:, 0]) - goal, rate

    bottom = np.zeros(index.size)
    ceiling = np.log1p(1.01 * top / scale)
    root[index] = start[index] + scale * np.expm1(
        falling_root(value_and_slope, bottom, ceiling, bottom, np.ones(index.size))
    )
    return root


def _by_quadratic_form(problem: Problem, method: Tau2Method) -> FloatArray:
    """Estimate by ``y'Ay`` with A the residual maker at fixed weights; may be negative."""
    at, weights = _fixed_weights(problem, method)
    q = np.sum(at.residual**2, axis=1)
    k, df = problem.k, problem.residual_df
    if method == "SJ":
        return np.asarray(_crude_variance(problem) * q / df, dtype=np.float64)
    if method == "HE":
        expected = np.sum(problem.masked(problem.v) * weights * at.freedom, axis=1)
        return np.asarray((q - expected) / df, dtype=np.float64)
    if method == "DL":
        return np.asarray((q - df) / np.sum(weights * at.freedom, axis=1))
    factor = k / df if method == "HSk" else np.ones(problem.count)
    return np.asarray((factor * q - k) / weights.sum(axis=1), dtype=np.float64)


def _quadratic_form_error(problem: Problem, tau2: FloatArray, method: Tau2Method) -> FloatArray:
    """``sqrt(2 tr (A (V + tau2 I))^2)`` over what the quadratic form is divided by."""
    at, weights = _fixed_weights(problem, method)
    total = problem.masked(problem.v + tau2[:, None])
    spread = np.sqrt(2.0 * at.square_trace(weights * total))
    if method == "DL":
        return np.asarray(spread / np.sum(weights * at.freedom, axis=1))
    if method in ("HS", "HSk"):
        factor = problem.k / problem.residual_df if method == "HSk" else 1.0
        return np.asarray(factor * spread / weights.sum(axis=1), dtype=np.float64)
    norm = _crude_variance(problem) if method == "SJ" else 1.0
    return np.asarray(norm * spread / problem.residual_df, dtype=np.float64)


def _fixed_weights(problem: Problem, method: Tau2Method) -> tuple[Whitened, FloatArray]:
    """Fit at the weights of a method: equal (HE), 1 / v (DL, HS), 1 / (v + variance) (SJ)."""
    if method == "HE":
        at = whitened(replace(problem, v=np.zeros_like(problem.v)), np.ones(problem.count))
    elif method == "SJ":
        at = whitened(problem, _crude_variance(problem))
    else:
        at = whitened(problem, np.zeros(problem.count))
    return at, at.weights


def _crude_variance(problem: Problem) -> FloatArray:
    """Variance of the effects about their mean, divisor k, shape (B,)."""
    mean = np.sum(problem.masked(problem.y), axis=1) / problem.k
    away = problem.masked(problem.y - mean[:, None])
    return np.asarray(np.sum(away**2, axis=1) / problem.k, dtype=np.float64)
