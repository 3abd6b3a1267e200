"""Specifications that the tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from ketacast.clinical.artifact import Artifact, load_artifact
from ketacast.simulation.individuals import has_kernel
from ketacast.simulation.specification import Cohort, Group, Specification
from ketacast.simulation.strategies import (
    Extend,
    Maintenance,
    Reinduction,
    Stop,
    Strategy,
    Taper,
)

Build = Callable[..., Specification]


@pytest.fixture(scope="session")
def kernel() -> None:
    """Skip where there is no compiled kernel, but never in CI: without it this takes too long."""
    if not has_kernel():
        if os.environ.get("CI") == "true":
            pytest.fail("numba is missing or may not compile; install the extra `simulate`")
        pytest.skip("numba is not installed")


@pytest.fixture(scope="session")
def artifact() -> Artifact:
    return load_artifact(None)


MIXED = (
    Group(3, "self", 0.3),
    Group(6, "clinician", 0.5),
    Group(9, "unknown", 0.2, clinics=2),
)
STRATEGIES = (
    Strategy("four", 4),
    Strategy("six", 6),
    Strategy("eight, stopped", 8, stop=(Stop(3, 3), Stop(5))),
    Strategy(
        "six, extended, kept up",
        6,
        per_week=3.0,
        extend=Extend(9, "not in remission"),
        maintenance=Maintenance(2, 1.3),
        reinduction=Reinduction(4, 2, 0.5, 2),
    ),
    Strategy("tapered", 4, taper=Taper(2, 1.0), maintenance=Maintenance(4, 2.0, "responders")),
)


@pytest.fixture
def build() -> Build:
    def make(**changes: Any) -> Specification:
        base: dict[str, Any] = {
            "cohort": Cohort(MIXED, counted=False),
            "strategies": STRATEGIES,
            "horizon_weeks": 12,
            "patients": 1000,
            "draws": 16,
        }
        return Specification(**{**base, **changes})

    return make
