"""All synthetic patients through all hooks, and what their cards say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.ehr.charts import bundle, order, synthetic, synthetic_names
from tests.ehr.mini_ehr import MiniEhr, check_card
from tests.ehr.searching import answer
from tests.service.running import Running

from ketacast_service.app import make_service
from ketacast_service.calls import Call, Client
from ketacast_service.cds_hooks.answering import HookAnswerer
from ketacast_service.cds_hooks.cards import CardMaker
from ketacast_service.cds_hooks.discovery import PREFETCH, SERVICES, HookService
from ketacast_service.cds_hooks.fhir_reader import FhirReader
from ketacast_service.settings import Settings
from ketacast_service.state import Service

Json = dict[str, Any]

REVIEWED: dict[str, Json] = json.loads(
    (Path(__file__).parent / "reviewed_cards.json").read_text(encoding="utf-8")
)
AS_OF = date(2026, 11, 1)


@pytest.mark.parametrize("name", synthetic_names())
def test_every_patient_passes_every_hook(service: Running, name: str) -> None:
    patient, chart = synthetic(name)
    under_way = order("active", patient=patient, status="active")
    ehr = MiniEhr(service.url, chart, patient)
    assert ehr.fire("patient-view") == []
    for hook in ("order-select", "order-sign"):
        for code in ("6130", "2119365"):
            assert len(ehr.fire(hook, [order(code=code, patient=patient)])) == 1
        assert ehr.fire(hook, [order(code="36437", patient=patient)]) == []
    ehr.chart = [*chart, under_way]
    assert len(ehr.fire("patient-view")) == 1
    ehr.close()


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    place = tmp_path_factory.mktemp("records") / "service.db"
    made = make_service(Settings(), database=f"sqlite:///{place}")
    yield made
    made.work.close()
    made.engine.dispose()


def card_of(held: Service, hook: HookService, name: str) -> Json:
    """Return the card for a synthetic patient on a fixed day."""
    patient, chart = synthetic(name)
    context: Json = {"userId": "Practitioner/1", "patientId": patient}
    drafts = [order(patient=patient)]
    if hook.hook == "patient-view":
        chart = [*chart, order("active", patient=patient, status="active")]
    else:
        context["draftOrders"] = bundle(drafts)
        context["selections"] = ["MedicationRequest/o-1"]
    body = {
        "hook": hook.hook, "hookInstance": "1", "context": context,
        "prefetch": {
            key: answer(query.replace("{{context.patientId}}", patient), chart)
            for key, query in PREFETCH.items()
        },
    }  # fmt: skip
    maker = CardMaker(held.settings, held.predictor.model)
    answerer = HookAnswerer(held, hook, FhirReader(held.settings), maker, today=lambda: AS_OF)
    call = Call(Client("local", frozenset({"cds"})), "r", (), json.dumps(body).encode())

    async def run() -> bytes:
        held.trail.start()
        try:
            return (await answerer.answer(call)).body
        finally:
            await held.trail.close()

    (card,) = json.loads(asyncio.run(run()))["cards"]
    check_card(card)
    found: Json = card
    return found


def gist(card: Json) -> Json:
    """Return what of a card is reviewed: inputs, and which drugs are on which list."""
    wanted = ("- **Failed trials", "- **Infusions", "- **Rated by")
    parts = card["detail"].split("\n\n")
    titles = [part for part in parts if part.startswith("**") and "\n" not in part]
    lists = {
        title.strip("*"): [
            line[2:].partition(":")[0] for line in parts[parts.index(title) + 1].splitlines()
        ]
        for title in titles
        if "ount" in title
    }
    return {
        "summary": card["summary"].partition(" about")[0],
        "inputs": [
            line[2:].replace("*", "") for line in card["detail"].splitlines()
            if line.startswith(wanted)
        ],
        "lists": lists,
    }  # fmt: skip


def test_every_patient_is_reviewed() -> None:
    assert sorted(REVIEWED) == synthetic_names()
    assert all(entry["why"] for entry in REVIEWED.values())


@pytest.mark.parametrize("name", synthetic_names())
def test_cards_are_as_reviewed(held: Service, name: str) -> None:
    signed = next(hook for hook in SERVICES if hook.hook == "order-sign")
    assert gist(card_of(held, signed, name)) == REVIEWED[name]["card"]


@pytest.mark.parametrize("name", synthetic_names())
def test_all_hooks_say_the_same(held: Service, name: str) -> None:
    details = {card_of(held, hook, name)["detail"] for hook in SERVICES}
    assert len(details) == 1
