"""The gate: what every request passes before its route, and every answer after it.

Request ids, authentication, scopes, rate limits, size and time of bodies, headers of
security and of cross-origin requests, problem documents, metrics and the access log.
Routes that must be fast ("thin") are called from here with the body's bytes, all others
by the framework, which documents the thin ones too.
"""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ketacast_service.access import required_scope
from ketacast_service.calls import Call, Client, Reply
from ketacast_service.cds_hooks import refusal
from ketacast_service.errors import ProblemError
from ketacast_service.incoming import (
    ClientGoneError,
    Heads,
    Patience,
    check_body_head,
    read_heads,
    replay,
)
from ketacast_service.observability import REQUESTS, SECONDS, AccessLog
from ketacast_service.security import (
    BrowserGuard,
    Limits,
    build_limits,
    peer_key,
    retry_after,
)
from ketacast_service.security.doors import Door, Doors
from ketacast_service.sending import Outgoing
from ketacast_service.settings import Settings

_LOG = structlog.get_logger(__name__)
_JSON: Final = frozenset({b"application/json"})
_NOBODY: Final = Client("anonymous", frozenset())
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})

ThinHandler: TypeAlias = Callable[[Call], Awaitable[Reply]]


@dataclass(slots=True)
class Routes:
    """Routes under ``POST`` with ways of their own, by path.

    Attributes
    ----------
    thin : mapping
        Routes that the gate calls itself.
    streaming : mapping
        Kinds of body of routes that read theirs from the connection.
    posting : sequence of patterns
        Paths of all routes that take a body.
    largest : mapping
        Most bytes of a body, where it is not the usual number.
    """

    thin: Mapping[str, ThinHandler] = field(default_factory=dict)
    streaming: Mapping[str, frozenset[bytes]] = field(default_factory=dict)
    posting: Sequence[re.Pattern[str]] = ()
    largest: Mapping[str, int] = field(default_factory=dict)

    def takes_body(self, path: str) -> bool:
        """Whether a body may be posted to a path at all."""
        return path in self.thin or any(pattern.match(path) for pattern in self.posting)


