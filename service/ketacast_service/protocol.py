"""The HTTP protocol of the server, with a limit on what comes before a body."""

from __future__ import annotations

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES: Final = 65_536
"""A token of the largest size, twice, and what proxies add."""


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request line and headers do not end.

    The parser itself takes headers of any length, before anybody has authenticated.
    """

    def __init__(self, *given: object, **named: object) -> None:
        super().__init__(*given, **named)  # type: ignore[arg-type]
        self._is_in_head = True
        self._head_bytes = 0
        self._ended = 0

    def data_received(self, data: bytes) -> None:
        """Parse what came; count it if it is nothing but a part of a head."""
        ended = self._ended
        super().data_received(data)
        if not self._is_in_head or self._ended != ended:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_refusal())
            self.transport.close()

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """Stop counting."""
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Count what follows: it is the next request's head."""
        super().on_message_complete()
        self._is_in_head, self._head_bytes = True, 0
        self._ended += 1


def _refusal() -> bytes:
    body = (
        b'{"type":"urn:ketacast:problem:too-large","title":"The request is too large",'
        b'"status":431,"detail":"request line and headers have more than 65,536 bytes; '
        b'send fewer or shorter headers"}'
    )
    return (
        b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
        b"content-type: application/problem+json\r\nconnection: close\r\n"
        b"content-length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )
