"""Checked numeric arrays: bad input is refused before any arithmetic.

Everything numeric that a caller hands to ketacast's array functions passes
through :func:`real_array`, so that text, booleans, missing and infinite
values are refused with a message that names the place, never turned into a
quiet number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ketacast.errors import InputError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def real_array(name: str, value: object, *, ndim: int | None = None) -> FloatArray:
    """Convert to a double-precision array, refusing whatever is not a finite number.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : array_like
        Numbers of any shape.
    ndim : int, optional
        Number of dimensions required.

    Returns
    -------
    ndarray of float64
        The values; a copy only where a conversion was needed.

    Raises
    ------
    InputError
        For booleans, text, missing, masked or infinite values, ragged or
        empty input, and a wrong number of dimensions.
    """
    if _holds_boolean(value):
        raise InputError(f"{name} holds a boolean, {value!r}; give numbers")
    if isinstance(value, np.ma.MaskedArray) and bool(np.ma.getmaskarray(value).any()):
        raise InputError(f"{name} holds masked values; drop or fill those rows first")
    try:
        raw = np.asarray(value)
    except ValueError as error:
        raise InputError(f"{name} is not rectangular ({error}); give equal-length rows") from error
    if raw.dtype.kind not in "iuf":
        raise InputError(
            f"{name} is not numeric (read as {raw.dtype}: {value!r}); give numbers, "
            "and drop rows with missing values first"
        )
    array = raw.astype(np.float64, copy=False)
    if array.size == 0:
        raise InputError(f"{name} is empty; give at least one value")
    if ndim is not None and array.ndim != ndim:
        raise InputError(
            f"{name} has {array.ndim} dimension(s), shape {array.shape}; give {ndim} dimension(s)"
        )
    refuse_where(
        name, array, ~np.isfinite(array), "must be finite; drop rows with missing values first"
    )
    return array


def refuse_where(name: str, array: FloatArray, bad: BoolArray, remedy: str) -> None:
    """Raise for the first element that `bad` marks.

    Parameters
    ----------
    name : str
        The argument's name.
    array : ndarray
        The values.
    bad : ndarray of bool
        True where the value is refused; same shape as `array`.
    remedy : str
        What the value must be, completing the sentence "... is <value>; it".

    Raises
    ------
    InputError
        If any element is marked.
    """
    if not bad.any():
        return
    first = np.unravel_index(int(np.argmax(bad)), bad.shape)
    place = f"[{', '.join(str(int(i)) for i in first)}]" if first else ""
    raise InputError(f"{name}{place} is {float(array[first])!r}; it {remedy}")


def broadcast(names: str, *arrays: FloatArray) -> tuple[FloatArray, ...]:
    """Broadcast arrays against each other.

    Raises
    ------
    InputError
        If the shapes do not match; `names` says whose.
    """
    try:
        return tuple(np.broadcast_arrays(*arrays))
    except ValueError as error:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise InputError(f"{names} do not match in shape ({shapes}); give equal lengths") from error


def frozen(array: FloatArray) -> FloatArray:
    """Return a read-only copy, so that a frozen result cannot be altered through it."""
    copy = np.array(array, dtype=np.float64)
    copy.flags.writeable = False
    return copy


def _holds_boolean(value: object) -> bool:
    # np.asarray([True, 2]) is silently an integer array, so lists are searched.
    if isinstance(value, np.ndarray):
        return bool(value.dtype.kind == "b")
    if isinstance(value, list | tuple):
        return any(_holds_boolean(item) for item in value)
    return isinstance(value, bool | np.bool_)
