"""The application: routes, lifespan, handlers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy import Engine
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from ketacast import __version__
from ketacast_service import safety
from ketacast_service.apart import end_with_parent
from ketacast_service.api import (
    batches,
    clinics,
    library,
    operations,
    predictions,
    simulations,
)
from ketacast_service.api.requests import PredictionRequest
from ketacast_service.audit import AuditTrail
from ketacast_service.calls import Call, Reply, to_response
from ketacast_service.cds_hooks import CdsHooks, refusal
from ketacast_service.database import directory_of, migrate, open_engine
from ketacast_service.docs_page import add_docs_page
from ketacast_service.errors import BY_STATUS, ProblemError
from ketacast_service.gate import Gate, Routes, failure
from ketacast_service.incoming import ClientGoneError
from ketacast_service.models import Answers, load_verified
from ketacast_service.moments import utc_text
from ketacast_service.observability import MODEL, configure_logging
from ketacast_service.openapi import openapi_document
from ketacast_service.security import build_authenticator
from ketacast_service.security.doors import Doors
from ketacast_service.settings import Settings, load_settings, state_directory
from ketacast_service.simulations import JobStore, Limits, Place, Runner
from ketacast_service.state import Service
from ketacast_service.validation import parse, problem_of
from ketacast_service.web import routes as lookup
from ketacast_service.work import Work

_LOG = structlog.get_logger(__name__)
_SETTLED_SECONDS: Final = 1.0
_PARTS: Final = (predictions, batches, clinics, simulations, library, operations)
_TAGS: Final = [
    {"name": "predictions", "description": "One patient, or many at once"},
    {"name": "clinics", "description": "A clinic's own results"},
    {"name": "simulations", "description": "Treatment courses of whole cohorts, as jobs"},
    {"name": "CDS Hooks", "description": "Cards in electronic health records"},
    {"name": "model and evidence", "description": "What the numbers rest on"},
    {"name": "operation", "description": "For an operator's tools"},
]


def create_app(settings: Settings | None = None) -> ASGIApp:
    """Return the service as an ASGI application.

    Parameters
    ----------
    settings : Settings, optional
        Read from environment and file by default.

    Raises
    ------
    ServiceError
        If the settings are not usable or not safe.
    ArtifactError
        If the model is missing, altered or damaged.
    """
    chosen = load_settings() if settings is None else settings
    safety.check(chosen)
    configure_logging(chosen)
    for remark in safety.warnings(chosen):
        _LOG.warning(remark)
    service = make_service(chosen)
    hooks = CdsHooks(service)
    app = build_framework(chosen, service, hooks)
    gate = Gate(app, chosen)
    app.router.lifespan_context = _lifespan(service, hooks, gate)
    gate.routes = Routes(
        thin={"/v1/predictions": _thin_prediction(service), **hooks.thin},
        streaming={"/v1/predictions/batch": batches.MEDIA, **lookup.STREAMING},
        posting=[
            route.path_regex
            for route in known_routes(app)
            if "POST" in (route.methods or ()) and route.path not in simulations.BODILESS
        ],
        largest=dict.fromkeys(hooks.thin, chosen.cds_max_body_bytes),
    )
    if chosen.telemetry:
        from ketacast_service.telemetry import instrument  # noqa: PLC0415  # an extra

        return instrument(gate, chosen)
    return gate


def build_framework(settings: Settings, service: Service, hooks: CdsHooks) -> FastAPI:
    """Return the framework's part: every route, documented."""
    app = FastAPI(
        title="ketacast",
        version=__version__,
        openapi_tags=_TAGS,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.docs else None,
        redirect_slashes=False,
    )
    app.openapi = lambda: openapi_document(app, settings)  # type: ignore[method-assign]
    _add_handlers(app)
    app.state.known_routes = []
    parts = [part.router(service) for part in _PARTS]
    if settings.shows_page:
        parts.append(lookup.router(service))
    for routes in (*parts, hooks.router()):
        app.include_router(routes)
        app.state.known_routes += routes.routes
    if settings.docs:
        add_docs_page(app)
    return app


def known_routes(app: FastAPI) -> list[APIRoute]:
    """Return the documented routes."""
    found: list[APIRoute] = app.state.known_routes
    return found


