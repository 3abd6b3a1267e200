"""``/v1/simulations``: treatment courses of whole cohorts, run as jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response

from ketacast_service.api import simulation_jobs as jobs
from ketacast_service.api.documents import problems, shown
from ketacast_service.api.paging import After, Limit
from ketacast_service.api.simulation_requests import SimulationRequest
from ketacast_service.calls import call_of, to_response

if TYPE_CHECKING:
    from ketacast_service.state import Service

PATH: Final = "/v1/simulations/{simulation_id:uuid}"
BODILESS: Final = frozenset({PATH + "/cancel"})
"""Routes under POST that take no body."""

SimulationPath = Annotated[UUID, Path(description="identifier")]
FileName = Annotated[
    str,
    Path(
        description="name of a file, as the simulation lists it",
        min_length=1,
        max_length=60,
        pattern=r"^[a-z0-9][a-z0-9.-]*$",
    ),
]
_ID: Final = {"simulation_id": "$response.body#/id"}
_LINKS: Final = {
    **{
        name: {"operationId": name, "parameters": _ID}
        for name in ("readSimulation", "cancelSimulation", "removeSimulation", "simulationResult")
    },
    "simulationFile": {
        "operationId": "simulationFile",
        "parameters": {**_ID, "name": "report.json"},
    },
}
_FILES: Final[dict[str, Any]] = {
    "description": "The file",
    "headers": {"ETag": {"description": "Digest of the file", "schema": {"type": "string"}}},
    "content": {
        "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
        "text/csv": {"schema": {"type": "string"}},
        "application/json": {"schema": {"type": "object"}},
    },
}


def router(service: Service) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["simulations"])
    _add_making(routes, service)
    _add_reading(routes, service)
    _add_ending(routes, service)
    _add_results(routes, service)
    return routes


def _add_making(routes: APIRouter, service: Service) -> None:
    @routes.post(
        "/v1/simulations",
        summary="Simulate strategies",
        operation_id="createSimulation",
        response_model=None,
        status_code=202,
        responses={
            202: shown(
                "SimulationAnswer", "It is taken on", headers=("Location", "Retry-After"),
                links=_LINKS,
            ),
            **problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503),
        },
    )  # fmt: skip
    async def post(body: SimulationRequest, request: Request) -> Response:
        """Take a simulation on; ask for its state until that is `done`, then for its result.

        It runs in a process of its own for some minutes at most, and goes on after a restart
        of the service. Costs, utilities, drop-out and what maintenance and re-induction do
        are assumptions of yours, and the result lists them.
        """
        return to_response(await jobs.submit(service, body, call_of(request)))


def _add_reading(routes: APIRouter, service: Service) -> None:
    @routes.get(
        "/v1/simulations",
        summary="List the simulations of this client",
        operation_id="listSimulations",
        response_model=None,
        responses={
            200: shown("SimulationList", "The simulations"),
            **problems(401, 403, 422, 429, 503),
        },
    )
    async def index(request: Request, after: After = None, limit: Limit = 100) -> Response:
        """Give the simulations that this client asked for, oldest first, a page at a time."""
        begin = None if after is None else str(after)
        return to_response(await jobs.index(service, call_of(request), begin, limit))

    @routes.get(
        PATH,
        summary="How far is a simulation?",
        operation_id="readSimulation",
        response_model=None,
        responses={
            200: shown("SimulationAnswer", "Its state", headers=("Retry-After",)),
            **problems(401, 403, 404, 429, 503),
        },
    )
    async def get(simulation_id: SimulationPath, request: Request) -> Response:
        """Give its state, progress and, once done, its files."""
        return to_response(await jobs.read(service, str(simulation_id), call_of(request)))


def _add_ending(routes: APIRouter, service: Service) -> None:
    @routes.post(
        PATH + "/cancel",
        summary="Cancel a simulation",
        operation_id="cancelSimulation",
        response_model=None,
        responses={
            200: shown("SimulationAnswer", "Cancelled, or as it was if it had ended"),
            **problems(401, 403, 404, 429, 503),
        },
    )
    async def cancel(simulation_id: SimulationPath, request: Request) -> Response:
        """End it within a second or two; one that has ended stays as it is. Takes no body."""
        return to_response(await jobs.cancel(service, str(simulation_id), call_of(request)))

    @routes.delete(
        PATH,
        summary="Remove a simulation",
        operation_id="removeSimulation",
        response_model=None,
        status_code=204,
        responses={
            204: {"description": "It is gone, with its result"},
            **problems(401, 403, 404, 429, 503),
        },
    )
    async def remove(simulation_id: SimulationPath, request: Request) -> Response:
        """Remove it with its result; one that runs is ended. Records of answers stay."""
        await jobs.remove(service, str(simulation_id), call_of(request))
        return Response(status_code=204)


def _add_results(routes: APIRouter, service: Service) -> None:
    @routes.get(
        PATH + "/result",
        summary="The result of a simulation",
        operation_id="simulationResult",
        response_model=None,
        responses={
            200: shown("SimulationReport", "Outcomes at the horizon", headers=("ETag",)),
            **problems(401, 403, 404, 409, 429, 503),
        },
    )
    async def result(simulation_id: SimulationPath, request: Request) -> Response:
        """Give outcomes at the horizon and differences between strategies, with their ranges.

        The same document as the file `report.json`; all weeks are in `summary.csv`,
        `differences.csv` and the files of Parquet.
        """
        return to_response(await jobs.report(service, str(simulation_id), call_of(request)))

    @routes.get(
        PATH + "/files/{name}",
        summary="A file of the result",
        operation_id="simulationFile",
        response_model=None,
        responses={200: _FILES, **problems(401, 403, 404, 409, 422, 429, 503)},
    )
    async def file(simulation_id: SimulationPath, name: FileName, request: Request) -> Response:
        """Give a file: tables of all weeks as Parquet or CSV, and every draw as Parquet.

        `ketacast simulate rerun FILE` runs a file of Parquet again, to the last bit.
        """
        return await jobs.download(service, str(simulation_id), name, call_of(request))
