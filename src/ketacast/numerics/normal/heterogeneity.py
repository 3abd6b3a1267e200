"""Confidence intervals of the between-study variance, and its profile likelihood.

References
----------
Viechtbauer 2007, Stat Med 26:37 (Q-profile); Hardy & Thompson 1996, Stat Med
15:619 (profile likelihood).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from scipy import special

from ketacast.arrays import FloatArray, frozen, real_array, refuse_where
from ketacast.errors import ConvergenceError, InputError
from ketacast.numerics.inference import check_level
from ketacast.numerics.linalg import Basis
from ketacast.numerics.normal.kernel import Kernel
from ketacast.numerics.normal.likelihood_search import maximise
from ketacast.numerics.normal.problem import checked_problem
from ketacast.numerics.normal.result import i_squared
from ketacast.numerics.normal.solving import kernels
from ketacast.numerics.normal.tau2 import solve_q
from ketacast.numerics.roots import falling_root
from ketacast.options import check_choice

IntervalKind = Literal["QP", "PL"]
INTERVAL_KINDS: Final[tuple[IntervalKind, ...]] = get_args(IntervalKind)
LikelihoodMethod = Literal["REML", "ML"]
LIKELIHOOD_METHODS: Final[tuple[LikelihoodMethod, ...]] = get_args(LikelihoodMethod)

#: Doublings of tau2 tried above the estimate before the interval is called open.
MOST_DOUBLINGS: Final = 200
#: Points of a profile between two limits.
PROFILE_POINTS: Final = 101


@dataclass(frozen=True, slots=True)
class HeterogeneityInterval:
    """Confidence interval of tau2 and what follows from it.

    Attributes
    ----------
    tau2, tau, i2, h2 : tuple of float
        Lower and upper limits; I2 in percent.
    level : float
        Coverage.
    kind : {"QP", "PL"}
        Q-profile or profile likelihood.
    empty : bool
        True where even tau2 = 0 is too much for these data: the confidence
        set of Q-profile is empty and the limits are reported as 0.
    """

    tau2: tuple[float, float]
    tau: tuple[float, float]
    i2: tuple[float, float]
    h2: tuple[float, float]
    level: float
    kind: IntervalKind
    empty: bool


@dataclass(frozen=True, slots=True)
class ProfileLikelihood:
    """Profile log-likelihood of tau2.

    Attributes
    ----------
    tau2 : ndarray, shape (m,)
        Where it was evaluated.
    log_likelihood : ndarray, shape (m,)
        Its values; the restricted one includes ``log|X'X| / 2``.
    beta : ndarray, shape (m, p)
        Coefficients there.
    estimate, maximum : float
        The maximising tau2 and the value there.
    method : {"REML", "ML"}
        Which likelihood.
    """

    tau2: FloatArray
    log_likelihood: FloatArray
    beta: FloatArray
    estimate: float
    maximum: float
    method: LikelihoodMethod


def tau2_interval(
    y: object,
    v: object,
    X: object,
    *,
    kind: IntervalKind = "QP",
    method: LikelihoodMethod = "REML",
    level: float = 0.95,
) -> HeterogeneityInterval:
    """Confidence interval of tau2, moderators included.

    Parameters
    ----------
    y, v, X
        As for :func:`ketacast.numerics.normal.fitting.fit_normal`; v > 0.
    kind : {"QP", "PL"}
        Q-profile, which is exact in the model and needs no estimate; or the
        values whose profile log-likelihood is within half a chi-square quantile
        of the maximum.
    method : {"REML", "ML"}
        Likelihood for "PL".
    level : float
        Coverage.

    Returns
    -------
    HeterogeneityInterval

    Raises
    ------
    InputError
        As for :func:`ketacast.numerics.normal.fitting.fit_normal`.
    ConvergenceError
        If the likelihood does not fall enough at any tau2.
    """
    level = check_level(level)
    check_choice("kind", kind, INTERVAL_KINDS)
    check_choice("method", method, LIKELIHOOD_METHODS)
    kernel, _ = _single(y, v, X)
    empty = False
    if kind == "QP":
        limits, empty = _q_profile(kernel, level)
    else:
        limits = _likelihood_limits(kernel, level, restricted=method == "REML")
    typical = float(kernel.problem.residual_df[0] / kernel.scores(np.zeros((1, 1))).trace_p[0, 0])
    lower, upper = limits
    return HeterogeneityInterval(
        tau2=limits,
        tau=(float(np.sqrt(lower)), float(np.sqrt(upper))),
        i2=(i_squared(lower, typical), i_squared(upper, typical)),
        h2=(1.0 + lower / typical, 1.0 + upper / typical),
        level=level,
        kind=kind,
        empty=empty,
    )


def profile_likelihood(
    y: object,
    v: object,
    X: object,
    *,
    tau2: object = None,
    method: LikelihoodMethod = "REML",
) -> ProfileLikelihood:
    """Profile log-likelihood of tau2 on a grid.

    Parameters
    ----------
    y, v, X
        As for :func:`ketacast.numerics.normal.fitting.fit_normal`; v > 0.
    tau2 : array_like, shape (m,), optional
        Where to evaluate (>= 0); by default from 0 to the upper end of a 99.9 %
        likelihood interval.
    method : {"REML", "ML"}
        Which likelihood.

    Returns
    -------
    ProfileLikelihood

    Raises
    ------
    InputError
        For unusable values.
    """
    check_choice("method", method, LIKELIHOOD_METHODS)
    restricted = method == "REML"
    kernel, basis = _single(y, v, X)
    if tau2 is None:
        upper = _likelihood_limits(kernel, 0.999, restricted=restricted)[1]
        at = np.linspace(0.0, upper, PROFILE_POINTS)
    else:
        at = real_array("tau2", tau2, ndim=1)
        refuse_where("tau2", at, at < 0.0, "must be 0 or more, a variance")
    estimate = maximise(kernel, restricted=restricted)
    part = kernel.rows(np.zeros(at.size + 1, dtype=np.intp))
    solution = part.solution(np.append(at, estimate))
    values = solution.log_likelihood(part.problem, restricted=restricted)
    return ProfileLikelihood(
        tau2=frozen(at),
        log_likelihood=frozen(values[:-1]),
        beta=frozen(solution.gamma[:-1] @ basis.back.T),
        estimate=float(estimate[0]),
        maximum=float(values[-1]),
        method=method,
    )


def _single(y: object, v: object, X: object) -> tuple[Kernel, Basis]:
    problem, basis = checked_problem(y, v, X)
    refuse_where(
        "v",
        problem.v,
        problem.v <= 0.0,
        "must be greater than 0: with a sampling variance of 0 the likelihood and Q have no "
        "value at tau2 = 0",
    )
    k, p = problem.y.shape[1], problem.p
    if problem.count != 1 or k <= p:
        raise InputError(
            f"{problem.count} problem(s) with {k} studies and {p} coefficients; an interval of "
            "tau2 needs one problem with more studies than coefficients"
        )
    return kernels(problem)[0][1], basis


def _q_profile(kernel: Kernel, level: float) -> tuple[tuple[float, float], bool]:
    df, tail = kernel.problem.residual_df.astype(np.float64), 0.5 * (1.0 - level)
    smallest = np.asarray(special.chdtri(df, 1.0 - tail), dtype=np.float64)
    largest = np.asarray(special.chdtri(df, tail), dtype=np.float64)
    lower = float(solve_q(kernel, largest)[0])
    upper = float(solve_q(kernel, smallest)[0])
    at_zero = kernel.scores(np.zeros((1, 1))).q[0, 0]
    return (lower, upper), bool(at_zero < smallest[0])


def _likelihood_limits(kernel: Kernel, level: float, *, restricted: bool) -> tuple[float, float]:
    """Where the profile log-likelihood has fallen by half a chi-square quantile."""
    drop = 0.5 * float(special.chdtri(1.0, 1.0 - level))
    best = float(maximise(kernel, restricted=restricted)[0])
    at = kernel.solution(np.array([best]))
    floor = float(at.log_likelihood(kernel.problem, restricted=restricted)[0]) - drop

    def above(tau2: FloatArray) -> tuple[FloatArray, FloatArray]:
        value = kernel.solution(tau2).log_likelihood(kernel.problem, restricted=restricted)
        score = kernel.scores(tau2[:, None])
        trace = score.trace_p if restricted else score.weight_sum
        return value - floor, 0.5 * (score.ypp - trace)[:, 0]

    def mirrored(minus: FloatArray) -> tuple[FloatArray, FloatArray]:
        value, slope = above(-minus)
        return value, -slope

    scale = np.array([best + float(kernel.problem.v.mean())])
    zero, start = np.zeros(1), np.array([best])
    lower = 0.0
    if best > 0.0 and float(above(zero)[0][0]) < 0.0:
        lower = -float(falling_root(mirrored, -start, zero, -0.5 * start, scale)[0])
    high = start + scale
    for _ in range(MOST_DOUBLINGS):
        if float(above(high)[0][0]) < 0.0:
            return lower, float(falling_root(above, start, high, high, scale)[0])
        start, high = high, 2.0 * high
    raise ConvergenceError(
        f"the profile likelihood falls by less than {drop:.3g} up to tau2 = {float(high[0]):.3g}; "
        "these data set no upper limit, use kind='QP'"
    )
