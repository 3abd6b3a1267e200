"""Share of responders still in response, mean time in response, and hazard ratios.

A hazard ratio h turns the Weibull survival S(t) into ``S(t)^h``, so that
``P(lost by t) = 1 - exp(-h (t / lambda)^k)``; two groups followed alike have the
hazard ratio ``log(1 - p1) / log(1 - p0)`` (complementary log-log difference;
Collett 2015, Modelling Survival Data in Medical Research).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from ketacast.arrays import FloatArray, frozen, real_array, refuse_where
from ketacast.errors import InputError

#: Above this exponent nobody is left.
_MAX_EXPONENT = 500.0


@dataclass(frozen=True, slots=True)
class HazardRatio:
    """Complementary log-log estimate of a log hazard ratio.

    Attributes
    ----------
    log_ratio, se : float
        Log hazard ratio, treated against control, and its delta-method
        standard error.
    """

    log_ratio: float
    se: float


def kept_share(days: object, log_scale: object, k: object, log_ratio: object = 0.0) -> FloatArray:
    """Share of responders still in response.

    Parameters
    ----------
    days : array_like, shape (t,)
        Days since the last dose, >= 0.
    log_scale, k : array_like, shape (n,)
        Log lambda (days) and Weibull shape of each draw.
    log_ratio : array_like, shape (n,) or scalar
        Log hazard ratio of each draw; 0 without maintenance.

    Returns
    -------
    ndarray, shape (n, t)
        In [0, 1]; 1 at day 0.

    Raises
    ------
    InputError
        For negative days or shapes that are not positive.
    """
    t, scale, shape, ratio = _checked(days, log_scale, k, log_ratio)
    with np.errstate(divide="ignore"):  # day 0: log 0 is -inf and nobody is lost
        exponent = shape * (np.log(t)[None, :] - scale) + ratio
    return np.asarray(np.exp(-np.exp(np.minimum(exponent, _MAX_EXPONENT))), dtype=np.float64)


def mean_time_kept(
    horizon: float, log_scale: object, k: object, log_ratio: object = 0.0
) -> FloatArray:
    """Mean time in response up to a horizon (restricted mean), in days.

    Parameters
    ----------
    horizon : float
        Days, > 0.
    log_scale, k, log_ratio : array_like
        As in :func:`kept_share`.

    Returns
    -------
    ndarray, shape (n,)
        From 0 to `horizon`: ``lambda Gamma(1 + 1/k) P(1/k, (horizon / lambda)^k)``
        with the regularised incomplete gamma function P.

    Raises
    ------
    InputError
        For a horizon or shapes that are not positive.
    """
    t, scale, shape, ratio = _checked([horizon], log_scale, k, log_ratio)
    refuse_where("horizon", t, t <= 0.0, "must be greater than 0")
    shape, log_lambda = shape[:, 0], (scale - ratio / shape)[:, 0]
    exponent = np.minimum(shape * (np.log(t) - log_lambda), _MAX_EXPONENT)
    whole = log_lambda + special.gammaln(1.0 + 1.0 / shape)
    part = special.gammainc(1.0 / shape, np.exp(exponent))
    with np.errstate(divide="ignore"):  # log 0 where the share underflows: nobody is lost
        mean = np.exp(whole + np.log(part))
    # There x^(1/k) / Gamma(1 + 1/k), the start of the series, makes the mean the horizon.
    return np.where(part > 0.0, np.minimum(mean, t), t)


def _checked(
    days: object, log_scale: object, k: object, log_ratio: object
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Days (t,) and columns (n, 1) of the draws."""
    t = real_array("days", days, ndim=1)
    refuse_where("days", t, t < 0.0, "must be at least 0")
    scale, shape = real_array("log_scale", log_scale, ndim=1), real_array("k", k, ndim=1)
    refuse_where("k", shape, shape <= 0.0, "must be greater than 0")
    ratio = np.atleast_1d(real_array("log_ratio", log_ratio))
    sizes = {scale.size, shape.size, ratio.size} - {1}
    if len(sizes) > 1 or ratio.ndim > 1:
        raise InputError(
            f"log_scale, k and log_ratio have shapes {scale.shape}, {shape.shape} and "
            f"{ratio.shape}; give one value for each draw"
        )
    return t, scale[:, None], shape[:, None], ratio[:, None]


def hazard_ratio(lost: tuple[int, int], at_risk: tuple[int, int]) -> HazardRatio:
    """Log hazard ratio of two groups followed alike, from counts.

    Parameters
    ----------
    lost, at_risk : tuple of int
        Losses and patients, (treated, control); ``0 < lost < at_risk``.

    Raises
    ------
    InputError
        For counts without an event, without a survivor, or not whole.
    """
    y, n = _counts(lost, at_risk, strict=True)
    p = y / n
    log_log = np.log(-np.log1p(-p))
    variance = p / (n * (1.0 - p) * np.log1p(-p) ** 2)
    return HazardRatio(float(log_log[0] - log_log[1]), float(np.sqrt(variance.sum())))


def hazard_ratio_draws(
    lost: tuple[int, int], at_risk: tuple[int, int], uniform: object
) -> FloatArray:
    """Posterior draws of a log hazard ratio under Jeffreys priors of both proportions.

    Parameters
    ----------
    lost, at_risk : tuple of int
        Losses and patients, (treated, control).
    uniform : array_like, shape (n, 2)
        Even points in the open unit square.

    Returns
    -------
    ndarray, shape (n,)
        Differences of ``log(-log(1 - p))`` with ``p ~ Beta(lost + 1/2, kept + 1/2)``.

    Raises
    ------
    InputError
        For unusable counts or points.
    """
    y, n = _counts(lost, at_risk, strict=False)
    points = real_array("uniform", uniform, ndim=2)
    if points.shape[1] != 2:
        raise InputError(f"uniform has shape {points.shape}; give two columns")
    refuse_where("uniform", points, (points <= 0.0) | (points >= 1.0), "must lie between 0 and 1")
    p = special.betaincinv(y + 0.5, n - y + 0.5, points)
    log_log = np.log(-np.log1p(-p))
    return frozen(log_log[:, 0] - log_log[:, 1])


def _counts(
    lost: tuple[int, int], at_risk: tuple[int, int], *, strict: bool
) -> tuple[FloatArray, FloatArray]:
    y, n = real_array("lost", lost, ndim=1), real_array("at_risk", at_risk, ndim=1)
    if y.size != 2 or n.size != 2:
        raise InputError(f"lost is {lost!r}, at_risk {at_risk!r}; give (treated, control) of each")
    refuse_where("at_risk", n, (n < 1.0) | (n % 1.0 != 0.0), "must be a whole number, 1 or more")
    bad = (y < 0.0) | (y > n) | (y % 1.0 != 0.0)
    refuse_where("lost", y, bad, "must be whole, from 0 to at_risk")
    if strict:
        refuse_where(
            "lost", y, (y == 0.0) | (y == n), "must leave both losses and survivors in each group"
        )
    return y, n
