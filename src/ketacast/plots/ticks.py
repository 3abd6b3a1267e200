"""Where an axis of effects begins and ends, and its ticks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ketacast.arrays import FloatArray
from ketacast.plots.canvas import minus
from ketacast.plots.scales import Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Intervals wider than this many times the spread of the estimates are cut, with an
#: arrow, so that one imprecise study does not squeeze all others.
MOST_STRETCH: Final = 2.5


def effect_limits(
    scale: Scale, core: list[FloatArray], whole: list[FloatArray]
) -> tuple[float, float]:
    """Find ends of an axis that show all of `core` and as much of `whole` as is sensible.

    Parameters
    ----------
    scale : Scale
        The drawn scale.
    core : list of ndarray
        What must be seen: estimates, means, prediction intervals.
    whole : list of ndarray
        What may be cut with an arrow: limits of studies.
    """
    null = np.array([] if scale.null is None else [scale.null])
    inner = _line(scale, np.concatenate([*core, null]))
    outer = _line(scale, np.concatenate([*core, *whole]))
    low, high = float(inner.min()), float(inner.max())
    span = high - low if high > low else max(1.0, abs(high))
    room = 0.5 * (MOST_STRETCH - 1.0) * span
    low = min(low, max(float(outer.min()), low - room))
    high = max(high, min(float(outer.max()), high + room))
    pad = 0.04 * (high - low if high > low else 1.0)
    low, high = low - pad, high + pad
    if scale.kind == "percent":
        low, high = max(low, -2.0), min(high, 102.0)
    return (float(np.exp(low)), float(np.exp(high))) if scale.kind == "ratio" else (low, high)


def _line(scale: Scale, values: FloatArray) -> FloatArray:
    """Values on the straight line of the axis, infinite ones left out."""
    with np.errstate(divide="ignore"):
        straight = np.log(values) if scale.kind == "ratio" else values
    return np.asarray(straight[np.isfinite(straight)], dtype=np.float64)


def effect_axis(axes: Axes, scale: Scale, limits: tuple[float, float], *, along: str = "x") -> None:
    """Set the ends, the ticks and their labels of an axis of effects."""
    from matplotlib.ticker import (  # noqa: PLC0415 - optional
        FixedLocator,
        FuncFormatter,
        MaxNLocator,
        NullLocator,
    )

    axis = axes.xaxis if along == "x" else axes.yaxis
    if scale.kind == "ratio":
        (axes.set_xscale if along == "x" else axes.set_yscale)("log")
        axis.set_major_locator(FixedLocator(ratio_ticks(*limits)))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: minus(f"{value:.6g}")))
    (axes.set_xlim if along == "x" else axes.set_ylim)(*limits)


def ratio_ticks(low: float, high: float) -> list[float]:
    """Round ratios between two ends, at most eight."""
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1.0)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [d * 10.0**e for e in decades for d in digits if low <= d * 10.0**e <= high]
        if 3 <= len(ticks) <= 8:
            return ticks
    whole = [10.0**e for e in decades if low <= 10.0**e <= high]
    if len(whole) > 3:
        return whole[:: int(np.ceil(len(whole) / 6))]
    # A narrow axis: even steps, whose size has one digit.
    raw = (high - low) / 4.0
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * min((1.0, 2.0, 5.0, 10.0), key=lambda m: abs(m * power - raw))
    return [float(i * step) for i in range(int(np.ceil(low / step)), int(high / step) + 1)]
