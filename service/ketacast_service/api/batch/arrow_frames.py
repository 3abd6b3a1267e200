"""Cuts an Arrow IPC stream of a stranger into messages, and looks at each before Arrow does.

Arrow's own reader checks what it reads, but trusts lengths enough to allocate by them, unpacks
compressed buffers and waits for more bytes. Here a message is handed on only when it has arrived
as a whole, is within its limits and has none of the parts that are not offered. The few fields
needed are read from the messages' FlatBuffers (Message.fbs, Schema.fbs of the Arrow format).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ketacast_service.errors import ProblemError

SCHEMA: Final = 1
DICTIONARY: Final = 2
BATCH: Final = 3

_CONTINUATION: Final = 0xFFFFFFFF
_PREFIX: Final = 8
_MOST_METADATA: Final = 1 << 20
"""Bytes; a schema of three columns has less than one thousand, pandas' notes included."""
_MOST_DICTIONARY: Final = 1 << 16
"""Bytes; three raters take about 200. A dictionary is checked anew with each batch."""
MOST_MESSAGES: Final = 16_384
"""An empty batch is answered by ten times its bytes, so their number is bounded."""


def malformed(detail: str) -> ProblemError:
    """Return the error for bytes that are no usable stream."""
    return ProblemError(
        "malformed-request",
        f"the body is no Arrow stream that is read here: {detail}; send the Arrow IPC stream "
        "format with columns failed_trials, infusions and rated_by",
    )


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole message.

    Attributes
    ----------
    kind : int
        :data:`SCHEMA`, :data:`DICTIONARY` or :data:`BATCH`.
    data : bytes
        With its prefix.
    rows : int
        Length that a batch or dictionary declares, else 0.
    """

    kind: int
    data: bytes
    rows: int


class _Table:
    """A FlatBuffers table; absent fields are None or their default."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._fields = at - self._read("<i", at)
        self._size = self._read("<H", self._fields)

    def _read(self, form: str, at: int) -> int:
        if at < 0:  # struct would count from the end
            raise struct.error("offset before the beginning")
        value: int = struct.unpack_from(form, self._data, at)[0]
        return value

    def _place(self, number: int) -> int | None:
        entry = 4 + 2 * number
        if entry + 2 > self._size:
            return None
        offset = self._read("<H", self._fields + entry)
        return self._at + offset if offset else None

    def number(self, field: int, form: str) -> int:
        """Return a number, 0 if absent."""
        place = self._place(field)
        return 0 if place is None else self._read(form, place)

    def table(self, field: int) -> _Table | None:
        """Return a table, None if absent."""
        place = self._place(field)
        return None if place is None else _Table(self._data, place + self._read("<I", place))


class FrameReader:
    """Cuts a stream into messages.

    Parameters
    ----------
    max_bytes : int
        Most bytes of the stream.
    """

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._max_bytes = max_bytes
        self._held = bytearray()
        self._need = _PREFIX
        self._metadata = 0  # length; 0 until the prefix is read
        self._head: tuple[int, int] | None = None  # kind and rows, when the metadata are read
        self._messages = 0
        self._ended = False

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Take the next bytes; yield the messages that are complete.

        Raises
        ------
        ProblemError
            "malformed-request" or "too-large".
        """
        self._left -= len(chunk)
        if self._left < 0:
            raise ProblemError(
                "too-large",
                f"the body has more than {self._max_bytes} bytes; send the rest in further batches",
            )
        self._held += chunk
        while not self._ended and len(self._held) >= self._need:
            if not self._metadata:
                self._read_prefix()
            elif self._head is None:
                self._read_metadata()
            else:
                yield self._take(*self._head)
        if self._ended and self._held:
            raise malformed("bytes follow its end")

    def finish(self) -> None:
        """Refuse a stream without its end mark: rows may be missing.

        Raises
        ------
        ProblemError
            "malformed-request".
        """
        if not self._ended:
            raise malformed("it is cut off, its end mark is missing (close the writer)")

    def _read_prefix(self) -> None:
        mark, length = struct.unpack_from("<Ii", self._held)
        if mark != _CONTINUATION:
            raise malformed("it does not begin as one (Arrow 0.15 or later is needed, no file)")
        if length == 0:
            self._ended = True
            del self._held[:_PREFIX]
            return
        if not 0 < length <= _MOST_METADATA:
            raise malformed(f"a message declares {length} bytes of metadata")
        self._messages += 1
        if self._messages > MOST_MESSAGES:
            detail = f"the stream has more than {MOST_MESSAGES} messages; put more rows into each"
            raise ProblemError("too-large", detail)
        self._metadata = length
        self._need = _PREFIX + length

    def _read_metadata(self) -> None:
        metadata = bytes(self._held[_PREFIX : self._need])
        try:
            kind, rows, body = _looked_at(metadata)
        except struct.error:
            raise malformed("a message has damaged metadata") from None
        most = _MOST_DICTIONARY if kind == DICTIONARY else self._max_bytes
        if not 0 <= body <= most:
            raise malformed(f"a message declares a body of {body} bytes, {most} are allowed")
        self._head = (kind, rows)
        self._need += body

    def _take(self, kind: int, rows: int) -> Frame:
        data = bytes(self._held[: self._need])
        del self._held[: self._need]
        self._need, self._metadata, self._head = _PREFIX, 0, None
        return Frame(kind, data, rows)


def _looked_at(metadata: bytes) -> tuple[int, int, int]:
    """Return kind, declared rows and length of the body; refuse what is not offered."""
    message = _Table(metadata, int(struct.unpack_from("<I", metadata)[0]))
    kind, header, body = message.number(1, "<B"), message.table(2), message.number(3, "<q")
    if header is None or kind not in (SCHEMA, DICTIONARY, BATCH):
        raise malformed(f"it has a message of kind {kind}, which is no schema, dictionary or batch")
    if kind == SCHEMA:
        if header.number(0, "<h") != 0:
            raise malformed("its numbers are big-endian")
        return kind, 0, body
    if kind == DICTIONARY:
        if header.number(2, "<B"):
            raise malformed("it adds to a dictionary (delta); send dictionaries whole")
        inner = header.table(1)
        if inner is None:
            raise malformed("a dictionary has no content")
        header = inner
    if header.table(3) is not None:
        raise malformed("its buffers are compressed; send them without compression")
    rows = header.number(0, "<q")
    if rows < 0:
        raise malformed(f"a message declares {rows} rows")
    return kind, rows, body
