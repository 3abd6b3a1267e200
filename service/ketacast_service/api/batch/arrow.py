"""Batches as an Arrow IPC stream, answered batch by batch as the bytes come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ketacast.predictor import DEFAULT_LEVELS, Predictor
from ketacast_service.api.batch.arrow_answers import END, writer_for
from ketacast_service.api.batch.arrow_columns import check_schema, read_rows
from ketacast_service.api.batch.arrow_frames import (
    DICTIONARY,
    SCHEMA,
    Frame,
    FrameReader,
    malformed,
)
from ketacast_service.api.batch.arrow_reader import GuardedReader
from ketacast_service.api.batch.cells import Bytes, Cells, tables_for
from ketacast_service.api.batch.records import MOST_PIECE_ROWS, Piece, write_record
from ketacast_service.errors import ProblemError

SOURCE: Final = "arrow"
_MOST_BYTES: Final = 64 << 20
_MOST_DICTIONARY_ROWS: Final = 1024


class ArrowStream:
    """Reads record batches and gives answers in pieces.

    Each record batch is answered by one of as many rows, a longer one than 65,536 rows by
    several. A message is read when it has arrived as a whole, so memory is bounded by
    `max_bytes` for the request and by 65,536 rows for the answer.

    Parameters
    ----------
    predictor : Predictor
        The model.
    levels : sequence of float
        Levels of the model's table.
    max_rows, max_bytes : int
        Most rows to answer, most bytes to read.

    Raises
    ------
    ProblemError
        "invalid-input" if the levels are not offered.
    """

    def __init__(
        self,
        predictor: Predictor,
        levels: Sequence[float] = DEFAULT_LEVELS,
        *,
        max_rows: int,
        max_bytes: int = _MOST_BYTES,
    ) -> None:
        self._tables = tables_for(predictor, levels)
        self._frames = FrameReader(max_bytes)
        self._writer = writer_for(self._tables)
        self._reader: GuardedReader | None = None
        self._max_rows = max_rows
        self._rows = 0
        self._given = 0
        self._outputs: list[Any] = [self._writer.head]  # not yet given out
        self._cells: list[Cells] = []
        self._reasons: list[Bytes | None] = []

    @property
    def rows(self) -> int:
        """Rows read so far."""
        return self._rows

    def feed(self, chunk: bytes) -> list[Piece]:
        """Take the next bytes, cut anywhere; return the pieces that are complete.

        Raises
        ------
        ProblemError
            "malformed-request" if the bytes are no stream that is read here, "invalid-input" if
            its columns cannot be used, "too-large" if there are more rows or bytes than allowed;
            then the stream is of no use.
        """
        pieces = []
        for frame in self._frames.feed(chunk):
            pieces += self._take(frame)
        return pieces

    def finish(self) -> list[Piece]:
        """Return the last piece.

        Raises
        ------
        ProblemError
            "malformed-request" if the stream is cut off.
        """
        self._frames.finish()
        if self._reader is None:
            raise malformed("it has no schema")
        self._outputs.append(END)
        return [self._piece()]

    def _take(self, frame: Frame) -> list[Piece]:
        if (frame.kind == SCHEMA) != (self._reader is None):
            raise malformed("it must begin with its schema, and have one")
        if self._reader is None:
            self._reader = GuardedReader(frame.data)
            check_schema(self._reader.schema)
            return []
        if frame.kind == DICTIONARY:
            if frame.rows > _MOST_DICTIONARY_ROWS:
                raise malformed(f"a dictionary has {frame.rows} texts for the raters")
            self._reader.add(frame.data)
            return []
        return self._answer(self._reader, frame)

    def _answer(self, reader: GuardedReader, frame: Frame) -> list[Piece]:
        if frame.rows > self._max_rows - self._rows:
            raise ProblemError(
                "too-large",
                f"the batch has more than {self._max_rows} rows; send the rest in further batches",
            )
        batch = reader.read(frame.data, frame.rows)
        self._rows += batch.num_rows
        pieces = []
        for start in range(0, max(1, batch.num_rows), MOST_PIECE_ROWS):
            found = read_rows(batch.slice(start, MOST_PIECE_ROWS), self._tables)
            held = sum(cells.size for cells in self._cells)
            if held and held + found.cells.size > MOST_PIECE_ROWS:
                pieces.append(self._piece())
            self._outputs.append(self._writer.write(found))
            self._cells.append(found.cells)
            self._reasons.append(found.reasons)
        return pieces

    def _piece(self) -> Piece:
        """Give out what is held."""
        cells = np.concatenate([np.zeros(0, dtype=np.intp), *self._cells])
        reasons = None
        if any(some is not None for some in self._reasons):
            reasons = np.concatenate(
                [
                    np.zeros(cells.size, dtype=np.uint8) if some is None else some
                    for cells, some in zip(self._cells, self._reasons, strict=True)
                ]
            )
        piece = Piece(
            output=b"".join(self._outputs),
            record=write_record(SOURCE, self._tables, cells, reasons, self._given),
            first_row=self._given,
            rows=int(cells.size),
            refused=0 if reasons is None else int(np.count_nonzero(reasons)),
        )
        self._given += piece.rows
        self._outputs, self._cells, self._reasons = [], [], []
        return piece
