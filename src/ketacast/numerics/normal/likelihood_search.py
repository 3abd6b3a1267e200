"""Global maximum of the profile likelihood of tau2, with proof.

A root of the score is found by Newton's method and inverse interpolation over
``z = log(1 + tau2 / c)``, where the log of ypp over the trace is almost a straight
line. In most data two evaluated points, 0 and the root, then prove that there is no
other root (:mod:`ketacast.numerics.normal.sign_proof`). Where they do not, a few points
more do; and where those do not, intervals are halved until the sign of every one is
proven, and the highest mode is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ketacast.arrays import BoolArray, FloatArray
from ketacast.errors import ConvergenceError
from ketacast.numerics.normal.kernel import Kernel
from ketacast.numerics.normal.problem import IntArray
from ketacast.numerics.normal.sign_proof import (
    Points,
    falling_between,
    negative_between,
    negative_beyond,
    positive_between,
)
from ketacast.numerics.roots import falling_root

#: Newton's steps and interpolations, at most; bisection alone needs about 60.
MOST_STEPS: Final = 100
#: Every so many steps the bracket is halved, whatever interpolation promises.
HALVE_EVERY: Final = 6
#: The error left by a step, in units of tau2 + min v, is about its square: 1e-13.
LAST_STEP: Final = 3e-7
#: A bracket this narrow, relative to z + min v / c, holds no other double that matters.
EXHAUSTED: Final = 4.0 * float(np.finfo(np.float64).eps)
#: Points evaluated first, in z: most roots lie between two of them.
FIRST: Final = (0.0, 0.2, 0.5, 1.0, 2.0)
#: Points beyond the root, in z, where the root alone proves nothing about them.
FURTHER: Final = (0.15, 0.4, 0.9, 1.8)
#: Spacing in z of the first intervals that are halved.
STEP: Final = 0.7
#: Points after which intervals without proof are given up; tens are usual.
MOST_POINTS: Final = 20_000
#: Rounds of halving: down to neighbouring doubles.
MOST_HALVINGS: Final = 52
#: With a sampling variance of 0 the likelihood has no value at 0; the search
#: begins this far above it, relative to the largest variance or mean residual.
ABOVE_ZERO: Final = 1e-10
#: Stands for 0 where a division or a log forbids it.
TINY: Final = 1e-300


def maximise(kernel: Kernel, *, restricted: bool) -> FloatArray:
    """Maximise the (restricted) profile likelihood of every problem.

    Parameters
    ----------
    kernel : Kernel
        The problems, each with more studies than coefficients.
    restricted : bool
        Restricted likelihood (REML), else the full one (ML).

    Returns
    -------
    ndarray, shape (B,)
        tau2; NaN where a sampling variance of 0 leaves the likelihood without
        a maximum above 0.

    Raises
    ------
    ConvergenceError
        If a root is not found, which has not been seen.
    """
    search = _search(kernel, restricted=restricted)
    first = evaluate(search, np.tile(FIRST, (search.start.size, 1)))
    zero = Points(first.values[:, :, :1])
    ordinary = search.start == 0.0
    up = ordinary & (zero.height[:, 0] > 0.0)
    last = zero.values.copy()
    index = np.flatnonzero(up)
    tau2 = np.zeros(up.size)
    if index.size:
        part = search.rows(index)
        z, last[:, index] = _climb(part, first.values[:, index])
        tau2[index] = part.tau2(z[:, None])[:, 0]
        # The last point is the root but for 1e-7: A^2 = B there.
        last[4, index] = np.sqrt(last[6, index])
    before = ~up | positive_between(zero.join(Points(last)))[:, 0]
    proven = before & _negative_after(search, Points(last))
    for b in np.flatnonzero(~(proven & ordinary)):
        tau2[b] = _best_mode(search.rows(np.array([b])))
    return tau2


@dataclass(frozen=True, slots=True)
class Search:
    """Problems with the start of their search, c, and ``1 + (end - start) / c``; each (B,)."""

    kernel: Kernel
    start: FloatArray
    scale: FloatArray
    top: FloatArray
    restricted: bool

    def rows(self, index: IntArray) -> Search:
        """Problems chosen (and repeated) by index."""
        if index.size == self.start.size and bool(np.all(index == np.arange(index.size))):
            return self
        return Search(
            self.kernel.rows(index), self.start[index], self.scale[index], self.top[index],
            self.restricted,
        )  # fmt: skip

    def tau2(self, z: FloatArray) -> FloatArray:
        """Points z, shape (B, g), on the scale of tau2."""
        return np.asarray(self.start[:, None] + self.scale[:, None] * np.expm1(z))


def _search(kernel: Kernel, *, restricted: bool) -> Search:
    """Choose the range of the search.

    ``y'PPy <= rss / (t + min v)^2`` and ``tr P >= df / (t + max v)``, so the
    score is negative above the larger root of ``(t + min v)^2 = (rss / df)(t +
    max v)``. The trace's counterpart in the full likelihood is larger still.
    """
    problem = kernel.problem
    low, high = problem.least_variance, problem.largest_variance
    ratio = kernel.residual_squares / problem.residual_df
    half = 0.5 * ratio - low
    end = half + np.sqrt(np.maximum(0.0, half**2 + ratio * high - low**2))
    # Harmonic mean of the variances, of those that count.
    weights = problem.masked(1.0 / np.maximum(problem.v, 1e-6 * high[:, None] + TINY))
    scale = problem.k / weights.sum(axis=1)
    scale = np.where(high > 0.0, scale, np.where(ratio > 0.0, ratio, 1.0))
    start = np.where(low > 0.0, 0.0, ABOVE_ZERO * np.maximum(high, ratio))
    # Doubled: with equal variances the root of REML is exactly at the end.
    return Search(kernel, start, scale, 2.0 + 2.0 * np.maximum(end, 0.0) / scale, restricted)


def evaluate(search: Search, z: FloatArray) -> Points:
    """Evaluate every problem at its z, shape (B, g)."""
    tau2 = search.tau2(z)
    at = search.kernel.scores(tau2)
    if search.restricted:
        trace, squares = at.trace_p, at.trace_pp
    else:
        trace, squares = at.weight_sum, at.weight_squares
    # Effects that the design fits exactly have ypp = 0, and a score below 0.
    ypp = np.maximum(at.ypp, TINY)
    values = np.empty((8, *z.shape))
    values[0], values[1], values[2] = z, tau2, np.log(ypp) - np.log(trace)
    values[4] = 1.0 / np.sqrt(ypp)
    values[6] = 1.0 / trace
    a_rate, b_rate = at.yppp / ypp, squares / trace
    values[3] = (b_rate - 2.0 * a_rate) * (tau2 - search.start[:, None] + search.scale[:, None])
    values[5], values[7] = values[4] * a_rate, values[6] * b_rate
    return Points(values)


def _climb(search: Search, first: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Follow the height from above 0 at tau2 = 0 to where it falls through 0.

    Parameters
    ----------
    search : Search
        Problems whose height is positive at 0.
    first : ndarray, shape (8, B, g)
        The first points.

    Returns
    -------
    z, last : ndarrays, shapes (B,), (8, B, 1)
        The roots, and the last points evaluated, next to them.
    """
    count, points = first.shape[1:]
    every = np.arange(count)
    negative = first[2] <= 0.0
    crossed = negative.any(axis=1)
    after = np.where(crossed, np.argmax(negative, axis=1), points)
    left = first[:, every, after - 1].copy()
    # The far side may be known only by the bound on the root.
    right = np.where(crossed, first[:, every, np.minimum(after, points - 1)], np.nan)
    right[0] = np.where(crossed, right[0], np.maximum(np.log(search.top), 2.0 * FIRST[-1]))
    at = left.copy()
    root, last = np.zeros(count), np.zeros((8, count, 1))
    low = search.kernel.problem.least_variance
    active = np.arange(count)
    for step_number in range(1, MOST_STEPS + 1):
        guess = _next_point(
            at[:, active], left[:, active], right[:, active], halve=step_number % HALVE_EVERY == 0
        )
        values = evaluate(search.rows(active), guess[:, None]).values
        at[:, active], last[:, active] = values[:, :, 0], values
        height, slope = values[2, :, 0], values[3, :, 0]
        step = -height / np.where(slope < 0.0, slope, -TINY)
        # In units of tau2 + min v: a root far below c needs a shorter step in z.
        tau2 = values[1, :, 0]
        unit = (tau2 + low[active]) / (tau2 - search.start[active] + search.scale[active])
        close = np.abs(step) < LAST_STEP * unit
        root[active] = np.where(close, guess + step, guess)
        above = height > 0.0
        left[:, active[above]] = values[:, above, 0]
        right[:, active[~above]] = values[:, ~above, 0]
        finest = EXHAUSTED * (left[0] + low / search.scale)[active]
        narrow = right[0, active] - left[0, active] <= finest
        active = active[~(close | narrow)]
        if active.size == 0:
            return root, last
    raise ConvergenceError(
        f"the likelihood's maximum was not found in {MOST_STEPS} steps for {active.size} of "
        f"{count} problems; check the data for values of wildly different size"
    )


