"""``POST /v1/predictions`` and ``GET /v1/predictions/{id}``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response

from ketacast.errors import ArtifactError, InputError
from ketacast.fhir import risk_assessment
from ketacast.predictor import DEFAULT_LEVELS, checked_levels
from ketacast.updating.profile import clinic_of_document
from ketacast_service.accepting import best_of
from ketacast_service.api.clinic_store import find_clinic
from ketacast_service.api.documents import problems, shown
from ketacast_service.api.recording import find_record, record, shown_record
from ketacast_service.api.requests import ClinicProfile, PredictionRequest, StoredClinic
from ketacast_service.calls import Call, Reply, call_of, to_response
from ketacast_service.errors import FieldProblem, ProblemError, ServiceError
from ketacast_service.models import Answer, answer_of, as_json
from ketacast_service.state import Service
from ketacast_service.validation import problem_from

if TYPE_CHECKING:
    from ketacast.updating import Clinic

JSON: Final = "application/json"
FHIR: Final = "application/fhir+json"
_PLAIN: Final = (None, b"*/*", b"application/json")
IdPath = Annotated[UUID, Path(description="identifier")]


async def predict(service: Service, body: PredictionRequest, call: Call) -> Reply:
    """Answer for one patient, once the answer is recorded."""
    kind = _kind(body, call)
    answer = await find_answer(service, body, call)
    identifier, headers = await record(service, call, "prediction", answer)
    if kind == FHIR:
        text = as_json(_resource(answer, body, identifier))
    else:
        text = b'{"id":"' + identifier.encode() + b'",' + answer.body[1:]
    location = (b"location", f"/v1/predictions/{identifier}".encode())
    return Reply(text, 200, [(b"content-type", kind.encode()), location, *headers])


def _kind(body: PredictionRequest, call: Call) -> str:
    """Choose the format of the answer.

    Raises
    ------
    ProblemError
        "not-acceptable"; "invalid-input" if a patient is named where none is needed, or
        is not where the resource needs one.
    """
    accept = call.header(b"accept")
    kind = JSON if accept in _PLAIN else best_of(str(accept, "latin-1"), (JSON, FHIR))
    if kind == FHIR and body.subject is None:
        raise _field_problem(
            "/subject", "is missing", "a RiskAssessment needs one; give the patient's reference"
        )
    if kind == JSON and (body.subject is not None or body.basis):
        name = "/subject" if body.subject is not None else "/basis"
        raise _field_problem(name, "is not needed", "leave it out, or accept application/fhir+json")
    return kind


def _field_problem(field: str, detail: str, remedy: str) -> ProblemError:
    problem = FieldProblem(field, detail, remedy)
    return ProblemError("invalid-input", f"{field} {detail}; {remedy}", errors=(problem,))


def _resource(answer: Answer, body: PredictionRequest, identifier: str) -> dict[str, Any]:
    """Format the answer as a FHIR resource; what names the patient goes nowhere else."""
    if answer.prediction is None or body.subject is None:
        raise ServiceError("a RiskAssessment is made of a prediction and a subject; give both")
    resource = risk_assessment(
        answer.prediction,
        subject=body.subject,
        occurrence=datetime.now(UTC),
        basis=body.basis,
    )
    return {**resource, "identifier": [{"system": "urn:ietf:rfc:3986", "value": _urn(identifier)}]}


def _urn(identifier: str) -> str:
    return f"urn:uuid:{identifier}"


async def find_answer(service: Service, body: PredictionRequest, call: Call) -> Answer:
    """Return the answer to a request, kept or computed; not yet recorded.

    Raises
    ------
    ProblemError
        If a value cannot be used, or too much is being computed.
    """
    trials = body.trials
    levels = _levels(body)
    if body.clinic is not None:
        clinic = await _clinic(service, body.clinic, call)
        return await service.work.run(_compute, service, body, levels, clinic)
    key = (trials, body.infusions, body.rated_by, body.so_far, levels)
    kept = service.answers.find(key)
    if kept is not None:
        return kept
    is_point = trials[0] == trials[1] and not body.so_far
    if is_point and all(level in service.predictor.artifact.levels for level in levels):
        answer = _compute(service, body, levels, None)
    else:
        answer = await service.work.run(_compute, service, body, levels, None)
    service.answers.keep(key, answer)
    return answer


def _levels(body: PredictionRequest) -> tuple[float, ...]:
    if body.levels == DEFAULT_LEVELS:
        return DEFAULT_LEVELS
    try:
        return checked_levels(body.levels)
    except InputError as error:
        raise problem_from(error) from error


def _compute(
    service: Service, body: PredictionRequest, levels: tuple[float, ...], clinic: Clinic | None
) -> Answer:
    try:
        prediction = service.predictor.predict(
            body.trials, body.infusions, body.rated_by, levels, so_far=body.so_far, clinic=clinic
        )
    except InputError as error:
        raise problem_from(error) from error
    except ArtifactError as error:
        raise _clinic_problem(error) from error
    return answer_of(prediction, levels)


async def _clinic(service: Service, given: StoredClinic | ClinicProfile, call: Call) -> Clinic:
    if isinstance(given, StoredClinic):
        return (await find_clinic(service, given.id, call)).clinic
    try:
        return await service.work.run(clinic_of_document, given.profile)
    except ArtifactError as error:
        raise _clinic_problem(error) from error


def _clinic_problem(error: ArtifactError) -> ProblemError:
    detail, _, remedy = str(error).partition("; ")
    return ProblemError(
        "invalid-input", str(error), errors=(FieldProblem("/clinic", detail, remedy),)
    )


def router(service: Service) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["predictions"])

    @routes.post(
        "/v1/predictions",
        summary="Predict for one patient",
        operation_id="predict",
        response_model=None,
        responses={
            200: shown(
                "PredictionAnswer",
                "The prediction, recorded under its id; a RiskAssessment if that is accepted",
                also={FHIR: {"schema": {"type": "object"}}},
                headers=("Location",),
                links={
                    "recall": {
                        "operationId": "recall",
                        "description": "of an answer in application/json",
                        "parameters": {"prediction_id": "$response.body#/id"},
                    }
                },
            ),
            **problems(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
        },
    )
    async def post(body: PredictionRequest, request: Request) -> Response:
        """Answer with the chance of response and remission, each with its ranges and limits."""
        return to_response(await predict(service, body, call_of(request)))

    @routes.get(
        "/v1/predictions/{prediction_id:uuid}",
        summary="Recall what was answered",
        operation_id="recall",
        response_model=None,
        responses={
            200: shown("RecordAnswer", "The record"),
            **problems(401, 403, 404, 429, 503),
        },
    )
    async def get(prediction_id: IdPath, request: Request) -> Response:
        """Give what this client was answered, by which model and when."""
        return to_response(await recall(service, str(prediction_id), call_of(request)))

    return routes


async def recall(service: Service, identifier: str, call: Call) -> Reply:
    """Give a record to the client that asked for it then."""
    found = await find_record(service, identifier)
    if found is None or found.client != call.client.id:
        raise ProblemError(
            "not-found",
            f"no answer {identifier} was given to this client; check the id, or see whether its "
            "record was purged",
        )
    return Reply(as_json(shown_record(found)))
