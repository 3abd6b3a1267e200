"""Workers: handing over to a new model, replacing the dead, stopping under load."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.service.faulting import (
    GOOD,
    Load,
    command,
    is_running,
    recorded_ids,
    wait_until,
    workers,
)
from tests.service.running import Running, running_service, service_environment

from ketacast.clinical.artifact import digest_of

MODEL = Path(__file__).parents[2] / "models" / "ketamine-trd"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the model, to be changed under a running service."""
    copy = tmp_path / "model"
    shutil.copytree(MODEL, copy)
    return copy


def alter(model: Path) -> None:
    """Change a number of the table, as a fault or a hand might."""
    path = model / "artifact.json"
    raw = path.read_bytes()
    at = raw.index(b'"table"')
    place = raw.index(b"0.", at) + 2
    digit = b"1" if raw[place : place + 1] != b"1" else b"2"
    replace(path, raw[:place] + digit + raw[place + 1 :])


def renew(model: Path) -> str:
    """Put another good model in its place: the same numbers, another version; return its hash."""
    path = model / "artifact.json"
    raw = path.read_bytes()
    changed = raw.replace(b'"version": "1.1.0"', b'"version": "1.1.1"', 1)
    assert changed != raw
    old = raw.partition(b'"sha256": "')[2][:64]
    new = digest_of(changed).encode()
    replace(path, changed.replace(old, new, 1))
    return new.decode()


