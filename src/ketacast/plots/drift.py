"""A clinic's results over time beside what the model expects of a new clinic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ketacast.plots.canvas import describe, new_figure
from ketacast.plots.course import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ketacast.updating.drift import Drift, DriftPoint


def drift_figure(drift: Drift) -> Figure:
    """Draw the results so far, batch by batch, inside their predictive ranges.

    Parameters
    ----------
    drift : Drift
        From :func:`ketacast.updating.drift.check_drift`.

    Returns
    -------
    matplotlib.figure.Figure
        Its label is the check in words.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    figure = new_figure(8.0, 3.6)
    recorded = [
        outcome
        for outcome in ("response", "remission")
        if any(point.outcome == outcome for point in drift.points)
    ]
    axes = figure.subplots(1, max(1, len(recorded)), sharey=True, squeeze=False)[0]
    for axis, outcome in zip(axes, recorded, strict=False):
        _panel(axis, [point for point in drift.points if point.outcome == outcome], outcome)
    axes[0].set_ylabel("all patients so far, of 100")
    figure.suptitle(f"fits the model: {drift.fits_model};  unchanged: {drift.unchanged}")
    return describe(figure, _text(drift))


def _panel(axis: Axes, points: list[DriftPoint], outcome: str) -> None:
    at = list(range(len(points)))
    colour = COLOURS[outcome]
    low = [100 * point.so_far.interval[0] for point in points]
    high = [100 * point.so_far.interval[1] for point in points]
    axis.fill_between(
        at, low, high, color=colour, alpha=0.2, linewidth=0, label="expected, 95 % range"
    )
    expected = [100 * point.so_far.expected for point in points]
    axis.plot(at, expected, color=colour, linestyle="--", label="expected of a new clinic")
    seen = [100 * point.so_far.share for point in points]
    axis.plot(at, seen, color=colour, marker="o", linestyle="none", label="seen")
    axis.set(title=outcome.capitalize(), ylim=(0, 100), xticks=at)
    axis.set_xticklabels([point.batch for point in points], rotation=30, ha="right")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(loc="upper right", frameon=False, fontsize=8)


def _text(drift: Drift) -> str:
    first = f"Fits the model: {drift.fits_model}. Unchanged over time: {drift.unchanged}."
    parts = ["A clinic's results beside the model.", first]
    parts.extend(
        f"{point.batch}, {point.outcome}: {point.so_far.observed} of {point.so_far.patients} so "
        f"far, expected {100 * point.so_far.expected:.0f} % "
        f"({100 * point.so_far.interval[0]:.0f} to {100 * point.so_far.interval[1]:.0f} %), "
        f"adjusted p {point.so_far.adjusted:.3f}."
        for point in drift.points
    )
    return " ".join(parts)
