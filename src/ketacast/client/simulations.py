"""Simulations that a service runs: ``client.simulations`` of both clients."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

from ketacast.client.errors import ConnectionFailedError, ServiceAnswerError
from ketacast.client.exchange import Operation
from ketacast.client.simulation_operations import (
    Given,
    ServedSimulation,
    cancelling,
    fetching,
    listing,
    looking,
    removing,
    reporting,
    submitting,
)
from ketacast.errors import InputError, KetacastError

if TYPE_CHECKING:
    from ketacast.simulation import SimulationResult

T = TypeVar("T")

Told: TypeAlias = "Callable[[ServedSimulation], object] | None"

LOOK_SECONDS: Final = 0.5
"""Between looks at a simulation that is waited for."""

LONGEST_AWAY: Final = 60.0
"""Seconds for which a service may not answer while its simulation is waited for."""

SERVICE_ERRORS: Final = (ServiceAnswerError, ConnectionFailedError)
"""After these a simulation goes on: nobody has given it up."""

AWAY: Final = frozenset({429, 502, 503, 504})
"""Statuses while it starts, has too much to do or waits for its database."""


class Run(Protocol):
    """Carries out an operation."""

    def __call__(self, operation: Operation[T]) -> T:
        """Return what it gives."""


class AsyncRun(Protocol):
    """Carries out an operation."""

    def __call__(self, operation: Operation[T]) -> Awaitable[T]:
        """Return what it gives."""


class Waiting:
    """Lets looks fail while the service is away, for a while."""

    def __init__(self) -> None:
        self._seen = time.monotonic()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if error is None:
            self._seen = time.monotonic()
        return _is_away(error) and time.monotonic() - self._seen < LONGEST_AWAY


def _is_away(error: BaseException | None) -> bool:
    """Whether the service, or a proxy for it, gave no answer that says anything of its own."""
    if isinstance(error, ServiceAnswerError):
        return error.status in AWAY
    return isinstance(error, ConnectionFailedError)


class Simulations:
    """Simulations of a blocking client.

    Parameters
    ----------
    run : Run
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def run(self, specification: Given, tell: Told = None) -> SimulationResult:
        """Send a specification and wait for its result.

        Parameters
        ----------
        specification : Specification or mapping
            Clinic profiles that a `Specification` names are read and sent along.
        tell : callable, optional
            Called with each :class:`ServedSimulation` seen on the way.

        Returns
        -------
        SimulationResult
            The library's own value. If waiting is interrupted, or `tell` raises, the simulation
            is cancelled; a restart of the service is waited for.

        Raises
        ------
        InputError
            If it fails, or is cancelled meanwhile.
        ConnectionFailedError
            If the service is away for a minute; the simulation goes on once it is back.
        MissingDependencyError
            Without pyarrow.
        """
        found = self.submit(specification)
        waiting = Waiting()
        try:
            while not found.has_ended:
                _told(tell, found)
                time.sleep(LOOK_SECONDS)
                with waiting:
                    found = self.state(found.id)
        except BaseException as error:
            if not isinstance(error, SERVICE_ERRORS):
                with suppress(KetacastError):  # what interrupted is what is told
                    self.cancel(found.id)
            raise
        _told(tell, found)
        _done(found)
        while True:
            with waiting:
                return self.result(found.id)
            time.sleep(LOOK_SECONDS)

    def submit(self, specification: Given) -> ServedSimulation:
        """Send a specification; it is run when its turn comes."""
        return self._run(submitting(specification))

    def state(self, id: str) -> ServedSimulation:  # noqa: A002  # the service's own word
        """Say how far it is."""
        return self._run(looking(id))

    def all(self) -> list[ServedSimulation]:
        """Return this client's simulations, oldest first."""
        found: list[ServedSimulation] = []
        after: str | None = ""
        while after is not None:
            page, after = self._run(listing(after))
            found += page
        return found

    def cancel(self, id: str) -> ServedSimulation:  # noqa: A002
        """End it; one that has ended stays as it is."""
        return self._run(cancelling(id))

    def remove(self, id: str) -> None:  # noqa: A002
        """Remove it with its result."""
        self._run(removing(id))

    def report(self, id: str) -> dict[str, Any]:  # noqa: A002
        """Return its report: outcomes at the horizon, differences, what they rest on."""
        return self._run(reporting(id))

    def file(self, id: str, name: str) -> bytes:  # noqa: A002
        """Return a file of its result."""
        return self._run(fetching(id, name))

    def result(self, id: str) -> SimulationResult:  # noqa: A002
        """Return its result as the library's own value.

        Raises
        ------
        MissingDependencyError
            Without pyarrow.
        """
        return _result(self.file(id, "draws.parquet"))


class AsyncSimulations:
    """Simulations of an asynchronous client; what each does is said in :class:`Simulations`."""

    def __init__(self, run: AsyncRun) -> None:
        self._run = run

    async def run(self, specification: Given, tell: Told = None) -> SimulationResult:
        """Send a specification and wait for its result."""
        found = await self.submit(specification)
        waiting = Waiting()
        try:
            while not found.has_ended:
                _told(tell, found)
                await asyncio.sleep(LOOK_SECONDS)
                with waiting:
                    found = await self.state(found.id)
        except BaseException as error:
            if not isinstance(error, SERVICE_ERRORS):
                with suppress(KetacastError):
                    await self.cancel(found.id)
            raise
        _told(tell, found)
        _done(found)
        while True:
            with waiting:
                return await self.result(found.id)
            await asyncio.sleep(LOOK_SECONDS)

    async def submit(self, specification: Given) -> ServedSimulation:
        """Send a specification."""
        return await self._run(submitting(specification))

    async def state(self, id: str) -> ServedSimulation:  # noqa: A002
        """Say how far it is."""
        return await self._run(looking(id))

    async def all(self) -> list[ServedSimulation]:
        """Return this client's simulations, oldest first."""
        found: list[ServedSimulation] = []
        after: str | None = ""
        while after is not None:
            page, after = await self._run(listing(after))
            found += page
        return found

    async def cancel(self, id: str) -> ServedSimulation:  # noqa: A002
        """End it."""
        return await self._run(cancelling(id))

    async def remove(self, id: str) -> None:  # noqa: A002
        """Remove it with its result."""
        await self._run(removing(id))

    async def report(self, id: str) -> dict[str, Any]:  # noqa: A002
        """Return its report."""
        return await self._run(reporting(id))

    async def file(self, id: str, name: str) -> bytes:  # noqa: A002
        """Return a file of its result."""
        return await self._run(fetching(id, name))

    async def result(self, id: str) -> SimulationResult:  # noqa: A002
        """Return its result as the library's own value."""
        return _result(await self.file(id, "draws.parquet"))


def _result(body: bytes) -> SimulationResult:
    from ketacast.simulation.parquet import read_result  # noqa: PLC0415  # pyarrow

    return read_result(io.BytesIO(body))


def _done(found: ServedSimulation) -> None:
    if found.state != "done":
        why = f": {found.problem}" if found.problem else ""
        raise InputError(f"simulation {found.id} is {found.state}{why}")


def _told(tell: Told, found: ServedSimulation) -> None:
    if tell is not None:
        tell(found)
