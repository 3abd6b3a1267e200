"""Predictions for many patients at once: arrays or a DataFrame in and out.

The inputs are discrete, so every row is a look-up in the artifact's table, the
same numbers to the last bit as :func:`ketacast.predict`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ketacast.errors import InputError
from ketacast.options import OUTCOMES, RATERS
from ketacast.predictor import DEFAULT_LEVELS, Predictor, checked_levels, load_predictor

if TYPE_CHECKING:
    import pandas as pd

Float = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class OutcomeColumns:
    """One outcome for N patients.

    Attributes
    ----------
    values : (N, 2 + 4 L) float array
        Summaries per patient in the order of `names`.
    names : tuple of str
        ``expected``, ``median``, ``average_clinic_80_low``, ...
    """

    values: Float
    names: tuple[str, ...]

    def column(self, name: str) -> Float:
        """One summary, (N,)."""
        if name not in self.names:
            raise InputError(f"no column {name!r}; choose one of {', '.join(self.names)}")
        return self.values[:, self.names.index(name)]

    @property
    def expected(self) -> Float:
        """Mean over new clinics, (N,)."""
        return self.values[:, 0]

    @property
    def median(self) -> Float:
        """Median over new clinics, (N,)."""
        return self.values[:, 1]


@dataclass(frozen=True)
class BatchPrediction:
    """Predictions for N patients; the columns of an outcome are gathered when asked for."""

    cell: Index
    names: tuple[str, ...]
    tables: dict[str, Float]
    extrapolated: NDArray[np.bool_]

    @cached_property
    def response(self) -> OutcomeColumns:
        """Response."""
        return OutcomeColumns(self.tables["response"].take(self.cell, axis=0), self.names)

    @cached_property
    def remission(self) -> OutcomeColumns:
        """Remission."""
        return OutcomeColumns(self.tables["remission"].take(self.cell, axis=0), self.names)

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame: ``response_expected``, ..., ``extrapolated``."""
        import pandas as pd  # noqa: PLC0415  # only when a table is asked for

        parts = {
            f"{outcome}_{name}": getattr(self, outcome).column(name)
            for outcome in OUTCOMES
            for name in self.names
        }
        return pd.DataFrame({**parts, "extrapolated": self.extrapolated})


def predict_many(
    failed_trials: ArrayLike,
    infusions: ArrayLike,
    rated_by: str | ArrayLike,
    levels: Sequence[float] = DEFAULT_LEVELS,
    predictor: Predictor | None = None,
) -> BatchPrediction:
    """Predict for many patients.

    Parameters
    ----------
    failed_trials : (N,) array of whole numbers
        0 to 20.
    infusions : (N,) array of whole numbers, or one number
        1 to 30.
    rated_by : str or (N,) array of str
        "self", "clinician" or "unknown".
    levels : sequence of float
        Levels held by the artifact's table (0.5, 0.8, 0.9, 0.95).
    predictor : Predictor, optional
        The model; that of the package by default.

    Returns
    -------
    BatchPrediction
        With `extrapolated` true where a warning about the range would be given.

    Raises
    ------
    InputError
        If shapes disagree or a value is not allowed; the first bad row is named.
    """
    one = load_predictor() if predictor is None else predictor
    content = one.artifact.content
    support, table = content["support"], content["table"]
    plateau = len(table["infusions"])
    trials = _whole_numbers("failed_trials", failed_trials, support["failed_trials_answered"])
    number = _whole_numbers("infusions", infusions, support["infusions_answered"])
    rater = _raters(rated_by, table["raters"])
    try:
        shape = np.broadcast_shapes(trials.shape, number.shape, rater.shape)
    except ValueError as error:
        raise InputError(
            f"failed_trials {trials.shape}, infusions {number.shape} and rated_by {rater.shape} "
            "have different lengths; give arrays of one length"
        ) from error
    cell = (trials - table["failed_trials"][0]) * plateau + (np.minimum(number, plateau) - 1)
    cell = cell * len(table["raters"]) + rater
    outside = _outside(trials, support["failed_trials"]) | _outside(number, support["infusions"])
    asked = checked_levels(levels)
    columns = _columns(asked, table["levels"])
    return BatchPrediction(
        cell=np.broadcast_to(cell, shape).ravel(),
        names=_names(asked),
        tables={
            outcome: np.ascontiguousarray(
                np.array(table["values"][outcome]).reshape(-1, len(table["columns"]))[:, columns]
            )
            for outcome in OUTCOMES
        },
        extrapolated=np.broadcast_to(outside, shape).ravel(),
    )


def _outside(values: Index, limits: Sequence[int]) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = (values < limits[0]) | (values > limits[1])
    return result


def _whole_numbers(name: str, values: ArrayLike, limits: Sequence[int]) -> Index:
    array = np.atleast_1d(np.asarray(values))
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise InputError(
            f"{name} has type {array.dtype} and shape {array.shape}; give one row of whole numbers"
        )
    if array.size and (array.min() < limits[0] or array.max() > limits[1] or _fractional(array)):
        bad = ~((array >= limits[0]) & (array <= limits[1]) & (np.floor(array) == array))
        row = int(np.argmax(bad))
        raise InputError(
            f"{name}[{row}] is {array[row]}; give whole numbers from {limits[0]} to {limits[1]}"
        )
    return array.astype(np.intp, copy=False)


def _fractional(array: NDArray[Any]) -> bool:
    return array.dtype.kind == "f" and not bool(np.all(np.floor(array) == array))


def _raters(rated_by: str | ArrayLike, known: Sequence[str]) -> Index:
    if isinstance(rated_by, str):
        labels, inverse = np.array([rated_by]), np.zeros(1, dtype=np.intp)
    else:
        array = np.atleast_1d(np.asarray(rated_by, dtype=object))
        try:
            labels, inverse = np.unique(array.astype(str), return_inverse=True)
        except ValueError as error:
            raise InputError(f"rated_by cannot be read: {error}") from error
    for label in labels:
        if label not in known:
            raise InputError(f"rated_by holds {str(label)!r}; use {', '.join(RATERS)}")
    codes = np.array([known.index(str(label)) for label in labels], dtype=np.intp)
    return codes[inverse]


def _columns(asked: tuple[float, ...], held: Sequence[float]) -> list[int]:
    missing = [level for level in asked if level not in held]
    if missing:
        raise InputError(
            f"level {missing[0]} is not in the table; choose of {', '.join(map(str, held))}"
        )
    at = [held.index(level) for level in asked]
    n = len(held)
    pairs = [2 + 2 * (block * n + i) + side for block in (0, 1) for i in at for side in (0, 1)]
    return [0, 1, *pairs]


def _names(asked: tuple[float, ...]) -> tuple[str, ...]:
    bounds = [
        f"{kind}_{100 * level:g}_{side}"
        for kind in ("average_clinic", "new_clinic")
        for level in asked
        for side in ("low", "high")
    ]
    return ("expected", "median", *bounds)
