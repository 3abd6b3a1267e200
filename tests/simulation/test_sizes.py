"""Specifications that would not fit are refused at once; large ones are cut, to the same bits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ketacast.clinical.artifact import Artifact
from ketacast.errors import InputError
from ketacast.simulation import Resources, engines, patient_histories, simulate
from ketacast.simulation.classes import class_chances
from ketacast.simulation.engines import make_plan, measured_class_error, run_expected
from ketacast.simulation.individuals import _fitting
from ketacast.simulation.sizes import exact_draws
from ketacast.simulation.specification import Cohort, Dropout, Group, Specification
from ketacast.simulation.strategies import Reinduction, Stop, Strategy
from ketacast.simulation.tables import course_tables, later_tables
from ketacast.simulation.tasks import make_tasks

Build = Callable[..., Specification]

WIDE = Cohort(tuple(Group(trials, "self", 1.0, "new", 200) for trials in range(20)), counted=False)
STOPS = tuple(Strategy(f"s{k}", 12, stop=(Stop(k),)) for k in range(1, 11))
AGAIN = tuple(
    Strategy(f"s{k}", 30, per_week=7.0, reinduction=Reinduction(4, 2, 0.5, 10)) for k in range(32)
)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"engine": "individuals", "patients": 10**12, "draws": 4096},
         r"make 244,142,080 tasks, at most 2,000,000 are held; .*-at-once\) of 2049180328 or"),
        ({"cohort": WIDE, "classes": 4096}, r"4,000 cells .* 4,096 classes make 16,384,000 kinds"),
        ({"cohort": WIDE, "strategies": STOPS}, r"4,000 cells .* joint states .* make .* counts"),
        ({"cohort": WIDE, "strategies": AGAIN, "engine": "individuals", "horizon_weeks": 104},
         r"each task would hold .* numbers .* give fewer clinics or strategies"),
        ({"draws": 4096, "strategies": AGAIN, "horizon_weeks": 104}, "the result would hold"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_at_once(
    build: Build, changes: dict[str, Any], told: str
) -> None:
    spec = build(**changes)
    start = time.process_time()
    with pytest.raises(InputError, match=told):
        simulate(spec)
    assert time.process_time() - start < 2.0


def test_the_advice_on_patients_at_once_holds(build: Build) -> None:
    spec = build(engine="individuals", patients=10**9, draws=4096)
    with pytest.raises(InputError, match="of 2049181 or more"):
        make_tasks(spec, 1000)
    assert len(make_tasks(spec, 2_049_181)) <= 2_000_000
    with pytest.raises(InputError, match="patients_at_once is 4294967297; give a whole number"):
        Resources(patients_at_once=2**32 + 1)
    with pytest.raises(InputError, match="workers is 100000"):
        Resources(workers=100_000)


def test_cohorts_of_too_many_cells_or_clinics_are_refused() -> None:
    groups = tuple(Group(trials, "unknown", 1.0, "new", 200) for trials in range(20))
    with pytest.raises(InputError, match="has 8,000 cells in 200 clinics; give at most 5,000"):
        Cohort(groups, counted=False)
    own = tuple(Group(3, "self", 1.0, f"{i}.json") for i in range(201))
    with pytest.raises(InputError, match="cells in 201 clinics"):
        Cohort(own, counted=False)


def test_large_cohorts_run_with_fewer_draws_at_once_and_the_same_bits(
    artifact: Artifact, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = build(draws=6, dropout=Dropout(0.03))
    wide = build(cohort=WIDE, strategies=AGAIN[:4], engine="expected", horizon_weeks=104)
    assert exact_draws(wide, 64) == 1
    assert exact_draws(spec, 64) == 64
    assert [task.last - task.first for task in make_tasks(wide)] == [1] * 16
    counted = build(cohort=WIDE, strategies=AGAIN[:4], horizon_weeks=104)
    assert [task.last - task.first for task in make_tasks(counted)] == [1] * 16
    assert [task.last - task.first for task in make_tasks(build())] == [16]
    plan = make_plan(artifact, spec)
    whole = run_expected(plan, range(6))
    assert (np.concatenate([run_expected(plan, [draw]) for draw in range(6)]) == whole).all()
    error = measured_class_error(plan)
    monkeypatch.setattr(engines, "MOST_HELD", 1)
    assert measured_class_error(plan) == error


def test_threads_are_as_many_as_fit(artifact: Artifact, build: Build) -> None:
    pytest.importorskip("numba")
    plan = make_plan(artifact, build(engine="individuals"))
    parameters = plan.source.parameters([0])
    chances = class_chances(parameters, plan.source.clinic_of_cell, 64)[:, 0]
    course = course_tables(plan.steps, chances, 0.0, longest=plan.longest)
    later = later_tables(engines.later_rules(plan, parameters), 0.0)
    assert 1 <= _fitting(10**6, course, later) <= 1024


def test_too_many_histories_are_refused(build: Build) -> None:
    spec = build(engine="individuals", patients=10**7)
    with pytest.raises(InputError, match="more than 2,000,000 rows; give a smaller range"):
        patient_histories(spec)
