"""Bubble plot of one moderator: its numbers, and the same in words."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ketacast.arrays import FloatArray, frozen
from ketacast.design.columns import Column
from ketacast.errors import InputError
from ketacast.estimators.base import MetaEstimator
from ketacast.plots.data import PlotData, studies_counted
from ketacast.plots.moderators import find_moderator, varied_rows
from ketacast.plots.scales import (
    NullLine,
    Scale,
    Transformation,
    carry,
    refuse_decreasing,
    scale_of,
)
from ketacast.plots.source import (
    fitted_estimator,
    interval_noun,
    level_of,
    model_facts,
    study_effects,
)

#: Points of a line.
GRID: Final = 101


@dataclass(frozen=True, slots=True)
class BubbleData(PlotData):
    """What a bubble plot of k studies shows.

    Attributes
    ----------
    moderator : str
        The moderator across.
    levels : tuple of str or None
        Levels of a factor; None for numbers.
    labels : tuple of str
        The studies.
    x : ndarray, shape (k,)
        Their moderator; for a factor the level's position, from 0.
    effect : ndarray, shape (k,)
        Their effects on the drawn scale, as observed.
    weight : ndarray, shape (k,)
        Percent.
    at : ndarray, shape (m,)
        Where the regression is drawn: a grid, or the levels' positions.
    mean, mean_lower, mean_upper : ndarray, shape (m,)
        The regression with its interval.
    prediction_lower, prediction_upper : ndarray, shape (m,)
        Where the true effect of a new study is expected.
    held : dict of str to number or text
        Values of the other moderators along the regression.
    level : float
        Coverage of all intervals.
    interval : {"confidence", "credible"}
        What the intervals of the regression are.
    scale : Scale
        What the effects are.
    facts : tuple of str
        The fit, its heterogeneity and its tests.
    """

    moderator: str
    levels: tuple[str, ...] | None
    labels: tuple[str, ...]
    x: FloatArray
    effect: FloatArray
    weight: FloatArray
    at: FloatArray
    mean: FloatArray
    mean_lower: FloatArray
    mean_upper: FloatArray
    prediction_lower: FloatArray
    prediction_upper: FloatArray
    held: dict[str, Any]
    level: float
    interval: str
    scale: Scale
    facts: tuple[str, ...]

    def text(self) -> str:
        """Say what the figure shows, with its numbers.

        Returns
        -------
        str
            A title line, the regression at its ends and middle (or at the levels), the
            other moderators, the fit, and one line per study.
        """
        shown = range(self.at.size)
        if self.levels is None:
            shown = range(0, self.at.size, (self.at.size - 1) // 2)
        count = studies_counted(len(self.labels))
        lines = [
            f"Bubble plot of {count}: {self.scale.label} by {self.moderator}",
            (
                f"Regression with {100.0 * self.level:g} % {self.interval} interval and prediction "
                "interval:"
            ),
            *(self._regression(i) for i in shown),
            *self.notes(),
            *(f"{fact}." for fact in self.facts),
            f"Studies, with {self.moderator} and weight:",
        ]
        return "\n".join(lines + [self._study(i) for i in range(len(self.labels))])

    def notes(self) -> list[str]:
        """Say what the other moderators are held at, and what the points are."""
        if not self.held:
            return []
        held = ", ".join(f"{name} = {_written(value)}" for name, value in self.held.items())
        return [f"Other moderators held at {held}; studies are drawn as observed, not adjusted."]

    def _where(self, x: float) -> str:
        name = _written(float(x)) if self.levels is None else self.levels[int(x)]
        return f"{self.moderator} {name}"

    def _regression(self, i: int) -> str:
        scale = self.scale
        return (
            f"- at {self._where(self.at[i])}: {scale.number(self.mean[i])}{scale.unit} "
            f"({scale.between(self.mean_lower[i], self.mean_upper[i])}), prediction interval "
            f"{scale.between(self.prediction_lower[i], self.prediction_upper[i])}"
        )

    def _study(self, i: int) -> str:
        return (
            f"- {self.labels[i]}: {self.scale.number(self.effect[i])}{self.scale.unit} at "
            f"{self._where(self.x[i])}, weight {self.weight[i]:.1f} %"
        )


def bubble_data(
    estimator: object,
    moderator: Hashable,
    *,
    at: Mapping[Hashable, object] | None = None,
    transform: Transformation = None,
    level: float | None = None,
    labels: Sequence[object] | None = None,
    effect_label: str | None = None,
    null: NullLine = "auto",
) -> BubbleData:
    """Compute what a bubble plot shows.

    Parameters
    ----------
    estimator : MetaRegression or another meta-regression fitted with moderators
        The fit.
    moderator : str
        Column across; "x0", "x1", ... where the moderators were an array.
    at : mapping, optional
        Values of other moderators along the regression, by name; their means, and the
        reference levels of factors, by default.
    transform : {"PLO", "logit", "PAS", "PR", "exp"} or callable, optional
        Scale to draw, see :func:`ketacast.plots.forest_data`.
    level : float, optional
        Coverage of all intervals, 0 to 1; the estimator's own by default.
    labels, effect_label, null
        See :func:`ketacast.plots.forest_data`.

    Returns
    -------
    BubbleData

    Raises
    ------
    InputError
        For a name that is not a moderator of the fit, and unusable arguments.

    Notes
    -----
    A logit of counts with no events, or only events, is infinite; without a transform
    such a study is drawn at its logit with 1/2 added to events and non-events.
    """
    fit = fitted_estimator(estimator)
    level = level_of(fit, level)
    column = find_moderator(fit, moderator, "moderator")
    chosen = _held(fit, column, at or {})
    studies = study_effects(fit, labels, level)
    x, values, where = _across(column, fit.studies_.table[column.name])
    rows, held = varied_rows(fit, column, values, chosen)
    regression = fit.predict_interval(
        rows.to_numpy(dtype=np.float64) if fit.design_.kind == "array" else rows, level=level
    )
    mean, mean_lower, mean_upper, low, high = (
        frozen(carry(regression[name].to_numpy(dtype=np.float64), transform))
        for name in ("pred", "ci_lb", "ci_ub", "pi_lb", "pi_ub")
    )
    refuse_decreasing(low, high, transform)
    exact = carry(studies.estimate, transform)
    effect = np.where(np.isfinite(exact), exact, studies.y)
    spread = float(np.median(studies.se))
    return BubbleData(
        moderator=str(column.name),
        levels=None if column.levels is None else tuple(_written(one) for one in column.levels),
        labels=studies.labels,
        x=frozen(x),
        effect=frozen(effect),
        weight=frozen(studies.weight),
        at=frozen(where),
        mean=mean,
        mean_lower=mean_lower,
        mean_upper=mean_upper,
        prediction_lower=low,
        prediction_upper=high,
        held=held,
        level=level,
        interval=interval_noun(fit),
        scale=scale_of(fit, transform, label=effect_label, null=null, spread=spread),
        facts=model_facts(fit),
    )


def _held(
    fit: MetaEstimator, column: Column, at: Mapping[Hashable, object]
) -> Mapping[Hashable, object]:
    for name in at:
        find_moderator(fit, name, "at")
        if name == column.name:
            raise InputError(f"at holds {name!r}, the moderator that is drawn; leave it out")
    return at


def _across(column: Column, values: Any) -> tuple[FloatArray, list[Any], FloatArray]:
    """Studies' positions, the values to predict at, and their positions."""
    if column.levels is not None:
        levels = list(column.levels)
        positions = np.array([levels.index(value) for value in values], dtype=np.float64)
        return positions, levels, np.arange(len(levels), dtype=np.float64)
    x = np.asarray(values, dtype=np.float64)
    grid = np.linspace(x.min(), x.max(), GRID)
    return x, grid.tolist(), grid


def _written(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)  # NumPy's are floats too
