"""Random-effects meta-regression in the normal-normal model.

``y_i ~ N(x_i'beta, v_i + tau2)`` with known sampling variances v. Many
problems on one design are fitted at once (:func:`fit_normal_batch`); a single
fit is the batch of one.

References
----------
Hartung & Knapp 2001, Stat Med 20:3875; Knapp & Hartung 2003, Stat Med
22:2693; Higgins & Thompson 2002, Stat Med 21:1539; Viechtbauer 2007, Stat Med
26:37.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from ketacast.arrays import FloatArray, frozen, real_array, refuse_where
from ketacast.errors import InputError
from ketacast.numerics.inference import (
    Prediction,
    PredictionKind,
    check_level,
    predict_linear,
)
from ketacast.numerics.linalg import Basis, design_basis
from ketacast.numerics.normal_fit import (
    NORMAL_TESTS,
    HeterogeneityInterval,
    NormalFit,
    NormalFits,
    NormalTest,
    i_squared,
)
from ketacast.numerics.tau2 import (
    TAU2_METHODS,
    Problem,
    Profile,
    Tau2Method,
    estimate_tau2,
    profile,
    solve_q,
    tau2_standard_error,
)
from ketacast.options import check_choice


def fit_normal(
    y: object,
    v: object,
    X: object,
    *,
    method: Tau2Method = "REML",
    test: NormalTest = "knha",
    level: float = 0.95,
) -> NormalFit:
    """Fit one random-effects meta-regression.

    Parameters
    ----------
    y, v : array_like, shape (k,)
        Effects and their sampling variances (> 0).
    X : array_like, shape (k, p)
        Design, the intercept's column of ones included; p < k.
    method : {"REML", "ML", "DL", "PM", "EE"}
        Estimator of tau2: restricted or full maximum likelihood,
        DerSimonian-Laird, Paule-Mandel, or none (equal effects).
    test : {"z", "t", "knha", "adhoc"}
        Normal; t with k - p df; Knapp-Hartung; Knapp-Hartung with a factor of
        at least 1.
    level : float
        Coverage of the confidence intervals, 0 to 1.

    Returns
    -------
    NormalFit

    Raises
    ------
    InputError
        For unusable values, k <= p or linearly dependent columns.
    """
    effects, variances = real_array("y", y, ndim=1), real_array("v", v, ndim=1)
    return fit_normal_batch(
        effects[None], variances[None], X, method=method, test=test, level=level
    )[0]


def fit_normal_batch(
    y: object,
    v: object,
    X: object,
    *,
    method: Tau2Method = "REML",
    test: NormalTest = "knha",
    level: float = 0.95,
) -> NormalFits:
    """Fit B meta-regressions on one design at once.

    Parameters
    ----------
    y, v : array_like, shape (B, k)
        Effects and sampling variances (> 0) of each problem.
    X, method, test, level
        As for :func:`fit_normal`.

    Raises
    ------
    InputError
        As for :func:`fit_normal`.
    """
    check_choice("method", method, TAU2_METHODS)
    check_choice("test", test, NORMAL_TESTS)
    level = check_level(level)
    problem, basis = _checked_problem(y, v, X)
    tau2 = estimate_tau2(problem, method)
    at, start = profile(problem, tau2), profile(problem, np.zeros_like(tau2))
    beta, cov = _coefficients(at, basis)
    factor = _variance_factor(at, test, problem.residual_df)
    return NormalFits(
        beta=frozen(beta),
        cov=frozen(cov * factor[:, None, None]),
        tau2=frozen(tau2),
        tau2_se=frozen(tau2_standard_error(problem, tau2, method)),
        qe=frozen(start.q),
        typical_variance=frozen(problem.residual_df / start.trace_p),
        variance_factor=frozen(factor),
        log_likelihood_ml=frozen(at.log_likelihood(restricted=False)),
        log_likelihood_reml=frozen(at.log_likelihood(restricted=True)),
        k=problem.y.shape[1],
        p=basis.columns.shape[1],
        intercept=basis.intercept,
        method=method,
        test=test,
        level=level,
    )


def predict_normal(
    fit: NormalFit, X_new: object, *, level: float = 0.95, kind: PredictionKind = "default"
) -> Prediction:
    """Predict the mean and a new study's true effect at new moderator values.

    Parameters
    ----------
    fit : NormalFit
        The fit.
    X_new : array_like, shape (m, p)
        Rows of moderators, the intercept's 1 included.
    level : float
        Coverage of both intervals.
    kind : {"default", "riley", "t", "simple"}
        See :func:`ketacast.numerics.inference.predict_linear`.

    Raises
    ------
    InputError
        For a wrong shape or level, or too few studies for `kind`.
    """
    return predict_linear(
        X_new,
        beta=fit.beta,
        cov=fit.cov,
        tau2=fit.tau2,
        level=level,
        df=fit.df,
        residual_df=fit.residual_df,
        kind=kind,
    )


def tau2_interval(y: object, v: object, X: object, *, level: float = 0.95) -> HeterogeneityInterval:
    """Q-profile confidence interval of tau2, moderators included (Viechtbauer 2007).

    Parameters
    ----------
    y, v, X
        As for :func:`fit_normal`.
    level : float
        Coverage.

    Raises
    ------
    InputError
        As for :func:`fit_normal`.
    """
    level = check_level(level)
    effects, variances = real_array("y", y, ndim=1), real_array("v", v, ndim=1)
    problem, _ = _checked_problem(effects[None], variances[None], X)
    df, tail = problem.residual_df, 0.5 * (1.0 - level)
    lower = float(solve_q(problem, float(special.chdtri(df, tail)))[0])
    smallest = float(special.chdtri(df, 1.0 - tail))
    upper = float(solve_q(problem, smallest)[0])
    start = profile(problem, np.zeros(1))
    typical = float(df / start.trace_p[0])
    return HeterogeneityInterval(
        tau2=(lower, upper),
        i2=(i_squared(lower, typical), i_squared(upper, typical)),
        h2=(1.0 + lower / typical, 1.0 + upper / typical),
        level=level,
        empty=bool(start.q[0] < smallest),
    )


def _checked_problem(y: object, v: object, X: object) -> tuple[Problem, Basis]:
    effects, variances = real_array("y", y, ndim=2), real_array("v", v, ndim=2)
    if effects.shape != variances.shape:
        raise InputError(
            f"y has shape {effects.shape} and v {variances.shape}; give one variance per effect"
        )
    refuse_where(
        "v",
        variances,
        variances <= 0.0,
        "must be greater than 0; a variance of 0 would claim a study without sampling error",
    )
    basis = design_basis(X, effects.shape[1])
    return Problem(effects, variances, basis.columns), basis


def _coefficients(at: Profile, basis: Basis) -> tuple[FloatArray, FloatArray]:
    p = basis.columns.shape[1]
    inverse = np.linalg.solve(at.triangle, np.broadcast_to(np.eye(p), at.triangle.shape))
    carry = basis.back @ inverse
    beta = np.einsum("bij,bj->bi", carry, at.fitted)
    return beta, np.einsum("bij,blj->bil", carry, carry)


def _variance_factor(at: Profile, test: NormalTest, residual_df: int) -> FloatArray:
    if test in ("z", "t"):
        return np.ones(at.weights.shape[0])
    factor = at.q / residual_df
    return np.maximum(1.0, factor) if test == "adhoc" else factor
