"""All errors of ketacast: one root, a flat tree.

Every message says what is wrong, shows the offending value and says how to
mend it. Catch :class:`KetacastError` to catch everything raised on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class KetacastError(Exception):
    """Root of every error that ketacast raises on purpose."""


class InputError(KetacastError, ValueError):
    """A value given by the caller is not usable (type, range, shape, choice)."""


class RecipeError(KetacastError, ValueError):
    """The model recipe (``recipe.toml``) is not usable."""


class ArtifactError(KetacastError):
    """A model artifact is missing, damaged, altered or from a newer version."""


class ConvergenceError(KetacastError, ArithmeticError):
    """A fit did not reach its optimum or its accuracy target."""


class MissingDependencyError(KetacastError, ImportError):
    """An optional library is needed for what was asked."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault found in the evidence tables.

    Attributes
    ----------
    file : str
        File name, for example ``outcomes.csv``.
    row : int or None
        Line number in the file (the header is line 1); None for a whole file.
    column : str or None
        Column name; None where the fault concerns several columns.
    value : str
        The offending value as read.
    message : str
        What is wrong and how to mend it.
    """

    file: str
    row: int | None
    column: str | None
    value: str
    message: str

    def __str__(self) -> str:
        place = self.file if self.row is None else f"{self.file}:{self.row}"
        column = f" [{self.column}]" if self.column else ""
        value = f" {self.value!r}" if self.value else ""
        return f"{place}{column}{value}: {self.message}"


class EvidenceError(KetacastError, ValueError):
    """The evidence tables have faults; all of them are listed.

    Parameters
    ----------
    faults : sequence of Fault
        Every fault found, in file and row order.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        count = len(self.faults)
        noun = "fault" if count == 1 else "faults"
        lines = "\n".join(f"  {fault}" for fault in self.faults)
        super().__init__(f"{count} {noun} in the evidence; mend them and load again:\n{lines}")
