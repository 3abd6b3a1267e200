"""The moderators of a fit, recovered row by row, and rows that vary one of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ketacast.design import as_frame
from ketacast.design.columns import Column, recode, refuse_absent
from ketacast.errors import InputError
from ketacast.estimators.base import MetaEstimator


def moderator_columns(estimator: MetaEstimator) -> tuple[Column, ...]:
    """Give the moderators with the levels of factors; "x0", "x1", ... for an array."""
    spec = estimator.design_
    if spec.kind == "array":
        return tuple(Column(f"x{j}", None) for j in range(spec.n_features))
    return spec.columns


def find_moderator(estimator: MetaEstimator, name: object, argument: str) -> Column:
    """Look up a moderator.

    Raises
    ------
    InputError
        For a name that is not a moderator, listing those there are.
    """
    columns = moderator_columns(estimator)
    for column in columns:
        if column.name == name:
            return column
    listed = ", ".join(repr(column.name) for column in columns)
    there = f"choose from {listed}" if columns else "the fit has none"
    raise InputError(f"{argument} is {name!r}, which is not a moderator of the fit; {there}")


def moderator_table(estimator: MetaEstimator, data: object = None) -> pd.DataFrame:
    """Moderators of the studies in the fit, one column each.

    They are read from `data` where it is given, else from the design matrix, which
    holds numbers as they are and factors as indicators.

    Raises
    ------
    InputError
        If `data` does not fit, or the design holds only functions of a moderator.
    """
    columns = moderator_columns(estimator)
    if data is not None:
        return _from_table(estimator, columns, data)
    spec, matrix = estimator.design_, estimator.studies_.matrix
    full = np.zeros((len(matrix), len(spec.all_names)))
    full[:, list(spec.kept)] = matrix
    left_out = [j for j in range(len(spec.all_names)) if j not in spec.kept]
    full[:, left_out] = matrix @ spec.relation
    design = dict(zip(spec.all_names, full.T, strict=True))
    return pd.DataFrame({column.name: _recovered(column, design) for column in columns})


def varied_rows(
    table: pd.DataFrame,
    columns: tuple[Column, ...],
    moderator: Column,
    values: list[Any],
    at: Mapping[Hashable, object],
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows with one moderator varied and the others held.

    Parameters
    ----------
    table : DataFrame
        Moderators of the studies.
    columns : tuple of Column
        The moderators.
    moderator : Column
        The one that is varied.
    values : list
        Its values.
    at : mapping
        Values of others; means of numbers and reference levels of factors by default.

    Returns
    -------
    rows : DataFrame
    held : dict
        The others' values by name.
    """
    rows = {}
    held: dict[str, Any] = {}
    for column in columns:
        if column.name == moderator.name:
            rows[column.name] = values
            continue
        if column.name in at:
            value = at[column.name]
        else:
            value = float(table[column.name].mean()) if column.levels is None else column.levels[0]
        held[str(column.name)] = value
        rows[column.name] = [value] * len(values)
    return pd.DataFrame(rows), held


def _from_table(
    estimator: MetaEstimator, columns: tuple[Column, ...], data: object
) -> pd.DataFrame:
    frame, used = as_frame(data), estimator.studies_.used
    if frame is None:
        raise InputError(f"data is a {type(data).__name__}; give the DataFrame of the fit")
    refuse_absent((column.name for column in columns), frame, "data")
    if len(frame) == used.size:
        frame = frame[used]
    elif len(frame) != int(used.sum()):
        raise InputError(
            f"data has {len(frame)} rows and the fit was given {used.size}; give the same table"
        )
    return pd.DataFrame(
        {c.name: recode(frame[c.name], c, "data").reset_index(drop=True) for c in columns}
    )


def _recovered(column: Column, design: dict[str, Any]) -> Any:
    if column.levels is None:
        if column.name in design:
            return design[column.name]
    else:
        for pattern in ("{}[{}]", "C({})[{}]"):
            names = [pattern.format(column.name, level) for level in column.levels[1:]]
            if all(name in design for name in names):
                # Not any of the other levels: the reference level, which has no column.
                flags = np.array([design[name] for name in names])
                which = np.argmax([1.0 - flags.sum(axis=0), *flags], axis=0)
                return [column.levels[i] for i in which]
    raise InputError(
        f"the design holds only functions of {column.name!r}, not its values; give data=, the "
        "table that the fit was made from"
    )
