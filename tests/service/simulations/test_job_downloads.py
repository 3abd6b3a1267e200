"""Large results: many readers, slow ones, some that are cut off; and lists of large requests."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from tests.service.running import Running, running_service
from tests.service.simulations.asking import ended, spec, submitted

MIB: Final = 1 << 20
PARTS: Final = 24


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with running_service(rate_per_second=0, simulations_unfinished=1000, max_waiting=8) as found:
        yield found


@pytest.fixture
def web(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=60) as client:
        yield client


@pytest.fixture
def large(running: Running, web: httpx.Client) -> dict[str, Any]:
    return enlarged(running, ended(web, submitted(web, spec(draws=1))))


def enlarged(running: Running, job: dict[str, Any]) -> dict[str, Any]:
    """A finished simulation whose ``draws.parquet`` is replaced by 24 MiB."""
    body = [os.urandom(MIB) for _ in range(PARTS)]
    digest = sha256(b"".join(body)).hexdigest()
    for one in job["files"]:
        one["parts"] = 1
        if one["name"] == "draws.parquet":
            one |= {"bytes": PARTS * MIB, "sha256": digest, "parts": PARTS}
    place = running.environment["KETACAST_DATABASE_URL"].removeprefix("sqlite:///")
    connection = sqlite3.connect(place, timeout=30)
    with connection:
        key = (job["id"], "draws.parquet")
        connection.execute("DELETE FROM simulation_part WHERE simulation = ? AND name = ?", key)
        connection.executemany(
            "INSERT INTO simulation_part VALUES (?, ?, ?, ?)",
            [(*key, number, part) for number, part in enumerate(body)],
        )
        files = (json.dumps(job["files"]), job["id"])
        connection.execute("UPDATE simulation SET files = ? WHERE id = ?", files)
    connection.close()
    return {"id": job["id"], "sha256": digest}


def test_more_readers_than_threads_all_get_the_whole(
    running: Running, large: dict[str, Any]
) -> None:
    found: list[str] = []

    def read() -> None:
        with httpx.Client(base_url=running.url, timeout=60) as client:
            while True:
                answer = client.get(f"/v1/simulations/{large['id']}/files/draws.parquet")
                if answer.status_code != 503:  # before an answer begins it can be put off
                    break
                time.sleep(0.2)
            found.append(sha256(answer.content).hexdigest())

    readers = [threading.Thread(target=read) for _ in range(16)]
    for one in readers:
        one.start()
    for one in readers:
        one.join()
    assert found == [large["sha256"]] * 16
    assert "cut off" not in running.log.read_text()


def test_what_is_removed_while_it_is_read_is_cut_off(
    running: Running, web: httpx.Client, large: dict[str, Any]
) -> None:
    """The reader sees that bytes are missing; for the operator it is no failure."""
    path = f"/v1/simulations/{large['id']}/files/draws.parquet"
    with socket.create_connection(("127.0.0.1", running.port)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        slow.settimeout(30)
        slow.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        got = slow.recv(4096)
        assert b"200 OK" in got
        assert f"content-length: {PARTS * MIB}".encode() in got
        assert web.delete(f"/v1/simulations/{large['id']}").status_code == 204
        total = 0
        while part := slow.recv(MIB):
            total += len(part)
    assert total < PARTS * MIB
    assert web.get(path).status_code == 404
    log = running.log.read_text()
    assert "a download was cut off" in log, log[-3000:]
    assert "request failed" not in log
    assert "Traceback" not in log


@pytest.mark.skipif(sys.platform != "linux", reason="asks the system what a reader has taken")
def test_a_slow_line_is_not_a_reader_who_has_gone() -> None:
    """Some 45 KiB a second: the system's own buffer takes seconds to empty by a third."""
    with (
        running_service(rate_per_second=0, body_timeout_seconds=1) as impatient,
        httpx.Client(base_url=impatient.url, timeout=60) as client,
        socket.create_connection(("127.0.0.1", impatient.port)) as slow,
    ):
        job = enlarged(impatient, ended(client, submitted(client, spec(draws=1))))
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(30)
        path = f"/v1/simulations/{job['id']}/files/draws.parquet"
        slow.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        end = time.monotonic() + 6
        while time.monotonic() < end:
            assert slow.recv(MIB)
        assert "took nothing" not in impatient.log.read_text()


def test_what_was_sent_is_read_for_running_only(web: httpx.Client) -> None:
    """A list of large requests keeps nobody waiting."""
    group = {"failed_trials": 4, "rated_by": "self", "share": 1.0}
    document = spec(draws=1, title="Large") | {"cohort": {"groups": [group] * 5000}}
    ids = [submitted(web, document) for _ in range(12)]
    begun = time.monotonic()
    for _ in range(10):
        page = web.get("/v1/simulations").json()["simulations"]
        assert [one["title"] for one in page if one["id"] in ids] == ["Large"] * 12
    assert time.monotonic() - begun < 5
    for one in ids:
        assert web.delete(f"/v1/simulations/{one}").status_code == 204


def test_directories_and_files_are_the_owners(running: Running, web: httpx.Client) -> None:
    one = submitted(web, spec(draws=4096, horizon_weeks=20))
    place = Path(running.environment["KETACAST_DATABASE_URL"].removeprefix("sqlite:///")).parent
    end = time.monotonic() + 30
    while not (place / "simulations" / one).exists() and time.monotonic() < end:
        time.sleep(0.02)
    for path in (place / "simulations", place / "simulations" / one):
        assert path.stat().st_mode & 0o777 == 0o700
    web.delete(f"/v1/simulations/{one}")


def test_a_page_that_may_read_sees_the_digest() -> None:
    origin = {"origin": "https://study.example"}
    with (
        running_service(cors_origins=origin["origin"]) as found,
        httpx.Client(base_url=found.url, timeout=60) as client,
    ):
        asked = {**origin, "access-control-request-method": "DELETE"}
        allowed = client.options("/v1/simulations/x", headers=asked)
        assert "DELETE" in allowed.headers["access-control-allow-methods"]
        job = ended(client, submitted(client, spec(draws=1)))
        answer = client.get(f"/v1/simulations/{job['id']}/result", headers=origin)
        assert "ETag" in answer.headers["access-control-expose-headers"].split(", ")
