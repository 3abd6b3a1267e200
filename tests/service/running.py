"""The real service as a process of its own, for tests over HTTP.

For example::

    from tests.service.running import running_service

    with running_service(auth="none") as service:
        httpx.get(service.url + "/readyz")
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Final

LONGEST_START: Final = 60.0
"""Seconds; a start takes about two, but tests share the processors."""

LONGEST_STOP: Final = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    """A service that answers.

    Attributes
    ----------
    url : str
        Where, without a slash at the end.
    port : int
        On the loopback interface.
    pid : int
        For signals.
    log : Path
        What it wrote on both of its streams.
    environment : mapping of str to str
        That of the process, for commands which are to see the same database.
    """

    url: str
    port: int
    pid: int
    log: Path
    environment: Mapping[str, str]


def free_port() -> int:
    """Return a loopback port that is free now; the service takes it a moment later."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def service_environment(directory: Path, **settings: object) -> dict[str, str]:
    """Return an environment with a database of its own and no setting from outside.

    Parameters
    ----------
    directory : Path
        Where the database may be.
    **settings
        By the names of ``Settings``; true, false and paths are written as text.
    """
    kept = {name: value for name, value in os.environ.items() if not _is_ours(name)}
    given = {
        "database_url": f"sqlite:///{directory / 'service.db'}",
        "host": "127.0.0.1",
        **settings,
    }
    ours = {
        f"KETACAST_{name.upper()}": str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in given.items()
    }
    return {**kept, **ours, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}


def _is_ours(name: str) -> bool:
    return name.startswith(("KETACAST_", "OTEL_")) or name == "STATE_DIRECTORY"


@contextmanager
def running_service(
    environment: Mapping[str, str] | None = None, before: Sequence[str] = (), **settings: object
) -> Iterator[Running]:
    """Start the service on a free port, wait until it is ready, stop it at the end.

    Parameters
    ----------
    environment : mapping of str to str, optional
        Further variables, for example ``OTEL_EXPORTER_OTLP_ENDPOINT``.
    before : sequence of str
        A command that is given the service's as its last words and becomes it.
    **settings
        By the names of ``Settings``: ``running_service(auth="keys", secret=...)``.

    Yields
    ------
    Running

    Raises
    ------
    RuntimeError
        If it ends or does not become ready; what it wrote is in the message.
    """
    with tempfile.TemporaryDirectory(prefix="ketacast-service-") as name:
        directory = Path(name)
        port = free_port()
        variables = {
            **service_environment(directory, port=port, **settings),
            **(environment or {}),
        }
        log = directory / "service.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*before, sys.executable, "-m", "ketacast_service", "serve", "--port", str(port)],
                env=variables,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        try:
            is_tls = "tls_certificate" in settings
            _wait_until_ready(process, port, log, is_tls=is_tls)
            url = f"{'https' if is_tls else 'http'}://127.0.0.1:{port}"
            yield Running(url, port, process.pid, log, variables)
        finally:
            _stop(process)


def new_key(service: Running, scopes: str) -> str:
    """Make a key by the command line."""
    command = [sys.executable, "-m", "ketacast_service", "keys", "create"]
    done = subprocess.run(
        [*command, "--name", "fuzz", "--scopes", scopes],
        env=dict(service.environment), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.search(r"kc_[0-9a-f]+_[0-9a-f]+", done.stdout)
    assert found is not None
    return found.group()


def _wait_until_ready(
    process: subprocess.Popen[bytes], port: int, log: Path, *, is_tls: bool
) -> None:
    end = time.monotonic() + LONGEST_START
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the service ended with {process.returncode}:\n{_tail(log)}")
        if _answers(port, is_tls=is_tls):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the service was not ready after {LONGEST_START:g} s:\n{_tail(log)}")


def _answers(port: int, *, is_tls: bool) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    if is_tls:
        context = ssl._create_unverified_context()  # noqa: S323  # made for the test
        connection = HTTPSConnection("127.0.0.1", port, timeout=2, context=context)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(LONGEST_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-4000:]
