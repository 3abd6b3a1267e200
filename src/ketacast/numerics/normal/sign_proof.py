"""Where the score of tau2 has a sign that is proven, from a few evaluated points.

On the range of P its eigenvectors do not depend on tau2 and its eigenvalues are
``1 / (e_i + tau2)`` with fixed e_i. So ``A = ypp^(-1/2)`` is a weighted power mean
of order -2 of the ``e_i + tau2``, and ``B = 1 / tr P`` a multiple of their harmonic
mean. Power means of order below 1 are concave: both functions lie below their
tangents and above their chords. The score ``(ypp - tr P) / 2`` is positive where
``A^2 < B``. Bounding A from above and B from below proves it positive, the other
way round negative. With equal variances A and B are straight lines, and nothing is
lost. In the full likelihood the sum of w takes the place of tr P.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ketacast.arrays import BoolArray, FloatArray

#: At a root A^2 and B are equal up to rounding; so small a difference hides no mode.
ROUNDING: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Points:
    """Evaluated points of B problems, increasing along the last axis.

    Attributes
    ----------
    values : ndarray, shape (8, B, g)
        z; tau2 = start + c expm1(z); the height ``log(B / A^2)``, whose sign is the
        score's; its derivative in z; A and its derivative in tau2; B and its.
    """

    values: FloatArray

    @property
    def z(self) -> FloatArray:
        """Places on the scale of the search, shape (B, g)."""
        return np.asarray(self.values[0])

    @property
    def tau2(self) -> FloatArray:
        """Places on the scale of tau2, shape (B, g)."""
        return np.asarray(self.values[1])

    @property
    def height(self) -> FloatArray:
        """Log of ypp over the trace, shape (B, g)."""
        return np.asarray(self.values[2])

    @property
    def slope(self) -> FloatArray:
        """Derivative of the height in z, shape (B, g)."""
        return np.asarray(self.values[3])

    def join(self, other: Points) -> Points:
        """Append the points of other, to the right."""
        return Points(np.concatenate([self.values, other.values], axis=2))


def positive_between(points: Points) -> BoolArray:
    """Intervals in which the score is proven positive, shape (B, g - 1).

    A^2 lies below the square of two tangents, B above its chord; the chord less a
    squared line is concave, so the ends and the place where the tangents meet decide.
    """
    left, right, width = _sides(points)
    a, a_slope, b, _ = left
    meet = _crossing(a, a_slope, right[0], right[1], width)
    chord = b + (right[2] - b) * meet / _nonzero(width)
    slack = 1.0 + ROUNDING
    inside = chord * slack > (a + a_slope * meet) ** 2
    return np.asarray(
        inside & (b * slack >= a**2) & (right[2] * slack >= right[0] ** 2), dtype=np.bool_
    )


def negative_between(points: Points) -> BoolArray:
    """Intervals in which the score is proven negative, shape (B, g - 1).

    A lies above its chord, B below two tangents; the squared chord less a line is
    convex, and its smallest value on either side of the tangents' meeting decides.
    """
    left, right, width = _sides(points)
    a, _, b, b_slope = left
    rise = (right[0] - a) / _nonzero(width)
    meet = _crossing(b, b_slope, right[2], right[3], width)
    far = right[2] - right[3] * width
    first = _least((a, rise), (b, b_slope), np.zeros_like(width), meet)
    second = _least((a, rise), (far, right[3]), meet, width)
    return np.asarray((first >= -ROUNDING * b) & (second >= -ROUNDING * b), dtype=np.bool_)


def falling_between(points: Points) -> BoolArray:
    """Intervals in which the height is proven to fall, shape (B, g - 1).

    Both ``A' / A`` and ``B' / B`` are weighted means of the eigenvalues of P that fall
    with tau2; the height falls at the rate ``2 A' / A - B' / B``.
    """
    a_rate = points.values[5] / points.values[4]
    b_rate = points.values[7] / points.values[6]
    return np.asarray(2.0 * a_rate[:, 1:] > b_rate[:, :-1], dtype=np.bool_)


def negative_beyond(points: Points, residual_squares: FloatArray) -> BoolArray:
    """Where the score is proven negative for all tau2 above the last point, shape (B,).

    The slope of A falls to ``rss^(-1/2)``, so ``A(a + s) >= A(a) + s rss^(-1/2)``,
    while ``B(a + s) <= B(a) + s B'(a)``: a quadratic in s decides. The last point may
    be the root itself, where A^2 = B up to rounding.
    """
    a, b, b_slope = points.values[4, :, -1], points.values[6, :, -1], points.values[7, :, -1]
    least = 1.0 / np.sqrt(np.maximum(residual_squares, np.finfo(float).tiny))
    linear = 2.0 * a * least - b_slope
    with np.errstate(over="ignore"):
        room = 4.0 * np.maximum(a**2 - b, 0.0) * least**2
        return np.asarray((linear > 0.0) | (linear**2 < room), dtype=np.bool_)


def _sides(points: Points) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Give A, A', B, B' at both ends of the intervals, and the widths."""
    parts, tau2 = points.values[4:], points.values[1]
    return parts[:, :, :-1], parts[:, :, 1:], tau2[:, 1:] - tau2[:, :-1]


def _crossing(
    left: FloatArray, slope: FloatArray, right: FloatArray, last: FloatArray, width: FloatArray
) -> FloatArray:
    """Distance from the left end at which the tangents at both ends meet."""
    bend = slope - last
    distance = (right - last * width - left) / _nonzero(bend)
    return np.asarray(np.clip(np.where(bend > 0.0, distance, 0.5 * width), 0.0, width))


def _least(
    chord: tuple[FloatArray, FloatArray],
    line: tuple[FloatArray, FloatArray],
    start: FloatArray,
    end: FloatArray,
) -> FloatArray:
    """Smallest value of ``(a + rise s)^2 - (b + slope s)`` for s from start to end."""
    (a, rise), (b, slope) = chord, line
    bottom = (slope - 2.0 * a * rise) / _nonzero(2.0 * rise**2)
    at = np.clip(np.where(rise > 0.0, bottom, end), start, end)
    return np.asarray((a + rise * at) ** 2 - (b + slope * at), dtype=np.float64)


def _nonzero(values: FloatArray) -> FloatArray:
    return np.where(values > 0.0, values, 1.0)