def _next_point(at: FloatArray, left: FloatArray, right: FloatArray, *, halve: bool) -> FloatArray:
    """Choose where to look next, shape (B,): by interpolation, Newton's step, or halfway."""
    low, high = left[0], right[0]
    middle = 0.5 * (low + high)
    bracketed = ~np.isnan(right[2])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        newton = at[0] - at[2] / at[3]
        # Interpolation needs a height that falls at both ends; from a rising left
        # end Newton's step from the right is the better guess.
        falling = (left[3] < 0.0) & (right[3] < 0.0)
        back = high - right[2] / right[3]
        inside = np.where(falling, _inverse_interpolation(left, right), back)
        z = np.where(bracketed, inside, newton)
    good = (z > low) & (z < high) & ~(bracketed & halve)
    return np.where(good, z, middle)


def _inverse_interpolation(left: FloatArray, right: FloatArray) -> FloatArray:
    """Where the height is 0 between two points, by cubic interpolation of z over it."""
    width, gap = right[0] - left[0], right[2] - left[2]
    u = -left[2] / gap
    entry, leave = gap / left[3], gap / right[3]
    bend = entry + leave - 2.0 * width
    return np.asarray(left[0] + u * (entry + u * (width - entry - bend + u * bend)))


def _negative_after(search: Search, last: Points) -> BoolArray:
    """Where the score is proven negative above the last points, shape (B,)."""
    squares = search.kernel.residual_squares
    proven = negative_beyond(last, squares)
    index = np.flatnonzero(~proven)
    if index.size:
        part, start = search.rows(index), last.z[index]
        end = np.log(part.top)[:, None]
        points = Points(last.values[:, index]).join(evaluate(part, start + np.array(FURTHER)))
        # Above `top` the score is negative by the choice of it.
        reached = points.z[:, -1:] >= end
        if not reached.all():
            points = points.join(evaluate(part, np.maximum(points.z[:, -1:], end)))
        proven[index] = negative_between(points).all(axis=1)
    return proven


