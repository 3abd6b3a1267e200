"""What holds for every card, whatever the figures; and without a record there is none."""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.ehr.charts import condition, days_ago, order, resistant
from tests.ehr.mini_ehr import MiniEhr, check_card
from tests.service.running import running_service

import ketacast
from ketacast.history import ChartRater, HistoryCount, count_failed_trials, rater_from_chart
from ketacast.options import RATERS
from ketacast_service.cds_hooks.cards import CardMaker, Outlook
from ketacast_service.cds_hooks.notes import ESKETAMINE, NO_DATA, NOT_NOW, UNDER_18, Note
from ketacast_service.cds_hooks.orders import Planned
from ketacast_service.settings import Settings

Json = dict[str, Any]

PREDICTION = ketacast.predict(failed_trials=6, infusions=6, rated_by="self")
TODAY = days_ago(0)
ADVICE = re.compile(
    r"\b(?:should|recommend\w*|must|advise\w*|consider|contraindicat\w*|stop the|cancel)\b",
    re.IGNORECASE,
)


def counted(*more: Json) -> tuple[HistoryCount, ChartRater]:
    chart = [*resistant(), *more]
    return count_failed_trials(chart, as_of=TODAY), rater_from_chart(chart, as_of=TODAY)


def card(
    answer: Json, count: HistoryCount, rater: ChartRater, planned: Planned, **settings: Any
) -> Json:
    maker = CardMaker(Settings(**settings), PREDICTION.model)
    outlook = Outlook(answer, count, planned, rater, ("diagnoses",), other_route=True)
    return maker.outlook("4e0a3a1e-3283-4575-ab82-028d55fe2719", outlook)


@pytest.mark.parametrize("basis", ["order", "assumed", "above-limit"])
def test_the_summary_is_short_whatever_the_figures(basis: Any) -> None:
    psychotic, rater = counted(condition("c-9", "F20.0"))
    for trials, infusions, who in itertools.product((0, 20), (1, 2, 30), RATERS):
        found = ketacast.predict(failed_trials=trials, infusions=infusions, rated_by=who)
        planned = Planned(infusions, basis, (infusions,))
        made = card(found.to_dict(), psychotic, rater, planned)
        check_card(made)
        assert made["summary"].startswith("Outside the evidence. ")
    extreme = PREDICTION.to_dict()
    for name in ("response", "remission"):
        extreme[name] = {"expected": 1.0, "new_clinic": {"0.8": [1.0, 1.0], "0.95": [1.0, 1.0]}}
    made = card(extreme, psychotic, rater, Planned(30, "assumed"))
    assert 100 < len(made["summary"]) < 140


def test_the_figures_are_those_of_the_prediction() -> None:
    count, rater = counted()
    answer = PREDICTION.to_dict()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in card(answer, count, rater, Planned(6, "order", (6,)))["detail"].splitlines()
        if line.startswith("| re")
    ]
    for row, name in zip(rows, ("response", "remission"), strict=True):
        likely, wide = answer[name]["new_clinic"]["0.8"], answer[name]["new_clinic"]["0.95"]
        assert row[1] == f"{100 * answer[name]['expected']:.0f}"
        assert row[2] == f"{100 * likely[0]:.0f} to {100 * likely[1]:.0f}"
        assert row[3] == f"{100 * wide[0]:.0f} to {100 * wide[1]:.0f}"


@pytest.mark.parametrize("note", [ESKETAMINE, NO_DATA, NOT_NOW, UNDER_18], ids=lambda n: n.code)
def test_notes_hold_no_figures_and_no_advice(note: Note) -> None:
    made = CardMaker(Settings(), PREDICTION.model).note(
        "4e0a3a1e-3283-4575-ab82-028d55fe2719", note
    )
    check_card(made)
    assert re.search(r"\b\d+ of 100\b|\d %", made["summary"] + made["detail"]) is None
    assert ADVICE.search(note.summary + note.detail) is None


def test_a_card_advises_nothing_and_says_what_it_rests_on() -> None:
    count, rater = counted()
    made = card(PREDICTION.to_dict(), count, rater, Planned(6, "assumed"))
    text = made["summary"] + made["detail"]
    assert ADVICE.search(text) is None
    for said in (
        "not seen: diagnoses", "another way than the vein", "24 cohorts, 1,805 patients",
        "Not a medical device", "Nothing on harms", "not for one person's fate",
    ):  # fmt: skip
        assert said in text
    assert set(made) == {"uuid", "summary", "detail", "indicator", "source", "overrideReasons"}


def test_links_carry_the_inputs_and_nothing_else() -> None:
    count, rater = counted()
    found = ketacast.predict(failed_trials=(3, 5), infusions=8, rated_by="unknown")
    url = "https://k.example/lookup"
    made = card(found.to_dict(), count, rater, Planned(8, "order", (8,)), cds_lookup_url=url)
    (link,) = made["links"]
    assert link["url"] == f"{url}?failed_trials=3-5&infusions=8&rated_by=unknown"
    note = CardMaker(Settings(cds_lookup_url=url), PREDICTION.model).note("i", NO_DATA)
    assert note["links"][0]["url"] == url


def test_without_a_record_there_is_no_card(tmp_path: Path) -> None:
    path = tmp_path / "service.db"
    with running_service(
        rate_per_second=0, database_url=f"sqlite:///{path}", store_timeout_seconds=0.5
    ) as service:
        ehr = MiniEhr(service.url, resistant())
        body = ehr.request("order-sign", [order()])
        assert ehr.post("order-sign", body).status_code == 200
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        refused = ehr.post("order-sign", body)
        silent = ehr.post("order-sign", ehr.request("order-sign", []))
        holder.rollback()
        holder.close()
        assert refused.status_code == 503
        assert refused.json()["issue"][0]["code"] == "transient"
        assert (silent.status_code, silent.json()) == (200, {"cards": []})
        assert ehr.post("order-sign", body).status_code == 200
        ehr.close()


def test_answers_without_a_record_say_so_where_that_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "service.db"
    with running_service(
        rate_per_second=0, database_url=f"sqlite:///{path}", store_timeout_seconds=0.5,
        audit_required=False,
    ) as service:  # fmt: skip
        ehr = MiniEhr(service.url, resistant())
        body = ehr.request("order-sign", [order()])
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        reply = ehr.post("order-sign", body)
        holder.rollback()
        holder.close()
        assert reply.status_code == 200
        assert reply.headers["x-audit"] == "not-recorded"
        ehr.close()


@pytest.mark.parametrize("levels", [100, 400, 480, 5000])
def test_deeply_nested_data_is_no_failure(http: httpx.Client, levels: int) -> None:
    held = {**order("m"), "status": "active", "note": "DEEP", "medicationCodeableConcept": "DEEP"}
    body = {
        "hook": "order-sign", "hookInstance": "i",
        "context": {
            "userId": "Practitioner/1", "patientId": "p-77",
            "draftOrders": {"entry": [{"resource": order()}, {"resource": held}]},
        },
        "prefetch": {"medRequests": {"resourceType": "Bundle", "entry": [{"resource": held}]}},
    }  # fmt: skip
    deep = '{"a":[' * levels + "1" + "]}" * levels
    content = json.dumps(body).replace('"DEEP"', deep)
    headers = {"Content-Type": "application/json"}
    path = "/cds-services/ketamine-outlook-order-sign"
    reply = http.post(path, content=content, headers=headers)
    assert reply.status_code in (200, 400)
