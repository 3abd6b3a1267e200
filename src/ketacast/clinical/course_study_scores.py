"""Predicted chances against what happened: calibration, scores, coverage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from ketacast.clinical.proportions import CONFIDENCE, proportion
from ketacast.errors import ConvergenceError

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

TENTHS: Final = 10
FEWEST_IN_TENTH: Final = 25
"""Tenths with fewer courses are shown and left out of the chi-square test, whose
normal approximation fails there."""

LEAST_CHANCE: Final = 1e-6
"""Accuracy of an answer; logarithms are taken of nothing smaller."""

_MOST_STEPS: Final = 50
_SETTLED: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Tenth:
    """Courses whose predicted chance lies in one tenth of the scale.

    Attributes
    ----------
    low, high : float
        Ends of the tenth; the upper one belongs to the next, but for 1.
    courses, events : int
    expected : float
        Mean predicted chance.
    observed_low, observed_high : float
        Exact binomial 95 % bounds of the observed share.
    """

    low: float
    high: float
    courses: int
    events: int
    expected: float
    observed_low: float
    observed_high: float


@dataclass(frozen=True, slots=True)
class IntervalCheck:
    """How often an interval held the chance in the patient's own clinic.

    Attributes
    ----------
    level : float
    share, se : float
        Share of courses and its standard error.
    width : float
        Mean width.
    """

    level: float
    share: float
    se: float
    width: float


@dataclass(frozen=True, slots=True)
class ChanceCheck:
    """Predicted chances of one outcome against what happened.

    Attributes
    ----------
    outcome : str
    known : int
        Statuses known when the answer was given.
    courses, events : int
    expected, difference_se : float
        Mean predicted chance; standard error of observed minus expected share if the
        chances are right.
    slope, slope_se : float
        Of the event on the predicted logit (logistic regression): 1 if chances are as
        far from each other as they should be, below 1 if they are too extreme.
    chi_square_p : float
        Of observed against expected events over the tenths.
    brier, brier_before : float
        Mean squared error of the answer, and of the answer without the statuses.
    gain, gain_se : float
        Log score of the answer minus that of the answer without the statuses, per
        course, and its standard error.
    coverage : tuple of IntervalCheck
    tenths : tuple of Tenth
        Those that hold a course.
    """

    outcome: str
    known: int
    courses: int
    events: int
    expected: float
    difference_se: float
    slope: float
    slope_se: float
    chi_square_p: float
    brier: float
    brier_before: float
    gain: float
    gain_se: float
    coverage: tuple[IntervalCheck, ...]
    tenths: tuple[Tenth, ...]


def check_chances(
    outcome: str,
    known: int,
    *,
    chance: Float,
    before: Float,
    event: Bool,
    coverage: tuple[IntervalCheck, ...],
) -> ChanceCheck:
    """Compare predicted chances with events.

    Parameters
    ----------
    outcome, known, coverage
        Recorded as given.
    chance, before : (n,) float arrays
        Chances with and without the statuses, in [0, 1].
    event : (n,) bool array
        What happened.

    Returns
    -------
    ChanceCheck

    Raises
    ------
    ConvergenceError
        If the slope cannot be estimated.
    """
    gain = _log_score(chance, event) - _log_score(before, event)
    tenths = _tenths(chance, event)
    slope, slope_se = calibration_slope(chance, event)
    n = event.size
    return ChanceCheck(
        outcome=outcome,
        known=known,
        courses=n,
        events=int(event.sum()),
        expected=float(chance.mean()),
        difference_se=float(np.sqrt((chance * (1.0 - chance)).sum()) / n),
        slope=slope,
        slope_se=slope_se,
        chi_square_p=_chi_square_p(chance, event),
        brier=float(((event - chance) ** 2).mean()),
        brier_before=float(((event - before) ** 2).mean()),
        gain=float(gain.mean()),
        gain_se=float(gain.std(ddof=1) / np.sqrt(n)),
        coverage=coverage,
        tenths=tenths,
    )


def check_interval(level: float, low: Float, high: Float, truth: Float) -> IntervalCheck:
    """Count how often intervals (n,) held the truth (n,)."""
    held = (low <= truth) & (truth <= high)
    share = float(held.mean())
    se = float(held.std(ddof=1) / np.sqrt(held.size))
    return IntervalCheck(level, share, se, float((high - low).mean()))


def calibration_slope(chance: Float, event: Bool) -> tuple[float, float]:
    """Slope of a logistic regression of events on predicted logits, and its SE.

    Parameters
    ----------
    chance : (n,) float array
        In [0, 1], not all alike.
    event : (n,) bool array

    Raises
    ------
    ConvergenceError
        If Newton's steps do not settle (events separated by the chances).

    References
    ----------
    Cox 1958, Biometrika 45:562.
    """
    x = np.column_stack([np.ones(chance.size), special.logit(_kept_off_ends(chance))])
    beta = np.array([0.0, 1.0])
    for _ in range(_MOST_STEPS):
        fitted = special.expit(x @ beta)
        information = (x * (fitted * (1.0 - fitted))[:, None]).T @ x
        try:
            step = np.linalg.solve(information, x.T @ (event - fitted))
        except np.linalg.LinAlgError:
            break
        beta = beta + step
        if np.abs(step).max() < _SETTLED:
            return float(beta[1]), float(np.sqrt(np.linalg.inv(information)[1, 1]))
    raise ConvergenceError(
        f"the calibration slope of {chance.size} courses cannot be estimated; simulate more"
    )


def _kept_off_ends(chance: Float) -> Float:
    return np.clip(chance, LEAST_CHANCE, 1.0 - LEAST_CHANCE)


def _log_score(chance: Float, event: Bool) -> Float:
    safe = _kept_off_ends(chance)
    score: Float = np.log(np.where(event, safe, 1.0 - safe))
    return score


def _places(chance: Float) -> NDArray[np.int64]:
    return np.minimum((chance * TENTHS).astype(np.int64), TENTHS - 1)


def _tenths(chance: Float, event: Bool) -> tuple[Tenth, ...]:
    found, place = [], _places(chance)
    for i in np.unique(place).tolist():
        here = place == i
        part = proportion(CONFIDENCE, int(event[here].sum()), int(here.sum()))
        found.append(
            Tenth(
                low=i / TENTHS,
                high=(i + 1) / TENTHS,
                courses=part.total,
                events=part.count,
                expected=float(chance[here].mean()),
                observed_low=part.low,
                observed_high=part.high,
            )
        )
    return tuple(found)


def _chi_square_p(chance: Float, event: Bool) -> float:
    place = _places(chance)
    courses = np.bincount(place, minlength=TENTHS)
    kept = courses >= FEWEST_IN_TENTH
    expected = np.bincount(place, chance, TENTHS)[kept]
    variance = np.bincount(place, chance * (1.0 - chance), TENTHS)[kept]
    observed = np.bincount(place, event.astype(np.float64), TENTHS)[kept]
    return float(stats.chi2.sf(((observed - expected) ** 2 / variance).sum(), int(kept.sum())))
