"""A clinic's own results as counts by batch (standard library only).

A cell counts patients of one batch (a period such as ``2026-Q1``) who had failed
trials in a band, a number of infusions, one kind of rater and one kind of
denominator. Nothing here is about a single patient.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from ketacast.errors import InputError
from ketacast.options import check_choice

CountRater = Literal["self", "clinician"]
Denominator = Literal["all_treated", "completers"]
RepeatedBatches = Literal["refuse", "add"]

COUNT_RATERS: Final = get_args(CountRater)
DENOMINATORS: Final = get_args(Denominator)

MOST_FAILED_TRIALS: Final = 20
MOST_INFUSIONS: Final = 30
"""The model answers failed trials 0-20 and infusions 1-30."""

LARGEST_COUNT: Final = 1_000_000
LONGEST_LABEL: Final = 40

_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/-]*", re.ASCII)
_DAY: Final = re.compile(r"\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{4}")


@dataclass(frozen=True, slots=True)
class Cell:
    """Counts of patients with the same covariates.

    Attributes
    ----------
    failed_trials : (int, int)
        Lowest and highest number of failed trials, 0 to 20.
    infusions : int
        Infusions received, 1 to 30.
    rated_by : {"self", "clinician"}
        Who rated.
    denominator : {"all_treated", "completers"}
        Whom `n` counts.
    n : int
        Patients.
    responders, remitters : int or None
        Of the `n`; None where not recorded. Remitters are responders too.
    """

    failed_trials: tuple[int, int]
    infusions: int
    rated_by: CountRater
    denominator: Denominator
    n: int
    responders: int | None
    remitters: int | None

    def __post_init__(self) -> None:
        problem = _cell_problem(self)
        if problem:
            raise InputError(problem)

    @property
    def key(self) -> tuple[object, ...]:
        """What must agree for two cells to be added: covariates and what is recorded."""
        return (
            self.failed_trials,
            self.infusions,
            self.rated_by,
            self.denominator,
            self.responders is not None,
            self.remitters is not None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, as in the profile."""
        return {
            "failed_trials": list(self.failed_trials),
            "infusions": self.infusions,
            "rated_by": self.rated_by,
            "denominator": self.denominator,
            "n": self.n,
            "responders": self.responders,
            "remitters": self.remitters,
        }


@dataclass(frozen=True, slots=True)
class Batch:
    """The cells of one period.

    Attributes
    ----------
    label : str
        Period or other name without a date of birth or treatment, at most 40 characters.
    cells : tuple of Cell
        One for each set of covariates.
    """

    label: str
    cells: tuple[Cell, ...]

    def __post_init__(self) -> None:
        problem = label_problem(self.label)
        if problem:
            raise InputError(f"batch label {str(self.label)[:80]!r}: {problem}")

    @property
    def n(self) -> int:
        """Patients of the batch."""
        return sum(cell.n for cell in self.cells)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, as in the profile."""
        return {"batch": self.label, "cells": [cell.to_dict() for cell in self.cells]}


def label_problem(label: object) -> str | None:
    """Say what is wrong with a batch's label, or None."""
    if not isinstance(label, str) or not _LABEL.fullmatch(label) or len(label) > LONGEST_LABEL:
        return f"give 1 to {LONGEST_LABEL} letters, digits, spaces or . _ / -, for example 2026-Q1"
    if _DAY.search(label):
        return "a day may point to a patient; name a period such as 2026-Q1"
    return None


