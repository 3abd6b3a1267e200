"""Record answers from an event loop: whatever has gathered is written together by one thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Final

from sqlalchemy import Engine

from ketacast_service.audit import store
from ketacast_service.audit.chain import Entry, Record
from ketacast_service.audit.writer import ChainWriter
from ketacast_service.database import reading
from ketacast_service.errors import ServiceError, StoreDownError

GATHERING_SECONDS: Final = 0.0015
"""Under load the next group is given this long to grow: a commit costs the processor some
150 microseconds, however many records it holds. A lone request never waits for it."""

_LOG: Final = logging.getLogger(__name__)
_CLOSING_TIMEOUTS: Final = 3
"""A write under way and the last one may each wait for a connection and for the lock."""

Waiting = tuple[Entry | None, "asyncio.Future[None]"]
"""An entry and who waits for it; None only asks whether the store can be written."""


class AuditTrail:
    """Append records to the chain and find them again.

    Parameters
    ----------
    engine : Engine
        Of :func:`ketacast_service.database.open_engine`, with the newest schema. It stays
        the caller's to dispose of.
    timeout : float
        Longest wait for the database in seconds, as given to the engine.
    most_waiting : int
        Entries that may wait; further ones fail at once.
    """

    def __init__(self, engine: Engine, *, timeout: float, most_waiting: int = 10_000) -> None:
        self._engine = engine
        self._timeout = timeout
        self._most_waiting = most_waiting
        self._writer = ChainWriter(engine)
        self._queue: SimpleQueue[list[Waiting] | None] = SimpleQueue()
        self._gathered: list[Waiting] = []
        self._waiting = 0
        self._settled = 0
        self._futures: set[asyncio.Future[None]] = set()
        self._watch: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._is_healthy = True
        self._is_busy = False

    @property
    def is_healthy(self) -> bool:
        """Whether the last write succeeded."""
        return self._is_healthy

    def start(self) -> None:
        """Start the writer's thread; call it in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="audit writer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Write what waits and stop the thread; what is appended later fails."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._hand_over()
        self._queue.put(None)
        await asyncio.to_thread(thread.join, _CLOSING_TIMEOUTS * self._timeout)
        if thread.is_alive():
            _LOG.error(
                "the database does not answer; %d audit records wait unwritten", self._waiting
            )
        if self._watch is not None:
            self._watch.cancel()

    def append(self, entry: Entry) -> asyncio.Future[None]:
        """Have an entry recorded; the future is done when the record is durable.

        The record is written even if the future is cancelled.

        Returns
        -------
        asyncio.Future
            It raises `StoreDownError` if the store is down or locked beyond its timeout, too
            many entries wait, or the trail is closed; `ServiceError` if the entry itself is
            refused.
        """
        return self._enqueue(entry)

    async def find(self, id: str) -> Record | None:  # noqa: A002
        """Return the record of an answer, or None.

        Raises
        ------
        StoreDownError
            If the store does not answer.
        """
        return await asyncio.to_thread(self._find, id)

    async def ping(self) -> bool:
        """Say whether the store can be written, by a durable write that changes nothing."""
        try:
            await self._enqueue(None)
        except ServiceError:
            return False
        return True

    def _find(self, record_id: str) -> Record | None:
        with reading(self._engine) as connection:
            return store.find(connection, record_id)

    def _enqueue(self, entry: Entry | None) -> asyncio.Future[None]:
        loop = self._loop or asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        if self._thread is None:
            future.set_exception(StoreDownError("the audit trail is closed; start the service"))
        elif self._waiting >= self._most_waiting:
            future.set_exception(
                StoreDownError(
                    f"{self._waiting} audit records wait to be written; try again later, and "
                    "check the database's speed"
                )
            )
        else:
            self._waiting += 1
            if not self._gathered:
                # Handed over after all requests that are ready now: larger groups, fewer commits.
                wait = GATHERING_SECONDS if self._is_busy else 0.0
                loop.call_later(wait, self._hand_over)
            self._gathered.append((entry, future))
            self._futures.add(future)
        return future

    def _hand_over(self) -> None:
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []
            if self._watch is None:
                self._watch_from(self._settled)

    def _watch_from(self, settled: int) -> None:
        """Look again when a write that has begun must be over, one way or the other."""
        if self._loop is not None:
            # A write may wait once for a connection and once for the lock.
            self._watch = self._loop.call_later(2 * self._timeout, self._look, settled)

    def _look(self, settled: int) -> None:
        """Fail those who wait for a database that neither answers nor fails."""
        if not self._waiting:
            self._watch = None
            return
        if settled == self._settled:
            error = StoreDownError("the database has not answered in time; check that it runs")
            self._note_health(error)
            for future in self._futures:
                if not future.done():
                    future.set_exception(error.__class__(str(error)))
            self._futures.clear()
        self._watch_from(self._settled)

    def _run(self) -> None:
        """Write group after group until told to stop; no failure ends it."""
        is_open = True
        while is_open:
            group, is_open = self._take(self._queue.get())
            if not group:
                continue
            results = self._write(group)
            if isinstance(results[-1], StoreDownError):
                # Who came meanwhile has waited for the same lock: not for another timeout.
                late, is_still_open = self._take([])
                results += [results[-1]] * len(late)
                group += late
                is_open = is_open and is_still_open
            self._settle(group, results)

    def _take(self, first: list[Waiting] | None) -> tuple[list[Waiting], bool]:
        """Take all entries there are, and say whether more may come."""
        if first is None:
            return [], False
        group = list(first)
        while True:
            try:
                more = self._queue.get_nowait()
            except Empty:
                return group, True
            if more is None:
                return group, False
            group.extend(more)

    def _write(self, group: Sequence[Waiting]) -> list[ServiceError | None]:
        """Write a group in one transaction and return what became of each member."""
        entries = [entry for entry, _ in group if entry is not None]
        try:
            if entries:
                self._writer.write(entries)
            else:
                self._writer.touch()
        except StoreDownError as error:
            self._note_health(error)
            return [error] * len(group)
        except Exception as error:  # noqa: BLE001  # the thread must outlive every failure
            if len(group) > 1:  # one refused entry must not fail its neighbours
                return [result for member in group for result in self._write([member])]
            _LOG.error("an audit record is refused: %s", error.__class__.__name__)
            return [ServiceError(f"the audit record cannot be written: {_first_line(error)}")]
        self._note_health(None)
        return [None] * len(group)

    def _note_health(self, error: StoreDownError | None) -> None:
        if self._is_healthy and error is not None:
            _LOG.error("audit records cannot be written: %s", error)
        elif not self._is_healthy and error is None:
            _LOG.warning("audit records can be written again")
        self._is_healthy = error is None

    def _settle(self, group: list[Waiting], results: list[ServiceError | None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed without `close`
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._complete, group, results)

    def _complete(self, group: list[Waiting], results: list[ServiceError | None]) -> None:
        self._waiting -= len(group)
        self._is_busy = len(group) > 1
        self._settled += 1
        self._futures.difference_update([future for _, future in group])
        for (_, future), error in zip(group, results, strict=True):
            if future.done():  # cancelled: its client has gone
                continue
            if error is None:
                future.set_result(None)
            else:  # one for each: a raised error collects a traceback
                future.set_exception(error.__class__(str(error)))


def _first_line(error: Exception) -> str:
    origin = getattr(error, "orig", None) or error
    return (str(origin).splitlines() or [origin.__class__.__name__])[0]
