"""REML and ML of one problem with one or two columns, in plain floats.

The common case, an intercept with or without one moderator, is worth a path of its
own: at this size Python's floats are ten times as fast as small arrays. It does what
:mod:`ketacast.numerics.normal.moments` and :mod:`ketacast.numerics.normal.likelihood_search` do,
with the same formulas and the same proof of a single mode, and gives up where that
proof fails, so that the general search decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import expm1, isfinite, log, sqrt
from typing import Final, NamedTuple

import numpy as np

from ketacast.arrays import FloatArray
from ketacast.numerics.normal.likelihood_search import HALVE_EVERY, LAST_STEP, MOST_STEPS, TINY
from ketacast.numerics.normal.moments import LEAST_RESIDUAL, WIDEST_VARIANCES
from ketacast.numerics.normal.sign_proof import ROUNDING

#: Columns that the formulas below are written out for.
MOST_COLUMNS: Final = 2


class Reduced(NamedTuple):
    """Parts of the likelihoods at one tau2; see :class:`ketacast.numerics.normal.kernel.Scores`.

    Attributes
    ----------
    q, ypp, yppp, trace_p, trace_pp, weight_sum, weight_squares : float
        For residuals of length 1.
    slopes : tuple of float
        Coefficients of the residuals on the columns.
    factors : tuple of float
        Pivots of X'WX, then (with two columns) its multiplier.
    """

    q: float
    ypp: float
    yppp: float
    trace_p: float
    trace_pp: float
    weight_sum: float
    weight_squares: float
    slopes: tuple[float, ...]
    factors: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SingleSolution:
    """A fitted problem in its basis.

    Attributes
    ----------
    tau2 : float
        Estimate.
    gamma, inverse : ndarray, shapes (p,), (p, p)
        Coefficients and the inverse of X'WX.
    q, q_zero : float
        Weighted residual sums of squares at the estimate and at 0.
    trace_zero : float
        Trace of P at 0.
    information : float
        Twice the expected information on tau2.
    log_det, log_weights : float
        Logs of the determinant of X'WX and of the product of the weights.
    """

    tau2: float
    gamma: FloatArray
    inverse: FloatArray
    q: float
    q_zero: float
    trace_zero: float
    information: float
    log_det: float
    log_weights: float


def solve_single(
    y: FloatArray, v: FloatArray, basis: FloatArray, *, restricted: bool
) -> SingleSolution | None:
    """Fit by REML or ML; None where the general search is needed.

    Parameters
    ----------
    y, v : ndarray, shape (k,)
        Effects and sampling variances.
    basis : ndarray, shape (k, p)
        Orthonormal columns, p <= 2 and p < k.
    restricted : bool
        REML, else ML.
    """
    task = _task(y, v, basis)
    if task is None:
        return None
    zero = task.at(0.0)
    tau2 = _mode(task, zero, restricted=restricted)
    if tau2 is None:
        return None
    best = zero if tau2 == 0.0 else task.at(tau2)
    inverse, log_det = _inverse(best.factors)
    return SingleSolution(
        tau2=tau2,
        gamma=task.gamma + sqrt(task.squares) * np.array(best.slopes),
        inverse=inverse,
        q=best.q * task.squares,
        q_zero=zero.q * task.squares,
        trace_zero=zero.trace_p,
        information=best.trace_pp if restricted else best.weight_squares,
        log_det=log_det,
        log_weights=-float(np.log(v + tau2).sum()),
    )


def single_tau2(
    y: FloatArray, v: FloatArray, basis: FloatArray, *, restricted: bool
) -> float | None:
    """Only tau2 of :func:`solve_single`; None where the general search is needed."""
    task = _task(y, v, basis)
    return None if task is None else _mode(task, task.at(0.0), restricted=restricted)


class _Task(NamedTuple):
    """A problem reduced to its residuals, their squared length, and its range of tau2."""

    at: Callable[[float], Reduced]
    gamma: FloatArray
    squares: float
    end: float
    low: float
    k: int


def _task(y: FloatArray, v: FloatArray, basis: FloatArray) -> _Task | None:
    k, p = basis.shape
    low, high = float(v.min()), float(v.max())
    if low <= 0.0 or high > WIDEST_VARIANCES * low:
        return None
    gamma = y @ basis
    residual = y - basis @ gamma
    squares = float(residual @ residual)
    if squares <= LEAST_RESIDUAL**2 * float(y @ y):
        return None
    ratio = squares / (k - p)
    half = 0.5 * ratio - low
    end = max(0.0, half + sqrt(max(0.0, half * half + ratio * high - low * low)))
    return _Task(_evaluator(v, basis, residual / sqrt(squares)), gamma, squares, end, low, k)


def _mode(task: _Task, zero: Reduced, *, restricted: bool) -> float | None:
    """Find the only mode; None where it is not proven to be the only one."""
    at, squares, scale = task.at, task.squares, task.k / zero.weight_sum
    top = log(2.0 + 2.0 * task.end / scale)
    first = _parts(zero, squares, restricted=restricted)
    left, right = _node(0.0, 0.0, scale, first), None
    if left[1] <= 0.0:
        return 0.0 if _negative_beyond(first, squares) else None
    node = left
    for step_number in range(1, MOST_STEPS + 1):
        z = _next(node, left, right, top)
        if right is not None and step_number % HALVE_EVERY == 0:
            z = 0.5 * (left[0] + right[0])
        tau2 = scale * expm1(z)
        parts = _parts(at(tau2), squares, restricted=restricted)
        node = _node(z, tau2, scale, parts)
        _, height, slope = node
        # In units of tau2 + min v: a root far below c needs a shorter step in z.
        close = LAST_STEP * (tau2 + task.low) / (tau2 + scale)
        if slope < 0.0 and abs(height) < -slope * close:
            root = (sqrt(parts[2]), sqrt(parts[2]) * parts[1] / parts[0], *parts[2:])
            if _positive_before(first, root, tau2) and _negative_beyond(root, squares):
                return scale * expm1(z - height / slope)
            return None
        if height > 0.0:
            left = node
        else:
            right = node
    return None


Node = tuple[float, float, float]
Parts = tuple[float, float, float, float]


def _parts(at: Reduced, squares: float, *, restricted: bool) -> Parts:
    """Give A, A', B, B' of :mod:`ketacast.numerics.normal.sign_proof`."""
    trace, trace_squares = (
        (at.trace_p, at.trace_pp) if restricted else (at.weight_sum, at.weight_squares)
    )
    ypp = max(at.ypp * squares, TINY)
    a, b = 1.0 / sqrt(ypp), 1.0 / trace
    return a, a * at.yppp * squares / ypp, b, b * trace_squares * b


def _node(z: float, tau2: float, scale: float, parts: Parts) -> Node:
    """Place, height and its derivative in z."""
    a, a_slope, b, b_slope = parts
    rate = b_slope / b - 2.0 * a_slope / a
    return z, log(b / (a * a)), rate * (tau2 + scale)


def _next(node: Node, left: Node, right: Node | None, top: float) -> float:
    """Choose where to look next: by interpolation, Newton's step, or halfway."""
    low, high = left[0], top if right is None else right[0]
    if right is None:
        z = node[0] - node[1] / node[2] if node[2] < 0.0 else high
    elif left[2] >= 0.0 or right[2] >= 0.0:
        z = high - right[1] / right[2] if right[2] < 0.0 else high
    else:
        width, gap = high - low, right[1] - left[1]
        u, entry, leave = -left[1] / gap, gap / left[2], gap / right[2]
        bend = entry + leave - 2.0 * width
        z = low + u * (entry + u * (width - entry - bend + u * bend))
    return z if isfinite(z) and low < z < high else 0.5 * (low + high)


