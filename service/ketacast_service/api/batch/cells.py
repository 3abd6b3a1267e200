"""All that a batch can answer, computed once: the inputs are discrete, so rows are look-ups.

A *cell* is one combination of failed trials, infusions and rater. One more cell, the last,
stands for a refused row: its values are missing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from ketacast.batch import predict_many
from ketacast.errors import InputError
from ketacast.options import OUTCOMES, Rater
from ketacast.prediction import Notice, Prediction
from ketacast.predictor import DEFAULT_LEVELS, Predictor, checked_levels
from ketacast_service.api.batch.faults import Limits
from ketacast_service.errors import FieldProblem, ProblemError

Cells = NDArray[np.intp]
Bytes = NDArray[np.uint8]

EXTRAPOLATED: Final = "extrapolated"
_MOST_LEVELS: Final = 16
MOST_TABLES: Final = 16
"""Tables kept: one model's four levels have 15 choices; each holds at most about 5 MB."""


class Tables:
    """Everything that rows are looked up in, for one model and one choice of levels.

    Parameters
    ----------
    predictor : Predictor
        The model.
    levels : tuple of float
        Ascending, of the model's table; see :func:`tables_for`.

    Attributes
    ----------
    limits : Limits
        What is answered.
    refused : int
        The cell of a refused row.
    names : tuple of str
        Columns of numbers in the order of :meth:`BatchPrediction.to_frame`.
    numbers : (columns, cells + 1) float array
        Missing (NaN) for the refused cell.
    extrapolated : (cells + 1,) bool array
        False for the refused cell.
    line_cells : dict
        Cells of request lines seen before; kept short by who fills it.
    """

    def __init__(self, predictor: Predictor, levels: tuple[float, ...]) -> None:
        self.predictor = predictor
        self.levels = levels
        self.limits = Limits.of(predictor.artifact.content)
        first, last = self.limits.trials
        low, high = self.limits.infusions
        raters = len(self.limits.raters)
        self._shape = (last - first + 1, high - low + 1, raters)
        trials, infusions, rater = (grid.ravel() for grid in np.indices(self._shape))
        self.refused = trials.size
        names = np.array(self.limits.raters)[rater]
        batch = predict_many(trials + first, infusions + low, names, levels, predictor)
        self.inputs = tuple(
            zip((trials + first).tolist(), (infusions + low).tolist(), names.tolist(), strict=True)
        )
        self.names = tuple(f"{outcome}_{name}" for outcome in OUTCOMES for name in batch.names)
        values = np.hstack([getattr(batch, outcome).values for outcome in OUTCOMES]).T
        missing = np.full((len(self.names), 1), np.nan)
        self.numbers = np.ascontiguousarray(np.hstack([values, missing]))
        self.extrapolated = np.append(batch.extrapolated, False)
        self.line_cells: dict[bytes, int] = {}

    def cells(self, trials: Bytes, infusions: Bytes, raters: Bytes) -> Cells:
        """Return the cell of each row.

        Parameters
        ----------
        trials, infusions : array
            Within the limits.
        raters : array
            Places in ``limits.raters``.
        """
        _, width, depth = self._shape
        cell = trials.astype(np.intp)
        cell -= self.limits.trials[0]
        cell *= width
        cell += infusions
        cell -= self.limits.infusions[0]
        cell *= depth
        cell += raters
        return cell

    def columns_of(self, cells: Cells) -> tuple[Bytes, Bytes, Bytes]:
        """Return the inputs of each row as small numbers; zeros for refused rows."""
        kept = self._codes.take(cells, axis=1)
        return kept[0], kept[1], kept[2]

    @cached_property
    def _codes(self) -> Bytes:
        codes = np.zeros((3, self.refused + 1), dtype=np.uint8)
        trials, infusions, rater = (grid.ravel() for grid in np.indices(self._shape))
        codes[0, :-1] = trials + self.limits.trials[0]
        codes[1, :-1] = infusions + self.limits.infusions[0]
        codes[2, :-1] = rater
        return codes

    @cached_property
    def model(self) -> dict[str, str]:
        """Name, version and hash of the model."""
        return self.predictor.model.to_dict()

    @cached_property
    def basis(self) -> dict[str, int]:
        """Cohorts and patients behind the numbers."""
        return self.predictor.basis.to_dict()

    @cached_property
    def json_columns(self) -> tuple[tuple[str, NDArray[np.bytes_]], ...]:
        """Name and JSON text, by cell, of each column; every text ends in a comma and spaces."""
        # Number texts are those of json.dumps: float.__repr__.
        texts = [[*map(float.__repr__, values[:-1].tolist()), "null"] for values in self.numbers]
        flags = ["true" if flag else "false" for flag in self.extrapolated[:-1].tolist()]
        columns = [*texts, [*flags, "null"]]
        return tuple(zip((*self.names, EXTRAPOLATED), map(_padded, columns), strict=True))

    def prediction(self, cell: int) -> Prediction:
        """Return the whole prediction of a cell, as a single request gets it."""
        trials, infusions, rater = self.inputs[cell]
        return self.predictor.predict(trials, infusions, cast("Rater", rater), self.levels)

    @cached_property
    def lines(self) -> tuple[bytes, ...]:
        """What follows the row's number in a line of an answer, by cell."""
        return tuple(self._line(self.prediction(cell)) for cell in range(self.refused))

    @staticmethod
    def _line(prediction: Prediction) -> bytes:
        found: dict[str, Any] = {
            "inputs": prediction.inputs.to_dict(),
            "response": prediction.response.to_dict(),
            "remission": prediction.remission.to_dict(),
            "warnings": [notice.code for notice in prediction.warnings],
        }
        return json.dumps(found, separators=(",", ":")).encode()[1:] + b"\n"

    @cached_property
    def _notices(self) -> tuple[tuple[Notice, ...], NDArray[np.bool_]]:
        """All notices, and which cell has which."""
        found = [self.prediction(cell).warnings for cell in range(self.refused)]
        distinct = tuple(dict.fromkeys(notice for warnings in found for notice in warnings))
        place = {notice: at for at, notice in enumerate(distinct)}
        has = np.zeros((self.refused, len(distinct)), dtype=np.bool_)
        for cell, warnings in enumerate(found):
            has[cell, [place[notice] for notice in warnings]] = True
        return distinct, has

    def warnings(self, cells: Cells) -> list[dict[str, str]]:
        """Return the distinct notices of the rows; those of all rows come last."""
        notices, has = self._notices
        present = np.bincount(cells, minlength=self.refused + 1)[:-1] > 0
        some, every = has[present].any(axis=0), has[present].all(axis=0)
        order = [*np.flatnonzero(some & ~every), *np.flatnonzero(some & every)]
        return [notices[at].to_dict() for at in order]

    @cached_property
    def common_warnings(self) -> list[dict[str, str]]:
        """The notices that go with every row."""
        notices, has = self._notices
        return [notices[at].to_dict() for at in np.flatnonzero(has.all(axis=0))]

    def warm(self) -> None:
        """Compute all texts now (about 0.2 s) and not at the first request."""
        _ = self._codes, self.json_columns, self.lines, self._notices


