"""Labels of groups and clusters, checked in one way."""

from __future__ import annotations

import numpy as np

from ketacast.errors import InputError

Label = int | float | str


def label_list(name: str, labels: object, k: int) -> list[Label]:
    """Check labels, one per row; a list means the same as an array of its members.

    Parameters
    ----------
    name : str
        The argument's name, for messages.
    labels : array_like, shape (k,)
        Text or numbers. Equal numbers are one label whatever their type.
    k : int
        Number of rows.

    Raises
    ------
    InputError
        For a wrong shape, missing labels, and a number beside the same as text (1 and
        "1"), which may or may not be meant as one label.
    """
    # As objects: a list of numbers and text would become text, NaN included.
    array = np.asarray(labels, dtype=object)
    if array.shape != (k,):
        raise InputError(f"{name} has shape {array.shape} for {k} rows; give one label per row")
    values: list[Label] = []
    for row, given in enumerate(array):
        value = given.item() if isinstance(given, np.generic) else given
        # A missing label differs from itself (NaN) or is None.
        if not isinstance(value, int | float | str) or value != value:  # noqa: PLR0124
            raise InputError(f"{name}[{row}] is {given!r}; give text or a number for each row")
        values.append(value)
    texts = {value for value in values if isinstance(value, str)}
    for value in values:
        if not isinstance(value, str) and str(value) in texts:
            raise InputError(
                f"{name} holds {value!r} and {str(value)!r}; give one label as text or as a number "
                "throughout"
            )
    return values