def _best_mode(search: Search) -> float:
    """Highest mode of one problem, or 0, after halving every interval without proof."""
    end = float(np.log(search.top[0]))
    points = evaluate(search, np.linspace(0.0, end, max(int(end / STEP) + 2, 4))[None])
    for _ in range(MOST_HALVINGS):
        up, down = points.height[0, :-1] > 0.0, points.height[0, 1:] <= 0.0
        proven = np.where(
            up,
            np.where(down, falling_between(points)[0], positive_between(points)[0]),
            down & negative_between(points)[0],
        )
        left, right = points.z[0, :-1][~proven], points.z[0, 1:][~proven]
        middle = 0.5 * (left + right)
        middle = middle[(middle > left) & (middle < right)]
        if middle.size == 0:
            break
        points = evaluate(search, np.sort(np.concatenate([points.z[0], middle]))[None])
        if points.z.size > MOST_POINTS:
            raise ConvergenceError(
                f"the sign of the likelihood's slope is not settled at {points.z.size} values of "
                "tau2, so its maximum cannot be proven; check the data for values of wildly "
                "different size"
            )
    which = np.flatnonzero((points.height[0, :-1] > 0.0) & (points.height[0, 1:] <= 0.0))
    candidates = _roots(search, points.z[0, which], points.z[0, which + 1])
    if search.start[0] == 0.0:
        candidates = np.append(candidates, 0.0)
    if candidates.size == 0:
        return float("nan")
    kernel = search.kernel.rows(np.zeros(candidates.size, dtype=np.intp))
    solution = kernel.solution(candidates)
    values = solution.log_likelihood(kernel.problem, restricted=search.restricted)
    return float(candidates[np.argmax(values)])


def _roots(search: Search, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """Modes of one problem inside brackets of z, shape (n,), as tau2."""
    part = search.rows(np.zeros(lower.size, dtype=np.intp))

    def value_and_slope(z: FloatArray) -> tuple[FloatArray, FloatArray]:
        at = evaluate(part, z[:, None])
        return at.height[:, 0], at.slope[:, 0]

    finest = (part.kernel.problem.least_variance + part.start) / part.scale
    z = falling_root(value_and_slope, lower, upper, 0.5 * (lower + upper), finest)
    return part.tau2(z[:, None])[:, 0]
