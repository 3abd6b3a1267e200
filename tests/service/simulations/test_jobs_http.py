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

from ketacast.cli import main
from ketacast.simulation import SimulationResult, report_of, simulate
from ketacast.simulation.documents import from_document
from ketacast.simulation.parquet import same_content
from ketacast_service.settings import Settings


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
