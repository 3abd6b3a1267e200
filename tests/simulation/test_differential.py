"""The engines against a slow simulator of one patient after the other."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ketacast.clinical.artifact import Artifact
from ketacast.simulation.engines import make_plan, run_expected
from ketacast.simulation.outcomes import outcome_names
from ketacast.simulation.specification import Cohort, Dropout, Group, Specification
from ketacast.simulation.strategies import Extend, Maintenance, Reinduction, Stop, Strategy

PATIENTS = 12_000
#: Eight outcomes in each of four cases: 4.5 standard errors by chance once in 4,600 runs.
FARTHEST = 4.5


def load_slow() -> ModuleType:
    path = Path(__file__).parent / "slow.py"
    spec = importlib.util.spec_from_file_location("ketacast_slow_simulator", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


BASE: dict[str, Any] = {
    "per_week": 2.0, "infusions": 6, "stop_after": 0, "look_back": 1, "extend_to": 0,
    "dropout": 0.0, "leave": 0.0, "multiplier": 1.0, "every": 10**6, "times": 0, "again": 0,
    "again_weeks": 1, "success": 0.0,
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "stopped and dropping out": {"stop_after": 3, "look_back": 3, "dropout": 0.07},
    "extended and kept up": {
        "extend_to": 9, "per_week": 3.0, "every": 2, "multiplier": 1.4, "leave": 0.04,
    },
    "treated again": {
        "every": 3, "times": 2, "again": 4, "again_weeks": 2, "success": 0.6, "dropout": 0.03,
        "stop_after": 4, "per_week": 1.75,
    },
}  # fmt: skip


def strategy_of(plan: dict[str, Any]) -> Strategy:
    kept = plan["every"] < 1000
    return Strategy(
        "s",
        plan["infusions"],
        per_week=plan["per_week"],
        stop=(Stop(plan["stop_after"], plan["look_back"]),) if plan["stop_after"] else (),
        extend=Extend(plan["extend_to"], "not in remission") if plan["extend_to"] else None,
        maintenance=Maintenance(plan["every"], plan["multiplier"]) if kept else None,
        reinduction=Reinduction(plan["again"], plan["again_weeks"], plan["success"], plan["times"])
        if plan["times"]
        else None,
    )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("draw", [2, 5])
def test_the_exact_engine_agrees(artifact: Artifact, case: str, draw: int) -> None:
    plan = {**BASE, **CASES[case]}
    weeks = 14
    spec = Specification(
        Cohort((Group(5, "self", 1.0),), counted=False), (strategy_of(plan),), weeks, PATIENTS,
        draws=8, engine="expected", dropout=Dropout(plan["dropout"], plan["leave"] and 0.04),
    )  # fmt: skip
    ready = make_plan(artifact, spec)
    one = ready.source.parameters([draw])
    kept = plan["every"] < 1000
    clinic = load_slow().Clinic(
        rates=list(zip(one.response[0, 0], one.remission[0, 0], strict=True)),
        w=float(one.propensity[0, 0]),
        scale=math.exp(one.log_scale[0, 0]),
        shape=float(one.shape[0]),
        ratio={name: math.exp(value[0]) if kept else 1.0 for name, value in one.log_ratio.items()},
    )
    slow = load_slow().simulate(draw, PATIENTS, clinic, {**plan, "horizon": 7.0 * weeks})
    exact = run_expected(ready, [draw])[0, 0, 0, -1]
    names = outcome_names(spec)
    for name, (mean, error) in slow.items():
        distance = abs(exact[names.index(name)] - mean)
        assert distance <= FARTHEST * error + 1e-9, name
    assert np.isfinite(exact).all()
