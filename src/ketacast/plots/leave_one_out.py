"""Leave-one-out plots: a coefficient without each study in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ketacast.arrays import FloatArray, frozen
from ketacast.errors import InputError
from ketacast.estimators import BinomialMetaRegression, MetaRegression
from ketacast.plots.canvas import BLUE, GREY, INK, SKY, VERMILION, describe, minus
from ketacast.plots.data import PlotData, studies_counted
from ketacast.plots.layout import Column, Sheet, draw_intervals, make_sheet
from ketacast.plots.scales import (
    NullLine,
    Scale,
    Transformation,
    carry,
    refuse_decreasing,
    scale_of,
)
from ketacast.plots.source import fitted_estimator, is_pooled, model_facts, study_labels
from ketacast.plots.ticks import effect_axis, effect_limits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOT_WIDTH: Final = 3.3


@dataclass(frozen=True, slots=True)
class LeaveOneOutData(PlotData):
    """What a leave-one-out plot of k studies shows.

    Attributes
    ----------
    coefficient : str
        Which coefficient.
    labels : tuple of str
        The studies left out, in their own order.
    estimate, lower, upper : ndarray, shape (k,)
        The coefficient without the study, with its confidence interval, as drawn; NaN
        where the rest could not be fitted.
    tau2 : ndarray, shape (k,)
        Between-study variance without the study.
    whole, whole_lower, whole_upper : float
        The coefficient from all studies.
    whole_tau2 : float
        Between-study variance of all studies.
    level : float
        Coverage.
    scale : Scale
        What the coefficients are.
    facts : tuple of str
        The fit of all studies.
    """

    coefficient: str
    labels: tuple[str, ...]
    estimate: FloatArray
    lower: FloatArray
    upper: FloatArray
    tau2: FloatArray
    whole: float
    whole_lower: float
    whole_upper: float
    whole_tau2: float
    level: float
    scale: Scale
    facts: tuple[str, ...]

    def text(self) -> str:
        """Say what the figure shows, with its numbers.

        Returns
        -------
        str
            A title line, the whole, the range, the fit and one line per study.
        """
        scale, percent = self.scale, f"{100.0 * self.level:g} %"
        lines = [
            f"Leave-one-out plot of {studies_counted(len(self.labels))}: {scale.label}",
            (
                f"All studies: {scale.number(self.whole)}{scale.unit} ({percent} interval "
                f"{scale.between(self.whole_lower, self.whole_upper)}), tau2 {self.whole_tau2:.4f}."
            ),
            *self.notes(),
            *(f"{fact}." for fact in self.facts),
            "Without each study:",
        ]
        return "\n".join(lines + [self._row(i) for i in range(len(self.labels))])

    def notes(self) -> list[str]:
        """Say which studies move the coefficient most."""
        if np.all(np.isnan(self.estimate)):
            return ["Without any of the studies the rest cannot be fitted."]
        low, high = int(np.nanargmin(self.estimate)), int(np.nanargmax(self.estimate))
        scale = self.scale
        told = [
            (
                f"Smallest, {scale.number(self.estimate[low])}{scale.unit}, without "
                f"{self.labels[low]}; largest, {scale.number(self.estimate[high])}{scale.unit}, "
                f"without {self.labels[high]}."
            )
        ]
        unfitted = int(np.isnan(self.estimate).sum())
        if unfitted:
            told.append(f"{unfitted} of the fits cannot be made: the rest does not determine them.")
        return told

    def _row(self, i: int) -> str:
        if np.isnan(self.estimate[i]):
            return f"- {self.labels[i]}: cannot be fitted"
        return (
            f"- {self.labels[i]}: {self.scale.number(self.estimate[i])} "
            f"({self.scale.between(self.lower[i], self.upper[i])}), tau2 {self.tau2[i]:.4f}"
        )


def leave_one_out_data(
    estimator: object,
    coefficient: str | None = None,
    *,
    labels: Sequence[object] | None = None,
    transform: Transformation = None,
    effect_label: str | None = None,
    null: NullLine = "auto",
) -> LeaveOneOutData:
    """Compute what a leave-one-out plot shows.

    Parameters
    ----------
    estimator : MetaRegression or BinomialMetaRegression
        The fit.
    coefficient : str, optional
        One of ``coef_names_``; by default the first moderator's, or the pooled effect.
    labels : sequence, optional
        Names of the studies, see :func:`ketacast.plots.forest_data`.
    transform : {"PLO", "logit", "PAS", "PR", "exp"} or callable, optional
        Scale to draw. Of a moderator's coefficient only "exp" or a function: it is a
        difference, not an effect.
    effect_label : str, optional
        Title of the axis.
    null : float, "auto" or None
        Line of no effect, see :func:`ketacast.plots.forest_data`.

    Returns
    -------
    LeaveOneOutData

    Raises
    ------
    InputError
        For another estimator, an unknown coefficient and unusable arguments.
    """
    fit = _refittable(estimator)
    names = [str(name) for name in fit.coef_names_]
    name = _chosen(names, coefficient)
    pooled = is_pooled(fit)
    if not pooled and transform is not None and transform != "exp" and not callable(transform):
        raise InputError(
            f"transform is {transform!r} for the coefficient {name!r}, a difference between "
            "effects; use 'exp', or no transform"
        )
    estimate, lower, upper, tau2 = _without(fit, name)
    j = names.index(name)
    whole, low, high = carry(np.array([fit.coef_[j], *fit.ci_[j]]), transform).tolist()
    refuse_decreasing(np.array([low]), np.array([high]), transform)
    label = effect_label
    if label is None and not pooled:
        label = f"Coefficient of {name}" + (", exponentiated (log scale)" if transform else "")
    zero: NullLine = 0.0 if null == "auto" and transform is None and not pooled else null
    return LeaveOneOutData(
        coefficient=name,
        labels=study_labels(fit, labels),
        estimate=frozen(_carry_fitted(estimate, transform)),
        lower=frozen(_carry_fitted(lower, transform)),
        upper=frozen(_carry_fitted(upper, transform)),
        tau2=frozen(tau2),
        whole=whole,
        whole_lower=low,
        whole_upper=high,
        whole_tau2=float(fit.tau2_),
        level=float(fit.result_.level),
        scale=scale_of(fit, transform, label=label, null=zero, spread=float(fit.se_[j])),
        facts=model_facts(fit),
    )


def leave_one_out_plot(
    estimator: object,
    coefficient: str | None = None,
    *,
    labels: Sequence[object] | None = None,
    transform: Transformation = None,
    effect_label: str | None = None,
    null: NullLine = "auto",
) -> Figure:
    """Draw a coefficient without each study in turn, and that of all studies.

    Parameters
    ----------
    estimator, coefficient, labels, transform, effect_label, null
        See :func:`ketacast.plots.leave_one_out_data`.

    Returns
    -------
    matplotlib.figure.Figure
        Its label is the text equivalent.

    Raises
    ------
    InputError
        For another estimator, an unknown coefficient and unusable arguments.
    MissingDependencyError
        If matplotlib is not installed.
    """
    data = leave_one_out_data(
        estimator,
        coefficient,
        labels=labels,
        transform=transform,
        effect_label=effect_label,
        null=null,
    )
    sheet = _sheet(data)
    axes, k = sheet.axes, len(data.labels)
    whole = np.array([data.whole_lower, data.whole, data.whole_upper])
    limits = effect_limits(data.scale, [data.estimate, whole], [data.lower, data.upper])
    effect_axis(axes, data.scale, limits)
    axes.axvspan(whole[0], whole[2], color=SKY, alpha=0.25, lw=0, zorder=0, gid="whole-interval")
    axes.axvline(whole[1], color=VERMILION, lw=1.0, ls=(0, (4, 3)), zorder=1, gid="whole")
    if data.scale.null is not None:
        axes.axvline(data.scale.null, color=GREY, lw=0.9, zorder=1, gid="null-line")
    at, last = sheet.at[:k], sheet.at[k]
    draw_intervals(sheet, at, data.lower, data.upper, limits, gid="intervals")
    axes.scatter(
        data.estimate, at, s=(0.42 * sheet.line) ** 2, color=BLUE, edgecolors="white",
        linewidths=0.4, zorder=4, gid="estimates",
    )  # fmt: skip
    axes.hlines([last], whole[0], whole[2], color=INK, lw=1.4, zorder=3)
    axes.scatter(
        [whole[1]], [last], s=(0.55 * sheet.line) ** 2, marker="D", color=VERMILION,
        edgecolors=INK, linewidths=0.8, zorder=4,
    )  # fmt: skip
    return describe(sheet.figure, data.text())


def _carry_fitted(values: FloatArray, transform: Transformation) -> FloatArray:
    """Carry values to the drawn scale, leaving out those that could not be fitted."""
    moved = np.full(values.shape, np.nan)
    present = ~np.isnan(values)
    if present.any():
        moved[present] = carry(values[present], transform)
    return moved


def _refittable(estimator: object) -> MetaRegression | BinomialMetaRegression:
    fit = fitted_estimator(estimator)
    if not isinstance(fit, MetaRegression | BinomialMetaRegression):
        raise InputError(
            f"estimator is a {type(fit).__name__}, which has no leave_one_out; give a "
            "MetaRegression or a BinomialMetaRegression"
        )
    return fit


def _chosen(names: list[str], coefficient: str | None) -> str:
    if coefficient is None:
        return names[1] if len(names) > 1 and names[0] == "intercept" else names[0]
    if coefficient not in names:
        listed = ", ".join(repr(name) for name in names)
        raise InputError(f"coefficient is {coefficient!r}; choose one of {listed}")
    return coefficient


def _without(
    fit: MetaRegression | BinomialMetaRegression, name: str
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Coefficient, limits and tau2 of the fits without each study."""
    table = fit.leave_one_out()
    columns = (f"beta_{name}", f"ci_lb_{name}", f"ci_ub_{name}", "tau2")
    estimate, lower, upper, tau2 = (table[one].to_numpy(dtype=np.float64) for one in columns)
    return estimate, lower, upper, tau2


def _sheet(data: LeaveOneOutData) -> Sheet:
    scale = data.scale
    rows = [*zip(data.estimate, data.lower, data.upper, strict=True)]
    rows.append((data.whole, data.whole_lower, data.whole_upper))
    effects = tuple(
        "cannot be fitted" if np.isnan(row[0]) else minus(scale.bracketed(*row)) for row in rows
    )
    tau2 = tuple("" if np.isnan(one) else f"{one:.4f}" for one in (*data.tau2, data.whole_tau2))
    return make_sheet(
        [Column("Study left out", (*data.labels, "None (all studies)"), "left")],
        [
            Column(f"Estimate [{100.0 * data.level:g} % CI]", effects, "right"),
            Column("τ²", tau2, "right"),
        ],
        plot_width=PLOT_WIDTH,
        breaks=(len(data.labels),),
        xlabel=scale.label,
        notes=[
            *(f"{fact}." for fact in data.facts),
            *data.notes(),
            "Shaded: interval of all studies.",
        ],
    )
