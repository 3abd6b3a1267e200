"""Logs and metrics. No body, query, token or address of a patient's record enters either."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from functools import lru_cache
from typing import Final

import structlog
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from ketacast_service.moments import utc_text
from ketacast_service.settings import Settings

FLUSH_SECONDS: Final = 0.2
LATENCIES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)

REQUESTS: Final = Counter("ketacast_requests", "Requests answered", ["method", "route", "status"])
SECONDS: Final = Histogram(
    "ketacast_request_seconds", "Time to answer", ["route"], buckets=LATENCIES
)
PREDICTIONS: Final = Counter(
    "ketacast_predictions", "Predictions that no request of their own stands for", ["kind"]
)
UNRECORDED: Final = Counter(
    "ketacast_unrecorded_predictions", "Predictions answered without an audit record"
)
SIMULATIONS: Final = Counter("ketacast_simulations", "Simulations that have ended", ["state"])
SIMULATIONS_WAITING: Final = Gauge(
    "ketacast_simulations_waiting", "Simulations that wait", multiprocess_mode="mostrecent"
)
MODEL: Final = Gauge(
    "ketacast_model_info", "The model that answers", ["name", "version", "sha256"],
    multiprocess_mode="livemax",
)  # fmt: skip


def configure_logging(settings: Settings) -> None:
    """Send every log record, those of libraries too, to standard error as one line each."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    as_json = settings.log_format == "json"
    # Tracebacks without local variables: those may hold what a client sent.
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else console
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    last = [structlog.processors.format_exc_info] if as_json else []
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = name != "uvicorn.access"  # ours names routes, not addresses
    for name in ("httpx", "httpcore", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


class AccessLog:
    """One line per request, written a few times a second.

    A line costs a microsecond or two, so that it can stay on under load; it names the
    route, never the address asked for.
    """

    def __init__(self, *, enabled: bool, as_json: bool) -> None:
        self._enabled = enabled
        self._as_json = as_json
        self._lines: list[str] = []
        self._is_waiting = False

    def add(
        self, request_id: str, client: str, *, method: str, route: str, status: int, seconds: float
    ) -> None:
        """Note one answered request."""
        if not self._enabled:
            return
        if self._as_json:
            # Client ids hold text of a token's issuer; all else is of our own making.
            self._lines.append(
                f'{{"time":"{utc_text()}","event":"request","request_id":"{request_id}","client":{_quoted(client)},'
                f'"method":"{method}","route":"{route}","status":{status},'
                f'"ms":{seconds * 1e3:.2f}}}\n'
            )
        else:
            self._lines.append(
                f"{request_id} {client} {method} {route} {status} {seconds * 1e3:.2f} ms\n"
            )
        if not self._is_waiting:
            self._is_waiting = True
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write the lines that are waiting."""
        self._is_waiting = False
        if self._lines:
            lines, self._lines = self._lines, []
            sys.stderr.write("".join(lines))
            sys.stderr.flush()


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    return json.dumps(text)


def metrics_page() -> bytes:
    """Return the metrics of all workers in Prometheus' text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415  # workers

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
