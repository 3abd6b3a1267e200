"""Work that takes milliseconds or more: off the event loop, a bounded number at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

from ketacast_service.apart import Apart, ApartEndedError, ApartTooLongError
from ketacast_service.errors import ProblemError

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 2
"""NumPy frees the interpreter for part of the work: more threads only take turns."""

APART_SECONDS: Final = 120.0
"""Learning takes up to half a second for each set of covariates; a large clinic has a hundred."""

MOST_APART: Final = 4
"""Long tasks begun or waiting: they are done one after the other."""


class Work:
    """Threads for predictions from draws, one process for learning from a clinic's counts.

    Parameters
    ----------
    most_waiting : int
        Tasks begun or waiting; beyond it a request is told to come again.
    apart_seconds : float
        Longest time for a task in the process of its own.
    """

    def __init__(self, most_waiting: int, *, apart_seconds: float = APART_SECONDS) -> None:
        self._threads = _Threads(THREADS, most_waiting, "work")
        # The thread waits for the process: so long tasks take no place of short ones.
        self._waiters = _Threads(1, MOST_APART, "apart")
        self._apart_seconds = apart_seconds
        self._apart = Apart(apart_seconds)

    async def run(self, task: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """Run a task in a thread."""
        return await self._threads.run(task, *given, **named)

    async def run_apart(self, task: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """Run a long task in a process of its own, so that it slows no answer.

        Raises
        ------
        ProblemError
            "unavailable" if it took too long or the process ended; "too-large" if it needs
            more memory than the process may take.
        """
        try:
            return await self._waiters.run(lambda: self._apart.run(task, *given, **named))
        except ApartTooLongError:
            raise ProblemError(
                "unavailable",
                f"this took longer than {self._apart_seconds:g} s and was ended; send fewer, "
                "wider cells, or ask again when the service has less to do",
                headers=(("Retry-After", "60"),),
            ) from None
        except ApartEndedError:
            raise ProblemError(
                "unavailable",
                "the process that learns from counts ended early; send the request again",
                headers=(("Retry-After", "1"),),
            ) from None
        except MemoryError:
            raise ProblemError(
                "too-large", "this needs more memory than is allowed; send fewer, wider cells"
            ) from None

    def close(self) -> None:
        """Wait for what runs in threads, end what runs apart, drop what waits."""
        self._apart.close()
        self._waiters.close()
        self._threads.close()


class _Threads:
    """Threads with a bounded queue."""

    def __init__(self, number: int, most_waiting: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(number, thread_name_prefix=name)
        self._most = most_waiting
        self._waiting = 0

    async def run(self, task: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        if self._waiting >= self._most:
            raise ProblemError(
                "unavailable",
                f"{self._waiting} requests are being computed; ask again in a moment",
                headers=(("Retry-After", "1"),),
            )
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, partial(task, *given, **named))
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
