"""A small FHIR server that asks for a token and gives searches in pages."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.ehr.searching import answer

Json = dict[str, Any]
TOKEN = "leave-to-read-4711"  # noqa: S105  # of a server of the tests


@dataclass
class FhirServer:
    """A server with one chart.

    Attributes
    ----------
    chart : list
        Resources.
    page : int
        Entries of a page.
    delay : float
        Seconds before each answer.
    broken : frozenset of str
        Kinds of resource that are answered with an OperationOutcome.
    next_link : str or None
        Address given as that of the next page, instead of the right one.
    asked : list of str
        Addresses asked for.
    """

    chart: list[Json]
    page: int = 1000
    delay: float = 0.0
    broken: frozenset[str] = frozenset()
    next_link: str | None = None
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def reply(self, target: str, token: str) -> tuple[int, Json]:
        """Answer a request."""
        self.asked.append(target)
        time.sleep(self.delay)
        if token != f"Bearer {TOKEN}":
            return 401, _outcome("login")
        parts = urlsplit(target)
        query = parts.path.removeprefix("/fhir/")
        given = dict(parse_qsl(parts.query))
        start = int(given.pop("_page", "0"))
        if query.partition("/")[0] in self.broken:
            return 500, _outcome("exception")
        if given:
            query += "?" + urlencode(given)
        found = answer(query, self.chart)
        if found is None:
            return 404, _outcome("not-found")
        if found["resourceType"] == "Bundle":
            self._cut(found, start, parts.path, given)
        return 200, found

    def _cut(self, found: Json, start: int, path: str, given: dict[str, str]) -> None:
        entries = found["entry"]
        found["entry"] = entries[start : start + self.page]
        if start + self.page < len(entries):
            more = urlencode({**given, "_page": start + self.page})
            base = self.url.removesuffix("/fhir")
            url = self.next_link or f"{base}{path}?{more}"
            found["link"] = [{"relation": "next", "url": url}]


def _outcome(code: str) -> Json:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code}]}


@contextmanager
def serving(server: FhirServer) -> Iterator[FhirServer]:
    """Serve on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, document = server.reply(self.path, self.headers.get("Authorization", ""))
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/fhir+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        server.url = f"http://127.0.0.1:{listener.server_address[1]}/fhir"
        thread = Thread(target=listener.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()
