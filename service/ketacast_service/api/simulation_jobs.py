"""Simulations as jobs: taken on, looked at, ended, their results given."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import structlog
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from ketacast_service.api.paging import page
from ketacast_service.api.recording import record
from ketacast_service.api.simulation_making import new_job
from ketacast_service.api.simulation_requests import SimulationRequest
from ketacast_service.calls import JSON, Call, Reply
from ketacast_service.errors import ProblemError, store_problems
from ketacast_service.models import Answer, as_json, digest
from ketacast_service.observability import SIMULATIONS
from ketacast_service.simulations import FINISHED, Job, JobFile

if TYPE_CHECKING:
    from ketacast_service.state import Service

P = ParamSpec("P")
T = TypeVar("T")

REPORT: Final = "report.json"
_MEDIA: Final = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}
_STORED: Final = "stored simulations"
_LOG = structlog.get_logger(__name__)
_PATIENCE_SECONDS: Final = 15.0
_PAUSE_SECONDS: Final = 0.1


async def submit(service: Service, body: SimulationRequest, call: Call) -> Reply:
    """Take a simulation on.

    Raises
    ------
    ProblemError
        "invalid-input" if it cannot be run, "too-many-requests" or "conflict" if there is no
        room for one more, "not-allowed" where simulations are switched off.
    """
    if service.jobs.limits.waiting == 0:
        raise ProblemError(
            "not-allowed",
            "this service runs no simulations (simulations_waiting is 0); run them yourself with "
            "`ketacast simulate run`",
        )
    await _stored(service, service.jobs.check_room, call.client.id)
    job = await new_job(service, body, call)
    shown_job = job.shown(service.jobs.limits.days)
    asked = {
        "simulation": job.id,
        "specification": body.model_dump(mode="json", exclude_unset=True),
    }
    answer = as_json(shown_job)
    await record(service, call, "simulation", Answer(as_json(asked), answer, digest(answer)))
    await _stored(service, service.jobs.add, job)
    service.runner.wake()
    location = (b"location", f"/v1/simulations/{job.id}".encode())
    return Reply(answer, 202, [JSON, location, (b"retry-after", b"1")])


async def read(service: Service, identifier: str, call: Call) -> Reply:
    """Say how far a simulation is."""
    job = await _find(service, identifier, call)
    before = None
    headers = [JSON]
    if job.state not in FINISHED:
        headers.append((b"retry-after", b"1"))
    if job.state == "queued":
        before = await _stored(service, service.jobs.before, job)
    return Reply(as_json(job.shown(service.jobs.limits.days, before)), headers=headers)


async def cancel(service: Service, identifier: str, call: Call) -> Reply:
    """End a simulation that is not finished."""
    before = await _find(service, identifier, call)
    after = await _stored(service, service.jobs.cancel, identifier, call.client.id)
    if after is None:
        raise _unknown(identifier)
    if after.state == "cancelled" and before.state != "cancelled":
        SIMULATIONS.labels("cancelled").inc()
    return Reply(as_json(after.shown(service.jobs.limits.days)))


async def remove(service: Service, identifier: str, call: Call) -> None:
    """Remove a simulation with its result."""
    if not await _stored(service, service.jobs.remove, identifier, call.client.id):
        raise _unknown(identifier)


async def index(service: Service, call: Call, after: str | None, limit: int) -> Reply:
    """List the simulations of a client, a page at a time."""
    found = await _stored(service, service.jobs.list, call.client.id, after, limit + 1)
    days = service.jobs.limits.days
    return page("simulations", [job.shown(days) for job in found], limit)


async def report(service: Service, identifier: str, call: Call) -> Reply:
    """Give the report of a finished simulation."""
    job = await _find(service, identifier, call)
    wanted = _file(job, REPORT)
    first = await _part(service, job, wanted, 0)
    body = b"".join([part async for part in _parts(service, job, wanted, first)])
    asked = as_json({"simulation": job.id, "file": REPORT})
    _, headers = await record(service, call, "simulation", Answer(asked, body, digest(body)))
    return Reply(body, headers=[JSON, _etag(wanted), *headers])


async def download(service: Service, identifier: str, name: str, call: Call) -> Response:
    """Send a file of a finished simulation, part by part."""
    job = await _find(service, identifier, call)
    wanted = _file(job, name)
    first = await _part(service, job, wanted, 0)  # before an answer begins
    asked = as_json({"simulation": job.id, "file": name})
    sent = as_json({"sent_sha256": wanted.sha256, "bytes": wanted.bytes})
    _, headers = await record(service, call, "simulation", Answer(asked, sent, digest(sent)))
    response = Download(_parts(service, job, wanted, first))
    response.raw_headers = [
        (b"content-type", _MEDIA[name.rpartition(".")[2]].encode()),
        (b"content-length", str(wanted.bytes).encode()),
        (b"content-disposition", f'attachment; filename="{name}"'.encode()),
        _etag(wanted),
        *headers,
    ]
    return response


class Download(StreamingResponse):
    """A file that is sent part by part; where it cannot go on, the connection is closed."""

    async def stream_response(self, send: Send) -> None:
        """Send it; the announced length shows a client that some is missing."""
        try:
            await super().stream_response(send)
        except ProblemError as problem:
            _LOG.warning("a download was cut off", reason=problem.slug)


async def _parts(service: Service, job: Job, wanted: JobFile, first: bytes) -> AsyncIterator[bytes]:
    yield first
    for number in range(1, wanted.parts):
        yield await _patiently(service, job, wanted, number)


async def _patiently(service: Service, job: Job, wanted: JobFile, number: int) -> bytes:
    """Wait while the service has much to do: an answer that has begun cannot be put off."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return await _part(service, job, wanted, number)
        except ProblemError as problem:
            if problem.slug != "unavailable" or time.monotonic() > end:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)


async def _part(service: Service, job: Job, wanted: JobFile, number: int) -> bytes:
    part = await _stored(service, service.jobs.part, job.id, wanted.name, number)
    if part is None:  # removed meanwhile
        raise _unknown(job.id)
    return part


async def _find(service: Service, identifier: str, call: Call) -> Job:
    job = await _stored(service, service.jobs.find, identifier, call.client.id)
    if job is None:
        raise _unknown(identifier)
    return job


async def _stored(service: Service, task: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    with store_problems(_STORED):
        return await service.work.run(task, *given, **named)


def _file(job: Job, name: str) -> JobFile:
    if job.state not in FINISHED:
        share = f"{100 * job.done / job.total:.0f} % is done" if job.total else "it has not begun"
        raise ProblemError(
            "conflict",
            f"simulation {job.id} is {job.state} ({share}); ask again when its state is 'done'",
            headers=(("Retry-After", "2"),),
        )
    if job.state != "done":
        why = f": {job.problem['detail']}" if job.problem else ""
        raise ProblemError("conflict", f"simulation {job.id} is {job.state} and has no result{why}")
    for one in job.files:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in job.files)
    raise ProblemError("not-found", f"simulation {job.id} has no file {name!r}; it has {names}")


def _unknown(identifier: str) -> ProblemError:
    return ProblemError(
        "not-found",
        f"no simulation {identifier} belongs to this client; it may have been removed, and "
        "GET /v1/simulations lists those there are",
    )


def _etag(wanted: JobFile) -> tuple[bytes, bytes]:
    return b"etag", f'"{wanted.sha256}"'.encode()
