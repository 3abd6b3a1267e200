"""Results as plain numbers and lists."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class PlainRecord:
    """Gives a frozen dataclass of arrays a `to_dict`."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain numbers, texts, lists and dictionaries; NaN becomes None."""
        record = cast("DataclassInstance", self)
        return {field.name: plain(getattr(record, field.name)) for field in fields(record)}


def plain(value: object) -> Any:
    """Turn arrays into lists, nested results into dictionaries and NaN into None."""
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    to_dict = getattr(value, "to_dict", None)
    if callable(to_dict):
        return to_dict()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return value
