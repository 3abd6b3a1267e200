"""The chance of response and remission over a patient's infusions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ketacast.plots.canvas import BLUE, VERMILION, describe, new_figure
from ketacast.prediction import CoursePoint, OutcomeEstimate, Prediction
from ketacast.prediction_text import RATERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final = {"response": BLUE, "remission": VERMILION}
"""Blue and vermilion of the Okabe-Ito palette."""


def course_figure(prediction: Prediction) -> Figure:
    """Draw the chance of response and remission after each infusion, with ranges.

    Parameters
    ----------
    prediction : Prediction
        What to draw.

    Returns
    -------
    matplotlib.figure.Figure
        Its label is the prediction in words.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    figure = new_figure(8.0, 3.6)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, outcome in zip(axes, ("response", "remission"), strict=True):
        _panel(axis, prediction.course, outcome)
    axes[0].set_ylabel("patients of 100")
    low, high = prediction.inputs.failed_trials
    trials = str(low) if low == high else f"{low} to {high}"
    figure.suptitle(
        f"{trials} failed trials, {prediction.inputs.infusions} infusions, "
        f"{RATERS[prediction.inputs.rated_by]}  (model {prediction.model.version})"
    )
    return describe(figure, str(prediction))


def _panel(axis: Axes, course: tuple[CoursePoint, ...], outcome: str) -> None:
    at = [point.infusion for point in course]
    estimates: list[OutcomeEstimate] = [getattr(point, outcome) for point in course]
    colour = COLOURS[outcome]
    for level, alpha in zip(
        sorted(estimates[0].new_clinic, reverse=True), (0.18, 0.30), strict=False
    ):
        axis.fill_between(
            at,
            [100 * one.new_clinic[level].low for one in estimates],
            [100 * one.new_clinic[level].high for one in estimates],
            color=colour,
            alpha=alpha,
            linewidth=0,
            label=f"a new clinic, {100 * level:g} % range",
        )
    axis.plot(
        at,
        [100 * one.expected for one in estimates],
        color=colour,
        marker="o",
        markersize=4,
        label="expected",
    )
    last = estimates[-1]
    axis.annotate(
        f"{100 * last.expected:.0f}",
        (at[-1], 100 * last.expected),
        textcoords="offset points",
        xytext=(6, -4),
    )
    axis.set(title=outcome.capitalize(), xlabel="after infusion", ylim=(0, 100), xticks=at)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.3)
    axis.legend(loc="upper left", frameon=False, fontsize=8)
