"""Data that is not prefetched is read from the client's FHIR server, if it lets us."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.ehr.charts import PATIENT, bundle, days_ago, order, resistant, statement, subject
from tests.ehr.fhir_server import TOKEN, FhirServer, serving
from tests.ehr.mini_ehr import MiniEhr
from tests.service.running import Running, running_service

ALL = ("patient", "conditions", "medRequests", "medStatements", "phq9")


@pytest.fixture(scope="module")
def fhir() -> Iterator[FhirServer]:
    with serving(FhirServer(resistant())) as server:
        yield server


@pytest.fixture(scope="module")
def reading(fhir: FhirServer) -> Iterator[Running]:
    with running_service(
        rate_per_second=0, cds_fhir_servers=fhir.url, cds_fhir_seconds=1.5
    ) as running:
        yield running


@pytest.fixture
def ehr(reading: Running, fhir: FhirServer) -> Iterator[MiniEhr]:
    # The latest treatment first, as most servers sort.
    fhir.chart, fhir.page, fhir.delay = resistant()[::-1], 1000, 0.0
    fhir.broken, fhir.next_link = frozenset(), None
    fhir.asked.clear()
    client = MiniEhr(reading.url, fhir.chart)
    yield client
    client.close()


def leave(fhir: FhirServer, token: str = TOKEN) -> dict[str, Any]:
    return {
        "fhirServer": fhir.url,
        "fhirAuthorization": {
            "access_token": token, "token_type": "Bearer", "expires_in": 300,
            "scope": "patient/*.read", "subject": "ketacast",
        },
    }  # fmt: skip


def ask(ehr: MiniEhr, *, without: tuple[str, ...] = ALL, **more: Any) -> httpx.Response:
    return ehr.post("order-sign", ehr.request("order-sign", [order()], without=without, **more))


def test_read_or_prefetched_the_card_is_the_same(ehr: MiniEhr, fhir: FhirServer) -> None:
    (sent,) = ehr.fire("order-sign", [order()])
    assert fhir.asked == []
    (read,) = ask(ehr, **leave(fhir)).json()["cards"]
    assert read["detail"] == sent["detail"]
    assert len(fhir.asked) == len(ALL)


def test_only_what_is_missing_is_read(ehr: MiniEhr, fhir: FhirServer) -> None:
    assert ask(ehr, without=("phq9",), **leave(fhir)).status_code == 200
    (asked,) = fhir.asked
    assert asked.startswith("/fhir/Observation?")


def test_nothing_is_read_without_a_course_in_play(ehr: MiniEhr, fhir: FhirServer) -> None:
    sertraline = order(code="36437")
    body = ehr.request("order-sign", [sertraline], without=ALL, **leave(fhir))
    assert ehr.post("order-sign", body).json() == {"cards": []}
    assert fhir.asked == []


def test_opening_a_chart_reads_orders_only(ehr: MiniEhr, fhir: FhirServer) -> None:
    body = ehr.request("patient-view", without=ALL, **leave(fhir))
    assert ehr.post("patient-view", body).json() == {"cards": []}
    assert fhir.asked == [f"/fhir/MedicationRequest?patient={PATIENT}"]


def test_pages_are_followed(ehr: MiniEhr, fhir: FhirServer) -> None:
    (whole,) = ask(ehr, **leave(fhir)).json()["cards"]
    fhir.page = 1
    (paged,) = ask(ehr, **leave(fhir)).json()["cards"]
    assert paged["detail"] == whole["detail"]


def test_pages_of_what_was_prefetched_are_followed(ehr: MiniEhr, fhir: FhirServer) -> None:
    body = ehr.request("order-sign", [order()], **leave(fhir))
    fhir.page = 2
    _, first = fhir.reply(f"/fhir/MedicationStatement?patient={PATIENT}", f"Bearer {TOKEN}")
    body["prefetch"]["medStatements"] = first
    (card,) = ehr.post("order-sign", body).json()["cards"]
    assert "Failed trials: 4**" in card["detail"]
    del body["fhirAuthorization"]
    (card,) = ehr.post("order-sign", body).json()["cards"]
    assert "Failed trials: 2**" in card["detail"]
    assert "could not be read; the count may be too low" in card["detail"]


@pytest.mark.parametrize(
    "link",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://elsewhere.example/fhir/MedicationStatement?page=2",
        "http://127.0.0.1:1/fhir/MedicationStatement",
        "/admin",
        "../../etc/passwd",
        "{base}/../admin",
        "{base}/%2e%2e/admin",
        "{base}x/MedicationStatement",
        "file:///etc/passwd",
        "http://[",
    ],
)
def test_pages_elsewhere_are_not_followed(ehr: MiniEhr, fhir: FhirServer, link: str) -> None:
    fhir.page, fhir.next_link = 2, link.replace("{base}", fhir.url)
    reply = ask(ehr, **leave(fhir))
    assert reply.status_code == 200
    assert all(asked.startswith("/fhir/") and ".." not in asked for asked in fhir.asked)
    assert len(fhir.asked) == len(ALL)
    assert "count may be too low" in reply.json()["cards"][0]["detail"]


def test_pages_in_a_circle_end(ehr: MiniEhr, fhir: FhirServer) -> None:
    fhir.page = 2
    fhir.next_link = f"{fhir.url}/MedicationStatement?patient={PATIENT}"
    assert ask(ehr, **leave(fhir)).status_code == 200
    assert len(fhir.asked) < 40


def test_a_slow_server_costs_no_more_than_its_time(ehr: MiniEhr, fhir: FhirServer) -> None:
    fhir.delay = 4.0
    body = ehr.request("order-sign", [order()], without=ALL, **leave(fhir))
    begun = time.monotonic()
    reply = ehr.post("order-sign", body)
    assert reply.status_code == 412
    assert "did not answer in time" in reply.json()["issue"][0]["diagnostics"]
    assert time.monotonic() - begun < 3.5


def test_a_refused_token_is_a_missing_history(ehr: MiniEhr, fhir: FhirServer) -> None:
    reply = ask(ehr, **leave(fhir, "expired"))
    assert reply.status_code == 412
    assert "status 401" in reply.json()["issue"][0]["diagnostics"]


def test_what_fails_beside_the_history_is_said(ehr: MiniEhr, fhir: FhirServer) -> None:
    fhir.broken = frozenset({"Condition", "MedicationRequest"})
    (card,) = ask(ehr, **leave(fhir)).json()["cards"]
    assert "not seen: diagnoses, medication requests" in card["detail"]


def test_other_servers_are_never_called(ehr: MiniEhr, fhir: FhirServer) -> None:
    with serving(FhirServer(resistant())) as other:
        reply = ask(ehr, **leave(other))
        assert reply.status_code == 412
        assert "not a server that this service may read" in reply.text
        assert other.asked == []


def test_medications_by_reference_are_read(ehr: MiniEhr, fhir: FhirServer) -> None:
    drug = {"resourceType": "Medication", "id": "m-1", "code": {"text": "paroxetine 40 mg"}}
    named = statement("s-9", "", 40, (days_ago(700), days_ago(520)))
    del named["medicationCodeableConcept"]
    fhir.chart += [drug, {**named, "medicationReference": {"reference": "Medication/m-1"}}]
    (card,) = ask(ehr, **leave(fhir)).json()["cards"]
    assert "/fhir/Medication/m-1" in fhir.asked
    assert "paroxetine" in card["detail"]


def test_the_token_is_neither_kept_nor_logged(
    ehr: MiniEhr, fhir: FhirServer, reading: Running
) -> None:
    assert ask(ehr, **leave(fhir)).status_code == 200
    assert ask(ehr, **leave(fhir, "another-secret-4712")).status_code == 412
    place = reading.environment["KETACAST_DATABASE_URL"].removeprefix("sqlite:///")
    texts = [reading.log.read_bytes()]
    for suffix in ("", "-wal"):
        try:
            with open(place + suffix, "rb") as file:  # noqa: PTH123
                texts.append(file.read())
        except FileNotFoundError:
            continue
    for text in texts:
        assert TOKEN.encode() not in text
        assert b"another-secret" not in text
        assert PATIENT.encode() not in text


def test_a_long_chart_of_references_stays_small(ehr: MiniEhr, fhir: FhirServer) -> None:
    many = [
        {
            "resourceType": "MedicationRequest", "id": f"r-{n}", "status": "active",
            "intent": "order", "subject": subject(), "authoredOn": days_ago(300),
            "medicationReference": {"reference": f"Medication/none-{n}"},
        }
        for n in range(300)
    ]  # fmt: skip
    fhir.chart += many
    assert ask(ehr, **leave(fhir)).status_code == 200
    assert len(fhir.asked) <= len(ALL) + 30
    assert bundle(many)
