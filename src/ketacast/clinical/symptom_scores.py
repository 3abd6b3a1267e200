"""Pooled symptom improvement, and what it would be in points of three scales.

Descriptive: a handful of cohorts, rated at different times. Improvements are
standardised by the SD of the change (SMCC), so that cohorts that print it and
cohorts that print the baseline SD are on one scale: with a pre-post correlation
r and equal SDs before and after, ``SD(change) = SD(baseline) sqrt(2 (1 - r))``.
The same factor turns the pooled value into points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from scipy import stats

from ketacast.arrays import FloatArray
from ketacast.clinical.rates import quantiles
from ketacast.clinical.scales import scale_named
from ketacast.clinical.synthesis import ASSUMED_CORRELATIONS
from ketacast.clinical.synthesis_data import SymptomRow, symptom_rows
from ketacast.effects import change_sd, standardised_mean_change
from ketacast.evidence import Cohort, Evidence
from ketacast.numerics.hierarchical.posterior import even_points
from ketacast.numerics.normal import NormalFit, fit_normal, predict_normal

TARGET_SCALES: Final = ("MADRS", "QIDS-SR16", "PHQ-9")
LEVELS: Final = (0.80, 0.95)
#: Fewest families from which a value is pooled: with two, one residual degree of freedom.
FEWEST: Final = 3
#: Even points behind the ranges that join two distributions.
POINTS: Final = 4096
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class PooledChange:
    """Pooled improvement in SDs of the change.

    Attributes
    ----------
    correlation : float
        Assumed pre-post correlation.
    k, n : int
        Families and patients.
    estimate : float
        Random-effects mean (improvement positive).
    ci95 : tuple of float
        Truncated Knapp-Hartung interval.
    pi : tuple of (low, high)
        Prediction intervals of a new clinic, one for each of :data:`LEVELS`.
    tau2, i2 : float
        Between-family variance (REML) and its share, percent.
    """

    correlation: float
    k: int
    n: int
    estimate: float
    ci95: Interval
    pi: tuple[Interval, ...]
    tau2: float
    i2: float


@dataclass(frozen=True, slots=True)
class BaselineSpread:
    """SD of a scale before treatment.

    Attributes
    ----------
    scale : str
    sd : float or None
        Geometric mean over families; None where no cohort prints one.
    pi95 : tuple of float or None
        Where a new cohort's SD lies; None with fewer than :data:`FEWEST`
        families, whose spread is unknown.
    printed : tuple of (cohort_id, n, SD)
        What it rests on.
    refused : str
        Why there is no SD; empty otherwise.
    """

    scale: str
    sd: float | None
    pi95: Interval | None
    printed: tuple[tuple[str, int, float], ...]
    refused: str = ""


@dataclass(frozen=True, slots=True)
class PointsChange:
    """Pooled improvement in points of a scale, a fall of the score being positive.

    Attributes
    ----------
    scale : str
    correlation : float
        Assumed pre-post correlation.
    points : float or None
        At the pooled baseline SD; None where there is none.
    ci95 : tuple of float or None
        Of the mean, at the pooled SD.
    pi : tuple of (low, high)
        A new clinic's mean improvement, one for each of :data:`LEVELS`, the
        spread of the baseline SD included where it is known.
    refused : str
        Why there is none; empty otherwise.
    """

    scale: str
    correlation: float
    points: float | None = None
    ci95: Interval | None = None
    pi: tuple[Interval, ...] = ()
    refused: str = ""


@dataclass(frozen=True, slots=True)
class SymptomScores:
    """The descriptive synthesis of symptom scores.

    Attributes
    ----------
    rows : tuple of SymptomRow
        What is pooled, one for each family.
    left_out : mapping of str to int
        Other rows of eligible cohorts, by the reason they cannot enter.
    pooled : tuple of PooledChange
        One for each assumed correlation; empty if refused.
    baseline : tuple of BaselineSpread
        One for each of :data:`TARGET_SCALES`.
    points : tuple of PointsChange
        Scales by correlations.
    limits : tuple of str
        What must be said with the numbers.
    refused : str
        Why nothing is pooled; empty otherwise.
    """

    rows: tuple[SymptomRow, ...]
    left_out: Mapping[str, int]
    pooled: tuple[PooledChange, ...]
    baseline: tuple[BaselineSpread, ...]
    points: tuple[PointsChange, ...]
    limits: tuple[str, ...]
    refused: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, text, lists and dictionaries."""
        return asdict(self)


def pool_symptom_scores(evidence: Evidence) -> SymptomScores:
    """Pool symptom improvement and translate it to points.

    Parameters
    ----------
    evidence : Evidence
        The evidence tables; intravenous racemic ketamine in resistant
        depression enters, baseline SDs from resistant cohorts of any drug.

    Returns
    -------
    SymptomScores
        With a reason in place of every number that the evidence cannot give.
    """
    chosen, left_out = symptom_rows(evidence)
    spreads = [_baseline(evidence, scale) for scale in TARGET_SCALES]
    baseline = tuple(spread for spread, _ in spreads)
    limits = _limits(chosen)
    if len(chosen) < FEWEST:
        reason = f"{len(chosen)} families with usable scores; at least {FEWEST} are needed"
        return SymptomScores(tuple(chosen), dict(left_out), (), baseline, (), limits, reason)
    fits = [(r, _fit(chosen, r)) for r in ASSUMED_CORRELATIONS]
    return SymptomScores(
        rows=tuple(chosen),
        left_out=dict(left_out),
        pooled=tuple(_pooled(r, fit, sum(row.n for row in chosen)) for r, fit in fits),
        baseline=baseline,
        points=tuple(_points(spread, own, r, fit) for spread, own in spreads for r, fit in fits),
        limits=limits,
    )


