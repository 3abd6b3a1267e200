"""Load for the service: wrk in closed loop, requests at an even rate in open loop; processes."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

CONNECTIONS: Final = 32
TICKS: Final = os.sysconf("SC_CLK_TCK")
_UNITS: Final = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def points() -> list[bytes]:
    """Return the bodies of all predictions for one patient with whole numbers."""
    raters = ("self", "clinician", "unknown")
    return [
        json.dumps({"failed_trials": trials, "infusions": infusions, "rated_by": rater}).encode()
        for trials, infusions, rater in itertools.product(range(21), range(1, 31), raters)
    ]


def message(port: int, body: bytes, token: str, path: str = "/v1/predictions") -> bytes:
    """Return the bytes of a request; without a body it is a GET."""
    head = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    head += [f"Authorization: Bearer {token}"] if token else []
    head += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


@dataclass(frozen=True)
class Closed:
    """What a closed loop measured: the next request leaves when the last is answered."""

    rate: float
    p50_ms: float
    p99_ms: float
    failed: int
    cpu_us: float


def has_wrk() -> bool:
    """Whether the load generator is there."""
    return shutil.which("wrk") is not None


def closed_loop(
    port: int, process: int, token: str, bodies: Sequence[bytes], seconds: float
) -> Closed:
    """Load with wrk and read the processor time of a process and its children per request."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_script(bodies, token))
        script.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency"]
        command += ["-s", script.name, f"http://127.0.0.1:{port}/v1/predictions"]
        before = cpu_seconds(process)
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        cpu = cpu_seconds(process) - before
    answered = int(_found(r"(\d+) requests in", text))
    return Closed(
        rate=float(_found(r"Requests/sec:\s+([\d.]+)", text)),
        p50_ms=_milliseconds(text, "50%"),
        p99_ms=_milliseconds(text, "99%"),
        failed=sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
        + sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", text))),
        cpu_us=1e6 * cpu / max(1, answered),
    )


def _script(bodies: Sequence[bytes], token: str) -> str:
    texts = ",\n".join(json.dumps(body.decode()) for body in bodies)
    header = f'wrk.headers["Authorization"] = "Bearer {token}"' if token else ""
    return f"""
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
{header}
local bodies = {{{texts}}}
local at = 0
function request()
  at = at % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[at])
end
""".replace("\\/", "/")


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"wrk printed no {pattern!r}; its output was:\n{text}")
    return found.group(1)


def _milliseconds(text: str, share: str) -> float:
    found = re.search(rf"{share}\s+([\d.]+)(us|ms|s)", text)
    return float("nan") if found is None else float(found.group(1)) * _UNITS[found.group(2)]


def cpu_seconds(process: int) -> float:
    """Return the processor time that a process and all below it have used."""
    return sum(_ticks(member) for member in family(process)) / TICKS


def _ticks(process: int) -> int:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(fields[11]) + int(fields[12])


def family(process: int) -> list[int]:
    """Return a process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = [process]
    for member in found:
        found.extend(parents.get(member, ()))
    return found


def memory_mib(process: int) -> float:
    """Return the resident memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    return int(found.group(1)) / 1024 if found else 0.0


@contextmanager
def started(command: Sequence[str], port: int) -> Iterator[int]:
    """Run a server until the end of the block; give its process once it answers at all."""
    process = subprocess.Popen(command)
    try:
        end = time.monotonic() + 30
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{' '.join(command)} did not answer on port {port}")
            time.sleep(0.02)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        connection.getresponse().read()
    except OSError:
        return False
    finally:
        connection.close()
    return True


@dataclass
class Open:
    """What an open loop measured: requests leave when they are due."""

    statuses: Counter[int] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    times_ms: list[float] = field(default_factory=list)

    def share(self, part: float) -> float:
        """Return the time within which that part of the answers came."""
        ordered = sorted(self.times_ms)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


async def open_loop(
    port: int,
    rate: float,
    seconds: float,
    make: Callable[[int, bytes], bytes],
    *,
    clients: int = 64,
) -> Open:
    """Send requests at an even rate; a time counts from when its request was due.

    `make` gets the number of the request and the last answer on its connection.
    """
    seen = Open()
    numbers = iter(range(int(rate * seconds)))
    start = time.perf_counter() + 0.1

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        last = b""
        try:
            for number in numbers:
                due = start + number / rate
                wait = due - time.perf_counter()
                if wait > 0:
                    await asyncio.sleep(wait)
                writer.write(make(number, last))
                status, last = await _answer(reader)
                seen.statuses[status] += 1
                seen.times_ms.append(1e3 * (time.perf_counter() - due))
        except (OSError, asyncio.IncompleteReadError) as error:
            seen.failed.append(repr(error))
        finally:
            writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return seen


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        return status, await _chunks(reader)
    at = lower.index(b"content-length:")
    length = int(head[at + 15 : head.index(b"\r\n", at)])
    return status, await reader.readexactly(length)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)


def kept_settings(**more: Any) -> dict[str, Any]:
    """Return what the service is measured with: keys, records, access log; no limit of rate."""
    secret = "9b7d24680f3a1c5e" * 4
    return {"auth": "keys", "secret": secret, "rate_per_second": 0, **more}
