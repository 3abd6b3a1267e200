"""Checks the columns of an Arrow batch and finds the cell of each row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from numpy.typing import NDArray

from ketacast_service.api.batch.arrow_frames import malformed
from ketacast_service.api.batch.cells import Bytes, Cells, Tables
from ketacast_service.api.batch.faults import COLUMNS, Reason, shown
from ketacast_service.errors import FieldProblem, ProblemError

_MOST_PROBLEMS: Final = 10
_LONGEST_SHOWN: Final = 64


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that have been read.

    Attributes
    ----------
    cells : array
        The cell of each row.
    reasons : array or None
        Why rows are refused; None if none is.
    errors : list of (str or None) or None
        The same as text.
    """

    cells: Cells
    reasons: Bytes | None = None
    errors: list[str | None] | None = None


def check_schema(schema: Any) -> None:
    """Refuse missing, further and repeated columns and types that are not read.

    Raises
    ------
    ProblemError
        "invalid-input" naming each column; "malformed-request" if a name is no text.
    """
    try:
        problems = _schema_problems(schema)
    except (UnicodeDecodeError, pa.ArrowException):
        raise malformed("a name in its schema is not UTF-8") from None
    if problems:
        detail = f"{problems[0].detail}; {problems[0].remedy}"
        raise ProblemError("invalid-input", detail, problems[:_MOST_PROBLEMS])


def _schema_problems(schema: Any) -> list[FieldProblem]:
    names = Counter(schema.names)
    problems = [
        FieldProblem(f"/{name}", f"the column {name} is missing", f"give {', '.join(COLUMNS)}")
        for name in COLUMNS
        if name not in names
    ]
    found = [_field_problem(field, names[field.name]) for field in schema]
    return problems + [problem for problem in found if problem is not None]


def _field_problem(field: Any, times: int) -> FieldProblem | None:
    pointer = "/" + field.name[:80].replace("~", "~0").replace("/", "~1")
    if field.name not in COLUMNS:
        detail = f"the column {shown(field.name)} is not known"
        remedy = f"leave it out, for nothing but {', '.join(COLUMNS)} is needed"
        return FieldProblem(pointer, detail, remedy)
    if times > 1:
        return FieldProblem(
            pointer, f"the column {field.name} stands {times} times", "give it once"
        )
    if field.name == "rated_by":
        good = _is_text(field.type) or (
            pa.types.is_dictionary(field.type) and _is_text(field.type.value_type)
        )
        remedy = "give string, large_string or a dictionary of them"
    else:
        good, remedy = pa.types.is_integer(field.type), "give an integer type, null where missing"
    detail = f"the column {field.name} has type {str(field.type)[:_LONGEST_SHOWN]}"
    return None if good else FieldProblem(pointer, detail, remedy)


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def read_rows(batch: Any, tables: Tables) -> Rows:
    """Find the cells of a checked batch.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        Validated in full.
    tables : Tables
        What rows are looked up in.

    Raises
    ------
    ProblemError
        "malformed-request" if buffers do not lie as the format asks.
    """
    limits = tables.limits
    columns = {name: batch.column(name) for name in COLUMNS}
    trials, trials_good = _integers(columns["failed_trials"], limits.trials)
    infusions, infusions_good = _integers(columns["infusions"], limits.infusions)
    raters, raters_good = _raters(columns["rated_by"], limits.raters)
    cells = tables.cells(trials, infusions, raters)
    good = trials_good & infusions_good & raters_good
    if good.all():
        return Rows(cells)
    cells[~good] = tables.refused
    reasons = np.zeros(cells.size, dtype=np.uint8)
    # The first fault of a row, in the order of the columns, is reported: it is set last.
    reasons[~raters_good] = Reason.RATER_CHOICE
    reasons[~raters_good & _missing(columns["rated_by"])] = Reason.RATER_MISSING
    reasons[~infusions_good] = Reason.INFUSIONS_LIMITS
    reasons[_missing(columns["infusions"])] = Reason.INFUSIONS_MISSING
    reasons[~trials_good] = Reason.TRIALS_LIMITS
    reasons[_missing(columns["failed_trials"])] = Reason.TRIALS_MISSING
    return Rows(cells, reasons, _errors(columns, reasons, tables))


