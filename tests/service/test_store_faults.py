"""What becomes of answers and their records when processes, the disk or the database fail."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from tests.service.faulting import (
    GOOD,
    Load,
    ask,
    children,
    command,
    family,
    is_running,
    recorded_ids,
    wait_until,
    workers,
)
from tests.service.running import Running, running_service

TMPFS = "6m"
"""Room for some thousand records."""


def kill_all(service: Running) -> None:
    """End a service's processes at once, with no time for a last word."""
    doomed = family(service.pid)
    for process in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, doomed)), 10, "killed processes to be gone")


def assert_nothing_was_lost(
    service: Running, received: list[str], before: Sequence[str] = ()
) -> int:
    """Verify the trail, hold what clients received against it, and return its length."""
    verified = command("audit", "verify", environment=service.environment, before=before)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    recorded = recorded_ids(service.environment, before)
    assert set(received) <= recorded
    return len(recorded)


def test_killed_in_the_middle_of_a_thousand_predictions() -> None:
    kill_in_the_middle(rounds=1)


@pytest.mark.slow
def test_killed_ten_times_with_one_database() -> None:
    kill_in_the_middle(rounds=10)


def kill_in_the_middle(rounds: int) -> None:
    received: list[str] = []
    with running_service(workers=2, rate_per_second=0) as service:
        database = service.environment["KETACAST_DATABASE_URL"]
        with Load(service.port, clients=16) as load:
            load.wait_for(1000)
            kill_all(service)
        received += load.seen.ids
        for _ in range(rounds - 1):
            with (
                running_service(workers=2, rate_per_second=0, database_url=database) as again,
                Load(again.port, clients=16) as load,
            ):
                load.wait_for(1000)
                kill_all(again)
            received += load.seen.ids
        with running_service(database_url=database) as after:  # goes on where it was
            assert ask(after.port)[0] == 200
        records = assert_nothing_was_lost(service, received)
    assert len(received) >= 1000 * rounds
    print(
        f"killed {rounds} times: {len(received):,} answers received, "
        f"{records:,} records, none missing"
    )


def test_workers_end_when_their_parent_is_killed() -> None:
    with running_service(workers=2, rate_per_second=0) as service:
        of_service = workers(service.pid)
        assert len(of_service) == 2
        with Load(service.port) as load:
            load.wait_for(100)
            os.kill(service.pid, signal.SIGKILL)
            wait_until(lambda: not any(map(is_running, of_service)), 40, "workers to end")
        assert load.seen.cut == []
        assert_nothing_was_lost(service, load.seen.ids)
        with socket.socket() as listener:  # the port is free again
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", service.port))


def test_no_process_is_left_by_learning() -> None:
    """The process that learns from counts holds nothing once the service is killed."""
    with running_service() as service, httpx.Client(base_url=service.url, timeout=60) as http:
        clinic = http.post("/v1/clinics", json={"label": ""}).json()["id"]
        cell = {
            "failed_trials": [4, 8], "infusions": 6, "rated_by": "self",
            "denominator": "all_treated", "n": 20, "responders": 8, "remitters": 4,
        }  # fmt: skip
        counts = {"batches": [{"batch": "2026-Q1", "cells": [cell]}]}
        assert http.post(f"/v1/clinics/{clinic}/outcomes", json=counts).status_code == 200
        members = family(service.pid)
        worker = workers(service.pid)[0]
        assert children(worker)  # it learns
        os.kill(service.pid, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, members)), 20, "every process to end")


