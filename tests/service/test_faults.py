"""Slow, broken and hostile clients: what the service does, and that others are answered."""

from __future__ import annotations

import gzip
import json
import resource
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Final

import httpx
import pytest
from tests.service.faulting import (
    GOOD,
    JSON_HEAD,
    Load,
    ask,
    head,
    many_connections,
    memory,
    raw,
    read_all,
    wait_until,
    workers,
)
from tests.service.running import Running, running_service

PATIENCE: Final = 1.0
"""Seconds that this service waits for a client; the default is 20."""
GOOD_BODY: Final = json.dumps(GOOD).encode()
LARGE: Final = 100_000
"""Rows of a batch whose answer of 33 MB no socket's buffers hold."""


@pytest.fixture(scope="module")
def impatient() -> Iterator[Running]:
    with running_service(body_timeout_seconds=PATIENCE, rate_per_second=0) as service:
        yield service


def connect(service: Running, *, receive: int | None = None) -> socket.socket:
    connection = socket.socket()
    if receive is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", service.port))
    return connection


def trickle(connection: socket.socket, text: bytes, pause: float) -> bytes:
    """Send a byte at a time until the service answers or closes; return what it said."""
    for at in range(len(text)):
        try:
            connection.sendall(text[at : at + 1])
        except ConnectionError:
            break
        if select.select([connection], [], [], pause)[0]:
            break
    connection.settimeout(5)
    return read_all(connection)


def test_slow_heads_are_ended_and_others_answered(impatient: Running) -> None:
    ends: list[tuple[bytes, float]] = []

    def slow() -> None:
        begun = time.monotonic()
        with connect(impatient) as connection:
            said = trickle(connection, head(X_Long="a" * 1000), 0.2)
        ends.append((said, time.monotonic() - begun))

    threads = [threading.Thread(target=slow) for _ in range(50)]
    for thread in threads:
        thread.start()
    status, seconds = ask(impatient.port)
    for thread in threads:
        thread.join()
    assert status == 200
    assert all(said.startswith(b"HTTP/1.1 408") for said, _ in ends)
    assert max(took for _, took in ends) < 3 * PATIENCE + 5
    print(
        f"50 slow heads: 408 after {max(took for _, took in ends):.1f} s; other in {seconds:.3f} s"
    )


def test_a_body_of_a_byte_at_a_time_is_ended(impatient: Running) -> None:
    with connect(impatient) as connection:
        connection.sendall(head(Content_Type="application/json", Content_Length=len(GOOD_BODY)))
        said = trickle(connection, GOOD_BODY, 0.3)
    assert said.startswith(b"HTTP/1.1 408")
    assert b"urn:ketacast:problem:too-slow" in said
    assert b"connection: close" in said.lower()


def test_batches_that_trickle_in_do_not_keep_others_waiting(impatient: Running) -> None:
    """More slow senders than batches are held at a time; each part comes in time, the whole not."""
    batch = head("/v1/predictions/batch", Content_Type="application/x-ndjson",
                 Content_Length=50_000)  # fmt: skip
    said: list[bytes] = []

    def slow() -> None:
        with connect(impatient) as connection:
            connection.sendall(batch)
            said.append(trickle(connection, b" " * 50_000, 0.2))

    threads = [threading.Thread(target=slow) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert ask(impatient.port)[0] == 200
    for thread in threads:
        thread.join()
    statuses = sorted(answer[9:12] for answer in said)
    assert set(statuses) == {b"408", b"503"}
    columns = {"failed_trials": [1], "infusions": 6, "rated_by": "self"}
    answer = httpx.post(impatient.url + "/v1/predictions/batch", json=columns, timeout=30)
    assert answer.status_code == 200


def columns_of(rows: int) -> bytes:
    return json.dumps(
        {"failed_trials": [6] * rows, "infusions": 6, "rated_by": "self"}, separators=(",", ":")
    ).encode()


def read_nothing(service: Running, rows: int, clients: int) -> float:
    """Ask for large answers that nobody reads; return the seconds until all were given up."""
    body = columns_of(rows)
    begin = head("/v1/predictions/batch", Content_Type="application/json",
                 Content_Length=len(body))  # fmt: skip
    held = [connect(service, receive=65536) for _ in range(clients)]
    begun = time.monotonic()
    for connection in held:
        connection.sendall(begin + body)

    def has_room() -> bool:
        answer = httpx.post(
            service.url + "/v1/predictions/batch",
            content=columns_of(1), headers=JSON_HEAD, timeout=60,
        )  # fmt: skip
        return answer.status_code == 200

    time.sleep(0.5)
    assert ask(service.port)[0] == 200
    wait_until(has_room, 60, "a batch to be answered again")
    took = time.monotonic() - begun
    for connection in held:
        connection.close()
    return took


def test_a_reader_that_takes_nothing_is_left(impatient: Running) -> None:
    took = read_nothing(impatient, LARGE, clients=4)
    wait_until(lambda: "took nothing of its answer" in impatient.log.read_text(), 20, "the log")
    print(f"4 readers of 33 MB that read nothing: batches again after {took:.1f} s")


@pytest.mark.slow
def test_four_readers_of_300_megabytes_that_read_nothing() -> None:
    with running_service(rate_per_second=0) as service:
        worker = workers(service.pid)[0]
        before = memory(worker)
        peaks: list[float] = []
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.1):
                peaks.append(memory(worker))

        watching = threading.Thread(target=watch)
        watching.start()
        with Load(service.port, clients=2) as load:
            took = read_nothing(service, 1_000_000, clients=4)
        done.set()
        watching.join()
        assert set(load.seen.statuses) == {200}
        print(
            f"4 readers of 330 MB that read nothing: batches again after {took:.1f} s, "
            f"{load.seen.answered:,} other answers meanwhile; memory {before:.0f} MiB before, "
            f"{max(peaks):.0f} at most, {memory(worker):.0f} after"
        )


