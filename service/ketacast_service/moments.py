"""Times and identifiers."""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_FETCHED: Final = 256
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def utc_text(moment: datetime | None = None) -> str:
    """Return a moment in UTC as 27 characters that sort by time; now by default."""
    if moment is None:
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        return f"{_second_text(seconds)}.{nanoseconds // 1000:06d}Z"
    when = moment.astimezone(UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond:06d}Z"


@lru_cache(maxsize=4)
def _second_text(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


class _Random:
    """Random bytes of the system, fetched many at a time."""

    def __init__(self) -> None:
        self._pid = 0
        self._bytes = b""
        self._at = 0

    def ten(self) -> bytes:
        """Return ten bytes that were not returned before, in this process or a forked one."""
        if self._at >= len(self._bytes) or self._pid != os.getpid():
            self._bytes, self._at, self._pid = os.urandom(10 * _FETCHED), 0, os.getpid()
        begin = self._at
        self._at = begin + 10
        return self._bytes[begin : self._at]


_random = _Random()


def new_id() -> str:
    """Return an identifier that cannot be guessed and sorts by time (RFC 9562, version 7)."""
    tail = _random.ten()
    head = (time.time_ns() // 1_000_000).to_bytes(6)
    third = bytes((0x70 | tail[0] & 0x0F, tail[1], 0x80 | tail[2] & 0x3F))
    digits = (head + third + tail[3:]).hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def is_id(text: str) -> bool:
    """Whether a text has the form of an identifier."""
    return _ID.fullmatch(text) is not None


def new_request_id() -> str:
    """Return an identifier of a request that brought none."""
    return _random.ten().hex()
