"""Binomial-normal meta-regression of proportions by maximum likelihood.

``events_i ~ Bin(n_i, expit(x_i'beta + tau z_i))``, ``z_i ~ N(0, 1)``: the
exact likelihood, no continuity correction, so arms with no events or only
events need no special care. The integral over z is done by adaptive
Gauss-Hermite quadrature and maximised by Newton's method in (beta, tau). The
likelihood is even in tau, which makes tau = 0 an ordinary stationary point
rather than an edge.

References
----------
Stijnen, Hamza & Ozdemir 2010, Stat Med 29:3046; Liu & Pierce 1994,
Biometrika 81:624.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
from scipy.special import gammaln

from ketacast.arrays import FloatArray, frozen, real_array, refuse_where
from ketacast.effects import proportion_effect
from ketacast.errors import ConvergenceError, InputError
from ketacast.numerics.binomial_fit import BINOMIAL_TESTS, BinomialFit, BinomialTest
from ketacast.numerics.binomial_likelihood import (
    BinomialData,
    LikelihoodPoint,
    logistic_point,
    mixed_point,
)
from ketacast.numerics.inference import Prediction, PredictionKind, check_level, predict_linear
from ketacast.numerics.linalg import Basis, design_basis
from ketacast.numerics.tau2 import Problem, profile
from ketacast.options import check_choice

#: Enough for 1e-9 when events are not rare; more are taken where it is not.
DEFAULT_NODES: Final = 15
#: Nodes are doubled until doubling moves no estimate by more than this many
#: standard errors.
NODE_TOLERANCE: Final = 1e-7
#: Doubling stops here: only data without information on tau ask for more.
MOST_NODES: Final = 480
#: Newton stops when its step, in units of each coefficient's standard error,
#: is below this; its error is then the square of it.
LAST_STEP: Final = 1e-7
MAX_STEPS: Final = 100
#: Steps shorter than this many standard errors are taken whole: close to the
#: root of the score, quadrature error makes the value a poorer guide than it.
WHOLE_STEP: Final = 0.05
#: A fitted log-odds beyond this cannot come from counts (expit(30) differs from
#: 1 by 1e-13): the likelihood is still rising, which is what separation means.
LARGEST_LOG_ODDS: Final = 30.0
#: A between-study SD beyond this is a likelihood that rises for ever.
LARGEST_TAU: Final = 30.0
#: Starts of the search, in logits; the best is followed.
START_TAUS: Final = (0.1, 0.3, 0.8, 2.0)
#: Nodes for comparing starts, which needs no accuracy.
START_NODES: Final = 5
#: What a positive tau must gain in log-likelihood over tau = 0: more than the
#: rounding of the sum.
LEAST_GAIN: Final = 1e-12


def fit_binomial(
    events: object,
    n: object,
    X: object,
    *,
    nodes: int = DEFAULT_NODES,
    level: float = 0.95,
    test: BinomialTest = "z",
) -> BinomialFit:
    """Fit one binomial-normal meta-regression by maximum likelihood.

    Parameters
    ----------
    events, n : array_like, shape (k,)
        Counts; whole numbers, 0 <= events <= n, n >= 1.
    X : array_like, shape (k, p)
        Design, the intercept's column of ones included; p < k.
    nodes : int
        Gauss-Hermite nodes per study to begin with; they are doubled until
        that changes nothing.
    level : float
        Coverage of the confidence intervals, 0 to 1.
    test : {"z", "t"}
        Normal, or t with k - p degrees of freedom.

    Returns
    -------
    BinomialFit

    Raises
    ------
    InputError
        For unusable values, k <= p or linearly dependent columns.
    ConvergenceError
        If no finite maximum exists (separation: moderators that split all
        from none) or none was reached.
    """
    check_choice("test", test, BINOMIAL_TESTS)
    level = check_level(level)
    data, basis = _checked(events, n, X, nodes)
    fixed = _fit_logistic(data)
    best = _fit_mixed(data, fixed)
    least = fixed.value + LEAST_GAIN * (1.0 + abs(fixed.value))
    at_zero = best is None or best.value <= least
    chosen = fixed if best is None or at_zero else best
    return _assemble(data, basis, fixed=fixed, chosen=chosen, level=level, test=test)


def predict_binomial(
    fit: BinomialFit, X_new: object, *, level: float = 0.95, kind: PredictionKind = "default"
) -> Prediction:
    """Predict mean logits and a new study's true logit at new moderator values.

    Parameters
    ----------
    fit : BinomialFit
        The fit.
    X_new : array_like, shape (m, p)
        Rows of moderators, the intercept's 1 included.
    level : float
        Coverage of both intervals.
    kind : {"default", "riley", "t", "simple"}
        See :func:`ketacast.numerics.inference.predict_linear`.

    Returns
    -------
    Prediction
        On the logit scale; ``back_transform(..., "PLO")`` gives proportions.

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


