"""CDS Hooks: discovery, a route for each hook, and feedback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request, Response

from ketacast_service.calls import Call, Reply, call_of, to_response
from ketacast_service.cds_hooks.answering import HookAnswerer
from ketacast_service.cds_hooks.cards import CardMaker
from ketacast_service.cds_hooks.discovery import BASE, SERVICES, HookService, discovery_document
from ketacast_service.cds_hooks.feedback import take_feedback
from ketacast_service.cds_hooks.fhir_reader import FhirReader
from ketacast_service.cds_hooks.outcomes import MEDIA_TYPE
from ketacast_service.cds_hooks.schemas import call_schema, feedback_schema
from ketacast_service.security.cds_clients import CdsClients
from ketacast_service.security.doors import Door

if TYPE_CHECKING:
    from ketacast_service.state import Service

ThinHandler = Callable[[Call], Awaitable[Reply]]

_TITLES: Final = {
    400: "The call cannot be read",
    401: "No client that is known here",
    403: "Not allowed",
    404: "No such service",
    408: "The body did not arrive in time",
    412: "Data that the answer needs is missing",
    413: "The body is too large",
    415: "The body's format is not read here",
    429: "Too many calls",
    503: "The answer cannot be recorded now",
}


class CdsHooks:
    """The routes of CDS Hooks and what they share.

    Parameters
    ----------
    service : Service
        What the worker holds; its settings say whether CDS Hooks are on.

    Attributes
    ----------
    is_on : bool
        Whether there are routes.
    thin : dict of str to callable
        The routes that take a body, by path.
    """

    def __init__(self, service: Service) -> None:
        mode = service.settings.cds_mode
        self._service = service
        self._reader = FhirReader(service.settings)
        self._clients = CdsClients(service.settings, service.engine) if mode == "jwt" else None
        self.is_on = mode != "off"
        self.thin = self._handlers() if self.is_on else {}

    def _handlers(self) -> dict[str, ThinHandler]:
        cards = CardMaker(self._service.settings, self._service.predictor.model)
        found: dict[str, ThinHandler] = {}
        for hook in SERVICES:
            found[hook.path] = HookAnswerer(self._service, hook, self._reader, cards).answer
            found[hook.feedback_path] = partial(take_feedback, self._service, hook)
        return found

    def doors(self) -> dict[str, Callable[[str], Door]]:
        """Return what tells who calls, where that differs from the other routes."""
        return {} if self._clients is None else {BASE: self._clients.at}

    def router(self) -> APIRouter:
        """Return the routes, documented; those with a body are answered by the same functions."""
        routes = APIRouter(tags=["CDS Hooks"])
        if not self.is_on:
            return routes
        document = discovery_document()

        @routes.get(
            BASE,
            summary="The services offered",
            operation_id="cdsDiscovery",
            response_model=None,
            responses={200: _json("Discovery document"), **_refusals(401, 403, 429)},
        )
        async def discovery() -> Response:
            """Give the services with their hooks and prefetch templates."""
            return to_response(Reply(document))

        for hook in SERVICES:
            _add(routes, hook.path, self.thin[hook.path], _call_documentation(hook))
            path = hook.feedback_path
            _add(routes, path, self.thin[path], _feedback_documentation(hook))
        return routes

    async def start(self) -> None:
        """Read clients' keys ahead of their first call."""
        if self._clients is not None:
            await self._clients.start()

    async def close(self) -> None:
        """Let go of connections."""
        await self._reader.close()
        if self._clients is not None:
            await self._clients.close()


def _add(routes: APIRouter, path: str, handler: ThinHandler, documentation: dict[str, Any]) -> None:
    async def post(request: Request) -> Response:
        call = call_of(request)
        call.body = await request.body()
        return to_response(await handler(call))

    routes.add_api_route(path, post, methods=["POST"], response_model=None, **documentation)


def _call_documentation(hook: HookService) -> dict[str, Any]:
    return {
        "summary": hook.title,
        "description": hook.description,
        "operation_id": f"cds_{hook.hook.replace('-', '_')}",
        "openapi_extra": _body("A call as CDS Hooks 2.0 describes it", call_schema(hook)),
        "responses": {
            200: _json("Cards"),
            **_refusals(400, 401, 403, 408, 412, 413, 415, 429, 503),
        },
    }


def _feedback_documentation(hook: HookService) -> dict[str, Any]:
    return {
        "summary": f"{hook.title}: feedback",
        "description": "Say what became of cards. Comments are not kept.",
        "operation_id": f"cds_feedback_{hook.hook.replace('-', '_')}",
        "response_class": Response,
        "openapi_extra": _body("Feedback as CDS Hooks 2.0 describes it", feedback_schema()),
        "responses": {
            200: {"description": "Recorded; the body is empty"},
            **_refusals(400, 401, 403, 408, 413, 415, 429, 503),
        },
    }


def _body(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def _json(description: str) -> dict[str, Any]:
    schema = {"application/json": {"schema": {"type": "object"}}}
    return {"description": description, "content": schema}


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {MEDIA_TYPE.decode(): {"schema": {"type": "object"}}}
    return {status: {"description": _TITLES[status], "content": content} for status in statuses}
