"""Studies of a binomial-normal fit one by one: their true logits, and fits without them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ketacast.arrays import FloatArray, frozen
from ketacast.errors import InputError, KetacastError
from ketacast.numerics.binomial.fitting import DEFAULT_NODES, assemble, checked_counts, fit_binomial
from ketacast.numerics.binomial.likelihood import Studies, posterior_modes
from ketacast.numerics.binomial.result import BinomialFit
from ketacast.numerics.binomial.search import fit_logistic, fit_mixed


@dataclass(frozen=True, slots=True)
class StudyLogits:
    """Empirical-Bayes predictions of k studies at the estimated coefficients and tau2.

    Attributes
    ----------
    fitted : ndarray, shape (k,)
        Mean logits ``x_i'beta``.
    deviation : ndarray, shape (k,)
        Conditional modes of the studies' random effects given their counts.
    sd : ndarray, shape (k,)
        Conditional standard deviations, ``1 / sqrt(1 / tau2 + n p (1 - p))`` at the
        modes; the uncertainty of coefficients and tau2 is not in them.
    logit : ndarray, shape (k,)
        ``fitted + deviation``: the true logits, shrunken towards the regression.
    """

    fitted: FloatArray
    deviation: FloatArray
    sd: FloatArray
    logit: FloatArray


@dataclass(frozen=True, slots=True)
class BinomialLeaveOneOut:
    """Fits of k data sets, each without one study.

    Attributes
    ----------
    estimate, se : ndarray, shape (k, p)
        Coefficients without study i, and their standard errors.
    tau2 : ndarray, shape (k,)
        Between-study variance without study i.
    log_likelihood : ndarray, shape (k,)
        At the maximum, binomial coefficients included.
    reason : tuple of str or None, length k
        Why the fit without study i failed (its numbers are then NaN); None where it did
        not.
    """

    estimate: FloatArray
    se: FloatArray
    tau2: FloatArray
    log_likelihood: FloatArray
    reason: tuple[str | None, ...]


def binomial_study_logits(fit: BinomialFit, events: object, n: object, X: object) -> StudyLogits:
    """Predict the true logit of each study of a fit.

    Parameters
    ----------
    fit : BinomialFit
        The fit.
    events, n : array_like, shape (k,)
        The counts that it fits.
    X : array_like, shape (k, p)
        Their design.

    Returns
    -------
    StudyLogits
        Modes, not means, of the conditional distributions: what generalised linear
        mixed-model software reports as random effects.

    Raises
    ------
    InputError
        If these are not the data of the fit.
    """
    data, basis = checked_counts(events, n, X)
    found = (*data.basis.shape, int(data.events.sum()), int(data.n.sum()))
    wanted = (fit.k, fit.p, fit.events_total, fit.n_total)
    if found != wanted:
        raise InputError(
            f"studies, coefficients, events and n are {found}, in the fit {wanted}; "
            "give the data of the fit"
        )
    fitted = data.basis @ np.linalg.solve(basis.back, fit.beta)
    deviation, sd = np.zeros_like(fitted), np.zeros_like(fitted)
    if fit.tau2 > 0.0:
        tau = np.full(fit.k, fit.tau)
        mode, scale = posterior_modes(Studies(data.events, data.n, fitted, tau))
        deviation, sd = fit.tau * mode, fit.tau * scale
    return StudyLogits(frozen(fitted), frozen(deviation), frozen(sd), frozen(fitted + deviation))


def binomial_leave_one_out(
    events: object, n: object, X: object, *, nodes: int = DEFAULT_NODES
) -> BinomialLeaveOneOut:
    """Fit again without each study.

    Parameters
    ----------
    events, n : array_like, shape (k,)
        Counts, as for :func:`~ketacast.numerics.binomial.fitting.fit_binomial`.
    X : array_like, shape (k, p)
        Design.
    nodes : int
        Gauss-Hermite nodes to begin with.

    Returns
    -------
    BinomialLeaveOneOut
        A deletion that cannot be fitted (a column of X vanishes, separation) has NaN and
        a reason.

    Raises
    ------
    InputError, ConvergenceError
        If the whole data cannot be fitted.
    """
    whole = fit_binomial(events, n, X, nodes=nodes)
    counts = [np.asarray(values, dtype=np.float64) for values in (events, n, X)]
    k, p = whole.k, whole.p
    estimate, se = np.full((k, p), np.nan), np.full((k, p), np.nan)
    tau2, log_likelihood = np.full(k, np.nan), np.full(k, np.nan)
    reasons: list[str | None] = [None] * k
    for i in range(k):
        try:
            fit = _fit_near(whole, [np.delete(values, i, axis=0) for values in counts], nodes)
        except KetacastError as error:
            reasons[i] = str(error)
            continue
        estimate[i], se[i] = fit.beta, fit.se
        tau2[i], log_likelihood[i] = fit.tau2, fit.log_likelihood
    return BinomialLeaveOneOut(
        frozen(estimate), frozen(se), frozen(tau2), frozen(log_likelihood), tuple(reasons)
    )


def _fit_near(whole: BinomialFit, rest: list[FloatArray], nodes: int) -> BinomialFit:
    """Fit the rest with the whole's estimates as a further start."""
    data, basis = checked_counts(*rest)
    start = None
    if whole.tau2 > 0.0:
        start = np.append(np.linalg.solve(basis.back, whole.beta), whole.tau)
    fixed = fit_logistic(data)
    best = fit_mixed(data, fixed, nodes, start)
    chosen = fixed if best is None else best
    return assemble(data, basis, fixed=fixed, chosen=chosen, level=whole.level, test=whole.test)
