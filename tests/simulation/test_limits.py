"""A result says what a prediction would flag, and what else it rests on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import ketacast
from ketacast.clinical.artifact import Artifact
from ketacast.simulation import read_result, simulate, write_results
from ketacast.simulation.assumptions import Support
from ketacast.simulation.specification import Cohort, Group, Specification
from ketacast.simulation.strategies import Extend, Strategy, Taper

Build = Callable[..., Specification]


@pytest.mark.parametrize("trials", range(21))
@pytest.mark.parametrize("infusions", [1, 8, 9, 30])
def test_flags_are_those_of_a_prediction(artifact: Artifact, trials: int, infusions: int) -> None:
    known = {
        one.code
        for one in ketacast.predict(
            failed_trials=trials, infusions=infusions, rated_by="self"
        ).warnings
    }
    assert Support.of(artifact).beyond(trials, infusions, "self") == known


def test_extrapolations_are_told(artifact: Artifact, build: Build, tmp_path: Path) -> None:
    least, most = artifact.content["support"]["failed_trials"]
    groups = (
        Group(least - 1, "self", 0.1), Group(most + 1, "self", 0.2), Group(20, "clinician", 0.05),
        Group(6, "self", 0.65), Group(19, "self", 0.0),
    )  # fmt: skip
    strategies = (
        Strategy("six", 6),
        Strategy("nine", 9),
        Strategy("longer", 6, extend=Extend(10)),
        Strategy("tapered", 8, taper=Taper(2, 1.0)),
    )
    spec = build(
        cohort=Cohort(groups, counted=False), strategies=strategies, engine="expected", draws=2
    )
    result = simulate(spec)
    limits = result.basis.limits
    assert limits[0].startswith("failed trials 1 (10 % of the cohort): fewer than 2")
    assert limits[1].startswith(f"failed trials {most + 1}, 20 (25 % of the cohort): the supported")
    assert (
        "nine (up to 9), longer (up to 10), tapered (up to 10): the supported range of" in limits[2]
    )
    told = " ".join(limits)
    assert "esketamine comparison with an assumed gap" in told
    assert "include placebo response" in told
    assert "the same at any pace" in told
    assert "rest on 2 draw(s)" in told
    assert "fewer than 2 is not treatment-resistant" in " ".join(str(result).split())
    write_results(result, tmp_path)
    again = read_result(tmp_path)
    assert again.basis == result.basis
    assert again.support == result.support


def test_what_is_within_the_evidence_is_not_flagged(build: Build) -> None:
    spec = build(
        cohort=Cohort((Group(6, "self", 1.0),), counted=False), engine="expected", draws=64,
        strategies=(Strategy("six", 6), Strategy("eight", 8)),
    )  # fmt: skip
    told = " ".join(simulate(spec).basis.limits)
    for word in ("supported range", "not treatment-resistant", "at any pace", "draw(s)"):
        assert word not in told
