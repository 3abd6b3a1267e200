"""Read moderators and build a fit's design matrix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from ketacast.arrays import BoolArray, FloatArray
from ketacast.design.columns import Column, as_frame, numbers_with_gaps, refuse_absent
from ketacast.design.formulas import ParsedFormula, encoded_names, fit_formula, parse_formula
from ketacast.design.redundancy import independent_columns, relation_of
from ketacast.design.spec import INTERCEPT, DesignSpec, Kind
from ketacast.design.tables import (
    clean_table,
    learn_column,
    recode_table,
    table_matrix,
    table_names,
    with_intercept,
)
from ketacast.errors import InputError

#: Largest size of a moderator, and one over the smallest: squares stay in range.
FAR: Final = 1e100


@dataclass(frozen=True, slots=True)
class Moderators:
    """Moderators as given, read but with their gaps still in.

    Attributes
    ----------
    kind : {"none", "array", "table", "formula"}
        What was given.
    array : ndarray or None, shape (k, q)
        The numbers of an array.
    table : DataFrame or None
        The columns of a table or a formula, each float64 or category.
    formula : ParsedFormula or None
        The formula.
    """

    kind: Kind
    array: FloatArray | None = None
    table: pd.DataFrame | None = None
    formula: ParsedFormula | None = None

    @property
    def rows(self) -> int | None:
        """Number of rows; None where no moderators were given."""
        values = self.array if self.table is None else self.table
        return None if values is None else len(values)

    def missing(self) -> BoolArray | None:
        """Rows with a missing moderator, shape (k,); None where none were given."""
        if self.array is not None:
            return np.asarray(np.isnan(self.array).any(axis=1))
        if self.table is not None:
            return np.asarray(self.table.isna().to_numpy(dtype=bool).any(axis=1))
        return None


def read_moderators(X: object, data: object = None) -> Moderators:
    """Read moderators of any kind; missing values stay in.

    Parameters
    ----------
    X : None, str, array_like or DataFrame
        None for the intercept alone; an array (k, q) of numbers; a table, whose text,
        flag and category columns become factors; or a formula such as
        ``"ablat + C(alloc)"`` or ``"yi ~ bs(year, df=4) - 1"`` over `data`.
    data : DataFrame, optional
        The formula's table.

    Returns
    -------
    Moderators

    Raises
    ------
    InputError
        For whatever cannot be read.
    """
    if X is None:
        return Moderators("none")
    if isinstance(X, str):
        return _read_formula(X, data)
    if isinstance(X, pd.Series):
        raise InputError(f"X is the Series {X.name!r}; give a table: X.to_frame()")
    if isinstance(X, Mapping) and not hasattr(X, "toarray"):  # some sparse matrices are mappings
        raise InputError("X is a dict; give a table: pd.DataFrame(X)")
    if isinstance(X, list | tuple) and X and all(isinstance(one, str) for one in X):
        columns = " + ".join(X)
        raise InputError(f"X is a list of names; give data[{list(X)!r}] or the formula {columns!r}")
    frame = as_frame(X)
    if frame is None:
        return Moderators("array", array=numbers_with_gaps("X", X, ndim=2))
    if not frame.size:
        raise InputError(
            f"X has {frame.shape[1]} feature(s) and {len(frame)} row(s) (shape={frame.shape}) "
            "while a minimum of 1 is required; give a moderator, or X=None for the intercept alone"
        )
    refuse_absent(frame.columns, frame, "X")
    _refuse_reserved(frame.columns)
    return Moderators("table", table=clean_table(frame, list(frame.columns), "X"))


def build_design(
    moderators: Moderators, use: BoolArray, *, fit_intercept: bool
) -> tuple[FloatArray, DesignSpec]:
    """Build the design matrix of the rows in use and remember how.

    Parameters
    ----------
    moderators : Moderators
        From :func:`read_moderators`.
    use : ndarray of bool, shape (k,)
        Rows to use; none of them has a missing moderator.
    fit_intercept : bool
        Put the intercept first. A formula may also remove it ("- 1").

    Returns
    -------
    matrix : ndarray, shape (rows in use, p)
    spec : DesignSpec

    Raises
    ------
    InputError
        If the formula cannot be evaluated or no column is left.
    """
    columns: tuple[Column, ...] = ()
    table = moderators.table
    if table is not None:
        table = table[use].reset_index(drop=True)
        columns = tuple(learn_column(table[label]) for label in table.columns)
        table = recode_table(table, columns, "data")
    encoding: Any = None
    if moderators.formula is not None and table is not None:
        full, encoding = fit_formula(moderators.formula, table, intercept=fit_intercept)
        names = encoded_names(encoding, INTERCEPT)
        fit_intercept = INTERCEPT in names
    else:
        full, names = _coded(moderators, table, columns, use, fit_intercept)
    if len(set(names)) < len(names):
        double = next(name for j, name in enumerate(names) if name in names[:j])
        raise InputError(f"two coefficients are called {double!r}; rename a moderator or a level")
    _refuse_extreme(full, names)
    kept = independent_columns(full)
    if not kept:
        raise InputError(
            "the design has no column; fit an intercept or give a moderator that varies"
        )
    spec = DesignSpec(
        kind=moderators.kind,
        columns=columns,
        n_features=len(columns) if moderators.array is None else moderators.array.shape[1],
        intercept=fit_intercept,
        all_names=names,
        kept=kept,
        relation=relation_of(full, kept),
        encoding=encoding,
    )
    return full[:, list(kept)], spec


def _refuse_extreme(full: FloatArray, names: tuple[str, ...]) -> None:
    """Refuse columns that are not finite, or whose squares overflow or vanish."""
    size = np.abs(full).max(axis=0, initial=0.0)
    good = (size == 0.0) | (size > 1.0 / FAR) & (size < FAR)
    if not good.all():
        j = int(np.argmin(good))
        if np.isfinite(size[j]):
            raise InputError(
                f"{names[j]!r} has values up to {size[j]:.3g}, too far from 1 to compute with; "
                "give it in other units"
            )
        row = int(np.argmin(np.isfinite(full[:, j])))
        raise InputError(
            f"{names[j]!r} is {full[row, j]} in row {row} of the rows in use; mend its values, or "
            "the formula where it divides or takes roots of them"
        )


def _coded(
    moderators: Moderators,
    table: pd.DataFrame | None,
    columns: tuple[Column, ...],
    use: BoolArray,
    intercept: bool,
) -> tuple[FloatArray, tuple[str, ...]]:
    """Matrix and names of an array, a table or nothing, the intercept first."""
    if moderators.array is not None:
        full = moderators.array[use]
        names = tuple(f"x{j}" for j in range(full.shape[1]))
    elif table is not None:
        full, names = table_matrix(table, columns, intercept), table_names(columns, intercept)
    else:
        full, names = np.empty((int(use.sum()), 0)), ()
    return with_intercept(full, intercept), (INTERCEPT, *names) if intercept else names


def _read_formula(text: str, data: object) -> Moderators:
    frame = as_frame(data)
    if frame is None:
        given = "nothing" if data is None else f"a {type(data).__name__}"
        raise InputError(f"X is the formula {text!r} but data is {given}; give data=DataFrame")
    if not len(frame):
        raise InputError("data has no rows; give one per study")
    formula = parse_formula(text, [name for name in frame.columns if isinstance(name, str)])
    refuse_absent(formula.variables, frame, "data")
    _refuse_reserved(formula.variables)
    table = clean_table(frame, list(formula.variables), "data")
    return Moderators("formula", table=table, formula=formula)


def _refuse_reserved(labels: Iterable[Any]) -> None:
    for label in labels:
        if isinstance(label, str) and label.lower() == INTERCEPT:
            raise InputError(f"a moderator is named {label!r}, the intercept's name; rename it")
