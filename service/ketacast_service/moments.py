"""Times and identifiers."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime


def utc_text(moment: datetime | None = None) -> str:
    """Return a moment in UTC as 27 characters that sort by time; now by default."""
    when = datetime.now(UTC) if moment is None else moment.astimezone(UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond:06d}Z"


def new_id() -> str:
    """Return an identifier that cannot be guessed and sorts by time (RFC 9562, version 7)."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(3 << 62) | 2 << 62
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
