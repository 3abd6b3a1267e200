"""Weeks after the course: loss of response, maintenance, re-induction.

One recursion serves the exact engine (numbers are split in proportion) and the counts
(numbers are split at random); only the `Splitter` differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ketacast.arrays import FloatArray
from ketacast.simulation.automaton import DROPPED
from ketacast.simulation.flows import CourseFlow, LaterFlow, Numbers
from ketacast.simulation.strategies import Strategy
from ketacast.simulation.survival import DAYS, Entries, KeptTables

Splitter: TypeAlias = Callable[[Numbers, FloatArray | float, int, int], Numbers]
"""``split(numbers, chance, week, event)``: those of `numbers` to whom an event happens."""

LOSS, LEAVE, SUCCESS = 0, 1, 2
"""Events of a week, told apart so that each has random numbers of its own."""

_CARE = np.array([[0, 1], [0, 2]])
"""Arm of the tables by status (R, M) and care (no, yes)."""


@dataclass(frozen=True, slots=True)
class LaterRules:
    """What holds after a strategy's course.

    Attributes
    ----------
    strategy : Strategy
    entries : Entries
    tables : KeptTables
    leave : float
        Weekly probability of leaving maintenance.
    horizon : int
        Weeks.
    """

    strategy: Strategy
    entries: Entries
    tables: KeptTables
    leave: float
    horizon: int


def proportional(numbers: Numbers, chance: FloatArray | float, _week: int, _event: int) -> Numbers:
    """Split expected numbers exactly."""
    result: NDArray[Any] = numbers * chance
    return result


def follow(course: CourseFlow, rules: LaterRules, split: Splitter) -> LaterFlow:
    """Follow those who leave the course in response, week by week.

    Parameters
    ----------
    course : CourseFlow
        Numbers, (B, G, ...).
    rules : LaterRules
    split : Splitter

    Returns
    -------
    LaterFlow
    """
    again = rules.strategy.reinduction
    times = again.times if again else 0
    batch = course.staying.shape[:2]
    kind = course.staying.dtype
    size = rules.entries.week.size
    held = np.zeros((*batch, size, 2, 2, times + 1), kind)
    waiting = np.zeros((*batch, rules.horizon + 1, 2, times + 1), kind)
    kept_by_week = np.zeros((*batch, rules.horizon, size, 2, 2), kind)
    lost_by_week = np.zeros_like(kept_by_week)
    begun = np.zeros((*batch, rules.horizon), kind)
    for week in range(1, rules.horizon + 1):
        _enter(held, course, rules, week, times)
        if again and week > 1:
            _restart(held, waiting[..., week - 1, :, :], rules, week, split)
        kept = split(held, _chances(rules, week), week, LOSS)
        lost = held - kept
        kept_by_week[:, :, week - 1] = _leave(kept, rules, week, split).sum(axis=-1)
        lost_by_week[:, :, week - 1] = lost.sum(axis=-1)
        held = kept
        if again:
            # Only those in care are treated again; one chance fewer remains to them.
            starting = lost[..., 1, 1:].sum(axis=2)  # (B, G, status, left - 1)
            begun[:, :, week - 1] = starting.sum(axis=(-1, -2))
            ready = week + again.weeks
            if ready <= rules.horizon:
                waiting[:, :, ready, :, :-1] += starting
    return LaterFlow(kept_by_week, lost_by_week, begun)


def _enter(held: Numbers, course: CourseFlow, rules: LaterRules, week: int, times: int) -> None:
    """Add those whose last infusion falls into the week."""
    for k in np.flatnonzero(rules.entries.week[: rules.entries.course] == week):
        leaving = course.leaving[:, :, k, 1:]  # (B, G, status, reason)
        dropped = leaving[..., DROPPED]
        held[:, :, k, :, 0, 0] += dropped
        held[:, :, k, :, 1, times] += leaving.sum(axis=-1) - dropped


def _restart(held: Numbers, ready: Numbers, rules: LaterRules, week: int, split: Splitter) -> None:
    """Those whose re-induction ended with the week before; `ready` is (B, G, 2, T)."""
    again = rules.strategy.reinduction
    assert again is not None  # noqa: S101  # asked by the caller
    entry = rules.entries.course + week - 2
    held[:, :, entry, :, 1, :] += split(ready, again.success, week, SUCCESS)


def _leave(kept: Numbers, rules: LaterRules, week: int, split: Splitter) -> Numbers:
    """Move those who leave maintenance at the week's end, in place."""
    if rules.leave and rules.strategy.maintenance is not None:
        cared = kept[..., 1, :]
        left = split(cared, rules.leave, week, LEAVE)
        kept[..., 0, 0] += left.sum(axis=-1)
        kept[..., 1, :] = cared - left
    return kept


def _chances(rules: LaterRules, week: int) -> FloatArray:
    """Chance of keeping the response in a week, (D, G, E, 2, 2, 1)."""
    age = np.maximum(rules.entries.ages(week), 0)
    by_entry = rules.tables.kept[:, :, :, rules.entries.offset, age]  # (D, G, 3, E)
    moved = np.moveaxis(by_entry[:, :, _CARE], -1, 2)  # (D, G, E, 2, 2)
    return moved[..., None]


def maintenance_infusions(later: LaterFlow, rules: LaterRules) -> Numbers:
    """Infusions given in each week to those in response and in care, (B, G, H).

    One is given at the end of the week in which it falls due, counted from the entry.
    """
    plan = rules.strategy.maintenance
    if plan is None:
        return np.zeros_like(later.begun)
    every = DAYS * plan.interval_weeks
    given = np.zeros_like(later.begun)
    for week in range(1, rules.horizon + 1):
        before, now = (rules.entries.days_at_end(one) // every for one in (week - 1, week))
        cared = later.kept[:, :, week - 1, :, :, 1].sum(axis=-1)  # (B, G, E)
        given[:, :, week - 1] = (cared * (now - before)).sum(axis=-1)
    return given


def weeks_after_course(later: LaterFlow, rules: LaterRules) -> FloatArray:
    """Weeks in response after the course, within each week, (B, G, H).

    Those who keep the response count their whole span, those who lose it the mean time
    until then given the loss, so that the sum has no error from the weekly grid.
    """
    span, lost_time = rules.tables.span, rules.tables.lost_time
    found = np.zeros(later.begun.shape)
    for week in range(1, rules.horizon + 1):
        age = np.maximum(rules.entries.ages(week), 0)
        still = later.kept[:, :, week - 1].sum(axis=(-1, -2))
        time = lost_time[:, :, :, rules.entries.offset, age][:, :, _CARE]  # (D, G, 2, 2, E)
        own = np.moveaxis(time, -1, 2)
        found[:, :, week - 1] = (still * span[rules.entries.offset, age]).sum(axis=-1)
        found[:, :, week - 1] += (later.lost[:, :, week - 1] * own).sum(axis=(-1, -2, -3))
    return found
