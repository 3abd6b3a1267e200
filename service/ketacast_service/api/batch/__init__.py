"""Predictions for many rows at once: formats of requests and answers, bytes in and bytes out.

Arrow streams are in :mod:`ketacast_service.api.batch.arrow`, which loads pyarrow: who waits
for the service to be ready need not wait for that.
"""

from __future__ import annotations

from ketacast_service.api.batch.cells import tables_for
from ketacast_service.api.batch.json_columns import ColumnsAnswer, answer_columns
from ketacast_service.api.batch.ndjson import LineStream
from ketacast_service.api.batch.records import Piece, Record, read_record

__all__ = [
    "ColumnsAnswer",
    "LineStream",
    "Piece",
    "Record",
    "answer_columns",
    "read_record",
    "tables_for",
]