def _checked(events: object, n: object, X: object, nodes: int) -> tuple[BinomialData, Basis]:
    y, size = real_array("events", events, ndim=1), real_array("n", n, ndim=1)
    if y.shape != size.shape:
        raise InputError(f"events has {y.size} values and n {size.size}; give one n per count")
    refuse_where("n", size, (size < 1.0) | (size != np.round(size)), "must be a whole number >= 1")
    bad = (y < 0.0) | (y != np.round(y)) | (y > size)
    refuse_where("events", y, bad, "must be a whole number from 0 to n")
    basis = design_basis(X, y.size)
    return BinomialData(y, size, basis.columns, nodes), basis


def _fit_logistic(data: BinomialData) -> LikelihoodPoint:
    """Maximise the likelihood at tau = 0 (plain logistic regression)."""
    p = data.basis.shape[1]
    share = (data.events.sum() + 0.5) / (data.n.sum() + 1.0)
    gamma = data.basis.T @ np.full(data.n.size, np.log(share / (1.0 - share)))
    point = logistic_point(data, gamma)
    for _ in range(MAX_STEPS):
        step = _newton_step(point.score[:p], point.hessian[:p, :p])
        point, length = _advance(lambda at: logistic_point(data, at), point, step)
        if np.abs(data.basis @ point.theta[:p]).max() > LARGEST_LOG_ODDS:
            raise ConvergenceError(
                "the log-odds grow without limit (separation): some combination of moderators "
                "splits studies with all events from studies with none; drop or merge moderators, "
                "or pool arms"
            )
        if length <= LAST_STEP:
            return point
    raise ConvergenceError(
        f"logistic regression did not settle in {MAX_STEPS} steps (last step {length:.2g} standard "
        "errors); centre the moderators or drop one"
    )


def _fit_mixed(data: BinomialData, fixed: LikelihoodPoint) -> LikelihoodPoint | None:
    """Maximise over (gamma, tau) from the best start; None if tau shrinks to 0."""
    gamma = fixed.theta[:-1]
    starts = [
        # Averaging over the random effect flattens log-odds by about this factor.
        np.append(gamma * np.sqrt(1.0 + 0.35 * tau**2), tau)
        for tau in START_TAUS
    ]
    rough = replace(data, nodes=START_NODES)
    start = max((mixed_point(rough, theta) for theta in starts), key=lambda at: at.value)
    point = mixed_point(data, start.theta)
    while True:
        point = _climb(data, point)
        if float(point.theta[-1]) < LAST_STEP:
            return None
        finer = replace(data, nodes=2 * data.nodes)
        check = mixed_point(finer, point.theta)
        shift = _newton_step(check.score, check.hessian)
        if _length(shift, check) <= NODE_TOLERANCE:
            return point
        if finer.nodes > MOST_NODES:
            raise ConvergenceError(
                f"maximum likelihood did not settle with {data.nodes} nodes: the between-study "
                f"standard deviation ({float(point.theta[-1]):.3g} logits) is hardly bounded by "
                "these counts; pool arms or fit without random effects"
            )
        data, point = finer, check


