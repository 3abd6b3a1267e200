"""The HTTP protocol of the server, with limits on heads, idle connections and slow readers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ketacast_service.errors import MEDIA_TYPE, PROBLEMS

MOST_HEAD_BYTES: Final = 65_536
"""A token of the largest size, twice, and what proxies add."""

_GRACE_SECONDS: Final = 0.5
"""At the end, for the request of a client that has just been let in."""


class PatientConfig(uvicorn.Config):
    """Configuration of the server with how long it waits for a client.

    Attributes
    ----------
    patience : float
        Seconds in which a head must be complete, or a reader take something of its answer.
    """

    patience: float = 20.0


class BoundedProtocol(HttpToolsProtocol):
    """Closes connections of which nothing is to be expected any more.

    The parser itself takes heads of any length for any time, before anybody has
    authenticated; and an answer that is not read would wait for its reader for ever.
    """

    def __init__(self, config: uvicorn.Config, *given: Any, **named: Any) -> None:
        super().__init__(config, *given, **named)
        self._patience: float = getattr(config, "patience", PatientConfig.patience)
        self._is_in_head = True
        self._head_bytes = 0
        self._ended = 0
        self._has_asked = False
        self._is_last = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give a connection the time of an idle one to send something."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        for timer in (self._head_timer, self._reader_timer, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; count it if it is nothing but a part of a head."""
        ended = self._ended
        super().data_received(data)
        if not self._is_in_head or self._ended != ended:
            return
        self._head_bytes += len(data)
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._patience, self._end_slow_head)
        if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_refusal())
            self.transport.close()

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """Stop counting."""
        self._is_in_head, self._has_asked = False, True
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()
        if self._is_last:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Count what follows: it is the next request's head."""
        super().on_message_complete()
        self._is_in_head, self._head_bytes = True, 0
        self._ended += 1

    def shutdown(self) -> None:
        """End between requests; what was connected a moment ago may still ask one."""
        if self._has_asked:
            super().shutdown()
            return
        self._is_last = True
        self.loop.call_later(_GRACE_SECONDS, self._end_if_silent)

    def _end_if_silent(self) -> None:
        if not self._has_asked:
            self.transport.close()

    def pause_writing(self) -> None:
        """Watch a reader that does not keep up."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """Stop watching."""
        super().resume_writing()
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def _watch_reader(self) -> None:
        waiting = self._untaken()
        self._reader_timer = self.loop.call_later(self._patience, self._look_at_reader, waiting)

    def _look_at_reader(self, before: int) -> None:
        if self._untaken() < before:
            self._watch_reader()  # slow, but it reads
            return
        self.logger.warning("A client took nothing of its answer; connection closed.")
        self.transport.abort()

    def _untaken(self) -> int:
        """Return the bytes that the reader has not taken: here, and where it can be told, below.

        The system may take megabytes at once and then none for a minute.
        """
        here = self.transport.get_write_buffer_size()
        line = self.transport.get_extra_info("socket")
        with contextlib.suppress(ImportError, OSError, AttributeError):  # not on every system
            from fcntl import ioctl  # noqa: PLC0415
            from termios import TIOCOUTQ  # noqa: PLC0415

            here += int.from_bytes(ioctl(line.fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)
        return here

    def _end_slow_head(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            detail = "request line and headers did not arrive in time; send them at once"
            self.transport.write(_problem(408, "too-slow", "Request Timeout", detail))
            self.transport.close()


def _refusal() -> bytes:
    detail = "request line and headers have more than 65,536 bytes; send fewer or shorter headers"
    return _problem(431, "too-large", "Request Header Fields Too Large", detail)


def _problem(status: int, slug: str, reason: str, detail: str) -> bytes:
    """Return an answer to a request that never reached the application."""
    kind = PROBLEMS[slug]
    document = {"type": kind.type, "title": kind.title, "status": status, "detail": detail}
    body = json.dumps(document).encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\ncontent-type: {MEDIA_TYPE}\r\nconnection: close\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
