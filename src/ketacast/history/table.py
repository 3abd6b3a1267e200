"""Counting from a simple table: one row for each treatment."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final, NamedTuple

from ketacast.errors import Fault, InputError
from ketacast.history.concepts import Outcome, diagnosis, outcome_of_words, use_of
from ketacast.history.counting import OwnCount, checked_rules, count, own_range
from ketacast.history.dates import Days, calendar_days, index_day, parse_days
from ketacast.history.dosage import UNKNOWN, Dose, believable
from ketacast.history.drugs import Product
from ketacast.history.exposure import Exposure, Span, clipped, period_span, supplied_span
from ketacast.history.medications import Medications
from ketacast.history.names import product_of_text
from ketacast.history.near_names import near_drug
from ketacast.history.records import Chart
from ketacast.history.result import HistoryCount, Unused
from ketacast.history.rules import CountingRules

COLUMNS: Final = ("drug", "dose_mg", "start", "end", "weeks", "indication", "outcome", "status")
_REQUIRED: Final = ("drug",)
MOST_ROWS: Final = 10_000
_MOST_WEEKS: Final = 2_600
_MOST_MG: Final = 5_000
_SHOWN_FAULTS: Final = 20
_OUTCOMES: Final[dict[str, Outcome]] = {
    "failed": "failure",
    "failure": "failure",
    "no response": "failure",
    "partial": "partial",
    "partial response": "partial",
    "intolerance": "intolerance",
    "side effects": "intolerance",
    "response": "success",
    "remission": "success",
}
_STATUSES: Final = {
    "": "",
    "ended": "ended",
    "stopped": "ended",
    "completed": "ended",
    "ongoing": "ongoing",
    "active": "ongoing",
    "current": "ongoing",
    "planned": "planned",
    "draft": "planned",
    "not taken": "not taken",
}
_COMMA: Final = re.compile(r",(?=\d{1,2}$)", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,6}(?:\.\d{1,4})?", re.ASCII)


def count_failed_trials_in_table(
    rows: object,
    *,
    as_of: date | str,
    rules: CountingRules | None = None,
    own_count: OwnCount | None = None,
) -> HistoryCount:
    """Count failed antidepressant trials in a table.

    Parameters
    ----------
    rows : iterable of mappings, or a DataFrame
        One treatment each, with the columns of :data:`COLUMNS`: `drug`; `dose_mg`
        (mg a day, empty if not known); `start` and `end` (days, months or years) or
        `weeks`; and, where known, `indication`, `outcome` (failed, partial,
        intolerance, response, remission) and `status` (ended, ongoing, planned, not
        taken). An `id` names the row in the answer.
    as_of, rules, own_count
        As for :func:`ketacast.history.count_failed_trials`.

    Returns
    -------
    HistoryCount

    Raises
    ------
    InputError
        If a row has a fault; all are listed with their remedy.

    Examples
    --------
    >>> rows = [{"drug": "sertraline", "dose_mg": 100, "start": "2025-01", "weeks": 12}]
    >>> count_failed_trials_in_table(rows, as_of="2025-08-01").current_episode
    CountRange(low=1, high=1)
    """
    day = index_day(as_of)
    used_rules = checked_rules(rules)
    own = own_range(own_count)
    found, faults = Medications(), list[Fault]()
    for place, cells in enumerate(_rows(rows), 1):
        text = {name: _cell(cells, name) for name in COLUMNS}
        row = _Row(_cell(cells, "id") or f"row {place}", text, faults)
        _read_row(found, row, day, used_rules)
    if faults:
        raise _refusal(faults)
    return count(Chart(), found, day, used_rules, own)


def read_table(path: Path | str) -> list[dict[str, Any]]:
    """Read a CSV file for :func:`count_failed_trials_in_table`; its lines name the rows.

    Raises
    ------
    InputError
        If the file cannot be read, or is no CSV with these columns.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a CSV file") from error
    name = Path(path).name
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text; save it as CSV in UTF-8") from error
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    rows: list[dict[str, Any]] = []
    try:
        header = [cell.strip() for cell in next(reader, [])]
        _check_header(name, header)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            line = reader.line_num
            if len(cells) != len(header):
                message = f"{len(cells)} cells where the header has {len(header)}"
                raise _refusal([Fault(name, line, None, "", message)])
            rows.append({"id": f"line {line}", **dict(zip(header, cells, strict=True))})
    except csv.Error as error:
        raise InputError(f"{name} is not CSV ({error}); mend the quotation marks") from error
    return rows


def _check_header(name: str, header: Sequence[str]) -> None:
    faults = [
        Fault(name, 1, None, cell[:40], f"unknown column; the columns are {', '.join(COLUMNS)}")
        for cell in header
        if cell not in (*COLUMNS, "id")
    ]
    faults += [
        Fault(name, 1, cell, "", "given twice; keep one")
        for cell in sorted(set(header))
        if header.count(cell) > 1
    ]
    faults += [
        Fault(name, 1, cell, "", "column missing; add it")
        for cell in _REQUIRED
        if cell not in header
    ]
    if faults:
        raise _refusal(faults)


def _refusal(faults: Sequence[Fault]) -> InputError:
    shown = [f"  {fault}" for fault in faults[:_SHOWN_FAULTS]]
    if len(faults) > _SHOWN_FAULTS:
        shown.append(f"  ... and {len(faults) - _SHOWN_FAULTS} more")
    noun = "fault" if len(faults) == 1 else "faults"
    return InputError(f"{len(faults)} {noun} in the table; mend them:\n" + "\n".join(shown))


