"""Roots of many one-dimensional functions at once: Newton with a bracket as safeguard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from ketacast.arrays import FloatArray
from ketacast.errors import ConvergenceError

#: Newton's error is squared by each step, so the step that is this small
#: relative to the scale of the problem leaves an error at rounding level.
LAST_STEP: Final = 1e-9
#: A bracket this narrow, relative to the scale, holds no other double that matters.
EXHAUSTED: Final = float(np.finfo(np.float64).eps)
#: Bisection alone needs about 60 halvings to exhaust a double; Newton from the
#: flat side of a hyperbola doubles its argument each time. Both fit.
MAX_STEPS: Final = 200

ValueAndSlope = Callable[[FloatArray], tuple[FloatArray, FloatArray]]


def falling_root(
    function: ValueAndSlope,
    lower: FloatArray,
    upper: FloatArray,
    start: FloatArray,
    scale: FloatArray,
) -> FloatArray:
    """Find where each function falls through zero inside its bracket.

    Parameters
    ----------
    function : callable
        Takes points, shape (m,), returns values and slopes, shape (m,);
        element i belongs to function i.
    lower, upper : ndarray, shape (m,)
        Brackets: the value is >= 0 at `lower` and <= 0 at `upper`.
    start : ndarray, shape (m,)
        First points, inside the brackets.
    scale : ndarray, shape (m,)
        Scale on which the functions bend (> 0); with the root itself it sets
        the meaning of a small step.

    Returns
    -------
    ndarray, shape (m,)
        The roots, to rounding error of the function.

    Raises
    ------
    ConvergenceError
        If a root is not found within :data:`MAX_STEPS` steps.
    """
    x = start
    last = upper - lower
    for _ in range(MAX_STEPS):
        value, slope = function(x)
        lower = np.where(value > 0.0, x, lower)
        upper = np.where(value < 0.0, x, upper)
        falling = slope < 0.0
        step = np.where(falling, -value / np.where(falling, slope, -1.0), np.inf)
        step = np.where(value == 0.0, 0.0, step)
        done = np.abs(step) <= LAST_STEP * (np.abs(x) + scale)
        newton = x + step
        # Steps that do not shrink are a cycle or a crawl; halving beats both.
        shrinking = np.abs(step) <= 0.5 * last
        usable = done | ((newton > lower) & (newton < upper) & shrinking)
        following = np.where(usable, newton, 0.5 * (lower + upper))
        last = np.abs(following - x)
        done |= upper - lower <= EXHAUSTED * (np.abs(x) + scale)
        x = np.clip(following, lower, upper)
        if bool(np.all(done)):
            return x
    raise ConvergenceError(
        f"root search did not settle in {MAX_STEPS} steps (bracket width "
        f"{float(np.max(upper - lower)):.3g}); check the data for values of wildly different size"
    )
