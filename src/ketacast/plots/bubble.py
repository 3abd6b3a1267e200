"""Bubble plots: effects against one moderator, with the regression."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ketacast.arrays import FloatArray
from ketacast.plots.bubble_numbers import BubbleData, bubble_data
from ketacast.plots.canvas import (
    BLUE,
    GREY,
    INK,
    SMALL,
    VERMILION,
    caption,
    describe,
    legend,
    minus,
    new_figure,
    style_axes,
)
from ketacast.plots.data import studies_counted
from ketacast.plots.scales import NullLine, Transformation
from ketacast.plots.ticks import effect_axis, effect_limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Characters per line of the note under the figure.
COLUMNS: Final = 104
#: Points squared of the largest bubble with few and with many studies.
LARGEST: Final = (420.0, 160.0)
#: Half width of the column of a level, and where its interval stands in it.
HALF_COLUMN: Final = 0.22
ASIDE: Final = 0.32


def bubble_plot(
    estimator: object,
    moderator: Hashable,
    *,
    at: Mapping[Hashable, object] | None = None,
    transform: Transformation = None,
    level: float | None = None,
    labels: Sequence[object] | None = None,
    effect_label: str | None = None,
    null: NullLine = "auto",
) -> Figure:
    """Draw the studies' effects against a moderator, with the regression.

    The areas of the bubbles are proportional to the studies' weights. A moderator that is
    a number has a line with the band of its confidence interval and that of the
    prediction interval; a factor has one column per level. What the other moderators
    are held at is said below the figure.

    Parameters
    ----------
    estimator, moderator, at, transform, level, labels, effect_label, null
        See :func:`ketacast.plots.bubble_data`.

    Returns
    -------
    matplotlib.figure.Figure
        Its label is the text equivalent.

    Raises
    ------
    InputError
        For a name that is not a moderator of the fit, and unusable arguments.
    MissingDependencyError
        If matplotlib is not installed.
    """
    shown = bubble_data(
        estimator,
        moderator,
        at=at,
        transform=transform,
        level=level,
        labels=labels,
        effect_label=effect_label,
        null=null,
    )
    figure = new_figure(6.6, 4.8)
    axes = figure.add_subplot()
    style_axes(axes, xlabel=shown.moderator, ylabel=shown.scale.label)
    everything = [shown.effect, shown.mean_lower, shown.mean_upper]
    predictions = [shown.prediction_lower, shown.prediction_upper]
    effect_axis(axes, shown.scale, effect_limits(shown.scale, everything, predictions), along="y")
    if shown.scale.null is not None:
        axes.axhline(shown.scale.null, color=GREY, lw=0.9, zorder=1, gid="null-line")
    keys = _line(axes, shown) if shown.levels is None else _columns(axes, shown)
    legend(figure, [*keys, _bubble_key()], 4)
    caption(figure, [*(f"{fact}." for fact in shown.facts), *shown.notes()], COLUMNS)
    return describe(figure, shown.text())


def _line(axes: Axes, data: BubbleData) -> list[Any]:
    percent = f"{100.0 * data.level:g} %"
    outer = axes.fill_between(
        data.at, data.prediction_lower, data.prediction_upper, facecolor=VERMILION, alpha=0.13,
        lw=0, label=f"{percent} prediction interval", gid="prediction",
    )  # fmt: skip
    for edge in (data.prediction_lower, data.prediction_upper):
        axes.plot(data.at, edge, color=VERMILION, lw=0.9, ls=(0, (4, 3)))
    inner = axes.fill_between(
        data.at, data.mean_lower, data.mean_upper, facecolor=VERMILION, alpha=0.32, lw=0,
        label=f"{percent} {data.interval} interval", gid="means",
    )  # fmt: skip
    (line,) = axes.plot(
        data.at, data.mean, color=VERMILION, lw=1.8, label="regression", gid="regression"
    )
    span = data.at[-1] - data.at[0] or 1.0
    axes.set_xlim(data.at[0] - 0.05 * span, data.at[-1] + 0.05 * span)
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415 - optional

    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: minus(f"{value:.6g}")))
    _bubbles(axes, data, data.x)
    return [line, inner, outer]


def _columns(axes: Axes, data: BubbleData) -> list[Any]:
    percent = f"{100.0 * data.level:g} %"
    side = data.at + ASIDE
    outer = axes.vlines(
        side, data.prediction_lower, data.prediction_upper, color=VERMILION, lw=1.2,
        ls=(0, (3, 2)), label=f"{percent} prediction interval", gid="prediction",
    )  # fmt: skip
    inner = axes.vlines(
        side, data.mean_lower, data.mean_upper, color=VERMILION, lw=4.0,
        label=f"{percent} {data.interval} interval", gid="means",
    )  # fmt: skip
    (line,) = axes.plot(
        side, data.mean, "D", color="white", mec=INK, ms=6.0, label="mean", gid="regression"
    )
    levels = data.levels or ()
    counts = [int(np.sum(data.x == position)) for position in data.at]
    axes.set_xticks(
        data.at, [f"{name}\n{studies_counted(n)}" for name, n in zip(levels, counts, strict=True)]
    )
    axes.tick_params(axis="x", length=0.0, labelsize=SMALL)
    axes.set_xlim(-0.6, len(levels) - 0.4)
    _bubbles(axes, data, data.x + _spread(data))
    return [line, inner, outer]


def _spread(data: BubbleData) -> FloatArray:
    """Sideways shifts within a level, so that bubbles do not hide each other."""
    shift = np.zeros_like(data.x)
    for position in data.at:
        inside = np.flatnonzero(data.x == position)
        ranked = inside[np.argsort(data.effect[inside], kind="stable")]
        # Neighbours in effect go to alternating sides.
        lanes = np.array([0.0, 1.0, -1.0, 0.5, -0.5])
        if ranked.size > 1:
            shift[ranked] = HALF_COLUMN * lanes[np.arange(ranked.size) % lanes.size]
    return shift - 0.06


def _bubbles(axes: Axes, data: BubbleData, x: FloatArray) -> None:
    largest = float(np.interp(data.x.size, [20, 80], LARGEST))
    order = np.argsort(-data.weight, kind="stable")  # small ones on top
    axes.scatter(
        x[order], data.effect[order], s=largest * data.weight[order] / data.weight.max(),
        facecolor=BLUE, alpha=0.55, edgecolors=INK, linewidths=0.7, zorder=4, gid="studies",
    )  # fmt: skip


def _bubble_key() -> Any:
    from matplotlib.lines import Line2D  # noqa: PLC0415 - optional

    return Line2D(
        [], [], marker="o", ls="none", mfc=BLUE, mec=INK, alpha=0.7, ms=8,
        label="study, area by weight",
    )  # fmt: skip
