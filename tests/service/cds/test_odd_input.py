"""Whatever a client sends: an answer, never a failure, and nothing taken from another patient."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.ehr.charts import (
    PATIENT,
    bundle,
    captured,
    days_ago,
    order,
    resistant,
    statement,
    subject,
)
from tests.ehr.mini_ehr import check_card

Json = dict[str, Any]

HOOKS = ("patient-view", "order-select", "order-sign")


def path(hook: str) -> str:
    return f"/cds-services/ketamine-outlook-{hook}"


def call(hook: str = "order-sign", chart: list[Json] | None = None, **change: Any) -> Json:
    """Return a good call with changes to its prefetch."""
    held = resistant() if chart is None else chart
    kinds = {
        "conditions": "Condition", "medRequests": "MedicationRequest",
        "medStatements": "MedicationStatement", "phq9": "Observation",
    }  # fmt: skip
    prefetch: Json = {
        key: bundle([one for one in held if one["resourceType"] == kind])
        for key, kind in kinds.items()
    }
    prefetch["patient"] = held[0]
    context: Json = {"userId": "Practitioner/1", "patientId": PATIENT}
    if hook != "patient-view":
        context["draftOrders"] = bundle([order()], "collection")
        context["selections"] = ["MedicationRequest/o-1"]
    return {
        "hook": hook, "hookInstance": "i", "context": context, "prefetch": prefetch | change,
    }  # fmt: skip


def answered(http: httpx.Client, body: Any, hook: str = "order-sign") -> httpx.Response:
    """Ask and check what holds for every answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    reply = http.post(path(hook), content=content, headers=headers)
    assert reply.status_code in (200, 400, 412, 413), reply.text
    if reply.status_code == 200:
        for card in reply.json()["cards"]:
            check_card(card)
    else:
        assert reply.headers["content-type"] == "application/fhir+json"
        assert reply.json()["resourceType"] == "OperationOutcome"
    return reply


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"[]", 400), (b"null", 400), (b'"x"', 400), (b"\xff", 400),
        (b"[" * 100_000, 400), (b'{"a":' * 100_000, 400), (b'{"a": NaN}', 400), (b"{}", 400),
        (b'{"hook": "order-sign"}', 400),
    ],
)  # fmt: skip
def test_what_is_no_call_is_refused(http: httpx.Client, body: bytes, status: int) -> None:
    assert answered(http, body).status_code == status


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("other", [*HOOKS, "medication-prescribe", None, 7, ["order-sign"]])
def test_the_hook_must_be_the_services(http: httpx.Client, hook: str, other: object) -> None:
    body = {**call(hook), "hook": other}
    assert answered(http, body, hook).status_code == (200 if hook == other else 400)


@pytest.mark.parametrize(
    "change",
    [
        {"hookInstance": None}, {"hookInstance": ""}, {"context": None}, {"context": []},
        {"context": {"userId": "Practitioner/1"}}, {"context": {"patientId": "1"}},
        {"context": {"userId": "Practitioner/1", "patientId": "a/../b"}},
        {"context": {"userId": "Practitioner/1", "patientId": "x" * 65}},
        {"context": {"userId": "Practitioner/1", "patientId": "1", "draftOrders": []}},
        {"prefetch": []}, {"prefetch": "x"},
        {"fhirAuthorization": {"access_token": "t"}},
        {"fhirAuthorization": "t", "fhirServer": "https://x.example"},
        {"fhirAuthorization": {}, "fhirServer": "https://x.example"},
        {"fhirAuthorization": {"access_token": "a\nb"}, "fhirServer": "https://x.example"},
        {
            "fhirAuthorization": {"access_token": "t", "patient": "other"},
            "fhirServer": "https://x.example",
        },
    ],
)  # fmt: skip
def test_fields_that_cannot_be_used_are_refused(http: httpx.Client, change: Json) -> None:
    assert answered(http, {**call(), **change}).status_code == 400