class Exchange:
    """One request and what becomes of it."""

    __slots__ = ("_outgoing", "_send", "heads", "status")

    def __init__(self, heads: Heads, outgoing: Outgoing, send: Send) -> None:
        self.heads = heads
        self.status = 0
        self._outgoing = outgoing
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass a message on, its headers completed."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message.get("headers", [])
            message = {**message, "headers": self._complete(headers)}
        await self._send(message)

    async def reply(self, reply: Reply) -> None:
        """Send a whole answer."""
        self.status = reply.status
        headers = self._complete(reply.headers)
        if reply.status != 204:
            headers.append((b"content-length", str(len(reply.body)).encode()))
        start = {"type": "http.response.start", "status": reply.status, "headers": headers}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": reply.body})

    def _complete(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        return self._outgoing.complete(headers, self.heads.request_id, self.heads.origin)


class Gate:
    """ASGI application around the framework's.

    Parameters
    ----------
    app : ASGI application
        The framework's; it answers what no thin or streaming route does.
    settings : Settings
        Limits, origins and what is logged.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._outgoing = Outgoing(settings)
        self._browsers = BrowserGuard(settings)
        self._patience = Patience(settings.body_timeout_seconds)
        self._limits: Limits = build_limits(settings)
        self.log = AccessLog(
            enabled=settings.access_log and settings.log_level in ("debug", "info"),
            as_json=settings.log_format == "json",
        )
        self.routes = Routes()
        self.doors: Doors | None = None
        self._counted: dict[tuple[str, str, int], Callable[[], None]] = {}
        self._timed: dict[str, Callable[[float], None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection's request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:  # web sockets are not offered
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        heads = read_heads(scope["headers"])
        exchange = Exchange(heads, self._outgoing, send)
        client = _NOBODY
        try:
            if heads.preflight and scope["method"] == "OPTIONS":
                await exchange.reply(self._outgoing.preflight(heads.origin))
            else:
                client = await self._admit(scope)
                await self._answer(scope, receive, exchange, client)
        except ClientGoneError:
            exchange.status = exchange.status or 499
        except ProblemError as problem:
            await self._refuse(scope, exchange, problem)
        except Exception as error:  # noqa: BLE001  # every request is answered
            _log_failure(error, heads.request_id)
            await self._refuse(scope, exchange, failure())
        self._note(scope, exchange, client, time.perf_counter() - begun)

    async def _admit(self, scope: Scope) -> Client:
        """Say who asks, if he may.

        Raises
        ------
        ProblemError
            "not-authenticated", "not-allowed" or "too-many-requests".
        """
        headers = scope["headers"]
        self._browsers.check(scope["method"], headers)
        needed = required_scope(scope["path"])
        now = time.monotonic()
        if needed is None:
            self._limit("open:" + _peer(scope), now)
            return _NOBODY
        if self.doors is None:
            raise ProblemError("unavailable", "the service is starting; ask again in a moment")
        door = self.doors.at(scope["path"])
        client = door.quick(headers)
        if client is None:
            client = await self._authenticate(door, scope, now)
        if needed not in client.scopes:
            raise ProblemError(
                "not-allowed",
                f"this needs the scope {needed!r}, which the key or token does not have; ask the "
                "operator for one that has it",
            )
        self._limit(client.id, now)
        return client

    async def _authenticate(self, door: Door, scope: Scope, now: float) -> Client:
        peer = peer_key(_peer(scope))
        wait = self._limits.failures.peek(peer, now)
        if wait > 0:
            raise _too_many(wait)
        try:
            return await door.authenticate(scope["headers"])
        except ProblemError as problem:
            if problem.slug == "not-authenticated":
                self._limits.failures.take(peer, now)
            raise

    def _limit(self, key: str, now: float) -> None:
        wait = self._limits.clients.take(key, now)
        if wait > 0:
            raise _too_many(wait)

    async def _answer(
        self, scope: Scope, receive: Receive, exchange: Exchange, client: Client
    ) -> None:
        settings, heads, path = self._settings, exchange.heads, scope["path"]
        if scope["method"] != "POST" or not self.routes.takes_body(path):
            await self._by_framework(scope, receive, exchange, client)
            return
        media = self.routes.streaming.get(path)
        if media is not None:
            check_body_head(heads, media, settings.max_batch_bytes)
            await self._by_framework(scope, receive, exchange, client)
            return
        most = self.routes.largest.get(path, settings.max_body_bytes)
        check_body_head(heads, _JSON, most)
        body = await self._patience.read(receive, most)
        if not body:
            raise ProblemError("malformed-request", "the body is empty; send a JSON object")
        if b"\0" in body:  # UTF-16 and UTF-32, which some parsers would guess
            raise ProblemError("malformed-request", "the body is not UTF-8; send JSON in UTF-8")
        thin = self.routes.thin.get(path)
        if thin is not None:
            await exchange.reply(await thin(Call(client, heads.request_id, scope["headers"], body)))
        else:
            await self._by_framework(scope, replay(body, receive), exchange, client)

    async def _by_framework(
        self, scope: Scope, receive: Receive, exchange: Exchange, client: Client
    ) -> None:
        state = scope.setdefault("state", {})
        state["client"], state["request_id"] = client, exchange.heads.request_id
        await self._app(scope, receive, exchange.send)

    async def _refuse(self, scope: Scope, exchange: Exchange, problem: ProblemError) -> None:
        if exchange.status:
            return  # the answer has begun: a streamed one says itself how it ended
        await exchange.reply(refusal(scope["path"], problem, exchange.heads.request_id))

    def _note(self, scope: Scope, exchange: Exchange, client: Client, seconds: float) -> None:
        path, method = scope["path"], scope["method"]
        is_thin = path in self.routes.thin
        route = path if is_thin else getattr(scope.get("route"), "path", "other")
        method = method if method in _METHODS else "other"
        key = (method, route, exchange.status)
        count = self._counted.get(key)
        if count is None:
            count = self._counted[key] = REQUESTS.labels(method, route, exchange.status).inc
        count()
        observe = self._timed.get(route)
        if observe is None:
            observe = self._timed[route] = SECONDS.labels(route).observe
        observe(seconds)
        self.log.add(
            exchange.heads.request_id,
            client.id,
            method=method,
            route=route,
            status=exchange.status,
            seconds=seconds,
        )


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else "unknown"


def _too_many(wait: float) -> ProblemError:
    seconds = retry_after(wait)
    return ProblemError(
        "too-many-requests",
        f"this client asks too often; wait {seconds} s, or send many patients as one batch",
        headers=(("Retry-After", seconds),),
    )


def failure() -> ProblemError:
    """Return the problem of a request on which the service failed."""
    return ProblemError(
        "internal-error",
        "the service failed on this request; report its request_id to the operator",
    )


def _log_failure(error: Exception, request_id: str) -> None:
    """Log where it failed, not with what: a message may hold what a client sent."""
    _LOG.error(
        "request failed",
        request_id=request_id,
        error=type(error).__name__,
        where="".join(traceback.format_tb(error.__traceback__)),
    )
