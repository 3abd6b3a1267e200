"""Titrations in one order become one record for each step."""

from __future__ import annotations

from typing import Any

import pytest

from ketacast.history import count_failed_trials
from ketacast.history.steps import steps_of

DAILY = {"frequency": 1, "period": 1, "periodUnit": "d"}


def step(mg: float, sequence: int | None = None, **repeat: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "timing": {"repeat": {**DAILY, **repeat}},
        "doseAndRate": [{"doseQuantity": {"value": mg, "unit": "mg"}}],
    }
    return made if sequence is None else {"sequence": sequence, **made}


def order(*steps: dict[str, Any], days: int = 90, status: str = "completed") -> dict[str, Any]:
    return {
        "resourceType": "MedicationRequest",
        "id": "1",
        "status": status,
        "intent": "order",
        "authoredOn": "2026-01-05",
        "medicationCodeableConcept": {"text": "sertraline"},
        "dosageInstruction": list(steps),
        "dispenseRequest": {"expectedSupplyDuration": {"value": days, "code": "d"}},
    }


def periods(*made: dict[str, Any]) -> list[tuple[str, str | None]]:
    found = []
    for part in steps_of(made[0]):
        period = part["dosageInstruction"][0]["timing"]["repeat"]["boundsPeriod"]
        found.append((period["start"], period.get("end")))
    return found


def test_steps_with_dates() -> None:
    made = order(
        step(25, boundsPeriod={"start": "2026-01-05", "end": "2026-01-12"}),
        step(50, boundsPeriod={"start": "2026-01-12", "end": "2026-04-05"}),
    )
    assert periods(made) == [("2026-01-05", "2026-01-11"), ("2026-01-12", "2026-04-05")]
    found = count_failed_trials([made], as_of="2026-06-01")
    assert (found.current_episode.low, found.current_episode.high) == (1, 1)
    assert found.eras[0].highest_mg == 50


def test_steps_with_lengths_follow_their_sequence() -> None:
    made = order(
        step(50, 2, boundsDuration={"value": 2, "code": "wk"}),
        step(25, 1, duration=7, durationUnit="d"),
        step(100, 3),
    )
    assert periods(made) == [
        ("2026-01-05", "2026-01-11"),
        ("2026-01-12", "2026-01-25"),
        ("2026-01-26", "2026-04-04"),
    ]


@pytest.mark.parametrize(
    "made",
    [
        order(step(50)),
        order(step(50, 1), step(100, 2)),
        order(step(50), step(50)),
        order(
            step(50, boundsPeriod={"start": "2026-01-05"}),
            step(75, boundsPeriod={"start": "2026-01-05"}),
        ),
        order(step(25, 1, boundsDuration={"value": 7, "code": "d"}), step(50, 2), status="stopped"),
        order(step(25, 1, boundsDuration={"value": 1e9, "code": "d"}), step(50, 2)),
        order(step(50, boundsPeriod={"start": "2026-01"}), step(75)),
        {**order(), "dosageInstruction": [step(50), None, "x"]},
    ],
)
def test_what_are_no_steps(made: dict[str, Any]) -> None:
    assert steps_of(made) == (made,)


def test_doses_side_by_side_add_up() -> None:
    made = order(
        step(75, boundsPeriod={"start": "2026-01-05", "end": "2026-04-05"}),
        step(75, boundsPeriod={"start": "2026-01-05", "end": "2026-04-05"}),
    )
    made["medicationCodeableConcept"] = {"text": "venlafaxine"}
    found = count_failed_trials([made], as_of="2026-06-01")
    assert found.current_episode.low == 1
    assert found.eras[0].highest_mg == 150


def test_an_instruction_without_bounds_leaves_the_order_open() -> None:
    made = order(
        step(50, boundsPeriod={"start": "2026-01-05", "end": "2026-01-12"}), step(50), days=84
    )
    found = count_failed_trials([made], as_of="2026-06-01")
    assert found.eras[0].weeks == 12


def test_a_stopped_order_does_not_hide_the_steps_of_its_like() -> None:
    lengths = (step(25, 1, boundsDuration={"value": 7, "code": "d"}), step(50, 2))
    stopped = order(*lengths, status="stopped")
    whole = {**order(*lengths), "id": "2", "authoredOn": "2026-01-20"}
    one = count_failed_trials([stopped, whole], as_of="2026-06-01")
    other = count_failed_trials([whole, {**stopped, "id": "3"}], as_of="2026-06-01")
    assert one.current_episode == other.current_episode
    assert one.current_episode.low == 1


def test_steps_in_words() -> None:
    words = "Take 1 tablet (25 mg) daily for 2 weeks, THEN 2 tablets (50 mg total) daily."
    made = order({"text": words, "doseAndRate": [{"doseQuantity": {"value": 25, "unit": "mg"}}]})
    assert periods(made) == [("2026-01-05", "2026-01-18"), ("2026-01-19", "2026-04-04")]
    found = count_failed_trials([made], as_of="2026-06-01")
    assert (found.eras[0].highest_mg, found.current_episode.low) == (50, 1)


@pytest.mark.parametrize(
    "words",
    [
        "Take 1 tablet daily, then 2 tablets daily",
        "Take 1 tablet for 7 days, then 2 tablets daily",
        "Take 1 tablet daily for 7 days, then taper off",
        "Take 1 tablet daily for 7 days",
    ],
)
def test_words_that_are_no_whole_steps(words: str) -> None:
    made = order({"text": words})
    assert steps_of(made) == (made,)