def test_five_hundred_idle_connections_are_no_burden(impatient: Running) -> None:
    with many_connections(impatient.port, 500):
        assert ask(impatient.port)[0] == 200


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")
def test_ten_thousand_idle_connections() -> None:
    number = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < number + 500:
        pytest.skip(f"at most {hard} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the service inherits it
    try:
        with running_service(rate_per_second=0) as service:
            worker = workers(service.pid)[0]
            assert ask(service.port)[0] == 200
            before = memory(worker)
            begun = time.monotonic()
            with many_connections(service.port, number) as held:
                opened = time.monotonic() - begun
                times = [ask(service.port) for _ in range(100)]
                during = memory(worker)
                wait_until(lambda: bool(select.select(held[:1], [], [], 0)[0]), 120, "the end")
                idle = time.monotonic() - begun
            assert {status for status, _ in times} == {200}
            print(
                f"{number:,} idle connections opened in {opened:.1f} s; the next 100 requests "
                f"answered in {sorted(took for _, took in times)[50] * 1e3:.1f} ms (median), "
                f"{max(took for _, took in times) * 1e3:.0f} ms at most; memory {before:.0f} -> "
                f"{during:.0f} MiB; the first was closed after {idle:.0f} s"
            )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("path", ["/v1/predictions", "/v1/predictions/batch", "/v1/clinics"])
@pytest.mark.parametrize(
    "body",
    [gzip.compress(GOOD_BODY), gzip.compress(GOOD_BODY)[:-9], b"\x1f\x8b\x08\x00" + b"\xff" * 99],
    ids=["good", "truncated", "garbage"],
)
def test_compressed_bodies_are_refused_unread(impatient: Running, path: str, body: bytes) -> None:
    packed = {**JSON_HEAD, "Content-Encoding": "gzip"}
    answer = httpx.post(impatient.url + path, content=body, headers=packed)
    assert answer.status_code == 415
    plain = httpx.post(impatient.url + path, content=body, headers=JSON_HEAD)
    assert plain.status_code in (400, 422)


@pytest.mark.parametrize("path", ["/v1/predictions", "/v1/predictions/batch", "/v1/clinics"])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 500_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"failed_trials":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"failed_trials":' + b"9" * 500_000 + b"}",
        b'"' + b"\\ud800" * 50_000 + b'"',
    ],
    ids=["open", "objects", "lists", "digits", "surrogates"],
)
def test_deep_and_odd_json_is_refused_quickly(impatient: Running, path: str, body: bytes) -> None:
    begun = time.monotonic()
    answer = httpx.post(impatient.url + path, content=body, headers=JSON_HEAD, timeout=30)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert time.monotonic() - begun < 5


def test_a_body_cut_off_leaves_nothing_behind(impatient: Running) -> None:
    before = impatient.log.stat().st_size
    for path in ("/v1/predictions", "/v1/predictions/batch"):
        with connect(impatient) as connection:
            connection.sendall(head(path, Content_Type="application/json", Content_Length=500))
            connection.sendall(GOOD_BODY)
    wait_until(lambda: impatient.log.read_text()[before:].count('"status":499') == 2, 10, "log")
    assert "Traceback" not in impatient.log.read_text()[before:]
    assert ask(impatient.port)[0] == 200


GOOD_REQUEST: Final = (
    head(Content_Type="application/json", Content_Length=len(GOOD_BODY)) + GOOD_BODY
)
GARBAGE: Final = [
    b"\x00\x01\x02\xff" * 100 + b"\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://[::1/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost : localhost\r\n\r\n",
    head(Content_Length=-5),
    head(Content_Length=5).replace(b"\r\n\r\n", b"\r\nContent-Length: 6\r\n\r\nabcdef"),
    head(Content_Length=5, Transfer_Encoding="chunked") + b"0\r\n\r\n",
    head(Transfer_Encoding="x") + b"0\r\n\r\n",
    head(Transfer_Encoding="chunked") + b"zz\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 40,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@pytest.mark.parametrize("sent", GARBAGE, ids=lambda sent: str(sent[:24]))
def test_garbage_ends_the_connection_only(impatient: Running, sent: bytes) -> None:
    alone = raw(impatient.port, sent, seconds=4)
    assert not alone or alone[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 408", b"HTTP/1.1 403"), alone
    behind = raw(impatient.port, GOOD_REQUEST + sent, seconds=4)
    assert behind.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400"))
    assert behind.count(b"HTTP/1.1 200") <= 1
    assert ask(impatient.port)[0] == 200


def test_pipelined_requests_are_answered_in_turn(impatient: Running) -> None:
    said = raw(impatient.port, GOOD_REQUEST * 20, seconds=3)
    assert said.count(b"HTTP/1.1 200 OK") == 20


def test_endless_headers_are_refused(impatient: Running) -> None:
    assert raw(impatient.port, head(X_Long="a" * 200_000)).startswith(b"HTTP/1.1 431")


def test_web_sockets_are_not_offered(impatient: Running) -> None:
    asked = (
        b"GET /v1/predictions HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n"
    )
    assert b" 403 " in raw(impatient.port, asked).partition(b"\r\n")[0]
