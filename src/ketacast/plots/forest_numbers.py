"""Forest plot: its numbers, and the same in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from ketacast.arrays import FloatArray, frozen
from ketacast.options import check_choice
from ketacast.plots.data import PlotData, studies_counted
from ketacast.plots.scales import (
    NullLine,
    Scale,
    Transformation,
    carry,
    refuse_decreasing,
    scale_of,
)
from ketacast.plots.source import (
    StudyEffects,
    fitted_estimator,
    interval_noun,
    is_pooled,
    level_of,
    model_facts,
    predict_rows,
    study_effects,
)

ForestOrder = Literal["effect", "precision"]
FOREST_ORDERS: Final[tuple[ForestOrder, ...]] = get_args(ForestOrder)


@dataclass(frozen=True, slots=True)
class ForestData(PlotData):
    """What a forest plot of k studies shows, in the order drawn, from the top.

    Attributes
    ----------
    labels : tuple of str
        The studies.
    estimate, lower, upper : ndarray, shape (k,)
        Their effects with confidence limits, on the drawn scale.
    weight : ndarray, shape (k,)
        Percent.
    mean, mean_lower, mean_upper : ndarray, shape (1,) or (k,)
        Pooled effect, or the fitted one of each study, with its interval.
    prediction_lower, prediction_upper : ndarray, shape (1,) or (k,)
        Where the true effect of a new study is expected.
    pooled : bool
        Whether there is one mean for all studies.
    level : float
        Coverage of all intervals.
    interval : {"confidence", "credible"}
        What the intervals of the mean are.
    scale : Scale
        What the numbers are.
    facts : tuple of str
        The fit, its heterogeneity and its tests.
    """

    labels: tuple[str, ...]
    estimate: FloatArray
    lower: FloatArray
    upper: FloatArray
    weight: FloatArray
    mean: FloatArray
    mean_lower: FloatArray
    mean_upper: FloatArray
    prediction_lower: FloatArray
    prediction_upper: FloatArray
    pooled: bool
    level: float
    interval: str
    scale: Scale
    facts: tuple[str, ...]

    def text(self) -> str:
        """Say what the figure shows, with its numbers.

        Returns
        -------
        str
            A title line, the means, the heterogeneity and one line per study.
        """
        scale, percent = self.scale, f"{100.0 * self.level:g} %"
        lines = [f"Forest plot of {studies_counted(len(self.labels))}: {scale.label}"]
        if self.pooled:
            lines.append(
                f"Pooled: {scale.number(self.mean[0])}{scale.unit}, {percent} {self.interval} "
                f"interval {scale.between(self.mean_lower[0], self.mean_upper[0])}; {percent} "
                "prediction interval of a new study's true effect "
                f"{scale.between(self.prediction_lower[0], self.prediction_upper[0])}."
            )
        lines += [f"{fact}." for fact in self.facts]
        if scale.null is not None:
            lines.append(f"A line marks no effect at {scale.null:g}.")
        lines.append(f"Studies from the top, with {percent} intervals and weights:")
        return "\n".join(lines + [self._study(i) for i in range(len(self.labels))])

    def _study(self, i: int) -> str:
        scale = self.scale
        line = (
            f"- {self.labels[i]}: {scale.number(self.estimate[i])} "
            f"({scale.between(self.lower[i], self.upper[i])}), weight {self.weight[i]:.1f} %"
        )
        if self.pooled:
            return line
        return (
            f"{line}; fitted {scale.number(self.mean[i])} "
            f"({scale.between(self.mean_lower[i], self.mean_upper[i])}), prediction interval "
            f"{scale.between(self.prediction_lower[i], self.prediction_upper[i])}"
        )


def forest_data(
    estimator: object,
    labels: Sequence[object] | None = None,
    *,
    transform: Transformation = None,
    order: ForestOrder | None = None,
    level: float | None = None,
    effect_label: str | None = None,
    null: NullLine = "auto",
) -> ForestData:
    """Compute what a forest plot shows.

    Parameters
    ----------
    estimator : MetaRegression or another fitted meta-regression
        The fit.
    labels : sequence, optional
        Names of the studies in the fit, or of all rows given to it; the row labels of
        its data by default.
    transform : {"PLO", "logit", "PAS", "PR", "exp"} or callable, optional
        Scale to draw: percent for proportions, ratios for "exp", or an increasing
        function of arrays; the scale of the fit by default.
    order : {"effect", "precision"}, optional
        From the smallest effect, or from the most precise study, downwards; as given by
        default.
    level : float, optional
        Coverage of all intervals, 0 to 1; the estimator's own by default.
    effect_label : str, optional
        Title of the axis, such as "Log risk ratio".
    null : float, "auto" or None
        Where to draw the line of no effect, on the drawn scale. "auto" is 1 for "exp", 0
        for effects as fitted (but not for the logits of counts), and none elsewhere.

    Returns
    -------
    ForestData

    Raises
    ------
    InputError
        For unusable arguments.

    Notes
    -----
    Intervals of studies are normal, ``y -+ z sqrt(v)``; those of counts are exact
    (Clopper & Pearson 1934, Biometrika 26:404).
    """
    fit = fitted_estimator(estimator)
    level = level_of(fit, level)
    if order is not None:
        check_choice("order", order, FOREST_ORDERS)
    studies = study_effects(fit, labels, level)
    pooled = is_pooled(fit)
    rows = np.ones((1, 1)) if pooled else fit.studies_.matrix
    means = predict_rows(fit, rows, level)
    chosen = _order(studies, order)
    estimate, lower, upper = (
        frozen(carry(values[chosen], transform))
        for values in (studies.estimate, studies.lower, studies.upper)
    )
    limits = (means.mean, means.ci_lower, means.ci_upper, means.pi_lower, means.pi_upper)
    mean, mean_lower, mean_upper, low, high = (
        frozen(carry(values if pooled else values[chosen], transform)) for values in limits
    )
    refuse_decreasing(low, high, transform)
    spread = float(np.median(studies.se))
    return ForestData(
        labels=tuple(studies.labels[i] for i in chosen),
        estimate=estimate,
        lower=lower,
        upper=upper,
        weight=frozen(studies.weight[chosen]),
        mean=mean,
        mean_lower=mean_lower,
        mean_upper=mean_upper,
        prediction_lower=low,
        prediction_upper=high,
        pooled=pooled,
        level=level,
        interval=interval_noun(fit),
        scale=scale_of(fit, transform, label=effect_label, null=null, spread=spread),
        facts=model_facts(fit),
    )


def _order(studies: StudyEffects, order: ForestOrder | None) -> list[int]:
    if order is None:
        return list(range(studies.y.size))
    keys = studies.estimate if order == "effect" else studies.se
    return [int(i) for i in np.argsort(keys, kind="stable")]
