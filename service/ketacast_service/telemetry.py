"""Traces by OpenTelemetry (extra ``telemetry``), sent as OTLP over HTTP.

Where to and how is set by the standard variables, for example
``OTEL_EXPORTER_OTLP_ENDPOINT``. A span says which route answered, how and how long. The
instrumentation sees a request without its address, query, body and headers, so that no
variable of the environment can make it record them.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ketacast import __version__
from ketacast_service.errors import ServiceError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import Span

    from ketacast_service.settings import Settings

_HOLDER: Final = "ketacast.request"
_HEADERS: Final = frozenset({b"traceparent", b"tracestate", b"content-length"})
"""Whom a trace belongs to, and the size; all others may hold what is secret or personal."""

_PROBES: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""Asked every few seconds by machines: their spans would bury the others."""

_BY_GATE: Final = frozenset({"/v1/predictions"})
"""Answered before the framework, which names the routes of all others."""

_CONVERTOR: Final = re.compile(r"(?<=\w):\w+(?=\})")
"""The type of a part of a path, ``:uuid``: how it is matched and not what it is called."""

_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})

_LONGEST_FLUSH: Final = 3.0
"""Seconds that a stop waits for the last spans; a collector that is gone must not delay it."""


@dataclass(slots=True)
class _Request:
    """What the instrumentation does not see.

    Attributes
    ----------
    scope : dict
        The whole request.
    failure : BaseException or None
        What the service raised; its text may hold what a client sent.
    """

    scope: Scope
    failure: BaseException | None = None


def instrument(app: ASGIApp, settings: Settings, processor: SpanProcessor | None = None) -> ASGIApp:
    """Wrap an application so that each request has a span, where ``telemetry`` is set.

    Parameters
    ----------
    app : ASGI application
        The service.
    settings : Settings
        Without ``telemetry`` the application is returned as it is.
    processor : SpanProcessor, optional
        Where spans go; OTLP over HTTP in batches by default.

    Raises
    ------
    ServiceError
        If the extra is not installed.
    """
    if not settings.telemetry:
        return app
    try:
        return _Traced(app, processor)
    except ImportError as error:
        raise ServiceError(
            f"telemetry is set and {error.name or 'OpenTelemetry'} is not installed; "
            "pip install 'ketacast[telemetry]', or set KETACAST_TELEMETRY=false"
        ) from error


class _Traced:
    """The application between what the instrumentation sees and what is there.

    Parameters
    ----------
    app : ASGI application
        The service.
    processor : SpanProcessor or None
        Where spans go.
    """

    def __init__(self, app: ASGIApp, processor: SpanProcessor | None) -> None:
        from opentelemetry.instrumentation.asgi import (  # noqa: PLC0415  # an extra
            OpenTelemetryMiddleware,
        )
        from opentelemetry.metrics import NoOpMeterProvider  # noqa: PLC0415
        from opentelemetry.trace import get_current_span  # noqa: PLC0415

        self._app = app
        self._current_span = get_current_span
        if processor is None:
            processor, self._give_up = _exporting()
        else:
            self._give_up = processor.shutdown
        self._provider = _provider(processor)
        self._instrumented = OpenTelemetryMiddleware(
            self._answer,
            default_span_details=_details,
            tracer_provider=self._provider,
            meter_provider=NoOpMeterProvider(),  # /metrics has them already
            exclude_spans=["receive", "send"],
            # A pattern that no name matches: an empty list would leave it to the environment.
            http_capture_headers_server_request=["(?!)"],
            http_capture_headers_server_response=["(?!)"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._flushing(send))
        elif scope["type"] != "http" or scope["path"] in _PROBES:
            await self._app(scope, receive, send)
        else:
            request = _Request(scope)
            await self._instrumented(_shown(request), receive, send)
            if request.failure is not None:
                raise request.failure

    async def _answer(self, shown: Scope, receive: Receive, send: Send) -> None:
        """Let the service answer the whole request."""
        request: _Request = shown[_HOLDER]
        span = self._current_span()

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                _note(span, request.scope, message)
            await send(message)

        try:
            await self._app(request.scope, receive, noting)
        except Exception as error:  # noqa: BLE001  # raised again outside of the span
            span.set_attribute("error.type", type(error).__name__)
            request.failure = error

    def _flushing(self, send: Send) -> Send:
        async def wrapped(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await self._flush()
            await send(message)

        return wrapped

    async def _flush(self) -> None:
        """Send the last spans; after some seconds without a collector, give up."""
        milliseconds = int(1000 * _LONGEST_FLUSH)
        flushing = asyncio.create_task(asyncio.to_thread(self._provider.force_flush, milliseconds))
        await asyncio.wait({flushing}, timeout=_LONGEST_FLUSH)
        self._give_up()
        await flushing


def _provider(processor: SpanProcessor) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  # an extra
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    named = "OTEL_SERVICE_NAME" in os.environ or "service.name" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    attributes = {"service.version": __version__}
    resource = Resource.create(attributes if named else {**attributes, "service.name": "ketacast"})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(processor)
    return provider


def _exporting() -> tuple[SpanProcessor, Callable[[], None]]:
    """Return what sends spans, and what ends its attempts to reach a collector."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    exporter = OTLPSpanExporter()
    return BatchSpanProcessor(exporter), exporter.shutdown


def _shown(request: _Request) -> Scope:
    """Return what the instrumentation sees: no path, query, peer, or header but those listed."""
    scope = request.scope
    return {
        "type": "http",
        "asgi": scope.get("asgi", {}),
        "http_version": scope.get("http_version", "1.1"),
        "method": _method(scope),
        "scheme": scope.get("scheme", "http"),
        "path": "",
        "query_string": b"",
        "headers": [(name, value) for name, value in scope["headers"] if name in _HEADERS],
        _HOLDER: request,
    }


def _method(scope: Scope) -> str:
    method = scope["method"]
    return method if method in _METHODS else "_OTHER"


def _details(shown: Scope) -> tuple[str, dict[str, Any]]:
    return shown["method"], {}


def _note(span: Span, scope: Scope, start: Message) -> None:
    """Say which route answered, once that is known, and the id that logs and records have."""
    path = scope["path"]
    route = path if path in _BY_GATE else getattr(scope.get("route"), "path", None)
    if route is not None:
        route = _CONVERTOR.sub("", route)
        span.set_attribute("http.route", route)
        span.update_name(f"{_method(scope)} {route}")
    for name, value in start.get("headers", ()):
        if name.lower() == b"x-request-id":
            span.set_attribute("ketacast.request_id", value.decode("latin-1"))
