"""Funnel plots: effects, or residuals, against standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ketacast.arrays import FloatArray, frozen
from ketacast.errors import InputError
from ketacast.estimators import MetaRegression
from ketacast.estimators.base import MetaEstimator
from ketacast.numerics.inference import critical_value
from ketacast.plots.canvas import (
    BLUE,
    GREY,
    INK,
    VERMILION,
    caption,
    describe,
    legend,
    minus,
    new_figure,
    style_axes,
)
from ketacast.plots.data import PlotData, studies_counted
from ketacast.plots.scales import decimals
from ketacast.plots.source import (
    fitted_estimator,
    is_pooled,
    model_facts,
    predict_rows,
    study_effects,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEVELS: Final = (0.90, 0.95, 0.99)
_SHADES: Final = ("#CFCFCF", "#E2E2E2", "#F1F1F1")
_DASHES: Final = (":", "--", "-")
COLUMNS: Final = 104


@dataclass(frozen=True, slots=True)
class FunnelData(PlotData):
    """What a funnel plot of k studies shows.

    Attributes
    ----------
    labels : tuple of str
        The studies.
    x : ndarray, shape (k,)
        Effects; with moderators their distances from the fitted ones.
    se : ndarray, shape (k,)
        Standard errors.
    centre : float
        Pooled effect; 0 for distances.
    residual : bool
        Whether `x` holds distances.
    largest_se : float
        Where the funnel ends.
    levels : tuple of float
        Levels of the pseudo-confidence limits.
    half_width : ndarray, shape (levels,)
        Distance of the limits from the centre at `largest_se`; 0 at the top.
    outside : tuple of int
        Studies beyond the limits of each level.
    egger : tuple of float or None
        Effect at standard error 0, slope and p-value of the asymmetry test, where the
        line is drawn.
    x_label : str
        Title of the axis.
    facts : tuple of str
        The fit and its heterogeneity.
    """

    labels: tuple[str, ...]
    x: FloatArray
    se: FloatArray
    centre: float
    residual: bool
    largest_se: float
    levels: tuple[float, ...]
    half_width: FloatArray
    outside: tuple[int, ...]
    egger: tuple[float, float, float] | None
    x_label: str
    facts: tuple[str, ...]

    def text(self) -> str:
        """Say what the figure shows, with its numbers.

        Returns
        -------
        str
            A title line, the limits, the test, the fit and one line per study.
        """
        digits = decimals(float(np.median(self.se)))
        count = studies_counted(len(self.labels))
        lines = [
            f"Funnel plot of {count}: {self.x_label} against standard error",
            (
                f"Centre at {self.centre:.{digits}f}; standard errors from 0 (top) to "
                f"{self.largest_se:.{digits}f}."
            ),
            *self.notes(),
            *(f"{fact}." for fact in self.facts),
            "Studies, with standard errors:",
        ]
        shown = zip(self.labels, self.x, self.se, strict=True)
        return "\n".join(
            lines + [f"- {name}: {x:.{digits}f} ({se:.{digits}f})" for name, x, se in shown]
        )

    def notes(self) -> list[str]:
        """How many studies lie outside, and the test of asymmetry."""
        counts = ", ".join(
            f"{count} outside {100.0 * level:g} %"
            for count, level in zip(self.outside, self.levels, strict=True)
        )
        told = [
            (
                f"Pseudo-confidence limits hold if sampling error were all there is: {counts}, of "
                f"{studies_counted(len(self.labels))}."
            )
        ]
        if self.egger is not None:
            limit, slope, p = self.egger
            told.append(
                f"Egger's regression: {limit:.3g} at standard error 0, slope {slope:.3g}, p = "
                f"{p:.3g}; asymmetry has more causes than unpublished studies."
            )
        return told


def funnel_data(
    estimator: object,
    *,
    labels: Sequence[object] | None = None,
    egger: bool = False,
    effect_label: str | None = None,
) -> FunnelData:
    """Compute what a funnel plot shows.

    Parameters
    ----------
    estimator : MetaRegression or another fitted meta-regression
        The fit; with moderators, distances from the fitted effects are drawn. Counts
        have logits, with 1/2 added to events and non-events where one of them is 0.
    labels : sequence, optional
        Names of the studies, see :func:`ketacast.plots.forest_data`.
    egger : bool
        Draw the line of Egger's regression test; for a MetaRegression without
        moderators.
    effect_label : str, optional
        Title of the axis.

    Returns
    -------
    FunnelData

    Raises
    ------
    InputError
        For unusable arguments, and `egger` where there is no such line.

    Notes
    -----
    Limits at standard error s are ``centre -+ z s`` (Sterne & Egger 2001, J Clin
    Epidemiol 54:1046).
    """
    fit = fitted_estimator(estimator)
    studies = study_effects(fit, labels, 0.95)
    pooled = is_pooled(fit)
    fitted = predict_rows(fit, fit.studies_.matrix, 0.95).mean
    x = studies.y if pooled else studies.y - fitted
    centre = float(fitted[0]) if pooled else 0.0
    largest = 1.05 * float(studies.se.max())
    z = np.array([critical_value(level, None) for level in LEVELS])
    away = np.abs(x - centre)
    default = "Effect" if pooled else "Distance from the fitted effect"
    return FunnelData(
        labels=studies.labels,
        x=frozen(x),
        se=frozen(studies.se),
        centre=centre,
        residual=not pooled,
        largest_se=largest,
        levels=LEVELS,
        half_width=frozen(z * largest),
        outside=tuple(int(np.sum(away > one * studies.se)) for one in z),
        egger=_egger(fit) if egger else None,
        x_label=default if effect_label is None else effect_label,
        facts=model_facts(fit),
    )


def funnel_plot(
    estimator: object,
    *,
    labels: Sequence[object] | None = None,
    egger: bool = False,
    effect_label: str | None = None,
) -> Figure:
    """Draw effects, or distances from the fitted ones, against standard errors.

    The most precise studies are at the top. The shaded funnel shows where 90, 95 and 99 %
    of studies would lie if they differed by sampling error alone.

    Parameters
    ----------
    estimator, labels, egger, effect_label
        See :func:`ketacast.plots.funnel_data`.

    Returns
    -------
    matplotlib.figure.Figure
        Its label is the text equivalent.

    Raises
    ------
    InputError
        For unusable arguments.
    MissingDependencyError
        If matplotlib is not installed.
    """
    data = funnel_data(estimator, labels=labels, egger=egger, effect_label=effect_label)
    figure = new_figure(6.6, 5.0)
    axes = figure.add_subplot()
    style_axes(axes, xlabel=data.x_label, ylabel="Standard error")
    keys = _funnel(axes, data)
    points = axes.scatter(
        data.x, data.se, s=30.0, facecolor=BLUE, edgecolors="white", linewidths=0.5, zorder=4,
        label="study", gid="studies",
    )  # fmt: skip
    keys.insert(0, points)
    if data.egger is not None:
        limit, slope, _ = data.egger
        ends = np.array([0.0, data.largest_se])
        keys += axes.plot(
            limit + slope * ends, ends, color=VERMILION, lw=1.6, ls="-.", zorder=3,
            label="Egger's regression", gid="egger",
        )  # fmt: skip
    axes.set_ylim(data.largest_se, 0.0)
    reach = max(float(np.abs(data.x - data.centre).max()), float(data.half_width[-1]))
    axes.set_xlim(data.centre - 1.06 * reach, data.centre + 1.06 * reach)
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415 - optional

    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: minus(f"{value:.6g}")))
    legend(figure, keys, 5)
    caption(figure, [*(f"{fact}." for fact in data.facts), *data.notes()], COLUMNS)
    return describe(figure, data.text())


def _funnel(axes: Axes, data: FunnelData) -> list[object]:
    keys: list[object] = []
    ends = [0.0, data.largest_se]
    shapes = list(zip(data.levels, data.half_width, _SHADES, _DASHES, strict=True))
    for place, (level, half, shade, dash) in enumerate(reversed(shapes)):
        filled = axes.fill_betweenx(
            ends, [data.centre, data.centre - half], [data.centre, data.centre + half],
            facecolor=shade, edgecolor="none", zorder=1 + 0.1 * place,
            label=f"{100.0 * level:g} % limits", gid=f"funnel-{100.0 * level:g}",
        )  # fmt: skip
        for side in (-half, half):
            axes.plot(
                [data.centre, data.centre + side], ends, color=GREY, lw=0.8, ls=dash, zorder=2
            )
        keys.insert(0, filled)
    axes.axvline(data.centre, color=INK, lw=0.9, zorder=2, gid="centre")
    return keys


def _egger(fit: MetaEstimator) -> tuple[float, float, float]:
    if not isinstance(fit, MetaRegression) or not is_pooled(fit):
        raise InputError(
            f"egger is True for a {type(fit).__name__} with {fit.coef_.size} coefficient(s); the "
            "line needs a MetaRegression without moderators, leave it out"
        )
    found = fit.egger_test()
    return float(found.fit.beta[0]), float(found.fit.beta[-1]), float(found.p_value)
