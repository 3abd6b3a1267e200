"""Counts read from CSV; every fault is listed with its line and its remedy."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, cast

from ketacast.errors import Fault, InputError
from ketacast.evidence.reading import decode, read_header, shorten
from ketacast.updating.counts import Batch, Cell, CountRater, Denominator, label_problem

COLUMNS: Final = (
    "batch",
    "failed_trials_min",
    "failed_trials_max",
    "infusions",
    "rated_by",
    "denominator",
    "n",
    "responders",
    "remitters",
)
MOST_ROWS: Final = 5_000

_WHOLE: Final = re.compile(r"\d{1,9}", re.ASCII)
_SHOWN_FAULTS: Final = 20


def read_counts(path: Path | str) -> tuple[Batch, ...]:
    """Read a CSV file of counts; see :func:`parse_counts`.

    Raises
    ------
    InputError
        If the file cannot be read or has a fault; all faults are listed.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a CSV file") from error
    return parse_counts(data, Path(path).name)


def parse_counts(data: bytes, file: str = "counts.csv") -> tuple[Batch, ...]:
    """Turn CSV text into batches, in the order of their first rows.

    Parameters
    ----------
    data : bytes
        UTF-8 CSV with a header line naming the columns of :data:`COLUMNS`, in any
        order. Rows with the same `batch` belong together. An empty cell of
        `responders` or `remitters` means: not recorded.
    file : str
        Name for messages.

    Returns
    -------
    tuple of Batch

    Raises
    ------
    InputError
        With every fault, its line and its remedy.
    """
    try:
        content = decode(data)
    except ValueError as error:
        raise InputError(f"{file}: {error}") from error
    header = read_header(content)
    faults = list(_header_faults(file, header))
    if faults:
        raise _refusal(faults)
    rows: dict[str, list[Cell]] = {}
    lines: dict[tuple[object, ...], int] = {}
    total = 0
    for line, cells in _records(content, file, faults):
        total += 1
        row = _read_row(file, line, header, cells)
        if isinstance(row, Fault):
            faults.append(row)
            continue
        label, cell = row
        first = lines.setdefault((label, *cell.key), line)
        if first != line:
            faults.append(
                Fault(file, line, "batch", label,
                      f"repeats line {first} (same batch and covariates); if both are "
                      "right, add their counts in one row")
            )  # fmt: skip
        rows.setdefault(label, []).append(cell)
    if not total and not faults:
        faults.append(Fault(file, None, None, "", "no rows below the header; add at least one"))
    if total > MOST_ROWS:
        faults.append(
            Fault(file, None, None, str(total), f"too many rows; sum them to {MOST_ROWS} or fewer")
        )
    if faults:
        raise _refusal(faults)
    return tuple(Batch(label, tuple(cells)) for label, cells in rows.items())


def _refusal(faults: Sequence[Fault]) -> InputError:
    shown = [f"  {fault}" for fault in faults[:_SHOWN_FAULTS]]
    if len(faults) > _SHOWN_FAULTS:
        shown.append(f"  ... and {len(faults) - _SHOWN_FAULTS} more")
    noun = "fault" if len(faults) == 1 else "faults"
    return InputError(f"{len(faults)} {noun} in the counts; mend them:\n" + "\n".join(shown))


def _header_faults(file: str, header: Sequence[str]) -> Iterator[Fault]:
    if len(header) == 1 and ";" in header[0]:
        yield Fault(file, 1, None, "", "cells are separated by semicolons; save with commas")
        return
    for name in COLUMNS:
        if header.count(name) != 1:
            problem = "missing; add it" if name not in header else "given twice; keep one"
            yield Fault(file, 1, name, "", f"column {problem}")
    for name in header:
        if name not in COLUMNS:
            message = f"unknown column; the columns are {', '.join(COLUMNS)}"
            yield Fault(file, 1, None, shorten(name), message)


def _records(content: str, file: str, faults: list[Fault]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    next(reader, None)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            message = f"not CSV from here on ({error}); mend the quotation marks"
            faults.append(Fault(file, line, None, "", message))
            return
        if any(cell.strip() for cell in cells):
            yield line, [cell.strip() for cell in cells]


def _read_row(
    file: str, line: int, header: Sequence[str], cells: Sequence[str]
) -> tuple[str, Cell] | Fault:
    if len(cells) != len(header):
        return Fault(file, line, None, "", f"{len(cells)} cells where the header has {len(header)}")
    text = dict(zip(header, cells, strict=True))
    problem = label_problem(text["batch"])
    if problem:
        return Fault(file, line, "batch", shorten(text["batch"]), problem)
    if text["rated_by"] == "unknown":
        return Fault(
            file, line, "rated_by", "unknown",
            "self-rated and clinician-rated rates differ by about a logit, so the counts say "
            "nothing about the clinic without it; find out, and give self or clinician",
        )  # fmt: skip
    numbers: dict[str, int | None] = {}
    for name in COLUMNS:
        if name in ("batch", "rated_by", "denominator"):
            continue
        if not text[name] and name in ("responders", "remitters"):
            numbers[name] = None
        elif _WHOLE.fullmatch(text[name]):
            numbers[name] = int(text[name])
        else:
            return Fault(file, line, name, shorten(text[name]), "give a whole number, 0 or more")
    try:
        cell = Cell(
            failed_trials=(
                cast("int", numbers["failed_trials_min"]),
                cast("int", numbers["failed_trials_max"]),
            ),
            infusions=cast("int", numbers["infusions"]),
            rated_by=cast("CountRater", text["rated_by"]),
            denominator=cast("Denominator", text["denominator"]),
            n=cast("int", numbers["n"]),
            responders=numbers["responders"],
            remitters=numbers["remitters"],
        )
    except InputError as error:
        return Fault(file, line, None, "", str(error))
    return text["batch"], cell
