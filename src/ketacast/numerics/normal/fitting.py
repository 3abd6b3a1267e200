"""Random-effects meta-regression in the normal-normal model.

``y_i ~ N(x_i'beta, v_i + tau2)`` with known sampling variances v. Many
problems are fitted at once (:func:`fit_normal_batch`): other effects, other
variances, other designs, or rows left out; a single fit is the batch of one.

References
----------
Hartung & Knapp 2001, Stat Med 20:3875; Knapp & Hartung 2003, Stat Med
22:2693; Higgins & Thompson 2002, Stat Med 21:1539.
"""

from __future__ import annotations

import numpy as np

from ketacast.arrays import FloatArray, frozen
from ketacast.errors import ConvergenceError, InputError
from ketacast.numerics.inference import (
    Prediction,
    PredictionKind,
    check_level,
    predict_linear,
)
from ketacast.numerics.linalg import Basis
from ketacast.numerics.normal.kernel import LOG_2PI
from ketacast.numerics.normal.problem import IntArray, Problem, checked_problem
from ketacast.numerics.normal.result import (
    NORMAL_TESTS,
    NormalFit,
    NormalFits,
    NormalTest,
)
from ketacast.numerics.normal.single import (
    MOST_COLUMNS,
    SingleSolution,
    single_tau2,
    solve_single,
)
from ketacast.numerics.normal.solving import solve
from ketacast.numerics.normal.tau2 import (
    NEED_POSITIVE_VARIANCES,
    TAU2_METHODS,
    Tau2Method,
)
from ketacast.options import check_choice


def fit_normal(
    y: object,
    v: object,
    X: object,
    *,
    method: Tau2Method = "REML",
    test: NormalTest = "adhoc",
    level: float = 0.95,
) -> NormalFit:
    """Fit one random-effects meta-regression.

    Parameters
    ----------
    y, v : array_like, shape (k,)
        Effects and their sampling variances (>= 0; a variance of 0 only with HE,
        SJ, ML, REML and EB).
    X : array_like, shape (k, p)
        Design, the intercept's column of ones included; p < k (p <= k for EE,
        and for a single study, whose tau2 is taken as 0).
    method : {"REML", "ML", "DL", "HE", "HS", "HSk", "SJ", "EB", "PM", "PMM", "EE"}
        Estimator of tau2: restricted or full maximum likelihood,
        DerSimonian-Laird, Hedges, Hunter-Schmidt (with a small-sample
        correction), Sidik-Jonkman, empirical Bayes, Paule-Mandel (median
        unbiased), or none (equal effects).
    test : {"z", "t", "knha", "adhoc"}
        Normal; t with k - p df; Knapp-Hartung; Knapp-Hartung with a factor of
        at least 1, so that effects which happen to lie close together do not
        make it over-confident.
    level : float
        Coverage of the confidence intervals, 0 to 1.

    Returns
    -------
    NormalFit

    Raises
    ------
    InputError
        For unusable values, too few studies or linearly dependent columns.
    ConvergenceError
        If the likelihood has no maximum (ML, REML with a sampling variance of 0).
    """
    check_choice("method", method, TAU2_METHODS)
    check_choice("test", test, NORMAL_TESTS)
    level = check_level(level)
    problem, basis = checked_problem(y, v, X)
    if problem.count != 1:
        raise InputError(f"y holds {problem.count} problems; give one, or use fit_normal_batch")
    if problem.p <= MOST_COLUMNS and method in ("REML", "ML") and problem.y.shape[1] > problem.p:
        solved = solve_single(
            problem.y[0], problem.v[0], problem.basis[0], restricted=method == "REML"
        )
        if solved is not None:
            return _single_fit(solved, problem, basis, method=method, test=test, level=level)
    fits = _fit(problem, basis, method=method, test=test, level=level)
    if not fits.solvable[0]:
        _explain_failure(problem.v, method)
    return fits[0]


def fit_normal_batch(
    y: object,
    v: object,
    X: object,
    *,
    include: object = None,
    method: Tau2Method = "REML",
    test: NormalTest = "adhoc",
    level: float = 0.95,
) -> NormalFits:
    """Fit B meta-regressions at once.

    Parameters
    ----------
    y, v : array_like, shape (k,) or (B, k)
        Effects and sampling variances of each problem.
    X : array_like, shape (k, p) or (B, k, p)
        One design, or one for each problem.
    include : array_like of bool, shape (k,) or (B, k), optional
        Rows that belong to each problem; the others are as if absent.
    method, test, level
        As for :func:`fit_normal`.

    Returns
    -------
    NormalFits
        A problem whose rows do not determine its coefficients has
        ``solvable[b]`` False and NaN as results.

    Raises
    ------
    InputError
        As for :func:`fit_normal`, for what concerns all problems.
    """
    check_choice("method", method, TAU2_METHODS)
    check_choice("test", test, NORMAL_TESTS)
    level = check_level(level)
    problem, basis = checked_problem(y, v, X, include)
    return _fit(problem, basis, method=method, test=test, level=level)


