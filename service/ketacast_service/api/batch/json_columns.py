"""Batches as JSON columns: ``{"failed_trials":[...],"infusions":[...],"rated_by":[...]}``.

Reading has a fast way for columns without fault and an exact one, value by value, for others.
Numbers are never formatted: their texts are looked up, see :class:`Tables`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from pydantic_core import from_json

from ketacast.predictor import DEFAULT_LEVELS, Predictor
from ketacast_service.api.batch.cells import Bytes, Cells, Tables, tables_for
from ketacast_service.api.batch.documents import (
    check_keys,
    check_size,
    read_exactly,
    read_plain,
)
from ketacast_service.api.batch.faults import COLUMNS, Limits, Reason, shown
from ketacast_service.api.batch.records import MOST_PIECE_ROWS, write_record
from ketacast_service.errors import FieldProblem, ProblemError

SOURCE: Final = "json"
_KEYS: Final = (*COLUMNS, "levels")
_COLUMN_OF: Final = {
    reason: COLUMNS[at]
    for at, name in enumerate(("TRIALS", "INFUSIONS", "RATER"))
    for reason in Reason
    if reason.name.startswith(name)
}
_MOST_TEXTS: Final = 1024
_ERRORS_AT_ONCE: Final = 4096
"""Distinct values take 6 us each, so a part of errors is made within 30 ms."""
_LONGEST_KEPT: Final = 64


@dataclass(frozen=True)
class ColumnsAnswer:
    """Answer to a batch of JSON columns.

    Attributes
    ----------
    rows, refused : int
        Rows asked; those not answered.
    first_row : int
        0: the answer is one piece, for a column cannot be cut by rows.
    """

    tables: Tables
    cells: Cells
    reasons: Bytes | None
    raw: dict[str, list[Any]]
    first_row: int = 0
    _texts: dict[tuple[object, ...], bytes] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows asked."""
        return int(self.cells.size)

    @cached_property
    def refused(self) -> int:
        """Rows not answered."""
        return 0 if self.reasons is None else int(np.count_nonzero(self.reasons))

    @cached_property
    def record(self) -> bytes:
        """For the audit; see :func:`read_record`."""
        return write_record(SOURCE, self.tables, self.cells, self.reasons)

    @property
    def output(self) -> bytes:
        """The whole document, about 0.33 kB per row at two levels; :meth:`parts` needs less."""
        return b"".join(self.parts())

    def parts(self) -> Iterator[bytes | memoryview]:
        """Yield the document in parts of about a megabyte, the same ones each time."""
        head = {
            "model": self.tables.model,
            "basis": self.tables.basis,
            "levels": self.tables.levels,
            "rows": self.rows,
            "refused": self.refused,
        }
        yield json.dumps(head, separators=(",", ":")).encode()[:-1] + b',"columns":{'
        mark = b'"'
        for name, texts in self.tables.json_columns:
            yield mark + name.encode() + b'":['
            yield from self._column(texts)
            mark = b'],"'
        warnings = json.dumps(self.tables.warnings(self.cells), separators=(",", ":")).encode()
        yield b']},"warnings":' + warnings + b',"errors":['
        yield from self._errors()
        yield b"]}"

    def _column(self, texts: np.ndarray[Any, np.dtype[np.bytes_]]) -> Iterator[memoryview]:
        for start in range(0, self.rows, MOST_PIECE_ROWS):
            part = texts.take(self.cells[start : start + MOST_PIECE_ROWS]).view(np.uint8)
            if start + MOST_PIECE_ROWS >= self.rows:
                last = part[-texts.itemsize :].tobytes()
                part = part[: part.size - texts.itemsize + last.index(b",")]
            yield part.data

    def _errors(self) -> Iterator[bytes]:
        if self.reasons is None:
            return
        places = np.flatnonzero(self.reasons)
        mark = b""
        for start in range(0, len(places), _ERRORS_AT_ONCE):
            rows = places[start : start + _ERRORS_AT_ONCE]
            found = zip(rows.tolist(), self.reasons[rows].tolist(), strict=True)
            yield mark + b",".join([self._error(row, Reason(code)) for row, code in found])
            mark = b","

    def _error(self, row: int, reason: Reason) -> bytes:
        column = _COLUMN_OF[reason]
        return b'{"row":%d,"field":"/%b/%d",%b' % (
            row, column.encode(), row, self._text(reason, self.raw[column][row]),
        )  # fmt: skip

    def _text(self, reason: Reason, value: object) -> bytes:
        """Return the rest of an error; short values are often the same, so texts are kept."""
        plain = value is None or isinstance(value, (bool, int, float))
        if not plain and not (isinstance(value, str) and len(value) <= _LONGEST_KEPT):
            return self._error_text(reason, value)
        key = (reason, type(value), value)
        text = self._texts.get(key)
        if text is None:
            text = self._error_text(reason, value)
            if len(self._texts) < _MOST_TEXTS:
                self._texts[key] = text
        return text

    def _error_text(self, reason: Reason, value: object) -> bytes:
        found = self.tables.limits.fault(reason, value).to_dict()
        del found["field"]
        return json.dumps(found, separators=(",", ":")).encode()[1:]


