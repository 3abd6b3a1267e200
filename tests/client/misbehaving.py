"""An HTTP server that answers what a test tells it to, on purpose wrong."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import ketacast

ID = "0192f0c4-9c2e-7cc0-8000-0123456789ab"


@dataclass(frozen=True, slots=True)
class Planned:
    """One answer.

    Attributes
    ----------
    status, headers, body
        As sent.
    before : float
        Seconds of silence before the first byte.
    between : float
        Seconds between the body's pieces of one byte; 0 sends it at once.
    cut : int
        Bytes of the body that are promised and never sent.
    hang_up : bool
        Whether to close the connection without an answer.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    before: float = 0.0
    between: float = 0.0
    cut: int = 0
    hang_up: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """Its JSON."""
        return json.loads(self.body)


class Misbehaving(ThreadingHTTPServer):
    """Answers as planned, one plan after the other, the last one from then on."""

    daemon_threads = True

    def __init__(self, plans: tuple[Planned, ...]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.plans = list(plans)
        self.seen: list[Seen] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_plan(self) -> Planned:
        """Take the next plan."""
        with self.lock:
            return self.plans.pop(0) if len(self.plans) > 1 else self.plans[0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
        pass

    def _answer(self) -> None:
        server = cast("Misbehaving", self.server)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        seen = {name.lower(): value for name, value in self.headers.items()}
        with server.lock:
            server.seen.append(Seen(self.command, self.path, seen, body))
        plan = server.next_plan()
        time.sleep(plan.before)
        if plan.hang_up:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        try:
            self._send(plan)
        except OSError:
            self.close_connection = True  # the client had enough, as the test wants

    def _send(self, plan: Planned) -> None:
        self.send_response(plan.status)
        for name, value in plan.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(plan.body) + plan.cut))
        self.end_headers()
        if plan.between:
            for place in range(len(plan.body)):
                self.wfile.write(plan.body[place : place + 1])
                self.wfile.flush()
                time.sleep(plan.between)
        else:
            self.wfile.write(plan.body)
        self.close_connection = plan.cut > 0

    do_GET = do_POST = _answer  # noqa: N815  # the names that http.server calls


@contextmanager
def misbehaving(*plans: Planned) -> Iterator[Misbehaving]:
    """Serve the plans on a loopback port."""
    server = Misbehaving(plans)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def prediction_document(**changes: Any) -> dict[str, Any]:
    """Return what the service answers for 6 failed trials, 6 infusions, self-rated."""
    found = ketacast.predict(failed_trials=6, infusions=6, rated_by="self").to_dict()
    return {"id": ID, **found, **changes}


def served(document: Any, **headers: str) -> Planned:
    """Return a good answer."""
    kept = {name.replace("_", "-"): value for name, value in headers.items()}
    return Planned(200, json.dumps(document).encode(), {"Content-Type": "application/json", **kept})


def problem(status: int, slug: str, detail: str, **headers: str) -> Planned:
    """Return a problem document."""
    document = {
        "type": f"urn:ketacast:problem:{slug}",
        "title": "A kind of problem",
        "status": status,
        "detail": detail,
        "request_id": "of-the-service",
        "errors": [{"field": "/infusions", "detail": "is 99", "remedy": "give 1 to 30"}],
    }
    kept = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps(document).encode()
    return Planned(status, body, {"Content-Type": "application/problem+json", **kept})
