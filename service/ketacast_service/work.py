"""Work that takes milliseconds or more: off the event loop, a bounded number at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from typing import Final, ParamSpec, TypeVar

from ketacast_service.errors import ProblemError

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 2
"""NumPy frees the interpreter for part of the work: more threads only take turns."""


class Work:
    """Threads for predictions from draws, one process for learning from a clinic's counts.

    Parameters
    ----------
    most_waiting : int
        Tasks begun or waiting; beyond it a request is told to come again.
    """

    def __init__(self, most_waiting: int) -> None:
        self._most = most_waiting
        self._waiting = 0
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="work")
        self._process: ProcessPoolExecutor | None = None

    async def run(self, task: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """Run a task in a thread."""
        return await self._run(self._threads, task, *given, **named)

    async def run_apart(self, task: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """Run a long task in a process of its own, so that it slows no answer."""
        if self._process is None:
            self._process = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        try:
            return await self._run(self._process, task, *given, **named)
        except BrokenProcessPool:
            self._process = None  # the next request starts another
            raise ProblemError(
                "unavailable",
                "the process that learns from counts ended early; send the request again",
                headers=(("Retry-After", "1"),),
            ) from None

    async def _run(
        self, executor: Executor, task: Callable[P, T], *given: P.args, **named: P.kwargs
    ) -> T:
        if self._waiting >= self._most:
            raise ProblemError(
                "unavailable",
                f"{self._waiting} requests are being computed; ask again in a moment",
                headers=(("Retry-After", "1"),),
            )
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(executor, partial(task, *given, **named))
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Wait for what runs, drop what waits."""
        self._threads.shutdown(cancel_futures=True)
        if self._process is not None:
            self._process.shutdown(cancel_futures=True)
