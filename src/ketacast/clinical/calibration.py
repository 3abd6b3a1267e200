"""Predicted counts against observed ones: intervals, coverage, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ketacast.clinical.proportions import Proportion, proportion
from ketacast.effects import proportion_effect
from ketacast.numerics.normal import fit_normal
from ketacast.options import Outcome

Float = NDArray[np.float64]

LEVELS: Final = (0.80, 0.95)
GROUPS: Final = 3


@dataclass(frozen=True, slots=True)
class CountInterval:
    """Central predictive interval of a count.

    Attributes
    ----------
    level : float
        Nominal level.
    low, high : int
        Bounds, inclusive.
    mass : float
        Predictive probability inside; at least `level`, because counts are whole.
    covered : bool
        Whether the observed count lies inside.
    """

    level: float
    low: int
    high: int
    mass: float
    covered: bool


@dataclass(frozen=True, slots=True)
class CountPrediction:
    """One observed count beside its prediction from all other families.

    Attributes
    ----------
    family, cohort_id : str
        Whose count.
    outcome : {"response", "remission"}
        What was counted, out of all `n` patients.
    primary : bool
        Headline row; else a time-course row, which shares patients with one.
    infusions, rater, failed_trials : float
        Covariates, as in the likelihood (rater: +1/2 clinician, -1/2 self, 0 unclear).
    n, observed : int
        Patients and events.
    expected_rate : float
        Predictive mean of the rate.
    intervals : tuple of CountInterval
        At the levels 80 and 95 %, binomial noise included.
    pit : float
        Mid-p probability integral transform, ``P(Y < y) + P(Y = y) / 2``.
    log_score : float
        ``log P(Y = y)``.
    baseline_log_score : float
        The same under the model without moderators.
    """

    family: str
    cohort_id: str
    outcome: Outcome
    primary: bool
    infusions: float
    rater: float
    failed_trials: float
    n: int
    observed: int
    expected_rate: float
    intervals: tuple[CountInterval, ...]
    pit: float
    log_score: float
    baseline_log_score: float

    @property
    def observed_rate(self) -> float:
        """``observed / n``."""
        return self.observed / self.n


@dataclass(frozen=True, slots=True)
class CalibrationGroup:
    """Cohorts with similar predictions.

    Attributes
    ----------
    cohorts, patients, observed : int
        Size of the group and its events.
    expected : float
        Expected events.
    """

    cohorts: int
    patients: int
    observed: int
    expected: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Observed against expected for one outcome, primary rows.

    Attributes
    ----------
    outcome : {"response", "remission"}
    groups : tuple of CalibrationGroup
        Tertiles of the predicted rate, lowest first.
    total : CalibrationGroup
        All of them.
    ratio : float
        Observed over expected events.
    mean_difference, mean_difference_se : float
        Mean over cohorts of observed minus expected rate, and its SE.
    slope : float
        Of the observed logit on the predicted one (REML meta-regression), 1 if
        predictions spread as they should, below 1 if they spread too far.
    slope_ci : tuple of float
        95 % Knapp-Hartung interval.
    mean_pit : float
        0.5 if unbiased; above: more events than predicted.
    """

    outcome: Outcome
    groups: tuple[CalibrationGroup, ...]
    total: CalibrationGroup
    ratio: float
    mean_difference: float
    mean_difference_se: float
    slope: float
    slope_ci: tuple[float, float]
    mean_pit: float


def predictive_pmf(n: int, rates: Float) -> Float:
    """Predictive probabilities of 0..n events, the mean over draws of the rate.

    Parameters
    ----------
    n : int
        Patients.
    rates : (m,) float array
        Draws of the rate.

    Returns
    -------
    (n + 1,) float array
    """
    counts = np.arange(n + 1)
    pmf: Float = np.array([np.mean(stats.binom.pmf(k, n, rates)) for k in counts])
    return pmf


def count_interval(pmf: Float, observed: int, level: float) -> CountInterval:
    """Central interval of a count, from quantile to quantile.

    Parameters
    ----------
    pmf : (n + 1,) float array
        Predictive probabilities.
    observed : int
        The count seen.
    level : float
        In (0, 1).

    Returns
    -------
    CountInterval
        From the smallest count with cumulative probability of at least
        (1 - level) / 2 to the smallest with at least (1 + level) / 2.
    """
    cumulative = np.cumsum(pmf) / pmf.sum()
    low = int(np.searchsorted(cumulative, (1.0 - level) / 2.0))
    high = min(int(np.searchsorted(cumulative, (1.0 + level) / 2.0)), pmf.size - 1)
    mass = float(pmf[low : high + 1].sum() / pmf.sum())
    return CountInterval(level, low, high, mass, low <= observed <= high)


def mid_p(pmf: Float, observed: int) -> float:
    """Mid-p probability integral transform of an observed count."""
    return float(pmf[:observed].sum() + 0.5 * pmf[observed])


def coverage(rows: Sequence[CountPrediction], level: float) -> Proportion:
    """Share of the counts inside their predictive interval at a level."""
    inside = [
        interval.covered for row in rows for interval in row.intervals if interval.level == level
    ]
    return proportion(level, sum(inside), len(inside))


def calibrate(rows: Sequence[CountPrediction], outcome: Outcome) -> Calibration | None:
    """Summarise observed against expected for one outcome.

    Parameters
    ----------
    rows : sequence of CountPrediction
        Predictions; those of the other outcome and time-course rows are left out.
    outcome : {"response", "remission"}

    Returns
    -------
    Calibration or None
        None with fewer than ``GROUPS`` + 1 rows.
    """
    chosen = sorted(
        (row for row in rows if row.outcome == outcome and row.primary),
        key=lambda row: (row.expected_rate, row.cohort_id),
    )
    if len(chosen) <= GROUPS:
        return None
    parts = np.array_split(np.arange(len(chosen)), GROUPS)
    total = _group(chosen)
    away = np.array([row.observed_rate - row.expected_rate for row in chosen])
    slope, slope_ci = _slope(chosen)
    return Calibration(
        outcome=outcome,
        groups=tuple(_group([chosen[i] for i in part]) for part in parts),
        total=total,
        ratio=total.observed / total.expected,
        mean_difference=float(away.mean()),
        mean_difference_se=float(away.std(ddof=1) / np.sqrt(away.size)),
        slope=slope,
        slope_ci=slope_ci,
        mean_pit=float(np.mean([row.pit for row in chosen])),
    )


def _group(rows: Sequence[CountPrediction]) -> CalibrationGroup:
    return CalibrationGroup(
        cohorts=len(rows),
        patients=sum(row.n for row in rows),
        observed=sum(row.observed for row in rows),
        expected=sum(row.n * row.expected_rate for row in rows),
    )


def _slope(rows: Sequence[CountPrediction]) -> tuple[float, tuple[float, float]]:
    observed = proportion_effect([row.observed for row in rows], [row.n for row in rows], "PLO")
    rates = np.array([row.expected_rate for row in rows])
    design = np.column_stack([np.ones(rates.size), np.log(rates / (1.0 - rates))])
    fit = fit_normal(observed.yi, observed.vi, design, test="knha")
    return float(fit.beta[1]), (float(fit.ci_lower[1]), float(fit.ci_upper[1]))
