"""What passes between the gate and a thin route: a whole request, a whole answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

JSON: Final = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks.

    Attributes
    ----------
    id : str
        ``local`` without authentication, ``key:<id>`` or ``jwt:<client>``; no secret.
    scopes : frozenset of str
        What the client may do, see :mod:`ketacast_service.access`.
    """

    id: str
    scopes: frozenset[str]


@dataclass(slots=True)
class Call:
    """One request whose body has been read.

    Attributes
    ----------
    client : Client
        Who asks.
    request_id : str
        Given by the client or made here.
    headers : sequence of (bytes, bytes)
        As received, names in lower case.
    body : bytes
        Within the size limit.
    query : bytes
        What follows ``?`` in the address.
    """

    client: Client
    request_id: str
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    query: bytes = b""

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of that lower-case name, or None."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(slots=True)
class Reply:
    """One answer.

    Attributes
    ----------
    body : bytes
        Complete.
    status : int
        HTTP status.
    headers : list of (bytes, bytes)
        Content type and what is particular to the answer; the gate adds the rest.
    """

    body: bytes
    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=lambda: [JSON])


def call_of(request: Request) -> Call:
    """Return the call behind a framework's request."""
    state = request.scope["state"]
    return Call(state["client"], state["request_id"], request.scope["headers"], b"")


def to_response(reply: Reply) -> Response:
    """Return a framework's response of a reply."""
    response = Response(reply.body, reply.status)
    response.raw_headers = [*response.raw_headers, *reply.headers]
    return response
