"""Charts written in shorthand, for the tests of counting."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

Record = dict[str, Any]
Build = Callable[..., list[Record]]

HERE = Path(__file__).parent
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"


def _medication(spec: Record) -> Record:
    if "text" in spec:
        return {"medicationCodeableConcept": {"text": spec["text"]}}
    if "reference" in spec:
        return {"medicationReference": {"reference": spec["reference"]}}
    coding: Record = {}
    if "rxnorm" in spec:
        coding |= {"system": RXNORM, "code": spec["rxnorm"]}
    if "atc" in spec:
        coding |= {"system": "http://www.whocc.no/atc", "code": spec["atc"]}
    if "drug" in spec:
        coding["display"] = spec["drug"]
    return {"medicationCodeableConcept": {"coding": [coding]}}


def _dosage(spec: Record) -> list[Record]:
    entry: Record = {}
    if "sig" in spec:
        entry["text"] = spec["sig"]
    if "prn" in spec:
        entry["asNeededBoolean"] = spec["prn"]
    quantity: Record | None = None
    if "mg" in spec:
        quantity = {"value": spec["mg"], "unit": "mg"}
    elif "units" in spec:
        quantity = {"value": spec["units"], "unit": spec.get("unit", "tablet")}
    if quantity is not None:
        entry["doseAndRate"] = [{"doseQuantity": quantity}]
    if "mg_range" in spec:
        low, high = spec["mg_range"]
        span = {"low": {"value": low, "unit": "mg"}, "high": {"value": high, "unit": "mg"}}
        entry["doseAndRate"] = [{"doseRange": span}]
    if "doseAndRate" in entry and spec.get("times", 1):
        repeat = {"frequency": spec.get("times", 1), "period": 1, "periodUnit": "d"}
        if "period_weeks" in spec:
            repeat |= {"period": spec["period_weeks"], "periodUnit": "wk"}
        entry["timing"] = {"repeat": repeat}
    return [entry] if entry else []


def _common(spec: Record, kind: str, number: int) -> Record:
    made = {"resourceType": kind, "id": str(spec.get("id", number)), **_medication(spec)}
    if "reason" in spec:
        made["reasonCode"] = [{"text": spec["reason"]}]
    if "icd" in spec:
        system = "http://hl7.org/fhir/sid/icd-10-cm"
        made["reasonCode"] = [{"coding": [{"system": system, "code": spec["icd"]}]}]
    if "stop" in spec:
        made["statusReason"] = [{"text": spec["stop"]}]
    return made


def _statement(spec: Record, number: int) -> Record:
    made = _common(spec, "MedicationStatement", number)
    period = {name: spec[name] for name in ("start", "end") if name in spec}
    made |= {"status": spec.get("status", "completed" if "end" in spec else "active")}
    made |= {"effectivePeriod": period} if period else {}
    made |= {"dateAsserted": spec["asserted"]} if "asserted" in spec else {}
    return made | {"dosage": _dosage(spec)}


def _request(spec: Record, number: int) -> Record:
    made = _common(spec, "MedicationRequest", number)
    made |= {"status": spec.get("status", "active"), "intent": spec.get("intent", "order")}
    made |= {"authoredOn": spec["on"]} if "on" in spec else {}
    if "stop" in spec:
        made["statusReason"] = {"text": spec["stop"]}
    supply: Record = {}
    if "days" in spec:
        supply["expectedSupplyDuration"] = {"value": spec["days"], "unit": "days", "code": "d"}
    if "repeats" in spec:
        supply["numberOfRepeatsAllowed"] = spec["repeats"]
    if "valid_to" in spec:
        supply["validityPeriod"] = {"end": spec["valid_to"]}
    if supply:
        made["dispenseRequest"] = supply
    for name in ("doNotPerform", "reportedBoolean"):
        if name in spec:
            made[name] = spec[name]
    return made | {"dosageInstruction": _dosage(spec)}


def _dispense(spec: Record, number: int) -> Record:
    made = _common(spec, "MedicationDispense", number)
    made |= {"status": spec.get("status", "completed"), "whenHandedOver": spec["on"]}
    if "days" in spec:
        made["daysSupply"] = {"value": spec["days"], "unit": "days", "code": "d"}
    if "quantity" in spec:
        made["quantity"] = {"value": spec["quantity"], "unit": "tablet"}
    if "order" in spec:
        made["authorizingPrescription"] = [{"reference": spec["order"]}]
    return made | {"dosageInstruction": _dosage(spec)}


def _administrations(spec: Record, number: int) -> list[Record]:
    first = date.fromisoformat(spec["on"])
    made = []
    for day in range(spec.get("count", 1)):
        record = _common(spec | {"id": f"{number}-{day}"}, "MedicationAdministration", number)
        record |= {"status": spec.get("status", "completed")}
        record["effectiveDateTime"] = (first + timedelta(days=day)).isoformat()
        record["dosage"] = {"dose": {"value": spec["mg"], "unit": "mg"}}
        made.append(record)
    return made


def _condition(spec: Record, number: int) -> Record:
    made: Record = {"resourceType": "Condition", "id": str(spec.get("id", number))}
    made["code"] = {"text": spec.get("name", "")}
    if "icd" in spec:
        system = "http://hl7.org/fhir/sid/icd-10-cm"
        made["code"] = {"coding": [{"system": system, "code": spec["icd"]}]}
    for name, key in (("onset", "onsetDateTime"), ("abated", "abatementDateTime")):
        if name in spec:
            made[key] = spec[name]
    made["clinicalStatus"] = {"coding": [{"code": spec.get("status", "active")}]}
    return made


def _procedure(spec: Record, number: int) -> Record:
    return {
        "resourceType": "Procedure",
        "id": str(spec.get("id", number)),
        "status": spec.get("status", "completed"),
        "code": {"text": spec["name"]},
        "performedDateTime": spec["on"],
    }


def make(specs: list[Record]) -> list[Record]:
    """Make FHIR resources from shorthand; ``raw`` holds a resource as it is."""
    makers: dict[str, Callable[[Record, int], Record]] = {
        "statement": _statement,
        "request": _request,
        "dispense": _dispense,
        "condition": _condition,
        "procedure": _procedure,
    }
    made: list[Record] = []
    for number, spec in enumerate(specs, 1):
        kind = spec["is"]
        if kind == "raw":
            made.append(spec["resource"])
        elif kind == "administration":
            made += _administrations(spec, number)
        else:
            made.append(makers[kind](spec, number))
    return made


def expert_cases() -> list[Record]:
    """Read every hand-written history."""
    cases = []
    for path in sorted((HERE / "expert").glob("*.toml")):
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        cases += [case | {"file": path.stem} for case in content["case"]]
    return cases


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        cases = expert_cases()
        metafunc.parametrize("case", cases, ids=[f"{c['file']}-{c['name']}" for c in cases])


@pytest.fixture(scope="session")
def build() -> Callable[[list[Record]], list[Record]]:
    """Make FHIR resources from shorthand."""
    return make


@pytest.fixture(scope="session")
def all_cases() -> list[Record]:
    """Give every hand-written history."""
    return expert_cases()
