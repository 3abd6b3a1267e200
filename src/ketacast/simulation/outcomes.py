"""From numbers of patients to outcomes per patient, by week.

Every engine's numbers pass through here, so that an outcome means the same in all.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ketacast.arrays import FloatArray
from ketacast.simulation.aftercourse import (
    LaterRules,
    maintenance_infusions,
    weeks_after_course,
)
from ketacast.simulation.automaton import DROPPED
from ketacast.simulation.flows import CourseFlow, LaterFlow, Numbers
from ketacast.simulation.specification import Specification
from ketacast.simulation.strategies import Strategy
from ketacast.simulation.survival import DAYS

DAYS_PER_YEAR: Final = 365.25

BASE: Final = (
    "response",
    "in_course",
    "weeks_in_response",
    "infusions",
    "ended_in_response",
    "ended_in_remission",
    "dropouts",
    "relapses",
    "reinductions",
)
"""Outcomes of every simulation. Those at a time: share in response, share whose course
goes on. The others add up from the start: weeks, infusions, and shares of patients (for
relapses and re-inductions: events per patient)."""

BETTER_LOW: Final = frozenset({"infusions", "dropouts", "relapses", "reinductions", "cost"})
"""Outcomes of which less is better, all else being equal."""

NEUTRAL: Final = frozenset({"in_course"})


def outcome_names(specification: Specification) -> tuple[str, ...]:
    """Outcomes that a specification gives, in order."""
    names = list(BASE)
    if specification.remission_share is not None:
        names.append("weeks_in_remission")
    if specification.costs is not None:
        names.append("cost")
    if specification.utilities is not None:
        names.append("qalys")
    return tuple(names)


def weekly_outcomes(
    specification: Specification,
    course: CourseFlow,
    later: LaterFlow,
    rules: LaterRules,
    patients: FloatArray,
) -> FloatArray:
    """Outcomes per patient of one strategy.

    Parameters
    ----------
    specification : Specification
    course, later : CourseFlow, LaterFlow
        Numbers, ``B`` rows.
    rules : LaterRules
        With the strategy.
    patients : (B,) float array
        Patients behind each row.

    Returns
    -------
    (B, H + 1, O) float array
        Weeks 0 to H by :func:`outcome_names`; week 0 is before the first infusion.
    """
    strategy, horizon = rules.strategy, rules.horizon
    staying, leaving = course.staying.sum(axis=1), course.leaving.sum(axis=1)
    own = len(strategy.days)
    staying, leaving = staying[:, :own], leaving[:, :own]
    in_week = _in_week(strategy, horizon)  # (K, H)
    treated = staying.sum(axis=-1) + leaving.sum(axis=(-1, -2))
    ended = leaving.sum(axis=-1)  # (B, K, 3)
    again = strategy.reinduction
    begun = later.begun.sum(axis=1)
    given = _over(treated, in_week) + maintenance_infusions(later, rules).sum(axis=1)
    if again is not None:
        given = given + again.infusions * begun
    course_time = _course_time(strategy, horizon)
    during = _over(staying[..., 1:].sum(axis=-1), course_time)
    after = weeks_after_course(later, rules).sum(axis=1)
    current = _current(strategy, horizon)
    still = later.kept.sum(axis=(1, 3, 4, 5))  # (B, H)
    found = {
        "response": _over(staying[..., 1:].sum(axis=-1), current) + still,
        "in_course": _over(staying.sum(axis=-1), current),
        "weeks_in_response": np.cumsum(during + after, axis=1),
        "infusions": np.cumsum(given, axis=1),
        "ended_in_response": np.cumsum(_over(ended[..., 1:].sum(axis=-1), in_week), axis=1),
        "ended_in_remission": np.cumsum(_over(ended[..., 2], in_week), axis=1),
        "dropouts": np.cumsum(_over(leaving[..., DROPPED].sum(axis=-1), in_week), axis=1),
        "relapses": np.cumsum(later.lost.sum(axis=(1, 3, 4, 5)), axis=1),
        "reinductions": np.cumsum(begun, axis=1),
    }
    in_remission = _over(staying[..., 2], course_time)
    _add_user_outcomes(
        found,
        specification,
        time=during + after,
        after=after,
        in_remission=in_remission,
        given=given,
        patients=patients,
    )
    columns = [found[name] / patients[:, None] for name in outcome_names(specification)]
    weeks = np.stack(columns, axis=-1)
    start = np.zeros((weeks.shape[0], 1, weeks.shape[2]))
    if specification.costs is not None:
        start[..., outcome_names(specification).index("cost")] = specification.costs.per_patient
    return np.concatenate([start, weeks], axis=1)


def _add_user_outcomes(
    found: dict[str, FloatArray],
    specification: Specification,
    *,
    time: FloatArray,
    after: FloatArray,
    in_remission: FloatArray,
    given: Numbers,
    patients: FloatArray,
) -> None:
    """Add what rests on the user's own numbers; time and infusions are per week, (B, H)."""
    if specification.remission_share is not None:
        weekly = in_remission + specification.remission_share * after
        found["weeks_in_remission"] = np.cumsum(weekly, axis=1)
    rate = specification.discount_per_year or 0.0
    years = (np.arange(time.shape[1]) + 0.5) * DAYS / DAYS_PER_YEAR
    discount = (1.0 + rate) ** -years  # each week's at its middle
    otherwise = patients[:, None] - time
    costs, utilities = specification.costs, specification.utilities
    if costs is not None:
        weekly = (
            costs.per_infusion * given
            + costs.per_week_in_response * time
            + costs.per_week_otherwise * otherwise
        )
        total = np.cumsum(weekly * discount, axis=1)
        found["cost"] = total + costs.per_patient * patients[:, None]
    if utilities is not None:
        weekly = utilities.in_response * time + utilities.otherwise * otherwise
        found["qalys"] = np.cumsum(weekly * discount, axis=1) * DAYS / DAYS_PER_YEAR


def _over(numbers: Numbers, weights: FloatArray) -> FloatArray:
    """Sum over infusions (B, K) with weights (K, H), in a fixed order; (B, H)."""
    total = np.zeros((numbers.shape[0], weights.shape[1]))
    for k in range(weights.shape[0]):
        total += numbers[:, k, None] * weights[k]
    return total


def _in_week(strategy: Strategy, horizon: int) -> FloatArray:
    """1 where an infusion falls into a week, (K, H)."""
    days = np.array(strategy.days)
    is_in: NDArray[np.bool_] = days[:, None] // DAYS == np.arange(horizon)
    return is_in.astype(np.float64)


def _current(strategy: Strategy, horizon: int) -> FloatArray:
    """1 where the status after an infusion is the present one at a week's end, (K, H).

    An infusion on the day on which a week ends belongs to the next week.
    """
    days = np.array(strategy.days)
    ends = DAYS * np.arange(1, horizon + 1)
    following = np.append(days[1:], days[-1])
    is_present: NDArray[np.bool_] = (days[:, None] < ends) & (following[:, None] >= ends)
    return is_present.astype(np.float64)


def _course_time(strategy: Strategy, horizon: int) -> FloatArray:
    """Weeks from an infusion to the next that fall into each week, (K, H)."""
    days = np.array(strategy.days, dtype=np.float64)
    following = np.append(days[1:], days[-1])
    starts = DAYS * np.arange(horizon)
    low = np.maximum(days[:, None], starts)
    high = np.minimum(following[:, None], starts + DAYS)
    result: FloatArray = np.maximum(high - low, 0.0) / DAYS
    return result
