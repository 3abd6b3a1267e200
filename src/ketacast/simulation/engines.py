"""Run some draws of a specification with one engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ketacast.arrays import FloatArray
from ketacast.clinical.artifact import Artifact
from ketacast.simulation import expected
from ketacast.simulation.aftercourse import LaterRules, Splitter, follow, proportional
from ketacast.simulation.automaton import (
    MOST_JOINT_STATES,
    MOST_LISTED_STATES,
    MOST_MOVES,
    Automaton,
    JointStep,
    compile_strategy,
    join,
)
from ketacast.simulation.classes import class_chances, class_error, class_flows
from ketacast.simulation.counts import cohort_counts, course_counts
from ketacast.simulation.flows import CourseFlow, LaterFlow
from ketacast.simulation.individuals import RUN, simulate_runs, stack_steps
from ketacast.simulation.lives import Histories, Tally, empty_histories, flows_of
from ketacast.simulation.outcomes import weekly_outcomes
from ketacast.simulation.parameters import Parameters, Source, open_source
from ketacast.simulation.sizes import MOST_HELD, check_classes, check_states, exact_draws
from ketacast.simulation.specification import Engine, Specification
from ketacast.simulation.streams import Streams
from ketacast.simulation.survival import KeptTables, arms_of, entries_of, kept_tables
from ketacast.simulation.tables import course_tables, later_tables, make_runs

Int = NDArray[np.int64]

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
        The strategies together; empty for the engine "expected".
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
    automata, steps = check_rules(specification)
    return Plan(specification, open_source(artifact, specification), automata, steps)


def check_rules(
    specification: Specification,
) -> tuple[tuple[Automaton, ...], tuple[JointStep, ...]]:
    """Make the automata of the strategies, each alone and, where the engine needs it, together.

    Raises
    ------
    InputError
        If rules, classes or cells need more than the engine carries.
    """
    check_classes(specification)
    automata = tuple(compile_strategy(strategy) for strategy in specification.strategies)
    steps: tuple[JointStep, ...] = ()
    if specification.engine != "expected":
        steps = tuple(join(automata, _most_joint_states(specification.engine, automata)))
        check_states(specification, max(step.size_after for step in steps))
    return automata, steps


def _most_joint_states(engine: Engine, automata: Sequence[Automaton]) -> int:
    if engine == "counts":
        return MOST_JOINT_STATES
    size = len(automata) * max(one.infusions for one in automata)
    return min(MOST_LISTED_STATES, MOST_MOVES // size)


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
    laters: Iterable[LaterFlow],
    rules: Sequence[LaterRules],
    patients: FloatArray,
) -> FloatArray:
    """Outcomes of all strategies, (B, S, H + 1, O); what follows one course is held at a time."""
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
    laters = (follow(one, rule, proportional) for one, rule in zip(courses, rules, strict=True))
    patients = np.full(len(draws), float(plan.specification.patients))
    return outcomes_of(plan, courses, laters, rules, patients)[:, None]


def run_counts(plan: Plan, draws: Sequence[int]) -> FloatArray:
    """Simulate outcomes per patient of the two halves of the cohort, (D, 2, S, H + 1, O)."""
    return np.stack([_count_draw(plan, draw) for draw in draws])


def _count_draw(plan: Plan, draw: int) -> FloatArray:
    specification, source = plan.specification, plan.source
    parameters = source.parameters([draw])
    streams = Streams(specification.seed, draw)
    counts = cohort_of(plan, draw)
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
    laters = (follow(one, rule, split) for one, rule in zip(courses, rules, strict=True))
    return outcomes_of(plan, courses, laters, rules, counts.sum(axis=1).astype(np.float64))


def cohort_of(plan: Plan, draw: int) -> Int:
    """Patients in each cell of the two halves of the cohort in one draw, (2, C)."""
    specification = plan.specification
    return cohort_counts(
        plan.source.weights,
        specification.patients,
        counted=specification.cohort.counted,
        streams=Streams(specification.seed, draw),
    )


def tally_individuals(
    plan: Plan, draw: int, low: int, high: int, *, threads: int = 1, history: bool = False
) -> tuple[Tally, Histories | None]:
    """Simulate patients `low` to `high` - 1 of one draw one by one.

    Returns
    -------
    Tally
        Whole numbers: those of several parts of a cohort add up to those of all of it.
    Histories or None
        If asked for.
    """
    parameters = plan.source.parameters([draw])
    clinic_of_cell = plan.source.clinic_of_cell
    chances = class_chances(parameters, clinic_of_cell, plan.specification.classes)[:, 0]
    course = course_tables(plan.steps, chances, plan.dropout, longest=plan.longest)
    given = plan.specification.dropout
    later = later_tables(
        later_rules(plan, parameters), given.per_maintenance_week if given else 0.0
    )
    runs = make_runs(cohort_of(plan, draw), clinic_of_cell, low, high, RUN)
    histories = empty_histories(course, later, high - low) if history else None
    key = (plan.specification.seed, draw)
    tally = simulate_runs(runs, course, later, key, threads=threads, histories=histories)
    return tally, histories


def individual_outcomes(plan: Plan, draw: int, tally: Tally) -> FloatArray:
    """Outcomes per patient of the two halves, from the counts of all patients of a draw.

    Returns
    -------
    (2, S, H + 1, O) float array
    """
    staying, leaving = stack_steps(plan.steps, tally.seen.shape[3])
    courses, laters = flows_of(tally, staying, leaving)
    rules = later_rules(plan, plan.source.parameters([draw]))
    laters = [
        LaterFlow(
            one.kept[:, :, :, : rule.entries.week.size],
            one.lost[:, :, :, : rule.entries.week.size],
            one.begun,
        )
        for one, rule in zip(laters, rules, strict=True)
    ]
    sizes = cohort_of(plan, draw).sum(axis=1).astype(np.float64)
    return outcomes_of(plan, courses, laters, rules, sizes)


def measured_class_error(plan: Plan) -> float:
    """Largest error of a share of patients from the finite number of classes.

    Over :data:`ERROR_DRAWS` draws at most, spread evenly, and each cell by itself: the
    courses of the classes against the exact ones, without random numbers.
    """
    specification = plan.specification
    count = min(ERROR_DRAWS, specification.draws)
    draws = (np.arange(count) * specification.draws // count).tolist()
    weights = plan.source.weights / plan.source.weights.sum()
    at_once = exact_draws(specification, ERROR_DRAWS)
    # Classes take the place of nodes, and every state of the rules has numbers of its own.
    states = 2 * max(one.states for one in plan.automata) + 24
    at_once = max(
        1, min(at_once, MOST_HELD // (plan.source.weights.size * specification.classes * states))
    )
    exact, classed = _Mean(), _Mean()
    for first in range(0, count, at_once):
        parameters = plan.source.parameters(draws[first : first + at_once])
        shared = (parameters, plan.automata, plan.source.clinic_of_cell, weights)
        exact.add(expected.course_flows(*shared, plan.dropout))
        classed.add(class_flows(*shared, dropout=plan.dropout, classes=specification.classes))
    return class_error(exact.flows(), classed.flows())


class _Mean:
    """Mean over draws, added up one after the other, so that their grouping changes no bit."""

    def __init__(self) -> None:
        self._count = 0
        self._sums: list[tuple[FloatArray, FloatArray]] = []

    def add(self, flows: Sequence[CourseFlow]) -> None:
        """Add flows of some draws."""
        if not self._sums:
            self._sums = [
                (np.zeros(one.staying.shape[1:]), np.zeros(one.leaving.shape[1:])) for one in flows
            ]
        for total, one in zip(self._sums, flows, strict=True):
            for stay, leave in zip(one.staying, one.leaving, strict=True):
                np.add(total[0], stay, out=total[0])
                np.add(total[1], leave, out=total[1])
        self._count += flows[0].staying.shape[0]

    def flows(self) -> list[CourseFlow]:
        """Return the mean flows, the clinics together."""
        return [
            CourseFlow((stay / self._count).sum(axis=0), (leave / self._count).sum(axis=0))
            for stay, leave in self._sums
        ]
