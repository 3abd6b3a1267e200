"""Plans of maintenance, and the records that curves of time in response are made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ketacast.arrays import FloatArray, real_array, refuse_where
from ketacast.clinical.durability_rules import STRATA, ArmIds, Stratum
from ketacast.clinical.durability_text import INTERVAL_REFUSAL
from ketacast.clinical.rates import summarise
from ketacast.errors import InputError
from ketacast.options import check_choice


@dataclass(frozen=True, slots=True)
class MaintenancePlan:
    """Maintenance treatment after the course.

    Attributes
    ----------
    stratum : {"responders", "remitters"}
        Which of the trial's strata lends its hazard ratio: patients in stable
        response without remission, or in stable remission.
    interval_weeks : float, optional
        Weeks between maintenance treatments. The evidence cannot tell
        intervals apart: it is refused without `interval_multiplier`.
    interval_multiplier : float, optional
        The user's own assumption: the hazard under this interval relative to
        that under the trial's weekly to fortnightly treatment, > 0.
    """

    stratum: Stratum
    interval_weeks: float | None = None
    interval_multiplier: float | None = None

    def __post_init__(self) -> None:
        check_choice("stratum", self.stratum, STRATA)
        for name in ("interval_weeks", "interval_multiplier"):
            if (value := getattr(self, name)) is not None:
                number = real_array(name, value, ndim=0)
                refuse_where(name, number, np.asarray(number <= 0.0), "must be greater than 0")
        if (self.interval_weeks is None) != (self.interval_multiplier is None):
            raise InputError(INTERVAL_REFUSAL.format(self.interval_weeks, self.interval_multiplier))


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Hazard ratio of maintenance in one stratum of the trial.

    Attributes
    ----------
    ids : ArmIds
        Rows of ``relapse.csv``.
    lost, at_risk : tuple of int
        (treated, control).
    ratio : tuple of float
        Hazard ratio by complementary log-log, with its 95 % interval.
    log_ratio : ndarray, shape (n,)
        Posterior draws of the log hazard ratio.
    """

    ids: ArmIds
    lost: tuple[int, int]
    at_risk: tuple[int, int]
    ratio: tuple[float, float, float]
    log_ratio: FloatArray


@dataclass(frozen=True, slots=True)
class Ranges:
    """Summary of one quantity.

    Attributes
    ----------
    expected, median : float
        Mean and median over new clinics.
    average_clinic, new_clinic : tuple of (low, high)
        One interval for each level.
    """

    expected: float
    median: float
    average_clinic: tuple[tuple[float, float], ...]
    new_clinic: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class DurabilityCurve:
    """Share of responders still in response, by week since the last infusion.

    Attributes
    ----------
    weeks : tuple of float
    levels : tuple of float
        Of the intervals.
    share : tuple of Ranges
        One for each week, in [0, 1].
    maintenance : str
        Stratum, or empty without maintenance.
    studies, limits, assumptions : tuple of str
        What the curve rests on, what it cannot say, what the user assumed.
    """

    weeks: tuple[float, ...]
    levels: tuple[float, ...]
    share: tuple[Ranges, ...]
    maintenance: str
    studies: tuple[str, ...]
    limits: tuple[str, ...]
    assumptions: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, text, lists and dictionaries."""
        return asdict(self)


def ranges_of(average: FloatArray, new: FloatArray, levels: tuple[float, ...]) -> Ranges:
    """Summarise draws, shape (n,), of an average and of a new clinic."""
    numbers = summarise(average, new, levels)
    pairs = [(numbers[i], numbers[i + 1]) for i in range(2, len(numbers), 2)]
    count = len(levels)
    return Ranges(numbers[0], numbers[1], tuple(pairs[:count]), tuple(pairs[count:]))
