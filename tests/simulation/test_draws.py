"""Some of the stored draws stand for all of them, and several clinics are several."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ketacast.clinical.artifact import Artifact
from ketacast.simulation import simulate
from ketacast.simulation.engines import make_plan
from ketacast.simulation.parameters import spread_rows
from ketacast.simulation.specification import Cohort, Dropout, Group, Specification
from ketacast.simulation.strategies import Maintenance, Strategy

Build = Callable[..., Specification]
COUNTS = (50, 64, 100, 128, 256, 500, 512, 1000, 1024, 2000, 2048)


@pytest.mark.parametrize("count", COUNTS)
def test_fewer_draws_keep_every_parameters_mean_and_spread(
    artifact: Artifact, build: Build, count: int
) -> None:
    plan = make_plan(artifact, build(cohort=Cohort((Group(6, "self", 1.0),), counted=False)))
    source = plan.source
    draws = source.clinics[0].draws
    time = source.durability.draws
    columns = [*draws.beta.T, *draws.tau.T, *draws.scores.T, source.clinics[0].propensity,
               time.log_scale, time.m, time.s, time.k,
               *(one.log_ratio for one in source.durability.maintenance.values())]  # fmt: skip
    values = np.array(columns)
    scaled = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)
    rows = spread_rows(np.arange(count), count, 4096)
    assert (np.diff(rows) > 0).all()
    # Random draws would have a standard error of (1 / count - 1 / 4096) ** 0.5.
    bound = 2.5 * (1.0 / count - 1.0 / 4096.0) ** 0.5
    some = scaled[:, rows]
    assert np.abs(some.mean(axis=1)).max() < bound
    assert np.abs(np.log(some.std(axis=1))).max() < bound


def test_all_draws_are_themselves_and_any_set_is_the_same() -> None:
    everything = np.arange(4096)
    assert (spread_rows(everything, 4096, 4096) == everything).all()
    whole = spread_rows(np.arange(300), 300, 4096)
    assert (spread_rows(np.array([7, 299, 0]), 300, 4096) == whole[[7, 299, 0]]).all()
    assert spread_rows(np.array([9]), 10, 4).tolist() == [3]


@pytest.mark.parametrize(("count", "off"), [(256, 0.15), (1024, 0.08)])
def test_outcomes_of_fewer_draws_are_close_to_those_of_all(
    build: Build, count: int, off: float
) -> None:
    def ends(draws: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        spec = build(
            cohort=Cohort((Group(8, "self", 1.0, "average"),), counted=False), engine="expected",
            strategies=(Strategy("eight", 8, 2.5, maintenance=Maintenance(4, 2.0, "responders")),),
            dropout=Dropout(0.03, 0.08), horizon_weeks=30, draws=draws,
        )  # fmt: skip
        return simulate(spec).by_draw[:, 0, -1]

    some, every = ends(count), ends(4096)
    sd = every.std(axis=0)
    moved = sd > 1e-9
    assert (np.abs(some.mean(axis=0) - every.mean(axis=0))[moved] < off * sd[moved]).all()


@pytest.mark.parametrize("number", [2, 5, 12, 60])
def test_means_over_new_clinics_vary_as_they_should(
    artifact: Artifact, build: Build, number: int
) -> None:
    group = Group(6, "self", 1.0, "new", number)
    source = make_plan(artifact, build(cohort=Cohort((group,), counted=False))).source
    assert len(source.clinics) == number
    for i in range(3):
        mean = np.mean([one.draws.scores[:, i] for one in source.clinics], axis=0)
        assert 0.85 < mean.var() * number < 1.15
