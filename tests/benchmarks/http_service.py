"""What the service costs over HTTP, beside a bare Starlette endpoint in the same run.

    python tests/benchmarks/http_service.py            # everything but the soak, some 3 minutes
    python tests/benchmarks/http_service.py --quick    # seconds: does it work
    python tests/benchmarks/http_service.py soak       # 10 minutes at half of the peak
    python tests/benchmarks/http_service.py --json figures.json

The service runs as it is run by default but with keys: validation, authentication, audit to
SQLite with every commit on the disk, metrics and the access log. Both answer the same
requests (1,890 different patients in turn) with bodies of the same size from one worker to
wrk with 32 connections, in turns; figures are medians over the turns. Processor time is that
of the server's processes with all threads, from /proc.

It is not called http.py: next to the other scripts that name would hide Python's own module.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[2]))

import http_batches
import http_soak
from http_load import (
    Closed,
    closed_loop,
    has_wrk,
    kept_settings,
    message,
    points,
    started,
)
from tests.service.running import Running, free_port, running_service, service_environment

HERE: Final = Path(__file__).parent
GOAL_CPU: Final = 0.45
GOAL_P99: Final = 3.0
GOAL_SCALING: Final = 1.6
GOAL_READY: Final = 1.0


def new_key(service: Running, scopes: str = "predict,read,metrics") -> str:
    """Make a key by the command line."""
    command = [sys.executable, "-m", "ketacast_service", "keys", "create", "--name", "bench"]
    done = subprocess.run(
        [*command, "--scopes", scopes],
        env=dict(service.environment), check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = re.search(r"kc_[0-9a-f]+_[0-9a-f]+", done.stdout)
    if found is None:
        raise RuntimeError("`keys create` printed no key; run it by hand to see why")
    time.sleep(2.5)  # workers look for new keys every two seconds
    return found.group()


def answer_size(service: Running, key: str) -> int:
    """Return the size of the answer for the patient of the read-me."""
    import socket  # noqa: PLC0415

    body = b'{"failed_trials":6,"infusions":6,"rated_by":"self"}'
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(message(service.port, body, key))
        head = connection.recv(1 << 20)
    return int(re.findall(rb"content-length: (\d+)", head)[0])


def line(name: str, figure: str, goal: str, *, is_met: bool | None) -> None:
    """Print a figure with its goal."""
    judged = "" if is_met is None else f"goal {goal}: {'met' if is_met else 'MISSED'}"
    print(f"{name:<58} {figure:>28}   {judged}", flush=True)


def single(rounds: int, seconds: float) -> dict[str, Any]:
    """Measure the prediction endpoint beside the yardstick."""
    with running_service(**kept_settings()) as service, tempfile.TemporaryDirectory() as name:
        key = new_key(service)
        size = answer_size(service, key)
        found: dict[str, Any] = {"answer_bytes": size}
        for label, bytes_ in (("same size", size), ("1 kB", 1000)):
            file = Path(name) / "body"
            file.write_bytes(b"x" * bytes_)
            port = free_port()
            command = [sys.executable, str(HERE / "http_yardstick.py"), str(port), str(file)]
            with started(command, port) as bare:
                ours, theirs = in_turns(service, key, (port, bare), rounds, seconds)
            found[label] = compared(ours, theirs, f"{bytes_:,} bytes")
    return found


def in_turns(
    service: Running, key: str, yardstick: tuple[int, int], rounds: int, seconds: float
) -> tuple[list[Closed], list[Closed]]:
    """Load service and yardstick in turns, after a turn that does not count."""
    bodies = points()
    ours, theirs = [], []
    for turn in range(rounds + 1):
        one = closed_loop(service.port, service.pid, key, bodies, seconds)
        other = closed_loop(*yardstick, key, bodies, seconds)
        if one.failed or other.failed:
            raise RuntimeError(f"{one.failed} and {other.failed} requests failed; see the log")
        if turn:
            ours.append(one)
            theirs.append(other)
    return ours, theirs


def compared(ours: list[Closed], theirs: list[Closed], size: str) -> dict[str, Any]:
    """Print and return medians and their ratios."""

    def middle(runs: list[Closed], name: str) -> float:
        return float(statistics.median(getattr(run, name) for run in runs))

    cpu = [bare.cpu_us / run.cpu_us for run, bare in zip(ours, theirs, strict=True)]
    tail = [run.p99_ms / bare.p99_ms for run, bare in zip(ours, theirs, strict=True)]
    names = ("rate", "p50_ms", "p99_ms", "cpu_us")
    found: dict[str, Any] = {
        "ours": {name: round(middle(ours, name), 3) for name in names},
        "bare": {name: round(middle(theirs, name), 3) for name in names},
        "cpu_ratio": round(statistics.median(cpu), 3),
        "cpu_ratios": [round(value, 3) for value in cpu],
        "p99_ratio": round(statistics.median(tail), 2),
        "p99_ratios": [round(value, 2) for value in tail],
    }
    print(f"\none prediction, beside a bare endpoint that sends {size}")
    for name, runs in (("  service", ours), ("  bare Starlette", theirs)):
        figure = f"{middle(runs, 'rate'):,.0f}/s, {middle(runs, 'cpu_us'):.0f} us CPU"
        line(name, figure, "", is_met=None)
    ratio, late = found["cpu_ratio"], found["p99_ratio"]
    spread = f"{ratio:.2f} ({min(cpu):.2f} to {max(cpu):.2f})"
    line("  CPU per request, bare / service", spread, f">= {GOAL_CPU}", is_met=ratio >= GOAL_CPU)
    shown = f"{late:.1f} ({found['ours']['p99_ms']:.1f} / {found['bare']['p99_ms']:.1f} ms)"
    line("  p99, service / bare", shown, f"<= {GOAL_P99:g}", is_met=late <= GOAL_P99)
    return found


def scaling(seconds: float) -> dict[str, Any]:
    """Measure throughput with one and with two workers."""
    found: dict[str, Any] = {}
    print("\none worker and two (two processors, of which the load takes a part)")
    for workers in (1, 2):
        with running_service(**kept_settings(workers=workers)) as service:
            key = new_key(service)
            closed_loop(service.port, service.pid, key, points(), 1)
            light = closed_loop(service.port, service.pid, key, points(), seconds)
            heavy = closed_loop(service.port, service.pid, key, heavy_bodies(), seconds)
            found[str(workers)] = {"light": light.rate, "heavy": heavy.rate}
            found[str(workers)] |= {"light_cpu_us": light.cpu_us, "heavy_cpu_us": heavy.cpu_us}
    for kind, remark in (("heavy", "levels never asked for before"), ("light", "from the table")):
        ratio = found["2"][kind] / found["1"][kind]
        found[f"{kind}_ratio"] = round(ratio, 2)
        figure = f"{ratio:.2f} ({found['1'][kind]:,.0f}/s -> {found['2'][kind]:,.0f}/s)"
        line(f"  {kind}: {remark}", figure, f">= {GOAL_SCALING}", is_met=ratio >= GOAL_SCALING)
    return found


def heavy_bodies(number: int = 20_000) -> list[bytes]:
    """Return requests that each take milliseconds to compute: none is answered from memory."""
    return [
        json.dumps(
            {"failed_trials": {"min": 4, "max": 8}, "infusions": 8, "rated_by": "self",
             "levels": [round(0.5 + 0.4 * place / number, 6)]}
        ).encode()
        for place in range(number)
    ]  # fmt: skip


def readiness(times: int) -> dict[str, Any]:
    """Measure the time from the command to the first 200 of /readyz."""
    print("\nready after a start")
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for label in ("with a new database", "with a database that is there"):
            spent = []
            for turn in range(times):
                database = Path(name) / ("there.db" if "is there" in label else f"{turn}.db")
                spent.append(_start_once(Path(name), database))
            spent = spent[1:] if "is there" in label and times > 1 else spent
            middle = statistics.median(spent)
            found[label] = {"median_s": round(middle, 3), "runs": [round(one, 3) for one in spent]}
            figure = f"{middle:.2f} s ({min(spent):.2f} to {max(spent):.2f})"
            line(f"  {label}", figure, f"<= {GOAL_READY:g} s", is_met=middle <= GOAL_READY)
    return found


def _start_once(directory: Path, database: Path) -> float:
    port = free_port()
    environment = service_environment(directory, database_url=f"sqlite:///{database}", port=port)
    command = [sys.executable, "-m", "ketacast_service", "serve"]
    begun = time.perf_counter()
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        while not http_batches.is_ready(port):
            time.sleep(0.005)
        return time.perf_counter() - begun
    finally:
        process.terminate()
        process.wait()


def machine() -> dict[str, Any]:
    """Return when and on what this was measured."""
    model = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processors": f"{len(model)} x {model[0] if model else 'unknown'}",
        "python": platform.python_version(),
        "load_before": Path("/proc/loadavg").read_text().split()[:3],
    }


def main() -> None:
    """Measure and print; write JSON if asked."""
    parser = argparse.ArgumentParser(description="What the service costs over HTTP")
    parser.add_argument("mode", nargs="?", choices=["all", "soak"], default="all")
    parser.add_argument("--quick", action="store_true", help="short turns, small batches")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the soak")
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    given = parser.parse_args()
    if not has_wrk():
        print("wrk is not installed (Debian: apt install wrk); nothing is measured")
        return
    found = {"machine": machine()}
    print(json.dumps(found["machine"]))
    if given.mode == "soak":
        found |= http_soak.soak(new_key, 60 * given.minutes)
    else:
        found["one"] = single(1 if given.quick else 7, 1 if given.quick else 4)
        found["batches"] = http_batches.batches(new_key, quick=given.quick)
        found["scaling"] = scaling(1 if given.quick else 8)
        found["ready"] = readiness(2 if given.quick else 7)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