def _positive_before(left: Parts, right: Parts, width: float) -> bool:
    """Tell whether the score is proven positive between 0 and the root."""
    a, a_slope, b, _ = left
    bend = a_slope - right[1]
    meet = (right[0] - right[1] * width - a) / bend if bend > 0.0 else 0.5 * width
    meet = min(max(meet, 0.0), width)
    return (b + (right[2] - b) * meet / width) * (1.0 + ROUNDING) > (a + a_slope * meet) ** 2


def _negative_beyond(at: Parts, squares: float) -> bool:
    """Tell whether the score is proven negative above a point."""
    a, _, b, b_slope = at
    least = 1.0 / sqrt(squares)
    linear = 2.0 * a * least - b_slope
    return linear > 0.0 or linear**2 < 4.0 * max(a * a - b, 0.0) * least**2


def _inverse(factors: tuple[float, ...]) -> tuple[FloatArray, float]:
    """Inverse of X'WX and the log of its determinant."""
    if len(factors) == 1:
        return np.array([[1.0 / factors[0]]]), log(factors[0])
    one, two, multiplier = factors
    cross = -multiplier / two
    inverse = np.array([[1.0 / one - cross * multiplier, cross], [cross, 1.0 / two]])
    return inverse, log(one) + log(two)


def _evaluator(v: FloatArray, basis: FloatArray, unit: FloatArray) -> Callable[[float], Reduced]:
    """Weighted sums of products from one matrix product, then elimination."""
    k, p = basis.shape
    columns = [basis[:, i] for i in range(p)] + [unit]
    table = np.empty((k, (p + 1) * (p + 2) // 2 + 1))
    index = 0
    for i, one in enumerate(columns):
        for other in columns[i:]:
            np.multiply(one, other, out=table[:, index])
            index += 1
    table[:, index] = 1.0
    weights = np.empty((3, k))
    first, second, third = weights
    reduce_ = _one_column if p == 1 else _two_columns

    def evaluate(tau2: float) -> Reduced:
        np.add(v, tau2, out=first)
        np.reciprocal(first, out=first)
        np.multiply(first, first, out=second)
        np.multiply(second, first, out=third)
        return reduce_((weights @ table).tolist())

    return evaluate


def _one_column(sums: list[list[float]]) -> Reduced:
    """Eliminate x from (x, y)."""
    (a, b, c, w1), (a2, b2, c2, w2), (a3, b3, c3, _) = sums
    slope = b / a
    cross = b2 - slope * a2
    ypp = c2 - slope * (b2 + cross)
    cubes = c3 - slope * (2.0 * b3 - slope * a3)
    share = a2 / a
    return Reduced(
        q=c - b * slope,
        ypp=ypp,
        yppp=cubes - cross * cross / a,
        trace_p=w1 - share,
        trace_pp=w2 - 2.0 * a3 / a + share * share,
        weight_sum=w1,
        weight_squares=w2,
        slopes=(slope,),
        factors=(a,),
    )


def _two_columns(sums: list[list[float]]) -> Reduced:
    """Eliminate x0, then x1 from (x0, x1, y); digits name powers of the weights."""
    (a, b, c, d, e, f, w1), (a2, b2, c2, d2, e2, f2, w2), (a3, b3, c3, d3, e3, f3, _) = sums
    m = b / a
    pivot = d - b * m
    slope = (e - c * m) / pivot
    first = c / a - slope * m
    # Of x1 less m x0, and of the residual y less slope x1 less first x0.
    one = d2 - m * (2.0 * b2 - m * a2)
    zero_one = b2 - m * a2
    zero_y = c2 - slope * b2 - first * a2
    whole_y = e2 - slope * d2 - first * b2
    one_y = whole_y - m * zero_y
    ypp = f2 - slope * e2 - first * c2 - slope * whole_y - first * zero_y
    cubes = f3 + slope * (slope * d3 - 2.0 * e3) + first * (first * a3 - 2.0 * c3)
    cubes += 2.0 * slope * first * b3
    cube = d3 - m * (2.0 * b3 - m * a3)
    share, second = a2 / a, one / pivot
    squares = share * share + second * second + 2.0 * zero_one * zero_one / (a * pivot)
    return Reduced(
        q=f - c * first - e * slope,
        ypp=ypp,
        yppp=cubes - zero_y * zero_y / a - one_y * one_y / pivot,
        trace_p=w1 - share - second,
        trace_pp=w2 - 2.0 * (a3 / a + cube / pivot) + squares,
        weight_sum=w1,
        weight_squares=w2,
        slopes=(first, slope),
        factors=(a, pivot, m),
    )
