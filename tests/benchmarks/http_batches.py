"""Rows a second of batches over HTTP, by the service's processor time and by the clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any, Final

from batch_formats import formats
from http_load import cpu_seconds, kept_settings
from tests.service.running import Running, running_service

GOALS: Final = {"JSON columns": 1.0, "NDJSON": None, "Arrow stream": 3.0}
"""Million rows a second of processor time, range checks and record included."""
_MEDIA: Final = {
    "JSON columns": "application/json",
    "NDJSON": "application/x-ndjson",
    "Arrow stream": "application/vnd.apache.arrow.stream",
}


def batches(new_key: Callable[[Running], str], *, quick: bool) -> dict[str, Any]:
    """Send batches of each format and size, in turns."""
    found: dict[str, Any] = {}
    with running_service(**kept_settings()) as service:
        key = new_key(service)
        for rows in (10_000,) if quick else (10_000, 1_000_000):
            print(f"\nbatches of {rows:,} rows, with range checks and record")
            repeats = 2 if quick else max(5, 2_000_000 // rows)
            found[str(rows)] = {
                form.name: _format(service, key, (form.name, form.request), rows, repeats)
                for form in formats(rows)
            }
    return found


def _format(
    service: Running, key: str, request: tuple[str, bytes], rows: int, repeats: int
) -> dict[str, Any]:
    name, body = request
    head = {"Authorization": f"Bearer {key}", "Content-Type": _MEDIA[name]}
    connection = HTTPConnection("127.0.0.1", service.port, timeout=120)
    _post(connection, head, body)
    group = max(1, repeats // 5)  # processor time is counted in hundredths of a second
    used, spent, size = [], [], 0
    for _ in range(5):
        before, begun = cpu_seconds(service.pid), time.perf_counter()
        for _ in range(group):
            size = _post(connection, head, body)
        spent.append(group * rows / (time.perf_counter() - begun) / 1e6)
        used.append(group * rows / max(0.01, cpu_seconds(service.pid) - before) / 1e6)
    connection.close()
    cpu, clock = statistics.median(used), statistics.median(spent)
    goal = GOALS[name]
    judged = "" if goal is None else f"goal >= {goal:g}: {'met' if cpu >= goal else 'MISSED'}"
    print(
        f"  {name:<14} {cpu:6.2f} M rows/s of processor time, {clock:6.2f} by the clock, "
        f"{len(body) / rows:4.0f} B in and {size / rows:4.0f} B out a row   {judged}",
        flush=True,
    )
    return {"cpu_mrows": round(cpu, 2), "clock_mrows": round(clock, 2), "runs": used}


def _post(connection: HTTPConnection, head: dict[str, str], body: bytes) -> int:
    connection.request("POST", "/v1/predictions/batch", body, head)
    answer = connection.getresponse()
    size = 0
    while part := answer.read(1 << 20):
        size += len(part)
    if answer.status != 200:
        raise RuntimeError(f"a batch was answered with {answer.status}; send it by hand to see why")
    return size


def is_ready(port: int) -> bool:
    """Whether a service says that it is ready."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
