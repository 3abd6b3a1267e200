"""A small EHR works with the service: from discovery to feedback."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.ehr.charts import PATIENT, bundle, condition, days_ago, order, person, statement
from tests.ehr.mini_ehr import MiniEhr, shown
from tests.service.running import Running

HOOKS = ("patient-view", "order-select", "order-sign")


def database(service: Running) -> Path:
    return Path(service.environment["KETACAST_DATABASE_URL"].removeprefix("sqlite:///"))


def records(service: Running) -> list[dict[str, Any]]:
    """Inputs of all records, with their kind and id."""
    with sqlite3.connect(f"file:{database(service)}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT id, kind, input FROM audit_record ORDER BY seq")
        found = [{"id": row[0], "kind": row[1], **json.loads(row[2])} for row in rows]
    connection.close()
    return found


def test_an_order_is_answered_with_one_card(ehr: MiniEhr, service: Running) -> None:
    (card,) = ehr.fire("order-sign", [order()])
    same = httpx.post(
        service.url + "/v1/predictions",
        json={"failed_trials": 4, "infusions": 6, "rated_by": "self"},
        timeout=30,
    ).json()
    text = shown(card)
    response, likely = same["response"], same["response"]["new_clinic"]["0.8"]
    assert f"about {100 * response['expected']:.0f} of 100 respond" in card["summary"]
    assert f"{100 * likely[0]:.0f} to {100 * likely[1]:.0f}" in card["summary"]
    assert "Failed trials: 4" in text
    assert "Rated by: the patient" in text
    assert card["indicator"] == "info"
    assert "suggestions" not in card
    assert same["model"]["sha256"][:12] in card["source"]["label"]


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
def test_both_order_hooks_say_the_same(ehr: MiniEhr, hook: str) -> None:
    (card,) = ehr.fire(hook, [order()])
    (other,) = ehr.fire("order-sign", [order()])
    assert card["detail"] == other["detail"]
    assert card["uuid"] != other["uuid"]


def test_a_chart_with_an_active_order_is_answered_at_its_opening(ehr: MiniEhr) -> None:
    assert ehr.fire("patient-view") == []
    ehr.chart.append(order(status="active", authoredOn=days_ago(4)))
    (card,) = ehr.fire("patient-view")
    assert "After 6 infusions" in card["summary"]


def test_only_selected_orders_are_judged(ehr: MiniEhr) -> None:
    sertraline = order("o-2", code="36437")
    both = [order("o-1"), sertraline]
    assert ehr.fire("order-select", both, selected=["MedicationRequest/o-2"]) == []
    assert len(ehr.fire("order-select", both, selected=["MedicationRequest/o-1"])) == 1
    assert ehr.fire("order-select", both, selected=[]) == []
    assert len(ehr.fire("order-sign", both)) == 1


def test_what_the_order_does_not_say_is_assumed_and_said(ehr: MiniEhr) -> None:
    (card,) = ehr.fire("order-sign", [order(count=None)])
    assert "After 6 (assumed) infusions" in card["summary"]
    assert "Infusions: 6, assumed" in shown(card)
    (card,) = ehr.fire("order-sign", [order(count=45)])
    assert "After 30 infusions" in card["summary"]
    assert "the order carries 45; the model answers for 1 to 30" in shown(card)


@pytest.mark.parametrize("user", ["Patient/p-77", "RelatedPerson/r-1"])
def test_patients_and_relatives_are_shown_nothing(ehr: MiniEhr, user: str) -> None:
    ehr.user = user
    ehr.chart.append(order(status="active", authoredOn=days_ago(4)))
    assert [ehr.fire(hook, [order()]) for hook in HOOKS] == [[], [], []]


def test_esketamine_gets_a_note_without_figures(ehr: MiniEhr) -> None:
    (card,) = ehr.fire("order-sign", [order(code="2119365")])
    assert card["summary"].startswith("No figures for esketamine")
    assert "|" not in card["detail"]


def test_a_chart_without_treatment_gets_no_figures(ehr: MiniEhr) -> None:
    ehr.chart[:] = [person()]
    (card,) = ehr.fire("order-sign", [order()])
    assert "no figures" in card["summary"]
    assert "|" not in card["detail"]


@pytest.mark.parametrize(
    ("change", "start", "said"),
    [
        ([condition("c-2", "F20.0")], "Outside the evidence. ", "psychosis is recorded"),
        ([condition("c-2", "F31.4")], "After ", "bipolar disorder is recorded: a small part"),
    ],
    ids=["psychosis", "bipolar"],
)
def test_likely_exclusions_are_said_first(
    ehr: MiniEhr, change: list[dict[str, Any]], start: str, said: str
) -> None:
    ehr.chart += change
    (card,) = ehr.fire("order-sign", [order()])
    assert card["summary"].startswith(start)
    assert said in shown(card)


def test_fewer_than_two_failed_trials_are_outside_the_evidence(ehr: MiniEhr) -> None:
    ehr.chart[:] = [person(), statement("s", "sertraline", 100, (days_ago(250), days_ago(70)))]
    (card,) = ehr.fire("order-sign", [order()])
    assert card["summary"].startswith("Outside the evidence. ")
    assert "fewer than two failed trials" in shown(card)


def test_under_18_there_are_no_figures(ehr: MiniEhr) -> None:
    ehr.chart[0] = person(born=days_ago(4000))
    (card,) = ehr.fire("order-sign", [order()])
    assert "under 18" in card["summary"]
    assert "|" not in card["detail"]


def test_the_order_itself_is_no_history(ehr: MiniEhr) -> None:
    (before,) = ehr.fire("order-sign", [order()])
    ehr.chart.append(order(status="active", authoredOn=days_ago(4)))
    (after,) = ehr.fire("order-sign", [order(status="active")])
    assert before["detail"] == after["detail"]


def test_feedback_is_kept_without_words(ehr: MiniEhr, service: Running) -> None:
    (card,) = ehr.fire("order-sign", [order()])
    assert ehr.dismiss("order-sign", card, "history-incomplete", "Jane Roe had ECT") == 200
    assert ehr.dismiss("order-sign", card, None, None) == 200
    kept = [entry for entry in records(service) if entry["kind"] == "cds-feedback"]
    first, second = kept[-2:]
    assert first["card"] == second["card"] == card["uuid"]
    assert (first["reason"], first["comment"]) == ("history-incomplete", True)
    assert "reason" not in second
    assert "Jane" not in json.dumps(kept)


def test_the_record_holds_the_inputs_and_nothing_that_identifies(
    ehr: MiniEhr, service: Running
) -> None:
    (card,) = ehr.fire("order-sign", [order(name="order-4711")])
    kept = [entry for entry in records(service) if entry["id"] == card["uuid"]]
    assert len(kept) == 1
    assert kept[0]["kind"] == "cds"
    assert kept[0]["hook"] == "order-sign"
    assert kept[0]["failed_trials"] == {"min": 4, "max": 4}
    raw = database(service).read_bytes() + service.log.read_bytes()
    wal = database(service).with_name("service.db-wal")
    raw += wal.read_bytes() if wal.exists() else b""
    for secret in (PATIENT, "order-4711", "1980-05-01", "dr-1", days_ago(150)):
        assert secret.encode() not in raw


def test_another_patients_order_is_refused(ehr: MiniEhr) -> None:
    body = ehr.request("order-sign", [order(patient="p-78")])
    assert ehr.post("order-sign", body).status_code == 400


def test_records_of_another_patient_are_left_out(ehr: MiniEhr) -> None:
    body = ehr.request("order-sign", [order()])
    foreign = statement("f", "paroxetine", 40, (days_ago(400), days_ago(200)), patient="p-78")
    body["prefetch"]["medStatements"]["entry"] += bundle([foreign])["entry"]
    (card,) = ehr.post("order-sign", body).json()["cards"]
    assert "paroxetine" not in card["detail"]
    assert "1 record of other patients left out" in card["detail"]


def test_what_was_not_seen_is_said(ehr: MiniEhr) -> None:
    (card,) = ehr.fire("order-sign", [order()], without=("conditions", "phq9"))
    assert "not seen: diagnoses, depression scores" in shown(card)


def test_without_history_the_answer_is_412(ehr: MiniEhr) -> None:
    body = ehr.request("order-sign", [order()], without=("medRequests", "medStatements"))
    reply = ehr.post("order-sign", body)
    assert reply.status_code == 412
    assert reply.headers["content-type"] == "application/fhir+json"
    assert reply.json()["resourceType"] == "OperationOutcome"
