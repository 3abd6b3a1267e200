"""Batches as NDJSON: one request per line, one answer per line, read as the bytes come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ketacast.predictor import DEFAULT_LEVELS, Predictor
from ketacast_service.api.batch.cells import Tables, tables_for
from ketacast_service.api.batch.documents import NOT_OFFERED, RepeatedKeyError, loads
from ketacast_service.api.batch.faults import COLUMNS, ELSEWHERE, Reason, RowFault, shown
from ketacast_service.api.batch.records import MOST_PIECE_ROWS, Piece, write_record
from ketacast_service.errors import ProblemError

SOURCE: Final = "ndjson"
LONGEST_LINE: Final = 4096
PIECE_ROWS: Final = 8192
"""About 6 MB of answer at two levels; fewer rows would write more audit records."""
_MOST_LINES: Final = 16_384
_MOST_BAD: Final = 1024
_LONGEST_KEPT: Final = 256
_SLICE: Final = 1 << 18
_BLANK: Final = -1
_FORM: Final = '{"failed_trials":6,"infusions":6,"rated_by":"self"}'


class LineStream:
    """Reads lines and gives answers in pieces.

    Parameters
    ----------
    predictor : Predictor
        The model.
    levels : sequence of float
        Levels of the model's table.
    max_rows : int
        Most rows to answer.
    piece_rows : int
        Rows per piece, at most 65,536.

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
        piece_rows: int = PIECE_ROWS,
    ) -> None:
        self._tables = tables_for(predictor, levels)
        self._max_rows = max_rows
        self._piece_rows = min(piece_rows, MOST_PIECE_ROWS)
        self._rest = b""
        self._skipping = False  # within a line that is too long
        self._cells: list[int] = []  # of rows not yet given out
        self._faults: dict[int, tuple[Reason, bytes]] = {}  # by row, as text
        self._bad: dict[bytes, tuple[Reason, bytes]] = {}  # lines refused before
        self._given = 0
        self._refused = 0

    @property
    def rows(self) -> int:
        """Rows read so far."""
        return self._given + len(self._cells)

    def feed(self, chunk: bytes) -> list[Piece]:
        """Take the next bytes, cut anywhere; return the pieces that are complete.

        Raises
        ------
        ProblemError
            "too-large" if there are more than `max_rows` rows; then the stream is of no use.
        """
        pieces = []
        # A chunk may be all line ends, each of which takes eight times its size in a list.
        for start in range(0, len(chunk), _SLICE):
            pieces += self._feed(chunk[start : start + _SLICE])
        return pieces

    def _feed(self, chunk: bytes) -> list[Piece]:
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        if self._skipping and lines:
            lines = lines[1:]  # the end of the line that was too long
            self._skipping = False
        pieces = self._take(lines)
        if self._skipping:
            self._rest = b""
        elif len(self._rest) > LONGEST_LINE:
            self._skipping, self._rest = True, b""
            self._refuse(_told(_too_long()))
        return pieces + self._full_pieces()

    def finish(self) -> list[Piece]:
        """Return the last pieces; the very last line is the summary.

        Raises
        ------
        ProblemError
            As :meth:`feed`.
        """
        last = [] if self._skipping else [self._rest]
        self._rest = b""
        pieces = self._take(last)
        summary = {
            "rows": self.rows,
            "refused": self._refused,
            "model": self._tables.model,
            "basis": self._tables.basis,
        }
        end = json.dumps({"summary": summary}, separators=(",", ":")).encode() + b"\n"
        return [*pieces, self._piece(len(self._cells), end)]

    def _take(self, lines: list[bytes]) -> list[Piece]:
        known = self._tables.line_cells
        pieces: list[Piece] = []
        for start in range(0, len(lines), self._piece_rows):
            part = lines[start : start + self._piece_rows]
            found = list(map(known.get, part))
            if None in found:
                for line in filter(None, part):
                    self._add(line, known.get(line))
            else:
                self._cells += found  # type: ignore[arg-type]  # no None among them
            self._check_rows()
            pieces += self._full_pieces()
        return pieces

    def _full_pieces(self) -> list[Piece]:
        pieces = []
        while len(self._cells) >= self._piece_rows:
            pieces.append(self._piece(self._piece_rows))
        return pieces

    def _check_rows(self) -> None:
        if self.rows > self._max_rows:
            raise ProblemError(
                "too-large",
                f"the batch has more than {self._max_rows} rows; send the rest in further batches",
            )

    def _add(self, line: bytes, cell: int | None) -> None:
        """Add one line that may be new."""
        known = None if cell is not None else self._bad.get(line)
        if known is not None:
            self._refuse(known)
            return
        found = _read(line, self._tables) if cell is None else cell
        if isinstance(found, RowFault):
            fault = _told(found)
            if len(self._bad) < _MOST_BAD and len(line) <= _LONGEST_KEPT:
                self._bad[line] = fault
            self._refuse(fault)
        elif found != _BLANK:
            self._cells.append(found)

    def _refuse(self, fault: tuple[Reason, bytes]) -> None:
        self._faults[self.rows] = fault
        self._refused += 1
        self._cells.append(self._tables.refused)
        self._check_rows()

    def _piece(self, rows: int, end: bytes = b"") -> Piece:
        """Give out the first rows."""
        part, self._cells = self._cells[:rows], self._cells[rows:]
        first = self._given
        numbers = range(first, first + rows)
        reasons = None
        if self._faults:
            here = {row: self._faults.pop(row) for row in list(self._faults) if row in numbers}
            reasons = np.zeros(rows, dtype=np.uint8)
            reasons[[row - first for row in here]] = [reason for reason, _ in here.values()]
            texts = [*self._tables.lines, b""]
            lines = [
                b'{"row":%d,%b' % (row, texts[cell] if row not in here else here[row][1])
                for row, cell in zip(numbers, part, strict=True)
            ]
        else:
            known = self._tables.lines
            lines = [
                b'{"row":%d,%b' % pair
                for pair in zip(numbers, map(known.__getitem__, part), strict=True)
            ]
        self._given += rows
        cells = np.array(part, dtype=np.intp)
        return Piece(
            output=b"".join([*lines, end]),
            record=write_record(SOURCE, self._tables, cells, reasons, first),
            first_row=first,
            rows=rows,
            refused=0 if reasons is None else int(np.count_nonzero(reasons)),
        )


