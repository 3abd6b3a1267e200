"""Arrow's reader, fed by hand with whole messages; what it raises becomes one clear error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa  # type: ignore[import-untyped]

from ketacast_service.api.batch.arrow_frames import malformed

_REFUSALS: Final = (pa.ArrowException, OSError, ValueError, TypeError, LookupError, MemoryError)
"""All that pyarrow raises for bytes that it cannot read; ArrowMemoryError is a MemoryError."""


class _Source:
    """A file for Arrow that holds nothing but the messages given so far."""

    closed = False

    def __init__(self) -> None:
        self._held = memoryview(b"")

    def add(self, data: bytes) -> None:
        self._held = memoryview(bytes(self._held) + data) if self._held else memoryview(data)

    def read(self, size: int) -> bytes:
        # A copy begins at a multiple of 16 in memory, which Arrow's kernels like.
        part, self._held = bytes(self._held[:size]), self._held[size:]
        return part

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._held = memoryview(b"")

    @property
    def left(self) -> int:
        return len(self._held)


class GuardedReader:
    """Reads batches from whole messages.

    Parameters
    ----------
    schema : bytes
        The schema's message.

    Attributes
    ----------
    schema : pyarrow.Schema
        Not yet checked.

    Raises
    ------
    ProblemError
        "malformed-request" if it cannot be read.
    """

    def __init__(self, schema: bytes) -> None:
        self._source = _Source()
        self._source.add(schema)
        self._reader: Any = _guarded(lambda: pa.ipc.open_stream(pa.PythonFile(self._source, "r")))
        self.schema: Any = self._reader.schema

    def add(self, message: bytes) -> None:
        """Take a dictionary; it is read with the next batch."""
        self._source.add(message)

    def read(self, message: bytes, rows: int) -> Any:
        """Return a batch whose buffers, offsets and texts have been checked.

        Parameters
        ----------
        message : bytes
            The batch's message.
        rows : int
            Rows that it declares.

        Raises
        ------
        ProblemError
            "malformed-request" if it cannot be read or is not sound.
        """
        self._source.add(message)
        batch = _guarded(self._checked)
        if self._source.left or batch.num_rows != rows:
            raise malformed("its messages do not fit each other")
        return batch

    def _checked(self) -> Any:
        batch = self._reader.read_next_batch()
        batch.validate(full=True)
        return batch


def _guarded(task: Callable[[], Any]) -> Any:
    try:
        return task()
    except StopIteration:
        raise malformed("a message is missing") from None
    except _REFUSALS as error:
        lines = str(error).splitlines() or [error.__class__.__name__]
        raise malformed(lines[0][:120]) from None
