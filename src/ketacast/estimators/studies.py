"""Reading the studies of a fit: matched row by row, rows with gaps left out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.exceptions import DataConversionWarning

from ketacast.arrays import BoolArray, FloatArray, refuse_where
from ketacast.design import (
    DataWarning,
    DesignSpec,
    Moderators,
    as_frame,
    build_design,
    column_of,
    numbers_with_gaps,
    read_moderators,
    refuse_misaligned,
    without_unused_levels,
)
from ketacast.errors import InputError
from ketacast.estimators.study_data import Studies
from ketacast.estimators.tables import counted

#: Warnings point at the caller of `fit`, this many frames above the helpers here.
STACK: int = 4
#: Positions listed in a warning before the rest is only counted.
LISTED: int = 10


def read_studies(
    X: object,
    y: object,
    *,
    numbers: Mapping[str, object],
    data: object,
    fit_intercept: bool,
    groups: object = None,
    spare: int | None = 1,
) -> Studies:
    """Read what a fit was given.

    Parameters
    ----------
    X : None, str, array_like or DataFrame
        Moderators, see :func:`ketacast.design.read_moderators`.
    y : array_like or str or None
        Effects; a column of `data`; or None where the formula names them.
    numbers : mapping of str to (array_like or str)
        Further numbers per study by argument name, none of them missing.
    data : DataFrame or None
        Table of named columns.
    fit_intercept : bool
        Put the intercept first.
    groups : array_like or str, optional
        Labels per study.
    spare : int or None
        Least number of studies beyond the number of coefficients, if there is one.

    Raises
    ------
    InputError
        For unusable values, rows that do not match, and where no row is complete.

    Warns
    -----
    DataWarning
        For rows left out because of gaps, and redundant columns left out.
    """
    moderators = read_moderators(X, data)
    given = _given(moderators, y, numbers, groups, _table(data))
    sources = [("data", _table(data)) if isinstance(X, str) else ("X", X), *given.items()]
    refuse_misaligned(sources)
    names = _group_labels(given.pop("groups")) if groups is not None else None
    columns = _columns(given)
    _refuse_lengths(moderators, columns, names)
    used = _complete(moderators, columns, names)
    matrix, spec = build_design(moderators, used, fit_intercept=fit_intercept)
    _warn_of_redundancy(spec)
    k, p = matrix.shape
    if spare is not None and k < p + spare:
        raise InputError(
            f"{counted(k, 'study', 'studies')} (n_samples = {k}) for "
            f"{counted(p, 'coefficient', 'coefficients')}; this fit needs at least {p + spare}, "
            "drop moderators or add studies"
        )
    return Studies(
        y=columns["y"][used],
        matrix=matrix,
        spec=spec,
        used=used,
        row_labels=_labels(sources),
        numbers={name: columns[name][used] for name in numbers},
        groups=None if names is None else names[used],
        moderators=_moderators(moderators, used),
    )


def _moderators(moderators: Moderators, used: BoolArray) -> pd.DataFrame | FloatArray | None:
    if moderators.table is None:
        return None if moderators.array is None else moderators.array[used]
    table = moderators.table[used]
    return pd.DataFrame({name: without_unused_levels(column) for name, column in table.items()})


def _given(
    moderators: Moderators,
    y: object,
    numbers: Mapping[str, object],
    groups: object,
    table: pd.DataFrame | None,
) -> dict[str, object]:
    """Arguments by name, those given as a column's name looked up."""
    response = None if moderators.formula is None else moderators.formula.response
    given: dict[str, object] = {"y": _response(y, response, table)}
    given |= {name: _looked_up(name, value, table) for name, value in numbers.items()}
    if groups is not None:
        given["groups"] = _looked_up("groups", groups, table)
    return given


def _columns(given: Mapping[str, object]) -> dict[str, FloatArray]:
    if getattr(given["y"], "ndim", 1) == 2 and np.asarray(given["y"]).shape[1] == 1:
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected. Please change the shape "
            "of y to (n_samples,), for example using ravel().",
            DataConversionWarning,
            stacklevel=STACK,
        )
        given = {**given, "y": np.asarray(given["y"]).ravel()}
    columns = {name: numbers_with_gaps(name, value, ndim=1) for name, value in given.items()}
    for name, column in columns.items():
        if name in _RULES:
            refused, remedy = _RULES[name]
            refuse_where(name, column, refused(column), remedy)
    return columns


