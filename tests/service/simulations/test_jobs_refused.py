"""What the service does not take on or carry to its end, and whose simulations are whose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.service.running import new_key, running_service
from tests.service.simulations.asking import ended, long_spec, spec, submitted

SECRET = "9b1c7e2f4a6d8035" * 4


@pytest.fixture(scope="module")
def web() -> Iterator[httpx.Client]:
    with (
        running_service(rate_per_second=0, simulations_unfinished=3) as found,
        httpx.Client(base_url=found.url, timeout=60) as client,
    ):
        yield client


def changed(*path: Any, to: Any) -> dict[str, Any]:
    """The small specification with one entry changed, or left out."""
    document = spec()
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return document


GROUP = {"failed_trials": 2, "rated_by": "self"}
CLINIC = ("cohort", "groups", 0, "clinic")
CLINICS = ("cohort", "groups", 0)
STOP, STOPS = ("strategies", 1, "stop"), "/strategies/1/stop"
LATE = {"after": 2, "none_in_last": 3}
WILLING = "/assumptions/willingness_to_pay"
REFUSED = [
    (changed("simulation", "horizon_weeks", to=None), "/simulation/horizon_weeks", "is missing"),
    (changed("simulation", "patients", to=None), "/simulation/patients", "patients is missing"),
    (changed("simulation", "patients", to=1), "/simulation/patients", "greater than or equal"),
    (changed("simulation", "patients", to=True), "/simulation/patients", "valid integer"),
    (changed("simulation", "draws", to=4097), "/simulation/draws", "less than or equal"),
    (changed("simulation", "classes", to=48), "/simulation/classes", "give a power of 2"),
    (changed("simulation", "levels", to=[1.5]), "/simulation/levels/0", "less than or equal"),
    (changed("simulation", "colour", to="red"), "/simulation/colour", "is not a field"),
    (changed("cohort", "groups", to=[]), "/cohort/groups", "at least 1 item"),
    (changed(*CLINIC, to="/etc/passwd"), "/cohort/groups/0/clinic", "'new'"),
    (changed(*CLINIC, to="clinic.json"), "/cohort/groups/0/clinic", "'new'"),
    (changed("cohort", "groups", 0, "n", to=3), "/cohort/groups/0", "give a table with share or n"),
    (changed("cohort", "groups", to=[GROUP]), "/cohort/groups/0", "give a table with share or n"),
    (changed("cohort", "table", to="cohort.csv"), "/cohort/table", "is not a field"),
    (changed("strategies", 1, "name", to="four"), "/strategies/1/name", "its own"),
    (changed("strategies", 0, "per_week", to=0.25), "/strategies/0", "give a longer horizon_weeks"),
    (changed(*STOP, to=[{"after": 3}, LATE]), STOPS + "/1/none_in_last", "from 1 to 2"),
    (changed(*STOP, to=[{"after": 9}]), STOPS, "give an earlier one"),
    (changed(*STOP, to=[{"after": 3}, {"after": 3}]), STOPS, "two stop rules"),
    (changed("strategies", 1, "extend", to={"to": 3}), "/strategies/1/extend", "more than the 6"),
    (changed("strategies", 1, "name", to="a\u202eb"), "/strategies/1/name", "\\\\u202e"),
    (changed("strategies", 1, "name", to="a\tb"), "/strategies/1/name", "no letter, digit"),
    (changed(*CLINICS, to=GROUP | {"share": 1, "clinic": "average", "clinics": 2}),
     "/cohort/groups/0/clinics", "only new clinics"),
    (changed("dropout", to={"per_maintenance_week": 0.1}), "/dropout/per_maintenance_week",
     "no strategy has maintenance"),
    (changed("schema_version", to=True), "/schema_version", "should be 1"),
    (spec(engine="individuals", patients=10**12, draws=64), "/simulation/patients", "3,814,72"),
    (changed("strategies", 1, "stop", to={"after": 2}), "/strategies/1/stop", "valid list"),
    (changed("costs", to={"currency": "EUR"}), "/costs/per_infusion", "is missing"),
    (changed("assumptions", to={"willingness_to_pay": [1]}), WILLING, "[costs]"),
    (spec(draws=4096, horizon_weeks=104), "/simulation/draws", "the service keeps at most"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "field", "words"), REFUSED)
def test_what_cannot_be_run_is_refused_at_once(
    web: httpx.Client, document: dict[str, Any], field: str, words: str
) -> None:
    answer = web.post("/v1/simulations", json=document)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["errors"][0]["field"] == field
    assert words in json.dumps(problem["errors"][0], ensure_ascii=False)


def test_signs_that_researchers_write_are_read(web: httpx.Client) -> None:
    document = spec(draws=1, title="4–6 infusions ≥ 2 per week → 26 weeks")
    document["strategies"][0]["name"] = "“four” – d’abord"
    document["costs"] = {"currency": "€", "per_infusion": 250}
    job = ended(web, submitted(web, document))
    report = web.get(f"/v1/simulations/{job['id']}/result").json()
    assert report["title"] == document["simulation"]["title"]
    assert report["outcomes"][0]["strategy"] == "“four” – d’abord"


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-32-be"])
def test_a_body_is_utf_8(web: httpx.Client, coding: str) -> None:
    body = json.dumps(spec(draws=1)).encode(coding)
    answer = web.post("/v1/simulations", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "is not UTF-8" in answer.json()["detail"]


def test_more_than_there_is_room_for(web: httpx.Client) -> None:
    ids = [submitted(web, long_spec(seed=seed)) for seed in range(3)]
    answer = web.post("/v1/simulations", json=spec())
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "30"
    assert "3 simulations of this client" in answer.json()["detail"]
    for one in ids:
        web.delete(f"/v1/simulations/{one}")


def test_too_long_is_ended_and_told() -> None:
    with (
        running_service(simulation_seconds=2.5) as found,
        httpx.Client(base_url=found.url, timeout=60) as web,
    ):
        job = ended(web, submitted(web, long_spec()))
        assert job["state"] == "failed"
        assert job["problem"]["type"] == "urn:ketacast:problem:too-large"
        assert "ran longer than 2.5 s" in job["problem"]["detail"]
        assert 2.5 <= job["seconds"] < 6
        answer = web.get(f"/v1/simulations/{job['id']}/result")
        assert answer.status_code == 409
        assert "ran longer" in answer.json()["detail"]


def test_switched_off() -> None:
    with (
        running_service(simulations_waiting=0) as found,
        httpx.Client(base_url=found.url, timeout=60) as web,
    ):
        answer = web.post("/v1/simulations", json=spec())
        assert answer.status_code == 403
        assert "ketacast simulate run" in answer.json()["detail"]


def test_a_simulation_belongs_to_its_client() -> None:
    with running_service(auth="keys", secret=SECRET, rate_per_second=0) as found:
        keys = [new_key(found, "simulate"), new_key(found, "simulate"), new_key(found, "predict")]
        mine, other, narrow = (
            httpx.Client(base_url=found.url, timeout=60, headers={"authorization": f"Bearer {key}"})
            for key in keys
        )
        with mine, other, narrow:
            one = submitted(mine, spec(draws=2))
            assert narrow.post("/v1/simulations", json=spec()).status_code == 403
            ended(mine, one)
            report = narrow.get(f"/v1/simulations/{one}/result")
            assert report.status_code == 403
            for path in ("", "/result", "/files/draws.parquet"):
                assert other.get(f"/v1/simulations/{one}{path}").status_code == 404
            assert other.post(f"/v1/simulations/{one}/cancel").status_code == 404
            assert other.delete(f"/v1/simulations/{one}").status_code == 404
            assert other.get("/v1/simulations").json()["simulations"] == []
            assert mine.get(f"/v1/simulations/{one}/result").status_code == 200
            odd = mine.get(f"/v1/simulations/{one}/files/nothing.csv")
            assert odd.status_code == 404
            assert "it has differences.csv" in odd.json()["detail"]
            for name in ("..%2Fservice.db", "%2e%2e", "A.csv"):
                assert mine.get(f"/v1/simulations/{one}/files/{name}").status_code in (404, 422)
