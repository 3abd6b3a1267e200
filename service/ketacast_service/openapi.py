"""The OpenAPI document: the framework's, completed with the schemas of answers."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ketacast_service.access import required_scope
from ketacast_service.api import answers, requests, simulation_answers
from ketacast_service.settings import Settings

_SCHEMAS: Final[tuple[type[BaseModel], ...]] = (
    answers.PredictionAnswer,
    answers.RecordAnswer,
    answers.ClinicAnswer,
    answers.ClinicList,
    answers.EvidenceAnswer,
    answers.LiveAnswer,
    answers.ReadyAnswer,
    answers.VersionAnswer,
    answers.ProblemAnswer,
    answers.BatchAnswer,
    requests.BatchColumns,
    simulation_answers.SimulationAnswer,
    simulation_answers.SimulationList,
    simulation_answers.SimulationReport,
)
_DESCRIPTION: Final = """\
How likely are response and remission for a patient with treatment-resistant depression, a number \
of failed antidepressant trials and a planned course of intravenous racemic ketamine: as a range, \
from published study-level evidence.

Not a medical device, not advice for patients. Every answer carries its ranges, warnings, basis \
and the hash of its model. Send no patient identifier: none is needed. Errors are problem \
documents (RFC 9457)."""


def openapi_document(app: FastAPI, settings: Settings) -> dict[str, Any]:
    """Return the document; made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=_DESCRIPTION,
            routes=app.routes,
            tags=app.openapi_tags,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        kinds = [(model, "validation") for model in _SCHEMAS]
        _, found = models_json_schema(
            kinds,  # type: ignore[arg-type]
            ref_template="#/components/schemas/{model}",
        )
        schemas.update(found["$defs"])
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        _drop_foreign_refusals(document)
        _declare_access(document, settings)
        app.openapi_schema = document
    return app.openapi_schema


def _drop_foreign_refusals(document: dict[str, Any]) -> None:
    """Leave out the framework's own 422: ours are problem documents, and declared."""
    for operations in document["paths"].values():
        for operation in operations.values():
            refusal = operation["responses"].get("422", {})
            if "application/problem+json" not in refusal.get("content", {}):
                operation["responses"].pop("422", None)


def _declare_access(document: dict[str, Any], settings: Settings) -> None:
    """Say how to authenticate, where that is asked for."""
    if settings.public_url is not None:
        document["servers"] = [{"url": settings.public_url}]
    if settings.auth == "none":
        return
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "API key or JWT"}
    }
    for path, operations in document["paths"].items():
        if required_scope(path) is not None:
            for operation in operations.values():
                operation["security"] = [{"bearer": []}]
