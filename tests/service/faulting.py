"""Real faults for a real service: raw connections, load while it happens, its processes."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Final, Self

GOOD: Final[dict[str, Any]] = {"failed_trials": 6, "infusions": 6, "rated_by": "self"}
JSON_HEAD: Final = {"Content-Type": "application/json"}


def raw(port: int, sent: bytes, *, seconds: float = 10) -> bytes:
    """Send bytes and return everything that comes until the service closes, or `seconds`."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(sent)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the end, or until nothing has come for the socket's timeout."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except (TimeoutError, ConnectionError):
        pass
    return b"".join(parts)


def head(path: str = "/v1/predictions", **headers: object) -> bytes:
    """Return the head of a POST; `Content_Length=100` gives that header."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def ask(port: int, seconds: float = 30) -> tuple[int, float]:
    """Ask for one prediction; return status and seconds."""
    begun = time.perf_counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("POST", "/v1/predictions", json.dumps(GOOD), JSON_HEAD)
        answer = connection.getresponse()
        answer.read()
        return answer.status, time.perf_counter() - begun
    finally:
        connection.close()


@dataclass
class Seen:
    """What clients saw.

    Attributes
    ----------
    ids : list of str
        Of predictions received whole.
    statuses : Counter of int
        Of answers received whole.
    refused : int
        Connections that were not accepted, or closed before a byte of the answer.
    cut : list of str
        Answers that began and did not end.
    unrecorded : int
        Answers that said they are not recorded.
    models : Counter of str
        Hashes of the models that answered.
    """

    ids: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    refused: int = 0
    cut: list[str] = field(default_factory=list)
    unrecorded: int = 0
    models: Counter[str] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        """Answers received whole."""
        return sum(self.statuses.values())


class Load:
    """Clients that ask for predictions one after the other until told to stop.

    Parameters
    ----------
    port : int
        Of the service.
    clients : int
        At the same time.
    keep_alive : bool
        Whether a client uses its connection again.
    """

    def __init__(self, port: int, clients: int = 8, *, keep_alive: bool = True) -> None:
        self.seen = Seen()
        self._port = port
        self._keep_alive = keep_alive
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number,), daemon=True)
            for number in range(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def wait_for(self, answers: int, seconds: float = 60) -> None:
        """Wait until so many more answers have come."""
        wanted = self.seen.answered + answers
        wait_until(lambda: self.seen.answered >= wanted, seconds, f"{answers} more answers")

    def _ask(self, number: int) -> None:
        connection: HTTPConnection | None = None
        turn = number
        while not self._stop.is_set():
            turn += 1
            if connection is None:
                connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
            if not self._once(connection, turn) or not self._keep_alive:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _once(self, connection: HTTPConnection, turn: int) -> bool:
        body = json.dumps({**GOOD, "failed_trials": turn % 21, "infusions": turn % 30 + 1})
        try:
            connection.request("POST", "/v1/predictions", body, JSON_HEAD)
            answer = connection.getresponse()
        except (HTTPException, OSError):
            with self._lock:
                self.seen.refused += 1
            time.sleep(0.01)
            return False
        try:
            text = answer.read()
        except (HTTPException, OSError) as error:
            with self._lock:
                self.seen.cut.append(repr(error))
            return False
        with self._lock:
            self._note(answer, text)
        return not answer.will_close

    def _note(self, answer: HTTPResponse, text: bytes) -> None:
        self.seen.statuses[answer.status] += 1
        if answer.status == 200:
            found = json.loads(text)
            self.seen.ids.append(found["id"])
            self.seen.models[found["model"]["sha256"]] += 1
            self.seen.unrecorded += answer.headers.get("x-audit") == "not-recorded"


def wait_until(is_so: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for something, or fail."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s for {what}")
        time.sleep(0.02)


def children(process: int) -> list[int]:
    """Return the processes that a process has started and that still run, oldest first."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == process and state != "Z":
            found.append(int(path.parent.name))
    return sorted(found)


def family(process: int) -> list[int]:
    """Return a process and all that descend from it."""
    return [process, *(member for child in children(process) for member in family(child))]


def workers(process: int) -> list[int]:
    """Return the workers of a service: the children that listen, not their helpers."""
    return [child for child in children(process) if "spawn_main" in _command(child)]


def is_running(process: int) -> bool:
    """Whether a process runs; one that is dead but not yet collected does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _command(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def memory(process: int) -> float:
    """Return the resident memory of a process in MiB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(found.group(1)) / 1024 if found else 0.0


def command(
    *words: str, environment: Mapping[str, str], before: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run ``ketacast-service`` with these words, by another command if one is given."""
    return subprocess.run(
        [*before, sys.executable, "-m", "ketacast_service", *words],
        env=dict(environment), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def recorded_ids(environment: Mapping[str, str], before: Sequence[str] = ()) -> set[str]:
    """Return the identifiers of all records, from an export of the trail."""
    done = command("audit", "export", environment=environment, before=before)
    assert done.returncode == 0, done.stderr
    return {json.loads(line)["id"] for line in done.stdout.splitlines() if '"id"' in line}


@contextmanager
def many_connections(port: int, number: int) -> Iterator[list[socket.socket]]:
    """Hold connections open that say nothing."""
    held: list[socket.socket] = []
    try:
        for _ in range(number):
            held.append(socket.create_connection(("127.0.0.1", port), timeout=30))  # noqa: PERF401
        yield held
    finally:
        for connection in held:
            connection.close()
