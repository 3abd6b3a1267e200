"""Calls as a real client sent them (the CDS Hooks sandbox, on a synthetic patient)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.ehr.charts import RXNORM, captured
from tests.service.running import Running


def url(service: Running, hook: str) -> str:
    return f"{service.url}/cds-services/ketamine-outlook-{hook}"


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
def test_an_order_without_medication_gets_no_card(service: Running, hook: str) -> None:
    reply = httpx.post(url(service, hook), json=captured(hook))
    assert reply.status_code == 200
    assert reply.json() == {"cards": []}


def test_a_chart_that_was_prefetched_for_others_is_asked_for(service: Running) -> None:
    reply = httpx.post(url(service, "patient-view"), json=captured("patient-view"))
    assert reply.status_code == 412
    assert "medRequests" in reply.json()["issue"][0]["diagnostics"]


def filled(hook: str) -> dict[str, Any]:
    """Return the call with the prefetch under our keys and ketamine in the order."""
    body = captured(hook)
    body["prefetch"]["medRequests"] = body["prefetch"].pop("meds")
    if hook != "patient-view":
        (entry,) = body["context"]["draftOrders"]["entry"]
        coding = {"system": RXNORM, "code": "6130", "display": "ketamine"}
        entry["resource"]["medicationCodeableConcept"] = {"coding": [coding]}
    return body


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
def test_with_a_medication_chosen_it_gets_one(service: Running, hook: str) -> None:
    reply = httpx.post(url(service, hook), json=filled(hook), timeout=30)
    assert reply.status_code == 200
    (card,) = reply.json()["cards"]
    # Fluoxetine of 1993 is no treatment of the current episode.
    assert card["summary"].startswith("No antidepressant treatment in the current episode")
    assert "fluoxetine: before the current episode" in card["detail"]
    assert "|" not in card["detail"]


def test_no_ketamine_in_the_chart_gets_no_card(service: Running) -> None:
    reply = httpx.post(url(service, "patient-view"), json=filled("patient-view"))
    assert reply.json() == {"cards": []}


@pytest.mark.parametrize("hook", ["patient-view", "order-select", "order-sign"])
def test_feedback_of_a_dismissed_card_is_taken(service: Running, hook: str) -> None:
    reply = httpx.post(url(service, hook) + "/feedback", json=captured("feedback"))
    assert reply.status_code == 200
    assert reply.content == b""
