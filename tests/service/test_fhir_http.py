"""A RiskAssessment by content negotiation; the patient's reference goes nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from fhir.resources.R4B.riskassessment import RiskAssessment
from tests.service.running import Running

import ketacast

ASKED: dict[str, Any] = {"failed_trials": 6, "infusions": 6, "rated_by": "self"}
FHIR = {"accept": "application/fhir+json"}
SUBJECT = "Patient/secret-4711"


def test_the_resource_has_the_predictions_numbers(http: httpx.Client) -> None:
    body = {**ASKED, "subject": SUBJECT, "basis": ["MedicationRequest/secret-12"]}
    answer = http.post("/v1/predictions", json=body, headers=FHIR)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/fhir+json"
    resource = answer.json()
    RiskAssessment.model_validate(resource)
    assert resource["subject"] == {"reference": SUBJECT}
    expected = ketacast.predict(**ASKED)
    assert resource["prediction"][0]["probabilityDecimal"] == 100 * expected.response.expected
    record = http.get(answer.headers["location"]).json()
    assert resource["identifier"][0]["value"] == f"urn:uuid:{record['id']}"
    assert record["output"]["response"]["expected"] == expected.response.expected


def test_the_subject_is_neither_stored_nor_logged(service: Running, http: httpx.Client) -> None:
    body = {**ASKED, "subject": SUBJECT, "basis": ["MedicationRequest/secret-12"]}
    answer = http.post("/v1/predictions", json=body, headers=FHIR)
    assert "secret" not in http.get(answer.headers["location"]).text
    database = Path(service.environment["KETACAST_DATABASE_URL"].removeprefix("sqlite:///"))
    stored = b"".join(path.read_bytes() for path in database.parent.glob("service.db*"))
    assert answer.json()["identifier"][0]["value"].removeprefix("urn:uuid:").encode() in stored
    assert b"secret" not in stored
    assert "secret" not in service.log.read_text()


@pytest.mark.parametrize(
    ("accept", "change", "status", "field"),
    [
        ("application/fhir+json", {}, 422, "/subject"),
        ("application/json", {"subject": SUBJECT}, 422, "/subject"),
        ("*/*", {"basis": ["Observation/1"]}, 422, "/basis"),
        ("application/fhir+json", {"subject": "Jane Roe"}, 422, "/subject"),
        ("text/html", {}, 406, None),
        ("application/fhir+json;q=0, application/json;q=0", {}, 406, None),
    ],
)
def test_formats_that_do_not_fit_are_refused(
    http: httpx.Client, accept: str, change: dict[str, Any], status: int, field: str | None
) -> None:
    answer = http.post("/v1/predictions", json={**ASKED, **change}, headers={"accept": accept})
    assert answer.status_code == status
    if field:
        assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/json, application/fhir+json;q=0.5", "application/json"),
        ("application/fhir+json, application/json;q=0.5", "application/fhir+json"),
        ("application/*", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
    ],
)
def test_the_format_liked_most_is_chosen(http: httpx.Client, accept: str, kind: str) -> None:
    body = {**ASKED, **({"subject": SUBJECT} if "fhir" in kind else {})}
    answer = http.post("/v1/predictions", json=body, headers={"accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
