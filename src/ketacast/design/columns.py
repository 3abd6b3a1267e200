"""Columns of a caller's table: numbers with gaps, factors, and whether rows match.

Unlike :mod:`ketacast.arrays`, which refuses missing values, this module reads
them as NaN, so that the estimators can leave those rows out and say so.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ketacast.arrays import FloatArray, refuse_where
from ketacast.errors import InputError


@dataclass(frozen=True, slots=True)
class Column:
    """A moderator's column as it was in the fit.

    Attributes
    ----------
    name : object
        The column's label in the table.
    levels : tuple or None
        Levels of a factor, the reference level first; None for numbers.
    """

    name: Any
    levels: tuple[Any, ...] | None


def numbers_with_gaps(name: str, value: object, *, ndim: int) -> FloatArray:
    """Read numbers; NaN, None, pd.NA and masked values become NaN.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : array_like
        Numbers.
    ndim : int
        Dimensions required.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    InputError
        For text, booleans, complex, sparse, ragged, empty or infinite input, and
        for a wrong number of dimensions.
    """
    if hasattr(value, "toarray"):
        raise InputError(f"{name} is a sparse matrix; give a dense one: {name}.toarray()")
    if isinstance(value, np.ma.MaskedArray):
        value = np.ma.filled(value.astype(np.float64), np.nan)
    try:
        raw = np.asarray(value)
    except ValueError as error:
        raise InputError(f"{name} is not rectangular ({error}); give equal-length rows") from error
    if raw.dtype.kind == "c":
        raise InputError(f"{name} is complex. Complex data not supported; give real numbers")
    if raw.dtype.kind == "O":
        raw = _numbers_among_objects(name, raw)
    if raw.dtype.kind not in "iuf":
        raise InputError(
            f"{name} is not numeric (read as {raw.dtype}); give numbers, or factors as columns "
            "of a DataFrame"
        )
    array = raw.astype(np.float64)
    if array.ndim != ndim:
        remedy = "give one value per study"
        if ndim == 2:
            remedy = "give one row per study. Reshape your data: values.reshape(-1, 1)"
        raise InputError(f"{name} has {array.ndim} dimension(s), shape {array.shape}; {remedy}")
    if array.size == 0:
        raise InputError(_empty(name, array.shape))
    refuse_where(
        name, array, np.isinf(array), "must be finite (inf cannot be fitted); mend or drop it"
    )
    return array


def as_frame(value: object) -> pd.DataFrame | None:
    """Give a table as a pandas DataFrame; None for anything that is not a table."""
    if isinstance(value, pd.DataFrame):
        return value
    if type(value).__module__.split(".")[0] == "polars" and hasattr(value, "to_dict"):
        # Through lists: polars' own to_pandas needs pyarrow.
        content = value.to_dict(as_series=False)
        return pd.DataFrame(content) if isinstance(content, dict) else None
    if hasattr(value, "to_pandas") and hasattr(value, "columns"):
        frame = value.to_pandas()
        return frame if isinstance(frame, pd.DataFrame) else None
    return None


def column_of(name: str, label: str, frame: pd.DataFrame | None) -> pd.Series[Any]:
    """Look up an argument that was given as a column's name.

    Raises
    ------
    InputError
        Without a table, or for a name it does not have.
    """
    if frame is None:
        raise InputError(f"{name} is the name {label!r}; give data=DataFrame with it, or an array")
    if label not in frame.columns:
        raise InputError(f"{name} is {label!r}, which is not a column of data; {_has(frame)}")
    return frame[label]


def refuse_absent(wanted: Iterable[Any], frame: pd.DataFrame, where: str) -> None:
    """Refuse a table that lacks a wanted column, or has two of one name.

    Raises
    ------
    InputError
        Naming the columns, and what there is instead.
    """
    wanted = list(wanted)
    absent = [label for label in wanted if label not in frame.columns]
    if absent:
        listed = ", ".join(repr(label) for label in absent)
        raise InputError(f"{where} has no column {listed}; {_has(frame)}")
    double = frame.columns[frame.columns.duplicated()].intersection(wanted)
    if len(double):
        raise InputError(f"{where} has two columns named {double[0]!r}; rename one")


def clean_column(values: pd.Series[Any], where: str) -> pd.Series[Any]:
    """Give a moderator's column as float64, or as a category for text, flags and factors.

    Missing values become NaN in both.

    Raises
    ------
    InputError
        For dates, mixtures and whatever else is neither numbers nor a factor, and
        for infinite numbers.
    """
    place = f"{where} column {values.name!r}"
    if isinstance(values.dtype, pd.CategoricalDtype):
        return without_unused_levels(values)
    present = values[values.notna()]
    if pd.api.types.is_bool_dtype(values.dtype) or _all_are(present, bool | np.bool_):
        # A flag that is all missing has no levels to keep.
        return values.astype(object).astype(pd.CategoricalDtype(sorted(present.unique())))
    if isinstance(values.dtype, pd.StringDtype) or _all_are(present, str):
        return values.astype(pd.CategoricalDtype(sorted(present.unique())))
    if pd.api.types.is_numeric_dtype(values.dtype) or _all_are(present, numbers.Real):
        if pd.api.types.is_complex_dtype(values.dtype):
            raise InputError(f"{place} is complex. Complex data not supported; give real numbers")
        array = values.to_numpy(dtype=np.float64, na_value=np.nan)
        refuse_where(place, array, np.isinf(array), "must be finite; mend or drop it")
        return pd.Series(array, index=values.index, name=values.name)
    kind = f"{values.dtype}, first value {present.iloc[0]!r}"
    raise InputError(f"{place} is {kind}: neither numbers nor a factor; convert it to one of them")


def without_unused_levels(values: pd.Series[Any]) -> pd.Series[Any]:
    """Drop the levels of a factor that no row has; numbers stay as they are."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.cat.remove_unused_categories()
    return values


