"""What the audit keeps of a batch: the inputs, small and faithful, without refused values.

A record is one line of JSON, then the zlib-compressed bytes of four columns of ``rows``
unsigned bytes each: failed trials, infusions, rater (its place in the header's ``raters``) and
reason (0: answered; else why refused, see :class:`Reason`). A refused row has zeros for inputs.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ketacast_service.api.batch.cells import Bytes, Cells, Tables
from ketacast_service.api.batch.faults import Reason
from ketacast_service.errors import ServiceError

NAME: Final = "ketacast-batch"
VERSION: Final = 1
MOST_PIECE_ROWS: Final = 65_536
_LONGEST_HEADER: Final = 4096
_MOST_RECORD_ROWS: Final = 1_000_000
_COLUMNS: Final = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer that is recorded and sent as a whole.

    Attributes
    ----------
    output : bytes
        To send.
    record : bytes
        For the audit, before it is sent; see :func:`read_record`.
    first_row : int
        Number of its first row in the request, from 0.
    rows, refused : int
        Rows in this piece; those not answered.
    """

    output: bytes
    record: bytes
    first_row: int
    rows: int
    refused: int


@dataclass(frozen=True, slots=True)
class Record:
    """Inputs of recorded rows.

    Attributes
    ----------
    source : str
        Format of the request: "json", "ndjson" or "arrow".
    model : dict
        Name, version and sha256 of the model that answered.
    levels : tuple of float
        Levels of the answer.
    first_row : int
        Number of the first row in the request.
    failed_trials, infusions : array of uint8
        0 where refused.
    rated_by : array of str
        Empty where refused.
    reasons : array of uint8
        :class:`Reason` of each row; 0 where answered.
    """

    source: str
    model: dict[str, str]
    levels: tuple[float, ...]
    first_row: int
    failed_trials: Bytes
    infusions: Bytes
    rated_by: np.ndarray[Any, np.dtype[np.str_]]
    reasons: Bytes


def write_record(
    source: str, tables: Tables, cells: Cells, reasons: Bytes | None, first_row: int = 0
) -> bytes:
    """Write the record of some rows.

    Parameters
    ----------
    source : str
        Format of the request.
    tables : Tables
        What they were looked up in.
    cells : array
        Cell of each row.
    reasons : array or None
        Why each row is refused; None if none is.
    first_row : int
        Number of the first row in the request.
    """
    header = {
        "record": NAME,
        "version": VERSION,
        "source": source,
        "model": tables.model,
        "levels": tables.levels,
        "raters": tables.limits.raters,
        "first_row": first_row,
        "rows": int(cells.size),
        "refused": 0 if reasons is None else int(np.count_nonzero(reasons)),
    }
    squeeze = zlib.compressobj(1)
    parts = [json.dumps(header, separators=(",", ":")).encode(), b"\n"]
    parts += [squeeze.compress(column.data) for column in tables.columns_of(cells)]
    parts.append(squeeze.compress(bytes(cells.size) if reasons is None else reasons.data))
    parts.append(squeeze.flush())
    return b"".join(parts)


def read_record(record: bytes) -> Record:
    """Read a record.

    Raises
    ------
    ServiceError
        If it is no record, cut off or damaged.
    """
    head, _, body = record.partition(b"\n")
    try:
        header = _header(head)
        return _columns(header, _unpacked(body, _COLUMNS * header["rows"]))
    except (ValueError, TypeError, KeyError, zlib.error) as error:
        reason = str(error) or error.__class__.__name__
        raise ServiceError(
            f"the batch record cannot be read: {reason}; restore it from a copy"
        ) from error


def _header(head: bytes) -> dict[str, Any]:
    header = json.loads(head[:_LONGEST_HEADER])
    if not isinstance(header, dict) or header.get("record") != NAME:
        raise ValueError("it does not begin with a header")
    if header["version"] != VERSION:
        raise ValueError(f"it has version {header['version']}, this service reads {VERSION}")
    rows = header["rows"]
    if type(rows) is not int or not 0 <= rows <= _MOST_RECORD_ROWS:
        raise ValueError(f"it claims {rows!r} rows")
    return header


def _unpacked(body: bytes, size: int) -> bytes:
    # Bounded, for a damaged record must not fill the memory.
    squeezed = zlib.decompressobj()
    columns = squeezed.decompress(body, size + 1)
    if len(columns) != size or not squeezed.eof or squeezed.unused_data:
        raise ValueError("its columns have not the length that it claims")
    return columns


def _columns(header: dict[str, Any], columns: bytes) -> Record:
    trials, infusions, places, reasons = np.frombuffer(columns, dtype=np.uint8).reshape(
        _COLUMNS, -1
    )
    raters = np.array([*header["raters"], ""], dtype=np.str_)
    if reasons.size and int(reasons.max()) > max(Reason):
        raise ValueError(f"it has an unknown reason {int(reasons.max())}")
    good = reasons == Reason.GOOD
    if reasons.size and int(places.max()) >= len(raters) - 1:
        raise ValueError(f"it has an unknown rater {int(places.max())}")
    return Record(
        source=header["source"],
        model=header["model"],
        levels=tuple(header["levels"]),
        first_row=header["first_row"],
        failed_trials=trials,
        infusions=infusions,
        rated_by=raters[np.where(good, places, len(raters) - 1)],
        reasons=reasons,
    )