def test_another_patient_in_the_prefetch_is_refused(http: httpx.Client) -> None:
    foreign = {"resourceType": "Patient", "id": "someone-else"}
    assert answered(http, call(patient=foreign)).status_code == 400


def test_what_is_not_known_is_passed_over(http: httpx.Client) -> None:
    body = call()
    body["extension"] = {"com.example.ward": {"bed": 7}}
    body["someday"] = [{"a": None}]
    body["context"]["encounterId"] = "e"
    body["context"]["extension"] = {"x": 1}
    body["prefetch"]["of another service"] = {"resourceType": "Basic"}
    assert len(answered(http, body).json()["cards"]) == 1


FAILED = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "error", "code": "processing"}],
}
REMARK = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "warning", "code": "processing"}],
}


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"phq9": None}, 200, "Rated by: unknown"),
        ({"conditions": None, "patient": None}, 200, "Failed trials: 4"),
        ({"conditions": FAILED}, 200, "not seen: diagnoses"),
        ({"patient": FAILED, "phq9": 7}, 200, "not seen: the patient's age, depression scores"),
        ({"medRequests": FAILED}, 200, "not seen: medication requests"),
        ({"medRequests": FAILED, "medStatements": FAILED}, 412, ""),
        ({"medRequests": bundle([FAILED]), "medStatements": bundle([FAILED])}, 412, ""),
        ({"medRequests": None, "medStatements": None}, 200, "hold no antidepressant treatment"),
        ({"medRequests": bundle([REMARK])}, 200, "Failed trials: 4"),
        ({"medRequests": {"resourceType": "Bundle"}}, 200, "Failed trials: 4"),
        ({"medRequests": {"entry": None}}, 200, "Failed trials: 4"),
        ({"medRequests": {"resourceType": "Bundle", "entry": [None, 7, {}]}}, 200, "Failed trials"),
        ({"medRequests": "", "medStatements": []}, 412, ""),
    ],
)
def test_gaps_in_the_prefetch_are_said_or_refused(
    http: httpx.Client, change: Json, status: int, said: str
) -> None:
    reply = answered(http, call(**change))
    assert reply.status_code == status
    if said:
        (card,) = reply.json()["cards"]
        assert said in card["detail"].replace("*", "")


def test_a_missing_intent_or_status_is_no_obstacle(http: httpx.Client) -> None:
    body = call()
    held = body["context"]["draftOrders"]["entry"][0]["resource"]
    for name in ("intent", "status", "subject", "dosageInstruction"):
        held.pop(name)
        assert len(answered(http, body).json()["cards"]) == 1
    held.pop("medicationCodeableConcept")
    assert answered(http, body).json() == {"cards": []}


def test_references_in_a_circle_end(http: httpx.Client) -> None:
    first = {
        "resourceType": "Medication", "id": "a",
        "ingredient": [{"itemReference": {"reference": "Medication/b"}}],
    }  # fmt: skip
    second = {**first, "id": "b", "ingredient": [{"itemReference": {"reference": "Medication/a"}}]}
    own = {"resourceType": "Medication", "id": "m", "ingredient": [
        {"itemReference": {"reference": "#m"}}]}  # fmt: skip
    named = statement("s-5", "", 1, (days_ago(100), days_ago(20)))
    del named["medicationCodeableConcept"]
    body = call(
        medRequests=bundle([first, second]),
        medStatements=bundle(
            [
                {**named, "medicationReference": {"reference": "Medication/a"}},
                {
                    **named,
                    "id": "s-6",
                    "contained": [own],
                    "medicationReference": {"reference": "#m"},
                },
            ]
        ),
    )
    held = body["context"]["draftOrders"]["entry"][0]["resource"]
    assert answered(http, body).status_code == 200
    held["contained"] = [own]
    held["medicationReference"] = {"reference": "#m"}
    del held["medicationCodeableConcept"]
    assert answered(http, body).json() == {"cards": []}