def _fit(rows: list[SymptomRow], correlation: float) -> NormalFit:
    effects = [
        standardised_mean_change(
            row.improvement,
            change_sd(row.sd, row.sd, correlation) if row.raw else row.sd,
            row.n,
            measure="SMCC",
        )
        for row in rows
    ]
    y = np.array([float(effect.yi) for effect in effects])
    v = np.array([float(effect.vi) for effect in effects])
    return fit_normal(y, v, np.ones((y.size, 1)), method="REML", test="adhoc")


def _pooled(correlation: float, fit: NormalFit, n: int) -> PooledChange:
    return PooledChange(
        correlation=correlation,
        k=fit.k,
        n=n,
        estimate=float(fit.beta[0]),
        ci95=(float(fit.ci_lower[0]), float(fit.ci_upper[0])),
        pi=tuple(_predicted(fit, level) for level in LEVELS),
        tau2=float(fit.tau2),
        i2=float(fit.i2),
    )


def _predicted(fit: NormalFit, level: float) -> Interval:
    prediction = predict_normal(fit, [[1.0]], level=level)
    return float(prediction.pi_lower[0]), float(prediction.pi_upper[0])


def _baseline(evidence: Evidence, scale: str) -> tuple[BaselineSpread, NormalFit | None]:
    """Baseline SD of a scale, and the fit of its logarithm where families allow one."""
    cohorts = [cohort for cohort in evidence.cohorts if _prints_sd(cohort, scale)]
    printed = tuple((c.cohort_id, c.n_enrolled or 0, c.baseline_sd or 0.0) for c in cohorts)
    if not cohorts:
        reason = (
            f"not available: no cohort with resistant depression prints a baseline SD of {scale}"
        )
        return BaselineSpread(scale, None, None, printed, reason), None
    squares: dict[str, tuple[float, float]] = {}
    for cohort, (_, n, sd) in zip(cohorts, printed, strict=True):
        df, total = squares.get(cohort.family, (0.0, 0.0))
        squares[cohort.family] = (df + n - 1.0, total + (n - 1.0) * sd**2)
    dfs = np.array([df for df, _ in squares.values()])
    logs = 0.5 * np.log(np.array([total for _, total in squares.values()]) / dfs)
    if dfs.size < FEWEST:
        return BaselineSpread(
            scale, float(np.exp(np.average(logs, weights=dfs))), None, printed
        ), None
    # Sampling variance of the log of an SD of normal scores: 1 / (2 df).
    fit = fit_normal(logs, 0.5 / dfs, np.ones((dfs.size, 1)), method="REML", test="adhoc")
    low, high = np.exp(_predicted(fit, LEVELS[-1]))
    spread = BaselineSpread(scale, float(np.exp(fit.beta[0])), (float(low), float(high)), printed)
    return spread, fit


def _prints_sd(cohort: Cohort, scale: str) -> bool:
    return (
        cohort.population.startswith("trd")
        and cohort.baseline_scale == scale
        and cohort.baseline_sd is not None
        and cohort.n_enrolled is not None
        and cohort.n_enrolled > 1
    )


def _points(
    spread: BaselineSpread, spread_fit: NormalFit | None, correlation: float, fit: NormalFit
) -> PointsChange:
    if spread.sd is None:
        return PointsChange(spread.scale, correlation, refused=spread.refused)
    per_sd = spread.sd * float(change_sd(1.0, 1.0, correlation))
    uniform = even_points(POINTS, 2)
    improvement = _new_value(fit, uniform[:, 0])
    ratio = np.ones(POINTS)
    if spread_fit is not None:
        ratio = np.exp(_new_value(spread_fit, uniform[:, 1])) / spread.sd
    drawn = per_sd * ratio * improvement
    # No mean change exceeds the scale's own range.
    drawn = np.clip(drawn, -scale_named(spread.scale).highest, scale_named(spread.scale).highest)
    tails = np.array([side for level in LEVELS for side in ((1 - level) / 2, (1 + level) / 2)])
    limits = quantiles(drawn, tails).tolist()
    return PointsChange(
        scale=spread.scale,
        correlation=correlation,
        points=per_sd * float(fit.beta[0]),
        ci95=(per_sd * float(fit.ci_lower[0]), per_sd * float(fit.ci_upper[0])),
        pi=tuple((limits[i], limits[i + 1]) for i in range(0, len(limits), 2)),
    )


def _new_value(fit: NormalFit, uniform: FloatArray) -> FloatArray:
    """Draws of a new family's true value, from the t distribution of the prediction interval."""
    scale = np.sqrt(fit.se[0] ** 2 + fit.tau2)
    return np.asarray(fit.beta[0] + scale * stats.t.ppf(uniform, fit.residual_df), dtype=np.float64)


def _limits(rows: list[SymptomRow]) -> tuple[str, ...]:
    raw = sum(row.raw for row in rows)
    times = "; ".join(f"{row.cohort_id}: {row.timepoint}" for row in rows)
    return (
        (
            f"descriptive: {len(rows)} families, rated at different times ({times}), not all at "
            "the end of a course"
        ),
        (
            "no cohort prints the pre-post correlation: 0.5 is assumed, 0.3 and 0.7 are shown; "
            f"{raw} of {len(rows)} print a baseline SD in place of that of the change"
        ),
        (
            "points follow from baseline SDs of resistant cohorts of any drug (they are measured "
            "before treatment), as if all scales moved alike; equal SDs before and after assumed"
        ),
        (
            "uncontrolled: improvements include placebo response, natural course and regression "
            "to the mean"
        ),
    )