def _cell_problem(cell: Cell) -> str | None:
    band: Any = cell.failed_trials
    if not isinstance(band, tuple) or len(band) != 2:
        return f"failed_trials is {band!r}; give a pair (lowest, highest)"
    whole = [
        ("failed_trials_min", band[0], 0, MOST_FAILED_TRIALS),
        ("failed_trials_max", band[1], 0, MOST_FAILED_TRIALS),
        ("infusions", cell.infusions, 1, MOST_INFUSIONS),
        ("n", cell.n, 0, LARGEST_COUNT),
    ]
    recorded = [("responders", cell.responders), ("remitters", cell.remitters)]
    whole += [(name, value, 0, LARGEST_COUNT) for name, value in recorded if value is not None]
    for name, value, low, high in whole:
        if type(value) is not int or not low <= value <= high:
            return f"{name} is {value!r}; give a whole number from {low} to {high}"
    if band[0] > band[1]:
        return f"failed_trials_min {band[0]} is above failed_trials_max {band[1]}; swap them"
    check_choice("rated_by", cell.rated_by, COUNT_RATERS)
    check_choice("denominator", cell.denominator, DENOMINATORS)
    return _counts_problem(cell)


def _counts_problem(cell: Cell) -> str | None:
    if cell.responders is None and cell.remitters is None:
        return "neither responders nor remitters are given; count at least one of them"
    for name, value in (("responders", cell.responders), ("remitters", cell.remitters)):
        if value is not None and value > cell.n:
            return f"{value} {name} of {cell.n} patients; correct {name} or n"
    if (
        cell.responders is not None
        and cell.remitters is not None
        and cell.remitters > cell.responders
    ):
        return (
            f"{cell.remitters} remitters but {cell.responders} responders; a remitter "
            "counts as a responder too: add them to responders"
        )
    return None


def join_batches(
    earlier: Sequence[Batch], later: Sequence[Batch], repeated: RepeatedBatches = "refuse"
) -> tuple[Batch, ...]:
    """Put later batches after earlier ones.

    Parameters
    ----------
    earlier, later : sequence of Batch
        History so far, and what is new.
    repeated : {"refuse", "add"}
        What to do with a label that the history holds already: refuse it, because
        the same patients may be counted twice, or add its counts to that batch.

    Returns
    -------
    tuple of Batch

    Raises
    ------
    InputError
        If a label is repeated and that is refused.
    """
    check_choice("repeated", repeated, get_args(RepeatedBatches))
    joined: dict[str, list[Cell]] = {batch.label: list(batch.cells) for batch in earlier}
    for batch in later:
        if batch.label in joined and repeated == "refuse":
            raise InputError(
                f"batch {batch.label!r} is counted in the profile already; leave it out, or "
                "say that its counts are to be added to those that are there"
            )
        joined.setdefault(batch.label, []).extend(batch.cells)
    return tuple(Batch(label, cumulative(cells)) for label, cells in joined.items())


def cumulative(cells: Iterable[Cell], plateau: int = MOST_INFUSIONS) -> tuple[Cell, ...]:
    """Add the counts of cells with the same covariates; the order does not matter.

    Parameters
    ----------
    cells : iterable of Cell
        Of one batch or of all.
    plateau : int
        Infusions beyond it count as it.

    Returns
    -------
    tuple of Cell
        In a fixed order; cells without patients are left out.
    """
    sums: dict[tuple[object, ...], Cell] = {}
    for cell in cells:
        if cell.n == 0:
            continue
        capped = _replaced(cell, infusions=min(cell.infusions, plateau))
        known = sums.get(capped.key)
        sums[capped.key] = capped if known is None else _added(known, capped)
    return tuple(sorted(sums.values(), key=_place))


def _replaced(cell: Cell, **changes: Any) -> Cell:
    return Cell(**{**{name: getattr(cell, name) for name in Cell.__slots__}, **changes})


def _added(one: Cell, other: Cell) -> Cell:
    def total(name: str) -> int | None:
        value = getattr(one, name)
        return None if value is None else value + getattr(other, name)

    return _replaced(
        one, n=one.n + other.n, responders=total("responders"), remitters=total("remitters")
    )


def _place(cell: Cell) -> tuple[Any, ...]:
    return (
        cell.failed_trials,
        cell.infusions,
        cell.rated_by,
        cell.denominator,
        cell.responders is None,
        cell.remitters is None,
    )