@contextlib.contextmanager
def locked(service: Running) -> Iterator[None]:
    """Hold the database's write lock, as another program might."""
    path = service.environment["KETACAST_DATABASE_URL"].removeprefix("sqlite:///")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def test_a_locked_database_is_503_until_it_is_free() -> None:
    with (
        running_service(store_timeout_seconds=1, rate_per_second=0) as service,
        httpx.Client(base_url=service.url, timeout=30) as http,
    ):
        first = http.post("/v1/predictions", json=GOOD).json()["id"]
        with locked(service):
            begun = time.monotonic()
            refused = http.post("/v1/predictions", json=GOOD)
            took = time.monotonic() - begun
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) > 0
            assert "response" not in refused.json()
            assert took < 5
            assert http.get("/readyz").status_code == 503
            assert http.get("/livez").status_code == 200
            assert http.get(f"/v1/predictions/{first}").status_code == 200  # reading goes on
            assert http.post("/v1/clinics", json={"label": ""}).status_code == 503
            assert http.get("/v1/model").status_code == 200
            batch = {"failed_trials": [1, 2], "infusions": 6, "rated_by": "self"}
            assert http.post("/v1/predictions/batch", json=batch).status_code == 503
        answer = http.post("/v1/predictions", json=GOOD)
        assert answer.status_code == 200
        assert http.get("/readyz").status_code == 200
        records = assert_nothing_was_lost(service, [first, answer.json()["id"]])
        assert records == 2  # and nothing was recorded that was not sent
        print(f"locked: 503 after {took:.2f} s with a timeout of 1 s")


def test_a_lock_shorter_than_the_timeout_is_waited_for() -> None:
    with running_service(store_timeout_seconds=5, rate_per_second=0) as service:
        with Load(service.port, clients=4) as load:
            load.wait_for(50)
            with locked(service):
                time.sleep(1)
            load.wait_for(50)
        assert set(load.seen.statuses) == {200}
        assert_nothing_was_lost(service, load.seen.ids)


def test_where_records_are_not_required_answers_say_so() -> None:
    with (
        running_service(store_timeout_seconds=1, audit_required=False) as service,
        httpx.Client(base_url=service.url, timeout=30) as http,
    ):
        recorded = http.post("/v1/predictions", json=GOOD)
        assert "x-audit" not in recorded.headers
        with locked(service):
            answer = http.post("/v1/predictions", json=GOOD)
            assert answer.status_code == 200
            assert answer.headers["x-audit"] == "not-recorded"
            assert http.get("/readyz").status_code == 200
            assert http.get(f"/v1/predictions/{answer.json()['id']}").status_code == 404
        assert "x-audit" not in http.post("/v1/predictions", json=GOOD).headers
        metrics = http.get("/metrics").text
        assert "ketacast_unrecorded_predictions_total 1.0" in metrics


def can_mount() -> bool:
    """Whether this process may mount a file system in a namespace of its own."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(probe, check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="needs the right to mount in a namespace")
def test_a_full_disk_is_503_until_there_is_room(tmp_path: Path) -> None:
    script = f'mount -t tmpfs -o size={TMPFS} none "$0" && exec "$@"'
    with running_service(
        before=("unshare", "-m", "sh", "-c", script, str(tmp_path)),
        database_url=f"sqlite:///{tmp_path / 'service.db'}",
        store_timeout_seconds=1,
        rate_per_second=0,
    ) as service:
        inside = Path(f"/proc/{service.pid}/root{tmp_path}")
        with Load(service.port, clients=4) as load:
            load.wait_for(200)
            ballast = inside / "ballast"
            with contextlib.suppress(OSError):
                ballast.write_bytes(b"\0" * (64 << 20))
            wait_until(lambda: load.seen.statuses[503] >= 20, 30, "refusals")
            assert httpx.get(service.url + "/readyz").status_code == 503
            before = load.seen.statuses[200]
            ballast.unlink()
            wait_until(lambda: load.seen.statuses[200] >= before + 200, 30, "answers again")
        assert set(load.seen.statuses) == {200, 503}
        assert load.seen.unrecorded == 0
        within = ("nsenter", "-t", str(service.pid), "-m")
        records = assert_nothing_was_lost(service, load.seen.ids, within)
        assert records == len(load.seen.ids)
        print(f"disk full: {dict(load.seen.statuses)}, all answers recorded")
