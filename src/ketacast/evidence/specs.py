"""What a column may hold: the grammar in which :mod:`.columns` describes the tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

CellKind = Literal[
    "text", "id", "integer", "number", "flag", "choice", "doi", "pmid", "url", "reason"
]
TableName = Literal[
    "cohorts", "outcomes", "contrasts", "early_change", "relapse", "published_syntheses"
]

# Why a cohort stays out of the primary set: `code: text`.
EXCLUSION_CODES: Final[Mapping[str, str]] = {
    "drug": "not racemic ketamine",
    "route": "not intravenous",
    "overlap": "patients (possibly) counted in another cohort of the family",
    "no_counts": "no usable count of response or remission visible",
    "population": "treatment resistance not required or not stated",
    "timing": "no rating at the end of the course or 24-72 h after a single infusion",
    "criterion": "no standard criterion of response or remission",
    "age": "not adults",
    "selection": "patients selected by their outcome",
}


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """One column of a table.

    Attributes
    ----------
    name : str
        Column name, equal to the field of the record.
    kind : CellKind
        What a cell holds.
    description : str
        Meaning, for people.
    required : bool
        Whether a blank cell is a fault.
    low, high : float
        Range of a number, both ends allowed unless `above_low`.
    above_low : bool
        Whether `low` itself is refused (an SD or SE must be above 0).
    unit : str
        Unit of a number.
    choices : tuple of str
        Allowed values of a choice, without the blank.
    """

    name: str
    kind: CellKind
    description: str
    required: bool = False
    low: float = float("-inf")
    high: float = float("inf")
    above_low: bool = False
    unit: str = ""
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """The allowed values in words, for messages and the data dictionary."""
        if self.kind == "choice":
            return ", ".join(self.choices)
        if self.kind in ("integer", "number"):
            noun = "whole number" if self.kind == "integer" else "number"
            if self.above_low:
                bounds = f"above {self.low:,.10g}, at most {self.high:,.10g}"
            else:
                bounds = f"{self.low:,.10g} to {self.high:,.10g}"
            return f"{noun} {bounds}" + (f" ({self.unit})" if self.unit else "")
        return _ALLOWED[self.kind]


_ALLOWED: Final[Mapping[str, str]] = {
    "text": "text",
    "id": "letters, digits, _ . -",
    "flag": "yes or no",
    "doi": "10.<digits>/<suffix>, without https://doi.org/",
    "pmid": "digits",
    "url": "http(s) address",
    "reason": "`code: text`; codes " + ", ".join(EXCLUSION_CODES),
}


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One table: its file, its columns and what names a row.

    Attributes
    ----------
    name : TableName
        Name of the table.
    description : str
        Meaning, for people.
    record : type
        Record class, with one field per column.
    columns : tuple of ColumnSpec
        Columns in file order.
    key : tuple of str
        Columns that together name a row and may not repeat; empty where rows
        have no name.
    """

    name: TableName
    description: str
    record: type
    columns: tuple[ColumnSpec, ...]
    key: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """File name, for example ``outcomes.csv``."""
        return f"{self.name}.csv"

    @property
    def column_names(self) -> tuple[str, ...]:
        """Column names in file order."""
        return tuple(column.name for column in self.columns)


def text(name: str, description: str, *, required: bool = False) -> ColumnSpec:
    """Free text."""
    return ColumnSpec(name, "text", description, required)


def identifier(name: str, description: str) -> ColumnSpec:
    """Name of a row or a family; never blank."""
    return ColumnSpec(name, "id", description, required=True)


def flag(name: str, description: str) -> ColumnSpec:
    """Yes or no; never blank."""
    return ColumnSpec(name, "flag", description, required=True)


def choice(
    name: str, choices: tuple[str, ...], description: str, *, required: bool = True
) -> ColumnSpec:
    """One of `choices`; a blank among them is dropped (it means: not required)."""
    named = tuple(item for item in choices if item)
    return ColumnSpec(name, "choice", description, required and "" not in choices, choices=named)


def integer(
    name: str, low: float, high: float, description: str, *, unit: str = "", required: bool = False
) -> ColumnSpec:
    """Whole number within a range."""
    return ColumnSpec(name, "integer", description, required, low, high, unit=unit)


def number(
    name: str, low: float, high: float, description: str, *, unit: str = "", above_low: bool = False
) -> ColumnSpec:
    """Finite number within a range."""
    return ColumnSpec(name, "number", description, False, low, high, above_low, unit)


def percent(name: str, description: str) -> ColumnSpec:
    """Percentage, 0 to 100."""
    return number(name, 0, 100, description, unit="%")


def special(name: str, kind: CellKind, description: str, *, required: bool = False) -> ColumnSpec:
    """Cell with a fixed pattern: DOI, PMID, address, exclusion reason."""
    return ColumnSpec(name, kind, description, required)
