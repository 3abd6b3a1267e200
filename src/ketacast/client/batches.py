"""Many patients in one request: columns out, columns back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ketacast.client.asking import numbers, post, whole
from ketacast.client.documents import Reading, basis, model_id, notice
from ketacast.client.exchange import Answer, Operation, load_json
from ketacast.errors import InputError
from ketacast.options import OUTCOMES, RATERS, check_choice
from ketacast.prediction import EvidenceBasis, ModelId, Notice

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Column: TypeAlias = Any
"""A list, tuple, NumPy array or pandas Series with a value per patient, or one value for all."""

FLAG: Final = "extrapolated"


@dataclass(frozen=True, slots=True)
class RowFault:
    """Why a row was refused.

    Attributes
    ----------
    row : int
        Counted from 0.
    field, detail, remedy : str
        What is wrong and how to mend it.
    """

    row: int
    field: str
    detail: str
    remedy: str


@dataclass(frozen=True, slots=True)
class ServedBatch:
    """Predictions for many patients.

    Attributes
    ----------
    model : ModelId
        Which model answered.
    basis : EvidenceBasis
        Cohorts and patients behind the numbers.
    levels : tuple of float
        Of the ranges.
    rows : int
        Patients.
    columns : mapping of str to list
        ``response_expected``, ..., ``extrapolated``: a value per patient, None where refused.
    warnings : tuple of Notice
        Limits that go with the numbers of some or all patients.
    errors : tuple of RowFault
        The refused rows.
    request_id : str
        By which the service's operator finds the request.
    """

    model: ModelId
    basis: EvidenceBasis
    levels: tuple[float, ...]
    rows: int
    columns: Mapping[str, list[Any]]
    warnings: tuple[Notice, ...]
    errors: tuple[RowFault, ...]
    request_id: str

    def __repr__(self) -> str:
        return f"ServedBatch({self.rows} rows, {len(self.errors)} refused)"

    def column(self, name: str) -> list[Any]:
        """Return one column.

        Raises
        ------
        InputError
            If there is none of that name.
        """
        if name not in self.columns:
            raise InputError(f"no column {name!r}; choose one of {', '.join(self.columns)}")
        return self.columns[name]

    def to_numpy(self, name: str) -> NDArray[np.float64]:
        """Return one column of numbers as an array, NaN where the row was refused."""
        import numpy as np  # noqa: PLC0415  # only when an array is asked for

        return np.array(self.column(name), dtype=np.float64)

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame with the columns of ``BatchPrediction.to_frame``."""
        import pandas as pd  # noqa: PLC0415  # only when a table is asked for

        return pd.DataFrame(dict(self.columns))


def predict_many(
    failed_trials: Column,
    infusions: Column,
    rated_by: Column,
    levels: Sequence[float] | None,
) -> Operation[ServedBatch]:
    """Ask for many patients.

    Raises
    ------
    InputError
        If lengths differ or a value is of the wrong type.
    """
    columns = _broadcast(
        {
            "failed_trials": _whole_numbers("failed_trials", failed_trials),
            "infusions": _whole_numbers("infusions", infusions),
            "rated_by": _raters("rated_by", rated_by),
        }
    )
    asked = None if levels is None else sorted(set(numbers("levels", levels)))
    document = columns if asked is None else {**columns, "levels": asked}
    rows = len(columns["rated_by"])
    request = post("/v1/predictions/batch", document)
    return Operation(request, lambda answer: _served(answer, rows, asked))


def _plain(name: str, values: Column) -> Any:
    """Return a list of plain values, or the single value that stands for all."""
    plain = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(plain, (str, int, float)):
        return plain
    try:
        return list(plain)
    except TypeError:
        raise InputError(
            f"{name} is {type(values).__name__}; give a list with a value per patient, or one value"
        ) from None


def _whole_numbers(name: str, values: Column) -> list[int] | int:
    plain = _plain(name, values)
    if not isinstance(plain, list):
        return _whole(name, plain)
    if set(map(type, plain)) <= {int}:  # the usual case, at the speed of a million rows
        return plain
    return [_whole(f"{name}[{row}]", value) for row, value in enumerate(plain)]


def _whole(name: str, value: object) -> int:
    """Take 6.0 for 6, as :func:`ketacast.predict_many` does: pandas makes columns of floats."""
    return whole(name, int(value) if isinstance(value, float) and value.is_integer() else value)


def _raters(name: str, values: Column) -> list[str] | str:
    plain = _plain(name, values)
    if not isinstance(plain, list):
        check_choice(name, plain, RATERS)
        return str(plain)
    if set(map(type, plain)) <= {str} and set(plain) <= set(RATERS):
        return plain
    for row, value in enumerate(plain):
        check_choice(f"{name}[{row}]", value, RATERS)
    return [str(value) for value in plain]


def _broadcast(given: Mapping[str, Any]) -> dict[str, list[Any]]:
    lengths = {name: len(values) for name, values in given.items() if isinstance(values, list)}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InputError(f"{shown}; give columns of one length")
    rows = next(iter(lengths.values()), 1)
    return {
        name: values if isinstance(values, list) else [values] * rows
        for name, values in given.items()
    }


def _served(answer: Answer, rows: int, asked: list[float] | None) -> ServedBatch:
    found = Reading(load_json(answer))
    if found.whole("rows") != rows:
        raise InputError(f"it has {found.whole('rows')} rows, asked were {rows}; do not use it")
    levels = numbers("levels", found.items("levels"))
    if asked is not None and levels != asked:
        raise InputError(f"it has the levels {levels}, asked was {asked}; do not use it")
    errors = found.each("errors", _fault)
    return ServedBatch(
        model=model_id(found.inner("model")),
        basis=basis(found.inner("basis")),
        levels=tuple(levels),
        rows=rows,
        columns=_columns(found.inner("columns"), rows, {error.row for error in errors}),
        warnings=found.each("warnings", notice),
        errors=errors,
        request_id=answer.request_id,
    )


def _fault(found: Reading) -> RowFault:
    return RowFault(
        found.whole("row"), found.text("field"), found.text("detail"), found.text("remedy")
    )


def _columns(found: Reading, rows: int, refused: set[int]) -> dict[str, list[Any]]:
    """Columns whose numbers are probabilities, none missing but those of refused rows."""
    columns = {name: found.items(name) for name in found}
    for name in (*(f"{outcome}_expected" for outcome in OUTCOMES), FLAG):
        if name not in columns:
            raise InputError(f"{found.at(name)} is missing; update client or service")
    for name, values in columns.items():
        if len(values) != rows:
            raise InputError(f"{found.at(name)} has {len(values)} values, asked were {rows}")
        kept = [value for row, value in enumerate(values) if row not in refused]
        is_good = _are_flags(kept) if name == FLAG else _are_probabilities(kept)
        if not is_good or (refused and any(values[row] is not None for row in refused)):
            raise InputError(
                f"{found.at(name)} holds something else than a value of its kind for each answered "
                "row; do not use it, and tell the service's operator"
            )
    return columns


def _are_flags(values: list[Any]) -> bool:
    return set(map(type, values)) <= {bool}


def _are_probabilities(values: list[Any]) -> bool:
    if not set(map(type, values)) <= {float, int}:
        return False
    return not values or (min(values) >= 0 and max(values) <= 1)