def _missing(column: Any) -> NDArray[np.bool_]:
    if pa.types.is_dictionary(column.type):
        absent = np.append(_missing(column.dictionary), True)
        found: NDArray[np.bool_] = absent[_places(column)]
        return found
    if not column.null_count:
        return np.zeros(len(column), dtype=np.bool_)
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False), dtype=np.bool_)


def _integers(column: Any, limits: tuple[int, int]) -> tuple[Bytes, NDArray[np.bool_]]:
    """Return numbers, and which of them are answered; the others are replaced."""
    low, high = limits
    values = _values(column)
    good: NDArray[np.bool_] = (values >= low) & (values <= high)
    if column.null_count:
        good &= ~_missing(column)
    if not good.all():
        values = np.where(good, values, values.dtype.type(low))
    return values.astype(np.uint8), good


def _values(column: Any) -> NDArray[Any]:
    """Return the numbers of a column without a copy, whatever stands where it is null."""
    dtype = np.dtype(column.type.to_pandas_dtype())
    buffer = column.buffers()[1]
    if buffer is None or not len(column):
        return np.zeros(len(column), dtype=dtype)
    if buffer.address % dtype.itemsize:
        raise malformed("its numbers are not aligned")
    last = column.offset + len(column)
    return np.frombuffer(buffer, dtype=dtype, count=last)[column.offset :]


def _raters(column: Any, raters: tuple[str, ...]) -> tuple[Bytes, NDArray[np.bool_]]:
    """Return places of raters, and which of them are known; the others are replaced."""
    if pa.types.is_dictionary(column.type):
        codes, good = _raters(column.dictionary, raters)
        places = _places(column)
        return np.append(codes, np.uint8(0))[places], np.append(good, False)[places]
    known = pc.index_in(column, value_set=pa.array(raters, type=column.type))
    found = _values(known.fill_null(-1))
    good = found >= 0
    return np.where(good, found, 0).astype(np.uint8), good


def _places(column: Any) -> NDArray[np.intp]:
    """Return the places in a dictionary column's dictionary; -1 where null."""
    indices = column.indices
    places = _values(indices).astype(np.intp)
    if indices.null_count:
        places[_missing(indices)] = -1
    return places


def _errors(columns: dict[str, Any], reasons: Bytes, tables: Tables) -> list[str | None]:
    """Put the fault of each refused row into words."""
    kept: dict[tuple[Reason, object], str] = {}
    errors: list[str | None] = [None] * reasons.size
    for reason in map(Reason, np.unique(reasons[reasons > 0]).tolist()):
        rows = np.flatnonzero(reasons == reason)
        for row, value in zip(rows.tolist(), _raw(columns, reason, rows), strict=True):
            text = kept.get((reason, value))
            if text is None:
                text = kept[reason, value] = str(tables.limits.fault(reason, value))
            errors[row] = text
    return errors


def _raw(columns: dict[str, Any], reason: Reason, rows: NDArray[np.intp]) -> list[Any]:
    """Return the refused values; long texts are cut before they become Python's."""
    if reason.name.endswith("MISSING"):
        return [None] * rows.size
    found: list[Any]
    if reason == Reason.TRIALS_LIMITS:
        found = _values(columns["failed_trials"])[rows].tolist()
    elif reason == Reason.INFUSIONS_LIMITS:
        found = _values(columns["infusions"])[rows].tolist()
    elif pa.types.is_dictionary(columns["rated_by"].type):
        column = columns["rated_by"]
        texts = np.array([*column.dictionary.to_pylist(), None], dtype=object)
        found = texts[_places(column)[rows]].tolist()
    else:
        texts = columns["rated_by"].take(rows)
        found = pc.utf8_slice_codeunits(texts, 0, _LONGEST_SHOWN).to_pylist()
    return found
