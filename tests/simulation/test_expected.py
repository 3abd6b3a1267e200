"""The exact engine against the predictor, the answer on a course under way, and quadrature."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy import integrate, special

import ketacast
from ketacast.clinical.artifact import Artifact
from ketacast.clinical.course_parts import load_durability
from ketacast.clinical.durability_parts import MaintenancePlan
from ketacast.numerics.propensity import condition_on_history
from ketacast.simulation import expected
from ketacast.simulation.aftercourse import follow, proportional
from ketacast.simulation.automaton import compile_strategy
from ketacast.simulation.engines import (
    later_rules,
    make_plan,
    measured_class_error,
    outcomes_of,
    run_expected,
)
from ketacast.simulation.flows import CourseFlow
from ketacast.simulation.outcomes import outcome_names
from ketacast.simulation.specification import Cohort, Dropout, Group, Specification
from ketacast.simulation.strategies import Extend, Maintenance, Stop, Strategy

Build = Callable[..., Specification]

ALL = 4096


@pytest.mark.parametrize("rater", ["self", "clinician"])
def test_marginals_are_the_predictors_numbers(artifact: Artifact, build: Build, rater: str) -> None:
    strategies = tuple(Strategy(str(d), d) for d in (1, 3, 6, 8))
    spec = build(
        cohort=Cohort((Group(6, rater, 1.0),), counted=False),  # type: ignore[arg-type]
        strategies=strategies, draws=ALL, engine="expected", horizon_weeks=4,
    )  # fmt: skip
    found = run_expected(make_plan(artifact, spec), range(ALL))
    names = outcome_names(spec)
    for s, strategy in enumerate(strategies):
        told = ketacast.predict(failed_trials=6, infusions=strategy.infusions, rated_by=rater)  # type: ignore[arg-type]
        for outcome in ("response", "remission"):
            values = found[:, 0, s, -1, names.index(f"ended_in_{outcome}")]
            estimate = getattr(told, outcome)
            assert values.mean() == pytest.approx(estimate.expected, abs=1e-7)
            low, high = estimate.new_clinic[0.8]
            assert np.quantile(values, [0.1, 0.9]) == pytest.approx([low, high], abs=2e-6)


def test_an_average_clinic_is_the_predictors(artifact: Artifact, build: Build) -> None:
    spec = build(
        cohort=Cohort((Group(6, "self", 1.0, "average"),), counted=False),
        strategies=(Strategy("six", 6),), draws=ALL, engine="expected", horizon_weeks=4,
    )  # fmt: skip
    found = run_expected(make_plan(artifact, spec), range(ALL))[:, 0, 0, -1]
    told = ketacast.predict(failed_trials=6, infusions=6, rated_by="self").response
    values = found[:, outcome_names(spec).index("ended_in_response")]
    assert np.quantile(values, [0.1, 0.9]) == pytest.approx(
        list(told.average_clinic[0.8]), abs=2e-6
    )


def test_stopped_patients_are_those_of_a_course_under_way(artifact: Artifact, build: Build) -> None:
    """Stopping after N N N costs exactly the responses that N N N would still have led to."""
    strategies = (Strategy("six", 6), Strategy("stopped", 6, stop=(Stop(3, 3),)))
    cohort = Cohort((Group(6, "self", 1.0),), counted=False)
    spec = build(cohort=cohort, strategies=strategies, draws=ALL, engine="expected")
    plan = make_plan(artifact, spec)
    found = run_expected(plan, range(ALL))[:, 0, :, -1]
    parameters = plan.source.parameters(range(ALL))
    known = condition_on_history(
        parameters.propensity[:, 0], parameters.response[:, 0], parameters.remission[:, 0], "NNN"
    )
    names = outcome_names(spec)
    for outcome in ("response", "remission"):
        place = names.index(f"ended_in_{outcome}")
        forgone = found[:, 0, place] - found[:, 1, place]
        later = getattr(known, outcome)[:, 6 - 4]
        assert forgone == pytest.approx(known.likelihood * later, abs=2e-6)


def test_every_path_adds_up_as_by_adaptive_integration(artifact: Artifact, build: Build) -> None:
    strategy = Strategy("s", 3, stop=(Stop(2, 2),), extend=Extend(4))
    cohort = Cohort((Group(6, "self", 1.0),), counted=False)
    plan = make_plan(artifact, build(cohort=cohort, strategies=(strategy,), draws=8))
    parameters = plan.source.parameters(range(8))
    flows = expected.course_flows(
        parameters, plan.automata, plan.source.clinic_of_cell, np.ones(1), 0.1
    )[0]
    automaton = compile_strategy(strategy)
    for d in range(8):
        w = min(parameters.propensity[d, 0], 0.9999)
        cuts = special.ndtri(
            np.stack([parameters.remission[d, 0, :4], parameters.response[d, 0, :4]])
        )

        def chance(path: tuple[int, ...], w: float = w, cuts: np.ndarray = cuts) -> float:
            def density(z: float) -> float:
                best, some = special.ndtr((cuts - np.sqrt(w) * z) / np.sqrt(1.0 - w))
                each = np.stack([1.0 - some, some - best, best])
                value = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
                return float(value * np.prod([each[letter, k] for k, letter in enumerate(path)]))

            places = np.sort(cuts.ravel() / np.sqrt(w))
            points = places[np.abs(places) < 7.0].tolist()
            return float(integrate.quad(density, -8, 8, points=points, limit=400)[0])

        staying, leaving = np.zeros((4, 3)), np.zeros((4, 3, 3))
        paths: list[tuple[tuple[int, ...], int, float]] = [((), automaton.start, 1.0)]
        for k in range(4):
            after = []
            for (path, state, left), letter in product(paths, range(3)):
                mass = left * chance((*path, letter))
                move = automaton.moves[k, state, letter]
                if move < 0:
                    leaving[k, letter, -1 - move] += mass
                else:
                    staying[k, letter] += 0.9 * mass
                    leaving[k, letter, 2] += 0.1 * mass
                    after.append(((*path, letter), int(move), 0.9 * left))
            paths = after
        assert flows.staying[d, 0] == pytest.approx(staying, abs=2e-7)
        assert flows.leaving[d, 0] == pytest.approx(leaving, abs=2e-7)


@pytest.mark.parametrize("stratum", [None, "responders", "remitters"])
def test_weeks_in_response_are_those_of_the_answer_after_the_course(
    artifact: Artifact, build: Build, stratum: str | None
) -> None:
    """A course of one infusion to which all respond, on day 0: the clock is the calendar."""
    kept = Maintenance(1, 1.0, stratum) if stratum else None  # type: ignore[arg-type]
    spec = build(
        cohort=Cohort((Group(6, "self", 1.0),), counted=False),
        strategies=(Strategy("one", 1, maintenance=kept),), draws=ALL, horizon_weeks=26,
    )  # fmt: skip
    plan = make_plan(artifact, spec)
    leaving = np.zeros((ALL, 1, 1, 3, 3))
    leaving[:, :, 0, 1, 0] = 1.0
    course = CourseFlow(np.zeros((ALL, 1, 1, 3)), leaving)
    rules = later_rules(plan, plan.source.parameters(range(ALL)))
    later = follow(course, rules[0], proportional)
    weeks = outcomes_of(plan, [course], [later], rules, np.ones(ALL))[:, 0]
    durability = load_durability(artifact)
    maintained = MaintenancePlan(stratum) if stratum else None  # type: ignore[arg-type]
    names = outcome_names(spec)
    told = durability.weeks_in_response(26, maintained)
    found = weeks[:, -1, names.index("weeks_in_response")]
    assert found.mean() == pytest.approx(told.expected, abs=1e-6)
    assert np.quantile(found, [0.1, 0.9]) == pytest.approx(told.new_clinic[0], abs=2e-6)
    curve = durability.curve(range(27), maintained)
    share = weeks[:, 1:, names.index("response")].mean(axis=0)
    assert share == pytest.approx([one.expected for one in curve.share][1:], abs=1e-9)


def test_any_set_of_draws_gives_the_same_bits(artifact: Artifact, build: Build) -> None:
    spec = build(engine="expected", dropout=Dropout(0.05, 0.02), draws=48)
    plan = make_plan(artifact, spec)
    whole = run_expected(plan, range(48))
    for part in (range(7), range(7, 20), [21], range(20, 48)):
        assert (run_expected(plan, part) == whole[list(part)]).all()


def test_more_classes_come_closer(artifact: Artifact, build: Build) -> None:
    errors = [
        measured_class_error(make_plan(artifact, build(classes=classes)))
        for classes in (16, 64, 256)
    ]
    assert errors[0] > 4 * errors[1] > 16 * errors[2]
    assert errors[1] < 1e-3
