"""The counting engine: exact in distribution, conserving, common random numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ketacast.clinical.artifact import Artifact, load_artifact
from ketacast.simulation import counts
from ketacast.simulation.aftercourse import follow, proportional
from ketacast.simulation.classes import class_chances, class_flows
from ketacast.simulation.counts import cohort_counts, course_counts, split_in_halves
from ketacast.simulation.engines import Plan, later_rules, make_plan, run_counts, run_expected
from ketacast.simulation.flows import CourseFlow
from ketacast.simulation.outcomes import outcome_names
from ketacast.simulation.specification import Cohort, Dropout, Group, Specification
from ketacast.simulation.strategies import Extend, Maintenance, Reinduction, Stop, Strategy
from ketacast.simulation.streams import Streams, coupled_binomial

Build = Callable[..., Specification]

LEAST_P = 1e-4
"""With a fixed seed the test is no gamble; a wrong distribution gives p below 1e-10."""


def simulated(plan: Plan, draw: int) -> list[CourseFlow]:
    spec, source = plan.specification, plan.source
    streams = Streams(spec.seed, draw)
    cells = cohort_counts(
        source.weights, spec.patients, counted=spec.cohort.counted, streams=streams
    )
    parameters = source.parameters([draw])
    chances = class_chances(parameters, source.clinic_of_cell, spec.classes)[:, 0]
    return course_counts(
        plan.steps, chances, cells, source.clinic_of_cell, dropout=plan.dropout, streams=streams
    )


@pytest.mark.parametrize("patients", [300, 10**8])
def test_counts_follow_the_exact_distribution(
    artifact: Artifact, build: Build, patients: int
) -> None:
    spec = build(patients=patients, dropout=Dropout(0.05, 0.02), classes=512)
    plan = make_plan(artifact, spec)
    statistic, freedom = 0.0, 0
    for draw in range(12):
        parameters = plan.source.parameters([draw])
        exact = class_flows(
            parameters, plan.automata, plan.source.clinic_of_cell,
            plan.expected_patients(), dropout=plan.dropout, classes=spec.classes,
        )  # fmt: skip
        for one, other in zip(simulated(plan, draw), exact, strict=True):
            seen = one.leaving.sum(axis=0).ravel()
            hoped = other.leaving[0].ravel()
            enough = hoped >= 5.0
            assert (seen[hoped == 0.0] == 0).all()
            rest = [(~enough * seen).sum()], [(~enough * hoped).sum()]
            seen = np.concatenate([seen[enough], rest[0]])
            hoped = np.concatenate([hoped[enough], rest[1]])
            keep = hoped > 0.5
            statistic += float(((seen - hoped)[keep] ** 2 / hoped[keep]).sum())
            freedom += int(keep.sum()) - 1
    # Strategies share their statuses, which spreads the sum: each is tested at a fifth.
    assert LEAST_P < stats.chi2.sf(statistic / len(spec.strategies), freedom / 5) < 1 - LEAST_P


@pytest.mark.parametrize("patients", [999, 10**8])
def test_outcomes_agree_with_exact_occupancy(
    artifact: Artifact, build: Build, patients: int
) -> None:
    spec = build(patients=patients, dropout=Dropout(0.05, 0.02), classes=512, draws=24)
    plan = make_plan(artifact, spec)
    exact = run_expected(plan, range(24))[:, 0]
    halves = run_counts(plan, range(24))
    sizes = np.array([patients // 2, patients - patients // 2])
    mean = np.average(halves, axis=1, weights=sizes)
    noise = np.abs(mean - exact)[:, :, 1:]
    spread = np.sqrt(((halves[:, 0] - halves[:, 1]) ** 2 / 4).mean(axis=0))[:, 1:]
    # Root mean square error over the draws within the range of 24 squares, and no bias.
    root = np.sqrt((noise**2).mean(axis=0))
    floor = 5e-6  # the classes' error
    assert (root <= 2.2 * spread + floor).all()
    bias = np.abs((mean - exact).mean(axis=0))[:, 1:]
    assert (bias <= 5.0 * spread / np.sqrt(24) + floor).all()


def test_the_same_draw_gives_the_same_bits_in_any_company(artifact: Artifact, build: Build) -> None:
    plan = make_plan(artifact, build(dropout=Dropout(0.05, 0.02)))
    whole = run_counts(plan, range(16))
    assert (run_counts(plan, [11]) == whole[[11]]).all()
    other = make_plan(artifact, build(dropout=Dropout(0.05, 0.02), seed=2))
    assert (run_counts(other, [11]) != whole[[11]]).any()


def test_strategies_share_their_patients(artifact: Artifact, build: Build) -> None:
    """A strategy twice differs from itself by nothing; a longer one keeps the first weeks."""
    strategies = (Strategy("a", 6), Strategy("b", 6), Strategy("c", 8))
    plan = make_plan(artifact, build(strategies=strategies, patients=50))
    found = run_counts(plan, range(16))
    names = outcome_names(plan.specification)
    assert (found[:, :, 0] == found[:, :, 1]).all()
    assert (found[:, :, 0, :3, names.index("response")] == found[:, :, 2, :3, 0]).all()
    # Far closer to each other than two independent simulations of 50 patients.
    apart = found[:, :, 2, -1] - found[:, :, 0, -1]
    ended = names.index("ended_in_response")
    noise = (apart[:, 0, ended] - apart[:, 1, ended]) / 2
    alone = (found[:, 0, 0, -1, ended] - found[:, 1, 0, -1, ended]) / 2
    assert noise.std() < 1.2 * alone.std()


rules = st.builds(
    lambda first, infusions, stop, look, extra, who, every, times, success: Strategy(
        first,
        infusions,
        stop=(Stop(stop, min(look, stop)),) if stop < infusions else (),
        extend=Extend(infusions + extra, who) if extra else None,
        maintenance=Maintenance(every, 1.0) if every else None,
        reinduction=Reinduction(2, 1, success, times) if times else None,
    ),
    st.uuids().map(str),
    st.integers(1, 9), st.integers(1, 6), st.integers(1, 6), st.integers(0, 3),
    st.sampled_from(["no response", "response without remission", "not in remission"]),
    st.integers(0, 4), st.integers(0, 2), st.sampled_from([0.0, 0.4, 1.0]),
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    st.lists(rules, min_size=1, max_size=3),
    st.integers(2, 500),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.sampled_from([0.0, 0.2]),
)
def test_nobody_is_lost_or_made(
    strategies: list[Strategy], patients: int, per_infusion: float, weekly: float
) -> None:
    leaving = weekly if any(one.maintenance for one in strategies) else 0.0
    spec = Specification(
        Cohort((Group(5, "unknown", 1.0), Group(2, "self", 2.0)), counted=False),
        tuple(strategies), 8, patients, draws=4, classes=8, dropout=Dropout(per_infusion, leaving),
    )  # fmt: skip
    plan = make_plan(load_artifact(None), spec)
    streams = Streams(1, 3)
    cells = cohort_counts(plan.source.weights, patients, counted=False, streams=streams)
    parameters = plan.source.parameters([3])
    chances = class_chances(parameters, plan.source.clinic_of_cell, 8)[:, 0]
    flows = course_counts(
        plan.steps,
        chances,
        cells,
        plan.source.clinic_of_cell,
        dropout=plan.dropout,
        streams=streams,
    )
    for flow, one in zip(flows, later_rules(plan, parameters), strict=True):
        assert (flow.staying >= 0).all()
        assert (flow.leaving >= 0).all()
        assert flow.leaving.sum(axis=(1, 2, 3, 4)).tolist() == cells.sum(axis=1).tolist()
        through = cells.sum(axis=1)
        for k in range(flow.staying.shape[2]):
            left = flow.leaving[:, :, k].sum(axis=(1, 2, 3))
            stay = flow.staying[:, :, k].sum(axis=(1, 2))
            assert (left + stay == through).all()
            through = stay
        real = CourseFlow(flow.staying.astype(float), flow.leaving.astype(float))
        for numbers, split in ((flow, streams.split), (real, proportional)):
            later = follow(numbers, one, split)
            assert all((part >= 0).all() for part in (later.kept, later.lost, later.begun))
            ended = flow.leaving[:, :, :, 1:].sum(axis=(1, 2, 3, 4))
            gone = later.lost.sum(axis=(1, 2, 3, 4, 5))
            still = later.kept[:, :, -1].sum(axis=(1, 2, 3, 4))
            begun = later.begun.sum(axis=(1, 2))
            assert (ended <= still + gone + 1e-9).all()
            assert (still + gone <= ended + begun + 1e-9).all()


def test_counted_cohorts_keep_their_numbers() -> None:
    weights = np.array([3.0, 2.5, 2.5, 9.0])
    cells = cohort_counts(weights, 17, counted=True, streams=Streams(1, 0))
    total = cells.sum(axis=0)
    assert total.sum() == 17
    assert total[[0, 3]].tolist() == [3, 9]
    assert sorted(total[[1, 2]].tolist()) == [2, 3]
    assert cells.sum(axis=1).tolist() == [8, 9]
    assert (split_in_halves(np.array([1, 1, 1]), 1).sum(axis=1) == [1, 2]).all()


def test_inverted_binomials_are_binomial_and_coupled() -> None:
    uniform = np.random.default_rng(1).random(20000)
    few = coupled_binomial(uniform, np.full(20000, 10), np.full(20000, 0.3))
    seen = np.bincount(few, minlength=11)[:9]
    hoped = 20000 * stats.binom.pmf(np.arange(9), 10, 0.3)
    assert stats.chi2.sf(((seen - hoped) ** 2 / hoped).sum(), 8) > LEAST_P
    more = coupled_binomial(uniform, np.full(20000, 12), np.full(20000, 0.3))
    assert (more >= few).all()
    sure = coupled_binomial(np.array([0.0, 1.0 - 2**-53]), np.array([5, 5]), np.array([0.0, 1.0]))
    assert sure.tolist() == [0, 5]


def test_seeds_stages_and_draws_have_streams_of_their_own() -> None:
    first = [
        Streams(seed, draw).generator(stage, step).random()
        for seed in (1, 2) for draw in (0, 1) for stage in (1, 2) for step in (0, 1)
    ]  # fmt: skip
    assert len(set(first)) == len(first)
    assert counts.HALVES == 2
    assert dataclasses.is_dataclass(Streams)
