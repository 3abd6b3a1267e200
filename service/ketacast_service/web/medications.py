"""A medication list as pasted: lines of drug, mg a day, weeks and outcome, for counting."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from ketacast.errors import InputError
from ketacast.history import HistoryCount, count_failed_trials_in_table
from ketacast.history.result import MOST_TRIALS

MOST_LINES: Final = 200
LONGEST_LINE: Final = 200
_SEPARATED: Final = re.compile(r"\s*[,;\t|]\s*")
_DOSE: Final = re.compile(r"(\d+(?:[.,]\d+)?)\s*mg\b", re.IGNORECASE)
_WEEKS: Final = re.compile(
    r"(\d+(?:[.,]\d+)?)\s*(?:weeks?|wks?|w|wochen?|wo|semanas?|sem)\b", re.IGNORECASE
)
_FIRST_NUMBER: Final = re.compile(r"\s+(?=\d)")
_OUTCOMES: Final = {
    "versagt": "failed", "ohne wirkung": "failed", "teilweise": "partial",
    "unverträglich": "intolerance", "nebenwirkungen": "intolerance", "angesprochen": "response",
    "fracaso": "failed", "sin respuesta": "failed", "parcial": "partial",
    "intolerancia": "intolerance", "efectos secundarios": "intolerance", "respuesta": "response",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ListCount:
    """A list's count.

    Attributes
    ----------
    history : HistoryCount
        With reasons.
    low, high : int
        The range, at most what the model answers. The list is said to be of the current
        episode, so every treatment in it belongs there, dated or not.
    """

    history: HistoryCount
    low: int
    high: int


def count_list(text: str, as_of: date) -> ListCount:
    """Count failed trials in a pasted list.

    Raises
    ------
    InputError
        If a line cannot be used; the message names lines and remedies.
    """
    history = count_failed_trials_in_table(rows_of(text), as_of=as_of)
    span = history.lifetime
    return ListCount(history, min(span.low, MOST_TRIALS), min(span.high, MOST_TRIALS))


def rows_of(text: str) -> list[dict[str, str]]:
    """Take a pasted list apart, a row for each line with something on it.

    Raises
    ------
    InputError
        If there are too many lines, or one is too long.
    """
    lines = text.splitlines()
    if len(lines) > MOST_LINES:
        raise InputError(
            f"the list has {len(lines)} lines; give at most {MOST_LINES}, one per treatment"
        )
    rows = []
    for place, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            raise InputError(
                f"line {place} has {len(line)} characters; give drug, mg a day, weeks, and no text"
            )
        if line.strip():
            rows.append({"id": f"line {place}", **_row(line.strip(" \t-*•"))})
    return rows


def _row(line: str) -> dict[str, str]:
    cells = _SEPARATED.split(line)
    if len(cells) > 1:
        return _of_cells(cells)
    dose, weeks = _DOSE.search(line), _WEEKS.search(line)
    return {
        "drug": _FIRST_NUMBER.split(line, maxsplit=1)[0],
        "dose_mg": _number(dose[1]) if dose else "",
        "weeks": _number(weeks[1]) if weeks else "",
    }


def _of_cells(cells: Sequence[str]) -> dict[str, str]:
    drug, dose, weeks, outcome = (*cells, "", "", "")[:4]
    said = outcome.lower()
    return {
        "drug": drug,
        "dose_mg": _number(_bare(dose, "mg")),
        "weeks": _number(_bare(weeks, r"(?:weeks?|wks?|w|wochen?|wo|semanas?|sem)\.?")),
        "outcome": _OUTCOMES.get(said, outcome),
    }


def _bare(cell: str, unit: str) -> str:
    return re.sub(rf"\s*{unit}\s*$", "", cell, flags=re.IGNORECASE)


def _number(text: str) -> str:
    return text.replace(",", ".")
