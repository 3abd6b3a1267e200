"""One patient through every channel: the same number everywhere, to the last digit."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from tests.service.running import Running

import ketacast
from ketacast.client import Client

PATIENTS = [(6, 6, "self"), (0, 1, "clinician"), (13, 8, "unknown"), (20, 30, "self")]
SIDES = ("low", "high")


def columns_of(prediction: ketacast.Prediction) -> dict[str, float]:
    """The prediction's figures under the names of a table's columns."""
    found = {}
    for outcome in ("response", "remission"):
        estimate = getattr(prediction, outcome)
        found[f"{outcome}_expected"] = estimate.expected
        found[f"{outcome}_median"] = estimate.median
        for kind in ("average_clinic", "new_clinic"):
            for level, bounds in getattr(estimate, kind).items():
                for side, value in zip(SIDES, bounds, strict=True):
                    found[f"{outcome}_{kind}_{100 * level:g}_{side}"] = value
    return found


@pytest.fixture(params=PATIENTS, ids=str)
def asked(request: pytest.FixtureRequest) -> dict[str, Any]:
    trials, infusions, rater = request.param
    return {"failed_trials": trials, "infusions": infusions, "rated_by": rater}


@pytest.fixture
def expected(asked: dict[str, Any]) -> ketacast.Prediction:
    return ketacast.predict(**asked)


def test_the_command_line(asked: dict[str, Any], expected: ketacast.Prediction) -> None:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in asked.items()]
    done = subprocess.run(
        [sys.executable, "-m", "ketacast", "predict", *options, "--json"],
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout) == expected.to_dict()


def test_the_api(http: httpx.Client, asked: dict[str, Any], expected: ketacast.Prediction) -> None:
    found = http.post("/v1/predictions", json=asked).json()
    del found["id"]
    assert found == json.loads(json.dumps(expected.to_dict()))


def test_the_client(service: Running, asked: dict[str, Any], expected: ketacast.Prediction) -> None:
    with Client(service.url) as client:
        assert client.predict(**asked).prediction == expected


def test_the_table_of_the_library(asked: dict[str, Any], expected: ketacast.Prediction) -> None:
    frame = ketacast.predict_many(
        [asked["failed_trials"]], asked["infusions"], asked["rated_by"]
    ).to_frame()
    for name, value in columns_of(expected).items():
        assert frame[name][0] == value


def test_batches(http: httpx.Client, asked: dict[str, Any], expected: ketacast.Prediction) -> None:
    wanted = columns_of(expected)
    path = "/v1/predictions/batch"
    columns = http.post(path, json={name: [value] for name, value in asked.items()}).json()
    assert {name: columns["columns"][name][0] for name in wanted} == wanted

    lines = http.post(
        path, content=json.dumps(asked), headers={"content-type": "application/x-ndjson"}
    )
    first = json.loads(lines.text.splitlines()[0])
    assert first["response"] == json.loads(json.dumps(expected.response.to_dict()))
    assert first["remission"] == json.loads(json.dumps(expected.remission.to_dict()))

    table = pa.table({name: [value] for name, value in asked.items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    kind = "application/vnd.apache.arrow.stream"
    answer = http.post(path, content=sink.getvalue().to_pybytes(), headers={"content-type": kind})
    got = pa.ipc.open_stream(answer.content).read_all().to_pydict()
    assert {name: got[name][0] for name in wanted} == wanted


def test_the_fhir_resource(
    http: httpx.Client, asked: dict[str, Any], expected: ketacast.Prediction
) -> None:
    resource = http.post(
        "/v1/predictions",
        json={**asked, "subject": "Patient/1"},
        headers={"accept": "application/fhir+json"},
    ).json()
    shown = [
        Decimal(repr(entry["probabilityDecimal"])) / 100
        for entry in resource["prediction"]
        if "probabilityDecimal" in entry
    ]
    assert shown == [
        Decimal(repr(estimate.expected)) for estimate in (expected.response, expected.remission)
    ]


def test_the_page(http: httpx.Client, asked: dict[str, Any], expected: ketacast.Prediction) -> None:
    html = http.get("/", params=asked).text
    for estimate in (expected.response, expected.remission):
        low, high = estimate.new_clinic[0.8]
        assert f'<data value="{estimate.expected}" data-name="expected">' in html
        assert f'<data value="{low},{high}" data-name="new_clinic" data-level="0.8">' in html


def test_the_card_in_a_record_system(http: httpx.Client) -> None:
    """The card's count comes from a chart, so its own record says what was asked."""
    call = json.loads(CARD_CALL)
    services = http.get("/cds-services").json()["services"]
    name = next(entry["id"] for entry in services if entry["hook"] == "order-sign")
    (card,) = http.post(f"/cds-services/{name}", json=call).json()["cards"]
    record = http.get(f"/v1/predictions/{card['uuid']}").json()
    inputs = record["input"]
    span = inputs["failed_trials"]
    expected = ketacast.predict(
        failed_trials=(span["min"], span["max"]),
        infusions=inputs["infusions"],
        rated_by=inputs["rated_by"],
    )
    assert record["output"] == json.loads(json.dumps(expected.to_dict()))
    low, high = expected.response.new_clinic[0.8]
    chance = f"about {100 * expected.response.expected:.0f} of 100"
    assert chance in card["summary"]
    assert re.search(rf"{100 * low:.0f} to {100 * high:.0f}", card["summary"])


def _days_ago(days: int) -> str:
    return (datetime.now(UTC).date() - timedelta(days=days)).isoformat()


def _drug(number: int, name: str, begun: int, ended: int, mg: int) -> str:
    start, end = _days_ago(begun), _days_ago(ended)
    return f"""{{"resource": {{"resourceType": "MedicationStatement", "id": "s{number}",
      "status": "stopped", "subject": {{"reference": "Patient/p"}},
      "medicationCodeableConcept": {{"text": "{name}"}},
      "effectivePeriod": {{"start": "{start}", "end": "{end}"}},
      "dosage": [{{"timing": {{"repeat": {{"frequency": 1, "period": 1, "periodUnit": "d"}}}},
        "doseAndRate": [{{"doseQuantity": {{"value": {mg}, "unit": "mg"}}}}]}}]}}}}"""


CARD_CALL = f"""{{"hook": "order-sign", "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
 "context": {{"userId": "Practitioner/1", "patientId": "p", "draftOrders": {{
   "resourceType": "Bundle", "type": "collection", "entry": [{{"resource": {{
     "resourceType": "MedicationRequest", "id": "k", "status": "draft", "intent": "order",
     "subject": {{"reference": "Patient/p"}},
     "medicationCodeableConcept": {{"coding": [{{
       "system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "6130"}}]}},
     "dosageInstruction": [{{"timing": {{"repeat": {{"count": 8}}}}}}]}}}}]}}}},
 "prefetch": {{"medRequests": null, "phq9": null, "conditions": null,
   "patient": {{"resourceType": "Patient", "id": "p", "birthDate": "1980-01-01"}},
   "medStatements": {{"resourceType": "Bundle", "type": "searchset", "entry": [
     {_drug(1, "sertraline", 300, 210, 150)},
     {_drug(2, "venlafaxine", 209, 120, 225)},
     {_drug(3, "mirtazapine", 119, 10, 45)}]}}}}}}"""
