"""The moderators of a fit, and rows that vary one of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from ketacast.design.columns import Column
from ketacast.errors import InputError
from ketacast.estimators.base import MetaEstimator


def find_moderator(estimator: MetaEstimator, name: object, argument: str) -> Column:
    """Look up a moderator, with the levels of a factor.

    Raises
    ------
    InputError
        For a name that is not a moderator, listing those there are.
    """
    columns = estimator.design_.moderators()
    for column in columns:
        if column.name == name:
            return column
    listed = ", ".join(repr(column.name) for column in columns)
    there = f"choose from {listed}" if columns else "the fit has none"
    raise InputError(f"{argument} is {name!r}, which is not a moderator of the fit; {there}")


def varied_rows(
    estimator: MetaEstimator,
    moderator: Column,
    values: list[Any],
    at: Mapping[Hashable, object],
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows with one moderator varied and the others held.

    Parameters
    ----------
    estimator : MetaEstimator
        The fit.
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
    table = estimator.studies_.table
    rows = {}
    held: dict[str, Any] = {}
    for column in estimator.design_.moderators():
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