def recode(values: pd.Series[Any], column: Column, where: str) -> pd.Series[Any]:
    """Read a new table's column as the fit's one was read.

    Raises
    ------
    InputError
        For missing values, an unknown level, or a factor where numbers were fitted
        (and the reverse).
    """
    missing = np.flatnonzero(values.isna())
    if missing.size:
        raise InputError(
            f"{where} column {column.name!r} is missing (NaN) at row {missing[0]}; fill it or drop "
            "the row"
        )
    if column.levels is None:
        cleaned = clean_column(values, where)
        if isinstance(cleaned.dtype, pd.CategoricalDtype):
            raise InputError(
                f"{where} column {column.name!r} is a factor ({values.iloc[0]!r}); the fit had "
                "numbers there, give numbers"
            )
        return cleaned
    known = set(column.levels)
    unknown = [level for level in values.unique() if level not in known]
    if unknown:
        levels = ", ".join(repr(level) for level in column.levels)
        raise InputError(
            f"{where} column {column.name!r} has the level {unknown[0]!r}, which was not in the "
            f"fit; give one of {levels}, or fit with studies of that level"
        )
    return values.astype(object).astype(pd.CategoricalDtype(list(column.levels)))


def refuse_misaligned(named: Sequence[tuple[str, object]]) -> None:
    """Refuse pandas objects whose indexes differ in content or order.

    Parameters
    ----------
    named : sequence of (name, value)
        Arguments that must go row by row; those without an index are skipped.

    Raises
    ------
    InputError
        Naming the first pair that differs.
    """
    first: tuple[str, pd.Index[Any]] | None = None
    for name, value in named:
        if not isinstance(value, pd.Series | pd.DataFrame):
            continue
        if first is None:
            first = (name, value.index)
        elif not first[1].equals(value.index):
            raise InputError(
                f"{name} and {first[0]} have different row labels ({_head(value.index)} and "
                f"{_head(first[1])}), so their rows may not belong together; align them "
                f"({name}.loc[{first[0]}.index]), or give {name}.to_numpy() if the order is right"
            )


def _numbers_among_objects(name: str, raw: np.ndarray[Any, Any]) -> FloatArray:
    flat = raw.ravel()
    numeric = np.full(flat.size, np.nan)
    for i, item in enumerate(flat):
        if item is None or item is pd.NA or item is pd.NaT:
            continue
        if isinstance(item, bool | np.bool_) or not isinstance(item, numbers.Real):
            raise InputError(f"{name} holds {item!r}, which is not a number; give numbers")
        numeric[i] = float(item)
    return numeric.reshape(raw.shape)


def _all_are(values: pd.Series[Any], kind: Any) -> bool:
    return values.dtype == object and all(isinstance(value, kind) for value in values)


def _empty(name: str, shape: tuple[int, ...]) -> str:
    if len(shape) == 2 and shape[0]:
        return (
            f"{name} has 0 feature(s) (shape={shape}) while a minimum of 1 is required; give a "
            "moderator, or X=None for the intercept alone"
        )
    return f"{name} is empty (shape {shape}); give at least one study"


def _has(frame: pd.DataFrame) -> str:
    return "it has " + ", ".join(repr(label) for label in frame.columns)


def _head(index: pd.Index[Any]) -> str:
    shown = ", ".join(repr(label) for label in index[:3].tolist())
    return f"{shown}, ..." if len(index) > 3 else shown


def row_labels(X: object, count: int) -> pd.Index[Any]:
    """Labels of a table's rows; positions for anything without labels."""
    if isinstance(X, pd.DataFrame):
        return X.index
    return pd.RangeIndex(count)
