"""Summaries of the leave-one-out predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ketacast.clinical.calibration import LEVELS, CountPrediction, coverage
from ketacast.clinical.crossvalidation import LeaveOneOut
from ketacast.clinical.proportions import Proportion
from ketacast.options import OUTCOMES

Group = Literal["response", "remission", "both", "time course"]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often predictive intervals held the observed count.

    Attributes
    ----------
    group : {"response", "remission", "both", "time course"}
        Primary rows by outcome and together; time-course rows apart.
    result : Proportion
        Share inside, with exact bounds.
    nominal_mass : float
        Mean predictive probability of the intervals: what a perfect model would
        reach (above the level, because counts are whole).
    """

    group: Group
    result: Proportion
    nominal_mass: float


@dataclass(frozen=True, slots=True)
class ScoreDifference:
    """Log score of the model minus that of the model without moderators.

    Attributes
    ----------
    group : str
        "family" (all primary counts of a family together), "response" or "remission".
    units : int
        Families.
    mean, se : float
        Mean difference per family and its standard error; above 0 favours moderators.
    total : float
        Sum.
    better : int
        Families in which the model did better.
    """

    group: str
    units: int
    mean: float
    se: float
    total: float
    better: int


@dataclass(frozen=True, slots=True)
class SingleInfusion:
    """Rates after one infusion against the model's.

    Attributes
    ----------
    group : str
        "single-infusion trials" (primary rows) or "first infusion of a course".
    outcome : str
    cohorts, patients, observed : int
    expected : float
        Expected events.
    above : int
        Cohorts whose observed rate is above the expected one.
    mean_pit : float
        0.5 if unbiased.
    """

    group: str
    outcome: str
    cohorts: int
    patients: int
    observed: int
    expected: float
    above: int
    mean_pit: float


def coverages(rows: Sequence[CountPrediction]) -> tuple[Coverage, ...]:
    """Coverage by outcome, of all primary rows and of the time-course rows."""
    groups: list[tuple[Group, list[CountPrediction]]] = [
        ("response", [row for row in rows if row.primary and row.outcome == "response"]),
        ("remission", [row for row in rows if row.primary and row.outcome == "remission"]),
        ("both", [row for row in rows if row.primary]),
        ("time course", [row for row in rows if not row.primary]),
    ]
    result = []
    for group, chosen in groups:
        for level in LEVELS:
            mass = [i.mass for row in chosen for i in row.intervals if i.level == level]
            if chosen:
                result.append(Coverage(group, coverage(chosen, level), float(np.mean(mass))))
    return tuple(result)


def score_differences(left_out: LeaveOneOut) -> tuple[ScoreDifference, ...]:
    """Log scores against the model without moderators, by family and by outcome."""
    groups = {"family": [s.log_score - s.baseline_log_score for s in left_out.scores]}
    for outcome in OUTCOMES:
        groups[outcome] = [
            row.log_score - row.baseline_log_score
            for row in left_out.rows
            if row.primary and row.outcome == outcome
        ]
    return tuple(
        ScoreDifference(
            group=group,
            units=len(values),
            mean=float(np.mean(values)),
            se=float(np.std(values, ddof=1) / np.sqrt(len(values))),
            total=float(np.sum(values)),
            better=int(np.sum(np.array(values) > 0)),
        )
        for group, values in groups.items()
        if len(values) > 1
    )


def single_infusions(rows: Sequence[CountPrediction]) -> tuple[SingleInfusion, ...]:
    """Rows after one infusion: trials of one infusion, and first infusions of a course."""
    result = []
    for group, primary in (("single-infusion trials", True), ("first infusion of a course", False)):
        for outcome in OUTCOMES:
            chosen = [
                row
                for row in rows
                if row.infusions == 1 and row.primary is primary and row.outcome == outcome
            ]
            if chosen:
                result.append(
                    SingleInfusion(
                        group=group,
                        outcome=outcome,
                        cohorts=len(chosen),
                        patients=sum(row.n for row in chosen),
                        observed=sum(row.observed for row in chosen),
                        expected=sum(row.n * row.expected_rate for row in chosen),
                        above=sum(row.observed_rate > row.expected_rate for row in chosen),
                        mean_pit=float(np.mean([row.pit for row in chosen])),
                    )
                )
    return tuple(result)
