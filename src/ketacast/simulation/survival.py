"""Tables of staying in response, week by week, from the durability section.

The clock of an entry starts at its last infusion; weeks end on days 7, 14, ... from the
first infusion of the course. An entry on a day with remainder o of 7 sees week ends at
ages 7 - o, 14 - o, ... days. A hazard ratio h turns the Weibull's kept share S into S^h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ketacast.arrays import FloatArray
from ketacast.numerics.relapse_survival import mean_time_kept
from ketacast.simulation.parameters import Parameters
from ketacast.simulation.strategies import Strategy

Int = NDArray[np.int64]

DAYS: Final = 7

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
"""Gauss-Legendre within a week, from day 1 of age on: tested to 1e-9 of a week."""

_HIGHEST_HAZARD: Final = 700.0
"""exp(-700) is the smallest positive double, nearly."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Starts of time in response: after infusions, then re-inductions by week.

    Attributes
    ----------
    week : (E,) int array
        Week in which the clock starts, 1 to H.
    offset : (E,) int array
        Index into `offsets`.
    offsets : tuple of int
        Different remainders of the clock's start, in days, 0 to 6.
    course : int
        Entries 0 to `course` - 1 follow infusions of the course.
    """

    week: Int
    offset: Int
    offsets: tuple[int, ...]
    course: int

    def ages(self, week: int) -> Int:
        """Weeks begun since the entry, 0 in its own week; -1 before, (E,)."""
        return np.maximum(week - self.week, -1)

    def days_at_end(self, week: int) -> Int:
        """Age in days at the end of a week, 0 before the entry, (E,)."""
        remainder = np.array(self.offsets, np.int64)[self.offset]
        days: Int = np.maximum((week - self.week + 1) * DAYS - remainder, 0)
        return days


@dataclass(frozen=True, slots=True)
class KeptTables:
    """Chances and times in response within a week, by arm and age.

    Arms: 0 without maintenance; 1 and 2 with it, after a course that ended in status R, M.

    Attributes
    ----------
    kept : (D, G, 3, O, H) float array
        Still in response at a week's end, given response at its start (or at entry).
    lost_time : (D, G, 3, O, H) float array
        Mean weeks in response within the week among those who lose it.
    span : (O, H) float array
        Weeks in response among those who keep it: 1, or less in the entry's own week.
    """

    kept: FloatArray
    lost_time: FloatArray
    span: FloatArray


def entries_of(strategy: Strategy, horizon: int, width: int) -> Entries:
    """List a strategy's entries.

    Parameters
    ----------
    strategy : Strategy
    horizon : int
        Weeks.
    width : int
        Infusions of the longest strategy; entries beyond this strategy's own stay empty.
    """
    days = np.full(width, strategy.days[-1], np.int64)
    days[: len(strategy.days)] = strategy.days
    later = np.arange(1, horizon + 1) * DAYS if strategy.reinduction else np.empty(0, np.int64)
    start = np.concatenate([days, later])
    remainder = start % DAYS
    offsets = sorted(set(remainder.tolist()))
    return Entries(
        week=start // DAYS + 1,
        offset=np.array([offsets.index(one) for one in remainder], np.int64),
        offsets=tuple(offsets),
        course=width,
    )


def arms_of(strategy: Strategy, parameters: Parameters) -> FloatArray:
    """Log hazard ratio of each draw in the three arms, (D, 3)."""
    found = np.zeros((parameters.shape.size, 3))
    if strategy.maintenance is None:
        return found
    source = strategy.maintenance.hazard_ratio_from
    strata = ("responders", "remitters") if source == "own status" else (source, source)
    for arm, stratum in enumerate(strata, 1):
        found[:, arm] = parameters.log_ratio[stratum]
    found[:, 1:] += np.log(strategy.maintenance.interval_multiplier)
    return found


def kept_tables(
    parameters: Parameters, log_ratio: FloatArray, offsets: Sequence[int], horizon: int
) -> KeptTables:
    """Tabulate an arm's weeks.

    Parameters
    ----------
    parameters : Parameters
    log_ratio : (D, 3) float array
        From :func:`arms_of`.
    offsets : sequence of int
        From :class:`Entries`.
    horizon : int
        H, weeks.
    """
    ends = DAYS * np.arange(1, horizon + 1) - np.array(offsets)[:, None]  # (O, H)
    starts = np.concatenate([np.zeros((len(offsets), 1), np.int64), ends[:, :-1]], axis=1)
    shape = parameters.shape[:, None, None, None, None]
    log_scale = parameters.log_scale[:, :, None, None, None]
    ratio = log_ratio[:, None, :, None, None]

    def hazard(days: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore"):  # day 0: log 0 is -inf and the hazard 0
            exponent = shape * (np.log(days) - log_scale) + ratio
        result: FloatArray = np.exp(np.minimum(exponent, _HIGHEST_HAZARD))
        return result

    before = hazard(starts.astype(np.float64))
    kept = np.exp(-np.maximum(hazard(ends.astype(np.float64)) - before, 0.0))
    span = (ends - starts) / DAYS
    mean = np.zeros(kept.shape)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        at = starts + 0.5 * (1.0 + node) * (ends - starts)
        mean += 0.5 * weight * span * np.exp(-np.maximum(hazard(at) - before, 0.0))
    mean[..., 0] = _first_week(parameters, log_ratio, ends[:, 0])
    gone = 1.0 - kept
    # Where nearly nobody is lost, the loss falls in the middle of the week.
    rare = gone < 1e-6
    lost = np.where(rare, 0.5 * span, (mean - kept * span) / np.where(rare, 1.0, gone))
    return KeptTables(kept, np.clip(lost, 0.0, span), span)


def _first_week(parameters: Parameters, log_ratio: FloatArray, ends: Int) -> FloatArray:
    """Mean weeks in response up to the first week's end, (D, G, 3, O).

    The hazard of a Weibull with shape below 1 is infinite at day 0: the closed form is taken.
    """
    draws, clinics = parameters.log_scale.shape
    found = np.empty((draws, clinics, 3, ends.size))
    for clinic in range(clinics):
        for arm in range(3):
            for place, days in enumerate(ends):
                time = mean_time_kept(
                    float(days), parameters.log_scale[:, clinic], parameters.shape,
                    log_ratio[:, arm],
                )  # fmt: skip
                found[:, clinic, arm, place] = time / DAYS
    return found
