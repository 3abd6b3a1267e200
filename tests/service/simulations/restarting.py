"""A service that is started again and again on one database."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tests.service.running import free_port, service_environment


@dataclass
class Restarted:
    """A service that is started again and again on one database."""

    directory: Path
    settings: dict[str, Any] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = service_environment(self.directory, port=self.port, **self.settings)
        with (self.directory / "service.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ketacast_service", "serve"],
                env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(httpx.HTTPError), self.web() as web:
                if web.get("/readyz").status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(self.log())

    def web(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)

    def stop(self, number: int) -> float:
        """Send the signal to the whole group if it is SIGKILL; seconds until it has ended."""
        assert self.process is not None
        begun = time.monotonic()
        if number == signal.SIGKILL:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        self.process.wait(60)
        self.process = None
        return time.monotonic() - begun

    def log(self) -> str:
        return (self.directory / "service.log").read_text(errors="replace")

    def running_child(self, identifier: str) -> int:
        """The process that runs a simulation: it works in its directory."""
        wanted = str(self.directory / "simulations" / identifier)
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and str((entry / "cwd").readlink()) == wanted:
                    return int(entry.name)
        return 0
