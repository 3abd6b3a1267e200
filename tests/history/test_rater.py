"""Who rates the scale, from the scores in a chart."""

from __future__ import annotations

from typing import Any

import pytest

from ketacast.history import rater_from_chart

AS_OF = "2026-06-01"
LOINC = "http://loinc.org"


def score(name: str, day: str, **more: Any) -> dict[str, Any]:
    code = {"text": name}
    known = {"44261-6": LOINC, "44249-1": LOINC, "720433000": "http://snomed.info/sct"}
    made: dict[str, Any] = {
        "resourceType": "Observation",
        "id": f"{name}-{day}",
        "status": "final",
        "code": {"coding": [{"system": known[name], "code": name}]} if name in known else code,
        "effectiveDateTime": day,
    }
    return made | more


@pytest.mark.parametrize(
    ("name", "rater"),
    [
        ("44261-6", "self"),
        ("44249-1", "self"),
        ("720433000", "self"),
        ("PHQ-9 total", "self"),
        ("Patient Health Questionnaire 9 item (PHQ-9) total score [Reported]", "self"),
        ("QIDS-SR16", "self"),
        ("BDI-II", "self"),
        ("MADRS-S", "self"),
        ("MADRS total score", "clinician"),
        ("Montgomery-Asberg Depression Rating Scale", "clinician"),
        ("HAM-D 17", "clinician"),
        ("Hamilton rating scale for depression", "clinician"),
        ("Hamilton anxiety scale", "unknown"),
        ("PHQ-2", "unknown"),
        ("GAD-7", "unknown"),
        ("Body weight", "unknown"),
    ],
)
def test_scales(name: str, rater: str) -> None:
    found = rater_from_chart([score(name, "2026-05-01")], as_of=AS_OF)
    assert found.rater == rater
    assert found.reason
    assert bool(found.sources) is (rater != "unknown")


def test_the_latest_score_counts() -> None:
    chart = [score("44261-6", "2025-09-01"), score("MADRS", "2026-04-01")]
    assert rater_from_chart(chart, as_of=AS_OF).rater == "clinician"
    assert rater_from_chart(chart, as_of="2026-01-01").rater == "self"


def test_an_old_score_says_nothing() -> None:
    found = rater_from_chart([score("44261-6", "2024-01-01")], as_of=AS_OF)
    assert found.rater == "unknown"
    assert "more than a year old" in found.reason


def test_scores_of_one_day_may_differ_in_rater() -> None:
    chart = [score("44261-6", "2026-05-01"), score("MADRS", "2026-05-01")]
    found = rater_from_chart(chart, as_of=AS_OF)
    assert (found.rater, len(found.sources)) == ("unknown", 2)
    assert found.to_dict()["rater"] == "unknown"


@pytest.mark.parametrize(
    "more",
    [{"status": "entered-in-error"}, {"status": None}, {"effectiveDateTime": "x"},
     {"effectiveDateTime": "2026-07-01"}, {"effectiveDateTime": None}, {"code": None}],
)  # fmt: skip
def test_scores_that_cannot_be_used(more: dict[str, Any]) -> None:
    chart = [score("44261-6", "2026-05-01", **more)]
    assert rater_from_chart(chart, as_of=AS_OF).rater == "unknown"


def test_a_period_dates_a_score_too() -> None:
    period = {"effectiveDateTime": None, "effectivePeriod": {"start": "2026-05-01"}}
    assert rater_from_chart([score("44261-6", "x", **period)], as_of=AS_OF).rater == "self"
