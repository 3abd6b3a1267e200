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

from typing import Final

import numpy as np
from scipy.special import gammaln

from ketacast.arrays import frozen, real_array, refuse_where
from ketacast.errors import InputError
from ketacast.numerics.binomial.likelihood import BinomialData, LikelihoodPoint
from ketacast.numerics.binomial.result import BINOMIAL_TESTS, BinomialFit, BinomialTest
from ketacast.numerics.binomial.search import fit_logistic, fit_mixed
from ketacast.numerics.inference import Prediction, PredictionKind, check_level, predict_linear
from ketacast.numerics.linalg import Basis, design_basis
from ketacast.options import check_choice

#: Enough for 1e-9 when events are not rare; more are taken where it is not.
DEFAULT_NODES: Final = 15
#: Their number is doubled to check the result; rules end at 1,000 nodes.
MOST_NODES: Final = 500


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
        Gauss-Hermite nodes per study to begin with, 2 to 500; where doubling them
        changes anything, finer rules are used until that changes nothing.
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
        from none; a between-study variance without limit) or none was reached.

    Notes
    -----
    Estimates are the maximum to about 1e-7 standard errors. tau2 is 0 where no tau > 0
    raises the log-likelihood by 1e-9.
    """
    check_choice("test", test, BINOMIAL_TESTS)
    level = check_level(level)
    nodes = check_nodes(nodes)
    data, basis = checked_counts(events, n, X)
    fixed = fit_logistic(data)
    best = fit_mixed(data, fixed, nodes)
    chosen = fixed if best is None else best
    return assemble(data, basis, fixed=fixed, chosen=chosen, level=level, test=test)


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


def check_nodes(nodes: object) -> int:
    """Check a number of quadrature nodes.

    Raises
    ------
    InputError
        If it is not a whole number from 2 to 500.
    """
    count = 0
    if isinstance(nodes, int | np.integer) and not isinstance(nodes, bool):
        count = int(nodes)
    if not 2 <= count <= MOST_NODES:
        raise InputError(f"nodes is {nodes!r}; give a whole number, 2 to {MOST_NODES}")
    return count


def checked_counts(events: object, n: object, X: object) -> tuple[BinomialData, Basis]:
    """Check counts and design of a fit.

    Raises
    ------
    InputError
        See :func:`fit_binomial`.
    """
    y, size = real_array("events", events, ndim=1), real_array("n", n, ndim=1)
    if y.shape != size.shape:
        raise InputError(f"events has {y.size} values and n {size.size}; give one n per count")
    refuse_where("n", size, (size < 1.0) | (size != np.round(size)), "must be a whole number >= 1")
    bad = (y < 0.0) | (y != np.round(y)) | (y > size)
    refuse_where("events", y, bad, "must be a whole number from 0 to n")
    basis = design_basis(X, y.size)
    return BinomialData.of(y, size, basis.columns), basis


def assemble(
    data: BinomialData,
    basis: Basis,
    *,
    fixed: LikelihoodPoint,
    chosen: LikelihoodPoint,
    level: float,
    test: BinomialTest,
) -> BinomialFit:
    """Turn the maxima without and with random effects into a result."""
    p = basis.columns.shape[1]
    tau = float(chosen.theta[-1])
    if tau > 0.0:
        covariance = np.linalg.inv(-chosen.hessian)
        tau_se = float(np.sqrt(covariance[p, p]))
    else:
        covariance, tau_se = np.linalg.inv(-chosen.hessian[:p, :p]), None
    back = basis.back
    typical_variance, qe_wald = _observed_logits(data)
    saturated = float(data.saturated.sum()) + _log_coefficients(data)
    return BinomialFit(
        beta=frozen(back @ chosen.theta[:p]),
        cov=frozen(back @ covariance[:p, :p] @ back.T),
        tau2=tau**2,
        tau_se=tau_se,
        log_likelihood=chosen.value + saturated,
        log_likelihood_fixed=fixed.value + saturated,
        log_likelihood_saturated=saturated,
        typical_variance=typical_variance,
        qe_wald=qe_wald,
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


def _observed_logits(data: BinomialData) -> tuple[float, float]:
    """Typical sampling variance, and the Wald statistic of heterogeneity."""
    # Half an event more where needed, for the variance alone.
    pad = np.where(data.mixed, 0.0, 0.5)
    y, rest = data.events + pad, data.n - data.events + pad
    root = 1.0 / np.sqrt(1.0 / y + 1.0 / rest)
    q = np.linalg.qr(root[:, None] * data.basis)[0]
    trace = (root * root) @ (1.0 - np.sum(q * q, axis=1))
    # Logits of all-or-nothing studies are infinitely uncertain, which leaves them out.
    seen = data.mixed
    whitened = root[seen] * np.log(y[seen] / rest[seen])
    design = root[seen, None] * data.basis[seen]
    residual = whitened - design @ np.linalg.lstsq(design, whitened, rcond=None)[0]
    return float((data.n.size - data.basis.shape[1]) / trace), float(residual @ residual)
