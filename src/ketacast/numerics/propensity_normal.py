"""The standard normal distribution function, fast over millions of arguments.

The quadrature over a patient's propensity evaluates the distribution function at
some millions of points per answer; this version works in place on the caller's
memory and costs half of SciPy's.

References
----------
Schonfelder 1978, Math Comput 32:1232 (Chebyshev expansion of the scaled
complementary error function in ``(y - k) / (y + k)``).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy import special

from ketacast.arrays import FloatArray

AnyFloat = NDArray[np.float64] | NDArray[np.float32]

RELATIVE_ERROR: Final = 2e-9
"""Largest relative error of :func:`normal_cdf_in_place`, both tails included."""

_SHIFT: Final = 5.0
_DEGREE: Final = 12


def _scaled_tail(u: FloatArray) -> FloatArray:
    """``(y + k) exp(y^2 / 2) Phi(-y)`` at ``u = (y - k) / (y + k)``: smooth on [-1, 1]."""
    y = _SHIFT * (1.0 + u) / (1.0 - u)
    result: FloatArray = (y + _SHIFT) * 0.5 * special.erfcx(y / np.sqrt(2.0))
    return result


# Highest power first, for Horner's scheme; plain floats, which NumPy adds fastest.
_POINTS: Final = chebyshev.chebpts1(_DEGREE + 1)
_COEFFICIENTS: Final[tuple[float, ...]] = tuple(
    chebyshev.cheb2poly(chebyshev.chebfit(_POINTS, _scaled_tail(_POINTS), _DEGREE))[::-1].tolist()
)


def scratch(size: int) -> FloatArray:
    """Memory for :func:`normal_cdf_in_place` at up to `size` arguments, shape (4, size)."""
    return np.empty((4, size))


def normal_cdf_in_place(x: AnyFloat, work: AnyFloat) -> None:
    """Overwrite arguments with the standard normal distribution function.

    Parameters
    ----------
    x : (m,) float array
        Arguments; -inf and inf give 0 and 1. Overwritten. Of single precision if that
        is enough: the error is then 2e-7, absolute.
    work : (4, >= m) float array
        From :func:`scratch`, or of single precision like `x`; overwritten.
    """
    y, inverse, u, tail = work[:, : x.size]
    x += 0.0  # -0.0 becomes 0.0, so that sign and comparison agree below
    np.abs(x, out=y)
    np.add(y, _SHIFT, out=inverse)
    np.divide(1.0, inverse, out=inverse)
    np.multiply(inverse, -2.0 * _SHIFT, out=u)
    u += 1.0
    np.multiply(u, _COEFFICIENTS[0], out=tail)
    tail += _COEFFICIENTS[1]
    for coefficient in _COEFFICIENTS[2:]:
        tail *= u
        tail += coefficient
    tail *= inverse
    np.multiply(y, y, out=y)
    y *= -0.5
    np.exp(y, out=y)
    tail *= y
    # 0 + tail below zero and 1 - tail above, so that small tails keep their digits.
    np.copysign(tail, x, out=tail)
    np.greater_equal(x, 0.0, out=y)
    np.subtract(y, tail, out=x)