def _fit(
    problem: Problem, basis: Basis, *, method: Tau2Method, test: NormalTest, level: float
) -> NormalFits:
    if problem.y.shape[1] == 1:
        # One study says nothing about heterogeneity, and has no degrees of freedom.
        method, test = "EE", "z"
    _refuse_impossible(problem, method, test)
    solved = solve(problem, method)
    factor = _variance_factor(solved.q, problem.residual_df, test)
    back = basis.back
    cov = back @ solved.inverse @ back.T
    return NormalFits(
        beta=frozen(solved.gamma @ back.T),
        cov=frozen(cov * factor[:, None, None]),
        tau2=frozen(solved.tau2),
        tau2_se=frozen(solved.tau2_se),
        qe=frozen(solved.qe),
        typical_variance=frozen(solved.typical_variance),
        variance_factor=frozen(factor),
        log_likelihood_ml=frozen(solved.log_likelihood_ml),
        log_likelihood_reml=frozen(solved.log_likelihood_reml),
        k=_read_only(problem.k),
        p=problem.p,
        intercept=basis.intercept,
        method=method,
        test=test,
        level=level,
    )


def _read_only(counts: IntArray) -> IntArray:
    counts.setflags(write=False)
    return counts


def tau2_without_moderators(y: FloatArray, v: FloatArray, method: Tau2Method) -> float:
    """Estimate tau2 about a common mean, as a pseudo-R2 compares it.

    Parameters
    ----------
    y, v : ndarray, shape (k,)
        Effects and sampling variances of a problem that was fitted before.
    method : str
        As for :func:`fit_normal`.
    """
    if method in ("REML", "ML"):
        basis = np.full((y.size, 1), 1.0 / np.sqrt(y.size))
        tau2 = single_tau2(y, v, basis, restricted=method == "REML")
        if tau2 is not None:
            return tau2
    return fit_normal(y, v, np.ones((y.size, 1)), method=method, test="z").tau2


def _single_fit(
    solved: SingleSolution,
    problem: Problem,
    basis: Basis,
    *,
    method: Tau2Method,
    test: NormalTest,
    level: float,
) -> NormalFit:
    k, p = problem.y.shape[1], problem.p
    df = k - p
    factor = 1.0
    if test in ("knha", "adhoc"):
        factor = solved.q / df if test == "knha" else max(1.0, solved.q / df)
    base = 0.5 * (solved.log_weights - solved.q)
    return NormalFit(
        beta=frozen(basis.back @ solved.gamma),
        cov=frozen(basis.back @ (factor * solved.inverse) @ basis.back.T),
        tau2=solved.tau2,
        tau2_se=float(np.sqrt(2.0 / solved.information)),
        qe=solved.q_zero,
        typical_variance=df / solved.trace_zero,
        variance_factor=factor,
        log_likelihood_ml=base - 0.5 * k * LOG_2PI,
        log_likelihood_reml=base - 0.5 * solved.log_det - 0.5 * df * LOG_2PI,
        k=k,
        p=p,
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


def _variance_factor(q: FloatArray, residual_df: IntArray, test: NormalTest) -> FloatArray:
    if test in ("z", "t"):
        return np.where(np.isnan(q), np.nan, 1.0)
    factor = q / np.where(residual_df > 0, residual_df, np.nan)
    if test == "adhoc":
        return np.maximum(1.0, factor)
    # Effects exactly on the line leave Knapp-Hartung no scale at all.
    return np.where(factor > 0.0, factor, np.nan)


def _refuse_impossible(problem: Problem, method: Tau2Method, test: NormalTest) -> None:
    smallest = float(problem.least_variance.min())
    if smallest <= 0.0 and method in NEED_POSITIVE_VARIANCES:
        raise InputError(
            f"v holds {smallest!r} and method is {method!r}, which weighs studies by 1 / v; use "
            "REML, ML, EB, HE or SJ, or drop the study that claims to have no sampling error"
        )
    k, p = problem.y.shape[1], problem.p
    if k < p + (method != "EE"):
        raise InputError(
            f"X has {p} columns for {k} studies; a random-effects fit needs more studies than "
            "coefficients, drop moderators or use method 'EE'"
        )
    if k == p and test != "z":
        raise InputError(f"test is {test!r} with {k} studies and {p} coefficients; use test='z'")


def _explain_failure(problem_v: FloatArray, method: Tau2Method) -> None:
    raise ConvergenceError(
        f"method {method!r} finds no tau2 above 0, where {int(np.sum(problem_v == 0.0))} sampling "
        "variance(s) of 0 take all the weight; give those studies the variance that belongs to "
        "them, or drop them"
    )
