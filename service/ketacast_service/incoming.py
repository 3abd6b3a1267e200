"""How requests arrive: their headers, and bodies within limits of size and time."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, cast

from starlette.types import Message, Receive

from ketacast_service.errors import ProblemError
from ketacast_service.moments import new_request_id

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_LOOKED_AT: Final = frozenset(
    {
        b"content-type", b"content-length", b"content-encoding", b"origin", b"x-request-id",
        b"access-control-request-method",
    }
)  # fmt: skip
_NUMBER: Final = re.compile(rb"[0-9]{1,18}")

LEAST_RATE: Final = 16_384
"""Bytes per second of a long body: a few that trickle in would keep all others waiting."""


class ClientGoneError(Exception):
    """The client closed the connection; nobody is left to answer."""


@dataclass(slots=True)
class Heads:
    """The headers that the gate looks at."""

    request_id: str
    origin: bytes | None = None
    content_type: bytes = b""
    content_length: bytes | None = None
    content_encoding: bytes = b""
    preflight: bool = False


def read_heads(headers: Sequence[tuple[bytes, bytes]]) -> Heads:
    """Pick out what the gate needs; a request id of other characters is replaced."""
    found = Heads("")
    for name, value in headers:
        if name not in _LOOKED_AT:
            continue
        if name == b"content-type":
            found.content_type = value
        elif name == b"content-length":
            found.content_length = value
        elif name == b"content-encoding":
            found.content_encoding = value.strip().lower()
        elif name == b"origin":
            found.origin = value
        elif name == b"x-request-id":
            if _REQUEST_ID.fullmatch(value):
                found.request_id = value.decode()
        else:
            found.preflight = True
    if not found.request_id:
        found.request_id = new_request_id()
    return found


def check_body_head(heads: Heads, media: frozenset[bytes], most: int) -> None:
    """Refuse a body that is of another kind or too long, before it is read.

    Raises
    ------
    ProblemError
        "unsupported-media-type", "malformed-request" or "too-large".
    """
    kind = heads.content_type.partition(b";")[0].strip().lower()
    if kind not in media:
        known = b" or ".join(sorted(media)).decode()
        raise ProblemError(
            "unsupported-media-type", f"the body's Content-Type is not read here; send {known}"
        )
    if heads.content_encoding not in (b"", b"identity"):
        raise ProblemError(
            "unsupported-media-type", "compressed bodies are not read; send it without"
        )
    length = heads.content_length
    if length is None:
        return
    if not _NUMBER.fullmatch(length):
        raise ProblemError("malformed-request", "Content-Length is no number; correct it")
    if int(length) > most:
        raise _too_large(most)


class Patience:
    """Ends reads that take too long.

    One timer looks after all of them now and then: a timer for each would cost more than
    the read itself.

    Parameters
    ----------
    seconds : float
        A read may take this long, and up to a quarter more.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begun: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()
        self._is_looking = False

    async def read(self, receive: Receive, most: int) -> bytes:
        """Read a whole body.

        Raises
        ------
        ProblemError
            "too-large", or "too-slow" if it has not arrived in time.
        ClientGoneError
            If the client has closed the connection.
        """
        task = cast("asyncio.Task[object]", asyncio.current_task())
        loop = asyncio.get_running_loop()
        self._begun[task] = loop.time()
        if not self._is_looking:
            self._look_later(loop)
        try:
            return await _join(await receive(), receive, most)
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            task.uncancel()
            raise _too_slow(self._seconds) from None
        finally:
            del self._begun[task]
            self._late.discard(task)

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_looking = True
        loop.call_later(self._seconds / 4, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        latest = loop.time() - self._seconds
        for task, begun in self._begun.items():
            if begun < latest and task not in self._late:
                self._late.add(task)
                task.cancel()
        self._is_looking = False
        if self._begun:
            self._look_later(loop)


async def _join(message: Message, receive: Receive, most: int) -> bytes:
    """Join a body's parts; most bodies are one."""
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) > most:
            raise _too_large(most)
        return body
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise _too_large(most)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


async def body_parts(receive: Receive, most: int, seconds: float) -> AsyncIterator[bytes]:
    """Yield a body's parts as they arrive, each within `seconds`, all at `LEAST_RATE` or faster.

    Raises
    ------
    ProblemError
        "too-large", or "too-slow" if the next part has not arrived in time.
    ClientGoneError
        If the client has closed the connection.
    """
    begun = time.monotonic()
    size = 0
    more = True
    while more:
        left = begun + seconds + size / LEAST_RATE - time.monotonic()
        try:
            async with asyncio.timeout(min(seconds, left)):
                message = await receive()
        except TimeoutError:
            raise _too_slow(seconds) from None
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(part)
        if size > most:
            raise _too_large(most)
        if part:
            yield part


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body which was read, then goes on as before."""
    is_given = False

    async def again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _too_large(most: int) -> ProblemError:
    return ProblemError(
        "too-large", f"the body has more than {most:,} bytes; send less, or rows as a batch"
    )


def _too_slow(seconds: float) -> ProblemError:
    return ProblemError(
        "too-slow",
        f"the body did not arrive within {seconds:g} seconds; send it faster or in smaller parts",
        headers=(("Connection", "close"),),
    )
