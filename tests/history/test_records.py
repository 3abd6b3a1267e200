"""Whose records they are, how they refer to each other, what cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ketacast.errors import InputError
from ketacast.history import count_failed_trials

Record = dict[str, Any]
Build = Callable[[list[Record]], list[Record]]

AS_OF = "2026-06-01"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
TRIAL = {"is": "statement", "drug": "sertraline", "mg": 100, "start": "2026-01-01",
         "end": "2026-05-20"}  # fmt: skip


def of(subject: str, record: Record) -> Record:
    return record | {"subject": {"reference": subject}}


@pytest.mark.parametrize(
    "subject",
    ["Patient/a", "urn:uuid:a", "https://ehr.example/fhir/Patient/a", "Patient/a/_history/3"],
)
def test_one_patient_may_be_named_in_many_ways(build: Build, subject: str) -> None:
    patient = {"resourceType": "Patient", "id": "a", "birthDate": "1970"}
    records = [patient, of("Patient/a", build([TRIAL])[0])]
    records += [of(subject, build([TRIAL | {"id": "2", "drug": "fluoxetine"}])[0])]
    assert count_failed_trials(records, as_of=AS_OF).failed_trials == (2, 2)


def test_a_bundle_may_name_its_patient_by_address(build: Build) -> None:
    entries = [
        {"fullUrl": "urn:uuid:77", "resource": {"resourceType": "Patient", "id": "a"}},
        {"resource": of("urn:uuid:77", build([TRIAL])[0])},
        {"resource": of("Patient/a", build([TRIAL | {"id": "2", "drug": "fluoxetine"}])[0])},
    ]
    bundle = {"resourceType": "Bundle", "entry": entries}
    for patient in (None, "a", "Patient/a", "urn:uuid:77"):
        assert count_failed_trials(bundle, as_of=AS_OF, patient=patient).failed_trials == (2, 2)


def test_records_of_two_patients_are_refused_unless_one_is_named(build: Build) -> None:
    records = [
        of("Patient/a", build([TRIAL])[0]),
        of("Patient/b", build([TRIAL | {"id": "2", "drug": "fluoxetine"}])[0]),
    ]
    with pytest.raises(InputError, match="belong to 2 patients") as caught:
        count_failed_trials(records, as_of=AS_OF)
    assert "Patient/a" not in str(caught.value)
    found = count_failed_trials(records, as_of=AS_OF, patient="b")
    assert [era.ingredient for era in found.eras] == ["fluoxetine"]
    assert "1 record of other patients left out" in found.notices


def test_an_identifier_names_a_patient_too(build: Build) -> None:
    identifier = {"system": "urn:mrn", "value": "7"}
    patient = {"resourceType": "Patient", "id": "a", "identifier": [identifier]}
    record = build([TRIAL])[0] | {"subject": {"identifier": identifier}}
    assert count_failed_trials([patient, record], as_of=AS_OF).failed_trials == (1, 1)
    other = build([TRIAL | {"id": "2"}])[0]
    other |= {"subject": {"identifier": {"system": "urn:mrn", "value": "8"}}}
    with pytest.raises(InputError, match="2 patients"):
        count_failed_trials([patient, record, other], as_of=AS_OF)


@pytest.mark.parametrize("patient", ["", "Patient/", 7])
def test_a_patient_without_a_name_is_refused(patient: Any) -> None:
    with pytest.raises(InputError, match="give the patient's id"):
        count_failed_trials([], as_of=AS_OF, patient=patient)


@pytest.mark.parametrize("resources", [None, 7, "Bundle", b"{}"])
def test_what_holds_no_resources_is_refused(resources: Any) -> None:
    with pytest.raises(InputError, match="give a FHIR Bundle"):
        count_failed_trials(resources, as_of=AS_OF)


def test_lists_bundles_and_missing_parts_may_be_mixed(build: Build) -> None:
    one, two = build([TRIAL, TRIAL | {"drug": "fluoxetine"}])
    mixed = [{"resourceType": "Bundle", "entry": [{"resource": one}]}, None, two]
    assert count_failed_trials(mixed, as_of=AS_OF).failed_trials == (2, 2)


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({"resourceType": "Bundle", "entry": [None]}, "no_resource"),
        ({"resourceType": "Bundle", "entry": [{"resource": None}]}, "no_resource"),
        ({"resourceType": "Bundle", "entry": "x"}, "no_entries"),
        ({"resourceType": "Bundle", "link": [{"relation": "next", "url": "x"}]}, "more_pages"),
        ({"resourceType": "OperationOutcome"}, "not_delivered"),
        ({"id": "x"}, "no_type"),
        ("text", "no_resource"),
        ({"resourceType": "MedicationRequest", "id": "1", "status": "active"}, "no_drug"),
    ],
)
def test_what_cannot_be_read_is_listed(entry: Any, code: str) -> None:
    found = count_failed_trials([entry], as_of=AS_OF)
    assert [unread.code for unread in found.unread] == [code]
    assert "could not be read" in " ".join(found.notices)


def test_an_unfinished_order_without_a_drug_is_no_fault() -> None:
    draft = {"resourceType": "MedicationRequest", "id": "1", "status": "draft"}
    assert count_failed_trials([draft], as_of=AS_OF).unread == ()


def test_the_later_version_counts_whatever_the_order(build: Build) -> None:
    first = build([TRIAL | {"id": "1"}])[0] | {"meta": {"versionId": "2"}}
    later = build([TRIAL | {"id": "1", "end": "2026-01-20"}])[0] | {"meta": {"versionId": "10"}}
    for records in ([first, later], [later, first]):
        assert count_failed_trials(records, as_of=AS_OF).eras[0].end == "2026-01-20"


def test_records_without_an_id_are_told_apart_by_content(build: Build) -> None:
    one, two = build([TRIAL, TRIAL | {"drug": "fluoxetine"}])
    for record in (one, two):
        del record["id"]
    found = count_failed_trials([one, two, dict(one)], as_of=AS_OF)
    assert found.failed_trials == (2, 2)
    assert found.eras[0].sources == ("MedicationStatement without id",)


@pytest.mark.parametrize(
    "reference", ["Medication/m", "urn:uuid:9", "https://ehr.example/fhir/Medication/m", "#m"]
)
def test_references_resolve(reference: str) -> None:
    medication: Record = {
        "resourceType": "Medication",
        "id": "m",
        "code": {"coding": [{"system": RXNORM, "code": "312938"}]},
    }
    statement: Record = {
        "resourceType": "MedicationStatement",
        "id": "1",
        "status": "completed",
        "medicationReference": {"reference": reference},
        "effectivePeriod": {"start": "2026-01-01", "end": "2026-05-20"},
    }
    entries: list[Record] = [{"resource": statement}]
    if reference == "#m":
        statement["contained"] = [medication]
    else:
        entries.append({"fullUrl": "urn:uuid:9", "resource": medication})
    found = count_failed_trials({"resourceType": "Bundle", "entry": entries}, as_of=AS_OF)
    assert [era.ingredient for era in found.eras] == ["sertraline"]


def test_a_reason_may_be_a_condition_in_the_chart(build: Build) -> None:
    condition = {"resourceType": "Condition", "id": "c", "code": {"text": "Fibromyalgia"}}
    record = build([TRIAL])[0] | {"reasonReference": [{"reference": "Condition/c"}]}
    (era,) = count_failed_trials([record, condition], as_of=AS_OF).eras
    assert era.reason.code == "other_indication"
    assert "fibromyalgia" in era.reason.sentence
    shown = build([TRIAL])[0] | {"reasonReference": [{"display": "Smoking cessation"}]}
    assert count_failed_trials([shown], as_of=AS_OF).eras[0].reason.code == "other_indication"


@pytest.mark.parametrize(
    ("date", "as_end"),
    [("2025-13-45", True), ("yesterday", True), ("0001-01-01", False), (7, False)],
)
def test_a_date_that_is_none_is_not_passed_over(build: Build, date: Any, as_end: bool) -> None:
    record = build([TRIAL])[0]
    record["effectivePeriod"] = {"start": "2026-01-01", "end": date} if as_end else {"start": date}
    found = count_failed_trials([record], as_of=AS_OF)
    assert [entry.code for entry in found.unread] == ["no_date"]


def test_a_far_future_end_is_no_end(build: Build) -> None:
    record = build([TRIAL | {"end": "9999-12-31", "status": "active"}])[0]
    assert count_failed_trials([record], as_of=AS_OF).eras[0].ongoing


def test_medications_that_are_not_recognised_are_counted_but_not_named() -> None:
    records = [
        {
            "resourceType": "MedicationStatement",
            "id": f"{place}",
            "status": status,
            "medicationCodeableConcept": {"text": name},
            "effectivePeriod": {"start": "2026-01-01", "end": "2026-03-01"},
        }
        for place, (name, status) in enumerate(
            [
                ("Xyzotril 50 mg", "completed"),
                ("xyzotril 50 mg", "active"),
                ("Simvastatin 20 mg", "completed"),
                ("Another", "entered-in-error"),
                ("Venlafaxene 75 mg", "completed"),
            ]
        )
    ]
    found = count_failed_trials(records, as_of="2026-06-01")
    shown = [notice for notice in found.notices if "not recognised" in notice]
    assert shown == ["2 medications are not recognised as antidepressants, by code or name"]
    assert [(entry.source, entry.code) for entry in found.unread] == [
        ("MedicationStatement/4", "misspelt")
    ]


def test_records_that_hold_themselves_are_read() -> None:
    record: dict[str, Any] = {
        "resourceType": "MedicationRequest",
        "id": "1",
        "status": "completed",
        "intent": "order",
        "authoredOn": "2026-01-01",
        "medicationCodeableConcept": {"text": "sertraline 50 mg"},
    }
    record |= {"dosageInstruction": [record], "dispenseRequest": record}
    found = count_failed_trials([record], as_of="2026-06-01")
    assert found.current_episode.high == 1


def test_dates_in_instructions_are_kept_apart() -> None:
    def order(place: int, end: str) -> dict[str, Any]:
        timing = {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d",
                             "boundsPeriod": {"start": "2026-01-01", "end": end}}}  # fmt: skip
        return {
            "resourceType": "MedicationRequest",
            "id": str(place),
            "status": "completed",
            "intent": "order",
            "medicationCodeableConcept": {"text": f"{('sertraline', 'paroxetine')[place]} 50 mg"},
            "dosageInstruction": [{"text": "1 tablet daily", "timing": timing}],
        }

    found = count_failed_trials(
        [order(0, "2026-02-25"), order(1, "2026-03-25")], as_of="2026-06-01"
    )
    assert [era.end for era in found.eras] == ["2026-03-25", "2026-02-25"]
