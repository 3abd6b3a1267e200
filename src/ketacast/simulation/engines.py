"""Run some draws of a specification with one engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ketacast.arrays import FloatArray
from ketacast.clinical.artifact import Artifact
from ketacast.simulation import expected
from ketacast.simulation.aftercourse import LaterRules, Splitter, follow, proportional
from ketacast.simulation.automaton import Automaton, JointStep, compile_strategy, join
from ketacast.simulation.classes import class_chances, class_error, class_flows
from ketacast.simulation.counts import cohort_counts, course_counts
from ketacast.simulation.flows import CourseFlow, LaterFlow
from ketacast.simulation.outcomes import weekly_outcomes
from ketacast.simulation.parameters import Parameters, Source, open_source
from ketacast.simulation.specification import Specification
from ketacast.simulation.streams import Streams
from ketacast.simulation.survival import KeptTables, arms_of, entries_of, kept_tables

MOST_LOCAL_STATES: Final = 31
ERROR_DRAWS: Final = 64
"""Draws over which the class error is measured."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A specification made ready: everything that no draw changes.

    Attributes
    ----------
    specification : Specification
    source : Source
    automata : tuple of Automaton
        One for each strategy.
    steps : tuple of JointStep
        The strategies together; empty but for the engine "counts".
    """

    specification: Specification
    source: Source
    automata: tuple[Automaton, ...]
    steps: tuple[JointStep, ...]

    @property
    def longest(self) -> int:
        """Infusions of the longest course."""
        return max(one.infusions for one in self.automata)

    @property
    def dropout(self) -> float:
        """Probability of not coming to the next infusion."""
        given = self.specification.dropout
        return given.per_infusion if given else 0.0

    def expected_patients(self) -> FloatArray:
        """Return the number expected in each cell, (C,)."""
        weights = self.source.weights
        if self.specification.cohort.counted:
            return weights
        result: FloatArray = weights / weights.sum() * self.specification.patients
        return result


def make_plan(artifact: Artifact, specification: Specification) -> Plan:
    """Make a specification ready.

    Raises
    ------
    InputError
        If the model lacks a part, or the rules need more states than the engine carries.
    ArtifactError
        If the model or a profile is damaged, or they do not belong together.
    """
    automata = tuple(compile_strategy(strategy) for strategy in specification.strategies)
    steps = tuple(join(automata)) if specification.engine == "counts" else ()
    return Plan(specification, open_source(artifact, specification), automata, steps)


def later_rules(plan: Plan, parameters: Parameters) -> list[LaterRules]:
    """Tables of what follows the course, for each strategy; equal ones are shared."""
    specification = plan.specification
    leave = specification.dropout.per_maintenance_week if specification.dropout else 0.0
    held: dict[object, KeptTables] = {}
    found = []
    for strategy in specification.strategies:
        entries = entries_of(strategy, specification.horizon_weeks, plan.longest)
        plan_of = strategy.maintenance
        key = (
            entries.offsets,
            plan_of and (plan_of.hazard_ratio_from, plan_of.interval_multiplier),
        )
        if key not in held:
            held[key] = kept_tables(
                parameters,
                arms_of(strategy, parameters),
                entries.offsets,
                specification.horizon_weeks,
            )
        found.append(LaterRules(strategy, entries, held[key], leave, specification.horizon_weeks))
    return found


def outcomes_of(
    plan: Plan,
    courses: Sequence[CourseFlow],
    laters: Sequence[LaterFlow],
    rules: Sequence[LaterRules],
    patients: FloatArray,
) -> FloatArray:
    """Outcomes of all strategies, (B, S, H + 1, O)."""
    return np.stack(
        [
            weekly_outcomes(plan.specification, course, later, rule, patients)
            for course, later, rule in zip(courses, laters, rules, strict=True)
        ],
        axis=1,
    )


def run_expected(plan: Plan, draws: Sequence[int]) -> FloatArray:
    """Exact outcomes per patient, (D, 1, S, H + 1, O)."""
    parameters = plan.source.parameters(draws)
    courses = expected.course_flows(
        parameters, plan.automata, plan.source.clinic_of_cell, plan.expected_patients(),
        plan.dropout,
    )  # fmt: skip
    rules = later_rules(plan, parameters)
    laters = [follow(one, rule, proportional) for one, rule in zip(courses, rules, strict=True)]
    patients = np.full(len(draws), float(plan.specification.patients))
    return outcomes_of(plan, courses, laters, rules, patients)[:, None]


def run_counts(plan: Plan, draws: Sequence[int]) -> FloatArray:
    """Simulate outcomes per patient of the two halves of the cohort, (D, 2, S, H + 1, O)."""
    return np.stack([_count_draw(plan, draw) for draw in draws])


def _count_draw(plan: Plan, draw: int) -> FloatArray:
    specification, source = plan.specification, plan.source
    parameters = source.parameters([draw])
    streams = Streams(specification.seed, draw)
    counts = cohort_counts(
        source.weights, specification.patients, counted=specification.cohort.counted,
        streams=streams,
    )  # fmt: skip
    chances = class_chances(parameters, source.clinic_of_cell, specification.classes)[:, 0]
    courses = course_counts(
        plan.steps,
        chances,
        counts,
        source.clinic_of_cell,
        dropout=plan.dropout,
        streams=streams,
    )
    rules = later_rules(plan, parameters)
    split: Splitter = streams.split
    laters = [follow(one, rule, split) for one, rule in zip(courses, rules, strict=True)]
    return outcomes_of(plan, courses, laters, rules, counts.sum(axis=1).astype(np.float64))


def measured_class_error(plan: Plan) -> float:
    """Largest error of a share of patients from the finite number of classes.

    Over :data:`ERROR_DRAWS` draws at most, spread evenly, and each cell by itself: the
    courses of the classes against the exact ones, without random numbers.
    """
    specification = plan.specification
    count = min(ERROR_DRAWS, specification.draws)
    draws = (np.arange(count) * specification.draws // count).tolist()
    parameters = plan.source.parameters(draws)
    weights = plan.source.weights / plan.source.weights.sum()
    shared = (parameters, plan.automata, plan.source.clinic_of_cell, weights)
    exact = expected.course_flows(*shared, plan.dropout)
    classed = class_flows(*shared, dropout=plan.dropout, classes=specification.classes)
    return class_error(_averaged(exact), _averaged(classed))


def _averaged(flows: Sequence[CourseFlow]) -> list[CourseFlow]:
    """Mean over draws, the clinics together."""
    return [
        CourseFlow(one.staying.mean(axis=0).sum(axis=0), one.leaving.mean(axis=0).sum(axis=0))
        for one in flows
    ]
