"""A prediction as a FHIR RiskAssessment: valid in R4B, percentages, the library's digits."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from fhir.resources.R4B.riskassessment import RiskAssessment
from hypothesis import given, settings
from hypothesis import strategies as st

import ketacast
from ketacast.errors import InputError
from ketacast.fhir import risk_assessment
from ketacast.updating import Batch, Cell, update_clinic

NOON = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def resource_of(**asked: Any) -> tuple[ketacast.Prediction, dict[str, Any]]:
    prediction = ketacast.predict(**asked)
    return prediction, risk_assessment(prediction, subject="Patient/1", occurrence=NOON)


@settings(max_examples=60, deadline=None)
@given(
    trials=st.integers(0, 20),
    infusions=st.integers(1, 30),
    rater=st.sampled_from(["self", "clinician", "unknown"]),
)
def test_it_is_valid_and_has_the_librarys_digits(trials: int, infusions: int, rater: Any) -> None:
    prediction, resource = resource_of(failed_trials=trials, infusions=infusions, rated_by=rater)
    RiskAssessment.model_validate(resource)
    found = resource["prediction"]
    assert len(found) == 4
    for outcome, (chance, span) in zip(
        ("response", "remission"), (found[:2], found[2:]), strict=True
    ):
        estimate = getattr(prediction, outcome)
        assert chance["outcome"]["coding"][0]["code"] == outcome
        shown = Decimal(repr(chance["probabilityDecimal"]))
        assert shown == Decimal(repr(estimate.expected)) * 100
        low, high = estimate.new_clinic[0.8]
        bounds = span["probabilityRange"]
        assert Decimal(repr(bounds["low"]["value"])) == Decimal(repr(low)) * 100
        assert Decimal(repr(bounds["high"]["value"])) == Decimal(repr(high)) * 100
        assert bounds["low"]["value"] <= chance["probabilityDecimal"] <= bounds["high"]["value"]


def test_percentages_are_percentages() -> None:
    _, resource = resource_of(failed_trials=6, infusions=6, rated_by="self")
    assert round(resource["prediction"][0]["probabilityDecimal"]) == 38


def test_it_names_model_basis_limits_and_what_it_is_not() -> None:
    prediction = ketacast.predict(failed_trials=(4, 12), infusions=6, rated_by="unknown")
    resource = risk_assessment(
        prediction,
        subject="Patient/1",
        occurrence=NOON,
        basis=["MedicationRequest/7", "Observation/9"],
        notes=["Likely outside the evidence: psychosis"],
    )
    RiskAssessment.model_validate(resource)
    coding = resource["method"]["coding"][0]
    assert (coding["code"], coding["version"]) == (prediction.model.name, prediction.model.version)
    assert prediction.model.sha256[:12] in coding["display"]
    assert [entry["reference"] for entry in resource["basis"]] == [
        "MedicationRequest/7",
        "Observation/9",
    ]
    notes = [entry["text"] for entry in resource["note"]]
    assert notes[: len(prediction.warnings)] == [w.message for w in prediction.warnings]
    assert "Likely outside the evidence: psychosis" in notes
    assert notes[-1].startswith("Not a medical device")
    assert "4 to 12 failed antidepressant trials, rater unknown" in resource["code"]["text"]


def test_the_range_is_that_of_the_likely_level_or_the_widest() -> None:
    for levels, shown in (((0.5, 0.8, 0.95), "80 %"), ((0.5, 0.9), "90 %"), ((0.95,), "95 %")):
        _, resource = resource_of(failed_trials=6, infusions=6, rated_by="self", levels=levels)
        assert resource["prediction"][1]["rationale"].startswith(shown)


def test_this_clinic_stands_beside_a_new_one() -> None:
    cell = Cell((4, 8), 6, "self", "all_treated", 40, 22, 9)
    clinic = update_clinic(None, [Batch("2026", (cell,))])
    prediction, resource = resource_of(failed_trials=6, infusions=6, rated_by="self", clinic=clinic)
    RiskAssessment.model_validate(resource)
    assert len(resource["prediction"]) == 8
    own = resource["prediction"][2]
    assert prediction.response.clinic is not None
    assert own["probabilityDecimal"] == round(100 * prediction.response.clinic.expected, 8)
    assert "this clinic" in own["rationale"]


@pytest.mark.parametrize("subject", ["", "Patient/1 Jane", "x" * 513, 7, None, "Patient/1\n"])
def test_a_subject_that_is_no_reference_is_refused(subject: Any) -> None:
    prediction = ketacast.predict(failed_trials=6, infusions=6, rated_by="self")
    with pytest.raises(InputError, match="subject is not a reference"):
        risk_assessment(prediction, subject=subject, occurrence=NOON)


def test_a_moment_without_zone_is_refused() -> None:
    prediction = ketacast.predict(failed_trials=6, infusions=6, rated_by="self")
    with pytest.raises(InputError, match="time zone"):
        risk_assessment(prediction, subject="Patient/1", occurrence=datetime(2026, 11, 26))
