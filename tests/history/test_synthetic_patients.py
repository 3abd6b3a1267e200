"""Twelve synthetic patients: counts and reasons as reviewed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ketacast.history import Era, count_failed_trials, rater_from_chart

PATIENTS = Path(__file__).parent / "patients"
REVIEWED: dict[str, dict[str, Any]] = json.loads((PATIENTS / "reviewed.json").read_text())
AS_OF = "2026-11-01"


def line(era: Era) -> str:
    codes = " ".join(reason.code for reason in era.reasons)
    return f"{era.ingredient} {era.start} {'on' if era.ongoing else era.end} | {codes}"


def test_all_patients_are_reviewed() -> None:
    assert sorted(REVIEWED) == sorted(path.stem for path in PATIENTS.glob("*_*.json"))
    assert len(REVIEWED) == 12


@pytest.mark.parametrize("name", sorted(REVIEWED))
def test_a_synthetic_patient_is_counted_as_reviewed(name: str) -> None:
    chart = json.loads((PATIENTS / f"{name}.json").read_text(encoding="utf-8"))
    reviewed = REVIEWED[name]
    found = count_failed_trials(chart, as_of=AS_OF)
    rater = rater_from_chart(chart, as_of=AS_OF)
    assert [found.current_episode.low, found.current_episode.high] == reviewed["current"]
    assert [found.lifetime.low, found.lifetime.high] == reviewed["lifetime"]
    assert [found.usual_current_episode, found.usual_lifetime] == reviewed["usual"]
    assert [flag.code for flag in found.flags] == reviewed["flags"]
    assert f"{rater.rater}: {rater.reason}" == reviewed["rater"]
    assert [line(era) for era in found.eras] == reviewed["eras"]
    assert found.unread == ()


@pytest.mark.parametrize("name", sorted(REVIEWED))
def test_nothing_that_names_the_patient_is_put_out(name: str) -> None:
    text = (PATIENTS / f"{name}.json").read_text(encoding="utf-8")
    entries = [entry["resource"] for entry in json.loads(text)["entry"]]
    (patient,) = [entry for entry in entries if entry["resourceType"] == "Patient"]
    found = count_failed_trials(json.loads(text), as_of=AS_OF)
    for shown in (str(found), json.dumps(found.to_dict())):
        assert patient["birthDate"] not in shown
        assert patient["id"] not in shown
