"""Likelihood of a 2 x 2 table (early by final status) for the correlation w.

The cells are those of a bivariate normal with correlation w cut at two probit
margins, ``P(early yes) = Phi(a)`` and ``P(final yes) = Phi(b)``, both unknown with
normal priors and integrated out.

References
----------
Owen 1956, Ann Math Stat 27:1075 (bivariate normal by the T function); Olsson 1979,
Psychometrika 44:443 (polychoric likelihood); Trefethen and Weideman 2014, SIAM Rev
56:385 (trapezoidal rule, sinh substitution).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import special

from ketacast.arrays import FloatArray, broadcast, real_array, refuse_where
from ketacast.errors import ConvergenceError, InputError

MARGIN_SD: Final = 1.5
"""Standard deviation of the normal prior of a probit margin."""

_NEGLIGIBLE: Final = 40.0
"""Margins whose own likelihood times prior lies this far (in logs) below its largest
value are left out (4e-18)."""

HIGHEST: Final = 1.0 - 1e-6
"""Closer to 1 the probability of a discordant cell loses its digits."""

_CHANGE: Final = 1e-7
"""Halving the step may change no log-likelihood by more than this."""

_MOST_HALVINGS: Final = 5
_DIFFERENCE_STEP: Final = 0.2
"""First step of the substitution in b - a; the crease at b = a is resolved by it."""


def bivariate_normal_cdf(h: object, k: object, correlation: object) -> FloatArray:
    """Probability that two correlated standard normals lie below h and k.

    Parameters
    ----------
    h, k, correlation : array_like
        Finite bounds and correlation in (-1, 1); broadcast against each other.

    Returns
    -------
    ndarray
        Absolute error below 1e-10, tested for correlations up to 1 - 1e-9 in size.
    """
    bounds = broadcast(
        "h, k and correlation",
        real_array("h", h), real_array("k", k), real_array("correlation", correlation),
    )  # fmt: skip
    refuse_where("correlation", bounds[2], np.abs(bounds[2]) >= 1.0, "must lie inside (-1, 1)")
    h_in, k_in, r = bounds
    return _bivariate_normal_cdf(h_in, k_in, k_in - h_in, r)


def _bivariate_normal_cdf(
    h: FloatArray, k: FloatArray, difference: FloatArray, r: FloatArray | float
) -> FloatArray:
    """Compute the same from ``difference = k - h``, whose digits count where r is near 1."""
    root = np.sqrt((1.0 - r) * (1.0 + r))

    def part(one: FloatArray, apart: FloatArray) -> FloatArray:
        # T(0, a) needs a, which is infinite there: the zero is moved by 1e-300.
        safe = np.where(one == 0.0, 1e-300, one)
        t: FloatArray = special.owens_t(safe, (apart + (1.0 - r) * safe) / (safe * root))
        return 0.5 * special.ndtr(one) - t

    one_sided = (h < 0.0) != (k < 0.0)
    total: FloatArray = part(h, difference) + part(k, -difference) - 0.5 * one_sided
    return np.clip(total, 0.0, 1.0)


def table_log_likelihood(
    table: object, propensity: object, margin_sd: float = MARGIN_SD
) -> FloatArray:
    """Log-likelihood of a 2 x 2 table as a function of w, margins integrated out.

    Parameters
    ----------
    table : (4,) array_like
        Patients with early and final status yes-yes, yes-no, no-yes, no-no; whole
        numbers, not all 0.
    propensity : (m,) array_like
        Values of w, 0 to :data:`HIGHEST`.
    margin_sd : float
        Standard deviation of the normal priors of the probit margins, > 0.

    Returns
    -------
    (m,) ndarray
        Without the multinomial coefficient; accurate to 1e-7.

    Raises
    ------
    InputError
        For counts, w or `margin_sd` outside their ranges.
    ConvergenceError
        If the quadrature does not settle.
    """
    counts = check_table(table)
    w = real_array("propensity", propensity, ndim=1)
    bad = (w < 0.0) | (w > HIGHEST)
    refuse_where("propensity", w, bad, "must lie from 0 to 0.999999")
    if not margin_sd > 0.0 or not np.isfinite(margin_sd):
        raise InputError(f"margin_sd is {margin_sd!r}; give a number above 0")
    return np.array([_settled(counts, float(one), margin_sd) for one in w])


def check_table(table: object) -> FloatArray:
    """Refuse a table that is not four whole numbers of patients, not all 0."""
    counts = real_array("table", table, ndim=1)
    if counts.size != 4 or counts.sum() == 0.0:
        raise InputError(f"table is {table!r}; give four counts, not all 0")
    bad = (counts < 0.0) | (counts != np.floor(counts))
    refuse_where("table", counts, bad, "must be a whole number, 0 or more")
    return counts


def _settled(counts: FloatArray, w: float, margin_sd: float) -> float:
    """Halve the step until the integral stays."""
    before = np.nan
    for halving in range(1 + _MOST_HALVINGS):
        value = _integral(counts, w, margin_sd, 0.5**halving)
        if abs(value - before) < _CHANGE:
            return value
        before = value
    raise ConvergenceError(
        f"the likelihood of the table {counts.tolist()} at w = {w} does not settle; "
        "check the counts"
    )


def _integral(counts: FloatArray, w: float, margin_sd: float, refine: float) -> float:
    """Trapezoidal rule over a and over b - a, the latter by a sinh substitution."""
    a_low, a_high, a_scale = _margin(counts[0] + counts[1], counts[2] + counts[3], margin_sd)
    b_low, b_high, b_scale = _margin(counts[0] + counts[2], counts[1] + counts[3], margin_sd)
    scale = min(a_scale, b_scale)
    a = np.arange(a_low, a_high, 0.6 * scale * refine)
    # b - a = s sinh(t): fine steps where the cells bend, over sqrt(1 - w) around 0.
    s = np.sqrt(1.0 - w) * scale
    ends = np.arcsinh(np.array([b_low - a_high, b_high - a_low]) / s)
    t = np.arange(ends[0], ends[1], _DIFFERENCE_STEP * refine)
    b = a[:, None] + s * np.sinh(t)
    inside = (b > b_low) & (b < b_high)
    rows, columns = np.nonzero(inside)
    a_in, b_in, apart = a[rows], b[inside], (s * np.sinh(t))[columns]
    both = _bivariate_normal_cdf(a_in, b_in, apart, w)
    cells = (
        both, special.ndtr(a_in) - both, special.ndtr(b_in) - both,
        _bivariate_normal_cdf(-a_in, -b_in, -apart, w),
    )  # fmt: skip
    log_height = -0.5 * (a_in**2 + b_in**2) / margin_sd**2 + np.log(s * np.cosh(t[columns]))
    for count, cell in zip(counts, cells, strict=True):
        # A cell of 0 patients says nothing, even where its probability rounds to 0.
        if count > 0:
            log_height += count * np.log(np.maximum(cell, 1e-300))
    area = (a[1] - a[0]) * (t[1] - t[0]) / (2.0 * np.pi * margin_sd**2)
    return float(special.logsumexp(log_height) + np.log(area))


def _margin(yes: float, no: float, sd: float) -> tuple[float, float, float]:
    """Range of a probit margin that can matter, and the scale on which it bends.

    A table is never likelier than its margin, so that a margin that the marginal
    likelihood rules out needs no further look.
    """
    grid = np.linspace(-10.0 * sd, 10.0 * sd, 4001)
    log_height = yes * special.log_ndtr(grid) + no * special.log_ndtr(-grid)
    log_height -= 0.5 * (grid / sd) ** 2
    kept = grid[log_height > log_height.max() - _NEGLIGIBLE]
    return float(kept[0]), float(kept[-1]), float(1.0 / np.sqrt(1.0 / sd**2 + yes + no))
