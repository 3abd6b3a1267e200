"""Simulations over HTTP: taken on, run, given, ended; the numbers are the library's."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.service.running import Running, running_service
from tests.service.simulations.asking import ended, long_spec, spec, state, submitted, until
from tests.service.test_schema_fuzz import new_key

from ketacast.cli import main
from ketacast.simulation import SimulationResult, report_of, simulate
from ketacast.simulation.documents import from_document
from ketacast.simulation.parquet import same_content
from ketacast_service.settings import Settings

SECRET = "9b1c7e2f4a6d8035" * 4


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with running_service(
        rate_per_second=0, simulations_unfinished=3, simulations_waiting=5
    ) as found:
        yield found


@pytest.fixture(scope="module")
def web(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def finished(web: httpx.Client) -> dict[str, Any]:
    return ended(web, submitted(web, spec(title="Four or six", seed=7)))


def file(web: httpx.Client, job: dict[str, Any], name: str) -> bytes:
    answer = web.get(f"/v1/simulations/{job['id']}/files/{name}")
    assert answer.status_code == 200, answer.text
    listed = next(one for one in job["files"] if one["name"] == name)
    assert len(answer.content) == listed["bytes"]
    assert hashlib.sha256(answer.content).hexdigest() == listed["sha256"]
    assert answer.headers["etag"] == f'"{listed["sha256"]}"'
    return answer.content


def library(document: dict[str, Any]) -> SimulationResult:
    return simulate(from_document(document))


def test_a_finished_one_says_so(finished: dict[str, Any]) -> None:
    assert finished["state"] == "done"
    assert finished["title"] == "Four or six"
    assert finished["problem"] is None
    assert finished["progress"] == {"done": 400 * 32, "total": 400 * 32, "share": 1.0}
    assert finished["created"] <= finished["started"] <= finished["finished"] < finished["expires"]
    assert [one["name"] for one in finished["files"]] == [
        "differences.csv", "differences.parquet", "draws.parquet", "report.json", "summary.csv",
        "summary.parquet",
    ]  # fmt: skip


def test_the_result_is_the_librarys(web: httpx.Client, finished: dict[str, Any]) -> None:
    wanted = library(spec(title="Four or six", seed=7))
    report = web.get(f"/v1/simulations/{finished['id']}/result").json()
    assert report == report_of(wanted)
    assert json.loads(file(web, finished, "report.json")) == report
    assert report["model"]["sha256"] == finished["model_sha256"]
    assert report["basis"]["assumed"]
    for name in ("draws", "summary", "differences"):
        assert same_content(io.BytesIO(file(web, finished, f"{name}.parquet")), wanted)
    rows = list(csv.DictReader(io.StringIO(file(web, finished, "summary.csv").decode())))
    means = [float(row["mean"]) for row in rows]
    assert means == wanted.summary()["mean"].tolist()


def test_a_file_reruns_to_the_bit(
    web: httpx.Client, finished: dict[str, Any], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / "summary.parquet"
    path.write_bytes(file(web, finished, "summary.parquet"))
    assert main(["simulate", "rerun", str(path)]) == 0
    assert "the same to the last bit" in capsys.readouterr().out


@pytest.mark.parametrize("engine", ["expected", "individuals"])
def test_the_other_engines(web: httpx.Client, engine: str) -> None:
    document = spec(engine=engine, draws=4, levels=[0.5, 0.9])
    document["strategies"] = document["strategies"][:1]
    document |= {
        "costs": {"currency": "EUR", "per_infusion": 250.0},
        "assumptions": {"willingness_to_pay": [0, 1000]},
    }
    job = ended(web, submitted(web, document))
    assert job["state"] == "done", job
    assert "differences.csv" not in [one["name"] for one in job["files"]]
    report = web.get(f"/v1/simulations/{job['id']}/result").json()
    assert report == report_of(library(document))
    assert report["differences"] == []
    assert len(report["net_benefit"]) == 2


def test_a_clinics_own_results_enter(web: httpx.Client, tmp_path: Path) -> None:
    clinic = web.post("/v1/clinics", json={"label": "Day clinic"}).json()["id"]
    cell = {
        "failed_trials": [3, 5], "infusions": 6, "rated_by": "self", "denominator": "all_treated",
        "n": 30, "responders": 24, "remitters": 15,
    }  # fmt: skip
    learnt = web.post(
        f"/v1/clinics/{clinic}/outcomes",
        json={"batches": [{"batch": "2026-Q1", "cells": [cell]}], "repeated": "refuse"},
    )
    assert learnt.status_code == 200, learnt.text
    profile = web.get(f"/v1/clinics/{clinic}/profile").text
    sha256 = json.loads(profile)["sha256"]
    name = f"clinic-{sha256[:12]}.json"
    found = []
    for given in ({"id": clinic}, {"profile": json.loads(profile)}):
        document = spec(draws=8)
        document["cohort"]["groups"][0]["clinic"] = given
        job = ended(web, submitted(web, document))
        assert job["state"] == "done", job
        report = web.get(f"/v1/simulations/{job['id']}/result").json()
        assert report["clinics"] == {name: sha256}
        assert file(web, job, name).decode() == profile
        found.append(report)
    assert found[0] == found[1]
    (tmp_path / name).write_text(profile)
    (tmp_path / "draws.parquet").write_bytes(file(web, job, "draws.parquet"))
    assert main(["simulate", "rerun", str(tmp_path / "draws.parquet")]) == 0


def test_a_profile_is_sent_once_for_several_groups(web: httpx.Client) -> None:
    clinic = web.post("/v1/clinics", json={"label": "Twice"}).json()["id"]
    profile = web.get(f"/v1/clinics/{clinic}/profile").json()
    document = spec(draws=4)
    first, second = document["cohort"]["groups"]
    second.pop("clinics")
    first["clinic"], second["clinic"] = {"sha256": profile["sha256"]}, {"profile": profile}
    job = ended(web, submitted(web, document))
    assert job["state"] == "done", job
    report = web.get(f"/v1/simulations/{job['id']}/result").json()
    assert list(report["clinics"].values()) == [profile["sha256"]]
    groups = report["specification"]["cohort"]["groups"]
    assert groups[0]["clinic"] == groups[1]["clinic"]
    second["clinic"] = "new"
    answer = web.post("/v1/simulations", json=document)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "/cohort/groups/0/clinic/sha256"
    assert "no group of this request sends" in answer.json()["detail"]


def test_every_answer_has_its_record(
    running: Running, web: httpx.Client, finished: dict[str, Any]
) -> None:
    import sqlite3  # noqa: PLC0415

    web.get(f"/v1/simulations/{finished['id']}/result")
    file(web, finished, "draws.parquet")
    path = running.environment["KETACAST_DATABASE_URL"].removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "SELECT input, body FROM audit_record JOIN audit_output ON sha256 = output_sha256 "
            "WHERE kind = 'simulation' ORDER BY seq"
        ).fetchall()
    connection.close()
    asked = [(json.loads(given), body) for given, body in rows]
    mine = [pair for pair in asked if pair[0]["simulation"] == finished["id"]]
    assert mine[0][0]["specification"]["simulation"]["seed"] == 7
    assert json.loads(mine[0][1])["state"] == "queued"
    report = next(body for given, body in mine if given.get("file") == "report.json")
    assert hashlib.sha256(report).hexdigest() == next(
        one["sha256"] for one in finished["files"] if one["name"] == "report.json"
    )
    draws = next(body for given, body in mine if given.get("file") == "draws.parquet")
    assert json.loads(draws)["bytes"] == next(
        one["bytes"] for one in finished["files"] if one["name"] == "draws.parquet"
    )


def test_cancelling_ends_what_runs_and_what_waits(web: httpx.Client) -> None:
    first, second = submitted(web, long_spec()), submitted(web, long_spec(seed=2))
    under_way = until(web, first, lambda found: found["progress"]["done"] > 0)
    assert under_way["state"] == "running"
    assert 0 < under_way["progress"]["share"] < 1
    waiting = state(web, second)
    assert (waiting["state"], waiting["before"]) == ("queued", 1)
    unready = web.get(f"/v1/simulations/{first}/result")
    assert unready.status_code == 409
    assert "is running (" in unready.json()["detail"]
    assert unready.headers["retry-after"] == "2"
    begun = time.monotonic()
    for one in (second, first):
        answer = web.post(f"/v1/simulations/{one}/cancel")
        assert answer.status_code == 200
        assert answer.json()["state"] == "cancelled"
        assert web.post(f"/v1/simulations/{one}/cancel").json() == answer.json()
    third = ended(web, submitted(web, spec(draws=2)))  # the place is free again
    assert third["state"] == "done"
    assert time.monotonic() - begun < 60
    gone = web.get(f"/v1/simulations/{first}/result")
    assert gone.status_code == 409
    assert "is cancelled and has no result" in gone.json()["detail"]


def test_removing_ends_and_forgets(running: Running, web: httpx.Client) -> None:
    one = submitted(web, long_spec())
    until(web, one, lambda found: found["progress"]["done"] > 0)
    directory = Path(running.environment["KETACAST_DATABASE_URL"].removeprefix("sqlite:///")).parent
    assert (directory / "simulations" / one).is_dir()
    assert web.delete(f"/v1/simulations/{one}").status_code == 204
    for call in (web.get, web.delete):
        answer = call(f"/v1/simulations/{one}")
        assert answer.status_code == 404
        assert f"no simulation {one}" in answer.json()["detail"]
    end = time.monotonic() + 20
    while (directory / "simulations" / one).exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert not (directory / "simulations" / one).exists()


def test_the_list_is_paged(web: httpx.Client, finished: dict[str, Any]) -> None:
    everything = web.get("/v1/simulations").json()
    ids = [one["id"] for one in everything["simulations"]]
    assert finished["id"] in ids
    assert everything["next"] is None
    seen: list[str] = []
    after: str | None = None
    while True:
        query = {"limit": "2", **({} if after is None else {"after": after})}
        page = web.get("/v1/simulations", params=query).json()
        seen += [one["id"] for one in page["simulations"]]
        after = page["next"]
        if after is None:
            break
    assert seen == ids


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


def test_the_pages_example_runs(web: httpx.Client) -> None:
    """The body of the page's first command, and every file that the page lists."""
    page = (Path(__file__).parents[3] / "docs" / "simulation" / "http.md").read_text()
    body = re.findall(r"-d '(\{.*?\})'\n```", page, flags=re.DOTALL)[0]
    job = ended(web, submitted(web, json.loads(body)))
    assert job["state"] == "done"
    listed = set(re.findall(r"`([a-z]+\.(?:json|csv|parquet))`", page))
    assert listed == {one["name"] for one in job["files"]}
    for setting in re.findall(r"`(simulation[a-z]*_[a-z]+)`", page):
        assert setting in Settings.model_fields