def _padded(texts: Sequence[str]) -> NDArray[np.bytes_]:
    """Put texts of different lengths into one array, padded by spaces."""
    longest = max(map(len, texts)) + 1
    # NumPy gathers elements of 8, 16 or 32 bytes ten times as fast as others; the spaces,
    # which JSON allows between tokens, cost a fifth more bytes.
    width = next(size for size in (8, 16, 32, longest) if size >= longest)
    return np.array([f"{text},".ljust(width).encode() for text in texts], dtype=f"S{width}")


@lru_cache(maxsize=MOST_TABLES)
def _tables(predictor: Predictor, levels: tuple[float, ...]) -> Tables:
    return Tables(predictor, levels)


def tables_for(predictor: Predictor, levels: Sequence[float] = DEFAULT_LEVELS) -> Tables:
    """Return the tables of a model at some levels; they are kept.

    Parameters
    ----------
    predictor : Predictor
        The model.
    levels : sequence of float
        Levels of the model's table; sorted here, each once.

    Raises
    ------
    ProblemError
        "invalid-input" if a level is no number or not in the model's table.
    """
    held = predictor.artifact.levels
    remedy = f"choose of {', '.join(map(str, held))}"
    if len(levels) > _MOST_LEVELS:  # the check of levels keeps what it has seen
        problem = FieldProblem("/levels", f"levels has {len(levels)} numbers", remedy)
        raise ProblemError("invalid-input", f"{problem.detail}; {remedy}", [problem])
    try:
        asked = checked_levels(levels)
    except InputError as error:
        problem = FieldProblem("/levels", str(error), remedy)
        raise ProblemError("invalid-input", f"levels cannot be used; {remedy}", [problem]) from None
    for level in asked:
        if level not in held:
            problem = FieldProblem("/levels", f"level {level} is not offered in batches", remedy)
            raise ProblemError("invalid-input", f"{problem.detail}; {remedy}", [problem])
    return _tables(predictor, asked)
