"""Charts and orders in shorthand, for the mini-EHR and the tests of cards."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

Json = dict[str, Any]

RXNORM: Final = "http://www.nlm.nih.gov/research/umls/rxnorm"
PATIENT: Final = "p-77"
REQUESTS: Final = Path(__file__).parent / "requests"
SYNTHETIC: Final = Path(__file__).parent.parent / "history" / "patients"


def subject(patient: str = PATIENT) -> Json:
    """Return a reference to a patient."""
    return {"reference": f"Patient/{patient}"}


def person(born: str = "1980-05-01", patient: str = PATIENT) -> Json:
    """Return a patient."""
    return {"resourceType": "Patient", "id": patient, "birthDate": born}


def statement(
    name: str, drug: str, mg: int, days: tuple[str, str], patient: str = PATIENT, **more: Any
) -> Json:
    """Return a treatment that is over."""
    return {
        "resourceType": "MedicationStatement", "id": name, "status": "completed",
        "subject": subject(patient), "medicationCodeableConcept": {"text": drug},
        "effectivePeriod": {"start": days[0], "end": days[1]},
        "dosage": [{"text": f"{mg} mg daily"}], **more,
    }  # fmt: skip


def condition(name: str, icd: str, patient: str = PATIENT) -> Json:
    """Return an active diagnosis."""
    code = {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": icd}]}
    active = {"coding": [{"code": "active"}]}
    return {
        "resourceType": "Condition", "id": name, "clinicalStatus": active, "code": code,
        "subject": subject(patient),
    }  # fmt: skip


def phq9(day: str, patient: str = PATIENT) -> Json:
    """Return a score of the PHQ-9."""
    code = {"coding": [{"system": "http://loinc.org", "code": "44261-6"}]}
    return {
        "resourceType": "Observation", "id": "phq", "status": "final", "code": code,
        "subject": subject(patient), "effectiveDateTime": day, "valueInteger": 19,
    }  # fmt: skip


def order(
    name: str = "o-1",
    code: str = "6130",
    patient: str = PATIENT,
    count: int | None = 6,
    **more: Any,
) -> Json:
    """Return a draft order of ketamine."""
    repeat: Json = {"frequency": 2, "period": 1, "periodUnit": "wk"}
    if count is not None:
        repeat["count"] = count
    return {
        "resourceType": "MedicationRequest", "id": name, "status": "draft", "intent": "order",
        "subject": subject(patient),
        "medicationCodeableConcept": {"coding": [{"system": RXNORM, "code": code}]},
        "dosageInstruction": [{"timing": {"repeat": repeat}}], **more,
    }  # fmt: skip


def bundle(resources: list[Json], kind: str = "searchset") -> Json:
    """Return resources as a Bundle."""
    entries = [{"resource": resource} for resource in resources]
    return {"resourceType": "Bundle", "type": kind, "entry": entries}


def days_ago(days: int) -> str:
    """Return a day before today: the service counts from the clock."""
    return (datetime.now(UTC).date() - timedelta(days=days)).isoformat()


def resistant() -> list[Json]:
    """Return a chart with four antidepressants one after the other, in the last 500 days."""
    return [
        person(),
        condition("c-1", "F33.1"),
        statement("s-1", "sertraline 100 mg tablet", 100, (days_ago(500), days_ago(391))),
        statement("s-2", "venlafaxine 150 mg", 150, (days_ago(390), days_ago(271))),
        statement("s-3", "bupropion 300 mg", 300, (days_ago(270), days_ago(151))),
        statement("s-4", "mirtazapine 30 mg", 30, (days_ago(150), days_ago(30))),
        phq9(days_ago(40)),
    ]


def synthetic(name: str) -> tuple[str, list[Json]]:
    """Return the id and the resources of a synthetic patient."""
    chart = json.loads((SYNTHETIC / f"{name}.json").read_text(encoding="utf-8"))
    resources = [entry["resource"] for entry in chart["entry"]]
    (patient,) = [held["id"] for held in resources if held["resourceType"] == "Patient"]
    return patient, resources


def synthetic_names() -> list[str]:
    """Return the names of all synthetic patients."""
    return sorted(path.stem for path in SYNTHETIC.glob("*_*.json"))


def captured(hook: str) -> Json:
    """Return a call as a real client sent it."""
    found: Json = json.loads((REQUESTS / f"{hook}.json").read_text(encoding="utf-8"))
    return found
