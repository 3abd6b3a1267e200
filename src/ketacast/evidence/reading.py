"""CSV bytes to rows of typed cells; every fault is noted, none is raised."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ketacast.errors import Fault
from ketacast.evidence.specs import EXCLUSION_CODES, ColumnSpec, TableName, TableSpec

# Longest piece of a cell shown in a message: enough to find it in the file.
_SHOWN: Final = 80
# Digits beyond any column's range; longer text is refused before it is converted,
# because converting huge digit strings is slow and Python caps it at 4300 digits.
_LONGEST_NUMBER: Final = 40

_INTEGER: Final = re.compile(r"[+-]?\d+(\.0*)?", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_PATTERNS: Final[Mapping[str, re.Pattern[str]]] = {
    "id": re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*"),
    "doi": re.compile(r"10\.\d{4,9}/\S+", re.ASCII),
    "pmid": re.compile(r"[1-9]\d{0,8}", re.ASCII),
    "url": re.compile(r"https?://[^\s/]+\.[^\s/]+(/\S*)?"),
    "reason": re.compile(rf"({'|'.join(EXCLUSION_CODES)}): \S.*"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row as read.

    Attributes
    ----------
    table : TableName
        Table of the row.
    file : str
        File for messages.
    line : int
        Line of the file on which the row starts; the header is line 1.
    cells : dict
        Text of each known column, stripped.
    values : dict
        Typed value of each column whose cell is right; a column with a faulty
        or missing cell is absent, so that one fault is told once.
    """

    table: TableName
    file: str
    line: int
    cells: dict[str, str]
    values: dict[str, Any]

    def has(self, *columns: str) -> bool:
        """Whether all `columns` were read without fault."""
        return all(column in self.values for column in columns)

    def get(self, column: str) -> Any:
        """Value of `column`; None where the cell is blank, faulty or missing."""
        return self.values.get(column)

    def fault(self, column: str | None, message: str) -> Fault:
        """Fault of this row at `column`."""
        value = self.cells.get(column, "") if column else ""
        return Fault(self.file, self.line, column, shorten(value), message)


@dataclass(frozen=True, slots=True)
class ParsedTable:
    """Rows and faults of one table.

    Attributes
    ----------
    spec : TableSpec
        The table.
    rows : tuple of Row
        Rows in file order, faulty ones included.
    faults : tuple of Fault
        Faults of the file and its cells.
    complete : bool
        False when rows may be missing (file absent, unreadable, cut short).
    """

    spec: TableSpec
    rows: tuple[Row, ...]
    faults: tuple[Fault, ...]
    complete: bool


def shorten(value: str) -> str:
    """Cut a value to what a message can show."""
    return value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"


def decode(data: bytes) -> str:
    """UTF-8 text without byte order mark.

    Raises
    ------
    ValueError
        If the bytes are not UTF-8 text; the message says how to mend it.
    """
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}; save it as CSV UTF-8") from error
    if "\0" in content:
        raise ValueError("holds NUL characters, so it is not text; save it as CSV UTF-8")
    return content


def read_header(content: str) -> list[str]:
    """Column names of CSV text; empty where the text has no first record."""
    try:
        first = next(csv.reader(io.StringIO(content, newline=""), strict=True), [])
    except csv.Error:
        return []
    return [name.strip() for name in first]


def parse_table(spec: TableSpec, file: str, data: bytes) -> ParsedTable:
    """Read one file.

    Parameters
    ----------
    spec : TableSpec
        The table expected.
    file : str
        Name of the file for messages.
    data : bytes
        Its content: UTF-8 CSV, with or without byte order mark, any line ends.

    Returns
    -------
    ParsedTable
        Rows and faults; nothing is raised for what is in the file.
    """
    try:
        content = decode(data)
    except ValueError as error:
        return _unreadable(spec, file, str(error))
    header = read_header(content)
    if not any(header):
        return _unreadable(spec, file, "no header line; the first line must name the columns")
    if len(header) == 1 and ";" in header[0]:
        return _unreadable(spec, file, "cells are separated by semicolons; save with commas")
    faults = list(_header_faults(spec, file, header))
    rows: list[Row] = []
    complete = True
    for line, cells in _records(content):
        if isinstance(cells, csv.Error):
            message = f"not CSV from here on ({cells}); mend the quotation marks"
            faults.append(Fault(file, line, None, "", message))
            complete = False
        elif any(cell.strip() for cell in cells):
            row, found = _read_row(spec, file, line, header, cells)
            rows.append(row)
            faults.extend(found)
    if not rows and complete:
        faults.append(Fault(file, None, None, "", "no rows below the header; add at least one"))
    return ParsedTable(spec, tuple(rows), tuple(faults), complete and bool(rows))


