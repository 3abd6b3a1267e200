"""The share of responders still in response, by week after the course."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ketacast.plots.canvas import BLUE, describe, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ketacast.clinical.durability_parts import DurabilityCurve

_TITLES = {
    "": "without maintenance",
    "responders": "with maintenance (hazard ratio of esketamine responders, transported)",
    "remitters": "with maintenance (hazard ratio of esketamine remitters, transported)",
}


def after_figure(curve: DurabilityCurve) -> Figure:
    """Draw a curve of time in response with its ranges.

    Parameters
    ----------
    curve : DurabilityCurve
        What to draw.

    Returns
    -------
    matplotlib.figure.Figure
        Its label is the curve in words.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    figure = new_figure(7.0, 3.8)
    axis = figure.subplots()
    for place, alpha in sorted(enumerate(curve.levels), key=lambda pair: -pair[1]):
        axis.fill_between(
            curve.weeks,
            [100 * share.new_clinic[place][0] for share in curve.share],
            [100 * share.new_clinic[place][1] for share in curve.share],
            color=BLUE,
            alpha=0.34 - 0.16 * (alpha == max(curve.levels)),
            linewidth=0,
            label=f"a new clinic, {100 * curve.levels[place]:g} % range",
        )
    expected = [100 * share.expected for share in curve.share]
    axis.plot(curve.weeks, expected, color=BLUE, label="expected")
    axis.set(
        xlabel="weeks after the last infusion",
        ylabel="responders still in response, of 100",
        ylim=(0, 100),
        xlim=(0, max(curve.weeks)),
        title=_TITLES[curve.maintenance],
    )
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(loc="upper right", frameon=False, fontsize=8)
    return describe(figure, _text(curve))


def _text(curve: DurabilityCurve) -> str:
    level = curve.levels[0]
    parts = [f"Responders still in response after the course, {_TITLES[curve.maintenance]}."]
    parts.extend(
        f"Week {week:g}: about {100 * share.expected:.0f} of 100, {100 * level:g} % range of a new "
        f"clinic {100 * share.new_clinic[0][0]:.0f} to {100 * share.new_clinic[0][1]:.0f}."
        for week, share in zip(curve.weeks, curve.share, strict=True)
        if week % 4 == 0
    )
    return " ".join([*parts, *(f"{limit[0].upper()}{limit[1:]}." for limit in curve.limits)])