def _rows(rows: object) -> Iterator[Mapping[str, Any]]:
    """Go through rows; a DataFrame is recognised without importing pandas."""
    to_dict = getattr(rows, "to_dict", None)
    held: object = to_dict("records") if callable(to_dict) and hasattr(rows, "columns") else rows
    if isinstance(held, (str, bytes, Mapping)) or not isinstance(held, Iterable):
        raise InputError(f"rows is {type(rows).__name__}; give a list of rows or a DataFrame")
    for place, row in enumerate(held, 1):
        if not isinstance(row, Mapping):
            raise InputError(f"row {place} is {type(row).__name__}; give a mapping of columns")
        if place > MOST_ROWS:
            raise InputError(f"rows are more than {MOST_ROWS}; give one patient's treatments")
        yield row


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if str(value) in ("NaT", "<NA>", "nan"):  # pandas' other missing values
        return ""
    return " ".join(calendar_days(value).split())


@dataclass(frozen=True, slots=True)
class _Row:
    """Cells of a row as text, and where its faults go."""

    source: str
    text: dict[str, str]
    faults: list[Fault]

    def fault(self, column: str, message: str) -> None:
        self.faults.append(Fault(self.source, None, column, self.text[column][:40], message))

    def number(self, column: str, most: float, message: str) -> float | None:
        cell = self.text[column]
        # "37,5" is how half of Europe writes it; "1,000" stays a fault, for it may be either.
        plain = _COMMA.sub(".", cell)
        value = float(plain) if _NUMBER.fullmatch(plain) else 0.0
        if 0 < value <= most:
            return value
        if cell:
            self.fault(column, message)
        return None


class _Treatment(NamedTuple):
    """What a row says, checked."""

    status: str
    dose_mg: float | None
    outcome: Outcome
    span: Span
    dated: bool


def _read_row(found: Medications, row: _Row, as_of: int, rules: CountingRules) -> None:
    """Add a row to what was found; its faults are collected."""
    before = len(row.faults)
    treatment = _treatment(row, as_of, rules)
    if len(row.faults) == before and treatment is not None:
        _keep_row(found, row, treatment, as_of)


def _treatment(row: _Row, as_of: int, rules: CountingRules) -> _Treatment | None:
    text = row.text
    if not text["drug"]:
        row.fault("drug", "missing; name the drug")
    status = _STATUSES.get(text["status"].lower())
    if status is None:
        row.fault("status", "give ended, ongoing, planned or 'not taken', or leave it empty")
    dose = row.number("dose_mg", _MOST_MG, "give mg a day above 0; leave it empty if not known")
    outcome = _outcome(text["outcome"])
    if outcome is None:
        row.fault("outcome", "give failed, partial, intolerance, response, remission or nothing")
    span = _row_span(row, status or "", as_of, rules)
    if span is None:
        return None
    return _Treatment(status or "", dose, outcome or "", span, bool(text["start"] or text["end"]))


def _outcome(cell: str) -> Outcome | None:
    if not cell or cell.lower() in ("unknown", "?"):
        return ""
    return _OUTCOMES.get(cell.lower()) or outcome_of_words(cell) or None


def _row_days(row: _Row, column: str) -> Days | None:
    cell = row.text[column]
    days = parse_days(cell) if cell else None
    if cell and days is None:
        row.fault(column, "give a day, month or year, as 2025-03-31, 2025-03 or 2025")
    return days


def _row_span(row: _Row, status: str, as_of: int, rules: CountingRules) -> Span | None:
    """Read when a treatment was; one without dates but with weeks has a length only."""
    start, end = _row_days(row, "start"), _row_days(row, "end")
    weeks = row.number("weeks", _MOST_WEEKS, f"give weeks above 0, at most {_MOST_WEEKS}")
    ended = status != "ongoing" and not (status == "" and end is not None and end.last >= as_of)
    if start is not None and end is not None and end.last < start.first:
        row.fault("end", "before the start; mend one of them")
        return None
    if weeks is not None:
        days = max(1, round(7 * weeks))
        if start is None:
            last = end or Days(as_of, as_of)
            start = Days(last.first - days + 1, last.last - days + 1)
        return supplied_span(start, days, days, known=True, ended=ended)
    if start is None:
        row.fault("start", "missing, and no weeks; give a start and an end, or weeks")
        return None
    if end is not None or not ended:
        return period_span(start, end or Days(as_of, as_of), ended=ended)
    return supplied_span(
        start,
        rules.assumed_supply_days,
        rules.open_order_days,
        known=False,
        ended=False,
        note="assumed_supply",
    )


def _keep_row(found: Medications, row: _Row, treatment: _Treatment, as_of: int) -> None:
    product = product_of_text(row.text["drug"])
    if not isinstance(product, Product):
        shown = row.text["drug"][:40]
        near = near_drug(row.text["drug"]) if product is None else None
        reason = (
            f"{shown!r} does not name one drug that was taken"
            if product is not None
            else f"{shown!r} is no antidepressant of the tables; "
            + (f"write {near} if it is that" if near else "mend the name if it is one")
        )
        found.unread.append(Unused(row.source, "drug_not_known", reason))
        return
    within = clipped(treatment.span, as_of)
    if within is None or treatment.status in ("planned", "not taken"):
        code = "future" if within is None else treatment.status.replace(" ", "_")
        reason = f"it is {treatment.status}" if within else "it begins after the index date"
        found.set_aside.append(Unused(row.source, code, reason, product.drug.name))
        return
    label = row.text["indication"]
    use = use_of(diagnosis({"text": label})) if label else ""
    if not use and product.use:
        use, label = "other", product.use
    mg = treatment.dose_mg
    daily = UNKNOWN if mg is None else believable(Dose(mg, mg, "recorded"), product.drug)
    found.exposures.append(
        Exposure(
            product,
            within,
            daily,
            "row",
            row.source,
            treatment.outcome,
            use,
            label.lower(),
            dated=treatment.dated,
        )
    )