def missing_table(spec: TableSpec, file: str, message: str) -> ParsedTable:
    """Table whose file could not be opened."""
    return _unreadable(spec, file, message)


def _unreadable(spec: TableSpec, file: str, message: str) -> ParsedTable:
    return ParsedTable(spec, (), (Fault(file, None, None, "", message),), complete=False)


def _records(content: str) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Yield starting line and cells of each record below the header; an error ends it."""
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    next(reader, None)
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, error
            return


def _header_faults(spec: TableSpec, file: str, header: list[str]) -> Iterator[Fault]:
    known = spec.column_names
    seen: set[str] = set()
    for name in header:
        if name not in known:
            message = f"unknown column; {spec.file} has {', '.join(known)}"
            yield Fault(file, 1, shorten(name) or None, shorten(name), message)
        elif name in seen:
            yield Fault(file, 1, name, name, "column given twice; keep one")
        seen.add(name)
    for name in known:
        if name not in seen:
            message = "column missing; add it, with blank cells if need be"
            yield Fault(file, 1, name, "", message)


def _read_row(
    spec: TableSpec, file: str, line: int, header: list[str], cells: list[str]
) -> tuple[Row, list[Fault]]:
    faults: list[Fault] = []
    whole = len(cells) == len(header)
    if not whole:
        noun = "few" if len(cells) < len(header) else "many"
        message = f"too {noun} cells: {len(cells)} where the header has {len(header)}"
        faults.append(Fault(file, line, None, "", message + "; quote cells that hold commas"))
    # Cells after a slip are shifted; the first may still name the row. The order
    # is reversed so that of a column given twice the first counts.
    pairs = list(zip(header, cells, strict=False))[: None if whole else 1]
    content = {name: cell.strip() for name, cell in reversed(pairs)}
    values: dict[str, Any] = {}
    for column in spec.columns:
        if column.name not in content:
            continue
        try:
            values[column.name] = read_cell(column, content[column.name])
        except ValueError as error:
            if whole:
                value = shorten(content[column.name])
                faults.append(Fault(file, line, column.name, value, str(error)))
    return Row(spec.name, file, line, content, values), faults


def read_cell(column: ColumnSpec, cell: str) -> str | int | float | bool | None:
    """Typed value of one cell.

    Parameters
    ----------
    column : ColumnSpec
        What the cell may hold.
    cell : str
        Its text, stripped.

    Returns
    -------
    str, int, float, bool or None
        None for a blank number, the empty string for any other blank.

    Raises
    ------
    ValueError
        If the cell is not what `column` allows; the message says what is.
    """
    if not cell:
        if column.required:
            raise ValueError(f"blank; give {column.allowed}")
        return None if column.kind in ("integer", "number") else ""
    if column.kind in ("integer", "number"):
        return _read_number(column, cell)
    if column.kind == "flag":
        if cell not in ("yes", "no"):
            raise ValueError(f"not a flag; give {column.allowed}")
        return cell == "yes"
    if column.kind == "choice":
        if cell not in column.choices:
            raise ValueError(f"unknown choice; give one of {column.allowed}")
        return cell
    pattern = _PATTERNS.get(column.kind)
    if pattern is not None and not pattern.fullmatch(cell):
        raise ValueError(f"not well formed; give {column.allowed}")
    return cell


def _read_number(column: ColumnSpec, cell: str) -> int | float:
    whole = column.kind == "integer"
    if len(cell) > _LONGEST_NUMBER or not _NUMBER.fullmatch(cell):
        raise ValueError(f"not a number; give a {column.allowed}")
    if whole and not _INTEGER.fullmatch(cell):
        raise ValueError(f"not a whole number; give a {column.allowed}")
    value = float(cell)
    too_low = value <= column.low if column.above_low else value < column.low
    if not math.isfinite(value) or too_low or value > column.high:
        raise ValueError(f"out of range; give a {column.allowed}")
    # Ranges of whole numbers end far below 2**53, so the float is exact.
    return int(value) if whole else value
