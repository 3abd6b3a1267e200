"""Simulations that a service runs: ``client.simulations`` of both clients."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar
from urllib.parse import quote

from ketacast.client.asking import identifier, post
from ketacast.client.documents import Reading
from ketacast.client.errors import ConnectionFailedError, ServiceAnswerError
from ketacast.client.exchange import LIMITED, Answer, Operation, Request, load_json
from ketacast.errors import InputError, KetacastError

if TYPE_CHECKING:
    from ketacast.simulation import SimulationResult, Specification

T = TypeVar("T")

Given: TypeAlias = "Specification | Mapping[str, Any]"
Told: TypeAlias = "Callable[[ServedSimulation], object] | None"

ENDED: Final = frozenset({"done", "failed", "cancelled"})
LOOK_SECONDS: Final = 0.5
"""Between looks at a simulation that is waited for."""

LONGEST_AWAY: Final = 60.0
"""Seconds for which a service may not answer while its simulation is waited for."""

SERVICE_ERRORS: Final = (ServiceAnswerError, ConnectionFailedError)
"""After these a simulation goes on: nobody has given it up."""

AWAY: Final = frozenset({429, 502, 503, 504})
"""Statuses while it starts, has too much to do or waits for its database."""

_PATH: Final = "/v1/simulations"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_ANY: Final = "*/*"


@dataclass(frozen=True, slots=True)
class ServedSimulation:
    """A simulation that the service was asked for.

    Attributes
    ----------
    id : str
    state : {"queued", "running", "done", "failed", "cancelled"}
    title, engine, model_sha256, created : str
    done, total : int
        Patient-courses; 0 of 0 before it has begun.
    seconds : float
        Running time so far.
    problem : str
        Why it failed, or empty.
    files : tuple of str
        Names of the result's files.
    """

    id: str
    state: str
    title: str
    engine: str
    model_sha256: str
    created: str
    done: int
    total: int
    seconds: float
    problem: str = ""
    files: tuple[str, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in ENDED

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        return self.done / self.total if self.total else 0.0


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


def submitting(specification: Given) -> Operation[ServedSimulation]:
    """Send a specification."""
    request = post(_PATH, document_of(specification))
    # Not again after 503: it may have been taken on.
    return Operation(request, _read, expected=(202,), again=LIMITED)


def looking(given: str) -> Operation[ServedSimulation]:
    """Ask how far a simulation is."""
    one = identifier("id", given)
    return Operation(Request("GET", f"{_PATH}/{one}"), lambda answer: _same(answer, one))


def listing(after: str) -> Operation[tuple[list[ServedSimulation], str | None]]:
    """Ask for a page of this client's simulations."""

    def read(answer: Answer) -> tuple[list[ServedSimulation], str | None]:
        found = Reading(load_json(answer))
        following = found.raw("next")
        page = list(found.each("simulations", _simulation))
        return page, None if following is None else identifier("next", following)

    query = (("after", after),) if after else ()
    return Operation(Request("GET", _PATH, query), read)


def cancelling(given: str) -> Operation[ServedSimulation]:
    """End a simulation."""
    one = identifier("id", given)
    return Operation(Request("POST", f"{_PATH}/{one}/cancel"), lambda answer: _same(answer, one))


def removing(given: str) -> Operation[None]:
    """Remove a simulation."""
    one = identifier("id", given)
    return Operation(Request("DELETE", f"{_PATH}/{one}"), lambda _: None, expected=(204,))


def reporting(given: str) -> Operation[dict[str, Any]]:
    """Ask for a report."""
    one = identifier("id", given)

    def read(answer: Answer) -> dict[str, Any]:
        found = load_json(answer)
        Reading(found).items("outcomes")
        return dict(found)

    return Operation(Request("GET", f"{_PATH}/{one}/result"), read)


def fetching(given: str, name: str) -> Operation[bytes]:
    """Ask for a file."""
    one = identifier("id", given)
    if not isinstance(name, str) or not name:
        raise InputError(f"name is {name!r}; give one of the simulation's files")
    path = f"{_PATH}/{one}/files/{quote(name, safe='')}"

    def read(answer: Answer) -> bytes:
        # Proxies that compress make it weak, or add a word.
        named = _DIGEST.findall(answer.headers.get("etag", ""))
        if named and named != [hashlib.sha256(answer.body).hexdigest()]:
            raise InputError("its bytes are not those that the service keeps; ask again")
        return answer.body

    return Operation(Request("GET", path, accept=_ANY), read)


def document_of(specification: Given) -> dict[str, Any]:
    """Return what is sent of a specification, clinic profiles included.

    Raises
    ------
    InputError
        If a profile cannot be read.
    """
    if isinstance(specification, Mapping):
        return dict(specification)
    from ketacast.simulation.documents import to_document  # noqa: PLC0415

    document = to_document(specification)
    sent: dict[str, Any] = {}
    for group in document["cohort"]["groups"]:
        path = group.get("clinic", "new")
        if path in sent:  # once is enough, and a request has its limits
            group["clinic"] = {"sha256": sent[path]}
        elif path not in ("new", "average"):
            profile = _profile(Path(path))
            sent[path] = profile.get("sha256") if isinstance(profile, dict) else None
            group["clinic"] = {"profile": profile}
    return document


def _profile(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"the clinic profile {path} cannot be read ({error}); give the path of one that "
            "`ketacast clinic update` wrote"
        ) from error


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


def _same(answer: Answer, one: str) -> ServedSimulation:
    found = _read(answer)
    if found.id != one:
        raise InputError(f"it is simulation {found.id}, asked was {one}; do not use it")
    return found


def _read(answer: Answer) -> ServedSimulation:
    return _simulation(Reading(load_json(answer)))


def _simulation(found: Reading) -> ServedSimulation:
    progress = found.inner("progress")
    problem = found.raw("problem")
    return ServedSimulation(
        id=identifier("id", found.text("id")),
        state=found.text("state"),
        title=found.text("title"),
        engine=found.text("engine"),
        model_sha256=found.text("model_sha256"),
        created=found.text("created"),
        done=progress.whole("done"),
        total=progress.whole("total"),
        seconds=found.seconds("seconds"),
        problem="" if problem is None else found.inner("problem").text("detail"),
        files=found.each("files", lambda one: one.text("name")),
    )