def _refuse_lengths(
    moderators: Moderators,
    columns: Mapping[str, FloatArray],
    names: np.ndarray[Any, Any] | None,
) -> None:
    sizes = {"X": moderators.rows} | {name: column.size for name, column in columns.items()}
    sizes["groups"] = None if names is None else names.size
    for name, size in sizes.items():
        if size is not None and size != sizes["y"]:
            raise InputError(
                f"{name} has {size} rows and y has {sizes['y']}; give one value per study in each"
            )


def _complete(
    moderators: Moderators,
    columns: Mapping[str, FloatArray],
    names: np.ndarray[Any, Any] | None,
) -> BoolArray:
    """Rows without a gap; says which ones have one."""
    gaps = {name: np.isnan(column) for name, column in columns.items()}
    absent = moderators.missing()
    if absent is not None:
        gaps["X"] = absent
    if names is not None:
        gaps["groups"] = np.asarray(pd.isna(names))
    used: BoolArray = ~np.any(list(gaps.values()), axis=0)
    if used.all():
        return used
    where = "; ".join(
        f"{name} at {_positions(missing)}" for name, missing in gaps.items() if missing.any()
    )
    if not used.any():
        raise InputError(f"no row is complete, missing values in {where}; fill them or add studies")
    warnings.warn(
        f"{(~used).sum()} of {used.size} rows are left out because of missing values: {where} "
        "(counted from 0). Drop or fill them before the fit to silence this",
        DataWarning,
        stacklevel=STACK,
    )
    return used


def _table(data: object) -> pd.DataFrame | None:
    if data is None or isinstance(data, pd.DataFrame):
        return data
    frame = as_frame(data)
    if frame is None:
        raise InputError(f"data is a {type(data).__name__}; give a DataFrame")
    return frame


def _response(y: object, named: str | None, table: pd.DataFrame | None) -> object:
    if y is None and named is None:
        raise InputError(
            "this estimator requires y to be passed, but the target y is None; give the effects, a "
            "column's name with data=DataFrame, or a formula with a left-hand side"
        )
    if y is None:
        return column_of("the formula's left-hand side", str(named), table)
    if named is not None:
        raise InputError(f"y is given and the formula names {named!r} as well; give one of them")
    return _looked_up("y", y, table)


def _looked_up(name: str, value: object, table: pd.DataFrame | None) -> object:
    if value is None:
        raise InputError(_MISSING.get(name, f"{name} is missing; give one value per study"))
    return column_of(name, value, table) if isinstance(value, str) else value


#: What further numbers must be, checked before rows are left out so that positions
#: are those of the caller. A missing value breaks no rule.
_RULES: dict[str, tuple[Callable[[FloatArray], BoolArray], str]] = {
    "sampling_variance": (lambda v: v < 0.0, "must be 0 or more"),
    "n": (lambda n: (n < 1.0) | (n != np.round(n)) & ~np.isnan(n), "must be a whole number >= 1"),
}
_MISSING = {
    "sampling_variance": (
        "sampling_variance is missing; give one variance per study (the squared standard error). "
        "Inside a Pipeline or a cross-validation, switch metadata routing on "
        "(sklearn.set_config(enable_metadata_routing=True)) and request it with "
        "set_fit_request(sampling_variance=True)"
    ),
    "n": "n is missing; give the number of patients of each study",
}


def _group_labels(value: object) -> np.ndarray[Any, Any]:
    labels = np.asarray(value, dtype=object)
    if labels.ndim != 1 or not labels.size:
        raise InputError(f"groups has shape {labels.shape}; give one label per study")
    return labels


def _labels(named: list[tuple[str, object]]) -> pd.Index[Any] | None:
    for _, value in named:
        if isinstance(value, pd.Series | pd.DataFrame):
            return value.index
    return None


def _positions(missing: BoolArray) -> str:
    rows = np.flatnonzero(missing).tolist()
    shown = ", ".join(str(row) for row in rows[:LISTED])
    more = len(rows) - LISTED
    return f"row {shown}" if more <= 0 else f"row {shown} and {more} more"


def _warn_of_redundancy(spec: DesignSpec) -> None:
    for name in spec.constant_factors:
        warnings.warn(
            f"the factor {name!r} has a single level in the studies of the fit, so it has no "
            "coefficient and the intercept is of that level; leave it out",
            DataWarning,
            stacklevel=STACK,
        )
    if not spec.dropped:
        return
    listed = ", ".join(repr(name) for name in spec.dropped)
    warnings.warn(
        f"redundant columns are left out: {listed} (all zeros, or a combination of the columns "
        "before). Predictions ignore them; drop them or merge moderators to silence this",
        DataWarning,
        stacklevel=STACK,
    )
