"""Spans say which route answered and how; they hold nothing that a client sent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.types import Message, Receive, Scope, Send
from tests.service.running import running_service

from ketacast_service.settings import Settings
from ketacast_service.telemetry import instrument

SECRET = "kc_0123_do-not-tell"  # noqa: S105
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def scope(path: str, **changes: Any) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": f"token={SECRET}&name=\xff".encode("latin-1"),
        "headers": [
            (b"host", b"internal.example.org"),
            (b"authorization", f"Bearer {SECRET}".encode()),
            (b"cookie", SECRET.encode()),
            (b"user-agent", SECRET.encode()),
            (b"traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode()),
            (b"baggage", SECRET.encode()),
        ],
        "client": ("192.0.2.77", 4711),
        "server": ("127.0.0.1", 8000),
        **changes,
    }


class Route:
    path = "/v1/predictions/{prediction_id:uuid}"


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    """A service that sees the whole request, and names its route as the framework does."""
    assert scope["headers"][1][1] == f"Bearer {SECRET}".encode()
    assert SECRET.encode() in scope["query_string"]
    assert (await receive())["body"] == SECRET.encode()
    if "{" not in scope["path"] and scope["path"] != "/v1/predictions":
        scope["route"] = Route()
    headers = [(b"x-request-id", b"abc"), (b"set-cookie", SECRET.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": SECRET.encode()})


def asked(app: Any, given: Scope) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": SECRET.encode()}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(given, receive, send))
    return sent


def traced(app: Any, spans: InMemorySpanExporter) -> Any:
    return instrument(app, Settings(telemetry=True), SimpleSpanProcessor(spans))


def text_of(span: ReadableSpan) -> str:
    return str(span.to_json())


def test_without_telemetry_the_application_is_returned_untouched() -> None:
    assert instrument(answering, Settings()) is answering


def test_opentelemetry_is_not_imported_unless_set() -> None:
    code = (
        "import sys\nimport ketacast_service.telemetry as t\n"
        "from ketacast_service.settings import Settings\n"
        "t.instrument(print, Settings())\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_the_extra_the_message_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['opentelemetry.instrumentation.asgi'] = None\n"
        "from ketacast_service.settings import Settings\n"
        "from ketacast_service.telemetry import instrument\n"
        "from ketacast_service.errors import ServiceError\n"
        "try:\n    instrument(print, Settings(telemetry=True))\n"
        "except ServiceError as error:\n"
        "    assert \"pip install 'ketacast[telemetry]'\" in str(error), error\n"
        "else:\n    raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_span_names_route_status_and_request(spans: InMemorySpanExporter) -> None:
    sent = asked(traced(answering, spans), scope("/v1/predictions/0192f0c4"))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    (span,) = spans.get_finished_spans()
    assert span.name == "POST /v1/predictions/{prediction_id}"
    attributes = dict(span.attributes or {})
    assert attributes["http.route"] == "/v1/predictions/{prediction_id}"
    assert attributes["ketacast.request_id"] == "abc"
    assert attributes["http.status_code"] == 200
    assert span.resource.attributes["service.name"] == "ketacast"
    assert f"{span.context.trace_id:032x}" == TRACE


@pytest.mark.parametrize("path", ["/v1/predictions", "/v1/predictions/0192f0c4", "/of a patient"])
def test_a_span_holds_nothing_that_was_sent(
    path: str, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for way in ("REQUEST", "RESPONSE"):
        monkeypatch.setenv(f"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_{way}", ".*")
    asked(traced(answering, spans), scope(path))
    (span,) = spans.get_finished_spans()
    for secret in (SECRET, "0192f0c4", "patient", "192.0.2.77", "internal.example.org", "cookie"):
        assert secret not in text_of(span)


def test_a_failure_is_named_without_its_words(spans: InMemorySpanExporter) -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError(SECRET)

    with pytest.raises(ValueError, match=SECRET):
        asked(traced(failing, spans), scope("/v1/predictions"))
    (span,) = spans.get_finished_spans()
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert SECRET not in text_of(span)


def test_an_unknown_method_does_not_become_a_name(spans: InMemorySpanExporter) -> None:
    asked(traced(answering, spans), scope("/v1/predictions", method=SECRET.upper()))
    (span,) = spans.get_finished_spans()
    assert span.name == "_OTHER /v1/predictions"
    assert SECRET.upper() not in text_of(span)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_have_no_spans(path: str, spans: InMemorySpanExporter) -> None:
    asked(traced(answering, spans), scope(path))
    assert spans.get_finished_spans() == ()


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """An OTLP collector that keeps what it is sent."""
    received: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") is None:
                received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", received
        server.shutdown()
        thread.join()


def test_the_service_sends_its_spans_before_it_stops() -> None:
    with collector() as (endpoint, received):
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "60000",  # so that only the stop sends them
            "OTEL_SERVICE_NAME": "ketacast-under-test",
        }
        with running_service(environment, telemetry=True) as service:
            body = {"failed_trials": 6, "infusions": 6, "rated_by": "self"}
            answer = httpx.post(f"{service.url}/v1/predictions?patient=secret-name", json=body)
            assert answer.status_code == 200
            recalled = httpx.get(service.url + answer.headers["location"])
            assert recalled.status_code == 200
    found = [
        (group.resource, span)
        for request in received
        for group in request.resource_spans
        for scoped in group.scope_spans
        for span in scoped.spans
    ]
    assert sorted(span.name for _, span in found) == [
        "GET /v1/predictions/{prediction_id}",
        "POST /v1/predictions",
    ]
    for resource, span in found:
        text = str(resource) + str(span)
        assert "ketacast-under-test" in text
        assert "secret-name" not in text
        assert answer.json()["id"] not in text


def test_a_collector_that_is_gone_harms_no_answer_and_no_stop() -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with running_service(environment, telemetry=True, shutdown_seconds=5) as service:
        body = {"failed_trials": 6, "infusions": 6, "rated_by": "self"}
        assert httpx.post(f"{service.url}/v1/predictions", json=body).status_code == 200
