"""The parent of the workers: it replaces what ends, and does not insist on what cannot start."""

from __future__ import annotations

import logging
import socket
import sys
import time
from typing import Final

from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from ketacast.errors import KetacastError

_LOG: Final = logging.getLogger("uvicorn.error")
_LONGEST_PAUSE: Final = 10.0
_START_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 10.0
"""For a worker's own thread to say that it is there, on a busy machine."""


def worker_app() -> ASGIApp:
    """Return the application in a worker; end the worker with a line if it cannot be made."""
    from ketacast_service.app import create_app  # noqa: PLC0415  # the parent needs none of it

    try:
        return create_app()
    except KetacastError as error:
        print(f"ketacast-service: {error}", file=sys.stderr, flush=True)
        raise SystemExit(STARTUP_FAILURE) from None


class Supervisor(Multiprocess):
    """Keeps workers.

    A worker that ends is replaced. If no worker has ever answered, the cause is in the
    settings, the model or the database: the service ends and says so. If some have, those
    that answer go on, and another start is tried after a pause.

    Parameters
    ----------
    config : Config
        Of the server.
    sockets : list of socket
        That the workers share.
    """

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self.has_served = False
        self._ready: set[int | None] = set()
        self._seen: dict[int | None, float] = {}
        self._pause = 0.0
        self._start_again = 0.0

    def keep_subprocess_alive(self) -> None:
        """Replace workers that have ended or hang."""
        ill = [place for place, process in enumerate(self.processes) if not self._is_well(process)]
        for place in ill:
            process = self.processes[place]
            process.kill()
            process.join()
            ended_itself = process.exitcode is not None and process.exitcode > 0
            if ended_itself and not self.has_served:
                _LOG.error("a worker could not start; the service ends")
                self.should_exit.set()
                return
            self._replace(place, process)

    def _is_well(self, process: Process) -> bool:
        """Whether a worker answers, or still starts."""
        if not process.process.is_alive():  # it is not asked: a dead one keeps its caller waiting
            return False
        number = process.pid
        if number in self._ready:
            return process.ping(_ANSWER_SECONDS)
        seen = self._seen.setdefault(number, time.monotonic())
        if process.is_ready(1):
            self._ready.add(number)
            self.has_served = True
        return number in self._ready or time.monotonic() - seen < _START_SECONDS

    def _replace(self, place: int, ended: Process) -> None:
        """Start another worker in its place, later each time if it cannot start."""
        now = time.monotonic()
        if now < self._start_again:
            return
        failed = ended.exitcode == STARTUP_FAILURE
        self._pause = min(max(1.0, 2 * self._pause), _LONGEST_PAUSE) if failed else 0.0
        self._start_again = now + self._pause
        _LOG.error("worker %s has ended (%s); another is started", ended.pid, ended.exitcode)
        process = Process(self.config, self.sockets)
        process.start()
        self.processes[place] = process
