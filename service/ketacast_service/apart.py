"""A process for long tasks: it slows no answer, and can be ended when one takes too long."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Final, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

MEMORY_BYTES: Final = 4 << 30
"""Address space of the process: a task that needs more fails, the machine does not."""


class ApartEndedError(Exception):
    """The process ended before its task did."""


class ApartTooLongError(Exception):
    """The task took longer than allowed and was ended."""


class Apart:
    """Runs one task at a time in a process that is started when first needed.

    Parameters
    ----------
    longest : float
        Seconds a task may take.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._turn = threading.Lock()
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None

    def run(self, task: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """Run a task and wait for it; what it raises is raised here.

        Raises
        ------
        ApartEndedError
            If the process was ended from outside; the next task gets another one.
        ApartTooLongError
            If it took too long.
        """
        with self._turn:
            connection = self._started()
            try:
                connection.send((task, given, named))
                if not connection.poll(self._longest):
                    self._end()
                    raise ApartTooLongError
                is_result, value = connection.recv()
            except (EOFError, OSError):
                self._end()
                raise ApartEndedError from None
        if is_result:
            return cast("T", value)
        raise value

    def close(self) -> None:
        """End the process, whatever it does."""
        process = self._process
        if process is not None:
            process.kill()

    def _started(self) -> Connection:
        if self._connection is not None and self._process is not None and self._process.is_alive():
            return self._connection
        self._end()
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs,), name="apart", daemon=True)
        process.start()
        theirs.close()
        self._process, self._connection = process, ours
        return ours

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


def end_with_parent(end: Callable[[], None]) -> None:
    """Call `end` once the parent process is gone, however it went; no parent, no call."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        end()

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


def _work(connection: Connection) -> None:
    """Answer tasks until the other end is closed."""
    end_with_parent(lambda: os._exit(1))
    limit_memory()
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            connection.send(_outcome(*connection.recv()))


def _outcome(
    task: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]
) -> tuple[bool, Any]:
    try:
        return True, task(*given, **named)
    except Exception as error:  # noqa: BLE001  # raised again by who asked
        error.__traceback__ = None
        return False, error


def limit_memory(largest: int = MEMORY_BYTES) -> None:
    """Bound the address space of this process, so that the machine keeps some memory."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # not on every system
        import resource  # noqa: PLC0415

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = largest if hard == resource.RLIM_INFINITY else min(largest, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
