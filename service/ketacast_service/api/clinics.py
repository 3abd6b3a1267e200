"""``/v1/clinics``: a clinic's own results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response

from ketacast.clinical.artifact import Artifact
from ketacast.errors import ArtifactError, ConvergenceError, InputError
from ketacast_service.api.clinic_store import (
    Stored,
    add_clinic,
    changed,
    find_clinic,
    fresh,
    list_clinics,
    replace_clinic,
)
from ketacast_service.api.documents import problems, shown
from ketacast_service.api.paging import After, Limit, page
from ketacast_service.api.recording import record
from ketacast_service.api.requests import ClinicRequest, OutcomesRequest
from ketacast_service.calls import Call, Reply, call_of, to_response
from ketacast_service.errors import FieldProblem, ProblemError
from ketacast_service.models import Answer, as_json, digest
from ketacast_service.validation import problem_from

if TYPE_CHECKING:
    from ketacast.updating import Clinic
    from ketacast_service.state import Service

ClinicPath = Annotated[UUID, Path(description="identifier")]


async def create(service: Service, body: ClinicRequest, call: Call) -> Reply:
    """Make a clinic without counts."""
    try:
        clinic = await service.work.run(learn, service.predictor.artifact, [], None, body.label)
    except InputError as error:
        raise problem_from(error) from error
    new = fresh(clinic)
    await _record(service, call, new, body.model_dump(mode="json"))
    await add_clinic(service, new, call)
    return _reply(new, 201)


async def add_outcomes(
    service: Service, identifier: str, body: OutcomesRequest, call: Call
) -> Reply:
    """Add counts to a clinic and learn from all of them."""
    before = await find_clinic(service, identifier, call)
    batches = [entry.model_dump() for entry in body.batches]
    artifact = service.predictor.artifact
    try:
        clinic = await service.work.run_apart(
            learn, artifact, batches, before.clinic, None, body.repeated
        )
    except InputError as error:
        raise problem_from(error) from error
    except ConvergenceError as error:
        raise _contradiction(error) from error
    except ArtifactError as error:
        raise ProblemError("unavailable", str(error), headers=(("Retry-After", "60"),)) from error
    after = changed(before, clinic)
    await _record(service, call, after, body.model_dump(mode="json"))
    await replace_clinic(service, before, after)
    return _reply(after, 200)


def _contradiction(error: ConvergenceError) -> ProblemError:
    """Return the problem of counts that no clinic of the model would give."""
    detail, _, remedy = str(error).partition("; ")
    problem = FieldProblem("/batches", detail, remedy or "check the counts")
    return ProblemError("invalid-input", str(error), [problem])


def learn(
    artifact: Artifact,
    batches: list[dict[str, Any]],
    previous: Clinic | None,
    label: str | None,
    repeated: Any = "refuse",
) -> Clinic:
    """Build the records of counts and update the profile."""
    from ketacast.updating import Batch, Cell, update_clinic  # noqa: PLC0415  # NumPy

    new = [
        Batch(
            entry["batch"],
            tuple(
                Cell(**{**cell, "failed_trials": tuple(cell["failed_trials"])})
                for cell in entry["cells"]
            ),
        )
        for entry in batches
    ]
    return update_clinic(artifact, new, previous, label=label, repeated=repeated)


async def _record(service: Service, call: Call, stored: Stored, asked: dict[str, Any]) -> None:
    """Record what was learnt before it is stored: nothing changes unrecorded."""
    body = as_json(stored.to_dict())
    given = as_json({"clinic": stored.id, **asked})
    await record(service, call, "clinic", Answer(given, body, digest(body)))


def _reply(stored: Stored, status: int) -> Reply:
    headers = [(b"content-type", b"application/json")]
    if status == 201:
        headers.append((b"location", f"/v1/clinics/{stored.id}".encode()))
    return Reply(as_json(stored.to_dict()), status, headers)


_LINKS = {
    "readClinic": {
        "operationId": "readClinic",
        "parameters": {"clinic_id": "$response.body#/id"},
    },
    "addOutcomes": {
        "operationId": "addOutcomes",
        "parameters": {"clinic_id": "$response.body#/id"},
    },
    "clinicProfile": {
        "operationId": "clinicProfile",
        "parameters": {"clinic_id": "$response.body#/id"},
    },
    "predictForClinic": {
        "operationId": "predict",
        "requestBody": {
            "failed_trials": 6,
            "infusions": 6,
            "rated_by": "self",
            "clinic": {"id": "$response.body#/id"},
        },
    },
}


def router(service: Service) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["clinics"])
    for add in (_add_making, _add_listing, _add_reading, _add_profile, _add_learning):
        add(routes, service)
    return routes


def _add_making(routes: APIRouter, service: Service) -> None:
    @routes.post(
        "/v1/clinics",
        summary="Make a clinic",
        operation_id="createClinic",
        response_model=None,
        status_code=201,
        responses={
            201: shown("ClinicAnswer", "The clinic", headers=("Location",), links=_LINKS),
            **problems(400, 401, 403, 408, 413, 415, 422, 429, 503),
        },
    )
    async def post(body: ClinicRequest, request: Request) -> Response:
        """Make a clinic without counts: it answers as a new clinic until outcomes come."""
        return to_response(await create(service, body, call_of(request)))


def _add_listing(routes: APIRouter, service: Service) -> None:
    @routes.get(
        "/v1/clinics",
        summary="List the clinics of this client",
        operation_id="listClinics",
        response_model=None,
        responses={
            200: shown("ClinicList", "The clinics"),
            **problems(401, 403, 422, 429, 503),
        },
    )
    async def index(request: Request, after: After = None, limit: Limit = 100) -> Response:
        """Give the clinics that this client made, oldest first, a page at a time."""
        begin = None if after is None else str(after)
        found = await list_clinics(service, call_of(request), begin, limit + 1)
        return to_response(page("clinics", found, limit))


def _add_reading(routes: APIRouter, service: Service) -> None:
    @routes.get(
        "/v1/clinics/{clinic_id:uuid}",
        summary="Read a clinic",
        operation_id="readClinic",
        response_model=None,
        responses={
            200: shown("ClinicAnswer", "The clinic"), **problems(401, 403, 404, 429, 503),
        },
    )  # fmt: skip
    async def get(clinic_id: ClinicPath, request: Request) -> Response:
        """Give what is known of a clinic."""
        return to_response(
            _reply(await find_clinic(service, str(clinic_id), call_of(request)), 200)
        )


def _add_profile(routes: APIRouter, service: Service) -> None:
    @routes.get(
        "/v1/clinics/{clinic_id:uuid}/profile",
        summary="Download a clinic's profile",
        operation_id="clinicProfile",
        response_model=None,
        responses={
            200: {
                "description": "The file that `ketacast predict --clinic` reads",
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            **problems(401, 403, 404, 429, 503),
        },
    )
    async def profile(clinic_id: ClinicPath, request: Request) -> Response:
        """Give the profile, byte for byte as the library writes it."""
        found = await find_clinic(service, str(clinic_id), call_of(request))
        return to_response(Reply(found.clinic.to_json().encode()))


def _add_learning(routes: APIRouter, service: Service) -> None:
    @routes.post(
        "/v1/clinics/{clinic_id:uuid}/outcomes",
        summary="Add a clinic's own results",
        operation_id="addOutcomes",
        response_model=None,
        responses={
            200: shown("ClinicAnswer", "The clinic after all its counts", links=_LINKS),
            **problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503),
        },
    )
    async def outcomes(clinic_id: ClinicPath, body: OutcomesRequest, request: Request) -> Response:
        """Learn from counts of patients by covariates; takes up to some seconds."""
        return to_response(await add_outcomes(service, str(clinic_id), body, call_of(request)))