def make_service(settings: Settings, database: str | None = None) -> Service:
    """Load the model, open the store and prepare what answering needs."""
    predictor = load_verified(settings.model)
    MODEL.labels(**predictor.model.to_dict()).set(1)
    engine = open_engine(database or settings.database(), timeout=settings.store_timeout_seconds)
    migrate(engine)
    jobs = JobStore(engine, _limits(settings))
    place = Place(
        settings.simulation_directory or _simulations_of(engine),
        settings.model, predictor.model.sha256, utc_text(),
    )  # fmt: skip
    return Service(
        settings=settings,
        predictor=predictor,
        answers=Answers(),
        engine=engine,
        trail=AuditTrail(engine, timeout=settings.store_timeout_seconds),
        authenticator=build_authenticator(settings, engine),
        work=Work(settings.max_waiting),
        jobs=jobs,
        runner=Runner(jobs, place),
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        waiting=settings.simulations_waiting,
        unfinished=settings.simulations_unfinished,
        kept=settings.simulations_kept,
        running=settings.simulations_running,
        seconds=settings.simulation_seconds,
        days=settings.simulation_days,
    )


def _simulations_of(engine: Engine) -> Path:
    """Return where unfinished simulations keep what is done, unless it is set."""
    return (directory_of(engine) or state_directory()) / "simulations"


def _thin_prediction(service: Service) -> Callable[[Call], Awaitable[Reply]]:
    async def answer(call: Call) -> Reply:
        return await predictions.predict(service, parse(PredictionRequest, call.body), call)

    return answer


def _lifespan(
    service: Service, hooks: CdsHooks, gate: Gate
) -> Callable[[Any], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        # Workers without a parent would keep the port from the next service.
        end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
        service.trail.start()
        await service.authenticator.start()
        await hooks.start()
        gate.doors = Doors(service.authenticator, hooks.doors())
        expiry = asyncio.create_task(_purge_daily(service))
        later = asyncio.create_task(_do_later(service))
        service.runner.start()
        _settle_garbage()
        _LOG.info("ready", **service.predictor.model.to_dict())
        try:
            yield
        finally:
            expiry.cancel()
            later.cancel()
            await asyncio.to_thread(service.runner.close)
            await hooks.close()
            await service.authenticator.close()
            await service.trail.close()
            service.work.close()
            service.engine.dispose()
            gate.log.flush()

    return lifespan


async def _do_later(service: Service) -> None:
    await asyncio.sleep(_SETTLED_SECONDS)  # who waited for readiness is answered first
    for task in service.later:
        await asyncio.to_thread(task)


def _settle_garbage() -> None:
    """Look for cyclic garbage less often, and never among what start-up has made.

    Requests leave hardly any cycles, and each look costs as much as some hundred answers.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _purge_daily(service: Service) -> None:
    """Keep to the retention that is set."""
    from ketacast_service.audit.maintenance import purge_expired  # noqa: PLC0415  # seldom

    days = service.settings.audit_retention_days
    while days is not None:
        try:
            removed = await asyncio.to_thread(purge_expired, service.engine, days)
            _LOG.info("purged records past retention", removed=removed, days=days)
        except Exception as error:  # noqa: BLE001  # tried again tomorrow
            _LOG.error("purge failed", error=type(error).__name__)
        tomorrow = datetime.now(UTC).date() + timedelta(days=1)
        midnight = datetime.combine(tomorrow, datetime.min.time(), UTC)
        await asyncio.sleep((midnight - datetime.now(UTC)).total_seconds() + 1)


def _add_handlers(app: FastAPI) -> None:
    """Answer every error as a problem document."""

    def answer(request: Request, problem: ProblemError) -> Response:
        found = refusal(request.url.path, problem, request.scope["state"]["request_id"])
        return to_response(found)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)  # noqa: S101  # registered for it
        return answer(request, error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return answer(request, problem_of(error.errors()))

    async def failed(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        kind = BY_STATUS.get(error.status_code, BY_STATUS[400])
        detail = _DETAILS.get(kind.status, "the request cannot be read; correct it")
        allowed = (("Allow", _methods(app, request)),) if kind.status == 405 else ()
        return answer(request, ProblemError(kind.slug, detail, headers=allowed))

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # for metrics and log; nobody reads it

    async def broken(request: Request, _: Exception) -> Response:
        return answer(request, failure())  # the gate logs where it broke

    app.add_exception_handler(ProblemError, refused)
    app.add_exception_handler(ClientGoneError, gone)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, failed)
    app.add_exception_handler(Exception, broken)


def _methods(app: FastAPI, request: Request) -> str:
    """Return the methods of every route with this path."""
    path = request.scope["path"]
    matching = [route for route in known_routes(app) if route.path_regex.match(path)]
    return ", ".join(sorted({method for route in matching for method in route.methods or ()}))


_DETAILS: Final = {
    404: "no route has this path; /openapi.json lists all of them",
    405: "the path is there, the method is not; the header Allow lists what is",
}
