"""Bootstrap of a meta-regression.

References
----------
Davison & Hinkley 1997, Bootstrap Methods and their Application; Van den
Noortgate & Onghena 2005, Behav Res Methods 37:11.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from ketacast.arrays import BoolArray, FloatArray, frozen
from ketacast.errors import InputError
from ketacast.numerics.diagnostics.casewise import (
    Studies,
    as_studies,
    chunks,
    frozen_flags,
    random_generator,
    whole_number,
)
from ketacast.numerics.inference import check_level
from ketacast.numerics.normal import NormalFit, NormalFits, Tau2Method, fit_normal, fit_normal_batch
from ketacast.numerics.records import PlainRecord
from ketacast.options import check_choice

BootstrapKind = Literal["parametric", "cases"]
BOOTSTRAP_KINDS: Final[tuple[BootstrapKind, ...]] = get_args(BootstrapKind)


@dataclass(frozen=True, slots=True)
class BootstrapSummary(PlainRecord):
    """What the bootstrap says of some quantities; all arrays have their shape.

    Attributes
    ----------
    estimate : ndarray
        Estimate from the data.
    bias : ndarray
        Mean of the resampled estimates minus `estimate`.
    se : ndarray
        Standard deviation of the resampled estimates.
    percentile_lower, percentile_upper : ndarray
        Quantiles of the resampled estimates.
    basic_lower, basic_upper : ndarray
        The same reflected about the estimate, ``2 estimate - quantile``; for
        tau2 not below 0.
    """

    estimate: FloatArray
    bias: FloatArray
    se: FloatArray
    percentile_lower: FloatArray
    percentile_upper: FloatArray
    basic_lower: FloatArray
    basic_upper: FloatArray


@dataclass(frozen=True, slots=True)
class Bootstrap(PlainRecord):
    """Resampled estimates of a meta-regression.

    Attributes
    ----------
    beta, tau2 : BootstrapSummary
        Of the coefficients, arrays of shape (p,), and of tau2, shape ().
    beta_draws, tau2_draws : ndarray, shapes (n_resamples, p), (n_resamples,)
        Resampled estimates; NaN where not `solvable`.
    solvable : ndarray of bool, shape (n_resamples,)
        False for resampled studies whose design lost rank. They are left out
        of the summaries, which is the same as drawing again until it does not.
    n_left_out : int
        How many these are.
    kind : {"parametric", "cases"}
        What was resampled.
    level : float
        Coverage of the intervals.
    """

    beta: BootstrapSummary
    tau2: BootstrapSummary
    beta_draws: FloatArray
    tau2_draws: FloatArray
    solvable: BoolArray
    n_left_out: int
    kind: BootstrapKind
    level: float


def bootstrap(
    y: object,
    v: object,
    X: object,
    *,
    kind: BootstrapKind = "parametric",
    n_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    method: Tau2Method = "REML",
    chunk_size: int | None = None,
) -> Bootstrap:
    """Resample a meta-regression and refit it, tau2 included.

    Parameters
    ----------
    y, v : array_like, shape (k,)
        Effects and sampling variances (> 0).
    X : array_like, shape (k, p)
        Design, the intercept's column of ones included.
    kind : {"parametric", "cases"}
        New effects of the same studies from the fitted model,
        ``N(X beta, v + tau2)``; or k studies drawn with replacement.
    n_resamples : int
        At least 2.
    seed : int
        0 to 2^128 - 1.
    level : float
        Coverage of the intervals, 0 to 1.
    method
        As for :func:`ketacast.numerics.normal.fitting.fit_normal`.
    chunk_size : int, optional
        Fits at a time; it bounds memory, leaves the draws as they are and changes no
        more than the last digits of the fits (1e-14).

    Raises
    ------
    InputError
        For unusable data or options, and where fewer than 2 resamples can be
        fitted.
    """
    check_choice("kind", kind, BOOTSTRAP_KINDS)
    level = check_level(level)
    count = whole_number("n_resamples", n_resamples, least=2)
    data, draws = as_studies(y, v, X), random_generator(seed)
    fit = fit_normal(data.y, data.v, data.X, method=method, test="z")
    resample = _new_effects if kind == "parametric" else _new_studies
    beta, tau2 = np.empty((count, fit.p)), np.empty(count)
    for part in chunks(count, k=data.k, p=data.p, chunk_size=chunk_size):
        count_now = part.stop - part.start
        fits = resample(data, fit, draws, count_now)
        beta[part], tau2[part] = fits.beta[:count_now], fits.tau2[:count_now]
    solvable = np.isfinite(tau2)
    left_out = int(np.sum(~solvable))
    if count - left_out < 2:
        raise InputError(
            f"{left_out} of {count} resamples have a design that lost rank; use fewer moderators "
            "or kind='parametric'"
        )
    return Bootstrap(
        beta=_summary(fit.beta, beta[solvable], level, least=-np.inf),
        tau2=_summary(np.asarray(fit.tau2), tau2[solvable], level, least=0.0),
        beta_draws=frozen(beta),
        tau2_draws=frozen(tau2),
        solvable=frozen_flags(solvable),
        n_left_out=left_out,
        kind=kind,
        level=level,
    )


def _new_effects(
    data: Studies, fit: NormalFit, draws: np.random.Generator, count: int
) -> NormalFits:
    noise = draws.standard_normal((count, data.k))
    effects = data.X @ fit.beta + np.sqrt(data.v + fit.tau2) * noise
    return fit_normal_batch(effects, data.v, data.X, method=fit.method, test="z")


def _new_studies(
    data: Studies, fit: NormalFit, draws: np.random.Generator, count: int
) -> NormalFits:
    """Fit studies drawn with replacement, and after them the data themselves.

    With the data every batch has full rank as a whole, so that resamples that lose it are
    found one by one.
    """
    chosen = (draws.random((count, data.k)) * data.k).astype(np.intp)
    chosen = np.vstack([chosen, np.arange(data.k)])
    return fit_normal_batch(
        data.y[chosen], data.v[chosen], data.X[chosen], method=fit.method, test="z"
    )


def _summary(
    estimate: FloatArray, draws: FloatArray, level: float, *, least: float
) -> BootstrapSummary:
    lower, upper = np.quantile(draws, [0.5 * (1.0 - level), 0.5 * (1.0 + level)], axis=0)
    return BootstrapSummary(
        estimate=frozen(estimate),
        bias=frozen(draws.mean(axis=0) - estimate),
        se=frozen(draws.std(axis=0, ddof=1)),
        percentile_lower=frozen(lower),
        percentile_upper=frozen(upper),
        basic_lower=frozen(np.maximum(least, 2.0 * estimate - upper)),
        basic_upper=frozen(np.maximum(least, 2.0 * estimate - lower)),
    )
