"""``/livez``, ``/readyz``, ``/version`` and ``/metrics``: for an operator's tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Response

from ketacast import __version__
from ketacast_service.api.documents import problems, shown
from ketacast_service.calls import Reply, to_response
from ketacast_service.models import as_json
from ketacast_service.observability import metrics_page

if TYPE_CHECKING:
    from ketacast_service.state import Service


async def readiness(service: Service) -> tuple[bool, dict[str, Any]]:
    """Say whether predictions can be answered: a verified model and a store that takes records."""
    stores = await service.trail.ping()
    is_ready = stores or not service.settings.audit_required
    return is_ready, {
        "ready": is_ready,
        "model": service.predictor.model.to_dict(),
        "audit": "takes records" if stores else "does not take records",
    }


def router(service: Service) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["operation"])

    @routes.get(
        "/livez",
        summary="Is the process alive?",
        operation_id="livez",
        response_model=None,
        responses={200: shown("LiveAnswer", "It is"), **problems(403, 429)},
    )
    async def livez() -> Response:
        """Answer as long as the process can."""
        return to_response(Reply(b'{"alive":true}'))

    @routes.get(
        "/readyz",
        summary="Can predictions be answered?",
        operation_id="readyz",
        response_model=None,
        responses={
            200: shown("ReadyAnswer", "They can: the model is loaded and verified"),
            503: shown("ReadyAnswer", "They cannot: the audit store takes no records"),
            **problems(403, 429),
        },
    )
    async def readyz() -> Response:
        """Answer 200 with a verified model and a store that takes records, else 503."""
        is_ready, document = await readiness(service)
        return to_response(Reply(as_json(document), 200 if is_ready else 503))

    @routes.get(
        "/version",
        summary="Versions of software and model",
        operation_id="version",
        response_model=None,
        responses={200: shown("VersionAnswer", "The versions"), **problems(403, 429)},
    )
    async def version() -> Response:
        """Give the versions of software and model."""
        found = {"ketacast": __version__, "model": service.predictor.model.to_dict()}
        return to_response(Reply(as_json(found)))

    @routes.get(
        "/metrics",
        summary="Metrics for Prometheus",
        operation_id="metrics",
        response_model=None,
        responses={
            200: {
                "description": "Prometheus' text format",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            **problems(401, 403, 429),
        },
    )
    async def metrics() -> Response:
        """Give counts and times of requests, of all workers."""
        kind = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
        return to_response(Reply(metrics_page(), headers=[kind]))

    return routes
