"""The report: the tables' own numbers, in plain values, with ranges, sources and limits."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ketacast.cli import main
from ketacast.simulation import (
    Costs,
    SimulationResult,
    Specification,
    Strategy,
    Utilities,
    net_benefit,
    report_of,
    save_specification,
    simulate,
)
from ketacast.simulation.documents import from_document

Build = Callable[..., Specification]


@pytest.fixture
def result(build: Build) -> SimulationResult:
    return simulate(
        build(
            costs=Costs("EUR", 300.0), utilities=Utilities(0.8, 0.5), levels=(0.8, 0.95, 0.975),
            willingness_to_pay=(0.0, 20_000.0), remission_share=0.5,
        )
    )  # fmt: skip


def test_rows_are_those_of_the_tables(result: SimulationResult) -> None:
    report = report_of(result)
    last = result.specification.horizon_weeks
    for name, frame in (("outcomes", result.summary()), ("differences", result.differences())):
        kept = frame[frame["week"] == last].to_dict("records")
        assert len(report[name]) == len(kept)
        for row, wanted in zip(report[name], kept, strict=True):
            for level, words in (("0.8", "80"), ("0.95", "95"), ("0.975", "97_5")):
                bounds = [wanted.pop(f"low_{words}"), wanted.pop(f"high_{words}")]
                assert row["ranges"][level] == bounds
            assert set(row) == {*wanted, "ranges"}
            for column, value in wanted.items():
                missing = isinstance(value, float) and math.isnan(value)
                assert row[column] is None if missing else row[column] == value
    assert len(report["net_benefit"]) == len(net_benefit(result))
    assert report["incremental"][0]["reference"] == result.strategies[0]
    six = result.strategies[1]
    for name, outcome in (("cost", "cost"), ("effect", "qalys")):
        apart = result.at(six, outcome) - result.at(result.strategies[0], outcome)
        for level, bounds in report["incremental"][0][f"{name}_ranges"].items():
            tail = (1 - float(level)) / 2
            assert bounds == pytest.approx(np.quantile(apart, [tail, 1 - tail]))
    for row in (*report["net_benefit"], *report["infusions_per_response_week"]):
        assert set(row["ranges"]) == {"0.8", "0.95", "0.975"}
    assert from_document(report["specification"]) == result.specification
    assert report["model"]["sha256"] == result.model["sha256"]
    assert report["basis"]["limits"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_one_strategy_without_costs_is_compared_with_nothing(build: Build) -> None:
    report = report_of(simulate(build(strategies=(Strategy("six", 6),))))
    assert report["differences"] == []
    assert "incremental" not in report
    assert "net_benefit" not in report
    assert report["infusions_per_response_week"][0]["extra"] is None


def test_the_command_writes_it(build: Build, tmp_path: Path) -> None:
    spec = build()
    save_specification(spec, tmp_path / "spec.toml")
    out = tmp_path / "out"
    assert main(["simulate", "run", str(tmp_path / "spec.toml"), "--out", str(out)]) == 0
    assert json.loads((out / "report.json").read_text(encoding="utf-8")) == report_of(
        simulate(spec)
    )
