"""Forest plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from ketacast.arrays import FloatArray
from ketacast.plots.canvas import BLUE, GREY, INK, PALE_ORANGE, SKY, VERMILION, describe, minus
from ketacast.plots.forest_numbers import ForestData, ForestOrder, forest_data
from ketacast.plots.layout import Column, Sheet, draw_intervals, make_sheet
from ketacast.plots.scales import NullLine, Transformation
from ketacast.plots.ticks import effect_axis, effect_limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Inches of the axis.
PLOT_WIDTH: Final = 3.3
#: Half heights in lines of text: diamonds, and bars of prediction intervals.
HALF_DIAMOND: Final = 0.34
HALF_BAR: Final = 0.11
HEADS: Final = {"effect": "Effect", "percent": "Percent", "ratio": "Ratio", "other": "Value"}


def forest_plot(
    estimator: object,
    labels: Sequence[object] | None = None,
    *,
    transform: Transformation = None,
    order: ForestOrder | None = None,
    level: float | None = None,
    effect_label: str | None = None,
    null: NullLine = "auto",
) -> Figure:
    """Draw the studies, their weights, and the pooled effect or the fitted ones.

    Squares are as large as the studies' weights. Without moderators a diamond shows the
    pooled effect with its confidence interval, and a bar below it the prediction
    interval. With moderators each row has the fitted effect of its study as a diamond
    and its prediction interval as a bar.

    Parameters
    ----------
    estimator, labels, transform, order, level, effect_label, null
        See :func:`ketacast.plots.forest_data`.

    Returns
    -------
    matplotlib.figure.Figure
        As large as its content; its label is the text equivalent.

    Raises
    ------
    InputError
        For unusable arguments.
    MissingDependencyError
        If matplotlib is not installed.
    """
    data = forest_data(
        estimator,
        labels,
        transform=transform,
        order=order,
        level=level,
        effect_label=effect_label,
        null=null,
    )
    sheet = _sheet(data)
    k = len(data.labels)
    studies = sheet.at[:k]
    limits = effect_limits(
        data.scale,
        [data.estimate, data.mean, data.prediction_lower, data.prediction_upper],
        [data.lower, data.upper],
    )
    effect_axis(sheet.axes, data.scale, limits)
    if data.scale.null is not None:
        sheet.axes.axvline(data.scale.null, color=GREY, lw=0.9, zorder=1, gid="null-line")
    means = sheet.at[k:] if data.pooled else studies
    if data.pooled:
        sheet.axes.vlines(
            data.mean[0], 0.0, means[0], color=VERMILION, lw=0.9, ls=(0, (4, 3)), zorder=1
        )
    _predictions(sheet, data, means[1:] if data.pooled else means)
    _diamonds(sheet, data, means[:1] if data.pooled else means)
    _studies(sheet, data, studies, limits)
    return describe(sheet.figure, data.text())


def _sheet(data: ForestData) -> Sheet:
    scale, percent = data.scale, f"{100.0 * data.level:g} %"
    noun = "CI" if data.interval == "confidence" else "CrI"
    names = list(data.labels)
    effects = [
        scale.bracketed(*row) for row in zip(data.estimate, data.lower, data.upper, strict=True)
    ]
    weights = [f"{weight:.1f}" for weight in data.weight]
    fitted = [
        scale.bracketed(*row)
        for row in zip(data.mean, data.mean_lower, data.mean_upper, strict=True)
    ]
    if data.pooled:
        low, high = data.prediction_lower[0], data.prediction_upper[0]
        names += [f"Pooled effect ({percent} {noun})", f"Prediction interval ({percent})"]
        effects += [fitted[0], f"[{scale.number(low)}, {scale.number(high)}]"]
        weights += ["100.0", ""]
    right = [
        Column(
            f"{HEADS[scale.kind]} [{percent} CI]", tuple(minus(cell) for cell in effects), "right"
        ),
        Column("Weight, %", tuple(weights), "right"),
    ]
    if not data.pooled:
        cells = tuple(minus(cell) for cell in fitted)
        right.append(Column(f"Fitted [{percent} {noun}]", cells, "right"))
    return make_sheet(
        [Column("Study", tuple(names), "left")],
        right,
        plot_width=PLOT_WIDTH,
        breaks=(len(data.labels),) if data.pooled else (),
        xlabel=scale.label,
        notes=[*(f"{fact}." for fact in data.facts), _key(data)],
    )


def _key(data: ForestData) -> str:
    if data.pooled:
        return "Squares: studies, area by weight."
    return (
        "Squares: studies, area by weight. Diamonds: effects fitted from the moderators. Pale "
        "bars: prediction intervals."
    )


def _studies(sheet: Sheet, data: ForestData, at: FloatArray, limits: tuple[float, float]) -> None:
    draw_intervals(sheet, at, data.lower, data.upper, limits, gid="study-intervals")
    side = 0.62 * sheet.line * np.sqrt(data.weight / data.weight.max())
    sheet.axes.scatter(
        data.estimate, at, s=np.maximum(side, 2.5) ** 2, marker="s", color=BLUE,
        edgecolors="white", linewidths=0.4, zorder=4, gid="studies",
    )  # fmt: skip


def _diamonds(sheet: Sheet, data: ForestData, at: FloatArray) -> None:
    corners = [
        [(low, y), (mean, y - HALF_DIAMOND), (high, y), (mean, y + HALF_DIAMOND)]
        for low, mean, high, y in zip(
            data.mean_lower, data.mean, data.mean_upper, at, strict=True
        )
    ]  # fmt: skip
    from matplotlib.collections import PolyCollection  # noqa: PLC0415 - optional

    shapes = PolyCollection(corners, linewidths=0.8 if data.pooled else 0.3, zorder=2)
    shapes.set(facecolor=VERMILION if data.pooled else PALE_ORANGE, edgecolor=INK, gid="means")
    sheet.axes.add_collection(shapes)


def _predictions(sheet: Sheet, data: ForestData, at: FloatArray) -> None:
    half = HALF_BAR if data.pooled else HALF_DIAMOND
    sheet.axes.barh(
        at,
        data.prediction_upper - data.prediction_lower,
        left=data.prediction_lower,
        height=2.0 * half,
        color=SKY,
        edgecolor=INK if data.pooled else "none",
        alpha=1.0 if data.pooled else 0.25,
        linewidth=0.7,
        zorder=1,
        gid="prediction",
    )