def answer_columns(body: bytes, predictor: Predictor, max_rows: int) -> ColumnsAnswer:
    """Answer a batch of JSON columns.

    Parameters
    ----------
    body : bytes
        The request.
    predictor : Predictor
        The model.
    max_rows : int
        Most rows to answer.

    Returns
    -------
    ColumnsAnswer
        Its rows refused one by one stand in the answer's ``errors``.

    Raises
    ------
    ProblemError
        "malformed-request" if the body is no JSON, "too-large" if it has more than `max_rows`
        rows, "invalid-input" if keys, levels, or the lengths of columns cannot be used.
    """
    check_size(body, max_rows)
    found = read_plain(body, _KEYS, from_json)
    if found is None:
        found = read_exactly(body)
    check_keys(found, COLUMNS, ("levels",))
    levels = found.get("levels", DEFAULT_LEVELS)
    if not isinstance(levels, (list, tuple)):
        remedy = "give a list such as [0.8, 0.95], or leave it out"
        problem = FieldProblem("/levels", f"levels is {shown(levels)}", remedy)
        raise ProblemError("invalid-input", f"{problem.detail}; {remedy}", [problem])
    tables = tables_for(predictor, levels)
    rows = _common_length(found, max_rows)
    return _answer(found, tables, rows)


def _common_length(found: dict[str, Any], max_rows: int) -> int:
    trials = found["failed_trials"]
    if not isinstance(trials, list):
        remedy = "give a list with one whole number per row"
        problem = FieldProblem("/failed_trials", f"failed_trials is {shown(trials)}", remedy)
        raise ProblemError("invalid-input", f"{problem.detail}; {remedy}", [problem])
    rows = len(trials)
    longest = max(len(found[name]) for name in COLUMNS if isinstance(found[name], list))
    if longest > max_rows:
        raise ProblemError(
            "too-large", f"the batch has {longest} rows; give at most {max_rows} and send the rest "
            "in further batches",
        )  # fmt: skip
    wrong = [
        FieldProblem(
            f"/{name}",
            f"{name} has {len(found[name])} rows, failed_trials has {rows}",
            "give columns of one length, or one value for all rows",
        )
        for name in COLUMNS
        if isinstance(found[name], list) and len(found[name]) != rows
    ]
    if wrong:
        raise ProblemError("invalid-input", f"{wrong[0].detail}; {wrong[0].remedy}", wrong)
    return rows


def _answer(found: dict[str, Any], tables: Tables, rows: int) -> ColumnsAnswer:
    limits = tables.limits
    _check_shared(found, limits)
    trials, trials_reasons = _whole_numbers(
        found["failed_trials"], limits.trials, limits.judge_trials
    )
    infusions, infusions_reasons = _spread(
        found["infusions"], rows, _whole_numbers, limits.infusions, limits.judge_infusions
    )
    raters, raters_reasons = _spread(
        found["rated_by"], rows, _raters, limits.raters, limits.judge_rater
    )
    cells = tables.cells(trials, infusions, raters)
    reasons = None
    # The first fault of a row, in the order of the columns, is reported.
    for some in (raters_reasons, infusions_reasons, trials_reasons):
        if some is not None:
            reasons = some if reasons is None else np.where(some > 0, some, reasons)
    if reasons is not None:
        cells[reasons > 0] = tables.refused
    raw = {name: found[name] for name in COLUMNS if isinstance(found[name], list)}
    return ColumnsAnswer(tables, cells, reasons, {} if reasons is None else raw)


def _check_shared(found: dict[str, Any], limits: Limits) -> None:
    """Refuse the batch if a value shared by all rows cannot be used."""
    for name, judge in (("infusions", limits.judge_infusions), ("rated_by", limits.judge_rater)):
        value = found[name]
        if isinstance(value, list):
            continue
        reason = judge(value)
        if reason != Reason.GOOD:
            fault = limits.fault(reason, value)
            problem = FieldProblem(f"/{name}", fault.detail, fault.remedy)
            raise ProblemError("invalid-input", str(fault), [problem])


def _spread(
    value: Any, rows: int, read: Callable[..., tuple[Bytes, Bytes | None]], *rest: Any
) -> tuple[Bytes, Bytes | None]:
    """Read a column, or one value for all rows."""
    if isinstance(value, list):
        return read(value, *rest)
    codes, _ = read([value], *rest)
    return np.broadcast_to(codes, (rows,)), None


def _whole_numbers(
    values: list[Any], limits: tuple[int, int], judge: Callable[[object], Reason]
) -> tuple[Bytes, Bytes | None]:
    """Read numbers; the second result says why rows are refused, None if none is."""
    if set(map(type, values)) <= {int}:  # booleans are another type
        try:
            codes = np.frombuffer(bytes(values), dtype=np.uint8)
        except ValueError:
            pass  # a number outside 0 to 255
        else:
            if not codes.size or (codes.min() >= limits[0] and codes.max() <= limits[1]):
                return codes, None
    reasons = bytes(map(judge, values))
    pairs = zip(values, reasons, strict=True)
    codes = np.frombuffer(bytes([0 if bad else value for value, bad in pairs]), dtype=np.uint8)
    return codes, np.frombuffer(reasons, dtype=np.uint8)


def _raters(
    values: list[Any], raters: Sequence[str], judge: Callable[[object], Reason]
) -> tuple[Bytes, Bytes | None]:
    """Read raters as their places; the second result as of :func:`_whole_numbers`."""
    places = {rater: place for place, rater in enumerate(raters)}
    try:
        return np.frombuffer(bytes(map(places.__getitem__, values)), dtype=np.uint8), None
    except (KeyError, TypeError):
        pass  # an unknown rater, or a value that is no text
    reasons = bytes(map(judge, values))
    pairs = zip(values, reasons, strict=True)
    codes = bytes([0 if bad else places[value] for value, bad in pairs])
    return np.frombuffer(codes, dtype=np.uint8), np.frombuffer(reasons, dtype=np.uint8)
