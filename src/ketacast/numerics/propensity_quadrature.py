"""One-dimensional quadrature over a patient's propensity, for many draws at once.

The integrand is log-concave in Z (a normal density times normal probabilities of
intervals). A coarse grid finds, per draw, a window that holds its mass (two chords
bound a concave logarithm from above); in it the trapezoidal rule, whose error falls
faster than any power of its step, takes steps proportional to ``sqrt(1 - w)``, the
width of the sharpest bend of the integrand, and smaller the more statuses are
multiplied.

References
----------
Gibbons and Hedeker 1997, Biometrics 53:1527 (random-effects probit, one-dimensional
quadrature); Trefethen and Weideman 2014, SIAM Rev 56:385 (trapezoidal rule).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ketacast.arrays import FloatArray
from ketacast.numerics.propensity_normal import AnyFloat, normal_cdf_in_place, scratch

_COARSE: Final = np.array([1.0, 2.0, 3.2, 5.5, 12.0])
_GRID: Final = np.concatenate([-_COARSE[::-1], [0.0], _COARSE])
_FALL: Final = 14.0
"""Fall of the log integrand at the window's ends. At most 8e-7 of the mass lies beyond
each end, and 6e-8 where the flank is that of a normal density."""

_STEP: Final = (0.70, 0.46)
"""The step is sqrt((1 - w) / (0.70 + 0.46 H)) for H statuses: where each bends the
integrand like a normal density, their precisions add up. The trapezoidal rule's error
then stays below 1e-6, contradictory histories (NMNM) and narrow bands R included."""

_TRANSITION: Final = 5.0
"""Beyond 5 the normal distribution function is taken for 0 or 1 (3e-7 off)."""

_BLOCK: Final = 16384
_SHORT_BLOCK: Final = 65536
"""Evaluations at a time: the arrays in use stay in the processor's second cache."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds of L at one known status, in thresholds (n,); None where unbounded."""

    above: FloatArray | None
    up_to: FloatArray | None


def interval_of(status: str, response: FloatArray, remission: FloatArray) -> Interval:
    """Bounds that a known status (N, R or M) sets, from both thresholds (n,)."""
    if status == "N":
        return Interval(above=response, up_to=None)
    if status == "R":
        return Interval(above=remission, up_to=response)
    return Interval(above=None, up_to=remission)


