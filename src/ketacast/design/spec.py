"""The frozen specification of a fit's design, which builds the matrix of new data."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from ketacast.arrays import FloatArray, refuse_where
from ketacast.design.columns import Column, as_frame, numbers_with_gaps, refuse_absent
from ketacast.design.formulas import apply_formula, coded_levels
from ketacast.design.tables import recode_table, table_matrix, with_intercept
from ketacast.errors import InputError

INTERCEPT: Final = "intercept"
#: New rows that miss the relation of a dropped column by more than this share of
#: its size break it; rounding of the relation itself is far smaller.
BROKEN_RELATION: Final = 1e-8

Kind = Literal["none", "array", "table", "formula"]


class DataWarning(UserWarning):
    """Something about the data that the fit worked around and the caller should know."""


@dataclass(frozen=True, slots=True)
class DesignSpec:
    """How a fit's moderators become its design matrix. Pickles.

    Attributes
    ----------
    kind : {"none", "array", "table", "formula"}
        What kind of moderators the fit was given.
    columns : tuple of Column
        The table's columns that are used, with the levels of factors.
    n_features : int
        Number of moderators given: columns of the array or table, or variables of the
        formula.
    intercept : bool
        Whether the intercept is in the matrix, as its first column.
    all_names : tuple of str
        Names of the matrix's columns before redundant ones were dropped.
    kept : tuple of int
        Which of them are in the matrix.
    relation : ndarray, shape (kept, dropped)
        Weights of the kept columns that give the dropped ones.
    encoding : object or None
        The formula's fitted encoding.
    """

    kind: Kind
    columns: tuple[Column, ...]
    n_features: int
    intercept: bool
    all_names: tuple[str, ...]
    kept: tuple[int, ...]
    relation: FloatArray
    encoding: Any = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the matrix's columns, the intercept first."""
        return tuple(self.all_names[j] for j in self.kept)

    @property
    def dropped(self) -> tuple[str, ...]:
        """Names of the columns left out as redundant."""
        return tuple(name for j, name in enumerate(self.all_names) if j not in self.kept)

    @property
    def constant_factors(self) -> tuple[str, ...]:
        """Names of factors with a single level, for which the intercept stands."""
        if not self.intercept or self.kind in ("none", "array"):
            return ()
        return tuple(str(c.name) for c in self.moderators() if c.levels and len(c.levels) == 1)

    def moderators(self) -> tuple[Column, ...]:
        """Give the moderators; a number that the formula makes a factor has its levels.

        Returns
        -------
        tuple of Column
            Those of an array are "x0", "x1", ....
        """
        if self.kind == "array":
            return tuple(Column(f"x{j}", None) for j in range(self.n_features))
        if self.kind != "formula" or self.encoding is None:
            return self.columns
        return tuple(
            replace(
                column, levels=column.levels or coded_levels(self.encoding, column.name) or None
            )
            for column in self.columns
        )

    def transform(self, X: object, *, owner: str = "the design") -> FloatArray:
        """Build the matrix of new moderators.

        Parameters
        ----------
        X : None, array_like or DataFrame
            Moderators of the kind that the fit had (a DataFrame where the fit had a
            formula). Other columns of a DataFrame, and their order, do not matter.
            For a fit without moderators, None is one row.
        owner : str
            Who asks, for messages.

        Returns
        -------
        ndarray, shape (m, p)

        Raises
        ------
        InputError
            For missing values, an absent column, an unknown level, a wrong number of
            columns or the wrong kind of input.

        Warns
        -----
        DataWarning
            If new rows break the relation by which a column was redundant.
        """
        full = self._full(X, owner)
        matrix = full[:, list(self.kept)]
        self._warn_if_broken(full, matrix)
        return matrix

    def _full(self, X: object, owner: str) -> FloatArray:
        if self.kind == "none":
            return np.ones((_new_rows(X, owner), 1))
        if self.kind == "array":
            return with_intercept(_new_array(X, self.n_features, owner), self.intercept)
        frame = as_frame(X)
        if frame is None:
            listed = ", ".join(repr(column.name) for column in self.columns)
            raise InputError(
                f"X is a {type(X).__name__}, but {owner} was fitted on columns of a table; give a "
                f"DataFrame with {listed or 'one row per prediction'}"
            )
        if not len(frame):
            raise InputError("X has no rows; give at least one")
        refuse_absent((column.name for column in self.columns), frame, "X")
        table = recode_table(frame, self.columns, "X")
        if self.kind == "table":
            return with_intercept(table_matrix(table, self.columns, self.intercept), self.intercept)
        return apply_formula(self.encoding, table)

    def _warn_if_broken(self, full: FloatArray, matrix: FloatArray) -> None:
        left_out = [j for j in range(full.shape[1]) if j not in self.kept]
        if not left_out:
            return
        away = np.abs(full[:, left_out] - matrix @ self.relation)
        size = np.abs(full[:, left_out]) + np.abs(matrix) @ np.abs(self.relation)
        broken = np.argwhere(away > BROKEN_RELATION * size)
        if broken.size:
            row, column = (int(i) for i in broken[0])
            warnings.warn(
                f"row {row} of X does not follow the relation by which the column "
                f"{self.dropped[column]!r} was redundant in the fit: the studies say nothing about "
                "its own effect, and the prediction ignores it",
                DataWarning,
                stacklevel=5,  # the caller of `predict`
            )


def _new_rows(X: object, owner: str) -> int:
    """Rows asked of a fit without moderators."""
    if X is None:
        return 1
    frame = as_frame(X)
    if frame is not None and len(frame):
        return len(frame)
    shape = np.asarray(X, dtype=object).shape
    if len(shape) == 2 and shape[0] and shape[1] == 0:
        return int(shape[0])
    raise InputError(
        f"X has shape {shape}, but {owner} was fitted without moderators; give X=None for one row, "
        "or a DataFrame with one row per prediction"
    )


def _new_array(X: object, n_features: int, owner: str) -> FloatArray:
    frame = as_frame(X)
    array = numbers_with_gaps("X", X if frame is None else frame.to_numpy(), ndim=2)
    if array.shape[1] != n_features:
        raise InputError(
            f"X has {array.shape[1]} features, but {owner} is expecting {n_features} features as "
            "input; give the moderators of the fit, in the same order"
        )
    refuse_where("X", array, np.isnan(array), "must not be missing (NaN); fill it or drop the row")
    return array
