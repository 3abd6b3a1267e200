"""Writes answers as Arrow record batches."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]

from ketacast_service.api.batch.arrow_columns import Rows
from ketacast_service.api.batch.cells import EXTRAPOLATED, MOST_TABLES, Tables

END: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""The end mark of an Arrow stream."""


class AnswerWriter:
    """Writes the messages of an answer.

    Parameters
    ----------
    tables : Tables
        What rows are looked up in.

    Attributes
    ----------
    head : bytes
        The schema's message, which comes first.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        model = tables.model
        metadata = {
            "ketacast.model_name": model["name"],
            "ketacast.model_version": model["version"],
            "ketacast.model_sha256": model["sha256"],
            "ketacast.levels": json.dumps(tables.levels),
            "ketacast.basis": json.dumps(tables.basis),
            "ketacast.warnings": json.dumps(tables.common_warnings),
        }
        fields = [pa.field(name, pa.float64()) for name in tables.names]
        fields += [pa.field(EXTRAPOLATED, pa.bool_()), pa.field("error", pa.string())]
        self._schema = pa.schema(fields, metadata=metadata)
        self.head: bytes = self._schema.serialize().to_pybytes()

    def write(self, rows: Rows) -> Any:
        """Return the message of one batch (a buffer)."""
        n = rows.cells.size
        valid, nulls = None, 0
        errors = pa.nulls(n, pa.string())
        if rows.reasons is not None:
            good = rows.reasons == 0
            valid = pa.py_buffer(np.packbits(good, bitorder="little"))
            nulls = int(n - np.count_nonzero(good))
            errors = pa.array(rows.errors, pa.string())
        columns = [
            pa.Array.from_buffers(
                pa.float64(), n, [valid, pa.py_buffer(values.take(rows.cells))], nulls
            )
            for values in self._tables.numbers
        ]
        flags = np.packbits(self._tables.extrapolated.take(rows.cells), bitorder="little")
        columns.append(pa.Array.from_buffers(pa.bool_(), n, [valid, pa.py_buffer(flags)], nulls))
        return pa.RecordBatch.from_arrays([*columns, errors], schema=self._schema).serialize()


@lru_cache(maxsize=MOST_TABLES)
def writer_for(tables: Tables) -> AnswerWriter:
    """Return the writer for some tables; it is kept, for it does not change."""
    return AnswerWriter(tables)