def replace(path: Path, content: bytes) -> None:
    """Write a file beside the old one and put it in its place, as deployments do."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(path)


def sha256(service: Running) -> str:
    return str(httpx.get(service.url + "/version").json()["model"]["sha256"])


def log_of(service: Running) -> str:
    return service.log.read_text()


def both_ready(service: Running) -> None:
    """Wait for the second worker: one alone answers whether the service is ready."""
    wait_until(lambda: log_of(service).count('"event": "ready"') >= 2, 60, "both workers")


def test_a_good_model_is_taken_up_without_a_failed_request(model: Path) -> None:
    with running_service(workers=2, rate_per_second=0, model=model) as service:
        both_ready(service)
        old = sha256(service)
        before = set(workers(service.pid))
        with Load(service.port, clients=4, keep_alive=False) as load:
            load.wait_for(50)
            new = renew(model)
            os.kill(service.pid, signal.SIGHUP)
            wait_until(lambda: not any(map(is_running, before)), 60, "old workers to end")
            load.wait_for(50)
        assert set(load.seen.statuses) == {200}
        assert load.seen.refused == 0
        assert load.seen.cut == []
        assert set(load.seen.models) == {old, new}
        assert sha256(service) == new
        assert set(load.seen.ids) <= recorded_ids(service.environment)
        print(f"SIGHUP under load: {load.seen.answered:,} answers, none failed")


def test_connections_that_are_kept_are_closed_between_answers(model: Path) -> None:
    """A client whose connection ends while it asks sees no answer at all, and can ask again."""
    with running_service(workers=2, rate_per_second=0, model=model) as service:
        both_ready(service)
        before = set(workers(service.pid))
        with Load(service.port, clients=4) as load:
            load.wait_for(50)
            os.kill(service.pid, signal.SIGHUP)
            wait_until(lambda: not any(map(is_running, before)), 60, "old workers to end")
            load.wait_for(50)
        assert set(load.seen.statuses) == {200}
        assert load.seen.cut == []
        assert load.seen.refused <= 8  # a connection each, at most once per worker
        print(f"kept connections: {load.seen.answered:,} answers, {load.seen.refused} closed")


def test_an_altered_model_is_not_taken_up(model: Path) -> None:
    with running_service(workers=2, rate_per_second=0, model=model) as service:
        both_ready(service)
        old = sha256(service)
        before = set(workers(service.pid))
        with Load(service.port, clients=4, keep_alive=False) as load:
            load.wait_for(50)
            alter(model)
            os.kill(service.pid, signal.SIGHUP)
            wait_until(lambda: "was not ready in time" in log_of(service), 60, "the log")
            load.wait_for(50)
        assert set(load.seen.statuses) == {200}
        assert load.seen.refused == 0
        assert set(load.seen.models) == {old}
        assert set(workers(service.pid)) == before
        assert "sha256" in log_of(service)  # it says why


def test_a_killed_worker_is_replaced() -> None:
    with running_service(workers=2, rate_per_second=0) as service:
        both_ready(service)
        before = workers(service.pid)
        with Load(service.port, clients=4) as load:
            load.wait_for(50)
            begun = time.monotonic()
            os.kill(before[0], signal.SIGKILL)
            load.wait_for(50)  # the other goes on
            wait_until(
                lambda: len(workers(service.pid)) == 2 and before[0] not in workers(service.pid),
                30, "another worker",
            )  # fmt: skip
            took = time.monotonic() - begun
            load.wait_for(50)
        assert set(load.seen.statuses) == {200}
        assert load.seen.refused <= 4 + 4  # its own connections, and what the kernel gave it
        assert set(load.seen.ids) <= recorded_ids(service.environment)
        print(f"a worker killed: another after {took:.1f} s, {load.seen.refused} connections lost")


def test_a_worker_killed_beside_an_altered_model_takes_nobody_with_it(model: Path) -> None:
    """What is in memory was verified: it answers on while the file cannot be used."""
    with running_service(workers=2, rate_per_second=0, model=model) as service:
        both_ready(service)
        old = sha256(service)
        alter(model)
        os.kill(workers(service.pid)[0], signal.SIGKILL)
        end = time.monotonic() + 6
        lost = 0
        while time.monotonic() < end:
            try:
                answer = httpx.post(service.url + "/v1/predictions", json=GOOD, timeout=10)
            except httpx.TransportError:
                lost += 1
                continue
            assert answer.status_code == 200
            assert answer.json()["model"]["sha256"] == old
            time.sleep(0.1)
        assert lost <= 1  # a connection that the killed worker had taken in that moment
        shutil.copy(MODEL / "artifact.json", model / "artifact.json")
        wait_until(lambda: len(workers(service.pid)) == 2, 40, "a second worker")


@pytest.mark.parametrize("keep_alive", [True, False])
def test_stopping_under_load_loses_no_answer(keep_alive: bool) -> None:
    with running_service(workers=2, rate_per_second=0) as service:
        both_ready(service)
        with Load(service.port, clients=8, keep_alive=keep_alive) as load:
            load.wait_for(200)
            begun = time.monotonic()
            os.kill(service.pid, signal.SIGTERM)
            wait_until(lambda: not is_running(service.pid), 30, "the end")
            took = time.monotonic() - begun
        assert load.seen.cut == []  # every answer that began was complete
        assert set(load.seen.statuses) == {200}
        recorded = recorded_ids(service.environment)
        assert recorded == set(load.seen.ids)  # and every record was sent to somebody
        print(f"stopped under load in {took:.1f} s: {len(recorded):,} records, all received")


@contextmanager
def listening() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_is_said_so(tmp_path: Path) -> None:
    with listening() as port:
        done = command("serve", "--port", str(port), environment=service_environment(tmp_path))
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "choose another with --port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"host": "0.0.0.0"}, ["auth is 'none'", "TLS"]),  # noqa: S104  # must be refused
        ({"auth": "keys"}, ["server secret", "openssl rand"]),
        ({"auth": "keys", "secret": "short"}, ["5 characters"]),
        ({"auth": "jwt"}, ["jwt_issuer", "jwt_audience"]),
        ({"cors_origins": "*"}, ["cors_origins"]),
        ({"workers": 0}, ["workers"]),
        ({"database_url": "mysql://x"}, ["mysql"]),
    ],
    ids=str,
)
def test_unsafe_settings_are_refused(
    tmp_path: Path, settings: dict[str, object], words: list[str]
) -> None:
    environment = service_environment(tmp_path, **settings)
    done = command("serve", "--port", "0", environment=environment)
    assert done.returncode == 1
    assert all(word in done.stderr for word in words), done.stderr
    assert "Traceback" not in done.stderr


def test_an_altered_model_is_refused_at_start(model: Path, tmp_path: Path) -> None:
    alter(model)
    environment = service_environment(tmp_path, model=model)
    begun = time.monotonic()
    done = command("serve", "--port", "0", environment=environment)
    assert done.returncode == 1
    assert "sha256" in done.stderr
    assert "a worker could not start" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - begun < 30
