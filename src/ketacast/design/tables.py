"""Tables as matrices: numbers as they are, factors by treatment coding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ketacast.arrays import FloatArray
from ketacast.design.columns import Column, clean_column, recode


def clean_table(frame: pd.DataFrame, labels: list[Any], where: str) -> pd.DataFrame:
    """Give the labelled columns as float64 or category, gaps as NaN."""
    cleaned = {label: clean_column(frame[label], where) for label in labels}
    return pd.DataFrame(cleaned, index=frame.index)


def learn_column(values: pd.Series[Any]) -> Column:
    """Remember a clean column: its name, and the levels of a factor."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return Column(values.name, tuple(values.cat.remove_unused_categories().cat.categories))
    return Column(values.name, None)


def recode_table(frame: pd.DataFrame, columns: tuple[Column, ...], where: str) -> pd.DataFrame:
    """Read the columns as the fit's ones were read; rows are numbered from 0."""
    recoded = {c.name: recode(frame[c.name], c, where).reset_index(drop=True) for c in columns}
    return pd.DataFrame(recoded, index=range(len(frame)))


def table_matrix(table: pd.DataFrame, columns: tuple[Column, ...], intercept: bool) -> FloatArray:
    """Numbers as they are; factors as indicators of all levels but the reference."""
    parts = []
    for column, levels in _coded_levels(columns, intercept):
        values = table[column.name]
        if levels is None:
            parts.append(values.to_numpy(dtype=np.float64))
        else:
            parts += [(values == level).to_numpy(dtype=np.float64) for level in levels]
    return np.column_stack(parts) if parts else np.empty((len(table), 0))


def table_names(columns: tuple[Column, ...], intercept: bool) -> tuple[str, ...]:
    """Names of the columns of :func:`table_matrix`."""
    names: list[str] = []
    for column, levels in _coded_levels(columns, intercept):
        names += [str(column.name)] if levels is None else [f"{column.name}[{x}]" for x in levels]
    return tuple(names)


def _coded_levels(
    columns: tuple[Column, ...], intercept: bool
) -> Iterator[tuple[Column, tuple[Any, ...] | None]]:
    full = not intercept  # without an intercept the first factor keeps its reference level
    for column in columns:
        if column.levels is None:
            yield column, None
        else:
            yield column, column.levels if full else column.levels[1:]
            full = False


def with_intercept(matrix: FloatArray, intercept: bool) -> FloatArray:
    """Put a column of ones first, where there is an intercept."""
    return np.column_stack([np.ones(len(matrix)), matrix]) if intercept else matrix
