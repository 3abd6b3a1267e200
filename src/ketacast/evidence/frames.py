"""Records as data frames; the only module of the evidence that needs pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

from ketacast.evidence.specs import TableSpec

_DTYPES: Final = {"integer": "Int64", "number": "float64", "flag": "bool"}


def records_to_frame(spec: TableSpec, records: Sequence[Any]) -> pd.DataFrame:
    """One row per record, typed by the table's columns.

    Parameters
    ----------
    spec : TableSpec
        The table.
    records : sequence
        Its records.

    Returns
    -------
    pandas.DataFrame
        Columns in file order; see :meth:`ketacast.evidence.Evidence.to_frame`.
    """
    columns = {
        column.name: pd.Series(
            [getattr(record, column.name) for record in records],
            dtype=_DTYPES.get(column.kind, "object"),
        )
        for column in spec.columns
    }
    return pd.DataFrame(columns)
