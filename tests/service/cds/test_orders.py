"""How many infusions an order carries, and whether it is ketamine for depression at all."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from tests.ehr.charts import RXNORM, order

from ketacast_service.cds_hooks.orders import Planned, planned_infusions
from ketacast_service.cds_hooks.triggers import active_courses, orders_in_play

Json = dict[str, Any]


def timed(**repeat: Any) -> Json:
    return order(dosageInstruction=[{"timing": {"repeat": repeat}}])


def told(text: str) -> Json:
    return order(dosageInstruction=[{"text": text}])


WEEKS_3 = {"value": 3, "unit": "weeks", "code": "wk"}

COUNTS: list[tuple[str, Json, int]] = [
    ("count", timed(count=8, frequency=2, period=1, periodUnit="wk"), 8),
    ("most", timed(count=6, countMax=8), 6),
    ("only most", timed(countMax=8), 8),
    ("length", timed(boundsDuration=WEEKS_3, frequency=2, period=1, periodUnit="wk"), 6),
    ("length, spaced", timed(boundsDuration=WEEKS_3, frequency=1, period=3, periodUnit="d"), 7),
    (
        "dates",
        timed(
            boundsPeriod={"start": "2026-11-02", "end": "2026-11-22"},
            frequency=3, period=1, periodUnit="wk",
        ),
        9,
    ),
    ("weekdays", timed(boundsDuration=WEEKS_3, dayOfWeek=["mon", "thu"]), 6),
    ("words", told("0.5 mg/kg IV over 40 min, 6 infusions"), 6),
    ("more words", told("Series of 8 over four weeks"), 8),
    ("times", told("4 x infusions, then review"), 4),
    ("repeats", order(dosageInstruction=[], dispenseRequest={"numberOfRepeatsAllowed": 5}), 6),
    ("one", timed(count=1), 1),
    (
        "two steps",
        order(
            dosageInstruction=[
                {"sequence": 1, "timing": {"repeat": {"count": 6}}},
                {"sequence": 2, "timing": {"repeat": {"count": 2}}},
            ]
        ),
        8,
    ),
    ("days", order(dosageInstruction=[{"timing": {"event": ["2026-11-02", "2026-11-04"]}}]), 2),
]  # fmt: skip

NONE: list[tuple[str, Json]] = [
    ("nothing", order(dosageInstruction=[])),
    ("spacing only", timed(frequency=2, period=1, periodUnit="wk")),
    ("zero", timed(count=0)),
    ("negative", timed(count=-6)),
    ("text as number", timed(count="6")),
    ("true", timed(count=True)),
    ("dose", told("50 mg IV")),
    ("minutes", told("over 40 minutes, 2 times a week")),
    ("length without spacing", timed(boundsDuration=WEEKS_3)),
    ("dates reversed", timed(boundsPeriod={"start": "2026-12-02", "end": "2026-11-02"})),
    ("damaged", order(dosageInstruction="six")),
    ("no repeats", order(dosageInstruction=[], dispenseRequest={"numberOfRepeatsAllowed": 0})),
]


@pytest.mark.parametrize(("held", "count"), [row[1:] for row in COUNTS], ids=[r[0] for r in COUNTS])
def test_the_number_is_read(held: Json, count: int) -> None:
    assert planned_infusions([held]) == Planned(count, "order", (count,))


@pytest.mark.parametrize("held", [row[1] for row in NONE], ids=[row[0] for row in NONE])
def test_no_number_is_six_assumed(held: Json) -> None:
    assert planned_infusions([held]) == Planned(6, "assumed")


def test_more_than_thirty_is_answered_as_thirty() -> None:
    assert planned_infusions([timed(count=31)]) == Planned(30, "above-limit", (31,))
    assert planned_infusions([timed(count=1e300)]).infusions == 30


def test_orders_that_differ_give_the_highest() -> None:
    assert planned_infusions([timed(count=6), timed(count=8)]) == Planned(8, "order", (6, 8))


def service_request(text: str, **more: Any) -> Json:
    return {
        "resourceType": "ServiceRequest", "id": "s", "status": "draft", "intent": "order",
        "code": {"text": text}, **more,
    }  # fmt: skip


def coded(system: str, code: str, display: str = "") -> Json:
    coding = {"system": system, "code": code}
    if display:
        coding["display"] = display
    return order(medicationCodeableConcept={"coding": [coding]})


ATC = "http://www.whocc.no/atc"
SPRAY = {"text": "esketamine 28 mg nasal spray"}

AGENTS: list[tuple[str, Json, str]] = [
    ("ingredient", coded(RXNORM, "6130"), "ketamine"),
    ("esketamine", coded(RXNORM, "2119365"), "esketamine"),
    ("ATC ketamine", coded(ATC, "N01AX03"), "ketamine"),
    ("ATC esketamine, anaesthesia", coded(ATC, "N01AX14"), "esketamine"),
    ("ATC esketamine, depression", coded(ATC, "N06AX27"), "esketamine"),
    ("product by its words", coded(RXNORM, "1", "ketamine 50 MG/ML Injection"), "ketamine"),
    ("words", order(medicationCodeableConcept={"text": "Ketamine HCl IV"}), "ketamine"),
    ("brand", order(medicationCodeableConcept=SPRAY), "esketamine"),
    ("infusion", service_request("Ketamine infusion therapy"), "ketamine"),
    ("reason", order(reasonCode=[{"text": "Treatment-resistant depression"}]), "ketamine"),
    (
        "by its display",
        {
            **{k: v for k, v in order().items() if k != "medicationCodeableConcept"},
            "medicationReference": {"reference": "Medication/9", "display": "Ketamine 10 mg/mL"},
        },
        "ketamine",
    ),
    (
        "contained",
        {
            **{k: v for k, v in order().items() if k != "medicationCodeableConcept"},
            "contained": [{"resourceType": "Medication", "id": "m", "code": {"text": "ketamine"}}],
            "medicationReference": {"reference": "#m"},
        },
        "ketamine",
    ),
]

SILENT: list[tuple[str, Json]] = [
    ("another drug", coded(RXNORM, "36437")),
    ("no medication", {k: v for k, v in order().items() if k != "medicationCodeableConcept"}),
    ("cancelled", order(status="cancelled")),
    ("not to be done", order(doNotPerform=True)),
    ("anaesthesia", order(reasonCode=[{"text": "Induction of anaesthesia"}])),
    ("pain", order(reasonCode=[{"text": "Chronic pain"}])),
    ("post-traumatic stress", order(reasonCode=[{"text": "PTSD"}])),
    ("sedation in words", told("procedural sedation, 1 mg/kg")),
    ("cream", order(medicationCodeableConcept={"text": "ketamine 10 % topical cream"})),
    ("laboratory", service_request("Ketamine screen, urine")),
    ("laboratory, treatment", service_request("Ketamine level during treatment")),
    ("no drug", service_request("Infusion")),
    ("another resource", {"resourceType": "Task", "code": {"text": "ketamine infusion"}}),
    ("a word in it", order(medicationCodeableConcept={"text": "norketamine assay"})),
]


@pytest.mark.parametrize(("held", "agent"), [row[1:] for row in AGENTS], ids=[r[0] for r in AGENTS])
def test_a_course_is_seen(held: Json, agent: str) -> None:
    assert [found.agent for found in orders_in_play([held], [held])] == [agent]


@pytest.mark.parametrize("held", [row[1] for row in SILENT], ids=[row[0] for row in SILENT])
def test_all_else_is_silent(held: Json) -> None:
    assert orders_in_play([held], [held]) == ()


def test_two_orders_of_one_course_are_one() -> None:
    held = [order(), service_request("Ketamine infusion"), coded(RXNORM, "2119365")]
    found = orders_in_play(held, held)
    assert [(one.agent, len(one.orders)) for one in found] == [("ketamine", 2), ("esketamine", 1)]


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({"status": "active"}, 1),
        ({"status": "active", "authoredOn": "2026-10-01"}, 1),
        ({"status": "active", "authoredOn": "2024-10-01"}, 0),
        ({"status": "draft"}, 0),
        ({"status": "completed"}, 0),
        ({"status": "active", "intent": "proposal"}, 0),
        ({"status": "active", "intent": "plan"}, 0),
    ],
)
def test_only_active_orders_of_late_are_courses_under_way(change: Json, count: int) -> None:
    assert len(active_courses([order(**change)], date(2026, 11, 26))) == count


@pytest.mark.parametrize(
    ("change", "other"),
    [
        ({}, False),
        ({"medicationCodeableConcept": {"text": "ketamine 100 mg lozenge"}}, True),
        ({"dosageInstruction": [{"route": {"text": "Intramuscular"}}]}, True),
        ({"dosageInstruction": [{"route": {"text": "Intravenous route"}}]}, False),
    ],
)
def test_other_routes_are_noticed(change: Json, other: bool) -> None:
    held = order(**change)
    (found,) = orders_in_play([held], [held])
    assert found.other_route is other