def integrate(
    w: FloatArray, intervals: list[Interval], thresholds: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Likelihood (n,) and chances that L <= threshold at later infusions (n, T)."""
    spread = np.sqrt(1.0 - w)
    start, width = _windows(w, intervals)
    widest_step = 1.0 / np.sqrt(_STEP[0] + _STEP[1] * len(intervals))
    nodes = np.ceil(width / (widest_step * spread)).astype(np.int64) + 2
    likelihood, chances = np.empty(w.size), np.empty(thresholds.shape)
    # Draws with like numbers of nodes are taken together; the largest number serves all.
    order = np.argsort(-nodes, kind="stable")
    most = max(_BLOCK, int(nodes.max()))
    work, short = scratch(most), np.empty((4, max(_SHORT_BLOCK, most)), np.float32)
    at = 0
    while at < w.size:
        m = int(nodes[order[at]])
        rows = order[at : at + max(1, _BLOCK // m)]
        at += rows.size
        step = width[rows] / (m - 1)
        z = start[rows, None] + step[:, None] * np.arange(m)
        slope = np.sqrt(w[rows] / (1.0 - w[rows]))[:, None] * z
        density = np.exp(-0.5 * z * z) * (step / np.sqrt(2.0 * np.pi))[:, None]
        density *= history_factor(slope, spread[rows], intervals, rows, work)
        total = density.sum(axis=1)
        likelihood[rows] = total
        density /= np.where(total > 0.0, total, 1.0)[:, None]
        chances[rows] = _chances(density, slope, thresholds[rows] / spread[rows, None], short)
    return likelihood, chances


def _chances(
    density: FloatArray, slope: FloatArray, thresholds: FloatArray, work: AnyFloat
) -> FloatArray:
    """Sum over nodes density times ``Phi(threshold - slope)``, (d, T).

    `density` and `slope` are (d, m), the slopes evenly spaced in each row. Only nodes
    in the transition of Phi from 0 to 1 are evaluated; to the left of it Phi is 1.
    """
    d, m = density.shape
    gap = (slope[:, 1] - slope[:, 0])[:, None]
    with np.errstate(divide="ignore"):
        length = int(min(m, np.ceil(2.0 * _TRANSITION / gap.min()) + 1.0))
    every_node = length == m
    padding = 0 if every_node else length
    padded = np.zeros((d, m + 2 * padding))
    padded[:, padding : padding + m] = density
    before = np.zeros_like(padded)
    np.cumsum(padded[:, :-1], axis=1, out=before[:, 1:])
    windows = sliding_window_view(padded.astype(np.float32), length, axis=1)
    rows = np.arange(d)[:, None]
    away = (gap * np.arange(length)).astype(np.float32)
    result = np.empty(thresholds.shape)
    # Single precision (1e-7) is enough for chances, and twice as fast.
    together = max(1, work.shape[1] // (d * length))
    for at in range(0, thresholds.shape[1], together):
        above = thresholds[:, at : at + together] - slope[:, :1]
        if every_node:
            first = np.zeros(above.shape, dtype=np.int64)
        else:
            place = np.ceil((above - _TRANSITION) / gap) + padding
            first = np.clip(place, 0, m + padding).astype(np.int64)
        x = (above - (first - padding) * gap).astype(np.float32)[:, :, None] - away[:, None, :]
        normal_cdf_in_place(x.reshape(-1), work)
        if every_node:
            result[:, at : at + together] = np.einsum("im,itm->it", density, x)
        else:
            part = np.einsum("itm,itm->it", windows[rows, first], x)
            result[:, at : at + together] = before[rows, first] + part
    return result


def history_factor(
    slope: FloatArray,
    spread: FloatArray,
    intervals: list[Interval],
    rows: NDArray[np.int64] | slice,
    work: FloatArray,
) -> FloatArray:
    """Probability of the known statuses given Z; `slope` is sqrt(w / (1 - w)) Z, (d, m)."""

    def scaled(threshold: FloatArray) -> FloatArray:
        x: FloatArray = (threshold[rows] / spread)[:, None] - slope
        return x

    factor = np.ones_like(slope)
    for interval in intervals:
        if interval.above is None:
            assert interval.up_to is not None  # noqa: S101  # a known status is bounded
            x = scaled(interval.up_to)
            normal_cdf_in_place(x.ravel(), work)
        elif interval.up_to is None:
            x = -scaled(interval.above)
            normal_cdf_in_place(x.ravel(), work)
        else:
            x = _between(scaled(interval.above), scaled(interval.up_to), work)
        factor *= x
    return factor


def _between(low: FloatArray, high: FloatArray, work: FloatArray) -> FloatArray:
    """``Phi(high) - Phi(low)``, taken in the lower tail, where the digits are."""
    turned = low > 0.0
    np.negative(high, out=high, where=turned)
    np.negative(low, out=low, where=turned)
    normal_cdf_in_place(high.ravel(), work)
    normal_cdf_in_place(low.ravel(), work)
    high -= low
    return np.abs(high, out=high)


def _windows(w: FloatArray, intervals: list[Interval]) -> tuple[FloatArray, FloatArray]:
    """Start and width of the interval that holds the integrand's mass, both (n,)."""
    height = np.empty((w.size, _GRID.size))
    spread = np.sqrt(1.0 - w)
    rows_at_once = max(1, _BLOCK // _GRID.size)
    work = scratch(rows_at_once * _GRID.size)
    for at in range(0, w.size, rows_at_once):
        rows = slice(at, at + rows_at_once)
        slope = np.sqrt(w[rows] / (1.0 - w[rows]))[:, None] * _GRID
        height[rows] = history_factor(slope, spread[rows], intervals, rows, work)
    with np.errstate(divide="ignore"):
        log_height = np.log(height) - 0.5 * _GRID**2
    low = _crossing(log_height, _GRID)
    high = -_crossing(log_height[:, ::-1], -_GRID[::-1])
    return low, high - low


def _crossing(log_height: FloatArray, grid: FloatArray) -> FloatArray:
    """Where the left flank lies `_FALL` below the highest node at most, (n,).

    The last node below that level is one bound; the chord through the two nodes
    right of it, which lies above a concave function, crosses the level at another.
    """
    rows = np.arange(log_height.shape[0])
    top = log_height.argmax(axis=1)
    level = log_height[rows, top] - _FALL
    is_left = np.arange(grid.size) < top[:, None]
    below = ((log_height < level[:, None]) & is_left).sum(axis=1) - 1
    node = np.maximum(below, 0)
    inner = np.minimum(node + 1, grid.size - 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        rise = log_height[rows, inner + 1] - log_height[rows, inner]
        slope = rise / (grid[inner + 1] - grid[inner])
        chord = grid[inner] - (log_height[rows, inner] - level) / slope
    usable = (slope > 0.0) & (below >= 0)
    ends: FloatArray = np.where(usable, np.fmax(chord, grid[node]), grid[node])
    return ends