def _told(fault: RowFault) -> tuple[Reason, bytes]:
    """Return what the answer's line says after the row's number."""
    text = json.dumps({"error": fault.to_dict()}, separators=(",", ":"))
    return fault.reason, text.encode()[1:] + b"\n"


def _read(line: bytes, tables: Tables) -> int | RowFault:
    """Return the cell of a line, _BLANK if there is nothing on it, or what is wrong with it."""
    if len(line) > LONGEST_LINE:
        return _too_long()
    if not line.strip():
        return _BLANK
    found = _parse(line)
    if isinstance(found, RowFault):
        return found
    fault = _fault(found, tables)
    if fault is not None:
        return fault
    limits = tables.limits
    rater = limits.raters.index(found["rated_by"])
    codes = (found["failed_trials"], found["infusions"], rater)
    trials, infusions, raters = (np.array([code], dtype=np.uint8) for code in codes)
    cell = int(tables.cells(trials, infusions, raters)[0])
    if len(line) <= _LONGEST_KEPT:
        if len(tables.line_cells) >= _MOST_LINES:
            tables.line_cells.clear()
        tables.line_cells[line] = cell
    return cell


def _parse(line: bytes) -> dict[str, Any] | RowFault:
    try:
        found = loads(line)
    except UnicodeDecodeError as error:
        detail = f"the line is not UTF-8 at byte {error.start}"
        return RowFault(Reason.NOT_UTF8, "", detail, "send JSON in UTF-8")
    except RepeatedKeyError as error:
        detail = f"the line has the key {shown(str(error))} twice"
        return RowFault(Reason.REPEATED_FIELD, "", detail, "give it once")
    except (ValueError, RecursionError) as error:
        cause = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
        return RowFault(Reason.NOT_JSON, "", f"the line is no JSON ({cause})", f"give {_FORM}")
    if not isinstance(found, dict):
        detail = f"the line is {shown(found)}, no JSON object"
        return RowFault(Reason.NOT_AN_OBJECT, "", detail, f"give {_FORM}")
    return found


def _fault(found: dict[str, Any], tables: Tables) -> RowFault | None:
    """Return the first fault of a row's object, None if it can be answered."""
    for key, value in found.items():
        if key in NOT_OFFERED:
            detail = f"{key} is {shown(value)}, which is not offered in batches"
            return RowFault(Reason.NOT_OFFERED, key, detail, ELSEWHERE)
        if key not in COLUMNS:
            remedy = f"leave it out; known are {', '.join(COLUMNS)}"
            return RowFault(Reason.UNKNOWN_FIELD, "", f"{shown(key)} is not known", remedy)
    limits = tables.limits
    judges = (limits.judge_trials, limits.judge_infusions, limits.judge_rater)
    for name, judge in zip(COLUMNS, judges, strict=True):
        value = found.get(name)
        reason = judge(value)
        if reason != Reason.GOOD:
            return limits.fault(reason, value)
    return None


def _too_long() -> RowFault:
    return RowFault(
        Reason.LINE_TOO_LONG,
        "",
        f"the line is longer than {LONGEST_LINE} bytes",
        f"give {_FORM} and nothing else",
    )