def test_words_of_a_chart_do_nothing_in_a_card(http: httpx.Client) -> None:
    words = (
        "<img src=x onerror=alert(1)> | a | [x](http://evil.example) ![y](//e.example) `c` **b**"
    )
    reason = [{"text": f"Insomnia {words}\n\n# Title\n| t |"}]
    chart = resistant()
    chart[5] = {**chart[5], "reasonCode": reason}
    (card,) = answered(http, call(chart=chart)).json()["cards"]
    line = next(line for line in card["detail"].splitlines() if "recorded for" in line)
    for sign in ("<", ">", "|", "[", "]", "`", "!"):
        assert f"\\{sign}" in line or sign not in line
        assert sign not in line.replace(f"\\{sign}", "")
    assert "://" not in card["detail"]
    assert "\n# " not in card["detail"]


@pytest.mark.parametrize("count", [10_000])
def test_ten_thousand_records_are_answered(http: httpx.Client, count: int) -> None:
    many = [
        {
            "resourceType": "MedicationRequest", "id": f"r-{n}", "status": "completed",
            "intent": "order", "subject": subject(), "authoredOn": days_ago(n % 4000),
            "medicationCodeableConcept": {"text": ("sertraline 50 mg", "aspirin 100 mg")[n % 2]},
            "dosageInstruction": [{"text": f"{1 + n % 3} tablets daily"}],
        }
        for n in range(count)
    ]  # fmt: skip
    begun = time.monotonic()
    reply = answered(http, call(medRequests=bundle(many)))
    assert len(reply.json()["cards"]) == 1
    assert time.monotonic() - begun < 20  # about a second alone; the machine may be busy
    assert len(reply.content) < 20_000


def test_more_than_the_limit_is_refused(http: httpx.Client) -> None:
    assert answered(http, b" " * (17 << 20)).status_code == 413


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 10**20), st.floats(allow_nan=False, width=16),
    st.sampled_from(["", "x", "ketamine", "order", "active", "2026-02-30", "Patient/9", "\x00<b>"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["resourceType", "id", "entry", "coding", "text", "code"]), inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every part of a document."""
    found = [at] if at else []
    parts = value.items() if isinstance(value, dict) else enumerate(value) if (
        isinstance(value, list)) else ()  # fmt: skip
    for name, part in parts:
        found += places(part, (*at, name))
    return found


def put(document: Json, at: tuple[Any, ...], value: Any) -> Json:
    """Return a document with one part replaced."""
    changed = copy.deepcopy(document)
    held: Any = changed
    for name in at[:-1]:
        held = held[name]
    held[at[-1]] = value
    return changed


GOOD = {hook: call(hook) for hook in HOOKS}
GOOD["patient-view"]["prefetch"]["medRequests"] = bundle(
    [order("run", status="active", authoredOn=days_ago(3))]
)
PLACES = {hook: places(GOOD[hook]) for hook in HOOKS}


@given(data=st.data(), hook=st.sampled_from(HOOKS))
@settings(
    max_examples=300, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
def test_any_part_may_be_damaged(http: httpx.Client, data: st.DataObject, hook: str) -> None:
    body = GOOD[hook]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.sampled_from(PLACES[hook]))
        try:
            body = put(body, at, data.draw(VALUES))
        except (KeyError, IndexError, TypeError):
            continue  # that part went with another
    answered(http, body, hook)


@given(data=st.data(), hook=st.sampled_from(HOOKS))
@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
def test_captured_calls_may_be_damaged(http: httpx.Client, data: st.DataObject, hook: str) -> None:
    body = captured(hook)
    body["prefetch"]["medRequests"] = body["prefetch"].pop("meds")
    at = data.draw(st.sampled_from(places(body)))
    answered(http, put(body, at, data.draw(VALUES)), hook)


@given(entry=VALUES)
@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
def test_feedback_may_be_anything(http: httpx.Client, entry: Any) -> None:
    for body in ({"feedback": entry}, {"feedback": [entry]}, {"feedback": [{"card": entry}]}):
        reply = http.post(path("order-sign") + "/feedback", json=body)
        assert reply.status_code == 400
        assert reply.json()["resourceType"] == "OperationOutcome"