def _climb(data: BinomialData, point: LikelihoodPoint) -> LikelihoodPoint:
    """Newton's method until it settles, or stalls because the integrals are too rough."""
    for _ in range(MAX_STEPS):
        step = _newton_step(point.score, point.hessian)
        following, length = _advance(lambda theta: mixed_point(data, theta), point, step)
        stalled = following is point
        point = following
        tau = float(point.theta[-1])
        if tau > LARGEST_TAU:
            raise ConvergenceError(
                "the between-study standard deviation grows without limit: nearly every study has "
                "all events or none; pool arms or fit without random effects"
            )
        if stalled or length <= LAST_STEP or tau < LAST_STEP:
            break
    return point


def _newton_step(score: FloatArray, hessian: FloatArray) -> FloatArray:
    """Newton's step, along uphill directions only: negative curvature is reflected."""
    values, vectors = np.linalg.eigh(-hessian)
    # A floor keeps a flat direction from throwing the search away.
    values = np.maximum(np.abs(values), 1e-10 * np.abs(values).max())
    return np.asarray(vectors @ ((vectors.T @ score) / values), dtype=np.float64)


def _advance(
    evaluate: Callable[[FloatArray], LikelihoodPoint], point: LikelihoodPoint, step: FloatArray
) -> tuple[LikelihoodPoint, float]:
    """Take the step, halved until the likelihood does not fall; tell its length in SEs."""
    start = point.theta[: step.size]
    length = _length(step, point)
    if length < WHOLE_STEP:
        return evaluate(start + step), length
    for halving in range(40):
        candidate = evaluate(start + step * 0.5**halving)
        if candidate.value >= point.value:
            return candidate, length
    return point, length


def _length(step: FloatArray, point: LikelihoodPoint) -> float:
    information = -point.hessian[: step.size, : step.size]
    return float(np.sqrt(np.abs(step @ information @ step)))


def _assemble(
    data: BinomialData,
    basis: Basis,
    *,
    fixed: LikelihoodPoint,
    chosen: LikelihoodPoint,
    level: float,
    test: BinomialTest,
) -> BinomialFit:
    p = basis.columns.shape[1]
    tau = float(chosen.theta[-1])
    if tau > 0.0:
        covariance = np.linalg.inv(-chosen.hessian)
        tau_se = float(np.sqrt(covariance[p, p]))
    else:
        covariance, tau_se = np.linalg.inv(-chosen.hessian[:p, :p]), None
    back = basis.back
    constant = _log_coefficients(data)
    return BinomialFit(
        beta=frozen(back @ chosen.theta[:p]),
        cov=frozen(back @ covariance[:p, :p] @ back.T),
        tau2=tau**2,
        tau_se=tau_se,
        log_likelihood=chosen.value + constant,
        log_likelihood_fixed=fixed.value + constant,
        log_likelihood_saturated=_saturated(data) + constant,
        typical_variance=_typical_variance(data),
        events_total=int(data.events.sum()),
        n_total=int(data.n.sum()),
        k=data.n.size,
        p=p,
        intercept=basis.intercept,
        test=test,
        level=level,
    )


def _log_coefficients(data: BinomialData) -> float:
    rest = gammaln(data.events + 1.0) + gammaln(data.n - data.events + 1.0)
    return float(np.sum(gammaln(data.n + 1.0) - rest))


def _saturated(data: BinomialData) -> float:
    share = data.events / data.n
    inside = (share > 0.0) & (share < 1.0)
    y, n, q = data.events[inside], data.n[inside], share[inside]
    return float(np.sum(y * np.log(q) + (n - y) * np.log1p(-q)))


def _typical_variance(data: BinomialData) -> float:
    effects = proportion_effect(data.events, data.n, "PLO")
    problem = Problem(effects.yi[None], effects.vi[None], data.basis)
    return float(problem.residual_df / profile(problem, np.zeros(1)).trace_p[0])
