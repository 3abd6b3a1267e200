"""Ten minutes at half of the peak: does memory stay, do answers come in time?"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from http_load import (
    Open,
    closed_loop,
    family,
    kept_settings,
    memory_mib,
    message,
    open_loop,
    points,
)
from scipy import stats
from tests.service.running import Running, running_service

EVERY: Final = 10.0
SETTLED: Final = 120.0
"""Seconds after which memory is judged: caches have filled."""


def soak(new_key: Callable[[Running], str], seconds: float) -> dict[str, Any]:
    """Find the peak, run at half of it, print and return what was seen."""
    with running_service(**kept_settings()) as service:
        key = new_key(service)
        closed_loop(service.port, service.pid, key, points(), 2)
        peak = closed_loop(service.port, service.pid, key, points(), 8).rate
        rate = peak / 2
        print(f"peak {peak:,.0f}/s; {seconds:.0f} s at {rate:,.0f}/s", flush=True)
        watched = Watch(service.pid)
        with watched:
            seen = asyncio.run(open_loop(service.port, rate, seconds, mixed(service, key)))
    found = {
        "peak_per_second": round(peak), "rate_per_second": round(rate), "seconds": seconds,
        **answers(seen), "memory": watched.summary(), "samples": watched.samples,
    }  # fmt: skip
    print(json.dumps({key: value for key, value in found.items() if key != "samples"}, indent=1))
    return {"soak": found}


def mixed(service: Running, key: str) -> Callable[[int, bytes], bytes]:
    """Return requests: points, one in a hundred a range, a recall or a small batch."""
    bodies = [message(service.port, body, key) for body in points()]
    columns = {"failed_trials": list(range(20)) * 5, "infusions": 6, "rated_by": "self"}
    path = "/v1/predictions/batch"
    batch = message(service.port, json.dumps(columns).encode(), key, path)

    def make(number: int, last: bytes) -> bytes:
        place = number % 300
        if place == 100:
            level = round(0.2 + (number % 70_000) / 1e5, 5)  # each once: nothing is kept for it
            asked = {"failed_trials": {"min": 2, "max": 9}, "infusions": 6, "rated_by": "self"}
            return message(service.port, json.dumps({**asked, "levels": [level]}).encode(), key)
        if place == 200:
            return batch
        if place == 299 and last.startswith(b'{"id":"'):
            return message(service.port, b"", key, f"/v1/predictions/{last[7:43].decode()}")
        return bodies[number % len(bodies)]

    return make


def answers(seen: Open) -> dict[str, Any]:
    """Return how answers came."""
    return {
        "answers": sum(seen.statuses.values()),
        "statuses": dict(seen.statuses),
        "failed": seen.failed,
        **{f"p{100 * part:g}_ms": round(seen.share(part), 2) for part in (0.5, 0.99, 0.999)},
        "longest_ms": round(max(seen.times_ms, default=0.0), 1),
    }


class Watch:
    """Notes the memory of each process every ten seconds."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.samples: list[dict[str, Any]] = []

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        begun = time.monotonic()
        while True:
            sizes = {str(member): round(memory_mib(member), 2) for member in family(self._process)}
            self.samples.append({"second": round(time.monotonic() - begun, 1), "mib": sizes})
            if self._done.wait(EVERY):
                return

    def summary(self) -> dict[str, Any]:
        """Return start, end and slope of each process that lived all the time."""
        lasting = set.intersection(*(set(sample["mib"]) for sample in self.samples))
        settled = [sample for sample in self.samples if sample["second"] >= SETTLED]
        found = {}
        for member in sorted(lasting, key=int):
            sizes = [sample["mib"][member] for sample in self.samples]
            entry: dict[str, Any] = {"first_mib": sizes[0], "last_mib": sizes[-1]}
            entry["most_mib"] = max(sizes)
            if len(settled) > 3:
                entry |= _slope(
                    [sample["second"] for sample in settled],
                    [sample["mib"][member] for sample in settled],
                )
            found[member] = entry
        return found


def _slope(seconds: list[float], sizes: list[float]) -> dict[str, Any]:
    """Return MiB an hour with its 95 % range, as if samples were independent."""
    fit = stats.linregress(np.array(seconds) / 3600, sizes)
    wide = float(stats.t.ppf(0.975, len(sizes) - 2) * fit.stderr)
    return {
        "mib_per_hour": round(float(fit.slope), 2),
        "range": [round(float(fit.slope) - wide, 2), round(float(fit.slope) + wide, 2)],
    }
